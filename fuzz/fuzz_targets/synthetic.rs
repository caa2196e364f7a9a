//! Synthetic descriptions: what passes our limits is safe to give to hwloc, and hwloc's answer is a machine or a reason.
#![no_main]

use damocles_worker::{
    hwinfo,
    sys::topology::{Source, limits},
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if limits::judge_synthetic(text).is_ok() {
        if let Ok(machine) = hwinfo::describe(&Source::Synthetic(text.to_owned()), "fuzz") {
            assert!(machine.cpus().len() as u64 <= limits::CPUS_MAX);
        }
    }
});
