//! Files on a tmpfs with its small pages: what is done with them is the same. Real huge pages are in tests/hugepage, and
//! several nodes in tests/vm.

use super::*;
use crate::sys::root::tests::tree;
use std::process::{Command, Stdio};

const LABELS: usize = 1024;
const BYTES: usize = LABELS * 32;

/// Two nodes by /sys; the pages of files lie on node 0 in truth, which is all that there is.
struct Rig {
    folder: tempfile::TempDir,
    _sys: tempfile::TempDir,
    root: Root,
}

impl Rig {
    fn new() -> Self {
        let (_sys, root) = tree(&[
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/devices/system/node/node0/cpulist", "0-1\n"),
            ("sys/devices/system/node/node1/cpulist", "2-3\n"),
            ("sys/devices/system/node/node0/distance", "10 20\n"),
            ("sys/devices/system/node/node1/distance", "20 10\n"),
        ]);
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { folder, _sys, root }
    }

    fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![7; bytes]).unwrap();
        path
    }

    fn pool(&self) -> Pool {
        let pattern = Pattern::of(self.folder.path().to_str(), None).unwrap().unwrap();
        let small = |path: &Path| (!path.ends_with("elsewhere")).then_some(Bytes::kib(4));
        Pool { pattern, root: self.root.clone(), page_of: small, said: Mutex::default() }
    }
}

fn cpus(list: &str) -> CpuList {
    list.parse().unwrap()
}

fn said(pool: &Pool) -> String {
    pool.said.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_is_held_once_in_this_process_and_free_again_afterwards() {
    let rig = Rig::new();
    (0..3).for_each(|i| drop(rig.file(&format!("numa_0/{i}"), BYTES)));
    let (ours, theirs) = (rig.pool(), rig.pool());
    let first = ours.take(LABELS, 2, &cpus("0"));
    assert_eq!(first.files.iter().map(PoolFile::place).collect::<Vec<_>>(), [Place::Near(NodeId(0)); 2]);
    let second = theirs.take(LABELS, 2, &cpus("0"));
    assert_eq!(second.files.len(), 1);
    assert!(second.why.ends_with("are 3 files of 32KiB that can be used, 2 of them in use"), "{}", second.why);
    drop(first);
    assert_eq!(theirs.take(LABELS, 2, &cpus("0")).files.len(), 2);
}

#[test]
fn only_files_of_the_very_length_are_taken() {
    let rig = Rig::new();
    rig.file("numa_0/short", BYTES - 4096);
    rig.file("numa_0/long", BYTES + 4096);
    rig.file("numa_0/folder/right", BYTES);
    std::os::unix::fs::symlink(rig.file("right", BYTES), rig.folder.path().join("numa_0/link")).unwrap();
    assert_eq!(rig.pool().take(LABELS, 2, &cpus("0")).files.len(), 0);
    assert_eq!(rig.pool().announce(&cpus("0")).len(), 2);
}

#[test]
fn pages_count_where_they_lie_and_not_where_the_folder_says() {
    let rig = Rig::new();
    (0..2).for_each(|i| drop(rig.file(&format!("numa_1/{i}"), BYTES)));
    let pool = rig.pool();
    let loaded = pool.announce(&cpus("2"));
    assert!(loaded.iter().all(|file| file.node == NodeId(0)));
    assert!(said(&pool).contains("is in the folder of node 1 and its pages lie on node 0"), "{}", said(&pool));
    let far = pool.take(LABELS, 2, &cpus("2"));
    assert_eq!(far.files.iter().map(PoolFile::place).collect::<Vec<_>>(), [Place::Far(NodeId(0)); 2]);
    drop(far);
    let near = pool.take(LABELS, 2, &cpus("1"));
    assert_eq!(near.files.iter().map(PoolFile::place).collect::<Vec<_>>(), [Place::Near(NodeId(0)); 2]);
}

#[test]
fn holes_and_other_file_systems_are_not_taken_and_said_once() {
    let rig = Rig::new();
    let holed = rig.file("numa_0/holed", 0);
    File::options().write(true).open(holed).unwrap().set_len(BYTES as u64).unwrap();
    rig.file("numa_0/elsewhere", BYTES);
    let pool = rig.pool();
    for _ in 0..2 {
        assert!(pool.take(LABELS, 2, &cpus("0")).files.is_empty());
    }
    let said = said(&pool);
    assert!(said.contains("holed: not taken: it has 0 of its 32768 bytes"), "{said}");
    assert!(said.contains("elsewhere: not taken: it lies on no hugetlbfs"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn a_pool_that_is_not_there_gives_nothing() {
    let rig = Rig::new();
    assert!(rig.pool().announce(&cpus("0")).is_empty());
    let got = rig.pool().take(LABELS, 2, &cpus("0"));
    assert!(got.files.is_empty() && got.why.contains("are 0 files of 32KiB"), "{}", got.why);
}

#[test]
fn what_is_written_to_a_file_is_read_from_it() {
    let rig = Rig::new();
    (0..2).for_each(|i| drop(rig.file(&format!("numa_0/{i}"), BYTES)));
    let mut files = rig.pool().take(LABELS, 2, &cpus("0")).files;
    for (i, file) in files.iter_mut().enumerate() {
        file.labels_mut().fill(Label([i as u32; 8]));
    }
    for (i, file) in files.iter().enumerate() {
        assert!(file.labels().iter().all(|label| *label == Label([i as u32; 8])), "the files are not each other's");
    }
}

/// Maps a file to write, as a prover does that takes no lock: a shell cannot, the dynamic linker's `--preload` neither.
const STRANGER: &str = "import mmap, sys, time\n\
    f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0); print('mapped', flush=True); time.sleep(600)";

#[test]
fn what_another_prover_has_mapped_is_left_to_it() {
    let rig = Rig::new();
    let taken = rig.file("numa_0/0", BYTES);
    rig.file("numa_0/1", BYTES);
    let stranger = Command::new("python3").args(["-c", STRANGER]).arg(&taken).stdout(Stdio::piped()).spawn();
    let Ok(mut stranger) = stranger else {
        let _ = io::Write::write_all(&mut io::stderr(), b"SKIPPED: a stranger's mapping: no python3\n");
        return;
    };
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(stranger.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "mapped\n");
    let pool = rig.pool();
    assert_eq!(pool.take(LABELS, 2, &cpus("0")).files.len(), 1);
    assert!(said(&pool).contains("numa_0/0: left to python3 ("), "{}", said(&pool));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(pool.take(LABELS, 2, &cpus("0")).files.len(), 2);
}
