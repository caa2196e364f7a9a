//! Limits on made-up time: slots, gaps, rooms, locks, turns, and a thousand random configurations.

use super::*;
use Stage::*;
use proptest::prelude::*;
use std::{fmt::Write as _, io::Write as _};

fn room(concurrent: Option<u32>, locks: &[&str]) -> Room {
    Room { concurrent, locks: locks.iter().map(|lock| (*lock).to_owned()).collect() }
}

fn rules(processors: &[(Stage, &[Room])], locks: &[(&str, u32)]) -> Rules {
    Rules {
        processors: processors.iter().map(|(stage, rooms)| (*stage, rooms.to_vec())).collect(),
        locks: locks.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect(),
        ..Rules::default()
    }
}

/// All processors up.
fn limits(rules: Rules) -> Limits {
    let counts: Vec<_> = rules.processors.iter().map(|(stage, rooms)| (*stage, rooms.len())).collect();
    let mut limits = Limits::new(rules);
    for (stage, count) in counts {
        (0..count).for_each(|index| limits.set_health(stage, index, Health::Up));
    }
    limits
}

fn place(limits: &mut Limits, ticket: Ticket, now: Instant) -> Option<Place> {
    limits.granted(ticket, now).map(|(place, _)| place)
}

#[test]
fn a_full_stage_waits_until_a_slot_comes_back() {
    let mut limits = limits(Rules { concurrent: BTreeMap::from([(Pc1, 2)]), ..Rules::default() });
    let now = Instant::now();
    let [a, b, c, d] = [Pc1, Pc1, Pc1, Pc2].map(|stage| limits.queue(stage, now));
    assert_eq!(place(&mut limits, a, now), Some(Place::Daemon));
    assert_eq!(place(&mut limits, b, now), Some(Place::Daemon));
    assert_eq!(place(&mut limits, c, now), None);
    assert_eq!(place(&mut limits, d, now), Some(Place::Daemon), "another stage is not limited");
    limits.leave(a);
    assert_eq!(place(&mut limits, c, now), Some(Place::Daemon));
}

#[test]
fn starts_keep_their_distance() {
    let gap = Duration::from_secs(300);
    let mut limits = limits(Rules { staggered: BTreeMap::from([(Pc1, gap)]), ..Rules::default() });
    let now = Instant::now();
    let (a, b) = (limits.queue(Pc1, now), limits.queue(Pc1, now));
    let second = Duration::from_secs(1);
    assert!(limits.granted(a, now).is_some());
    assert!(limits.granted(b, now + gap).is_none(), "nothing has begun yet");
    limits.begin(a, now + gap);
    assert!(limits.granted(b, now + 2 * gap - second).is_none());
    assert_eq!(limits.granted(b, now + 2 * gap), Some((Place::Daemon, 2 * gap)), "and tells how long it took");
}

#[test]
fn a_seat_that_is_given_back_unused_is_no_start() {
    let gap = Duration::from_secs(300);
    let mut limits = limits(Rules { staggered: BTreeMap::from([(Pc1, gap)]), ..Rules::default() });
    let now = Instant::now();
    let (a, b) = (limits.queue(Pc1, now), limits.queue(Pc1, now));
    assert!(limits.granted(a, now).is_some() && limits.granted(b, now).is_none());
    limits.leave(a);
    assert!(limits.granted(b, now).is_some());
}

#[test]
fn tasks_go_to_the_least_loaded_processor() {
    let rooms = [room(Some(2), &[]), room(Some(1), &[])];
    let mut limits = limits(rules(&[(Pc1, &rooms)], &[]));
    let now = Instant::now();
    let tickets: Vec<_> = (0..4).map(|_| limits.queue(Pc1, now)).collect();
    let places: Vec<_> = tickets.iter().map(|ticket| place(&mut limits, *ticket, now)).collect();
    let at = |index| Some(Place::Processor(index));
    assert_eq!(places, [at(0), at(1), at(0), None]);
    limits.leave(tickets[1]);
    assert_eq!(place(&mut limits, tickets[3], now), at(1));
}

#[test]
fn who_leaves_the_queue_or_a_seat_makes_room() {
    let mut limits = limits(rules(&[(C2, &[room(Some(1), &["gpu"])])], &[("gpu", 1)]));
    let now = Instant::now();
    let [a, b, c] = [(); 3].map(|()| limits.queue(C2, now));
    assert!(limits.granted(a, now).is_some() && limits.granted(b, now).is_none());
    limits.leave(b);
    limits.leave(a);
    limits.leave(a);
    assert!(limits.granted(c, now).is_some());
    assert_eq!(limits.load(C2), (0, 1));
}

