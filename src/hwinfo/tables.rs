//! The facts of a machine as the tables below its tree. What is absent is said to be, with the reason.

use super::plain::plain;
use crate::{
    machine::{Ceiling, Cpu, CpuModel, Disk, DiskKind, Gpu, Kernel, Limits, Machine, NOT_IN_SOURCE, Nic, NumaNode},
    units::{Bytes, CpuList, NodeId},
};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};
use tabled::{builder::Builder, settings::Style};

/// The instruction set extensions that matter to sealing: the kernel's names and the ones that people know.
const INSTRUCTIONS: [(&str, &str); 8] = [
    ("sha_ni", "SHA-NI"),
    ("sha2", "SHA2"),
    ("avx2", "AVX2"),
    ("avx512f", "AVX-512F"),
    ("avx512ifma", "AVX-512-IFMA"),
    ("adx", "ADX"),
    ("bmi2", "BMI2"),
    ("sve", "SVE"),
];

const ABSENT: &str = "-";

/// Writes every section, in the order in which operators ask.
pub fn write_tables(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    // Standard output passes on every line.
    let mut text = Vec::new();
    sections(machine, &mut text)?;
    out.write_all(&text)
}

fn sections(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    if let Some(cpu) = &machine.cpu {
        section(out, "Processor", &processor(machine, cpu))?;
    }
    if let Some(kernel) = &machine.kernel {
        section(out, "Kernel", &settings(kernel))?;
    }
    if machine.nodes().iter().any(|node| node.free_bytes.is_some() || node.page_pools.is_some()) {
        section(out, "Memory", &memory(machine))?;
    }
    if let Some(distances) = machine.distances.as_ref().filter(|distances| distances.nodes.len() > 1) {
        let heads = distances.nodes.iter().map(|node| format!("to {node}"));
        let mut rows = vec![std::iter::once("From node".to_owned()).chain(heads).collect::<Vec<_>>()];
        for (node, row) in distances.nodes.iter().zip(&distances.rows) {
            rows.push(std::iter::once(node.to_string()).chain(row.iter().map(u32::to_string)).collect());
        }
        section(out, "Distances", &rows)?;
    }
    if let Some(mounts) = &machine.hugetlbfs {
        let rows = mounts.iter().map(|mount| vec![mount.path.clone(), mount.page_bytes.human()]).collect();
        list(out, "hugetlbfs", &["Mount", "Pages of"], rows)?;
    }
    if let Some(disks) = &machine.disks {
        list(out, "Disks", &["Disk", "Kind", "Size", "Node", "Model", "Mounts"], disks.iter().map(disk).collect())?;
    }
    if let Some(gpus) = &machine.gpus {
        list(out, "GPUs", &["GPU", "Memory", "Driver", "PCI", "Node"], gpus.iter().map(gpu).collect())?;
    }
    if let Some(nics) = &machine.nics {
        let heads = ["Interface", "State", "Speed", "Driver", "PCI", "Node", "Model"];
        list(out, "Network", &heads, nics.iter().map(nic).collect())?;
    }
    if let Some(limits) = &machine.limits {
        section(out, "Limits of this process", &limit_rows(limits))?;
    }
    missing(machine, out)
}

type Row = Vec<String>;

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

pub(super) fn section(out: &mut dyn Write, title: &str, rows: &[Row]) -> io::Result<()> {
    let mut table = Builder::from_iter(rows.iter().map(|row| row.iter().map(|cell| shown(cell)))).build();
    table.with(Style::blank());
    writeln!(out, "\n{title}:")?;
    // The style pads the last column too.
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A cell's lines, without what would steer a terminal.
fn shown(cell: &str) -> String {
    cell.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// A table with heads; an empty list is a fact and said in one word.
fn list(out: &mut dyn Write, title: &str, heads: &[&str], rows: Vec<Row>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "\n{title}: none");
    }
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    section(out, title, &[vec![heads], rows].concat())
}

