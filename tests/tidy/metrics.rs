//! Every metric is in the table of `runtime::metrics`, and docs/metrics.md explains each one that is.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};
use damocles_worker::runtime::metrics::{Kind, TABLE};

const PAGE: &str = "docs/metrics.md";
const HOME: &str = "src/runtime/metrics/";
const RECORDING: &[&str] = &["counter", "gauge", "histogram"];

/// A metric as the page has to show it: a line of a table with its name, kind and labels.
fn row(name: &str, kind: &str, labels: &[&str]) -> String {
    let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{name}` | {kind} | {} |", labels.join(", "))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

fn undocumented<'a>(rows: impl Iterator<Item = String> + 'a, page: &'a str) -> impl Iterator<Item = String> + 'a {
    rows.filter(|row| !page.contains(row.as_str())).map(|row| format!("{PAGE}: lacks a line that begins with: {row}"))
}

// Names on the page that the table does not have.
fn gone(page: &str, names: &[&str]) -> Vec<String> {
    let told = page.split('`').filter(|word| word.starts_with("damocles_worker_"));
    let told = told.map(|word| word.split(['{', ' ']).next().unwrap_or(word));
    let parts = ["_bucket", "_sum", "_count"];
    let known = |word: &str| {
        names.contains(&word)
            || parts.iter().any(|end| word.strip_suffix(end).is_some_and(|base| names.contains(&base)))
    };
    told.filter(|word| !known(word)).map(|word| format!("{PAGE}: `{word}` is no metric of the table")).collect()
}

fn recorded_elsewhere(file: &TextFile) -> Vec<String> {
    if !file.path.starts_with("src/") || file.path.starts_with(HOME) {
        return Vec::new();
    }
    let facts = tokens::facts(file);
    let found = facts.macros.iter().filter(|found| RECORDING.contains(&found.what.as_str()));
    found
        .map(|found| {
            format!(
                "{}: {}!: metrics are recorded in {HOME}record.rs, where tidy sees their names",
                file.at(found.line),
                found.what
            )
        })
        .collect()
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let page = std::fs::read_to_string(tree::root().join(PAGE)).unwrap_or_default();
    let rows = TABLE.iter().map(|metric| row(metric.name, kind_name(metric.kind), metric.labels));
    let names: Vec<_> = TABLE.iter().map(|metric| metric.name).collect();
    assert_tidy(undocumented(rows, &page).chain(gone(&page, &names)).collect());
}

#[test]
fn metrics_are_recorded_in_one_place() {
    assert_tidy(tree::rust_files().iter().flat_map(recorded_elsewhere).collect());
}

mod tests {
    use super::*;

    #[test]
    fn a_metric_without_its_line_and_a_line_without_its_metric_are_found() {
        let page =
            "| `damocles_worker_a_total` | counter | `x`, `y` | a |\n`damocles_worker_b_seconds_bucket{x=\"1\"}`";
        let of = |labels: &[&str]| vec![row("damocles_worker_a_total", "counter", labels)];
        assert_eq!(undocumented(of(&["x", "y"]).into_iter(), page).count(), 0);
        assert_eq!(undocumented(of(&["x"]).into_iter(), page).count(), 1);
        assert_eq!(gone(page, &["damocles_worker_a_total"]).len(), 1);
        assert!(gone(page, &["damocles_worker_a_total", "damocles_worker_b_seconds"]).is_empty());
    }

    #[test]
    fn a_metric_that_is_recorded_elsewhere_is_found() {
        let text = "fn f() { metrics::counter!(\"x\").increment(1); }";
        assert_eq!(recorded_elsewhere(&TextFile::example("src/runtime/worker/mod.rs", text)).len(), 1);
        assert!(recorded_elsewhere(&TextFile::example("src/runtime/metrics/record.rs", text)).is_empty());
    }
}
