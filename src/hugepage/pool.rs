//! One node's hugepage pool: what is missing, raised with a look at what the kernel really gave, lowered by what was added.
//!
//! ```text
//! free ≥ needed                     nothing to do
//! free < needed   raise by the difference ─ read back ─ enough: done
//!                                                     └ fewer: compact memory, try again ─ still fewer: Shortfall
//! ```

use super::{error::InitError, state::Raise};
use crate::{
    sys::{
        Root,
        host::HostError,
        hugetlb::{self, Fragmentation},
        memory::{self, Pool},
        stop::Stop,
    },
    units::{Bytes, NodeId},
};
use std::collections::BTreeMap;

/// A pool is raised in steps of this much, so that a stop need not wait for all of it, and progress shows.
const STEP: Bytes = Bytes::gib(1);
/// So often in a row compaction may bring nothing before we believe it.
const FRUITLESS_MAX: u32 = 2;

/// Too few pages: what was asked of the kernel, what it gave, and why it may have given no more.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error(
    "node {node}: asked for {} of {page_bytes} more, the kernel gave {granted}; {}; \
     free on that node: {}, of it {} in blocks of {} and more\n\
     hint: to have them from the start, boot with {boot_line}",
    pages(*asked), left(*before, *after), free_bytes.human(), fragmentation.in_large_blocks_bytes.human(), fragmentation.block_bytes.human()
)]
pub struct Shortfall {
    pub node: NodeId,
    pub page_bytes: Bytes,
    pub before: u64,
    /// What the pool has after the run was taken back.
    pub after: u64,
    pub asked: u64,
    pub granted: u64,
    pub free_bytes: Bytes,
    pub fragmentation: Fragmentation,
    pub boot_line: String,
}

fn left(before: u64, after: u64) -> String {
    if after == before {
        format!("the pool was put back to {before}")
    } else {
        format!("the pool had {before} before and has {after} now")
    }
}

/// `1 page`, `2 pages`
pub fn pages(number: u64) -> String {
    if number == 1 { "1 page".to_owned() } else { format!("{number} pages") }
}

/// By how many pages each node's pool has to grow, so that every need is met and nobody loses the free pages that were promised
/// to him. Promises belong to no node: they bind only when the pages of all nodes together would not do.
pub fn raises(needs: &BTreeMap<NodeId, u64>, pools: &BTreeMap<NodeId, Pool>, reserved: u64) -> BTreeMap<NodeId, u64> {
    let free = |node: &NodeId| pools.get(node).map_or(0, |pool| pool.free);
    let mut raises: BTreeMap<NodeId, u64> =
        needs.iter().map(|(node, pages)| (*node, pages.saturating_sub(free(node)))).collect();
    let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0u64, u64::saturating_add);
    let wanted = sum(&mut needs.values().copied()).saturating_add(reserved);
    let had = sum(&mut pools.values().map(|pool| pool.free)).saturating_add(sum(&mut raises.values().copied()));
    if sum(&mut needs.values().copied()) > 0
        && let Some((_, last)) = raises.iter_mut().next_back()
    {
        *last = last.saturating_add(wanted.saturating_sub(had));
    }
    raises.retain(|_, pages| *pages > 0);
    raises
}

/// What has to be written to a pool so that it has `missing` more pages. Surplus pages become the pool's own before the
/// kernel makes new ones, so they are counted in.
pub fn raise_of(node: NodeId, pool: &Pool, missing: u64) -> Raise {
    Raise {
        node,
        page_bytes: pool.page_bytes,
        before: pool.pages.saturating_sub(pool.surplus),
        surplus: pool.surplus,
        target: pool.pages.saturating_add(missing),
        is_begun: false,
        before_undo: None,
    }
}

/// How many of the promised pages a pool has to keep: those for which the free pages of the other nodes would not do. The kernel
/// counts promises for the whole machine, and any node's pages keep them.
pub fn kept_here(reserved: u64, free_elsewhere: u64) -> u64 {
    reserved.saturating_sub(free_elsewhere)
}

