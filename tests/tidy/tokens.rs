//! A Rust file as facts: the paths it names, the macros and methods it calls, its functions, its `unsafe`.
//!
//! Works on tokens, not on text: comments and strings are never taken for code, and what stands inside a
//! macro call counts like everything else. Nothing is resolved by a compiler; a path is what was written,
//! with `crate`, `self` and `super` replaced by where they lead.

use crate::tree::TextFile;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Something that stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    pub what: T,
    pub line: usize,
    /// Whether it is compiled for tests only.
    pub in_test: bool,
}

/// A function with a body; `lines` from `fn` to the closing brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub lines: usize,
}

/// What a file contains.
#[derive(Debug, Default)]
pub struct Facts {
    /// Paths inside this crate, from its root: `crate::sys::Root` is `["sys", "Root"]`.
    pub inner: Vec<Found<Vec<String>>>,
    /// All other paths as written: `std::fs::read` is `["std", "fs", "read"]`.
    pub outer: Vec<Found<Vec<String>>>,
    /// Names before `!(…)`.
    pub macros: Vec<Found<String>>,
    /// Names after a dot and before `(…)`.
    pub methods: Vec<Found<String>>,
    /// Names in attributes: `#[cfg_attr(x, ignore)]` gives three.
    pub attributes: Vec<Found<String>>,
    pub functions: Vec<Found<Function>>,
    pub unsafes: Vec<Found<()>>,
}

/// Reads a file. A file that is no Rust at all is a finding of the compiler, not of this test.
pub fn facts(file: &TextFile) -> Facts {
    let tokens: TokenStream = file.text.parse().unwrap_or_else(|error| panic!("{}: not Rust: {error}", file.path));
    let mut reader = Reader { facts: Facts::default(), module: module_of(&file.path) };
    reader.read(tokens, is_test_file(&file.path));
    reader.facts
}

/// The module a file is: `src/runtime/stage/mod.rs` is `["runtime", "stage"]`. Empty for `lib.rs` and for
/// files outside `src`.
pub fn module_of(path: &str) -> Vec<String> {
    let Some(inner) = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else { return Vec::new() };
    inner.split('/').filter(|part| *part != "mod" && *part != "lib").map(str::to_owned).collect()
}

// `mod tests;` in a file of its own, by the name it has everywhere.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

struct Reader {
    facts: Facts,
    module: Vec<String>,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream, in_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        // Test code lasts from its attribute to the end of the item.
        let mut test_until = 0;
        while at < tokens.len() {
            let in_test = in_test || at < test_until;
            if let Some(attribute) = attribute(&tokens[at..]) {
                if marks_test(&attribute) {
                    test_until = test_until.max(end_of_item(&tokens, at + 2));
                }
                self.attribute(&attribute, in_test);
            }
            at += match &tokens[at] {
                TokenTree::Group(group) => {
                    self.read(group.stream(), in_test);
                    1
                }
                TokenTree::Ident(_) => self.name(&tokens, at, in_test),
                _ => 1,
            };
        }
    }

    fn attribute(&mut self, attribute: &Group, in_test: bool) {
        for (name, line) in names(attribute.stream()) {
            self.facts.attributes.push(Found { what: name, line, in_test });
        }
    }

    // Reads what begins with the name at `at`; answers how many tokens were read.
    fn name(&mut self, tokens: &[TokenTree], at: usize, in_test: bool) -> usize {
        let (name, line) = (tokens[at].to_string(), line_of(&tokens[at]));
        let next = tokens.get(at + 1);
        match name.as_str() {
            "use" if !is_punct(next, '<') => return self.import(&tokens[at + 1..], line, in_test) + 1,
            "mod" => {
                if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                    self.module.push(next.map(ToString::to_string).unwrap_or_default());
                    self.read(body.stream(), in_test);
                    self.module.pop();
                    return 3;
                }
            }
            "unsafe" => self.facts.unsafes.push(Found { what: (), line, in_test }),
            "fn" => {
                if let Some(function) = function(&tokens[at..]) {
                    self.facts.functions.push(Found { what: function, line, in_test });
                }
            }
            _ if at > 0 && is_punct(tokens.get(at - 1), '.') && is_group(next, Delimiter::Parenthesis) => {
                self.facts.methods.push(Found { what: name, line, in_test });
                return 1;
            }
            _ => {}
        }
        self.path(tokens, at, in_test)
    }

    fn path(&mut self, tokens: &[TokenTree], at: usize, in_test: bool) -> usize {
        let (mut segments, mut read) = (vec![tokens[at].to_string()], 1);
        while let Some(TokenTree::Ident(segment)) = after_colons(&tokens[at + read..]) {
            segments.push(segment.to_string());
            read += 3;
        }
        if is_punct(tokens.get(at + read), '!') && matches!(tokens.get(at + read + 1), Some(TokenTree::Group(_))) {
            let name = segments.last().cloned().unwrap_or_default();
            self.facts.macros.push(Found { what: name, line: line_of(&tokens[at]), in_test });
        }
        self.record(segments, line_of(&tokens[at]), in_test);
        read
    }

    fn import(&mut self, tokens: &[TokenTree], line: usize, in_test: bool) -> usize {
        let end = tokens.iter().position(|token| is_punct(Some(token), ';')).unwrap_or(tokens.len());
        let mut leaves = Vec::new();
        import_leaves(&tokens[..end], &[], &mut leaves);
        for segments in leaves {
            self.record(segments, line, in_test);
        }
        end
    }

    fn record(&mut self, segments: Vec<String>, line: usize, in_test: bool) {
        match from_root(&self.module, &segments) {
            Some(what) => self.facts.inner.push(Found { what, line, in_test }),
            None => self.facts.outer.push(Found { what: segments, line, in_test }),
        }
    }
}

