//! Carries out an order: prepares sectors, starts the processors of a layout as the daemon would, keeps every place busy, and
//! takes down how long tasks took while all of them were.
//!
//! ```text
//! place 0   ▒warm▒|████████|████████|████████|                 counted: what ran while no place was idle
//! place 1   ▒warm▒|█████████|█████████|█████████|
//!                                            ▲ the first place has no more tasks
//! ```

use super::{
    BenchError, Watch,
    disk::{self, Disk},
    order::{Order, Room, Step, Steps, shares_a_sector},
    sample::Sample,
    sector::Sector,
    state::State,
    work::Work,
};
use crate::{
    profile::Stage,
    runtime::{
        daemon::{self, Options},
        pieces::Fetch,
        processor::{End, Executor, Slot, pool::Pool},
        stage as wire,
    },
    sys::{Root, settings, stop::Stop},
    units::{Bytes, HumanDuration, SealProof},
    worker_config::{Cgroup, Processor, Processors, StageName},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How often places are looked at. What is measured is taken down by the executor itself.
const LOOK: Duration = Duration::from_millis(2);
/// A child may take so long to start on a machine that is busy.
const STABLE_WAIT: HumanDuration = HumanDuration::secs(60);
/// A task that ended a little after the first place went idle ran beside the others for nearly all of its time.
const BESIDE: f64 = 0.9;

/// What a run needs of its surroundings.
pub struct Tools<'a> {
    /// Our own program, which is the processors'.
    pub program: PathBuf,
    /// Where processors have their temporary files.
    pub temp: PathBuf,
    pub allow_unpinned: bool,
    pub stop: &'a Stop,
    pub watch: &'a mut dyn Watch,
}

/// What there is now.
pub fn room(locations: &[PathBuf]) -> Result<Room, BenchError> {
    let mut disk = 0;
    let mut seen = Vec::new();
    for location in locations {
        let there = location.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let device = std::os::unix::fs::MetadataExt::dev(&there.metadata().map_err(|error| BenchError::Host {
            what: "look at the sealing location",
            why: format!("{}: {error}", there.display()),
        })?);
        let there = there.canonicalize().unwrap_or_else(|_| there.to_owned());
        let space = crate::sys::mount::space(&Root::at("/"), &there.to_string_lossy());
        let (_, free) = space.map_err(|error| BenchError::Host {
            what: "ask for the room on the sealing location",
            why: error.to_string(),
        })?;
        if !seen.contains(&device) {
            seen.push(device);
            // A file system that is filled to the brim slows down.
            disk += free.0 / 20 * 19;
        }
    }
    Ok(Room { memory: available_memory()?, disk: Bytes(disk) })
}

fn available_memory() -> Result<Bytes, BenchError> {
    settings::meminfo(&Root::at("/"), "MemAvailable")
        .map_err(|error| BenchError::Host { what: "ask for the available memory", why: error.to_string() })
}

/// Measures what is not yet in `state`, and saves each measurement as soon as it is made.
pub fn run(
    steps: &Steps,
    order: &Order,
    disks: &[Disk],
    locations: &[PathBuf],
    state: &mut State,
    state_path: &Path,
    tools: &mut Tools,
) -> Result<(), BenchError> {
    let mut works = works(locations, state, tools)?;
    state.folders = works.iter().map(|work| work.path().to_owned()).collect();
    state.save(state_path)?;
    let all = steps.steps.len() + disks.len();
    let outcome = (|| {
        for (done, disk) in disks.iter().enumerate() {
            if state.has_disk(&disk.location) {
                continue;
            }
            stopped(tools.stop)?;
            tools.watch.begin(done, all, &format!("disk of {}", disk.location.display()), disk.minutes());
            let work = works.iter().find(|work| work.path().starts_with(&disk.location));
            let folder = work.map_or(disk.location.as_path(), Work::path);
            state.disks.push(disk::measure(disk, folder, &mut |text| tools.watch.say(text))?);
            state.save(state_path)?;
        }
        let proof = SealProof::v1_1(order.sector_size);
        let count = Order::sectors(&steps.steps);
        let mut sectors = (0..count)
            .map(|number| Sector::open(works[number as usize % works.len()].path(), number.into(), proof))
            .collect::<Result<Vec<_>, _>>()?;
        for (done, step) in steps.steps.iter().enumerate() {
            if state.has(step.stage, &step.layout) {
                continue;
            }
            let what = format!("{}, {}", step.stage, step.layout);
            tools.watch.begin(disks.len() + done, all, &what, step.minutes);
            let seconds = measure(step, &mut sectors, tools)?;
            state.samples.push(Sample { stage: step.stage, layout: step.layout.clone(), seconds });
            state.save(state_path)?;
        }
        Ok(())
    })();
    if outcome.is_err() {
        // Sectors that took hours are there for the run that goes on.
        works.iter_mut().for_each(Work::keep);
    }
    outcome
}

