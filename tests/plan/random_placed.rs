//! Thousands of machines that nobody built: whatever is planned for them is sound, and more never makes less.

use crate::placed_site;
use damocles_worker::{
    machine::{
        Machine,
        pc1_units::{Prover, pc1_units},
    },
    planner::{self, C2Place, Change, Choices, Plan, PlanError, Request, Target, catalogue},
    profile::{Profile, Stage, Suite, catalogue::cpus},
    units::{CpuList, SectorSize},
    worker_config::{self, StageName},
};
use proptest::prelude::*;

/// A machine by its parts, so that it can be given more of each.
#[derive(Clone, Debug)]
struct Parts {
    sockets: u32,
    cpu: usize,
    gib: u32,
    gpus: u32,
    gpu: &'static str,
    disks: u32,
    disk: &'static str,
    is_smt: bool,
}

impl Parts {
    fn line(&self) -> String {
        let cpu = cpus()[self.cpu].name.replace(' ', "-");
        let mut line = format!("{}x {cpu} {}GiB", self.sockets, self.gib);
        for (count, what) in [(self.gpus, self.gpu), (self.disks, self.disk)] {
            if count > 0 {
                line.push_str(&format!(" {count}x {what}"));
            }
        }
        if self.is_smt {
            line.push_str(" smt");
        }
        line
    }

    fn machine(&self) -> Machine {
        catalogue::machine(&self.line()).unwrap()
    }
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let gpu = prop_oneof![Just("rtx3080"), Just("rtx3090"), Just("rtx-4000"), Just("rtx-a4000")];
    let disk = prop_oneof![Just("nvme-480GB"), Just("nvme-3.84TB"), Just("nvme-15.36TB")];
    (1u32..3, 0..cpus().len(), 64u32..4096, 0u32..5, gpu, 0u32..6, disk, any::<bool>()).prop_map(
        |(sockets, cpu, gib, gpus, gpu, disks, disk, is_smt)| Parts {
            sockets,
            cpu,
            gib,
            gpus,
            gpu,
            disks,
            disk,
            is_smt,
        },
    )
}

fn any_choices() -> impl Strategy<Value = Choices> {
    let prover = prop_oneof![Just(Prover::Own), Just(Prover::StockDamocles), Just(Prover::Stock)];
    let suite = prop_oneof![Just(Suite::Stock), Just(Suite::Supra)];
    (prover, suite, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(prover, suite, tree, huge, remote)| {
        Choices {
            prover,
            suite,
            static_tree_d: tree.then(|| "/srv/tree_d".into()),
            hugepages: huge.then(|| "/mnt/huge".into()),
            c2: if remote { C2Place::Remote("/bin/proxy".into()) } else { C2Place::Local },
            ..Choices::default()
        }
    })
}

fn ask(machine: &Machine, choices: &Choices, size: SectorSize, rate: &str) -> Result<Plan, PlanError> {
    ask_with(machine, choices, size, rate, &Profile::shipped())
}

/// The most that a machine makes; 0 where nothing fits.
fn most(machine: &Machine, choices: &Choices, size: SectorSize) -> f64 {
    match ask(machine, choices, size, "1EiB/month") {
        Ok(plan) => plan.sectors_per_hour_possible,
        Err(PlanError::NothingFits { .. }) => 0.0,
        Err(other) => panic!("{other}"),
    }
}

