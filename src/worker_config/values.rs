//! What each kind of value accepts: names, paths, numbers, sizes, durations, cpu lists, addresses.
//!
//! `ACCEPTED` is the operator's side of each: it stands in the message whenever something else was written.

use super::{
    read::{Read, Refusal},
    tree::{Kind, Value, quoted},
};
use crate::units::{Bytes, CpuList, HumanDuration, ParseError, Prover, SealProof, SectorSize, Suite};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A whole number of 1 or more.
pub(super) struct Positive(pub u32);
/// A text of at least one visible letter, on one line.
pub(super) struct Name(pub String);
/// A text that messages never repeat: a token, the value of a header, an address with a password.
pub(super) struct Secret(pub String);
/// A duration of more than nothing.
pub(super) struct Interval(pub HumanDuration);
/// A proof type by name, number, or sector size.
pub(super) struct ProofType(pub SealProof);

impl Read for String {
    const ACCEPTED: &'static str = "a string in quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            Kind::String(text) if text.contains('\0') => Err(Refusal::value("holds a zero byte", "remove it")),
            Kind::String(text) => Ok(text.clone()),
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for Secret {
    const ACCEPTED: &'static str = String::ACCEPTED;
    fn read(value: &Value) -> Result<Self, Refusal> {
        let refuse = |what: String, accepted: &str| Refusal::Secret { what, accepted: accepted.to_owned() };
        match String::read(value) {
            Ok(text) => Ok(Self(text)),
            Err(Refusal::Type) => Err(refuse(value.type_name().to_owned(), &format!("accepted: {}", Self::ACCEPTED))),
            Err(_) => Err(refuse("a string that holds a zero byte".to_owned(), "remove it")),
        }
    }
}

impl Read for Name {
    const ACCEPTED: &'static str = "a name in quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let text = String::read(value)?;
        if text.trim().is_empty() {
            return Err(Refusal::value("is empty", "accepted: a name of at least one letter"));
        }
        if text.chars().any(char::is_control) {
            return Err(Refusal::value("holds a control character", "accepted: a name on one line"));
        }
        refuse_placeholder(&text)?;
        Ok(Self(text))
    }
}

/// Documents write `{path to store}` where the reader's own value belongs.
pub(super) fn refuse_placeholder(text: &str) -> Result<(), Refusal> {
    let placeholder = text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    match placeholder {
        Some((inside, _)) => Err(Refusal::value(
            "is a placeholder of a document",
            format!("write your own value instead of {}", quoted(&format!("{{{inside}}}"))),
        )),
        None => Ok(()),
    }
}

impl Read for PathBuf {
    const ACCEPTED: &'static str = "a path in quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let text = String::read(value)?;
        if text.trim().is_empty() {
            return Err(Refusal::value("is empty", "accepted: a path"));
        }
        refuse_placeholder(&text)?;
        if text == "~" || text.starts_with("~/") {
            return Err(Refusal::value("starts with ~, which only a shell expands", "write the whole path"));
        }
        Ok(text.into())
    }
}

impl Read for bool {
    const ACCEPTED: &'static str = "true or false, without quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match value.kind {
            Kind::Boolean(truth) => Ok(truth),
            _ => Err(Refusal::Type),
        }
    }
}

/// A whole number in a type's range; a quoted or negative one is told apart from nonsense.
fn whole<T: TryFrom<i128>>(value: &Value, accepted: &str) -> Result<T, Refusal> {
    let accepted = format!("accepted: {accepted}");
    match &value.kind {
        Kind::Integer(Some(number), _) if *number < 0 => Err(Refusal::value("is negative", accepted)),
        Kind::Integer(Some(number), _) => T::try_from(*number).map_err(|_| Refusal::value("is too large", accepted)),
        Kind::Integer(None, _) => Err(Refusal::value("is too large", accepted)),
        Kind::String(text) if text.parse::<u128>().is_ok() => {
            Err(Refusal::value("is a number in quotes", "write it without the quotes"))
        }
        _ => Err(Refusal::Type),
    }
}

impl Read for u16 {
    const ACCEPTED: &'static str = "a port from 0 to 65535, without quotes (0: the system chooses)";
    fn read(value: &Value) -> Result<Self, Refusal> {
        whole(value, Self::ACCEPTED)
    }
}

impl Read for u32 {
    const ACCEPTED: &'static str = "a whole number, 0 or more, without quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        whole(value, Self::ACCEPTED)
    }
}

impl Read for Positive {
    const ACCEPTED: &'static str = "a whole number, 1 or more, without quotes";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match whole(value, Self::ACCEPTED)? {
            0 => Err(Refusal::value("lets nothing run", format!("accepted: {}", Self::ACCEPTED))),
            number => Ok(Self(number)),
        }
    }
}

