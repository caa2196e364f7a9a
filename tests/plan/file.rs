//! The rendered worker.toml: whole once, then what changes with each choice, and what is refused.

use crate::{machine, plan, site, target};
use damocles_worker::{
    machine::Machine,
    planner::{Attached, Manager, PlanError, Site},
    worker_config::{self, RpcClient, WorkerConfig},
};
use insta::assert_snapshot;
use proptest::prelude::*;
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

fn eight_cores() -> Machine {
    machine("pack:1 [numa(memory=64GB)] l3:2(size=32MB) core:4 pu:2")
}

fn planned(site: &Site) -> WorkerConfig {
    planned_for("500KiB/hour", site)
}

fn planned_for(rate: &str, site: &Site) -> WorkerConfig {
    let plan = plan(&eight_cores(), &target(rate, "2KiB"), site).unwrap();
    worker_config::parse(&plan.worker_toml).unwrap().config
}

#[test]
fn the_file_explains_its_choices() {
    let plan = plan(&eight_cores(), &target("500KiB/hour", "2KiB"), &site()).unwrap();
    assert_snapshot!(plan.worker_toml, @r#"
    # damocles-worker.toml, written by `damocles-worker-util plan`.
    #
    # machine    worker-1: 8 usable cores, 59.6 GiB of memory
    # target     500KiB/hour of 2KiB sectors: 250.00 sectors/h
    # expected   260.50 sectors/h, limited by cores; one sector takes 0.5 min
    #
    # The expectation rests on these built-in figures per task, not on measurements of this machine:
    #   add_pieces    0.1 core-seconds on up to  1 cores,   16 MiB (measured: 2 cores of an AMD EPYC with SHA extensions)
    #   tree_d        0.1 core-seconds on up to  1 cores,   16 MiB (estimate: one pass of SHA-256 over twice the sector)
    #   pc1           0.1 core-seconds on up to  1 cores,   16 MiB (measured: 2 cores of an AMD EPYC with SHA extensions)
    #   pc2           0.1 core-seconds on up to  1 cores,   16 MiB (measured: 2 cores of an AMD EPYC with SHA extensions)
    #   c1            0.1 core-seconds on up to  1 cores,   16 MiB (measured: 2 cores of an AMD EPYC with SHA extensions)
    #   c2           99.0 core-seconds on up to 64 cores, 2.75 GiB (measured: 2 cores of an AMD EPYC with SHA extensions)

    # Whose proofs this was planned for: `plan verify` and `plan simulate` judge the file by it, daemons pass it over.
    [planned]
    prover = "own"
    suite = "stock"

    [worker]
    # name = "worker-#1"
    # rpc_server.host = "0.0.0.0"
    # rpc_server.port = 17890
    # rpc_server.token_file = "/etc/damocles-worker/rpc.token"

    [metrics]
    # enable = false
    # http_listen = "0.0.0.0:9000"

    [sector_manager]
    # "embedded" is a manager inside the daemon, against a simulated chain: sectors are sealed and their
    # proofs verified, nothing reaches a network.
    rpc_client.addr = "embedded"

    [sector_manager.embedded]
    # Its database and its chain.
    path = "./manager"
    # The miner whose sectors it hands out.
    miner = 1000
    # Interactive proofs of the current version, for the planned sector size.
    proof_type = "StackedDrg2KiBV1_1"
    # One epoch of the simulated chain. A sector waits 150 epochs for its seed, 15s here;
    # the network's epoch of 30s would make it 75 minutes.
    epoch = "100ms"

    [sealing]
    # Only the size that was planned: other sizes need other limits.
    allowed_sizes = ["2KiB"]
    # The embedded manager answers at once, so asking often costs nothing.
    seal_interval = "1s"
    recover_interval = "1s"
    rpc_polling_interval = "1s"

    # 3 sealing threads: so many sectors are under way at once when each takes 0.5 min.
    # Together they may hold 43.5 KiB of disk.
    [[sealing_thread]]
    location = "./sealing/0"

    [[sealing_thread]]
    location = "./sealing/1"

    [[sealing_thread]]
    location = "./sealing/2"

    # Finished sectors go here; the manager knows each store by its name.
    [[attached]]
    name = "persist"
    location = "./persist"

    # Stages run inside the daemon. Together, tasks within these limits hold 2.78 GiB of memory at most.
    [processors.limitation.concurrent]
    add_pieces = 1
    tree_d = 1
    pc1 = 1
    pc2 = 1
    c2 = 1
    "#);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let once = || plan(&eight_cores(), &target("1GiB/month", "8MiB"), &site()).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn threads_go_around_the_sealing_folders() {
    let config = planned(&Site { sealing_dirs: vec!["/mnt/a".into(), "/mnt/b/".into()], ..site() });
    let stores: Vec<_> = config.sealing_thread.iter().map(|thread| thread.location.to_str().unwrap()).collect();
    assert_eq!(stores, ["/mnt/a/0", "/mnt/b/0", "/mnt/a/1"]);
}

#[test]
fn a_remote_manager_gets_the_usual_pauses_and_the_miner_as_a_filter() {
    let manager = Manager::Remote("/ip4/10.0.0.1/tcp/1789".into());
    let config = planned_for("100KiB/hour", &Site { manager, miner: Some(1234), ..site() });
    let RpcClient::Remote(remote) = &config.sector_manager.rpc_client else { panic!("{config:?}") };
    assert_eq!(remote.addr, "/ip4/10.0.0.1/tcp/1789");
    assert_eq!(config.sealing.allowed_miners, [1234]);
    assert_eq!(config.sealing.rpc_polling_interval.to_string(), "180s");
    // Waiting 75 minutes for a seed takes many more threads than waiting 15 seconds.
    assert_eq!(config.sealing_thread.len(), 72);
    assert_eq!(planned_for("100KiB/hour", &site()).sealing_thread.len(), 1);
}

#[test]
fn the_embedded_manager_takes_the_miner() {
    let config = planned(&Site { miner: Some(7), ..site() });
    let RpcClient::Embedded(embedded) = &config.sector_manager.rpc_client else { panic!("{config:?}") };
    assert_eq!((embedded.miner, embedded.epoch.to_string().as_str()), (7, "100ms"));
    assert!(config.sealing.allowed_miners.is_empty());
}

#[test]
fn the_embedded_manager_lives_where_it_is_told_to() {
    for dir in ["./manager", "/srv/one \"two\"/manager"] {
        let config = planned(&Site { manager_dir: dir.into(), ..site() });
        let RpcClient::Embedded(embedded) = &config.sector_manager.rpc_client else { panic!("{config:?}") };
        assert_eq!(embedded.path, PathBuf::from(dir));
    }
    let remote = Manager::Remote("/ip4/10.0.0.1/tcp/1789".into());
    let site = Site { manager: remote, manager_dir: "/srv/manager".into(), ..site() };
    let plan = plan(&eight_cores(), &target("100KiB/hour", "2KiB"), &site).unwrap();
    assert!(!plan.worker_toml.contains("/srv/manager"), "no other manager has a folder here");
}

#[test]
fn stages_run_inside_the_daemon() {
    let config = planned(&site());
    assert!(config.processors.stages.is_empty());
    assert_eq!(config.processors.limitation.concurrent.len(), 5);
}

#[test]
fn a_target_out_of_reach_tells_what_is_in_reach() {
    let error = plan(&eight_cores(), &target("1GiB/hour", "2KiB"), &site()).unwrap_err();
    assert!(error.is_answer());
    assert_snapshot!(error.to_string(), @"plan 1GiB/hour of 2KiB sectors: that is 524288.00 sectors/h, this machine could do 260.50 (521 KiB/hour), limited by cores; 2013 such machines would do (--count 2013), or lower the target");
    let PlanError::Infeasible { possible, .. } = error else { panic!() };
    let reachable = format!("{}B/hour", (possible * 2048.0) as u64);
    plan(&eight_cores(), &target(&reachable, "2KiB"), &site()).unwrap();
}

#[test]
fn a_machine_without_memory_is_refused() {
    let mut silent = eight_cores();
    silent.topology.memory_bytes.0 = 0;
    silent.topology.parts.iter_mut().for_each(|part| {
        part.memory_bytes.0 = 0;
        part.nodes[0].memory_bytes.0 = 0;
    });
    assert!(silent.check().is_empty());
    let error = plan(&silent, &target("1KiB/day", "2KiB"), &site()).unwrap_err().to_string();
    assert!(error.contains("worker-1") && error.contains("memory_bytes"), "{error}");
}

#[test]
fn choices_that_make_no_sense_are_refused() {
    let dirs = |dirs: &[&str]| Site { sealing_dirs: dirs.iter().map(PathBuf::from).collect(), ..site() };
    let attached = |stores: &[(&str, &str)]| {
        let store = |(name, path): &(&str, &str)| Attached { name: (*name).into(), location: path.into() };
        Site { attached: stores.iter().map(store).collect(), ..site() }
    };
    let remote = |addr: &str| Site { manager: Manager::Remote(addr.into()), ..site() };
    for (site, expected) in [
        (dirs(&[]), "without a sealing folder"),
        (dirs(&[""]), "without a name for each sealing folder"),
        (dirs(&["./a", "a/"]), "one holds the other"),
        (dirs(&["/mnt", "/mnt/a"]), "one holds the other"),
        (Site { manager_dir: "".into(), ..site() }, "without a name for the manager's folder"),
        (Site { manager_dir: "~/manager".into(), ..site() }, "sector_manager.embedded.path"),
        (attached(&[]), "without a persistent store"),
        (attached(&[("", "p")]), "without a name and a path"),
        (attached(&[("p", "a"), ("p", "b")]), "attached"),
        (attached(&[("p\nq", "a")]), "attached[0].name"),
        (dirs(&["{path to store}"]), "sealing_thread[0].location"),
        (dirs(&["~/store"]), "sealing_thread[0].location"),
        (remote("nowhere"), "sector_manager.rpc_client.addr"),
        (remote("Embedded"), "sector_manager.rpc_client.addr"),
        (remote("ws://10.0.0.1:1789"), "sector_manager.rpc_client.addr"),
    ] {
        let error = plan(&eight_cores(), &target("1KiB/day", "2KiB"), &site).unwrap_err();
        assert!(!error.is_answer());
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let not_utf8 = PathBuf::from(OsString::from_vec(vec![b'a', 0xff]));
    let error = plan(&eight_cores(), &target("1KiB/day", "2KiB"), &Site { sealing_dirs: vec![not_utf8], ..site() });
    assert!(error.unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn a_month_has_a_length() {
    for days in [0.0, -1.0, 32.0, f64::NAN, f64::INFINITY] {
        let target = damocles_worker::planner::Target { days_per_month: days, ..target("1MiB/month", "2KiB") };
        let error = plan(&eight_cores(), &target, &site()).unwrap_err().to_string();
        assert!(error.contains("days a month"), "{error}");
    }
}

#[test]
fn a_hostname_cannot_write_keys() {
    let mut machine = eight_cores();
    machine.hostname = "w\n[processors.ext_locks]\ngpu = 1\r# {{x}} & <".into();
    let plan = plan(&machine, &target("1KiB/day", "2KiB"), &site()).unwrap();
    assert!(worker_config::parse(&plan.worker_toml).unwrap().config.processors.ext_locks.is_empty());
    assert!(plan.worker_toml.contains("# {{x}} & <"), "nothing is escaped for HTML: {}", plan.worker_toml);
}

#[test]
fn paths_with_special_characters_survive() {
    for nasty in ["a \"b\" c", "a'b", "a\\b", "a\nb", "#a", "''' \"\"\"", "ü/&<>&amp;", "\t\u{7f}\u{1}", "a]\n[worker]"]
    {
        let name: String = nasty.chars().filter(|c| !c.is_control()).chain(['n']).collect();
        let config = planned(&Site {
            sealing_dirs: vec![nasty.into()],
            attached: vec![Attached { name: name.clone(), location: nasty.into() }],
            ..site()
        });
        assert_eq!(config.sealing_thread[0].location, PathBuf::from(format!("{nasty}/0")));
        assert_eq!(config.attached[0].name.as_deref(), Some(name.as_str()));
        assert_eq!(config.attached[0].location, PathBuf::from(nasty));
    }
}

proptest! {
    #[test]
    fn any_path_survives(path in "d[^{}\\pC]{0,12}[a-z'\"\\\\\n\r\t#/ ]{1,12}[a-z]") {
        let config = planned(&Site { sealing_dirs: vec![path.clone().into()], ..site() });
        prop_assert_eq!(config.sealing_thread[0].location.to_str().unwrap(), format!("{path}/0"));
    }
}
