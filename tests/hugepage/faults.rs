//! Every single change of a run fails in turn, once or for good; and a stop at every look.
//!
//! The changes are real, on this machine's pools and a real hugetlbfs; only the failure is made, in front of the change.

use crate::rig::{Rig, SMALL, counter, pool_file, skip};
use damocles_worker::{
    hugepage::{InitError, Order, Pattern, Report, Target, World, init, init::Talk},
    sys::{Root, faults::Faults, stop::Stop},
    units::{Bytes, NodeId},
};
use std::sync::Arc;

/// Two files in a folder on a mount that is to be made.
pub fn order(rig: &Rig) -> Order {
    let folder = Pattern::of_path(&rig.path("huge/pc1")).unwrap().folder(NodeId(0));
    Order {
        targets: vec![Target { node: NodeId(0), folder, files: 2, file_bytes: Bytes::mib(8) }],
        page_bytes: Some(Bytes::mib(2)),
        mount: Some(rig.path("huge")),
        threads: Some(2),
    }
}

fn run(rig: &Rig, order: &Order, root: &Root, stop: &Stop) -> Result<Report, InitError> {
    let talk = |_: Talk| {};
    init(order, &World { root, state: &rig.state(), stop, talk: &talk })
}

pub fn run_with(rig: &Rig, faults: &Arc<Faults>) -> Result<Report, InitError> {
    run(rig, &order(rig), &Root::at("/").with_faults(faults), &Stop::default())
}

/// The changes of a run that nothing disturbs, and that has no lock yet.
pub fn changes(rig: &Rig) -> Vec<String> {
    forget(rig);
    let faults = Faults::counting();
    run_with(rig, &faults).unwrap();
    rig.clear();
    forget(rig);
    faults.asked()
}

/// The lock stays from one run to the next, and what stays is not made again: every round begins without it.
pub fn forget(rig: &Rig) {
    let _ = std::fs::remove_dir_all(rig.path("record"));
    std::fs::create_dir(rig.path("record")).unwrap();
}

/// The number of the first change that begins like this.
pub fn first(changes: &[String], beginning: &str) -> usize {
    changes
        .iter()
        .position(|change| change.starts_with(beginning))
        .unwrap_or_else(|| panic!("{beginning}: {changes:?}"))
}

#[test]
fn a_run_announces_every_change_that_it_makes() {
    let Some(rig) = Rig::take("a_run_announces_every_change_that_it_makes") else { return };
    let changes = changes(&rig).join("\n");
    for change in [
        "make the lock",
        "make folder",
        "save the record",
        "mount a hugetlbfs at",
        "set the pool",
        "create",
        "allocate the pages of",
        "publish",
        "remove folder",
    ] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    assert_eq!(changes.matches("save the record").count(), 5, "intent, points, pools, files, commit: {changes}");
}

#[test]
fn whichever_change_fails_everything_is_as_before() {
    let Some(rig) = Rig::take("whichever_change_fails_everything_is_as_before") else { return };
    let changes = changes(&rig);
    for (n, change) in changes.iter().enumerate() {
        forget(&rig);
        let before = rig.snapshot();
        let error = run_with(&rig, &Faults::once(n)).expect_err(change);
        assert!(error.to_string().contains("asked for by a test"), "{change}: {error}");
        assert_eq!(rig.snapshot(), before, "change {n}, {change}, failed: {error}");
    }
}

#[test]
fn whatever_a_broken_run_left_the_next_takes_back() {
    let Some(rig) = Rig::take("whatever_a_broken_run_left_the_next_takes_back") else { return };
    let changes = changes(&rig);
    let mut left = 0;
    for (n, change) in changes.iter().enumerate() {
        forget(&rig);
        let before = rig.snapshot();
        let error = run_with(&rig, &Faults::from(n)).expect_err(change);
        left += usize::from(rig.snapshot() != before);
        // The next one is refused itself, and takes back all the same.
        let mut nowhere = order(&rig);
        nowhere.targets[0].node = NodeId(77);
        let refused = run(&rig, &nowhere, &Root::at("/"), &Stop::default()).unwrap_err();
        assert!(matches!(refused, InitError::Refused(_)), "{refused}");
        assert_eq!(rig.snapshot(), before, "from change {n}, {change}, on nothing worked: {error}");
    }
    assert!(left > changes.len() / 3, "a run that cannot even clean up leaves something: {left}");
}

#[test]
fn a_stop_at_any_look_takes_everything_back() {
    let Some(rig) = Rig::take("a_stop_at_any_look_takes_everything_back") else { return };
    let before = rig.snapshot();
    for looks in 0.. {
        match run(&rig, &order(&rig), &Root::at("/"), &Stop::after(looks)) {
            Err(InitError::Stopped(_)) => assert_eq!(rig.snapshot(), before, "after {looks} looks"),
            Err(error) => panic!("after {looks} looks: {error}"),
            Ok(_) => {
                assert!(looks > 6, "pools, ranges, proofs and names are all looked between: {looks}");
                return;
            }
        }
    }
}

