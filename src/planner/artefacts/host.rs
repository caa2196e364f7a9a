//! What a host needs beside its configuration: a unit of systemd, hugepages at boot, settings of the kernel and the BIOS.

use super::{CONFIG, HOME, Host, MachineType, Played};
use crate::{
    machine::Machine,
    planner::Plan,
    units::{Bytes, NodeId},
    worker_config::StageName,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// damocles-worker.service.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Unit {
    machine: String,
    target: String,
    sector_size: String,
    config: &'static str,
    home: &'static str,
    has_hugepages: bool,
    has_network: bool,
    /// Disks that must be there before.
    mounts: Vec<String>,
}

pub(super) fn unit(one: &MachineType, plan: &Plan, host: &Host) -> Unit {
    let has_remote_manager = host.request.site.manager != crate::planner::Manager::Embedded;
    let folders = plan.placement.iter().flat_map(|placement| &placement.folders).map(|folder| &folder.path);
    let attached = host.request.site.attached.iter().map(|store| &store.location);
    let absolute = folders.chain(attached).filter(|path| path.is_absolute());
    let mounts: BTreeSet<String> = absolute.map(|path| path.display().to_string()).collect();
    Unit {
        machine: one.name.clone(),
        target: plan.target.to_string(),
        sector_size: plan.sector_size.to_string(),
        config: CONFIG,
        home: HOME,
        has_hugepages: host.request.choices.hugepages.is_some(),
        has_network: has_remote_manager,
        mounts: mounts.into_iter().collect(),
    }
}

/// hugepages.sh and the kernel's command line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pages {
    mount: String,
    config: &'static str,
    sector_size: String,
    folders: Vec<PagesFolder>,
    /// `hugepagesz=1G hugepages=0:832,1:768`.
    kernel_line: String,
    total: String,
}

/// The files of one PC1 processor.
#[derive(Clone, Debug, Serialize)]
struct PagesFolder {
    path: String,
    node: String,
    files: u32,
    pages: u64,
    tasks: u32,
}

/// Two files of a sector's size for each task, from pages of 1 GiB; none where the plan has none.
pub(super) fn hugepages(host: &Host, played: Option<&Played>) -> Option<Pages> {
    let mount = host.request.choices.hugepages.as_ref()?;
    let processors = played?.config.processors.stages.get(&StageName::Pc1)?;
    let sector = host.request.target.sector_size.bytes();
    let mut by_node: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut folders = Vec::new();
    for processor in processors {
        let (node, path) = (processor.numa_preferred?, processor.envs.get("HUGEPAGE_FILES_PATH")?);
        let tasks = processor.concurrent.unwrap_or(1);
        let pages = sector.0.div_ceil(Bytes::gib(1).0) * 2 * u64::from(tasks);
        *by_node.entry(node).or_default() += pages;
        folders.push(PagesFolder { path: path.clone(), node: node.to_string(), files: 2 * tasks, pages, tasks });
    }
    let counts: Vec<String> = by_node.iter().map(|(node, pages)| format!("{node}:{pages}")).collect();
    Some(Pages {
        mount: mount.display().to_string(),
        config: CONFIG,
        sector_size: host.request.target.sector_size.to_string(),
        folders,
        kernel_line: format!("hugepagesz=1G hugepages={}", counts.join(",")),
        total: Bytes(by_node.values().sum::<u64>() * Bytes::gib(1).0).human(),
    })
}

/// What the description says of the host that sealing would want otherwise, each with what to do.
pub(in crate::planner) fn settings(machine: &Machine) -> Vec<String> {
    let mut advice = Vec::new();
    let smt = machine.kernel.as_ref().and_then(|kernel| kernel.smt.as_deref());
    match (machine.has_smt(), smt) {
        (true, _) => advice.push(
            "SMT is on. PC1 hashes on one of a core's two CPUs and the other only takes cache from it: switch it off in the BIOS, \
             or with `nosmt` on the kernel's command line. The CPUs have other numbers then, so look at the machine again \
             and plan anew; until then each cpuset holds both siblings of its cores."
                .to_owned(),
        ),
        (false, Some("on")) => advice.push(
            "SMT can be switched on here and no core has a second CPU now: keep it off in the BIOS too, or a reboot may \
             bring the siblings back."
                .to_owned(),
        ),
        _ => {}
    }
    let Some(kernel) = &machine.kernel else { return advice };
    let slow: Vec<&str> = kernel.governors.iter().flatten().map(|one| one.name.as_str()).collect();
    if slow.iter().any(|name| *name != "performance") {
        advice.push(format!(
            "The frequency governor is {}: `cpupower frequency-set -g performance` keeps the clock up.",
            slow.join(" and ")
        ));
    }
    if kernel.numa_balancing.is_some_and(|mode| mode != 0) {
        advice.push(
            "Automatic NUMA balancing is on and moves pages that were placed on purpose: `sysctl kernel.numa_balancing=0`."
                .to_owned(),
        );
    }
    if kernel.swap.is_some_and(|swap| swap.total_bytes.0 > 0) {
        advice.push("There is swap; layers that are swapped out cost hours: `swapoff -a`.".to_owned());
    }
    advice
}