/// What no plan may do, worked out from the text alone.
pub fn faults(machine: &Machine, choices: &Choices, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let loaded = worker_config::parse(&plan.worker_toml).unwrap();
    found.extend(loaded.warnings.iter().map(ToString::to_string));
    let processors = &loaded.config.processors;
    let of = |stage| processors.stages.get(&stage).map_or(&[][..], Vec::as_slice);
    let mut taken = CpuList::default();
    let mut claim = |what: &str, cpus: &CpuList, found: &mut Vec<String>| {
        if !taken.and(cpus).is_empty() {
            found.push(format!("{what} takes {} of another", taken.and(cpus)));
        }
        taken = taken.or(cpus);
    };
    for one in of(StageName::Pc1) {
        let cpuset = one.cgroup.cpuset.as_ref().unwrap();
        let producers = choices.prover.least_producers();
        let units = pc1_units(machine, cpuset, choices.prover, producers);
        let tasks = one.concurrent.unwrap() as usize;
        let bound = units.units().get(..tasks);
        let Some(bound) = bound.filter(|units| units.iter().all(|unit| unit.unbound == 0 && unit.groups == 1)) else {
            found.push(format!("{tasks} PC1 tasks on {cpuset} are not all bound within a group"));
            continue;
        };
        let nodes: Vec<_> = cpuset.iter().map(|cpu| machine.node_of(cpu).unwrap().os_index).collect();
        if nodes.iter().any(|node| Some(*node) != one.numa_preferred) {
            found.push(format!("{cpuset} is not of one node"));
        }
        claim("pc1", &bound.iter().flat_map(|unit| unit.cpus.iter().copied()).collect(), &mut found);
    }
    for one in of(StageName::AddPieces) {
        claim("add_pieces", one.cgroup.cpuset.as_ref().unwrap(), &mut found);
    }
    // Processors that share a lock may share cores: the cores of each lock are claimed once.
    let mut of_lock = std::collections::BTreeMap::<&str, CpuList>::new();
    for one in of(StageName::Pc2).iter().chain(of(StageName::C2)) {
        let Some(cpuset) = &one.cgroup.cpuset else { continue };
        match one.locks.first() {
            Some(lock) => {
                let cpus = of_lock.entry(lock).or_default();
                *cpus = cpus.or(cpuset);
            }
            None => claim("pc2 or c2", cpuset, &mut found),
        }
    }
    of_lock.into_iter().for_each(|(lock, cpus)| claim(lock, &cpus, &mut found));
    let placed = plan.placement.as_ref().unwrap();
    if placed.memory.need > placed.memory.have || placed.memory.have >= machine.memory_bytes() {
        found.push("it does not fit in memory".to_owned());
    }
    if placed.memory.nodes.iter().any(|node| node.pc1.0 + node.others.0 > node.have.0) {
        found.push("it does not fit in a node's memory".to_owned());
    }
    let made = plan.capacity.sectors_per_hour_expected * f64::from(plan.machines);
    if made < plan.capacity.sectors_per_hour_needed * 0.999 {
        found.push(format!("{made} is less than {}", plan.capacity.sectors_per_hour_needed));
    }
    for (stage, limit) in plan.capacity.limits.iter().filter(|(stage, _)| **stage != Stage::TreeD) {
        let name = worker_config::StageName::ALL.into_iter().find(|name| name.name() == stage.name()).unwrap();
        let sum: u32 = of(name).iter().map(|one| one.concurrent.unwrap()).sum();
        if sum != *limit {
            found.push(format!("{stage} has {sum} places and a limit of {limit}"));
        }
    }
    found
}

/// The built-in profile with some times of the operator's before it.
fn any_profile() -> impl Strategy<Value = Profile> {
    let times = (1u32..400, 1u32..60, 1u32..60, any::<bool>());
    times.prop_map(|(pc1, pc2, c2, is_own)| {
        if !is_own {
            return Profile::shipped();
        }
        let row = |stage: &str, size: &str, figures: String| {
            format!("[[stage]]\nstage = \"{stage}\"\nsector_size = \"{size}\"\n{figures}\nsource = \"a test\"\n")
        };
        let mut text = "version = 1\n".to_owned();
        for size in ["32GiB", "64GiB"] {
            text.push_str(&row("pc1", size, format!("minutes = {pc1}")));
            text.push_str(&row("pc2", size, format!("minutes = {pc2}\ncores = 4\ngpu = \"any\"")));
            text.push_str(&row("c2", size, format!("minutes = {c2}\ncores = 8\ngpu = \"any\"")));
        }
        Profile::shipped().overridden_by(&Profile::parse(&text).unwrap())
    })
}