/// A file under one of our names that somebody else puts there while we work.
#[test]
fn a_name_that_somebody_takes_meanwhile_is_his() {
    let Some(rig) = Rig::take("a_name_that_somebody_takes_meanwhile_is_his") else { return };
    let theirs = rig.path("huge/pc1/numa_0/8.0_MiB_1");
    let pages = counter(SMALL, "nr");
    let talk = |talk: Talk| {
        // By now the mount is there and the names are still free.
        if matches!(talk, Talk::Filling { .. }) && !theirs.exists() {
            std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
            std::fs::File::create(&theirs).unwrap();
        }
    };
    let (root, stop) = (Root::at("/"), Stop::default());
    let error = init(&order(&rig), &World { root: &root, state: &rig.state(), stop: &stop, talk: &talk }).unwrap_err();
    assert!(error.to_string().contains("File exists"), "{error}");
    assert!(theirs.exists() && theirs.metadata().unwrap().len() == 0, "it is as its owner made it");
    // The mount goes with its last file, so it stays for his, as one that this tool made.
    assert!(matches!(&error, InitError::Stays { what, .. } if what[0].contains("unmount")), "{error}");
    assert_eq!(counter(SMALL, "nr"), pages, "no page is held by anybody");
    let record = std::fs::read_to_string(rig.state()).unwrap();
    assert!(record.contains("\"run\": null") && record.contains("damocles-worker-"), "{record}");
    // It keeps nobody from going on.
    std::fs::remove_dir_all(rig.path("huge/pc1")).unwrap();
    run(&rig, &order(&rig), &root, &stop).unwrap();
    assert!(theirs.metadata().unwrap().len() > 0);
}

#[test]
fn pages_that_others_added_before_a_killed_run_raised_the_pool_are_theirs() {
    let Some(rig) = Rig::take("pages_that_others_added_before_a_killed_run_raised_the_pool_are_theirs") else { return };
    let changes = changes(&rig);
    let saves = changes.iter().enumerate().filter(|(_, change)| change.starts_with("save the record"));
    let begins = saves.map(|(n, _)| n).nth(2).unwrap();
    assert!(changes[begins + 1].starts_with("set the pool"), "it is recorded just before: {changes:?}");
    let pages = counter(SMALL, "nr");
    run_with(&rig, &Faults::from(begins)).unwrap_err();
    std::fs::write(pool_file(SMALL), (pages + 3).to_string()).unwrap();
    rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
    assert_eq!(counter(SMALL, "nr"), pages + 3);
    assert!(!rig.state().exists(), "nothing of the run is left");
}

/// Somebody takes two of the pages as soon as the pool has them.
#[test]
fn pages_that_others_use_when_a_run_is_taken_back_are_told_and_released_later() {
    let Some(rig) = Rig::take("pages_that_others_use_when_a_run_is_taken_back_are_told_and_released_later") else {
        return;
    };
    let theirs = rig.mount("theirs", "pagesize=2M").join("two");
    let (pages, free) = (counter(SMALL, "nr"), counter(SMALL, "free"));
    if free > 0 {
        return skip(
            "pages_that_others_use_when_a_run_is_taken_back_are_told_and_released_later",
            "free pages are there",
        );
    }
    let talk = |talk: Talk| {
        if matches!(talk, Talk::Raising { .. }) {
            let file = std::fs::File::create(&theirs).unwrap();
            nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 4 << 20).unwrap();
        }
    };
    let (root, stop) = (Root::at("/"), Stop::default());
    let error = init(&order(&rig), &World { root: &root, state: &rig.state(), stop: &stop, talk: &talk }).unwrap_err();
    assert!(error.is_answer(), "{error}");
    assert!(error.to_string().contains("stays: 2 pages of 2MiB on node 0, which are in use"), "{error}");
    assert_eq!(counter(SMALL, "nr"), pages + 2);
    std::fs::remove_file(&theirs).unwrap();
    rig.ask("release", &["--all"]).ok();
    assert_eq!(counter(SMALL, "nr"), pages);
    assert!(!rig.state().exists());
}

