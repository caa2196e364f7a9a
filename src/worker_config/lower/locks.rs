//! `[processors.ext_locks]` against the `locks` of the processors. Their order does not matter: a task takes all or none.

use crate::worker_config::{
    diagnosis::Log,
    raw,
    read::{At, Entry},
    suggest::nearest,
    values::{Name, Positive},
};

pub(super) fn check(ext_locks: &[Entry<Positive>], processors: &[&raw::Processor], log: &mut Log) {
    for processor in processors {
        let locks = processor.locks.as_ref().map_or(&[][..], |at| &at.value);
        check_known(ext_locks, locks, log);
    }
    for lock in ext_locks {
        let used = |processor: &&raw::Processor| {
            processor.locks.as_ref().is_some_and(|at| at.value.iter().any(|taken| taken.value.0 == lock.name))
        };
        if !processors.iter().any(used) {
            log.warning(
                &lock.place,
                "no processor takes this lock",
                "name it in the locks of a processor, or remove it",
            );
        }
    }
}

fn check_known(ext_locks: &[Entry<Positive>], locks: &[At<Name>], log: &mut Log) {
    for (i, At { value: Name(name), place }) in locks.iter().enumerate() {
        if locks[..i].iter().any(|earlier| earlier.value.0 == *name) {
            log.problem(place, format!("the lock {name:?} is listed twice"), "list it once: it can be held only once");
        }
        if !ext_locks.iter().any(|lock| lock.name == *name) {
            let known = ext_locks.iter().map(|lock| lock.name.as_str());
            let accepted = match nearest(name, known) {
                Some(known) => format!("did you mean {known:?}?"),
                None => format!("add {name} = 1 under [processors.ext_locks]"),
            };
            log.problem(place, format!("the lock {name:?} is not in processors.ext_locks"), accepted);
        }
    }
}
