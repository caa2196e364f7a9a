//! Any machine, any target: either a file that loads clean, or a refusal that says why.

use crate::{machine, plan, site};
use damocles_worker::{
    planner::{PlanError, Target},
    units::{Bytes, Period, Rate, SectorSize},
    worker_config,
};
use proptest::prelude::*;

fn any_machine() -> impl Strategy<Value = String> {
    (1u32..4, 0u64..200, 0u32..4, 1u32..6, 1u32..3).prop_map(|(packages, gib, caches, cores, pus)| {
        let memory = Bytes::gib(gib).0;
        let l3 = if caches == 0 { String::new() } else { format!("l3:{caches}(size=16MB) ") };
        format!("pack:{packages} [numa(memory={memory})] {l3}core:{cores} pu:{pus}")
    })
}

fn any_target() -> impl Strategy<Value = Target> {
    let period = prop_oneof![Just(Period::Hour), Just(Period::Day), Just(Period::Week), Just(Period::Month)];
    // Exponents spread the targets evenly from bytes to exbibytes.
    (0u32..63, 1u64..1024, period, 0usize..5, 1.0f64..31.0).prop_map(|(shift, n, period, size, days_per_month)| {
        let bytes = Bytes(n.saturating_mul(1 << shift));
        Target { rate: Rate { bytes, period }, sector_size: SectorSize::ALL[size], days_per_month }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_plan_loads_and_every_refusal_is_typed(line in any_machine(), target in any_target()) {
        let machine = machine(&line);
        match plan(&machine, &target, &site()) {
            Ok(plan) => {
                let loaded = worker_config::parse(&plan.worker_toml).unwrap();
                prop_assert_eq!(&loaded.warnings, &[]);
                prop_assert_eq!(loaded.config.sealing_thread.len(), plan.capacity.sealing_threads as usize);
                prop_assert!(plan.capacity.sectors_per_hour_expected >= plan.capacity.sectors_per_hour_needed * 0.999);
            }
            Err(PlanError::NoL3 { .. }) => prop_assert!(target.sector_size >= SectorSize::GiB32),
            Err(PlanError::NothingFits { change, .. }) => prop_assert!(change.is_some(), "{line} {target:?}"),
            Err(PlanError::Infeasible { needed, possible, .. }) => prop_assert!(possible < needed),
            Err(PlanError::NoMemory { .. }) => prop_assert_eq!(machine.memory_bytes(), Bytes(0)),
            Err(other) => prop_assert!(false, "{line} {target:?}: {other}"),
        }
    }
}
