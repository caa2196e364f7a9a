//! Machines that nobody has looked at: from a line such as `2x epyc-7642 2TiB 2x rtx3080 4x nvme-7.68TB`, or from an
//! entry of a fleet file, to a `Machine` like one that `hwinfo` sees.
//!
//! ```text
//! line ─► Spec ─┐
//! fleet.toml ───┴─► topology built as data: package ─ node(s) ─ L3 groups ─ cores ─► machine::parse, which checks it
//! ```
//!
//! What a line leaves out is taken as the field mostly has it: one NUMA node a socket, SMT off, GPUs and disks spread
//! over the nodes in the order of their numbers, each disk mounted. Memory is what a kernel shows of it, 98 %.

use crate::{
    machine::{self, DiskKind, DiskSpec, Fleet, GpuSpec, L3Spec, Machine, NodeSpec, Size, Spec},
    profile::catalogue::{self, CpuModel},
    units::{Bytes, CpuList, NodeId},
};
use serde_json::{Value, json};

/// A kernel shows 1.96 TiB where 2 TiB are installed; so say damocles' documents of such a machine.
const SHOWN: f64 = 0.98;

/// More CPUs than this are a typing error: the kernel's own limit.
const CPUS_MAX: u32 = 8192;

/// Why a description is no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    #[error("{found:?} is no processor, GPU, memory or disk that is known{}", nearest(.near))]
    Unknown { found: String, near: Vec<String> },
    #[error("a machine by name needs {0}, such as `2x epyc-7642 2TiB 2x rtx3080 4x nvme-7.68TB`")]
    Missing(&'static str),
    #[error("a machine by name has {what} twice, {first:?} and {second:?}; write one, with a count such as 2x")]
    Twice { what: &'static str, first: String, second: String },
    #[error("machine {name:?}: {reason}")]
    Shape { name: String, reason: String },
    #[error("read the fleet file: {0}")]
    Fleet(String),
}

fn nearest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    }
}

/// Whether a text is meant as a machine by name and not as a path or an hwloc description.
pub fn is_line(text: &str) -> bool {
    let is_other = text.contains(['/', ':', '[']) || (!text.contains(char::is_whitespace) && text.contains('.'));
    !text.trim().is_empty() && !is_other
}

/// The machine that a line describes.
///
/// # Errors
/// A word that is not known, with the nearest ones; what is missing.
pub fn machine(line: &str) -> Result<Machine, CatalogueError> {
    machine_of(&spec(line)?)
}

/// The machines of a fleet file.
///
/// # Errors
/// Not a fleet file.
pub fn fleet(text: &str) -> Result<Fleet, CatalogueError> {
    toml::from_str(text).map_err(|error| CatalogueError::Fleet(error.to_string()))
}

