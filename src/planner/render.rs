//! A plan as worker.toml: rendered, read back by the configuration's own reader, compared with what was meant.
//!
//! Only text that loads without a problem or a warning, and that means what the plan means, is returned.

use super::{EMBEDDED_EPOCH, Locations, Manager, Plan, Site, Stage};
use crate::{
    units::{HumanDuration, SealProof},
    worker_config::{self, RpcClient, StageName, WorkerConfig},
};
use handlebars::{Handlebars, handlebars_helper};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

const TEMPLATE: &str = include_str!("../../templates/worker.toml.hbs");

/// The miner of the embedded manager where the operator names none: the first that a network hands out.
const MINER: u64 = 1000;

/// A rendered file that would not do what was planned.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    #[error("{0}")]
    Problems(worker_config::Problems),
    #[error("{0}")]
    Warning(String),
    /// A mistake of this program, not of its user.
    #[error("{0} reads back as something else than was planned; this is a bug, please report it")]
    Differs(&'static str),
}

/// Everything the template names. Strict mode refuses a name that is not here.
#[derive(Serialize)]
struct Values {
    hostname: String,
    cores: u32,
    memory: String,
    target: String,
    sector_size: String,
    needed: String,
    expected: String,
    bottleneck: String,
    minutes: String,
    stages: Vec<String>,
    addr: String,
    embedded: Option<Embedded>,
    seed_wait: String,
    allowed_miners: Option<String>,
    seal_interval: String,
    recover_interval: String,
    rpc_polling_interval: String,
    threads_why: String,
    scratch: String,
    stores: Vec<String>,
    attached: Vec<Attached>,
    tasks_memory: String,
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Embedded {
    path: String,
    miner: u64,
    proof_type: String,
    epoch: String,
}

#[derive(Serialize)]
struct Attached {
    name: String,
    location: String,
}

#[derive(Serialize)]
struct Limit {
    stage: &'static str,
    limit: u32,
}

/// The file for `plan`.
pub(super) fn worker_toml(plan: &Plan, site: &Site, locations: &Locations) -> Result<String, ReadBackError> {
    let values = values(plan, site, locations);
    let text = engine().render("worker.toml", &values).expect("the template names only values that exist");
    read_back(&text, &values, plan)?;
    Ok(text)
}

fn engine() -> Handlebars<'static> {
    handlebars_helper!(toml_string: |text: String| toml::Value::String(text).to_string());
    // A comment ends with its line: whatever a machine description holds must not become a key.
    handlebars_helper!(comment: |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>());
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(handlebars::no_escape);
    engine.register_helper("toml", Box::new(toml_string));
    engine.register_helper("comment", Box::new(comment));
    engine.register_template_string("worker.toml", TEMPLATE).expect("the template is well formed");
    engine
}

fn values(plan: &Plan, site: &Site, locations: &Locations) -> Values {
    let capacity = &plan.capacity;
    let (addr, embedded) = match &site.manager {
        Manager::Embedded => ("embedded".to_owned(), Some(embedded(plan, site, locations))),
        Manager::Remote(addr) => (addr.clone(), None),
    };
    let quick = |usual: u64| HumanDuration::secs(if embedded.is_some() { 1 } else { usual }).to_string();
    let stores = locations.stores(capacity.sealing_threads);
    Values {
        hostname: plan.hostname.clone(),
        cores: plan.cores,
        memory: plan.memory_bytes.human(),
        target: plan.target.to_string(),
        sector_size: plan.sector_size.to_string(),
        needed: format!("{:.2}", capacity.sectors_per_hour_needed),
        expected: format!("{:.2}", capacity.sectors_per_hour_expected),
        bottleneck: capacity.bottleneck.to_string(),
        minutes: format!("{:.1}", capacity.minutes_per_sector),
        stages: stage_lines(plan),
        seed_wait: HumanDuration(EMBEDDED_EPOCH.0 * 150).to_string(),
        // The embedded manager has one miner and hands out no other.
        allowed_miners: site.miner.filter(|_| embedded.is_none()).map(|miner| miner.to_string()),
        seal_interval: quick(30),
        recover_interval: quick(60),
        rpc_polling_interval: quick(180),
        threads_why: threads_why(stores.len(), capacity.minutes_per_sector),
        scratch: plan.scratch_bytes.human(),
        stores,
        attached: locations
            .attached
            .iter()
            .map(|(name, location)| Attached { name: name.clone(), location: location.clone() })
            .collect(),
        tasks_memory: capacity.tasks_memory_bytes.human(),
        limits: capacity.limits.iter().map(|(stage, limit)| Limit { stage: stage.name(), limit: *limit }).collect(),
        addr,
        embedded,
    }
}

