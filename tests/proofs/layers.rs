//! pc1's own engine against the library: every file and every answer the same, whatever happened on the way.

use crate::seal::Sector;
use damocles_worker::{
    runtime::{
        pc1_numbers,
        proofs::{self, Pc1Options, Pc1Prover},
        sdr::{
            Engine, Job,
            kernel::Kernel,
            memory::AnonymousMemory,
            progress::{Progress, Unwatched, Watch},
            seats::Seats,
        },
        stage::*,
    },
    units::{SealProof, SectorSize},
};
use filecoin_proofs::DefaultTreeHasher;
use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};
use storage_proofs_core::{api_version::ApiVersion, drgraph::BASE_DEGREE};
use storage_proofs_porep::stacked::{EXP_DEGREE, StackedBucketGraph};

const STOCK: Pc1Options = options(Pc1Prover::Stock);
const OWN: Pc1Options = options(Pc1Prover::Own);

const fn options(prover: Pc1Prover) -> Pc1Options {
    Pc1Options { prover, sectors_per_core: 1, hugepages: None, require_hugepages: false }
}

/// Content by name.
type Files = BTreeMap<String, Vec<u8>>;

/// All layers and tree-d.
fn made(cache: &Path) -> Files {
    let entries = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name.starts_with("sc-02-data-"))
        .collect()
}

fn made_layers(cache: &Path) -> Files {
    made(cache).into_iter().filter(|(name, _)| name.contains("-layer-")).collect()
}

/// Removes everything that pc1 and pc2 made.
fn only_tree_d(sector: &Sector) {
    for (name, _) in sector.cache_files() {
        let path = sector.cache().join(&name);
        if name != TREE_D {
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
        }
    }
}

/// Runs pc1 with both provers in one folder, one after the other from nothing.
fn both(sector: &Sector, task: &Pc1Task) -> [(Opaque, Files, Vec<u8>); 2] {
    [OWN, STOCK].map(|options| {
        only_tree_d(sector);
        let _ = fs::remove_file(&task.out_path);
        let answer = proofs::pc1_with(task, &options, &Unwatched).unwrap();
        (answer, made(&sector.cache()), fs::read(&task.out_path).unwrap())
    })
}

#[test]
fn every_proof_version_and_many_replicas_give_the_librarys_files_and_answer_at_2_kib() {
    let versions: Vec<_> = SealProof::all().filter(|proof| proof.sector_size() == SectorSize::KiB2).collect();
    assert_eq!(versions.len(), 4);
    for proof in versions {
        let mut sector = Sector::new(SectorSize::KiB2);
        sector.proof = proof;
        sector.prepare(vec![]);
        for replica in 0..8u8 {
            let mut task = sector.pc1_task();
            task.sector_id = u64::from(replica) * 0x0101_0101_0101;
            task.ticket = [replica.wrapping_mul(31); 32];
            task.prover_id = prover_id(1000 + u64::from(replica));
            let [own, stock] = both(&sector, &task);
            assert!(own == stock, "{proof}, replica {replica}");
            assert_eq!(own.1.len(), 3, "two layers and tree-d");
        }
    }
}

#[test]
fn layers_and_comm_r_are_the_librarys_at_8_mib_in_every_proof_version() {
    let versions: Vec<_> = SealProof::all().filter(|proof| proof.sector_size() == SectorSize::MiB8).collect();
    assert_eq!(versions.len(), 4);
    for (replica, proof) in versions.into_iter().enumerate() {
        let mut sector = Sector::new(SectorSize::MiB8);
        sector.proof = proof;
        sector.prepare(vec![]);
        let mut task = sector.pc1_task();
        (task.sector_id, task.ticket) = (1 << (13 * replica), [replica as u8 * 17; 32]);
        let [own, stock] = both(&sector, &task);
        assert!(own == stock, "{proof}");
        // The trees and comm_r: pc2 over the library's layers, which are still there, and over ours.
        let stocks = (proofs::pc2(&sector.pc2_task(stock.0)).unwrap(), made(&sector.cache()));
        only_tree_d(&sector);
        let _ = fs::remove_file(&task.out_path);
        let own = proofs::pc1_with(&task, &OWN, &Unwatched).unwrap();
        let own = (proofs::pc2(&sector.pc2_task(own)).unwrap(), made(&sector.cache()));
        assert!(own == stocks, "{proof}: {:?} and {:?}", own.0, stocks.0);
        assert!(
            own.1.keys().any(|name| name.contains("tree-c")) && own.1.keys().any(|name| name.contains("tree-r-last"))
        );
    }
}

#[test]
fn the_library_keeps_our_layers_and_we_compute_its_again() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let layer = sector.cache().join("sc-02-data-layer-1.dat");
    let modified = || fs::metadata(&layer).unwrap().modified().unwrap();
    proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap();
    let (whole, when) = (fs::read(&layer).unwrap(), modified());
    proofs::pc1_with(&sector.pc1_task(), &STOCK, &Unwatched).unwrap();
    assert_eq!(modified(), when);
    // Of the right length and from nobody we know.
    fs::write(&layer, [0; 2048]).unwrap();
    proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap();
    assert_eq!(fs::read(&layer).unwrap(), whole);
}

