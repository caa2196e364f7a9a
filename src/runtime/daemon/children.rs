//! From `[processors]` to the executor: the rules of its queues, and each child as a value before it is started.
//!
//! ```text
//! [[processors.pc2]] ─► ChildSpec (a value) ─► each life: empty TMPDIR, cgroup made and compared ─► launch ─► child
//! ```
//!
//! The same variables that the field's daemon sets are set, so that its processors place themselves where they already
//! are. A pc1 of ours tells its numbers in a file, which is read here and shown as the daemon's own. Later stages have names in the configuration and no plan that uses them: their processors are not started.

use super::{DaemonError, Options, execute};
use crate::{
    runtime::{
        limit::{Room, Rules},
        metrics::Gauges,
        pc1_numbers,
        pieces::Fetch,
        processor::{
            Perform,
            child::{Plan, Prepare, Role},
            pool::Pool,
            protocol::{ENV_CPUSET, ENV_GROUP, ENV_NODE},
            restart::Pace,
            scratch::Scratch,
        },
        stage::Stage,
    },
    sys::{
        Root,
        cgroup::Cpusets,
        process::{self, ChildSpec, Place},
    },
    worker_config::{Processor, Processors, StageName},
};
use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    thread,
};
use tracing::{info, warn};

/// What damocles names the group of its processors.
const GROUP: &str = "vc-worker";
/// Groups of one child each: `sub-<stage>-<number of the daemon>-<index>`.
const SUB: &str = "sub-";

/// The stage that external processors of this name do; none for those that no plan of this version has.
pub(super) fn stage_of(name: StageName) -> Option<Stage> {
    Stage::EXTERNAL.into_iter().find(|stage| stage.name() == name.name())
}

/// The group that a processor's own group is made in.
pub(super) fn group_of(processor: &Processor) -> &str {
    processor.cgroup.group_name.as_deref().unwrap_or(GROUP)
}

/// What the configuration says of who may start what.
pub(super) fn rules(processors: &Processors) -> Rules {
    let room = |processor: &Processor| Room {
        concurrent: processor.concurrent,
        locks: processor.locks.iter().cloned().collect(),
    };
    let limits = processors.limitation.concurrent.iter();
    let gaps = processors.limitation.staggered.iter();
    Rules {
        concurrent: limits.filter_map(|(name, most)| Some((stage_of(*name)?, *most))).collect(),
        staggered: gaps.filter_map(|(name, gap)| Some((stage_of(*name)?, gap.0))).collect(),
        locks: processors.ext_locks.clone(),
        processors: started(processors).map(|(stage, list)| (stage, list.iter().map(room).collect())).collect(),
    }
}

/// The processors that are started, by stage.
fn started(processors: &Processors) -> impl Iterator<Item = (Stage, &Vec<Processor>)> {
    processors.stages.iter().filter_map(|(name, list)| Some((stage_of(*name)?, list)))
}

/// Everything that is started: processors by stage, then the helpers beside them.
fn children(processors: &Processors) -> impl Iterator<Item = (Role, &Vec<Processor>)> {
    let helpers = Some((Role::Helper, &processors.sealing_daemons)).filter(|(_, list)| !list.is_empty());
    started(processors).map(|(stage, list)| (Role::Stage(stage), list)).chain(helpers)
}

/// What a child's description needs beside its table.
struct Here<'a> {
    /// Our own program.
    program: &'a Path,
    /// Our own number.
    pid: u32,
    allow_unpinned: bool,
    /// What our own processors are told beside their stage.
    more_args: Vec<String>,
    /// Where programs are that are named without a folder.
    path: Option<std::ffi::OsString>,
    /// How whoever adds pieces fetches them.
    fetch: &'a Fetch,
}

