//! One external processor: a child process that is started, asked, listened to, and started again when it falls.
//!
//! ```text
//! supervisor thread (the child ends with it)          reader   stdout: ready, answers, stray lines
//!   ┌► prepare: empty TMPDIR, cgroup                  talker   stderr, line by line into our log
//!   │  spawn ─► ready in time? ─► up                  writer   requests into stdin; it alone may block there
//!   │  wait for its end ─► down
//!   │  what was in flight has failed, to be tried again
//!   └─ pause (restart) ◄─┘
//! ```
//!
//! What always holds: every task that was submitted ends exactly once, by an answer, by the end of the child that had it,
//! or at once where there is no child. Nothing here calls `Events` while it holds its own lock.

use super::{
    Output, StageError, Task, protocol,
    restart::{Pace, Restarts},
};
use crate::{
    runtime::{metrics, stage::Stage},
    sys::process::{self, ChildSpec},
};
use nix::sys::signal::Signal;
use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child as Process, ChildStderr, ChildStdin, ChildStdout},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::{debug, info, warn};

/// No answer is as long: longer lines are cut, and are stray.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// So much of a stray line, or of a line on stderr, is told.
const TOLD_BYTES_MAX: usize = 4096;
/// Streams of an ended child that a program it started holds open are not waited for longer.
const ECHO: Duration = Duration::from_secs(1);

/// Prepares a life of a child: what it needs on the host, and how it is started.
pub trait Prepare: Send + Sync {
    /// Before each start.
    fn before(&self) -> Result<ChildSpec, String>;
    /// After each end: nothing that the child started may go on.
    fn after(&self);
    /// After the last one.
    fn end(&self);
}

/// What a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It takes tasks of this stage.
    Stage(Stage),
    /// It runs beside the stages (`sealing_daemons`) and takes none.
    Helper,
}

impl Role {
    /// Whether a line says that a child is ready. Helpers of the field are processors too, each of a stage of its own.
    fn is_ready(self, line: &[u8]) -> bool {
        match self {
            Self::Stage(stage) => protocol::is_ready(line, stage),
            Self::Helper => line.trim_ascii().ends_with(b" processor ready"),
        }
    }

    /// The name of its tables in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.name(),
            Self::Helper => "sealing_daemons",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is known of a child before it is there.
pub struct Plan {
    pub role: Role,
    /// Counted from 0 in the order of the configuration.
    pub index: usize,
    /// How long it may take to say that it is ready; a helper that has lived so long is ready without a word.
    pub stable_wait: Duration,
    pub auto_restart: bool,
    pub pace: Pace,
    /// Our own program, which places and starts the child.
    pub launcher: PathBuf,
    pub prepare: Box<dyn Prepare>,
}

/// Who is told of a child. `K` is what a task goes by.
pub trait Events<K>: Send + Sync {
    /// It is ready.
    fn up(&self);
    /// It is not, for a while or (`gone`) for good.
    fn down(&self, gone: bool);
    /// A task ended.
    fn ended(&self, key: K, result: Result<Output, StageError>);
}

/// A supervised child.
pub struct Child<K> {
    shared: Arc<Shared<K>>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<K> {
    plan: Plan,
    events: Box<dyn Events<K>>,
    state: Mutex<State<K>>,
    wake: Condvar,
}

struct State<K> {
    stopping: bool,
    /// Its number, from its start until it is reaped.
    pid: Option<u32>,
    link: Option<Link<K>>,
    lives: u64,
}

/// A child that is ready.
struct Link<K> {
    requests: Sender<(u64, Task)>,
    next_id: u64,
    in_flight: HashMap<u64, Job<K>>,
}

/// A task that was asked for.
struct Job<K> {
    key: K,
    sector: Option<String>,
}

/// What the reader tells the supervisor.
enum News {
    Ready,
    Closed,
}

impl<K: Copy + Send + 'static> Child<K> {
    /// Begins to supervise a child. The receiver has the outcome of its first start; a child that could not be started the
    /// first time is not tried again.
    pub fn start(plan: Plan, events: Box<dyn Events<K>>) -> (Self, Receiver<Result<(), String>>) {
        let state = Mutex::new(State { stopping: false, pid: None, link: None, lives: 0 });
        let shared = Arc::new(Shared { plan, events, state, wake: Condvar::new() });
        let (first, outcome) = mpsc::channel();
        let name = format!("{}-{}", shared.plan.role, shared.plan.index);
        let supervised = shared.clone();
        let thread = thread::Builder::new().name(name).spawn(move || supervised.supervise(first));
        let supervisor = Mutex::new(Some(thread.expect("threads can be made")));
        (Self { shared, supervisor }, outcome)
    }

