//! Logs of strangers: every task that is read took its time, nothing is counted twice, and what comes of it is a table and
//! a profile that reads back.
#![no_main]

use damocles_worker::{
    bench::{
        Origin,
        import::{Log, read, stamp, table},
        import_rows, profile,
    },
    profile::{Profile, Row, Stage},
    units::SectorSize,
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let found = read(&Log { name: "p2-23cpu-1.log", text });
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count() as u64;
    assert!(found.unknown_lines <= lines);
    for task in &found.tasks {
        assert!(task.seconds > 0.0 && task.seconds.is_finite(), "{task:?}");
        assert!(task.began.is_none_or(f64::is_finite), "{task:?}");
    }
    assert!(text.lines().filter_map(stamp).all(|(seconds, date)| seconds.is_finite() && date.len() == 10));
    let lines = table(&found.tasks, None);
    assert!(lines.iter().map(|line| line.seconds.len()).sum::<usize>() <= found.tasks.len());
    assert!(lines.iter().all(|line| line.per_hour() > 0.0));
    let origin = Origin { date: "2026-11-28".into(), command: "fuzz".into(), host: String::new() };
    let told = Row::empty(Stage::C2, SectorSize::GiB32, String::new());
    let rows = import_rows(&lines, &told, &origin);
    assert!(Profile::parse(&profile(rows, Vec::new()).to_toml()).is_ok());
});
