//! What hwloc must not be given: a look at an XML export and at a synthetic description before hwloc sees them.
//!
//! hwloc takes whatever is asked for. A description of a few bytes asks for millions of CPUs and gets minutes and
//! gigabytes; an export that was cut short gets "invalid argument". Here the question is answered by reading alone,
//! in time linear in the text. Pure. Counts may come out too high on odd input, never too low.

/// The most CPUs of a machine: hwloc's time grows with their square, and 8,192 take it most of a second.
pub const CPUS_MAX: u64 = 8_192;

/// The most objects of an export: caches, cores and devices of `CPUS_MAX` CPUs, twice over.
const OBJECTS_MAX: usize = 131_072;

/// The highest number of a CPU or node. hwloc makes room for every number below: a missing one, which it takes for the
/// highest of all, costs a gigabyte and seconds.
const NUMBER_MAX: u32 = 65_535;

/// The longest synthetic description.
const SYNTHETIC_BYTES_MAX: usize = 65_536;

/// The highest major version of hwloc's XML that the hwloc in use reads.
const XML_MAJOR_MAX: u32 = 2;

/// Why a description is not given to hwloc.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the file is empty")]
    Empty,
    #[error("it is not an hwloc XML export: there is no <topology> in it")]
    NotXml,
    #[error("the file ends before </topology>: it was cut short; export or copy it again")]
    CutShort,
    #[error("it defines XML entities, which hwloc never writes")]
    Entities,
    #[error("the tag of an object in it is not well-formed XML: it was damaged or changed by hand; export it again")]
    Tag,
    #[error("it declares another encoding than UTF-8, which hwloc never writes")]
    Encoding,
    #[error(
        "a CPU or NUMA node in it has no number (os_index) up to {NUMBER_MAX}: it was damaged or changed by hand; export it again"
    )]
    Number,
    #[error(
        "it gives a CPU or NUMA node a number (indexes=) beyond {NUMBER_MAX}, which cpu lists do not take; lower it"
    )]
    Index,
    #[error("it declares XML namespaces, which hwloc never writes")]
    Namespaces,
    #[error("an object in it has a {0} and no complete_{0}: it was damaged or changed by hand; export it again")]
    Halved(&'static str),
    #[error("hwloc XML of version {0}")]
    Version(String),
    #[error("it describes more than {OBJECTS_MAX} objects; the limit is there because hwloc would take minutes")]
    Objects,
    #[error("it describes {} CPUs, at most {CPUS_MAX} are read: hwloc would take minutes", .0.map_or_else(|| "more than 2^64".to_owned(), |cpus| cpus.to_string()))]
    Cpus(Option<u64>),
    #[error("it is longer than {SYNTHETIC_BYTES_MAX} bytes")]
    Long,
}

/// Judges the text of an XML export.
pub fn judge_xml(text: &str) -> Result<(), Unfit> {
    if text.trim().is_empty() {
        return Err(Unfit::Empty);
    }
    let found = tags(text)?;
    let Some(topology) = found.topology else { return Err(Unfit::NotXml) };
    if let Some(version) = attribute(topology, "version").filter(|version| !is_readable(version)) {
        return Err(Unfit::Version(version.chars().take(20).collect()));
    }
    if !found.is_closed {
        return Err(Unfit::CutShort);
    }
    // Tags would not be where they seem to be, or have other names.
    if has_other_encoding(text) {
        return Err(Unfit::Encoding);
    }
    if text.contains("xmlns") {
        return Err(Unfit::Namespaces);
    }
    let Tags { objects, cpus, halved, has_odd_tag, has_unnumbered, .. } = found;
    match halved {
        _ if cpus > CPUS_MAX => Err(Unfit::Cpus(Some(cpus))),
        _ if objects > OBJECTS_MAX => Err(Unfit::Objects),
        _ if has_odd_tag => Err(Unfit::Tag),
        _ if has_unnumbered => Err(Unfit::Number),
        Some(set) => Err(Unfit::Halved(set)),
        None => Ok(()),
    }
}

