//! NVIDIA GPUs as the driver's own library tells them. It is opened at run time: a host without it has no GPU of
//! that driver, and nothing here is linked.

use crate::units::Bytes;
use nvml_wrapper::{Device, Nvml, error::NvmlError};
use std::ffi::OsStr;

/// The library's name as the driver installs it; the name without a number comes with development packages only.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvmlGpu {
    /// As in /sys: `0000:65:00.0`.
    pub pci_address: String,
    pub name: String,
    /// All memory of the card, what the driver keeps for itself included.
    pub memory: Bytes,
}

/// What the library told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub driver_version: String,
    pub gpus: Vec<NvmlGpu>,
    /// GPUs that the library counts and could not describe, with its reason.
    pub failed: Vec<String>,
}

/// Why the library told nothing, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NvmlFailed(pub String);

impl From<NvmlError> for NvmlFailed {
    fn from(error: NvmlError) -> Self {
        Self(error.to_string())
    }
}

/// Asks the driver.
pub fn ask() -> Result<Told, NvmlFailed> {
    let nvml = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init()?;
    let mut told = Told { driver_version: nvml.sys_driver_version()?, ..Told::default() };
    for index in 0..nvml.device_count()? {
        match nvml.device_by_index(index).and_then(|device| describe(&device)) {
            Ok(gpu) => told.gpus.push(gpu),
            Err(error) => told.failed.push(format!("GPU {index}: {error}")),
        }
    }
    Ok(told)
}

fn describe(device: &Device) -> Result<NvmlGpu, NvmlError> {
    Ok(NvmlGpu {
        pci_address: short_address(&device.pci_info()?.bus_id),
        name: device.name()?,
        memory: Bytes(device.memory_info()?.total),
    })
}

/// The library writes `00000000:65:00.0`, the kernel four digits for the domain and small letters.
fn short_address(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    match address.strip_prefix("0000") {
        Some(rest) if rest.find(':') == Some(4) => rest.to_owned(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_in_sys() {
        assert_eq!(short_address("00000000:65:00.0"), "0000:65:00.0");
        assert_eq!(short_address("00000001:AB:00.0"), "0001:ab:00.0");
        assert_eq!(short_address("0000:65:00.0"), "0000:65:00.0");
        assert_eq!(short_address("00010000:65:00.0"), "00010000:65:00.0");
    }
}
