//! What an operator should know of a placement beside its numbers.

use super::{Capacity, Choices, Placement, Request, costs::Costs, inventory::Inventory};
use crate::{
    machine::pc1_units::{Outcome, Prover, pc1_units},
    profile::{Stage, Suite},
    units::{Bytes, SectorSize},
};

/// Nothing for plans without a placement: their stages share what there is.
pub(super) fn of(
    inventory: &Inventory,
    costs: &Costs,
    capacity: &Capacity,
    placement: Option<&Placement>,
    request: &Request,
) -> Vec<String> {
    let Some(placement) = placement else { return Vec::new() };
    let choices = &request.choices;
    let mut found = Vec::new();
    found.extend(instructions(inventory));
    found.extend(memory(placement, choices));
    found.extend(other_provers(inventory, placement, choices));
    found.extend(gpus(inventory, placement));
    found.extend(deals(request, capacity));
    found.push(post(request, capacity));
    found.extend(disks(placement, costs));
    found.extend(endurance(placement, capacity));
    found.extend(pools(inventory, placement, choices));
    found.extend(inventory.unused.iter().cloned());
    found
}

fn instructions(inventory: &Inventory) -> Option<String> {
    (inventory.sha == Some(false)).then(|| inventory.machine.pc1_capable().reason)
}

fn memory(placement: &Placement, choices: &Choices) -> Vec<String> {
    let memory = &placement.memory;
    let mut found = Vec::new();
    if memory.need > memory.have {
        let more = Bytes(memory.need.0 - memory.have.0).human();
        found.push(format!(
            "all tasks at their limits hold {more} more than the {} that can be planned; it was planned all the same, \
             because --overcommit was given",
            memory.have.human()
        ));
    } else if memory.need_most > memory.have {
        let more = Bytes(memory.need_most.0 - memory.have.0).human();
        found.push(format!(
            "it fits by what most sources report; by the most that careful ones book for PC2 and C2 {more} are missing"
        ));
    }
    if choices.hugepages.is_none()
        && let Some(node) = memory.nodes.iter().find(|node| node.pc1.0 + node.others.0 > node.have.0)
    {
        found.push(format!("node {} has too little memory for what is placed there", node.node));
    }
    found
}

/// What another build would make of the PC1 cpusets.
fn other_provers(inventory: &Inventory, placement: &Placement, choices: &Choices) -> Vec<String> {
    if choices.prover == Prover::Own {
        return vec![
            "PC1 is placed for this project's runtime, which hashes a sector on one core; damocles' own build and the \
             stock library would run these tasks bound to no core: for them plan with --prover"
                .to_owned(),
        ];
    }
    let others = [Prover::Stock, Prover::StockDamocles].into_iter().filter(|prover| *prover != choices.prover);
    others
        .flat_map(|prover| placement.pc1.iter().map(move |processor| (prover, processor)))
        .filter_map(|(prover, processor)| {
            let found = pc1_units(inventory.machine, &processor.cpuset, prover, placement.producers as usize);
            let (cpuset, tasks) = (&processor.cpuset, processor.tasks);
            match found.outcome {
                Outcome::Panics => Some(format!("with --prover {prover} PC1 on {cpuset} would panic at its start")),
                _ => match found.floating(tasks as usize) {
                    0 => None,
                    floating => Some(format!(
                        "with --prover {prover} {floating} of the {tasks} PC1 tasks on {cpuset} would run bound to no core"
                    )),
                },
            }
        })
        .collect()
}

fn gpus(inventory: &Inventory, placement: &Placement) -> Vec<String> {
    let used: Vec<usize> = {
        let mut used: Vec<_> = placement.processors.iter().filter_map(|one| one.gpu).collect();
        used.sort_unstable();
        used.dedup();
        used
    };
    let mut found = Vec::new();
    for gpu in &used {
        let gpu = &inventory.gpus[*gpu];
        if gpu.memory.is_none() {
            found.push(format!("the machine does not tell the memory of {}; it was taken to be enough", gpu.name));
        }
    }
    for (place, gpu) in inventory.gpus.iter().enumerate().filter(|(place, _)| !used.contains(place)) {
        found.push(format!("GPU {place} ({}) is left free: using it would not make more", gpu.name));
    }
    found
}

/// Sectors in a partition of WindowPoSt.
const PARTITION: [(SectorSize, f64); 2] = [(SectorSize::GiB32, 2349.0), (SectorSize::GiB64, 2300.0)];

/// Partitions that a host proves within the half hour of a deadline, at the ten minutes that slow ones take.
const PARTITIONS_A_DEADLINE: f64 = 3.0;

/// Proofs of what has been sealed: never planned here, and not to be forgotten.
fn post(request: &Request, capacity: &Capacity) -> String {
    let size = request.target.sector_size;
    let sectors = capacity.sectors_per_hour_needed * 24.0 * request.target.days_per_month;
    let in_one = PARTITION.iter().find(|(of, _)| *of == size).map_or(PARTITION[0].1, |(_, sectors)| *sectors);
    format!(
        "prove WindowPoSt and WinningPoSt on hosts of their own, never here: sealing makes them miss their deadlines. The \
         target adds {:.1} partitions a month over 48 deadlines; a host with 120 GiB of memory and a GPU of 11 GiB proves \
         {PARTITIONS_A_DEADLINE:.0} in a deadline",
        sectors / in_one
    )
}

/// What sectors with deals need beside what empty ones do.
fn deals(request: &Request, capacity: &Capacity) -> Vec<String> {
    if !request.choices.deals {
        return Vec::new();
    }
    let size = request.target.sector_size.bytes().0 as f64;
    let bytes = Bytes((capacity.sectors_per_hour_expected * size) as u64).human();
    let mut found =
        vec![format!("deals: up to {bytes} of pieces an hour come from the piece store, beside finished sectors")];
    if request.choices.suite == Suite::Supra {
        found.push(
            "deals: lotus' documents tell that Supranational's PC2 was not reliable for sectors with deals outside its own \
             sealing engine; seal some with --suite stock first"
                .to_owned(),
        );
    }
    found
}

/// Disks are bought for so many writes of their whole size a day.
fn endurance(placement: &Placement, capacity: &Capacity) -> Option<String> {
    let writes = placement.drive_writes_per_day(capacity.sectors_per_hour_expected)?;
    (writes > 1.0).then(|| {
        format!(
            "the sealing disks are written {writes:.1} times their size a day: those rated for one drive write a day (DWPD 1) \
             wear out early"
        )
    })
}

fn disks(placement: &Placement, costs: &Costs) -> Option<String> {
    let unknown = placement.folders.iter().any(|folder| folder.sectors.is_none());
    unknown.then(|| {
        let peak = costs.on_cores(Stage::C2).scratch;
        format!(
            "the machine does not tell the room of every sealing folder; each sector in flight holds {} there",
            peak.human()
        )
    })
}

fn pools(inventory: &Inventory, placement: &Placement, choices: &Choices) -> Vec<String> {
    let nodes = inventory.nodes.iter().filter(|node| node.pooled > Bytes(0));
    match &choices.hugepages {
        None => nodes
            .map(|node| {
                let pooled = node.pooled.human();
                format!("node {} keeps {pooled} in hugepage pools that this plan does not use: plan with --hugepages, or release them", node.id)
            })
            .collect(),
        Some(_) => placement
            .pc1
            .iter()
            .map(|one| {
                let pages = one.memory.0.div_ceil(Bytes::gib(1).0);
                format!("node {} needs a pool of {pages} pages of 1 GiB before the daemon starts", one.node)
            })
            .collect(),
    }
}
