//! The child that looks at a captured tree: our own program again, in an environment of its own.

use super::Capture;
use crate::sys::topology::{NO_PLUGINS, PLUGINS};
use std::{
    ffi::OsString,
    io::{self, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Far more than the answer for `CPUS_MAX` CPUs.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
const TALK_BYTES_MAX: u64 = 64 << 10;

/// How to start the child. A value, so that tests can name the program.
#[derive(Clone, Debug)]
pub struct Reader {
    /// None: this program, whose file is looked for when a captured tree is there to be read, and not before.
    pub program: Option<PathBuf>,
    /// What makes the program look at a captured tree; more arguments, `--` and the tree's root follow.
    pub args: Vec<OsString>,
    pub timeout: Duration,
}

/// Why the child gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("find this program's own file, to look at a captured machine: {0}")]
    Program(io::Error),
    #[error("start {} to look at a captured machine: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("look at a captured machine: no answer within {0} s")]
    Slow(u64),
    #[error("look at a captured machine: the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    #[error("{0}")]
    Refused(String),
}

/// What the child said.
#[derive(Debug)]
pub struct Said {
    pub answer: Vec<u8>,
    /// Warnings, as hwloc writes them.
    pub talk: String,
}

impl Reader {
    /// This program, which looks at a capture when it is called with `args` and the capture's root.
    pub fn this_program(args: &[&str]) -> Self {
        let args = args.iter().map(OsString::from).collect();
        Self { program: None, args, timeout: Duration::from_secs(60) }
    }

    /// The child's answer about `capture`; `more` are flags for it.
    pub fn read(&self, capture: &Capture, more: &[&str]) -> Result<Said, ChildError> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(ChildError::Program)?,
        };
        let mut command = Command::new(&program);
        // The tree's name may begin with a dash.
        command.args(&self.args).args(more).arg("--").arg(capture.root());
        // Whatever hwloc was told for this machine does not hold for that one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HWLOC_")) {
            command.env_remove(name);
        }
        command
            .env("HWLOC_FSROOT", capture.root())
            .env("HWLOC_COMPONENTS", "linux,stop")
            .env("HWLOC_THISSYSTEM", "0")
            // Nothing but files is looked at, so no plugin is of use; see `topology::load`.
            .env(PLUGINS, NO_PLUGINS)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| ChildError::Start { program, source })?;
        self.hear(child)
    }

    fn hear(&self, mut child: Child) -> Result<Said, ChildError> {
        let heard = listen(&mut child);
        let answer = heard.answer.recv_timeout(self.timeout);
        if answer.as_ref().is_ok_and(|answer| (answer.len() as u64) <= ANSWER_BYTES_MAX) {
            let status = child.wait();
            let talk = String::from_utf8_lossy(&heard.talk.recv().unwrap_or_default()).trim().to_owned();
            return match (status, answer) {
                (Ok(status), Ok(answer)) if status.success() => Ok(Said { answer, talk }),
                (Ok(status), _) if talk.is_empty() => {
                    Err(ChildError::Refused(format!("the child ended with {status}")))
                }
                _ => Err(ChildError::Refused(plain(&talk))),
            };
        }
        // It has no use any more; that it may be gone already is what we want.
        let _ = child.kill();
        let _ = child.wait();
        Err(if answer.is_ok() { ChildError::Long } else { ChildError::Slow(self.timeout.as_secs()) })
    }
}

/// What comes out of the child's two pipes, whole or one byte over the limit.
struct Heard {
    answer: mpsc::Receiver<Vec<u8>>,
    talk: mpsc::Receiver<Vec<u8>>,
}

fn listen(child: &mut Child) -> Heard {
    Heard {
        answer: collect(child.stdout.take(), ANSWER_BYTES_MAX + 1),
        talk: collect(child.stderr.take(), TALK_BYTES_MAX),
    }
}

/// Reads a pipe in a thread: the child must not wait for us on one pipe while we wait for it on the other.
fn collect(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks ends like one that is closed: the exit code tells the rest.
            let _ = (&mut pipe).take(bytes_max).read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    });
    receive
}

/// The child's own message, without the word that every program begins with.
fn plain(talk: &str) -> String {
    let lines: Vec<_> = talk.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line)).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str) -> Result<Said, ChildError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sys/devices/system/cpu/cpu0")).unwrap();
        let reader = Reader {
            program: Some("/bin/sh".into()),
            args: vec!["-c".into(), script.into(), "sh".into()],
            timeout: Duration::from_millis(500),
        };
        reader.read(&Capture::folder(dir.path()).unwrap(), &["more"])
    }

    #[test]
    fn the_child_is_told_the_place_by_environment_and_argument() {
        let said = ask(
            "echo $HWLOC_COMPONENTS $HWLOC_THISSYSTEM $1 $2; [ \"$HWLOC_FSROOT\" = \"$3\" ] || exit 4; echo talk >&2",
        )
        .unwrap();
        assert_eq!((said.answer.as_slice(), said.talk.as_str()), (b"linux,stop 0 more --\n".as_slice(), "talk"));
    }

    #[test]
    fn a_child_that_refuses_hangs_or_is_not_there_is_told() {
        assert_eq!(ask("echo error: no >&2; exit 2").unwrap_err().to_string(), "no");
        assert!(ask("exit 3").unwrap_err().to_string().contains("exit status: 3"));
        assert!(ask("kill -9 $$").unwrap_err().to_string().contains("signal: 9"));
        let began = std::time::Instant::now();
        assert!(ask("exec sleep 20").unwrap_err().to_string().contains("no answer within"));
        assert!(began.elapsed().as_secs() < 10);
        let missing =
            Reader { program: Some("/nonexistent".into()), args: Vec::new(), timeout: Duration::from_secs(1) };
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sys/devices/system/cpu/cpu0")).unwrap();
        let error = missing.read(&Capture::folder(dir.path()).unwrap(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("start /nonexistent to look"), "{error}");
    }
}
