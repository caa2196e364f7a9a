//! Cpu lists, one a line: what is read prints and reads back as the same set, and sets of two agree with plain ones.
#![no_main]

use damocles_worker::units::CpuList;
use std::collections::BTreeSet;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lists: Vec<CpuList> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for list in &lists {
        assert_eq!(&list.to_string().parse::<CpuList>().expect("we printed it"), list);
        let json = serde_json::to_string(list).expect("a list is data");
        assert_eq!(&serde_json::from_str::<CpuList>(&json).expect("we wrote it"), list);
        let plain: BTreeSet<u32> = list.iter().collect();
        assert_eq!((plain.len(), plain.is_empty()), (list.len(), list.is_empty()));
        assert!(plain.iter().all(|cpu| list.contains(*cpu)));
        assert_eq!(&plain.into_iter().collect::<CpuList>(), list);
    }
    if let [a, b, ..] = &lists[..] {
        let (and, minus, or) = (a.and(b), a.minus(b), a.or(b));
        assert_eq!(and.len() + minus.len(), a.len());
        assert_eq!(or.len(), minus.len() + b.len());
        assert_eq!(and.or(&minus), *a);
        assert!(minus.and(b).is_empty());
    }
});
