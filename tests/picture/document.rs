//! An SVG document read strictly: what is not well-formed XML, or is no box with text, fails the test.

use std::collections::BTreeMap;

/// The boxes of a picture.
#[derive(Debug)]
pub struct Document {
    pub page: Area,
    pub shapes: Vec<Shape>,
}

/// A box: its rectangle, what is written in it, and which box it is inside.
#[derive(Debug)]
pub struct Shape {
    pub class: String,
    pub area: Area,
    pub texts: Vec<String>,
    places: Vec<(i64, i64, bool)>,
    around: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub height: i64,
}

impl Area {
    fn holds(&self, other: &Self) -> bool {
        other.x > self.x
            && other.y > self.y
            && other.x + other.width < self.x + self.width
            && other.y + other.height < self.y + self.height
    }

    fn touches(&self, other: &Self) -> bool {
        self.x <= other.x + other.width
            && other.x <= self.x + self.width
            && self.y <= other.y + other.height
            && other.y <= self.y + self.height
    }
}

impl Shape {
    pub fn holds(&self, other: &Self) -> bool {
        self.area.holds(&other.area)
    }
}

impl Document {
    /// What is written in the boxes of a class.
    pub fn texts<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a str> {
        self.shapes.iter().filter(move |shape| shape.class == class).flat_map(|shape| &shape.texts).map(String::as_str)
    }

    /// Every box is strictly inside the one around it and touches none beside it.
    pub fn assert_nested_and_apart(&self) {
        let mut beside: BTreeMap<Option<usize>, Vec<&Shape>> = BTreeMap::new();
        for shape in &self.shapes {
            let outer = shape.around.map_or(&self.page, |around| &self.shapes[around].area);
            assert!(outer.holds(&shape.area), "{shape:?} leaves {outer:?}");
            beside.entry(shape.around).or_default().push(shape);
        }
        for shapes in beside.values() {
            for (i, one) in shapes.iter().enumerate() {
                for other in &shapes[i + 1..] {
                    assert!(!one.area.touches(&other.area), "{one:?} touches {other:?}");
                }
            }
        }
    }

    /// Every text is inside its box and above the boxes in it, reckoned with 7.3 pixels for a character.
    pub fn assert_texts_fit(&self) {
        for (index, shape) in self.shapes.iter().enumerate() {
            let inner = self.shapes.iter().filter(|inner| inner.around == Some(index)).map(|inner| inner.area.y);
            let floor = inner.min().unwrap_or(shape.area.y + shape.area.height);
            for (text, (x, foot, is_middle)) in shape.texts.iter().zip(&shape.places) {
                let width =
                    (text.chars().map(|c| if c.is_ascii() || c == '·' || c == '…' { 73 } else { 146 }).sum::<i64>()
                        + 9)
                        / 10;
                let left = if *is_middle { x - width / 2 } else { *x };
                let area = shape.area;
                assert!(left > area.x && left + width < area.x + area.width, "{text:?} is wider than {shape:?}");
                assert!(foot - 9 > area.y && foot + 2 < floor, "{text:?} is higher than {shape:?}, floor {floor}");
            }
        }
    }
}

/// Reads a picture.
pub fn read(svg: &str) -> Document {
    let body = svg.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("an XML declaration");
    assert!(svg.chars().all(is_xml_character), "a character that XML has no way to write");
    let mut reader = Reader { rest: body, open: Vec::new(), groups: Vec::new(), page: None, shapes: Vec::new() };
    while reader.step() {}
    assert!(reader.open.is_empty(), "never closed: {:?}", reader.open);
    assert_eq!(reader.rest.trim(), "", "something follows the document");
    Document { page: reader.page.expect("an svg element"), shapes: reader.shapes }
}

fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

struct Reader<'a> {
    rest: &'a str,
    open: Vec<&'a str>,
    /// The box of each open group.
    groups: Vec<Option<usize>>,
    page: Option<Area>,
    shapes: Vec<Shape>,
}

impl<'a> Reader<'a> {
    /// Reads a tag; false at the end of the document.
    fn step(&mut self) -> bool {
        let Some((text, after)) = self.rest.split_once('<') else { return false };
        assert!(text.trim().is_empty(), "text between elements: {text:?}");
        let (tag, after) = after.split_once('>').expect("a tag has an end");
        self.rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(self.open.pop(), Some(name));
            if name == "g" {
                self.groups.pop();
            }
        } else if let Some(tag) = tag.strip_suffix('/') {
            self.element(tag);
        } else {
            let (name, attributes) = self.element(tag);
            self.open.push(name);
            match name {
                "g" => self.groups.push(None),
                "text" => self.text(&attributes),
                "title" | "style" => {
                    self.content();
                }
                _ => {}
            }
        }
        !self.open.is_empty() || !self.rest.trim().is_empty()
    }

    fn content(&mut self) -> String {
        let (text, _) = self.rest.split_once('<').expect("an element has an end");
        self.rest = &self.rest[text.len()..];
        unescape(text)
    }

    fn text(&mut self, attributes: &BTreeMap<&str, String>) {
        let text = self.content();
        let group = self.groups.last().copied().flatten().expect("text is in a box");
        let shape = &mut self.shapes[group];
        shape.texts.push(text);
        let is_middle = attributes.get("class").is_some_and(|class| class == "middle");
        shape.places.push((number(attributes, "x"), number(attributes, "y"), is_middle));
    }

    fn element(&mut self, tag: &'a str) -> (&'a str, BTreeMap<&'a str, String>) {
        let (name, attributes) = split_tag(tag);
        let area = |x, y| Area { x, y, width: number(&attributes, "width"), height: number(&attributes, "height") };
        match name {
            "svg" => self.page = Some(area(0, 0)),
            "rect" if !self.groups.is_empty() => {
                let around = self.groups.iter().rev().flatten().next().copied();
                let group = self.groups.last_mut().expect("just seen");
                assert!(group.is_none(), "two boxes in one group");
                *group = Some(self.shapes.len());
                self.shapes.push(Shape {
                    class: attributes["class"].clone(),
                    area: area(number(&attributes, "x"), number(&attributes, "y")),
                    texts: Vec::new(),
                    places: Vec::new(),
                    around,
                });
            }
            _ => {}
        }
        (name, attributes)
    }
}

fn split_tag(tag: &str) -> (&str, BTreeMap<&str, String>) {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "not a name: {name:?}");
    let mut attributes = BTreeMap::new();
    while !rest.trim().is_empty() {
        let (key, value) = rest.trim_start().split_once("=\"").expect("an attribute has a value");
        let (value, after) = value.split_once('"').expect("a value has an end");
        assert!(attributes.insert(key, unescape(value)).is_none(), "{key} twice");
        rest = after;
    }
    (name, attributes)
}

fn number(attributes: &BTreeMap<&str, String>, name: &str) -> i64 {
    attributes.get(name).unwrap_or_else(|| panic!("no {name} in {attributes:?}")).parse().expect("a whole number")
}

fn unescape(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';').expect("an entity has an end");
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            other => panic!("an entity that XML does not know: {other}"),
        });
        plain.push_str(after);
    }
    plain
}

#[test]
fn what_is_not_a_document_is_refused() {
    for text in ["", "<svg>", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg width=\"1\" height=\"1\"><g></svg></g>"]
    {
        assert!(std::panic::catch_unwind(|| read(text)).is_err(), "{text}");
    }
}
