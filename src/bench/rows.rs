//! Measurements as rows of a profile, each with where it comes from. Pure.

use super::{
    disk::DiskSample,
    import::Line,
    order::Order,
    sample::{Sample, best},
};
use crate::{
    machine::{DiskKind, Machine},
    profile::{DiskSpeed, GpuKey, Profile, Row, Stage},
    units::{Prover, SectorSize},
};
use std::path::Path;

/// Who measured, when, and how: what a reader of the profile needs in order to do it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `2026-11-28`
    pub date: String,
    pub command: String,
    pub host: String,
}

/// The rows of the best layouts.
pub fn stage_rows(samples: &[Sample], machine: &Machine, sector_size: SectorSize, origin: &Origin) -> Vec<Row> {
    let row = |sample: &&Sample| {
        let (least, most) = sample.range();
        let cores = sample.layout.cores_of_task();
        let source = format!(
            "{}: {}; {} tasks of {least:.2} to {most:.2} s; measured {} by `{}`",
            place(machine, origin),
            sample.layout,
            sample.seconds.len(),
            origin.date,
            origin.command
        );
        Row {
            gpu: Some(GpuKey::None).filter(|_| can_use_gpus(sample.stage)),
            cpu: machine.cpu_model().map(str::to_owned),
            provers: if sample.stage == Stage::Pc1 { vec![Prover::Own] } else { Vec::new() },
            minutes: Some(digits(sample.mean_seconds() / 60.0)),
            cores: Some(cores),
            band: Some(sample.band()),
            ..Row::empty(sample.stage, sector_size, source)
        }
    };
    best(samples, Order::production_kind(sector_size)).iter().map(row).collect()
}

/// The row of a disk.
pub fn disk_row(sample: &DiskSample, machine: &Machine, origin: &Origin) -> DiskSpeed {
    let how = if sample.direct { "past the page cache" } else { "through the page cache, which flatters reads" };
    DiskSpeed {
        kind: kind_of(machine, &sample.location).to_owned(),
        model: None,
        path: Some(sample.location.to_string_lossy().into_owned()),
        reads: sample.reads,
        writes: sample.writes,
        reads_random: Some(sample.reads_random),
        writes_random: Some(sample.writes_random),
        source: format!(
            "{}: a file of {}, {} requests in flight, {how}; measured {} by `{}`",
            place(machine, origin),
            sample.bytes,
            sample.depth,
            origin.date,
            origin.command
        ),
    }
}

/// The rows of what logs tell: of each stage the line with the most output for each core, or the most tasks where logs do
/// not tell the cores.
pub fn import_rows(lines: &[Line], told: &Row, origin: &Origin) -> Vec<Row> {
    let of_stage = |stage: Stage| {
        let lines = lines.iter().filter(|line| line.stage == stage);
        let best = lines.max_by(|a, b| {
            let known = (a.per_core_hour(), b.per_core_hour());
            match known {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (Some(_), None) => std::cmp::Ordering::Greater,
                (None, Some(_)) => std::cmp::Ordering::Less,
                (None, None) => a.seconds.len().cmp(&b.seconds.len()),
            }
        })?;
        let source = format!(
            "{} tasks{} in {}; read {} by `{}`",
            best.seconds.len(),
            best.at_once.map_or(String::new(), |n| format!(", {n} at once")),
            best.files.join(", "),
            origin.date,
            origin.command
        );
        Some(Row {
            gpu: told.gpu.clone().filter(|_| can_use_gpus(stage)),
            cpu: told.cpu.clone(),
            provers: told.provers.clone(),
            minutes: Some(digits(best.mean_seconds() / 60.0)),
            cores: best.cores,
            band: Some(super::sample::band(&best.seconds)),
            ..Row::empty(stage, told.sector_size, source)
        })
    };
    Stage::ALL.into_iter().filter_map(of_stage).collect()
}

/// A profile of these rows.
pub fn profile(rows: Vec<Row>, disks: Vec<DiskSpeed>) -> Profile {
    Profile::of(rows, disks)
}

/// PC2 and C2 look for one; what cores measured must not be taken for a GPU's figure.
fn can_use_gpus(stage: Stage) -> bool {
    matches!(stage, Stage::Pc2 | Stage::C2)
}