// Where a path leads inside this crate, or `None` when it does not begin with one of the words for it.
fn from_root(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    match segments[0].as_str() {
        "crate" | "damocles_worker" => Some(segments[1..].to_vec()),
        // A lone `self` is a value.
        "self" if segments.len() > 1 => Some([module, &segments[1..]].concat()),
        "super" => {
            let ups = segments.iter().take_while(|segment| *segment == "super").count();
            Some([&module[..module.len().saturating_sub(ups)], &segments[ups..]].concat())
        }
        _ => None,
    }
}

// `a::{b, c::{self, d as e}, *}` as its leaves.
fn import_leaves(tokens: &[TokenTree], prefix: &[String], leaves: &mut Vec<Vec<String>>) {
    for item in tokens.split(|token| is_punct(Some(token), ',')).filter(|item| !item.is_empty()) {
        let mut segments = prefix.to_vec();
        let mut group = None;
        for token in item {
            match token {
                TokenTree::Ident(word) if word == "as" => break,
                TokenTree::Ident(word) if word == "self" && !segments.is_empty() => {}
                TokenTree::Ident(word) => segments.push(word.to_string()),
                TokenTree::Punct(star) if star.as_char() == '*' => segments.push("*".to_owned()),
                TokenTree::Group(inner) => group = Some(inner.stream().into_iter().collect::<Vec<_>>()),
                _ => {}
            }
        }
        match group {
            Some(inner) => import_leaves(&inner, &segments, leaves),
            None if !segments.is_empty() => leaves.push(segments),
            None => {}
        }
    }
}

// `#[…]` and `#![…]`.
fn attribute(tokens: &[TokenTree]) -> Option<Group> {
    let group = match (tokens.first(), tokens.get(1), tokens.get(2)) {
        (hash, Some(TokenTree::Group(group)), _) if is_punct(hash, '#') => group,
        (hash, bang, Some(TokenTree::Group(group))) if is_punct(hash, '#') && is_punct(bang, '!') => group,
        _ => return None,
    };
    (group.delimiter() == Delimiter::Bracket).then(|| group.clone())
}

// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(any(test, …))]`; not `#[cfg(not(test))]`.
fn marks_test(attribute: &Group) -> bool {
    let names: Vec<String> = names(attribute.stream()).into_iter().map(|(name, _)| name).collect();
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    has("test") && !has("not") && !has("cfg_attr")
}

// The index after the item that begins at or after `at`: after its braces, or after its semicolon.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let mut is_import = false;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token {
            TokenTree::Ident(word) if word == "use" => is_import = true,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_import => return index + 1,
            token if is_punct(Some(token), ';') => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

