//! A configuration back to TOML, under the headings the field's documents use.
//!
//! Every value is written, defaults too: the text says all that the daemon will do, whatever a later
//! version's defaults are. A thread writes only where it differs from `[sealing]`. One thing TOML has no
//! word for: a thread without `max_deals` or `min_deal_space` under a `[sealing]` that has them.

use super::types::*;
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    path::Path,
};

/// Writes `config` as a damocles-worker.toml that `parse` reads back to the same configuration.
pub fn render(config: &WorkerConfig) -> String {
    let mut out = Out::default();
    worker(&mut out, &config.worker);
    out.heading("[metrics]");
    out.key("enable", config.metrics.enable);
    out.text("http_listen", config.metrics.http_listen);
    sector_manager(&mut out, &config.sector_manager);
    out.heading("[sealing]");
    sealing(&mut out, "", &config.sealing, None);
    for thread in &config.sealing_thread {
        out.heading("[[sealing_thread]]");
        out.path("location", &thread.location);
        out.text("plan", thread.plan);
        sealing(&mut out, "sealing.", &thread.sealing, Some(&config.sealing));
    }
    for attached in &config.attached {
        out.heading("[[attached]]");
        out.maybe_text("name", attached.name.as_ref());
        out.path("location", &attached.location);
        out.key("readonly", attached.readonly);
    }
    processors(&mut out, &config.processors);
    if let Some(planned) = config.planned {
        out.heading("[planned]");
        out.text("prover", planned.prover);
        out.text("suite", planned.suite);
    }
    out.0
}

fn worker(out: &mut Out, worker: &Worker) {
    out.heading("[worker]");
    out.maybe_text("name", worker.name.as_ref());
    out.text("rpc_server.host", &worker.rpc_server.host);
    out.key("rpc_server.port", worker.rpc_server.port);
    if let Some(file) = &worker.rpc_server.token_file {
        out.path("rpc_server.token_file", file);
    }
    out.text("ping_interval", worker.ping_interval);
    out.key("local_pieces_dirs", paths(&worker.local_pieces_dirs));
    out.key("scan_persist_stores", paths(&worker.scan_persist_stores));
}

fn sector_manager(out: &mut Out, manager: &SectorManager) {
    out.heading("[sector_manager]");
    match &manager.rpc_client {
        RpcClient::Embedded(_) => out.text("rpc_client.addr", "embedded"),
        RpcClient::Remote(remote) => {
            out.text("rpc_client.addr", &remote.addr);
            out.inline_table("rpc_client.headers", &remote.headers);
        }
    }
    out.maybe_text("piece_token", manager.piece_token.as_ref());
    if !manager.piece_origins.is_empty() {
        out.texts("piece_origins", &manager.piece_origins);
    }
    if let RpcClient::Embedded(embedded) = &manager.rpc_client {
        out.heading("[sector_manager.embedded]");
        out.path("path", &embedded.path);
        out.key("miner", embedded.miner);
        out.text("proof_type", embedded.proof_type);
        out.text("epoch", embedded.epoch);
        if let Some(pieces) = &embedded.pieces {
            out.path("pieces", pieces);
        }
    }
}

/// Writes what differs from `base`, or all of it.
fn sealing(out: &mut Out, prefix: &str, sealing: &Sealing, base: Option<&Sealing>) {
    macro_rules! write_changed {
        ($($field:ident as $write:ident),* $(,)?) => {$(
            if base.is_none_or(|base| base.$field != sealing.$field) {
                out.$write(&format!("{prefix}{}", stringify!($field)), &sealing.$field);
            }
        )*};
    }
    write_changed! {
        allowed_miners as numbers,
        allowed_sizes as texts,
        enable_deals as key,
        disable_cc as key,
    }
    if base.is_none_or(|base| base.max_deals != sealing.max_deals)
        && let Some(max_deals) = sealing.max_deals
    {
        out.key(&format!("{prefix}max_deals"), max_deals);
    }
    if base.is_none_or(|base| base.min_deal_space != sealing.min_deal_space) {
        out.maybe_text(&format!("{prefix}min_deal_space"), sealing.min_deal_space);
    }
    write_changed! {
        max_retries as key,
        seal_interval as text,
        recover_interval as text,
        rpc_polling_interval as text,
        ignore_proof_check as key,
        request_task_max_retries as key,
        verify_after_pc2 as key,
    }
}

fn processors(out: &mut Out, processors: &Processors) {
    let Limitation { concurrent, staggered } = &processors.limitation;
    out.table("[processors.limitation.concurrent]", concurrent, u32::to_string);
    out.table("[processors.limitation.staggered]", staggered, |gap| quoted(&gap.to_string()));
    out.table("[processors.ext_locks]", &processors.ext_locks, u32::to_string);
    out.table("[processors.static_tree_d]", &processors.static_tree_d, |path| quoted(&path.to_string_lossy()));
    for (stage, list) in &processors.stages {
        list.iter().for_each(|one| processor(out, stage.name(), one));
    }
    processors.sealing_daemons.iter().for_each(|one| processor(out, "sealing_daemons", one));
}

fn processor(out: &mut Out, name: &str, processor: &Processor) {
    out.heading(&format!("[[processors.{name}]]"));
    if let Some(bin) = &processor.bin {
        out.path("bin", bin);
    }
    if let Some(args) = &processor.args {
        out.texts("args", args);
    }
    out.text("stable_wait", processor.stable_wait);
    if let Some(node) = processor.numa_preferred {
        out.key("numa_preferred", node);
    }
    out.maybe_text("cgroup.group_name", processor.cgroup.group_name.as_ref());
    out.maybe_text("cgroup.cpuset", processor.cgroup.cpuset.as_ref());
    if let Some(concurrent) = processor.concurrent {
        out.key("concurrent", concurrent);
    }
    if !processor.locks.is_empty() {
        out.texts("locks", &processor.locks);
    }
    out.inline_table("envs", &processor.envs);
    out.key("auto_restart", processor.auto_restart);
    out.key("inherit_envs", processor.inherit_envs);
}

/// The text so far.
#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes every write");
    }

    fn heading(&mut self, heading: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(heading);
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.key(key, quoted(&value.to_string()));
    }

    fn maybe_text(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, path.display());
    }

    fn numbers(&mut self, key: &str, numbers: &[u64]) {
        self.key(key, array(numbers));
    }

    fn texts(&mut self, key: &str, texts: &[impl Display]) {
        self.key(key, array(texts.iter().map(|text| quoted(&text.to_string()))));
    }

    fn inline_table(&mut self, key: &str, entries: &BTreeMap<String, String>) {
        if !entries.is_empty() {
            let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{} = {}", bare(k), quoted(v))).collect();
            self.key(key, format_args!("{{ {} }}", entries.join(", ")));
        }
    }

    fn table<K: Display, V>(&mut self, heading: &str, entries: &BTreeMap<K, V>, value: impl Fn(&V) -> String) {
        if !entries.is_empty() {
            self.heading(heading);
            entries.iter().for_each(|(k, v)| self.key(&bare(&k.to_string()), value(v)));
        }
    }
}

fn paths(paths: &[impl AsRef<Path>]) -> String {
    array(paths.iter().map(|path| quoted(&path.as_ref().to_string_lossy())))
}

fn array(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// A key: bare where TOML allows it.
fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A basic string: one line, everything that could end it escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes every write");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
