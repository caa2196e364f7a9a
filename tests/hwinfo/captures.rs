//! Every XML export and captured /sys tree in the folder that `DAMOCLES_TEST_TOPOLOGIES` names: nothing is lost,
//! nothing crashes.

use crate::{assert_reads_back, tree};
use damocles_worker::{
    hwinfo,
    machine::{self, PartKind},
    sys::topology::{self, ObjectType, Source},
    units::CpuList,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
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
    files("xml", "xml")
}

fn is_later_version(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".v3.xml")
}

#[test]
fn every_export_loads_without_loss() {
    for path in exports().into_iter().filter(|path| !is_later_version(path)) {
        let source = Source::Xml(path.clone());
        let (hwloc, machine) = (
            topology::load(&source, topology::Detail::Structure).unwrap(),
            hwinfo::describe(&source, "export").unwrap(),
        );
        let count = |object_type| hwloc.objects_with_type(object_type).count();
        let place = path.display();
        assert_eq!(machine.cpus().len(), count(ObjectType::PU), "{place}");
        // A PU that is in no core is a core of its own.
        let lone = hwloc
            .objects_with_type(ObjectType::PU)
            .filter(|pu| pu.first_ancestor_with_type(ObjectType::Core).is_none());
        assert_eq!(machine.cores().len(), count(ObjectType::Core) + lone.count(), "{place}");
        assert_eq!(machine.l3_groups().len(), count(ObjectType::L3Cache), "{place}");
        assert_eq!(machine.nodes().len(), count(ObjectType::NUMANode), "{place}");
        assert_eq!(machine.parts_of(PartKind::Package).len(), count(ObjectType::Package), "{place}");
        assert_eq!(machine.parts_of(PartKind::Die).len(), count(ObjectType::Die), "{place}");
        assert_eq!(machine.parts_of(PartKind::Group).len(), count(ObjectType::Group), "{place}");
        assert_eq!(machine.memory_bytes().0, hwloc.root_object().total_memory(), "{place}");
        assert_reads_back(&machine);
        assert_eq!(tree(&machine).matches('#').count(), numbers_expected(&machine), "{place}");
    }
}

/// Every node, every part but machine and packages, and every CPU has its number.
fn numbers_expected(machine: &damocles_worker::machine::Machine) -> usize {
    let numbered = machine.parts().into_iter().filter(|p| !matches!(p.kind, PartKind::Machine | PartKind::Package));
    let in_models =
        machine.parts().iter().flat_map(|p| &p.model).map(|model| model.matches('#').count()).sum::<usize>();
    machine.nodes().len() + numbered.count() + machine.cpus().len() + in_models
}

/// hwloc reads captured trees by environment only, so the command itself is the child that does.
#[test]
fn every_captured_tree_loads() {
    for path in files("linux", "bz2") {
        let place = path.display();
        let dir = tempfile::tempdir().unwrap();
        let unpacked = Command::new("tar").arg("xjf").arg(&path).arg("-C").arg(dir.path()).status().unwrap();
        assert!(unpacked.success(), "{place}");
        let root = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let output = Command::new(assert_cmd::cargo::cargo_bin("damocles-worker-util"))
            .args(["hwinfo", "--json"])
            .env("HWLOC_FSROOT", &root)
            .env("HWLOC_COMPONENTS", "linux,stop")
            .env("HWLOC_THISSYSTEM", "0")
            .output()
            .unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        let machine = machine::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
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

#[test]
fn an_export_of_a_later_hwloc_is_refused_with_its_version() {
    for path in exports().into_iter().filter(|path| is_later_version(path)) {
        let error = hwinfo::describe(&Source::Xml(path), "export").unwrap_err().to_string();
        assert!(error.contains("hwloc XML of version 3.0") && error.contains("export it again"), "{error}");
    }
}

#[test]
fn a_truncated_export_is_refused() {
    for path in exports().into_iter().filter(|path| !is_later_version(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let cut = tempfile::NamedTempFile::new().unwrap();
        let mut middle = text.len() / 2;
        while !text.is_char_boundary(middle) {
            middle -= 1;
        }
        fs::write(cut.path(), &text[..middle]).unwrap();
        let error = hwinfo::describe(&Source::Xml(cut.path().into()), "export").unwrap_err().to_string();
        assert!(error.contains("hwloc refuses it"), "{}: {error}", path.display());
    }
}
