//! Files are made, on their node, by the kernel's own account: numa_maps, and the pools' free counts.

use crate::rig::{LARGE, Rig, SMALL, counter, pool_file, skip};
use std::{
    fs::{self, File},
    path::Path,
};

/// Pages by node in /proc/self/numa_maps of a file that this test maps itself.
fn numa_maps(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let page_bytes = nix::sys::statfs::fstatfs(&file).unwrap().block_size() as u64;
    let _mapping = damocles_worker::sys::mempolicy::Mapping::of(&file, page_bytes).unwrap();
    let maps = fs::read_to_string("/proc/self/numa_maps").unwrap();
    let line = maps.lines().find(|line| line.contains(&format!("file={} ", path.display()))).unwrap();
    line.split(' ')
        .filter(|word| word.starts_with('N') || word.starts_with("kernelpagesize"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_example_of_the_field_on_one_node() {
    let Some(rig) = Rig::take("the_example_of_the_field_on_one_node") else { return };
    let (free, pages) = (counter(SMALL, "free"), counter(SMALL, "nr"));
    let args = ["--node=0", "--num=2", "--size=32MiB", "--path=@/huge/pc1_1", "--mount=@/huge", "--page-size=2MiB"];
    let answer = rig.run(&args).ok();
    let missing = 32u64.saturating_sub(free);
    assert!(answer.out.contains("32.0_MiB_1: made, 16 pages of 2MiB, all on node 0"), "{}", answer.out);
    let folder = rig.path("huge/pc1_1/numa_0");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["32.0_MiB_0", "32.0_MiB_1"]);
    assert_eq!(fs::read_dir(rig.path("huge")).unwrap().count(), 1, "nothing else is left on the mount");
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), (pages + missing, free + missing - 32));
    for name in names {
        assert_eq!(numa_maps(&folder.join(name)), "N0=16 kernelpagesize_kB=2048");
    }
    // PC1 opens them for reading and writing, in any order of bytes.
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).open(folder.join("32.0_MiB_0")).unwrap();
    let mut last = [1];
    file.read_at(&mut last, (32 << 20) - 1).unwrap();
    assert_eq!(last, [0]);
}

#[test]
fn a_second_run_keeps_what_is_there_and_adds_what_is_missing() {
    let Some(rig) = Rig::take("a_second_run_keeps_what_is_there_and_adds_what_is_missing") else { return };
    rig.mount("huge", "pagesize=2M");
    let args = ["-c", "2", "-s", "8MiB", "--path", "@/huge/pc1"];
    rig.run(&args).ok();
    let before = rig.snapshot();
    let again = rig.run(&args).ok();
    assert_eq!(again.out.matches(": was there, verified").count(), 2);
    assert_eq!(rig.snapshot(), before, "a run that finds all there changes nothing");
    // One is lost, two more are wanted: the lost one's pages are still in the pool.
    fs::remove_file(rig.path("huge/pc1/numa_0/8.0_MiB_0")).unwrap();
    let nr = counter(SMALL, "nr");
    let more = rig.run(&["-c", "4", "-s", "8MiB", "--path", "@/huge/pc1", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_str(&more.out).unwrap();
    assert_eq!((report["made"].as_array().unwrap().len(), report["kept"].as_array().unwrap().len()), (3, 1));
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), (nr + 8, 0));
    let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(rig.state()).unwrap()).unwrap();
    assert_eq!((record["folders"][0]["pages_added"].as_u64(), &record["run"]), (Some(16), &serde_json::Value::Null));
    assert_eq!(record["folders"][0]["files"].as_array().unwrap().len(), 4);
}

#[test]
fn pages_that_are_free_are_used_before_any_is_asked_for() {
    let Some(rig) = Rig::take("pages_that_are_free_are_used_before_any_is_asked_for") else { return };
    rig.mount("huge", "pagesize=2M");
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 6).to_string()).unwrap();
    let nr = counter(SMALL, "nr");
    let free = counter(SMALL, "free");
    let files = (free * 2 + 4).to_string() + "MiB";
    rig.run(&["-c", "1", "-s", &files, "--path", "@/huge/pc1"]).ok();
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), (nr + 2, 0));
}

#[test]
fn pages_that_were_promised_to_a_mapping_are_left_to_it() {
    let Some(rig) = Rig::take("pages_that_were_promised_to_a_mapping_are_left_to_it") else { return };
    // A minimum size of a mount is such a promise, and needs no mapping that the test would have to make.
    fs::write(pool_file(SMALL), (counter(SMALL, "nr") + 4).to_string()).unwrap();
    rig.mount("promised", "pagesize=2M,min_size=8M");
    rig.mount("huge", "pagesize=2M");
    let (nr, free) = (counter(SMALL, "nr"), counter(SMALL, "free"));
    rig.run(&["-c", "1", "-s", "8MiB", "--path", "@/huge/pc1"]).ok();
    assert_eq!((counter(SMALL, "nr"), counter(SMALL, "free")), (nr + 8 - free, 4));
}

