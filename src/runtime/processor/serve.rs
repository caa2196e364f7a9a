//! The other end of the pipes: an external processor of ours, under our daemon or anybody's.
//!
//! ```text
//! stdin ─► line ─► task ─► a thread each ─► answer, whole lines, as they come ─► the real stdout
//!                    └ no request: told on stderr, passed over        fd 1 leads to stderr: what libraries print is no answer
//! ```
//!
//! When stdin ends, what is in flight is finished and answered, then the process ends with 0. A stdout that nobody reads
//! any more ends it at once: the answers have no reader, and the daemon that asked has no memory of the question.

use super::{Perform, perform_guarded, protocol};
use crate::{
    runtime::stage::{Opaque, Stage},
    sys::{
        Root,
        cgroup::Cpusets,
        process::{PLACED, Place, PlaceError},
    },
    units::{CpuList, NodeId},
};
use std::{
    fs::File,
    io::{self, BufRead, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tracing::{debug, info, warn};

/// So much of a line that is no request is told.
const TOLD_BYTES_MAX: usize = 200;

/// Where another daemon wants this processor to run; ours has put it there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The name of the group to make and join, and its CPUs.
    group: Option<(String, CpuList)>,
    node: Option<NodeId>,
}

impl Wish {
    /// Reads the variables that say it.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if var(PLACED).is_some() {
            return Ok(Self::default());
        }
        let text = |name| var(name).filter(|text| !text.trim().is_empty());
        let odd = |name: &str, error: &dyn std::fmt::Display| format!("the variable {name}: {error}");
        let cpus = text(protocol::ENV_CPUSET).map(|text| text.parse().map_err(|e| odd(protocol::ENV_CPUSET, &e)));
        let group = match (text(protocol::ENV_GROUP), cpus.transpose()?) {
            (Some(name), Some(cpus)) => Some((name, cpus)),
            _ => None,
        };
        let node = text(protocol::ENV_NODE).map(|text| text.trim().parse().map_err(|e| odd(protocol::ENV_NODE, &e)));
        Ok(Self { group, node: node.transpose()?.map(NodeId) })
    }

    /// Makes the group, and goes where it says. The group goes with the value that is returned, and what had to be passed
    /// over under `allow_unpinned` is there too.
    pub fn fulfil(&self, allow_unpinned: bool) -> Result<(Option<Group>, Vec<PlaceError>), PlaceError> {
        let mut passed_over = Vec::new();
        let made = match self.make_group() {
            Err(error) if allow_unpinned => {
                passed_over.push(error);
                None
            }
            made => made?,
        };
        let place = Place {
            cpuset: self.group.as_ref().map(|(_, cpus)| cpus.clone()),
            node_preferred: self.node,
            cgroup: made.as_ref().map(|group| group.name.clone()),
            allow_unpinned,
        };
        passed_over.extend(place.take()?);
        Ok((made, passed_over))
    }

    fn make_group(&self) -> Result<Option<Group>, PlaceError> {
        let Some((name, cpus)) = &self.group else { return Ok(None) };
        let cpusets = Cpusets::find(&Root::at("/"))?;
        cpusets.make(name, cpus, self.node)?;
        Ok(Some(Group { cpusets, name: name.clone() }))
    }
}

/// A group that this process made and sits in.
#[derive(Debug)]
pub struct Group {
    cpusets: Cpusets,
    name: String,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.cpusets.leave(&self.name) {
            warn!("the cgroup {} stays: {error}", self.name);
        }
    }
}

/// Takes the process's stdout for answers alone: whatever else is written to it goes to stderr.
pub fn own_stdout() -> io::Result<File> {
    let kept = nix::unistd::dup(io::stdout())?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(File::from(kept))
}

