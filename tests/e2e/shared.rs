//! Two daemons on one served manager, with real proofs, sealing side by side.

use crate::bench::{Bench, WORKER, has_parameters, reports, said};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A manager on this bench's folder, and the URL that it listens on.
struct Manager(Child, String);

impl Manager {
    fn start(bench: &Bench) -> Self {
        let log = fs::File::create(bench.path("manager.log")).unwrap();
        let mut command = Command::new(WORKER);
        command.args(["manager", "-c", "worker.toml", "--listen", "127.0.0.1:0", "--json"]);
        let mut child = command.current_dir(bench.path("")).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{line:?}: {}", fs::read_to_string(bench.path("manager.log")).unwrap());
        });
        Self(child, listening["url"].as_str().unwrap().to_owned())
    }

    /// Stops it in order.
    fn stop(mut self) {
        nix::sys::signal::kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The second daemon checks what its pc2 made before it counts.
#[test]
fn two_daemons_on_one_served_manager_finish_sectors_of_their_own() {
    if !has_parameters("two_daemons_on_one_served_manager") {
        return;
    }
    let bench = Bench::new("StackedDrg2KiBV1_1");
    let manager = Manager::start(&bench);
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    let config = config.replace("addr = \"embedded\"", &format!("addr = \"{}\"", manager.1));
    for (name, more) in [("a", ""), ("b", "verify_after_pc2 = true")] {
        let text = config.replace("./sealing/0", &format!("./sealing/{name}"));
        let text = text.replace("[worker]\n", &format!("[worker]\nname = \"{name}\"\n"));
        let text = text.replace("[sealing]\n", &format!("[sealing]\n{more}\n"));
        fs::write(bench.path(format!("{name}.toml")), text).unwrap();
    }
    let daemon = |name: &str| {
        let log = fs::File::create(bench.path(format!("{name}.log"))).unwrap();
        let mut command = Command::new(WORKER);
        command.args(["daemon", "-c", &format!("{name}.toml"), "--sectors", "1", "--json", "--allow-local-params"]);
        command.current_dir(bench.path("")).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    };
    let both = ["a", "b"].map(daemon).map(|daemon| daemon.wait_with_output().unwrap());
    let logs = ["a", "b"].map(|name| fs::read_to_string(bench.path(format!("{name}.log"))).unwrap());
    assert!(both.iter().all(|output| output.status.success()), "{}{}{logs:?}", said(&both[0]), said(&both[1]));
    assert!(logs[1].contains("what pc2 made is checked") && !logs[0].contains("what pc2 made is checked"));
    let finished: Vec<Value> = both.iter().flat_map(reports).collect();
    assert!(finished.iter().all(|report| report["proof_verified"] == true), "{finished:?}");
    let numbers: BTreeSet<_> = finished.iter().map(|report| report["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, BTreeSet::from([1, 2]));
    for report in &finished {
        for file in report["files"].as_array().unwrap() {
            assert!(fs::metadata(file.as_str().unwrap()).unwrap().is_file(), "{report}");
        }
    }
    manager.stop();
}
