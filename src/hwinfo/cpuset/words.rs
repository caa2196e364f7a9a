//! Numbers as an operator reads them: `7 cores`, `4 + 3`, `L3 #0`.

use crate::{
    machine::{
        PartKind,
        pc1_units::{Group, GroupKind, Pc1Units},
    },
    units::CpuList,
};

/// `1 core`, `7 cores`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The form of a verb for so many: `verb(1, "spans", "span")`.
pub(super) fn verb(number: usize, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `CPU 5`, `CPUs 0-3`.
pub(super) fn cpus(list: &CpuList) -> String {
    format!("{} {list}", if list.len() == 1 { "CPU" } else { "CPUs" })
}

/// What a group of this kind is called.
pub(super) fn noun(kind: GroupKind) -> &'static str {
    let GroupKind::Part(kind) = kind else { return "L2 cache" };
    match kind {
        PartKind::Machine => "machine",
        PartKind::Package => "package",
        PartKind::Die => "die",
        PartKind::Group => "group",
        PartKind::L5 => "L5 cache",
        PartKind::L4 => "L4 cache",
        PartKind::L3 => "L3 cache",
    }
}

/// `L3 #4`, or `L3 L#0` where the system does not number it, as in the tree.
pub(super) fn name(group: &Group) -> String {
    if group.kind == GroupKind::MACHINE {
        return "Machine".to_owned();
    }
    let kind = group.kind.name();
    match group.os_index {
        Some(index) => format!("{kind} #{index}"),
        None => format!("{kind} L#{}", group.logical),
    }
}

/// The same inside a sentence: a machine has no other beside it.
pub(super) fn name_within(group: &Group) -> String {
    if group.kind == GroupKind::MACHINE { "the machine".to_owned() } else { name(group) }
}

/// `7 cores in 2 L3 caches (4 + 3)`, `4 cores in 1 whole package`, `4 cores of the machine`.
pub(super) fn cores_in_groups(units: &Pc1Units, whole: &str) -> String {
    let cores = count(units.cores, "core");
    if units.level == GroupKind::MACHINE {
        return format!("{cores} of the {whole}machine");
    }
    let groups = count(units.groups.len(), &format!("{whole}{}", noun(units.level)));
    let outside = units.cores - units.groups.iter().map(|group| group.cores).sum::<usize>();
    let told = match (units.groups.len(), outside) {
        (1, 0) => format!("{cores} in {groups}"),
        (_, 0) => format!("{cores} in {groups} ({})", shares(&units.groups)),
        _ => format!("{cores} in {groups} ({}, and {outside} in none)", shares(&units.groups)),
    };
    match units.coreless {
        0 => told,
        more => format!("{told}, taken for {} with {more} whose memory alone is seen", units.groups.len() + more),
    }
}

/// How many cores each group gives: `4 + 3`, and for many of them `13 x 3 + 1 x 2`.
fn shares(groups: &[Group]) -> String {
    if groups.len() <= 4 {
        return groups.iter().map(|group| group.cores.to_string()).collect::<Vec<_>>().join(" + ");
    }
    let mut sizes: Vec<(usize, usize)> = Vec::new();
    for group in groups {
        match sizes.iter_mut().find(|(size, _)| *size == group.cores) {
            Some((_, times)) => *times += 1,
            None => sizes.push((group.cores, 1)),
        }
    }
    sizes.iter().map(|(size, times)| format!("{times} x {size}")).collect::<Vec<_>>().join(" + ")
}