#[test]
fn a_processor_that_goes_down_returns_who_has_not_begun_to_the_front() {
    let mut limits =
        limits(rules(&[(Pc2, &[room(None, &["gpu"]), room(None, &["gpu2"])])], &[("gpu", 2), ("gpu2", 1)]));
    let now = Instant::now();
    let [a, b, c, d] = [(); 4].map(|()| limits.queue(Pc2, now));
    assert_eq!(place(&mut limits, a, now), Some(Place::Processor(0)));
    assert_eq!(place(&mut limits, c, now), Some(Place::Processor(0)));
    assert_eq!(limits.begin(a, now), Some(Place::Processor(0)));
    limits.set_health(Pc2, 0, Health::Down);
    assert_eq!(limits.begin(c, now), None, "it waits again");
    limits.leave(b);
    assert_eq!(place(&mut limits, d, now), None);
    assert_eq!(place(&mut limits, c, now), Some(Place::Processor(1)), "before who came later");
    limits.leave(a);
    limits.set_health(Pc2, 0, Health::Up);
    assert_eq!(place(&mut limits, d, now), Some(Place::Processor(0)));
}

#[test]
fn a_stage_whose_processors_are_gone_for_good_waits_for_nothing() {
    let mut limits = limits(rules(&[(Pc2, &[room(Some(1), &[]), room(Some(1), &[])])], &[]));
    let now = Instant::now();
    let tickets: Vec<_> = (0..5).map(|_| limits.queue(Pc2, now)).collect();
    limits.set_health(Pc2, 0, Health::Gone);
    assert_eq!(place(&mut limits, tickets[0], now), Some(Place::Processor(1)));
    limits.set_health(Pc2, 1, Health::Gone);
    assert!(tickets.iter().all(|ticket| place(&mut limits, *ticket, now) == Some(Place::Nowhere)));
}

#[test]
fn a_stage_that_needs_two_locks_is_not_passed_by_for_ever() {
    let rooms = |locks: &[&str]| [room(None, locks)];
    let processors: &[(Stage, &[Room])] = &[(Pc2, &rooms(&["b", "a"])), (C2, &rooms(&["a"])), (Pc1, &rooms(&["b"]))];
    let mut limits = limits(rules(processors, &[("a", 1), ("b", 1)]));
    let mut now = Instant::now();
    let (mut a, mut b) = (limits.queue(C2, now), limits.queue(Pc1, now));
    assert!(limits.granted(a, now).is_some() && limits.granted(b, now).is_some());
    let both = limits.queue(Pc2, now);
    // The others always have somebody waiting, and never let go at the same time.
    for _ in 0..4 {
        let (next_a, next_b) = (limits.queue(C2, now), limits.queue(Pc1, now));
        now += Duration::from_secs(1);
        limits.leave(a);
        limits.granted(both, now);
        limits.leave(b);
        if limits.granted(both, now).is_some() {
            return;
        }
        (a, b) = (next_a, next_b);
    }
    panic!("starved");
}

/// One GPU for pc2 and c2, and always ten of each waiting: the plan that was feared for its starvation.
#[test]
fn pc2_and_c2_on_one_lock_both_go_on_and_wait_alike() {
    let one = [room(Some(4), &["gpu"])];
    let mut limits = limits(rules(&[(Pc2, &one), (C2, &one)], &[("gpu", 1)]));
    let (start, minute) = (Instant::now(), Duration::from_secs(60));
    let mut now = start;
    let runs = |stage| if stage == Pc2 { 12 * minute } else { 15 * minute };
    let mut waiting: Vec<_> =
        (0..10).flat_map(|_| [Pc2, Pc2, C2]).map(|stage| (stage, limits.queue(stage, now))).collect();
    let mut waits: BTreeMap<Stage, Vec<Duration>> = BTreeMap::new();
    while now < start + 48 * 60 * minute {
        let mut granted =
            |(stage, ticket): &(Stage, Ticket)| limits.granted(*ticket, now).map(|(_, waited)| (*stage, waited));
        let (at, (stage, waited)) = waiting.iter().enumerate().find_map(|(at, one)| Some((at, granted(one)?))).unwrap();
        let (_, ticket) = waiting.remove(at);
        waits.entry(stage).or_default().push(waited);
        now += runs(stage);
        limits.leave(ticket);
        waiting.push((stage, limits.queue(stage, now)));
    }
    let mut told = String::from("waiting for one GPU, 20 pc2 and 10 c2 always in line, 48 h:");
    for (stage, waits) in &waits {
        let (most, sum) = (waits.iter().max().unwrap(), waits.iter().sum::<Duration>());
        let mean = sum / waits.len() as u32;
        write!(
            told,
            " {stage} {} runs, mean wait {} min, longest {} min;",
            waits.len(),
            mean.as_secs() / 60,
            most.as_secs() / 60
        )
        .unwrap();
    }
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(waits[&Pc2].len().abs_diff(waits[&C2].len()) <= 1, "turn by turn: {told}");
    // Ten before it in its own line, and one of the other stage between each two.
    assert!(*waits[&C2].iter().max().unwrap() <= 10 * 27 * minute, "{told}");
}

#[derive(Clone, Debug)]
enum Move {
    Queue(Stage),
    Leave(usize),
    Health(Stage, usize, bool),
    Wait(u64),
}

