//! The wire, byte for byte, as the field's own programs write it; and whatever else may come down a pipe.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

const COMM_D: &str = "[252,126,146,130,150,229,22,250,173,233,134,178,143,146,212,74,79,36,185,53,72,82,35,55,106,121,144,39,188,24,248,51]";
const ONES: &str = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";

/// Requests and answers of each stage, as written down from the wire (2 KiB sectors); what the library calls its own
/// in C2 is shortened.
fn lines() -> Vec<(Stage, String, String)> {
    let labels = r#""labels":{"StackedDrg2KiBV1":{"labels":[{"path":"/s/cache","id":"layer-1","size":64,"rows_to_discard":0},{"path":"/s/cache","id":"layer-2","size":64,"rows_to_discard":0}],"_h":null}},"config":{"path":"/s/cache","id":"tree-d","size":127,"rows_to_discard":0}"#;
    let pc1out = format!(r#"{{"registered_proof":"StackedDrg2KiBV1_1",{labels},"comm_d":{COMM_D}}}"#);
    let miner = "[144,78,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]";
    let line = |id: u64, task: &str| format!(r#"{{"id":{id},"task":{task}}}"#);
    let reply = |id: u64, output: &str| format!(r#"{{"id":{id},"err_msg":null,"output":{output}}}"#);
    vec![
        (
            Stage::AddPieces,
            line(1, r#"{"seal_proof_type":"StackedDrg2KiBV1_1","pieces":[],"staged_filepath":"/s/staged"}"#),
            reply(1, &format!(r#"[{{"commitment":{COMM_D},"size":2032}}]"#)),
        ),
        (
            Stage::AddPieces,
            line(
                9,
                r#"{"seal_proof_type":"StackedDrg2KiBV1_1","pieces":[{"piece_file":"pledge","payload_size":0,"piece_size":1024},{"piece_file":{"url":"http://m/p"},"payload_size":500,"piece_size":512},{"piece_file":{"local":"/p/q"},"payload_size":500,"piece_size":512}],"staged_filepath":"/s/staged"}"#,
            ),
            reply(9, "[]"),
        ),
        (
            Stage::TreeD,
            line(2, r#"{"registered_proof":"StackedDrg2KiBV1_1","staged_file":"/s/staged","cache_dir":"/s/prepared"}"#),
            reply(2, "true"),
        ),
        (
            Stage::Pc1,
            line(
                3,
                &format!(
                    r#"{{"registered_proof":"StackedDrg2KiBV1_1","cache_path":"/s/cache","in_path":"/s/staged","out_path":"/s/sealed","prover_id":{miner},"sector_id":1,"ticket":{ONES},"piece_infos":[{{"commitment":{COMM_D},"size":2032}}]}}"#
                ),
            ),
            reply(3, &pc1out),
        ),
        (
            Stage::Pc2,
            line(4, &format!(r#"{{"pc1out":{pc1out},"cache_dir":"/s/cache","sealed_file":"/s/sealed"}}"#)),
            reply(4, &format!(r#"{{"registered_proof":"StackedDrg2KiBV1_1","comm_r":{ONES},"comm_d":{COMM_D}}}"#)),
        ),
        (
            Stage::C2,
            line(
                5,
                &format!(
                    r#"{{"c1out":{{"vanilla_proofs":{{"StackedDrg2KiBV1":[[]]}}}},"prover_id":{miner},"sector_id":1,"miner_id":10000}}"#
                ),
            ),
            reply(5, r#"{"proof":[1,2,255]}"#),
        ),
        (
            Stage::Transfer,
            line(
                6,
                r#"{"stores":{"persist":{"name":"persist","meta":null}},"routes":[{"src":{"store_name":null,"uri":"/s/sealed"},"dest":{"store_name":"persist","uri":"/p/sealed"},"opt":null},{"src":{"store_name":null,"uri":"/s/cache"},"dest":{"store_name":"persist","uri":"/p/cache"},"opt":{"is_dir":true,"allow_link":true}}]}"#,
            ),
            reply(6, "true"),
        ),
    ]
}

#[test]
fn our_child_reads_their_requests_and_our_daemon_writes_the_same_bytes() {
    for (stage, line, _) in lines() {
        let asked = asked(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        let task = task(stage, &asked.task).unwrap();
        assert_eq!(task.stage(), stage);
        assert_eq!(request(asked.id, &task).unwrap().unwrap(), line);
    }
}

#[test]
fn our_daemon_reads_their_answers_and_our_child_writes_the_same_bytes() {
    for (stage, _, line) in lines() {
        let Heard::Answer { id, result: Ok(answered) } = heard(line.as_bytes()) else { panic!("{line}") };
        let output = output(stage, &answered).unwrap();
        assert_eq!(answer(id, &Ok(output)).unwrap(), line);
    }
}

#[test]
fn every_stage_that_a_processor_does_is_on_the_wire() {
    let mut seen: Vec<_> = lines().into_iter().map(|(stage, ..)| stage).collect();
    seen.dedup();
    assert_eq!(seen.len(), Stage::EXTERNAL.len());
    assert!(Stage::EXTERNAL.iter().all(|stage| seen.contains(stage)));
}

#[test]
fn the_ready_line_keeps_the_underscore() {
    assert_eq!(ready_line(Stage::TreeD), "tree_d processor ready");
    assert!(is_ready(b"tree_d processor ready\r\n", Stage::TreeD));
    assert!(!is_ready(b"tree-d processor ready", Stage::TreeD) && !is_ready(b"pc1 processor ready", Stage::TreeD));
}

#[test]
fn an_error_wins_over_an_output_and_neither_is_an_error() {
    let result = |line: &str| match heard(line.as_bytes()) {
        Heard::Answer { id: 7, result } => result.map(|output| output.as_json().to_owned()),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(result(r#"{"id":7,"err_msg":"no","output":true}"#), Err("no".into()));
    assert_eq!(result(r#"{"id":7,"err_msg":"no","output":null}"#), Err("no".into()));
    assert_eq!(result(r#"{"id":7,"output":[1, 2]}"#), Ok("[1, 2]".into()));
    assert_eq!(result(r#" {"output":true,"id":7,"more":1} "#), Ok("true".into()), "order and further fields are free");
    assert!(result(r#"{"id":7,"err_msg":null,"output":null}"#).unwrap_err().contains("neither"));
    assert!(result(r#"{"id":7}"#).unwrap_err().contains("neither"));
    assert_eq!(answer(7, &Err("no \"x\"\n".into())).unwrap(), r#"{"id":7,"err_msg":"no \"x\"\n","output":null}"#);
}

#[test]
fn noise_is_stray_and_no_request() {
    for line in [
        "",
        "\n",
        "{",
        "null",
        "7",
        "[7,null,true]",
        "{\"id\":-1,\"output\":true}",
        "{\"id\":\"7\"}",
        "pc1 processor ready",
        "\u{feff}{\"id\":7}",
    ] {
        assert_eq!(heard(line.as_bytes()), Heard::Stray, "{line:?}");
        assert!(asked(line.as_bytes()).is_none(), "{line:?}");
    }
    assert_eq!(heard(b"\xff\xfe{}"), Heard::Stray);
}

#[test]
fn an_output_of_another_shape_is_a_failure_with_its_reason() {
    let said = |stage, json: &str| output(stage, &Opaque::from_json(json.into()).unwrap()).unwrap_err();
    assert!(said(Stage::Pc2, "true").starts_with("answered with what is no output of pc2: "));
    assert!(said(Stage::C2, r#"{"proof":[256]}"#).contains("no output of c2"));
    assert!(said(Stage::Pc1, "[]").contains("no output of pc1"));
    assert_eq!(said(Stage::TreeD, "false"), "answered that it is not done");
    assert!(said(Stage::C1, "{}").contains("in the daemon"));
    let odd = Opaque::from_json("{}".into()).unwrap();
    assert!(task(Stage::Pc1, &odd).unwrap_err().starts_with("this is no task of pc1: missing field"));
}

fn lines_like_ours() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(lines()).prop_flat_map(|(_, request, answer)| {
        let both = [request, answer].map(String::into_bytes);
        (prop::sample::select(both.to_vec()), any::<prop::sample::Index>(), any::<u8>(), 0..3u8)
    });
    let torn = whole.prop_map(|(mut line, at, byte, how)| {
        let at = at.index(line.len());
        match how {
            0 => line.truncate(at),
            1 => line[at] = byte,
            _ => line.insert(at, byte),
        }
        line
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), torn]
}

proptest! {
    #[test]
    fn whatever_comes_is_an_answer_or_stray_and_no_panic(line in lines_like_ours()) {
        for stage in Stage::ALL {
            if let Heard::Answer { result: Ok(answered), .. } = heard(&line) {
                let _ = output(stage, &answered);
            }
            if let Some(asked) = asked(&line) {
                let _ = task(stage, &asked.task);
            }
            is_ready(&line, stage);
        }
    }

    #[test]
    fn what_is_written_is_one_line_and_reads_back(id: u64, text in ".*", yes: bool) {
        let result = if yes { Ok(Output::TreeD) } else { Err(text) };
        let line = answer(id, &result).unwrap();
        prop_assert!(!line.contains('\n'));
        let Heard::Answer { id: back, result: read } = heard(line.as_bytes()) else { panic!("{line}") };
        prop_assert_eq!(back, id);
        prop_assert_eq!(read.and_then(|answered| output(Stage::TreeD, &answered)), result);
        let fields: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(fields.as_object().unwrap().len(), 3);
    }
}
