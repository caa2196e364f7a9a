//! `[sealing]`, and `sealing.*` of a thread over it.

use super::{doubt_long, elements, or};
use crate::{
    units::{Bytes, SectorSize},
    worker_config::{diagnosis::Log, raw, types::Sealing},
};

/// The common settings.
pub(super) fn common(raw: &raw::Sealing, log: &mut Log) -> Sealing {
    over(&Sealing::default(), raw, log)
}

/// `raw` merged over `base`, with what does not fit together.
pub(super) fn over(base: &Sealing, raw: &raw::Sealing, log: &mut Log) -> Sealing {
    let merged = merge(base, raw);
    check(raw, &merged, log);
    merged
}

fn merge(base: &Sealing, raw: &raw::Sealing) -> Sealing {
    Sealing {
        allowed_miners: elements(&raw.allowed_miners).unwrap_or_else(|| base.allowed_miners.clone()),
        allowed_sizes: elements(&raw.allowed_sizes).unwrap_or_else(|| base.allowed_sizes.clone()),
        enable_deals: or(&raw.enable_deals, base.enable_deals),
        disable_cc: or(&raw.disable_cc, base.disable_cc),
        max_deals: raw.max_deals.as_ref().map(|at| at.value.0).or(base.max_deals),
        min_deal_space: raw.min_deal_space.as_ref().map(|at| at.value).or(base.min_deal_space),
        max_retries: or(&raw.max_retries, base.max_retries),
        seal_interval: raw.seal_interval.as_ref().map_or(base.seal_interval, |at| at.value.0),
        recover_interval: or(&raw.recover_interval, base.recover_interval),
        rpc_polling_interval: raw.rpc_polling_interval.as_ref().map_or(base.rpc_polling_interval, |at| at.value.0),
        ignore_proof_check: or(&raw.ignore_proof_check, base.ignore_proof_check),
        request_task_max_retries: or(&raw.request_task_max_retries, base.request_task_max_retries),
        verify_after_pc2: or(&raw.verify_after_pc2, base.verify_after_pc2),
    }
}

/// Reports at the keys written here, so that what a thread inherits is told once, at `[sealing]`.
fn check(raw: &raw::Sealing, merged: &Sealing, log: &mut Log) {
    let changed = [&raw.disable_cc, &raw.enable_deals].into_iter().flatten().next();
    if let Some(at) = changed.filter(|_| merged.disable_cc && !merged.enable_deals) {
        let accepted = "it has no effect: set enable_deals = true, or remove disable_cc";
        log.warning(&at.place, "disable_cc without enable_deals", accepted);
    }
    check_deal_space(raw, merged, log);
    for interval in [&raw.seal_interval, &raw.rpc_polling_interval].into_iter().flatten() {
        doubt_long(&interval.place, interval.value.0, log);
    }
    if let Some(interval) = &raw.recover_interval {
        doubt_long(&interval.place, interval.value, log);
    }
}

fn check_deal_space(raw: &raw::Sealing, merged: &Sealing, log: &mut Log) {
    let largest: Bytes = merged.allowed_sizes.iter().copied().max().unwrap_or(SectorSize::GiB64).bytes();
    if let Some(space) = raw.min_deal_space.as_ref().filter(|space| space.value > largest) {
        let found = format!("{} is more than the largest allowed sector, {largest}", space.value);
        log.warning(&space.place, found, "no sector can ever hold as much: write a smaller size");
    }
}
