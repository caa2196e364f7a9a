//! What each stage takes on one machine: the profile, asked with what the machine and the operator tell.

use super::{C2Place, Choices, Manager, PlanError, Site, inventory::Inventory};
use crate::{
    profile::{Cost, Profile, Question, Stage, WaitName},
    units::{HumanDuration, SectorSize},
};
use std::collections::BTreeMap;

/// Epochs between a landed PreCommit and its seed, fixed by the network.
const SEED_EPOCHS: u32 = 150;

/// Costs of the stages, as cores do them and as each GPU does them.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    on_cores: BTreeMap<Stage, Cost>,
    /// One entry for each GPU of the inventory; only the stages that it can do.
    on_gpus: Vec<BTreeMap<Stage, Cost>>,
    /// Minutes that a sector waits while no core of ours works.
    pub waits: f64,
}

impl Costs {
    pub fn of(
        inventory: &Inventory,
        sector_size: SectorSize,
        choices: &Choices,
        site: &Site,
        profile: &Profile,
    ) -> Result<Self, PlanError> {
        let ask = |stage, gpu| {
            let question = Question {
                stage,
                sector_size,
                prover: choices.prover,
                suite: choices.suite,
                cpu: inventory.cpu.as_deref(),
                ghz: choices.ghz,
                sha: inventory.sha,
                gpu,
                // Sectors with deals have a tree-d of their own.
                static_tree_d: choices.static_tree_d.is_some() && !choices.deals,
            };
            profile.lookup(&question)
        };
        let mut on_cores = BTreeMap::new();
        for stage in Stage::ALL {
            let cost = ask(stage, None).ok_or(PlanError::NoFigures { stage, sector_size })?;
            on_cores.insert(stage, cost);
        }
        let on_gpus = inventory
            .gpus
            .iter()
            .map(|gpu| {
                let stages = [Stage::Pc2, Stage::C2].into_iter();
                stages
                    .filter_map(|stage| Some((stage, ask(stage, Some(&gpu.name))?)))
                    .filter(|(_, cost)| cost.gpu_memory.is_some_and(|need| gpu.memory.is_none_or(|has| has >= need)))
                    .collect()
            })
            .collect();
        Ok(Self { on_cores, on_gpus, waits: waits(site, profile) })
    }

    pub fn on_cores(&self, stage: Stage) -> &Cost {
        &self.on_cores[&stage]
    }

    /// What the stage takes on this GPU; none where the card cannot do it.
    pub fn on_gpu(&self, gpu: usize, stage: Stage) -> Option<&Cost> {
        self.on_gpus.get(gpu)?.get(&stage)
    }

    /// The most cores that a stage can use beside any of the GPUs.
    pub fn cores_max(&self, stage: Stage) -> usize {
        let on_gpus = self.on_gpus.iter().filter_map(|stages| stages.get(&stage));
        on_gpus.map(|cost| cost.cores() as usize).max().unwrap_or(0)
    }

    /// All stages as cores do them.
    pub fn all_on_cores(&self) -> impl Iterator<Item = &Cost> {
        self.on_cores.values()
    }
}

/// Minutes that a sector waits for the chain and for polls of the manager.
fn waits(site: &Site, profile: &Profile) -> f64 {
    match site.manager {
        Manager::Embedded => {
            // Asked for work, landed PreCommit and landed proof: each is noticed a poll late at worst.
            let seed: HumanDuration = HumanDuration(super::EMBEDDED_EPOCH.0 * SEED_EPOCHS);
            (seed.0.as_secs_f64() + 3.0) / 60.0
        }
        Manager::Remote(_) => {
            let names = [WaitName::Precommit, WaitName::Seed, WaitName::Prove];
            names.into_iter().filter_map(|name| profile.wait(name)).map(|wait| wait.minutes).sum()
        }
    }
}

impl Choices {
    pub(crate) fn is_c2_local(&self) -> bool {
        matches!(self.c2, C2Place::Local)
    }
}