fn processor(machine: &Machine, cpu: &Cpu) -> Vec<Row> {
    let share = |model: &CpuModel| (model.name.clone(), model.cpus.clone());
    let known: Vec<&str> = INSTRUCTIONS.iter().filter(|(name, _)| cpu.has(name)).map(|(_, people)| *people).collect();
    let verdict = machine.pc1_capable();
    let answer = match verdict.answer {
        crate::machine::Answer::Yes => "yes",
        crate::machine::Answer::No => "no",
        crate::machine::Answer::Unknown => "unknown",
    };
    let mut rows = vec![row(["Model", &shares(cpu.models.iter().map(share).collect())])];
    if !machine.cpu_kinds.is_empty() {
        let kinds = machine.cpu_kinds.iter().rev().map(|kind| (format!("{}s", kind.name), kind.cpus.clone()));
        rows.push(row(["Kinds of cores", &shares(kinds.collect())]));
    }
    rows.extend([
        row(["Architecture", cpu.architecture.as_deref().unwrap_or(ABSENT)]),
        row(["Instructions", &if known.is_empty() { ABSENT.to_owned() } else { known.join(", ") }]),
        row(["PC1-capable", &format!("{answer}: {}", verdict.reason)]),
    ]);
    rows
}

/// One name alone; of several each with its CPUs.
fn shares(entries: Vec<(String, CpuList)>) -> String {
    match &entries[..] {
        [] => ABSENT.to_owned(),
        [(name, _)] => name.clone(),
        _ => {
            let plural = |cpus: &CpuList| if cpus.len() == 1 { "CPU" } else { "CPUs" };
            let share =
                |(name, cpus): &(String, CpuList)| format!("{name} on {} {} ({cpus})", cpus.len(), plural(cpus));
            entries.iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

fn settings(kernel: &Kernel) -> Vec<Row> {
    let governors = match kernel.governors.as_deref() {
        None => ABSENT.to_owned(),
        Some([]) => "none: the kernel does not set the frequency".to_owned(),
        Some(governors) => shares(governors.iter().map(|found| (found.name.clone(), found.cpus.clone())).collect()),
    };
    let balancing = match kernel.numa_balancing {
        None => ABSENT.to_owned(),
        Some(0) => "off".to_owned(),
        Some(1) => "on".to_owned(),
        Some(2) => "on between memory tiers only".to_owned(),
        Some(other) => format!("on ({other})"),
    };
    let swap = match kernel.swap {
        None => ABSENT.to_owned(),
        Some(swap) if swap.total_bytes.0 == 0 => "none".to_owned(),
        Some(swap) => format!("{}, {} used", swap.total_bytes.human(), swap.used_bytes.human()),
    };
    let word = |word: &Option<String>| word.clone().unwrap_or_else(|| ABSENT.to_owned());
    vec![
        row(["Release", &word(&kernel.release)]),
        row(["SMT", &word(&kernel.smt)]),
        row(["Governor", &governors]),
        row(["Transparent huge pages", &word(&kernel.transparent_hugepages)]),
        row(["NUMA balancing", &balancing]),
        row(["Swap", &swap]),
    ]
}

/// A row a node; a column for each size of hugepages on the machine.
fn memory(machine: &Machine) -> Vec<Row> {
    let mut nodes = machine.nodes();
    nodes.sort_by_key(|node| node.os_index);
    let sizes: BTreeSet<Bytes> =
        nodes.iter().flat_map(|node| node.page_pools.iter().flatten()).map(|pool| pool.page_bytes).collect();
    let mut heads = row(["Node", "CPUs", "Memory", "Free"]);
    heads.extend(sizes.iter().map(|size| format!("{} pages", size.human())));
    let mut rows = vec![heads];
    for node in nodes {
        let cpus = if node.is_memory_only() { "none".to_owned() } else { node.cpus.to_string() };
        let memory = Some(node.memory_bytes).filter(|bytes| bytes.0 > 0);
        let mut cells = vec![node.os_index.to_string(), cpus, self::size(memory), self::size(node.free_bytes)];
        cells.extend(sizes.iter().map(|size| pool(node, *size)));
        rows.push(cells);
    }
    rows
}

fn pool(node: &NumaNode, size: Bytes) -> String {
    match node.page_pools.iter().flatten().find(|pool| pool.page_bytes == size) {
        None => ABSENT.to_owned(),
        Some(pool) => {
            let surplus = pool.surplus.filter(|surplus| *surplus > 0);
            let free = pool.free.filter(|_| pool.pages > 0 || surplus.is_some());
            let free = free.map(|free| format!(", {free} free")).unwrap_or_default();
            let surplus = surplus.map(|surplus| format!(", {surplus} surplus")).unwrap_or_default();
            format!("{}{free}{surplus}", pool.pages)
        }
    }
}

fn disk(disk: &Disk) -> Row {
    let kind = match disk.kind {
        DiskKind::Nvme => "NVMe",
        DiskKind::Ssd => "SSD",
        DiskKind::Hdd => "HDD",
        DiskKind::Unknown => "unknown",
    };
    let mounts: Vec<String> = disk
        .mounts
        .iter()
        .flatten()
        .map(|mount| {
            let space = match (mount.free_bytes, mount.total_bytes) {
                (Some(free), Some(total)) => format!(", {} free of {}", free.human(), total.human()),
                _ => String::new(),
            };
            let read_only = if mount.read_only { ", read-only" } else { "" };
            format!("{} ({}{space}{read_only})", mount.path, mount.filesystem)
        })
        .collect();
    let mounts = if mounts.is_empty() { ABSENT.to_owned() } else { mounts.join("\n") };
    row([&disk.name, kind, &size(disk.size_bytes), &near(disk.node), text(&disk.model), &mounts])
}

fn gpu(gpu: &Gpu) -> Row {
    let driver = match (&gpu.driver, &gpu.driver_version) {
        (Some(driver), Some(version)) => format!("{driver} {version}"),
        (driver, _) => text(driver).to_owned(),
    };
    let name = match &gpu.vendor {
        Some(vendor) if !gpu.name.starts_with(vendor.split(' ').next().unwrap_or_default()) => {
            format!("{vendor} {}", gpu.name)
        }
        _ => gpu.name.clone(),
    };
    row([&name, &size(gpu.memory_bytes), &driver, text(&gpu.pci_address), &near(gpu.node)])
}

fn nic(nic: &Nic) -> Row {
    let speed = match nic.speed_mbits {
        None => ABSENT.to_owned(),
        Some(speed) if speed >= 1000 => format!("{} Gbit/s", speed as f64 / 1000.0),
        Some(speed) => format!("{speed} Mbit/s"),
    };
    let (state, driver, address) = (text(&nic.state), text(&nic.driver), text(&nic.pci_address));
    row([&nic.name, state, &speed, driver, address, &near(nic.node), text(&nic.model)])
}

fn limit_rows(limits: &Limits) -> Vec<Row> {
    let bytes = |ceiling| match ceiling {
        Ceiling::At(bytes) => Bytes(bytes).human(),
        Ceiling::Unlimited => "unlimited".to_owned(),
    };
    let number = |ceiling| match ceiling {
        Ceiling::At(number) => number.to_string(),
        Ceiling::Unlimited => "unlimited".to_owned(),
    };
    vec![
        row(["Limit", "Soft", "Hard"]),
        row(["Locked memory (ulimit -l)", &bytes(limits.memlock.soft), &bytes(limits.memlock.hard)]),
        row(["Open files (ulimit -n)", &number(limits.nofile.soft), &number(limits.nofile.hard)]),
    ]
}

/// What could not be read, with its reason; what such a source never has, in one line.
fn missing(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    let (elsewhere, told): (Vec<_>, Vec<_>) =
        machine.unreadable.iter().partition(|missed| missed.reason == NOT_IN_SOURCE);
    if !told.is_empty() {
        writeln!(out, "\nCould not be read:")?;
        for missed in &told {
            let path = missed.path.as_deref().map(|path| format!(" ({path})")).unwrap_or_default();
            writeln!(out, "  {}", plain(&format!("{}: {}{path}", missed.what, missed.reason)))?;
        }
    }
    let mut names: BTreeSet<&str> = elsewhere.iter().map(|missed| missed.what.as_str()).collect();
    // A file written by hand says nothing of what it lacks.
    if machine.unreadable.is_empty() {
        names.extend(machine.absent());
    }
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().map(in_words).collect();
        writeln!(out, "\nNot in this source: {}", plain(&names.join(", ")))?;
    }
    Ok(())
}

/// A group of facts by its name in the contract, as the tables call it; other facts are in words already.
fn in_words(name: &str) -> &str {
    match name {
        "cpu" => "processor",
        "kernel" => "kernel and its settings",
        "distances" => "distances between nodes",
        "page_pools" => "hugepages",
        "hugetlbfs" => "hugetlbfs mounts",
        "gpus" => "GPUs",
        "nics" => "network interfaces",
        name => name,
    }
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or(ABSENT)
}

fn size(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(|| ABSENT.to_owned(), Bytes::human)
}

fn near(node: Option<NodeId>) -> String {
    node.map_or_else(|| ABSENT.to_owned(), |node| node.to_string())
}
