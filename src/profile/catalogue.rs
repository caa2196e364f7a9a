//! Processors and GPUs by name: the clock that PC1's model needs, and what a machine written as a line is built from.
//!
//! Pure data from `data/catalogue.toml`, each row with its source.

use super::names;
use crate::units::Bytes;
use serde::Deserialize;
use std::sync::LazyLock;

/// A processor, per socket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuModel {
    pub name: String,
    pub vendor: String,
    pub cores: u32,
    pub l3_caches: u32,
    #[serde(deserialize_with = "size")]
    pub l3_size: Bytes,
    pub base_ghz: f64,
    pub boost_ghz: f64,
    pub memory_channels: u32,
    /// Whether it has SHA instructions.
    pub sha: bool,
    pub source: String,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuModel {
    pub name: String,
    #[serde(deserialize_with = "size")]
    pub memory: Bytes,
    /// CUDA cores.
    pub cores: u32,
    /// Its name in `RUST_GPU_TOOLS_CUSTOM_GPU`, where a source tells it.
    #[serde(default)]
    pub device: Option<String>,
    pub source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    cpu: Vec<CpuModel>,
    gpu: Vec<GpuModel>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    toml::from_str(include_str!("data/catalogue.toml")).expect("the shipped catalogue has its shape: a test reads it")
});

/// Every processor of the catalogue.
pub fn cpus() -> &'static [CpuModel] {
    &CATALOGUE.cpu
}

/// Every GPU of the catalogue.
pub fn gpus() -> &'static [GpuModel] {
    &CATALOGUE.gpu
}

/// The processor that this name means: `AMD EPYC 7642 48-Core Processor`, `epyc-7642`.
pub fn cpu(name: &str) -> Option<&'static CpuModel> {
    cpus().iter().find(|cpu| names::means(&cpu.name, name))
}

/// The GPU that this name means: `NVIDIA GeForce RTX 3080`, `rtx3080`.
pub fn gpu(name: &str) -> Option<&'static GpuModel> {
    gpus().iter().find(|gpu| names::means(&gpu.name, name))
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_makes_sense_and_is_found_by_its_name() {
        for model in cpus() {
            assert_eq!(cpu(&model.name), Some(model));
            assert_eq!(model.cores % model.l3_caches, 0, "{}", model.name);
            assert!(0.0 < model.base_ghz && model.base_ghz <= model.boost_ghz, "{}", model.name);
            assert!(!model.source.is_empty() && model.l3_size > Bytes(0) && model.memory_channels > 0);
        }
        for model in gpus() {
            assert_eq!(gpu(&model.name), Some(model));
            assert!(model.memory >= Bytes::gib(8) && model.cores > 0 && !model.source.is_empty());
        }
    }

    #[test]
    fn names_that_drivers_and_kernels_tell_are_known() {
        assert_eq!(cpu("AMD EPYC 7642 48-Core Processor").unwrap().l3_caches, 16);
        assert_eq!(cpu("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz").map(|cpu| cpu.sha), Some(false));
        assert_eq!(gpu("NVIDIA GeForce RTX 3090").unwrap().cores, 10_496);
        assert_eq!(cpu("EPYC 1234"), None);
        assert_eq!(gpu("NVIDIA GeForce RTX 3080 Ti"), None);
    }
}
