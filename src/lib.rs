//! Plan, provision and run Filecoin sealing on real hardware.
//!
//! One library, and two thin programs over it: `damocles-worker` seals on this host, `damocles-worker-util` looks at
//! machines and plans for them.
//!
//! ```text
//! bin ─► cli ─► bench ─► { hwinfo  hugepage  planner  runtime } ─► { machine  worker_config  profile } , sys ─► units
//! ```
//!
//! Imports run to the right only, and the domains in the first braces never see one another: what they tell each
//! other is a file that a person can read and change.
//!
//! ```text
//! this host ─ hwinfo ─► machine ─ planner ─► worker.toml ─ runtime ─► sealed and proven sectors
//! ```
//!
//! # Components
//!
//! | module | owns | begin reading at |
//! | --- | --- | --- |
//! | [`units`] | sizes, durations, rates, CPU lists, sector sizes, proof types, provers: what an operator types, and back | [`units::Bytes`] |
//! | [`machine`] | CONTRACT one machine as data: what `hwinfo --json` prints and `plan` reads | [`machine::Machine`] |
//! | [`worker_config`] | CONTRACT damocles-worker.toml: what `plan` writes and `daemon` loads | [`worker_config::parse`] |
//! | [`profile`] | CONTRACT what a task of each stage takes, each figure with its source | [`profile::Profile::lookup`] |
//! | [`sys`] | EFFECTS files under a root, hwloc, locks, cgroups, child processes, files that survive a crash whole | [`sys::durable`] |
//! | [`hwinfo`] | a look at this host, and its tree for people | [`hwinfo::this_machine`] |
//! | [`hugepage`] | hugepage files for PC1: made on their node, proven, taken back | [`hugepage::init()`] |
//! | [`planner`] | machine, profile, target and the operator's choices → a worker.toml and what to expect of it; pure | [`planner::plan()`] |
//! | [`runtime`] | worker.toml → sealed and proven sectors | [`runtime::daemon`], then [`runtime::worker`] |
//! | [`mod@bench`] | stages and disks measured on this host, or read from logs → a profile | [`bench::run`](mod@bench::run) |
//! | [`cli`] | arguments, exit codes, the two streams | [`cli::Exit`] |
//!
//! Inside the runtime the same once more: `sector`, `stage` and `limit` are pure; `manager`, `processor`, `proofs`,
//! `store`, `rpc` and `metrics` are edges; `worker` knows traits; `daemon` alone names the concrete types.
//!
//! # What always holds
//!
//! - What was journaled as done is done: a kill at any moment loses nothing of it and repeats nothing of it.
//! - A name that the proofs library trusts is given to finished, synced bytes only; what may be torn is removed first.
//! - A file in a persistent store is never replaced.
//! - Only the literal `"embedded"` selects the simulated chain; the embedded manager verifies a proof before it takes it.
//! - A hugepage file has its name only when every page was seen on its node; a run that fails or is killed leaves nothing.
//! - `plan` prints what `worker_config` has accepted; the same input gives the same bytes. `plan --out` writes all files or none.
//! - Over the RPC nobody changes anything but callers on this host and those who sent the token.
//! - No message holds a password, a query, a token or a header's value.
//! - stdout is the answer, stderr is talk; exit 0 is yes, 1 no, 2 could not.
//!
//! # What is read and written on a host
//!
//! Nothing else is. Folders in capitals are the operator's choice.
//!
//! | file or folder | who | |
//! | --- | --- | --- |
//! | `/proc`, `/sys` | `hwinfo`, `plan`, `daemon` | read, through hwloc and `sys::host`: topology, host name, `/sys/devices/system/node/*/cpulist` |
//! | worker.toml (`-c`), machine.json (`--machine`), profile.toml (`--profile`) | `daemon`, `plan` | read |
//! | LOCATION of each `[[sealing_thread]]` | `daemon`, `store sealing-init` | `config.toml` read, if the operator put one there; `store.lock`, `journal`, `snapshot`, and one sector's `staged/`, `prepared/`, `sealed/`, `cache/`; it travels with the disk |
//! | `sectorstore.json` in and below the folders of `worker.scan_persist_stores` | `daemon`, `manager` | read; each makes its folder a persistent store |
//! | LOCATION of each `[[attached]]` and of each store found | `daemon` | `sealed/NAME` and `cache/NAME/`, each file first as `.FILE.partial`; nothing there is replaced or removed |
//! | files of `[processors.static_tree_d]` | `daemon` | read, through a link in `prepared/` |
//! | `CID` and `CID.car` in FOLDERS of `worker.local_pieces_dirs`, files of `[sector_manager.embedded] pieces` | `daemon`, `manager`, `processor` | read |
//! | manager.toml or worker.toml (`-c`), the token's file (`--token-file`, mode 0600) | `manager` | read |
//! | `[sector_manager.embedded] path` | `daemon`, `manager` | `manager.lock`, `rehearsal`, `manager.db` with `-wal` and `-shm`; the folder is made with mode 0700, the files with 0600 |
//! | `FIL_PROOFS_PARAMETER_CACHE`, else `/var/tmp/filecoin-proof-parameters` | `params`, `daemon` | keys, and beside each `.checked`, `.local`, `.partial`, `.lock`; `daemon` reads keys and writes `.checked` |
//! | `FIL_PROOFS_PARENT_CACHE`, else `/var/tmp/filecoin-parents` | `daemon` | the parent cache, `.checked`, `.lock`; `pc1-core-N.lock`, held while a sector is hashed on CPU N, and `pc1-memory.lock` while memory for one is taken |
//! | folders of `HUGEPAGE_FILES_PATH` or `…_PATTERN` | `daemon`, `processor pc1` | files in them are locked and overwritten, never made, shortened or removed |
//! | `/sys/devices/system/node/node*/hugepages/*/nr_hugepages`, `…/node*/compact` | `store` | pools are raised and lowered; the machine-wide `nr_hugepages` of a page size is locked meanwhile |
//! | folders on a hugetlbfs (`--path`), mounts (`--mount`) | `store` | `numa_N/32.0_GiB_0`, …; on their way in `MOUNT/.damocles-init-*-staging/` |
//! | `/var/lib/damocles-worker/hugepage.json` (`--state`) | `store` | what was made since the machine was booted; beside it `.lock` |
//! | `/proc/*/maps`, `/proc/self/cgroup`, `/proc/buddyinfo` | `store`; the first also pc1 with hugepage files | read |
//! | `damocles-worker-tmp-*/` in the temporary folder | `daemon` | `TMPDIR` of each external processor, and its lock, and `pc1-N.numbers`, what a pc1 tells; with mode 0700, removed at the end or by the next start |
//! | `bellman.gpu-*.lock`, `bellman.priority-*.lock` in the temporary folder | GPU processors | made by the proofs library through links in the folders above |
//! | the cpuset hierarchy (`/sys/fs/cgroup`) | `daemon`, `processor` | a group for each external processor with a cpuset, `vc-worker/sub-*`; removed with it |
//! | DIR of `bench --sealing-dir`, `damocles-bench-*/` | `bench` | a lock and the sectors that stages are measured on; the disk's file has no name; removed at the end or by the next run |
//! | FILE of `bench --out`, beside it FILE`.bench-state` | `bench` | the profile; what an unfinished run has measured |
//! | logs (`bench import`) | `bench` | read |
//! | FOLDER of `plan --out` | `plan` | all files of a plan and `SHA256SUMS`; made beside it as `.FOLDER.tmp-*`, an older plan is exchanged (or stands as `.FOLDER.old` meanwhile) |
//! | FOLDER of `plan --templates` | `plan` | `*.hbs`, read |
//! | FOLDER of `man` | `man` | manual pages |
//! | `.NAME.tmp-*` beside a file | whoever writes NAME | a file on its way; what a killed writer left is removed by the next writer of NAME |
//! | `worker.rpc_server.token_file`, `--token-file` | `daemon`, `worker` | read; nobody but its owner may be able to |
//! | the socket of systemd (`NOTIFY_SOCKET`) | `daemon` | told: ready, alive, status, stopping |
//!
//! The environment is asked for `FIL_PROOFS_*` (by the proofs library), `IPFS_GATEWAY` (`params fetch`), `TMPDIR`, `PATH` and
//! `CUDA_VISIBLE_DEVICES` (`daemon`, for its processors), `VC_CG_*`, `VENUS_WORKER_NUMA_PREFERRED` and `PIECE_FETCHER_TOKEN` (`processor`),
//! `DAMOCLES_PC1_PROVER`, `DAMOCLES_PC1_SECTORS_PER_CORE`, `DAMOCLES_PC1_REQUIRE_HUGEPAGES`, `DAMOCLES_PC1_NUMBERS`, `HUGEPAGE_FILES_PATH` and
//! `HUGEPAGE_FILES_PATH_PATTERN` (pc1), `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` (`daemon`) and `RUST_LOG` (`daemon`, `processor`).
//! The network is used by `params fetch` (the gateway), by `daemon` with a remote manager and its add_pieces processors, by `worker` (a
//! daemon's RPC), and by `manager`, which listens; `daemon` listens on `worker.rpc_server` and, if asked to, `metrics.http_listen`.
//! Built with a GPU feature, the proofs library also keeps `bellman.*.lock` in the temporary folder.

pub mod bench;
pub mod cli;
pub mod hugepage;
pub mod hwinfo;
pub mod machine;
pub mod planner;
pub mod profile;
pub mod runtime;
pub mod sys;
pub mod units;
pub mod worker_config;
