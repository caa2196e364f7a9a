//! plan verify: the verdicts that configurations of the field deserve, and each rule by its smallest violation.

use crate::{fixtures, machines};
use assert_cmd::Command;
use damocles_worker::{
    machine::{DiskKind, Machine, PagePool},
    planner::{
        simulate,
        verify::{Finding, Question, Report, Severity, verify},
    },
    profile::{Profile, Suite},
    units::{Bytes, Prover},
    worker_config,
};
use serde_json::Value;

fn judged(text: &str, machine: &Machine, prover: Prover) -> Report {
    judged_with(text, machine, prover, Suite::Stock)
}

fn judged_with(text: &str, machine: &Machine, prover: Prover, suite: Suite) -> Report {
    let loaded = worker_config::parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    verify(&Question {
        config: &loaded.config,
        warnings: &loaded.warnings,
        machine,
        profile: &Profile::shipped(),
        prover,
        suite,
        ghz: None,
        overcommit: false,
    })
}

fn of_field(name: &str, machine: &Machine) -> Report {
    judged(&fixtures::text(name), machine, Prover::StockDamocles)
}

fn codes(report: &Report, severity: Severity) -> Vec<&'static str> {
    report.findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.code).collect()
}

fn errors(report: &Report) -> Vec<&'static str> {
    codes(report, Severity::Error)
}

fn find<'r>(report: &'r Report, code: &str) -> &'r Finding {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.unwrap_or_else(|| panic!("no {code} in {:#?}", report.findings))
}

/// The finding's words, where they stand and what to do, on one line.
fn words(finding: &Finding) -> String {
    format!("{}: {}; {}", finding.path, finding.found, finding.advice)
}

#[test]
fn plan_a_is_gpu_bound_with_stock_provers_and_fits_only_with_c2_at_128_gib() {
    let report = of_field("plan-a.toml", &machines::two_epyc_7642());
    assert_eq!(errors(&report), Vec::<&str>::new(), "{:#?}", report.findings);
    let bound = words(find(&report, "unbalanced"));
    assert!(
        bound.contains("GPU-bound: c2 on GPU 1 lets 96.0 sectors a day pass (4.00 an hour), 28 PC1 tasks"),
        "{bound}"
    );
    assert!(bound.contains("12 PC1 tasks are enough"), "{bound}");
    let tight = words(find(&report, "memory-tight"));
    assert!(tight.contains("processors.c2[0] at 128 GiB, not 192 GiB"), "{tight}");
    assert_eq!(report.pc1.iter().map(|pc1| pc1.units.len()).collect::<Vec<_>>(), [14, 14]);
    assert_eq!(report.pc1[1].units[13], [87, 88]);

    let supra =
        judged_with(&fixtures::text("plan-a.toml"), &machines::two_epyc_7642(), Prover::StockDamocles, Suite::Supra);
    assert!(supra.good && supra.findings.iter().all(|finding| finding.code != "unbalanced"), "{:#?}", supra.findings);
}

#[test]
fn plan_a_without_a_static_tree_d_does_not_fit() {
    let text = fixtures::text("plan-a.toml")
        .replace("[processors.static_tree_d]\n\"32GiB\"", "[processors.static_tree_d]\n\"64GiB\"");
    let text = text.replace("pc1 = 28", "tree_d = 1\npc1 = 28");
    let report = judged(&text, &machines::two_epyc_7642(), Prover::StockDamocles);
    assert_eq!(errors(&report), ["memory"]);
    assert!(words(find(&report, "memory")).contains("tree_d 1 x 47 GiB"), "{:?}", find(&report, "memory"));
}

#[test]
fn plan_b_shares_cores_and_gpus_by_its_locks() {
    let report = of_field("plan-b.toml", &machines::two_epyc_7642());
    assert!(
        report.findings.iter().all(|finding| !["overlap", "shared-gpu"].contains(&finding.code)),
        "{:#?}",
        report.findings
    );
    // Each GPU's c2 counts, its pc2 does not. 28 x 64 + 2 x 128 and what is small: more than 2 TiB.
    assert_eq!(errors(&report), ["memory"]);
    let without = fixtures::text("plan-b.toml").replace("gpu1 = 1", "gpu1 = 2");
    let report = judged(&without, &machines::two_epyc_7642(), Prover::StockDamocles);
    assert_eq!(errors(&report), ["overlap", "memory", "shared-gpu"], "a lock that two may hold keeps nothing apart");
}

