//! What was made goes without a trace, and nothing else does.

use crate::{
    refuse::apart,
    rig::{Answer, Rig, SMALL, as_nobody, counter, pool_file, skip},
};
use damocles_worker::{
    hugepage::{
        InitError, Pattern, World,
        chosen::Choice,
        init::Talk,
        release::{self, ReleaseOrder, Released},
    },
    sys::{Root, faults::Faults, mempolicy::Mapping, stop::Stop},
};
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Two files in a folder on a mount that is made for them.
const MAKE: [&str; 8] = ["-c2", "-s", "8MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size=2MiB"];
const RELEASE: [&str; 2] = ["--path", "@/huge/pc1"];

#[test]
fn what_was_made_goes_without_a_trace() {
    let Some(rig) = Rig::take("what_was_made_goes_without_a_trace") else { return };
    let before = rig.snapshot();
    for by in [&RELEASE[..], &["--path_pattern", "@/huge/pc1/numa_$NUMA_NODE_INDEX"], &["--all"]] {
        rig.run(&MAKE).ok();
        let answer = rig.ask("release", by).ok();
        assert_eq!(answer.out.matches(": removed").count(), 5, "two files, two folders, one to mount in: {answer:?}");
        assert!(answer.out.contains("unmounted "), "{answer:?}");
        assert_eq!(rig.snapshot(), before);
    }
    // Whoever removes a lock's file breaks the lock.
    let left: Vec<_> = fs::read_dir(rig.path("record")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["hugepage.json.lock"], "nothing but the lock is left beside the record");
    for again in [&["--all"][..], &RELEASE] {
        assert!(rig.ask("release", again).ok().out.contains("there was nothing to release"));
        let dry = rig.ask("release", &[again, &["--dry-run"]].concat()).ok();
        assert!(dry.out.is_empty() && dry.err.contains("nothing to release"), "{dry:?}");
    }
    assert_eq!(rig.snapshot(), before, "a second time changes nothing");
}

