//! Every refusal: a clear message, the right exit code, and nothing changed on counters, mounts, files and record.

use crate::rig::{Answer, Rig, SMALL, as_nobody, counter, pool_file, skip};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

/// Runs, compares before with after, and looks for words.
#[track_caller]
fn refuses(rig: &Rig, args: &[&str], code: i32, words: &[&str]) {
    let before = rig.snapshot();
    rig.run(args).refused(code, words);
    assert_eq!(rig.snapshot(), before, "{args:?}");
}

#[test]
fn what_was_asked_wrongly() {
    let Some(rig) = Rig::take("what_was_asked_wrongly") else { return };
    rig.mount("huge", "pagesize=2M");
    let on = |rest: &[&'static str]| [&["-c", "1", "--path", "@/huge/pc1"], rest].concat();
    refuses(&rig, &on(&["-s", "8MiB", "-n", "77"]), 2, &["error: node 77 is not there; this machine has 0"]);
    refuses(&rig, &on(&["-s", "7MiB"]), 2, &["files of 7MiB cannot be made of 2MiB pages", "6MiB or 8MiB"]);
    refuses(
        &rig,
        &on(&["-s", "8MiB", "--page-size", "1GiB"]),
        2,
        &["hugetlbfs of 2MiB pages", "asked for are 1GiB pages"],
    );
    refuses(&rig, &on(&["-s", "8MiB", "-n", "x"]), 2, &["names no nodes"]);
    refuses(&rig, &on(&["-s", "0"]), 2, &["files of 0B cannot be made"]);
    refuses(&rig, &["-c", "0", "-s", "8MiB", "--path", "@/huge"], 2, &["0 is not in 1..=100000"]);
    refuses(&rig, &["-c", "1", "-s", "8MiB"], 2, &["--path"]);
    refuses(&rig, &["-c", "1", "-s", "8MiB", "--path-pattern", "@/huge/pc1"], 2, &["has no $NUMA_NODE_INDEX"]);
    refuses(&rig, &["-c", "1", "-s", "8MiB", "--path", "@/huge/../x"], 2, &["write an absolute path without `..`"]);
    // Both spellings are known, and the path is ignored then, as ever.
    for flag in ["--path-pattern", "--path_pattern"] {
        rig.run(&["-c", "1", "-s", "8MiB", "--path", "/nowhere", flag, "@/huge/n$NUMA_NODE_INDEX", "--dry-run"]).ok();
    }
}

#[test]
fn paths_that_are_not_on_a_hugetlbfs() {
    let Some(rig) = Rig::take("paths_that_are_not_on_a_hugetlbfs") else { return };
    let args = |path: &'static str| ["-c", "1", "-s", "8MiB", "--path", path];
    fs::create_dir(rig.path("plain")).unwrap();
    refuses(
        &rig,
        &args("@/plain"),
        2,
        &["/plain/numa_0 is not on a hugetlbfs but on ", "--mount DIR --page-size SIZE"],
    );
    rig.mount("huge", "pagesize=2M");
    refuses(&rig, &args("@/plain"), 2, &["there is ", "/huge (2MiB pages)"]);
    // Links: onto the hugetlbfs, to its mount, and nowhere. In a hugetlbfs the kernel makes none.
    std::os::unix::fs::symlink(rig.path("huge"), rig.path("link")).unwrap();
    refuses(&rig, &args("@/link/pc1"), 2, &["goes through the symbolic link ", "which leads to ", "/huge;"]);
    std::os::unix::fs::symlink("gone", rig.path("nowhere")).unwrap();
    refuses(&rig, &args("@/nowhere/x"), 2, &["which leads nowhere"]);
    refuses(
        &rig,
        &["-c", "1", "-s", "8MiB", "--path", "@/link/pc1", "--mount", "@/link", "--page-size", "2MiB"],
        2,
        &["/link goes through the symbolic link "],
    );
    assert!(std::os::unix::fs::symlink("gone", rig.path("huge/nowhere")).is_err());
    fs::create_dir(rig.path("huge/folder")).unwrap();
    fs::File::create(rig.path("huge/folder/numa_0")).unwrap();
    refuses(&rig, &args("@/huge/folder"), 2, &["numa_0 is in the way: it is no folder"]);
    // Hidden behind another mount.
    let tmpfs = rig.path("huge/covered");
    fs::create_dir(&tmpfs).unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some("none"), &tmpfs, Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
    refuses(&rig, &args("@/huge/covered"), 2, &["not on a hugetlbfs but on tmpfs, mounted at "]);
}

#[test]
fn mounts_that_would_be_wrong() {
    let Some(rig) = Rig::take("mounts_that_would_be_wrong") else { return };
    let with = |rest: &[&'static str]| [&["-c", "1", "-s", "8MiB", "--path", "@/new/pc1", "--mount"], rest].concat();
    refuses(&rig, &with(&["@/new"]), 2, &["say which pages with --page-size; this kernel has ", "2MiB"]);
    refuses(&rig, &with(&["@/new", "--page-size", "3MiB"]), 2, &["this kernel has no pages of 3MiB"]);
    refuses(
        &rig,
        &with(&["@/elsewhere", "--page-size", "2MiB"]),
        2,
        &["none of the folders that are asked for lies in it"],
    );
    fs::create_dir(rig.path("new")).unwrap();
    fs::write(rig.path("new/file"), "precious").unwrap();
    refuses(&rig, &with(&["@/new", "--page-size", "2MiB"]), 2, &["the folder is not empty"]);
    fs::remove_file(rig.path("new/file")).unwrap();
    rig.mount("new", "pagesize=2M");
    refuses(
        &rig,
        &with(&["@/new/pc1", "--page-size", "2MiB"]),
        2,
        &["it lies in the hugetlbfs at ", "leave out --mount"],
    );
    refuses(&rig, &with(&["@/new", "--page-size", "1GiB"]), 2, &["a hugetlbfs of 2MiB pages"]);
    // What is there already will do.
    rig.run(&with(&["@/new", "--page-size", "2MiB"])).ok();
}

#[test]
fn a_mount_that_is_full_or_read_only() {
    let Some(rig) = Rig::take("a_mount_that_is_full_or_read_only") else { return };
    let at = rig.mount("huge", "pagesize=2M,size=8M");
    let args = ["-c", "2", "-s", "8MiB", "--path", "@/huge/pc1"];
    refuses(&rig, &args, 1, &["no: 16MiB are asked for", "may take 8MiB more", "(size=)"]);
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_BIND | nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(none, &at, none, flags, none).unwrap();
    refuses(&rig, &["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"], 2, &["is mounted read-only"]);
}

#[test]
fn files_that_are_wrong_are_named_and_left() {
    let Some(rig) = Rig::take("files_that_are_wrong_are_named_and_left") else { return };
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"]).ok();
    // Another size under the name of ours, one that was never filled, a folder, and one that is right.
    let folder = rig.path("huge/pc1/numa_0");
    fs::File::create(folder.join("8.0_MiB_1")).unwrap().set_len(4 << 20).unwrap();
    fs::File::create(folder.join("8.0_MiB_2")).unwrap().set_len(8 << 20).unwrap();
    fs::create_dir(folder.join("8.0_MiB_3")).unwrap();
    let words = [
        "no: ",
        "8.0_MiB_1: it has 4MiB, it should have 8MiB; it was left as it is",
        "8.0_MiB_2: only 0B of its 8MiB are allocated",
        "8.0_MiB_3: it is no file",
    ];
    refuses(&rig, &["-c", "5", "-s", "8MiB", "--path", "@/huge/pc1"], 1, &words);
    let json = rig.run(&["-c", "5", "-s", "8MiB", "--path", "@/huge/pc1", "--json"]);
    assert_eq!(
        (json.code, serde_json::from_str::<serde_json::Value>(&json.out).unwrap()["done"].as_bool()),
        (Some(1), Some(false))
    );
}

#[test]
fn more_than_the_node_has() {
    let Some(rig) = Rig::take("more_than_the_node_has") else { return };
    rig.mount("huge", "pagesize=2M");
    refuses(&rig, &["-c", "1", "-s", "64TiB", "--path", "@/huge/pc1"], 1, &["no: node 0 has ", "cannot be had there"]);
    refuses(&rig, &["-c", "100000", "-s", "8EiB", "--path", "@/huge/pc1"], 1, &["cannot be had there"]);
    let before = rig.snapshot();
    let answer = rig.run(&["-c", "100000", "-s", "32GiB", "--path", "@/huge/pc1", "--json"]);
    assert_eq!((answer.code, rig.snapshot()), (Some(1), before), "{answer:?}");
    let short = &serde_json::from_str::<serde_json::Value>(&answer.out).unwrap()["short"];
    let asked = 100_000 * (32 << 30) / (2 << 20) - counter(SMALL, "free");
    assert_eq!(
        (short["asked"].as_u64(), short["node"].as_u64(), short["granted"].as_u64()),
        (Some(asked), Some(0), Some(0))
    );
    assert!(short["memory_bytes"].as_u64().unwrap() > 0, "{short}");
}

#[test]
fn a_cgroup_that_allows_too_few() {
    let Some(rig) = Rig::take("a_cgroup_that_allows_too_few") else { return };
    let Some(group) = Cgroup::new("8388608") else {
        return skip("a_cgroup_that_allows_too_few", "no hugetlb controller of version 2 can be had here");
    };
    rig.mount("huge", "pagesize=2M");
    let before = rig.snapshot();
    let answer = group.run(&rig.command(&["-c", "2", "-s", "8MiB", "--path", "@/huge/pc1"]));
    answer.refused(
        1,
        &["no: 16MiB of 2MiB pages are asked for", "the cgroup of this process leaves 8MiB", "hugetlb.2MB.max"],
    );
    assert_eq!(rig.snapshot(), before);
    let fits = group.run(&rig.command(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"]));
    fits.ok();
}

/// A cgroup with a limit for 2 MiB pages.
struct Cgroup {
    at: std::path::PathBuf,
    /// What has to be switched off again.
    switched: Option<std::path::PathBuf>,
}

impl Cgroup {
    fn new(limit: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let top = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?.split(' ').nth(1)?.to_owned();
        let control = std::path::Path::new(&top).join("cgroup.subtree_control");
        let had_it = fs::read_to_string(&control).ok()?.split_whitespace().any(|name| name == "hugetlb");
        if !had_it {
            fs::write(&control, "+hugetlb").ok()?;
        }
        let group = Self {
            at: std::path::Path::new(&top).join(format!("damocles-test-{}", std::process::id())),
            switched: (!had_it).then_some(control),
        };
        fs::create_dir(&group.at).ok()?;
        fs::write(group.at.join("hugetlb.2MB.max"), limit).ok()?;
        Some(group)
    }

    /// Runs a program inside it.
    fn run(&self, command: &Command) -> Answer {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(self.at.join("cgroup.procs"));
        Answer::of(shell.arg(command.get_program()).args(command.get_args()).output().unwrap())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.at);
        if let Some(control) = &self.switched {
            let _ = fs::write(control, "-hugetlb");
        }
    }
}

#[test]
fn a_user_who_is_not_root() {
    let Some(rig) = Rig::take("a_user_who_is_not_root") else { return };
    rig.mount("huge", "pagesize=2M");
    fs::set_permissions(rig.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // Nobody may not reach our build: a copy that everybody may run.
    let program = rig.path("damocles-worker");
    fs::copy(crate::rig::WORKER, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let command = rig.command(args);
        Answer::of(as_nobody(Command::new(&program).args(command.get_args())).output().unwrap())
    };
    let before = rig.snapshot();
    run(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"]).refused(2, &["change the pool of node 0", "run as root"]);
    let new = ["-c", "1", "-s", "8MiB", "--path", "@/new/pc1", "--mount", "@/new", "--page-size", "2MiB"];
    run(&new).refused(2, &["run as root"]);
    assert_eq!(rig.snapshot(), before);
    // Where the pages are there, what is missing is a folder to write to, and a record.
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 4).to_string()).unwrap();
    let before = rig.snapshot();
    let few = ["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"];
    run(&few).refused(2, &["write in ", "/huge: Permission denied; run as root"]);
    fs::set_permissions(rig.path("huge"), fs::Permissions::from_mode(0o777)).unwrap();
    run(&few).refused(2, &["/record/hugepage.json: ", "Permission denied", "--state FILE"]);
    fs::set_permissions(rig.path("huge"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(rig.snapshot(), before);
}

/// A shell with mounts of its own, in which `prepare` is done before the command; `None` where that is not to be had.
pub fn apart(prepare: &str, command: &Command) -> Option<Answer> {
    let mut shell = Command::new("unshare");
    shell
        .args(["-m", "--propagation", "private", "sh", "-c"])
        .arg(format!("{prepare} || exit 99; exec \"$@\""))
        .arg("sh");
    let output = shell.arg(command.get_program()).args(command.get_args()).output().ok()?;
    (output.status.code() != Some(99)).then(|| Answer::of(output))
}

#[test]
fn a_sys_that_is_read_only() {
    let Some(rig) = Rig::take("a_sys_that_is_read_only") else { return };
    rig.mount("huge", "pagesize=2M");
    let before = rig.snapshot();
    let command = rig.command(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"]);
    let Some(answer) = apart("mount -o remount,bind,ro /sys", &command) else {
        return skip("a_sys_that_is_read_only", "no mounts of our own can be had (unshare -m)");
    };
    answer
        .refused(2, &["change the pool of node 0", "/sys is mounted read-only, as in a container; run it on the host"]);
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn pages_that_run_out_while_they_are_taken() {
    let Some(rig) = Rig::take("pages_that_run_out_while_they_are_taken") else { return };
    rig.mount("huge", "pagesize=2M");
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 8).to_string()).unwrap();
    // A count of free pages that is not true is what a run sees when another program is quicker.
    fs::write(rig.path("free"), "64\n").unwrap();
    let free = pool_file(SMALL).replace("/nr_", "/free_");
    let before = rig.snapshot();
    let command = rig.command(&["-c", "4", "-s", "32MiB", "--path", "@/huge/pc1", "--threads", "2"]);
    let Some(answer) = apart(&format!("mount --bind {} {free}", rig.path("free").display()), &command) else {
        return skip("pages_that_run_out_while_they_are_taken", "no mounts of our own can be had (unshare -m)");
    };
    answer.refused(1, &["no: the pages of node 0 ran out while ", "another program took some"]);
    assert_eq!(rig.snapshot(), before, "not even the pages that were had are kept");
}

#[test]
fn a_record_on_the_hugetlbfs_itself_is_refused() {
    let Some(rig) = Rig::take("a_record_on_the_hugetlbfs_itself_is_refused") else { return };
    rig.mount("huge", "pagesize=2M");
    std::os::unix::fs::symlink(rig.path("huge"), rig.path("link")).unwrap();
    let words = ["/x.json would lie on a hugetlbfs", "choose a --state on another file system"];
    for state in ["@/huge/x.json", "@/huge/deep/er/x.json", "@/link/x.json"] {
        refuses(&rig, &["-c1", "-s8MiB", "--path", "@/huge/pc1", "--state", state], 2, &words);
        refuses(&rig, &["-c1", "-s8MiB", "--path", "@/huge/pc1", "--state", state, "--dry-run"], 2, &words);
        for (name, args) in [("release", &["--all"][..]), ("verify", &["--path", "@/huge/pc1", "--repair"])] {
            let before = rig.snapshot();
            rig.ask(name, &[args, &["--state", state]].concat()).refused(2, &words);
            assert_eq!(rig.snapshot(), before);
        }
    }
    // On one that is about to be mounted over it.
    let new =
        ["-c1", "-s8MiB", "--path", "@/new/pc1", "--mount", "@/new", "--page-size=2MiB", "--state", "@/new/x.json"];
    refuses(&rig, &new, 2, &words);
}

#[test]
fn a_record_that_is_damaged_stops_before_anything_else() {
    let Some(rig) = Rig::take("a_record_that_is_damaged_stops_before_anything_else") else { return };
    rig.mount("huge", "pagesize=2M");
    fs::create_dir(rig.path("record")).unwrap();
    fs::write(rig.state(), "{\"version\": 1, \"boot").unwrap();
    refuses(
        &rig,
        &["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"],
        2,
        &["read the record ", "move it away to begin anew"],
    );
}
