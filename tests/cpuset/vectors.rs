//! The field's cpusets and what each prover makes of them: known machines, known answers.

use crate::{cpus, synthetic};
use damocles_worker::machine::{
    PartKind,
    pc1_units::{GroupKind, Outcome, Prover, Unit, pc1_units},
};

/// What is expected of a prover: so many units, or the assert that ends it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Units(usize),
    Panic,
}
use Expected::{Panic, Units};

const EPYC_7642_X2: &str = "pack:2 [numa] l3:16 core:3 pu:1";
const FOUR_PER_L3_X2: &str = "pack:2 [numa] l3:8 core:4 pu:1";

/// Machine, cpuset, groups, producers, units of the damocles fork, units of the stock library.
#[rustfmt::skip]
const VECTORS: &[(&str, &str, usize, usize, Expected, Expected)] = &[
    (EPYC_7642_X2, "0-41", 14, 1, Units(14), Units(14)),
    (EPYC_7642_X2, "48-89", 14, 1, Units(14), Units(0)),
    (EPYC_7642_X2, "0-47", 16, 1, Units(16), Units(16)),
    (EPYC_7642_X2, "48-86", 13, 1, Units(13), Units(0)),
    (EPYC_7642_X2, "48-92", 15, 1, Units(15), Units(0)),
    (EPYC_7642_X2, "0-47", 16, 3, Units(0), Units(0)),
    (EPYC_7642_X2, "0-20,48-68", 14, 1, Units(7), Units(7)),
    (FOUR_PER_L3_X2, "0-6", 2, 3, Panic, Panic),
    (FOUR_PER_L3_X2, "0-7", 2, 3, Units(2), Units(2)),
    // 2 x EPYC 7402: the 48-core example of the documents needs four cores per L3.
    ("pack:2 [numa] l3:8 core:3 pu:1", "0-7", 3, 3, Panic, Panic),
    // EPYC 7443.
    ("pack:1 [numa] l3:4 core:6 pu:1", "0-7", 2, 3, Units(2), Units(2)),
    (FOUR_PER_L3_X2, "0-19", 5, 3, Units(5), Units(5)),
    (EPYC_7642_X2, "0-35", 12, 1, Units(12), Units(12)),
    // EPYC 7713, 7763, 9554.
    ("pack:1 [numa] l3:8 core:8 pu:1", "0-63", 8, 1, Units(32), Units(32)),
    ("pack:1 [numa] l3:8 core:8 pu:1", "0-63", 8, 3, Units(16), Units(16)),
    // EPYC 7643.
    ("pack:1 [numa] l3:8 core:6 pu:1", "0-47", 8, 1, Units(24), Units(24)),
    ("pack:1 [numa] l3:8 core:6 pu:1", "0-47", 8, 2, Units(16), Units(16)),
    ("pack:1 [numa] l3:8 core:6 pu:1", "0-47", 8, 3, Units(8), Units(8)),
    // EPYC 9654.
    ("pack:1 [numa] l3:12 core:8 pu:1", "0-95", 12, 1, Units(48), Units(48)),
    // 2 x Xeon 8380.
    ("pack:2 [numa] l3:1 core:40 pu:1", "0-79", 2, 1, Units(40), Units(40)),
    ("pack:2 [numa] l3:1 core:40 pu:1", "0-79", 2, 3, Units(20), Units(20)),
    // EPYC 7302.
    ("pack:1 [numa] l3:8 core:2 pu:1", "0-15", 8, 1, Units(8), Units(8)),
    // EPYC 7F32: each core has an L3, so the package is the group.
    ("pack:1 [numa] l3:8 core:1 pu:1", "0-7", 1, 1, Units(4), Units(4)),
];

fn units(machine: &str, cpuset: &str, prover: Prover, producers: usize) -> Vec<Unit> {
    pc1_units(&synthetic(machine), &cpus(cpuset), prover, producers).units().to_vec()
}

fn bound(machine: &str, cpuset: &str, prover: Prover, producers: usize) -> Vec<Vec<u32>> {
    units(machine, cpuset, prover, producers).into_iter().map(|unit| unit.cpus).collect()
}

#[test]
fn every_known_cpuset_gives_its_known_units() {
    for (machine, cpuset, groups, producers, fork, stock) in VECTORS {
        for (prover, expected) in [(Prover::StockDamocles, fork), (Prover::Stock, stock)] {
            let found = pc1_units(&synthetic(machine), &cpus(cpuset), prover, *producers);
            let outcome = match &found.outcome {
                Outcome::Panics => Panic,
                Outcome::Units(units) => Units(units.len()),
                Outcome::NoCores => panic!("{machine} {cpuset}"),
            };
            assert_eq!(
                (found.groups.len(), outcome),
                (*groups, *expected),
                "{machine} {cpuset} P={producers} {prover}"
            );
        }
    }
}

#[test]
fn units_of_whole_groups_share_a_cache_each_and_no_core() {
    for (machine, cpuset, _, producers, ..) in VECTORS.iter().filter(|vector| vector.0 == EPYC_7642_X2) {
        let units = units(machine, cpuset, Prover::StockDamocles, *producers);
        assert!(units.iter().all(|unit| (unit.groups, unit.l3_caches, unit.unbound) == (1, 1, 0)), "{cpuset}");
        let mut all: Vec<u32> = units.iter().flat_map(|unit| unit.cpus.clone()).collect();
        let bound = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), bound);
    }
}