/// The size that takes `added` pages from a pool again: never below what is in use or has to be kept for a promise, which would
/// only turn those pages into surplus ones; but pages that were surplus before may become so again.
pub fn lowered(pool: &Pool, added: u64, kept: u64, surplus_before: u64) -> u64 {
    let own = pool.pages.saturating_sub(pool.surplus);
    let in_use = pool.pages.saturating_sub(pool.free.saturating_sub(kept));
    own.saturating_sub(added).max(in_use.saturating_sub(surplus_before)).min(own)
}

/// `hugepagesz=1G hugepages=0:64,1:64`: what these pools would be called on the kernel's command line (5.16 and later).
pub fn boot_line(page_bytes: Bytes, pools: &BTreeMap<NodeId, u64>) -> String {
    let size = match page_bytes.0 {
        bytes if bytes >= 1 << 30 => format!("{}G", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{}M", bytes >> 20),
        bytes => format!("{}K", bytes >> 10),
    };
    let counts = pools.iter().filter(|(_, pages)| **pages > 0).map(|(node, pages)| format!("{node}:{pages}"));
    format!("hugepagesz={size} hugepages={}", super::error::list(counts))
}

/// How a raise ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    Reached,
    /// The kernel gave so many and would give no more.
    Short(u64),
    /// By what.
    Stopped(&'static str),
}

/// Raises a pool to its target. Whatever was reached stays: the record of the run says how to take it back.
pub fn raise(root: &Root, raise: &Raise, stop: &Stop, told: &mut dyn FnMut(u64)) -> Result<Raised, InitError> {
    climb(&Kernel { root, raise }, raise, stop, told)
}

/// The other side of a raise.
trait Pages {
    /// Asks for a pool of so many pages, and gives how many there are then.
    fn ask(&self, pages: u64) -> Result<u64, InitError>;
    fn compact(&self) -> Result<(), InitError>;
}

struct Kernel<'a> {
    root: &'a Root,
    raise: &'a Raise,
}

impl Pages for Kernel<'_> {
    fn ask(&self, pages: u64) -> Result<u64, InitError> {
        hugetlb::set_pool(self.root, self.raise.node, self.raise.page_bytes, pages)?;
        // Read back: a node that has no more memory in one piece grants fewer pages and reports success.
        Ok(read(self.root, self.raise.node, self.raise.page_bytes)?.pages)
    }

    fn compact(&self) -> Result<(), InitError> {
        Ok(hugetlb::compact(self.root, self.raise.node)?)
    }
}

fn climb(pages: &dyn Pages, raise: &Raise, stop: &Stop, told: &mut dyn FnMut(u64)) -> Result<Raised, InitError> {
    let start = raise.before + raise.surplus;
    let step = (STEP.0 / raise.page_bytes.0).max(1);
    let (mut now, mut fruitless) = (start, 0);
    while now < raise.target {
        if let Some(by) = stop.asked() {
            return Ok(Raised::Stopped(by));
        }
        let ask = (now + step).min(raise.target);
        let given = pages.ask(ask)?;
        fruitless = if given > now { 0 } else { fruitless + 1 };
        if given < ask {
            if fruitless > FRUITLESS_MAX {
                return Ok(Raised::Short(given.saturating_sub(start)));
            }
            pages.compact()?;
        }
        now = given;
        told(now.saturating_sub(start));
    }
    Ok(Raised::Reached)
}

/// How a pool was lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    pub taken: u64,
    /// Pages of ours that somebody uses, and that stay therefore.
    pub stay: u64,
}

/// Takes back what a raise may have done, as soon as what the pool has is written down.
pub fn lower(root: &Root, raise: &Raise) -> Result<Lowered, InitError> {
    let Some(before) = raise.before_undo else { return Ok(Lowered::default()) };
    let now = own(&read(root, raise.node, raise.page_bytes)?);
    // Others may have changed the pool since it was raised: only our part of it goes, and never more than it is above what it was.
    let added = before.min(raise.target).saturating_sub(raise.before);
    // What an earlier try took.
    let added = added.saturating_sub(before.saturating_sub(now)).min(now.saturating_sub(raise.before));
    let taken = take(root, raise.node, raise.page_bytes, added, raise.surplus)?;
    Ok(Lowered { taken, stay: added.saturating_sub(taken) })
}