// `fn name … { … }`; a declaration without a body is none, nor is the type `fn(…)`.
fn function(tokens: &[TokenTree]) -> Option<Function> {
    let Some(TokenTree::Ident(name)) = tokens.get(1) else { return None };
    for token in &tokens[2..] {
        match token {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                let lines = body.span_close().end().line - line_of(&tokens[0]) + 1;
                return Some(Function { name: name.to_string(), lines });
            }
            token if is_punct(Some(token), ';') => return None,
            _ => {}
        }
    }
    None
}

fn names(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for token in tokens {
        match &token {
            TokenTree::Ident(name) => found.push((name.to_string(), line_of(&token))),
            TokenTree::Group(group) => found.extend(names(group.stream())),
            _ => {}
        }
    }
    found
}

fn after_colons(tokens: &[TokenTree]) -> Option<&TokenTree> {
    (is_punct(tokens.first(), ':') && is_punct(tokens.get(1), ':')).then(|| tokens.get(2)).flatten()
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_group(token: Option<&TokenTree>, wanted: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == wanted)
}

fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> Facts {
        facts(&TextFile::example(path, text))
    }

    fn inner(facts: &Facts) -> Vec<String> {
        facts.inner.iter().map(|found| found.what.join("::")).collect()
    }

    #[test]
    fn imports_are_read_to_their_leaves() {
        let facts = read("src/hwinfo/mod.rs", "use crate::{units::{self, Bytes as B}, sys::*};\nuse std::{fs, io};");
        assert_eq!(inner(&facts), ["units", "units::Bytes", "sys::*"]);
        let outer: Vec<_> = facts.outer.iter().map(|found| found.what.join("::")).collect();
        assert_eq!(outer, ["std::fs", "std::io"]);
    }

    #[test]
    fn super_and_self_lead_from_where_they_stand() {
        let text = "use super::stage::Task;\nuse self::pool::Pool;\nmod deep { use super::super::limit; }";
        assert_eq!(
            inner(&read("src/runtime/worker.rs", text)),
            ["runtime::stage::Task", "runtime::worker::pool::Pool", "runtime::limit"]
        );
    }

    #[test]
    fn paths_inside_expressions_and_macro_calls_count() {
        let text = "fn f() { g(crate::sys::now()); h!(\"{}\", crate::planner::x); }";
        assert_eq!(inner(&read("src/runtime/a.rs", text)), ["sys::now", "planner::x"]);
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let facts =
            read("src/a.rs", "//! crate::sys and println!(1)\nconst A: &str = \"crate::sys unsafe {}\"; // todo!()");
        assert!(inner(&facts).is_empty() && facts.macros.is_empty() && facts.unsafes.is_empty());
    }

    #[test]
    fn test_code_is_known_by_its_attribute_and_ends_with_its_item() {
        let text = "#[cfg(test)]\nuse std::{fs, io};\n#[cfg(test)]\nmod tests { fn a() { b::c(); } }\nfn d() { e::f(); }\n#[cfg(not(test))]\nfn g() { h::i(); }";
        let facts = read("src/a.rs", text);
        let path = |wanted: &str| facts.outer.iter().find(|found| found.what.join("::") == wanted).unwrap().in_test;
        assert!(path("std::fs") && path("std::io") && path("b::c"));
        assert!(!path("e::f") && !path("h::i"));
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let facts = read(
            "src/a.rs",
            "trait T {\n fn none();\n fn two() {\n }\n}\nfn four()\nwhere A: B,\n{\n}\nconst P: fn(u8) = f;",
        );
        let found: Vec<_> = facts.functions.iter().map(|found| (found.what.name.as_str(), found.what.lines)).collect();
        assert_eq!(found, [("two", 2), ("four", 4)]);
    }

    #[test]
    fn macros_methods_and_attributes_are_named() {
        let facts =
            read("src/a.rs", "#[cfg_attr(x, ignore)]\nfn f() { a.elapsed(); tracing::info!(\"\"); if a != (b) {} }");
        assert_eq!(facts.methods[0].what, "elapsed");
        assert_eq!(facts.macros.iter().map(|found| found.what.as_str()).collect::<Vec<_>>(), ["info"]);
        assert!(facts.attributes.iter().any(|found| found.what == "ignore"));
    }
}
