//! A processor that pretends: it does no proofs (it adds pieces of deals), writes plausible files, and misbehaves as it is told.
//!
//! For tests of everything around the proofs, in which children must fall, babble, and answer out of order in
//! milliseconds. What it answers has the shape of the real thing and proves nothing.
//!
//! ```text
//! sleep=20ms       each task takes so long            jitter=30ms     and up to so much more, by a fixed chance
//! die=3            ends in the middle of the third    fail=2          answers every second task with an error
//! babble           lines between the answers that are none
//! late=300ms       is ready so late                   mute            is never ready
//! wrong            answers with an output of another shape
//! reverse=3        holds answers back until there are three, then gives them last first
//! stubborn         goes on when stdin ends
//! ```

use super::{Flaw, Output, Perform, RestoreReplicaTask, Task};
use crate::{
    runtime::{
        pieces::Fetch,
        proofs,
        stage::{AddPiecesTask, C2Output, Opaque, Pc2Output, PieceInfo, SectorPaths, Stage, TREE_D, TreeDTask},
        store::transfer::transfer,
    },
    units::{HumanDuration, SectorSize},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What c2 answers.
pub const PROOF: [u8; 192] = [7; 192];

/// How it behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub sleep: Duration,
    pub jitter: Duration,
    /// In which task it ends the process.
    pub die: Option<u64>,
    pub fail: Option<u64>,
    pub babble: bool,
    pub late: Duration,
    pub mute: bool,
    pub wrong: bool,
    pub reverse: usize,
    pub stubborn: bool,
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let odd = || format!("{word:?} is nothing that a rehearsal does");
            let time = || value.parse::<HumanDuration>().map(|time| time.0).map_err(|_| odd());
            let number = || value.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(odd);
            match name {
                "sleep" => script.sleep = time()?,
                "jitter" => script.jitter = time()?,
                "late" => script.late = time()?,
                "die" => script.die = Some(number()?),
                "fail" => script.fail = Some(number()?),
                "reverse" => script.reverse = number()? as usize,
                "babble" => script.babble = true,
                "mute" => script.mute = true,
                "wrong" => script.wrong = true,
                "stubborn" => script.stubborn = true,
                _ => return Err(odd()),
            }
        }
        Ok(script)
    }
}

/// Who carries out the tasks of a rehearsal; pieces of deals are real ones.
pub fn performer(script: &Script, fetch: Fetch) -> Arc<Perform> {
    let script = script.clone();
    let stage = Stagehand { script, fetch, begun: AtomicU64::new(0), held: Mutex::default(), more: Condvar::new() };
    Arc::new(move |task| stage.perform(task))
}

/// Before it says that it is ready.
pub fn overture(script: &Script, out: &mut impl Write) -> io::Result<()> {
    if script.babble {
        writeln!(out, "warming up\n{{\"level\":\"info\"}}")?;
        out.flush()?;
    }
    thread::sleep(script.late);
    if script.mute {
        stay();
    }
    Ok(())
}

/// Does nothing until somebody ends the process.
pub fn stay() -> ! {
    loop {
        thread::park();
    }
}

struct Stagehand {
    script: Script,
    fetch: Fetch,
    begun: AtomicU64,
    held: Mutex<Held>,
    more: Condvar,
}

/// The tasks whose answers are held back, emptied from the end, and how many ever came.
#[derive(Default)]
struct Held {
    tasks: Vec<u64>,
    arrived: usize,
}

impl Stagehand {
    fn perform(&self, task: Task) -> Result<Output, Flaw> {
        let nth = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        thread::sleep(self.script.sleep + self.jitter(nth));
        if self.script.die == Some(nth) {
            // In the middle, as a crash would: no destructor, no answer.
            std::process::abort();
        }
        self.hold_back(nth);
        if self.script.fail.is_some_and(|every| nth.is_multiple_of(every)) {
            return Err(Flaw { reason: "rehearsed failure".into(), permanent: false });
        }
        if self.script.wrong {
            return Ok(if task.stage() == Stage::C2 { Output::TreeD } else { Output::C2(C2Output { proof: vec![1] }) });
        }
        pretend(&task, &self.fetch).map_err(|error| Flaw { reason: error.to_string(), permanent: false })
    }

    /// The same task takes the same time in every run.
    fn jitter(&self, nth: u64) -> Duration {
        let share = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        self.script.jitter * (share as u32) / 65_536
    }