/// A miner's id.
impl Read for u64 {
    const ACCEPTED: &'static str = "the number of a miner, such as 1000 for f01000";
    fn read(value: &Value) -> Result<Self, Refusal> {
        if let Kind::String(text) = &value.kind
            && let Some(number) = text.strip_prefix("f0").or_else(|| text.strip_prefix("t0"))
            && number.parse::<Self>().is_ok()
        {
            return Err(Refusal::value("is an address", format!("write the number alone: {}", shorten(number))));
        }
        whole(value, Self::ACCEPTED)
    }
}

fn shorten(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

impl Read for Bytes {
    const ACCEPTED: &'static str = "a size in quotes, such as \"8GiB\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            Kind::String(text) => Ok(text.parse()?),
            Kind::Integer(..) => whole(value, Self::ACCEPTED).map(Self),
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for SectorSize {
    const ACCEPTED: &'static str = "a sector size in quotes: \"2KiB\", \"8MiB\", \"512MiB\", \"32GiB\" or \"64GiB\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            Kind::String(text) => Ok(text.parse()?),
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for Prover {
    const ACCEPTED: &'static str = "a prover in quotes: \"own\", \"stock-damocles\" or \"stock\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            Kind::String(text) => Ok(text.parse()?),
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for Suite {
    const ACCEPTED: &'static str = "a suite in quotes: \"stock\" or \"supra\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        match &value.kind {
            Kind::String(text) => Ok(text.parse()?),
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for HumanDuration {
    const ACCEPTED: &'static str =
        "a duration in quotes with its unit, such as \"500ms\", \"30s\", \"5min\" or \"1h 30m\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let no_unit = || Refusal::value("has no unit", format!("accepted: {}", Self::ACCEPTED));
        match &value.kind {
            Kind::Integer(..) => Err(no_unit()),
            Kind::Other(_, text) if text.parse::<f64>().is_ok() => Err(no_unit()),
            // humantime takes a bare 0, which the field's other reader refuses.
            Kind::String(text) if text.trim().parse::<f64>().is_ok() => Err(no_unit()),
            Kind::String(text) => {
                text.parse().map_err(|_| Refusal::value("is not a duration", format!("accepted: {}", Self::ACCEPTED)))
            }
            _ => Err(Refusal::Type),
        }
    }
}

impl Read for Interval {
    const ACCEPTED: &'static str = HumanDuration::ACCEPTED;
    fn read(value: &Value) -> Result<Self, Refusal> {
        match HumanDuration::read(value)? {
            HumanDuration(Duration::ZERO) => {
                Err(Refusal::value("would never rest", format!("accepted: more than nothing: {}", Self::ACCEPTED)))
            }
            interval => Ok(Self(interval)),
        }
    }
}

impl Read for CpuList {
    const ACCEPTED: &'static str = "a cpu list in quotes, such as \"0-3,8\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let Kind::String(text) = &value.kind else { return Err(Refusal::Type) };
        let cpus: Self = text
            .parse()
            .map_err(|error: ParseError| Refusal::value(format!("is not {}", error.what), error.accepted))?;
        if cpus.is_empty() {
            let accepted = format!("accepted: {}; without the key all cpus are allowed", Self::ACCEPTED);
            return Err(Refusal::value("names no cpu", accepted));
        }
        Ok(cpus)
    }
}

impl Read for SocketAddr {
    const ACCEPTED: &'static str = "an IP address and a port in quotes, such as \"0.0.0.0:9000\" or \"[::]:9000\"";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let Kind::String(text) = &value.kind else { return Err(Refusal::Type) };
        text.parse()
            .map_err(|_| Refusal::value("is not an address to listen on", format!("accepted: {}", Self::ACCEPTED)))
    }
}

impl Read for ProofType {
    const ACCEPTED: &'static str =
        "a proof type: its name (\"StackedDrg2KiBV1_1\"), its number (0 to 19), or a sector size (\"2KiB\")";
    fn read(value: &Value) -> Result<Self, Refusal> {
        let proof = match &value.kind {
            Kind::String(text) => match text.parse::<SectorSize>() {
                Ok(size) => Some(SealProof::v1_1(size)),
                Err(_) => text.parse().ok(),
            },
            Kind::Integer(number, _) => {
                number.and_then(|number| i64::try_from(number).ok()).and_then(SealProof::from_number)
            }
            _ => return Err(Refusal::Type),
        };
        proof.map(Self).ok_or_else(|| Refusal::value("is not registered", format!("accepted: {}", Self::ACCEPTED)))
    }
}
