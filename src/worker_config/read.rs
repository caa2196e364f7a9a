//! Typed reads from the tree, each of which reports what it cannot read and lets the rest go on.
//!
//! A `Section` is one table. Whatever is never asked for is an unknown key, so the list of known keys is
//! the code that reads them. A value of the wrong type is a problem and reads as absent, so that one
//! mistake is told once.

use super::{
    diagnosis::{Log, Place},
    suggest::nearest,
    tree::{Kind, Value, quoted},
};
use crate::units::{Bytes, CpuList, HumanDuration, ParseError, SealProof, SectorSize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Why a value cannot be read.
pub(super) enum Refusal {
    /// Another type than the key takes.
    Type,
    /// The right type, but not a value: what it is not, and what is accepted.
    Value { is_not: String, accepted: String },
}

impl Refusal {
    pub(super) fn value(is_not: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self::Value { is_not: is_not.into(), accepted: accepted.into() }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::value(format!("is not {}", error.what), format!("accepted: {}", error.accepted))
    }
}

/// A type that a key can take.
pub(super) trait Read: Sized {
    /// What to write, for the message when something else stands there.
    const ACCEPTED: &'static str;
    fn read(value: &Value) -> Result<Self, Refusal>;
}

/// Reads one value, or reports why not.
pub(super) fn read<T: Read>(value: &Value, place: Place, log: &mut Log) -> Option<At<T>> {
    let place = place.on_line(value.line);
    match T::read(value) {
        Ok(value) => Some(At { value, place }),
        Err(Refusal::Type) => {
            log.problem(&place, format!("found {value}"), format!("accepted: {}", T::ACCEPTED));
            None
        }
        Err(Refusal::Value { is_not, accepted }) => {
            log.problem(&place, format!("found {value}, which {is_not}"), accepted);
            None
        }
    }
}

/// One table of the file while it is read.
pub(super) struct Section<'t, 'l> {
    pub place: Place,
    entries: &'t [(String, Value)],
    asked: Vec<&'static str>,
    pub log: &'l mut Log,
}

impl<'t, 'l> Section<'t, 'l> {
    /// Reads the table at `place` with `reader`, then reports the keys it did not ask for.
    pub fn read<T>(
        value: &'t Value,
        place: Place,
        log: &'l mut Log,
        accepted: &str,
        reader: impl FnOnce(&mut Section<'t, 'l>) -> T,
    ) -> Option<T> {
        let place = if place.path.is_empty() { place } else { place.on_line(value.line) };
        let Kind::Table(entries) = &value.kind else {
            log.problem(&place, format!("found {value}"), format!("accepted: {accepted}"));
            return None;
        };
        let mut section = Section { place, entries, asked: Vec::new(), log };
        let read = reader(&mut section);
        section.report_unknown();
        Some(read)
    }

    fn find(&mut self, key: &'static str) -> Option<(&'t Value, Place)> {
        self.asked.push(key);
        let (_, value) = self.entries.iter().find(|(name, _)| name == key)?;
        Some((value, self.place.key(key)))
    }

    /// Whether `key` is written here, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// A single value.
    pub fn get<T: Read>(&mut self, key: &'static str) -> Option<At<T>> {
        let (value, place) = self.find(key)?;
        read(value, place, self.log)
    }

    /// A single value that has no default.
    pub fn require<T: Read>(&mut self, key: &'static str) -> Option<At<T>> {
        if !self.has(key) {
            self.log.problem(&self.place.key(key), "missing", format!("it is required: {}", T::ACCEPTED));
        }
        self.get(key)
    }

    /// An array of values.
    pub fn list<T: Read>(&mut self, key: &'static str) -> Option<At<Vec<At<T>>>> {
        let (value, place) = self.find(key)?;
        let place = place.on_line(value.line);
        let Kind::Array(items) = &value.kind else {
            self.log.problem(&place, format!("found {value}"), format!("accepted: an array, each {}", T::ACCEPTED));
            return None;
        };
        let items = items.iter().enumerate();
        let value = items.filter_map(|(i, item)| read(item, place.index(i), self.log)).collect();
        Some(At { value, place })
    }

    /// A table whose keys the operator chooses. A key that reads wrongly keeps its name.
    pub fn map<T: Read>(&mut self, key: &'static str) -> Option<Vec<Entry<T>>> {
        let (value, place) = self.find(key)?;
        let place = place.on_line(value.line);
        let Kind::Table(entries) = &value.kind else {
            let accepted = format!("accepted: a table of names, each with {}", T::ACCEPTED);
            self.log.problem(&place, format!("found {value}"), accepted);
            return None;
        };
        let entry = |(name, value): &(String, Value)| Entry {
            name: name.clone(),
            place: place.key(name).on_line(value.line),
            value: read(value, place.key(name), self.log).map(|at| at.value),
        };
        Some(entries.iter().map(entry).collect())
    }

    /// A `[key]` table.
    pub fn table<T>(&mut self, key: &'static str, reader: impl FnOnce(&mut Section<'t, '_>) -> T) -> Option<T> {
        let (value, place) = self.find(key)?;
        let heading = format!("a [{}] table", place.path);
        Section::read(value, place, self.log, &heading, reader)
    }

    /// `[[key]]` tables.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        mut reader: impl FnMut(&mut Section<'t, '_>) -> T,
    ) -> Option<At<Vec<T>>> {
        let (value, place) = self.find(key)?;
        let place = place.on_line(value.line);
        let heading = format!("a [[{}]] table for each", place.path);
        let Kind::Array(items) = &value.kind else {
            self.log.problem(&place, format!("found {value}"), format!("accepted: {heading}"));
            return None;
        };
        let mut read = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            read.extend(Section::read(item, place.index(i), self.log, &heading, &mut reader));
        }
        Some(At { value: read, place })
    }

    /// `[key]` or `[[key]]` tables: old forms are met in both.
    pub fn table_or_tables<T>(&mut self, key: &'static str, reader: impl FnMut(&mut Section<'t, '_>) -> T) -> Vec<T> {
        match self.entries.iter().find(|(name, _)| name == key) {
            Some((_, Value { kind: Kind::Array(_), .. })) => {
                self.tables(key, reader).map_or_else(Vec::new, |at| at.value)
            }
            _ => self.table(key, reader).into_iter().collect(),
        }
    }

    fn report_unknown(&mut self) {
        for (name, value) in self.entries {
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let place = self.place.key(name).on_line(value.line);
            let hint = match nearest(name, self.asked.iter().copied()) {
                Some(known) => format!("it has no effect; did you mean {known}?"),
                None => "it has no effect".to_owned(),
            };
            self.log.warning(&place, "unknown key", hint);
        }
    }
}

/// One entry of a table whose keys the operator chooses.
pub(super) struct Entry<T> {
    pub name: String,
    pub place: Place,
    /// Absent: reported already.
    pub value: Option<T>,
}

/// A whole number of 1 or more.
pub(super) struct Positive(pub u32);
/// A text of at least one visible letter, on one line.
pub(super) struct Name(pub String);
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