/// What the words of a line say.
#[derive(Default)]
struct Words {
    cpu: Option<(u32, &'static CpuModel)>,
    memory: Option<Bytes>,
    gpus: Vec<GpuSpec>,
    disks: Vec<DiskSpec>,
    is_smt: bool,
}

fn spec(line: &str) -> Result<Spec, CatalogueError> {
    let mut words = Words::default();
    let mut count = None;
    for word in line.split([' ', '\t', ',', '\n']).filter(|word| !word.is_empty()) {
        let (number, rest) = split_count(word);
        count = number.or(count);
        if !rest.is_empty() {
            words.take(count.take().unwrap_or(1), rest)?;
        }
    }
    let (sockets, cpu) = words.cpu.ok_or(CatalogueError::Missing("a processor"))?;
    let memory = words.memory.ok_or(CatalogueError::Missing("its memory"))?;
    let per_node = Bytes((memory.0 as f64 * SHOWN) as u64 / u64::from(sockets));
    let nodes = (0..sockets).map(|n| NodeSpec { index: NodeId(n), cores: cpu.cores, memory: Size(per_node) });
    let cores = sockets.saturating_mul(cpu.cores);
    Ok(Spec {
        name: line.split_whitespace().collect::<Vec<_>>().join(" "),
        count: 1,
        cpu: Some(format!("{} {}", cpu.vendor, cpu.name)),
        pc1_capable: Some(cpu.sha),
        packages: sockets,
        cores,
        cpus: if words.is_smt { cores.saturating_mul(2) } else { cores },
        l3: vec![L3Spec {
            count: sockets.saturating_mul(cpu.l3_caches),
            cores: cpu.cores / cpu.l3_caches,
            size: Some(Size(cpu.l3_size)),
        }],
        nodes: nodes.collect(),
        gpus: words.gpus,
        disks: words.disks,
    })
}

/// `2x` and what follows it in the same word: `2x`, `2xrtx3080`.
fn split_count(word: &str) -> (Option<u32>, &str) {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match (word[..digits].parse::<u32>(), word[digits..].strip_prefix(['x', 'X'])) {
        (Ok(count), Some(rest)) if count > 0 => (Some(count), rest),
        _ => (None, word),
    }
}

impl Words {
    fn take(&mut self, count: u32, word: &str) -> Result<(), CatalogueError> {
        if word.eq_ignore_ascii_case("smt") {
            self.is_smt = true;
        } else if let Some(bytes) = word.parse::<Bytes>().ok().filter(|bytes| *bytes >= Bytes::gib(1)) {
            // Before the models: 4000GiB is memory and no RTX 4000.
            let memory = Bytes(bytes.0.saturating_mul(count.into()));
            if let Some(first) = self.memory.replace(memory) {
                return Err(twice("memory", &first.human(), word));
            }
        } else if let Some(cpu) = catalogue::cpu(word).or_else(|| catalogue::cpu(&format!("epyc {word}"))) {
            if let Some((_, first)) = self.cpu.replace((count, cpu)) {
                return Err(twice("a processor", &first.name, word));
            }
        } else if let Some(gpu) = catalogue::gpu(word).or_else(|| catalogue::gpu(&format!("rtx {word}"))) {
            let name = format!("NVIDIA {}", gpu.device.as_deref().unwrap_or(&gpu.name));
            self.gpus.push(GpuSpec { count, name, memory: Some(Size(gpu.memory)) });
        } else if let Some(disk) = disk(count, word) {
            self.disks.push(disk);
        } else {
            return Err(CatalogueError::Unknown { found: word.to_owned(), near: near(word) });
        }
        Ok(())
    }
}

fn twice(what: &'static str, first: &str, second: &str) -> CatalogueError {
    CatalogueError::Twice { what, first: first.to_owned(), second: second.to_owned() }
}

/// `nvme-7.68TB`, `ssd-2TB`, `hdd-16TB`.
fn disk(count: u32, word: &str) -> Option<DiskSpec> {
    let (kind, size) = word.split_once('-')?;
    let kind = match kind.to_ascii_lowercase().as_str() {
        "nvme" => DiskKind::Nvme,
        "ssd" => DiskKind::Ssd,
        "hdd" => DiskKind::Hdd,
        _ => return None,
    };
    let size = size.parse::<Bytes>().ok().filter(|size| size.0 > 0)?;
    Some(DiskSpec { count, kind, model: None, size: Some(Size(size)) })
}

/// Names of the catalogue that differ from a word by few letters, the nearest first.
fn near(word: &str) -> Vec<String> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let word = plain(word);
    let names = catalogue::cpus().iter().map(|cpu| &cpu.name).chain(catalogue::gpus().iter().map(|gpu| &gpu.name));
    let mut found: Vec<(usize, String)> = names.map(|name| (distance(&word, &plain(name)), name.clone())).collect();
    found.sort();
    let close = found.iter().take_while(|(distance, _)| *distance <= word.len().max(4) / 2);
    close.take(3).map(|(_, name)| name.to_ascii_lowercase().replace(' ', "-")).collect()
}

/// Letters to add, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A machine like this entry of a fleet file.
///
/// # Errors
/// Its numbers contradict one another.
pub fn machine_of(spec: &Spec) -> Result<Machine, CatalogueError> {
    let shape = |reason: String| CatalogueError::Shape { name: spec.name.clone(), reason };
    check(spec).map_err(shape)?;
    let value = json!({
        "version": machine::VERSION,
        "hostname": spec.name,
        "allowed_cpus": format!("0-{}", spec.cpus - 1),
        "topology": topology(spec),
        "cpu": spec.cpu.as_ref().map(|name| json!({
            "architecture": "x86_64",
            "models": [{ "name": name, "cpus": format!("0-{}", spec.cpus - 1) }],
            "features": match spec.pc1_capable {
                Some(true) => vec!["sha_ni"],
                Some(false) => vec!["sse4_2"],
                None => vec![],
            },
        })),
        "disks": disks(spec),
        "gpus": gpus(spec),
    });
    let Value::Object(mut fields) = value else { return Err(shape("it is no object".to_owned())) };
    fields.retain(|_, value| !value.is_null());
    machine::parse(&Value::Object(fields).to_string()).map_err(|error| shape(error.to_string()))
}

