//! What pc1 tells of itself in numbers: how far each task is and how fast, and in what memory.
//!
//! ```text
//! pc1 ─► Board ─┬─► gauges of this process                           (pc1 in the daemon)
//!               └─► FILE, whole, every few seconds ─ read ─ show ─► gauges of the daemon    (pc1 in a child)
//! ```
//!
//! A child has nobody who asks it, and its daemon is not its parent alone: so it writes where `DAMOCLES_PC1_NUMBERS` says, and
//! the daemon reads. Tasks are told apart by their place (0, 1, …) in a process and not by their sector, so that the
//! number of series stays small; the sector is a value. docs/pc1.md has the names.

use super::sdr::{memory::Place, progress::Progress};
use crate::units::NodeId;
use metrics::{counter, gauge};
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
const KINDS: [&str; 4] = ["hugepages", "hugepages_of_another_node", "anonymous_for_want_of_hugepages", "anonymous"];

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

/// The numbers of one processor (`pc1-0`) as gauges and counters of this process, whoever installed the recorder.
pub struct Gauges {
    processor: String,
    last: Numbers,
}

impl Gauges {
    /// Of a processor that has told nothing yet.
    pub fn of(processor: &str) -> Self {
        Self { processor: processor.to_owned(), last: Numbers::default() }
    }

    /// Shows these numbers. A place without a task is all zeros; what is counted goes on where a child begins anew.
    pub fn show(&mut self, numbers: &Numbers) {
        let label = || ("processor", self.processor.clone());
        for place in 0..numbers.tasks.len().max(self.last.tasks.len()) {
            let task = numbers.tasks.get(place).cloned().flatten().unwrap_or_default();
            let labels = [label(), ("task", place.to_string())];
            gauge!("damocles_pc1_sector", &labels).set(task.sector as f64);
            gauge!("damocles_pc1_layer", &labels).set(f64::from(task.layer));
            gauge!("damocles_pc1_layers", &labels).set(f64::from(task.layers));
            gauge!("damocles_pc1_layer_part", &labels).set(task.layer_part);
            gauge!("damocles_pc1_nodes_per_second", &labels).set(task.nodes_per_second);
            gauge!("damocles_pc1_seconds_left", &labels).set(task.seconds_left);
        }
        let hashed = since(self.last.layers_hashed, numbers.layers_hashed);
        counter!("damocles_pc1_layers_hashed_total", &[label()]).increment(hashed);
        for kind in KINDS {
            let count = |of: &Numbers| of.buffers.get(kind).copied().unwrap_or_default();
            let labels = [label(), ("memory", kind.to_owned())];
            counter!("damocles_pc1_buffers_total", &labels).increment(since(count(&self.last), count(numbers)));
        }
        for node in self.last.hugepage_files.keys().chain(numbers.hugepage_files.keys()) {
            let count = numbers.hugepage_files.get(node).copied().unwrap_or_default();
            gauge!("damocles_pc1_hugepage_files", &[label(), ("node", node.to_string())]).set(count as f64);
        }
        let places = numbers.tasks.len().max(self.last.tasks.len());
        self.last = numbers.clone();
        self.last.tasks.resize(places, None);
    }
}

/// What was counted since the last look; a count that is lower began anew.
fn since(last: u64, now: u64) -> u64 {
    now.checked_sub(last).unwrap_or(now)
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

    #[test]
    fn every_number_becomes_a_gauge_under_its_documented_name() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let task = TaskNumbers {
            sector: 7,
            layer: 3,
            layers: 11,
            layer_part: 0.25,
            nodes_per_second: 1e6,
            seconds_left: 60.0,
        };
        let mut numbers = Numbers {
            tasks: vec![None, Some(task)],
            layers_hashed: 5,
            buffers: BTreeMap::from([("hugepages".to_owned(), 2)]),
            hugepage_files: BTreeMap::from([(1, 4)]),
        };
        let mut gauges = Gauges::of("pc1-0");
        let mut show = |numbers: &Numbers| metrics::with_local_recorder(&recorder, || gauges.show(numbers));
        show(&numbers);
        let text = handle.render();
        for line in [
            r#"damocles_pc1_sector{processor="pc1-0",task="1"} 7"#,
            r#"damocles_pc1_layer{processor="pc1-0",task="1"} 3"#,
            r#"damocles_pc1_layers{processor="pc1-0",task="1"} 11"#,
            r#"damocles_pc1_layer_part{processor="pc1-0",task="1"} 0.25"#,
            r#"damocles_pc1_nodes_per_second{processor="pc1-0",task="1"} 1000000"#,
            r#"damocles_pc1_seconds_left{processor="pc1-0",task="1"} 60"#,
            r#"damocles_pc1_layers_hashed_total{processor="pc1-0"} 5"#,
            r#"damocles_pc1_buffers_total{processor="pc1-0",memory="hugepages"} 2"#,
            r#"damocles_pc1_hugepage_files{processor="pc1-0",node="1"} 4"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // The child ended, and the next one hashed two layers.
        (numbers.tasks, numbers.layers_hashed) = (vec![], 2);
        show(&Numbers::default());
        show(&numbers);
        show(&numbers);
        let later = handle.render();
        assert!(later.contains(r#"damocles_pc1_sector{processor="pc1-0",task="1"} 0"#), "{later}");
        assert!(later.contains(r#"damocles_pc1_layers_hashed_total{processor="pc1-0"} 7"#), "{later}");
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pc1.md")).unwrap();
        let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('{').next());
        names.filter(|name| !name.is_empty()).for_each(|name| assert!(page.contains(&format!("`{name}`")), "{name}"));
    }
}