/// A processor's child, without its temporary folder.
fn describe(here: &Here, role: Role, index: usize, processor: &Processor, lock: PathBuf) -> Result<ChildSpec, String> {
    let program = match &processor.bin {
        None => here.program.to_owned(),
        Some(bin) => process::find_program(bin, here.path.as_deref()).ok_or_else(|| no_program(bin))?,
    };
    // A helper names its program (`check`), and takes no arguments that it is not told.
    let own_args = || match role {
        Role::Stage(stage) => [vec!["processor".to_owned(), stage.to_string()], here.more_args.clone()].concat(),
        Role::Helper => Vec::new(),
    };
    let mut env = processor.envs.clone();
    if let Role::Stage(Stage::AddPieces) = role {
        // As the field's daemon tells it, in the environment, which others than its user and root cannot read.
        for (name, value) in here.fetch.vars() {
            env.entry(name.into()).or_insert(value);
        }
    }
    let mut cgroup = None;
    if let Some(cpus) = &processor.cgroup.cpuset {
        let name = format!("{}/{SUB}{role}-{}-{index}", group_of(processor), here.pid);
        env.insert(ENV_GROUP.into(), name.clone());
        env.insert(ENV_CPUSET.into(), cpus.to_string());
        cgroup = Some(name);
    }
    if let Some(node) = processor.numa_preferred {
        env.insert(ENV_NODE.into(), node.to_string());
    }
    Ok(ChildSpec {
        program,
        args: processor.args.clone().unwrap_or_else(own_args),
        env,
        inherit_env: processor.inherit_envs,
        place: Place {
            cpuset: processor.cgroup.cpuset.clone(),
            node_preferred: processor.numa_preferred,
            cgroup,
            allow_unpinned: here.allow_unpinned,
        },
        lock,
    })
}

/// For whoever names a program that is not one.
pub(super) fn no_program(bin: &Path) -> String {
    format!("{:?} is no program that can be executed; give its full path, and check its mode", bin.display())
}

/// Starts the executor with all its children. Whoever adds pieces is told of `fetch`, with its token, and nobody else.
///
/// # Errors
/// Every child that did not become ready; the others have been stopped again.
pub fn start(processors: &Processors, fetch: Fetch, options: &Options) -> Result<Pool, DaemonError> {
    let plans = if children(processors).next().is_some() { plans(processors, &fetch, options)? } else { Vec::new() };
    let perform: Box<Perform> = match &options.rehearsal {
        None => Box::new(move |task| execute::perform(task, &fetch)),
        Some(rehearsal) => {
            let performer = rehearsal.performer(fetch);
            Box::new(move |task| performer(task))
        }
    };
    Pool::start(rules(processors), perform, plans).map_err(DaemonError::Processors)
}

fn plans(processors: &Processors, fetch: &Fetch, options: &Options) -> Result<Vec<Plan>, DaemonError> {
    let (scratch, notes) = Scratch::open(&options.temp)?;
    notes.iter().for_each(|note| warn!("{note}"));
    let (scratch, cpusets) = (Arc::new(scratch), cpusets(processors));
    let here = Here {
        program: &options.program,
        pid: std::process::id(),
        allow_unpinned: options.allow_unpinned,
        more_args: options.rehearsal.as_ref().map_or_else(Vec::new, |rehearsal| rehearsal.args().into()),
        path: env::var_os("PATH"),
        fetch,
    };
    let (mut plans, mut told) = (Vec::new(), Vec::new());
    for (role, list) in children(processors) {
        for (index, processor) in list.iter().enumerate() {
            let name = format!("{role}-{index}");
            if role == Role::Stage(Stage::Pc1) {
                told.push((name.clone(), scratch.numbers(&name)));
            }
            let spec = describe(&here, role, index, processor, scratch.lock(&name))
                .map_err(|why| DaemonError::Program(format!("processors.{role}[{index}].bin: {why}")))?;
            plans.push(Plan {
                role,
                index,
                stable_wait: processor.stable_wait.0,
                auto_restart: processor.auto_restart,
                pace: Pace::DEFAULT,
                launcher: options.program.clone(),
                prepare: Box::new(Readier {
                    gpus: gpus(processor),
                    spec,
                    name,
                    scratch: Mutex::new(Some(scratch.clone())),
                    cpusets: cpusets.clone(),
                }),
            });
        }
    }
    if !told.is_empty() {
        let alive = Arc::downgrade(&scratch);
        thread::spawn(move || show_numbers(&told, &alive));
    }
    Ok(plans)
}

/// Shows what pc1's children tell, for as long as there are children. One that has ended tells nothing more: its places
/// are shown empty.
fn show_numbers(told: &[(String, PathBuf)], alive: &Weak<Scratch>) {
    let mut gauges: Vec<_> = told.iter().map(|(name, _)| Gauges::of(name)).collect();
    // Counted and never held: the folder goes with the last child and not with this thread.
    while alive.strong_count() > 0 {
        for ((_, file), gauges) in told.iter().zip(&mut gauges) {
            gauges.show(&pc1_numbers::read(file).unwrap_or_default());
        }
        thread::sleep(pc1_numbers::WRITE_EVERY);
    }
}

