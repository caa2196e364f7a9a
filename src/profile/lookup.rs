//! The question to a profile: what one task of a stage takes on one kind of machine, and how sure that is.
//!
//! Rows that hold are ordered: a user's before shipped ones, then those that name the GPU, the processor, the prover,
//! the suite, the instructions, then the later one. Each group of figures (duration, memory, disk …) comes from the
//! first row that has it.

use super::{Band, DiskSpeed, GpuKey, Profile, Row, Stage, Suite, Wait, WaitName, catalogue, names};
use crate::units::{Bytes, Prover, SectorSize};
use serde::Serialize;
use std::path::Path;

/// What is asked for. What is not known is `None`, and then rows that depend on it do not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question<'a> {
    pub stage: Stage,
    pub sector_size: SectorSize,
    pub prover: Prover,
    pub suite: Suite,
    /// The processor's model, as the kernel calls it.
    pub cpu: Option<&'a str>,
    /// Its sustained clock; where it is `None`, that of the catalogue for `cpu`.
    pub ghz: Option<f64>,
    /// Whether it has SHA instructions; where nothing tells, a plan counts on them.
    pub sha: Option<bool>,
    /// The GPU that the stage is done on, by its name; none where cores do it.
    pub gpu: Option<&'a str>,
    /// A ready tree-d is linked instead of built.
    pub static_tree_d: bool,
}

/// How long a task takes, as far as it depends on the cores that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Time {
    /// So long on `cores` cores; more bring nothing.
    Fixed { minutes: f64, cores: u32 },
    /// Work that spreads over at most `cores_max` cores.
    Work { core_seconds: f64, cores_max: u32 },
}

/// What one task of a stage takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub stage: Stage,
    pub time: Time,
    /// Of the duration.
    pub band: Band,
    /// Without what threads add.
    pub memory: Bytes,
    /// What careful sources book; never less than `memory`.
    pub memory_most: Bytes,
    pub memory_per_thread: Bytes,
    pub memory_threads: u32,
    /// Memory on the card; none where no GPU is used.
    pub gpu_memory: Option<Bytes>,
    pub reads: Bytes,
    pub writes: Bytes,
    /// Room that the sector holds when the stage ends, everything before it included.
    pub scratch: Bytes,
    /// Of the duration.
    pub source: String,
    /// Whether the duration is a user's own measurement.
    pub measured_here: bool,
}

impl Cost {
    /// The duration on so many cores. With fewer than the figure was had with it takes proportionally longer.
    pub fn minutes(&self, cores: u32) -> f64 {
        let cores = cores.max(1);
        match self.time {
            Time::Fixed { minutes, cores: had } => minutes * f64::from(had.max(cores)) / f64::from(cores),
            Time::Work { core_seconds, cores_max } => core_seconds / 60.0 / f64::from(cores.min(cores_max)),
        }
    }

    /// The cores beyond which it gets no faster.
    pub fn cores(&self) -> u32 {
        match self.time {
            Time::Fixed { cores, .. } => cores,
            Time::Work { cores_max, .. } => cores_max,
        }
    }

    /// Its work, in seconds of one core.
    pub fn core_seconds(&self) -> f64 {
        match self.time {
            Time::Fixed { minutes, cores } => minutes * 60.0 * f64::from(cores),
            Time::Work { core_seconds, .. } => core_seconds,
        }
    }

    /// The memory of a task on so many cores.
    pub fn memory_on(&self, cores: u32) -> Bytes {
        Bytes(self.memory.0.saturating_add(self.threads_memory(cores)))
    }

    /// The same as careful sources book it.
    pub fn memory_most_on(&self, cores: u32) -> Bytes {
        Bytes(self.memory_most.0.saturating_add(self.threads_memory(cores)))
    }

    fn threads_memory(&self, cores: u32) -> u64 {
        self.memory_per_thread.0.saturating_mul(cores.min(self.memory_threads).into())
    }

    /// Whether it is done on a GPU.
    pub fn uses_gpu(&self) -> bool {
        self.gpu_memory.is_some()
    }
}

