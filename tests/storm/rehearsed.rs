//! The storm in seconds: children that pretend, a chain that takes what they answer.

use crate::{
    rig::Rig,
    weather::{Storm, tell},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;

#[test]
fn a_daemon_that_is_killed_again_and_again_brings_every_sector_to_its_end() {
    let pretending =
        |stage: &str| format!("args = [\"processor\", \"{stage}\", \"--rehearse\", \"sleep=20ms,jitter=100ms\"]");
    let mut rig = Rig::new(8, pretending);
    let storm = Storm {
        stormy: Duration::from_secs(20),
        gap_max: Duration::from_millis(800),
        daemon_in: 6,
        bound: Duration::from_secs(600),
        sectors: 24,
    };
    let damage = storm.rage(&mut rig, &|_| vec!["--rehearse".into(), "sleep=5ms".into()]);
    kill(Pid::from_raw(rig.pid() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(rig.wait(), Some(0), "it stops in order");
    let sectors = rig.sectors();
    let aborted: Vec<_> = sectors.iter().filter_map(|sector| sector.abort_reason.as_ref()).collect();
    assert!(aborted.is_empty(), "{aborted:?}");
    assert!(damage.daemons > 0 && damage.children > 0, "{damage:?}");
    // A number that a killed daemon had been given and not written down stays unused; every other is finished or on its way.
    let (begun, finished) = (sectors.len(), sectors.iter().filter(|sector| sector.finalized).count());
    assert!(begun <= finished + 8 + damage.daemons as usize * 8, "{begun} begun, {finished} finished, {damage:?}");
    rig.is_clean();
    tell(&format!("{finished} rehearsed sectors of {begun} begun; {damage:?}"));
}
