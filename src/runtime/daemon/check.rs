//! A configuration judged against a host, before anything on it changes.
//!
//! The loader has judged the file in itself. Here: what this version cannot do, what the machine does not have,
//! which folders and parameters are missing. Everything is found at once.

use super::{Options, children, hot_reload, listeners, parts::embedded_options};
use crate::{
    machine::Machine,
    runtime::{
        manager::embedded,
        proofs::{
            Pc1Options, ProofsError,
            params::{self, ParamsKind},
        },
        store::scan,
    },
    sys::{Root, cgroup::Cpusets, process},
    units::{CpuList, SealProof, SectorSize},
    worker_config::{EmbeddedManager, Processor, RpcClient, StageName, WorkerConfig},
};
use serde::Serialize;

/// The host that a configuration is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    pub machine: &'a Machine,
    /// Whether it is the host we are on: only then paths and parameters can be looked at.
    pub here: bool,
}

/// What was found. With a problem the daemon does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl Findings {
    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }
    pub(super) fn warning(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// Judges `config` against `host`. Looks at files and folders; changes nothing, asks no network.
pub fn check(config: &WorkerConfig, options: &Options, host: Host) -> Findings {
    let mut found = Findings::default();
    unsupported(config, options, &mut found);
    processors_of(config, options, host, &mut found);
    if host.here {
        folders(config, &mut found);
        scanned(config, &mut found);
        static_tree_d(config, &mut found);
        pieces(config, &mut found);
        listeners(config, &mut found);
        parameters(config, options, &mut found);
    } else {
        found.warning("judged against another machine: folders and proof parameters were not looked at".into());
    }
    found
}

/// Helpers beside the stages: placed as processors are, but with a program of their own and without tasks.
fn helpers(config: &WorkerConfig, host: Host, unpinned: &mut Findings, found: &mut Findings) {
    for (index, helper) in config.processors.sealing_daemons.iter().enumerate() {
        let key = format!("processors.sealing_daemons[{index}]");
        if helper.bin.is_none() {
            found.problem(format!("{key}: bin is missing: name the program that is to run beside the stages"));
        }
        if helper.concurrent.is_some() || !helper.locks.is_empty() {
            found.warning(format!("{key}: concurrent and locks have no effect: it is given no tasks"));
        }
        child(&key, helper, host, unpinned, found);
    }
}

fn processors(config: &WorkerConfig) -> impl Iterator<Item = (StageName, usize, &Processor)> {
    config.processors.stages.iter().flat_map(|(stage, processors)| {
        processors.iter().enumerate().map(|(index, processor)| (*stage, index, processor))
    })
}

fn unsupported(config: &WorkerConfig, options: &Options, found: &mut Findings) {
    let embedded = matches!(config.sector_manager.rpc_client, RpcClient::Embedded(_));
    if options.crash.is_some() && !embedded {
        found.problem(
            "--crash-at kills the daemon on purpose: only with sector_manager.rpc_client.addr = \"embedded\"".into(),
        );
    }
    if let RpcClient::Embedded(manager) = &config.sector_manager.rpc_client
        && let Err(error) = embedded::check(&embedded_options(manager))
    {
        found.problem(error.to_string());
    }
}

/// What can be seen of processors without starting them.
fn processors_of(config: &WorkerConfig, options: &Options, host: Host, found: &mut Findings) {
    let mut unpinned = Findings::default();
    for (name, index, processor) in processors(config) {
        let key = format!("processors.{name}[{index}]");
        if children::stage_of(name).is_none() {
            found.warning(format!("{key}: no plan of this version uses {name}: this processor is not started"));
            continue;
        }
        child(&key, processor, host, &mut unpinned, found);
    }
    helpers(config, host, &mut unpinned, found);
    if options.allow_unpinned {
        found
            .warnings
            .extend(unpinned.problems.into_iter().map(|text| format!("{text}; passed over: --allow-unpinned")));
    } else {
        found.problems.extend(unpinned.problems);
    }
}

/// Where a child is to run, and whether its program is there.
fn child(key: &str, processor: &Processor, host: Host, unpinned: &mut Findings, found: &mut Findings) {
    if processor.cgroup.group_name.is_some() && processor.cgroup.cpuset.is_none() {
        found.warning(format!("{key}.cgroup.group_name: without cgroup.cpuset no group is made"));
    }
    placement(key, processor, host.machine, unpinned);
    if host.here {
        groups(key, processor, unpinned);
        program(key, processor, found);
    }
}

fn program(key: &str, processor: &Processor, found: &mut Findings) {
    if let Some(bin) = &processor.bin
        && process::find_program(bin, std::env::var_os("PATH").as_deref()).is_none()
    {
        found.problem(format!("{key}.bin: {}", children::no_program(bin)));
    }
}

/// Whether the processor's cgroup could be made, as far as that can be seen without making it.
fn groups(key: &str, processor: &Processor, found: &mut Findings) {
    if processor.cgroup.cpuset.is_none() {
        return;
    }
    let writable =
        Cpusets::find(&Root::at("/")).and_then(|cpusets| cpusets.check_writable(children::group_of(processor)));
    if let Err(error) = writable {
        found.problem(format!("{key}.cgroup.cpuset: {error}"));
    }
}

fn placement(key: &str, processor: &Processor, machine: &Machine, found: &mut Findings) {
    if let Some(cpus) = &processor.cgroup.cpuset {
        let missing = cpus.minus(&machine.allowed_cpus);
        if !missing.is_empty() {
            found.problem(format!(
                "{key}.cgroup.cpuset = \"{cpus}\": {} on machine {}; allowed are {}",
                unavailable(&missing, machine),
                machine.hostname,
                machine.allowed_cpus
            ));
        }
    }
    if let Some(node) = processor.numa_preferred
        && machine.node(node).is_none()
    {
        let nodes: Vec<_> = machine.nodes().iter().map(|node| node.os_index.to_string()).collect();
        found.problem(format!(
            "{key}.numa_preferred = {node}: machine {} has no such NUMA node; it has {}",
            machine.hostname,
            nodes.join(", ")
        ));
    }
}

fn unavailable(missing: &CpuList, machine: &Machine) -> String {
    let offline = missing.and(&machine.offline_cpus);
    let forbidden = missing.and(&machine.forbidden_cpus());
    let absent = missing.minus(&offline).minus(&forbidden);
    // An export leaves out CPUs of both kinds and does not say which is which.
    let left_out = if machine.offline_or_forbidden { "are offline or forbidden" } else { "are offline" };
    let parts = [(absent, "do not exist"), (offline, left_out), (forbidden, "are forbidden by a cgroup or affinity")];
    let said = parts.into_iter().filter(|(cpus, _)| !cpus.is_empty()).map(|(cpus, what)| format!("cpus {cpus} {what}"));
    said.collect::<Vec<_>>().join(", ")
}

fn folders(config: &WorkerConfig, found: &mut Findings) {
    let embedded = matches!(config.sector_manager.rpc_client, RpcClient::Embedded(_));
    let stores = config.sealing_thread.iter().map(|thread| ("sealing_thread", thread.location.as_path(), true));
    let attached = config.attached.iter().map(|attached| ("attached", attached.location.as_path(), embedded));
    for thread in &config.sealing_thread {
        match hot_reload::judge(thread) {
            Ok(warnings) => found.warnings.extend(warnings),
            Err(problem) => found.problem(problem),
        }
    }
    for (kind, path, made) in stores.chain(attached) {
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_dir() => found.problem(format!("{kind} {}: is not a folder", path.display())),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let then = if made {
                    "the daemon will make it"
                } else {
                    "mount the disk or make the folder before the daemon starts"
                };
                found.warning(format!("{kind} {}: is not there yet; {then}", path.display()));
            }
            Err(e) => found.problem(format!("{kind} {}: {e}", path.display())),
        }
    }
}