fn check(spec: &Spec) -> Result<(), String> {
    if spec.cores == 0 || spec.packages == 0 {
        return Err("it has no core or no package".to_owned());
    }
    if spec.cpus > CPUS_MAX {
        return Err(format!("{} CPUs are more than a kernel can count", spec.cpus));
    }
    if spec.cpus < spec.cores || !spec.cpus.is_multiple_of(spec.cores) {
        return Err(format!("{} CPUs do not divide among {} cores", spec.cpus, spec.cores));
    }
    if !spec.cores.is_multiple_of(spec.packages) {
        return Err(format!("{} cores do not divide among {} packages", spec.cores, spec.packages));
    }
    let of = |sum: u64, what: &str| {
        (sum == 0 || sum == u64::from(spec.cores))
            .then_some(())
            .ok_or_else(|| format!("its {what} hold {sum} cores together, and it has {}", spec.cores))
    };
    of(spec.l3.iter().map(|l3| u64::from(l3.count) * u64::from(l3.cores)).sum(), "L3 caches")?;
    of(spec.nodes.iter().map(|node| u64::from(node.cores)).sum(), "nodes")
}

/// Packages with their nodes and L3 groups; cores are numbered through, siblings beyond the last core.
fn topology(spec: &Spec) -> Value {
    let per_package = spec.cores / spec.packages;
    let mut first = 0;
    let nodes: Vec<(u32, Value, u64)> = spec
        .nodes
        .iter()
        .map(|node| {
            let cpus = cpus_of(spec, first, node.cores);
            let start = first.min(spec.cores - 1);
            first += node.cores;
            let memory = node.memory.0.0;
            (start, json!({ "os_index": node.index.0, "memory_bytes": memory, "cpus": cpus.to_string() }), memory)
        })
        .collect();
    let groups = groups(spec);
    let packages: Vec<Value> = (0..spec.packages)
        .map(|package| {
            let range = package * per_package..(package + 1) * per_package;
            let inside = nodes.iter().filter(|(start, _, _)| range.contains(start));
            let memory: u64 = inside.clone().map(|(_, _, memory)| memory).sum();
            let caches = groups.iter().filter(|(start, _)| range.contains(start)).map(|(_, group)| group);
            let is_bare = groups.is_empty();
            json!({
                "kind": "package",
                "os_index": package,
                "model": spec.cpu,
                "memory_bytes": memory,
                "nodes": inside.map(|(_, node, _)| node).collect::<Vec<_>>(),
                "parts": caches.collect::<Vec<_>>(),
                "cores": if is_bare { range.map(|core| core_of(spec, core)).collect() } else { Vec::new() },
            })
        })
        .collect();
    json!({
        "kind": "machine",
        "memory_bytes": nodes.iter().map(|(_, _, memory)| memory).sum::<u64>(),
        "parts": packages,
    })
}

/// The L3 groups, each with its first core.
fn groups(spec: &Spec) -> Vec<(u32, Value)> {
    let sizes = spec.l3.iter().flat_map(|l3| (0..l3.count).map(move |_| l3));
    let mut first = 0;
    sizes
        .zip(0u32..)
        .map(|(l3, os_index)| {
            let start = first;
            first += l3.cores;
            let cores: Vec<Value> = (start..first).map(|core| core_of(spec, core)).collect();
            let mut group = json!({ "kind": "l3", "os_index": os_index, "cores": cores });
            if let Some(size) = l3.size {
                group["size_bytes"] = size.0.0.into();
            }
            (start, group)
        })
        .collect()
}

fn core_of(spec: &Spec, core: u32) -> Value {
    json!({ "os_index": core, "cpus": cpus_of(spec, core, 1).to_string() })
}

fn cpus_of(spec: &Spec, first: u32, cores: u32) -> CpuList {
    (first..first + cores).flat_map(|core| (core..spec.cpus).step_by(spec.cores as usize)).collect()
}

/// The node of the `place`-th of so many devices: the first half at the first node of two.
fn node_of(spec: &Spec, place: usize, devices: usize) -> Option<u32> {
    let nodes: Vec<_> = spec.nodes.iter().filter(|node| node.cores > 0).collect();
    nodes.get(place * nodes.len() / devices.max(1)).map(|node| node.index.0)
}

fn gpus(spec: &Spec) -> Value {
    let all: Vec<&GpuSpec> = spec.gpus.iter().flat_map(|gpu| (0..gpu.count).map(move |_| gpu)).collect();
    let gpu = |(place, gpu): (usize, &&GpuSpec)| {
        json!({
            "name": gpu.name,
            "vendor_id": "10de",
            "pci_address": format!("0000:{place:02x}:00.0"),
            "memory_bytes": gpu.memory.map(|size| size.0.0),
            "node": node_of(spec, place, all.len()),
        })
    };
    all.iter().enumerate().map(gpu).collect()
}