fn works(locations: &[PathBuf], state: &State, tools: &mut Tools) -> Result<Vec<Work>, BenchError> {
    let mut notes = Vec::new();
    let mut works = Vec::new();
    for location in locations {
        let canonical = location.canonicalize().unwrap_or_else(|_| location.clone());
        let resumed = state.folders.iter().find(|folder| folder.parent() == Some(canonical.as_path()));
        works.push(Work::open(location, resumed.map(PathBuf::as_path), &mut notes)?);
    }
    notes.iter().for_each(|note| tools.watch.say(note));
    Ok(works)
}

fn stopped(stop: &Stop) -> Result<(), BenchError> {
    stop.asked().map_or(Ok(()), |signal| Err(BenchError::Stopped(signal)))
}

/// Measures one step; the seconds of the tasks that count.
fn measure(step: &Step, sectors: &mut [Sector], tools: &mut Tools) -> Result<Vec<f64>, BenchError> {
    let at_once = step.layout.at_once() as usize;
    let used = if shares_a_sector(step.stage) { 1 } else { at_once };
    for sector in &mut sectors[..used] {
        prepare(sector, step.stage, tools)?;
    }
    let free = available_memory()?;
    if free < step.memory {
        let layout = step.layout.to_string();
        return Err(BenchError::Memory { stage: step.stage, layout, need: step.memory, free });
    }
    let pool = pool(&processors(step), step.stage, tools)?;
    let places = Places::new(step, sectors, &pool);
    let ended = places.run(tools);
    pool.stop();
    ended
}

/// Brings a sector to where `stage` begins; what that takes is not measured.
fn prepare(sector: &mut Sector, stage: Stage, tools: &mut Tools) -> Result<(), BenchError> {
    while let Some(lacking) = sector.lacks(stage) {
        stopped(tools.stop)?;
        tools.watch.say(&format!("preparing a sector for {stage}: {lacking}"));
        let pool = pool(&Processors::default(), lacking, tools)?;
        sector.reset(lacking)?;
        let slot = submit(&pool, sector, lacking)?;
        let (result, _) = wait(&pool, slot, tools.stop)?;
        let output = result.map_err(|error| BenchError::Stage { stage: lacking, reason: error.reason })?;
        sector.keep(output)?;
    }
    Ok(())
}

fn submit(pool: &Pool, sector: &Sector, stage: Stage) -> Result<Slot, BenchError> {
    let no_task =
        || BenchError::Stage { stage, reason: "its sector is not ready; this is a bug, please report it".to_owned() };
    let task = sector.task(stage).ok_or_else(no_task)?;
    let slot = pool.queue(wire_stage(stage));
    while !pool.granted(slot) {
        thread::sleep(LOOK);
    }
    pool.start(slot, task);
    Ok(slot)
}

fn wait(pool: &Pool, slot: Slot, stop: &Stop) -> Result<End, BenchError> {
    loop {
        if let Some(end) = pool.poll(slot) {
            return Ok(end);
        }
        stopped(stop)?;
        thread::sleep(LOOK);
    }
}

fn pool(processors: &Processors, stage: Stage, tools: &Tools) -> Result<Pool, BenchError> {
    let options = Options {
        sectors: None,
        allow_unpinned: tools.allow_unpinned,
        program: tools.program.clone(),
        temp: tools.temp.clone(),
        allow_local_params: true,
        grace: Duration::ZERO,
        crash: None,
        rehearsal: None,
    };
    daemon::start_processors(processors, Fetch::default(), &options)
        .map_err(|source| BenchError::Start { stage, source })
}

/// A layout as the daemon's configuration would say it. C1 is done inside the daemon, and so inside this process.
fn processors(step: &Step) -> Processors {
    let Some(name) = StageName::ALL.into_iter().find(|name| name.name() == step.stage.name()) else {
        return Processors::default();
    };
    let processor = |seat: &super::layout::Seat| Processor {
        stable_wait: STABLE_WAIT,
        cgroup: Cgroup { group_name: None, cpuset: seat.cpuset.clone() },
        envs: seat
            .cpuset
            .iter()
            .map(|_| ("RAYON_NUM_THREADS".to_owned(), seat.cores.to_string()))
            .collect::<BTreeMap<_, _>>(),
        numa_preferred: seat.node.filter(|_| seat.cpuset.is_some()),
        concurrent: Some(seat.tasks),
        auto_restart: false,
        ..Processor::default()
    };
    let list = step.layout.seats.iter().map(processor).collect();
    Processors { stages: BTreeMap::from([(name, list)]), ..Processors::default() }
}

fn wire_stage(stage: Stage) -> wire::Stage {
    match stage {
        Stage::AddPieces => wire::Stage::AddPieces,
        Stage::TreeD => wire::Stage::TreeD,
        Stage::Pc1 => wire::Stage::Pc1,
        Stage::Pc2 => wire::Stage::Pc2,
        Stage::C1 => wire::Stage::C1,
        Stage::C2 => wire::Stage::C2,
    }
}