/// The GPUs that a processor's child can see; none said: all.
fn gpus(processor: &Processor) -> Option<String> {
    const NAME: &str = "CUDA_VISIBLE_DEVICES";
    let inherited = || if processor.inherit_envs { env::var(NAME).ok() } else { None };
    processor.envs.get(NAME).cloned().or_else(inherited)
}

/// The hierarchy for cpusets, where one is asked for, swept of the groups of daemons that have ended. Where there is
/// none, each start of a child says so.
fn cpusets(processors: &Processors) -> Option<Cpusets> {
    let asking = children(processors).flat_map(|(_, list)| list).filter(|one| one.cgroup.cpuset.is_some());
    let mut groups: Vec<_> = asking.map(group_of).collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.is_empty() {
        return None;
    }
    let cpusets = Cpusets::find(&Root::at("/")).ok()?;
    for group in groups {
        match sweep(&cpusets, group) {
            Ok(swept) if swept.is_empty() => {}
            Ok(swept) => info!("cgroups of daemons that have ended removed: {}", swept.join(", ")),
            Err(error) => warn!("cgroups of daemons that have ended stay: {error}"),
        }
    }
    Some(cpusets)
}

fn sweep(cpusets: &Cpusets, group: &str) -> Result<Vec<String>, crate::sys::cgroup::CgroupError> {
    let root = Root::at("/");
    let mut swept = Vec::new();
    for name in cpusets.names(group, SUB)? {
        // Ours is from an earlier life: in a container a daemon has the same number each time.
        let Some(pid) = pid_in(&name) else { continue };
        if pid == std::process::id() || !process::is_alive(&root, pid) {
            cpusets.remove(&name)?;
            swept.push(name);
        }
    }
    Ok(swept)
}

/// The daemon's number in `vc-worker/sub-<stage>-<number>-<index>`.
fn pid_in(name: &str) -> Option<u32> {
    let (_, sub) = name.rsplit_once('/')?;
    let mut parts = sub.strip_prefix(SUB)?.rsplit('-');
    parts.next()?.parse::<usize>().ok()?;
    parts.next()?.parse().ok()
}

/// Makes ready what a child needs on this host, before each of its lives.
struct Readier {
    spec: ChildSpec,
    name: String,
    gpus: Option<String>,
    /// Until the last life: the folder of all children goes with the last of them, whoever may still hold this value.
    scratch: Mutex<Option<Arc<Scratch>>>,
    cpusets: Option<Cpusets>,
}

impl Readier {
    fn scratch(&self) -> Option<Arc<Scratch>> {
        self.scratch.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn make_group(&self) -> Result<(), String> {
        let Place { cgroup: Some(name), cpuset: Some(cpus), node_preferred, .. } = &self.spec.place else {
            return Ok(());
        };
        let cpusets = match &self.cpusets {
            Some(cpusets) => cpusets.clone(),
            None => Cpusets::find(&Root::at("/")).map_err(|error| error.to_string())?,
        };
        cpusets.make(name, cpus, *node_preferred).map_err(|error| error.to_string())
    }
}

impl Prepare for Readier {
    fn before(&self) -> Result<ChildSpec, String> {
        let mut spec = self.spec.clone();
        let scratch = self.scratch().expect("nothing is prepared after the end");
        let folder = scratch.folder(&self.name, self.gpus.as_deref()).map_err(|error| error.to_string())?;
        spec.env.insert(pc1_numbers::FILE_VARIABLE.into(), scratch.numbers(&self.name).to_string_lossy().into_owned());
        // One that the operator chose is used as it is, and nothing in it is removed.
        spec.env.entry("TMPDIR".into()).or_insert_with(|| folder.to_string_lossy().into_owned());
        match self.make_group() {
            Err(error) if spec.place.allow_unpinned => {
                warn!(processor = self.name, "runs without its cgroup (--allow-unpinned): {error}");
                spec.place.cgroup = None;
            }
            made => made?,
        }
        Ok(spec)
    }

    fn after(&self) {
        match self.scratch().map(|scratch| scratch.clear(&self.name)).transpose() {
            Ok(None | Some(0)) => {}
            Ok(Some(bytes)) => info!(processor = self.name, bytes, "temporary files of the ended child removed"),
            Err(error) => warn!(processor = self.name, "temporary files of the ended child stay: {error}"),
        }
        if let (Some(cpusets), Some(name)) = (&self.cpusets, &self.spec.place.cgroup)
            && let Err(error) = cpusets.remove(name)
        {
            warn!(processor = self.name, "the cgroup of the ended child stays: {error}");
        }
    }

