//! `kill -9` in every state and inside stages; the sector still finishes and its proof verifies.

use crate::bench::{Bench, has_parameters, reports, said};
use damocles_worker::{
    runtime::{
        manager::wire::Ticket,
        proofs::{self, UnsealTask},
        stage::{Pc1Task, Pc2Task, PieceInfo, TreeDTask, prover_id},
    },
    units::{SealProof, SectorSize},
};
use std::{fs, io::Write, ops::Range, os::unix::process::ExitStatusExt, path::Path, time::Duration};

/// Every state that a sector passes, and the stage that leads there, if one does.
const WAY: [(&str, Option<&str>); 16] = [
    ("Allocated", None),
    ("DealsAcquired", None),
    ("PieceAdded", Some("add_pieces")),
    ("TreeDBuilt", Some("tree_d")),
    ("TicketAssigned", None),
    ("PC1Done", Some("pc1")),
    ("PC2Done", Some("pc2")),
    ("PCSubmitted", None),
    ("PCLanded", None),
    ("Persisted", Some("transfer")),
    ("PersistanceSubmitted", None),
    ("SeedAssigned", None),
    ("C1Done", Some("c1")),
    ("C2Done", Some("c2")),
    ("ProofSubmitted", None),
    ("Finished", None),
];

fn killed_at(bench: &Bench, place: &str) {
    let output = bench.run(&["--sectors", "1", "--crash-at", place]);
    assert_eq!(output.status.signal(), Some(9), "{place}: {}", said(&output));
}