/// All that run at once.
struct Places<'p> {
    step: &'p Step,
    pool: &'p Pool,
    sectors: &'p mut [Sector],
    places: Vec<Place>,
    tasks: Vec<Ran>,
    first_idle: Option<Instant>,
}

struct Place {
    sector: usize,
    left: u32,
    warm: bool,
    running: Option<(Slot, Instant)>,
}

/// A task that ended.
struct Ran {
    began: Instant,
    seconds: f64,
    counts: bool,
}

impl<'p> Places<'p> {
    fn new(step: &'p Step, sectors: &'p mut [Sector], pool: &'p Pool) -> Self {
        let place = |index: usize| Place {
            sector: if shares_a_sector(step.stage) { 0 } else { index },
            left: step.rounds + u32::from(step.warms_up),
            warm: !step.warms_up,
            running: None,
        };
        let places = (0..step.layout.at_once() as usize).map(place).collect();
        Self { step, pool, sectors, places, tasks: Vec::new(), first_idle: None }
    }

    fn run(mut self, tools: &mut Tools) -> Result<Vec<f64>, BenchError> {
        let of = self.places.iter().map(|place| place.left).sum();
        while self.places.iter().any(|place| place.left > 0 || place.running.is_some()) {
            for index in 0..self.places.len() {
                if self.turn(index)? {
                    tools.watch.tasks(self.tasks.len() as u32, of);
                }
            }
            stopped(tools.stop)?;
            thread::sleep(LOOK);
        }
        Ok(counted(&self.tasks, self.first_idle))
    }

    /// Looks at a place and gives it its next task; says whether one ended.
    fn turn(&mut self, index: usize) -> Result<bool, BenchError> {
        let (stage, place) = (self.step.stage, &mut self.places[index]);
        let mut has_ended = false;
        if let Some((slot, began)) = place.running {
            let Some((result, ran)) = self.pool.poll(slot) else { return Ok(false) };
            let output = result.map_err(|error| BenchError::Stage { stage, reason: error.reason })?;
            self.sectors[place.sector].keep(output)?;
            self.tasks.push(Ran { began, seconds: ran.as_secs_f64(), counts: place.warm });
            (place.running, place.warm, has_ended) = (None, true, true);
        }
        if place.left == 0 {
            self.first_idle.get_or_insert_with(Instant::now);
            return Ok(has_ended);
        }
        place.left -= 1;
        let sector = &mut self.sectors[place.sector];
        sector.reset(stage)?;
        let slot = submit(self.pool, sector, stage)?;
        place.running = Some((slot, Instant::now()));
        Ok(has_ended)
    }
}

/// The tasks that ran beside the others for nearly all of their time.
fn counted(tasks: &[Ran], first_idle: Option<Instant>) -> Vec<f64> {
    let beside = |task: &&Ran| {
        let Some(idle) = first_idle else { return true };
        idle.saturating_duration_since(task.began).as_secs_f64() >= BESIDE * task.seconds
    };
    tasks.iter().filter(|task| task.counts).filter(beside).map(|task| task.seconds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tasks_that_ran_beside_the_others_count() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let ran = |began, seconds, counts| Ran { began: at(began), seconds, counts };
        let tasks = [ran(0.0, 5.0, false), ran(5.0, 10.0, true), ran(6.0, 10.0, true), ran(14.0, 10.0, true)];
        assert_eq!(counted(&tasks, Some(at(15.5))), [10.0, 10.0], "the first was a warm-up, the last ran alone");
        assert_eq!(counted(&tasks, None).len(), 3);
    }

    #[test]
    fn a_layout_is_started_as_the_daemons_configuration_would_say_it() {
        let layout = super::super::layout::layouts(
            &super::super::layout::tests::machine(2, 1, 2),
            Stage::Pc2,
            &[2],
            &[super::super::layout::Kind::Pinned],
        );
        let step = |layout| Step {
            stage: Stage::Pc2,
            layout,
            rounds: 1,
            warms_up: false,
            memory: Bytes(0),
            disk: Bytes(0),
            minutes: 0.0,
        };
        let processors = processors(&step(layout[1].clone()));
        let list = &processors.stages[&StageName::Pc2];
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].cgroup.cpuset, Some("2-3".parse().unwrap()));
        assert_eq!((list[1].concurrent, list[1].numa_preferred), (Some(1), Some(crate::units::NodeId(1))));
        assert_eq!(list[1].envs["RAYON_NUM_THREADS"], "2");
        let c1 = Step { stage: Stage::C1, ..step(layout[1].clone()) };
        assert!(super::processors(&c1).stages.is_empty(), "inside this process, as inside the daemon");
    }
}
