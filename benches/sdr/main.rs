//! What our label engine takes a node, against the library's PC1 on the same cores in the same run.
//!
//! ```text
//! (cd benches/peers/stock-sdr && cargo build --release)            the library for this processor, multicore; minutes
//! cargo bench --profile dev --bench sdr                            sectors of 512 MiB
//! cargo bench --profile dev --bench sdr -- --nodes-log2 27         of 4 GiB, which leaves every cache: 20 GiB of memory
//!     … --without-multicore                                        without whole layers by the library, which take minutes
//! cargo bench --profile dev --bench sdr -- --memory                small pages, transparent huge pages, hugepage files (root)
//! ```
//!
//! The graph is random with the distances of the real one: distances double with each of as many buckets, expander
//! parents are anywhere. A node costs the same whatever its labels are; that they are the right ones is what the
//! tests are for. Everything is done several times in turns, and medians are compared. Best with nothing else on the
//! machine, or with `chrt -f 45` before it.

#[path = "memory.rs"]
mod memory;
#[path = "stock.rs"]
mod stock;

pub type TreeHasher = filecoin_proofs::DefaultTreeHasher;
/// Where the other build of `stock` finds it too.
pub mod hashers {
    pub use filecoin_proofs_api::Hasher;
}

use damocles_worker::runtime::sdr::{
    kernel::{Kernel, Strand},
    label::{Label, PARENTS},
    mapping::{Anonymous, ParentFile},
    memory::Labels,
    seats,
};
use std::{
    env,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

const PARENT_CACHE: &str = "FIL_PROOFS_PARENT_CACHE";
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/stock-sdr/target/release/stock-sdr");
/// The porep id of the graph; `benches/peers/stock-sdr` has the same.
const POREP_ID: [u8; 32] = [7; 32];
const ROUNDS: usize = 5;
/// Nodes of one measurement: some tenths of a second, less for a graph that has not as many.
const NODES: usize = 1 << 19;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let after = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1)?.parse().ok());
    let nodes = 1usize << after("--nodes-log2").unwrap_or(24u32);
    let done = match env::var_os(PARENT_CACHE) {
        // The library reads its settings once, so they must be there from the start.
        None => again_with_parents(nodes, &args),
        Some(folder) => measure(Path::new(&folder), nodes).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}

fn again_with_parents(nodes: usize, args: &[String]) -> io::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let graph = stock::graph(nodes, POREP_ID);
    write_parents(&folder.path().join(stock::parent_cache_name(&graph, nodes, POREP_ID)), nodes)?;
    let mut child = Command::new(env::current_exe()?);
    let status = child.args(&args[1..]).env(PARENT_CACHE, folder.path()).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// A parent cache with the distances of the real one.
fn write_parents(path: &Path, nodes: usize) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for node in 0..nodes as u64 {
        let buckets = u64::from(u64::BITS - node.leading_zeros()).max(1);
        let parents: [u64; PARENTS] = std::array::from_fn(|i| match i {
            0 => node.saturating_sub(1),
            1..6 => {
                let bucket = 1 << (random() % buckets);
                node - (bucket + random() % bucket).min(node)
            }
            _ => random() % nodes as u64,
        });
        for parent in parents {
            file.write_all(&(parent as u32).to_le_bytes())?;
        }
    }
    file.flush()
}

/// Room of one layer each, written once so that every page is there.
struct Layers {
    previous: Box<dyn Labels>,
    current: Vec<Box<dyn Labels>>,
}

impl Layers {
    fn new(nodes: usize, strands: usize) -> io::Result<Self> {
        let memory = (0..=strands).map(|_| Anonymous::new(nodes).map(|memory| Box::new(memory) as Box<dyn Labels>));
        Ok(Self::in_memory(memory.collect::<Result<_, _>>().map_err(io::Error::other)?))
    }

    /// The last one is the layer before.
    fn in_memory(mut current: Vec<Box<dyn Labels>>) -> Self {
        for (word, memory) in current.iter_mut().enumerate() {
            memory.labels_mut().iter_mut().enumerate().for_each(|(i, label)| label.0 = [(i ^ word) as u32; 8]);
        }
        let previous = current.pop().expect("a layer before");
        Self { previous, current }
    }
}

struct Bench {
    kernel: Kernel,
    parents: ParentFile,
    nodes: usize,
    /// Nodes of one measurement.
    count: usize,
    cpus: Vec<u32>,
}

