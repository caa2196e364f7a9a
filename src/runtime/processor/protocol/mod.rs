//! The processors' wire: one JSON object a line, written and read on both ends. Pure.
//!
//! ```text
//! daemon                                         child (BIN ARGS…, logs on stderr)
//!                                   ◄── pc1 processor ready
//! {"id":1,"task":{…}} ──►
//! {"id":2,"task":{…}} ──►
//!                                   ◄── {"id":2,"err_msg":null,"output":{…}}      in any order
//!                                   ◄── {"id":1,"err_msg":"text","output":null}
//! ```
//!
//! Anything else that a child writes is stray: kept for the log, never an answer. `err_msg` wins over `output`;
//! neither is an error too. Labels and proofs are carried as text and not taken apart.

use super::{Output, Task};
use crate::runtime::stage::{Opaque, Stage};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The node whose memory a child prefers.
pub const ENV_NODE: &str = "VENUS_WORKER_NUMA_PREFERRED";
/// The cgroup that a child runs in, below the root of the cpuset hierarchy.
pub const ENV_GROUP: &str = "VC_CG_NAME";
/// That group's CPUs.
pub const ENV_CPUSET: &str = "VC_CG_CPUSET";

/// The first line of a child that is ready.
pub fn ready_line(stage: Stage) -> String {
    format!("{stage} processor ready")
}

/// Whether a line says that a child of `stage` is ready.
pub fn is_ready(line: &[u8], stage: Stage) -> bool {
    line.trim_ascii() == ready_line(stage).as_bytes()
}

#[derive(Serialize)]
struct Request<'a, T> {
    id: u64,
    task: &'a T,
}

/// The line that asks for `task`, without its end. `None`: the stage is done in the daemon only.
pub fn request(id: u64, task: &Task) -> Option<serde_json::Result<String>> {
    fn line<T: Serialize>(id: u64, task: &T) -> serde_json::Result<String> {
        serde_json::to_string(&Request { id, task })
    }
    Some(match task {
        Task::AddPieces(task) => line(id, task),
        Task::TreeD(task) => line(id, task),
        Task::Pc1(task) => line(id, task),
        Task::Pc2(task) => line(id, task),
        Task::C2(task) => line(id, task),
        Task::Transfer(task) => line(id, task),
        Task::RestoreReplica(_) | Task::C1(_) => return None,
    })
}

/// What a line of a child is.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Answer { id: u64, result: Result<Opaque, String> },
    Stray,
}

#[derive(Deserialize)]
struct Response {
    id: u64,
    #[serde(default)]
    err_msg: Option<String>,
    #[serde(default)]
    output: Option<Opaque>,
}

/// Reads a line of a child.
pub fn heard(line: &[u8]) -> Heard {
    match object::<Response>(line) {
        Some(Response { id, err_msg: Some(message), .. }) => Heard::Answer { id, result: Err(message) },
        Some(Response { id, output: Some(output), .. }) => Heard::Answer { id, result: Ok(output) },
        Some(Response { id, .. }) => {
            Heard::Answer { id, result: Err("the answer has neither an output nor an error".into()) }
        }
        None => Heard::Stray,
    }
}

/// An array would read as an object whose fields come in order; on this wire it is noise.
fn object<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(line).ok()
}

/// The output that an answer of `stage` carries.
pub fn output(stage: Stage, answer: &Opaque) -> Result<Output, String> {
    fn read<T: DeserializeOwned>(stage: Stage, answer: &Opaque) -> Result<T, String> {
        answer.read().map_err(|error| format!("answered with what is no output of {stage}: {error}"))
    }
    let done = |yes: bool, output| if yes { Ok(output) } else { Err("answered that it is not done".to_owned()) };
    match stage {
        Stage::AddPieces => read(stage, answer).map(Output::AddPieces),
        Stage::TreeD => read(stage, answer).and_then(|yes| done(yes, Output::TreeD)),
        // Only the proofs library reads what is in it; that it is an object can be seen from here.
        Stage::Pc1 if answer.as_json().starts_with('{') => Ok(Output::Pc1(answer.clone())),
        Stage::Pc1 => Err("answered with what is no output of pc1: not an object".into()),
        Stage::Pc2 => read(stage, answer).map(Output::Pc2),
        Stage::C2 => read(stage, answer).map(Output::C2),
        Stage::Transfer => read(stage, answer).and_then(|yes| done(yes, Output::Transfer)),
        Stage::RestoreReplica | Stage::C1 => Err(format!("{stage} is done in the daemon")),
    }
}

/// What a child is asked: the task is read once its stage is known.
#[derive(Debug, Deserialize)]
pub struct Asked {
    pub id: u64,
    pub task: Opaque,
}

/// Reads a line of the daemon; `None`: it is no request, and there is nobody to answer.
pub fn asked(line: &[u8]) -> Option<Asked> {
    object(line)
}

/// The task of a request to a child of `stage`.
pub fn task(stage: Stage, asked: &Opaque) -> Result<Task, String> {
    fn read<T: DeserializeOwned>(stage: Stage, asked: &Opaque) -> Result<T, String> {
        asked.read().map_err(|error| format!("this is no task of {stage}: {error}"))
    }
    match stage {
        Stage::AddPieces => read(stage, asked).map(Task::AddPieces),
        Stage::TreeD => read(stage, asked).map(Task::TreeD),
        Stage::Pc1 => read(stage, asked).map(Task::Pc1),
        Stage::Pc2 => read(stage, asked).map(Task::Pc2),
        Stage::C2 => read(stage, asked).map(Task::C2),
        Stage::Transfer => read(stage, asked).map(Task::Transfer),
        Stage::RestoreReplica | Stage::C1 => Err(format!("{stage} is done in the daemon")),
    }
}

#[derive(Serialize)]
struct Reply<'a, T> {
    id: u64,
    err_msg: Option<&'a str>,
    output: Option<&'a T>,
}

/// The line that answers request `id`, without its end.
pub fn answer(id: u64, result: &Result<Output, String>) -> serde_json::Result<String> {
    fn line<T: Serialize>(id: u64, output: &T) -> serde_json::Result<String> {
        serde_json::to_string(&Reply { id, err_msg: None, output: Some(output) })
    }
    match result {
        Err(message) => serde_json::to_string(&Reply::<()> { id, err_msg: Some(message), output: None }),
        Ok(Output::AddPieces(pieces)) => line(id, pieces),
        Ok(Output::Pc1(output) | Output::C1(output)) => line(id, output),
        Ok(Output::Pc2(output)) => line(id, output),
        Ok(Output::C2(output)) => line(id, output),
        Ok(Output::TreeD | Output::Transfer | Output::RestoreReplica) => line(id, &true),
    }
}

#[cfg(test)]
mod tests;
