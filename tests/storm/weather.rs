//! The storm: somebody is killed every now and then, a daemon that is down is started again, until enough is finished.

use crate::rig::Rig;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

/// How a storm goes.
pub struct Storm {
    pub stormy: Duration,
    /// At most so long between two kills.
    pub gap_max: Duration,
    /// One kill in so many meets the daemon, the others a child.
    pub daemon_in: u32,
    /// With the quiet that follows it must all be over by then.
    pub bound: Duration,
    pub sectors: usize,
}

/// What a storm did.
#[derive(Debug, Default)]
pub struct Damage {
    pub daemons: u32,
    pub children: u32,
    pub starts: u32,
}

impl Storm {
    /// Lets it rage over a daemon with these arguments, then waits until `sectors` are finished.
    pub fn rage(&self, rig: &mut Rig, args: &dyn Fn(usize) -> Vec<String>) -> Damage {
        let seed: u64 =
            std::env::var("DAMOCLES_STORM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
        tell(&format!("storm of {} s, DAMOCLES_STORM_SEED={seed}", self.stormy.as_secs()));
        let mut rng = StdRng::seed_from_u64(seed);
        let (began, mut damage) = (Instant::now(), Damage::default());
        let mut next = began;
        let mut told = began;
        loop {
            let finished = rig.sectors().iter().filter(|sector| sector.finalized).count();
            if finished >= self.sectors {
                tell(&format!("{finished} sectors after {} s: {damage:?}", began.elapsed().as_secs()));
                return damage;
            }
            if rig.ended().is_some() || damage.starts == 0 {
                rig.start(&args(self.sectors - finished));
                damage.starts += 1;
            }
            assert!(began.elapsed() < self.bound, "{finished} of {} after {:?}", self.sectors, self.bound);
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                tell(&format!("{finished} sectors after {} s: {damage:?}", began.elapsed().as_secs()));
            }
            if began.elapsed() < self.stormy && Instant::now() >= next {
                next = Instant::now() + self.gap_max.mul_f64(rng.r#gen());
                self.strike(rig, &mut rng, &mut damage);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn strike(&self, rig: &mut Rig, rng: &mut StdRng, damage: &mut Damage) {
        let children = rig.children();
        let victim = if rng.gen_ratio(1, self.daemon_in) {
            damage.daemons += 1;
            rig.pid()
        } else if children.is_empty() {
            return;
        } else {
            damage.children += 1;
            children[rng.gen_range(0..children.len())]
        };
        // Whoever has ended meanwhile is as dead as he was to be.
        let _ = kill(Pid::from_raw(victim as i32), Signal::SIGKILL);
    }
}

pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
