//! The templates of everything that a plan is rendered to: the built-in ones, and an operator's own in their place.
//!
//! ```text
//! templates/NAME.hbs ─ built in ─┐
//! --templates DIR/NAME.hbs ──────┴─► Templates::render(which, values) ─► text, or the file, the line and why not
//! ```
//!
//! Strict: a name that the values do not have is an error, not an empty place. What a value may not break is up to the
//! template's helper: `toml`, `yaml`, `unit` and `shell` quote a text for that kind of file, `comment` keeps it on its
//! line; in the page every value is escaped by itself.

use handlebars::{Handlebars, RenderErrorReason, handlebars_helper};
use serde::Serialize;
use std::collections::BTreeMap;

/// A file that is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    WorkerToml,
    Compose,
    WorkerUnit,
    Hugepages,
    KernelLine,
    Purchase,
    Operations,
    Readme,
    Report,
}

/// All templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    /// The operator's.
    own: BTreeMap<Template, String>,
}

/// A template that is none, or that asks for what is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {why}", .line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct TemplateFault {
    /// The template's name; whose it is, the caller knows.
    pub file: &'static str,
    pub line: Option<usize>,
    pub why: String,
}

impl Template {
    pub const ALL: [Self; 9] = [
        Self::WorkerToml,
        Self::Compose,
        Self::WorkerUnit,
        Self::Hugepages,
        Self::KernelLine,
        Self::Purchase,
        Self::Operations,
        Self::Readme,
        Self::Report,
    ];

    /// Its file in `templates/`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::WorkerToml => "worker.toml.hbs",
            Self::Compose => "compose.yaml.hbs",
            Self::WorkerUnit => "damocles-worker.service.hbs",
            Self::Hugepages => "hugepages.sh.hbs",
            Self::KernelLine => "kernel-command-line.txt.hbs",
            Self::Purchase => "purchase.md.hbs",
            Self::Operations => "operations.md.hbs",
            Self::Readme => "README.md.hbs",
            Self::Report => "report.html.hbs",
        }
    }

    const fn shipped(self) -> &'static str {
        match self {
            Self::WorkerToml => include_str!("../../templates/worker.toml.hbs"),
            Self::Compose => include_str!("../../templates/compose.yaml.hbs"),
            Self::WorkerUnit => include_str!("../../templates/damocles-worker.service.hbs"),
            Self::Hugepages => include_str!("../../templates/hugepages.sh.hbs"),
            Self::KernelLine => include_str!("../../templates/kernel-command-line.txt.hbs"),
            Self::Purchase => include_str!("../../templates/purchase.md.hbs"),
            Self::Operations => include_str!("../../templates/operations.md.hbs"),
            Self::Readme => include_str!("../../templates/README.md.hbs"),
            Self::Report => include_str!("../../templates/report.html.hbs"),
        }
    }
}

impl Templates {
    /// The built-in ones.
    pub fn shipped() -> Self {
        Self::default()
    }

    /// Takes `text` in place of the built-in one.
    ///
    /// # Errors
    /// It is no template.
    pub fn replace(&mut self, template: Template, text: String) -> Result<(), TemplateFault> {
        engine(template, &text)?;
        self.own.insert(template, text);
        Ok(())
    }

    /// Whether this one is the operator's.
    pub fn is_own(&self, template: Template) -> bool {
        self.own.contains_key(&template)
    }

    /// The text that a template makes of `values`.
    ///
    /// # Errors
    /// It names a value, a helper or a template that there is not.
    pub fn render(&self, template: Template, values: &impl Serialize) -> Result<String, TemplateFault> {
        let text = self.own.get(&template).map_or(template.shipped(), String::as_str);
        engine(template, text)?.render(template.file(), values).map_err(|error| TemplateFault {
            file: template.file(),
            line: error.line_no,
            why: match error.reason() {
                RenderErrorReason::MissingVariable(Some(name)) => format!("there is no value `{name}`"),
                RenderErrorReason::MissingVariable(None) => "it names a value that there is not".to_owned(),
                reason => reason.to_string(),
            },
        })
    }
}

