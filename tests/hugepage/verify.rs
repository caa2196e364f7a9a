//! What is wrong is found, and made anew or left.

use crate::rig::{Rig, SMALL, counter};
use damocles_worker::{
    hugepage::{
        InitError, Pattern, World,
        chosen::Choice,
        init::Talk,
        verify::{self, Repair},
    },
    sys::{Root, faults::Faults, mempolicy::Mapping, stop::Stop},
};
use std::{
    fs::{self, File},
    path::PathBuf,
    sync::Mutex,
};

const PATH: [&str; 2] = ["--path", "@/huge/pc1"];
const REPAIR: [&str; 3] = ["--path", "@/huge/pc1", "--repair"];

fn make(rig: &Rig) -> PathBuf {
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c3", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    rig.path("huge/pc1/numa_0")
}

/// One is gone, one has no pages, one has another length.
fn spoil(folder: &std::path::Path) {
    fs::remove_file(folder.join("8.0_MiB_0")).unwrap();
    for (name, bytes) in [("8.0_MiB_1", 8 << 20), ("8.0_MiB_2", 2 << 20)] {
        fs::remove_file(folder.join(name)).unwrap();
        File::create(folder.join(name)).unwrap().set_len(bytes).unwrap();
    }
}

#[test]
fn files_that_are_right_are_said_to_be() {
    let Some(rig) = Rig::take("files_that_are_right_are_said_to_be") else { return };
    make(&rig);
    let before = rig.snapshot();
    for args in [&PATH[..], &[], &["--path_pattern", "@/huge/pc1/numa_$NUMA_NODE_INDEX", "-n", "0"], &REPAIR] {
        let answer = rig.ask("verify", args).ok();
        assert_eq!(answer.out.matches(": 4 pages of 2MiB, all on node 0").count(), 3, "{answer:?}");
    }
    let dry = rig.ask("verify", &["--repair", "--dry-run"]).ok();
    assert!(dry.out.is_empty() && dry.err.contains("note: every file is right: there is nothing to repair"), "{dry:?}");
    let json: serde_json::Value = serde_json::from_str(&rig.ask("verify", &["--json"]).ok().out).unwrap();
    assert_eq!((json["right"].as_array().unwrap().len(), json["right_everywhere"].as_bool()), (3, Some(true)));
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn files_that_are_wrong_are_named_and_made_anew() {
    let Some(rig) = Rig::take("files_that_are_wrong_are_named_and_made_anew") else { return };
    let folder = make(&rig);
    let pages = (counter(SMALL, "nr"), counter(SMALL, "free"));
    spoil(&folder);
    fs::write(folder.join("else"), "").unwrap();
    let before = rig.snapshot();
    let answer = rig.ask("verify", &PATH);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for words in [
        "8.0_MiB_0: WRONG: it was made here, and is not there any more",
        "8.0_MiB_1: WRONG: only 0B of its 8MiB are allocated",
        "8.0_MiB_2: WRONG: it has 2MiB, it should have 8MiB",
    ] {
        assert!(answer.out.contains(words), "{words}: {answer:?}");
    }
    assert!(answer.err.contains("else: passed over"), "{answer:?}");
    let script = rig.ask("verify", &["--path", "@/huge/pc1", "--repair", "--dry-run"]).ok().out;
    assert!(script.contains("fallocate -l 8388608") && script.contains("8.0_MiB_1"), "{script}");
    assert_eq!(rig.snapshot(), before, "nothing of that changed anything");
    let answer = rig.ask("verify", &REPAIR).ok();
    assert_eq!(answer.out.matches(": made anew, 4 pages of 2MiB, all on node 0").count(), 3, "{answer:?}");
    rig.ask("verify", &PATH).ok();
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), pages, "the pages that were free again were used");
    assert_eq!(fs::read_dir(rig.path("huge")).unwrap().count(), 1, "nothing is left beside them");
    // They are in the record: a release knows them.
    fs::remove_file(folder.join("else")).unwrap();
    rig.ask("release", &PATH).ok();
    assert!(!rig.path("huge/pc1").exists());
}

/// All pages of the pool are in use, and one file has three of them where it should have four.
fn shorten(rig: &Rig) -> PathBuf {
    let folder = make(rig);
    let name = folder.join("8.0_MiB_2");
    fs::remove_file(&name).unwrap();
    let file = File::create(&name).unwrap();
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 6 << 20).unwrap();
    folder
}

