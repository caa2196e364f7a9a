//! Synthetic descriptions: what passes our limits is safe to give to hwloc, and hwloc's answer is a machine that reads
//! back, or a reason.
#![no_main]

use damocles_worker::{
    hwinfo, machine,
    sys::topology::{Source, limits},
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if limits::judge_synthetic(text).is_err() {
        return;
    }
    if let Ok(machine) = hwinfo::describe(&Source::Synthetic(text.to_owned()), "fuzz") {
        assert!(machine.cpus().len() as u64 <= limits::CPUS_MAX);
        let written = serde_json::to_string(&machine).expect("a machine is data");
        assert_eq!(machine::parse(&written).expect("we printed it"), machine);
        hwinfo::write_tree(&machine, &mut Vec::new()).expect("a vector takes everything");
    }
});