    /// Asks the child for a task. Its end comes through `Events`, at once where there is no child.
    pub fn submit(&self, key: K, task: Task) {
        let mut state = self.shared.state();
        let Some(link) = &mut state.link else {
            drop(state);
            let reason = format!("processor {}: its child had ended before the task could begin", self.shared.name());
            return self.shared.fail(key, reason);
        };
        let id = link.next_id;
        link.next_id += 1;
        link.in_flight.insert(id, Job { key, sector: task.sector() });
        // A writer that is gone was ended with its child, and what is in flight ends with that too.
        let _ = link.requests.send((id, task));
    }

    /// Asks the child to end: no more requests. One that is not working should go by itself.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.stopping = true;
        if let Some(link) = &mut state.link {
            // Dropping the sender closes stdin after what was sent before.
            link.requests = mpsc::channel().0;
        }
        self.shared.wake.notify_all();
    }

    /// Sends a signal to the child and all that it started.
    pub fn signal(&self, signal: Signal) {
        // Under the lock, so that its number is still its own.
        if let Some(pid) = self.shared.state().pid {
            process::signal_group(pid, signal);
        }
    }

    /// Whether the child runs beside the stages.
    pub fn is_helper(&self) -> bool {
        self.shared.plan.role == Role::Helper
    }

    /// Whether the child works on something.
    pub fn is_busy(&self) -> bool {
        self.shared.state().link.as_ref().is_some_and(|link| !link.in_flight.is_empty())
    }

    /// Whether nothing of it is left.
    pub fn has_ended(&self) -> bool {
        self.supervisor().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until nothing of it is left.
    pub fn join(&self) {
        let thread = self.supervisor().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("processor {}: its supervisor panicked", self.shared.name());
        }
    }

