//! What a daemon tells of a pc1 that hashes in a process of its own.

use crate::bench::Bench;
use damocles_worker::runtime::pc1_numbers::WRITE_EVERY;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// The samples of a daemon's page whose names begin with `damocles_worker_pc1_`.
fn samples(address: &str) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let sample = |line: &str| {
        let (name, value) = line.strip_prefix("damocles_worker_pc1_")?.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().unwrap()))
    };
    answer.lines().filter_map(sample).collect()
}

#[test]
fn a_pc1_in_its_own_process_shows_its_sector_its_layer_and_its_memory() {
    let bench = Bench::new("StackedDrg8MiBV1_1").without_keys();
    let config = fs::read_to_string(bench.path("worker.toml")).unwrap();
    let more = "\n[metrics]\nenable = true\nhttp_listen = \"127.0.0.1:0\"\n\n[[processors.pc1]]\n";
    fs::write(bench.path("worker.toml"), config + more).unwrap();
    let mut daemon = bench.start(&[]);
    daemon.wait_for_start("pc1", 1);
    let log = fs::read_to_string(bench.path("daemon.log")).unwrap();
    let line = log.lines().find(|line| line.contains("metrics at")).unwrap_or_else(|| panic!("{log}"));
    let address = line.split_once("address=").unwrap().1.split_whitespace().next().unwrap();
    // It tells every few seconds, and is at work for less: it is stopped until the daemon has looked, and goes on a bit.
    let child = children(daemon.id(), "pc1").pop().unwrap();
    let mut at_work = BTreeMap::new();
    let of_task = |samples: &BTreeMap<_, _>, name: &str| {
        samples.get(&format!(r#"{name}{{processor="pc1-0",task="0"}}"#)).copied()
    };
    while of_task(&at_work, "layer").is_none_or(|layer| layer == 0.0) {
        assert_eq!(bench.starts("pc2"), 0, "pc1 was never seen at work: {at_work:?}");
        kill(child, Signal::SIGSTOP).unwrap();
        thread::sleep(WRITE_EVERY + Duration::from_millis(500));
        at_work = samples(address);
        kill(child, Signal::SIGCONT).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((of_task(&at_work, "sector"), of_task(&at_work, "layers")), (Some(1.0), Some(2.0)), "{at_work:?}");
    assert!(matches!(of_task(&at_work, "layer"), Some(layer) if layer <= 2.0), "{at_work:?}");
    assert!(of_task(&at_work, "layer_part").is_some_and(|part| (0.0..=1.0).contains(&part)), "{at_work:?}");
    daemon.wait_for_start("pc2", 1);
    let began = Instant::now();
    while samples(address).get(r#"layers_hashed_total{processor="pc1-0"}"#) != Some(&2.0) {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", samples(address));
        thread::sleep(WRITE_EVERY);
    }
    let done = samples(address);
    assert_eq!(done.get(r#"buffers_total{processor="pc1-0",memory="anonymous"}"#), Some(&2.0), "{done:?}");
    assert_eq!(of_task(&done, "sector"), Some(0.0), "no task is at work: {done:?}");
}

/// Processes of this parent that are `processor STAGE`.
fn children(parent: u32, stage: &str) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let is_parents = of("status").lines().any(|line| line == format!("PPid:\t{parent}"));
        is_parents && of("cmdline").contains(&format!("processor\0{stage}\0"))
    };
    pids.filter(is_child).map(Pid::from_raw).collect()
}