#[test]
fn pages_that_were_there_before_stay() {
    let Some(rig) = Rig::take("pages_that_were_there_before_stay") else { return };
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 3).to_string()).unwrap();
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    // Somebody adds pages of his own meanwhile.
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 2).to_string()).unwrap();
    rig.ask("release", &RELEASE).ok();
    let nr = "node0/hugepages/hugepages-2048kB/nr_hugepages";
    assert_eq!(rig.snapshot().counter(nr), before.counter(nr) + 2, "his stay, ours are gone");
    fs::write(pool_file(SMALL), before.counter(nr).to_string()).unwrap();
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn folders_go_one_by_one_and_the_mount_with_the_last() {
    let Some(rig) = Rig::take("folders_go_one_by_one_and_the_mount_with_the_last") else { return };
    let before = rig.snapshot();
    let make = |path| ["-c1", "-s8MiB", "--path", path, "--mount", "@/huge", "--page-size=2MiB"];
    rig.run(&make("@/huge/a/x")).ok();
    rig.run(&make("@/huge/a/y")).ok();
    let first = rig.ask("release", &["--path", "@/huge/a/x"]).ok();
    assert!(!first.out.contains("unmounted"), "{first:?}");
    assert!(rig.path("huge/a/y/numa_0/8.0_MiB_0").exists() && !rig.path("huge/a/x").exists());
    // The folder that both lie in was made for the first one, and goes with the second.
    let second = rig.ask("release", &["--path", "@/huge/a/y"]).ok();
    assert!(second.out.contains("unmounted"), "{second:?}");
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn what_somebody_has_mapped_is_refused_with_his_name() {
    let Some(rig) = Rig::take("what_somebody_has_mapped_is_refused_with_his_name") else { return };
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    let made = rig.snapshot();
    let file = File::open(rig.path("huge/pc1/numa_0/8.0_MiB_1")).unwrap();
    let mapping = Mapping::of(&file, 2 << 20).unwrap();
    drop(file);
    let me = format!("({})", std::process::id());
    rig.ask("release", &RELEASE).refused(1, &["8.0_MiB_1 is mapped by ", &me, "nothing was changed", "--force"]);
    assert_eq!(rig.snapshot(), made);
    let dry = rig.ask("release", &["--path", "@/huge/pc1", "--force", "--dry-run"]);
    assert_eq!((rig.snapshot(), dry.code), (made, Some(1)), "{dry:?}");
    let forced = rig.ask("release", &["--path", "@/huge/pc1", "--force"]);
    assert_eq!(forced.code, Some(1), "{forced:?}");
    let stays =
        |text: &str| text.lines().filter(|line| line.contains(": stays: ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(stays(&dry.err), stays(&forced.err));
    assert!(forced.err.contains("no: stays: 4 pages of 2MiB on node 0, which are in use"), "{forced:?}");
    assert!(forced.err.contains("no: stays: unmount "), "{forced:?}");
    // When he is gone, the rest goes.
    drop(mapping);
    rig.ask("release", &RELEASE).ok();
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn what_this_tool_did_not_make_stays() {
    let Some(rig) = Rig::take("what_this_tool_did_not_make_stays") else { return };
    rig.run(&MAKE).ok();
    let folder = rig.path("huge/pc1/numa_0");
    // One of ours was replaced by somebody, one has a name that we would give, one is something else.
    fs::remove_file(folder.join("8.0_MiB_0")).unwrap();
    for (name, bytes) in [("8.0_MiB_0", 8 << 20), ("4.0_MiB_0", 4 << 20), ("qemu", 2 << 20)] {
        File::create(folder.join(name)).unwrap().set_len(bytes).unwrap();
    }
    let stays = |answer: &Answer| {
        let stays = answer.err.lines().filter(|line| line.starts_with("no: stays: "));
        stays.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = rig.snapshot();
    let dry = rig.ask("release", &[&RELEASE[..], &["--dry-run"]].concat());
    let json = rig.ask("release", &[&RELEASE[..], &["--dry-run", "--json"]].concat());
    assert_eq!((rig.snapshot(), dry.code, json.code), (before, Some(1), Some(1)), "{dry:?}");
    assert!(!dry.out.contains("rmdir") && !dry.out.contains("umount"), "what stays is not taken away: {dry:?}");
    let answer = rig.ask("release", &RELEASE);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(stays(&dry), stays(&answer), "a dry run says what the real one says");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["stays"].as_array().unwrap().len(), stays(&answer).len(), "{json}");
    for words in [
        "8.0_MiB_0: left: it is not the file of this name that the record knows",
        "4.0_MiB_0: left: the record does not know it",
        "qemu: left: ",
        "no: stays: the folder ",
        "no: stays: unmount ",
    ] {
        assert!(answer.err.contains(words), "{words}: {answer:?}");
    }
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["4.0_MiB_0", "8.0_MiB_0", "qemu"]);
    // The mount is still ours, and goes when nothing is in it any more.
    fs::remove_dir_all(rig.path("huge/pc1")).unwrap();
    assert!(rig.ask("release", &["--all"]).ok().out.contains("unmounted "));
    assert!(!rig.path("huge").exists());
}

#[test]
fn without_the_record_files_go_and_the_pool_is_left() {
    let Some(rig) = Rig::take("without_the_record_files_go_and_the_pool_is_left") else { return };
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c2", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    let pages = counter(SMALL, "nr");
    fs::remove_file(rig.state()).unwrap();
    let folder = rig.path("huge/pc1/numa_0");
    File::create(folder.join("9.0_MiB_0")).unwrap().set_len(2 << 20).unwrap();
    File::create(folder.join("qemu")).unwrap().set_len(2 << 20).unwrap();
    let before = rig.snapshot();
    rig.ask("release", &["--path", "@/huge/pc1", "--dry-run"]).ok();
    assert!(rig.ask("release", &["--all"]).ok().out.contains("nothing to release"), "it is not said which");
    assert_eq!(rig.snapshot(), before);
    let answer = rig.ask("release", &RELEASE).ok();
    let words = ["the record does not know it: files go by their names, and the pool is left as it is", "qemu: left: "];
    words.iter().for_each(|word| assert!(answer.err.contains(word), "{answer:?}"));
    assert!(answer.err.contains("9.0_MiB_0: left: it has not the length that its name says"), "{answer:?}");
    assert_eq!((answer.out.matches(": removed").count(), counter(SMALL, "nr")), (2, pages));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn the_dry_run_is_a_script_that_does_the_same() {
    let Some(rig) = Rig::take("the_dry_run_is_a_script_that_does_the_same") else { return };
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    let made = rig.snapshot();
    let script = rig.ask("release", &["--all", "--dry-run"]).ok().out;
    assert_eq!(rig.snapshot(), made, "a dry run changes nothing");
    let json = rig.ask("release", &["--all", "--dry-run", "--json"]).ok().out;
    let steps: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(steps["steps"].as_array().unwrap().len(), script.lines().count());
    let shell = Command::new("sh").arg("-c").arg(format!("set -e\n{script}")).output().unwrap();
    assert!(shell.status.success(), "{script}\n{}", String::from_utf8_lossy(&shell.stderr));
    fs::remove_file(rig.state()).unwrap();
    assert_eq!(rig.snapshot(), before);
}

fn order(rig: &Rig) -> ReleaseOrder {
    let pattern = Some(Pattern::of_path(&rig.path("huge/pc1")).unwrap());
    ReleaseOrder { choice: Choice { pattern, nodes: None }, force: false }
}

fn run(rig: &Rig, root: &Root, stop: &Stop) -> Result<Released, InitError> {
    let talk = |_: Talk| {};
    release::release(&order(rig), &World { root, state: &rig.state(), stop, talk: &talk })
}

/// The changes of a release that nothing disturbs.
fn changes(rig: &Rig) -> Vec<String> {
    rig.run(&MAKE).ok();
    let faults = Faults::counting();
    run(rig, &Root::at("/").with_faults(&faults), &Stop::default()).unwrap();
    faults.asked()
}

#[test]
fn whichever_change_fails_the_next_command_finishes() {
    let Some(rig) = Rig::take("whichever_change_fails_the_next_command_finishes") else { return };
    let before = rig.snapshot();
    let changes = changes(&rig);
    assert_eq!(rig.snapshot(), before);
    for change in ["save the record", "remove ", "set the pool", "remove folder", "unmount", "remove the record"] {
        assert!(changes.iter().any(|made| made.starts_with(change)), "{change}: {changes:?}");
    }
    for (n, change) in changes.iter().enumerate() {
        for faults in [Faults::once(n), Faults::from(n)] {
            rig.run(&MAKE).ok();
            // An unmount that fails is told as what others use; all else is an error.
            match run(&rig, &Root::at("/").with_faults(&faults), &Stop::default()) {
                Ok(released) => assert!(!released.removed.stays.is_empty(), "{change}"),
                Err(error) => assert!(error.to_string().contains("asked for by a test"), "{change}: {error}"),
            }
            // Whatever the next command is, and though it is refused itself.
            rig.run(&["-n77", "-c1", "-s2MiB", "--path", "@/huge/pc1"]).refused(2, &["node 77 is not there"]);
            rig.ask("release", &["--all"]).ok();
            assert_eq!(rig.snapshot(), before, "change {n}, {change}");
        }
    }
}

#[test]
fn a_stop_before_the_decision_changes_nothing_and_after_it_is_too_late() {
    let Some(rig) = Rig::take("a_stop_before_the_decision_changes_nothing_and_after_it_is_too_late") else { return };
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    let made = rig.snapshot();
    let stopped = run(&rig, &Root::at("/"), &Stop::after(0)).unwrap_err();
    assert!(matches!(stopped, InitError::Stopped(_)), "{stopped}");
    assert_eq!(rig.snapshot(), made);
    run(&rig, &Root::at("/"), &Stop::after(1)).unwrap();
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn a_release_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let Some(rig) = Rig::take("a_release_that_is_killed_at_any_moment_is_finished_by_the_next") else { return };
    let kills: u32 = if std::env::var_os("DAMOCLES_SLOW").is_some() { 100 } else { 12 };
    let before = rig.snapshot();
    let make = ["-c3", "-s64MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size=2MiB"];
    rig.run(&make).ok();
    let began = Instant::now();
    rig.ask("release", &RELEASE).ok();
    let whole = began.elapsed();
    let mut killed = 0;
    for round in 0..kills {
        rig.run(&make).ok();
        let mut child = rig.store("release", &RELEASE).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Evenly over the time that it takes: what it does is in its second half.
        let after = whole * (round % 12 + 1) / 12;
        thread::sleep(after.saturating_sub(Duration::from_micros(u64::from(round) * 37)));
        let _ = child.kill();
        killed += u32::from(!child.wait().unwrap().success());
        rig.ask("release", &["--all"]).ok();
        assert_eq!(rig.snapshot(), before, "round {round}, killed after {after:?} of {whole:?}");
    }
    assert!(killed > 0, "{killed} of {kills} were killed");
}

/// Before and after are the same, and the message has these words.
#[track_caller]
fn refuses(rig: &Rig, args: &[&str], code: i32, words: &[&str]) {
    let before = rig.snapshot();
    rig.ask("release", args).refused(code, words);
    assert_eq!(rig.snapshot(), before, "{args:?}");
}

#[test]
fn what_cannot_be_released_is_refused() {
    let Some(rig) = Rig::take("what_cannot_be_released_is_refused") else { return };
    refuses(&rig, &[], 2, &["--path", "--all"]);
    refuses(&rig, &["--all", "--path", "@/x"], 2, &["cannot be used with"]);
    fs::create_dir_all(rig.path("plain/numa_0")).unwrap();
    rig.ask("release", &["--path", "@/plain"]).ok();
    fs::write(rig.path("plain/numa_0/8.0_MiB_0"), "").unwrap();
    refuses(&rig, &["--path", "@/plain"], 2, &["is not on a hugetlbfs but on "]);
    assert!(!rig.ask("release", &["--path", "@/plain"]).err.contains("--mount"), "release has no such flag");
    refuses(&rig, &["--all", "-n", "77"], 2, &["node 77 is not there; this machine has 0"]);
    rig.mount("huge", "pagesize=2M");
    refuses(&rig, &["--path", "@/huge/pc1", "-n", "77"], 2, &["node 77 is not there; this machine has 0"]);
    refuses(&rig, &["--path-pattern", "@/huge/pc1"], 2, &["has no $NUMA_NODE_INDEX"]);
    std::os::unix::fs::symlink(rig.path("huge"), rig.path("link")).unwrap();
    refuses(&rig, &["--path", "@/link/pc1"], 2, &["goes through the symbolic link "]);
    fs::create_dir(rig.path("record")).unwrap();
    fs::write(rig.state(), "{").unwrap();
    refuses(&rig, &["--all"], 2, &["read the record ", "move it away to begin anew"]);
}

/// The same with another hugetlbfs, which a name and a type do not tell from the one below it.
#[test]
fn a_hugetlbfs_over_a_hugetlbfs_is_not_taken_for_it() {
    let Some(rig) = Rig::take("a_hugetlbfs_over_a_hugetlbfs_is_not_taken_for_it") else { return };
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    let made = rig.snapshot();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("other"), &rig.path("huge"), Some("hugetlbfs"), flags, Some("pagesize=2M")).unwrap();
    let why = ["/huge is hidden behind another mount; unmount that first"];
    rig.run(&MAKE).refused(2, &why);
    for args in [&["--all"][..], &RELEASE, &["--all", "--dry-run"]] {
        rig.ask("release", args).refused(2, &why);
    }
    rig.ask("verify", &[]).refused(2, &why);
    let status = rig.ask("status", &[]).ok();
    assert!(status.out.contains(why[0]) && !status.out.contains("is gone"), "{}", status.out);
    nix::mount::umount(&rig.path("huge")).unwrap();
    assert_eq!(rig.snapshot(), made);
    rig.ask("release", &["--all"]).ok();
    assert_eq!(rig.snapshot(), before);
}

/// Somebody mounts something over the hugetlbfs: what lies on it is not gone.
#[test]
fn what_another_mount_hides_is_not_taken_for_gone() {
    let Some(rig) = Rig::take("what_another_mount_hides_is_not_taken_for_gone") else { return };
    let before = rig.snapshot();
    rig.run(&MAKE).ok();
    let made = rig.snapshot();
    let none: Option<&str> = None;
    for at in ["huge", ""] {
        nix::mount::mount(Some("none"), &rig.path(at), Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
        // Another record cannot be in the way: it lies below the folder.
        let state = rig.path("copy.json");
        if at.is_empty() {
            nix::mount::umount(&rig.path(at)).unwrap();
            let record = fs::read(rig.state()).unwrap();
            nix::mount::mount(Some("none"), &rig.path(at), Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
            fs::write(&state, record).unwrap();
        }
        let state = if at.is_empty() { state } else { rig.state() };
        let state = state.to_str().unwrap();
        for args in [&["--all"][..], &RELEASE, &["--all", "--dry-run"]] {
            let args = [args, &["--state", state]].concat();
            rig.ask("release", &args).refused(2, &["/huge is hidden behind another mount; unmount that first"]);
        }
        rig.ask("verify", &["--state", state]).refused(2, &["/huge is hidden behind another mount"]);
        nix::mount::umount(&rig.path(at)).unwrap();
        assert_eq!(rig.snapshot(), made);
    }
    rig.ask("release", &["--all"]).ok();
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn a_dry_run_tells_as_data_what_it_tells_in_words() {
    let Some(rig) = Rig::take("a_dry_run_tells_as_data_what_it_tells_in_words") else { return };
    rig.run(&MAKE).ok();
    File::create(rig.path("huge/pc1/numa_0/qemu")).unwrap();
    let file = File::open(rig.path("huge/pc1/numa_0/8.0_MiB_1")).unwrap();
    let _mapping = Mapping::of(&file, 2 << 20).unwrap();
    let told = rig.ask("release", &["--path", "@/huge/pc1", "--force", "--dry-run", "--json"]);
    assert!(told.err.contains("): its pages stay in use until that ends"), "{told:?}");
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(json["left"][0]["path"].as_str().unwrap().ends_with("/qemu"), "{json}");
    assert!(json["still_mapped"][0]["path"].as_str().unwrap().ends_with("/8.0_MiB_1"), "{json}");
    fs::remove_file(rig.state()).unwrap();
    let told = rig.ask("release", &["--path", "@/huge/pc1", "--force", "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(json["unknown"][0].as_str().unwrap().ends_with("/pc1/numa_0"), "{json}");
}

#[test]
fn a_user_who_is_not_root_takes_nothing_away() {
    let Some(rig) = Rig::take("a_user_who_is_not_root_takes_nothing_away") else { return };
    rig.run(&MAKE).ok();
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let program = copy(&rig);
    let before = rig.snapshot();
    for (args, words) in [
        (&["--path", "@/huge/pc1"][..], &["did not let us look, and any of them may; run as root"][..]),
        (&["--path", "@/huge/pc1", "--force"], &["write in ", "Permission denied; run as root"]),
    ] {
        let command = rig.store("release", args);
        let answer = as_nobody(Command::new(&program).args(command.get_args())).output().unwrap();
        Answer::of(answer).refused(2, words);
    }
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn a_sys_that_is_read_only_keeps_everything_there() {
    let Some(rig) = Rig::take("a_sys_that_is_read_only_keeps_everything_there") else { return };
    rig.run(&MAKE).ok();
    let before = rig.snapshot();
    let command = rig.store("release", &["--all"]);
    match apart("mount -o remount,bind,ro /sys", &command) {
        Some(answer) => drop(answer.refused(2, &["change the pool of node 0", "/sys is mounted read-only"])),
        None => skip("a_sys_that_is_read_only_keeps_everything_there", "no mounts of our own can be had (unshare -m)"),
    }
    assert_eq!(rig.snapshot(), before);
}

/// Nobody may not reach our build: a copy that everybody may run.
fn copy(rig: &Rig) -> std::path::PathBuf {
    let program = rig.path("damocles-worker");
    fs::copy(Path::new(crate::rig::WORKER), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}
