//! Disks: whether each file system holds all sectors that its sealing threads may have in flight.
//!
//! A sector holds everything until its proof has landed, so each thread counts with the peak, the end of PC2.

use super::{
    Finding,
    Severity::{Advice, Error, Warning},
    case::Case,
    count, finding,
};
use crate::{
    machine::{Disk, DiskKind, Mount},
    profile::Stage,
    units::Bytes,
};
use serde::Serialize;
use std::path::Path;

/// A file system and the sealing threads on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreRoom {
    pub mount: String,
    pub threads: u32,
    pub need: Bytes,
    /// Absent where the machine does not tell.
    pub total: Option<Bytes>,
}

pub(super) fn check(case: &Case) -> (Vec<StoreRoom>, Vec<Finding>) {
    let mut found = Vec::new();
    let path = "sealing_thread";
    let peak = case.cost(Stage::C2, None).map_or(Bytes(0), |cost| cost.scratch);
    let Some(disks) = &case.machine.disks else {
        let need = Bytes(peak.0.saturating_mul(case.threads.into())).human();
        let text = format!(
            "the machine does not tell its disks, so room was not checked: {} take {need}",
            count(case.threads, "thread")
        );
        return (Vec::new(), vec![finding(Advice, "disks-unknown", path, text, "make sure of it")]);
    };
    let mut rooms: Vec<StoreRoom> = Vec::new();
    for (i, thread) in case.question.config.sealing_thread.iter().enumerate() {
        let at = format!("sealing_thread[{i}].location");
        let shown = thread.location.display();
        let Some((disk, mount)) = mount_of(disks, &thread.location) else {
            if thread.location.is_absolute() {
                let text = format!("{shown} is on no file system of a disk that the machine tells of");
                found.push(finding(Warning, "no-disk", at, text, "mount a fast disk there"));
            }
            continue;
        };
        if mount.read_only {
            found.push(finding(
                Error,
                "read-only",
                at.clone(),
                format!("{} is mounted read-only", mount.path),
                "mount it for writing",
            ));
        }
        if disk.kind == DiskKind::Hdd {
            let text =
                format!("{shown} is on {}, a spinning disk: PC2 alone reads hundreds of GiB of a sector", disk.name);
            found.push(finding(Warning, "slow-disk", at, text, "take an NVMe disk"));
        }
        let room = match rooms.iter_mut().find(|room| room.mount == mount.path) {
            Some(room) => room,
            None => {
                rooms.push(StoreRoom {
                    mount: mount.path.clone(),
                    threads: 0,
                    need: Bytes(0),
                    total: size(disk, mount),
                });
                rooms.last_mut().expect("just pushed")
            }
        };
        room.threads += 1;
        room.need = Bytes(room.need.0.saturating_add(peak.0));
    }
    found.extend(rooms.iter().filter_map(|room| too_small(room, peak)));
    found.extend(attached(case, disks, &rooms));
    (rooms, found)
}

fn size(disk: &Disk, mount: &Mount) -> Option<Bytes> {
    mount.total_bytes.or(disk.size_bytes)
}

/// The innermost mount around a path.
fn mount_of<'d>(disks: &'d [Disk], path: &Path) -> Option<(&'d Disk, &'d Mount)> {
    let mounts = disks.iter().flat_map(|disk| disk.mounts.iter().flatten().map(move |mount| (disk, mount)));
    let around = mounts.filter(|(_, mount)| path.starts_with(&mount.path));
    around.max_by_key(|(_, mount)| Path::new(&mount.path).components().count())
}

fn too_small(room: &StoreRoom, peak: Bytes) -> Option<Finding> {
    let total = room.total?;
    if room.need <= total {
        return None;
    }
    let fits = total.0 / peak.0.max(1);
    let text = format!(
        "{} holds {}, the {} there need {} when all are past PC2 ({} each)",
        room.mount,
        total.human(),
        count(room.threads, "sealing thread"),
        room.need.human(),
        peak.human()
    );
    Some(finding(Error, "no-room", "sealing_thread", text, format!("keep at most {fits} there, or add disks")))
}

fn attached(case: &Case, disks: &[Disk], rooms: &[StoreRoom]) -> Vec<Finding> {
    let stores = case.question.config.attached.iter().enumerate();
    stores
        .filter_map(|(i, store)| {
            let (_, mount) = mount_of(disks, &store.location)?;
            rooms.iter().any(|room| room.mount == mount.path).then(|| {
                let text = format!("{} is on {}, where sectors are sealed", store.location.display(), mount.path);
                let advice = "keep finished sectors elsewhere: they fill the room that sealing needs";
                finding(Warning, "store-on-sealing-disk", format!("attached[{i}].location"), text, advice)
            })
        })
        .collect()
}
