//! Executors from the text of `[processors]`, and tasks for them.

use damocles_worker::{
    runtime::{
        daemon::{self, DaemonError, Options},
        pieces::Fetch,
        processor::{Executor, Output, Slot, StageError, Task, pool::Pool},
        stage::{C2Task, Opaque, Pc2Task, Stage, TreeDTask},
    },
    worker_config,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// `damocles-worker` as built for this test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_damocles-worker");

/// Longer than anything here takes on two busy cores, short enough that a hang fails the test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder in which children have their temporary files.
pub struct Rig {
    dir: tempfile::TempDir,
    pub allow_unpinned: bool,
}

impl Rig {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), allow_unpinned: false }
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The executor of these `[processors]`.
    pub fn start(&self, processors: &str) -> Result<Pool, DaemonError> {
        let text = format!(
            "sector_manager.rpc_client.addr = \"embedded\"\nsealing_thread = [{{ location = \"./s\" }}]\n\
             attached = [{{ location = \"./p\" }}]\n{processors}"
        );
        let loaded = worker_config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let options = Options {
            sectors: None,
            allow_unpinned: self.allow_unpinned,
            program: WORKER.into(),
            temp: self.dir.path().into(),
            allow_local_params: false,
            grace: Duration::ZERO,
            crash: None,
            rehearsal: None,
        };
        daemon::start_processors(&loaded.config.processors, Fetch::default(), &options)
    }

    pub fn pool(&self, processors: &str) -> Pool {
        self.start(processors).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why these processors are refused.
    pub fn refusal(&self, processors: &str) -> String {
        match self.start(processors) {
            Ok(_) => panic!("they were started"),
            Err(error) => error.to_string(),
        }
    }

    /// A task that writes a tree-d of its own.
    pub fn tree_d(&self, name: &str) -> Task {
        Task::TreeD(TreeDTask {
            registered_proof: "StackedDrg2KiBV1_1".parse().unwrap(),
            staged_file: self.path("staged"),
            cache_dir: self.path(name),
        })
    }

    /// The folder of the daemon's children.
    pub fn scratch(&self) -> PathBuf {
        let mut folders: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("damocles-worker-tmp-"));
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0)
    }

    /// The number of a child, as its lock file says.
    pub fn pid(&self, child: &str) -> u32 {
        fs::read_to_string(self.scratch().join(format!("{child}.lock"))).unwrap().parse().unwrap()
    }
}

pub fn pc2(dir: &Path) -> Task {
    let pc1out = Opaque::from_json(r#"{"registered_proof":"StackedDrg2KiBV1_1"}"#.into()).unwrap();
    Task::Pc2(Pc2Task { pc1out, cache_dir: dir.join("cache"), sealed_file: dir.join("sealed") })
}

pub fn c2() -> Task {
    let c1out = Opaque::from_json("{}".into()).unwrap();
    Task::C2(C2Task { c1out, prover_id: [0; 32], sector_id: 1, miner_id: 1 })
}

/// `[[processors.STAGE]]` that rehearses `script`; further keys may follow.
pub fn rehearsing(stage: Stage, script: &str) -> String {
    format!("[[processors.{stage}]]\nargs = [\"processor\", \"{stage}\", \"--rehearse\", \"{script}\"]\n")
}

/// `[[processors.STAGE]]` of a stranger that is written in sh.
pub fn stranger(stage: Stage, script: &str) -> String {
    format!("[[processors.{stage}]]\nbin = \"/bin/sh\"\nargs = ['-c', '''{script}''']\n")
}

/// A slot, waited for.
pub fn slot(pool: &Pool, stage: Stage) -> Slot {
    let slot = pool.queue(stage);
    until("a slot is granted", || pool.granted(slot));
    slot
}

/// Begins a task in a slot that is waited for.
pub fn begin(pool: &Pool, task: Task) -> Slot {
    let slot = slot(pool, task.stage());
    pool.start(slot, task);
    slot
}

/// The end of a begun task.
pub fn end(pool: &Pool, slot: Slot) -> Result<Output, StageError> {
    let mut ended = None;
    until("a task ends", || {
        ended = pool.poll(slot);
        ended.is_some()
    });
    ended.unwrap().0
}

/// A task from beginning to end.
pub fn run(pool: &Pool, task: Task) -> Result<Output, StageError> {
    end(pool, begin(pool, task))
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn is_alive(pid: u32) -> bool {
    // A zombie is dead, only not buried.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
