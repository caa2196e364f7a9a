//! PC1's two layers on a machine of two nodes, seen from outside on processors that hash: which hugepage files they have mapped
//! and where the pages lie (numa_maps), what they say, and that no two have the same file.
//!
//! ```text
//! /mnt/huge/pc1/numa_0/{0,1}  ◄── near: a processor on CPUs 0-1        far: one on CPUs 2-3 whose own node has none left
//! /mnt/huge/pc1/numa_1/{0,1}  ◄── near: a processor on CPUs 2-3        none left: anonymous, or refused
//! ```
//!
//! Nobody waits for a sector: under emulation it takes minutes. That labels are right in whatever memory is tested on real
//! processors.

use crate::{
    guest::{self, Guest, When},
    script::{Answers, Script},
};
use damocles_worker::{
    runtime::{
        pieces::Fetch,
        proofs,
        stage::{AddPiecesTask, Pc1Task},
    },
    units::{SealProof, SectorSize},
};
use std::fs;

/// Shell that steps use. `begin NAME CPUS FLAGS…` starts a processor with a sector of its own and waits until it hashes or has
/// answered; `maps NAME` is a line for each piece of memory that is in a hugepage file or bound to a node: its file or `anonymous`, its
/// policy, its pages by node.
const TOOLS: &str = r#"
begin() {
    name=$1; cpus=$2; shift 2; at=/tmp/$name
    mkdir -p $at/cache; mkfifo $at/in
    dd if=/dev/zero of=$at/staged bs=1M count=8 2>/dev/null
    dd if=/dev/null of=$at/cache/sc-02-data-tree-d.dat bs=32 seek=524286 2>/dev/null
    cat /comm_d >>$at/cache/sc-02-data-tree-d.dat
    (sed "s|@|$at|g" /task.json; exec sleep 600) >$at/in &
    RUST_LOG=info,storage_proofs_porep=trace taskset $cpus damocles-worker processor pc1 "$@" <$at/in >$at/out 2>$at/log &
    echo $! >$at/pid
    for i in $(seq 600); do
        grep -q 'hashing layers' $at/log && return 0
        grep -q err_msg $at/out && return 0
        kill -0 $(cat $at/pid) 2>/dev/null || break
        sleep 0.2
    done
    cat $at/log >&2; return 1
}
maps() {
    awk '{ n = ""; for (i = 3; i <= NF; i++) { if ($i ~ /^file=/) f = substr($i, 6); if ($i ~ /^N[0-9]+=/) n = n " " $i } }
        / file=\/mnt\/huge/ { print f, $2 n }
        $2 ~ /^bind:/ { print "anonymous", $2 n }' /proc/$(cat /tmp/$1/pid)/numa_maps | sort
}
end() { for name in $@; do kill -9 $(cat /tmp/$name/pid); done; sleep 1; }
"#;

/// A sector of 8 MiB zeros that anybody can begin, and what is needed for it in the guest.
fn sector(script: Script) -> Script {
    let proof = SealProof::v1_1(SectorSize::MiB8);
    let parents = proofs::ensure_parent_cache(proof).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let staged_filepath = folder.path().join("staged");
    let piece_infos = proofs::add_pieces(
        &AddPiecesTask { seal_proof_type: proof, pieces: vec![], staged_filepath },
        &Fetch::default(),
    )
    .unwrap();
    let comm_d = piece_infos[0].commitment;
    let task = Pc1Task {
        registered_proof: proof,
        cache_path: "@/cache".into(),
        in_path: "@/staged".into(),
        out_path: "@/sealed".into(),
        prover_id: [1; 32],
        sector_id: 7,
        ticket: [5; 32],
        piece_infos,
    };
    let task = format!("{{\"id\":1,\"task\":{}}}\n", serde_json::to_string(&task).unwrap());
    let there = format!("/var/tmp/filecoin-parents/{}", parents.file_name().unwrap().to_str().unwrap());
    let script = script.program("damocles-worker").file("/tools", TOOLS).file("/task.json", task);
    script.file("/comm_d", comm_d).file(&there, fs::read(parents).unwrap())
}

fn guest() -> Guest {
    Guest { nodes: &[(1024, "0-1"), (1024, "2-3")], ..Guest::default() }
}

/// Two files of a sector on each node.
const FILES: &str = "damocles-worker store hugepage-file-init --node 0,1 --num 2 --size 8MiB --path /mnt/huge/pc1 \
                     --mount /mnt/huge --page-size 2MiB";

#[track_caller]
fn says(answers: &Answers, step: &str, words: &[&str]) {
    let said = answers.said(step);
    words.iter().for_each(|word| assert!(said.contains(word), "{step}: {word}\n{said}"));
}

/// The files of a node, as two lines of `maps`.
fn files_of(node: u32) -> String {
    (0..2).map(|i| format!("/mnt/huge/pc1/numa_{node}/8.0_MiB_{i} default N{node}=4\n")).collect()
}

