//! What pc1 tells of itself, as the daemon's metrics.

use super::table::*;
use crate::runtime::pc1_numbers::{KINDS, Numbers};
use ::metrics::{counter, gauge};

/// The numbers of one processor (`pc1-0`) as gauges and counters of this process, whoever installed the recorder.
pub struct Gauges {
    processor: String,
    last: Numbers,
}

impl Gauges {
    /// Of a processor that has told nothing yet.
    pub fn of(processor: &str) -> Self {
        Self { processor: processor.to_owned(), last: Numbers::default() }
    }

    /// Shows these numbers. A place without a task is all zeros; what is counted goes on where a child begins anew.
    pub fn show(&mut self, numbers: &Numbers) {
        let label = || ("processor", self.processor.clone());
        for place in 0..numbers.tasks.len().max(self.last.tasks.len()) {
            let task = numbers.tasks.get(place).cloned().flatten().unwrap_or_default();
            let labels = [label(), ("task", place.to_string())];
            gauge!(PC1_SECTOR, &labels).set(task.sector as f64);
            gauge!(PC1_LAYER, &labels).set(f64::from(task.layer));
            gauge!(PC1_LAYERS, &labels).set(f64::from(task.layers));
            gauge!(PC1_LAYER_PART, &labels).set(task.layer_part);
            gauge!(PC1_NODES_PER_SECOND, &labels).set(task.nodes_per_second);
            gauge!(PC1_SECONDS_LEFT, &labels).set(task.seconds_left);
        }
        let hashed = since(self.last.layers_hashed, numbers.layers_hashed);
        counter!(PC1_LAYERS_HASHED, &[label()]).increment(hashed);
        for kind in KINDS {
            let count = |of: &Numbers| of.buffers.get(kind).copied().unwrap_or_default();
            let labels = [label(), ("memory", kind.to_owned())];
            counter!(PC1_BUFFERS, &labels).increment(since(count(&self.last), count(numbers)));
        }
        for node in self.last.hugepage_files.keys().chain(numbers.hugepage_files.keys()) {
            let count = numbers.hugepage_files.get(node).copied().unwrap_or_default();
            gauge!(PC1_HUGEPAGE_FILES, &[label(), ("node", node.to_string())]).set(count as f64);
        }
        let places = numbers.tasks.len().max(self.last.tasks.len());
        self.last = numbers.clone();
        self.last.tasks.resize(places, None);
    }
}

/// What was counted since the last look; a count that is lower began anew.
fn since(last: u64, now: u64) -> u64 {
    now.checked_sub(last).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::pc1_numbers::TaskNumbers;
    use std::collections::BTreeMap;

    #[test]
    fn every_number_becomes_a_gauge_under_its_name() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let task = TaskNumbers {
            sector: 7,
            layer: 3,
            layers: 11,
            layer_part: 0.25,
            nodes_per_second: 1e6,
            seconds_left: 60.0,
        };
        let mut numbers = Numbers {
            tasks: vec![None, Some(task)],
            layers_hashed: 5,
            buffers: BTreeMap::from([("hugepages".to_owned(), 2)]),
            hugepage_files: BTreeMap::from([(1, 4)]),
        };
        let mut gauges = Gauges::of("pc1-0");
        let mut show = |numbers: &Numbers| ::metrics::with_local_recorder(&recorder, || gauges.show(numbers));
        show(&numbers);
        let text = handle.render();
        for line in [
            r#"damocles_worker_pc1_sector{processor="pc1-0",task="1"} 7"#,
            r#"damocles_worker_pc1_layer{processor="pc1-0",task="1"} 3"#,
            r#"damocles_worker_pc1_layers{processor="pc1-0",task="1"} 11"#,
            r#"damocles_worker_pc1_layer_part{processor="pc1-0",task="1"} 0.25"#,
            r#"damocles_worker_pc1_nodes_per_second{processor="pc1-0",task="1"} 1000000"#,
            r#"damocles_worker_pc1_seconds_left{processor="pc1-0",task="1"} 60"#,
            r#"damocles_worker_pc1_layers_hashed_total{processor="pc1-0"} 5"#,
            r#"damocles_worker_pc1_buffers_total{processor="pc1-0",memory="hugepages"} 2"#,
            r#"damocles_worker_pc1_hugepage_files{processor="pc1-0",node="1"} 4"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // The child ended, and the next one hashed two layers.
        (numbers.tasks, numbers.layers_hashed) = (vec![], 2);
        show(&Numbers::default());
        show(&numbers);
        show(&numbers);
        let later = handle.render();
        assert!(later.contains(r#"damocles_worker_pc1_sector{processor="pc1-0",task="1"} 0"#), "{later}");
        assert!(later.contains(r#"damocles_worker_pc1_layers_hashed_total{processor="pc1-0"} 7"#), "{later}");
    }
}
