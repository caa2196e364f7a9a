//! A plan as worker.toml: rendered, read back by the configuration's own reader, compared with what was meant.
//!
//! Only text that loads without a problem or a warning, and that means what the plan means, is returned.

use super::{
    EMBEDDED_EPOCH, Manager, Plan, Request, Site,
    inventory::Inventory,
    locations::Locations,
    placement::{Folder, disks},
    processors::{self, Explained},
    templates::{Template, TemplateFault, Templates},
};
use crate::{
    profile::{Cost, Time},
    units::{Bytes, HumanDuration, SealProof},
    worker_config::{self, Limitation, Planned, Processor, Processors, RpcClient, WorkerConfig},
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

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
    /// A mistake in an operator's template.
    #[error("{file}: {what} reads back as something else than was planned", file = Template::WorkerToml.file())]
    OwnDiffers { what: &'static str },
    #[error(transparent)]
    Template(#[from] TemplateFault),
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
    figures: String,
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
    planned: Planned,
    deals: bool,
    machines: Option<String>,
    placed: Option<Placed>,
}

/// What only plans with stages on cores of their own say.
#[derive(Serialize)]
struct Placed {
    head: Vec<String>,
    warnings: Vec<String>,
    staggered: Vec<Limit>,
    locks: Vec<Limit>,
    static_tree_d: Option<StaticTreeD>,
    processors: Vec<Written>,
}

#[derive(Serialize)]
struct StaticTreeD {
    sector_size: String,
    path: String,
}

/// A processor as lines: reasons, then keys.
#[derive(Serialize)]
struct Written {
    stage: String,
    why: Vec<String>,
    keys: Vec<String>,
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
    stage: String,
    limit: String,
}

/// The file for `plan`.
pub(super) fn worker_toml(
    plan: &Plan,
    inventory: &Inventory,
    request: &Request,
    locations: &Locations,
    templates: &Templates,
) -> Result<(String, WorkerConfig), ReadBackError> {
    let explained = plan.placement.as_ref().map(|one| processors::explained(one, inventory, request));
    let explained = explained.unwrap_or_default();
    let meant = meant(plan, &explained, request);
    let values = values(plan, request, locations, &explained, &meant);
    let text = templates.render(Template::WorkerToml, &values)?;
    match read_back(&text, &values, plan, &meant) {
        Err(ReadBackError::Differs(what)) if templates.is_own(Template::WorkerToml) => {
            Err(ReadBackError::OwnDiffers { what })
        }
        read => read.map(|config| (text, config)),
    }
}

/// What `[processors]` must read back as.
fn meant(plan: &Plan, explained: &[Explained], request: &Request) -> Processors {
    match &plan.placement {
        Some(placement) => processors::processors(placement, explained, request),
        None => Processors {
            limitation: Limitation {
                concurrent: plan
                    .capacity
                    .limits
                    .iter()
                    .filter_map(|(stage, limit)| Some((processors::stage_name(*stage)?, *limit)))
                    .collect(),
                staggered: BTreeMap::new(),
            },
            ..Processors::default()
        },
    }
}

fn values(
    plan: &Plan,
    request: &Request,
    locations: &Locations,
    explained: &[Explained],
    meant: &Processors,
) -> Values {
    let site = &request.site;
    let capacity = &plan.capacity;
    let (addr, embedded) = match &site.manager {
        Manager::Embedded => ("embedded".to_owned(), Some(embedded(plan, site, locations))),
        Manager::Remote(addr) => (addr.clone(), None),
    };
    let quick = |usual: u64| HumanDuration::secs(if embedded.is_some() { 1 } else { usual }).to_string();
    let stores = stores(plan, locations);
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
        figures: figures(plan),
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
        limits: limits(&meant.limitation.concurrent, u32::to_string),
        planned: Planned { prover: request.choices.prover, suite: request.choices.suite },
        deals: request.choices.deals,
        machines: (plan.machines > 1).then(|| machines_line(plan)),
        placed: plan.placement.is_some().then(|| placed(plan, explained, meant)),
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

/// What the expectation rests on.
fn figures(plan: &Plan) -> String {
    match plan.stages.iter().filter(|cost| cost.measured_here).count() {
        0 => "these built-in figures per task, not on measurements of this machine".to_owned(),
        of if of == plan.stages.len() => "these measurements per task".to_owned(),
        of => format!("these figures per task; {of} of {} are measurements, the others built in", plan.stages.len()),
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
    plan.stages.iter().map(stage_line).collect()
}

fn stage_line(cost: &Cost) -> String {
    let memory = cost.memory_on(cost.cores()).human();
    let time = match cost.time {
        Time::Work { core_seconds, cores_max } => {
            format!("{core_seconds:>6.1} core-seconds on up to {cores_max:>2} cores")
        }
        Time::Fixed { minutes, cores } => format!("{minutes:>6.1} min on {cores:>2} cores{}", span(cost, minutes)),
    };
    format!("{:<10} {time}, {memory:>8} ({})", cost.stage.name(), cost.source)
}

/// The band of a duration, where it is more than the figure itself.
fn span(cost: &Cost, minutes: f64) -> String {
    let (low, high) = (minutes * cost.band.low, minutes * cost.band.high);
    if low < high { format!(" ({low:.1} to {high:.1})") } else { String::new() }
}

/// The store of each sealing thread.
fn stores(plan: &Plan, locations: &Locations) -> Vec<String> {
    let named = || locations.sealing_dirs.iter().map(Folder::unknown);
    let folders = plan.placement.as_ref().map_or_else(|| named().collect(), |placement| placement.folders.clone());
    let sum = |of: fn(&Cost) -> Bytes| Bytes(plan.stages.iter().map(|cost| of(cost).0).sum());
    let (reads, writes) = (sum(|cost| cost.reads), sum(|cost| cost.writes));
    let stores = disks::stores(&folders, plan.capacity.sealing_threads, reads, writes);
    stores
        .into_iter()
        .map(|store| store.to_str().expect("a site's paths were checked to be UTF-8").to_owned())
        .collect()
}

fn machines_line(plan: &Plan) -> String {
    let all = plan.capacity.sectors_per_hour_expected * f64::from(plan.machines);
    format!("{} such machines, each with this file, make {all:.2} sectors/h", plan.machines)
}

fn limits<K: std::fmt::Display, V>(map: &BTreeMap<K, V>, show: impl Fn(&V) -> String) -> Vec<Limit> {
    map.iter().map(|(stage, value)| Limit { stage: stage.to_string(), limit: show(value) }).collect()
}

fn placed(plan: &Plan, explained: &[Explained], meant: &Processors) -> Placed {
    let static_tree_d = meant.static_tree_d.iter().next();
    Placed {
        head: head(plan),
        warnings: plan.warnings.clone(),
        staggered: limits(&meant.limitation.staggered, |gap| quoted(&gap.to_string())),
        locks: limits(&meant.ext_locks, u32::to_string),
        static_tree_d: static_tree_d.map(|(size, path)| StaticTreeD {
            sector_size: quoted(&size.to_string()),
            path: path.display().to_string(),
        }),
        processors: explained.iter().map(written).collect(),
    }
}

/// The numbers that the placement stands on.
fn head(plan: &Plan) -> Vec<String> {
    let Some(placement) = &plan.placement else { return Vec::new() };
    let memory = &placement.memory;
    let rates: Vec<_> = placement.stage_rates.iter().map(|(stage, rate)| format!("{stage} {rate:.2}")).collect();
    let daily = placement.sectors_per_hour * plan.utilisation * 24.0;
    let written = Bytes((placement.writes_per_sector.0 as f64 * daily) as u64);
    let wear = placement.drive_writes_per_day(placement.sectors_per_hour * plan.utilisation);
    let wear = wear
        .map_or_else(|| "compare with their endurance".to_owned(), |times| format!("{times:.2} of their size (DWPD)"));
    vec![
        format!(
            "at most    {} sectors/h by stage; {:.0} % of the time is planned",
            rates.join(", "),
            plan.utilisation * 100.0
        ),
        format!(
            "memory     {} for all tasks at their limits, of {} that can be planned; {} are the system's",
            memory.need.human(),
            memory.have.human(),
            memory.reserve.human()
        ),
        format!(
            "disks      {} written for each sector, {} a day: {wear}",
            placement.writes_per_sector.human(),
            written.human()
        ),
    ]
}

fn written(one: &Explained) -> Written {
    Written { stage: one.stage.to_string(), why: one.why.clone(), keys: keys(&one.processor) }
}

/// The keys that a processor sets; what is not here has its default.
fn keys(one: &Processor) -> Vec<String> {
    let mut keys = Vec::new();
    keys.extend(one.bin.as_ref().map(|bin| format!("bin = {}", quoted(&bin.display().to_string()))));
    keys.extend(one.numa_preferred.map(|node| format!("numa_preferred = {node}")));
    keys.extend(one.cgroup.cpuset.as_ref().map(|cpuset| format!("cgroup.cpuset = {}", quoted(&cpuset.to_string()))));
    keys.extend(one.concurrent.map(|concurrent| format!("concurrent = {concurrent}")));
    if !one.locks.is_empty() {
        let locks: Vec<_> = one.locks.iter().map(|lock| quoted(lock)).collect();
        keys.push(format!("locks = [{}]", locks.join(", ")));
    }
    if !one.envs.is_empty() {
        let envs: Vec<_> = one.envs.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
        keys.push(format!("envs = {{ {} }}", envs.join(", ")));
    }
    keys
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Reads `text` as the daemon will, and compares.
fn read_back(text: &str, values: &Values, plan: &Plan, meant: &Processors) -> Result<WorkerConfig, ReadBackError> {
    let loaded = worker_config::parse(text).map_err(ReadBackError::Problems)?;
    if let Some(warning) = loaded.warnings.first() {
        return Err(ReadBackError::Warning(warning.to_string()));
    }
    match difference(&loaded.config, values, plan, meant) {
        Some(what) => Err(ReadBackError::Differs(what)),
        None => Ok(loaded.config),
    }
}

/// The first thing that `config` does not say as planned.
fn difference(config: &WorkerConfig, values: &Values, plan: &Plan, meant: &Processors) -> Option<&'static str> {
    let stores = config.sealing_thread.iter().map(|thread| thread.location.as_path());
    let attached = config.attached.iter().map(|store| (store.name.as_deref(), store.location.as_path()));
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
        ("sealing.enable_deals", config.sealing.enable_deals == values.deals),
        ("processors", config.processors == *meant),
        ("planned", config.planned == Some(values.planned)),
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
