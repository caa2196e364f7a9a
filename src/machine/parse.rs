//! machine.json into a `Machine`: version first, then shape, then sense.

use super::{Broken, Machine, VERSION};
use serde::Deserialize;

/// Why a text is not a machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Not JSON, or not of the contract's shape; the reason ends with line and column.
    #[error("not a machine description: {0}; write one with `damocles-worker-util hwinfo --json`")]
    Shape(#[from] serde_json::Error),
    /// Written by another version of the contract.
    #[error(
        "machine description of version {found}, this program reads version {VERSION}; \
         write it again with `damocles-worker-util hwinfo --json` of this release"
    )]
    Version { found: u64 },
    /// The shape is right, the content contradicts itself.
    #[error("machine description contradicts itself: {}", list(.0))]
    Broken(Vec<Broken>),
}

fn list(broken: &[Broken]) -> String {
    broken.iter().map(Broken::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads machine.json. Fields that are not known are ignored; a version that is not known is refused.
pub fn parse(text: &str) -> Result<Machine, MachineError> {
    // The version alone first: a file of another version should be told so, not that some field is missing.
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    let Head { version } = serde_json::from_str(text)?;
    if version != u64::from(VERSION) {
        return Err(MachineError::Version { found: version });
    }
    let machine: Machine = serde_json::from_str(text)?;
    match machine.check() {
        broken if broken.is_empty() => Ok(machine),
        broken => Err(MachineError::Broken(broken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = r#"{
  "version": 1,
  "hostname": "small",
  "allowed_cpus": "0-1",
  "offline_cpus": "2",
  "topology": {
    "kind": "machine",
    "memory_bytes": 3072,
    "nodes": [{ "os_index": 7, "memory_bytes": 1024, "cpus": "" }],
    "parts": [{
      "kind": "l3",
      "memory_bytes": 2048,
      "size_bytes": 512,
      "nodes": [{ "os_index": 0, "memory_bytes": 2048, "cpus": "0-1" }],
      "cores": [{ "cpus": "0-1" }]
    }]
  }
}"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(SMALL.contains(from), "{from}");
        parse(&SMALL.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn a_machine_reads_back_as_it_was_written() {
        let machine = parse(SMALL).unwrap();
        let again = serde_json::to_string_pretty(&machine).unwrap();
        assert_eq!(parse(&again).unwrap(), machine);
        assert!(machine.node(crate::units::NodeId(7)).unwrap().is_memory_only());
        assert_eq!(machine.l3_groups_of(machine.node_of(1).unwrap()).len(), 1);
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        let grown = SMALL.replacen("\"hostname\"", "\"sensors\": [{\"model\": \"x\"}], \"hostname\"", 1);
        assert_eq!(parse(&grown).unwrap(), parse(SMALL).unwrap());
    }

    #[test]
    fn facts_read_back_and_absent_ones_stay_absent() {
        let facts = r#""disks": [{"name": "sda", "kind": "tape"}], "gpus": [],
            "limits": {"memlock": {"soft": 65536, "hard": "unlimited"}, "nofile": {"soft": 1024, "hard": 4096}},
            "distances": {"nodes": [0, 7], "rows": [[10, 17], [28, 10]]}, "hostname""#;
        let machine = parse(&SMALL.replacen("\"hostname\"", facts, 1)).unwrap();
        assert_eq!(machine.disks.as_ref().unwrap()[0].kind, crate::machine::DiskKind::Unknown);
        assert_eq!(machine.limits.unwrap().memlock.hard, crate::machine::Ceiling::Unlimited);
        // No GPU is a fact, no list of GPUs is none.
        assert_eq!(machine.absent(), ["cpu", "kernel", "page_pools", "hugetlbfs", "nics"]);
        assert_eq!(parse(&serde_json::to_string(&machine).unwrap()).unwrap(), machine);
    }

    #[test]
    fn facts_that_contradict_themselves_are_refused() {
        for (facts, expected) in [
            (r#""distances": {"nodes": [0, 7], "rows": [[10]]}"#, "distances.rows: 2 nodes need 2 rows of 2"),
            (r#""distances": {"nodes": [0, 3], "rows": [[10, 1], [1, 10]]}"#, "distances.nodes: there is no node 3"),
            (r#""cpu_kinds": [{"name": "P-core", "cpus": "0-7"}]"#, "cpu_kinds[0].cpus: 2-7 are not in the topology"),
            (
                r#""cpu_kinds": [{"name": "E-core", "cpus": "0"}, {"name": "P-core", "cpus": "0-1"}]"#,
                "cpu_kinds[1].cpus: 0 are of another kind too",
            ),
            (r#""limits": {"memlock": {"soft": "lots", "hard": 1}}"#, "\"lots\" is not a limit"),
        ] {
            let error = refused("\"hostname\"", &format!("{facts}, \"hostname\""));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn l2_caches_are_listed_beside_the_tree_and_old_files_without_the_list_stay_good() {
        let listed = |list: &str| SMALL.replacen("\"hostname\"", &format!("{list}, \"hostname\""), 1);
        let machine = parse(&listed(r#""l2_caches": 1, "l2_groups": ["0-1"]"#)).unwrap();
        assert_eq!(machine.l2_groups.as_ref().unwrap()[0].to_string(), "0-1");
        assert_eq!(parse(&serde_json::to_string(&machine).unwrap()).unwrap(), machine);
        let two = |extra: &str| {
            listed(extra).replacen("{ \"cpus\": \"0-1\" }", "{ \"cpus\": \"0\" }, { \"cpus\": \"1\" }", 1)
        };
        let unlisted = |extra: &str| parse(&two(extra)).unwrap().unlisted_l2();
        assert_eq!(unlisted(r#""l2_caches": 1"#), Some(1), "a file of an older release counts them only");
        assert_eq!(unlisted(r#""l2_caches": 1, "l2_groups": ["0-1"]"#), None);
        assert_eq!(unlisted(r#""l2_caches": 2"#), None, "no core shares one");
        for (list, expected) in [
            (r#""l2_caches": 2, "l2_groups": ["0-1"]"#, "l2_caches: is 2, but l2_groups lists 1"),
            (r#""l2_groups": [""]"#, "l2_groups[0]: a cache has at least one CPU"),
            (r#""l2_groups": ["0-9"]"#, "l2_groups[0]: 2-9 are not in the topology"),
            (r#""l2_groups": ["0-1", "1"]"#, "l2_groups[1]: 1 belong to another L2 cache too"),
            (r#""l2_groups": ["0"]"#, "l2_groups[0]: takes a part of the core with the CPUs 0-1"),
        ] {
            let error = parse(&listed(list)).unwrap_err().to_string();
            assert!(error.contains(expected), "{list}: {error}");
        }
        let across = r#"{"version": 1, "hostname": "across", "allowed_cpus": "0-3", "l2_groups": ["1-2"],
            "topology": {"kind": "machine", "parts": [
                {"kind": "l3", "cores": [{"cpus": "0"}, {"cpus": "1"}]},
                {"kind": "l3", "cores": [{"cpus": "2"}, {"cpus": "3"}]}]}}"#;
        let error = parse(across).unwrap_err().to_string();
        assert!(error.contains("l2_groups[0]: lies partly in the L3 with the CPUs 0-1"), "{error}");
        assert!(parse(&across.replace("1-2", "0-3")).is_ok(), "an L2 around both");
    }

    #[test]
    fn another_version_is_refused_before_its_shape_is_judged() {
        let error = parse(r#"{"version": 2, "host": {}}"#).unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("reads version 1"), "{error}");
    }

    #[test]
    fn what_is_not_a_machine_is_refused_with_its_line() {
        for (text, place) in [
            ("", "line 1"),
            ("{", "line 1"),
            ("[1]", "line 1"),
            ("{\"version\": 1}", "hostname"),
            ("{\"version\": \"1\"}", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains("hwinfo --json"), "{text}: {error}");
        }
        let error = refused("\"0-1\" }]\n", "\"1-0\" }]\n");
        assert!(error.contains("not a cpu list") && error.contains("line 15"), "{error}");
        assert!(refused("\"l3\"", "\"l9\"").contains("line 11"));
        assert!(refused("2048,\n      \"size", "-1,\n      \"size").contains("line 12"));
    }

    #[test]
    fn a_machine_that_contradicts_itself_is_refused_with_the_place() {
        for (from, to, expected) in [
            ("\"memory_bytes\": 3072", "\"memory_bytes\": 3", "topology.memory_bytes: is 3"),
            ("\"os_index\": 7", "\"os_index\": 0", "topology.parts[0].nodes[0].os_index: there are two nodes 0"),
            ("\"0-1\" }]\n", "\"\" }]\n", "topology.parts[0].cores[0].cpus: a core has at least one CPU"),
            ("{ \"cpus\": \"0-1\" }", "{ \"cpus\": \"0-1\" }, { \"cpus\": \"1\" }", "cores[1].cpus: 1 belong"),
            ("\"cpus\": \"\"", "\"cpus\": \"0\"", "nodes[0].cpus: 0 belong to another node"),
            ("\"cpus\": \"\"", "\"cpus\": \"9\"", "nodes[0].cpus: 9 are not in the topology"),
            ("\"allowed_cpus\": \"0-1\"", "\"allowed_cpus\": \"0-4\"", "allowed_cpus: 2-4 are not in"),
            ("\"allowed_cpus\": \"0-1\"", "\"allowed_cpus\": \"\"", "allowed_cpus: no CPU"),
            ("\"offline_cpus\": \"2\"", "\"offline_cpus\": \"1-2\"", "offline_cpus: 1 are in"),
            ("\"machine\"", "\"package\"", "topology.kind"),
            ("\"l3\"", "\"machine\"", "topology.parts[0].kind: only the outermost"),
            ("\"memory_bytes\": 1024", "\"memory_bytes\": 18446744073709551615", "more than 2^64"),
        ] {
            let error = refused(from, to);
            assert!(error.contains("contradicts itself") && error.contains(expected), "{to}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(cut in 0usize..SMALL.len(), at in 0usize..SMALL.len(), byte in 32u8..127) {
            let mut bytes = SMALL.as_bytes().to_vec();
            bytes[at] = byte;
            let text = String::from_utf8(bytes).unwrap();
            let _ = parse(&text);
            prop_assert!(parse(&text[..cut]).is_err());
        }

        #[test]
        fn deep_nesting_is_an_error_not_a_crash(depth in 200usize..20_000) {
            let text = format!("{{\"version\":1,\"topology\":{}", "{\"parts\":[".repeat(depth));
            prop_assert!(parse(&text).is_err());
        }
    }
}
