//! sealcalc: row for row what stepping gives, and the command as an operator and a script meet it.

use crate::stepper;
use assert_cmd::Command;
use damocles_worker::planner::sealcalc::{Course, Inputs, Stage};
use proptest::prelude::*;
use serde_json::Value;
use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

fn sealcalc(args: &[&str]) -> Output {
    Command::cargo_bin("damocles-worker-util").unwrap().arg("sealcalc").args(args).output().unwrap()
}

/// The inputs from which the field's documentation made its table.
const DOCUMENTED: [&str; 9] = [
    "--tree_d_mins=10",
    "--tree_d_concurrent=2",
    "--pc1_mins=320",
    "--pc1_concurrent=10",
    "--pc2_mins=1",
    "--pc2_concurrent=5",
    "--c2_mins=2",
    "--c2_concurrent=2",
    "--sealing_threads=18",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    DOCUMENTED.iter().chain(more).copied().collect()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_csv_has_the_fields_header_and_a_row_for_each_hour() {
    let output = sealcalc(&with(&["--csv", "--seed_mins", "80"]));
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(
        lines[0],
        "time (mins),sealing threads (running/total),tree_d (running/total),pc1 (running/total),\
         pc2 (running/total),wait seed,c2 (running/total),finished sectors"
    );
    assert_eq!(lines[1], "0,2/18,2/2,0/10,0/5,0,0/2,0");
    assert_eq!(lines.len(), 1 + 720);
    let finished = |minute: &str| {
        let row = lines.iter().find(|line| line.starts_with(&format!("{minute},"))).unwrap();
        row.rsplit(',').next().unwrap().to_owned()
    };
    assert_eq!([finished("480"), finished("840"), finished("1740")], ["10", "20", "48"]);
    assert!(text(&output.stderr).contains("once it has settled; fullest: "), "{}", text(&output.stderr));
}

#[test]
fn both_spellings_say_the_same() {
    let dashes: Vec<_> = with(&["--seed_mins=70", "--calculate_days=3", "--output_step=7", "--csv"])
        .into_iter()
        .map(|flag| flag.replace('_', "-"))
        .collect();
    let dashes: Vec<_> = dashes.iter().map(String::as_str).collect();
    let same = sealcalc(&with(&["--seed_mins=70", "--calculate_days=3", "--output_step=7", "--csv"]));
    assert_eq!(sealcalc(&dashes).stdout, same.stdout);
    assert!(text(&same.stdout).lines().nth(2).unwrap().starts_with("7,"));
}

#[test]
fn json_holds_inputs_summary_and_rows() {
    let output = sealcalc(&with(&["--json", "--calculate-days", "2"]));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["inputs"]["pc1"]["mins"], 320);
    assert_eq!(answer["rows"].as_array().unwrap().len(), 48);
    assert_eq!(answer["rows"][8]["finished_sectors"], 10);
    assert!(answer["summary"]["sectors_per_day"].as_f64().unwrap() > 0.0);
}

#[test]
fn no_days_are_answered_with_no_rows() {
    let output = sealcalc(&with(&["--calculate_days", "0", "--csv"]));
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 1));
    assert!(text(&output.stderr).starts_with("0 days: there is no minute to calculate"), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&sealcalc(&with(&["--calculate_days", "0", "--json"])).stdout).unwrap();
    assert_eq!(
        (answer["rows"].as_array().unwrap().len(), &answer["summary"]["finished_sectors"]),
        (0, &Value::from(0))
    );
}

#[test]
fn a_pipe_gets_a_table_with_the_same_cells() {
    let table = sealcalc(&with(&["--calculate_days=1"]));
    let csv = sealcalc(&with(&["--calculate_days=1", "--csv"]));
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (row, line) in text(&table.stdout).lines().zip(text(&csv.stdout).lines()).skip(1) {
        assert_eq!(cells(row), cells(&line.replace(',', " ")));
    }
    assert_eq!(text(&table.stdout).lines().count(), 25);
}

