//! What is drawn: a machine as boxes in boxes.

use super::block::{Block, Flow, GAP, Look, column, frame, grid, rows, stack, text_width, tile};
use crate::{
    machine::{Core, Disk, DiskKind, Gpu, Machine, Nic, NumaNode, Part, PartKind},
    units::{Bytes, CpuList, NodeId},
};

/// A CPU's box is this high; its width follows from the longest number.
const CPU_HEIGHT: u32 = 22;
/// Between the CPUs of one core and around them.
const CPU_GAP: u32 = 2;
/// A node has at least this much room for devices beside each other.
const NODE_WIDTH: u32 = 480;
/// What separates facts in one line.
const DOT: &str = " · ";

/// What every box of one picture is drawn with.
struct Pen<'a> {
    machine: &'a Machine,
    cpu_width: u32,
}

/// The whole picture.
pub fn machine(machine: &Machine) -> Block {
    let widest = machine.cpus().iter().last().unwrap_or(0);
    let pen = Pen { machine, cpu_width: text_width(&widest.to_string()) + 10 };
    let drawn = pen.content(&machine.topology);
    let lost = devices(machine, |near| near.is_none_or(|node| machine.node(node).is_none()));
    let mut notes = notes(machine, drawn.width);
    if !lost.is_empty() {
        let name = "Devices whose NUMA node is not known".to_owned();
        let width = drawn.width.max(NODE_WIDTH).saturating_sub(2 * GAP);
        notes.insert(0, frame(Look::Unplaced, name.clone(), vec![name], rows(lost, width)));
    }
    let notes = column(notes, drawn.width);
    let name = join(["Machine".to_owned(), machine.hostname.clone(), size(machine.memory_bytes())]);
    frame(Look::Machine, name.clone(), vec![name, counts(machine)], stack(vec![drawn, notes]))
}

impl Pen<'_> {
    /// What is inside a part: its memory above, then its smaller parts, then the cores in none of them.
    fn content(&self, part: &Part) -> Flow {
        let parts = grid(part.parts.iter().map(|part| self.part(part)).collect(), GAP);
        let cores = grid(part.cores.iter().map(|core| self.core(core)).collect(), CPU_GAP);
        let body = stack(vec![parts, cores]);
        let nodes = part.nodes.iter().map(|node| self.node(node, body.width.max(NODE_WIDTH))).collect();
        let nodes = column(nodes, body.width);
        stack(vec![nodes, body])
    }

    fn part(&self, part: &Part) -> Block {
        let cpus = part.cpus();
        let size = size(part.size_bytes.unwrap_or(part.memory_bytes));
        let name = join([numbered(part.kind.name(), part.os_index), size]);
        let title = join([name.clone(), part.model.clone().unwrap_or_default(), cpus_text(&cpus)]);
        // The numbers in the form that a cpuset takes, where they are what is chosen by.
        let lines = [name, part.model.clone().unwrap_or_default(), cpus_text(&cpus)];
        let lines = lines.into_iter().filter(|line| !line.is_empty()).collect();
        frame(part_look(part.kind), title, lines, self.content(part))
    }

    /// A core is the frame around its CPUs: SMT siblings lie side by side in it.
    fn core(&self, core: &Core) -> Block {
        let mut inner: Vec<_> = core.cpus.iter().map(|cpu| self.cpu(cpu)).collect();
        for (i, cpu) in inner.iter_mut().enumerate() {
            (cpu.x, cpu.y) = (CPU_GAP + i as u32 * (self.cpu_width + CPU_GAP), CPU_GAP);
        }
        let width = CPU_GAP + inner.len() as u32 * (self.cpu_width + CPU_GAP);
        let title = join([numbered("Core", core.os_index), cpus_text(&core.cpus)]);
        let mut core = tile(Look::Core, String::new(), title, width, CPU_HEIGHT + 2 * CPU_GAP);
        core.lines.clear();
        core.inner = inner;
        core
    }

    fn cpu(&self, cpu: u32) -> Block {
        let (look, note) = if self.machine.allowed_cpus.contains(cpu) {
            (Look::Cpu, "")
        } else {
            (Look::Forbidden, "forbidden by the cgroup")
        };
        let title = join([format!("CPU {cpu}"), note.to_owned()]);
        tile(look, cpu.to_string(), title, self.cpu_width, CPU_HEIGHT)
    }

    /// A node with the devices that are near it, in rows of at most `width`.
    fn node(&self, node: &NumaNode, width: u32) -> Block {
        let (look, kind) = if node.is_memory_only() { (Look::MemoryOnly, "memory only") } else { (Look::Node, "") };
        let tier = node.subtype.clone().unwrap_or_default();
        let name = join([format!("NUMANode #{}", node.os_index), size(node.memory_bytes), kind.to_owned(), tier]);
        let title = join([name.clone(), cpus_text(&node.cpus)]);
        let devices = devices(self.machine, |near| near == Some(node.os_index));
        frame(look, title, vec![name], rows(devices, width.saturating_sub(2 * GAP)))
    }
}

