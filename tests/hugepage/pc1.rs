//! pc1's engine in real hugepage files: the same layers, each file with one task at a time, free again after a kill.

use crate::rig::{Rig, SMALL, counter};
use damocles_worker::{
    runtime::sdr::{
        Engine, Job, SdrError,
        kernel::Kernel,
        memory::{AnonymousMemory, Buffers, Memory, Pattern, Place, Pool},
        progress::{Unwatched, Watch},
        seats::Seats,
    },
    units::NodeId,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// A sector of 8 MiB: two files of four pages.
const NODES: usize = 1 << 18;
const INIT: [&str; 9] = ["-c", "2", "-s", "8MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size"];

/// A graph of any kind: what is compared is two ways of keeping its labels.
fn job(folder: &Path, layers: u32) -> Job {
    let parents = folder.join("parents");
    if !parents.exists() {
        let row = |node: u64| {
            (0..14u64).map(move |i| {
                let mixed = (node * 14 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                let parent = if i < 6 { mixed % node.max(1) } else { mixed % NODES as u64 };
                (if i == 0 { node.saturating_sub(1) } else { parent }) as u32
            })
        };
        let bytes: Vec<u8> = (0..NODES as u64).flat_map(row).flat_map(u32::to_le_bytes).collect();
        fs::write(&parents, bytes).unwrap();
    }
    let cache = folder.join("cache");
    let _ = fs::create_dir(&cache);
    Job { replica_id: [5; 32], layers, nodes: NODES, parents, folder: cache }
}

fn hugepages(path: &Path) -> Box<dyn Buffers> {
    let pattern = Pattern::of(path.to_str(), None).unwrap().unwrap();
    Box::new(Memory { pool: Some(Pool::new(pattern)), required: true, anonymous: AnonymousMemory::default() })
}

fn engine(memory: Box<dyn Buffers>) -> Engine {
    Engine::new(Seats::here(Kernel::best(), 1, None), memory)
}

/// Remembers where the layers were.
#[derive(Default)]
struct Places(Mutex<Vec<Place>>);

impl Watch for Places {
    fn memory(&self, places: &[Place]) {
        self.0.lock().unwrap().extend(places);
    }
}

fn layers(folder: &Path) -> Vec<Vec<u8>> {
    (1..=3).map(|layer| fs::read(folder.join(format!("cache/sc-02-data-layer-{layer}.dat"))).unwrap()).collect()
}

#[test]
fn layers_in_hugepage_files_are_those_of_other_memory() {
    let Some(rig) = Rig::take("layers_in_hugepage_files_are_those_of_other_memory") else { return };
    rig.run(&[&INIT[..], &["2MiB"]].concat()).ok();
    assert_eq!(counter(SMALL, "free"), 0);
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let places = Places::default();
    engine(hugepages(&rig.path("huge/pc1"))).make_layers(&job(ours.path(), 3), &places).unwrap();
    assert_eq!(*places.0.lock().unwrap(), [Place::Near(NodeId(0)); 2]);
    engine(Box::new(AnonymousMemory::default())).make_layers(&job(theirs.path(), 3), &Unwatched).unwrap();
    assert!(layers(ours.path()) == layers(theirs.path()));
    rig.ask("verify", &["--path", "@/huge/pc1"]).ok();
}

#[test]
fn files_that_are_required_and_not_there_fail_the_sector_before_it_begins() {
    let Some(rig) = Rig::take("files_that_are_required_and_not_there_fail_the_sector_before_it_begins") else { return };
    rig.run(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size", "2MiB"]).ok();
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 3);
    let error = engine(hugepages(&rig.path("huge/pc1"))).make_layers(&job, &Unwatched).unwrap_err();
    assert!(matches!(error, SdrError::TooFewHugepages { missing: 1, .. }), "{error}");
    assert!(error.to_string().contains("1 of 2 hugepage files of 8MiB are missing: below"), "{error}");
    assert_eq!(fs::read_dir(&job.folder).unwrap().count(), 0);
}

/// Names the folders in which the next test is a child that makes layers until it is killed.
const CHILD: &str = "DAMOCLES_TEST_PC1_IN_HUGEPAGES";

#[test]
fn child_that_hashes_in_hugepage_files() {
    let Some(folders) = env::var_os(CHILD) else { return };
    let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    engine(hugepages(&folders[0])).make_layers(&job(&folders[1], 1000), &Unwatched).unwrap();
}

#[test]
fn a_killed_task_leaves_its_files_whole_and_free() {
    let Some(rig) = Rig::take("a_killed_task_leaves_its_files_whole_and_free") else { return };
    rig.run(&[&INIT[..], &["2MiB"]].concat()).ok();
    let (folder, files) = (tempfile::tempdir().unwrap(), rig.path("huge/pc1"));
    job(folder.path(), 1000);
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "pc1::child_that_hashes_in_hugepage_files"]);
    child.env(CHILD, env::join_paths([files.as_path(), folder.path()]).unwrap());
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let maps = || fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap_or_default();
    let mapped = || maps().lines().filter(|line| line.contains(" rw-s ") && line.contains("8.0_MiB_")).count();
    let began = Instant::now();
    while mapped() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "the child never mapped its files: {}", maps());
        thread::sleep(Duration::from_millis(5));
    }
    let pool = Pool::new(Pattern::of(files.to_str(), None).unwrap().unwrap());
    let take = || pool.take(NODES, 2, &"0".parse().unwrap());
    let none = take();
    assert_eq!(none.files.len(), 0);
    assert!(none.why.contains("2 files of 8MiB that can be used, 2 of them in use"), "{}", none.why);
    rig.ask("release", &["--path", "@/huge/pc1"]).refused(1, &["mapped by"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let files = take().files;
    assert_eq!(files.len(), 2, "{}", take().why);
    drop(files);
    rig.ask("verify", &["--path", "@/huge/pc1"]).ok();
}