#[test]
fn killed_in_every_state_and_inside_every_stage_the_sector_finishes_with_a_verifying_proof() {
    if !has_parameters("killed_in_every_state_and_inside_every_stage") {
        return;
    }
    let bench = Bench::new("StackedDrg2KiBV1_1");
    for (state, stage) in WAY {
        if let Some(stage) = stage {
            // Its intent is journaled, its work is not.
            killed_at(&bench, &format!("started:{stage}"));
            // Its work is done, and only the journal does not know: c2 takes a minute, the others none.
            if stage != "c2" {
                killed_at(&bench, &format!("before:{state}"));
            }
        } else {
            // The manager has answered, the journal does not know it yet: the call is made again.
            killed_at(&bench, &format!("before:{state}"));
        }
        if matches!(stage, Some("tree_d" | "pc2")) {
            for _ in 0..3 {
                kill_inside(&bench, stage.unwrap(), 0..30_000);
            }
        }
        killed_at(&bench, &format!("after:{state}"));
    }
    nothing_done_was_repeated(&bench);
    let output = bench.run(&["--sectors", "1", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let report = &reports(&output)[0];
    assert_eq!(report["proof_verified"], true, "{report}");
    let files: Vec<_> =
        report["files"].as_array().unwrap().iter().map(|file| Path::new(file.as_str().unwrap())).collect();
    assert!(files.len() == 4 && files.iter().all(|file| file.is_file()), "{report}");
    assert!(report["starts"]["restore_replica"].as_u64() >= Some(1), "{report}");
    unsealed_data_comes_back(&bench, report);
    assert_eq!(fs::read_dir(bench.path("sealing/0/cache")).unwrap().count(), 0, "the local files are dropped");
}

/// In the whole journal of the sector no stage begins after it was done.
fn nothing_done_was_repeated(bench: &Bench) {
    let journal = journal(bench);
    for (state, stage) in WAY {
        let Some(stage) = stage else { continue };
        let done = reached(&journal, state).unwrap_or_else(|| panic!("{state} is not in the journal"));
        let started = format!(r#"{{"StageStarted":{{"stage":"{stage}"}}}}"#);
        let (before, after) = journal.split_at(done);
        assert!(before.matches(&started).count() >= 2, "{stage} was begun again after its kill");
        assert_eq!(after.matches(&started).count(), 0, "{stage} was begun again after it was done");
    }
}

/// Every stage in children of our own, two of pc1, and c2 one at a time for both threads. The children of the early
/// stages are killed once while they live: whatever they had is done again.
#[test]
fn two_threads_seal_a_sector_each_in_children_and_leave_empty_stores() {
    if !has_parameters("two_threads_seal_a_sector_each_in_children") {
        return;
    }
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let stages = ["add_pieces", "tree_d", "pc1", "pc1", "pc2", "transfer", "c2"];
    let tables: String = stages.map(|stage| format!("[[processors.{stage}]]\n")).concat();
    let more = "\n[[sealing_thread]]\nlocation = \"./sealing/1\"\n\n[processors.limitation.concurrent]\nc2 = 1\n";
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap() + more + &tables;
    fs::write(bench.path("worker.toml"), config).unwrap();
    let log = fs::File::create(bench.path("daemon.log")).unwrap();
    let mut daemon = bench.daemon(&["--sectors", "2", "--json"]);
    let daemon = daemon.stdout(std::process::Stdio::piped()).stderr(log).spawn().unwrap();
    kill_children(&bench, &["add_pieces", "tree_d", "pc1", "pc2"]);
    let output = daemon.wait_with_output().unwrap();
    let log = fs::read_to_string(bench.path("daemon.log")).unwrap();
    assert!(output.status.success(), "{}\n{log}", said(&output));
    assert!(log.matches("was killed by SIGKILL; started again in 1 s").count() >= 5, "{log}");
    assert!(reports(&output).iter().all(|report| report["proof_verified"] == true));
    let mut names: Vec<_> = reports(&output).iter().map(|report| report["name"].to_string()).collect();
    names.sort();
    assert_eq!(names, ["\"s-t01000-1\"", "\"s-t01000-2\""]);
    for store in ["sealing/0", "sealing/1"] {
        assert_eq!(fs::read(bench.path(store).join("journal")).unwrap(), b"", "cut to a snapshot");
    }
}

/// Kills each child of these stages once, as soon as all are ready.
fn kill_children(bench: &Bench, stages: &[&str]) {
    let start = std::time::Instant::now();
    let ready = loop {
        let log = fs::read_to_string(bench.path("daemon.log")).unwrap();
        let ready: Vec<_> = log.lines().filter(|line| line.contains(" ready processor=")).map(str::to_owned).collect();
        if ready.len() == 7 {
            break ready;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "children are not ready: {log}");
        std::thread::sleep(Duration::from_millis(1));
    };
    let to_kill = ready.iter().filter(|line| stages.iter().any(|stage| line.contains(&format!("\"{stage}["))));
    for line in to_kill {
        let pid = line.split("pid=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

/// Where the journal says that `state` was reached.
fn reached(journal: &str, state: &str) -> Option<usize> {
    let event = match state {
        "PieceAdded" => "PiecesAdded",
        "PC1Done" => "Pc1Done",
        "PC2Done" => "Pc2Done",
        "PCSubmitted" => "PreCommitSubmitted",
        "PCLanded" => "PreCommitLanded",
        "PersistanceSubmitted" => "PersistenceSubmitted",
        "Finished" => "ProofLanded",
        same => same,
    };
    journal.find(&format!("\"event\":{{\"{event}\"")).or_else(|| journal.find(&format!("\"event\":\"{event}\"")))
}

fn journal(bench: &Bench) -> String {
    fs::read_to_string(bench.path("sealing/0/journal")).unwrap_or_default()
}

/// Kills a daemon at a random moment after `stage` began; one that has done the work before the kill comes
/// dies by itself before it can journal that. Says whether the kill came first.
fn kill_inside(bench: &Bench, stage: &str, micros: Range<u64>) -> bool {
    let state = if stage == "pc2" { "PC2Done" } else { "TreeDBuilt" };
    let before = bench.starts(stage);
    let mut daemon = bench.start(&["--sectors", "1", "--crash-at", &format!("before:{state}")]);
    daemon.wait_for_start(stage, before + 1);
    let delay = rand::Rng::gen_range(&mut rand::thread_rng(), micros);
    std::thread::sleep(Duration::from_micros(delay));
    let inside = daemon.kill();
    let end = if inside { "inside" } else { "it had been done" };
    let _ = writeln!(std::io::stderr(), "{stage}: killed after {delay} µs, {end}");
    inside
}

/// The persisted replica decodes to the zeros that went in.
fn unsealed_data_comes_back(bench: &Bench, report: &serde_json::Value) {
    let bytes = |key: &str| unhex(report[key].as_str().unwrap());
    let task = UnsealTask {
        registered_proof: "StackedDrg2KiBV1_1".parse().unwrap(),
        prover_id: prover_id(1000),
        sector_id: report["number"].as_u64().unwrap(),
        comm_d: bytes("comm_d"),
        ticket: bytes("ticket"),
        sealed_file: bench.path("persist/sealed").join(report["name"].as_str().unwrap()),
        unsealed_output: bench.path("unsealed"),
    };
    assert_eq!(proofs::unseal_whole(&task).unwrap(), 2032);
    assert_eq!(fs::read(bench.path("unsealed")).unwrap(), [0; 2032]);
    assert_ne!(fs::read(&task.sealed_file).unwrap()[..2032], [0; 2032]);
}

fn unhex(text: &str) -> [u8; 32] {
    let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// 8 MiB stages last long enough to be hit in the middle; the replica must be the one that an undisturbed
/// run makes. Ends at the pre-commit: its proof would need 8 MiB parameters.
#[test]
fn killed_inside_tree_d_and_pc2_at_random_moments_the_replica_is_the_same() {
    same_replica(SectorSize::MiB8, 3, 0..150_000, 4, 0..4_000_000);
}

/// The same with stages of minutes: half an hour on two cores, so only where `DAMOCLES_SLOW=1` asks for it.
#[test]
fn killed_inside_tree_d_and_pc2_of_512_mib_the_replica_is_the_same() {
    if std::env::var("DAMOCLES_SLOW").as_deref() != Ok("1") {
        let _ = writeln!(std::io::stderr(), "skipped 512 MiB: half an hour; run with DAMOCLES_SLOW=1 (make test-slow)");
        return;
    }
    same_replica(SectorSize::MiB512, 2, 0..3_000_000, 2, 0..120_000_000);
}

fn same_replica(size: SectorSize, tree_d_kills: u32, tree_d: Range<u64>, pc2_kills: u32, pc2: Range<u64>) {
    let proof = SealProof::v1_1(size);
    let bench = Bench::new(&proof.to_string()).without_keys();
    let mut inside = 0;
    for _ in 0..tree_d_kills {
        inside += u32::from(kill_inside(&bench, "tree_d", tree_d.clone()));
    }
    for _ in 0..pc2_kills {
        inside += u32::from(kill_inside(&bench, "pc2", pc2.clone()));
    }
    assert!(inside > 0, "no kill hit a stage in the middle");
    let mut daemon = bench.start(&["--sectors", "1"]);
    daemon.wait_for("\"event\":\"PreCommitSubmitted\"");
    daemon.kill();
    let journal = journal(&bench);
    let event = |name: &str| -> serde_json::Value {
        let line = journal.lines().rev().find(|line| line.contains(&format!("\"event\":{{\"{name}\""))).unwrap();
        let entry: serde_json::Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        entry["event"][name].clone()
    };
    let ticket: Ticket = serde_json::from_value(event("TicketAssigned")).unwrap();
    let pieces = serde_json::from_value(event("PiecesAdded")["pieces"].clone()).unwrap();
    let expected = undisturbed(proof, ticket.ticket.0, pieces, &bench.path("undisturbed"));
    let comm_r: [u8; 32] = serde_json::from_value(event("Pc2Done")["output"]["comm_r"].clone()).unwrap();
    assert_eq!(comm_r, expected);
}

/// comm_r of sector 1 of miner 1000, filled with zeros, made in one go.
fn undisturbed(registered_proof: SealProof, ticket: [u8; 32], piece_infos: Vec<PieceInfo>, dir: &Path) -> [u8; 32] {
    let (staged, sealed, cache) = (dir.join("staged"), dir.join("sealed"), dir.join("cache"));
    fs::create_dir_all(&cache).unwrap();
    fs::File::create(&staged).unwrap().set_len(registered_proof.sector_size().bytes().0).unwrap();
    fs::write(&sealed, "").unwrap();
    proofs::tree_d(&TreeDTask { registered_proof, staged_file: staged.clone(), cache_dir: cache.clone() }).unwrap();
    let pc1 = Pc1Task {
        registered_proof,
        cache_path: cache.clone(),
        in_path: staged,
        out_path: sealed.clone(),
        prover_id: prover_id(1000),
        sector_id: 1,
        ticket,
        piece_infos,
    };
    let pc1out = proofs::pc1(&pc1).unwrap();
    proofs::pc2(&Pc2Task { pc1out, cache_dir: cache, sealed_file: sealed }).unwrap().comm_r
}