/// The devices near a node: what computes, what stores, what connects.
fn devices(machine: &Machine, is_near: impl Fn(Option<NodeId>) -> bool) -> Vec<Block> {
    let gpus = machine.gpus.iter().flatten().filter(|gpu| is_near(gpu.node)).map(gpu);
    let disks = machine.disks.iter().flatten().filter(|disk| is_near(disk.node)).map(disk);
    let nics = machine.nics.iter().flatten().filter(|nic| is_near(nic.node)).map(nic);
    gpus.chain(disks).chain(nics).collect()
}

fn gpu(gpu: &Gpu) -> Block {
    let memory = gpu.memory_bytes.map(size).unwrap_or_default();
    let place = gpu.pci_address.clone().unwrap_or_default();
    device(Look::Gpu, join(["GPU".to_owned(), memory]), [gpu.name.clone(), place])
}

fn disk(disk: &Disk) -> Block {
    let kind = match disk.kind {
        DiskKind::Nvme => "NVMe",
        DiskKind::Ssd => "SSD",
        DiskKind::Hdd => "HDD",
        DiskKind::Unknown => "",
    };
    let size = disk.size_bytes.map(size).unwrap_or_default();
    let mounts = disk.mounts.iter().flatten().map(|mount| mount.path.as_str()).collect::<Vec<_>>().join(" ");
    let name = join([disk.name.clone(), kind.to_owned(), size]);
    device(Look::Disk, name, [disk.model.clone().unwrap_or_default(), mounts])
}

fn nic(nic: &Nic) -> Block {
    let speed = match nic.speed_mbits {
        Some(speed) if speed >= 1000 && speed.is_multiple_of(1000) => format!("{} Gbit/s", speed / 1000),
        Some(speed) => format!("{speed} Mbit/s"),
        None => nic.state.clone().unwrap_or_default(),
    };
    device(Look::Nic, join([nic.name.clone(), speed]), [nic.model.clone().unwrap_or_default(), String::new()])
}

fn device(look: Look, name: String, more: [String; 2]) -> Block {
    let [first, second] = more.clone();
    let title = join([name.clone(), first, second]);
    let lines = [name].into_iter().chain(more).filter(|line| !line.is_empty()).collect();
    frame(look, title, lines, Flow::default())
}

/// CPUs that are not in the picture or may not be used, and what the colours mean.
fn notes(machine: &Machine, width: u32) -> Vec<Block> {
    let forbidden = machine.forbidden_cpus();
    let left_out = if machine.offline_or_forbidden { "offline or forbidden CPUs" } else { "offline CPUs" };
    let mut told = vec![
        (left_out.to_owned(), &machine.offline_cpus),
        ("CPUs forbidden by the cgroup (hatched)".to_owned(), &forbidden),
    ];
    told.extend(machine.cpu_kinds.iter().rev().map(|kind| (format!("{}s", kind.name), &kind.cpus)));
    told.into_iter()
        .filter(|(_, cpus)| !cpus.is_empty())
        .map(|(what, cpus)| {
            let text = format!("{what}: {cpus}");
            frame(
                Look::Note,
                text.clone(),
                vec![text],
                Flow { width: width.saturating_sub(2 * GAP), ..Flow::default() },
            )
        })
        .collect()
}

/// `2 packages · 2 NUMA nodes · 16 L3 groups · 64 cores · 128 CPUs`.
fn counts(machine: &Machine) -> String {
    join([
        count(machine.parts_of(PartKind::Package).len(), "package"),
        count(machine.nodes().len(), "NUMA node"),
        count(machine.l3_groups().len(), "L3 group"),
        count(machine.cores().len(), "core"),
        count(machine.cpus().len(), "CPU"),
        count(machine.gpus.iter().flatten().count(), "GPU"),
        count(machine.disks.iter().flatten().count(), "disk"),
    ])
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => String::new(),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn numbered(name: &str, os_index: Option<u32>) -> String {
    os_index.map_or_else(|| name.to_owned(), |index| format!("{name} #{index}"))
}

/// A size; nothing where it is not known.
fn size(bytes: Bytes) -> String {
    if bytes.0 == 0 { String::new() } else { bytes.human() }
}

fn cpus_text(cpus: &CpuList) -> String {
    match cpus.len() {
        0 => String::new(),
        1 => format!("CPU {cpus}"),
        _ => format!("CPUs {cpus}"),
    }
}

/// The facts that are known, in one line.
fn join<const N: usize>(facts: [String; N]) -> String {
    facts.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(DOT)
}

fn part_look(kind: PartKind) -> Look {
    match kind {
        PartKind::Machine => Look::Machine,
        PartKind::Package => Look::Package,
        PartKind::Die => Look::Die,
        PartKind::Group => Look::Group,
        PartKind::L5 | PartKind::L4 => Look::Cache,
        PartKind::L3 => Look::L3,
    }
}