/// Takes `added` pages from a pool, as far as nobody uses them. Gives how many it took.
pub fn take(root: &Root, node: NodeId, page_bytes: Bytes, added: u64, surplus_before: u64) -> Result<u64, InitError> {
    let pool = read(root, node, page_bytes)?;
    let own = pool.pages.saturating_sub(pool.surplus);
    let free_elsewhere = hugetlb::free(root, page_bytes)?.saturating_sub(pool.free);
    let kept = kept_here(hugetlb::reserved(root, page_bytes)?, free_elsewhere);
    let wanted = lowered(&pool, added, kept, surplus_before);
    if wanted < own {
        hugetlb::set_pool(root, node, page_bytes, wanted)?;
    }
    let now = read(root, node, page_bytes)?;
    Ok(own.saturating_sub(now.pages.saturating_sub(now.surplus)))
}

/// What the pool has, surplus pages not counted.
pub fn own(pool: &Pool) -> u64 {
    pool.pages.saturating_sub(pool.surplus)
}

/// The pool as it is now.
pub fn read(root: &Root, node: NodeId, page_bytes: Bytes) -> Result<Pool, HostError> {
    let path = hugetlb::pool_file(root, node, page_bytes).display().to_string();
    let gone = || HostError::Odd { path, reason: "the pool is not there any more".into() };
    hugetlb::pool(root, node, page_bytes)?.ok_or_else(gone)
}

