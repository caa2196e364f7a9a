//! Child processes: described as a value, then started where the value says, watched, and ended with all they started.
//!
//! ```text
//! daemon ─ spawn ─► damocles-worker launch …        a process of its own already, so that no code runs between
//!                     │ dies with its parent         fork and exec
//!                     │ holds its lock file
//!                     │ joins its cgroup, CPUs, memory node; compares with what it was told
//!                     └ exec PROGRAM ARGS…           same process: placed before its first instruction
//! ```
//!
//! A child has a process group of its own, so that Ctrl-C reaches the daemon alone, which then stops it in order, and so
//! that whatever the child started ends with it. The lock is inherited by all of them: while it is held, somebody may
//! still be writing.

use super::{
    cgroup::{CgroupError, Cpusets},
    lock::{Lock, LockError},
    mempolicy::{self, Policy, PolicyError},
    pin,
    root::Root,
};
use crate::units::{CpuList, NodeId};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getppid},
};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// Set for a child that `launch` has placed: it need not place itself.
pub const PLACED: &str = "DAMOCLES_WORKER_PLACED";

/// Everything that is to be known of a child before it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSpec {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Set for the child, over what it inherits.
    pub env: BTreeMap<String, String>,
    /// Whether it inherits our environment.
    pub inherit_env: bool,
    pub place: Place,
    /// Held for as long as the child, or anything that it started, lives; its number stands in it.
    pub lock: PathBuf,
}

/// Where a process runs and where its memory comes from. What is absent is as its parent's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub cpuset: Option<CpuList>,
    pub node_preferred: Option<NodeId>,
    /// The name of a group that is there.
    pub cgroup: Option<String>,
    /// What cannot be applied is a warning, and the program runs without it.
    pub allow_unpinned: bool,
}

/// Why a process could not be placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("run on cpus {cpus}: {}; are they there, and may this process use them", errno.desc())]
    Affinity { cpus: CpuList, errno: Errno },
    #[error("run on cpus {asked}: the kernel gives {given}; are they all online, and may this process use them")]
    Short { asked: CpuList, given: CpuList },
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("prefer the memory of node {asked}: the kernel says {given:?}")]
    OtherPolicy { asked: NodeId, given: Policy },
}

/// Why a program was not started by `launch`.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{doing}: {}", errno.desc())]
    Call { doing: &'static str, errno: Errno },
    #[error("the daemon that started this has ended")]
    Orphan,
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("start {}: {source}", program.display())]
    Exec { program: PathBuf, source: io::Error },
}

impl Place {
    /// Puts this thread there, and with it whatever it starts or becomes. What could not be done under `allow_unpinned`
    /// is returned.
    pub fn take(&self) -> Result<Vec<PlaceError>, PlaceError> {
        let mut passed_over = Vec::new();
        for step in [self.join(), self.pin(), self.prefer()] {
            match step {
                Err(error) if self.allow_unpinned => passed_over.push(error),
                step => step?,
            }
        }
        Ok(passed_over)
    }

    fn join(&self) -> Result<(), PlaceError> {
        let Some(name) = &self.cgroup else { return Ok(()) };
        Ok(Cpusets::find(&Root::at("/"))?.join(name)?)
    }

    /// In a cgroup too: a mask that was set on our parent would go on to narrow the group's.
    fn pin(&self) -> Result<(), PlaceError> {
        let Some(cpus) = &self.cpuset else { return Ok(()) };
        let failed = |errno| PlaceError::Affinity { cpus: cpus.clone(), errno };
        pin::pin_this_thread(cpus).map_err(failed)?;
        let given = pin::cpus_of_this_thread().map_err(failed)?;
        if given == *cpus { Ok(()) } else { Err(PlaceError::Short { asked: cpus.clone(), given }) }
    }

    fn prefer(&self) -> Result<(), PlaceError> {
        let Some(node) = self.node_preferred else { return Ok(()) };
        mempolicy::prefer_on_this_thread(node)?;
        match mempolicy::policy_of_this_thread()? {
            Policy::Prefer(nodes) if nodes == [node] => Ok(()),
            given => Err(PlaceError::OtherPolicy { asked: node, given }),
        }
    }
}

impl ChildSpec {
    /// The command that places and starts the child. `launcher` is our own program.
    pub fn command(&self, launcher: &Path) -> Command {
        let mut command = Command::new(launcher);
        command.arg("launch").arg("--parent").arg(std::process::id().to_string()).arg("--lock").arg(&self.lock);
        if let Some(name) = &self.place.cgroup {
            command.args(["--cgroup", name]);
        }
        if let Some(cpus) = &self.place.cpuset {
            command.args(["--cpuset", &cpus.to_string()]);
        }
        if let Some(node) = self.place.node_preferred {
            command.args(["--numa-preferred", &node.to_string()]);
        }
        if self.place.allow_unpinned {
            command.arg("--allow-unpinned");
        }
        command.arg("--").arg(&self.program).args(&self.args);
        if !self.inherit_env {
            command.env_clear();
        }
        command.envs(&self.env);
        command
    }