fn engine(template: Template, text: &str) -> Result<Handlebars<'static>, TemplateFault> {
    handlebars_helper!(toml_string: |text: String| toml::Value::String(text).to_string());
    handlebars_helper!(yaml_string: |text: String| yaml(&text));
    handlebars_helper!(unit_word: |text: String| unit(&text));
    handlebars_helper!(shell_word: |text: String| shell(&text));
    // A comment ends with its line: whatever a machine description holds must not become a key.
    handlebars_helper!(comment: |text: String| one_line(&text));
    handlebars_helper!(cell: |text: String| one_line(&text).replace('|', "\\|"));
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    match template {
        Template::Report => engine.register_escape_fn(html),
        _ => engine.register_escape_fn(handlebars::no_escape),
    }
    engine.register_helper("toml", Box::new(toml_string));
    engine.register_helper("yaml", Box::new(yaml_string));
    engine.register_helper("unit", Box::new(unit_word));
    engine.register_helper("shell", Box::new(shell_word));
    engine.register_helper("comment", Box::new(comment));
    engine.register_helper("cell", Box::new(cell));
    engine.register_template_string(template.file(), text).map_err(|error| TemplateFault {
        file: template.file(),
        line: error.pos().map(|(line, _)| line),
        why: error.reason().to_string(),
    })?;
    Ok(engine)
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text of a compose file. What JSON writes, YAML reads as the same; compose replaces `$NAME` unless it is doubled.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}

/// One word of a unit: quoted as C does, percent signs doubled since they are specifiers, dollars since they are variables.
fn unit(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '%' => "%%".to_owned(),
            '$' => "$$".to_owned(),
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if c.is_control() => format!("\\x{:02x}", u32::from(c).min(0xff)),
            c => c.to_string(),
        })
        .collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !escaped.is_empty() && escaped.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}

/// One word of a shell command.
fn shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Text as a page can hold it: names come from firmware and may hold anything.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_built_in_template_is_well_formed() {
        for template in Template::ALL {
            assert!(engine(template, template.shipped()).is_ok(), "{}", template.file());
        }
    }

    #[test]
    fn a_broken_template_is_named_with_its_line() {
        let mut templates = Templates::shipped();
        let fault = templates.replace(Template::Compose, "a\n{{#if x}}\nb\n".to_owned()).unwrap_err();
        assert!(fault.to_string().starts_with("compose.yaml.hbs, line "), "{fault}");
        assert!(!templates.is_own(Template::Compose), "it is not taken");
        templates.replace(Template::Compose, "a\n\n{{nothing}}\n".to_owned()).unwrap();
        let fault = templates.render(Template::Compose, &json!({})).unwrap_err();
        assert_eq!(fault.to_string(), "compose.yaml.hbs, line 3: there is no value `nothing`");
    }

    #[test]
    fn an_operators_template_goes_before_the_built_in_one() {
        let mut templates = Templates::shipped();
        templates.replace(Template::KernelLine, "mine: {{x}}".to_owned()).unwrap();
        assert_eq!(templates.render(Template::KernelLine, &json!({ "x": "a" })).unwrap(), "mine: a");
    }

    #[test]
    fn words_cannot_break_out() {
        assert_eq!(yaml("a \"b\" $HOME\n"), "\"a \\\"b\\\" $$HOME\\n\"");
        assert_eq!([unit("/mnt/a"), unit("a b%$\"\\\n")], ["/mnt/a".to_owned(), "\"a b%%$$\\\"\\\\\\x0a\"".to_owned()]);
        assert_eq!([shell("/mnt/a"), shell("it's; x"), shell("")], ["/mnt/a", "'it'\\''s; x'", "''"]);
        assert_eq!(html("<a b='c\u{1}'>&\""), "&lt;a b=&#39;c\u{fffd}&#39;&gt;&amp;&quot;");
        assert_eq!(one_line("a\nb\u{7}"), "a b ");
    }
}