/// Where the data of deals comes from. A folder that is not there may be a disk that is mounted later, except the
/// embedded manager's own.
fn pieces(config: &WorkerConfig, found: &mut Findings) {
    let wanted = config.sealing_thread.iter().any(|thread| thread.sealing.enable_deals);
    for folder in &config.worker.local_pieces_dirs {
        if !folder.is_dir() {
            found.warning(format!("worker.local_pieces_dirs: {} is no folder, or not there yet", folder.display()));
        }
    }
    if let RpcClient::Embedded(manager) = &config.sector_manager.rpc_client {
        found.problems.extend(piece_folder(manager));
        if wanted && manager.pieces.is_none() {
            found.warning(
                "enable_deals = true: the embedded manager has no deals without sector_manager.embedded.pieces".into(),
            );
        }
    }
    if !wanted && (!config.worker.local_pieces_dirs.is_empty() || config.sector_manager.piece_token.is_some()) {
        found.warning("worker.local_pieces_dirs, sector_manager.piece_token: no thread has enable_deals = true".into());
    }
}

/// What is wrong with the folder that an embedded manager is to take its deals from.
pub(super) fn piece_folder(manager: &EmbeddedManager) -> Option<String> {
    let folder = manager.pieces.as_ref().filter(|folder| !folder.is_dir())?;
    let shown = folder.display();
    Some(format!("sector_manager.embedded.pieces = {shown:?}: is no folder: make it, or leave the key away"))
}

