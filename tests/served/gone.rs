//! The manager gone, answering garbage, answering late, asked twice, killed and restarted with its data; a daemon killed and
//! restarted beside it. At the end every sector that a worker ever held is finished, and nothing was accepted twice.

use crate::{
    proxy::{Heard, Proxy},
    rig::{PATIENCE, Rig, Running},
};
use damocles_worker::runtime::manager::embedded::{
    AttachedStore, Embedded, EmbeddedOptions, SectorStatus, SectorSummary, rehearsed_proofs_only,
};
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Sectors of each of two workers, which have three threads each.
const EACH: usize = 4;

/// Printed, so that a failure can be looked for again; threads race, so the same seed is the same faults and not the same run.
fn seed() -> u64 {
    let seed = std::env::var("DAMOCLES_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    let _ = writeln!(std::io::stderr(), "again with: DAMOCLES_SEED={seed} cargo test --test served");
    seed
}

#[test]
fn with_a_manager_that_fails_in_every_way_no_sector_is_lost_and_nothing_is_accepted_twice() {
    let seed = seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let rig = Rig::new();
    let mut manager = rig.manager("127.0.0.1:0");
    let (address, chain) = (manager.address.to_string(), manager.chain.clone());
    let proxy = Proxy::start(manager.address, seed);
    for name in ["a", "b"] {
        rig.worker(name, proxy.address, 3);
    }
    let (mut a, b) = (rig.daemon("a", EACH), rig.daemon("b", EACH));
    wait_until(|| proxy.heard("AssignTicket").len() >= 2, &a, "sectors are under way");

    proxy.fail(40);
    let mut finished = Vec::new();
    for round in 0..4 {
        thread::sleep(Duration::from_millis(chance.gen_range(100..800)));
        manager.running.kill();
        // Far longer than max_retries times recover_interval.
        let gone = if round == 0 { 3000 } else { chance.gen_range(0..600) };
        thread::sleep(Duration::from_millis(gone));
        manager = rig.manager(&address);
        assert_eq!(manager.chain, chain, "restarted with its data");
        if round == 1 {
            finished = a.kill();
            proxy.fail(0);
            a = rig.daemon("a", EACH - finished.len().min(EACH - 1));
            wait_until(|| proxy.heard("StoreBasicInfo").len() >= 3, &a, "the daemon is back");
            proxy.fail(40);
        }
    }
    proxy.fail(0);

    let ends = [a.wait(), b.wait()];
    assert!(ends.iter().all(|(code, _)| *code == Some(0)), "{ends:?}");
    finished.extend(ends.into_iter().flat_map(|(_, lines)| lines));
    manager.running.signal(Signal::SIGTERM);
    assert_eq!(manager.running.wait().0, Some(0));

    assert!(proxy.faults() >= 20, "too little went wrong: {} faults", proxy.faults());
    nothing_twice(&proxy, &finished);
    nothing_lost(&rig, &finished);
}

/// `DAMOCLES_SLOW=1`: a minute of this test is a minute.
#[test]
fn a_manager_that_is_gone_for_a_whole_minute_finds_every_sector_where_it_was() {
    if std::env::var_os("DAMOCLES_SLOW").is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: a manager that is gone for a minute: set DAMOCLES_SLOW=1");
        return;
    }
    const GONE: Duration = Duration::from_secs(60);
    let rig = Rig::new();
    let manager = rig.manager("127.0.0.1:0");
    let (address, chain) = (manager.address.to_string(), manager.chain.clone());
    let proxy = Proxy::start(manager.address, seed());
    for name in ["a", "b"] {
        rig.worker(name, proxy.address, 3);
    }
    let (a, b) = (rig.daemon("a", EACH), rig.daemon("b", EACH));
    // Answers are lost now, so that what the manager has accepted is submitted again to the one that comes back.
    proxy.fail(40);
    wait_until(|| proxy.heard("SubmitPreCommit").len() >= 2, &a, "pre-commits are on their way");
    let (before, since) = (proxy.heard("ReportState").len(), Instant::now());
    manager.running.kill();
    proxy.fail(0);
    while since.elapsed() < GONE {
        thread::sleep(Duration::from_secs(1));
        assert!(a.is_alive() && b.is_alive(), "{}{}", a.talk(), b.talk());
    }
    let manager = rig.manager(&address);
    assert_eq!(manager.chain, chain, "back with its data");
    let (talks, ends) = ([a.talk(), b.talk()], [a.wait(), b.wait()]);
    assert!(ends.iter().all(|(code, _)| *code == Some(0)), "{ends:?}");
    assert!(
        talks.iter().all(|talk| talk.contains("asked again later") && !talk.contains("thread paused")),
        "{talks:?}"
    );
    assert!(proxy.heard("ReportState").len() > before);
    manager.running.signal(Signal::SIGTERM);
    assert_eq!(manager.running.wait().0, Some(0));
    let finished: Vec<_> = ends.into_iter().flat_map(|(_, lines)| lines).collect();
    accepted_once(&proxy, &finished);
    nothing_lost(&rig, &finished);
}