fn stages() -> impl Strategy<Value = Stage> {
    prop::sample::select(vec![Pc1, Pc2, C2, TreeD])
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => stages().prop_map(Move::Queue),
        4 => (0usize..50).prop_map(Move::Leave),
        1 => (stages(), 0usize..3, any::<bool>()).prop_map(|(stage, index, up)| Move::Health(stage, index, up)),
        2 => (1u64..20).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 0..120)
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let names = prop::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    let rooms = (prop::option::of(1u32..3), names).prop_map(|(concurrent, locks)| room(concurrent, &locks));
    let processors = prop::collection::btree_map(stages(), prop::collection::vec(rooms, 1..4), 0..4);
    let concurrent = prop::collection::btree_map(stages(), 1u32..4, 0..3);
    let staggered = prop::collection::btree_map(stages(), (1u64..9).prop_map(Duration::from_secs), 0..2);
    let locks = prop::collection::vec(1u32..3, 3);
    (processors, concurrent, staggered, locks).prop_map(|(processors, concurrent, staggered, locks)| Rules {
        concurrent,
        staggered,
        processors,
        locks: ["a", "b", "c"].iter().map(ToString::to_string).zip(locks).collect(),
    })
}

/// What is granted, counted by the test itself.
fn check_limits(rules: &Rules, granted: &BTreeMap<Ticket, (Stage, Place)>) -> Result<(), TestCaseError> {
    for (stage, most) in &rules.concurrent {
        let running = granted.values().filter(|(at, place)| at == stage && *place != Place::Nowhere).count();
        prop_assert!(running as u32 <= *most, "{stage}: {running} of {most}");
    }
    let mut held: BTreeMap<&str, u32> = BTreeMap::new();
    let mut taken: BTreeMap<(Stage, usize), u32> = BTreeMap::new();
    for (stage, place) in granted.values() {
        let Place::Processor(index) = place else { continue };
        *taken.entry((*stage, *index)).or_default() += 1;
        rules.processors[stage][*index].locks.iter().for_each(|lock| *held.entry(lock).or_default() += 1);
    }
    for ((stage, index), count) in taken {
        prop_assert!(rules.processors[&stage][index].concurrent.is_none_or(|most| count <= most));
    }
    for (lock, count) in held {
        prop_assert!(count <= rules.locks[lock], "{lock}: {count}");
    }
    Ok(())
}

proptest! {
    /// Nothing is ever exceeded, starts keep their gaps, and in the end everybody has had a seat.
    #[test]
    fn limits_hold_and_nobody_waits_for_ever(rules in any_rules(), moves in moves()) {
        let mut limits = limits(rules.clone());
        let mut now = Instant::now();
        let mut waiting: BTreeMap<Ticket, Stage> = BTreeMap::new();
        let mut granted: BTreeMap<Ticket, (Stage, Place)> = BTreeMap::new();
        let mut last: BTreeMap<Stage, Instant> = BTreeMap::new();
        let mut look = |limits: &mut Limits, waiting: &mut BTreeMap<Ticket, Stage>, granted: &mut BTreeMap<_, _>, now: Instant| {
            for (ticket, stage) in waiting.clone() {
                let Some((place, _)) = limits.granted(ticket, now) else { continue };
                limits.begin(ticket, now);
                if let (Some(gap), Some(last)) = (rules.staggered.get(&stage), last.get(&stage)) {
                    prop_assert!(now.duration_since(*last) >= *gap);
                }
                last.insert(stage, now);
                waiting.remove(&ticket);
                granted.insert(ticket, (stage, place));
            }
            check_limits(&rules, granted)
        };
        for one in moves {
            match one {
                Move::Queue(stage) => { waiting.insert(limits.queue(stage, now), stage); }
                Move::Leave(nth) => if let Some(ticket) = granted.keys().chain(waiting.keys()).nth(nth).copied() {
                    limits.leave(ticket);
                    granted.remove(&ticket);
                    waiting.remove(&ticket);
                },
                Move::Health(stage, index, up) => {
                    limits.set_health(stage, index, if up { Health::Up } else { Health::Down });
                }
                Move::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            look(&mut limits, &mut waiting, &mut granted, now)?;
        }
        for (stage, rooms) in &rules.processors {
            (0..rooms.len()).for_each(|index| limits.set_health(*stage, index, Health::Up));
        }
        for _ in 0..1000 {
            if waiting.is_empty() {
                break;
            }
            let done: Vec<_> = granted.keys().copied().collect();
            for ticket in done {
                limits.leave(ticket);
                granted.remove(&ticket);
                look(&mut limits, &mut waiting, &mut granted, now)?;
            }
            now += Duration::from_secs(10);
            look(&mut limits, &mut waiting, &mut granted, now)?;
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} wait for ever");
        granted.keys().for_each(|ticket| limits.leave(*ticket));
        prop_assert!(limits.locks.values().all(|lock| lock.held == 0));
    }
}
