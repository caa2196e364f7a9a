//! Locks: whether they exist, whether they keep anything apart, and whether their order can stop everything for ever.

use super::{
    Finding,
    Severity::{Error, Warning},
    case::{Case, Placed},
    count, finding,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let locks = &case.question.config.processors.ext_locks;
    let mut found = Vec::new();
    for placed in &case.processors {
        for lock in placed.processor.locks.iter().filter(|lock| !locks.contains_key(*lock)) {
            let advice = format!("add {lock} = 1 under [processors.ext_locks]");
            found.push(finding(
                Error,
                "unknown-lock",
                placed.key("locks"),
                format!("no lock has the name {lock}"),
                advice,
            ));
        }
    }
    found.extend(locks.iter().filter_map(|(name, holders)| useless(case, name, *holders)));
    found.extend(cycle(case));
    found
}

fn useless(case: &Case, name: &str, holders: u32) -> Option<Finding> {
    let path = format!("processors.ext_locks.{name}");
    let users: Vec<&Placed> =
        case.processors.iter().filter(|placed| placed.processor.locks.iter().any(|lock| lock == name)).collect();
    if users.is_empty() {
        return Some(finding(
            Warning,
            "unused-lock",
            path,
            "no processor takes it",
            "add it to the locks of those it should keep apart",
        ));
    }
    let most: u32 = users.iter().map(|placed| placed.tasks).fold(0, u32::saturating_add);
    (holders >= most).then(|| {
        let text = format!(
            "{} may hold it at once, and {} ever want it: it keeps nothing apart",
            holders,
            count(most, "task")
        );
        finding(Warning, "lax-lock", path, text, "lower it, for a GPU to 1")
    })
}

/// Processors that take the same locks in different orders can wait for each other for ever.
fn cycle(case: &Case) -> Option<Finding> {
    let on_way = circle(case.processors.iter().map(|placed| placed.processor.locks.as_slice()))?;
    let takers: Vec<_> = case
        .processors
        .iter()
        .filter(|placed| placed.processor.locks.windows(2).any(|pair| on_way.windows(2).any(|step| step == pair)))
        .map(|placed| placed.path.as_str())
        .collect();
    let text = format!(
        "locks are taken in a circle, {}, by {}: they can wait for each other for ever",
        on_way.join(" → "),
        takers.join(" and ")
    );
    Some(finding(Error, "lock-cycle", "processors.ext_locks", text, "list locks in the same order everywhere"))
}

/// Locks that lists take in a circle, the first of them at both ends; none where everybody keeps to one order.
pub fn circle<'c>(lists: impl Iterator<Item = &'c [String]>) -> Option<Vec<&'c str>> {
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pair in lists.flat_map(|list| list.windows(2)) {
        after.entry(&pair[0]).or_default().insert(&pair[1]);
    }
    after.keys().find_map(|start| way(&after, start, start, &mut BTreeSet::new()))
}

/// A way along `after` from `at` back to `start`.
fn way<'c>(
    after: &BTreeMap<&'c str, BTreeSet<&'c str>>,
    start: &'c str,
    at: &'c str,
    seen: &mut BTreeSet<&'c str>,
) -> Option<Vec<&'c str>> {
    for next in after.get(at).into_iter().flatten() {
        if *next == start {
            return Some(vec![at, start]);
        }
        if seen.insert(next)
            && let Some(rest) = way(after, start, next, seen)
        {
            return Some([vec![at], rest].concat());
        }
    }
    None
}