/// What the tags of an export tell.
#[derive(Default)]
struct Tags<'a> {
    /// Behind `<topology`.
    topology: Option<&'a str>,
    is_closed: bool,
    objects: usize,
    cpus: u64,
    /// A kind of set that some object has without the complete one. hwloc writes both and ends the process by a wild
    /// pointer where one is missing.
    halved: Option<&'static str>,
    /// The tag of some object is not well-formed, so what is counted here may not be what a reader finds.
    has_odd_tag: bool,
    /// Some CPU or node has no number.
    has_unnumbered: bool,
}

impl Tags<'_> {
    /// Counts an object, told by the rest of its tag.
    fn object(&mut self, tag: &str) {
        self.objects += 1;
        let (mut own, mut complete) = ([false; 2], [false; 2]);
        let (mut is_cpu, mut is_node, mut numbers) = (false, false, Vec::new());
        let is_whole = each_attribute(tag, |name, value| match name {
            // A reference such as `&#80;U` could spell PU, so it counts as one.
            "type" => {
                is_cpu |= value == "PU" || value.contains('&');
                is_node |= ["NUMANode", "Node"].contains(&value);
            }
            "os_index" => numbers.push(is_number(value)),
            "cpuset" => own[0] = true,
            "nodeset" => own[1] = true,
            "complete_cpuset" => complete[0] = true,
            "complete_nodeset" => complete[1] = true,
            _ => {}
        });
        for (i, set) in ["cpuset", "nodeset"].into_iter().enumerate() {
            if own[i] && !complete[i] {
                self.halved.get_or_insert(set);
            }
        }
        self.cpus += u64::from(is_cpu);
        self.has_unnumbered |= (is_cpu || is_node) && (numbers.is_empty() || numbers.contains(&false));
        self.has_odd_tag |= !is_whole;
    }
}

/// Looks at every `<`, once.
fn tags(text: &str) -> Result<Tags<'_>, Unfit> {
    let mut found = Tags::default();
    for (at, _) in text.match_indices('<') {
        let tag = &text[at + 1..];
        if let Some(object) = tag.strip_prefix("object") {
            found.object(to_next_tag(object));
        } else if let Some(topology) = tag.strip_prefix("topology") {
            found.topology.get_or_insert(to_next_tag(topology));
        } else if tag.starts_with("/topology") {
            found.is_closed = true;
        } else if tag.starts_with("!ENTITY") {
            return Err(Unfit::Entities);
        }
    }
    Ok(found)
}

/// Up to the next `<`, which no tag holds: so all tags together are as long as the text.
fn to_next_tag(text: &str) -> &str {
    text.split('<').next().unwrap_or(text)
}

/// The value of an attribute in the rest of a tag.
fn attribute<'a>(tag: &'a str, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    each_attribute(tag, |name, value| {
        if name == wanted {
            found.get_or_insert(value);
        }
    });
    found
}

/// Tells each attribute in the rest of a tag; whether they are all there is before the tag's end.
fn each_attribute<'a>(tag: &'a str, mut tell: impl FnMut(&'a str, &'a str)) -> bool {
    let mut rest = tag.trim_start();
    while !rest.starts_with('>') && !rest.starts_with("/>") {
        let Some((name, quoted)) = rest.split_once('=') else { return false };
        let quoted = quoted.trim_start();
        let Some(quote) = quoted.chars().next().filter(|c| ['"', '\''].contains(c)) else { return false };
        let Some((value, after)) = quoted[1..].split_once(quote) else { return false };
        let name = name.trim_end();
        if name.contains(['>', '"', '\'']) || name.contains(char::is_whitespace) {
            return false;
        }
        tell(name, value);
        rest = after.trim_start();
    }
    true
}

/// In digits alone: hwloc takes `-1` for the highest number there is.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u32>().is_ok_and(|number| number <= NUMBER_MAX)
}

