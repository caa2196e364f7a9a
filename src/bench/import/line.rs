//! What one line of a log says of stages: that one began, that one ended, how long one took.

use crate::{
    profile::Stage,
    units::{SealProof, SectorSize},
};
use serde_json::Value;

/// Something that a line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub stage: Stage,
    pub what: What,
    /// The thread or request that says it, where the line tells.
    pub who: Option<String>,
    /// The sector, where the line tells.
    pub sector: Option<String>,
}

/// What happened to a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Begin,
    /// It has read its parameters: what came before is not its work.
    BeginAgain,
    End,
    /// It took so many seconds; when it ended, where the line tells that in milliseconds.
    Took {
        seconds: f64,
        ended_ms: Option<u64>,
    },
}

/// Everything that a line says of stages, and the sector size where it tells that.
pub fn marks(line: &str) -> (Vec<Mark>, Option<SectorSize>) {
    if let Some(found) = json(line) {
        return found;
    }
    if let Some(found) = request(line).or_else(|| daemon(line)) {
        return (vec![found], None);
    }
    (library(line), params_size(line))
}

/// The markers of rust-fil-proofs and of benchy, which ends a phase by saying what is switched on or off next.
const LIBRARY: [(&str, Stage, What); 17] = [
    ("seal_pre_commit_phase1_all_zero: start", Stage::Pc1, What::Begin),
    ("seal_pre_commit_phase1:start", Stage::Pc1, What::Begin),
    ("seal_pre_commit_phase1:finish", Stage::Pc1, What::End),
    ("[benchy::force] p2 enabled", Stage::Pc1, What::End),
    ("[benchy::force] p2 disabled", Stage::Pc1, What::End),
    ("seal_pre_commit_phase2_all_zero: start", Stage::Pc2, What::Begin),
    ("seal_pre_commit_phase2:start", Stage::Pc2, What::Begin),
    ("seal_pre_commit_phase2:finish", Stage::Pc2, What::End),
    ("[benchy::force] p34 disabled", Stage::Pc2, What::End),
    ("[benchy::force] p34 enabled", Stage::Pc2, What::End),
    ("seal_commit_phase1:start", Stage::Pc2, What::End),
    ("seal_commit_phase1:start", Stage::C1, What::Begin),
    ("seal_commit_phase1:finish", Stage::C1, What::End),
    ("seal_commit_phase2:start", Stage::C1, What::End),
    ("seal_commit_phase2:start", Stage::C2, What::Begin),
    ("got groth params (", Stage::C2, What::BeginAgain),
    ("seal_commit_phase2:finish", Stage::C2, What::End),
];

fn library(line: &str) -> Vec<Mark> {
    let found = LIBRARY.iter().filter(|(text, ..)| line.contains(text));
    let (who, sector) = (between(line, "ThreadId(", ")"), between(line, "SectorId(", ")"));
    found
        .map(|(_, stage, what)| Mark { stage: *stage, what: *what, who: who.clone(), sector: sector.clone() })
        .collect()
}

/// `got groth params (34359738368) while sealing`
fn params_size(line: &str) -> Option<SectorSize> {
    let bytes: u64 = between(line, "got groth params (", ")")?.parse().ok()?;
    SectorSize::ALL.into_iter().find(|size| size.bytes().0 == bytes)
}

/// `sub{name="PC1" pid=7}:request{id=2 size=682}: …: request received`, and later `request done`.
fn request(line: &str) -> Option<Mark> {
    let what = match () {
        () if line.contains("request received") => What::Begin,
        () if line.contains("request done") => What::End,
        () => return None,
    };
    let name = between(line, "name=\"", "\"").or_else(|| between(line, "name=", " "))?;
    let stage = match name.to_ascii_lowercase().as_str() {
        "addpieces" | "add_pieces" => Stage::AddPieces,
        "treed" | "tree_d" => Stage::TreeD,
        "pc1" => Stage::Pc1,
        "pc2" => Stage::Pc2,
        "c2" => Stage::C2,
        _ => return None,
    };
    let pid = between(line, "pid=", "}").map(|pid| pid.split_whitespace().next().unwrap_or_default().to_owned());
    let id = between(line, "request{id=", " ").or_else(|| between(line, "request{id=", "}"))?;
    Some(Mark { stage, what, who: Some(format!("{} {id}", pid.unwrap_or_default())), sector: None })
}