#[test]
fn pages_that_a_repair_needs_for_a_moment_are_given_back() {
    let Some(rig) = Rig::take("pages_that_a_repair_needs_for_a_moment_are_given_back") else { return };
    let at_first = counter(SMALL, "nr");
    let folder = shorten(&rig);
    let pages = counter(SMALL, "nr");
    let told = rig.run(&["-c3", "-s8MiB", "--path", "@/huge/pc1"]).refused(1, &["8.0_MiB_2: it has 6MiB"]).err;
    assert!(told.contains("`store hugepage-verify --repair`"), "{told}");
    let script = rig.ask("verify", &["--path", "@/huge/pc1", "--repair", "--dry-run"]).ok().out;
    assert!(script.lines().last().unwrap().starts_with(&format!("echo {pages} > ")), "{script}");
    let answer = rig.ask("verify", &REPAIR).ok();
    assert!(
        answer.out.contains(&format!("lowered the pool of 2MiB pages from {} to {pages}", pages + 3)),
        "{answer:?}"
    );
    assert!(!answer.err.contains("stay in the pool"), "{answer:?}");
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), (pages, 0), "as many as before, all in use");
    rig.ask("verify", &PATH).ok();
    assert!(folder.exists());
    rig.ask("release", &PATH).ok();
    assert_eq!(counter(SMALL, "nr"), at_first);
    // One that is gone has no pages to give back: those that were added stay, and that is said.
    fs::remove_dir_all(rig.path("huge/pc1")).ok();
    rig.clear();
    let folder = make(&rig);
    fs::remove_file(folder.join("8.0_MiB_2")).unwrap();
    fs::write(crate::rig::pool_file(SMALL), (counter(SMALL, "nr") - 4).to_string()).unwrap();
    let answer = rig.ask("verify", &REPAIR).ok();
    assert!(
        answer.err.contains("note: 4 pages of 2MiB more stay in the pool of node 0; hugepage-release"),
        "{answer:?}"
    );
}

#[test]
fn whichever_change_of_a_repair_fails_no_page_is_lost() {
    let Some(rig) = Rig::take("whichever_change_of_a_repair_fails_no_page_is_lost") else { return };
    shorten(&rig);
    let counting = Faults::counting();
    run(&rig, &Root::at("/").with_faults(&counting), &Stop::default()).unwrap().unwrap();
    let changes = counting.asked();
    assert_eq!(changes.iter().filter(|change| change.starts_with("set the pool")).count(), 2, "{changes:?}");
    rig.clear();
    let at_first = counter(SMALL, "nr");
    for (n, change) in changes.iter().enumerate() {
        shorten(&rig);
        let pages = counter(SMALL, "nr");
        run(&rig, &Root::at("/").with_faults(&Faults::once(n)), &Stop::default()).expect_err(change);
        rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
        assert_eq!(counter(SMALL, "nr"), pages, "change {n}, {change}");
        rig.ask("verify", &REPAIR).ok();
        rig.ask("release", &["--all"]).ok();
        assert_eq!(counter(SMALL, "nr"), at_first, "change {n}, {change}");
        rig.clear();
    }
}

#[test]
fn what_somebody_has_mapped_is_not_made_anew() {
    let Some(rig) = Rig::take("what_somebody_has_mapped_is_not_made_anew") else { return };
    let folder = make(&rig);
    // Whole, and of another length than its name says.
    fs::rename(folder.join("8.0_MiB_1"), folder.join("9.0_MiB_1")).unwrap();
    fs::rename(folder.join("9.0_MiB_1"), folder.join("16.0_MiB_1")).unwrap();
    let file = File::open(folder.join("16.0_MiB_1")).unwrap();
    let _mapping = Mapping::of(&file, 2 << 20).unwrap();
    let before = rig.snapshot();
    let me = format!("({})", std::process::id());
    rig.ask("verify", &REPAIR).refused(1, &["16.0_MiB_1 is mapped by ", &me, "nothing was changed"]);
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn what_somebody_begins_to_use_while_its_heir_is_filled_stays() {
    let Some(rig) = Rig::take("what_somebody_begins_to_use_while_its_heir_is_filled_stays") else { return };
    let folder = make(&rig);
    spoil(&folder);
    let before = rig.snapshot();
    let used = Mutex::new(None);
    let talk = |talk: Talk| {
        if matches!(talk, Talk::Filling { .. }) {
            used.lock().unwrap().get_or_insert_with(|| File::open(folder.join("8.0_MiB_1")).unwrap());
        }
    };
    let choice = Choice { pattern: Some(Pattern::of_path(&rig.path("huge/pc1")).unwrap()), nodes: None };
    let (root, stop) = (Root::at("/"), Stop::default());
    let refused = verify::repair(&choice, &World { root: &root, state: &rig.state(), stop: &stop, talk: &talk });
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("8.0_MiB_1 is in use by somebody"), "{refused}");
    assert_eq!(rig.snapshot(), before);
    drop(used);
    rig.ask("verify", &REPAIR).ok();
}