fn embedded(plan: &Plan, site: &Site, locations: &Locations) -> Embedded {
    Embedded {
        path: locations.manager_dir.clone(),
        miner: site.miner.unwrap_or(MINER),
        proof_type: SealProof::v1_1(plan.sector_size).to_string(),
        epoch: EMBEDDED_EPOCH.to_string(),
    }
}

fn threads_why(threads: usize, minutes: f64) -> String {
    match threads {
        1 => "One sealing thread, one sector at a time: that is enough for the target.".to_owned(),
        _ => format!(
            "{threads} sealing threads: so many sectors are under way at once when each takes {minutes:.1} min."
        ),
    }
}

fn stage_lines(plan: &Plan) -> Vec<String> {
    plan.stages
        .iter()
        .map(|cost| {
            format!(
                "{:<10} {:>6.1} core-seconds on up to {:>2} cores, {:>8} ({})",
                cost.stage.name(),
                cost.core_seconds,
                cost.cores_max,
                cost.memory_bytes.human(),
                cost.source
            )
        })
        .collect()
}

/// Reads `text` as the daemon will, and compares.
fn read_back(text: &str, values: &Values, plan: &Plan) -> Result<(), ReadBackError> {
    let loaded = worker_config::parse(text).map_err(ReadBackError::Problems)?;
    if let Some(warning) = loaded.warnings.first() {
        return Err(ReadBackError::Warning(warning.to_string()));
    }
    match difference(&loaded.config, values, plan) {
        Some(what) => Err(ReadBackError::Differs(what)),
        None => Ok(()),
    }
}

/// The first thing that `config` does not say as planned.
fn difference(config: &WorkerConfig, values: &Values, plan: &Plan) -> Option<&'static str> {
    let stores = config.sealing_thread.iter().map(|thread| thread.location.as_path());
    let attached = config.attached.iter().map(|store| (store.name.as_deref(), store.location.as_path()));
    let limits: BTreeMap<_, _> =
        plan.capacity.limits.iter().filter_map(|(stage, limit)| Some((stage_name(*stage)?, *limit))).collect();
    let interval = |duration: HumanDuration, text: &str| duration.to_string() == text;
    [
        ("sector_manager", same_manager(&config.sector_manager.rpc_client, values, plan)),
        ("sealing_thread", stores.eq(values.stores.iter().map(Path::new))),
        ("attached", attached.eq(values.attached.iter().map(|a| (Some(a.name.as_str()), Path::new(&a.location))))),
        ("sealing.allowed_sizes", config.sealing.allowed_sizes == [plan.sector_size]),
        (
            "sealing.allowed_miners",
            config.sealing.allowed_miners.iter().map(u64::to_string).eq(values.allowed_miners.iter().cloned()),
        ),
        ("sealing.seal_interval", interval(config.sealing.seal_interval, &values.seal_interval)),
        ("sealing.recover_interval", interval(config.sealing.recover_interval, &values.recover_interval)),
        ("sealing.rpc_polling_interval", interval(config.sealing.rpc_polling_interval, &values.rpc_polling_interval)),
        ("sealing_thread.sealing", config.sealing_thread.iter().all(|thread| thread.sealing == config.sealing)),
        ("processors.limitation.concurrent", config.processors.limitation.concurrent == limits),
        ("processors", config.processors.stages.is_empty()),
    ]
    .into_iter()
    .find_map(|(what, same)| (!same).then_some(what))
}

fn same_manager(client: &RpcClient, values: &Values, plan: &Plan) -> bool {
    match (client, &values.embedded) {
        (RpcClient::Embedded(found), Some(meant)) => {
            found.path == Path::new(&meant.path)
                && found.miner == meant.miner
                && found.proof_type == SealProof::v1_1(plan.sector_size)
                && found.epoch == EMBEDDED_EPOCH
        }
        (RpcClient::Remote(found), None) => found.addr == values.addr,
        _ => false,
    }
}

fn stage_name(stage: Stage) -> Option<StageName> {
    Some(match stage {
        Stage::AddPieces => StageName::AddPieces,
        Stage::TreeD => StageName::TreeD,
        Stage::Pc1 => StageName::Pc1,
        Stage::Pc2 => StageName::Pc2,
        Stage::C1 => return None,
        Stage::C2 => StageName::C2,
    })
}