/// Whether the first line says so.
fn has_other_encoding(text: &str) -> bool {
    let Some(declaration) = text.trim_start_matches('\u{feff}').trim_start().strip_prefix("<?xml") else {
        return false;
    };
    let declaration = to_next_tag(declaration);
    declaration.contains("encoding")
        && !attribute(declaration, "encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("UTF-8"))
}

fn is_readable(version: &str) -> bool {
    version.split('.').next().and_then(|major| major.trim().parse::<u32>().ok()).is_some_and(|n| n <= XML_MAJOR_MAX)
}

/// Judges a synthetic description: the product of its arities is its number of CPUs.
pub fn judge_synthetic(text: &str) -> Result<(), Unfit> {
    if text.len() > SYNTHETIC_BYTES_MAX {
        return Err(Unfit::Long);
    }
    if has_far_index(text) {
        return Err(Unfit::Index);
    }
    let mut cpus = Some(1u64);
    for arity in arities(text) {
        cpus = cpus.zip(arity).and_then(|(cpus, arity)| cpus.checked_mul(arity));
        if cpus.is_none() {
            break;
        }
    }
    match cpus {
        Some(cpus) if cpus <= CPUS_MAX => Ok(()),
        cpus => Err(Unfit::Cpus(cpus)),
    }
}

/// Whether a list of `indexes=` has a number that hwloc would make a bitmap of gigabytes for.
fn has_far_index(text: &str) -> bool {
    let lists = text.split("indexes=").skip(1);
    let lists = lists.filter_map(|rest| rest.split([')', ']', ' ', '\t', '\n']).next());
    let words = lists.flat_map(|list| list.split(|c: char| !c.is_ascii_alphanumeric()));
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .any(|word| number(word).is_none_or(|number| number > u64::from(NUMBER_MAX)))
}

/// The numbers that are arities: outside `(attributes)` and `[attached memory]`, and not part of a type's name.
/// As hwloc reads them (`strtoul` with base 0), so `0x10` is sixteen. `None` is one that does not fit.
fn arities(text: &str) -> Vec<Option<u64>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut before) = (Vec::new(), 0, b' ');
    while at < bytes.len() {
        match bytes[at] {
            b'(' => at = skip_to(bytes, at, b')'),
            b'[' => at = skip_to(bytes, at, b']'),
            digit if digit.is_ascii_digit() && !before.is_ascii_alphabetic() => {
                let end = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                found.push(number(&text[at..end]));
                // hwloc goes on right behind the number: `4pu:2` is `4` and then `pu:2`.
                at += number_length(&text[at..end]) - 1;
                before = b' ';
                at += 1;
                continue;
            }
            _ => {}
        }
        before = bytes.get(at).copied().unwrap_or(b' ');
        at += 1;
    }
    found
}

/// Where the closing byte is, or the end.
fn skip_to(bytes: &[u8], from: usize, close: u8) -> usize {
    bytes[from..].iter().position(|byte| *byte == close).map_or(bytes.len(), |found| from + found)
}

fn radix_and_digits(word: &str) -> (u32, &str) {
    let is_hex = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_hexdigit());
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).filter(is_hex) {
        Some(hex) => (16, hex),
        None if word.starts_with('0') => (8, word),
        None => (10, word),
    }
}

fn number_length(word: &str) -> usize {
    let (radix, digits) = radix_and_digits(word);
    word.len() - digits.len() + digits.chars().take_while(|c| c.is_digit(radix)).count().max(1)
}