impl Profile {
    /// What a task of the asked stage takes; none where no row tells its duration.
    pub fn lookup(&self, question: &Question) -> Option<Cost> {
        let rows = self.fitting(question);
        let (timed, time) = rows.iter().find_map(|found| Some((*found, time(found.row, question)?)))?;
        let first = |figure: fn(&Row) -> Option<Bytes>| rows.iter().find_map(|found| figure(found.row));
        let booked = rows.iter().map(|found| found.row).find(|row| row.memory.is_some());
        let memory = booked.and_then(|row| row.memory).unwrap_or_default();
        let uses_gpu = rows.iter().any(|found| matches!(found.row.gpu, Some(GpuKey::Any | GpuKey::Named(_))));
        let tree_d = if question.static_tree_d { question.sector_size.tree_d_bytes() } else { 0 };
        let cost = Cost {
            stage: question.stage,
            time,
            band: timed.row.band.unwrap_or(Band::EXACT),
            memory,
            memory_most: booked.and_then(|row| row.memory_most).unwrap_or_default().max(memory),
            memory_per_thread: booked.and_then(|row| row.memory_per_thread).unwrap_or_default(),
            memory_threads: booked.and_then(|row| row.memory_threads).unwrap_or_default(),
            gpu_memory: uses_gpu.then(|| first(|row| row.gpu_memory).unwrap_or_default()),
            reads: first(|row| row.reads).unwrap_or_default(),
            writes: first(|row| row.writes).unwrap_or_default(),
            scratch: Bytes(first(|row| row.scratch).unwrap_or_default().0.saturating_sub(own_tree_d(question, tree_d))),
            source: timed.row.source.clone(),
            measured_here: timed.user,
        };
        Some(if question.static_tree_d && question.stage == Stage::TreeD { linked(cost) } else { cost })
    }

    /// What is known of a pause.
    pub fn wait(&self, name: WaitName) -> Option<&Wait> {
        self.waits.iter().find(|wait| wait.name == name)
    }

    /// How fast a disk of this kind and model is.
    pub fn disk(&self, kind: &str, model: Option<&str>) -> Option<&DiskSpeed> {
        let named = |disk: &&DiskSpeed| match (&disk.model, model) {
            (Some(short), Some(full)) => names::means(short, full),
            (Some(_), None) => false,
            (None, _) => true,
        };
        let of_kind = |disk: &&DiskSpeed| disk.kind == kind && disk.path.is_none();
        let fitting = || self.disks.iter().filter(of_kind).filter(named);
        fitting().find(|disk| disk.model.is_some()).or_else(|| fitting().next())
    }

    /// What was measured of the disk that this folder lies on: in the folder itself or in one around it.
    pub fn disk_at(&self, folder: &Path) -> Option<&DiskSpeed> {
        let around = |disk: &&DiskSpeed| disk.path.as_ref().is_some_and(|path| folder.starts_with(path));
        // Of equals the first: a user's rows come before the others.
        self.disks.iter().rev().filter(around).max_by_key(|disk| disk.path.as_ref().map(String::len))
    }

    /// Whether any stage of this size has a duration.
    pub fn knows(&self, sector_size: SectorSize) -> bool {
        Stage::ALL.into_iter().all(|stage| {
            self.rows.iter().any(|row| row.stage == stage && row.sector_size == sector_size && has_time(row))
        })
    }

    fn fitting<'p>(&'p self, question: &Question) -> Vec<Found<'p>> {
        let mut found: Vec<_> = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| holds(row, question))
            .map(|(at, row)| Found { row, user: at < self.own_rows, rank: rank(row), at })
            .collect();
        found.sort_by_key(|found| std::cmp::Reverse((found.user, found.rank, found.at)));
        found
    }
}

/// A row that holds, and how well it fits.
#[derive(Clone, Copy)]
struct Found<'p> {
    row: &'p Row,
    user: bool,
    rank: [u8; 5],
    at: usize,
}

fn holds(row: &Row, question: &Question) -> bool {
    let is = |short: &Option<String>, full: Option<&str>| {
        short.as_deref().is_none_or(|short| full.is_some_and(|full| names::means(short, full)))
    };
    let gpu = match (&row.gpu, question.gpu) {
        (None, _) | (Some(GpuKey::None), None) | (Some(GpuKey::Any), Some(_)) => true,
        (Some(GpuKey::None), Some(_)) | (Some(GpuKey::Any | GpuKey::Named(_)), None) => false,
        (Some(GpuKey::Named(short)), Some(full)) => names::means(short, full),
    };
    row.stage == question.stage
        && row.sector_size == question.sector_size
        && (row.provers.is_empty() || row.provers.contains(&question.prover))
        && row.suite.is_none_or(|suite| suite == question.suite)
        && row.sha.is_none_or(|sha| sha == question.sha.unwrap_or(true))
        && is(&row.cpu, question.cpu)
        && gpu
}