/// Says that it is ready, then carries out tasks of `stage` until `input` ends and all are answered.
///
/// # Errors
/// An end that cannot be read from or written to.
pub fn serve(
    stage: Stage,
    input: impl BufRead,
    output: impl Write + Send + 'static,
    perform: Arc<Perform>,
) -> io::Result<()> {
    let voice = Arc::new(Voice { output: Mutex::new(output), broken: AtomicBool::new(false) });
    voice.say(&protocol::ready_line(stage))?;
    let mut threads: Vec<thread::JoinHandle<()>> = Vec::new();
    for line in input.split(b'\n') {
        let line = line?;
        if voice.is_broken() {
            break;
        }
        let Some(asked) = protocol::asked(&line) else {
            if !line.trim_ascii().is_empty() {
                let beginning = String::from_utf8_lossy(&line[..line.len().min(TOLD_BYTES_MAX)]);
                warn!(bytes = line.len(), "no request, passed over: {beginning}");
            }
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        let (voice, perform) = (voice.clone(), perform.clone());
        threads.push(thread::spawn(move || carry_out(stage, asked.id, &asked.task, &*perform, &voice)));
    }
    threads.retain(|thread| !thread.is_finished());
    if !threads.is_empty() && !voice.is_broken() {
        info!(tasks = threads.len(), "no more requests: finishing what is in flight");
    }
    for thread in threads {
        if voice.is_broken() {
            break;
        }
        let _ = thread.join();
    }
    if voice.is_broken() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

/// Answers are written whole, one at a time.
struct Voice<W> {
    output: Mutex<W>,
    broken: AtomicBool,
}

impl<W: Write> Voice<W> {
    fn say(&self, line: &str) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let said = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
        if said.is_err() {
            self.broken.store(true, Ordering::SeqCst);
        }
        said
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

fn carry_out(stage: Stage, id: u64, asked: &Opaque, perform: &Perform, voice: &Voice<impl Write>) {
    debug!(%stage, id, "begun");
    let task = protocol::task(stage, asked);
    let result = task.and_then(|task| perform_guarded(perform, task).map_err(|flaw| flaw.reason));
    match &result {
        Ok(_) => debug!(%stage, id, "done"),
        Err(reason) => warn!(%stage, id, "failed: {reason}"),
    }
    let line = protocol::answer(id, &result).unwrap_or_else(|error| {
        let flaw = Err(format!("the output cannot be written as JSON: {error}"));
        protocol::answer(id, &flaw).expect("a text can be written as JSON")
    });
    if let Err(error) = voice.say(&line) {
        warn!(%stage, id, "the answer has no reader: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::processor::{Flaw, Output, Task};
    use std::{sync::mpsc, time::Duration};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn tree_d(id: u64, staged: &str) -> String {
        format!(
            r#"{{"id":{id},"task":{{"registered_proof":"StackedDrg2KiBV1_1","staged_file":"{staged}","cache_dir":"c"}}}}"#
        )
    }

    fn said(input: &str, perform: impl Fn(Task) -> Result<Output, Flaw> + Send + Sync + 'static) -> Vec<String> {
        let page = Page::default();
        serve(Stage::TreeD, input.as_bytes(), page.clone(), Arc::new(perform)).unwrap();
        page.lines()
    }

    #[test]
    fn answers_come_as_they_are_done_and_the_end_waits_for_all() {
        let (release, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let input = format!("{}\n{}", tree_d(1, "slow"), tree_d(2, "fast"));
        let lines = said(&input, move |task| {
            let Task::TreeD(task) = task else { panic!("{task:?}") };
            if task.staged_file.ends_with("slow") {
                gate.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
                thread::sleep(Duration::from_millis(50));
            } else {
                release.send(()).unwrap();
            }
            Ok(Output::TreeD)
        });
        let expected = [
            "tree_d processor ready",
            r#"{"id":2,"err_msg":null,"output":true}"#,
            r#"{"id":1,"err_msg":null,"output":true}"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn noise_is_passed_over_and_what_has_an_id_is_answered() {
        let input = format!("noise\n\n[1,2]\n{{\"id\":3,\"task\":{{}}}}\n{}\n", tree_d(4, "s"));
        let mut lines = said(&input, |_| Err(Flaw { reason: "no".into(), permanent: true }));
        lines.sort();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with(r#"{"id":3,"err_msg":"this is no task of tree_d: missing field"#), "{lines:?}");
        assert_eq!(lines[2], r#"{"id":4,"err_msg":"no","output":null}"#);
    }

    #[test]
    fn a_panic_is_an_answer() {
        let lines = said(&tree_d(1, "s"), |_| panic!("no such layer"));
        assert_eq!(lines[1], r#"{"id":1,"err_msg":"panicked: no such layer","output":null}"#);
    }

    #[test]
    fn another_daemons_wish_is_read_and_ours_has_been_fulfilled() {
        let vars = |placed: bool, cpuset: &'static str| {
            move |name: &str| match name {
                "VC_CG_NAME" => Some("vc-worker/sub-pc1-1-0".to_owned()),
                "VC_CG_CPUSET" => Some(cpuset.to_owned()),
                "VENUS_WORKER_NUMA_PREFERRED" => Some("1".to_owned()),
                PLACED if placed => Some("1".to_owned()),
                _ => None,
            }
        };
        let group = Some(("vc-worker/sub-pc1-1-0".to_owned(), "2-3".parse().unwrap()));
        assert_eq!(Wish::from_vars(vars(false, "2-3")), Ok(Wish { group, node: Some(NodeId(1)) }));
        assert_eq!(Wish::from_vars(vars(true, "2-3")), Ok(Wish::default()));
        assert_eq!(Wish::from_vars(vars(false, " ")), Ok(Wish { group: None, node: Some(NodeId(1)) }));
        assert_eq!(Wish::from_vars(|_| None), Ok(Wish::default()));
        assert!(Wish::from_vars(vars(false, "3-2")).unwrap_err().starts_with("the variable VC_CG_CPUSET: "));
    }

    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_processor_that_nobody_reads_ends() {
        let perform: Arc<Perform> = Arc::new(|_| Ok(Output::TreeD));
        assert!(serve(Stage::TreeD, &b""[..], Closed, perform).is_err());
    }
}
