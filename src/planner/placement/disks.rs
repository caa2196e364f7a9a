//! Sealing stores on disks: how many sectors each file system holds, and a place for each sealing thread.
//!
//! A sector holds its store from the first byte until its proof has landed, and near its peak for most of that time.
//! So a file system carries as many threads as peaks fit on it.

use crate::{
    planner::{
        Site,
        inventory::{Inventory, Store},
    },
    profile::{DiskSpeed, Profile},
    units::{Bytes, NodeId},
};
use std::path::PathBuf;

/// The part of a file system that is planned: the rest keeps it from slowing down.
const SHARE: f64 = 0.95;

/// A folder that threads get stores in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Folder {
    pub path: PathBuf,
    pub node: Option<NodeId>,
    /// The room of its file system; none where nothing tells.
    pub room: Option<Bytes>,
    /// Sectors that it holds at most; none where nothing tells.
    pub sectors: Option<u32>,
    /// Bytes a second that its disks read and write, each alone; none where nothing tells.
    pub reads: Option<Bytes>,
    pub writes: Option<Bytes>,
}

impl Folder {
    /// One of which nothing is known but its path.
    pub(crate) fn unknown(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), node: None, room: None, sectors: None, reads: None, writes: None }
    }
}

/// The folders of a plan: those that were named, or else one on each fast file system.
pub(crate) fn folders(inventory: &Inventory, site: &Site, profile: &Profile, peak: Bytes) -> Vec<Folder> {
    let named = &site.sealing_dirs;
    let folder = |path: PathBuf, store: Option<&Store>, shared_by: u64| folder(path, store, shared_by, profile, peak);
    if site.sealing_dirs_are_default && !inventory.stores.is_empty() {
        let stores = inventory.stores.iter();
        let folders: Vec<_> = stores.map(|store| folder(store.path.join("sealing"), Some(store), 1)).collect();
        // One that holds no sector is of no use, unless none does: then the plan says what is missing.
        let useful: Vec<_> = folders.iter().filter(|folder| folder.sectors != Some(0)).cloned().collect();
        return if useful.is_empty() { folders } else { useful };
    }
    let stores: Vec<_> = named.iter().map(|dir| inventory.store_of(dir)).collect();
    named
        .iter()
        .zip(&stores)
        .map(|(dir, store)| {
            let beside = stores.iter().filter(|other| other.is_some() && *other == store).count();
            folder(dir.clone(), *store, beside.max(1) as u64)
        })
        .collect()
}

/// `shared_by` folders lie on one file system and get equal parts of it.
fn folder(path: PathBuf, store: Option<&Store>, shared_by: u64, profile: &Profile, peak: Bytes) -> Folder {
    let room = store.and_then(|store| store.total).map(|total| Bytes(total.0 / shared_by));
    let sectors = room.map(|room| (room.0 as f64 * SHARE / peak.0.max(1) as f64) as u32);
    let speed = |of: fn(&DiskSpeed) -> Bytes| {
        if let Some(measured) = profile.disk_at(&path) {
            return Some(Bytes(of(measured).0 / shared_by));
        }
        let disks = store?.disks.iter().map(|(kind, model)| profile.disk(kind, model.as_deref()).map(of));
        let all: Option<Vec<Bytes>> = disks.collect();
        all.map(|all| Bytes(all.iter().map(|bytes| bytes.0).sum::<u64>() / shared_by))
    };
    let (reads, writes) = (speed(|disk| disk.reads), speed(|disk| disk.writes));
    Folder { path, node: store.and_then(|store| store.node), room, sectors, reads, writes }
}

/// Sectors an hour that the disks read and write for; none where nothing is known of some.
pub(crate) fn most_per_hour(folders: &[Folder], reads: Bytes, writes: Bytes) -> Option<f64> {
    let sum = |of: fn(&Folder) -> Option<Bytes>| {
        let all: Option<Vec<Bytes>> = folders.iter().map(of).collect();
        all.map(|all| all.iter().map(|bytes| bytes.0 as f64).sum::<f64>())
    };
    let (read_speed, write_speed) = (sum(|folder| folder.reads)?, sum(|folder| folder.writes)?);
    // While it reads it does not write, so the two take their time one after the other.
    let seconds = reads.0 as f64 / read_speed + writes.0 as f64 / write_speed;
    Some(3600.0 / seconds)
}

/// The smallest file system that holds one sector.
pub(crate) fn least_room(peak: Bytes) -> Bytes {
    Bytes((peak.0 as f64 / SHARE).ceil() as u64)
}

/// The most sealing threads; none where some folder's room is not known.
pub(crate) fn most_threads(folders: &[Folder]) -> Option<u32> {
    folders.iter().map(|folder| folder.sectors).sum()
}