#[test]
fn two_processors_of_one_folder_have_the_files_of_their_nodes_and_never_the_same() {
    let script = sector(Script::new())
        .step("init", FILES)
        .step("a", ". /tools; begin a 3 --hugepage-files-path /mnt/huge/pc1 && cat /tmp/a/log")
        .step("b", ". /tools; export HUGEPAGE_FILES_PATH=/mnt/huge/pc1; begin b c && cat /tmp/b/log")
        .step("maps-a", ". /tools; maps a")
        .step("maps-b", ". /tools; maps b")
        // Nothing is left on either node.
        .step("c", ". /tools; begin c 3 --hugepage_files_path /mnt/huge/pc1 && cat /tmp/c/log")
        .step("maps-c", ". /tools; maps c")
        .step("d", ". /tools; begin d c --hugepage-files-path /mnt/huge/pc1 --require-hugepages; cat /tmp/d/out")
        .step("maps-again", ". /tools; maps a; maps b");
    let Some(answers) = guest::ask("pc1-hugepages", When::Slow, &guest(), &script) else { return };
    answers.said("init");
    says(
        &answers,
        "a",
        &[
            "TRACE loaded memory file: /mnt/huge/pc1/numa_0/8.0_MiB_0\n",
            "TRACE loaded memory file: /mnt/huge/pc1/numa_1/8.0_MiB_1\n",
            "TRACE number of loaded memory files: numa_id: 0, loaded: 2; numa_id: 1, loaded: 2\n",
            "INFO pc1: hugepage files: node 0: 2 files of 8MiB; node 1: 2 files of 8MiB\n",
            "memory=\"hugepages of node 0\"",
        ],
    );
    says(&answers, "b", &["memory=\"hugepages of node 1\""]);
    assert_eq!(answers.said("maps-a"), files_of(0));
    assert_eq!(answers.said("maps-b"), files_of(1));
    says(
        &answers,
        "c",
        &[
            "WARN pc1: unable to take hugepage files, falling back to anonymous memory: below \
         /mnt/huge/pc1/numa_$NUMA_NODE_INDEX are 4 files of 8MiB that can be used, 4 of them in use",
            "memory=\"anonymous for want of hugepages\"",
        ],
    );
    let anonymous = answers.said("maps-c");
    assert!(anonymous.lines().count() > 0, "{anonymous}");
    assert!(anonymous.lines().all(|line| line.starts_with("anonymous bind:0 N0=")), "{anonymous}");
    says(&answers, "d", &["\"err_msg\":\"--require-hugepages: 2 of 2 hugepage files of 8MiB are missing: below"]);
    assert_eq!(answers.said("maps-again"), files_of(0) + &files_of(1), "and nobody lost any");
}

#[test]
fn the_nearest_node_stands_in_and_a_killed_processor_leaves_its_files_free() {
    let wrong = "mkdir -p /mnt/huge/wrong/numa_0 && cd /mnt/huge/wrong/numa_0 && taskset 4 fallocate -l 8388608 8.0_MiB_0 && \
                 taskset 1 fallocate -l 8388608 8.0_MiB_1";
    let pattern = "--hugepage_files_path_pattern '/mnt/huge/wrong/numa_$NUMA_NODE_INDEX'";
    let script = sector(Script::new())
        .step("init", FILES)
        .step("a", ". /tools; begin a 3 --hugepage-files-path /mnt/huge/pc1")
        .step("b", ". /tools; begin b 3 --hugepage-files-path /mnt/huge/pc1 --require-hugepages && cat /tmp/b/log")
        .step("maps-b", ". /tools; maps b")
        .step("end", ". /tools; end a b")
        .step("c", ". /tools; begin c 3 --hugepage-files-path /mnt/huge/pc1")
        .step("maps-c", ". /tools; maps c; end c")
        // Pages of node 1 in the folder of node 0, and of node 0.
        .step("pools", "for node in 0 1; do echo 12 >/sys/devices/system/node/node$node/hugepages/hugepages-2048kB/nr_hugepages; done")
        .step("wrong", wrong)
        .step("d", &format!(". /tools; begin d c {pattern} && cat /tmp/d/log"))
        .step("maps-d", ". /tools; maps d; end d")
        .step("none", "damocles-worker processor pc1 --hugepage-files-path /mnt/huge/nothing --require-hugepages </dev/null")
        .step("stage", "damocles-worker processor pc2 --require-hugepages </dev/null")
        .step("pattern", "HUGEPAGE_FILES_PATH_PATTERN=/mnt/huge damocles-worker processor pc1 </dev/null");
    let Some(answers) = guest::ask("pc1-nodes", When::Slow, &guest(), &script) else { return };
    answers.said("a");
    says(
        &answers,
        "b",
        &[
            "WARN pc1: the hugepage files of 8MiB on node 0 are in use: taking those of node 1, the nearest that has some",
            "memory=\"hugepages of the other node 1\"",
        ],
    );
    assert_eq!(answers.said("maps-b"), files_of(1));
    answers.said("c");
    assert_eq!(answers.said("maps-c"), files_of(0), "a killed processor's lock is gone with it");
    answers.said("wrong");
    says(
        &answers,
        "d",
        &[
            "/mnt/huge/wrong/numa_0/8.0_MiB_0 is in the folder of node 0 and its pages lie on node 1: taken as one of that node",
            "memory=\"hugepages of node 1, hugepages of the other node 0\"",
        ],
    );
    let wrong = "/mnt/huge/wrong/numa_0/8.0_MiB_0 default N1=4\n/mnt/huge/wrong/numa_0/8.0_MiB_1 default N0=4\n";
    assert_eq!(answers.said("maps-d"), wrong);
    for (step, words) in [
        ("none", "hugepages are required, and no file below /mnt/huge/nothing/numa_$NUMA_NODE_INDEX can be used"),
        ("stage", "pc2 takes no hugepage files"),
        ("pattern", "\"/mnt/huge\" is not a folder of hugepage files"),
    ] {
        let said = answers.step(step);
        assert!(said.code == 2 && said.err.contains(words), "{step}: {said:?}");
    }
}
