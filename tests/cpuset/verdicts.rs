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
    other provers: good for own (7 units of 1 core); say whose runs with --prover
    advice: L3 L#1 is taken in part (3 of 4 cores: CPUs 4-6): whatever runs on its other cores shares the cache

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
            "1 of 2 units straddles L3 caches (the first on 4-7, in L3 L#0 and L3 L#1): 8 cores in 2 L3 caches (6 + 2)",
            vec!["0-5", "0-11"],
        ),
        (
            pc1("pack:1 [numa] l3:4 core:6 pu:1", "0-7", Prover::Stock, 1, None),
            "unequal shares of L3 caches: 8 cores in 2 L3 caches (6 + 2), the fewest of L3 L#1 (CPUs 6-7)",
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
    assert_eq!(verdict.findings[0].severity, Severity::Fails);
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

fn texts(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|finding| finding.text.as_str()).collect()
}

fn written(verdict: &Verdict) -> String {
    let mut out = Vec::new();
    write_verdict(verdict, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_group_is_called_what_it_is() {
    // No L3: the package, or where there is none the machine, and neither is a cache.
    let package = pc1("pack:2 [numa] core:8 pu:1", "0-3,8-15", Prover::Own, 1, None);
    assert!(
        package.sentence.starts_with("12 cores in 2 packages (4 + 8) give 6 units of 2 cores"),
        "{}",
        package.sentence
    );
    assert_eq!(
        texts(&package)[1..3],
        [
            "Package #0 is taken in part (4 of 8 cores: CPUs 0-3): whatever runs on its other cores shares its memory",
            "this machine tells of no L3 cache: cores are grouped by package"
        ]
    );
    let machine = pc1("[numa] core:8 pu:1", "0-3", Prover::Stock, 1, None);
    assert_eq!(machine.sentence, "4 cores of the machine give 2 units of 2 cores");
    assert_eq!(
        texts(&machine),
        [
            "the machine is taken in part (4 of 8 cores: CPUs 0-3): whatever runs on its other cores shares its memory",
            "this machine tells of no L3 cache: all its cores count as one group"
        ]
    );
    let whole = pc1("[numa] core:8 pu:1", "0-7", Prover::Stock, 1, None);
    assert_eq!(whole.sentence, "8 cores of the whole machine give 4 units of 2 cores");
    // Caches by their names, up to three of them.
    let caches = pc1(DOCUMENTED, "0-1,4-5,8-9,12-13", Prover::StockDamocles, 1, None);
    assert!(texts(&caches).contains(
        &"4 L3 caches are taken in part (2 of 4 cores in L3 L#0, 2 of 4 cores in L3 L#1, 2 of 4 cores in L3 L#2 and 1 \
          more): whatever runs on their other cores shares the caches"
    ), "{caches:#?}");
    // One core has no group around it, but its cache.
    let part = "L3 L#0 is taken in part (1 of 4 cores: CPU 0): whatever runs on its other cores shares the cache";
    assert_eq!(texts(&pc1(DOCUMENTED, "0", Prover::Own, 0, None)), [part]);
    assert_eq!(texts(&pc1("[numa] core:8 pu:1", "0", Prover::Own, 0, None)), [] as [&str; 0]);
    // Where few cores are grouped by the package, it is the caches that are taken in part.
    let spread = pc1(DOCUMENTED, "0,4", Prover::Own, 0, None);
    assert!(texts(&spread)[0].starts_with("2 L3 caches are taken in part (1 of 4 cores in L3 L#0 and"), "{spread:#?}");
}

#[test]
fn one_is_told_as_one() {
    let machine = synthetic("pack:1 [numa] l3:2 core:4 pu:2(indexes=0,8,1,9,2,10,3,11,4,12,5,13,6,14,7,15)");
    let question = Question { producers: 0, ..Question::pc1(Prover::Own) };
    assert_eq!(
        texts(&on(&machine, "0-7,9-15", &question)),
        [
            "7 CPUs (9-15) are second siblings of cores in the set: units count cores, not threads",
            "1 CPU outside the set (8) is a sibling of a core in it: whatever runs there slows it down"
        ]
    );
    assert_eq!(
        texts(&on(&machine, "0-3,8", &question))[0],
        "1 CPU (8) is the second sibling of a core in the set: units count cores, not threads"
    );
    assert_eq!(on(&machine, "0,8", &question).sentence, "1 core of the machine gives 1 unit of 1 core");
}

#[test]
fn units_across_one_core_of_each_cache_are_a_fault_where_caches_are_larger() {
    // The set has one core of each L3, so the prover groups by package.
    let spread = pc1("pack:1 [numa] l3:4 core:4 pu:1", "0,4,8,12", Prover::Own, 3, None);
    assert_eq!(
        spread.sentence,
        "1 of 1 unit spans L3 caches: the set takes one core of each of 4 caches, where one has up to 4"
    );
    assert_eq!((spread.good, near(&spread)), (false, vec!["0-3".to_owned(), "0-7".to_owned()]));
}

#[test]
fn a_good_set_has_neighbours_too() {
    let verdict = pc1(DOCUMENTED, "0-7", Prover::Stock, 3, None);
    assert_eq!(near(&verdict), ["0-3", "0-11"]);
    // Larger than a node, and that is said.
    let node = pc1(DOCUMENTED, "0-31", Prover::Stock, 3, None);
    assert_eq!(near(&node), ["0-27", "0-35"]);
    assert!(written(&node).contains("larger: 0-35 (9 units of 4 cores, crosses 2 NUMA nodes)"), "{}", written(&node));
    let all = pc1(DOCUMENTED, "0-63", Prover::Stock, 3, None);
    assert_eq!(near(&all), ["0-59"]);
}

#[test]
fn whose_prover_runs_is_said_where_it_matters() {
    // The second cpuset of the field's plan for two nodes of 48 cores.
    let stock = pc1(EPYC_7642_X2, "48-89", Prover::Stock, 1, Some(14));
    let line = "other provers: good for stock-damocles (14 units of 2 cores) and own (14 units of 2 cores); say whose runs \
                with --prover\n";
    assert!(!stock.good && written(&stock).contains(line), "{}", written(&stock));
    let fork = pc1(EPYC_7642_X2, "48-89", Prover::StockDamocles, 1, Some(14));
    let line =
        "other provers: not good for stock (0 units of 2 cores, 14 tasks would float); say whose runs with --prover\n";
    assert!(fork.good && written(&fork).contains(line), "{}", written(&fork));
    // Where all agree there is nothing to say.
    let agreed = pc1(EPYC_7642_X2, "0-41", Prover::Stock, 1, Some(14));
    assert!(agreed.good && !written(&agreed).contains("other provers"), "{}", written(&agreed));
    assert!(agreed.other_provers.iter().all(|other| other.good && other.units == 14));
    // A prover that panics has no units to count; defaults are each prover's own.
    let bad = pc1(DOCUMENTED, "0-6", Prover::Own, 0, None);
    assert!(bad.good && written(&bad).contains("not good for stock (panics) and stock-damocles (panics);"));
    let other = |verdict: &Verdict| verdict.other_provers.iter().map(|other| other.producers).collect::<Vec<_>>();
    assert_eq!((other(&bad), other(&fork)), (vec![3, 3], vec![1, 1]));
    // Nothing is bound by the other stages.
    let pc2 =
        on(&synthetic(DOCUMENTED), "0-6", &Question { stage: Some(StageName::Pc2), ..Question::pc1(Prover::Stock) });
    assert_eq!(pc2.other_provers, []);
}

#[test]
fn another_stage_is_shown_sets_that_can_be_used() {
    let mut machine = synthetic("pack:2 [numa] l3:2 core:4 pu:1");
    let pc2 = Question { stage: Some(StageName::Pc2), ..Question::pc1(Prover::Stock) };
    let verdict = on(&machine, "900-907", &pc2);
    assert_eq!(verdict.sentence, "8 of 8 CPUs cannot be used: 900-907 are not in this machine");
    assert_eq!(near(&verdict), ["0-3", "0-7", "0-11"]);
    assert!(!written(&verdict).contains("no run"), "{}", written(&verdict));
    // Forbidden CPUs are no way out.
    machine.allowed_cpus = cpus("4-15");
    assert_eq!(near(&on(&machine, "0-3", &pc2)), ["4-7", "4-11"]);
}

#[test]
fn cores_that_share_an_l2_are_grouped_by_it_as_the_stock_provers_do() {
    // Six cores with an L2 each and two clusters of four: 14 cores, 8 L2 caches.
    let mut hybrid = synthetic("pack:1 [numa] l3:1 core:14 pu:1");
    hybrid.l2_groups = Some(["0", "1", "2", "3", "4", "5", "6-9", "10-13"].map(cpus).to_vec());
    hybrid.l2_caches = Some(8);
    assert_eq!(hybrid.check(), []);
    let fork = Question::pc1(Prover::StockDamocles);
    let all = on(&hybrid, "0-13", &fork);
    assert_eq!(
        all.sentence,
        "the stock-damocles prover panics: 14 cores in 8 L2 caches (6 x 1 + 2 x 4) do not divide evenly, 6 cores over"
    );
    assert_eq!(near(&all), ["6-13"]);
    let clusters = on(&hybrid, "6-13", &fork);
    assert_eq!(clusters.sentence, "8 cores in 2 whole L2 caches (4 + 4) give 2 units of 4 cores");
    // Without the clusters every core has an L2, so the L3 groups them.
    let large = on(&hybrid, "0-5", &fork);
    assert_eq!(large.sentence, "6 cores in 1 L3 cache give 1 unit of 4 cores");
    // Ours goes by L3.
    assert!(on(&hybrid, "0-13", &Question { producers: 3, ..Question::pc1(Prover::Own) }).good);
    let sets = suggest(&hybrid, 2, &fork);
    assert_eq!(sets.iter().map(|set| set.cpuset.to_string()).collect::<Vec<_>>(), ["6-13"]);
}

#[test]
fn the_order_of_cores_follows_the_l2_caches() {
    // CPUs that take turns between two clusters, as some ARM boards number them.
    let mut machine = synthetic("pack:1 [numa] l3:1 core:4 pu:1");
    machine.l2_groups = Some(["0,2", "1,3"].map(cpus).to_vec());
    machine.l2_caches = Some(2);
    assert_eq!(machine.check(), []);
    let question = Question { producers: 1, ..Question::pc1(Prover::StockDamocles) };
    let units: Vec<Vec<u32>> =
        on(&machine, "0-3", &question).pc1.unwrap().units.into_iter().map(|unit| unit.cpus).collect();
    assert_eq!(units, [[0, 2], [1, 3]]);
}

#[test]
fn a_set_within_a_node_comes_before_one_across_nodes() {
    // 12 tasks of 4 cores are more than a node has caches, of 2 cores they are not.
    let sets = suggest(&synthetic(DOCUMENTED), 12, &Question::pc1(Prover::StockDamocles));
    let told: Vec<_> = sets.iter().map(|set| (set.cpuset.to_string(), set.reason.as_str())).collect();
    let fewer = "1 producer instead of 3: each task has 2 cores fewer to read ahead; within one NUMA node";
    let across = "3 producers as asked; crosses 2 NUMA nodes: memory of another node is slower";
    let expected = [("0-23", fewer), ("32-55", fewer), ("0-47", across)];
    assert_eq!(told, expected.map(|(set, reason)| (set.to_owned(), reason)));
    // Where the asked number fits a node nothing is traded.
    let sets = suggest(&synthetic(DOCUMENTED), 8, &Question::pc1(Prover::StockDamocles));
    let told: Vec<_> = sets.iter().map(|set| (set.cpuset.to_string(), set.reason.as_str())).collect();
    let asked = "3 producers as asked; within one NUMA node";
    assert_eq!(told, [("0-31", asked), ("32-63", asked)].map(|(set, reason)| (set.to_owned(), reason)));
    // Of several the one with the fewest cores is first: caches of 6 cores hold as many units of 4 as those of 4.
    let mut uneven = synthetic("pack:1 [numa] l3:4 core:6 pu:1");
    uneven.allowed_cpus = cpus("0-11,12-15,18-21");
    let sets = suggest(&uneven, 2, &Question { producers: 3, ..Question::pc1(Prover::Own) });
    assert_eq!(sets.iter().map(|set| set.cpuset.to_string()).collect::<Vec<_>>(), ["12-15,18-21", "0-11"]);
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

#[test]
fn groups_whose_memory_is_seen_are_counted_by_the_stock_provers() {
    // One node per L3, as EPYC firmware can do it: a cgroup hides CPUs, hwloc keeps what has memory.
    let l3_as_node = "pack:1 l3:4 [numa] core:4 pu:1";
    let half = pc1(l3_as_node, "0-7", Prover::StockDamocles, 3, None);
    assert_eq!(
        half.sentence,
        "0 units, every task runs unbound: a unit takes 4 cores (3 producers + 1), the set has 8 cores in 2 L3 caches \
         (4 + 4), taken for 4 with 2 whose memory alone is seen"
    );
    assert_eq!(half.pc1.unwrap().coreless_groups, 2);
    // Two cores of each of the four that it counts: both units of two lie in one cache.
    assert!(pc1(l3_as_node, "0-7", Prover::StockDamocles, 1, Some(4)).good);
    assert!(pc1(l3_as_node, "0-15", Prover::StockDamocles, 3, Some(4)).good, "nothing is hidden");
    assert!(pc1(l3_as_node, "0-7", Prover::Own, 3, Some(2)).good, "ours counts cores");
    // Memory that the process may not take is not seen.
    let mut half = synthetic(l3_as_node);
    for cache in &mut half.topology.parts[0].parts[2..] {
        cache.nodes[0].forbidden = true;
    }
    assert_eq!(half.check(), []);
    assert!(on(&half, "0-7", &Question::pc1(Prover::StockDamocles)).good);
    // Packages have memory, so where they are the groups the other one counts.
    let odd = pc1("pack:2 [numa] l3:8 core:1 pu:1", "0-6", Prover::Stock, 1, None);
    assert_eq!(
        odd.sentence,
        "the stock prover panics: 7 cores in 1 package, taken for 2 with 1 whose memory alone is seen do not divide evenly, \
         1 core over"
    );
}