#[test]
fn the_example_of_48_cores_panics_where_a_cache_has_three_cores() {
    let report = of_field("48-cores-4-gpus.toml", &machines::two_epyc_7402());
    let panics: Vec<_> = report.findings.iter().filter(|finding| finding.code == "panic").collect();
    assert_eq!(panics.len(), 2, "{:#?}", report.findings);
    let text = words(panics[0]);
    assert!(text.starts_with("processors.pc1[0].cgroup.cpuset: the stock-damocles prover panics"), "{text}");
    assert!(text.contains("8 cores in 3 shared caches (3 + 3 + 2) do not divide evenly"), "{text}");

    let four = of_field("48-cores-4-gpus.toml", &machines::two_of_24_cores_four_to_an_l3());
    assert!(four.findings.iter().all(|finding| finding.code != "panic"), "{:#?}", four.findings);
    assert_eq!(four.pc1[0].units, [[0, 1, 2, 3], [4, 5, 6, 7]]);
}

#[test]
fn twenty_nine_pc1_float_unless_one_producer_is_said() {
    let machine = machines::two_epyc_7642();
    let report = of_field("pc1-29-default-producers.toml", &machine);
    let floating: Vec<_> = report.findings.iter().filter(|finding| finding.code == "floating").map(words).collect();
    assert_eq!(floating.len(), 2);
    assert!(
        floating[0].contains("no unit at all") && floating[0].contains("a unit takes 4 cores (3 producers + 1)"),
        "{floating:?}"
    );
    assert!(floating[0].ends_with("set FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"1\""), "{floating:?}");
    let one = of_field("pc1-29-one-producer.toml", &machine);
    assert!(one.findings.iter().all(|finding| finding.code != "floating"), "{:#?}", one.findings);
    let stock = judged(&fixtures::text("pc1-29-one-producer.toml"), &machine, Prover::Stock);
    assert!(
        words(find(&stock, "floating")).contains("among the CPUs from 0 on, and the cpuset begins at 48"),
        "{:#?}",
        stock.findings
    );
}

#[test]
fn the_users_machines_get_the_verdicts_they_deserve() {
    let one = of_field("user-1.toml", &machines::user_1());
    assert_eq!(errors(&one), ["memory"], "{:#?}", one.findings);
    assert!(
        words(find(&one, "memory")).ends_with("or link a static tree-d"),
        "nothing limits tree_d, with 47 GiB each"
    );
    for code in ["single-core", "siblings", "no-limit", "no-gpu-builder", "node-memory"] {
        assert!(codes(&one, Severity::Warning).contains(&code), "{code}: {:#?}", one.findings);
    }
    let limited = fixtures::text("user-1.toml").replace("pc1 = 12", "tree_d = 1\npc1 = 12");
    assert!(judged(&limited, &machines::user_1(), Prover::StockDamocles).good);

    let two = of_field("user-2.toml", &machines::user_2());
    assert!(two.good, "{:#?}", two.findings);
    assert_eq!(two.pc1[0].units.len(), 5);
    assert_eq!(codes(&two, Severity::Warning), ["loader", "loader"], "{:#?}", two.findings);

    let three = of_field("user-3.toml", &machines::user_3());
    assert!(words(find(&three, "floating")).contains("2 of 14 tasks float"), "{:#?}", three.findings);
    assert!(errors(&three).contains(&"overlap"), "two GPUs' processors on the same cores, and a lock each");
    assert!(
        three.findings.iter().any(|finding| finding.found.contains("27 tasks, but the limit lets only 24")),
        "{:#?}",
        three.findings
    );

    let four = of_field("user-4.toml", &machines::user_4());
    assert!(four.good, "{:#?}", four.findings);
    assert!(words(find(&four, "overlap")).contains("producers read ahead on 1,3,5,7,9"), "{:#?}", four.findings);
    assert!(words(find(&four, "memory-tight")).contains("processors.c2[0] at 128 GiB, not 192 GiB"));
    assert_eq!(find(&four, "store-on-sealing-disk").path, "attached[0].location");
}

