//! What an operator should know of a placement beside its numbers.

use super::{Choices, Placement, Request, costs::Costs, inventory::Inventory};
use crate::{
    machine::pc1_units::{Outcome, Prover, pc1_units},
    profile::Stage,
    units::Bytes,
};

/// Nothing for plans without a placement: their stages share what there is.
pub(super) fn of(
    inventory: &Inventory,
    costs: &Costs,
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
    found.extend(disks(placement, costs));
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
    if placement.processors.iter().any(|one| one.stage == Stage::C2 && one.gpu.is_some()) {
        found.push(
            "prove WindowPoSt and WinningPoSt on another host: C2 would make them miss their deadlines".to_owned(),
        );
    }
    found
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
