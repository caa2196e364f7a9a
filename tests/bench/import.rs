//! `bench import`: logs as a table and as a profile.

use crate::rig::{Rig, err, out};
use damocles_worker::profile::{GpuKey, Profile, Stage};
use serde_json::Value;
use std::fs;

/// PC2 of a procurement in 2020, four at once on 23 cores and two after each other on 46.
const PC2: [(&str, &str, &str); 6] = [
    ("benchy-p2-23cpu-1.log", "2020-07-19 02:35:20", "2020-07-19 04:45:50"),
    ("benchy-p2-23cpu-2.log", "2020-07-19 02:56:48", "2020-07-19 05:10:47"),
    ("benchy-p2-23cpu-3.log", "2020-07-19 02:55:39", "2020-07-19 05:07:35"),
    ("benchy-p2-23cpu-4.log", "2020-07-19 02:52:40", "2020-07-19 04:50:48"),
    ("benchy-p2-46cpu-1.log", "2020-07-17 09:02:10", "2020-07-17 10:08:25"),
    ("benchy-p2-46cpu-2.log", "2020-07-18 05:19:50", "2020-07-18 06:18:40"),
];

fn rig() -> (Rig, Vec<&'static str>) {
    let rig = Rig::new();
    for (name, begin, end) in PC2 {
        let text = format!(
            "thread_id: ThreadId(1) {begin} INFO [benchy::force] using cache dir \".tmp\"\n\
             thread_id: ThreadId(1) {begin} INFO [filecoin_proofs::api::seal_pledge] seal_pre_commit_phase2_all_zero: start\n\
             thread_id: ThreadId(1) {end} INFO [benchy::force] p34 disabled\n"
        );
        fs::write(rig.path(name), text).unwrap();
    }
    (rig, PC2.map(|(name, ..)| name).to_vec())
}

#[test]
fn logs_become_the_table_that_was_made_by_hand() {
    let (rig, logs) = rig();
    let output = rig.run(&[&["import"], &logs[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let cells: Vec<Vec<String>> = out(&output)
        .lines()
        .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
        .collect();
    assert_eq!(cells[2][..5], ["pc2", "23", "4", "4", "128.64"]);
    assert_eq!(cells[2][7..], ["1.866", "0.0203"]);
    assert_eq!(cells[3][..5], ["pc2", "46", "2", "1", "62.54"]);
    let talk = err(&output);
    assert!(talk.contains("benchy-p2-23cpu-1.log: 1 tasks, 1 lines without a marker of a stage"), "{talk}");
}

#[test]
fn logs_become_a_profile_with_their_source() {
    let (rig, logs) = rig();
    let named = ["--sector-size", "32GiB", "--cpu", "EPYC 7742", "--gpu", "none", "--out", "sealer.toml", "--json"];
    let output = rig.run(&[&["import"], &logs[..], &named].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let answer: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(answer["lines"].as_array().unwrap().len(), 2);
    let profile = Profile::parse(&fs::read_to_string(rig.path("sealer.toml")).unwrap()).unwrap();
    let row = &profile.rows[0];
    assert_eq!((row.stage, row.cores, row.gpu.clone()), (Stage::Pc2, Some(46), Some(GpuKey::None)));
    assert!((row.minutes.unwrap() - 62.54).abs() < 0.01, "{row:?}");
    assert!(
        row.source.starts_with("2 tasks, 1 at once in benchy-p2-46cpu-1.log, benchy-p2-46cpu-2.log; read "),
        "{row:?}"
    );
}

#[test]
fn logs_without_tasks_are_a_no_and_missing_ones_an_error() {
    let (rig, logs) = rig();
    fs::write(rig.path("empty.log"), "nothing of ours\n\u{1b}[31m2020-07-19 02:35:20\n").unwrap();
    let output = rig.run(&["import", "empty.log"]);
    assert_eq!((output.status.code(), out(&output)), (Some(1), String::new()));
    assert!(err(&output).contains("empty.log: 0 tasks, 2 lines without a marker"), "{}", err(&output));
    assert_eq!(rig.run(&["import", "gone.log"]).status.code(), Some(2));
    let unsized_out = rig.run(&["import", logs[0], "--out", "sealer.toml"]);
    assert_eq!(unsized_out.status.code(), Some(2));
    assert!(err(&unsized_out).contains("give it with --sector-size"), "{}", err(&unsized_out));
    assert!(!rig.path("sealer.toml").exists());
}