/// Says what a shortfall was; what the pool has when it was put back is not known by then.
pub fn shortfall(root: &Root, raise: &Raise, granted: u64, boot_line: String) -> Result<Shortfall, HostError> {
    let small_page =
        Bytes(nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as u64);
    Ok(Shortfall {
        node: raise.node,
        page_bytes: raise.page_bytes,
        before: raise.before,
        after: raise.before,
        asked: raise.target.saturating_sub(raise.before + raise.surplus),
        granted,
        free_bytes: memory::free(root, raise.node)?,
        fragmentation: hugetlb::fragmentation(root, raise.node, raise.page_bytes, small_page)?,
        boot_line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{faults::Faults, root::tests::tree};
    use proptest::prelude::*;
    use std::cell::{Cell, RefCell};

    const PAGE: Bytes = Bytes::mib(2);

    fn pool(pages: u64, free: u64, surplus: u64) -> Pool {
        Pool { page_bytes: PAGE, pages, free, surplus }
    }

    fn nodes<T: Clone>(values: &[T]) -> BTreeMap<NodeId, T> {
        values.iter().enumerate().map(|(node, value)| (NodeId(node as u32), value.clone())).collect()
    }

    #[test]
    fn only_what_is_missing_beyond_the_free_pages_is_asked_for() {
        let pools = nodes(&[pool(10, 4, 0), pool(0, 0, 0)]);
        assert_eq!(raises(&nodes(&[4, 0]), &pools, 0), BTreeMap::new());
        assert_eq!(raises(&nodes(&[6, 3]), &pools, 0), nodes(&[2, 3]));
        // Free pages that are promised to somebody are not ours.
        assert_eq!(raises(&nodes(&[4]), &pools, 3), nodes(&[3]));
        // Those of a node that is not asked for may keep the promise.
        assert_eq!(raises(&nodes(&[4]), &nodes(&[pool(4, 4, 0), pool(9, 9, 0)]), 3), BTreeMap::new());
        assert_eq!(raises(&BTreeMap::new(), &pools, 99), BTreeMap::new());
    }

    #[test]
    fn surplus_pages_become_the_pools_own_before_new_ones_are_made() {
        let raise = raise_of(NodeId(0), &pool(12, 0, 2), 3);
        assert_eq!((raise.before, raise.target), (10, 15));
    }

    #[test]
    fn a_pool_is_not_lowered_below_what_is_in_use() {
        assert_eq!(lowered(&pool(10, 10, 0), 4, 0, 0), 6);
        assert_eq!(lowered(&pool(10, 3, 0), 4, 0, 0), 7, "7 are in use");
        assert_eq!(lowered(&pool(10, 3, 0), 4, 2, 0), 9, "and 2 of the free ones promised");
        assert_eq!(lowered(&pool(10, 0, 0), 4, 0, 2), 8, "2 were surplus before and may be again");
        assert_eq!(lowered(&pool(3, 3, 0), 4, 0, 0), 0);
    }

    /// Two nodes; on the other one are 5 free pages. Written over, a number keeps the digits that it had more.
    fn two_nodes(pages: &str, free: u64, promised: u64) -> (tempfile::TempDir, Root) {
        const NODES: &str = "sys/devices/system/node";
        let of = |node: u32, name: &str| format!("{NODES}/node{node}/hugepages/hugepages-2048kB/{name}_hugepages");
        let all = |name: &str| format!("sys/kernel/mm/hugepages/hugepages-2048kB/{name}_hugepages");
        let (machine, free, promised) = ((free + 5).to_string(), free.to_string(), promised.to_string());
        let files = [
            (format!("{NODES}/online"), "0-1"),
            (of(0, "nr"), pages),
            (of(0, "free"), &free),
            (of(0, "surplus"), "0"),
            (of(1, "nr"), "5"),
            (of(1, "free"), "5"),
            (of(1, "surplus"), "0"),
            (all("free"), &machine),
            (all("resv"), &promised),
        ];
        tree(&files.each_ref().map(|(path, text)| (path.as_str(), *text)))
    }

    #[test]
    fn a_promise_that_another_node_can_keep_holds_no_page_here() {
        // 5 are promised on this machine, and the other node has 5 free ones.
        for (promised, taken) in [(0, 7), (5, 7), (6, 7), (8, 6), (13, 1)] {
            let (_dir, root) = two_nodes("9", 9, promised);
            assert_eq!(take(&root, NodeId(0), PAGE, 7, 0).unwrap(), taken, "{promised} are promised");
        }
    }

    fn raised(before: u64, target: u64, before_undo: u64) -> Raise {
        Raise { target, before_undo: Some(before_undo), ..raise_of(NodeId(0), &pool(before, 0, 0), 0) }
    }

    #[test]
    fn what_somebody_uses_by_now_stays_and_is_told() {
        // 4 were added to 5, and 7 of the 9 are in use.
        let (_dir, root) = two_nodes("9", 2, 0);
        assert_eq!(lower(&root, &raised(5, 9, 9)).unwrap(), Lowered { taken: 2, stay: 2 });
    }

    #[test]
    fn pages_that_others_added_are_not_taken_back() {
        // 2 were there, 3 were added, and others added 3.
        let (_dir, root) = two_nodes("8", 8, 0);
        let unbegun = Raise { before_undo: None, ..raised(2, 5, 8) };
        assert_eq!(lower(&root, &unbegun).unwrap(), Lowered::default(), "killed before the pool was raised");
        assert_eq!(lower(&root, &raised(2, 5, 8)).unwrap(), Lowered { taken: 3, stay: 0 });
        // Killed before that was written down, and done again.
        assert_eq!(lower(&root, &raised(2, 5, 8)).unwrap(), Lowered::default());
        assert_eq!(read(&root, NodeId(0), PAGE).unwrap().pages, 5, "2 and those of the others");
    }

    #[test]
    fn the_boot_line_has_the_syntax_per_node() {
        assert_eq!(boot_line(Bytes::gib(1), &nodes(&[64, 0, 72])), "hugepagesz=1G hugepages=0:64,2:72");
        assert_eq!(boot_line(Bytes::mib(2), &nodes(&[5])), "hugepagesz=2M hugepages=0:5");
        assert_eq!(boot_line(Bytes::kib(64), &nodes(&[5])), "hugepagesz=64K hugepages=0:5");
    }

    #[test]
    fn a_shortfall_says_all_that_helps() {
        let short = Shortfall {
            node: NodeId(1),
            page_bytes: Bytes::gib(1),
            before: 3,
            after: 3,
            asked: 64,
            granted: 50,
            free_bytes: Bytes::gib(70),
            fragmentation: Fragmentation {
                free_bytes: Bytes::gib(70),
                in_large_blocks_bytes: Bytes::gib(51),
                block_bytes: Bytes::mib(4),
            },
            boot_line: "hugepagesz=1G hugepages=1:67".into(),
        };
        assert_eq!(
            short.to_string(),
            "node 1: asked for 64 pages of 1GiB more, the kernel gave 50; the pool was put back to 3; \
             free on that node: 70 GiB, of it 51 GiB in blocks of 4 MiB and more\n\
             hint: to have them from the start, boot with hugepagesz=1G hugepages=1:67"
        );
        let used = Shortfall { after: 5, ..short }.to_string();
        assert!(used.contains("gave 50; the pool had 3 before and has 5 now; free on"), "{used}");
    }

    /// A kernel that has so many pages in one piece, and some more after each of some compactions.
    struct Scarce {
        pages: Cell<u64>,
        after_compaction: RefCell<Vec<u64>>,
        asked: RefCell<Vec<u64>>,
    }

    impl Pages for Scarce {
        fn ask(&self, pages: u64) -> Result<u64, InitError> {
            self.asked.borrow_mut().push(pages);
            Ok(pages.min(self.pages.get()))
        }

        fn compact(&self) -> Result<(), InitError> {
            self.pages.set(self.pages.get() + self.after_compaction.borrow_mut().pop().unwrap_or(0));
            Ok(())
        }
    }

    fn scarce(pages: u64, after_compaction: &[u64], stop: &Stop) -> (Raised, Vec<u64>) {
        let kernel = Scarce {
            pages: Cell::new(pages),
            after_compaction: RefCell::new(after_compaction.iter().rev().copied().collect()),
            asked: RefCell::default(),
        };
        let pool = Pool { page_bytes: Bytes::gib(1), pages: 5, free: 0, surplus: 0 };
        let raised = climb(&kernel, &raise_of(NodeId(0), &pool, 20), stop, &mut |_| {}).unwrap();
        (raised, kernel.asked.into_inner())
    }

    #[test]
    fn a_short_pool_is_reported_not_hidden() {
        // In steps of 1 GiB, so that a stop need not wait for all.
        assert_eq!(scarce(99, &[], &Stop::default()), (Raised::Reached, (6..=25).collect()));
        let (raised, asked) = scarce(15, &[], &Stop::default());
        assert_eq!((raised, asked), (Raised::Short(10), (6..=15).chain([16, 16, 16]).collect()));
        assert_eq!(scarce(5, &[], &Stop::default()).0, Raised::Short(0));
    }

    #[test]
    fn compaction_is_given_a_chance_as_long_as_it_helps() {
        assert_eq!(scarce(15, &[0, 2, 3, 0, 1, 1, 1, 1, 1], &Stop::default()).0, Raised::Reached);
        assert_eq!(scarce(15, &[0, 0, 0, 9], &Stop::default()).0, Raised::Short(10), "three times nothing is enough");
    }

    #[test]
    fn a_stop_ends_the_climb_between_two_steps() {
        let (raised, asked) = scarce(99, &[], &Stop::after(1));
        assert_eq!((raised, asked), (Raised::Stopped("a test"), vec![6]));
    }

    #[test]
    fn a_compaction_that_fails_ends_the_climb_and_is_announced() {
        let (dir, root) = two_nodes("9", 9, 0);
        std::fs::write(dir.path().join("sys/devices/system/node/node0/compact"), "").unwrap();
        let kernel = |faults: &std::sync::Arc<Faults>| {
            let root = root.clone().with_faults(faults);
            Kernel { root: &root, raise: &raised(5, 9, 9) }.compact()
        };
        let counting = Faults::counting();
        kernel(&counting).unwrap();
        assert!(counting.asked()[0].starts_with("compact the memory of a node through "), "{:?}", counting.asked());
        let error = kernel(&Faults::once(0)).unwrap_err().to_string();
        assert!(error.contains("/node0/compact: ") && error.contains("asked for by a test"), "{error}");
        let failing = Failing(Cell::new(0));
        let pool = Pool { page_bytes: Bytes::gib(1), pages: 5, free: 0, surplus: 0 };
        climb(&failing, &raise_of(NodeId(0), &pool, 20), &Stop::default(), &mut |_| {}).unwrap_err();
        assert_eq!(failing.0.get(), 1, "it is not asked again");
    }

    /// A kernel that gives nothing and cannot compact.
    struct Failing(Cell<u32>);

    impl Pages for Failing {
        fn ask(&self, _: u64) -> Result<u64, InitError> {
            self.0.set(self.0.get() + 1);
            Ok(5)
        }

        fn compact(&self) -> Result<(), InitError> {
            Err(InitError::Stopped("a test"))
        }
    }

    fn used_of(pool: &Pool) -> u64 {
        pool.pages - pool.free
    }

    fn any_pool() -> impl Strategy<Value = Pool> {
        (0u64..200, 0u64..200, 0u64..20).prop_map(|(used, free, surplus)| pool(used + free, free, surplus.min(used)))
    }

    proptest! {
        #[test]
        fn raised_pools_meet_every_need_and_every_promise_and_not_a_page_more(
            needs in prop::collection::vec(0u64..100, 1..4),
            pools in prop::collection::vec(any_pool(), 1..4),
            promised in 0u64..400,
        ) {
            let pools = nodes(&pools);
            let needs: BTreeMap<_, _> = nodes(&needs).into_iter().filter(|(node, _)| pools.contains_key(node)).collect();
            // The kernel promises what it has.
            let free: u64 = pools.values().map(|pool| pool.free).sum();
            let promised = promised.min(free);
            let raises = raises(&needs, &pools, promised);
            let raised = |node: &NodeId| raises.get(node).copied().unwrap_or(0);
            for (node, pages) in &needs {
                prop_assert!(pools[node].free + raised(node) >= *pages);
            }
            let wanted: u64 = needs.values().sum();
            if wanted == 0 {
                prop_assert!(raises.is_empty());
                return Ok(());
            }
            let all: u64 = free + raises.values().sum::<u64>();
            prop_assert!(all >= wanted + promised);
            // Not a page more: one page less on any node breaks a need or a promise.
            for (node, pages) in &raises {
                let breaks_need = needs[node] > pools[node].free + pages - 1;
                prop_assert!(breaks_need || all - 1 < wanted + promised, "{node}");
            }
        }

        #[test]
        fn lowering_takes_back_what_raising_added_or_leaves_what_is_in_use(
            pool_before in any_pool(), missing in 0u64..100, then_used in 0u64..100,
            promised in 0u64..200, free_elsewhere in 0u64..200,
        ) {
            let raise = raise_of(NodeId(0), &pool_before, missing);
            let free = pool_before.free + missing;
            let used = then_used.min(free);
            let now = pool(raise.target, free - used, 0);
            // The kernel promises what it has.
            let promised = promised.min(now.free + free_elsewhere);
            let size = lowered(&now, raise.target - raise.before, kept_here(promised, free_elsewhere), raise.surplus);
            prop_assert!(size >= raise.before && size <= raise.target);
            if used + promised.saturating_sub(free_elsewhere) <= pool_before.free {
                prop_assert_eq!(size, raise.before);
            }
            // The kernel makes surplus of what is in use beyond the size: none that was not there.
            prop_assert!(now.pages - now.free <= size + raise.surplus);
            // Every promise can still be kept, by this node and the others.
            prop_assert!(size + raise.surplus + free_elsewhere >= used_of(&now) + promised);
        }
    }
}