/// What a row names, the weightiest first.
fn rank(row: &Row) -> [u8; 5] {
    let gpu = match row.gpu {
        None => 0,
        Some(GpuKey::None | GpuKey::Any) => 1,
        Some(GpuKey::Named(_)) => 2,
    };
    let named = [row.cpu.is_some(), !row.provers.is_empty(), row.suite.is_some(), row.sha.is_some()];
    let [cpu, prover, suite, sha] = named.map(u8::from);
    [gpu, cpu, prover, suite, sha]
}

fn has_time(row: &Row) -> bool {
    row.minutes.is_some() || row.minutes_ghz.is_some() || row.core_seconds.is_some()
}

fn time(row: &Row, question: &Question) -> Option<Time> {
    let cores = row.cores.unwrap_or(1);
    if let Some(core_seconds) = row.core_seconds {
        return Some(Time::Work { core_seconds, cores_max: cores });
    }
    if let Some(minutes) = row.minutes {
        return Some(Time::Fixed { minutes, cores });
    }
    let ghz = question.ghz.or_else(|| question.cpu.and_then(catalogue::cpu).map(|cpu| cpu.boost_ghz))?;
    Some(Time::Fixed { minutes: row.minutes_ghz? / (ghz * row.efficiency.unwrap_or(1.0)), cores })
}

/// What a sector does not hold where its tree-d is a link.
fn own_tree_d(question: &Question, tree_d: u64) -> u64 {
    if question.stage == Stage::AddPieces { 0 } else { tree_d }
}