fn number(word: &str) -> Option<u64> {
    let (radix, digits) = radix_and_digits(word);
    let digits: String = digits.chars().take_while(|c| c.is_digit(radix)).collect();
    u64::from_str_radix(&digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn export(objects: &str) -> String {
        format!("<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n{objects}</topology>\n")
    }

    #[test]
    fn an_export_within_the_limits_is_fit() {
        assert_eq!(judge_xml(&export("<object type=\"PU\" os_index=\"0\"/>")), Ok(()));
        // hwloc 1 wrote no version.
        assert_eq!(judge_xml("<topology>\n<object type=\"PU\" os_index=\"0\"/></topology>"), Ok(()));
    }

    #[test]
    fn what_is_no_whole_export_is_told_by_what_is_missing() {
        assert_eq!(judge_xml(" \n"), Err(Unfit::Empty));
        assert_eq!(judge_xml("<html></html>"), Err(Unfit::NotXml));
        assert_eq!(judge_xml("<topology version=\"2.0\"><object type=\"Mach"), Err(Unfit::CutShort));
        assert_eq!(judge_xml("<topology"), Err(Unfit::CutShort));
        assert_eq!(judge_xml("<!DOCTYPE topology [<!ENTITY a \"b\">]><topology></topology>"), Err(Unfit::Entities));
    }

    #[test]
    fn a_later_version_is_named_before_anything_else_is_judged() {
        for text in ["<topology version=\"3.0\">", "<topology a='1' version = '3.0' >", "<topology version=\"x\">"] {
            assert!(matches!(judge_xml(text), Err(Unfit::Version(_))), "{text}");
        }
        assert_eq!(judge_xml("<topology version=\"3.0\">"), Err(Unfit::Version("3.0".into())));
    }

    #[test]
    fn too_many_cpus_are_refused_however_they_are_written() {
        for pu in [
            "<object type=\"PU\" os_index=\"7\"/>",
            "<object cache_type='0'\n type = 'PU' os_index='0'/>",
            "<object os_index='65535' type=\"&#80;U\"/>",
        ] {
            assert_eq!(judge_xml(&export(&pu.repeat(8_192))), Ok(()), "{pu}");
            assert_eq!(judge_xml(&export(&pu.repeat(8_193))), Err(Unfit::Cpus(Some(8_193))), "{pu}");
        }
        // Quotes may hold a `>`, and a type that ends in "type" is another attribute.
        assert_eq!(judge_xml(&export(&"<object name=\">\" osdev_type=\"PU\"/>".repeat(9_000))), Ok(()));
        assert_eq!(judge_xml(&export(&"<object type=\"Misc\"/>".repeat(131_073))), Err(Unfit::Objects));
    }

    #[test]
    fn objects_that_no_reader_agrees_on_are_refused_in_time() {
        for object in [
            "<object ",
            "<object type=PU/>",
            "<object type=\"PU/>",
            "<object type=\"PU\" odd/>",
            "<object name=\">a<b\" type=\"PU\"/>",
            "<object = type=\"PU\"/>x='>",
            "<object a b=\"\"/>",
        ] {
            assert_eq!(judge_xml(&export(object)), Err(Unfit::Tag), "{object}");
        }
        assert_eq!(judge_xml(&export("<object\n a = '>' b=\"\" ></object>")), Ok(()));
        let began = std::time::Instant::now();
        for piece in ["<object ", "<object a=\"", "<object a='\"/>", "<object a=\"é\"/>"] {
            let _ = judge_xml(&format!("<topology version=\"2.0\">{}", piece.repeat(200_000)));
        }
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }

    /// Found by fuzzing: a CPU without number is the 4,294,967,295th to hwloc, and sets of half a gigabyte follow.
    #[test]
    fn a_cpu_or_node_without_number_is_refused() {
        for kind in ["PU", "NUMANode", "&#80;U"] {
            for number in ["", "os_index=''", "os_index='-1'", "os_index='65536'", "os_index='0' os_index='x'"] {
                let object = format!("<object type=\"{kind}\" {number}/>");
                assert_eq!(judge_xml(&export(&object)), Err(Unfit::Number), "{object}");
            }
        }
        assert_eq!(judge_xml(&export("<object type=\"Core\"/><object type=\"Misc\" os_index=\"-1\"/>")), Ok(()));
    }

    /// Found by fuzzing: UTF-7 can spell a tag without any `<`.
    #[test]
    fn another_encoding_is_refused() {
        let declared = |words: &str| judge_xml(&format!("<?xml version=\"1.0\" {words}?><topology></topology>"));
        for good in ["", "encoding=\"UTF-8\"", "encoding = 'utf-8'"] {
            assert_eq!(declared(good), Ok(()), "{good}");
        }
        for odd in ["encoding=\"UTF-7\"", "odd encoding='UTF-8'", "encoding=UTF-16"] {
            assert_eq!(declared(odd), Err(Unfit::Encoding), "{odd}");
        }
    }

    /// Found by fuzzing: hwloc 2.9 follows a null pointer, as `lstopo` shows of the same file.
    #[test]
    fn an_object_with_half_of_its_sets_is_refused() {
        let sets = "cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" complete_nodeset=\"0x1\"";
        let object = |sets: &str| export(&format!("<object type=\"PU\" os_index=\"0\" {sets}/>"));
        assert_eq!(judge_xml(&object(sets)), Ok(()));
        assert_eq!(judge_xml(&object(&sets.replace("complete_node", "com:lete_node"))), Err(Unfit::Halved("nodeset")));
        assert_eq!(judge_xml(&object("nodeset='' cpuset='' complete_nodeset=''")), Err(Unfit::Halved("cpuset")));
        let error = judge_xml(&object("cpuset='1'")).unwrap_err().to_string();
        assert!(error.contains("a cpuset and no complete_cpuset") && error.contains("export it again"), "{error}");
        let named = object(sets).replace("<topology", "<topology xmlns:h='x'");
        assert_eq!(judge_xml(&named), Err(Unfit::Namespaces));
    }

    #[test]
    fn arities_are_read_as_hwloc_reads_them() {
        let cpus = |text: &str| arities(text).into_iter().map(|arity| arity.unwrap()).product::<u64>();
        for (text, expected) in [
            ("pack:2 [numa(memory=270119186432)] l3:8(size=16777216) core:4 pu:1", 64),
            ("4 2", 8),
            ("core:4pu:2", 8),
            ("core:4(memory=1GB)2", 8),
            ("core:0x10 pu:010", 128),
            ("(memory=8) L3:3 L2cache:5 group0:7 pu:1(indexes=0,1)", 105),
            ("pack:2 [numa(indexes=1,0)] core:2 pu:1(indexes=3,1,2,0)", 4),
            ("pu:0", 0),
            ("", 1),
        ] {
            assert_eq!(cpus(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_no_cpu_list_takes_are_refused() {
        for text in [
            "pu:4(indexes=4294967290,1,2,3)",
            "[numa(memory=1GB indexes=65536)] pu:1",
            "pu:2(indexes=0,99999999999999999999999)",
            "pu:2(indexes=0x10000:1)",
        ] {
            assert_eq!(judge_synthetic(text), Err(Unfit::Index), "{text}");
        }
        assert_eq!(judge_synthetic("[numa(indexes=1,0 memory=99999999)] pu:4(indexes=2*2:2*1)"), Ok(()));
        assert_eq!(judge_synthetic("pu:2(indexes=0,65535)"), Ok(()));
    }

    #[test]
    fn a_description_of_too_many_cpus_is_refused() {
        assert_eq!(judge_synthetic("pack:2 core:4096 pu:1"), Ok(()));
        assert_eq!(judge_synthetic("pack:2 core:4096 pu:2"), Err(Unfit::Cpus(Some(16_384))));
        assert_eq!(judge_synthetic("99999999999999999999999"), Err(Unfit::Cpus(None)));
        assert_eq!(judge_synthetic("4294967296 4294967296 2"), Err(Unfit::Cpus(None)));
        assert_eq!(judge_synthetic(&"1 ".repeat(40_000)), Err(Unfit::Long));
        let error = judge_synthetic("pu:8193").unwrap_err().to_string();
        assert_eq!(error, "it describes 8193 CPUs, at most 8192 are read: hwloc would take minutes");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-zA-Z0-9:()\\[\\] =<>/\"'&;!é-]{0,200}") {
            let _ = judge_synthetic(&text);
            let _ = judge_xml(&text);
            let _ = judge_xml(&format!("<topology {text}<object {text}</topology>"));
        }

        #[test]
        fn every_product_over_the_limit_is_refused(levels in proptest::collection::vec(1u64..200, 1..8)) {
            let text = levels.iter().map(|arity| format!("group:{arity}")).collect::<Vec<_>>().join(" ");
            let product = levels.iter().product::<u64>();
            prop_assert_eq!(judge_synthetic(&text).is_ok(), product <= CPUS_MAX);
        }
    }
}
