//! `--from`: what it takes, in which order, and what it refuses.

use assert_cmd::Command;
use damocles_worker::{
    hwinfo,
    machine::{self, Part},
    sys::{Root, topology::Source},
};
use std::{fs, path::Path};

const LINE: &str = "pack:2 [numa(memory=1GB)] l3:2(size=16777216) core:2 pu:2";

fn hwinfo(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    command.arg("hwinfo").args(args);
    command
}

fn stdout(args: &[&str]) -> String {
    String::from_utf8(hwinfo(args).assert().success().get_output().stdout.clone()).unwrap()
}

/// Refused with exit code 2, nothing on stdout, no panic, and the message.
fn refused(args: &[&str]) -> String {
    let output = hwinfo(args).assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: ") && !error.contains("panicked"), "{error}");
    error
}

/// The smallest tree that hwloc takes: two cores of two packages.
fn capture(root: &Path) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/cpuinfo", "processor\t: 0\n\nprocessor\t: 1\n");
    write("proc/meminfo", "MemTotal:        1048576 kB\n");
    for set in ["online", "possible", "present"] {
        write(&format!("sys/devices/system/cpu/{set}"), "0-1\n");
    }
    for cpu in 0..2 {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        write(&format!("{topology}/physical_package_id"), &format!("{cpu}\n"));
        write(&format!("{topology}/core_id"), "0\n");
        for map in ["core_siblings", "thread_siblings", "package_cpus", "core_cpus"] {
            write(&format!("{topology}/{map}"), &format!("{}\n", 1 << cpu));
        }
    }
}

#[test]
fn a_description_a_machine_file_and_a_capture_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let described = stdout(&["--from", LINE, "--json"]);
    let file = dir.path().join("machine.json");
    fs::write(&file, &described).unwrap();
    assert_eq!(stdout(&["--from", file.to_str().unwrap(), "--json"]), described);
    assert_eq!(stdout(&["--from", file.to_str().unwrap()]), stdout(&["--from", LINE]));

    let tree = dir.path().join("node7");
    capture(&tree);
    let text = stdout(&["--from", tree.to_str().unwrap(), "--json"]);
    let machine = machine::parse(&text).unwrap();
    assert_eq!((machine.hostname.as_str(), machine.cpus().len()), ("node7", 2));
    let tar = dir.path().join("node7.tar.gz");
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    builder.append_dir_all("node7", &tree).unwrap();
    fs::write(&tar, builder.into_inner().unwrap().finish().unwrap()).unwrap();
    assert_eq!(stdout(&["--from", tar.to_str().unwrap(), "--json"]), text);
    assert!(stdout(&["--from", tar.to_str().unwrap(), "--full"]).contains("PU #1"));
}

/// hwloc's own variables are for this machine; a capture's child gets its own.
#[test]
fn a_capture_is_read_whatever_the_environment_tells_hwloc() {
    let dir = tempfile::tempdir().unwrap();
    capture(dir.path());
    let from = ["--from", dir.path().to_str().unwrap()];
    let mut command = hwinfo(&from);
    let told = command.env("HWLOC_SYNTHETIC", "pu:5").env("HWLOC_FSROOT", "/nonexistent").assert().success();
    assert_eq!(String::from_utf8_lossy(&told.get_output().stdout), stdout(&from));
}

#[test]
fn a_name_may_begin_with_a_dash() {
    let dir = tempfile::tempdir().unwrap();
    capture(&dir.path().join("-cap"));
    fs::write(dir.path().join("-m.json"), stdout(&["--from", LINE, "--json"])).unwrap();
    for (from, name) in [("--from=-cap", "-cap"), ("--machine=-cap", "-cap"), ("--from=-m.json", "synthetic")] {
        let output = hwinfo(&[from, "--json"]).current_dir(dir.path()).assert().success().get_output().stdout.clone();
        assert_eq!(machine::parse(&String::from_utf8(output).unwrap()).unwrap().hostname, name, "{from}");
    }
    hwinfo(&["--from=-cap", "--full"]).current_dir(dir.path()).assert().success();
    hwinfo(&["diff", "--", "-cap", "-cap"]).current_dir(dir.path()).assert().code(0);
}

