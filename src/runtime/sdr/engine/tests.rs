//! A sector's layers end up the same whatever happens on the way.

use super::*;
use crate::runtime::sdr::{
    kernel::{Kernel, Strand},
    label::{BASE_PARENTS, PARENTS, Parents},
    memory::AnonymousMemory,
    progress::Unwatched,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

const LAYERS: u32 = 4;

/// A sector with a small graph, and what its layers must be.
struct Sector {
    folder: tempfile::TempDir,
    job: Job,
    rows: Vec<Parents>,
}

impl Sector {
    fn new(nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Parents> = (0..nodes).map(|node| row(node, nodes)).collect();
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.get()).flat_map(u32::to_le_bytes).collect();
        let parents = folder.path().join("parents");
        fs::write(&parents, bytes).unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let job = Job { replica_id: [5; 32], layers: LAYERS, nodes, parents, folder: cache };
        Self { folder, job, rows }
    }

    fn expected(&self) -> Vec<Vec<u8>> {
        let mut before: Option<Vec<Label>> = None;
        (1..=LAYERS)
            .map(|layer| {
                let mut current = vec![Label::default(); self.job.nodes];
                let replica = Label::from_bytes(&self.job.replica_id);
                let mut strand = Strand::new(replica, layer, &self.rows, before.as_deref(), &mut current);
                Kernel::Portable.advance(&mut strand, usize::MAX);
                let bytes = current.iter().flat_map(|label| label.to_bytes()).collect();
                before = Some(current);
                bytes
            })
            .collect()
    }

    fn found(&self) -> Vec<Vec<u8>> {
        (1..=LAYERS).map(|layer| fs::read(layer_path(&self.job.folder, layer)).unwrap_or_default()).collect()
    }

    /// What tells files apart that were written again.
    fn inodes(&self) -> Vec<u64> {
        (1..=LAYERS)
            .map(|layer| fs::metadata(layer_path(&self.job.folder, layer)).map_or(0, |meta| meta.ino()))
            .collect()
    }
}

