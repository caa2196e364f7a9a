//! Boxes as SVG text: one `g` per box, so that what lies inside a box is inside its element too.

use super::block::{Block, GAP, LINE, Look};
use crate::hwinfo::plain::steers;
use std::fmt::Write;

/// White around the picture.
const MARGIN: u32 = 8;
/// From the top of a line to the foot of its letters.
const FOOT: u32 = 12;

/// The whole document.
pub fn document(picture: &Block, name: &str) -> String {
    let (width, height) = (picture.width + 2 * MARGIN, picture.height + 2 * MARGIN);
    let mut out = Out::default();
    out.line(0, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    out.line(
        0,
        &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">"
        ),
    );
    out.line(1, &format!("<title>{}</title>", escape(name)));
    out.line(1, STYLE);
    out.line(1, HATCH);
    out.line(1, &format!("<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>"));
    out.block(picture, (MARGIN, MARGIN), 1);
    out.line(0, "</svg>");
    out.0
}

/// Widths in `block` are reckoned for these: 12 pixels, a font whose characters are all 0.6 of that wide.
const STYLE: &str = "<style>
    text { font: 12px 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; fill: #1b1b1b; }
    .middle { text-anchor: middle; }
    rect { stroke: #5a5a5a; stroke-width: 1; }
    .paper { fill: #ffffff; stroke: none; }
    .machine { fill: #fbfbfb; }
    .package { fill: #e4eed8; }
    .die { fill: #d5e3c6; }
    .group { fill: #edf3e6; }
    .cache { fill: #dbe7f3; }
    .l3 { fill: #f5faff; }
    .core { fill: #c4c4c4; }
    .cpu { fill: #ffffff; }
    .forbidden { fill: url(#hatch); }
    .node { fill: #f6dcc8; }
    .memory { fill: #efd3ec; stroke-dasharray: 5 3; }
    .gpu { fill: #cfe8c0; }
    .disk { fill: #d6e2f7; }
    .nic { fill: #ececec; }
    .unplaced { fill: #f4f4f4; }
    .note { fill: #fff7d6; }
  </style>";

const HATCH: &str = "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 0H6V6H0Z\" fill=\"#f0dede\"/><path d=\"M0 6L6 0\" stroke=\"#d08080\" stroke-width=\"1\"/></pattern></defs>";

/// The text so far.
#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.0, "{:indent$}{text}", "", indent = depth * 2).expect("a String takes everything");
    }

    fn block(&mut self, block: &Block, around: (u32, u32), depth: usize) {
        let (x, y) = (around.0 + block.x, around.1 + block.y);
        let (width, height) = (block.width, block.height);
        self.line(depth, "<g>");
        if !block.title.is_empty() {
            self.line(depth + 1, &format!("<title>{}</title>", escape(&block.title)));
        }
        let class = class(block.look);
        self.line(
            depth + 1,
            &format!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{}\"/>",
                corner(block.look)
            ),
        );
        for (i, text) in block.lines.iter().enumerate() {
            let text = escape(text);
            let written = if is_tile(block.look) {
                let foot = y + height / 2 + 4;
                format!("<text class=\"middle\" x=\"{}\" y=\"{foot}\">{text}</text>", x + width / 2)
            } else {
                let foot = y + GAP / 2 + FOOT + LINE * i as u32;
                format!("<text x=\"{}\" y=\"{foot}\">{text}</text>", x + GAP)
            };
            self.line(depth + 1, &written);
        }
        for inner in &block.inner {
            self.block(inner, (x, y), depth + 1);
        }
        self.line(depth, "</g>");
    }
}

fn class(look: Look) -> &'static str {
    match look {
        Look::Machine => "machine",
        Look::Package => "package",
        Look::Die => "die",
        Look::Group => "group",
        Look::Cache => "cache",
        Look::L3 => "l3",
        Look::Core => "core",
        Look::Cpu => "cpu",
        Look::Forbidden => "forbidden",
        Look::Node => "node",
        Look::MemoryOnly => "memory",
        Look::Gpu => "gpu",
        Look::Disk => "disk",
        Look::Nic => "nic",
        Look::Unplaced => "unplaced",
        Look::Note => "note",
    }
}

fn is_tile(look: Look) -> bool {
    matches!(look, Look::Cpu | Look::Forbidden)
}

fn corner(look: Look) -> u32 {
    match look {
        Look::Cpu | Look::Forbidden | Look::Core => 2,
        _ => 4,
    }
}

/// Text as XML can hold it: names come from firmware and may hold anything, and XML has no way to write
/// most control characters at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if steers(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_text() {
        assert_eq!(
            escape("a<b> & \"c\"\u{0}\u{1b}\n\u{ffff}é"),
            "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}\u{fffd}\u{fffd}\u{fffd}é"
        );
    }
}