#[test]
fn what_is_no_file_is_not_mended() {
    let Some(rig) = Rig::take("what_is_no_file_is_not_mended") else { return };
    let folder = make(&rig);
    fs::create_dir(folder.join("8.0_MiB_3")).unwrap();
    File::create(folder.join("8.0_MiB_4")).unwrap().set_len(8 << 20).unwrap();
    let before = rig.snapshot();
    rig.ask("verify", &REPAIR).refused(1, &["8.0_MiB_3: it is no file", "nothing was changed"]);
    assert_eq!(rig.snapshot(), before, "all or none: the other one is left too");
}

#[test]
fn what_the_node_has_no_room_for_is_left() {
    let Some(rig) = Rig::take("what_the_node_has_no_room_for_is_left") else { return };
    let folder = make(&rig);
    File::create(folder.join("64.0_TiB_0")).unwrap().set_len(64 << 40).unwrap();
    File::create(folder.join("8.0_MiB_4")).unwrap().set_len(8 << 20).unwrap();
    let before = rig.snapshot();
    rig.ask("verify", &REPAIR).refused(1, &["no: node 0 has ", "cannot be had there"]);
    assert_eq!(rig.snapshot(), before, "all or none: the other one is left too");
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let Some(rig) = Rig::take("what_cannot_be_verified_is_refused") else { return };
    let refuses = |args: &[&str], words: &[&str]| {
        let before = rig.snapshot();
        rig.ask("verify", args).refused(2, words);
        assert_eq!(rig.snapshot(), before, "{args:?}");
    };
    refuses(&[], &["names no files of this boot; say which are meant with --path"]);
    refuses(&["--path", "@/plain"], &["is not on a hugetlbfs but on "]);
    refuses(&["-n", "77"], &["node 77 is not there; this machine has 0"]);
    refuses(&["--dry-run"], &["--repair"]);
    rig.mount("huge", "pagesize=2M");
    refuses(&PATH, &["there are no hugepage files in ", "hugepage-file-init"]);
    refuses(&["--path", "@/huge/pc1", "--repair"], &["there are no hugepage files in "]);
    refuses(&["--path", "@/huge/pc1", "-n", "77"], &["node 77 is not there"]);
    // A mount of ours that somebody took away, with all that was in it.
    rig.clear();
    rig.run(&["-c1", "-s8MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size=2MiB"]).ok();
    nix::mount::umount(&rig.path("huge")).unwrap();
    let answer = rig.ask("verify", &[]);
    assert!(answer.code == Some(1) && answer.out.contains("8.0_MiB_0: WRONG: it was made here"), "{answer:?}");
    refuses(&["--repair"], &["is not mounted any more, and its files are gone"]);
}

#[test]
fn a_dry_run_says_that_something_is_put_in_order_first() {
    let Some(rig) = Rig::take("a_dry_run_says_that_something_is_put_in_order_first") else { return };
    let folder = make(&rig);
    spoil(&folder);
    let counting = Faults::counting();
    run(&rig, &Root::at("/").with_faults(&counting), &Stop::default()).unwrap().unwrap();
    spoil(&folder);
    let aside = counting.asked().iter().position(|change| change.starts_with("set aside")).unwrap();
    run(&rig, &Root::at("/").with_faults(&Faults::from(aside)), &Stop::default()).unwrap_err();
    let before = rig.snapshot();
    let me = format!(
        "note: process {} is at work; if it was killed, what it left half done is taken back first",
        std::process::id()
    );
    for (name, args) in [("verify", &["--repair", "--dry-run"][..]), ("release", &["--all", "--dry-run"])] {
        let told = rig.ask(name, args);
        assert!(told.err.contains(&me), "{told:?}");
    }
    assert_eq!(rig.snapshot(), before);
}