fn row(node: usize, nodes: usize) -> Parents {
    let mut parents: [u32; PARENTS] = std::array::from_fn(|i| {
        let mixed = (node as u64 * 14 + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        mixed as u32 % if i < BASE_PARENTS { node.max(1) as u32 } else { nodes as u32 }
    });
    parents[0] = node.saturating_sub(1) as u32;
    Parents::new(parents)
}

fn engine(sectors_per_core: usize) -> Engine {
    Engine::new(Seats::here(Kernel::best(), sectors_per_core, None), Box::new(AnonymousMemory::default()))
}

/// Stops a task as soon as it hashes a layer.
struct StopIn {
    layer: u32,
    seen: AtomicU32,
}

impl Watch for StopIn {
    fn progress(&self, progress: &Progress) {
        self.seen.store(progress.layer, Ordering::SeqCst);
    }
    fn stopped(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.layer
    }
}

#[test]
fn all_layers_are_those_of_the_portable_kernel_and_a_second_time_costs_nothing() {
    let sector = Sector::new(1 << 12);
    let engine = engine(1);
    let made = engine.make_layers(&sector.job, &Unwatched).unwrap();
    assert_eq!(made, Made { kept: vec![], computed: vec![1, 2, 3, 4] });
    assert!(sector.found() == sector.expected());
    let inodes = sector.inodes();
    assert_eq!(engine.make_layers(&sector.job, &Unwatched).unwrap().kept, [1, 2, 3, 4]);
    assert_eq!(sector.inodes(), inodes);
}

#[test]
fn a_task_that_is_stopped_in_any_layer_goes_on_from_there() {
    let engine = engine(1);
    let sector = Sector::new(1 << 16);
    let expected = sector.expected();
    for layer in 1..=LAYERS {
        fs::remove_dir_all(&sector.job.folder).unwrap();
        fs::create_dir(&sector.job.folder).unwrap();
        let error = engine.make_layers(&sector.job, &StopIn { layer, seen: AtomicU32::new(0) }).unwrap_err();
        assert!(matches!(error, SdrError::Stopped), "{error}");
        let kept = sector.inodes();
        let made = engine.make_layers(&sector.job, &Unwatched).unwrap();
        assert!(sector.found() == expected, "stopped in layer {layer}");
        for layer in made.kept {
            assert_eq!(sector.inodes()[layer as usize - 1], kept[layer as usize - 1]);
        }
        let names = fs::read_dir(&sector.job.folder).unwrap().count();
        assert_eq!(names, LAYERS as usize + 1, "layers, the ledger, and nothing else");
    }
}

#[test]
fn a_layer_that_was_altered_or_lost_is_made_again_and_no_other() {
    let sector = Sector::new(1 << 10);
    let engine = engine(1);
    engine.make_layers(&sector.job, &Unwatched).unwrap();
    let expected = sector.expected();
    for broken in [vec![1], vec![3], vec![4], vec![1, 3], vec![2, 3], vec![1, 2, 4]] {
        for layer in &broken {
            let path = layer_path(&sector.job.folder, *layer);
            let mut bytes = fs::read(&path).unwrap();
            bytes[777] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        assert_eq!(engine.make_layers(&sector.job, &Unwatched).unwrap().computed, broken);
        assert!(sector.found() == expected, "{broken:?}");
    }
    fs::remove_file(layer_path(&sector.job.folder, 2)).unwrap();
    assert_eq!(engine.make_layers(&sector.job, &Unwatched).unwrap().computed, [2]);
    assert!(sector.found() == expected);
}

#[test]
fn another_replicas_layers_are_not_taken() {
    let mut sector = Sector::new(1 << 8);
    let engine = engine(1);
    engine.make_layers(&sector.job, &Unwatched).unwrap();
    sector.job.replica_id = [6; 32];
    assert_eq!(engine.make_layers(&sector.job, &Unwatched).unwrap().computed, [1, 2, 3, 4]);
    assert!(sector.found() == sector.expected());
}

#[test]
fn many_sectors_at_once_on_the_same_cores_do_not_disturb_each_other() {
    for sectors_per_core in [1, 2] {
        let engine = engine(sectors_per_core);
        let mut sectors: Vec<Sector> = (0..5).map(|_| Sector::new(1 << 13)).collect();
        for (i, sector) in sectors.iter_mut().enumerate() {
            sector.job.replica_id = [i as u8; 32];
        }
        thread::scope(|scope| {
            for sector in &sectors {
                scope.spawn(|| engine.make_layers(&sector.job, &Unwatched).unwrap());
            }
        });
        assert!(sectors.iter().all(|sector| sector.found() == sector.expected()));
    }
}

/// Stops when it is told to.
struct Stop(AtomicBool);

impl Watch for Stop {
    fn stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_stop_is_obeyed_within_a_second_in_the_middle_of_a_layer() {
    // Half a minute of work.
    let mut sector = Sector::new(1 << 20);
    sector.job.layers = 40;
    let (engine, stop) = (engine(1), Stop(AtomicBool::new(false)));
    let after = thread::scope(|scope| {
        let task = scope.spawn(|| engine.make_layers(&sector.job, &stop));
        thread::sleep(Duration::from_millis(300));
        stop.0.store(true, Ordering::SeqCst);
        let asked = Instant::now();
        assert!(matches!(task.join().unwrap(), Err(SdrError::Stopped)));
        asked.elapsed()
    });
    assert!(after < Duration::from_secs(1), "{after:?}");
}

#[test]
fn a_parent_cache_of_another_graph_is_an_error_and_leaves_nothing() {
    let sector = Sector::new(1 << 6);
    fs::write(&sector.job.parents, [0; 100]).unwrap();
    let error = engine(1).make_layers(&sector.job, &Unwatched).unwrap_err().to_string();
    assert!(error.contains("100 bytes long, 3584 expected"), "{error}");
    assert_eq!(fs::read_dir(&sector.job.folder).unwrap().count(), 0);
}

#[test]
fn a_full_disk_fails_the_task_and_what_was_finished_stays() {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };
    use std::io::Write;
    let sector = Sector::new(1 << 16);
    let full = |sector: &Sector| -> Result<(), nix::errno::Errno> {
        // For this thread and those it starts alone.
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        // Two layers of 2 MiB and a bit.
        mount(Some("none"), &sector.job.folder, Some("tmpfs"), MsFlags::empty(), Some("size=5m"))
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(errno) = full(&sector) {
                let _ = writeln!(std::io::stderr(), "SKIPPED: a full disk: mounting a small one: {errno}");
                return;
            }
            let engine = engine(1);
            let error = engine.make_layers(&sector.job, &Unwatched).unwrap_err().to_string();
            assert!(error.contains("taking room for") && error.contains("sc-02-data-layer-3.dat"), "{error}");
            assert!(error.ends_with("free space on that file system and try again"), "{error}");
            let left: Vec<_> = sector.found().iter().map(Vec::len).collect();
            assert!(left[0] == 2 << 20 && left[2..] == [0, 0], "{left:?}");
            assert!(!has_leftovers(&sector.job.folder));
            mount(None::<&str>, &sector.job.folder, None::<&str>, MsFlags::MS_REMOUNT, Some("size=20m")).unwrap();
            assert!(engine.make_layers(&sector.job, &Unwatched).unwrap().kept.contains(&1));
            assert!(sector.found() == sector.expected());
        });
    });
    drop(sector.folder);
}

fn has_leftovers(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains(".tmp-"))
}