fn wait_until(mut so: impl FnMut() -> bool, daemon: &Running, what: &str) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not yet: {}", daemon.talk());
        thread::sleep(Duration::from_millis(5));
    }
}

fn sector(heard: &Heard) -> String {
    let first = &heard.params[0];
    first.get("ID").unwrap_or(first)["Number"].to_string()
}

fn nothing_twice(proxy: &Proxy, finished: &[String]) {
    accepted_once(proxy, finished);
    for method in ["SubmitPreCommit", "SubmitProof"] {
        let repeated = proxy.heard(method).iter().any(|heard| heard.result["Res"] == 2);
        assert!(repeated, "{method} was never repeated");
    }
}

/// The manager's own words, before anything was done to them.
fn accepted_once(proxy: &Proxy, finished: &[String]) {
    let numbers: Vec<_> =
        proxy.heard("AllocateSector").iter().map(|heard| heard.result["ID"]["Number"].clone()).collect();
    let distinct: BTreeSet<_> = numbers.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), numbers.len(), "a number was handed out twice: {numbers:?}");
    for method in ["SubmitPreCommit", "SubmitProof"] {
        let mut accepted = BTreeMap::<_, u32>::new();
        let heard = proxy.heard(method);
        for heard in &heard {
            assert!([1, 2].contains(&heard.result["Res"].as_u64().unwrap()), "{heard:?}");
            *accepted.entry(sector(heard)).or_default() += u32::from(heard.result["Res"] == 1);
        }
        assert!(accepted.values().all(|times| *times <= 1), "{method} was accepted twice: {accepted:?}");
    }
    let names: Vec<Value> =
        finished.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect();
    assert_eq!(names.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

/// The database: each sector that a worker took has one pre-commit, one proof, its files, and an end.
fn nothing_lost(rig: &Rig, finished: &[String]) {
    let sectors = database(rig);
    let taken: Vec<_> = sectors.iter().filter(|sector| sector.report.is_some()).collect();
    assert!(taken.len() >= 2 * EACH && finished.len() >= 2 * EACH, "{} {}", taken.len(), finished.len());
    for sector in taken {
        let ended = (sector.status, &sector.abort_reason, sector.instance.as_deref());
        assert_eq!(ended, (SectorStatus::Finalized, &None, Some("persist")), "{sector:?}");
        assert!(sector.comm_r.is_some() && sector.verified, "{sector:?}");
    }
    let named = |name: &str| sectors.iter().any(|sector| format!("s-t0{}-{}", sector.miner, sector.number) == name);
    for line in finished {
        let report: Value = serde_json::from_str(line).unwrap();
        assert!(named(report["name"].as_str().unwrap()) && report["rehearsal"] == true, "{line}");
    }
}

fn database(rig: &Rig) -> Vec<SectorSummary> {
    let persist = AttachedStore { name: "persist".into(), path: rig.path("persist"), readonly: false };
    let options = EmbeddedOptions {
        path: rig.path("manager"),
        miner: 1000,
        proof_type: "StackedDrg2KiBV1_1".parse().unwrap(),
        epoch: Duration::from_millis(5),
        pieces: None,
        attached: vec![persist],
        rehearsal: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = Embedded::open(options, rehearsed_proofs_only(), SystemTime::now).await.unwrap();
        manager.sectors().await.unwrap()
    })
}

/// A store of one folder, which the worker finds by its description, and one that its `[[attached]]` names.
#[test]
fn stores_that_were_found_take_sectors_and_are_known_by_their_names() {
    let rig = Rig::new();
    for (folder, text) in [("disks/1", r#"{"ID": "found"}"#), ("disks/2", r#"{"Name": "full", "ReadOnly": true}"#)] {
        std::fs::create_dir_all(rig.path(folder)).unwrap();
        rig.write(&format!("{folder}/sectorstore.json"), text);
    }
    let text = "[worker]\nscan_persist_stores = [\"./disks/*\"]\n[sector_manager.embedded]\nepoch = \"5ms\"\n";
    rig.write("manager.toml", text);
    let running =
        rig.start("manager.log", &["manager", "-c", "manager.toml", "--listen", "127.0.0.1:0", "--rehearse", "--json"]);
    let line: Value = serde_json::from_str(&running.line(0)).unwrap();
    assert_eq!(line["stores"], serde_json::json!(["found", "full"]));
    let address = line["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    rig.worker("a", address, 1);
    let config = std::fs::read_to_string(rig.path("a.toml")).unwrap();
    let (config, _) = config.split_once("[[attached]]").unwrap();
    rig.write("a.toml", &config.replace("[worker]", "[worker]\nscan_persist_stores = [\"./disks\"]"));
    let (code, lines) = rig.daemon("a", 2).wait();
    assert_eq!(code, Some(0), "{}", std::fs::read_to_string(rig.path("a.log")).unwrap());
    for line in lines {
        let report: Value = serde_json::from_str(&line).unwrap();
        let file = report["files"][0].as_str().unwrap().to_owned();
        assert!(file.contains("/disks/1/sealed/") && std::path::Path::new(&file).is_file(), "{file}");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().0, Some(0));
}
