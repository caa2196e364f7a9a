//! What hwloc knows of several objects together, below the tree of everything it knows: kinds of cores, distances,
//! how fast memory is from where.
//!
//! ```text
//! Distances NVLinkBandwidth (bandwidth):
//!                          to 0     to 1
//!  0 PCI 0000:34:00.0      100000   25000
//! ```

use super::{collect, full, tables};
use crate::{
    sys::topology::{DistancesKind, Initiator, MemoryAttribute, Topology, TopologyDistances, TopologyObject},
    units::CpuList,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

/// hwloc's own attributes with their units. `Capacity` and `Locality` are in the tree: a node's size and CPUs.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("Bandwidth", "MiB/s"),
    ("ReadBandwidth", "MiB/s"),
    ("WriteBandwidth", "MiB/s"),
    ("Latency", "ns"),
    ("ReadLatency", "ns"),
    ("WriteLatency", "ns"),
];
const IN_THE_TREE: [&str; 2] = ["Capacity", "Locality"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_kinds: Vec<Kind>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<Matrix>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_attributes: Vec<Attribute>,
}

/// CPUs of one kind of core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    pub cpus: CpuList,
    /// The rank by power, 0 the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<u64>,
    pub infos: Vec<(String, String)>,
}

/// A number for each pair of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    pub name: String,
    /// `latency` or `bandwidth`, where it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// Of the rows and of the columns.
    pub objects: Vec<String>,
    /// A row for each object: from it, to each.
    pub rows: Vec<Vec<u64>>,
}

/// A quality of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The memory.
    pub target: String,
    /// Who uses it, where that matters: `cpus 0-3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub value: u64,
}

impl Relations {
    pub fn of(topology: &Topology, export: Option<&str>) -> Self {
        Self {
            cpu_kinds: kinds(topology),
            distances: distances(topology),
            memory_attributes: memory_attributes(topology, export.unwrap_or_default()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.cpu_kinds.is_empty() && self.distances.is_empty() && self.memory_attributes.is_empty()
    }

    /// Writes a table for each.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.cpu_kinds.is_empty() {
            tables::section(out, "Kinds of cores (efficiency 0 is the least powerful)", &kind_rows(&self.cpu_kinds))?;
        }
        for matrix in &self.distances {
            let means = matrix.means.as_ref().map(|means| format!(" ({means})")).unwrap_or_default();
            tables::section(out, &format!("Distances {}{means}", matrix.name), &matrix.table())?;
        }
        for attribute in &self.memory_attributes {
            let unit = attribute.unit.as_ref().map(|unit| format!(" ({unit})")).unwrap_or_default();
            tables::section(out, &format!("Memory attribute {}{unit}", attribute.name), &attribute.table())?;
        }
        Ok(())
    }
}

fn kinds(topology: &Topology) -> Vec<Kind> {
    let Ok(kinds) = topology.cpu_kinds() else { return Vec::new() };
    let infos = |infos: &[crate::sys::topology::TextualInfo]| {
        infos.iter().map(|info| (full::words(info.name()), full::words(info.value()))).collect()
    };
    kinds
        .map(|kind| Kind {
            cpus: collect::cpus(&kind.cpuset),
            efficiency: kind.efficiency.map(|rank| rank as u64),
            infos: infos(kind.infos),
        })
        .collect()
}

fn kind_rows(kinds: &[Kind]) -> Vec<Vec<String>> {
    let head = ["CPUs", "Efficiency", "Told"].map(str::to_owned).to_vec();
    let row = |kind: &Kind| {
        let infos: Vec<_> = kind.infos.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        vec![kind.cpus.to_string(), kind.efficiency.map_or("-".to_owned(), |rank| rank.to_string()), infos.join("; ")]
    };
    [head].into_iter().chain(kinds.iter().map(row)).collect()
}

