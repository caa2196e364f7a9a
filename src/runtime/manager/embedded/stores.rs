//! The persistent stores as the embedded manager sees them: is there room, are a sector's files complete.
//!
//! Facts are gathered first (`rooms`, `look`), the choice between them is pure (`pick`).

use super::{AttachedStore, sector::Reservation};
use crate::{runtime::stage::SectorPaths, units::SectorSize};
use nix::sys::statvfs::statvfs;
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// A writable store and the room on its file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub store: String,
    /// Stores with the same number share their free space.
    pub device: u64,
    pub free_bytes: u64,
}

/// The room in each writable store; one that cannot be read is passed over with a warning.
pub fn rooms(attached: &[AttachedStore]) -> Vec<Room> {
    attached.iter().filter(|store| !store.readonly).filter_map(room).collect()
}

fn room(store: &AttachedStore) -> Option<Room> {
    let read = || -> io::Result<Room> {
        let device = fs::metadata(&store.path)?.dev();
        let space = statvfs(&store.path)?;
        // Counted in fragments, not in blocks; what is available leaves out root's reserve.
        let free_bytes = space.blocks_available() * space.fragment_size();
        Ok(Room { store: store.name.clone(), device, free_bytes })
    };
    read()
        .inspect_err(|error| {
            tracing::warn!(store = store.name, path = %store.path.display(), %error, "no room is known in this store");
        })
        .ok()
}

/// The store for `bytes`: of the candidates (none given: of all) the one with the most room left after what
/// `others` have reserved on the same device; the first of equals. `None` when it fits nowhere.
pub fn pick<'a>(rooms: &'a [Room], others: &[Reservation], candidates: &[String], bytes: u64) -> Option<&'a str> {
    let device_of = |store: &str| rooms.iter().find(|room| room.store == store).map(|room| room.device);
    let left = |room: &Room| {
        let taken = others.iter().filter(|it| device_of(&it.store) == Some(room.device)).map(|it| it.bytes);
        taken.fold(room.free_bytes, u64::saturating_sub)
    };
    let fitting = rooms
        .iter()
        .filter(|room| candidates.is_empty() || candidates.contains(&room.store))
        .map(|room| (left(room), room))
        .filter(|(left, _)| *left >= bytes);
    // `max_by_key` takes the last of equals.
    fitting.rev().max_by_key(|(left, _)| *left).map(|(_, room)| room.store.as_str())
}

/// Whether all of a sector's files are in the store at `root` with the right lengths; if not, what is wrong.
pub fn look(root: &Path, paths: &SectorPaths, size: SectorSize) -> Result<(), String> {
    let wrong: Vec<_> =
        paths.persisted(size).iter().filter_map(|(file, length)| look_at(&root.join(file), *length).err()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn look_at(file: &Path, length: Option<u64>) -> Result<(), String> {
    let path = file.display();
    let found = fs::metadata(file).map_err(|error| format!("{path}: {error}"))?;
    match (found.is_file(), found.len(), length) {
        (false, ..) => Err(format!("{path} is not a file")),
        (_, 0, None) => Err(format!("{path} is empty")),
        (_, found, Some(right)) if found != right => Err(format!("{path} has {found} bytes, not {right}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms_of(free: &[(&str, u64, u64)]) -> Vec<Room> {
        free.iter().map(|&(store, device, free_bytes)| Room { store: store.into(), device, free_bytes }).collect()
    }

    fn taken(store: &str, bytes: u64) -> Reservation {
        Reservation { store: store.into(), bytes }
    }

    #[test]
    fn the_store_with_the_most_room_is_picked_and_the_first_of_equals() {
        let rooms = rooms_of(&[("a", 1, 50), ("b", 2, 90), ("c", 3, 90)]);
        assert_eq!(pick(&rooms, &[], &[], 10), Some("b"));
        assert_eq!(pick(&rooms, &[], &["a".into(), "nowhere".into()], 10), Some("a"));
    }

    #[test]
    fn what_others_reserved_is_not_free() {
        let rooms = rooms_of(&[("a", 1, 50), ("b", 2, 90)]);
        assert_eq!(pick(&rooms, &[taken("b", 60)], &[], 10), Some("a"));
        assert_eq!(pick(&rooms, &[taken("b", 60)], &[], 51), None);
        assert_eq!(pick(&rooms, &[taken("b", 1000), taken("gone", 1000)], &[], 50), Some("a"));
    }

    #[test]
    fn stores_on_one_device_share_its_room() {
        let rooms = rooms_of(&[("a", 1, 100), ("b", 1, 100)]);
        assert_eq!(pick(&rooms, &[taken("a", 60)], &["b".into()], 41), None);
        assert_eq!(pick(&rooms, &[taken("a", 60)], &["b".into()], 40), Some("b"));
    }

    #[test]
    fn a_store_that_does_not_fit_or_is_no_candidate_is_not_picked() {
        let rooms = rooms_of(&[("a", 1, 50)]);
        assert_eq!(pick(&rooms, &[], &[], 51), None);
        assert_eq!(pick(&rooms, &[], &["b".into()], 1), None);
    }

    #[test]
    fn a_store_that_is_readonly_or_not_there_has_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            |name: &str, path: &Path, readonly| AttachedStore { name: name.into(), path: path.into(), readonly };
        let found = rooms(&[
            store("ok", folder.path(), false),
            store("readonly", folder.path(), true),
            store("gone", &folder.path().join("gone"), false),
        ]);
        assert_eq!(found.iter().map(|room| room.store.as_str()).collect::<Vec<_>>(), ["ok"]);
        assert!(found[0].free_bytes > 0);
    }

    #[test]
    fn missing_short_and_empty_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let paths = SectorPaths::new(1000, 7);
        let root = folder.path();
        fs::create_dir_all(root.join("sealed")).unwrap();
        fs::create_dir_all(root.join(paths.cache())).unwrap();
        fs::write(root.join(paths.sealed()), [0; 2047]).unwrap();
        fs::write(root.join(paths.cache()).join("t_aux"), []).unwrap();
        fs::create_dir(root.join(paths.cache()).join("p_aux")).unwrap();
        let reason = look(root, &paths, SectorSize::KiB2).unwrap_err();
        for part in ["s-t01000-7 has 2047 bytes, not 2048", "t_aux is empty", "p_aux is not a file", "No such file"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }
}