fn disks(spec: &Spec) -> Value {
    let all: Vec<&DiskSpec> = spec.disks.iter().flat_map(|disk| (0..disk.count).map(move |_| disk)).collect();
    let disk = |(place, disk): (usize, &&DiskSpec)| {
        let (prefix, kind) = match disk.kind {
            DiskKind::Nvme => ("nvme", "nvme"),
            DiskKind::Ssd => ("ssd", "ssd"),
            DiskKind::Hdd => ("hdd", "hdd"),
            DiskKind::Unknown => ("disk", "unknown"),
        };
        let bytes = disk.size.map(|size| size.0.0);
        json!({
            "name": format!("{prefix}{place}"),
            "kind": kind,
            "model": disk.model,
            "size_bytes": bytes,
            "node": node_of(spec, place, all.len()),
            "mounts": [{ "path": format!("/mnt/{prefix}{place}"), "filesystem": "xfs", "total_bytes": bytes }],
        })
    };
    all.iter().enumerate().map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_machine_as_hwinfo_sees_one() {
        let line = "2x epyc-7642 2TiB 2x rtx3080 4x nvme-7.68TB";
        assert!(is_line(line));
        let machine = machine(line).unwrap();
        assert_eq!((machine.cores().len(), machine.l3_groups().len(), machine.nodes().len()), (96, 32, 2));
        assert_eq!(machine.cpu_model(), Some("AMD EPYC 7642"));
        assert_eq!(machine.pc1_capable().answer, machine::Answer::Yes);
        let memory = machine.memory_bytes().0 as f64 / Bytes::gib(1).0 as f64;
        assert!((memory - 2007.04).abs() < 0.01, "{memory}");
        let gpus: Vec<_> = machine.compute_gpus().into_iter().map(|gpu| (gpu.name.clone(), gpu.node)).collect();
        let name = || "NVIDIA GeForce RTX 3080".to_owned();
        assert_eq!(gpus, [(name(), Some(NodeId(0))), (name(), Some(NodeId(1)))]);
        assert_eq!(machine.disks.as_ref().unwrap()[3].mounts.as_ref().unwrap()[0].path, "/mnt/nvme3");
        assert_eq!(machine.node_of(48).unwrap().os_index, NodeId(1));
        assert!(super::machine("7302 4000GiB").unwrap().compute_gpus().is_empty(), "this is memory, no RTX 4000");
    }

    #[test]
    fn smt_numbers_siblings_beyond_the_last_core() {
        let machine = machine("1x 7543 512GiB smt").unwrap();
        assert_eq!(machine.cores()[3].cpus.to_string(), "3,35");
        assert!(machine.has_smt());
    }

    #[test]
    fn an_unknown_word_is_told_with_the_nearest() {
        let error = machine("2x epyc-7624 1TiB").unwrap_err().to_string();
        assert!(error.contains("\"epyc-7624\"") && error.contains("epyc-7642"), "{error}");
        for (line, expected) in [
            ("2TiB", "needs a processor"),
            ("epyc-7642", "needs its memory"),
            ("epyc-7642 epyc-7543 1TiB", "a processor twice"),
            ("epyc-7642 1TiB 2TiB", "memory twice"),
            ("epyc-7642 1TiB floppy", "\"floppy\""),
            ("epyc-7642 1TiB nvme-big", "\"nvme-big\""),
        ] {
            let error = machine(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn paths_and_hwloc_descriptions_are_no_lines() {
        for text in ["machine.json", "./x", "/a/b c", "pack:2 [numa] l3:8 core:4 pu:1", "", "  "] {
            assert!(!is_line(text), "{text}");
        }
        assert!(is_line("epyc-7642 nvme-7.68TB") && is_line("7543"));
    }

    #[test]
    fn a_fleet_entry_reads_back_as_the_machine_it_was_made_from() {
        for line in ["2x epyc-7402 1TiB smt 4x rtx3090 8x nvme-3.84TB", "1x xeon-gold-6330 256GiB", "2x epyc-7f32 1TiB"]
        {
            let first = machine(line).unwrap();
            let spec = Spec::of(&first);
            let again = machine_of(&spec).unwrap();
            assert_eq!(Spec::of(&again), spec, "{line}");
            assert_eq!(again.topology, first.topology);
        }
    }

    #[test]
    fn a_fleet_entry_that_contradicts_itself_is_refused() {
        let sound = spec("2x epyc-7642 1TiB").unwrap();
        for (spec, expected) in [
            (Spec { cores: 95, cpus: 95, ..sound.clone() }, "do not divide among 2 packages"),
            (Spec { cpus: 100, ..sound.clone() }, "100 CPUs"),
            (Spec { cores: 0, cpus: 0, ..sound.clone() }, "no core"),
            (Spec { l3: vec![L3Spec { count: 2, cores: 3, size: None }], ..sound.clone() }, "L3 caches hold 6"),
            (Spec { cores: 10_000, cpus: 10_000, ..sound.clone() }, "more than a kernel"),
        ] {
            let error = machine_of(&spec).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("epyc-7642"), "{error}");
        }
    }
}
