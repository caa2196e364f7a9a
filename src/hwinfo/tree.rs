//! A machine as the tree that operators know, in OS indices.
//!
//! ```text
//! Machine (503.55 GiB)
//! └── Package (251.57 GiB) (*** *** *** 32-Core Processor)
//!     ├── NUMANode (#0 251.57 GiB)
//!     └── L3 (#0 16 MiB)
//!         └── PU #0/#64 + PU #1/#65
//! ```
//!
//! `#` numbers are the operating system's. A part that the system does not number has hwloc's instead,
//! marked `L#`. SMT siblings share one `PU`, joined by `/`.

use crate::{
    machine::{Core, Machine, NumaNode, Part, PartKind},
    units::Bytes,
};
use ptree::{PrintConfig, TreeItem, print_config::StyleWhen};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

/// Writes the tree, then the CPUs that are not in it or may not be used.
pub fn write_tree(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "CPU topology:")?;
    // Set here and not read from a user's ptree.toml: the same machine prints the same bytes everywhere.
    let config = PrintConfig { indent: 4, styled: StyleWhen::Never, ..PrintConfig::default() };
    ptree::write_tree_with(&lines(&machine.topology, &mut Counters::default()), &mut *out, &config)?;
    for (what, cpus) in
        [("Offline CPUs", &machine.offline_cpus), ("CPUs forbidden by the cgroup", &machine.forbidden_cpus())]
    {
        if !cpus.is_empty() {
            writeln!(out, "{what}: {cpus}")?;
        }
    }
    Ok(())
}

/// A line and the lines below it.
#[derive(Clone)]
struct Line {
    text: String,
    below: Vec<Line>,
}

impl TreeItem for Line {
    type Child = Self;

    fn write_self<W: Write>(&self, out: &mut W, _: &ptree::Style) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }

    fn children(&self) -> Cow<'_, [Self]> {
        Cow::Borrowed(&self.below)
    }
}

/// How many parts of each kind came before: hwloc's logical number of the next.
type Counters = BTreeMap<&'static str, u32>;

fn lines(part: &Part, counters: &mut Counters) -> Line {
    let text = part_text(part, counters);
    let mut below: Vec<_> = part.nodes.iter().map(|node| leaf(node_text(node))).collect();
    below.extend(part.parts.iter().map(|part| lines(part, counters)));
    if !part.cores.is_empty() {
        below.push(leaf(part.cores.iter().map(core_text).collect::<Vec<_>>().join(" + ")));
    }
    Line { text, below }
}

fn leaf(text: String) -> Line {
    Line { text, below: Vec::new() }
}

fn part_text(part: &Part, counters: &mut Counters) -> String {
    let name = name(part.kind);
    let counter = counters.entry(name).or_default();
    let logical = *counter;
    *counter += 1;
    let number = match part.kind {
        PartKind::Machine | PartKind::Package => None,
        _ => Some(part.os_index.map_or_else(|| format!("L#{logical}"), |index| format!("#{index}"))),
    };
    let size = part.size_bytes.unwrap_or(part.memory_bytes);
    with_notes(name, &[join(number, size), part.model.clone()])
}

fn node_text(node: &NumaNode) -> String {
    let memory_only = node.is_memory_only().then(|| match &node.subtype {
        Some(subtype) => format!("memory only, {subtype}"),
        None => "memory only".to_owned(),
    });
    with_notes("NUMANode", &[join(Some(format!("#{}", node.os_index)), node.memory_bytes), memory_only])
}

fn core_text(core: &Core) -> String {
    let cpus: Vec<_> = core.cpus.iter().map(|cpu| format!("#{cpu}")).collect();
    format!("PU {}", cpus.join("/"))
}

fn name(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Machine => "Machine",
        PartKind::Package => "Package",
        PartKind::Die => "Die",
        PartKind::Group => "Group",
        PartKind::L5 => "L5",
        PartKind::L4 => "L4",
        PartKind::L3 => "L3",
    }
}

/// `#0 16 MiB`; a size that is not known is left out.
fn join(number: Option<String>, size: Bytes) -> Option<String> {
    let size = (size.0 > 0).then(|| size.human());
    let words: Vec<_> = number.into_iter().chain(size).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn with_notes(name: &str, notes: &[Option<String>]) -> String {
    notes.iter().flatten().fold(name.to_owned(), |text, note| format!("{text} ({note})"))
}