    fn supervisor(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<K: Copy + Send + 'static> Shared<K> {
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn name(&self) -> String {
        format!("{}[{}]", self.plan.role, self.plan.index)
    }

    fn fail(&self, key: K, reason: String) {
        self.end(key, Err(reason));
    }

    fn end(&self, key: K, result: Result<Output, String>) {
        let Role::Stage(stage) = self.plan.role else { unreachable!("a helper has no tasks") };
        self.events.ended(key, result.map_err(|reason| StageError { stage, reason, permanent: false }));
    }

    /// Life after life, until it is stopped or must not be started again.
    fn supervise(self: Arc<Self>, first: Sender<Result<(), String>>) {
        self.lives(Some(first));
        self.plan.prepare.end();
    }

    fn lives(self: &Arc<Self>, mut first: Option<Sender<Result<(), String>>>) {
        let mut restarts = Restarts::new(self.plan.pace);
        loop {
            let began = Instant::now();
            let why = self.one_life(&mut first);
            let gone = !self.plan.auto_restart || first.is_some() || self.state().stopping;
            self.events.down(gone);
            self.fail_in_flight(&why);
            if let Some(first) = first.take() {
                // Who waits for it may have given up.
                let _ = first.send(Err(why));
                return;
            }
            if self.state().stopping {
                debug!(processor = self.name(), "{why}");
                return;
            }
            if gone {
                warn!(processor = self.name(), "{why}; auto_restart = false: it is not started again");
                return;
            }
            metrics::child_restarts(self.plan.role.name(), self.plan.index);
            let pause = restarts.pause(began.elapsed());
            warn!(processor = self.name(), "{why}; started again in {} s", pause.as_secs_f32());
            if self.rest(pause) {
                return;
            }
        }
    }

    /// From start to end; says how it ended, or why it did not begin.
    fn one_life(self: &Arc<Self>, first: &mut Option<Sender<Result<(), String>>>) -> String {
        let spec = self.plan.prepare.before();
        let started = spec.and_then(|spec| match spec.spawn(&self.plan.launcher) {
            Err(error) => Err(format!("start {}: {error}", self.plan.launcher.display())),
            Ok(process) => Ok((process, spec)),
        });
        match started {
            Ok((process, spec)) => self.live(process, &spec, first),
            Err(why) => {
                self.plan.prepare.after();
                why
            }
        }
    }

    fn live(
        self: &Arc<Self>,
        mut process: Process,
        spec: &ChildSpec,
        first: &mut Option<Sender<Result<(), String>>>,
    ) -> String {
        let pid = process.id();
        let stopping = {
            let mut state = self.state();
            (state.pid, state.lives) = (Some(pid), state.lives + 1);
            state.stopping
        };
        let stdin = process.stdin.take().expect("piped");
        let last_words = self.hear_talk(process.stderr.take().expect("piped"), pid);
        let (news, heard) = mpsc::channel();
        self.hear_answers(process.stdout.take().expect("piped"), pid, news);
        let ready = if stopping { Err("stopped".to_owned()) } else { self.become_ready(pid, &heard) };
        match &ready {
            Ok(()) => {
                self.link_up(stdin, pid, spec);
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                process::wait_for_end(pid);
            }
            // One that never becomes ready must not stay: it would hold its memory and its GPU.
            Err(_) => process::signal_group(pid, Signal::SIGKILL),
        }
        let status = {
            process::wait_for_end(pid);
            let mut state = self.state();
            state.pid = None;
            process::reap(&mut process)
        };
        // Before the streams are read to their end: whoever it started may hold them open.
        self.plan.prepare.after();
        // Answers that it wrote before its end are in the pipe.
        while ready.is_ok() && !matches!(heard.recv_timeout(ECHO), Ok(News::Closed) | Err(_)) {}
        let ended = status.map_or_else(|error| format!("was lost: {error}"), process::ending);
        let said = last_words.recv_timeout(ECHO).unwrap_or_default();
        match ready {
            Ok(()) => format!("child {pid} {ended}"),
            Err(why) => format!("{why}{}", if said.is_empty() { format!("; it {ended}") } else { format!(": {said}") }),
        }
    }

    fn become_ready(&self, pid: u32, heard: &Receiver<News>) -> Result<(), String> {
        let wait = self.plan.stable_wait;
        let until = Instant::now() + wait;
        match (heard.recv_timeout(wait), self.plan.role) {
            (Ok(News::Ready), _) => Ok(()),
            (Err(RecvTimeoutError::Timeout), Role::Stage(stage)) => {
                let line = protocol::ready_line(stage);
                Err(format!("the child did not say {line:?} within {} s (stable_wait)", wait.as_secs_f32()))
            }
            (_, Role::Stage(_)) => Err("the child ended before it was ready".into()),
            // It said nothing, or has no more to say: a server that lives on is ready.
            (_, Role::Helper) => {
                while !process::has_ended(pid) && Instant::now() < until {
                    thread::sleep(Duration::from_millis(10));
                }
                if process::has_ended(pid) { Err("the child ended before it was ready".into()) } else { Ok(()) }
            }
        }
    }

    fn link_up(self: &Arc<Self>, stdin: ChildStdin, pid: u32, spec: &ChildSpec) {
        let (requests, orders) = mpsc::channel();
        let shared = self.clone();
        thread::spawn(move || shared.write(stdin, &orders));
        {
            let mut state = self.state();
            let stopping = state.stopping;
            let requests = if stopping { mpsc::channel().0 } else { requests };
            state.link = Some(Link { requests, next_id: 1, in_flight: HashMap::new() });
        }
        info!(processor = self.name(), pid, program = %spec.program.display(), "ready");
        self.events.up();
    }

    /// Writes requests until the last sender is gone, then closes the child's stdin.
    fn write(&self, mut stdin: ChildStdin, orders: &Receiver<(u64, Task)>) {
        while let Ok((id, task)) = orders.recv() {
            let line = protocol::request(id, &task).expect("only stages of the wire have processors");
            let written = match line {
                Ok(line) => stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")),
                Err(error) => {
                    self.answered(id, Err(format!("the task cannot be written as JSON: {error}")));
                    continue;
                }
            };
            if let Err(error) = written.and_then(|()| stdin.flush()) {
                // A child that does not listen any more is ending; its end fails what is in flight.
                debug!(processor = self.name(), id, "its stdin is closed: {error}");
                return;
            }
        }
    }

    /// A thread that reads the child's stdout to its end.
    fn hear_answers(self: &Arc<Self>, stdout: ChildStdout, pid: u32, news: Sender<News>) {
        let shared = self.clone();
        let life = shared.state().lives;
        thread::spawn(move || {
            let mut ready = false;
            let ended = each_line(stdout, &mut |line, whole| {
                if !ready && shared.plan.role.is_ready(line) {
                    ready = true;
                    let _ = news.send(News::Ready);
                    return;
                }
                match (shared.plan.role, if whole { protocol::heard(line) } else { protocol::Heard::Stray }) {
                    (Role::Stage(stage), protocol::Heard::Answer { id, result }) if shared.state().lives == life => {
                        shared.answered(id, result.and_then(|output| protocol::output(stage, &output)));
                    }
                    _ => {
                        let (stage, child, sector) = (shared.plan.role, shared.plan.index, shared.sectors());
                        info!(%stage, child, pid, sector, "stray output: {}", told(line));
                    }
                }
            });
            if let Err(error) = ended {
                warn!(processor = shared.name(), pid, "its output cannot be read: {error}");
            }
            // A child that lives on without a voice can answer nothing; of a helper no answers are asked.
            if shared.plan.role != Role::Helper && shared.state().lives == life && shared.state().pid == Some(pid) {
                shared.silence(pid);
            }
            let _ = news.send(News::Closed);
        });
    }

    /// Ends a child that has closed its stdout, unless it is about to end by itself.
    fn silence(&self, pid: u32) {
        let until = Instant::now() + ECHO;
        while Instant::now() < until {
            if self.state().pid != Some(pid) || process::has_ended(pid) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let state = self.state();
        if state.pid == Some(pid) {
            warn!(processor = self.name(), pid, "it closed its stdout and went on: killed");
            process::signal_group(pid, Signal::SIGKILL);
        }
    }

    /// A thread that reads the child's stderr to its end. The receiver has the last line then.
    fn hear_talk(self: &Arc<Self>, stderr: ChildStderr, pid: u32) -> Receiver<String> {
        let shared = self.clone();
        let (last, last_words) = mpsc::channel();
        thread::spawn(move || {
            let (stage, child) = (shared.plan.role, shared.plan.index);
            let mut said = String::new();
            let ended = each_line(stderr, &mut |line, _| {
                said = told(line);
                info!(%stage, child, pid, sector = shared.sectors(), "{said}");
            });
            if let Err(error) = ended {
                warn!(%stage, child, pid, "its stderr cannot be read: {error}");
            }
            let _ = last.send(said);
        });
        last_words
    }

    fn answered(&self, id: u64, result: Result<Output, String>) {
        let job = self.state().link.as_mut().and_then(|link| link.in_flight.remove(&id));
        match job {
            Some(Job { key, sector }) => {
                let (stage, child, well) = (self.plan.role, self.plan.index, result.is_ok());
                debug!(%stage, child, id, sector, well, "answered");
                self.end(key, result);
            }
            None => warn!(processor = self.name(), id, "an answer that nobody waits for is passed over"),
        }
    }

    fn fail_in_flight(&self, why: &str) {
        let link = self.state().link.take();
        for (_, Job { key, sector }) in link.map(|link| link.in_flight).unwrap_or_default() {
            let (stage, child) = (self.plan.role, self.plan.index);
            info!(%stage, child, sector, "a task has ended with its child");
            self.fail(key, format!("processor {}: {why}", self.name()));
        }
    }

    /// The sectors that a line of the child may be about, the oldest task's first; none where it has no task.
    fn sectors(&self) -> Option<String> {
        let state = self.state();
        let mut jobs: Vec<_> = state.link.as_ref()?.in_flight.iter().collect();
        jobs.sort_by_key(|(id, _)| **id);
        let sectors: Vec<_> = jobs.iter().filter_map(|(_, job)| job.sector.as_deref()).collect();
        (!sectors.is_empty()).then(|| sectors.join(","))
    }

    /// Waits; says whether it is to stop.
    fn rest(&self, pause: Duration) -> bool {
        let state = self.state();
        let rested = self.wake.wait_timeout_while(state, pause, |state| !state.stopping);
        rested.unwrap_or_else(std::sync::PoisonError::into_inner).0.stopping
    }
}

/// Calls `each` with every line, without its end, and whether it is whole: of one that is too long only the beginning is kept.
fn each_line(stream: impl Read, each: &mut dyn FnMut(&[u8], bool)) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        if !whole {
            reader.skip_until(b'\n')?;
        }
        let end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        each(&line[..end], whole);
    }
}

/// A line for the log: its beginning, and how long it is where that is not all.
fn told(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(TOLD_BYTES_MAX)]);
    let text: String = text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    if line.len() > TOLD_BYTES_MAX { format!("{text}… ({} bytes)", line.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_only() {
        let mut lines = Vec::new();
        each_line(&b"a\r\n\n  b \nlast"[..], &mut |line, whole| lines.push((told(line), whole))).unwrap();
        let expected = [("a", true), ("", true), ("  b ", true), ("last", true)];
        assert_eq!(lines, expected.map(|(line, whole)| (line.to_owned(), whole)));
    }

    #[test]
    fn a_line_for_the_log_is_short_and_has_no_escapes() {
        assert_eq!(told(b"\x1b[31mred\xff"), "\u{fffd}[31mred\u{fffd}");
        let long = told(&[b'x'; 5000]);
        assert!(long.ends_with("x… (5000 bytes)") && long.len() < 4200);
    }
}
