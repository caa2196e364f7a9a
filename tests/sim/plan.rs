//! What a seed decides before a life begins: how many threads, which processors, limits, locks and gaps, which settings.

use damocles_worker::{
    runtime::{
        limit::{Room, Rules},
        stage::Stage,
    },
    units::HumanDuration,
    worker_config::Sealing,
};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use std::{collections::BTreeMap, time::Duration};

const LOCKS: [&str; 3] = ["gpu0", "gpu1", "disk"];

/// A configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    pub threads: usize,
    pub rules: Rules,
    pub sealing: Sealing,
    pub static_tree_d: bool,
}

impl Plan {
    pub fn random(rng: &mut StdRng) -> Self {
        Self {
            threads: rng.gen_range(1..=4),
            rules: rules(rng),
            sealing: sealing(rng),
            static_tree_d: rng.gen_bool(0.15),
        }
    }

    /// Four threads that meet at everything there is: one pc1 at a time and ten minutes apart, one GPU for pc2 and c2.
    pub fn crowded() -> Self {
        let gpu = |concurrent| vec![Room { concurrent, locks: ["gpu0".to_owned()].into() }];
        let rules = Rules {
            concurrent: BTreeMap::from([(Stage::Pc1, 1), (Stage::TreeD, 1)]),
            staggered: BTreeMap::from([(Stage::AddPieces, Duration::from_secs(600))]),
            locks: BTreeMap::from([("gpu0".to_owned(), 1)]),
            processors: BTreeMap::from([
                (Stage::Pc2, gpu(None)),
                (Stage::C2, gpu(None)),
                (Stage::Transfer, vec![Room { concurrent: Some(1), ..Room::default() }]),
            ]),
        };
        Self { threads: 6, rules, sealing: Sealing { max_retries: 100, ..Sealing::default() }, static_tree_d: false }
    }
}

fn rules(rng: &mut StdRng) -> Rules {
    let locks = LOCKS.map(|name| (name.to_owned(), rng.gen_range(1..=2))).into();
    let mut rules = Rules { locks, ..Rules::default() };
    for stage in Stage::EXTERNAL {
        if rng.gen_bool(0.4) {
            rules.concurrent.insert(stage, rng.gen_range(1..=3));
        }
        if rng.gen_bool(0.2) {
            rules.staggered.insert(stage, Duration::from_secs(rng.gen_range(1..400)));
        }
        if rng.gen_bool(0.6) {
            let rooms = (0..rng.gen_range(1..=3)).map(|_| room(rng)).collect();
            rules.processors.insert(stage, rooms);
        }
    }
    rules
}

fn room(rng: &mut StdRng) -> Room {
    let count = [0, 0, 1, 1, 2, 3][rng.gen_range(0..6)];
    let locks = LOCKS.choose_multiple(rng, count).map(|name| (*name).to_owned()).collect();
    Room { concurrent: rng.gen_bool(0.5).then(|| rng.gen_range(1..=3)), locks }
}

fn sealing(rng: &mut StdRng) -> Sealing {
    let mut seconds = |from, to| HumanDuration(Duration::from_secs(rng.gen_range(from..to)));
    Sealing {
        seal_interval: seconds(1, 60),
        recover_interval: seconds(1, 120),
        rpc_polling_interval: seconds(1, 180),
        max_retries: rng.gen_range(2..8),
        request_task_max_retries: rng.gen_range(1..4),
        verify_after_pc2: rng.gen_bool(0.4),
        enable_deals: rng.gen_bool(0.5),
        disable_cc: rng.gen_bool(0.2),
        max_deals: rng.gen_bool(0.3).then_some(2),
        ..Sealing::default()
    }
}