/// Linking a ready tree takes no time, no memory and no disk to speak of.
fn linked(cost: Cost) -> Cost {
    Cost {
        time: Time::Fixed { minutes: 1.0 / 60.0, cores: 1 },
        band: Band::EXACT,
        memory: Bytes::mib(1),
        memory_most: Bytes::mib(1),
        memory_per_thread: Bytes(0),
        reads: Bytes(0),
        writes: Bytes(0),
        source: "a link to the ready tree-d of empty sectors".to_owned(),
        ..cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(stage: Stage) -> Question<'static> {
        Question {
            stage,
            sector_size: SectorSize::GiB32,
            prover: Prover::StockDamocles,
            suite: Suite::Stock,
            cpu: Some("AMD EPYC 7642 48-Core Processor"),
            ghz: None,
            sha: Some(true),
            gpu: None,
            static_tree_d: false,
        }
    }

    fn cost(question: &Question) -> Cost {
        Profile::shipped().lookup(question).unwrap()
    }

    fn fixed(question: &Question) -> f64 {
        cost(question).minutes(1000)
    }

    #[test]
    fn the_most_fitting_row_is_used() {
        let pc1 = ask(Stage::Pc1);
        assert_eq!(fixed(&pc1), 177.0, "this processor was measured");
        let model = fixed(&Question { cpu: Some("AMD EPYC 7763 64-Core Processor"), ..pc1 });
        assert!((model - 478.7 / (3.5 * 0.8)).abs() < 1e-9, "{model}: the model at the catalogue's clock");
        assert_eq!(fixed(&Question { cpu: Some("a new one"), ..pc1 }), 190.0);
        let told = fixed(&Question { cpu: Some("a new one"), ghz: Some(4.0), ..pc1 });
        assert!((told - 478.7 / 3.2).abs() < 1e-9, "{told}");
        assert_eq!(fixed(&Question { cpu: None, sha: Some(false), ..pc1 }), 1860.0);
        let own = cost(&Question { prover: Prover::Own, ..pc1 });
        assert!((own.minutes(1) - 503.9 / (3.3 * 0.8)).abs() < 1e-9 && own.cores() == 1, "{own:?}");

        let pc2 = Question { gpu: Some("NVIDIA GeForce RTX 3080"), ..ask(Stage::Pc2) };
        assert_eq!((fixed(&pc2), cost(&pc2).gpu_memory), (12.0, Some(Bytes::gib(5))));
        assert_eq!(fixed(&Question { suite: Suite::Supra, ..pc2 }), 3.5);
        assert_eq!(fixed(&Question { gpu: Some("something new"), ..pc2 }), 24.0);
        let cores = cost(&Question { gpu: None, ..pc2 });
        assert!(!cores.uses_gpu());
        assert!((cores.minutes(23) - 130.4).abs() < 0.1 && (cores.minutes(48) - 62.5).abs() < 0.1, "{cores:?}");
    }

    #[test]
    fn c2_on_cores_holds_45_gib_and_30_for_each_thread() {
        let c2 = cost(&ask(Stage::C2));
        assert_eq!(
            (c2.memory_on(10), c2.memory_on(5), c2.memory_on(64)),
            (Bytes::gib(345), Bytes::gib(195), Bytes::gib(345))
        );
        assert!((c2.minutes(21) - 77.0).abs() < 0.1);
        let gpu = cost(&Question { gpu: Some("NVIDIA GeForce RTX 3080"), ..ask(Stage::C2) });
        assert_eq!((gpu.memory_on(20), gpu.memory_most_on(20)), (Bytes::gib(128), Bytes::gib(192)));
    }

    #[test]
    fn a_static_tree_d_saves_its_time_its_memory_and_its_room() {
        let gib = |cost: &Cost| cost.scratch.0 as f64 / Bytes::gib(1).0 as f64;
        let linked = |stage| cost(&Question { static_tree_d: true, ..ask(stage) });
        assert!((gib(&cost(&ask(Stage::Pc1))) - 480.0).abs() < 0.01 && (gib(&linked(Stage::Pc1)) - 416.0).abs() < 0.01);
        assert!(
            (gib(&cost(&ask(Stage::Pc2))) - 516.64).abs() < 0.01 && (gib(&linked(Stage::Pc2)) - 452.64).abs() < 0.01
        );
        assert_eq!((cost(&ask(Stage::TreeD)).memory, linked(Stage::TreeD).memory), (Bytes::gib(47), Bytes::mib(1)));
        assert_eq!(linked(Stage::AddPieces).scratch, Bytes::gib(32));
        let big = Question { sector_size: SectorSize::GiB64, ..ask(Stage::Pc2) };
        assert!((gib(&cost(&big)) - 1033.29).abs() < 0.01);
    }

    #[test]
    fn a_users_minutes_win_and_leave_the_other_figures_in_force() {
        let own = "version = 1\n[[stage]]\nstage = \"pc1\"\nsector_size = \"32GiB\"\nminutes = 150\ncores = 2\nsource = \"here\"";
        let profile = Profile::shipped().overridden_by(&Profile::parse(own).unwrap());
        let pc1 = profile.lookup(&ask(Stage::Pc1)).unwrap();
        assert_eq!((pc1.minutes(2), pc1.memory, pc1.measured_here), (150.0, Bytes::gib(64), true));
        assert!(!profile.lookup(&ask(Stage::Pc2)).unwrap().measured_here);
        assert_eq!(pc1.minutes(1), 300.0, "half the cores take twice as long");
    }

    #[test]
    fn every_size_is_known_and_nothing_is_known_of_nothing() {
        let shipped = Profile::shipped();
        assert!(SectorSize::ALL.into_iter().all(|size| shipped.knows(size)));
        let nothing = Profile::parse("version = 1").unwrap();
        assert!(!nothing.knows(SectorSize::KiB2) && nothing.lookup(&ask(Stage::Pc1)).is_none());
        let seed = shipped.wait(WaitName::Seed).unwrap();
        assert_eq!(seed.minutes, 75.0);
    }

    #[test]
    fn the_model_of_a_disk_goes_before_its_kind() {
        let own = "version = 1\n[[disk]]\nkind = \"nvme\"\nmodel = \"PM9A3\"\nreads = \"6GiB\"\nwrites = \"4GiB\"\nsource = \"x\"";
        let profile = Profile::shipped().overridden_by(&Profile::parse(own).unwrap());
        let reads = |kind, model| profile.disk(kind, model).map(|disk| disk.reads);
        assert_eq!(reads("nvme", Some("SAMSUNG PM9A3 7.68TB")), Some(Bytes::gib(6)));
        assert_eq!((reads("nvme", Some("another")), reads("nvme", None)), (Some(Bytes::gib(3)), Some(Bytes::gib(3))));
        assert_eq!(reads("tape", None), None);
    }

    #[test]
    fn scratch_covers_the_files_at_the_end_of_pc2() {
        // 8 MiB: staged, sealed, 2 layers, tree-d, tree-c, tree-r-last, by their real lengths.
        let files = (8 << 20) * 4 + 16_777_184 + 9_586_976 + 18_720;
        let scratch = cost(&Question { sector_size: SectorSize::MiB8, ..ask(Stage::Pc2) }).scratch.0;
        assert!(scratch >= files && scratch < files * 11 / 10, "{scratch} {files}");
    }
}