/// A sound configuration for `quad`, in parts.
fn sound(pc1: &str, rest: &str) -> String {
    let threads: String = (0..8).map(|i| format!("[[sealing_thread]]\nlocation = \"/mnt/nvme/{i}\"\n")).collect();
    format!(
        "[sector_manager]\nrpc_client.addr = \"/ip4/127.0.0.1/tcp/1789\"\n[sealing]\nallowed_sizes = [\"32GiB\"]\n\
         [[attached]]\nlocation = \"/mnt/persist\"\n{threads}\
         [processors.static_tree_d]\n\"32GiB\" = \"/mnt/static/tree\"\n\
         [processors.limitation.concurrent]\nadd_pieces = 1\npc1 = 2\npc2 = 1\nc2 = 1\n[processors.ext_locks]\ngpu = 1\n\
         [[processors.pc1]]\n{pc1}\n{rest}"
    )
}

const PC1: &str = "numa_preferred = 0\ncgroup.cpuset = \"0-3\"\nconcurrent = 2\n\
     envs = { FIL_PROOFS_USE_MULTICORE_SDR = \"1\", FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"1\" }";

const LATE: &str = "[[processors.pc2]]\ncgroup.cpuset = \"4-5\"\nlocks = [\"gpu\"]\nconcurrent = 1\n\
     envs = { FIL_PROOFS_USE_GPU_COLUMN_BUILDER = \"1\", FIL_PROOFS_USE_GPU_TREE_BUILDER = \"1\", CUDA_VISIBLE_DEVICES = \"0\" }\n\
     [[processors.c2]]\ncgroup.cpuset = \"4-6\"\nlocks = [\"gpu\"]\nconcurrent = 1\nenvs = { CUDA_VISIBLE_DEVICES = \"0\" }\n";

fn quad() -> Machine {
    machines::quad()
}

#[test]
fn a_sound_configuration_has_no_errors_and_no_warnings() {
    let report = judged(&sound(PC1, LATE), &quad(), Prover::StockDamocles);
    assert!(report.good);
    assert_eq!(codes(&report, Severity::Warning), Vec::<&str>::new(), "{:#?}", report.findings);
}