    /// Starts the child with its three streams piped. The calling thread has to live as long as the child: the kernel
    /// ends the child with the thread that made it.
    pub fn spawn(&self, launcher: &Path) -> io::Result<Child> {
        let mut command = self.command(launcher);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()
    }
}

/// What `launch` was told.
#[derive(Clone, Debug)]
pub struct Launch {
    pub parent: u32,
    pub lock: PathBuf,
    pub place: Place,
    pub program: OsString,
    pub args: Vec<OsString>,
}

impl Launch {
    /// Becomes the program. Returns only where that did not work. `warn` is told what is passed over.
    pub fn become_program(&self, warn: &mut dyn FnMut(&PlaceError)) -> LaunchError {
        match self.prepare() {
            Ok(passed_over) => passed_over.iter().for_each(warn),
            Err(error) => return error,
        }
        let source = Command::new(&self.program).args(&self.args).env(PLACED, "1").exec();
        LaunchError::Exec { program: self.program.clone().into(), source }
    }

    fn prepare(&self) -> Result<Vec<PlaceError>, LaunchError> {
        die_with_parent(self.parent)?;
        keep_lock(&self.lock)?;
        Ok(self.place.take()?)
    }
}

/// The kernel ends this process when its parent ends, however that comes.
fn die_with_parent(parent: u32) -> Result<(), LaunchError> {
    let call = |errno| LaunchError::Call { doing: "ask to end with the daemon", errno };
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(call)?;
    // It may have ended before we asked.
    if getppid().as_raw() as u32 == parent { Ok(()) } else { Err(LaunchError::Orphan) }
}

/// Takes the lock for the rest of this process's life, across exec, and for whatever it starts.
fn keep_lock(path: &Path) -> Result<(), LaunchError> {
    let mut lock = Lock::take(path)?;
    // For whoever finds it held; nothing depends on it.
    let _ = io::Write::write_all(lock.file(), std::process::id().to_string().as_bytes());
    fcntl(lock.file().as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))
        .map_err(|errno| LaunchError::Call { doing: "hand the lock on", errno })?;
    std::mem::forget(lock);
    Ok(())
}

/// Lets this process open as many files as it may: a thousand stores take two each, and the usual limit is 1024. Says how many.
pub fn raise_open_files() -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Waits for the end of a child without reaping it, so that its number stays its own until `reap`.
pub fn wait_for_end(pid: u32) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    // Any other failure says that there is no such child: it has ended.
    while waitid(Id::Pid(Pid::from_raw(pid as i32)), flags) == Err(Errno::EINTR) {}
}

/// Whether a child has ended, without reaping it.
pub fn has_ended(pid: u32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    !matches!(waitid(Id::Pid(Pid::from_raw(pid as i32)), flags), Ok(WaitStatus::StillAlive))
}

/// Ends what an ended child has left running, and reaps the child.
pub fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    signal_group(child.id(), Signal::SIGKILL);
    child.wait()
}

/// Sends a signal to a child and all that it started. Only before it is reaped: then its number may be another's.
pub fn signal_group(pid: u32, signal: Signal) {
    // Nobody there any more is what the signal is for.
    let _ = killpg(Pid::from_raw(pid as i32), signal);
}

/// How a process ended, in words.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {signal}"),
        },
        (None, None) => "ended".into(),
    }
}

/// Whether there is a process of this number.
pub fn is_alive(root: &Root, pid: u32) -> bool {
    root.path(format!("/proc/{pid}/stat")).exists()
}

/// The processes that have `file` open, by number; those of others cannot be looked into and are not among them.
pub fn holders(root: &Root, file: &Path) -> Vec<u32> {
    let has_it_open = |pid: &u32| {
        let folder = root.path(format!("/proc/{pid}/fd"));
        let links = fs::read_dir(folder).into_iter().flatten().flatten();
        links.map(|entry| fs::read_link(entry.path())).any(|link| link.is_ok_and(|target| target == file))
    };
    let names = root.names("/proc").unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).filter(has_it_open).collect()
}