#[test]
fn absurd_descriptions_are_refused_before_they_cost_anything() {
    for (line, part) in [
        ("numa:2(memory=18446744073709551615) pu:1", "more than 2^64 bytes"),
        ("pack:2 [numa(memory=17000000TB)] pu:1", "more than 2^64 bytes"),
        ("pu:4(indexes=4294967290,1,2,3)", "indexes="),
        ("[numa(indexes=4294967290)] pu:1", "indexes="),
    ] {
        for form in ["--json", "--toml", "--full"] {
            let output = hwinfo(&["--from", line, form]).assert().code(2).get_output().clone();
            let talk = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(talk.contains(part) && output.stdout.is_empty(), "{line} {form}: {talk}");
        }
    }
}

#[test]
fn a_machine_by_name_is_shown_wherever_a_machine_is() {
    const NAME: &str = "2x epyc-7642 2TiB 2x rtx3080";
    let machine = machine::parse(&stdout(&["--from", NAME, "--json"])).unwrap();
    assert_eq!((machine.l3_groups().len(), machine.cores().len()), (32, 96));
    hwinfo(&["diff", NAME, NAME]).assert().code(0);
    let full = hwinfo(&["--from", NAME, "--full"]).assert().code(2).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&full).contains("nobody has looked at"), "{}", String::from_utf8_lossy(&full));
    let odd = hwinfo(&["--from", "2x epyc-0 2TiB"]).assert().code(2).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&odd).contains("epyc-0"), "{}", String::from_utf8_lossy(&odd));
}

/// The captured tree's own links lead nowhere but into it.
#[test]
fn nothing_of_this_host_is_mixed_into_a_capture() {
    let dir = tempfile::tempdir().unwrap();
    capture(dir.path());
    fs::remove_file(dir.path().join("proc/cpuinfo")).unwrap();
    std::os::unix::fs::symlink("/proc/cpuinfo", dir.path().join("proc/cpuinfo")).unwrap();
    std::os::unix::fs::symlink("/sys/block", dir.path().join("sys/block")).unwrap();
    let machine = machine::parse(&stdout(&["--from", dir.path().to_str().unwrap(), "--json"])).unwrap();
    assert_eq!((machine.cpu, machine.disks, machine.limits), (None, None, None));
    let missed = machine.unreadable.iter().find(|missed| missed.what == "disks").unwrap();
    assert_eq!(
        (missed.path.as_deref(), missed.reason.as_str()),
        (Some("/sys/block"), "the link leads out of the root")
    );
}

#[test]
fn an_existing_path_comes_before_a_description() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pu:2"), stdout(&["--from", "pu:7", "--json"])).unwrap();
    let output = hwinfo(&["--from", "pu:2"]).current_dir(dir.path()).assert().success().get_output().stdout.clone();
    assert!(String::from_utf8(output).unwrap().contains("PU #6"));
    assert!(!stdout(&["--from", "pu:2"]).contains("PU #2"));
}

#[test]
fn a_source_may_be_a_pipe() {
    let json = stdout(&["--from", LINE, "--json"]);
    let mut command = hwinfo(&["--from", "/dev/stdin", "--json"]);
    let output = command.write_stdin(json.clone()).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(output).unwrap(), json);
}

#[test]
fn plan_takes_the_same_sources() {
    let mut plan = Command::cargo_bin("damocles-worker-util").unwrap();
    plan.args(["plan", "--target", "100KiB/hour", "--machine", "pack:1 [numa(memory=64GB)] core:8 pu:1"]);
    plan.assert().success();
}

#[test]
fn full_shows_caches_that_the_short_tree_leaves_out() {
    let line = "pack:1 l3:1 l2:2 l1:1 core:1 pu:1";
    assert!(!stdout(&["--from", line]).contains("L2"));
    let full = stdout(&["--full", "--from", line]);
    assert!(full.starts_with("Everything hwloc knows:\nMachine ("), "{full}");
    for part in ["Package #0 (", "L3 L#0 (", "L2 L#1 (", "L1 L#1 (32 KiB", "Core #1 (cpus 1)", "─ PU #1\n"] {
        assert!(full.contains(part), "{part}: {full}");
    }
    let json: serde_json::Value = serde_json::from_str(&stdout(&["--full", "--json", "--from", line])).unwrap();
    let package = &json["children"][0];
    assert_eq!((&package["type"], &package["children"][0]["type"]), (&"Package".into(), &"NUMANode".into()));
}

