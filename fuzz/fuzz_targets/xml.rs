//! XML exports: our look before hwloc's, on any text.
#![no_main]

use damocles_worker::sys::topology::limits;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = limits::judge_xml(text);
});