#[test]
fn pieces_that_are_not_in_tree_d_are_refused_before_anything_is_hashed() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let mut task = sector.pc1_task();
    task.piece_infos[0].commitment = [1; 32];
    let error = proofs::pc1_with(&task, &OWN, &Unwatched).unwrap_err().to_string();
    assert!(error.contains("pieces and comm_d do not match; run add_pieces and tree_d again"), "{error}");
    assert!(!sector.cache().join("sc-02-data-layer-1.dat").exists());
}

#[test]
fn a_sealed_file_that_cannot_be_written_fails_the_task() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let mut task = sector.pc1_task();
    task.out_path = sector.path("no-such-folder").join("sealed");
    let error = proofs::pc1_with(&task, &OWN, &Unwatched).unwrap_err().to_string();
    assert!(error.contains("no-such-folder"), "{error}");
}

/// Stops once a layer has been hashed.
struct StopAfter(u32, AtomicU32);

impl Watch for StopAfter {
    fn progress(&self, progress: &Progress) {
        self.1.store(progress.layer, Ordering::SeqCst);
    }
    fn stopped(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn a_task_that_is_cancelled_in_each_layer_ends_in_the_same_layers_and_comm_r() {
    for size in [SectorSize::KiB2, SectorSize::MiB8] {
        let mut sector = Sector::new(size);
        sector.prepare(vec![]);
        let pc2 = |answer: Opaque| (size == SectorSize::KiB2).then(|| proofs::pc2(&sector.pc2_task(answer)).unwrap());
        let undisturbed = pc2(proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap());
        let layers = made_layers(&sector.cache());
        for layer in [1, 2] {
            only_tree_d(&sector);
            let error = proofs::pc1_with(&sector.pc1_task(), &OWN, &StopAfter(layer, AtomicU32::new(0))).unwrap_err();
            assert!(error.to_string().contains("stopped before the last layer"), "{error}");
            assert!(!error.is_permanent());
            let again = proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap();
            assert!(made_layers(&sector.cache()) == layers, "stopped after layer {layer}");
            assert_eq!(pc2(again), undisturbed);
        }
    }
}

/// Names the folder in which the next test is a child that makes layers until it is killed.
const CHILD: &str = "DAMOCLES_TEST_PC1_TASK";

#[test]
fn child_that_makes_layers() {
    let Some(file) = env::var_os(CHILD) else { return };
    let task: Pc1Task = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    proofs::pc1_with(&task, &OWN, &Unwatched).unwrap();
}

#[test]
fn a_task_that_is_killed_in_each_layer_ends_in_the_same_comm_r() {
    let mut sector = Sector::new(SectorSize::MiB8);
    sector.prepare(vec![]);
    let task = sector.path("task.json");
    fs::write(&task, serde_json::to_vec(&sector.pc1_task()).unwrap()).unwrap();
    let run = || {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "layers::child_that_makes_layers"]).env(CHILD, &task);
        child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    assert!(run().wait().unwrap().success());
    let layers = made_layers(&sector.cache());
    let pc2 = |answer: Opaque| {
        let output = proofs::pc2(&sector.pc2_task(answer)).unwrap();
        proofs::clean_before_pc2_again(&sector.cache()).unwrap();
        output
    };
    let expected = pc2(proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap());
    // In layer 1, in layer 2, and anywhere.
    for (layers_before, then) in [(0, 20), (1, 0), (1, 60), (0, 200), (0, 300)] {
        only_tree_d(&sector);
        let mut child = run();
        let began = Instant::now();
        let there = || {
            let mut layers = (1..=layers_before).map(|n| sector.cache().join(format!("sc-02-data-layer-{n}.dat")));
            sector.cache().join(".layers_of").exists() && layers.all(|layer| layer.exists())
        };
        while !there() && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(then));
        let _ = child.kill();
        child.wait().unwrap();
        let answer = proofs::pc1_with(&sector.pc1_task(), &OWN, &Unwatched).unwrap();
        assert!(made_layers(&sector.cache()) == layers, "killed {then} ms after {layers_before} layers");
        if then == 20 || then == 60 {
            assert_eq!(pc2(answer), expected);
        }
    }
}

#[test]
fn our_processor_tells_its_numbers_where_its_daemon_looks() {
    let mut sector = Sector::new(SectorSize::KiB2);
    sector.prepare(vec![]);
    let numbers = sector.path("pc1-0.numbers");
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("damocles-worker"));
    child.args(["processor", "pc1"]).env(pc1_numbers::FILE_VARIABLE, &numbers);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let task = serde_json::to_string(&sector.pc1_task()).unwrap();
    writeln!(child.stdin.take().unwrap(), "{{\"id\":1,\"task\":{task}}}").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("\"err_msg\":null"), "{said}");
    let told = pc1_numbers::read(&numbers).unwrap();
    assert_eq!((told.layers_hashed, told.buffers["anonymous"]), (2, 2));
    assert_eq!(told.tasks, [None], "it has ended");
}