fn place(machine: &Machine, origin: &Origin) -> String {
    let cpu = machine.cpu_model().unwrap_or("a processor that does not tell its name");
    format!("{} ({cpu}, {} cores)", origin.host, machine.usable_cores().len())
}

/// Six digits that mean something: milliseconds of small stages, no noise of large ones.
fn digits(minutes: f64) -> f64 {
    let least = 1e-6;
    let scale = 10f64.powi(5 - minutes.max(least).log10().floor() as i32);
    (minutes * scale).round().max(1.0) / scale
}

fn kind_of(machine: &Machine, location: &Path) -> &'static str {
    let disks = machine.disks.iter().flatten();
    let mounts = disks.flat_map(|disk| disk.mounts.iter().flatten().map(move |mount| (disk, mount)));
    let below = mounts.filter(|(_, mount)| location.starts_with(&mount.path));
    match below.max_by_key(|(_, mount)| mount.path.len()).map(|(disk, _)| disk.kind) {
        Some(DiskKind::Nvme) => "nvme",
        Some(DiskKind::Ssd) => "ssd",
        Some(DiskKind::Hdd) => "hdd",
        Some(DiskKind::Unknown) | None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{
            layout::{Kind, tests::machine},
            sample::tests::sample,
        },
        profile::Question,
        units::Bytes,
    };

    fn origin() -> Origin {
        Origin { date: "2026-11-28".into(), command: "damocles-worker-util bench".into(), host: "rig".into() }
    }

    #[test]
    fn a_measured_row_reads_back_and_goes_before_the_built_in_one() {
        let machine = machine(1, 1, 2);
        let samples = [sample(Stage::C2, Kind::Shared, 1, &[90.0, 110.0])];
        let rows = stage_rows(&samples, &machine, SectorSize::KiB2, &origin());
        let measured = Profile::parse(&profile(rows, Vec::new()).to_toml()).unwrap();
        let all = Profile::shipped().overridden_by(&measured);
        let question = Question {
            stage: Stage::C2,
            sector_size: SectorSize::KiB2,
            prover: Prover::Own,
            suite: crate::profile::Suite::Stock,
            cpu: None,
            ghz: None,
            sha: None,
            gpu: None,
            static_tree_d: false,
        };
        let cost = all.lookup(&question).unwrap();
        assert!((cost.minutes(1) * 60.0 - 100.0).abs() < 0.01, "{cost:?}");
        assert_eq!((cost.cores(), cost.measured_here, cost.memory), (1, true, Bytes::mib(2816)));
        assert!(cost.source.contains("2 at once, sharing 2 cores; 2 tasks of 90.00 to 110.00 s"), "{}", cost.source);
        assert!(cost.source.contains("2026-11-28 by `damocles-worker-util bench`"), "{}", cost.source);
    }

    #[test]
    fn minutes_keep_six_digits_and_are_never_zero() {
        assert_eq!(digits(1.234_567_89), 1.234_57);
        assert_eq!(digits(161.234_567), 161.235);
        assert!(digits(1e-9) > 0.0);
        assert_eq!(digits(0.001_234_567_8), 0.001_234_57);
    }

    #[test]
    fn a_disk_is_known_by_its_location() {
        let sample = DiskSample {
            location: "/mnt/nvme0".into(),
            direct: false,
            depth: 16,
            bytes: Bytes::gib(1),
            reads: Bytes::gib(3),
            writes: Bytes::gib(1),
            reads_random: Bytes::mib(500),
            writes_random: Bytes::mib(300),
        };
        let row = disk_row(&sample, &machine(1, 1, 2), &origin());
        assert_eq!((row.path.as_deref(), row.kind.as_str()), (Some("/mnt/nvme0"), "unknown"));
        assert!(row.source.contains("flatters reads"), "{}", row.source);
        let profile = Profile::parse(&profile(Vec::new(), vec![row]).to_toml()).unwrap();
        assert_eq!(profile.disk_at(Path::new("/mnt/nvme0/sealing")).map(|disk| disk.reads), Some(Bytes::gib(3)));
        assert_eq!(profile.disk_at(Path::new("/mnt/nvme1")), None);
        assert_eq!(profile.disk("unknown", None), None, "one disk says nothing of others");
    }
}
