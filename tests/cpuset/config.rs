//! Whole configurations against machines: each processor, and what they take from one another.

use crate::synthetic;
use damocles_worker::{
    hwinfo::cpuset::{ConfigVerdict, Question, Severity, judge_config, write_config},
    machine::pc1_units::Prover,
    worker_config,
};

/// 8 L3 caches of 8 threads on 4 cores per package; the second thread of core n is CPU n + 64.
fn smt_machine() -> String {
    let indexes: Vec<String> = (0..64).map(|core| format!("{core},{}", core + 64)).collect();
    format!("pack:2 [numa] l3:8 core:4 pu:2(indexes={})", indexes.join(","))
}

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
    let pc1: Vec<_> = verdict.processors.iter().filter(|processor| !processor.good).collect();
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
    assert_eq!(verdict.overlaps[0].reason, "both bind PC1 tasks there: each counts the shared 42 CPUs as its own");
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
fn pc1_on_both_siblings_of_the_same_cores_is_a_finding() {
    // 16 L3 caches of 4 cores; CPU n and n + 64 are one core.
    let machine = smt_machine();
    let config = |first: &str, second: &str| format!("{first}{second}");
    let pc1 = |cpus: &str| format!("[[processors.pc1]]\ncgroup.cpuset = \"{cpus}\"\n{PC1_ENVS}").replace("14", "4");
    let pc2 = |cpus: &str| format!("[[processors.pc2]]\ncgroup.cpuset = \"{cpus}\"\n");
    let twice = judged(&machine, &config(&pc1("0-7"), &pc1("64-71")));
    assert!(twice.processors.iter().all(|processor| processor.good), "{twice:#?}");
    assert_eq!(twice.sentence, "0 of 2 processors not good, 1 of 1 overlap not in order");
    let [clash] = twice.overlaps.as_slice() else { panic!("{twice:#?}") };
    assert_eq!((clash.good, clash.severity), (false, Some(Severity::Slow)));
    assert_eq!(clash.cpus.to_string(), "0-7,64-71");
    assert_eq!(clash.reason, "no CPU, but siblings of 8 cores: PC1 units are bound to 8 of them, each slows the other");
    // Another stage on the siblings of bound cores is no better, on those of the other cores it is meant so.
    assert!(!judged(&machine, &config(&pc1("0-7"), &pc2("64-71"))).good);
    let three =
        pc1("0-7").replace("PRODUCERS = \"1\"", "PRODUCERS = \"2\"").replace("concurrent = 4", "concurrent = 2");
    let beside = judged(&machine, &config(&three, &pc2("67,71")));
    assert!(beside.good, "{beside:#?}");
    assert_eq!(beside.overlaps[0].reason, "by design: siblings of 2 cores, but no PC1 unit is bound there");
    // A lock keeps siblings apart as it keeps CPUs apart.
    let lock = |text: String| text.replace("cgroup", "locks = [\"cores\"]\ncgroup");
    let locked = config("processors.ext_locks = { cores = 1 }\n", &lock(config(&pc1("0-7"), &pc1("64-71"))));
    assert!(judged(&machine, &locked).good);
}

#[test]
fn a_setting_that_the_library_cannot_read_is_a_failure() {
    let with = |multicore: &str, producers: &str| {
        let envs = format!(
            "FIL_PROOFS_USE_MULTICORE_SDR = \"{multicore}\", FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"{producers}\""
        );
        judged(EPYC_7642_X2, &format!("[[processors.pc1]]\ncgroup.cpuset = \"0-41\"\nenvs = {{ {envs} }}\n"))
    };
    for (multicore, producers, named) in [
        ("1", "one", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"one\" is not a number"),
        ("1", "", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"\" is not a number"),
        ("1", " 1", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \" 1\" is not a number"),
        ("1", "-1", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"-1\" is not a number"),
        ("1", "1.5", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"1.5\" is not a number"),
        ("enabled", "1", "FIL_PROOFS_USE_MULTICORE_SDR = \"enabled\" is not yes or no"),
        // It reads all its settings at once.
        ("0", "many", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"many\" is not a number"),
    ] {
        let verdict = with(multicore, producers);
        let processor = &verdict.processors[0];
        assert!(!verdict.good && !processor.good, "{multicore:?} {producers:?}");
        assert!(processor.sentence.starts_with(named), "{}", processor.sentence);
        assert!(processor.sentence.contains("the prover panics (\"invalid configuration\")"), "{}", processor.sentence);
        assert_eq!(
            (processor.findings[0].severity, processor.findings[0].code),
            (Severity::Fails, "unreadable-setting")
        );
        // No units are told of a prover that makes none.
        assert_eq!(processor.verdict.pc1, None);
    }
    // What the library does read: words for yes and no, in any case.
    for (multicore, producers, expected) in [("1", "1", 1), ("YES", "on", 1), ("true", "+2", 2)] {
        let verdict = with(multicore, producers);
        assert!(verdict.good, "{multicore:?} {producers:?} {verdict:#?}");
        assert_eq!(verdict.processors[0].verdict.pc1.as_ref().unwrap().producers, expected);
    }
    // Other stages read the same settings; helpers beside the stages may be any program.
    let other = |key: &str| {
        judged(
            EPYC_7642_X2,
            &format!("[[processors.{key}]]\nenvs = {{ FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"x\" }}\n"),
        )
    };
    assert!(!other("pc2").good);
    assert!(judged(EPYC_7642_X2, "[[processors.pc2]]\nenvs = { fil_proofs_use_multicore_sdr = \"no\" }\n").good);
}

#[test]
fn a_file_without_processors_is_said_to_pin_nothing() {
    let verdict = judged(EPYC_7642_X2, "");
    assert!(verdict.good && verdict.processors.is_empty());
    assert!(
        verdict.sentence.starts_with("the file has no external processors, so nothing is pinned"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn the_sentence_of_a_processor_is_its_gravest_finding() {
    let text = "[[processors.pc2]]\nnuma_preferred = 7\ncgroup.cpuset = \"0-7\"\n";
    let verdict = judged(EPYC_7642_X2, text);
    assert_eq!(verdict.processors[0].sentence, "numa_preferred = 7, but this machine has no such node");
    let mut out = Vec::new();
    write_config(&verdict, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("  not good: numa_preferred = 7, but"), "{out}");
    assert!(out.contains("  its cpuset: 8 CPUs of 8 cores on 1 NUMA node"), "{out}");
    assert!(!out.contains("nearest"), "nothing is wrong with the set: {out}");
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