/// Each change of the sound configuration, the finding that it must bring, and a part of its words.
#[test]
fn each_rule_finds_its_smallest_violation() {
    for (from, to, severity, code, part) in [
        (
            "\"0-3\"",
            "\"0-3,8-9\"",
            Severity::Error,
            "no-such-cpu",
            "2 CPUs (8-9) are not in this machine; the machine has the CPUs 0-7",
        ),
        ("numa_preferred = 0", "numa_preferred = 3", Severity::Error, "no-such-node", "node 3 is not in this machine"),
        (
            "numa_preferred = 0",
            "numa_preferred = 1",
            Severity::Error,
            "other-node",
            "all cores are elsewhere (node 0 4)",
        ),
        ("\"0-3\"", "\"2-5\"", Severity::Warning, "crosses-nodes", "node 0 2, node 1 2"),
        ("\"4-6\"", "\"4-7\"", Severity::Advice, "no-core-left", "all 8 cores are busy"),
        ("concurrent = 2", "concurrent = 3", Severity::Warning, "loader", "all pc1 processors take 3 tasks"),
        (
            "\"4-5\"",
            "\"2-5\"",
            Severity::Error,
            "overlap",
            "2 CPUs (2-3) shared with processors.pc1[0], whose tasks hash on 2",
        ),
        ("\"4-5\"", "\"3-5\"", Severity::Warning, "overlap", "whose producers read ahead on 3"),
        (
            "cgroup.cpuset = \"4-6\"\nlocks = [\"gpu\"]",
            "cgroup.cpuset = \"4-6\"",
            Severity::Error,
            "overlap",
            "2 CPUs (4-5) shared with processors.pc2[0]",
        ),
        (
            "cgroup.cpuset = \"4-6\"\nlocks = [\"gpu\"]",
            "cgroup.cpuset = \"6\"",
            Severity::Error,
            "shared-gpu",
            "GPU 0 is also that of processors.pc2[0]",
        ),
        (
            "CUDA_VISIBLE_DEVICES = \"0\" }\n[[",
            "CUDA_VISIBLE_DEVICES = \"1\" }\n[[",
            Severity::Error,
            "no-such-gpu",
            "GPU 1 is not in this machine, which has 1 CUDA GPU",
        ),
        ("PRODUCERS = \"1\"", "PRODUCERS = \"0\"", Severity::Error, "no-producers", "waits for ever"),
        ("PRODUCERS = \"1\"", "PRODUCERS = \"few\"", Severity::Error, "not-a-number", "\"few\" is no number"),
        ("PRODUCERS = \"1\"", "PRODUCERS = \"4\"", Severity::Error, "floating", "a unit takes 5 cores"),
        ("USE_MULTICORE_SDR = \"1\"", "USE_MULTICORE_SDR = \"0\"", Severity::Warning, "single-core", "bound to none"),
        (
            "USE_MULTICORE_SDR = \"1\"",
            "USE_MULTICORE_SDR = \"maybe\"",
            Severity::Error,
            "not-a-switch",
            "neither yes nor no",
        ),
        (
            "FIL_PROOFS_MULTICORE_SDR_PRODUCERS",
            "FIL_PROOFS_MULTICORE_SDR_PRODUCER",
            Severity::Warning,
            "unknown-variable",
            "did you mean FIL_PROOFS_MULTICORE_SDR_PRODUCERS?",
        ),
        (
            "envs = { CUDA",
            "envs = { RUST_GPU_TOOLS_CUSTOM_GPU = \"RTX 3080:8704\", CUDA",
            Severity::Advice,
            "custom-gpu",
            "names none of the GPUs here: NVIDIA GeForce RTX 3080",
        ),
        (
            "envs = { CUDA",
            "envs = { HACK_P1 = \"1\", CUDA",
            Severity::Advice,
            "private-variable",
            "published ones do not know it",
        ),
        (
            "envs = { CUDA",
            "envs = { FIL_PROOFS_USE_MULTICORE_SDR = \"1\", CUDA",
            Severity::Advice,
            "no-effect",
            "has no effect on c2",
        ),
        (
            "envs = { CUDA",
            "envs = { BELLPERSON_GPUS_PER_LOCK = \"0\", CUDA",
            Severity::Warning,
            "no-gpu-lock",
            "no lock at all",
        ),
        (
            "envs = { CUDA",
            "envs = { FIL_PROOFS_ROWS_TO_DISCARD = \"3\", CUDA",
            Severity::Error,
            "rows-to-discard",
            "3 here and 2 in processors.pc2[0]",
        ),
        (
            "FIL_PROOFS_USE_GPU_TREE_BUILDER = \"1\"",
            "FIL_PROOFS_USE_GPU_TREE_BUILDER = \"0\"",
            Severity::Warning,
            "no-gpu-builder",
            "PC2 is done by cores",
        ),
        (
            "FIL_PROOFS_USE_GPU_COLUMN_BUILDER = \"1\", ",
            "",
            Severity::Advice,
            "no-column-builder",
            "build columns on cores",
        ),
        (
            "gpu = 1",
            "gpu = 1\nother = 1",
            Severity::Warning,
            "unused-lock",
            "processors.ext_locks.other: no processor takes it",
        ),
        ("gpu = 1", "gpu = 2", Severity::Warning, "lax-lock", "keeps nothing apart"),
        ("pc2 = 1", "pc2 = 9", Severity::Warning, "limit-beyond-threads", "a limit of 9, but 8 sealing threads"),
        (
            "[processors.static_tree_d]\n\"32GiB\" = \"/mnt/static/tree\"\n",
            "",
            Severity::Warning,
            "no-limit",
            "nothing limits tree_d: as many as the 8 sealing threads",
        ),
        (
            "[processors.ext_locks]",
            "[processors.limitation.staggered]\npc1 = \"3h\"\n[processors.ext_locks]",
            Severity::Warning,
            "long-stagger",
            "a start every 180.0 min",
        ),
        (
            "location = \"/mnt/persist\"",
            "location = \"/mnt/nvme/persist\"",
            Severity::Warning,
            "store-on-sealing-disk",
            "fill the room",
        ),
        (
            "location = \"/mnt/nvme/7\"",
            "location = \"/srv/7\"",
            Severity::Warning,
            "no-disk",
            "sealing_thread[7].location: /srv/7",
        ),
        (
            "[[processors.c2]]",
            "[[processors.window_post]]\n[[processors.c2]]",
            Severity::Warning,
            "post-beside-sealing",
            "a host of its own",
        ),
        (
            "[[processors.c2]]",
            "[[processors.snap_prove]]\n[[processors.c2]]",
            Severity::Advice,
            "unused-processor",
            "no sealing thread has a plan that uses snap_prove",
        ),
        (
            "envs = { FIL_PROOFS_USE_M",
            "envs = { HUGEPAGE_FILES_PATH = \"/mnt/huge/a\", FIL_PROOFS_USE_M",
            Severity::Warning,
            "short-pool",
            "128 pages of 1 GiB are needed on node 0, its pool has 0",
        ),
    ] {
        let text = sound(PC1, LATE);
        assert!(text.contains(from), "{from}");
        let report = judged(&text.replacen(from, to, 1), &quad(), Prover::StockDamocles);
        let found = report.findings.iter().find(|finding| finding.code == code && words(finding).contains(part));
        let found = found.unwrap_or_else(|| panic!("{from} → {to}: no {code} with {part:?} in {:#?}", report.findings));
        assert_eq!(found.severity, severity, "{code}");
        assert_eq!(report.good, report.count(Severity::Error) == 0);
    }
}

