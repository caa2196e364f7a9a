//! `plan --optimise` against every layout that a small machine can have, and its bound against all of them.
//!
//! The exhaustive search shares nothing with the planner: it writes configurations as text (each number of PC1 tasks,
//! each GPU for nothing, PC2, C2 or both, each division of the cores), lets the verifier judge them, and plays through
//! those that are sound.

use crate::placed_site;
use damocles_worker::{
    machine::Machine,
    planner::{
        self, Choices, Plan, PlanError, Request, Target, catalogue,
        simulate::{self, expected_per_day},
        verify,
    },
    profile::{Profile, Suite},
    units::{CpuList, Prover, SectorSize},
    worker_config,
};
use proptest::prelude::*;

/// What a simulation of some days differs by from what goes on for ever.
const UNREST: f64 = 0.015;

fn request(choices: Choices) -> Request {
    let target = Target { rate: "1PiB/month".parse().unwrap(), sector_size: SectorSize::GiB32, days_per_month: 30.0 };
    let choices = Choices { static_tree_d: Some("/srv/tree_d".into()), ..choices };
    Request { target, choices, site: placed_site(), profile: Profile::shipped() }
}

fn optimised(machine: &Machine, choices: &Choices) -> Result<Plan, PlanError> {
    planner::plan(machine, &request(Choices { optimise: true, utilisation: 1.0, ..choices.clone() }))
}

/// Some cores in L3 groups on one node, GPUs, memory.
fn small(groups: u32, cores: u32, gib: u32, gpus: &[(u32, &str, u32)]) -> Machine {
    let all = groups * cores;
    let mut text = format!(
        "[[machine]]\nname = \"w\"\ncpu = \"AMD EPYC 7543\"\npc1_capable = true\npackages = 1\ncores = {all}\ncpus = {all}\n\
         [[machine.l3]]\ncount = {groups}\ncores = {cores}\n[[machine.nodes]]\nindex = 0\ncores = {all}\nmemory = \"{gib}GiB\"\n"
    );
    for (count, name, memory) in gpus {
        text.push_str(&format!(
            "[[machine.gpus]]\ncount = {count}\nname = \"NVIDIA {name}\"\nmemory = \"{memory}GiB\"\n"
        ));
    }
    catalogue::machine_of(&catalogue::fleet(&text).unwrap().machine[0]).unwrap()
}

/// What a GPU is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Nothing,
    Pc2,
    C2,
    Both,
}

/// All ways to choose one of `options` for each of `count`.
fn ways<T: Copy>(options: &[T], count: usize) -> Vec<Vec<T>> {
    (0..count).fold(vec![Vec::new()], |all, _| {
        all.iter().flat_map(|way| options.iter().map(move |one| [way.as_slice(), &[*one]].concat())).collect()
    })
}

/// All ways to divide `total` into `parts` of at least one.
fn divisions(total: usize, parts: usize) -> Vec<Vec<usize>> {
    match parts {
        0 => vec![Vec::new()],
        1 => vec![vec![total]],
        _ => (1..=total.saturating_sub(parts - 1))
            .flat_map(|first| {
                let rest = divisions(total - first, parts - 1);
                rest.into_iter().map(move |rest| [&[first], rest.as_slice()].concat())
            })
            .collect(),
    }
}

fn list(cores: std::ops::Range<usize>) -> String {
    cores.map(|core| core as u32).collect::<CpuList>().to_string()
}

