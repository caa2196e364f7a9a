//! A strict reader of the YAML that compose.yaml is written in: blocks by spaces, lists of words, texts as JSON has them, one
//! anchor. Whatever else there is in YAML fails the test.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Reads a document; anchors are merged in.
pub fn read(text: &str) -> Value {
    assert!(!text.contains('\t'), "YAML takes no tabs");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let lines: Vec<(usize, String)> =
        lines.map(|line| (line.len() - line.trim_start().len(), line.trim().to_owned())).collect();
    let mut reader = Reader { lines, at: 0, anchors: BTreeMap::new() };
    let value = reader.block(0);
    assert_eq!(reader.at, reader.lines.len(), "not read: {:?}", reader.lines.get(reader.at));
    value
}

struct Reader {
    lines: Vec<(usize, String)>,
    at: usize,
    anchors: BTreeMap<String, Value>,
}

impl Reader {
    fn block(&mut self, indent: usize) -> Value {
        let (found, first) = self.lines.get(self.at).expect("a block has lines");
        assert_eq!(*found, indent, "{first:?}");
        if first.starts_with("- ") { self.list(indent) } else { self.map(indent) }
    }

    fn here(&self, indent: usize) -> Option<String> {
        let (found, line) = self.lines.get(self.at)?;
        assert!(*found <= indent, "{line:?} is indented too far");
        (*found == indent).then(|| line.clone())
    }

    fn list(&mut self, indent: usize) -> Value {
        let mut items = Vec::new();
        while let Some(line) = self.here(indent) {
            let rest = line.strip_prefix("- ").expect("every line of a list is an item");
            if key_of(rest).is_some() {
                self.lines[self.at] = (indent + 2, rest.to_owned());
                items.push(self.map(indent + 2));
            } else {
                self.at += 1;
                items.push(scalar(rest));
            }
        }
        items.into()
    }

    fn map(&mut self, indent: usize) -> Value {
        let mut map = Map::new();
        while let Some(line) = self.here(indent) {
            let (key, value) = key_of(&line).unwrap_or_else(|| panic!("no key: {line:?}"));
            self.at += 1;
            if key == "<<" {
                let anchor = value.strip_prefix('*').expect("an anchor is merged");
                let merged = self.anchors[anchor].as_object().expect("of a map").clone();
                map.extend(merged);
                continue;
            }
            let inner = match value.strip_prefix('&') {
                Some(anchor) => {
                    let value = self.deeper(indent);
                    self.anchors.insert(anchor.to_owned(), value.clone());
                    value
                }
                None if value.is_empty() => self.deeper(indent),
                None => scalar(value),
            };
            assert!(map.insert(key.to_owned(), inner).is_none(), "{key} twice");
        }
        map.into()
    }

    fn deeper(&mut self, indent: usize) -> Value {
        let (found, line) = self.lines.get(self.at).expect("a key without a value");
        assert!(*found > indent, "a key without a value before {line:?}");
        self.block(*found)
    }
}

/// `key: value` or `key:`.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
    let is_key = key == "<<" || key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    (is_key && !key.is_empty()).then_some((key, value.trim()))
}

fn scalar(text: &str) -> Value {
    if text.starts_with('"') {
        return serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').expect("a list has an end");
        return inner.split(", ").map(scalar).collect();
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:${}=".contains(c);
    assert!(!text.is_empty() && text.chars().all(is_plain), "not a plain word: {text:?}");
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}

#[test]
fn what_it_does_not_know_is_refused() {
    assert_eq!(
        read("a: 1\nb:\n  - x\n  - k: \"v: 1\"\n    l: [p, q]\n").to_string(),
        r#"{"a":1,"b":["x",{"k":"v: 1","l":["p","q"]}]}"#
    );
    assert_eq!(read("x: &a\n  k: 1\ny:\n  <<: *a\n  l: 2\n")["y"]["k"], 1);
    for text in ["a: 1\na: 2\n", "a:\n", "a: b c\n", "a: 1\n  b: 2\n", "a: 'x'\n", "\ta: 1\n", "a: {b: 1}\n"] {
        assert!(std::panic::catch_unwind(|| read(text)).is_err(), "{text:?}");
    }
}