fn ask_with(
    machine: &Machine,
    choices: &Choices,
    size: SectorSize,
    rate: &str,
    profile: &Profile,
) -> Result<Plan, PlanError> {
    let target = Target { rate: rate.parse().unwrap(), sector_size: size, days_per_month: 30.0 };
    let request = Request { target, choices: choices.clone(), site: placed_site(), profile: profile.clone() };
    planner::plan(machine, &request)
}

fn any_size() -> impl Strategy<Value = SectorSize> {
    prop_oneof![3 => Just(SectorSize::GiB32), 1 => Just(SectorSize::GiB64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases(1_500)))]

    /// The verifier judges every plan before it is handed out: what it refuses is an error here.
    #[test]
    fn what_is_planned_is_sound_and_what_is_not_says_what_would_do(
        parts in any_parts(), choices in any_choices(), size in any_size(), tib in 1u32..2000, profile in any_profile()
    ) {
        let machine = parts.machine();
        let rate = format!("{tib}TiB/month");
        match ask_with(&machine, &choices, size, &rate, &profile) {
            Ok(plan) => {
                prop_assert_eq!(faults(&machine, &choices, &plan), Vec::<String>::new(), "{}", parts.line());
                let again = ask_with(&machine, &choices, size, &rate, &profile).unwrap();
                prop_assert_eq!(again.worker_toml, plan.worker_toml);
            }
            Err(PlanError::NothingFits { change: Some(change), short, .. }) => {
                let target = Target { rate: rate.parse().unwrap(), sector_size: size, days_per_month: 30.0 };
                let request = Request { target, choices, site: placed_site(), profile };
                let found = planner::plan(&change.applied_to(&machine), &change.applied_to_request(&request));
                prop_assert!(found.is_ok(), "{}: {short}; {change}: {}", parts.line(), found.unwrap_err());
            }
            Err(other) => prop_assert!(false, "{}: {other}", parts.line()),
        }
    }

}

/// Found by chance: with more cores C2 got more threads, and their memory was then missing for as many PC1 tasks.
#[test]
fn cores_that_would_cost_too_much_memory_stay_idle() {
    let machine = catalogue::machine("2x EPYC-9754 1376GiB 2x nvme-3.84TB").unwrap();
    let choices =
        Choices { prover: Prover::StockDamocles, static_tree_d: Some("/srv/tree_d".into()), ..Choices::default() };
    let more = Change { cores: 8, ..Change::default() }.applied_to(&machine);
    let made = [&machine, &more].map(|machine| most(machine, &choices, SectorSize::GiB32));
    assert!(made[0] > 1.95 && made[1] >= made[0] * (1.0 - 1e-9), "{made:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases(250)))]

    #[test]
    fn more_of_anything_never_makes_less(
        parts in any_parts(), choices in any_choices(), size in any_size(), more in 1u32..512
    ) {
        let before = most(&parts.machine(), &choices, size);
        let mut larger = vec![
            Parts { gib: parts.gib + more, ..parts.clone() },
            Parts { gpus: parts.gpus + 1, ..parts.clone() },
        ];
        if parts.disks > 0 {
            larger.push(Parts { disks: parts.disks + 1, ..parts.clone() });
        }
        if parts.sockets == 1 {
            // A second socket brings its memory; GPUs and disks stay.
            larger.push(Parts { sockets: 2, gib: parts.gib * 2, ..parts.clone() });
        }
        for larger in larger {
            let after = most(&larger.machine(), &choices, size);
            prop_assert!(after >= before * (1.0 - 1e-9), "{} makes {before}, {} makes {after}", parts.line(), larger.line());
        }
        // More cores: one more L3 group like those that are there.
        let machine = parts.machine();
        let cores = machine.l3_groups()[0].cores.len() as u32;
        let after = most(&Change { cores, ..Change::default() }.applied_to(&machine), &choices, size);
        prop_assert!(after >= before * (1.0 - 1e-9), "{} makes {before}, with {cores} cores more {after}", parts.line());
    }
}
