//! What a run will measure: the layouts of each stage in the order of a sector's life, without those that memory or room
//! on disk do not suffice for. Pure.

use super::layout::{Kind, Layout, layouts};
use crate::{
    machine::{Answer, Machine},
    profile::{Cost, Profile, Question, Stage, Suite},
    units::{Bytes, Prover, SectorSize},
};
use serde::{Deserialize, Serialize};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub sector_size: SectorSize,
    pub stages: Vec<Stage>,
    /// Numbers of cores; without any a range is chosen.
    pub cores: Vec<u32>,
    pub kinds: Vec<Kind>,
    /// Tasks one after the other in each place.
    pub rounds: u32,
}

/// What the machine has to give now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub memory: Bytes,
    /// On the sealing locations together.
    pub disk: Bytes,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub stage: Stage,
    pub layout: Layout,
    pub rounds: u32,
    /// A task in each place before the first that counts.
    pub warms_up: bool,
    /// Of all its tasks.
    pub memory: Bytes,
    /// Of all its sectors.
    pub disk: Bytes,
    /// Of the whole measurement, by the built-in figures; none where they do not know the machine.
    pub minutes: f64,
}

/// What a run will measure, and what it leaves out with the reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Steps {
    pub steps: Vec<Step>,
    pub left_out: Vec<String>,
}

impl Order {
    /// Stages of small sectors run inside the daemon, those of large ones in processors of their own.
    pub fn production_kind(sector_size: SectorSize) -> Kind {
        match sector_size {
            SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => Kind::Shared,
            SectorSize::GiB32 | SectorSize::GiB64 => Kind::Pinned,
        }
    }

    /// How often each task is repeated where nothing is said: a stage of hours is long enough once.
    pub fn default_rounds(sector_size: SectorSize) -> u32 {
        if Self::production_kind(sector_size) == Kind::Shared { 3 } else { 1 }
    }

    /// The measurements, stage by stage.
    pub fn steps(&self, machine: &Machine, profile: &Profile, room: Room) -> Steps {
        let mut found = Steps::default();
        for stage in Stage::ALL.into_iter().filter(|stage| self.stages.contains(stage)) {
            for layout in layouts(machine, stage, &self.cores, &self.kinds) {
                let step = self.step(machine, profile, stage, layout);
                let lacks = |what: &str, need: Bytes, has: Bytes| {
                    (need > has).then(|| {
                        format!("{stage}, {}: needs {} of {what}, there are {}", step.layout, need.human(), has.human())
                    })
                };
                match lacks("memory", step.memory, room.memory).or_else(|| lacks("disk", step.disk, room.disk)) {
                    Some(reason) => found.left_out.push(reason),
                    None => found.steps.push(step),
                }
            }
        }
        found
    }

    /// How many sectors the measurements work on.
    pub fn sectors(steps: &[Step]) -> u32 {
        let of_step = |step: &Step| if shares_a_sector(step.stage) { 1 } else { step.layout.at_once() };
        steps.iter().map(of_step).max().unwrap_or(0)
    }

    fn step(&self, machine: &Machine, profile: &Profile, stage: Stage, layout: Layout) -> Step {
        let cost = cost(machine, profile, stage, self.sector_size);
        // Parameters are read once in a process, and a first task of seconds is not like the later ones.
        let warms_up = stage == Stage::C2 || Self::production_kind(self.sector_size) == Kind::Shared;
        let at_once = u64::from(layout.at_once());
        let sectors = if shares_a_sector(stage) { 1 } else { at_once };
        let cores = layout.cores_of_task();
        let times = |bytes: Bytes, by: u64| Bytes(bytes.0.saturating_mul(by));
        Step {
            stage,
            rounds: self.rounds,
            warms_up,
            memory: cost.as_ref().map_or(Bytes(0), |cost| times(cost.memory_on(cores), at_once)),
            disk: cost.as_ref().map_or(Bytes(0), |cost| times(cost.scratch, sectors)),
            minutes: cost
                .as_ref()
                .map_or(0.0, |cost| cost.minutes(cores) * f64::from(self.rounds + u32::from(warms_up))),
            layout,
        }
    }
}

/// C1 and C2 only read, so that all tasks can read one sector.
pub fn shares_a_sector(stage: Stage) -> bool {
    matches!(stage, Stage::C1 | Stage::C2)
}

/// What the built-in figures say of a stage on cores of this machine.
pub fn cost(machine: &Machine, profile: &Profile, stage: Stage, sector_size: SectorSize) -> Option<Cost> {
    let sha = match machine.pc1_capable().answer {
        Answer::Yes => Some(true),
        Answer::No => Some(false),
        Answer::Unknown => None,
    };
    profile.lookup(&Question {
        stage,
        sector_size,
        prover: Prover::Own,
        suite: Suite::Stock,
        cpu: machine.cpu_model(),
        ghz: None,
        sha,
        gpu: None,
        static_tree_d: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::layout::tests::machine;

    fn order(sector_size: SectorSize, stages: &[Stage], cores: &[u32]) -> Order {
        let kinds = vec![Order::production_kind(sector_size)];
        let rounds = Order::default_rounds(sector_size);
        Order { sector_size, stages: stages.to_vec(), cores: cores.to_vec(), kinds, rounds }
    }

    fn room(memory: u64, disk: u64) -> Room {
        Room { memory: Bytes::gib(memory), disk: Bytes::gib(disk) }
    }

    #[test]
    fn stages_come_in_the_order_of_a_sectors_life() {
        let order = order(SectorSize::KiB2, &[Stage::C2, Stage::Pc1], &[]);
        let found = order.steps(&machine(1, 1, 2), &Profile::shipped(), room(16, 16));
        let stages: Vec<_> = found.steps.iter().map(|step| (step.stage, step.layout.at_once())).collect();
        assert_eq!(stages, [(Stage::Pc1, 1), (Stage::Pc1, 2), (Stage::C2, 1), (Stage::C2, 2)]);
        assert_eq!(Order::sectors(&found.steps), 2);
        assert!(found.steps.iter().all(|step| step.warms_up && step.rounds == 3));
    }

    #[test]
    fn what_does_not_fit_is_left_out_with_its_numbers() {
        let machine = machine(2, 2, 4);
        let profile = Profile::shipped();
        let order = order(SectorSize::GiB32, &[Stage::Pc1], &[1, 8]);
        let one = cost(&machine, &profile, Stage::Pc1, SectorSize::GiB32).unwrap().memory_on(1);
        let room = |tasks: u64, disk: Bytes| Room { memory: Bytes(one.0 * tasks), disk };
        let found = order.steps(&machine, &profile, room(4, Bytes::tib(2)));
        assert_eq!((found.steps.len(), found.left_out.len()), (1, 1), "{found:?}");
        let left_out = &found.left_out[0];
        assert!(
            left_out.starts_with("pc1, 8 at once on 8 cores") && left_out.contains("of memory, there are"),
            "{left_out}"
        );
        let more = order.steps(&machine, &profile, room(8, Bytes::tib(2)));
        assert!(more.left_out[0].contains("of disk, there are 2 TiB"), "{:?}", more.left_out);
    }

    #[test]
    fn proofs_at_once_read_one_sector() {
        let order = order(SectorSize::KiB2, &[Stage::C2], &[2]);
        let found = order.steps(&machine(1, 1, 2), &Profile::shipped(), room(16, 16));
        assert_eq!((found.steps.len(), Order::sectors(&found.steps)), (1, 1));
    }
}