#[test]
fn locks_in_a_circle_are_an_error() {
    let text = sound(PC1, LATE).replace("gpu = 1", "gpu = 1\ndisk = 1").replacen("[\"gpu\"]", "[\"gpu\", \"disk\"]", 1);
    let one_way = judged(&text, &quad(), Prover::StockDamocles);
    assert!(one_way.good, "{:#?}", one_way.findings);
    let at = text.rfind("[\"gpu\"]").unwrap();
    let circle = format!("{}[\"disk\", \"gpu\"]{}", &text[..at], &text[at + 7..]);
    let report = judged(&circle, &quad(), Prover::StockDamocles);
    assert_eq!(errors(&report), ["lock-cycle"]);
    let text = words(find(&report, "lock-cycle"));
    assert!(text.contains("disk → gpu → disk, by processors.pc2[0] and processors.c2[0]"), "{text}");
}

#[test]
fn what_a_machine_does_not_have_or_allow_is_found() {
    let text = sound(PC1, LATE);
    let with = |change: &dyn Fn(&mut Machine)| {
        let mut machine = quad();
        change(&mut machine);
        judged(&text, &machine, Prover::StockDamocles)
    };
    let forbidden = with(&|machine| machine.allowed_cpus = "0-2,4-7".parse().unwrap());
    assert!(words(find(&forbidden, "forbidden-cpu")).contains("1 CPU (3) is forbidden by a cgroup"));
    let small_gpu = with(&|machine| machine.gpus.as_mut().unwrap()[0].memory_bytes = Some(Bytes::gib(8)));
    assert!(words(find(&small_gpu, "gpu-memory")).contains("c2 of 32GiB sectors takes 10 GiB"));
    let full = with(&|machine| {
        machine.disks.as_mut().unwrap()[0].mounts.as_mut().unwrap()[0].total_bytes = Some(Bytes::tib(3))
    });
    assert!(words(find(&full, "no-room")).contains("keep at most 6 there"), "{:#?}", full.findings);
    assert!(!full.good);
    let slow = with(&|machine| machine.disks.as_mut().unwrap()[0].kind = DiskKind::Hdd);
    assert!(slow.good && codes(&slow, Severity::Warning).contains(&"slow-disk"));
    let read_only = with(&|machine| machine.disks.as_mut().unwrap()[0].mounts.as_mut().unwrap()[0].read_only = true);
    assert!(errors(&read_only).contains(&"read-only"));
    let old = with(&|machine| machine.cpu.as_mut().unwrap().features = vec!["avx2".into()]);
    assert!(codes(&old, Severity::Warning).contains(&"no-sha"));
    let silent = with(&|machine| (machine.disks, machine.gpus) = (None, None));
    assert!(silent.good);
    let advice = codes(&silent, Severity::Advice);
    assert!(advice.contains(&"disks-unknown") && advice.contains(&"gpus-unknown"), "{:#?}", silent.findings);
}

