//! Whole configurations against machines: each processor, and what they take from one another.

use crate::synthetic;
use damocles_worker::{
    hwinfo::cpuset::{ConfigVerdict, Question, judge_config},
    machine::pc1_units::Prover,
    worker_config,
};

const EPYC_7642_X2: &str = "pack:2 [numa] l3:16 core:3 pu:1";
const HEAD: &str = "sector_manager.rpc_client.addr = \"/ip4/127.0.0.1/tcp/1789\"\nsealing_thread = [{ location = \"/s\" }]\nattached = [{ location = \"/a\" }]\n";
const PC1_ENVS: &str =
    "envs = { FIL_PROOFS_USE_MULTICORE_SDR = \"1\", FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"1\" }\nconcurrent = 14\n";

fn judged(machine: &str, processors: &str) -> ConfigVerdict {
    let loaded = worker_config::parse(&format!("{HEAD}{processors}")).unwrap();
    judge_config(&synthetic(machine), &loaded.config, &Question::pc1(Prover::StockDamocles))
}

fn example(name: &str) -> ConfigVerdict {
    let path = format!("{}/tests/worker_config/fixtures/good/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let loaded = worker_config::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    judge_config(&synthetic(EPYC_7642_X2), &loaded.config, &Question::pc1(Prover::StockDamocles))
}

#[test]
fn the_fields_plans_for_96_cores_are_good_and_share_by_design() {
    for (name, processors) in [("96-cores-plan-a", 4), ("96-cores-plan-b", 6)] {
        let verdict = example(name);
        assert!(verdict.good, "{name}: {verdict:#?}");
        assert_eq!(verdict.processors.len(), processors);
        assert!(verdict.overlaps.iter().all(|overlap| overlap.reason.starts_with("by design")), "{name}");
    }
    let plan_b = example("96-cores-plan-b");
    let locks: Vec<_> = plan_b.overlaps.iter().filter(|overlap| overlap.reason.contains("lock")).collect();
    assert_eq!(locks.len(), 2);
    assert_eq!((locks[0].first.as_str(), locks[0].second.as_str()), ("processors.pc2[0]", "processors.c2[0]"));
}

#[test]
fn the_48_core_example_fails_on_three_cores_per_cache() {
    let verdict = example("48-cores-4-gpus");
    assert_eq!(verdict.sentence, "2 of 6 processors not good, 0 of 0 overlaps not in order");
    let pc1: Vec<_> = verdict.processors.iter().filter(|processor| !processor.is_good()).collect();
    assert!(pc1.iter().all(|processor| processor.path.starts_with("processors.pc1[")));
    assert!(pc1[0].verdict.sentence.contains("8 cores in 3 L3 caches (3 + 3 + 2)"), "{}", pc1[0].verdict.sentence);
}

#[test]
fn stages_that_share_cores_without_a_lock_clash() {
    let shared = "[[processors.pc2]]\ncgroup.cpuset = \"0-7\"\n[[processors.c2]]\ncgroup.cpuset = \"4-11\"\n";
    let verdict = judged(EPYC_7642_X2, shared);
    assert_eq!((verdict.good, verdict.overlaps.len()), (false, 1));
    assert_eq!(verdict.overlaps[0].cpus.to_string(), "4-7");
    assert_eq!(verdict.overlaps[0].reason, "no lock keeps them apart: both use 4 CPUs at once");
}

#[test]
fn a_lock_that_two_may_hold_keeps_nobody_apart() {
    let locked = |holders: u32| {
        format!(
            "processors.ext_locks = {{ gpu = {holders} }}\n[[processors.pc2]]\nlocks = [\"gpu\"]\ncgroup.cpuset = \"0-7\"\n\
             [[processors.c2]]\nlocks = [\"gpu\"]\ncgroup.cpuset = \"4-11\"\n"
        )
    };
    assert!(judged(EPYC_7642_X2, &locked(1)).good);
    assert!(!judged(EPYC_7642_X2, &locked(2)).good);
}

#[test]
fn one_task_of_a_stage_at_a_time_shares_with_itself() {
    let limited = |limit: u32| {
        format!(
            "processors.limitation.concurrent = {{ pc2 = {limit} }}\n[[processors.pc2]]\ncgroup.cpuset = \"0-7\"\n\
             [[processors.pc2]]\ncgroup.cpuset = \"4-11\"\n"
        )
    };
    assert!(judged(EPYC_7642_X2, &limited(1)).good);
    assert!(!judged(EPYC_7642_X2, &limited(2)).good);
}

#[test]
fn the_cores_of_a_pc1_unit_are_not_to_be_shared_the_others_are() {
    let with_pc2 = |cpus: &str| {
        judged(
            EPYC_7642_X2,
            &format!(
                "[[processors.pc1]]\ncgroup.cpuset = \"0-41\"\n{PC1_ENVS}[[processors.pc2]]\ncgroup.cpuset = \"{cpus}\"\n"
            ),
        )
    };
    let left_over = with_pc2("2,5,8,42-47");
    assert!(left_over.good, "{left_over:#?}");
    let bound = with_pc2("1-2");
    assert_eq!(bound.overlaps[0].reason, "PC1 units are bound to 1 of the shared 2 CPUs (1)");
    assert!(!bound.good);
}

#[test]
fn two_pc1_processors_must_not_see_the_same_cores() {
    let twice = format!("[[processors.pc1]]\ncgroup.cpuset = \"0-41\"\n{PC1_ENVS}").repeat(2);
    let verdict = judged(EPYC_7642_X2, &twice);
    assert_eq!(verdict.overlaps[0].reason, "both bind PC1 tasks there: each counts all 42 CPUs as its own");
    assert!(!verdict.good);
    // Without cpusets both bind to the machine's first cores.
    assert!(!judged(EPYC_7642_X2, &format!("[[processors.pc1]]\n{PC1_ENVS}").repeat(2)).good);
}

#[test]
fn siblings_in_two_sets_are_mentioned() {
    let sets = "[[processors.pc2]]\ncgroup.cpuset = \"0,2\"\n[[processors.c2]]\ncgroup.cpuset = \"1,5\"\n";
    let verdict = judged("pack:1 [numa] l3:2 core:2 pu:2", sets);
    assert_eq!((verdict.good, verdict.overlaps[0].cpus.to_string().as_str()), (true, "0-1"));
}

#[test]
fn environment_and_limits_of_a_processor_count() {
    // Three producers by default: three cores per cache hold no unit.
    let defaults = "[[processors.pc1]]\ncgroup.cpuset = \"0-41\"\nenvs = { FIL_PROOFS_USE_MULTICORE_SDR = \"1\" }\n";
    let verdict = judged(EPYC_7642_X2, defaults);
    assert!(verdict.processors[0].verdict.sentence.starts_with("0 units"));
    // Without multi-core PC1 nothing is bound and nothing can go wrong.
    let single = judged(EPYC_7642_X2, "[[processors.pc1]]\ncgroup.cpuset = \"0-6\"\n");
    assert!(single.good && single.processors[0].findings[0].code == "single-core", "{single:#?}");
    // The stage's limit is the smaller number here: 12 units for 12 tasks.
    let limited = format!(
        "processors.limitation.concurrent = {{ pc1 = 12 }}\n[[processors.pc1]]\ncgroup.cpuset = \"0-35\"\n{PC1_ENVS}"
    );
    assert!(judged(EPYC_7642_X2, &limited).good);
    let unlimited = format!("[[processors.pc1]]\ncgroup.cpuset = \"0-35\"\n{PC1_ENVS}");
    assert!(!judged(EPYC_7642_X2, &unlimited).good);
}

#[test]
fn a_node_that_is_not_there_is_a_failure_and_another_one_advice() {
    let preferred = |node: u32| {
        judged(EPYC_7642_X2, &format!("[[processors.pc2]]\nnuma_preferred = {node}\ncgroup.cpuset = \"0-7\"\n"))
    };
    assert!(preferred(0).good && preferred(0).processors[0].findings.is_empty());
    assert_eq!(preferred(1).processors[0].findings[0].text, "numa_preferred = 1, but 0 of 8 cores are on that node");
    assert!(preferred(1).good && !preferred(7).good);
}