/// Without a named store that takes sectors, one has to be found.
fn scanned(config: &WorkerConfig, found: &mut Findings) {
    let patterns = &config.worker.scan_persist_stores;
    let writable = config.attached.iter().any(|attached| !attached.readonly);
    match scan::scan(patterns) {
        Err(error) => found.problem(error.to_string()),
        Ok(stores) if !writable && stores.iter().all(|store| store.readonly) => found.problem(format!(
            "no writable store, so finished sectors have nowhere to go: no [[attached]] is one, and of the {} stores that \
             worker.scan_persist_stores leads to none is",
            stores.len()
        )),
        Ok(stores) if stores.is_empty() && !patterns.is_empty() => {
            found.warning("worker.scan_persist_stores: no folder with a sectorstore.json was found".into());
        }
        Ok(_) => {}
    }
}

fn listeners(config: &WorkerConfig, found: &mut Findings) {
    let (problems, warnings) = listeners::judge(config);
    found.problems.extend(problems);
    found.warnings.extend(warnings);
}

fn static_tree_d(config: &WorkerConfig, found: &mut Findings) {
    for (size, path) in &config.processors.static_tree_d {
        let expected = size.tree_d_bytes();
        let what = match std::fs::metadata(path) {
            Ok(meta) if meta.len() == expected => continue,
            Ok(meta) => format!("{} bytes long, {expected} expected", meta.len()),
            Err(e) => e.to_string(),
        };
        found.problem(format!("processors.static_tree_d.{size} = {:?}: {what}", path.display()));
    }
}

fn parameters(config: &WorkerConfig, options: &Options, found: &mut Findings) {
    if options.rehearsal.is_some() {
        return;
    }
    if let Err(error) = own_pc1(config) {
        found.problem(error.to_string());
    }
    if let Err(missing) = missing_parameters(config) {
        found.warning(format!("{missing}; a start is refused until they are there"));
    }
    match &config.sector_manager.rpc_client {
        RpcClient::Embedded(embedded) => {
            let size = embedded.proof_type.sector_size();
            for (index, thread) in config.sealing_thread.iter().enumerate() {
                let allowed = &thread.sealing.allowed_sizes;
                if !allowed.is_empty() && !allowed.contains(&size) {
                    let location = thread.location.display();
                    found.warning(format!(
                        "sealing_thread[{index}] ({location}): allowed_sizes excludes {size}, the only size that the embedded manager hands out; the thread will stay idle"
                    ));
                }
            }
        }
        RpcClient::Remote(_) => {
            for size in SectorSize::ALL {
                let kind = params::kind(SealProof::v1_1(size));
                if !options.allow_local_params && kind == ParamsKind::Local {
                    found.problem(local_keys(size));
                }
            }
        }
    }
}