    fn end(&self) {
        drop(self.scratch.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::limit::{Health, Limits},
        units::NodeId,
        worker_config::Cgroup,
    };
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    fn here(program: &Path) -> Here<'_> {
        let fetch = Box::leak(Box::default());
        Here { program, pid: 4711, allow_unpinned: false, more_args: Vec::new(), path: None, fetch }
    }

    #[test]
    fn a_bare_table_is_our_own_processor_where_the_daemon_is() {
        let spec = describe(
            &here(Path::new("/bin/worker")),
            Role::Stage(Stage::TreeD),
            0,
            &Processor::default(),
            "/t/l".into(),
        );
        let expected = ChildSpec {
            program: "/bin/worker".into(),
            args: vec!["processor".into(), "tree_d".into()],
            env: BTreeMap::new(),
            inherit_env: true,
            place: Place::default(),
            lock: "/t/l".into(),
        };
        assert_eq!(spec, Ok(expected));
    }

    #[test]
    fn every_key_of_a_table_is_in_its_childs_description() {
        let processor = Processor {
            bin: Some("/bin/sh".into()),
            args: Some(vec!["-c".into(), "x".into()]),
            cgroup: Cgroup { group_name: Some("rack/a".into()), cpuset: Some("2-3".parse().unwrap()) },
            envs: BTreeMap::from([("A".into(), "1".into())]),
            numa_preferred: Some(NodeId(1)),
            inherit_envs: false,
            ..Processor::default()
        };
        let spec =
            describe(&here(Path::new("/bin/worker")), Role::Stage(Stage::Pc1), 2, &processor, "/t/l".into()).unwrap();
        let group = "rack/a/sub-pc1-4711-2";
        let pairs = [("A", "1"), ("VC_CG_CPUSET", "2-3"), ("VC_CG_NAME", group), ("VENUS_WORKER_NUMA_PREFERRED", "1")];
        let expected = ChildSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "x".into()],
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            inherit_env: false,
            place: Place {
                cpuset: Some("2-3".parse().unwrap()),
                node_preferred: Some(NodeId(1)),
                cgroup: Some(group.into()),
                allow_unpinned: false,
            },
            lock: "/t/l".into(),
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn the_piece_token_goes_to_add_pieces_alone_and_the_operators_own_stays() {
        let fetch = Fetch::new(Some("t0ken".into()), vec!["https://market".into()]);
        let here = Here { fetch: &fetch, ..here(Path::new("/w")) };
        let env = |stage, processor: &Processor| {
            describe(&here, Role::Stage(stage), 0, processor, "/t/l".into()).unwrap().env
        };
        let token = |stage, processor: &Processor| env(stage, processor).get("PIECE_FETCHER_TOKEN").cloned();
        assert_eq!(env(Stage::AddPieces, &Processor::default())["PIECE_FETCHER_ORIGINS"], "https://market");
        assert_eq!(token(Stage::AddPieces, &Processor::default()).as_deref(), Some("t0ken"));
        assert_eq!(token(Stage::Pc1, &Processor::default()), None);
        let envs = BTreeMap::from([("PIECE_FETCHER_TOKEN".into(), "other".into())]);
        assert_eq!(token(Stage::AddPieces, &Processor { envs, ..Processor::default() }).as_deref(), Some("other"));
    }

    #[test]
    fn the_default_group_is_the_fields_and_a_missing_program_is_named() {
        let processor = Processor {
            cgroup: Cgroup { group_name: None, cpuset: Some("0".parse().unwrap()) },
            ..Processor::default()
        };
        let spec =
            describe(&here(Path::new("/w")), Role::Stage(Stage::AddPieces), 0, &processor, "/t/l".into()).unwrap();
        assert_eq!(spec.place.cgroup.as_deref(), Some("vc-worker/sub-add_pieces-4711-0"));
        let processor = Processor { bin: Some("/no/such".into()), ..Processor::default() };
        let error =
            describe(&here(Path::new("/w")), Role::Stage(Stage::Pc1), 0, &processor, "/t/l".into()).unwrap_err();
        assert!(error.contains("\"/no/such\" is no program"), "{error}");
    }

    #[test]
    fn only_groups_that_a_daemon_names_are_swept() {
        assert_eq!(pid_in("vc-worker/sub-add_pieces-4711-0"), Some(4711));
        assert_eq!(pid_in("a/b/sub-pc1-1-12"), Some(1));
        for other in
            ["vc-worker/sub-pc1-x-0", "vc-worker/sub-pc1", "vc-worker/pc1-1-0", "sub-pc1-1-0", "vc-worker/sub-pc1-1-x"]
        {
            assert_eq!(pid_in(other), None, "{other}");
        }
    }

