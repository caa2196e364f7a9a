//! compose.yaml: the daemon in a container with the machine's cores, and a container in the place of each processor.
//!
//! The daemon starts its processors itself and binds each to its cores (docs/processors.md), so that it can take them down
//! with it: they live in its container. The others hold a processor's place (its CPUs, its GPU) for measuring there and
//! for having a look, as operators split machines since 2020; where a machine only does C2 for others they are all there is.

use super::{CONFIG, HOME, Host, MachineType, Place, Played};
use crate::{
    planner::{Choices, Manager, inventory::Inventory},
    units::CpuList,
    worker_config::WorkerConfig,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

/// What the template names.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Compose {
    name: String,
    daemon: Option<Daemon>,
    places: Vec<Held>,
    uses_gpus: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Daemon {
    cpuset: String,
    config: &'static str,
    home: &'static str,
    mounts: Vec<Mount>,
    has_gpus: bool,
    /// The embedded manager needs no network.
    has_network: bool,
}

/// A folder or file of the host at the same path in the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Mount {
    path: String,
    why: String,
    is_read_only: bool,
    /// Made where it is missing; a disk that is not mounted must not become a folder of the system's.
    is_made: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Held {
    name: String,
    stage: String,
    cpuset: String,
    /// The node that its memory is to come from.
    node: Option<String>,
    gpu: Option<String>,
    envs: Vec<Env>,
    mounts: Vec<Mount>,
    /// Started by name only, beside a daemon that has these cores.
    is_apart: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Env {
    name: String,
    value: String,
}

pub(super) fn values(one: &MachineType, host: &Host, played: Option<&Played>) -> Compose {
    let places = Place::all(one, played);
    let inventory = Inventory::of(&host.machine);
    let mounts = match played {
        Some(played) => mounts(&played.config, host),
        None => parameters().to_vec(),
    };
    let daemon = played.map(|_| Daemon {
        cpuset: daemon_cpus(host, &places).to_string(),
        config: CONFIG,
        home: HOME,
        mounts: mounts.clone(),
        has_gpus: !inventory.gpus.is_empty(),
        has_network: host.request.site.manager != Manager::Embedded,
    });
    let bound = places.iter().filter(|place| place.name != "daemon");
    let held: Vec<Held> = bound.filter_map(|place| held(place, &inventory, &mounts, daemon.is_some())).collect();
    Compose {
        name: one.name.clone(),
        uses_gpus: daemon.as_ref().is_some_and(|daemon| daemon.has_gpus) || held.iter().any(|one| one.gpu.is_some()),
        daemon,
        places: held,
    }
}

/// All cores that the plan gives to anything; without a placement all that may be used.
fn daemon_cpus(host: &Host, places: &[Place]) -> CpuList {
    let planned =
        places.iter().filter_map(|place| place.cpus.as_ref()).fold(CpuList::default(), |all, one| all.or(one));
    if planned.is_empty() { host.machine.allowed_cpus.clone() } else { planned }
}

fn held(place: &Place, inventory: &Inventory, mounts: &[Mount], is_apart: bool) -> Option<Held> {
    let cpus = place.cpus.as_ref().filter(|_| place.program.is_none())?;
    let own_node = || {
        let node = cpus.iter().next().and_then(|cpu| inventory.machine.node_of(cpu))?;
        cpus.minus(&node.cpus).is_empty().then_some(node.os_index)
    };
    let mut envs = place.envs.clone();
    if place.gpu.is_some() {
        // The container sees this GPU alone, as number 0.
        envs.insert("CUDA_VISIBLE_DEVICES".to_owned(), "0".to_owned());
    }
    Some(Held {
        name: place.name.clone(),
        stage: place.stage.clone(),
        cpuset: cpus.to_string(),
        node: place.node.or_else(own_node).map(|node| node.to_string()),
        gpu: place.gpu.map(|gpu| gpu.to_string()),
        envs: envs.into_iter().map(|(name, value)| Env { name, value }).collect(),
        mounts: mounts.to_vec(),
        is_apart,
    })
}

fn parameters() -> [Mount; 2] {
    let made = |path: &str, why: &str| Mount {
        path: path.to_owned(),
        why: why.to_owned(),
        is_read_only: false,
        is_made: true,
    };
    [
        made("/var/tmp/filecoin-parents", "PC1's parent cache"),
        made("/var/tmp/filecoin-proof-parameters", "keys and proof parameters"),
    ]
}

/// Every place of the host that the configuration names, each once. What is not absolute lies below the daemon's folder.
fn mounts(config: &WorkerConfig, host: &Host) -> Vec<Mount> {
    let mut found: BTreeMap<String, Mount> = BTreeMap::new();
    let mut add = |path: &Path, why: &str, is_read_only: bool| {
        if path.is_absolute() {
            let path = path.display().to_string();
            let mount = Mount { path: path.clone(), why: why.to_owned(), is_read_only, is_made: false };
            found.entry(path).or_insert(mount);
        }
    };
    let stores: BTreeSet<&Path> = config.sealing_thread.iter().filter_map(|thread| thread.location.parent()).collect();
    stores.into_iter().for_each(|folder| add(folder, "sealing stores", false));
    config.attached.iter().for_each(|store| add(&store.location, "finished sectors", store.readonly));
    config.processors.static_tree_d.values().for_each(|file| add(file, "a ready tree-d", true));
    let Choices { hugepages, .. } = &host.request.choices;
    hugepages.iter().for_each(|mount| add(mount, "the hugetlbfs with PC1's memory", false));
    if host.request.site.manager == Manager::Embedded {
        add(&host.request.site.manager_dir, "the embedded manager", false);
    }
    let programs = config.processors.stages.values().flatten().filter_map(|processor| processor.bin.as_deref());
    programs.for_each(|program| add(program, "hands C2 on", true));
    let home = Mount {
        path: HOME.to_owned(),
        why: "paths of the configuration that are not absolute".to_owned(),
        is_read_only: false,
        is_made: true,
    };
    let mut mounts = vec![home];
    mounts.extend(found.into_values().filter(|mount| is_plain(Path::new(&mount.path))));
    mounts.extend(parameters());
    mounts
}

/// A path with `..` may be anywhere.
fn is_plain(path: &Path) -> bool {
    !path.components().any(|part| part == Component::ParentDir)
}