/// The store of each thread: always in the folder that is the emptiest by its room and the least busy by its speed, so
/// that none fills or slows down before others. `reads` and `writes` are a sector's.
pub(crate) fn stores(folders: &[Folder], threads: u32, reads: Bytes, writes: Bytes) -> Vec<PathBuf> {
    let rooms: Vec<f64> = folders.iter().map(|folder| folder.sectors.map_or(1e3, |n| f64::from(n.max(1)))).collect();
    let speeds = speeds(folders, reads, writes);
    let shares = shares(&rooms, &speeds);
    let mut counts = vec![0u32; folders.len()];
    for _ in 0..threads {
        let is_full = |place: usize| f64::from(counts[place]) >= rooms[place];
        let fill = |place: usize| (is_full(place), f64::from(counts[place] + 1) / shares[place]);
        let order = |a: &usize, b: &usize| {
            let (a, b) = (fill(*a), fill(*b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        let emptiest = (0..folders.len()).min_by(order);
        counts[emptiest.expect("a site has a sealing folder: it was checked")] += 1;
    }
    // Round by round, so that the first threads, which start first, do not all meet on one disk.
    let rounds = counts.iter().copied().max().unwrap_or(0);
    let places = (0..rounds).flat_map(|round| (0..folders.len()).map(move |place| (round, place)));
    places
        .filter(|(round, place)| *round < counts[*place])
        .map(|(round, place)| folders[place].path.join(round.to_string()))
        .collect()
}

/// Sectors a second that each folder's disks read and write for; all alike where something is not known of one.
fn speeds(folders: &[Folder], reads: Bytes, writes: Bytes) -> Vec<f64> {
    let speed = |folder: &Folder| {
        let seconds = reads.0 as f64 / folder.reads?.0 as f64 + writes.0 as f64 / folder.writes?.0 as f64;
        (seconds > 0.0).then_some(1.0 / seconds)
    };
    let all: Option<Vec<f64>> = folders.iter().map(speed).collect();
    all.unwrap_or_else(|| vec![1.0; folders.len()])
}

/// Each folder's part of the threads: by its room, or less where its disk is slower than others.
fn shares(rooms: &[f64], speeds: &[f64]) -> Vec<f64> {
    let fastest = speeds.iter().copied().fold(0.0, f64::max);
    // Disks of one speed fill by their room alone.
    rooms.iter().zip(speeds).map(|(room, speed)| room * (speed / fastest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, sectors: Option<u32>) -> Folder {
        Folder { sectors, ..Folder::unknown(path) }
    }

    #[test]
    fn a_disk_reads_and_writes_one_after_the_other() {
        let disk = |gib| Some(Bytes::gib(gib));
        let fast = |path| Folder { reads: disk(3), writes: disk(1), ..folder(path, None) };
        let two = [fast("/a"), fast("/b")];
        // 360 GiB at 6 GiB/s and 480 at 2: 60 and 240 s.
        let found = most_per_hour(&two, Bytes::gib(360), Bytes::gib(480)).unwrap();
        assert!((found - 12.0).abs() < 1e-9, "{found}");
        assert_eq!(most_per_hour(&[fast("/a"), folder("/b", None)], Bytes::gib(1), Bytes::gib(1)), None);
    }

    #[test]
    fn threads_fill_disks_by_their_room() {
        let stores = stores(&[folder("/a", Some(10)), folder("/b", Some(5))], 6, Bytes::gib(360), Bytes::gib(480));
        let on = |dir: &str| stores.iter().filter(|store| store.starts_with(dir)).count();
        assert_eq!((on("/a"), on("/b")), (4, 2));
        assert_eq!(stores[..3], ["/a/0", "/b/0", "/a/1"].map(PathBuf::from));
        assert_eq!(most_threads(&[folder("/a", Some(10)), folder("/b", Some(5))]), Some(15));
        assert_eq!(most_threads(&[folder("/a", Some(10)), folder("/b", None)]), None);
    }

    #[test]
    fn measured_slower_disks_get_fewer_threads_until_the_fast_ones_are_full() {
        let disk = |path: &str, writes| Folder {
            reads: Some(Bytes::gib(3)),
            writes: Some(Bytes::mib(writes)),
            ..folder(path, Some(10))
        };
        let folders = [disk("/fast", 2048), disk("/slow", 512)];
        let on = |threads: u32, dir: &str| {
            let stores = stores(&folders, threads, Bytes::gib(0), Bytes::gib(480));
            stores.iter().filter(|store| store.starts_with(dir)).count()
        };
        assert_eq!((on(10, "/fast"), on(10, "/slow")), (8, 2), "by their speed, four to one");
        assert_eq!((on(18, "/fast"), on(18, "/slow")), (10, 8), "no more than there is room for");
    }

    #[test]
    fn what_was_measured_in_a_folder_goes_before_what_is_known_of_its_kind() {
        let text = "version = 1\n[[disk]]\nkind = \"nvme\"\npath = \"/mnt/nvme0\"\nreads = \"1GiB\"\nwrites = \"100MiB\"\n\
                    source = \"measured\"\n";
        let profile = Profile::shipped().overridden_by(&Profile::parse(text).unwrap());
        let store = |path: &str| Store {
            path: path.into(),
            disks: vec![("nvme", None)],
            node: None,
            total: Some(Bytes::tib(7)),
        };
        let of = |path: &str| {
            super::folder(format!("{path}/sealing").into(), Some(&store(path)), 1, &profile, Bytes::gib(500))
        };
        assert_eq!(of("/mnt/nvme0").writes, Some(Bytes::mib(100)));
        assert_eq!(of("/mnt/nvme1").writes, Some(Bytes::gib(1)));
    }
}
