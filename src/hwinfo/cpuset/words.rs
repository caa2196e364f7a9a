//! Numbers as an operator reads them: `7 cores`, `4 + 3`, `L3 #0`.

use crate::machine::{PartKind, pc1_units::Group};

/// `1 core`, `7 cores`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What a group of this kind is called.
pub(super) fn noun(kind: PartKind) -> &'static str {
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

/// `L3 #4`, or `L3 L#4` where the system does not number it, as in the tree.
pub(super) fn name(group: &Group) -> String {
    let kind = match group.kind {
        PartKind::Machine => return "Machine".to_owned(),
        kind => kind.name(),
    };
    match group.os_index {
        Some(index) => format!("{kind} #{index}"),
        None => format!("{kind} L#{}", group.logical),
    }
}

/// How many cores each group gives: `4 + 3`, and for many of them `13 x 3 + 1 x 2`.
pub(super) fn shares(groups: &[Group]) -> String {
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
