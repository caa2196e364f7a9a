//! Arbitrary configurations that are valid in themselves: every field, every corner its type has.

use damocles_worker::{
    units::{Bytes, CpuList, HumanDuration, NodeId, Prover, SealProof, SectorSize, Suite},
    worker_config::*,
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A whole configuration.
pub fn worker_config() -> impl Strategy<Value = WorkerConfig> {
    let threads = sealing().prop_flat_map(|base| (Just(base.clone()), vec(overridden(base), 1..4)));
    let origins = vec(r"https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?", 0..3);
    let manager = (rpc_client(), option::of("[!-z]{1,30}"), origins);
    let worker = (worker(), metrics(), manager, threads);
    let planned = option::of(
        (sample::select(&Prover::ALL[..]), sample::select(&Suite::ALL[..]))
            .prop_map(|(prover, suite)| Planned { prover, suite }),
    );
    (worker, attached(), processors(), planned, "[ -z]{0,6}").prop_map(
        |(
            (worker, metrics, (rpc_client, piece_token, piece_origins), (sealing, threads)),
            attached,
            processors,
            planned,
            tail,
        )| {
            let sealing_thread = threads.into_iter().enumerate().map(|(i, sealing)| SealingThread {
                location: store("thread", i, &tail),
                plan: Plan::Sealer,
                sealing,
            });
            WorkerConfig {
                worker,
                metrics,
                sector_manager: SectorManager { rpc_client, piece_token, piece_origins },
                sealing,
                sealing_thread: sealing_thread.collect(),
                attached,
                processors,
                planned,
            }
        },
    )
}

/// A location that no other store has, relative or absolute, with letters a careless writer would not escape.
fn store(kind: &str, i: usize, tail: &str) -> PathBuf {
    let root = if i.is_multiple_of(2) { "/mnt/" } else { "./" };
    format!("{root}{kind}{i}-{}", tail.replace('/', "_")).into()
}

/// A visible name with quotes, backslashes and letters of every script, but no placeholder.
fn name() -> impl Strategy<Value = String> {
    "\\PC{1,12}".prop_filter("blank or a placeholder", |name| !name.trim().is_empty() && !name.contains('{'))
}

fn path() -> impl Strategy<Value = PathBuf> {
    name().prop_filter("a shell's home", |path| path != "~" && !path.starts_with("~/")).prop_map(PathBuf::from)
}

/// Any text a variable or an argument can hold.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', "\n"))
}

/// A duration of more than nothing.
fn interval() -> impl Strategy<Value = HumanDuration> {
    (0u64..10_000_000_000, 1u32..1_000_000_000)
        .prop_flat_map(|(secs, nanos)| sample::select(vec![(secs, nanos), (secs % 9_999, nanos), (secs + 1, 0)]))
        .prop_map(|(secs, nanos)| HumanDuration(Duration::new(secs, nanos)))
}

fn size() -> impl Strategy<Value = SectorSize> {
    sample::select(SectorSize::ALL.to_vec())
}

fn stage() -> impl Strategy<Value = StageName> {
    sample::select(StageName::ALL.to_vec())
}

fn worker() -> impl Strategy<Value = Worker> {
    let host = sample::select(vec!["0.0.0.0", "127.0.0.1", "::", "fe80::1", "localhost", "worker-1.example"]);
    let server = (host, 0u16..20_000, option::of(path()));
    (option::of(name()), server, interval(), vec(path(), 0..3), vec(path(), 0..3)).prop_map(
        |(name, (host, port, token_file), ping_interval, local_pieces_dirs, scan_persist_stores)| Worker {
            name,
            rpc_server: RpcServer { host: host.to_owned(), port, token_file },
            ping_interval,
            local_pieces_dirs,
            scan_persist_stores,
        },
    )
}

/// Its ports lie beyond those of `worker`, so the two never meet.
fn metrics() -> impl Strategy<Value = Metrics> {
    (any::<bool>(), any::<std::net::IpAddr>(), 20_000u16..)
        .prop_map(|(enable, ip, port)| Metrics { enable, http_listen: SocketAddr::new(ip, port) })
}

fn rpc_client() -> impl Strategy<Value = RpcClient> {
    let proof = sample::select(SealProof::all().collect::<Vec<_>>());
    let pieces = proptest::option::of(path());
    let embedded =
        (path(), any::<u64>(), proof, interval(), pieces).prop_map(|(path, miner, proof_type, epoch, pieces)| {
            RpcClient::Embedded(EmbeddedManager { path, miner, proof_type, epoch, pieces })
        });
    let host = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|ip| (format!("/ip4/{ip}"), ip.to_string())),
        any::<std::net::Ipv6Addr>().prop_map(|ip| (format!("/ip6/{ip}"), format!("[{ip}]"))),
        "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5})?".prop_map(|dns| (format!("/dns/{dns}"), dns)),
    ];
    let scheme = sample::select(vec!["http", "https", "ws", "wss"]);
    let addr = (host, 1u16.., scheme, any::<bool>()).prop_map(|((multi, host), port, scheme, as_url)| match as_url {
        true => format!("{scheme}://{host}:{port}"),
        false => format!("{multi}/tcp/{port}/{scheme}"),
    });
    let headers = btree_map("[a-z][a-z0-9-]{0,8}", "[ -~]{0,12}", 0..3);
    let remote = (addr, headers).prop_map(|(addr, headers)| {
        RpcClient::Remote(RemoteManager { headers, ..RemoteManager::new(&addr).expect("built to be an address") })
    });
    prop_oneof![embedded, remote]
}

