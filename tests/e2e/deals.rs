//! Sectors with deals: from the embedded manager's folder through every kill to a proof, and from a served manager over
//! HTTP with its token.

use crate::bench::{Bench, WORKER, has_parameters, reports, said};
use damocles_worker::{
    runtime::{
        proofs::{self, UnsealTask},
        stage::{PieceInfo, layout::zero_commitment, prover_id},
    },
    units::SealProof,
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

const PROOF: &str = "StackedDrg2KiBV1_1";

fn data(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|i| (i as u8).wrapping_mul(29) ^ seed).collect()
}

/// A folder of two pieces, with room between them in a sector.
fn pieces(bench: &Bench) -> [Vec<u8>; 2] {
    let pieces = [data(1000, 1), data(100, 2)];
    fs::create_dir(bench.path("pieces")).unwrap();
    for (name, data) in ["large", "small"].iter().zip(&pieces) {
        fs::write(bench.path("pieces").join(name), data).unwrap();
    }
    pieces
}

pub fn rewrite(bench: &Bench, changes: &[(&str, &str)]) {
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    let config = changes.iter().fold(config, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    fs::write(bench.path("worker.toml"), config).unwrap();
}

fn unhex(text: &Value) -> [u8; 32] {
    let text = text.as_str().unwrap();
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

#[test]
fn killed_around_its_deals_a_sector_is_proven_with_them_and_their_data_comes_back() {
    if !has_parameters("killed_around_its_deals") {
        return;
    }
    let bench = Bench::new(PROOF);
    let [large, small] = pieces(&bench);
    rewrite(
        &bench,
        &[
            ("path = \"./manager\"", "path = \"./manager\"\npieces = \"./pieces\""),
            ("[sealing]", "[sealing]\nenable_deals = true\ndisable_cc = true"),
        ],
    );
    // A tree-d that would be wrong for this sector: it is never used.
    fs::write(bench.path("zeros"), vec![0; 4064]).unwrap();
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), config + "\n[processors.static_tree_d]\n2KiB = \"./zeros\"\n").unwrap();
    for place in [
        "before:DealsAcquired",
        "after:DealsAcquired",
        "started:add_pieces",
        "before:PieceAdded",
        "after:PieceAdded",
        "before:TreeDBuilt",
        "after:TreeDBuilt",
    ] {
        let output = bench.run(&["--sectors", "1", "--crash-at", place]);
        assert_eq!(output.status.signal(), Some(9), "{place}: {}", said(&output));
    }
    let journal = fs::read_to_string(bench.path("sealing/0/journal")).unwrap();
    assert_eq!(journal.matches("DealsTaken").count(), 1, "{journal}");
    let output = bench.run(&["--sectors", "1", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let report = &reports(&output)[0];
    assert_eq!((&report["proof_verified"], &report["number"]), (&true.into(), &1.into()), "{report}");
    assert_eq!(report["starts"]["add_pieces"], 3, "twice killed, once done: {report}");

    let proof: SealProof = PROOF.parse().unwrap();
    let comm_d = unhex(&report["comm_d"]);
    assert_eq!(comm_d, comm_d_of(&bench, proof));
    let unseal = UnsealTask {
        registered_proof: proof,
        prover_id: prover_id(1000),
        sector_id: 1,
        comm_d,
        ticket: unhex(&report["ticket"]),
        sealed_file: bench.path("persist/sealed/s-t01000-1"),
        unsealed_output: bench.path("unsealed"),
    };
    assert_eq!(proofs::unseal_whole(&unseal).unwrap(), 2032);
    let unsealed = fs::read(&unseal.unsealed_output).unwrap();
    assert!(unsealed[..1000] == large && unsealed[1016..1116] == small, "the data of both deals");
    assert!(unsealed[1000..1016].iter().chain(&unsealed[1116..]).all(|byte| *byte == 0));
}

/// What comm_d is by the library: 1 KiB, 128 bytes, and its own padding.
fn comm_d_of(bench: &Bench, proof: SealProof) -> [u8; 32] {
    let piece = |name: &str, payload, size| PieceInfo {
        commitment: proofs::piece_commitment(proof, &bench.path("pieces").join(name), payload, size).unwrap(),
        size,
    };
    let zeros = |padded: u64| PieceInfo { commitment: zero_commitment(padded), size: padded / 128 * 127 };
    let all = [piece("large", 1000, 1016), piece("small", 100, 127), zeros(128), zeros(256), zeros(512)];
    proofs::comm_d(proof, &all).unwrap()
}

/// A served manager, ended with the test.
pub struct Manager(Child, pub String);

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(bench: &Bench, token: &str) -> Manager {
    fs::write(bench.path("token"), token).unwrap();
    fs::set_permissions(bench.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(WORKER);
    command
        .args(["manager", "--listen", "127.0.0.1:0", "--token-file", "token", "--epoch", "5ms", "--pieces", "pieces"])
        .args(["--attach", "persist=persist", "--json", "--rehearse"])
        .current_dir(bench.path(""));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    Manager(child, listening["url"].as_str().unwrap().to_owned())
}

pub fn remote_bench(piece_token: &str, more: &str) -> (Bench, Manager) {
    let bench = Bench::new(PROOF);
    pieces(&bench);
    let manager = serve(&bench, "the-very-right-token");
    let config = format!(
        "worker.rpc_server = {{ host = \"127.0.0.1\", port = 0 }}\n[sector_manager]\nrpc_client.addr = \"{}\"\npiece_token = \"{piece_token}\"\n\n[sealing]\nenable_deals = true\n\
         seal_interval = \"100ms\"\nrecover_interval = \"10ms\"\nrpc_polling_interval = \"50ms\"\nmax_retries = 2\n\n\
         [[sealing_thread]]\nlocation = \"./sealing/0\"\n\n[[attached]]\nname = \"persist\"\nlocation = \"./persist\"\n{more}",
        manager.1
    );
    fs::write(bench.path("worker.toml"), config).unwrap();
    (bench, manager)
}

#[test]
fn pieces_come_over_http_into_the_daemon_and_into_a_child_and_no_log_holds_the_token() {
    for more in ["", "\n[[processors.add_pieces]]\n"] {
        let (bench, _manager) = remote_bench("the-very-right-token", more);
        let log = fs::File::create(bench.path("log")).unwrap();
        let mut daemon = bench.daemon(&["--sectors", "1", "--json", "--rehearse", "sleep=1ms"]);
        let output = daemon.env("RUST_LOG", "debug").stderr(log).output().unwrap();
        let log = fs::read_to_string(bench.path("log")).unwrap();
        assert!(output.status.success(), "{}\n{log}", said(&output));
        assert_eq!(reports(&output)[0]["starts"]["add_pieces"], 1, "{log}");
        assert!(!log.contains("the-very-right-token"), "{log}");
    }
}

#[test]
fn a_wrong_piece_token_pauses_the_thread_with_what_to_check() {
    let (bench, _manager) = remote_bench("a-wrong-token", "\n[[processors.add_pieces]]\n");
    let output = bench.run(&["--sectors", "1", "--rehearse", "sleep=1ms"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let said = said(&output);
    let told = "answered 401 Unauthorized: the token is not accepted: check sector_manager.piece_token";
    assert!(said.contains(told) && !said.contains("a-wrong-token"), "{said}");
}

#[test]
fn a_piece_in_a_folder_of_the_workers_comes_before_the_managers_and_other_bytes_are_never_sealed() {
    let (bench, _manager) = remote_bench("a-wrong-token", "");
    let proof: SealProof = PROOF.parse().unwrap();
    fs::create_dir(bench.path("local")).unwrap();
    let place = |name: &str, payload: u64, size: u64| -> PathBuf {
        let path = bench.path("pieces").join(name);
        let cid = proofs::piece_commitment(proof, &path, payload, size).unwrap();
        let local = bench.path("local").join(format!("{}.car", damocles_worker::units::PieceCid(cid)));
        fs::copy(path, &local).unwrap();
        local
    };
    let (large, _small) = (place("large", 1000, 1016), place("small", 100, 127));
    let right = fs::read(&large).unwrap();
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    fs::write(bench.path("worker.toml"), format!("worker.local_pieces_dirs = [\"./local\"]\n{config}")).unwrap();

    let mut wrong = right.clone();
    wrong[500] ^= 1;
    fs::write(&large, wrong).unwrap();
    let output = bench.run(&["--sectors", "1", "--rehearse", "sleep=1ms"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("deal 1: piece baga") && told.contains("what was added is another piece, baga"), "{told}");
    assert!(told.contains("local/baga"), "the file is named: {told}");

    fs::write(&large, right).unwrap();
    let output = bench.run(&["--sectors", "1", "--json", "--rehearse", "sleep=1ms"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(reports(&output)[0]["number"], 1, "the same sector goes on");
}