/// `INFO started sector="s-t01000-0" stage=pc1`, and later `INFO reached sector="s-t01000-0" state=PC1Done`.
fn daemon(line: &str) -> Option<Mark> {
    let sector = between(line, "sector=\"", "\"")?;
    if line.contains(" started ") {
        let name = word_after(line, "stage=")?;
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name)?;
        return Some(Mark { stage, what: What::Begin, who: None, sector: Some(sector) });
    }
    if !line.contains(" reached ") {
        return None;
    }
    let stage = match word_after(line, "state=")? {
        "PieceAdded" => Stage::AddPieces,
        "TreeDBuilt" => Stage::TreeD,
        "PC1Done" => Stage::Pc1,
        "PC2Done" => Stage::Pc2,
        "C1Done" => Stage::C1,
        "C2Done" => Stage::C2,
        _ => return None,
    };
    Some(Mark { stage, what: What::End, who: None, sector: Some(sector) })
}

/// An answer of `daemon --json`, or a line of a journal or snapshot, whose JSON follows its checksum.
fn json(line: &str) -> Option<(Vec<Mark>, Option<SectorSize>)> {
    let line = line.trim();
    let text = match line.split_once(' ') {
        Some((crc, rest)) if crc.len() == 8 && crc.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        _ => line,
    };
    if !text.starts_with('{') {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let event = event(&value);
    let record = value.get("record").unwrap_or(&value);
    let name = record.get("name").and_then(Value::as_str).map(str::to_owned);
    let took =
        record.get("seconds").and_then(Value::as_object).into_iter().flatten().filter_map(|(name_of, seconds)| {
            let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name_of)?;
            took(stage, seconds.as_f64()?, None, name.clone())
        });
    let found: Vec<Mark> = event.into_iter().chain(took).collect();
    Some((found, size(&value).or_else(|| size(record))))
}

/// `{"seq":7,"at_ms":…,"event":{"Pc1Done":{"output":…,"seconds":3.2}}}`
fn event(value: &Value) -> Option<Mark> {
    let (name, inner) = value.get("event")?.as_object()?.iter().next()?;
    let stage = match name.as_str() {
        "PiecesAdded" => Stage::AddPieces,
        "TreeDBuilt" => Stage::TreeD,
        "Pc1Done" => Stage::Pc1,
        "Pc2Done" => Stage::Pc2,
        "C1Done" => Stage::C1,
        "C2Done" => Stage::C2,
        _ => return None,
    };
    took(stage, inner.get("seconds")?.as_f64()?, value.get("at_ms").and_then(Value::as_u64), None)
}

fn took(stage: Stage, seconds: f64, ended_ms: Option<u64>, sector: Option<String>) -> Option<Mark> {
    // A linked tree-d took no time, and what took none or forever is no measurement.
    let sound = seconds > 0.0 && seconds < 1e9;
    sound.then_some(Mark { stage, what: What::Took { seconds, ended_ms }, who: None, sector })
}

fn size(value: &Value) -> Option<SectorSize> {
    let allocated = value.get("event").and_then(|event| event.get("Allocated"));
    let sector = allocated.unwrap_or(value).get("sector").unwrap_or(value);
    let proof = sector.get("proof_type").or_else(|| sector.get("ProofType"))?;
    let proof: SealProof = serde_json::from_value(proof.clone()).ok()?;
    Some(proof.sector_size())
}

fn between(line: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = line.split_once(before)?;
    let (inside, _) = rest.split_once(after)?;
    Some(inside.to_owned())
}