/// Where a program is that is named without a folder: the first in `path` that can be executed. `None`: nowhere.
pub fn find_program(name: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |path: &Path| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.components().count() > 1 || name.is_absolute() {
        return is_program(name).then(|| name.to_owned());
    }
    std::env::split_paths(path?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn spec() -> ChildSpec {
        ChildSpec {
            program: "/bin/prover".into(),
            args: vec!["processor".into(), "pc1".into()],
            env: BTreeMap::from([("A".into(), "1".into())]),
            inherit_env: true,
            place: Place::default(),
            lock: "/tmp/x/pc1-0.lock".into(),
        }
    }

    fn words(command: &Command) -> Vec<String> {
        command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_child_is_launched_with_its_place_and_nothing_else() {
        let parent = std::process::id().to_string();
        let words_of = |spec: &ChildSpec| words(&spec.command(Path::new("/bin/worker")));
        let begins = ["launch", "--parent", &parent, "--lock", "/tmp/x/pc1-0.lock"];
        assert_eq!(words_of(&spec()), [&begins[..], &["--", "/bin/prover", "processor", "pc1"]].concat());
        let place = Place {
            cpuset: Some("2-3".parse().unwrap()),
            node_preferred: Some(NodeId(1)),
            cgroup: Some("g/sub-pc1-1-0".into()),
            allow_unpinned: true,
        };
        let placed = words_of(&ChildSpec { place, ..spec() });
        let expected =
            ["--cgroup", "g/sub-pc1-1-0", "--cpuset", "2-3", "--numa-preferred", "1", "--allow-unpinned", "--"];
        assert_eq!(placed[5..13], expected);
    }

    #[test]
    fn the_environment_is_added_to_or_replaces_ours() {
        let command = spec().command(Path::new("x"));
        let set: Vec<_> = command.get_envs().collect();
        assert_eq!(set, [(OsStr::new("A"), Some(OsStr::new("1")))]);
        let mut bare = ChildSpec { inherit_env: false, ..spec() }.command(Path::new("/usr/bin/env"));
        // `env` says what it has; the words of `launch` are no arguments of its own.
        let output = bare.output().unwrap();
        assert!(!output.status.success(), "env does not know the word launch: {output:?}");
        let mut env = Command::new("/usr/bin/env");
        env.env_clear().envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert_eq!(String::from_utf8(env.output().unwrap().stdout).unwrap(), "A=1\n");
    }

    /// On a thread of its own: a place stays with its thread.
    fn placed(place: &Place) -> Result<Vec<PlaceError>, PlaceError> {
        std::thread::scope(|scope| scope.spawn(|| place.take()).join().unwrap())
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error_or_a_warning() {
        let nowhere = |allow_unpinned| Place {
            cpuset: Some("999".parse().unwrap()),
            node_preferred: Some(NodeId(900)),
            cgroup: Some("damocles-no-such-group".into()),
            allow_unpinned,
        };
        placed(&nowhere(false)).unwrap_err();
        assert_eq!(placed(&nowhere(true)).unwrap().len(), 3);
        let cpu = Place { cpuset: Some("999".parse().unwrap()), ..Place::default() };
        assert!(placed(&cpu).unwrap_err().to_string().starts_with("run on cpus 999: "), "{:?}", placed(&cpu));
        let beyond = Place { cpuset: Some("0,5000".parse().unwrap()), ..Place::default() };
        assert!(placed(&beyond).unwrap_err().to_string().starts_with("run on cpus 0,5000: "));
        let node = Place { node_preferred: Some(NodeId(900)), ..Place::default() };
        assert!(placed(&node).unwrap_err().to_string().contains("node 900"));
    }

    #[test]
    fn a_mask_with_cpus_that_are_not_there_is_not_narrowed_in_silence() {
        let here = pin::cpus_of_this_thread().unwrap().iter().next().unwrap();
        let place = Place { cpuset: Some([here, 1000].into_iter().collect()), ..Place::default() };
        assert!(placed(&place).unwrap_err().to_string().contains(&format!("the kernel gives {here};")));
        let place = Place { cpuset: Some([here].into_iter().collect()), ..Place::default() };
        assert!(placed(&place).unwrap().is_empty());
    }

    #[test]
    fn endings_are_told_in_words() {
        let run = |script: &str| ending(Command::new("/bin/sh").args(["-c", script]).status().unwrap());
        assert_eq!(run("exit 3"), "ended with exit code 3");
        assert_eq!(run("kill -9 $$"), "was killed by SIGKILL");
    }

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        let (program, plain) = (dir.path().join("prover"), dir.path().join("plain"));
        for (path, mode) in [(&program, 0o755), (&plain, 0o644)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
        let find = |name: &Path| find_program(name, Some(&path));
        assert_eq!(find(Path::new("prover")), Some(program.clone()));
        assert_eq!(find(&program), Some(program.clone()));
        assert_eq!(find(Path::new("plain")), None, "it cannot be executed");
        assert_eq!(find(Path::new("gone")), None);
        assert_eq!(find(dir.path()), None, "a folder is no program");
        assert_eq!(find_program(Path::new("prover"), None), None);
    }

    #[test]
    fn who_holds_a_file_open_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("lock");
        let file = fs::File::create(&path).unwrap();
        let root = Root::at("/");
        // A child that another test starts at this moment has the file until its program begins.
        let become_these = |pids: &[u32]| {
            let seen = || holders(&root, &path);
            (0..1000).any(|_| {
                let are_these = seen() == pids;
                if !are_these {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                are_these
            })
        };
        assert!(become_these(&[std::process::id()]), "{:?}", holders(&root, &path));
        drop(file);
        assert!(become_these(&[]), "{:?}", holders(&root, &path));
        assert!(is_alive(&root, std::process::id()) && !is_alive(&root, u32::MAX));
    }
}
