//! `damocles-worker processor STAGE` from outside, as any daemon runs it; with the field's own lines and its results.

use crate::rig::WORKER;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(300);
const COMM_D: &str = "[252,126,146,130,150,229,22,250,173,233,134,178,143,146,212,74,79,36,185,53,72,82,35,55,106,121,144,39,188,24,248,51]";
const COMM_R: &str = "[186,72,136,28,140,8,90,104,5,181,25,35,226,46,57,114,80,225,101,197,182,106,159,148,196,17,142,96,154,221,237,10]";
const MINER: &str = "[144,78,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]";
const ONES: &str = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";

struct Processor {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Processor {
    fn start(args: &[&str], dir: &Path) -> Self {
        let mut command = Command::new(WORKER);
        command.arg("processor").args(args).current_dir(dir).env("FIL_PROOFS_PARENT_CACHE", dir.join("parents"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    fn say(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// Closes stdin; what is still said, and the exit code.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.stdin.take());
        let rest = self.lines.iter().collect();
        (rest, self.child.wait().unwrap().code())
    }
}

/// One request to a processor of its own: the answer.
fn ask(stage: &str, dir: &Path, line: &str) -> String {
    let mut processor = Processor::start(&[stage], dir);
    assert_eq!(processor.hear(), format!("{stage} processor ready"));
    processor.say(line);
    let answer = processor.hear();
    assert_eq!(processor.end(), (vec![], Some(0)), "{stage}");
    answer
}

/// The lines are those that were seen on the wire of the field's own worker (2 KiB, miner 10000, sector 1); so are the
/// commitments that come back. Only the folder is another.
#[test]
fn the_fields_requests_have_the_fields_answers() {
    let dir = tempfile::tempdir().unwrap();
    let s = dir.path().to_str().unwrap();
    let own = |text: &str| text.replace("/s/", &format!("{s}/"));
    fs::create_dir(dir.path().join("prepared")).unwrap();
    fs::create_dir(dir.path().join("cache")).unwrap();
    let asked =
        own(r#"{"id":1,"task":{"seal_proof_type":"StackedDrg2KiBV1_1","pieces":[],"staged_filepath":"/s/staged"}}"#);
    let expected = format!(r#"{{"id":1,"err_msg":null,"output":[{{"commitment":{COMM_D},"size":2032}}]}}"#);
    assert_eq!(ask("add_pieces", dir.path(), &asked), expected);

    let asked = own(
        r#"{"id":2,"task":{"registered_proof":"StackedDrg2KiBV1_1","staged_file":"/s/staged","cache_dir":"/s/prepared"}}"#,
    );
    assert_eq!(ask("tree_d", dir.path(), &asked), r#"{"id":2,"err_msg":null,"output":true}"#);

    // Their daemon brings tree-d from where it was prepared to where pc1 looks for it.
    let tree = "sc-02-data-tree-d.dat";
    fs::copy(dir.path().join("prepared").join(tree), dir.path().join("cache").join(tree)).unwrap();
    let asked = own(&format!(
        r#"{{"id":3,"task":{{"registered_proof":"StackedDrg2KiBV1_1","cache_path":"/s/cache","in_path":"/s/staged","out_path":"/s/sealed","prover_id":{MINER},"sector_id":1,"ticket":{ONES},"piece_infos":[{{"commitment":{COMM_D},"size":2032}}]}}}}"#
    ));
    let pc1out = own(&format!(
        r#"{{"registered_proof":"StackedDrg2KiBV1_1","labels":{{"StackedDrg2KiBV1":{{"labels":[{{"path":"/s/cache","id":"layer-1","size":64,"rows_to_discard":0}},{{"path":"/s/cache","id":"layer-2","size":64,"rows_to_discard":0}}],"_h":null}}}},"config":{{"path":"/s/cache","id":"tree-d","size":127,"rows_to_discard":0}},"comm_d":{COMM_D}}}"#
    ));
    assert_eq!(ask("pc1", dir.path(), &asked), format!(r#"{{"id":3,"err_msg":null,"output":{pc1out}}}"#));

    let asked =
        own(&format!(r#"{{"id":4,"task":{{"pc1out":{pc1out},"cache_dir":"/s/cache","sealed_file":"/s/sealed"}}}}"#));
    let expected = format!(
        r#"{{"id":4,"err_msg":null,"output":{{"registered_proof":"StackedDrg2KiBV1_1","comm_r":{COMM_R},"comm_d":{COMM_D}}}}}"#
    );
    assert_eq!(ask("pc2", dir.path(), &asked), expected);

    let asked = own(
        r#"{"id":6,"task":{"stores":{"persist":{"name":"persist","meta":null}},"routes":[{"src":{"store_name":null,"uri":"/s/sealed"},"dest":{"store_name":"persist","uri":"/s/p/sealed"},"opt":null}]}}"#,
    );
    assert_eq!(ask("transfer", dir.path(), &asked), r#"{"id":6,"err_msg":null,"output":true}"#);
    assert_eq!(fs::read(dir.path().join("p/sealed")).unwrap(), fs::read(dir.path().join("sealed")).unwrap());
}

#[test]
fn when_stdin_ends_what_is_in_flight_is_finished_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut processor = Processor::start(&["tree_d", "--rehearse", "sleep=300ms"], dir.path());
    assert_eq!(processor.hear(), "tree_d processor ready");
    for id in [1, 2] {
        let task = format!(r#"{{"registered_proof":"StackedDrg2KiBV1_1","staged_file":"s","cache_dir":"c{id}"}}"#);
        processor.say(&format!(r#"{{"id":{id},"task":{task}}}"#));
    }
    let (mut rest, code) = processor.end();
    rest.sort();
    let done = |id| format!(r#"{{"id":{id},"err_msg":null,"output":true}}"#);
    assert_eq!((rest, code), (vec![done(1), done(2)], Some(0)));
}

#[test]
fn bad_lines_are_passed_over_and_bad_tasks_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut processor = Processor::start(&["c2"], dir.path());
    processor.say("not JSON\n\n{\"task\":{}}\n[1,{}]");
    processor.say(r#"{"id":18446744073709551615,"task":{"c1out":{}}}"#);
    assert_eq!(processor.hear(), "c2 processor ready");
    let answer = processor.hear();
    assert!(
        answer.starts_with(r#"{"id":18446744073709551615,"err_msg":"this is no task of c2: missing field"#),
        "{answer}"
    );
    assert!(answer.ends_with(r#","output":null}"#), "{answer}");
    assert_eq!(processor.end(), (vec![], Some(0)));
}

#[test]
fn a_stage_without_a_processor_is_refused_by_name() {
    for stage in ["snap_encode", "c1", "pc-1", "restore_replica"] {
        let output = Command::new(WORKER).args(["processor", stage]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{stage}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("accepted: add_pieces, tree_d, pc1, pc2, c2, transfer"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

/// Under a foreign daemon nobody has placed it: it places itself, or says why it cannot and does not begin.
#[test]
fn a_place_that_the_environment_asks_for_and_that_cannot_be_had_is_refused() {
    let processor = |args: &[&str]| {
        let mut command = Command::new(WORKER);
        command.args(["processor", "tree_d"]).args(args).env("VENUS_WORKER_NUMA_PREFERRED", "900");
        command.stdin(Stdio::null()).output().unwrap()
    };
    let output = processor(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty() && said.contains("node 900") && said.contains("--allow-unpinned"), "{said}");
    let output = processor(&["--allow-unpinned"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"tree_d processor ready\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("runs unpinned"));
}
