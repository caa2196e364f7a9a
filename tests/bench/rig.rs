//! A folder in which `bench` runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything here takes on two busy cores, short enough that a hang fails the test.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        let rig = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(rig.path("tmp")).unwrap();
        rig
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-worker-util"));
        command
            .arg("bench")
            .args(args)
            .current_dir(self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Every name in the folder and in the temporary folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let list = |folder: PathBuf| {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let mut names = list(self.dir.path().into());
        names.retain(|name| name != "tmp");
        names.extend(list(self.path("tmp")));
        names.sort();
        names
    }
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until `done`.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
