//! What hardware does not tell: the operator's choices, and the places of this site.

use super::{GpuUse, PlanError};
use crate::{
    profile::Suite,
    units::{Prover, SectorSize},
};
use std::path::PathBuf;

/// Policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// Whose proofs library runs.
    pub prover: Prover,
    /// Which code does PC2 and C2 on GPUs.
    pub suite: Suite,
    /// How GPUs are used; none: by the numbers.
    pub layout: Option<GpuUse>,
    /// PC1 tasks at once; none: as many as pay.
    pub pc1: Option<u32>,
    /// A ready tree-d of empty sectors.
    pub static_tree_d: Option<PathBuf>,
    /// Where hugetlbfs is mounted, if PC1 is to have its memory from there.
    pub hugepages: Option<PathBuf>,
    pub c2: C2Place,
    /// The part of the time that stages are planned to be busy.
    pub utilisation: f64,
    /// How many machines like this there are; none: as many as it takes.
    pub count: Option<u32>,
    /// The sustained clock of the processor; none: what the catalogue says.
    pub ghz: Option<f64>,
    /// Plan although everything at its limit at once does not fit in memory.
    pub overcommit: bool,
    /// Sectors hold deals: pieces come from elsewhere, and each has a tree-d of its own.
    pub deals: bool,
    /// Search for the layout that makes the most, by simulation.
    pub optimise: bool,
}

/// Where C2 is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum C2Place {
    Local,
    /// By a program that hands it to somebody else and speaks the processors' protocol.
    Remote(PathBuf),
}

/// The places of this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub manager: Manager,
    /// The embedded manager's folder; another manager has no use for it.
    pub manager_dir: PathBuf,
    /// Folders for sealing stores; thread `i` gets a store of its own in one of them.
    pub sealing_dirs: Vec<PathBuf>,
    /// Nobody named them, so the machine's fast disks may take their place.
    pub sealing_dirs_are_default: bool,
    /// Persistent stores.
    pub attached: Vec<Attached>,
    pub miner: Option<u64>,
}

/// Where the sector manager is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Inside the daemon, against a simulated chain.
    Embedded,
    /// At this address.
    Remote(String),
}

/// A persistent store and the name that the manager knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub name: String,
    pub location: PathBuf,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            prover: Prover::Own,
            suite: Suite::Stock,
            layout: None,
            pc1: None,
            static_tree_d: None,
            hugepages: None,
            c2: C2Place::Local,
            utilisation: 0.9,
            count: None,
            ghz: None,
            overcommit: false,
            deals: false,
            optimise: false,
        }
    }
}

impl Choices {
    /// A choice that small sectors, whose stages run inside the daemon, cannot have.
    fn for_large_sectors(&self) -> Option<&'static str> {
        let given = [
            ("--suite", self.suite != Suite::Stock),
            ("--layout", self.layout.is_some()),
            ("--pc1", self.pc1.is_some()),
            ("--static-tree-d", self.static_tree_d.is_some()),
            ("--hugepages", self.hugepages.is_some()),
            ("--c2", self.c2 != C2Place::Local),
            ("--overcommit", self.overcommit),
            ("--optimise", self.optimise),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    /// Whether they make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub(super) fn check(&self, sector_size: SectorSize) -> Result<(), PlanError> {
        if !(self.utilisation > 0.0 && self.utilisation <= 1.0) {
            return Err(PlanError::Utilisation(self.utilisation));
        }
        if let Some(ghz) = self.ghz.filter(|ghz| !(0.1..=10.0).contains(ghz)) {
            return Err(PlanError::Clock(ghz));
        }
        for (what, number) in [("--count", self.count), ("--pc1", self.pc1)] {
            if number == Some(0) {
                return Err(PlanError::Zero(what));
            }
        }
        if self.deals && self.static_tree_d.is_some() {
            return Err(PlanError::DealsHaveTheirTreeD);
        }
        if sector_size < SectorSize::GiB32
            && let Some(flag) = self.for_large_sectors()
        {
            return Err(PlanError::SmallSectors { flag, sector_size });
        }
        let paths = [self.static_tree_d.as_ref(), self.hugepages.as_ref()];
        let remote = match &self.c2 {
            C2Place::Local => None,
            C2Place::Remote(program) => Some(program),
        };
        match paths.into_iter().chain([remote]).flatten().find(|path| path.to_str().is_none()) {
            Some(path) => Err(PlanError::NotUtf8(path.clone())),
            None => Ok(()),
        }
    }
}