    /// A table of processors as anybody may write it: locks in any order, of any capacity, limits and gaps.
    fn any_processors() -> impl Strategy<Value = String> {
        let names = || Just(vec!["a", "b", "c"]).prop_shuffle();
        let processor = (names(), 0usize..=3, prop::option::of(1u32..4)).prop_map(|(names, count, concurrent)| {
            let concurrent = concurrent.map_or(String::new(), |most| format!("concurrent = {most}\n"));
            format!("locks = {:?}\n{concurrent}", &names[..count])
        });
        let stage = prop::sample::select(vec!["pc1", "pc2", "c2", "tree_d"]);
        let tables = prop::collection::vec((stage, processor), 1..8);
        (tables, prop::collection::vec(1u32..3, 3), 1u64..3, prop::option::of(1u32..3)).prop_map(
            |(tables, locks, gap, most)| {
                let most = most.map_or(String::new(), |most| format!("concurrent = {{ pc2 = {most} }}\n"));
                let tables = tables.iter().map(|(stage, table)| format!("[[processors.{stage}]]\n{table}"));
                format!(
                    "[processors.ext_locks]\na = {}\nb = {}\nc = {}\n[processors.limitation]\nstaggered = {{ c2 = \"{gap}s\" }}\n{most}{}",
                    locks[0], locks[1], locks[2], tables.collect::<String>()
                )
            },
        )
    }

    proptest! {
        /// Ten tasks of each stage, each holding its locks until it is done: all of them come to their end.
        #[test]
        fn no_configuration_can_deadlock(processors in any_processors()) {
            let text = format!(
                "sector_manager.rpc_client.addr = \"embedded\"\nsealing_thread = [{{ location = \"./s\" }}]\n\
                 attached = [{{ location = \"./p\" }}]\n{processors}"
            );
            let loaded = crate::worker_config::parse(&text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
            let rules = rules(&loaded.config.processors);
            let mut limits = Limits::new(rules.clone());
            for (stage, rooms) in &rules.processors {
                (0..rooms.len()).for_each(|index| limits.set_health(*stage, index, Health::Up));
            }
            let mut now = Instant::now();
            let stages = [Stage::Pc1, Stage::Pc2, Stage::C2, Stage::TreeD];
            let mut waiting: Vec<_> = (0..10).flat_map(|_| stages).map(|stage| limits.queue(stage, now)).collect();
            for _ in 0..200 {
                let (granted, still) = waiting.into_iter().partition(|ticket| limits.granted(*ticket, now).is_some());
                waiting = still;
                let granted: Vec<_> = granted;
                for ticket in &granted {
                    limits.begin(*ticket, now);
                }
                now += Duration::from_secs(2);
                granted.iter().for_each(|ticket| limits.leave(*ticket));
            }
            prop_assert!(waiting.is_empty(), "{} wait for ever with\n{processors}", waiting.len());
        }
    }

    #[test]
    fn the_rules_are_the_configurations() {
        let text = r#"
            sector_manager.rpc_client.addr = "embedded"
            sealing_thread = [{ location = "./s" }]
            attached = [{ location = "./p" }]
            [processors.limitation.concurrent]
            pc1 = 3
            window_post = 1
            [processors.limitation.staggered]
            pc1 = "5min"
            [processors.ext_locks]
            gpu = 1
            [[processors.pc1]]
            concurrent = 2
            [[processors.pc1]]
            [[processors.pc2]]
            locks = ["gpu"]
            [[processors.window_post]]
        "#;
        let loaded = crate::worker_config::parse(text).unwrap_or_else(|problems| panic!("{problems:?}"));
        let rules = rules(&loaded.config.processors);
        let expected = Rules {
            concurrent: BTreeMap::from([(Stage::Pc1, 3)]),
            staggered: BTreeMap::from([(Stage::Pc1, std::time::Duration::from_secs(300))]),
            locks: BTreeMap::from([("gpu".into(), 1)]),
            processors: BTreeMap::from([
                (Stage::Pc1, vec![Room { concurrent: Some(2), ..Room::default() }, Room::default()]),
                (Stage::Pc2, vec![Room { concurrent: None, locks: ["gpu".to_owned()].into() }]),
            ]),
        };
        assert_eq!(rules, expected);
    }
}