/// Somebody takes the name of an old file while it is set aside, and the repair fails.
#[test]
fn a_name_that_cannot_be_given_back_is_told_with_what_to_do() {
    let Some(rig) = Rig::take("a_name_that_cannot_be_given_back_is_told_with_what_to_do") else { return };
    let folder = make(&rig);
    spoil(&folder);
    let counting = Faults::counting();
    run(&rig, &Root::at("/").with_faults(&counting), &Stop::default()).unwrap().unwrap();
    spoil(&folder);
    let before = rig.snapshot();
    let aside = counting.asked().iter().position(|change| change.starts_with("set aside")).unwrap();
    run(&rig, &Root::at("/").with_faults(&Faults::from(aside + 1)), &Stop::default()).unwrap_err();
    let free: Vec<_> =
        ["8.0_MiB_1", "8.0_MiB_2"].map(|name| folder.join(name)).into_iter().filter(|path| !path.exists()).collect();
    let [taken] = &free[..] else { panic!("one was set aside: {free:?}") };
    File::create(taken).unwrap();
    let next = ["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"];
    let words = [
        "somebody gave that name to another file meanwhile",
        "move his away, and the next hugepage command puts ours back",
    ];
    rig.run(&next).refused(2, &words);
    fs::remove_file(taken).unwrap();
    rig.run(&next).refused(2, &["node 77 is not there"]);
    assert_eq!(rig.snapshot(), before);
}

fn run(rig: &Rig, root: &Root, stop: &Stop) -> Result<Option<Repair>, InitError> {
    let choice = Choice { pattern: Some(Pattern::of_path(&rig.path("huge/pc1")).unwrap()), nodes: None };
    let talk = |_: Talk| {};
    verify::repair(&choice, &World { root, state: &rig.state(), stop, talk: &talk })
}

#[test]
fn whichever_change_of_a_repair_fails_the_old_files_are_there_or_the_new_ones() {
    let Some(rig) = Rig::take("whichever_change_of_a_repair_fails_the_old_files_are_there_or_the_new_ones") else {
        return;
    };
    let prepare = || {
        rig.clear();
        let folder = make(&rig);
        spoil(&folder);
    };
    prepare();
    let counting = Faults::counting();
    run(&rig, &Root::at("/").with_faults(&counting), &Stop::default()).unwrap().unwrap();
    let changes = counting.asked();
    assert_eq!(changes.iter().filter(|change| change.starts_with("set aside")).count(), 2, "{changes:?}");
    let (mut old, mut new) = (0, 0);
    for (n, change) in changes.iter().enumerate() {
        for faults in [Faults::once(n), Faults::from(n)] {
            prepare();
            let before = rig.snapshot();
            let error = run(&rig, &Root::at("/").with_faults(&faults), &Stop::default()).expect_err(change);
            assert!(error.to_string().contains("asked for by a test"), "{change}: {error}");
            // The next command puts in order what is half done, though it is refused itself.
            rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
            if rig.ask("verify", &PATH).code == Some(0) {
                assert_eq!(fs::read_dir(rig.path("huge")).unwrap().count(), 1, "change {n}, {change}");
                new += 1;
            } else {
                assert_eq!(rig.snapshot(), before, "change {n}, {change}: {error}");
                old += 1;
            }
        }
    }
    assert!(old > new && new > 0, "{old} old, {new} new");
}

#[test]
fn a_stop_of_a_repair_takes_everything_back() {
    let Some(rig) = Rig::take("a_stop_of_a_repair_takes_everything_back") else { return };
    let folder = make(&rig);
    spoil(&folder);
    let before = rig.snapshot();
    for looks in 0.. {
        match run(&rig, &Root::at("/"), &Stop::after(looks)) {
            Err(InitError::Stopped(_)) => assert_eq!(rig.snapshot(), before, "after {looks} looks"),
            Err(error) => panic!("after {looks} looks: {error}"),
            Ok(_) => return assert!(looks > 4, "{looks}"),
        }
    }
}
