//! A page read strictly, as XML is: every element closed where it was opened, every attribute quoted, no stray mark.

/// Its elements in order: name, attributes, depth; and its text without them.
pub struct Page {
    pub elements: Vec<(String, Vec<(String, String)>)>,
    pub text: String,
}

impl Page {
    /// How many elements have this class among theirs.
    pub fn count(&self, class: &str) -> usize {
        let has = |value: &str| value.split(' ').any(|one| one == class);
        let is_it = |attributes: &Vec<(String, String)>| attributes.iter().any(|(k, v)| k == "class" && has(v));
        self.elements.iter().filter(|(_, attributes)| is_it(attributes)).count()
    }

    /// The values of an attribute, wherever it stands.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.elements.iter().flat_map(|(_, attributes)| attributes);
        all.filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub fn read(html: &str) -> Page {
    let mut rest = html.strip_prefix("<!doctype html>\n").expect("a document type");
    let is_allowed = |c: char| !c.is_control() || c == '\n';
    assert!(html.chars().all(is_allowed), "a control character");
    let mut page = Page { elements: Vec::new(), text: String::new() };
    let mut open: Vec<String> = Vec::new();
    while let Some((before, after)) = rest.split_once('<') {
        page.text.push_str(&unescape(before));
        let (tag, after) = after.split_once('>').expect("a tag has an end");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of turn after {:?}", page.elements.last());
            continue;
        }
        let (tag, is_closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = split(tag);
        if name == "style" {
            let (_, after) = rest.split_once("</style>").expect("a style has an end");
            rest = after;
        } else if !is_closed {
            open.push(name.clone());
        }
        page.elements.push((name, attributes));
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    assert_eq!(rest.trim(), "");
    page
}

fn split(tag: &str) -> (String, Vec<(String, String)>) {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "not a name: {name:?}");
    let mut attributes: Vec<(String, String)> = Vec::new();
    while !rest.trim().is_empty() {
        let (key, value) = rest.trim_start().split_once("=\"").unwrap_or_else(|| panic!("no value in {rest:?}"));
        let (value, after) = value.split_once('"').expect("a value has an end");
        assert!(attributes.iter().all(|(known, _)| known != key), "{key} twice in {tag}");
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{key:?} in {tag}");
        attributes.push((key.to_owned(), unescape(value)));
        rest = after;
    }
    (name.to_owned(), attributes)
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
            "#39" => '\'',
            other => panic!("an unknown entity: {other}"),
        });
        plain.push_str(after);
    }
    plain
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let page = |body: &str| format!("<!doctype html>\n<html>{body}</html>\n");
    assert_eq!(read(&page("<b class=\"x y\">a&lt;</b><br/>")).count("y"), 1);
    for body in ["<b>", "</b>", "<b><i></b></i>", "<b class=x></b>", "&nbsp", "<b a=\"1\" a=\"2\"></b>", "\u{1}"] {
        assert!(std::panic::catch_unwind(|| read(&page(body))).is_err(), "{body}");
    }
}