fn sealing() -> impl Strategy<Value = Sealing> {
    let allowed = (vec(any::<u64>(), 0..3), vec(size(), 0..3));
    let deals = (any::<bool>(), any::<bool>(), option::of(1u32..), option::of(any::<u64>().prop_map(Bytes)));
    let waits = (any::<u32>(), interval(), interval(), interval());
    (allowed, deals, waits, any::<bool>(), any::<u32>(), any::<bool>()).prop_map(
        |(allowed, deals, waits, ignore_proof_check, request_task_max_retries, verify_after_pc2)| Sealing {
            allowed_miners: allowed.0,
            allowed_sizes: allowed.1,
            enable_deals: deals.0,
            disable_cc: deals.1,
            max_deals: deals.2,
            min_deal_space: deals.3,
            max_retries: waits.0,
            seal_interval: waits.1,
            recover_interval: waits.2,
            rpc_polling_interval: waits.3,
            ignore_proof_check,
            request_task_max_retries,
            verify_after_pc2,
        },
    )
}

/// `base` with some fields of another: a thread can set anything, and unset nothing.
fn overridden(base: Sealing) -> impl Strategy<Value = Sealing> {
    (sealing(), any::<u16>()).prop_map(move |(other, mask)| {
        let mut merged = base.clone();
        macro_rules! take {
            ($($bit:literal: $field:ident),*) => {$( if mask & (1 << $bit) != 0 { merged.$field = other.$field.clone(); } )*};
        }
        take!(0: allowed_miners, 1: allowed_sizes, 2: enable_deals, 3: disable_cc, 4: max_retries, 5: seal_interval,
              6: recover_interval, 7: rpc_polling_interval, 8: ignore_proof_check, 9: request_task_max_retries,
              10: verify_after_pc2);
        merged.max_deals = other.max_deals.or(base.max_deals);
        merged.min_deal_space = other.min_deal_space.or(base.min_deal_space);
        merged
    })
}

/// Names are told apart by their number; the first can always be written to.
fn attached() -> impl Strategy<Value = Vec<Attached>> {
    vec((option::of(name()), any::<bool>(), "[ -z]{0,6}"), 1..4).prop_map(|stores| {
        let store = |(i, (name, readonly, tail)): (usize, (Option<String>, bool, String))| Attached {
            name: name.map(|name| format!("{name}{i}")),
            location: store("attached", i, &tail),
            readonly: readonly && i > 0,
        };
        stores.into_iter().enumerate().map(store).collect()
    })
}

fn processors() -> impl Strategy<Value = Processors> {
    let limitation = (
        btree_map(stage(), 1u32.., 0..4),
        btree_map(stage(), prop_oneof![interval(), Just(HumanDuration::default())], 0..4),
    );
    let limitation = limitation.prop_map(|(concurrent, staggered)| Limitation { concurrent, staggered });
    let ext_locks = btree_map(name(), 1u32.., 0..4);
    (limitation, ext_locks, btree_map(size(), path(), 0..3)).prop_flat_map(|(limitation, ext_locks, static_tree_d)| {
        let locks: Vec<String> = ext_locks.keys().cloned().collect();
        let stages = btree_map(stage(), vec(processor(locks.clone()), 1..3), 0..3);
        (stages, vec(processor(locks), 0..2)).prop_map(move |(stages, sealing_daemons)| Processors {
            limitation: limitation.clone(),
            ext_locks: ext_locks.clone(),
            static_tree_d: static_tree_d.clone(),
            stages,
            sealing_daemons,
        })
    })
}

fn processor(locks: Vec<String>) -> impl Strategy<Value = Processor> {
    let count = locks.len();
    let locks = sample::subsequence(locks, 0..=count).prop_shuffle();
    let child = (option::of(path()), option::of(vec(text(), 0..3)), interval(), any::<bool>(), any::<bool>());
    let group = "[a-z]{1,8}(/[a-z]{1,8})?";
    let cpus = btree_set(0u32..600, 1..20).prop_map(CpuList::from_iter);
    let placement =
        (option::of(group), option::of(cpus), option::of(any::<u32>().prop_map(NodeId)), option::of(1u32..));
    let envs = btree_map(text().prop_map(|name| format!("E{}", name.replace('=', "_"))), text(), 0..3);
    (child, placement, envs, locks).prop_map(|(child, placement, envs, locks)| Processor {
        bin: child.0,
        args: child.1,
        stable_wait: child.2,
        auto_restart: child.3,
        inherit_envs: child.4,
        cgroup: Cgroup { group_name: placement.0, cpuset: placement.1 },
        numa_preferred: placement.2,
        concurrent: placement.3,
        envs,
        locks,
    })
}