/// What this process's variables say of a pc1 that is done in it; none where processors do it.
pub(super) fn own_pc1(config: &WorkerConfig) -> Result<Option<Pc1Options>, ProofsError> {
    let by_processors = config.processors.stages.get(&StageName::Pc1).is_some_and(|list| !list.is_empty());
    if by_processors { Ok(None) } else { Pc1Options::from_env().map(Some) }
}

/// Keys without which c2 would fail hours after the start. A c2 that is done by somebody else's program has its own.
pub(super) fn missing_parameters(config: &WorkerConfig) -> Result<(), String> {
    let ours = |processor: &Processor| processor.bin.is_none() && processor.args.is_none();
    if config.processors.stages.get(&StageName::C2).is_some_and(|list| !list.iter().any(ours)) {
        return Ok(());
    }
    let is_missing = |size: &SectorSize| params::kind(SealProof::v1_1(*size)) == ParamsKind::Missing;
    let missing = match &config.sector_manager.rpc_client {
        RpcClient::Embedded(embedded) => Some(embedded.proof_type.sector_size()).filter(is_missing),
        RpcClient::Remote(_) => {
            let named = config.sealing_thread.iter().flat_map(|thread| thread.sealing.allowed_sizes.iter().copied());
            let any_size = config.sealing_thread.iter().any(|thread| thread.sealing.allowed_sizes.is_empty());
            // Whoever takes sectors of any size is not asked for the keys of all, but for those of one.
            let none = any_size && SectorSize::ALL.iter().all(is_missing);
            named.into_iter().find(is_missing).or(none.then_some(SectorSize::GiB32))
        }
    };
    match missing {
        None => Ok(()),
        Some(size) => Err(format!("proof parameters of {size} are not there: {}", how_to_get(config, size))),
    }
}

fn how_to_get(config: &WorkerConfig, size: SectorSize) -> String {
    let fetch = format!("get them with: damocles-worker params fetch --sector-size {size}");
    match config.sector_manager.rpc_client {
        RpcClient::Embedded(_) if size <= SectorSize::MiB512 => {
            format!("{fetch}, or without a network: damocles-worker params generate --sector-size {size}")
        }
        _ => fetch,
    }
}

/// Keys that nobody has looked at yet are read before a remote manager is asked for work. Not part of `check`: it
/// takes a while and remembers what it found on the disk.
pub(super) fn unlooked_parameters(config: &WorkerConfig, options: &Options) -> Result<(), String> {
    let embedded = matches!(config.sector_manager.rpc_client, RpcClient::Embedded(_));
    if options.allow_local_params || options.rehearsal.is_some() || embedded {
        return Ok(());
    }
    for size in SectorSize::ALL {
        match params::look_now(SealProof::v1_1(size)) {
            Ok(ParamsKind::Local) => return Err(local_keys(size)),
            Ok(ParamsKind::Unknown) => {
                return Err(format!("proof parameters of {size} are not the published ones: {REFUSED}"));
            }
            Ok(ParamsKind::Fetched | ParamsKind::Missing) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

const REFUSED: &str =
    "a real network refuses proofs made with them; fetch the published ones, or say --allow-local-params";

fn local_keys(size: SectorSize) -> String {
    format!("proof parameters of {size} were generated on this machine: {REFUSED}")
}

#[cfg(test)]
mod tests {
    use super::unavailable;
    use crate::machine::Machine;

    #[test]
    fn cpus_that_an_export_leaves_out_are_called_offline_or_forbidden() {
        let mut machine: Machine = serde_json::from_str(
            r#"{"version": 1, "hostname": "worker-1", "allowed_cpus": "0-2", "offline_cpus": "4-5",
                "topology": {"kind": "machine", "cores": [{"cpus": "0-3"}]}}"#,
        )
        .unwrap();
        let missing = "3-6".parse().unwrap();
        let forbidden = "cpus 3 are forbidden by a cgroup or affinity";
        assert_eq!(unavailable(&missing, &machine), format!("cpus 6 do not exist, cpus 4-5 are offline, {forbidden}"));
        machine.offline_or_forbidden = true;
        assert_eq!(
            unavailable(&missing, &machine),
            format!("cpus 6 do not exist, cpus 4-5 are offline or forbidden, {forbidden}")
        );
    }
}
