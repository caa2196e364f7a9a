//! What an operator is told, sentence by sentence.

use crate::{cpus, synthetic};
use damocles_worker::{
    hwinfo::cpuset::{Question, Severity, Verdict, judge, suggest, write_verdict},
    machine::{Machine, pc1_units::Prover},
    worker_config::StageName,
};
use insta::assert_snapshot;

pub const DOCUMENTED: &str = "pack:2 [numa(memory=270119186432)] l3:8(size=16777216) core:4 pu:1";
const EPYC_7642_X2: &str = "pack:2 [numa] l3:16 core:3 pu:1";

fn on(machine: &Machine, cpuset: &str, question: &Question) -> Verdict {
    judge(machine, &cpus(cpuset), question)
}

fn pc1(machine: &str, cpuset: &str, prover: Prover, producers: usize, concurrent: Option<usize>) -> Verdict {
    on(&synthetic(machine), cpuset, &Question { producers, concurrent, ..Question::pc1(prover) })
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|finding| finding.code).collect()
}

fn near(verdict: &Verdict) -> Vec<String> {
    verdict.nearest.iter().map(|found| found.cpuset.to_string()).collect()
}

#[test]
fn the_documents_bad_example_is_refused_with_its_reason() {
    let verdict = on(&synthetic(DOCUMENTED), "0-6", &Question::pc1(Prover::Stock));
    let mut out = Vec::new();
    write_verdict(&verdict, &mut out).unwrap();
    assert_snapshot!(String::from_utf8(out).unwrap(), @r"
    not good: the stock prover panics: 7 cores in 2 L3 caches (4 + 3) do not divide evenly, 1 core over
    smaller: 0-3 (1 unit of 4 cores)
    larger: 0-7 (2 units of 4 cores)
    advice: 1 L3 cache taken in part (3 of 4 cores): whatever runs on the other cores shares the cache

    cpuset     0-6
    stage      pc1
    usable     7 CPUs on 7 cores
    node #0    7 cores: 0-6
    L3 L#0     4 of 4 cores: 0-3
    L3 L#1     3 of 4 cores: 4-6
    prover     stock, 3 producers
    units      0
    ");
}

#[test]
fn the_documents_good_example_is_accepted() {
    let verdict = on(&synthetic(DOCUMENTED), "0-7", &Question::pc1(Prover::Stock));
    assert!(verdict.good);
    assert_eq!(verdict.sentence, "8 cores in 2 whole L3 caches (4 + 4) give 2 units of 4 cores");
    assert_eq!(verdict.findings, []);
}

#[test]
fn every_failure_is_one_sentence_with_its_numbers() {
    for (verdict, sentence, nearest) in [
        (
            pc1(EPYC_7642_X2, "48-89", Prover::Stock, 1, Some(14)),
            "0 of 14 units, every task runs unbound: the stock prover looks for the core numbers 0-41 among the CPUs 48-89",
            vec!["0-41", "0-44"],
        ),
        (
            pc1(EPYC_7642_X2, "0-47", Prover::Stock, 3, None),
            "0 units, every task runs unbound: a unit takes 4 cores (3 producers + 1), the set has 48 cores in 16 L3 \
             caches (16 x 3)",
            // The same set is good with one producer.
            vec!["0-44", "0-47", "0-50"],
        ),
        (
            pc1(EPYC_7642_X2, "0-35", Prover::Stock, 1, Some(14)),
            "2 of 14 concurrent tasks would float: 12 units of 2 cores",
            vec!["0-41"],
        ),
        (
            pc1(EPYC_7642_X2, "0-20,48-68", Prover::StockDamocles, 1, None),
            "7 of 14 units: the stock-damocles prover counts 42 cores on from CPU 0 and meets holes in 0-20,48-68",
            vec!["0-38", "0-41", "0-44"],
        ),
        (
            pc1("pack:1 [numa] l3:4 core:6 pu:1", "0-7", Prover::Stock, 3, None),
            "1 of 2 units straddle L3 caches (the first on 4-7): 8 cores in 2 L3 caches (6 + 2)",
            vec!["0-5", "0-11"],
        ),
        (
            pc1("pack:1 [numa] l3:4 core:6 pu:1", "0-7", Prover::Stock, 1, None),
            "unequal shares of L3 caches: 8 cores in 2 L3 caches (6 + 2)",
            vec!["0-5", "0-11"],
        ),
        (
            pc1("pack:1 [numa] l3:2 core:4 pu:2", "0,2,4,6", Prover::Stock, 3, None),
            "1 of 1 unit bound to fewer than 4 cores: the stock prover does not find the other core numbers among the \
             CPUs 0,2,4,6",
            vec!["0-7", "0-15"],
        ),
        (
            pc1(DOCUMENTED, "0-7", Prover::Stock, 0, None),
            "0 producers: the stock prover's hashing thread waits forever for nodes that nobody prepares, 1 is the least",
            vec!["0-3", "0-7", "0-11"],
        ),
        (
            pc1(DOCUMENTED, "62-65", Prover::Own, 0, None),
            "2 of 4 CPUs cannot be used: 64-65 are not in this machine",
            vec!["60-63", "56-63"],
        ),
    ] {
        assert!(!verdict.good, "{sentence}");
        assert_eq!(
            (verdict.sentence.as_str(), near(&verdict)),
            (sentence, nearest.into_iter().map(str::to_owned).collect())
        );
    }
}

#[test]
fn cpus_that_cannot_be_used_are_told_apart() {
    let mut machine = synthetic(DOCUMENTED);
    machine.allowed_cpus = cpus("0-5,8-63");
    machine.offline_cpus = cpus("64-65");
    let verdict = on(&machine, "4-9,65,99", &Question::pc1(Prover::Own));
    assert_eq!(
        verdict.sentence,
        "4 of 8 CPUs cannot be used: 99 is not in this machine, 65 is switched off, 6-7 are forbidden by a cgroup"
    );
    assert_eq!(verdict.findings[0].severity, Severity::Hard);
    // The same for a stage without units, with what remains of the set.
    let verdict = on(&machine, "4-6,8", &Question { stage: Some(StageName::Pc2), ..Question::pc1(Prover::Stock) });
    assert_eq!(verdict.sentence, "1 of 4 CPUs cannot be used: 6 is forbidden by a cgroup");
    assert_eq!((near(&verdict), verdict.pc1), (vec!["4-5,8".to_owned(), "4-5,8-11".to_owned()], None));
}

#[test]
fn advice_does_not_make_a_set_bad() {
    let crossing = pc1(DOCUMENTED, "0-63", Prover::Stock, 3, None);
    assert_eq!((crossing.good, codes(&crossing)), (true, vec!["crosses-nodes"]));
    assert!(crossing.findings[0].text.contains("2 NUMA nodes (#0 32 cores, #1 32 cores)"));
    let partial = pc1("pack:1 [numa] l3:2 core:8 pu:1", "0-3", Prover::Stock, 3, None);
    assert_eq!((partial.good, codes(&partial)), (true, vec!["partial-groups"]));
    let own_l3_each = pc1("pack:1 [numa] l3:8 core:1 pu:1", "0-7", Prover::Stock, 1, None);
    assert_eq!((own_l3_each.good, codes(&own_l3_each)), (true, vec!["units-across-l3"]));
    let no_l3 = pc1("pack:1 [numa] core:8 pu:1", "0-7", Prover::Stock, 1, None);
    assert_eq!((no_l3.good, codes(&no_l3)), (true, vec!["no-l3"]));
}

#[test]
fn siblings_are_told_and_counted_as_one_core() {
    let machine = synthetic("pack:1 [numa] l3:2 core:4 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)");
    let question = Question::pc1(Prover::Stock);
    let one_each = on(&machine, "0-7", &question);
    assert_eq!((one_each.good, codes(&one_each)), (true, vec!["siblings-left-out"]));
    let both = on(&machine, "0-15", &question);
    assert_eq!((both.good, codes(&both)), (true, vec!["second-siblings"]));
    assert_eq!(both.pc1.unwrap().units.len(), 2);
    let meant = on(&machine, "0-15", &Question { smt: true, ..question });
    assert_eq!((meant.good, codes(&meant)), (true, vec![]));
    let sets = |smt| {
        let sets = suggest(&machine, 2, &Question { smt, ..question });
        sets.iter().map(|set| set.cpuset.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((sets(false), sets(true)), (vec!["0-7".to_owned()], vec!["0-15".to_owned()]));
}

#[test]
fn unequal_caches_are_no_fault_for_our_own_prover() {
    let verdict = pc1("pack:1 [numa] l3:4 core:6 pu:1", "0-7", Prover::Own, 1, Some(4));
    assert_eq!((verdict.good, codes(&verdict)), (true, vec!["unequal-groups", "partial-groups"]));
}

#[test]
fn sets_for_fourteen_tasks_are_listed_node_by_node() {
    let machine = synthetic(EPYC_7642_X2);
    let sets = |prover, producers, tasks| {
        let found = suggest(&machine, tasks, &Question { producers, ..Question::pc1(prover) });
        found.iter().map(|set| format!("{} {}", set.cpuset, set.producers.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(sets(Prover::StockDamocles, 1, 14), ["0-41 1", "48-89 1"]);
    // The stock library needs the first CPU in the set.
    assert_eq!(sets(Prover::Stock, 1, 14), ["0-41 1"]);
    // Three producers do not fit into three cores.
    assert_eq!(sets(Prover::StockDamocles, 3, 14), ["0-41 1", "48-89 1"]);
    assert_eq!(sets(Prover::Own, 0, 45), ["0-44 0", "48-92 0"]);
    // More than a node holds: across nodes.
    assert_eq!(sets(Prover::StockDamocles, 1, 20), ["0-59 1"]);
    assert!(sets(Prover::StockDamocles, 1, 40).is_empty());
}
