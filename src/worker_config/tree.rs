//! The file as TOML sees it: values that know their line.

use super::{
    diagnosis::{Log, Place},
    secret,
};
use std::fmt;
use toml::de::{DeArray, DeTable, DeValue};

/// A value and the line it starts on.
#[derive(Debug)]
pub(super) struct Value {
    pub line: usize,
    pub kind: Kind,
}

/// What TOML can write.
#[derive(Debug)]
pub(super) enum Kind {
    String(String),
    /// Absent: beyond what any key takes.
    Integer(Option<i128>, String),
    Boolean(bool),
    /// Floats and dates: no key takes them, so their text is enough.
    Other(&'static str, String),
    Array(Vec<Value>),
    Table(Vec<(String, Value)>),
}

impl Value {
    /// Its type alone, for a value that may be a secret.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(..) => "an integer",
            Kind::Boolean(_) => "a boolean",
            Kind::Other(what, _) => what,
            Kind::Array(_) => "an array",
            Kind::Table(_) => "a table",
        }
    }
}

impl fmt::Display for Value {
    /// For a message: one line, its type beside it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::String(text) => write!(f, "{} (a string)", quoted(text)),
            Kind::Integer(_, text) => write!(f, "{} (an integer)", shortened(text)),
            Kind::Boolean(truth) => write!(f, "{truth} (a boolean)"),
            Kind::Other(what, text) => write!(f, "{} ({what})", shortened(text)),
            Kind::Array(items) => write!(f, "an array of {}", items.len()),
            Kind::Table(_) => write!(f, "a table"),
        }
    }
}

/// A text from the file, quoted and escaped for one line, cut when it is long, without the secrets of an address.
pub(super) fn quoted(text: &str) -> String {
    // Hidden before it is cut: a cut text may no longer show that a secret is in it.
    format!("{:?}", shortened(&secret::text(text)))
}

fn shortened(text: &str) -> String {
    const MAX: usize = 80;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Reads `text` as TOML; what is not TOML is one problem with its line and column.
pub(super) fn parse(text: &str, log: &mut Log) -> Option<Value> {
    // Editors on other systems leave a byte order mark, which TOML lets a reader skip.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match DeTable::parse(text) {
        Ok(table) => Some(Value { line: 1, kind: Kind::Table(entries(table.get_ref(), &Lines::of(text))) }),
        Err(error) => {
            report(text, &error, log);
            None
        }
    }
}

fn report(text: &str, error: &toml::de::Error, log: &mut Log) {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..start];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
    let written = text.split('\n').nth(line - 1).unwrap_or_default().trim();
    let heading = text.split('\n').take(line - 1).filter(|line| line.trim_start().starts_with('[')).last();
    let written = secret::line(written, heading.unwrap_or_default());
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let found = format!("line {line}, column {column} is not TOML: {message}: {}", quoted(&written));
    let place = Place { path: String::new(), line: Some(line) };
    log.problem(&place, found, "correct this line; nothing after it was read");
}

/// Finds the line of a byte without counting from the start each time.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect())
    }

    fn line(&self, byte: usize) -> usize {
        1 + self.0.partition_point(|newline| *newline < byte)
    }
}

fn entries(table: &DeTable, lines: &Lines) -> Vec<(String, Value)> {
    table.iter().map(|(key, item)| (key.get_ref().to_string(), value(item, lines))).collect()
}

fn items(array: &DeArray, lines: &Lines) -> Vec<Value> {
    array.iter().map(|item| value(item, lines)).collect()
}

fn value(item: &toml::Spanned<DeValue>, lines: &Lines) -> Value {
    let kind = match item.get_ref() {
        DeValue::String(text) => Kind::String(text.to_string()),
        DeValue::Integer(number) => {
            Kind::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
        }
        DeValue::Float(number) => Kind::Other("a number with a fraction", number.to_string()),
        DeValue::Boolean(truth) => Kind::Boolean(*truth),
        DeValue::Datetime(date) => Kind::Other("a date", date.to_string()),
        DeValue::Array(array) => Kind::Array(items(array, lines)),
        DeValue::Table(table) => Kind::Table(entries(table, lines)),
    };
    Value { line: lines.line(item.span().start), kind }
}
