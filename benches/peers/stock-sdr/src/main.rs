//! How long the library's PC1 takes a node, single-core and multicore, built for this processor.
//!
//! ```text
//! stock-sdr single NODES LAYER COUNT      the first COUNT nodes of a layer
//! stock-sdr multi NODES FOLDER            whole layers 1 and 2, written to FOLDER
//! ```
//!
//! Prints nanoseconds a node, one number a layer. The parent cache lies in FIL_PROOFS_PARENT_CACHE, producers are
//! FIL_PROOFS_MULTICORE_SDR_PRODUCERS. What the multicore path spends besides hashing (memory, reading and writing
//! layers) is measured in a run that finds both layers made, and taken off.

#[path = "../../../sdr/stock.rs"]
mod stock;

pub use filecoin_hashers as hashers;
pub type TreeHasher = filecoin_hashers::poseidon::PoseidonHasher;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::Instant,
};
use storage_proofs_core::merkle::LCTree;
use storage_proofs_porep::stacked::create_label::multi::create_labels_for_encoding;

type Tree = LCTree<TreeHasher, filecoin_hashers_arity::U8, filecoin_hashers_arity::U0, filecoin_hashers_arity::U0>;

mod filecoin_hashers_arity {
    pub use generic_array::typenum::{U0, U8};
}

/// The porep id of the graph; `benches/sdr` has the same.
const POREP_ID: [u8; 32] = [7; 32];

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<usize>().ok());
    let mut out = io::stdout();
    match (args.first().map(String::as_str), number(1)) {
        (Some("single"), Some(nodes)) => {
            let (layer, count) = (number(2).unwrap_or(1), number(3).unwrap_or(nodes));
            let previous = vec![7; nodes * 32];
            let mut current = vec![7; nodes * 32];
            writeln!(out, "{}", stock::single(&stock::graph(nodes, POREP_ID), layer, count, &previous, &mut current))
        }
        (Some("multi"), Some(nodes)) => {
            let [first, second] = multi(nodes, Path::new(args.get(2).map_or("/dev/shm", String::as_str)))?;
            writeln!(out, "{first} {second}")
        }
        _ => {
            writeln!(io::stderr(), "usage: stock-sdr single NODES LAYER COUNT | multi NODES FOLDER")?;
            std::process::exit(2)
        }
    }
}

fn multi(nodes: usize, folder: &Path) -> io::Result<[f64; 2]> {
    let graph = stock::graph(nodes, POREP_ID);
    let folder = folder.join(format!("stock-sdr-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let run = |layers: usize| {
        let parents = graph.parent_cache().expect("the parent cache is there");
        let began = Instant::now();
        let made = create_labels_for_encoding::<Tree, _, _>(&graph, &parents, layers, [9; 32], &folder);
        made.expect("labels are made");
        began.elapsed().as_nanos() as f64
    };
    let (first, second, neither) = (run(1), run(2), run(2));
    fs::remove_dir_all(&folder)?;
    Ok([first, second].map(|layer| (layer - neither) / nodes as f64))
}
