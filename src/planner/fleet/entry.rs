//! fleet.toml as it is written: types of machines, how many there are and may be, their price and their roles.

use super::FleetError;
use crate::{
    machine::{Machine, Spec},
    planner::catalogue,
    profile::Stage,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fleet file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetFile {
    pub machine: Vec<Entry>,
}

/// A type of machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    pub name: String,
    /// The machine as a line: `2x epyc-7642 2TiB 2x rtx3080`.
    #[serde(default)]
    pub machine: Option<String>,
    /// On hand. Absent: 1 where the entry describes hardware, as `hwinfo --toml` writes it, else 0.
    #[serde(default)]
    pub count: Option<u32>,
    /// At most so many, those on hand included; absent: as many as it takes.
    #[serde(default)]
    pub max: Option<u32>,
    /// Of one more.
    #[serde(default)]
    pub price: Option<f64>,
    /// What it may do; absent: whatever it can.
    #[serde(default)]
    pub roles: Option<Vec<Role>>,
    /// What was measured on it, instead of a plan.
    #[serde(default)]
    pub stages: Vec<MeasuredStage>,
    /// The hardware, in the words of `hwinfo --toml`.
    #[serde(flatten)]
    pub hardware: toml::Table,
}

/// What a machine does in a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The whole way.
    Seal,
    /// All but C2, which is handed on.
    Precommit,
    /// C2 of others.
    C2,
}

/// Containers or processors of a stage on one machine, and how long they take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredStage {
    pub stage: Stage,
    /// Tasks at once.
    pub tasks: u32,
    pub minutes: f64,
    /// Cores of each task, for the table.
    #[serde(default)]
    pub cores: Option<u32>,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Seal, Self::Precommit, Self::C2];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Precommit => "precommit",
            Self::C2 => "c2",
        }
    }

    /// Whether a machine in this role does the stage for the fleet.
    pub fn serves(self, stage: Stage) -> bool {
        match self {
            Self::Seal => true,
            Self::Precommit => stage != Stage::C2,
            Self::C2 => stage == Stage::C2,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The keys of a hardware entry; another is a typing error.
const HARDWARE: [&str; 9] = ["cpu", "pc1_capable", "packages", "cores", "cpus", "l3", "nodes", "gpus", "disks"];

impl FleetFile {
    /// Reads fleet.toml.
    ///
    /// # Errors
    /// Its shape, a key that is not known, a number that cannot be, a type that is described in no way.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        let fleet: Self = toml::from_str(text).map_err(|error| FleetError::File(error.to_string()))?;
        if fleet.machine.is_empty() {
            return Err(FleetError::File("it has no [[machine]]".to_owned()));
        }
        let faults: Vec<String> = fleet.machine.iter().flat_map(Entry::faults).chain(fleet.faults()).collect();
        if faults.is_empty() { Ok(fleet) } else { Err(FleetError::File(faults.join("; "))) }
    }

    fn faults(&self) -> Vec<String> {
        let priced = self.machine.iter().filter(|entry| entry.price.is_some()).count();
        let is_mixed = priced > 0 && priced < self.machine.len();
        let mut found: Vec<String> =
            is_mixed.then(|| "some types have a price and some none".to_owned()).into_iter().collect();
        let mut names: Vec<_> = self.machine.iter().map(|entry| &entry.name).collect();
        names.sort();
        found.extend(
            names
                .windows(2)
                .filter(|pair| pair[0] == pair[1])
                .map(|pair| format!("two types are called {:?}", pair[0])),
        );
        found
    }
}

impl Entry {
    /// How many there are.
    pub fn on_hand(&self) -> u32 {
        self.count.unwrap_or_else(|| u32::from(self.machine.is_none() && self.stages.is_empty()))
    }

    /// How many there may be; none where there is no limit.
    pub fn most(&self) -> Option<u32> {
        self.max.map(|max| max.max(self.on_hand()))
    }

    /// Whether it may have the role.
    pub fn may(&self, role: Role) -> bool {
        self.roles.as_ref().is_none_or(|roles| roles.contains(&role))
    }

    /// The machine, where it is described.
    ///
    /// # Errors
    /// Its description is of no machine.
    pub fn described(&self) -> Result<Option<Machine>, FleetError> {
        let file = |error: String| FleetError::File(format!("machine {:?}: {error}", self.name));
        if let Some(line) = &self.machine {
            return catalogue::machine(line).map(Some).map_err(|error| file(error.to_string()));
        }
        if self.hardware.is_empty() {
            return Ok(None);
        }
        let mut table = self.hardware.clone();
        table.insert("name".to_owned(), self.name.clone().into());
        let spec: Spec = table.try_into().map_err(|error: toml::de::Error| file(error.to_string()))?;
        catalogue::machine_of(&spec).map(Some).map_err(|error| FleetError::File(error.to_string()))
    }

    fn faults(&self) -> Vec<String> {
        let name = &self.name;
        let mut found = Vec::new();
        let is_known = |key: &&String| HARDWARE.contains(&key.as_str());
        let strangers = self.hardware.keys().filter(|key| !is_known(key));
        found.extend(strangers.map(|key| format!("machine {name:?}: {key:?} is no key of an entry")));
        // A key that is no key describes nothing.
        let ways = [self.machine.is_some(), self.hardware.keys().any(|key| is_known(&key)), !self.stages.is_empty()];
        match ways.into_iter().filter(|way| *way).count() {
            0 => {
                found.push(format!("machine {name:?}: say what it is: machine = \"2x epyc-7642 2TiB\", or its stages"))
            }
            1 => {}
            _ => found.push(format!("machine {name:?}: it is described in two ways, keep one")),
        }
        if let Some(price) = self.price.filter(|price| !(*price >= 0.0 && price.is_finite())) {
            found.push(format!("machine {name:?}: its price is {price}"));
        }
        if self.max.is_some_and(|max| max < self.on_hand()) {
            found.push(format!("machine {name:?}: max is less than the {} on hand", self.on_hand()));
        }
        for one in &self.stages {
            if !(one.minutes > 0.0 && one.minutes.is_finite()) || one.tasks == 0 {
                let (stage, tasks, minutes) = (one.stage, one.tasks, one.minutes);
                found.push(format!("machine {name:?}: {tasks} tasks of {stage} in {minutes} min cannot be"));
            }
        }
        found
    }
}
