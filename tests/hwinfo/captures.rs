//! Every XML export and captured /sys tree in the folder that `DAMOCLES_TEST_TOPOLOGIES` names: what we show is what
//! hwloc's own `lstopo-no-graphics` shows of the same input. Nothing is lost, nothing crashes.

use crate::{assert_reads_back, tree};
use damocles_worker::{
    machine::{self, Machine, PartKind},
    units::CpuList,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The files of one kind, or none when the variable is not set: the data is not part of the project.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let Some(topologies) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES") else { return Vec::new() };
    let mut files: Vec<_> =
        fs::read_dir(PathBuf::from(topologies).join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn exports() -> Vec<PathBuf> {
    files("xml", "xml").into_iter().filter(|path| !is_later_version(path)).collect()
}

fn is_later_version(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".v3.xml")
}

fn hwinfo(from: &Path, args: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"))
        .args(["hwinfo", "--from"])
        .arg(from)
        .args(args)
        .output()
        .unwrap()
}

fn answer(from: &Path, args: &[&str]) -> String {
    let output = hwinfo(from, args);
    assert!(output.status.success(), "{}: {}", from.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A captured tree, unpacked by somebody else than us.
fn unpacked(tar: &Path) -> (tempfile::TempDir, PathBuf) {
    // Thousands of tiny files: a disk may take a minute for them.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let status = Command::new("tar").arg("xjf").arg(tar).arg("-C").arg(dir.path()).status().unwrap();
    assert!(status.success(), "{}", tar.display());
    let root = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    (dir, root)
}

/// How many objects of each type lstopo exports, or nothing where lstopo is not installed.
fn lstopo(prepare: impl FnOnce(&mut Command)) -> Option<BTreeMap<String, usize>> {
    let mut command = Command::new("lstopo-no-graphics");
    command.args(["--disallowed", "--whole-io", "--filter", "icache:all", "--of", "xml"]);
    prepare(&mut command);
    let Ok(output) = command.output() else {
        assert!(std::env::var_os("CI").is_none(), "lstopo-no-graphics is not installed (Debian: hwloc-nox)");
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: lstopo-no-graphics is not installed (Debian: hwloc-nox)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut counts = BTreeMap::new();
    for object in text.split("<object type=\"").skip(1) {
        *counts.entry(object.split('"').next().unwrap().to_owned()).or_default() += 1;
    }
    Some(counts)
}

/// Ours against lstopo's, for one input.
fn assert_as_lstopo(place: &Path, ours: &Machine, full: &Value, theirs: &BTreeMap<String, usize>) {
    let count = |name: &str| theirs.get(name).copied().unwrap_or(0);
    let place = place.display();
    assert_eq!(ours.cpus().len(), count("PU"), "{place}");
    // A PU that is in no core is a core of its own.
    assert_eq!(ours.cores().len(), if count("Core") == 0 { count("PU") } else { count("Core") }, "{place}");
    assert_eq!(ours.l3_groups().len(), count("L3Cache"), "{place}");
    assert_eq!(ours.nodes().len(), count("NUMANode"), "{place}");
    assert_eq!(ours.parts_of(PartKind::Package).len(), count("Package"), "{place}");
    assert_eq!(ours.parts_of(PartKind::Die).len(), count("Die"), "{place}");
    assert_eq!(ours.parts_of(PartKind::Group).len(), count("Group"), "{place}");
    let mut found = BTreeMap::<String, usize>::new();
    count_types(full, &mut found);
    assert_eq!(found.values().sum::<usize>(), theirs.values().sum::<usize>(), "{place}: {found:?} {theirs:?}");
    for (kind, name) in [("L1d", "L1Cache"), ("L1i", "L1iCache"), ("L2", "L2Cache"), ("PCI", "PCIDev"), ("PU", "PU")] {
        let ours: usize =
            found.iter().filter(|(found, _)| found.split('(').next() == Some(kind)).map(|(_, count)| count).sum();
        let theirs = count(name);
        // A unified first level, as in some virtual machines, is named L1.
        assert!(ours == theirs || kind == "L1d" && found.contains_key("L1"), "{place}: {kind}: {ours} {theirs}");
    }
}

fn count_types(object: &Value, found: &mut BTreeMap<String, usize>) {
    *found.entry(object["type"].as_str().unwrap().to_owned()).or_default() += 1;
    object["children"].as_array().into_iter().flatten().for_each(|child| count_types(child, found));
}

/// The CPUs that the lines of a tree name, read as an operator reads them.
fn cpus_named(tree: &str) -> Vec<u32> {
    let lines = tree.lines().filter_map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ']).strip_prefix("PU "));
    let words = lines.flat_map(|line| line.split(" (").next().unwrap().split(" + "));
    words
        .flat_map(|word| {
            let word = word.trim_start_matches("PU ").trim_start_matches("siblings ");
            let sets = word.split('/').map(|set| set.strip_prefix('#').unwrap().parse::<CpuList>().unwrap());
            sets.flat_map(|set| set.iter().collect::<Vec<_>>()).collect::<Vec<_>>()
        })
        .collect()
}

fn assert_renders(place: &Path, machine: &Machine, full_text: &str) {
    assert_reads_back(machine);
    let mut named = cpus_named(&tree(machine));
    named.sort_unstable();
    assert_eq!(named, machine.cpus().iter().collect::<Vec<_>>(), "{}", place.display());
    let pus = full_text.lines().filter(|line| line.contains("─ PU #")).count();
    assert_eq!(pus, machine.cpus().len(), "{}", place.display());
}

#[test]
fn every_export_shows_what_lstopo_shows() {
    for path in exports() {
        let machine = machine::parse(&answer(&path, &["--json"])).unwrap();
        assert_renders(&path, &machine, &answer(&path, &["--full"]));
        let full = serde_json::from_str(&answer(&path, &["--full", "--json"])).unwrap();
        if let Some(theirs) = lstopo(|command| {
            command.arg("-i").arg(&path);
        }) {
            assert_as_lstopo(&path, &machine, &full, &theirs);
        }
    }
}

#[test]
fn every_captured_tree_shows_what_lstopo_shows_packed_or_not() {
    for path in files("linux", "bz2") {
        let place = path.display();
        let (_dir, root) = unpacked(&path);
        let machine = machine::parse(&answer(&path, &["--json"])).unwrap();
        assert_renders(&path, &machine, &answer(&path, &["--full"]));
        // As a folder it is the same machine under another name.
        let folder = machine::parse(&answer(&root, &["--json"])).unwrap();
        assert_eq!((&folder.topology, &folder.offline_cpus), (&machine.topology, &machine.offline_cpus), "{place}");
        let full = serde_json::from_str(&answer(&root, &["--full", "--json"])).unwrap();
        let theirs = lstopo(|command| {
            command.env("HWLOC_FSROOT", &root).env("HWLOC_COMPONENTS", "linux,stop").env("HWLOC_THISSYSTEM", "0");
        });
        if let Some(theirs) = theirs {
            assert_as_lstopo(&path, &machine, &full, &theirs);
        }
        assert_as_the_kernel_says(&path, &root, &machine);
    }
}

fn assert_as_the_kernel_says(path: &Path, root: &Path, machine: &Machine) {
    let place = path.display();
    if path.to_string_lossy().contains("offlines") {
        // Offline CPUs are named, not lost: the online set of this capture is 0x9fdb of 16.
        assert_eq!(machine.cpus().to_string(), "0-1,3-4,6-12,15", "{place}");
        assert_eq!(machine.offline_cpus.to_string(), "2,5,13-14", "{place}");
    }
    if path.to_string_lossy().contains("cgroup2") {
        assert_eq!(machine.allowed_cpus.to_string(), "0-5", "{place}");
        assert_eq!(machine.forbidden_cpus().to_string(), "6-31", "{place}");
    }
    for node in machine.nodes() {
        let cpumap = root.join(format!("sys/devices/system/node/node{}/cpumap", node.os_index));
        // A kernel without NUMA has no such file; hwloc then makes one node of the whole machine.
        let own = fs::read_to_string(cpumap).map_or(machine.cpus(), |text| kernel_cpus(&text));
        // What was worked out from hwloc's view is what the kernel said itself.
        assert_eq!(node.cpus, own.and(&machine.cpus()), "{place} node {}", node.os_index);
    }
}

/// A kernel cpumap: 32-bit words in hex, the highest first.
fn kernel_cpus(text: &str) -> CpuList {
    // One capture holds the terminating zero of the kernel's buffer.
    let words = text.trim_end_matches(['\0', '\n']).rsplit(',').map(|word| u32::from_str_radix(word, 16).unwrap());
    words
        .zip(0..)
        .flat_map(|(word, i)| (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i * 32 + bit))
        .collect()
}

fn refused(from: &Path) -> String {
    let output = hwinfo(from, &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", from.display());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_export_of_a_later_hwloc_is_refused_with_its_version() {
    for path in files("xml", "xml").into_iter().filter(|path| is_later_version(path)) {
        let error = refused(&path);
        assert!(error.contains("hwloc XML of version 3.0") && error.contains("export it again"), "{error}");
    }
}

#[test]
fn a_truncated_export_is_refused() {
    for path in exports() {
        let text = fs::read(&path).unwrap();
        let cut = tempfile::NamedTempFile::new().unwrap();
        for length in [text.len() / 3, text.len() / 2, text.len() - 20] {
            fs::write(cut.path(), &text[..length]).unwrap();
            let error = refused(cut.path());
            assert!(error.contains("cut short") || error.contains("UTF-8"), "{}: {error}", path.display());
        }
    }
}

#[test]
fn a_truncated_capture_is_refused() {
    for path in files("linux", "bz2") {
        let bytes = fs::read(&path).unwrap();
        let cut = tempfile::NamedTempFile::new().unwrap();
        for length in [4, bytes.len() / 2] {
            fs::write(cut.path(), &bytes[..length]).unwrap();
            let error = refused(cut.path());
            assert!(error.contains("not a whole tar"), "{}: {error}", path.display());
        }
    }
}
