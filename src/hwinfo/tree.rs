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
//! marked `L#`. SMT siblings share one `PU`, joined by `/`. More cores than `CORES_LISTED_MAX` become ranges, in the
//! form that a cpuset takes. Where cores differ, those of one kind share a line that names it.

use super::{FullObject, plain::plain};
use crate::{
    machine::{Core, Machine, NumaNode, Part, PartKind},
    units::{Bytes, CpuList},
};
use ptree::{PrintConfig, TreeItem, print_config::StyleWhen};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

/// The most cores that are listed one by one: a line of them still fits a screen.
const CORES_LISTED_MAX: usize = 8;

/// Whether lines carry colours: only a terminal shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Terminal,
}

/// Writes the tree without colours, then the CPUs that are not in it or may not be used.
pub fn write_tree(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    write_painted_tree(machine, Paint::Plain, out)
}

/// The same, in colours for a terminal.
pub fn write_painted_tree(machine: &Machine, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "CPU topology:")?;
    write_lines(&lines(machine, &machine.topology, &mut Counters::default()), paint, out)?;
    write_absent(machine, out)
}

/// Writes everything that hwloc knows, then the CPUs that are not in it or may not be used, then what hwloc knows of
/// several objects together.
pub fn write_full_tree(full: &FullObject, machine: &Machine, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Everything hwloc knows:")?;
    write_lines(&full_lines(full), paint, out)?;
    write_absent(machine, out)?;
    full.relations.iter().try_for_each(|relations| relations.write(out))
}

fn write_lines(line: &Line, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    // Set here and not read from a user's ptree.toml: the same machine prints the same bytes everywhere.
    let config = PrintConfig { indent: 4, styled: StyleWhen::Never, ..PrintConfig::default() };
    // The printer writes a few bytes at a time, and standard output passes on every line.
    let mut text = Vec::new();
    match paint {
        Paint::Plain => ptree::write_tree_with(line, &mut text, &config)?,
        Paint::Terminal => ptree::write_tree_with(&Painted(Cow::Borrowed(line)), &mut text, &config)?,
    }
    out.write_all(&text)
}

fn write_absent(machine: &Machine, out: &mut dyn Write) -> io::Result<()> {
    let left_out = if machine.offline_or_forbidden { "Offline or forbidden CPUs" } else { "Offline CPUs" };
    for (what, cpus) in [(left_out, &machine.offline_cpus), ("CPUs forbidden by the cgroup", &machine.forbidden_cpus())]
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
        out.write_all(plain(&self.text).as_bytes())
    }

    fn children(&self) -> Cow<'_, [Self]> {
        Cow::Borrowed(&self.below)
    }
}

/// A line whose first word is coloured by what it is.
#[derive(Clone)]
struct Painted<'a>(Cow<'a, Line>);

impl TreeItem for Painted<'_> {
    type Child = Self;

    fn write_self<W: Write>(&self, out: &mut W, _: &ptree::Style) -> io::Result<()> {
        let text = plain(&self.0.text);
        let (word, rest) = match text.split_once(' ') {
            Some((word, _)) => text.split_at(word.len()),
            None => (&*text, ""),
        };
        // Bold for what holds others, green for memory, cyan for caches, yellow for devices.
        let colour = match word {
            "Machine" | "Package" | "Die" | "Group" => "1",
            "NUMANode" => "32",
            word if word.starts_with('L') => "36",
            "PU" | "Core" => return out.write_all(text.as_bytes()),
            _ => "33",
        };
        write!(out, "\x1b[{colour}m{word}\x1b[0m{rest}")
    }

    fn children(&self) -> Cow<'_, [Self]> {
        Cow::Owned(self.0.below.iter().map(|line| Painted(Cow::Owned(line.clone()))).collect())
    }
}

fn full_lines(object: &FullObject) -> Line {
    Line { text: object.text(), below: object.children.iter().map(full_lines).collect() }
}

/// How many parts of each kind came before: hwloc's logical number of the next.
type Counters = BTreeMap<&'static str, u32>;

fn lines(machine: &Machine, part: &Part, counters: &mut Counters) -> Line {
    let text = part_text(part, counters);
    let mut below: Vec<_> = part.nodes.iter().map(|node| leaf(node_text(node))).collect();
    below.extend(part.parts.iter().map(|part| lines(machine, part, counters)));
    below.extend(by_kind(machine, &part.cores).into_iter().map(|(kind, cores)| {
        let kind = kind.map(|kind| format!(" ({kind}s)")).unwrap_or_default();
        leaf(cores_text(&cores) + &kind)
    }));
    Line { text, below }
}

/// The cores of each kind, in the order of the tree; all of them where cores do not differ.
fn by_kind<'a>(machine: &'a Machine, cores: &'a [Core]) -> Vec<(Option<&'a str>, Vec<&'a Core>)> {
    let mut kinds: Vec<(Option<&str>, Vec<&Core>)> = Vec::new();
    for core in cores {
        let kind = machine.kind_of(core).map(|kind| kind.name.as_str());
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, cores)) => cores.push(core),
            None => kinds.push((kind, vec![core])),
        }
    }
    kinds
}

fn leaf(text: String) -> Line {
    Line { text, below: Vec::new() }
}

fn part_text(part: &Part, counters: &mut Counters) -> String {
    let name = part.kind.name();
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
    let forbidden = node.forbidden.then(|| "forbidden by the cgroup".to_owned());
    with_notes("NUMANode", &[join(Some(format!("#{}", node.os_index)), node.memory_bytes), memory_only, forbidden])
}

/// The cores of a part, one by one or as ranges.
fn cores_text(cores: &[&Core]) -> String {
    if cores.len() <= CORES_LISTED_MAX {
        return cores.iter().map(|core| core_text(core)).collect::<Vec<_>>().join(" + ");
    }
    let all: CpuList = cores.iter().flat_map(|core| core.cpus.iter()).collect();
    if all.len() == cores.len() {
        return format!("PU #{all} ({})", cores.len());
    }
    let first: CpuList = cores.iter().filter_map(|core| core.cpus.iter().next()).collect();
    let siblings = all.minus(&first);
    let count = format!("{} cores", cores.len());
    // Where siblings are neighbours (#0/#1, #2/#3), the first CPUs make no range but all of them do.
    if siblings.len() == first.len()
        && first.to_string().len() + siblings.to_string().len() > 2 * all.to_string().len() + 8
    {
        let pair = |core: &Core| core_text(core).replacen("PU ", "", 1);
        let (one, two) = (cores[0], cores[1]);
        return format!("PU #{all} ({count}, siblings are neighbours: {} + {} + …)", pair(one), pair(two));
    }
    format!("PU #{first} + siblings #{siblings} ({count})")
}

fn core_text(core: &Core) -> String {
    let cpus: Vec<_> = core.cpus.iter().map(|cpu| format!("#{cpu}")).collect();
    format!("PU {}", cpus.join("/"))
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
