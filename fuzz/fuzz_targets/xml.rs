//! XML exports: our look before hwloc's takes any text, and what hwloc makes of the rest is a machine that reads back,
//! or a reason.
#![no_main]

use damocles_worker::{
    hwinfo, machine,
    sys::topology::{Source, limits},
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if limits::judge_xml(text).is_err() {
        return;
    }
    let source = Source::XmlText { name: "fuzz.xml".into(), text: text.to_owned() };
    if let Ok(machine) = hwinfo::describe(&source, "fuzz") {
        let written = serde_json::to_string(&machine).expect("a machine is data");
        assert_eq!(machine::parse(&written).expect("we printed it"), machine);
        hwinfo::write_tree(&machine, &mut Vec::new()).expect("a vector takes everything");
    }
});
