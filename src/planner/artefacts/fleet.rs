//! A fleet as an order: each type in its role with a plan for so many machines as the mix has of it.

use super::{Host, MachineType, Order};
use crate::{
    machine::Machine,
    planner::{
        self, C2Place, Choices, Plan, PlanError, Request,
        fleet::{FleetError, FleetFile, FleetPlan, Line, Role},
    },
    units::{Bytes, Rate},
};
use serde_json::json;

/// The parts of a rate that rounding may cost: the mix counts with what a machine makes at most.
const BELOW: f64 = 1.0 - 1e-6;

/// What a fleet is handed over as.
///
/// # Errors
/// A type cannot be planned for what the mix expects of it.
pub fn of_fleet(fleet: &FleetFile, request: &Request, plan: &FleetPlan) -> Result<Order, FleetError> {
    let mut types = Vec::new();
    for line in &plan.lines {
        let entry = fleet.machine.iter().find(|entry| entry.name == line.name);
        let machine = entry.map(planner::fleet::Entry::described).transpose()?.flatten();
        let host = machine.map(|machine| host(machine, request, line)).transpose()?;
        let folder = if host.is_some() { folder(&types, line) } else { String::new() };
        types.push(MachineType {
            name: line.name.clone(),
            role: line.role,
            on_hand: line.on_hand,
            buy: line.buy,
            price_each: line.price_each,
            sectors_per_hour: line.sectors_per_hour,
            limited_by: line.limited_by.to_string(),
            work: line.work.clone(),
            folder,
            host,
        });
    }
    let is_priced = plan.lines.iter().any(|line| line.price_each.is_some());
    Ok(Order {
        target: request.target,
        needed: plan.sectors_per_hour_needed,
        types,
        price: is_priced.then_some(plan.price),
        unused: plan.unused.clone(),
        is_fleet: true,
        answer: json!({ "feasible": true, "fleet": plan }),
    })
}

fn host(machine: Machine, request: &Request, line: &Line) -> Result<Host, PlanError> {
    if line.role == Role::C2 {
        return Ok(Host { machine, request: request.clone(), plan: None });
    }
    let request = of_type(request, line);
    let plan = planned(&machine, &request, line.name.clone())?;
    Ok(Host { machine, request, plan: Some(plan) })
}

fn planned(machine: &Machine, request: &Request, name: String) -> Result<Plan, PlanError> {
    let machine = Machine { hostname: name, ..machine.clone() };
    planner::plan(&machine, request)
}

/// What is asked of the machines of a type together.
fn of_type(request: &Request, line: &Line) -> Request {
    let count = line.on_hand + line.buy;
    let c2 = match (line.role, &request.choices.c2) {
        (Role::Precommit, C2Place::Local) => C2Place::Remote("c2".into()),
        (Role::Precommit, remote) => remote.clone(),
        _ => C2Place::Local,
    };
    let target = request.target;
    let hours = target.rate.period.hours(target.days_per_month);
    let sectors = line.sectors_per_hour * BELOW * f64::from(count) * hours;
    let bytes = sectors * target.sector_size.bytes().0 as f64;
    // A number that can be read; below a GiB every byte counts.
    let unit = if bytes >= Bytes::tib(100).0 as f64 { Bytes::tib(1).0 } else { Bytes::gib(1).0 };
    let bytes = if bytes > unit as f64 { bytes as u64 / unit * unit } else { bytes as u64 };
    let mut request = request.clone();
    request.choices = Choices { c2, count: Some(count), ..request.choices };
    request.target.rate = Rate { bytes: Bytes(bytes), period: target.rate.period };
    request
}

/// A name that is a folder's everywhere, and nobody else's here.
fn folder(types: &[MachineType], line: &Line) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = line.name.chars().map(plain).collect();
    let name = name.trim_matches(['-', '.']);
    let name = if name.is_empty() { "machine" } else { name };
    let base = format!("{name}-{}", line.role);
    let is_free = |name: &String| types.iter().all(|one| one.folder != *name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone()).chain(numbered).find(is_free).unwrap_or(base)
}