#[test]
fn bad_numbers_are_refused_with_nothing_on_stdout() {
    for (args, word) in [
        (with(&["--output_step=0"]), "0 minutes apart"),
        (with(&["--output-step", "-5"]), "-5"),
        (with(&["--calculate_days=-1"]), "-1"),
        (with(&["--calculate_days=99999999"]), "0..=36500"),
        (with(&["--seed_mins=1.5"]), "1.5"),
        (with(&["--csv", "--json"]), "--json"),
        (DOCUMENTED[1..].to_vec(), "--tree_d_mins"),
    ] {
        let output = sealcalc(&args);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{args:?}");
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
}

#[test]
fn a_stage_that_runs_nothing_is_named() {
    let mut args = with(&["--csv"]);
    args[5] = "--pc2_concurrent=0";
    let output = sealcalc(&args);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("warning: --pc2_concurrent is 0"), "{}", text(&output.stderr));
}

// `script` is what gives a command a terminal; Debian installs it everywhere.
#[test]
fn a_terminal_gets_a_view_that_pages_and_leaves_the_screen_as_it_was() {
    if !Path::new("/usr/bin/script").exists() {
        let _ = writeln!(std::io::stderr(), "skipped: no /usr/bin/script to make a terminal with");
        return;
    }
    let command = format!("{} sealcalc {}", env!("CARGO_BIN_EXE_damocles-worker-util"), DOCUMENTED.join(" "));
    let child = std::process::Command::new("/usr/bin/script")
        .args(["-qec", &format!("stty rows 24 cols 80; {command}"), "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    // End, one input further, one more of it, leave.
    child.stdin.as_mut().unwrap().write_all(b"Gl+q").unwrap();
    let output = child.wait_with_output().unwrap();
    let screen = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    for part in ["\u{1b}[?1049h", "rows 1-20 of 720", "rows 701-720 of 720", "x[3]", "\u{1b}[?1049l"] {
        assert!(screen.contains(part), "{part:?} is not in {screen:?}");
    }
    assert!(screen.trim_end().ends_with("\u{1b}[?1049l"), "nothing is drawn after the screen was left");
}

fn any_inputs() -> impl Strategy<Value = Inputs> {
    let mins = || prop_oneof![Just(0u32), 1u32..10, 1u32..200];
    let stage = || {
        (mins(), prop_oneof![Just(0u32), 1u32..8, 1u32..100]).prop_map(|(mins, concurrent)| Stage { mins, concurrent })
    };
    (stage(), stage(), stage(), stage(), mins(), 0u32..60).prop_map(
        |(tree_d, pc1, pc2, c2, seed_mins, sealing_threads)| Inputs {
            tree_d,
            pc1,
            pc2,
            c2,
            seed_mins,
            sealing_threads,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_row_is_what_stepping_gives(inputs in any_inputs(), minutes in 0u64..4000, step in 1u64..200) {
        let course = Course::of(&inputs, minutes);
        let rows: Vec<_> = course.rows(step).collect();
        prop_assert_eq!(rows, stepper::rows(&inputs, minutes, step));
    }

}

proptest! {
    // Stepping through 200,000 minutes takes its time.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_summary_is_what_the_rows_add_up_to(inputs in any_inputs()) {
        let minutes = 200_000;
        let summary = Course::of(&inputs, minutes).summary(&inputs);
        let rows = stepper::rows(&inputs, minutes, 1);
        prop_assert_eq!(summary.finished_sectors, rows[minutes as usize - 1].finished_sectors);
        let late = &rows[minutes as usize / 2..];
        let per_day = (late[late.len() - 1].finished_sectors - late[0].finished_sectors) as f64 * 1440.0 / late.len() as f64;
        // A lap may be cut at either end: at most the sectors that are under way at once.
        let cut = f64::from(inputs.sealing_threads + 1) * 2.0 * 1440.0 / late.len() as f64;
        prop_assert!((summary.sectors_per_day - per_day).abs() <= cut + 1e-9, "{summary:?} {per_day} {cut}");
        let full = late.iter().map(|row| f64::from(row.pc1_running)).sum::<f64>() / late.len() as f64;
        if let Some(busy) = summary.busy.pc1 {
            let share = full / f64::from(inputs.pc1.concurrent);
            prop_assert!((busy - share).abs() < 0.02, "{busy} {share}");
        }
    }
}