/// What a matrix means is asked by asking for those that mean it: hwlocality ends the process on a kind that it does not
/// know, and an export may hold any.
fn distances(topology: &Topology) -> Vec<Matrix> {
    let of_kind = |kind| topology.distances(kind).unwrap_or_default();
    let mut all: Vec<Matrix> = of_kind(None).iter().map(|found| matrix(found, None)).collect();
    for (kind, means) in [(DistancesKind::MEANS_LATENCY, "latency"), (DistancesKind::MEANS_BANDWIDTH, "bandwidth")] {
        for found in of_kind(Some(kind)).iter().map(|found| matrix(found, None)) {
            if let Some(known) = all.iter_mut().find(|known| **known == found) {
                known.means = Some(means.to_owned());
            }
        }
    }
    all
}

fn matrix(found: &TopologyDistances, means: Option<String>) -> Matrix {
    let objects: Vec<String> =
        found.objects().map(|object: Option<&TopologyObject>| object.map_or("-".to_owned(), full::title)).collect();
    Matrix {
        name: found.name().map(full::words).unwrap_or_default(),
        means,
        rows: found.distances().chunks(objects.len().max(1)).map(<[u64]>::to_vec).collect(),
        objects,
    }
}

impl Matrix {
    /// Rows are named, columns numbered: names of devices are long.
    fn table(&self) -> Vec<Vec<String>> {
        let head = [String::new()].into_iter().chain((0..self.objects.len()).map(|to| format!("to {to}")));
        let rows = self.objects.iter().enumerate().zip(&self.rows).map(|((from, name), row)| {
            [format!("{from} {name}")].into_iter().chain(row.iter().map(u64::to_string)).collect()
        });
        [head.collect()].into_iter().chain(rows).collect()
    }
}

fn memory_attributes(topology: &Topology, export: &str) -> Vec<Attribute> {
    let known = ATTRIBUTES.map(|(name, unit)| (name.to_owned(), Some(unit.to_owned())));
    let others = registered(export).into_iter().map(|name| (name, None));
    let attributes = known.into_iter().chain(others).filter_map(|(name, unit)| {
        let attribute = topology.memory_attribute_named(&name).ok()??;
        Some(Attribute { values: values(&attribute), name, unit })
    });
    attributes.filter(|attribute| !attribute.values.is_empty()).collect()
}

/// The names of attributes that somebody else registered, which only an export can hold. hwloc has a call that finds an
/// attribute by its name, and none that lists the names.
fn registered(export: &str) -> BTreeSet<String> {
    let names = export.split("<memattr name=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let plain = |name: &str| {
        let letters = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
        letters.iter().fold(name.to_owned(), |name, (written, letter)| name.replace(written, letter))
    };
    let is_other =
        |name: &String| !ATTRIBUTES.iter().any(|(known, _)| known == name) && !IN_THE_TREE.contains(&name.as_str());
    names.map(plain).filter(is_other).collect()
}

fn values(attribute: &MemoryAttribute) -> Vec<Value> {
    let Ok((targets, values)) = attribute.targets(None) else { return Vec::new() };
    match values {
        Some(values) => {
            let value = |(target, value)| Value { target: full::title(target), from: None, value };
            targets.into_iter().zip(values).map(value).collect()
        }
        None => targets.into_iter().flat_map(|target| from_initiators(attribute, target)).collect(),
    }
}

fn from_initiators(attribute: &MemoryAttribute, target: &TopologyObject) -> Vec<Value> {
    let Ok((initiators, values)) = attribute.initiators(target) else { return Vec::new() };
    let from = |initiator: Initiator| match initiator {
        Initiator::CpuSet(cpus) => format!("cpus {}", collect::cpus(&cpus)),
        Initiator::Object(object) => full::title(object),
    };
    let value = |(initiator, value)| Value { target: full::title(target), from: Some(from(initiator)), value };
    initiators.into_iter().zip(values).map(value).collect()
}

impl Attribute {
    fn table(&self) -> Vec<Vec<String>> {
        let head = ["Memory", "From", "Value"].map(str::to_owned).to_vec();
        let row = |value: &Value| {
            vec![value.target.clone(), value.from.clone().unwrap_or_else(|| "-".to_owned()), value.value.to_string()]
        };
        [head].into_iter().chain(self.values.iter().map(row)).collect()
    }
}
