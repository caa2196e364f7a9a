//! Two lists: for purchasing (type, number, price, what limits it) and for operations (machine, container, cores, stage).

use super::{Artefact, ArtefactError, MachineType, Order, Place, Played, text};
use crate::planner::inventory::Inventory;
use serde::Serialize;
use std::collections::BTreeMap;

/// The list for purchasing.
#[derive(Clone, Debug, Serialize)]
pub struct Purchase {
    pub target: String,
    pub sector_size: String,
    pub lines: Vec<PurchaseLine>,
    pub total: PurchaseTotal,
    pub has_prices: bool,
    pub unused: Vec<String>,
}

/// A type of machine in a role.
#[derive(Clone, Debug, Serialize)]
pub struct PurchaseLine {
    pub machine: String,
    pub role: String,
    pub on_hand: u32,
    pub buy: u32,
    pub price_each: Option<String>,
    pub price: Option<String>,
    pub sectors_per_hour_each: String,
    pub limited_by: String,
    /// The hardware, where it is described.
    pub hardware: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct PurchaseTotal {
    pub on_hand: u32,
    pub buy: u32,
    pub price: Option<String>,
}

/// The list for operations.
#[derive(Clone, Debug, Serialize)]
pub struct Operations {
    pub lines: Vec<OperationsLine>,
}

/// A processor on each machine of a type.
#[derive(Clone, Debug, Serialize)]
pub struct OperationsLine {
    pub machine: String,
    pub role: String,
    pub machines: u32,
    /// Also the name of its container.
    pub processor: String,
    pub stage: String,
    pub tasks: u32,
    pub cpus: String,
    pub node: String,
    pub gpu: String,
    pub lock: String,
    pub memory: String,
    /// The first line of its machine: tables say its name once.
    pub is_first: bool,
}

/// Rows that read back as what they were.
pub(super) trait Rows {
    fn rows(&self) -> Vec<Vec<String>>;
}

pub(in crate::planner) fn purchase(order: &Order) -> Purchase {
    let types = &order.types;
    let line = |one: &MachineType| PurchaseLine {
        machine: one.name.clone(),
        role: one.role.to_string(),
        on_hand: one.on_hand,
        buy: one.buy,
        price_each: one.price_each.map(money),
        price: one.price_each.map(|each| money(each * f64::from(one.buy))),
        sectors_per_hour_each: format!("{:.3}", one.sectors_per_hour),
        limited_by: one.limited_by.clone(),
        hardware: one.host.as_ref().map_or_else(String::new, |host| hardware(&Inventory::of(&host.machine))),
    };
    Purchase {
        target: order.target.rate.to_string(),
        sector_size: order.target.sector_size.to_string(),
        lines: types.iter().map(line).collect(),
        total: PurchaseTotal {
            on_hand: types.iter().map(|one| one.on_hand).sum(),
            buy: types.iter().map(|one| one.buy).sum(),
            price: order.price.map(money),
        },
        has_prices: order.price.is_some(),
        unused: order.unused.clone(),
    }
}

fn money(amount: f64) -> String {
    format!("{amount:.0}")
}

/// `AMD EPYC 7642, 96 cores, 1.97 TiB, 2 x RTX 3080, 8 x 7 TiB nvme`.
fn hardware(inventory: &Inventory) -> String {
    let mut gpus: BTreeMap<&str, u32> = BTreeMap::new();
    inventory.gpus.iter().for_each(|gpu| *gpus.entry(&gpu.name).or_default() += 1);
    let mut stores: BTreeMap<String, u32> = BTreeMap::new();
    for store in &inventory.stores {
        let kind = store.disks.first().map_or("disk", |(kind, _)| kind);
        let size = store.total.map_or_else(|| kind.to_owned(), |total| format!("{} {kind}", total.human()));
        *stores.entry(size).or_default() += 1;
    }
    let mut parts: Vec<String> = inventory.cpu.iter().cloned().collect();
    parts.push(format!("{} cores", inventory.cores));
    parts.push(inventory.memory.human());
    parts.extend(gpus.iter().map(|(name, count)| format!("{count} x {name}")));
    parts.extend(stores.iter().map(|(size, count)| format!("{count} x {size}")));
    parts.join(", ")
}

pub(in crate::planner) fn operations(order: &Order, played: &[Option<Played>]) -> Operations {
    let mut lines = Vec::new();
    for (one, played) in order.types.iter().zip(played) {
        let places = Place::all(one, played.as_ref());
        for (i, place) in places.iter().enumerate() {
            let told = one.work.get(i).filter(|_| one.host.is_none()).map(|work| work.cores.clone());
            let elsewhere = || place.program.as_ref().map(|program| format!("elsewhere, by {program}"));
            let cpus = place.cpus.as_ref().map(ToString::to_string);
            lines.push(OperationsLine {
                machine: one.name.clone(),
                role: one.role.to_string(),
                machines: one.count(),
                processor: place.name.clone(),
                stage: place.stage.clone(),
                tasks: place.tasks,
                cpus: cpus.or(told).or_else(elsewhere).unwrap_or_default(),
                node: place.node.map_or_else(String::new, |node| node.to_string()),
                gpu: place.gpu.map_or_else(String::new, |gpu| gpu.to_string()),
                lock: place.lock.clone().unwrap_or_default(),
                memory: place.memory.map_or_else(String::new, |memory| memory.human()),
                is_first: i == 0,
            });
        }
    }
    Operations { lines }
}

impl Rows for Purchase {
    fn rows(&self) -> Vec<Vec<String>> {
        let head = "machine,role,on_hand,buy,price_each,price,sectors_per_hour_each,limited_by,hardware";
        let line = |line: &PurchaseLine| {
            vec![
                line.machine.clone(),
                line.role.clone(),
                line.on_hand.to_string(),
                line.buy.to_string(),
                line.price_each.clone().unwrap_or_default(),
                line.price.clone().unwrap_or_default(),
                line.sectors_per_hour_each.clone(),
                line.limited_by.clone(),
                line.hardware.clone(),
            ]
        };
        with_head(head, self.lines.iter().map(line))
    }
}

impl Rows for Operations {
    fn rows(&self) -> Vec<Vec<String>> {
        let head = "machine,role,machines,processor,stage,tasks,cpus,numa_node,gpu,lock,memory";
        let line = |line: &OperationsLine| {
            vec![
                line.machine.clone(),
                line.role.clone(),
                line.machines.to_string(),
                line.processor.clone(),
                line.stage.clone(),
                line.tasks.to_string(),
                line.cpus.clone(),
                line.node.clone(),
                line.gpu.clone(),
                line.lock.clone(),
                line.memory.clone(),
            ]
        };
        with_head(head, self.lines.iter().map(line))
    }
}

fn with_head(head: &str, lines: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    std::iter::once(head.split(',').map(str::to_owned).collect()).chain(lines).collect()
}

/// The rows as a file, read back and compared.
pub(super) fn csv(path: &str, list: &impl Rows) -> Result<Artefact, ArtefactError> {
    let differs = || ArtefactError::Differs { path: path.to_owned() };
    let rows = list.rows();
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &rows {
        writer.write_record(row).map_err(|_| differs())?;
    }
    let bytes = writer.into_inner().map_err(|_| differs())?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes.as_slice());
    let read: Result<Vec<Vec<String>>, _> =
        reader.records().map(|record| record.map(|record| record.iter().map(str::to_owned).collect())).collect();
    if read.is_ok_and(|read| read == rows) {
        Ok(text(path, String::from_utf8(bytes).map_err(|_| differs())?))
    } else {
        Err(differs())
    }
}