fn measure(folder: &Path, nodes: usize) -> io::Result<()> {
    let path = fs::read_dir(folder)?.next().ok_or_else(|| io::Error::other("no parent cache"))??.path();
    let parents = ParentFile::open(&path, nodes).map_err(io::Error::other)?;
    let cpus: Vec<u32> = seats::allowed().iter().take(2).collect();
    let count = NODES.min(nodes / 2 / ROUNDS);
    let bench = Bench { kernel: Kernel::best(), parents, nodes, count, cpus };
    let mut out = io::stdout();
    writeln!(out, "kernel {}, {} MiB sectors, CPUs {:?}", bench.kernel.name(), nodes >> 15, bench.cpus)?;
    if env::args().any(|arg| arg == "--memory") {
        return memory::compare(&bench);
    }
    let mut layers = Layers::new(nodes, 2)?;
    writeln!(out, "layers in transparent huge pages: {}", huge_share(3 * nodes * 32))?;
    let limits = bench.on_first_core(|| bench.limits());
    writeln!(out, "\n{:<52} {:>9} {:>9}", "ns a node", "layer 1", "layer 2")?;
    for (blocks, ns) in [17, 19, 20].iter().zip(limits) {
        writeln!(out, "{:<52} {ns:>9.0} {ns:>9.0}", format!("{blocks} dependent blocks alone, same core"))?;
    }
    let mut line = |what: &str, [first, second]: [f64; 2]| writeln!(out, "{what:<52} {first:>9.0} {second:>9.0}");
    let one = bench.on_first_core(|| both(|layer| bench.one(layer, &mut layers)));
    line("ours, one core, from the middle of a layer", one)?;
    let start = bench.on_first_core(|| both(|layer| bench.start(layer, &mut layers)));
    line("ours, one core, the first nodes", start)?;
    let pair = bench.on_first_core(|| both(|layer| bench.pair(layer, &mut layers)));
    line("ours, two sectors on one core, each", pair)?;
    let two = if bench.cpus.len() > 1 { both(|layer| bench.two_cores(layer, &mut layers)) } else { [f64::NAN; 2] };
    line("ours, two sectors on two cores, each", two)?;
    drop(layers);
    let linked = bench.on_first_core(|| both(|layer| bench.stock_linked(layer)));
    line("stock, one core, as linked here, the first nodes", linked)?;
    let native = bench.on_first_core(|| both(|layer| bench.stock_native(layer)));
    line("stock, one core, target-cpu=native, the first nodes", native)?;
    let wanted = !env::args().any(|arg| arg == "--without-multicore");
    let multi = if wanted { bench.stock_multi() } else { [f64::NAN; 2] };
    line("stock, two cores (one producer), native", multi)?;
    ratios(&mut out, limits, one, start, pair, two, [linked, native, multi])
}

/// How much of what was touched the kernel backed with huge pages.
fn huge_share(bytes: usize) -> String {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let kib: Option<usize> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map_or("unknown".into(), |kib| format!("{:.0} %", 100.0 * (kib << 10) as f64 / bytes as f64))
}

fn both(mut measure: impl FnMut(u32) -> f64) -> [f64; 2] {
    [measure(1), measure(2)]
}

/// The middle one of several measurements.
fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

fn nanoseconds(count: usize, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as f64 / count as f64
}