fn word_after<'l>(line: &'l str, before: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(before)?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &str) -> String {
        let (found, size) = marks(line);
        let marks = found.iter().map(|mark| {
            let who = mark.who.as_ref().or(mark.sector.as_ref()).map_or("", String::as_str);
            format!("{} {:?} {who}", mark.stage, mark.what)
        });
        let all: Vec<String> = marks.chain(size.map(|size| size.to_string())).collect();
        all.join("; ")
    }

    #[test]
    fn the_markers_of_benchy_and_of_the_library_are_known() {
        let benchy = "thread_id: ThreadId(1) 2020-07-19 02:35:20 INFO ";
        for (line, expected) in [
            ("[filecoin_proofs::api::seal_pledge] seal_pre_commit_phase2_all_zero: start", "pc2 Begin 1"),
            ("[benchy::force] p34 disabled", "pc2 End 1"),
            ("[benchy::force] p2 enabled", "pc1 End 1"),
            ("[filecoin_proofs::api::seal] seal_commit_phase1:start", "pc2 End 1; c1 Begin 1"),
            ("[filecoin_proofs::api::seal] got groth params (34359738368) while sealing", "c2 BeginAgain 1; 32GiB"),
            ("[filecoin_proofs::api::seal] seal_commit_phase2:finish", "c2 End 1"),
            ("[benchy::force] using cache dir \".tmp\"", ""),
        ] {
            assert_eq!(shown(&format!("{benchy}{line}")), expected, "{line}");
        }
        let new = "2026-01-02T03:04:05.6 INFO filecoin_proofs::api::seal > seal_pre_commit_phase1:finish: SectorId(7)";
        assert_eq!(shown(new), "pc1 End 7");
    }

    #[test]
    fn requests_of_damocles_processors_are_known() {
        let line = r#"2022-07-24T14:29:16.206698598+08:00 DEBUG ThreadId(04) sub{name="PC1" pid=77}:request{id=2 size=682}: vc_processors::core::ext::consumer: request received"#;
        assert_eq!(shown(line), "pc1 Begin 77 2");
        assert_eq!(shown(&line.replace("request received", "request done")), "pc1 End 77 2");
        assert_eq!(shown(&line.replace("PC1", "WindowPoSt")), "");
    }

    #[test]
    fn our_daemons_log_answers_and_journal_are_known() {
        let log = "2026-11-28T08:42:38.123456Z  INFO ";
        assert_eq!(shown(&format!("{log}started sector=\"s-t01000-0\" stage=pc1")), "pc1 Begin s-t01000-0");
        assert_eq!(shown(&format!("{log}reached sector=\"s-t01000-0\" state=PC1Done")), "pc1 End s-t01000-0");
        assert_eq!(shown(&format!("{log}reached sector=\"s-t01000-0\" state=PCLanded")), "");
        let answer = r#"{"name":"s-t01000-0","proof_type":"StackedDrg2KiBV1_1","seconds":{"c2":50.5,"transfer":0.1}}"#;
        assert_eq!(shown(answer), "c2 Took { seconds: 50.5, ended_ms: None } s-t01000-0; 2KiB");
        let journal = r#"0a1b2c3d {"seq":7,"at_ms":5000,"event":{"Pc1Done":{"output":{},"seconds":3.25}}}"#;
        assert_eq!(shown(journal), "pc1 Took { seconds: 3.25, ended_ms: Some(5000) } ");
        assert_eq!(shown(r#"0a1b2c3d {"seq":7,"at_ms":5000,"event":{"TreeDBuilt":{"seconds":0.0}}}"#), "");
        assert_eq!(shown(r#"0a1b2c3d {"seq":7,"at_ms":5000,"event":"Dropped"}"#), "");
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in "\\PC*", at in 0usize..17) {
            marks(&line);
            marks(&format!("{line}{}{line}", LIBRARY[at].0));
        }
    }
}
