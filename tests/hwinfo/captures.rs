//! Every XML export in the folder that `DAMOCLES_TEST_TOPOLOGIES` names: nothing is lost, nothing crashes.

use crate::{assert_reads_back, tree};
use damocles_worker::{
    hwinfo,
    machine::PartKind,
    sys::topology::{self, ObjectType, Source},
};
use std::{fs, path::PathBuf};

/// The exports, or none when the variable is not set: the data is not part of the project.
fn exports() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES") else { return Vec::new() };
    let mut files: Vec<_> =
        fs::read_dir(PathBuf::from(folder).join("xml")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn is_later_version(path: &std::path::Path) -> bool {
    path.to_string_lossy().ends_with(".v3.xml")
}

#[test]
fn every_export_loads_without_loss() {
    for path in exports().into_iter().filter(|path| !is_later_version(path)) {
        let source = Source::Xml(path.clone());
        let (hwloc, machine) = (topology::load(&source).unwrap(), hwinfo::describe(&source, "export").unwrap());
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