#[test]
fn the_first_two_cores_of_each_l3_are_bound_on_both_nodes() {
    let expected = |first: u32| (0..14).map(|l3| vec![first + 3 * l3, first + 3 * l3 + 1]).collect::<Vec<_>>();
    assert_eq!(bound(EPYC_7642_X2, "0-41", Prover::StockDamocles, 1), expected(0));
    assert_eq!(bound(EPYC_7642_X2, "0-41", Prover::Stock, 1), expected(0));
    assert_eq!(bound(EPYC_7642_X2, "48-89", Prover::StockDamocles, 1), expected(48));
    assert_eq!(bound(EPYC_7642_X2, "48-89", Prover::Own, 1), expected(48));
}

#[test]
fn the_good_example_binds_each_l3_to_a_task() {
    for prover in Prover::ALL {
        assert_eq!(bound(FOUR_PER_L3_X2, "0-7", prover, 3), [[0, 1, 2, 3], [4, 5, 6, 7]], "{prover}");
    }
}

#[test]
fn four_and_two_cores_pass_the_assert_and_straddle() {
    // 6 + 2 cores of two L3 caches: the library takes it for 4 + 4.
    let found = units("pack:1 [numa] l3:4 core:6 pu:1", "0-7", Prover::Stock, 3);
    assert_eq!(found.iter().map(|unit| unit.cpus.clone()).collect::<Vec<_>>(), [[0, 1, 2, 3], [4, 5, 6, 7]]);
    assert_eq!(found.iter().map(|unit| unit.groups).collect::<Vec<_>>(), [1, 2]);
    // 4 + 2 of two L3 caches: taken for 3 + 3.
    let machine = "pack:1 [numa] l3:2 core:4 pu:1";
    let found = pc1_units(&synthetic(machine), &cpus("0-5"), Prover::Stock, 1);
    assert!(!found.is_equal());
    assert_eq!(found.straddling().map(|unit| unit.cpus.clone()).collect::<Vec<_>>(), [[3, 4]]);
    // Ours fills each group by itself.
    assert_eq!(bound(machine, "0-5", Prover::Own, 1), [[0, 1], [4, 5], [2, 3]]);
}

#[test]
fn a_second_round_starts_when_every_group_has_a_unit() {
    let machine = "pack:2 [numa] l3:1 core:40 pu:1";
    for prover in Prover::ALL {
        let bound = bound(machine, "0-79", prover, 1);
        assert_eq!(bound[..4], [[0, 1], [40, 41], [2, 3], [42, 43]], "{prover}");
    }
}

#[test]
fn where_each_core_has_an_l3_the_package_is_the_group() {
    let found = pc1_units(&synthetic("pack:1 [numa] l3:8 core:1 pu:1"), &cpus("0-7"), Prover::Stock, 1);
    assert_eq!((found.level, found.groups.len()), (GroupKind::Part(PartKind::Package), 1));
    assert!(found.units().iter().all(|unit| (unit.groups, unit.l3_caches) == (1, 2)));
}

#[test]
fn tasks_beyond_the_units_float() {
    // 14 tasks on 12 L3 caches of three cores.
    let found = pc1_units(&synthetic(EPYC_7642_X2), &cpus("0-35"), Prover::Stock, 1);
    assert_eq!((found.floating(14), found.floating(12), found.floating(0)), (2, 0, 0));
}

#[test]
fn cores_count_not_threads() {
    // Siblings as the kernel numbers them on most EPYC machines, and side by side.
    let far = "pack:1 [numa] l3:2 core:4 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)";
    let near = "pack:1 [numa] l3:2 core:4 pu:2";
    for prover in Prover::ALL {
        assert_eq!(bound(far, "0-7,8-15", prover, 3), [[0, 1, 2, 3], [4, 5, 6, 7]], "{prover}");
        assert_eq!(bound(far, "0-7", prover, 3), [[0, 1, 2, 3], [4, 5, 6, 7]], "{prover}");
        assert_eq!(bound(near, "0-15", prover, 3), [[0, 2, 4, 6], [8, 10, 12, 14]], "{prover}");
    }
    // One CPU per core where siblings stand side by side: the stock numbers meet holes.
    let units = units(near, "0,2,4,6", Prover::Stock, 3);
    assert_eq!(units.iter().map(|unit| (unit.cpus.clone(), unit.unbound)).collect::<Vec<_>>(), [(vec![0, 4], 2)]);
    assert_eq!(bound(near, "0,2,4,6", Prover::Own, 3), [[0, 2, 4, 6]]);
}

#[test]
fn cpus_that_are_not_there_give_no_cores() {
    let found = pc1_units(&synthetic(FOUR_PER_L3_X2), &cpus("900-907"), Prover::Stock, 3);
    assert_eq!((found.outcome, found.cores, found.groups.len()), (Outcome::NoCores, 0, 0));
}

#[test]
fn our_own_prover_binds_one_core_per_sector_by_default() {
    assert_eq!(Prover::Own.default_producers(), 0);
    assert_eq!(bound(FOUR_PER_L3_X2, "32-35,60", Prover::Own, 0), [[32], [60], [33], [34], [35]]);
}

#[test]
fn a_prover_nobody_knows_is_refused_with_the_known_ones() {
    let error = "stok".parse::<Prover>().unwrap_err().to_string();
    assert!(error.contains("stock, stock-damocles, own"), "{error}");
}
