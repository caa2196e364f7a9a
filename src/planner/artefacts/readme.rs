//! README.md: what to do with the other files, in which order.

use super::{CONFIG, Host, MachineType, Order, host};
use crate::planner::{C2Place, Manager, fleet::Role};
use serde::Serialize;

/// What the template names.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Readme {
    target: String,
    sector_size: String,
    needed: String,
    is_fleet: bool,
    buys: bool,
    config: &'static str,
    types: Vec<TypeSteps>,
    unused: Vec<String>,
}

/// The steps on each machine of a type.
#[derive(Clone, Debug, Serialize)]
struct TypeSteps {
    name: String,
    role: String,
    count: u32,
    /// `epyc-seal/`, or nothing at the top.
    folder: String,
    /// None where no files were made.
    described: Option<Described>,
}

#[derive(Clone, Debug, Serialize)]
struct Described {
    settings: Vec<String>,
    warnings: Vec<String>,
    /// The flags by which `plan verify` judges it as it was planned.
    verify_flags: String,
    has_daemon: bool,
    has_hugepages: bool,
    hugepage_mount: String,
    is_embedded: bool,
    /// The program that hands C2 on.
    c2_program: Option<String>,
    /// Whether it was named, and not left open by the fleet.
    c2_program_is_named: bool,
    has_relative_paths: bool,
}

pub(super) fn values(order: &Order) -> Readme {
    Readme {
        target: order.target.rate.to_string(),
        sector_size: order.target.sector_size.to_string(),
        needed: format!("{:.2}", order.needed),
        is_fleet: order.is_fleet,
        buys: order.types.iter().any(|one| one.buy > 0),
        config: CONFIG,
        types: order.types.iter().map(steps).collect(),
        unused: order.unused.clone(),
    }
}

fn steps(one: &MachineType) -> TypeSteps {
    TypeSteps {
        name: one.name.clone(),
        role: one.role.to_string(),
        count: one.count(),
        folder: if one.folder.is_empty() { String::new() } else { format!("{}/", one.folder) },
        described: one.host.as_ref().map(|host| described(one, host)),
    }
}

fn described(one: &MachineType, host: &Host) -> Described {
    let (choices, site) = (&host.request.choices, &host.request.site);
    let c2_program = match &choices.c2 {
        C2Place::Remote(program) if one.role == Role::Precommit => Some(program.display().to_string()),
        _ => None,
    };
    let relative = |path: &std::path::Path| !path.is_absolute();
    let placement = host.plan.as_ref().and_then(|plan| plan.placement.as_ref());
    let folders: Vec<_> = match placement {
        Some(placement) => placement.folders.iter().map(|folder| folder.path.as_path()).collect(),
        None => site.sealing_dirs.iter().map(AsRef::as_ref).collect(),
    };
    Described {
        settings: host::settings(&host.machine),
        warnings: host.plan.iter().flat_map(|plan| plan.warnings.clone()).collect(),
        verify_flags: format!("--prover {} --suite {}", choices.prover, choices.suite),
        has_daemon: host.plan.is_some(),
        has_hugepages: choices.hugepages.is_some() && host.plan.is_some(),
        hugepage_mount: choices.hugepages.as_ref().map_or_else(String::new, |mount| mount.display().to_string()),
        is_embedded: site.manager == Manager::Embedded,
        c2_program_is_named: c2_program.as_deref() != Some("c2"),
        c2_program,
        has_relative_paths: folders.into_iter().any(relative)
            || site.attached.iter().any(|store| relative(&store.location)),
    }
}