#[test]
fn memory_counts_what_may_run_at_once_and_no_more() {
    let machine = quad();
    let of = |text: &str| judged(text, &machine, Prover::StockDamocles).memory;
    let gib = |bytes: Bytes| bytes.0 / Bytes::gib(1).0;
    let sum = of(&sound(PC1, LATE));
    // Two pc1, c2 (pc2 shares its lock), one add_pieces, one c1; tree_d is a link.
    assert_eq!(gib(sum.need), 2 * 64 + 128 + 1 + 1);
    assert_eq!((gib(sum.reserve), gib(sum.have)), (16, 512 - 16));
    assert_eq!(sum.nodes.iter().map(|node| gib(node.pc1)).collect::<Vec<_>>(), [128, 0]);
    let apart = sound(PC1, LATE).replace("locks = [\"gpu\"]\n", "");
    assert_eq!(gib(of(&apart).need), 2 * 64 + 128 + 64 + 1 + 1);
    let three_threads = apart.replacen("[[sealing_thread]]\nlocation = \"/mnt/nvme/0\"\n", "", 5);
    let few = (3..8).fold(apart.clone(), |text, i| {
        text.replace(&format!("[[sealing_thread]]\nlocation = \"/mnt/nvme/{i}\"\n"), "")
    });
    assert_ne!(few, three_threads);
    assert_eq!(gib(of(&few).need), 128 + 2 * 64, "three threads hold three tasks, the most demanding ones");
}

#[test]
fn hugepages_are_pc1s_or_lost() {
    let mut machine = quad();
    let pool = PagePool { page_bytes: Bytes::gib(1), pages: 128, free: Some(128), surplus: Some(0) };
    fn first_node(part: &mut damocles_worker::machine::Part) -> Option<&mut damocles_worker::machine::NumaNode> {
        part.nodes.first_mut().or_else(|| part.parts.iter_mut().find_map(first_node))
    }
    first_node(&mut machine.topology).unwrap().page_pools = Some(vec![pool]);
    let lost = judged(&sound(PC1, LATE), &machine, Prover::StockDamocles).memory.lost;
    assert_eq!(lost, Bytes::gib(128));
    let pc1 = PC1.replace("envs = {", "envs = { HUGEPAGE_FILES_PATH = \"/mnt/huge/0\",");
    let used = judged(&sound(&pc1, LATE), &machine, Prover::StockDamocles);
    assert_eq!(used.memory.lost, Bytes(0));
    assert_eq!(judged(&sound(&pc1, LATE), &machine, Prover::Own).memory.lost, Bytes(0), "our own takes them too");
    assert!(used.findings.iter().all(|finding| finding.code != "short-pool"), "{:#?}", used.findings);
}

#[test]
fn too_little_memory_is_an_error_unless_it_is_meant() {
    let mut machine = quad();
    machine.topology.memory_bytes = Bytes::gib(256);
    let loaded = worker_config::parse(&sound(PC1, LATE)).unwrap();
    let profile = Profile::shipped();
    let question = Question {
        config: &loaded.config,
        warnings: &loaded.warnings,
        machine: &machine,
        profile: &profile,
        prover: Prover::StockDamocles,
        suite: Suite::Stock,
        ghz: None,
        overcommit: false,
    };
    let report = verify(&question);
    let text = words(find(&report, "memory"));
    assert!(
        !report.good && text.contains("258 GiB of the 240 GiB of 256 GiB that are left: 18 GiB are missing"),
        "{text}"
    );
    assert!(verify(&Question { overcommit: true, ..question }).good);
}

#[test]
fn every_configuration_that_loads_is_judged_and_played_through_or_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worker_config/fixtures/good");
    let machines = [machines::quad(), machines::user_1(), machines::two_epyc_7642(), crate::machine("core:1 pu:1")];
    let profile = Profile::shipped();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let Ok(loaded) = worker_config::parse(&text) else { continue };
        files += 1;
        for (machine, prover) in machines.iter().flat_map(|machine| Prover::ALL.map(|prover| (machine, prover))) {
            let report = judged(&text, machine, prover);
            assert_eq!(report.good, report.count(Severity::Error) == 0);
            assert!(report.findings.iter().all(|finding| !finding.found.is_empty() && !finding.advice.is_empty()));
            let question = simulate::Question {
                config: &loaded.config,
                machine,
                profile: &profile,
                prover,
                suite: Suite::Stock,
                ghz: None,
            };
            if let Ok(line) = simulate::Line::of(&question) {
                let tally = simulate::run(&line, 1e8, 0.0, None);
                assert!(tally.finished.windows(2).all(|pair| pair[0] <= pair[1]));
            }
        }
    }
    assert!(files > 10, "{files}");
}