/// The text of one configuration: PC1 on the first cores, the system on the last, the others in between.
fn config(cores: usize, pc1: usize, uses: &[Use], parts: &[usize]) -> String {
    let mut text =
        "[sector_manager]\nrpc_client.addr = \"/ip4/10.0.0.1/tcp/1789\"\n[sealing]\nallowed_sizes = [\"32GiB\"]\n\
                    [[attached]]\nlocation = \"/p\"\n"
            .to_owned();
    (0..10 * pc1).for_each(|i| text.push_str(&format!("[[sealing_thread]]\nlocation = \"s/{i}\"\n")));
    let count = |of: &[Use]| uses.iter().filter(|one| of.contains(one)).count().max(1);
    let (pc2, c2) = (count(&[Use::Pc2, Use::Both]), count(&[Use::C2, Use::Both]));
    text.push_str(&format!(
        "[processors.static_tree_d]\n\"32GiB\" = \"/srv/tree_d\"\n\
         [processors.limitation.concurrent]\nadd_pieces = 2\ntree_d = 1\npc1 = {pc1}\npc2 = {pc2}\nc2 = {c2}\n[processors.ext_locks]\n"
    ));
    for (gpu, _) in uses.iter().enumerate().filter(|(_, one)| **one == Use::Both) {
        text.push_str(&format!("gpu{gpu} = 1\n"));
    }
    let system = list(cores - 1..cores);
    text.push_str(&format!("[[processors.add_pieces]]\nconcurrent = 2\ncgroup.cpuset = \"{system}\"\n"));
    text.push_str(&format!("[[processors.pc1]]\nconcurrent = {pc1}\ncgroup.cpuset = \"{}\"\n", list(0..pc1)));
    let mut at = pc1;
    let mut parts = parts.iter();
    let mut next = || {
        let first = at;
        at += parts.next().unwrap();
        first..at
    };
    let mut processor = |stage: &str, cores: std::ops::Range<usize>, gpu: Option<usize>, is_locked: bool| {
        let lock = if is_locked { format!("locks = [\"gpu{}\"]\n", gpu.unwrap()) } else { String::new() };
        let envs = match (stage, gpu) {
            ("pc2", Some(gpu)) => format!(
                "FIL_PROOFS_USE_GPU_COLUMN_BUILDER = \"1\", FIL_PROOFS_USE_GPU_TREE_BUILDER = \"1\", CUDA_VISIBLE_DEVICES = \"{gpu}\""
            ),
            (_, Some(gpu)) => format!("CUDA_VISIBLE_DEVICES = \"{gpu}\""),
            ("c2", None) => "BELLMAN_NO_GPU = \"1\"".to_owned(),
            _ => String::new(),
        };
        text.push_str(&format!(
            "[[processors.{stage}]]\nconcurrent = 1\ncgroup.cpuset = \"{}\"\n{lock}envs = {{ {envs} }}\n",
            list(cores)
        ));
    };
    if !uses.iter().any(|one| matches!(one, Use::Pc2 | Use::Both)) {
        processor("pc2", next(), None, false);
    }
    if !uses.iter().any(|one| matches!(one, Use::C2 | Use::Both)) {
        processor("c2", next(), None, false);
    }
    for (gpu, one) in uses.iter().enumerate() {
        match one {
            Use::Nothing => {}
            Use::Pc2 => processor("pc2", next(), Some(gpu), false),
            Use::C2 => processor("c2", next(), Some(gpu), false),
            Use::Both => {
                let cores = next();
                processor("pc2", cores.start..cores.end.min(cores.start + 8), Some(gpu), true);
                processor("c2", cores, Some(gpu), true);
            }
        }
    }
    text
}

/// The most sectors an hour of every configuration that the verifier lets pass, and how many those are.
fn exhaustive(machine: &Machine, suite: Suite) -> (f64, usize, String) {
    let (cores, gpus) = (machine.cores().len(), machine.compute_gpus().len());
    let profile = Profile::shipped();
    let (mut best, mut sound, mut which) = (0.0, 0, String::new());
    for pc1 in 1..cores - 1 {
        for uses in ways(&[Use::Nothing, Use::Pc2, Use::C2, Use::Both], gpus) {
            let on_cores = [[Use::Pc2, Use::Both], [Use::C2, Use::Both]];
            let on_cores = on_cores.iter().filter(|of| !uses.iter().any(|one| of.contains(one))).count();
            let stations = uses.iter().filter(|one| **one != Use::Nothing).count() + on_cores;
            for parts in divisions(cores - 1 - pc1, stations) {
                if parts.len() != stations || parts.iter().sum::<usize>() != cores - 1 - pc1 {
                    continue;
                }
                let text = config(cores, pc1, &uses, &parts);
                let loaded = worker_config::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
                let (prover, ghz) = (Prover::Own, None);
                let question = verify::Question {
                    config: &loaded.config,
                    warnings: &[],
                    machine,
                    profile: &profile,
                    prover,
                    suite,
                    ghz,
                    overcommit: false,
                };
                if !verify::verify(&question).good {
                    continue;
                }
                sound += 1;
                let question =
                    simulate::Question { config: &loaded.config, machine, profile: &profile, prover, suite, ghz };
                let rate = expected_per_day(&question, 14.0, 1).unwrap() / 24.0;
                if rate > best {
                    (best, which) = (rate, text);
                }
            }
        }
    }
    (best, sound, which)
}

