//! Crashes of the journal: torn, damaged, half compacted.

use super::*;
use crate::{
    runtime::manager::wire::{AllocatedSector, Randomness, SectorId, Ticket},
    units::SealProof,
};
use std::fs::OpenOptions;
use std::io::Write;

pub(crate) fn sealing() -> Sealing {
    Sealing { max_retries: 2, ..Sealing::default() }
}

fn allocated() -> Event {
    let id = SectorId { miner: 1000, number: 1 };
    let sector = AllocatedSector { id, proof_type: SealProof::from_number(5).unwrap() };
    Event::Allocated { sector, chain: None }
}

fn open(root: &Path) -> Result<(Store, Vec<String>), StoreError> {
    Store::open(root, &sealing())
}

fn store_in(root: &Path, events: Vec<Event>) -> Record {
    let (mut store, _) = open(root).unwrap();
    for event in events {
        store.apply(event, &sealing()).unwrap();
    }
    store.record().clone()
}

#[test]
fn a_reopened_store_stands_where_it_stood() {
    let dir = tempfile::tempdir().unwrap();
    let record = store_in(dir.path(), vec![allocated(), Event::DealsAcquired]);
    let (store, notes) = open(dir.path()).unwrap();
    assert_eq!(store.record(), &record);
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_first, _) = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another process owns it"), "{error}");
}

#[test]
fn a_line_torn_at_any_byte_is_dropped_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let before = store_in(dir.path(), vec![allocated()]);
    let whole = fs::read(dir.path().join("journal")).unwrap();
    let after = store_in(dir.path(), vec![Event::DealsAcquired]);
    let both = fs::read(dir.path().join("journal")).unwrap();
    for length in whole.len()..=both.len() {
        fs::write(dir.path().join("journal"), &both[..length]).unwrap();
        let (store, notes) = open(dir.path()).unwrap();
        let complete = length == both.len();
        assert_eq!(store.record(), if complete { &after } else { &before }, "cut at {length}");
        assert_eq!(notes.len(), usize::from(!complete && length > whole.len()));
    }
}

#[test]
fn what_follows_a_dropped_line_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    store_in(dir.path(), vec![allocated()]);
    OpenOptions::new().append(true).open(dir.path().join("journal")).unwrap().write_all(b"deadbeef {\"se").unwrap();
    let record = store_in(dir.path(), vec![Event::DealsAcquired]);
    assert_eq!(open(dir.path()).unwrap().0.record(), &record);
}

#[test]
fn a_whole_last_line_of_another_version_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    store_in(dir.path(), vec![allocated()]);
    let json = r#"{"seq":2,"at_ms":0,"event":"Teleported"}"#;
    let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    OpenOptions::new().append(true).open(dir.path().join("journal")).unwrap().write_all(line.as_bytes()).unwrap();
    let before = fs::read(dir.path().join("journal")).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("journal, line 2: not an entry of this version"), "{error}");
    assert_eq!(fs::read(dir.path().join("journal")).unwrap(), before);
}

#[test]
fn a_damaged_line_before_the_last_stops_the_store_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    store_in(dir.path(), vec![allocated(), Event::DealsAcquired]);
    let path = dir.path().join("journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("journal, line 1") && error.contains("checksum"), "{error}");
}

#[test]
fn a_crash_between_snapshot_and_cut_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    store_in(dir.path(), vec![allocated()]);
    let old = fs::read(dir.path().join("journal")).unwrap();
    let aborted = Event::Aborted { reason: "test".into() };
    let empty = store_in(dir.path(), vec![aborted, Event::Dropped]);
    assert_eq!(empty, Record::default());
    // The journal as it was before it was cut.
    fs::write(dir.path().join("journal"), old).unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    assert_eq!(store.record(), &Record::default());
    store.apply(allocated(), &sealing()).unwrap();
}

#[test]
fn an_event_out_of_order_is_refused_and_not_journaled() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    let ticket = Ticket { ticket: Randomness([1; 32]), epoch: 1 };
    let error = store.apply(Event::TicketAssigned(ticket), &sealing()).unwrap_err().to_string();
    assert!(error.contains("TicketAssigned cannot follow state Empty"), "{error}");
    assert_eq!(fs::read(dir.path().join("journal")).unwrap(), b"");
}

#[test]
fn dropping_a_sectors_files_twice_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.apply(allocated(), &sealing()).unwrap();
    let folder = store.prepare_tree_d().unwrap();
    fs::write(folder.join("x"), "x").unwrap();
    store.drop_files().unwrap();
    store.drop_files().unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_static_tree_d_of_the_wrong_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.apply(allocated(), &sealing()).unwrap();
    let file = dir.path().join("tree");
    fs::write(&file, [0; 100]).unwrap();
    let refused = store.link_static_tree_d(&file, crate::units::SectorSize::KiB2).unwrap().unwrap_err();
    assert!(refused.contains("100 bytes long, 4064 expected"), "{refused}");
    fs::write(&file, [0; 4064]).unwrap();
    store.link_static_tree_d(&file, crate::units::SectorSize::KiB2).unwrap().unwrap();
}

#[test]
fn a_changed_c1_answer_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path()).unwrap();
    store.apply(allocated(), &sealing()).unwrap();
    store.prepare_tree_d().unwrap();
    fs::write(store.root().join("prepared/s-t01000-1/sc-02-data-tree-d.dat"), "").unwrap();
    store.prepare_pc1().unwrap();
    let digest = store.keep_c1(&crate::runtime::stage::Opaque::new(&[1, 2]).unwrap()).unwrap();
    assert_eq!(store.read_c1(&digest).unwrap().unwrap().as_json(), "[1,2]");
    fs::write(store.root().join("cache/s-t01000-1/c1-output.json"), "[1,3]").unwrap();
    assert!(store.read_c1(&digest).unwrap().unwrap_err().contains("not what was journaled"));
}