#[test]
fn a_record_that_cannot_be_had_leaves_not_even_its_folder() {
    let Some(rig) = Rig::take("a_record_that_cannot_be_had_leaves_not_even_its_folder") else { return };
    let before = rig.snapshot();
    for (n, change) in ["make folder ", "make the lock "].iter().enumerate() {
        for faults in [Faults::once(n), Faults::from(n)] {
            let error = run_with(&rig, &faults).unwrap_err().to_string();
            assert!(faults.asked()[n].starts_with(change), "{change}: {:?}", faults.asked());
            assert!(error.contains("asked for by a test") && error.contains("--state FILE"), "{error}");
            assert!(rig.snapshot() == before && !rig.path("record").exists(), "{change}: {error}");
        }
    }
    // What a killed writer left beside the record goes, and is announced too.
    forget(&rig);
    let leftover = rig.path("record/.hugepage.json.tmp-x");
    std::fs::write(&leftover, "").unwrap();
    let error = run_with(&rig, &Faults::once(1)).unwrap_err().to_string();
    assert!(error.contains("remove the leftover ") && leftover.exists() && rig.snapshot() == before, "{error}");
    run_with(&rig, &Faults::counting()).unwrap();
    assert!(!leftover.exists());
}

/// Between the plan and the names somebody makes the same folders, empty, and the run is killed.
#[test]
fn folders_that_others_made_under_planned_names_stay_theirs() {
    let Some(rig) = Rig::take("folders_that_others_made_under_planned_names_stay_theirs") else { return };
    let changes = changes(&rig);
    let refused = || rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
    // One to mount in: killed before ours gets its name.
    let published = first(&changes, "publish ");
    assert!(changes[published].ends_with("/huge"), "{changes:?}");
    run_with(&rig, &Faults::from(published)).unwrap_err();
    std::fs::create_dir(rig.path("huge")).unwrap();
    let theirs = rig.snapshot();
    refused();
    let files = |snapshot: &crate::rig::Snapshot| snapshot.files("/huge");
    assert_eq!(files(&rig.snapshot()), files(&theirs));
    std::fs::remove_dir(rig.path("huge")).unwrap();
    rig.clear();
    // One for files, on a hugetlbfs that was there.
    forget(&rig);
    rig.mount("huge", "pagesize=2M");
    let before = rig.snapshot();
    let order = Order { mount: None, ..order(&rig) };
    let faults = Faults::from(first(&changes, "save the record") + 1);
    run(&rig, &order, &Root::at("/").with_faults(&faults), &Stop::default()).unwrap_err();
    std::fs::create_dir_all(rig.path("huge/pc1/numa_0")).unwrap();
    let theirs = files(&rig.snapshot());
    refused();
    assert_eq!(files(&rig.snapshot()), theirs, "both are as their owner made them");
    std::fs::remove_dir_all(rig.path("huge/pc1")).unwrap();
    assert_eq!(rig.snapshot(), before);
}

/// What the kernel says of a page is believed: one that is not where it was to be, and nothing is kept.
#[test]
fn a_file_that_cannot_be_proven_takes_everything_back() {
    let Some(rig) = Rig::take("a_file_that_cannot_be_proven_takes_everything_back") else { return };
    let before = rig.snapshot();
    let talk = |talk: Talk| {
        // All is filled, and nothing is proven yet.
        if matches!(talk, Talk::Filling { done, all } if done == all) {
            let staged = std::fs::read_dir(rig.path("huge")).unwrap().next().unwrap().unwrap().path();
            std::fs::File::options().write(true).open(staged.join("file-1")).unwrap().set_len(6 << 20).unwrap();
        }
    };
    let (root, stop) = (Root::at("/"), Stop::default());
    let order = Order { threads: Some(1), ..order(&rig) };
    let error = init(&order, &World { root: &root, state: &rig.state(), stop: &stop, talk: &talk }).unwrap_err();
    assert!(matches!(error, InitError::Misplaced { .. }), "{error}");
    assert!(error.to_string().contains("8.0_MiB_1: its pages lie 3 on node 0"), "{error}");
    assert_eq!(rig.snapshot(), before);
}

/// A killed run on a mount that somebody hid by another one: nothing of it is gone, so nothing is forgotten.
#[test]
fn a_killed_run_that_another_mount_hides_is_kept_until_it_can_be_seen() {
    let Some(rig) = Rig::take("a_killed_run_that_another_mount_hides_is_kept_until_it_can_be_seen") else { return };
    let changes = changes(&rig);
    let before = rig.snapshot();
    run_with(&rig, &Faults::from(first(&changes, "allocate the pages of"))).unwrap_err();
    let none: Option<&str> = None;
    nix::mount::mount(Some("none"), &rig.path("huge"), Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
    let hidden = rig.snapshot();
    let args = ["-c1", "-s2MiB", "--path", "@/huge/pc1"];
    rig.run(&args)
        .refused(2, &["was killed and left something behind", "/huge is hidden behind another mount; unmount that"]);
    assert_eq!(rig.snapshot(), hidden);
    nix::mount::umount(&rig.path("huge")).unwrap();
    rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
    assert_eq!(rig.snapshot(), before);
}