#[test]
fn pages_of_1_gib_where_the_kernel_has_them() {
    let Some(rig) = Rig::take("pages_of_1_gib_where_the_kernel_has_them") else { return };
    if !Path::new(&pool_file(LARGE)).exists() {
        return skip("pages_of_1_gib_where_the_kernel_has_them", "this kernel has no pages of 1 GiB");
    }
    let before = rig.snapshot();
    let mut said = String::new();
    for files in ["2", "1"] {
        let args = ["-c", files, "-s", "1GiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size", "1GiB"];
        let answer = rig.run(&args);
        if answer.code != Some(1) {
            assert!(answer.ok().out.contains("1.0_GiB_0: made, 1 page of 1GiB, all on node 0"));
            for file in fs::read_dir(rig.path("huge/pc1/numa_0")).unwrap() {
                assert_eq!(numa_maps(&file.unwrap().path()), "N0=1 kernelpagesize_kB=1048576");
            }
            return;
        }
        // Memory in pieces: the other half of the test, which every machine that ran for a while has.
        let asked = format!("{files} page");
        let hints =
            ["node 0: asked for ", &asked, "of 1GiB more, the kernel gave ", "hint: ", "hugepagesz=1G hugepages=0:"];
        said = answer.refused(1, &hints).err;
        assert_eq!(rig.snapshot(), before);
    }
    skip("pages_of_1_gib_where_the_kernel_has_them", said.trim());
}

#[test]
fn the_dry_run_is_a_script_that_does_the_same() {
    let Some(rig) = Rig::take("the_dry_run_is_a_script_that_does_the_same") else { return };
    let args = ["-c", "2", "-s", "4MiB", "--path", "@/huge dir/pc1", "--mount", "@/huge dir", "--page-size", "2MiB"];
    let dry: Vec<_> = args.into_iter().chain(["--dry-run"]).collect();
    let before = rig.snapshot();
    let script = rig.run(&dry).ok().out;
    assert_eq!(rig.snapshot(), before, "a dry run changes nothing");
    let json: Vec<_> = dry.iter().copied().chain(["--json"]).collect();
    let steps: serde_json::Value = serde_json::from_str(&rig.run(&json).ok().out).unwrap();
    assert_eq!(script.lines().next(), Some("# these commands need numactl (package numactl)"));
    assert_eq!(steps["steps"].as_array().unwrap().len(), script.lines().skip(1).count());
    assert_eq!(steps["steps"][0]["what"]["step"], "make_folder");
    // On one node numactl, which a small system lacks, changes nothing.
    let script = format!("set -e\n{}", script.replace("numactl --cpunodebind=0 --membind=0 ", ""));
    let shell = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
    assert!(shell.status.success(), "{script}\n{}", String::from_utf8_lossy(&shell.stderr));
    let tree = |rig: &Rig| {
        let snapshot = format!("{:?}", rig.snapshot());
        // Without inode numbers, which no two files share; nor the name of the mount's source, which is made by chance.
        let lines = snapshot.split('"').filter(|line| line.contains("/huge dir") && line.contains(" inode "));
        lines.map(|line| line.split(" inode ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (by_shell, pages) = (tree(&rig), counter(SMALL, "nr"));
    assert_eq!(by_shell.len(), 5, "{by_shell:?}");
    rig.clear();
    rig.run(&args).ok();
    assert_eq!((tree(&rig), counter(SMALL, "nr")), (by_shell, pages));
}

#[test]
fn a_whole_machine_from_its_configuration() {
    let Some(rig) = Rig::take("a_whole_machine_from_its_configuration") else { return };
    rig.mount("huge", "pagesize=2M");
    let processor = |name: &str, tasks: u32| {
        let folder = rig.path("huge").join(name).display().to_string();
        format!("[[processors.pc1]]\nenvs = {{ HUGEPAGE_FILES_PATH = {folder:?} }}\nconcurrent = {tasks}\n")
    };
    let config = |processors: &[String]| {
        let head = "[sector_manager]\nrpc_client.addr = \"embedded\"\n[sealing]\nallowed_sizes = [\"8MiB\"]\n\
            [[sealing_thread]]\nlocation = \"./s\"\n[[attached]]\nlocation = \"./p\"\n";
        fs::write(rig.path("worker.toml"), format!("{head}{}", processors.concat())).unwrap();
    };
    config(&[processor("pc1_1", 1), processor("pc1_1", 1)]);
    let before = rig.snapshot();
    rig.run(&["--from", "@/worker.toml"])
        .refused(2, &["worker.toml: processors.pc1[0] and processors.pc1[1] have the same folder"]);
    assert_eq!(rig.snapshot(), before);
    config(&[processor("pc1_1", 1), processor("pc1_2", 2), "[[processors.pc1]]\nconcurrent = 1\n".to_owned()]);
    let answer = rig.run(&["--from", "@/worker.toml"]).ok();
    assert_eq!(answer.out.matches(": made, 4 pages of 2MiB, all on node 0").count(), 6, "{}", answer.out);
    assert!(answer.err.contains("processors.pc1[2]: sets neither"), "{}", answer.err);
    assert!(rig.path("huge/pc1_2/numa_0/8.0_MiB_3").exists() && !rig.path("huge/pc1_1/numa_0/8.0_MiB_2").exists());
}

#[test]
fn a_signal_takes_everything_back() {
    let Some(rig) = Rig::take("a_signal_takes_everything_back") else { return };
    for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM, nix::sys::signal::SIGHUP] {
        let before = rig.snapshot();
        let args = ["-c", "6", "-s", "128MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size", "2MiB"];
        let child = rig
            .command(&args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The record is there as soon as something is about to change.
        while !rig.state().exists() {
            std::thread::yield_now();
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        let answer = crate::rig::Answer::of(child.wait_with_output().unwrap());
        answer.refused(2, &[&format!("error: stopped by {signal}\n"), "note: everything of this run was taken back"]);
        assert_eq!(rig.snapshot(), before);
    }
}
