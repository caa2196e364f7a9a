//! Cpu lists: what is read prints and reads back as the same set.
#![no_main]

use damocles_worker::units::CpuList;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(list) = text.parse::<CpuList>() {
        assert_eq!(list.to_string().parse::<CpuList>().expect("we printed it"), list);
        assert_eq!(list.iter().count(), list.len());
    }
});