#[test]
fn a_machine_file_has_no_full_tree_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("machine.json");
    fs::write(&file, stdout(&["--from", LINE, "--json"])).unwrap();
    assert!(refused(&["--full", "--from", file.to_str().unwrap()]).contains("no caches below L3"));
}

#[test]
fn what_is_no_machine_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(place("empty")).unwrap();
    fs::write(place("cut.xml"), "<?xml version=\"1.0\"?><topology version=\"2.0\"><object type=\"Machine\"").unwrap();
    fs::write(place("v3.xml"), "<topology version=\"3.0\"></topology>").unwrap();
    let pus = "<object type=\"PU\"/>".repeat(8193);
    fs::write(place("big.xml"), format!("<topology version=\"2.0\">{pus}</topology>")).unwrap();
    fs::write(place("not.json"), "{}").unwrap();
    let pu = |cpuset: &str| {
        let sets = format!("cpuset=\"{cpuset}\" complete_cpuset=\"{cpuset}\" nodeset=\"0x1\" complete_nodeset=\"0x1\"");
        let allowed = format!("allowed_cpuset=\"{cpuset}\" allowed_nodeset=\"0x1\"");
        format!(
            "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" {sets} {allowed} gp_index=\"1\">\
             <object type=\"NUMANode\" os_index=\"0\" {sets} gp_index=\"2\"/>\
             <object type=\"PU\" os_index=\"0\" {sets} gp_index=\"3\"/></object></topology>"
        )
    };
    // CPU 70000; and a CPU that is two.
    fs::write(place("far.xml"), pu(&format!("0x00010000{}", ",0x0".repeat(2187)))).unwrap();
    fs::write(place("two.xml"), pu("0x00000003")).unwrap();
    // hwloc takes what contradicts itself, and its own check would end the process: an exit code is all that is asked.
    assert!(hwinfo(&["--from", &place("two.xml")]).output().unwrap().status.code().is_some());
    for (from, expected) in [
        (place("empty"), "no sys/devices/system/cpu in it"),
        (place("cut.xml"), "cut short"),
        (place("v3.xml"), "version 3.0"),
        (place("big.xml"), "8193 CPUs, at most 8192"),
        (place("far.xml"), "is not a cpu number"),
        (place("not.json"), "not a machine description"),
        (place("nowhere.xml"), "no such file or folder"),
        ("pack:2 core:9000 pu:1".to_owned(), "18000 CPUs, at most 8192"),
        ("core:".to_owned(), "hwloc refuses it"),
        ("/proc/self/mem".to_owned(), "/proc/self/mem"),
        ("/dev/null".to_owned(), "neither an hwloc XML export"),
    ] {
        let error = refused(&["--from", &from]);
        assert!(error.contains(expected), "{from}: {error}");
    }
}

#[test]
fn a_tree_of_cpus_without_topology_is_refused_by_hwlocs_own_words() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sys/devices/system/cpu/cpu0")).unwrap();
    let error = refused(&["--from", dir.path().to_str().unwrap()]);
    assert!(error.contains("look at this machine through hwloc"), "{error}");
}

/// A third of a gigabyte of zeros, packed into a third of a megabyte: as a file, and as a name.
#[test]
fn a_tar_bomb_is_refused_in_time() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    for kind in [tar::EntryType::Regular, tar::EntryType::GNULongName] {
        let size = 300 << 20;
        let mut header = tar::Header::new_gnu();
        header.set_path("bomb").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(header.as_bytes()).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(size), &mut packed).unwrap();
        let path = dir.path().join("bomb.tar.gz");
        fs::write(&path, packed.finish().unwrap()).unwrap();
        let began = std::time::Instant::now();
        let error = refused(&["--from", path.to_str().unwrap()]);
        assert!(error.contains("a captured machine"), "{error}");
        assert!(began.elapsed().as_secs() < 60);
    }
}