/// The last label of `layers` layers of a graph, by our engine with this kernel.
fn last_label(kernel: Kernel, nodes: usize, layers: u32, porep_id: [u8; 32], version: ApiVersion) -> Vec<u8> {
    let graph = StackedBucketGraph::<DefaultTreeHasher>::new_stacked(nodes, BASE_DEGREE, EXP_DEGREE, porep_id, version)
        .unwrap();
    let mut bytes = Vec::new();
    for node in 0..nodes {
        let mut parents = [0; BASE_DEGREE + EXP_DEGREE];
        graph.base_parents(node, &mut parents[..BASE_DEGREE]).unwrap();
        graph.generate_expanded_parents(node, &mut parents[BASE_DEGREE..]);
        bytes.extend(parents.into_iter().flat_map(u32::to_le_bytes));
    }
    let folder = tempfile::tempdir().unwrap();
    let parents = folder.path().join("parents");
    fs::write(&parents, bytes).unwrap();
    let job = Job { replica_id: [9; 32], layers, nodes, parents, folder: folder.path().to_owned() };
    let engine = Engine::new(Seats::here(kernel, 1, None), Box::new(AnonymousMemory::default()));
    engine.make_layers(&job, &Unwatched).unwrap();
    fs::read(folder.path().join(format!("sc-02-data-layer-{layers}.dat"))).unwrap()[32 * (nodes - 1)..].to_vec()
}

#[test]
fn the_golden_labels_of_rust_fil_proofs_come_out_of_every_kernel() {
    // storage-proofs-porep, tests/stacked_vanilla.rs: test_stacked_porep_generate_labels.
    let (legacy, new) = ([0; 32], [123; 32]);
    let (first_2k, first_4k) = (
        [0xd3faa96b9a0fba04, 0xea81a283d106485e, 0xe3d51b9afa5ac2b3, 0x0462f4f4f1a68d37],
        [0x7e191e52c4a8da86, 0x5ae8a1c9e6fac148, 0xce239f3b88a894b8, 0x234c00d1dc1d53be],
    );
    let (second_2k, second_4k) = (
        [0xabb3f38bb70defcf, 0x777a2e4d7769119f, 0x3448959d495490bc, 0x06021188c7a71cb5],
        [0x22ab81cf68c4676d, 0x7a77a82fc7c9c189, 0xc6c03d32c1e42d23, 0x0f777c18cc2c55bd],
    );
    let golden: [(usize, [u8; 32], ApiVersion, [u64; 4]); 6] = [
        (64, legacy, ApiVersion::V1_0_0, first_2k),
        (128, legacy, ApiVersion::V1_0_0, first_4k),
        (64, new, ApiVersion::V1_1_0, second_2k),
        (128, new, ApiVersion::V1_1_0, second_4k),
        (64, new, ApiVersion::V1_2_0, second_2k),
        (128, new, ApiVersion::V1_2_0, second_4k),
    ];
    for (nodes, porep_id, version, label) in golden {
        let expected: Vec<u8> = label.into_iter().flat_map(u64::to_le_bytes).collect();
        for kernel in Kernel::available() {
            assert_eq!(last_label(kernel, nodes, 11, porep_id, version), expected, "{nodes} nodes, {version:?}");
        }
    }
}

#[test]
fn layers_trees_and_comm_r_are_the_librarys_at_512_mib() {
    if env::var_os("DAMOCLES_SLOW").is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: pc1 against the library at 512 MiB: set DAMOCLES_SLOW=1");
        return;
    }
    let mut sector = Sector::new(SectorSize::MiB512);
    sector.prepare(vec![]);
    let [own, stock] = [OWN, STOCK].map(|options| {
        let task = sector.pc1_task();
        let _ = fs::remove_file(&task.out_path);
        let began = Instant::now();
        let answer = proofs::pc1_with(&task, &options, &Unwatched).unwrap();
        let _ = writeln!(std::io::stderr(), "pc1 at 512 MiB, {}: {:?}", options.prover.name(), began.elapsed());
        let commitments = proofs::pc2(&sector.pc2_task(answer.clone())).unwrap();
        let folder = sector.path(options.prover.name());
        fs::create_dir(&folder).unwrap();
        let names: Vec<String> =
            sector.cache_files().into_iter().map(|(name, _)| name).filter(|name| name != TREE_D).collect();
        names.iter().for_each(|name| fs::rename(sector.cache().join(name), folder.join(name)).unwrap());
        (answer, commitments, names)
    });
    assert_eq!(own, stock);
    for wanted in ["layer-1", "layer-2", "tree-c", "tree-r-last"] {
        assert!(own.2.iter().any(|name| name.contains(wanted)), "{wanted} is not in {:?}", own.2);
    }
    for name in &own.2 {
        let [own, stock] = ["own", "stock"].map(|prover| fs::read(sector.path(prover).join(name)).unwrap());
        assert!(own == stock, "{name}");
    }
}
