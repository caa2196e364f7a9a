//! The same hashing in three kinds of memory: small pages, transparent huge pages, hugepage files.
//!
//! One kind after the other, because a machine seldom has room for all; medians of several rounds. The files are made by
//! `store hugepage-file-init` and released afterwards, pages and mount too, with a record of their own; tests of the
//! pools of this machine are kept out by their lock.

use super::{Bench, Layers, huge_share};
use damocles_worker::{
    runtime::sdr::{
        label::Label,
        mapping::Anonymous,
        memory::{Labels, Pattern, Pool},
    },
    sys::lock::Lock,
    units::Bytes,
};
use std::{
    io::{self, Write},
    path::Path,
    process::Command,
};

const LOCK: &str = "/tmp/damocles-hugepage-tests.lock";

/// Pages of 4 KiB, as long as the kernel gives huge ones on request only.
struct Small(Vec<Label>);

impl Labels for Small {
    fn labels(&self) -> &[Label] {
        &self.0
    }
    fn labels_mut(&mut self) -> &mut [Label] {
        &mut self.0
    }
}

/// Prints the table and the ratios.
pub fn compare(bench: &Bench) -> io::Result<()> {
    let mut out = io::stdout();
    let nodes = bench.nodes;
    writeln!(out, "{:<52} {:>9} {:>9}", "ns a node, ours, one core, middle of a layer", "layer 1", "layer 2")?;
    let mut line =
        |what: &str, found: [f64; 2]| writeln!(out, "{what:<52} {:>9.0} {:>9.0}", found[0], found[1]).map(|()| found);
    let small = measure(
        bench,
        vec![Box::new(Small(vec![Label::default(); nodes])), Box::new(Small(vec![Label::default(); nodes]))],
    )?;
    let small = line("anonymous, small pages", small.0)?;
    let anonymous =
        || Anonymous::new(nodes).map(|memory| Box::new(memory) as Box<dyn Labels>).map_err(io::Error::other);
    let (transparent, share) = measure(bench, vec![anonymous()?, anonymous()?])?;
    let transparent = line(&format!("anonymous, transparent huge pages ({share})"), transparent)?;
    let files = line("hugepage files, 2 MiB pages", in_files(bench)?)?;
    writeln!(out, "\n{:<52} {:>9} {:>9}", "ratios", "layer 1", "layer 2")?;
    for (what, above) in [("transparent / files", transparent), ("small pages / files", small)] {
        writeln!(out, "{what:<52} {:>9.2} {:>9.2}", above[0] / files[0], above[1] / files[1])?;
    }
    Ok(())
}

/// Layers 1 and 2 in this memory, and how much of it was in transparent huge pages.
fn measure(bench: &Bench, memory: Vec<Box<dyn Labels>>) -> io::Result<([f64; 2], String)> {
    let mut layers = Layers::in_memory(memory);
    let share = huge_share(2 * bench.nodes * size_of::<Label>());
    Ok((bench.on_first_core(|| super::both(|layer| bench.one(layer, &mut layers))), share))
}

fn in_files(bench: &Bench) -> io::Result<[f64; 2]> {
    let _lock = Lock::wait(Path::new(LOCK)).map_err(io::Error::other)?;
    let folder = tempfile::tempdir()?;
    let (record, mount) = (folder.path().join("record.json"), folder.path().join("huge"));
    let path = mount.join("pc1");
    let store = |what: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_damocles-worker"));
        command.args(["store", what, "--state"]).arg(&record).args(args);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("store {what}: {said}"))) }
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let size = Bytes((bench.nodes * size_of::<Label>()) as u64).to_string();
    let args = ["--num", "2", "--size", &size, "--path", &text(&path), "--mount", &text(&mount), "--page-size", "2MiB"];
    store("hugepage-file-init", &args)?;
    let pattern = Pattern::of(Some(&text(&path)), None).map_err(io::Error::other)?;
    let measured = pattern.ok_or_else(|| io::Error::other("no pattern")).and_then(|pattern| {
        let got = Pool::new(pattern).take(bench.nodes, 2, &bench.cpus.iter().copied().collect());
        match got.files.len() {
            2 => measure(bench, got.files.into_iter().map(|file| Box::new(file) as Box<dyn Labels>).collect()),
            _ => Err(io::Error::other(got.why)),
        }
    });
    store("hugepage-release", &["--all"])?;
    Ok(measured?.0)
}
