//! All that a plan is handed over as: the files of `plan --out`, as values.
//!
//! ```text
//! Plan ──────┐                          ┌─ README.md, report.html, plan.json
//! FleetPlan ─┴─► Order ─► played once ──┼─ purchase.{csv,md}, operations.{csv,md}
//!                                       └─ for each type of machine: worker.toml, compose.yaml, systemd/, hugepages …
//! ```
//!
//! One plan is one type of machine, whose files lie at the top; a fleet has a folder for each type in its role. What is
//! rendered is read back wherever there is a reader: TOML by the daemon's own, JSON and CSV value by value. Pure: whoever
//! asks writes the files, all of them or none.

mod compose;
mod fleet;
mod host;
mod lists;
mod places;
mod played;
mod readme;

pub use fleet::of_fleet;

pub(super) use host::settings;
pub(super) use lists::{Operations, Purchase, operations, purchase};
pub(super) use places::Place;
pub(super) use played::Played;

use super::{
    self as planner, C2Place, Plan, PlanError, ReadBackError, Request, Target,
    fleet::{Role, Work},
    report,
    simulate::SimulationError,
    templates::{Template, TemplateFault, Templates},
};
use crate::{
    machine::Machine,
    worker_config::{self, Problems},
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Where the configuration lies on a machine.
pub(super) const CONFIG: &str = "/etc/damocles/worker.toml";
/// Where paths of the configuration that are not absolute begin.
pub(super) const HOME: &str = "/var/lib/damocles-worker";

/// What is handed over.
#[derive(Clone, Debug)]
pub struct Order {
    pub target: Target,
    /// Sectors an hour.
    pub needed: f64,
    pub types: Vec<MachineType>,
    /// Of all that is to be bought, where prices are known.
    pub price: Option<f64>,
    /// Types that are of no use here, and why.
    pub unused: Vec<String>,
    /// A fleet's types have a folder each.
    pub is_fleet: bool,
    /// What `plan --json` answers.
    pub answer: Value,
}

/// Machines of one type in one role.
#[derive(Clone, Debug)]
pub struct MachineType {
    pub name: String,
    pub role: Role,
    pub on_hand: u32,
    pub buy: u32,
    pub price_each: Option<f64>,
    /// What one makes, in sectors an hour.
    pub sectors_per_hour: f64,
    pub limited_by: String,
    /// What one does where, as the fleet's table has it; with a plan the plan tells.
    pub work: Vec<Work>,
    /// Its folder; empty at the top.
    pub folder: String,
    /// None where only stage times are known of it.
    pub host: Option<Host>,
}

/// A machine that is described, and what it is to do.
#[derive(Clone, Debug)]
pub struct Host {
    pub machine: Machine,
    pub request: Request,
    /// None where it does C2 of others: no daemon runs there.
    pub plan: Option<Plan>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Below the folder that was asked for.
    pub path: String,
    pub text: String,
    pub is_executable: bool,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    #[error("render {0}")]
    Template(#[from] TemplateFault),
    #[error("play {0} through: {1}")]
    Simulation(String, SimulationError),
    #[error("read worker.toml of {0} back: {1}")]
    Config(String, Problems),
    #[error("{path} reads back as something else than was written; this is a bug, please report it")]
    Differs { path: String },
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl MachineType {
    /// How many there are in the end.
    pub fn count(&self) -> u32 {
        self.on_hand + self.buy
    }

    fn path(&self, file: &str) -> String {
        if self.folder.is_empty() { file.to_owned() } else { format!("{}/{file}", self.folder) }
    }
}

/// What a plan for one machine, or for machines like it, is handed over as.
pub fn of_plan(machine: &Machine, request: &Request, plan: &Plan) -> Order {
    let role = if request.choices.c2 == C2Place::Local { Role::Seal } else { Role::Precommit };
    // How many there are was told, or so many are to be bought.
    let (on_hand, buy) = if request.choices.count.is_some() { (plan.machines, 0) } else { (0, plan.machines) };
    let mut answer = json!({ "feasible": true });
    if let (Some(answer), Ok(Value::Object(fields))) = (answer.as_object_mut(), serde_json::to_value(plan)) {
        answer.extend(fields);
    }
    Order {
        target: request.target,
        needed: plan.capacity.sectors_per_hour_needed,
        types: vec![MachineType {
            name: plan.hostname.clone(),
            role,
            on_hand,
            buy,
            price_each: None,
            sectors_per_hour: plan.capacity.sectors_per_hour_expected,
            limited_by: plan.capacity.bottleneck.to_string(),
            work: Vec::new(),
            folder: String::new(),
            host: Some(Host { machine: machine.clone(), request: request.clone(), plan: Some(plan.clone()) }),
        }],
        price: None,
        unused: Vec::new(),
        is_fleet: false,
        answer,
    }
}

/// Every file, in the order in which they are listed.
///
/// # Errors
/// A template is broken, a configuration cannot be played through, or something reads back as something else.
pub fn artefacts(order: &Order, templates: &Templates) -> Result<Vec<Artefact>, ArtefactError> {
    let order = &with_own_files(order, templates)?;
    let played: Vec<Option<Played>> = order.types.iter().map(Played::of).collect::<Result<_, _>>()?;
    let mut files = vec![
        text("README.md", templates.render(Template::Readme, &readme::values(order))?),
        text("report.html", templates.render(Template::Report, &report::page(order, &played))?),
        json_file("plan.json", &answer(order, &played))?,
        lists::csv("purchase.csv", &lists::purchase(order))?,
        text("purchase.md", templates.render(Template::Purchase, &lists::purchase(order))?),
        lists::csv("operations.csv", &lists::operations(order, &played))?,
        text("operations.md", templates.render(Template::Operations, &lists::operations(order, &played))?),
    ];
    for (one, played) in order.types.iter().zip(&played) {
        files.extend(of_type(one, played.as_ref(), templates)?);
    }
    Ok(files)
}

/// The order with every worker.toml made by the operator's template, where there is one.
fn with_own_files<'a>(order: &'a Order, templates: &Templates) -> Result<Cow<'a, Order>, ArtefactError> {
    if !templates.is_own(Template::WorkerToml) {
        return Ok(Cow::Borrowed(order));
    }
    let mut order = order.clone();
    for host in order.types.iter_mut().filter_map(|one| one.host.as_mut()) {
        let Some(plan) = &mut host.plan else { continue };
        let machine = Machine { hostname: plan.hostname.clone(), ..host.machine.clone() };
        plan.worker_toml = planner::worker_toml(plan, &machine, &host.request, templates).map_err(|no| match no {
            PlanError::ReadBack(ReadBackError::Template(fault)) => ArtefactError::Template(fault),
            other => other.into(),
        })?;
    }
    Ok(Cow::Owned(order))
}

fn of_type(one: &MachineType, played: Option<&Played>, templates: &Templates) -> Result<Vec<Artefact>, ArtefactError> {
    let Some(host) = &one.host else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    if let Some(plan) = &host.plan {
        worker_config::parse(&plan.worker_toml).map_err(|no| ArtefactError::Config(one.name.clone(), no))?;
        files.push(text(&one.path("worker.toml"), plan.worker_toml.clone()));
        let unit = templates.render(Template::WorkerUnit, &host::unit(one, plan, host))?;
        files.push(text(&one.path("systemd/damocles-worker.service"), unit));
    }
    let compose = compose::values(one, host, played);
    files.push(text(&one.path("compose.yaml"), templates.render(Template::Compose, &compose)?));
    if let Some(pages) = host::hugepages(host, played) {
        let script = templates.render(Template::Hugepages, &pages)?;
        files.push(Artefact { path: one.path("hugepages.sh"), text: script, is_executable: true });
        let line = templates.render(Template::KernelLine, &pages)?;
        files.push(text(&one.path("kernel-command-line.txt"), line));
    }
    Ok(files)
}

/// What `plan --json` answers, with the forecast of each type that was played through.
fn answer(order: &Order, played: &[Option<Played>]) -> Value {
    let mut answer = order.answer.clone();
    let forecasts: Vec<Value> = order
        .types
        .iter()
        .zip(played)
        .map(|(one, played)| {
            json!({
                "name": one.name,
                "role": one.role.name(),
                "machines": one.count(),
                "folder": one.folder,
                "forecast": played.as_ref().map(|played| &played.forecast),
            })
        })
        .collect();
    answer["types"] = forecasts.into();
    answer
}

fn text(path: &str, text: String) -> Artefact {
    Artefact { path: path.to_owned(), text, is_executable: false }
}

/// Written, read back, compared.
fn json_file(path: &str, value: &Value) -> Result<Artefact, ArtefactError> {
    let differs = || ArtefactError::Differs { path: path.to_owned() };
    let written = serde_json::to_string_pretty(value).map_err(|_| differs())? + "\n";
    let read: Value = serde_json::from_str(&written).map_err(|_| differs())?;
    if same(&read, value) { Ok(text(path, written)) } else { Err(differs()) }
}

/// Numbers come back from their digits to within the last one.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