    fn hold_back(&self, nth: u64) {
        if self.script.reverse < 2 {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.tasks.push(nth);
        held.arrived += 1;
        self.more.notify_all();
        let waits = |held: &mut Held| held.arrived < self.script.reverse || held.tasks.last() != Some(&nth);
        held = self.more.wait_while(held, waits).unwrap_or_else(std::sync::PoisonError::into_inner);
        // Its answer is out before the next one goes.
        let after = self.more.wait_timeout(held, Duration::from_millis(30));
        let (mut held, _) = after.unwrap_or_else(std::sync::PoisonError::into_inner);
        held.tasks.retain(|other| *other != nth);
        self.more.notify_all();
    }
}

/// Files and answers that look like the stage's.
fn pretend(task: &Task, fetch: &Fetch) -> io::Result<Output> {
    Ok(match task {
        // The daemon compares the pieces of deals with what was asked for.
        Task::AddPieces(task) if !task.pieces.is_empty() => {
            Output::AddPieces(proofs::add_pieces(task, fetch).map_err(io::Error::other)?)
        }
        Task::AddPieces(task) => Output::AddPieces(add_pieces(task)?),
        Task::TreeD(task) => tree_d(task)?,
        Task::Pc1(task) => {
            fs::create_dir_all(&task.cache_path)?;
            fs::copy(&task.in_path, &task.out_path)?;
            Output::Pc1(opaque(
                &serde_json::json!({ "registered_proof": task.registered_proof, "rehearsed": task.sector_id }),
            ))
        }
        Task::RestoreReplica(RestoreReplicaTask { staged_file, sealed_file, .. }) => {
            fs::copy(staged_file, sealed_file)?;
            Output::RestoreReplica
        }
        Task::Pc2(task) => {
            let proof = task.pc1out.read::<Pc1Answer>().map_err(io::Error::other)?.registered_proof;
            persisted_files(&task.cache_dir, proof.sector_size())?;
            Output::Pc2(Pc2Output { registered_proof: proof, comm_r: [1; 32], comm_d: [2; 32] })
        }
        Task::C1(_) => Output::C1(opaque(&"rehearsed")),
        Task::C2(_) => Output::C2(C2Output { proof: PROOF.to_vec() }),
        Task::Transfer(task) => {
            transfer(task).map_err(io::Error::other)?;
            Output::Transfer
        }
    })
}

#[derive(serde::Deserialize)]
struct Pc1Answer {
    registered_proof: crate::units::SealProof,
}

fn opaque(value: &impl serde::Serialize) -> Opaque {
    Opaque::new(value).expect("plain values can be written as JSON")
}

fn add_pieces(task: &AddPiecesTask) -> io::Result<Vec<PieceInfo>> {
    let bytes = task.seal_proof_type.sector_size().bytes().0;
    if let Some(folder) = task.staged_filepath.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(&task.staged_filepath)?.set_len(bytes)?;
    Ok(vec![PieceInfo { commitment: [3; 32], size: bytes / 128 * 127 }])
}

fn tree_d(task: &TreeDTask) -> io::Result<Output> {
    fs::create_dir_all(&task.cache_dir)?;
    File::create(task.cache_dir.join(TREE_D))?.set_len(task.registered_proof.sector_size().tree_d_bytes())?;
    Ok(Output::TreeD)
}

/// What a persistent store expects beside the replica, at its right length.
fn persisted_files(cache: &Path, size: SectorSize) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    for (path, bytes) in SectorPaths::new(0, 0).persisted(size).into_iter().skip(1) {
        let name = path.file_name().expect("files have names");
        File::create(cache.join(name))?.set_len(bytes.unwrap_or(100))?;
    }
    Ok(())
}

/// Lines that are no answers, before each write of one that is.
pub struct Babble<W>(pub W);

impl<W: Write> Write for Babble<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(b"progress 50 %\n{\"id\":999999,\"output\":true}\n[1,null,true]\n\xff\xfe\n{\"half\":\n")?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::processor::protocol;

    #[test]
    fn a_script_is_read_and_what_it_does_not_know_is_refused() {
        let script: Script = "sleep=20ms, die=3,babble,reverse=2".parse().unwrap();
        assert_eq!(
            (script.sleep, script.die, script.babble, script.reverse),
            (Duration::from_millis(20), Some(3), true, 2)
        );
        assert_eq!("".parse(), Ok(Script::default()));
        for odd in ["dance", "die", "die=0", "sleep=5", "die=-1"] {
            assert!(odd.parse::<Script>().unwrap_err().contains("nothing that a rehearsal does"), "{odd}");
        }
    }

    #[test]
    fn what_it_answers_passes_for_an_output_on_the_wire() {
        let dir = tempfile::tempdir().unwrap();
        let text = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let [staged, cache, sealed] = ["s/staged", "cache", "sealed"].map(text);
        let proof = "StackedDrg2KiBV1_1";
        let zeros = serde_json::to_string(&[0; 32]).unwrap();
        let tasks = [
            (Stage::AddPieces, format!(r#"{{"seal_proof_type":"{proof}","pieces":[],"staged_filepath":"{staged}"}}"#)),
            (
                Stage::TreeD,
                format!(r#"{{"registered_proof":"{proof}","staged_file":"{staged}","cache_dir":"{cache}"}}"#),
            ),
            (
                Stage::Pc1,
                format!(
                    r#"{{"registered_proof":"{proof}","cache_path":"{cache}","in_path":"{staged}","out_path":"{sealed}","prover_id":{zeros},"sector_id":1,"ticket":{zeros},"piece_infos":[]}}"#
                ),
            ),
            (
                Stage::Pc2,
                format!(
                    r#"{{"pc1out":{{"registered_proof":"{proof}"}},"cache_dir":"{cache}","sealed_file":"{sealed}"}}"#
                ),
            ),
            (Stage::C2, format!(r#"{{"c1out":{{}},"prover_id":{zeros},"sector_id":1,"miner_id":1}}"#)),
        ];
        let perform = performer(&Script::default(), Fetch::default());
        for (stage, json) in tasks {
            let task = protocol::task(stage, &Opaque::from_json(json).unwrap()).unwrap();
            let result = perform(task).map_err(|flaw| flaw.reason);
            let line = protocol::answer(1, &result).unwrap();
            let protocol::Heard::Answer { result: Ok(answered), .. } = protocol::heard(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!(protocol::output(stage, &answered), result, "{stage}");
        }
        assert_eq!(fs::metadata(dir.path().join("cache/p_aux")).unwrap().len(), 64);
        assert_eq!(fs::metadata(dir.path().join("cache").join(TREE_D)).unwrap().len(), 4064);
    }
}
