//! Whether the processors of a machine are made for PC1: a yes, a no, or that nothing tells; always with the reason.
//!
//! PC1 is a chain of SHA-256 of which no part can be done beside another, so it lives from the processor's own
//! SHA-256 instructions. Without them a 32 GiB sector takes more than a day instead of three to five hours.

use super::Machine;
use serde::{Deserialize, Serialize};

/// An answer with its reason in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pc1Capable {
    pub answer: Answer,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Yes,
    No,
    Unknown,
}

const NOT_TOLD: &str = "the source does not tell the processor's instructions";

impl Machine {
    /// Whether PC1 runs here at the speed that a plan would count on.
    pub fn pc1_capable(&self) -> Pc1Capable {
        let (answer, reason) = match &self.cpu {
            None => (Answer::Unknown, NOT_TOLD.to_owned()),
            Some(cpu) if cpu.features.is_empty() => (Answer::Unknown, NOT_TOLD.to_owned()),
            Some(cpu) if cpu.has("sha_ni") => (Answer::Yes, "every CPU has the SHA instructions (sha_ni)".to_owned()),
            Some(cpu) if cpu.has("sha2") => (Answer::Yes, "every CPU has the SHA-256 instructions (sha2)".to_owned()),
            Some(cpu) if cpu.has("hypervisor") => {
                (Answer::No, format!("{}; if the host has them, let the guest see them", without(self)))
            }
            Some(_) => (Answer::No, without(self)),
        };
        Pc1Capable { answer, reason }
    }
}

fn without(machine: &Machine) -> String {
    let model = machine.cpu_model().unwrap_or("the processor");
    format!("{model} shows no SHA instructions (sha_ni, sha2) on every CPU: PC1 takes 9 to 12 times as long")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Cpu, parse};

    fn answer(features: Option<&[&str]>) -> Pc1Capable {
        let text =
            r#"{"version":1,"hostname":"a","allowed_cpus":"0","topology":{"kind":"machine","cores":[{"cpus":"0"}]}}"#;
        let mut machine = parse(text).unwrap();
        machine.cpu = features.map(|features| Cpu {
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            ..Cpu::default()
        });
        machine.pc1_capable()
    }

    #[test]
    fn sha_instructions_make_a_pc1_machine() {
        assert_eq!(answer(Some(&["avx2", "sha_ni"])).answer, Answer::Yes);
        assert_eq!(answer(Some(&["asimd", "sha2"])).answer, Answer::Yes);
    }

    #[test]
    fn without_them_it_is_none_and_the_reason_says_so() {
        let found = answer(Some(&["avx2", "avx512f"]));
        assert_eq!(found.answer, Answer::No);
        assert!(found.reason.contains("no SHA instructions") && found.reason.contains("9 to 12 times"), "{found:?}");
        assert!(answer(Some(&["avx2", "hypervisor"])).reason.ends_with("let the guest see them"));
    }

    #[test]
    fn what_is_not_told_is_not_guessed() {
        assert_eq!(answer(None).answer, Answer::Unknown);
        assert_eq!(answer(Some(&[])).answer, Answer::Unknown);
    }
}