fn plan_verify(args: &[&str]) -> std::process::Output {
    Command::cargo_bin("damocles-worker-util").unwrap().args(["plan", "verify"]).args(args).output().unwrap()
}

#[test]
fn the_command_says_yes_no_and_could_not() {
    let machine = fixtures::machine_file(&machines::two_epyc_7642());
    let small = fixtures::machine_file(&machines::two_epyc_7402());
    let (machine, small) = (machine.path().to_str().unwrap(), small.path().to_str().unwrap());
    let stock = ["--prover", "stock-damocles", "--machine"];
    let path = |name| fixtures::path(name).to_str().unwrap().to_owned();

    let yes = plan_verify(&[&[path("plan-a.toml").as_str()][..], &stock, &[machine]].concat());
    let text = String::from_utf8(yes.stdout).unwrap();
    assert_eq!(yes.status.code(), Some(0), "{text}");
    for part in [
        "good for 32GiB sectors and the stock-damocles prover: 0 errors",
        "[unbalanced]",
        "(0,1)(3,4)",
        "memory: ",
        "28 tasks",
    ] {
        assert!(text.contains(part) || part == "28 tasks" && text.contains("14 tasks, 14 units"), "{part}: {text}");
    }
    let no = plan_verify(&[&[path("48-cores-4-gpus.toml").as_str()][..], &stock, &[small, "--json"]].concat());
    assert_eq!(no.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&no.stdout).unwrap();
    assert_eq!((&answer["good"], &answer["findings"][0]["severity"]), (&false.into(), &"error".into()));
    for args in [vec!["/no/such.toml", "--machine", machine], vec![machine, "--machine", machine]] {
        let output = plan_verify(&args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// A machine whose L3 caches are NUMA nodes: the cgroup of a processor on one hides the other's cores, not its memory.
fn quad_with_a_node_in_each_l3() -> Machine {
    let mut machine = quad();
    for package in &mut machine.topology.parts {
        package.parts[0].memory_bytes = package.memory_bytes;
        package.parts[0].nodes = std::mem::take(&mut package.nodes);
    }
    assert_eq!(machine.check(), []);
    machine
}

#[test]
fn caches_of_which_only_memory_is_seen_count_for_stock_provers() {
    let machine = quad_with_a_node_in_each_l3();
    let three = sound(&PC1.replace("\"0-3\"", "\"0-2\""), LATE);
    let report = judged(&three, &machine, Prover::StockDamocles);
    let text = words(find(&report, "panic"));
    let shape = "in 1 shared cache (3), taken for 2 with 1 of which it sees the memory alone";
    assert!(text.contains(shape) && text.contains("take cores of every cache that has memory"), "{text}");

    let wide = sound(&PC1.replace("PRODUCERS = \"1\"", "PRODUCERS = \"3\""), LATE);
    let text = words(find(&judged(&wide, &machine, Prover::StockDamocles), "floating"));
    assert!(text.contains("a unit takes 4 cores (3 producers + 1)") && text.contains("taken for 2"), "{text}");
    assert!(text.ends_with("set FIL_PROOFS_MULTICORE_SDR_PRODUCERS = \"1\""), "{text}");

    // Neither where nobody may see that memory, nor for our prover, nor where packages have the nodes.
    let mut closed = machine.clone();
    closed.topology.parts[1].parts[0].nodes[0].forbidden = true;
    for (machine, prover) in
        [(&closed, Prover::StockDamocles), (&machine, Prover::Own), (&quad(), Prover::StockDamocles)]
    {
        let report = judged(&three, machine, prover);
        assert!(!errors(&report).contains(&"panic"), "{:#?}", report.findings);
    }
}

#[test]
fn cpus_that_an_export_leaves_out_are_called_offline_or_forbidden() {
    let mut machine = quad();
    machine.offline_cpus = "8-9".parse().unwrap();
    let text = sound(&PC1.replace("\"0-3\"", "\"0-3,8-9\""), LATE);
    let told = |machine: &Machine| words(find(&judged(&text, machine, Prover::StockDamocles), "offline-cpu"));
    assert!(told(&machine).contains("2 CPUs (8-9) are switched off; switch them on"), "{}", told(&machine));
    machine.offline_or_forbidden = true;
    assert!(told(&machine).contains("2 CPUs (8-9) are offline or forbidden; look on"), "{}", told(&machine));
}
