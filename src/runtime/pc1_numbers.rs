//! What pc1 tells of itself in numbers: how far each task is and how fast, and in what memory.
//!
//! ```text
//! pc1 ─► Board ─┬─► gauges of this process                           (pc1 in the daemon)
//!               └─► FILE, whole, every few seconds ─ read ─ show ─► gauges of the daemon    (pc1 in a child)
//! ```
//!
//! A child has nobody who asks it, and its daemon is not its parent alone: so it writes where `DAMOCLES_PC1_NUMBERS` says, and
//! the daemon reads. Tasks are told apart by their place (0, 1, …) in a process and not by their sector, so that the
//! number of series stays small; the sector is a value. `metrics` has the names.

use super::{
    metrics::Gauges,
    sdr::{memory::Place, progress::Progress},
};
use crate::units::NodeId;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The variable that names the file of a child.
pub const FILE_VARIABLE: &str = "DAMOCLES_PC1_NUMBERS";
/// How old the file may be while a task goes on.
pub const WRITE_EVERY: Duration = Duration::from_secs(5);
/// The processor of pc1 inside the daemon.
const IN_DAEMON: &str = "daemon";

/// Where room for layers may be, as a label.
pub const KINDS: [&str; 4] = ["hugepages", "hugepages_of_another_node", "anonymous_for_want_of_hugepages", "anonymous"];

/// Everything that a process tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// By place; none where no task is.
    pub tasks: Vec<Option<TaskNumbers>>,
    /// Layers hashed since the process began.
    pub layers_hashed: u64,
    /// Room for layers taken since the process began, by where it was.
    pub buffers: BTreeMap<String, u64>,
    /// Hugepage files that can be used, by node, when the process began.
    pub hugepage_files: BTreeMap<u32, u64>,
}

/// Where a task stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskNumbers {
    pub sector: u64,
    pub layer: u32,
    pub layers: u32,
    /// The part of the layer in work that is done, from 0 to 1.
    pub layer_part: f64,
    pub nodes_per_second: f64,
    pub seconds_left: f64,
}

/// The numbers of this process.
struct Board {
    numbers: Mutex<Numbers>,
    file: Option<PathBuf>,
    written: Mutex<Option<Instant>>,
    gauges: Mutex<Gauges>,
}

fn board() -> &'static Board {
    static BOARD: OnceLock<Board> = OnceLock::new();
    BOARD.get_or_init(|| Board::writing_to(env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(Into::into)))
}

/// A task that is told of. Forgotten when it is dropped.
pub struct Told<'a> {
    board: &'a Board,
    place: usize,
    /// Layers of it that were counted.
    counted: Mutex<u32>,
}

/// Tells of a task on this sector from now on.
pub fn begin(sector: u64) -> Told<'static> {
    board().begin(sector)
}

/// Tells which nodes have how many hugepage files that can be used.
pub fn hugepage_files(nodes: impl Iterator<Item = NodeId>) {
    let board = board();
    let mut numbers = board.numbers();
    numbers.hugepage_files.clear();
    nodes.for_each(|node| *numbers.hugepage_files.entry(node.0).or_default() += 1);
    board.publish(&numbers, true);
}

impl Board {
    fn writing_to(file: Option<PathBuf>) -> Self {
        let gauges = Mutex::new(Gauges::of(IN_DAEMON));
        Self { numbers: Mutex::default(), file, written: Mutex::default(), gauges }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, sector: u64) -> Told<'_> {
        let mut numbers = self.numbers();
        let place = numbers.tasks.iter().position(Option::is_none).unwrap_or(numbers.tasks.len());
        if place == numbers.tasks.len() {
            numbers.tasks.push(None);
        }
        numbers.tasks[place] = Some(TaskNumbers { sector, ..TaskNumbers::default() });
        self.publish(&numbers, true);
        Told { board: self, place, counted: Mutex::new(0) }
    }

    /// To whoever listens: the gauges of this process, or the file for the daemon's.
    fn publish(&self, numbers: &Numbers, at_once: bool) {
        let Some(file) = &self.file else {
            return self.gauges.lock().unwrap_or_else(PoisonError::into_inner).show(numbers);
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if at_once || written.is_none_or(|when| when.elapsed() >= WRITE_EVERY) {
            if let Err(error) = write(file, numbers) {
                tracing::debug!(%error, file = %file.display(), "pc1's numbers are not told");
            }
            *written = Some(Instant::now());
        }
    }
}

impl Told<'_> {
    /// How far it is.
    pub fn progress(&self, progress: &Progress) {
        let mut numbers = self.board.numbers();
        let ended = progress.done == progress.nodes;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = ended && *counted < progress.layer;
        if is_new {
            *counted = progress.layer;
            numbers.layers_hashed += 1;
        }
        if let Some(task) = &mut numbers.tasks[self.place] {
            (task.layer, task.layers) = (progress.layer, progress.layers);
            task.layer_part = progress.percent() / 100.0;
            task.nodes_per_second = progress.rate;
            task.seconds_left = progress.left.as_secs_f64();
        }
        self.board.publish(&numbers, is_new);
    }

    /// Where its layers lie.
    pub fn memory(&self, places: &[Place]) {
        let mut numbers = self.board.numbers();
        for place in places {
            let kind = KINDS[match place {
                Place::Near(_) => 0,
                Place::Far(_) => 1,
                Place::Instead => 2,
                Place::Anonymous => 3,
            }];
            *numbers.buffers.entry(kind.to_owned()).or_default() += 1;
        }
        self.board.publish(&numbers, true);
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let mut numbers = self.board.numbers();
        numbers.tasks[self.place] = None;
        self.board.publish(&numbers, true);
    }
}

fn write(file: &Path, numbers: &Numbers) -> io::Result<()> {
    let text = serde_json::to_vec(numbers)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let passing = file.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
    fs::write(&passing, text)?;
    fs::rename(&passing, file)
}

/// What a child wrote last; nothing where it has not told anything, or is no processor of ours.
pub fn read(file: &Path) -> Option<Numbers> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_writes_what_its_daemon_reads_and_forgets_ended_tasks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pc1-0.numbers");
        assert_eq!(read(&file), None);
        let board = Board::writing_to(Some(file.clone()));
        let (first, second) = (board.begin(7), board.begin(8));
        first.memory(&[Place::Near(NodeId(0)), Place::Far(NodeId(1))]);
        second.memory(&[Place::Instead; 2]);
        let half = Progress::new(3, 11, 512, 1024, Duration::from_secs(2), 8);
        second.progress(&half);
        first.progress(&Progress { done: 1024, ..half });
        first.progress(&Progress { done: 1024, ..half });
        let told = read(&file).unwrap();
        assert_eq!(told.layers_hashed, 1, "an end that is told twice is one");
        let task = told.tasks[1].as_ref().unwrap();
        assert_eq!((task.sector, task.layer, task.layers), (8, 3, 11));
        assert_eq!((task.layer_part, task.nodes_per_second, task.seconds_left), (0.5, 256.0, 34.0));
        let kinds = ["hugepages", "hugepages_of_another_node", "anonymous_for_want_of_hugepages"];
        assert_eq!(kinds.map(|kind| told.buffers[kind]), [1, 1, 2]);
        drop(first);
        assert_eq!(board.begin(9).place, 0, "its place is free again");
        let told = read(&file).unwrap();
        assert!(told.tasks[0].is_none() && told.tasks[1].is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file");
        fs::write(&file, "{torn").unwrap();
        assert_eq!(read(&file), None);
    }
}