#[test]
fn nothing_that_a_small_machine_can_have_is_better_than_what_is_found() {
    let rtx3080 = |count| (count, "GeForce RTX 3080", 10);
    for (name, machine, suite) in [
        ("8 cores, 1 GPU", small(2, 4, 512, &[rtx3080(1)]), Suite::Stock),
        ("8 cores, 1 GPU, memory is short", small(2, 4, 300, &[rtx3080(1)]), Suite::Stock),
        ("9 cores, 2 GPUs", small(3, 3, 700, &[rtx3080(2)]), Suite::Stock),
        ("9 cores, 2 GPUs, the faster code", small(3, 3, 900, &[rtx3080(2)]), Suite::Supra),
        ("8 cores, 2 kinds of GPUs", small(2, 4, 800, &[rtx3080(1), (1, "RTX A4000", 16)]), Suite::Stock),
        ("7 cores, a GPU for PC2 alone", small(1, 7, 600, &[(1, "Quadro RTX 4000", 8)]), Suite::Stock),
    ] {
        let plan = optimised(&machine, &Choices { suite, ..Choices::default() }).unwrap();
        let optimum = plan.optimum.unwrap();
        let (best, sound, which) = exhaustive(&machine, suite);
        assert!(sound > 5, "{name}: only {sound} configurations are sound");
        let found = optimum.sectors_per_hour;
        assert!(found >= best * (1.0 - UNREST), "{name}: found {found}, of {sound} the best is {best}:\n{which}");
        assert!(best <= optimum.sectors_per_hour_bound * (1.0 + UNREST), "{name}: {best} exceeds {optimum:?}\n{which}");
        assert!(optimum.complete, "{name}: {optimum:?}");
    }
}

#[test]
fn the_optimum_of_the_fields_machine_is_near_its_bound_and_the_same_every_time() {
    let machine = catalogue::machine("2x epyc-7642 2TiB 2x rtx3080 8x nvme-7.68TB").unwrap();
    let choices = Choices { prover: Prover::StockDamocles, ..Choices::default() };
    let plan = optimised(&machine, &choices).unwrap();
    let optimum = plan.optimum.unwrap();
    // Two GPUs of 12 and 15 minutes: 4.44 sectors an hour.
    assert!((optimum.sectors_per_hour_bound - 120.0 / 27.0).abs() < 0.01, "{optimum:?}");
    assert!(optimum.distance < 0.03 && optimum.complete, "{optimum:?}");
    assert_eq!(optimised(&machine, &choices).unwrap().worker_toml, plan.worker_toml);
}

#[test]
fn small_sectors_have_no_layouts() {
    let target = Target { rate: "1MiB/day".parse().unwrap(), sector_size: SectorSize::KiB2, days_per_month: 30.0 };
    let request = Request { target, ..request(Choices { optimise: true, static_tree_d: None, ..Choices::default() }) };
    let all = Request { choices: Choices { static_tree_d: None, ..request.choices.clone() }, ..request };
    let error = planner::plan(&small(2, 4, 64, &[]), &all).unwrap_err();
    assert!(error.to_string().contains("2KiB sectors with --optimise"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases(24)))]

    /// Neither what is found by simulation nor what arithmetic promises exceeds the bound.
    #[test]
    fn no_plan_exceeds_the_bound(
        groups in 2u32..9, cores in 1u32..9, gib in 300u32..3000, gpus in 0u32..4, is_supra in any::<bool>()
    ) {
        let machine = small(groups, cores, gib, &[(gpus.max(1), "GeForce RTX 3080", if gpus == 0 { 4 } else { 10 })]);
        let suite = if is_supra { Suite::Supra } else { Suite::Stock };
        let choices = Choices { suite, utilisation: 1.0, ..Choices::default() };
        if let Ok(plan) = optimised(&machine, &choices) {
            let optimum = plan.optimum.unwrap();
            prop_assert!(optimum.sectors_per_hour <= optimum.sectors_per_hour_bound * (1.0 + UNREST), "{optimum:?}");
            let plain = planner::plan(&machine, &request(choices)).unwrap();
            prop_assert!(
                plain.sectors_per_hour_possible <= optimum.sectors_per_hour_bound * (1.0 + 1e-9),
                "{} {optimum:?}", plain.sectors_per_hour_possible
            );
        }
    }
}
