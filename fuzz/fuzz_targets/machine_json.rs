//! machine.json: what is read breaks no invariant, prints as a tree, and reads back as the same machine.
#![no_main]

use damocles_worker::{hwinfo, machine};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(machine) = machine::parse(text) {
        assert!(machine.check().is_empty());
        hwinfo::write_tree(&machine, &mut Vec::new()).expect("a vector takes everything");
        let again = serde_json_text(&machine);
        assert_eq!(machine::parse(&again).expect("we printed it"), machine);
    }
});

fn serde_json_text(machine: &machine::Machine) -> String {
    serde_json::to_string(machine).expect("a machine is data")
}