/// Root reads everything, so the test takes another user's rights where it runs as root.
#[test]
fn a_tree_that_may_not_be_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    capture(&tree);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(tree.join("sys"), fs::Permissions::from_mode(0o000)).unwrap();
    let program = dir.path().join("util");
    fs::copy(assert_cmd::cargo::cargo_bin("damocles-worker-util"), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.args(["hwinfo", "--from"]).arg(&tree);
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(tree.join("sys"), fs::Permissions::from_mode(0o755)).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("tree") && error.contains("error: "), "{error}");
}

/// hwloc reads what it wrote without its plugins, which spares half of the time. What others wrote in its form it reads
/// with the XML library behind one of them, also when another machine was looked at before.
#[test]
fn an_export_in_another_hand_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let cpu = |cpu: u32| {
        let set = format!("0x{:x}", 1 << cpu);
        format!(
            "<object type=\"PU\" os_index=\"{cpu}\" cpuset=\"{set}\" complete_cpuset=\"{set}\" nodeset=\"0x1\" complete_nodeset=\"0x1\" gp_index=\"{}\"/>",
            cpu + 10
        )
    };
    let sets = "cpuset=\"0x3\" complete_cpuset=\"0x3\" nodeset=\"0x1\" complete_nodeset=\"0x1\"";
    let own = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n<topology version=\"2.0\">\n\
         <object type=\"Machine\" os_index=\"0\" {sets} allowed_cpuset=\"0x3\" allowed_nodeset=\"0x1\" gp_index=\"1\">\n\
         <object type=\"NUMANode\" os_index=\"0\" {sets} gp_index=\"2\" local_memory=\"1073741824\"/>\n{}\n{}\n\
         </object>\n</topology>\n",
        cpu(0),
        cpu(1)
    );
    let other = own.replace("type=\"PU\"", "\n  type = 'PU'");
    let place = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let (own, other) = (place("own.xml", &own), place("other.xml", &other));
    assert_eq!(stdout(&["--from", &other]), stdout(&["--from", &own]));
    for pair in [[&own, &other], [&other, &own]] {
        assert!(stdout(&["diff", pair[0], pair[1]]).contains("The machines are alike"));
    }
    let named = hwinfo(&[]).env("HWLOC_XMLFILE", &other).assert().success();
    assert!(String::from_utf8_lossy(&named.get_output().stdout).contains("PU #0 + PU #1"));
    // The other way to read it is what was spared: whoever names a place for plugins gets none spared, here none at all.
    hwinfo(&["--from", &own]).env("HWLOC_PLUGINS_PATH", "/nonexistent").assert().success();
    let refused = hwinfo(&["--from", &other]).env("HWLOC_PLUGINS_PATH", "/nonexistent").assert().code(2);
    let error = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(error.contains("hwloc refuses it as an XML export"), "{error}");
}

/// The program leaves hwloc's plugins out; this test, which has several threads, cannot.
#[test]
fn plugins_change_nothing_in_the_structure() {
    let described = hwinfo::describe(&Source::Synthetic(LINE.into()), "synthetic").unwrap();
    assert_eq!(machine::parse(&stdout(&["--from", LINE, "--json"])).unwrap(), described);
    let here = machine::parse(&stdout(&["--json"])).unwrap();
    let mut with = hwinfo::this_machine(&Root::at("/")).unwrap();
    let mut without = here;
    for machine in [&mut with, &mut without] {
        forget_free_memory(&mut machine.topology);
    }
    assert_eq!(with.topology, without.topology);
    assert_eq!((with.allowed_cpus, with.offline_cpus), (without.allowed_cpus, without.offline_cpus));
}

/// What changes from moment to moment.
fn forget_free_memory(part: &mut Part) {
    for node in &mut part.nodes {
        (node.free_bytes, node.page_pools) = (None, None);
    }
    part.parts.iter_mut().for_each(forget_free_memory);
}
