//! Typed reads from the tree, each of which reports what it cannot read and lets the rest go on.
//!
//! A `Section` is one table. Whatever is never asked for is an unknown key, so the list of known keys is
//! the code that reads them. A value of the wrong type is a problem and reads as absent, so that one
//! mistake is told once.

use super::{
    diagnosis::{Log, Place},
    suggest::nearest,
    tree::{Kind, Value},
};
use crate::units::ParseError;

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
    /// What stands there may be a secret: what it is, without repeating it.
    Secret { what: String, accepted: String },
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
        Err(Refusal::Secret { what, accepted }) => {
            log.problem(&place, format!("found {what}"), accepted);
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

    /// Somebody else reads these keys: they are not unknown.
    pub fn known(&mut self, keys: &[&'static str]) {
        self.asked.extend_from_slice(keys);
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