impl Bench {
    fn on_first_core<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.on_cores(&self.cpus[..1], work)
    }

    /// On a thread of its own, which keeps to these CPUs, and so does what it starts.
    fn on_cores<T: Send>(&self, cpus: &[u32], work: impl FnOnce() -> T + Send) -> T {
        let place = move || {
            seats::pin(&cpus.iter().copied().collect());
            work()
        };
        thread::scope(|scope| scope.spawn(place).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn limits(&self) -> [f64; 3] {
        const TIMES: usize = 100_000;
        [17, 19, 20].map(|blocks| median(|| nanoseconds(TIMES, || self.kernel.dependent_blocks(TIMES * blocks))))
    }

    fn strand<'a>(
        &'a self,
        layer: u32,
        previous: &'a dyn Labels,
        current: &'a mut dyn Labels,
        from: usize,
    ) -> Strand<'a> {
        let previous = (layer > 1).then(|| previous.labels());
        let mut strand = Strand::new(Label([9; 8]), layer, self.parents.rows(), previous, current.labels_mut());
        strand.skip(from);
        strand
    }

    fn one(&self, layer: u32, layers: &mut Layers) -> f64 {
        let mut strand = self.strand(layer, &*layers.previous, &mut *layers.current[0], self.nodes / 2);
        median(|| nanoseconds(self.count, || self.kernel.advance(&mut strand, self.count)))
    }

    fn start(&self, layer: u32, layers: &mut Layers) -> f64 {
        median(|| {
            let mut strand = self.strand(layer, &*layers.previous, &mut *layers.current[0], 0);
            nanoseconds(self.count, || self.kernel.advance(&mut strand, self.count))
        })
    }

    fn pair(&self, layer: u32, layers: &mut Layers) -> f64 {
        let [one, other] = &mut layers.current[..] else { unreachable!("two strands") };
        let mut one = self.strand(layer, &*layers.previous, &mut **one, self.nodes / 2);
        let mut other = self.strand(layer, &*layers.previous, &mut **other, self.nodes / 2);
        median(|| nanoseconds(2 * self.count, || self.kernel.advance_pair(&mut one, &mut other, self.count)))
    }

    /// Both cores hash a sector each: the time a sector's node takes, halved, because there are two.
    fn two_cores(&self, layer: u32, layers: &mut Layers) -> f64 {
        let strands = layers.current.iter_mut().zip(&self.cpus);
        let previous = &*layers.previous;
        let times: Vec<f64> = thread::scope(|scope| {
            let running: Vec<_> = strands
                .map(|(current, cpu)| {
                    scope.spawn(|| {
                        seats::pin(&[*cpu].into_iter().collect());
                        let mut strand = self.strand(layer, previous, &mut **current, self.nodes / 2);
                        median(|| nanoseconds(self.count, || self.kernel.advance(&mut strand, self.count)))
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().expect("hashes")).collect()
        });
        times.iter().sum::<f64>() / times.len() as f64 / 2.0
    }

    fn stock_linked(&self, layer: u32) -> f64 {
        let graph = stock::graph(self.nodes, POREP_ID);
        let (previous, mut current) = (vec![7; self.nodes * 32], vec![7; self.nodes * 32]);
        let count = self.count / 4;
        median(|| stock::single(&graph, layer as usize, count, &previous, &mut current))
    }

    fn stock_native(&self, layer: u32) -> f64 {
        let args = ["single".into(), self.nodes.to_string(), layer.to_string(), (self.count / 2).to_string()];
        median(|| self.peer(&args).first().copied().unwrap_or(f64::NAN))
    }

    /// Whole layers: there is no smaller part of this path.
    fn stock_multi(&self) -> [f64; 2] {
        let folder = if self.nodes <= 1 << 24 { PathBuf::from("/dev/shm") } else { env::temp_dir() };
        let args = ["multi".into(), self.nodes.to_string(), folder.to_string_lossy().into_owned()];
        let found = self.on_cores(&self.cpus, || self.peer(&args));
        [0, 1].map(|at| found.get(at).copied().unwrap_or(f64::NAN))
    }

    /// The numbers that the other program prints; none where it is not built.
    fn peer(&self, args: &[String]) -> Vec<f64> {
        let mut command = Command::new(PEER);
        command.args(args).env("FIL_PROOFS_USE_MULTICORE_SDR", "1").env("FIL_PROOFS_MULTICORE_SDR_PRODUCERS", "1");
        let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        output.unwrap_or_default().split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }
}

fn ratios(
    out: &mut io::Stdout,
    limits: [f64; 3],
    one: [f64; 2],
    start: [f64; 2],
    pair: [f64; 2],
    two: [f64; 2],
    [linked, native, multi]: [[f64; 2]; 3],
) -> io::Result<()> {
    writeln!(out, "\n{:<52} {:>9} {:>9}", "ratios", "layer 1", "layer 2")?;
    let mut line = |what: &str, above: [f64; 2], below: [f64; 2]| {
        writeln!(out, "{what:<52} {:>9.2} {:>9.2}", above[0] / below[0], above[1] / below[1])
    };
    line("stock on two cores / ours on one", multi, one)?;
    line("stock single-core native / ours", native, start)?;
    line("stock single-core as linked / ours", linked, start)?;
    line("ours / 19 dependent blocks", one, [limits[1]; 2])?;
    line("ours / 17 dependent blocks", one, [limits[0]; 2])?;
    line("one sector / each of two on one core", one, pair)?;
    line("one sector / each of two on two cores", one, two)
}
