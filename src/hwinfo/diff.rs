//! What differs between two machines, place by place, in people's words.
//!
//! ```text
//! Machine A ─ as data ─┐
//!                      ├─ walk both: fields by name, list entries by what they are called ─► Comparison
//! Machine B ─ as data ─┘
//! ```
//!
//! Works on the contract's data and not on its types, so that a fact added to the contract is compared from its
//! first day. List entries meet by name (`L3 #3`, `nvme0n1`), not by place: one absent disk is one difference
//! and does not shift the others. What differs between any two machines is passed over unless asked for: names,
//! what happens to be free, and memory that differs by less than a kernel reserves for itself. Pure.

use super::plain::plain;
use crate::{
    machine::{Machine, PartKind},
    units::{Bytes, CpuList},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields that differ between any two machines: who they are, what happens to be in use, and what could not be
/// read (the fact that is missing is itself compared).
const BY_NATURE: &[&str] = &["hostname", "free_bytes", "used_bytes", "free", "unreadable"];
/// The memory of two equal machines differs with what firmware and kernel keep: less than this part of it.
const MEMORY_PART: u64 = 64;
/// Fields that name an entry and are not repeated in its description.
const NAMING: &[&str] = &["os_index", "name", "path", "page_bytes"];
/// Fields whose value says what it is.
const PLAIN: &[&str] = &["name", "model", "kind", "vendor", "filesystem", "size_bytes", "memory_bytes", "cpus"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    /// How many differences were passed over.
    pub passed_over: usize,
}

/// One place where two machines differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The place, from the outside in: `Package #0, L3 #3, size`.
    pub place: String,
    /// Both sides in people's words.
    pub a: String,
    pub b: String,
    /// Both sides as they are in machine.json; absent where the side has no such fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a_value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b_value: Option<Value>,
}

/// Compares two machines; with `all`, what differs by nature is told too.
pub fn diff(a: &Machine, b: &Machine, all: bool) -> Comparison {
    let mut walk = Walk { all, found: Comparison::default() };
    walk.fields(&[], &counts(a), &counts(b));
    walk.fields(&[], &fields(a), &fields(b));
    walk.found
}

/// What it means that the contract leaves a field out.
fn unsaid(key: &str) -> &'static str {
    match key {
        "cores" => "none",
        "forbidden" => "no",
        _ => "not known",
    }
}

/// The numbers that tell two machines apart at a glance. They follow from the rest.
fn counts(machine: &Machine) -> Map<String, Value> {
    object(json!({
        "packages": machine.parts_of(PartKind::Package).len(),
        "NUMA nodes": machine.nodes().len(),
        "L3 groups": machine.l3_groups().len(),
        "cores": machine.cores().len(),
        "CPUs": machine.cpus().len(),
        "SMT": machine.has_smt(),
    }))
}

/// A machine's facts; those of the outermost part stand beside the others. Memory that the source does not tell is
/// 0 bytes in the contract: where no node has any, it is no fact.
fn fields(machine: &Machine) -> Map<String, Value> {
    let mut fields = object(serde_json::to_value(machine).expect("the contract is data that JSON can hold"));
    let topology = fields.remove("topology").map(object).unwrap_or_default();
    fields.extend(topology);
    if machine.memory_bytes().0 == 0 {
        fields.remove("memory_bytes");
        fields.values_mut().for_each(without_memory);
    }
    fields
}

/// Takes the memory out of parts and nodes; a GPU's is another.
fn without_memory(value: &mut Value) {
    let entries = value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
    for entry in entries.filter(|entry| entry.contains_key("cpus") || entry.contains_key("kind")) {
        entry.remove("memory_bytes");
        entry.values_mut().for_each(without_memory);
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The comparison so far.
struct Walk {
    all: bool,
    found: Comparison,
}

impl Walk {
    fn fields(&mut self, place: &[String], a: &Map<String, Value>, b: &Map<String, Value>) {
        let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            self.field(place, key, a.get(key), b.get(key));
        }
    }

    fn field(&mut self, place: &[String], key: &str, a: Option<&Value>, b: Option<&Value>) {
        if a == b {
            return;
        }
        let inner = inside(place, words(key));
        match (a, b) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => self.fields(&inner, a, b),
            _ => match (named(key, a), named(key, b)) {
                (Some(a), Some(b)) => self.entries(place, key, &a, &b),
                // The contract leaves out cores where there are none.
                _ => self.leaf(&inner, key, a, b, unsaid(key)),
            },
        }
    }

    /// Entries of two lists, each met by its name.
    fn entries(&mut self, place: &[String], key: &str, a: &Named, b: &Named) {
        let find = |list: &Named, name: &str| list.iter().position(|(other, _)| other == name);
        for (name, one) in a {
            let place = inside(place, name.clone());
            match find(b, name) {
                Some(at) => self.entry(&place, one, b[at].1),
                None => self.leaf(&place, key, Some(one), None, "absent"),
            }
        }
        for (name, other) in b.iter().filter(|(name, _)| find(a, name).is_none()) {
            self.leaf(&inside(place, name.clone()), key, None, Some(other), "absent");
        }
    }

    fn entry(&mut self, place: &[String], a: &Value, b: &Value) {
        if let (Value::Object(a), Value::Object(b)) = (a, b) {
            self.fields(place, a, b);
        }
    }

    /// Two values that are compared as they are.
    fn leaf(&mut self, place: &[String], key: &str, a: Option<&Value>, b: Option<&Value>, absent: &str) {
        // A cache has no memory of its own, whether memory is told or not.
        if key == "memory_bytes"
            && [(a, b), (b, a)].iter().any(|(one, other)| one.is_none() && *other == Some(&json!(0)))
        {
            return;
        }
        if !self.all && (BY_NATURE.contains(&key) || is_same_memory(key, a, b)) {
            self.found.passed_over += 1;
            return;
        }
        let (a_text, b_text) = texts(key, a, b, absent);
        self.found.differences.push(Difference {
            place: plain(&place.join(", ")).into_owned(),
            a: a_text,
            b: b_text,
            a_value: a.cloned(),
            b_value: b.cloned(),
        });
    }
}

fn inside(place: &[String], name: String) -> Vec<String> {
    place.iter().cloned().chain([name]).collect()
}

/// The entries of a list, each with its name, which is unique.
type Named<'a> = Vec<(String, &'a Value)>;

/// The entries of a list whose entries have names.
fn named<'a>(key: &str, list: Option<&'a Value>) -> Option<Named<'a>> {
    let Some(list) = list else {
        // The contract leaves these out where there are none; any other list that is absent is not known.
        return ["parts", "nodes"].contains(&key).then(Named::new);
    };
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let entries = list.as_array()?.iter().map(|entry| {
        let name = name_of(key, entry)?;
        let times = times.entry(name.clone()).or_default();
        *times += 1;
        Some((if *times == 1 { name } else { format!("{name} ({times})") }, entry))
    });
    entries.collect()
}

/// What an entry of a list is called, where entries of this list have names.
fn name_of(key: &str, entry: &Value) -> Option<String> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str);
    let number = |field: &str| entry.get(field).and_then(Value::as_u64);
    Some(match key {
        "parts" => {
            let kind = part_name(text("kind")?);
            number("os_index").map_or_else(|| kind.clone(), |index| format!("{kind} #{index}"))
        }
        "nodes" => format!("NUMANode #{}", number("os_index")?),
        "page_pools" => format!("pages of {}", Bytes(number("page_bytes")?).human()),
        "disks" => format!("disk {}", text("name")?),
        "nics" => format!("NIC {}", text("name")?),
        // By order: the same card in another slot is the same card.
        "gpus" => "GPU".to_owned(),
        "hugetlbfs" => format!("hugetlbfs {}", text("path")?),
        "mounts" => format!("mount {}", text("path")?),
        "models" | "governors" | "cpu_kinds" => text("name")?.to_owned(),
        _ => return None,
    })
}

fn part_name(kind: &str) -> String {
    match kind {
        "l3" | "l4" | "l5" => kind.to_uppercase(),
        _ => {
            let (first, rest) = kind.split_at(usize::from(!kind.is_empty()));
            first.to_uppercase() + rest
        }
    }
}

/// A field's name as a person says it.
fn words(key: &str) -> String {
    let plain = key.trim_end_matches("_bytes").trim_end_matches("_mbits").replace('_', " ");
    let word = |word: &str| match word {
        "cpu" | "smt" | "pci" | "nic" | "gpu" => word.to_uppercase(),
        "cpus" | "nics" | "gpus" => format!("{}s", word[..word.len() - 1].to_uppercase()),
        _ => word.to_owned(),
    };
    plain.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn is_same_memory(key: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    let bytes = |value: Option<&Value>| value.and_then(Value::as_u64);
    match (bytes(a), bytes(b)) {
        (Some(a), Some(b)) if key == "memory_bytes" => a.abs_diff(b) < a.max(b) / MEMORY_PART,
        _ => false,
    }
}

/// Both sides in words that differ.
fn texts(key: &str, a: Option<&Value>, b: Option<&Value>, absent: &str) -> (String, String) {
    if let (Some(a), Some(b)) = (string_set(a), string_set(b)) {
        let more = |one: &[&str], other: &[&str]| {
            let more: Vec<_> = one.iter().filter(|word| !other.contains(word)).copied().collect();
            if more.is_empty() {
                "nothing more".to_owned()
            } else {
                plain(&format!("also {}", more.join(" "))).into_owned()
            }
        };
        return (more(&a, &b), more(&b, &a));
    }
    let text = |value: Option<&Value>| value.map_or_else(|| absent.to_owned(), |value| self::text(key, value));
    let (a_text, b_text) = (plain(&text(a)).into_owned(), plain(&text(b)).into_owned());
    match (a, b) {
        (Some(a), Some(b)) if a_text == b_text => (format!("{a_text} ({a})"), format!("{b_text} ({b})")),
        _ => (a_text, b_text),
    }
}

/// The words of a list of words.
fn string_set(value: Option<&Value>) -> Option<Vec<&str>> {
    value?.as_array()?.iter().map(Value::as_str).collect()
}

fn text(key: &str, value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_u64(), key) {
            (Some(bytes), key) if key.ends_with("_bytes") => Bytes(bytes).human(),
            (Some(speed), key) if key.ends_with("_mbits") => format!("{speed} Mbit/s"),
            _ => number.to_string(),
        },
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Null => "none".to_owned(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(cores) if key == "cores" => cores_text(cores),
        Value::Array(list) if list.iter().all(Value::is_object) => {
            list.iter().map(|entry| entry_text(key, entry)).collect::<Vec<_>>().join("; ")
        }
        Value::Array(list) => list.iter().map(|item| self::text(key, item)).collect::<Vec<_>>().join(" "),
        Value::Object(_) => entry_text(key, value),
    }
}

/// An entry in one line: its plain facts and the CPUs in it, without what already names it.
fn entry_text(key: &str, entry: &Value) -> String {
    let Some(fields) = entry.as_object() else { return entry.to_string() };
    let mut facts: Vec<_> = fields.iter().filter(|(name, value)| is_fact(key, name, value)).map(fact_text).collect();
    let cpus = cpus_inside(entry);
    if !cpus.is_empty() {
        facts.push(format!("CPUs {cpus}"));
    }
    if facts.is_empty() { name_of(key, entry).unwrap_or_else(|| "present".to_owned()) } else { facts.join(", ") }
}

fn is_fact(key: &str, name: &str, value: &Value) -> bool {
    let is_in_name = match key {
        "parts" => name == "kind" || name == "os_index",
        // Cards are told apart by their order, so their names are news.
        "gpus" => false,
        _ => NAMING.contains(&name),
    };
    !is_in_name && !BY_NATURE.contains(&name) && !value.is_array() && !value.is_object() && *value != json!(0)
}

fn fact_text((name, value): (&String, &Value)) -> String {
    let text = text(name, value);
    match name.as_str() {
        "cpus" => format!("CPUs {text}"),
        name if PLAIN.contains(&name) => text,
        name => format!("{} {text}", words(name)),
    }
}

/// `0-3`, or with siblings `0/4 1/5 2/6 3/7`.
fn cores_text(cores: &[Value]) -> String {
    let lists: Vec<_> = cores.iter().filter_map(|core| core.get("cpus").and_then(Value::as_str)).collect();
    let sets: Vec<CpuList> = lists.iter().filter_map(|list| list.parse().ok()).collect();
    if sets.iter().all(|cpus| cpus.len() == 1) {
        let all: CpuList = sets.iter().flat_map(CpuList::iter).collect();
        return format!("CPUs {all}");
    }
    let siblings = |cpus: &CpuList| cpus.iter().map(|cpu| cpu.to_string()).collect::<Vec<_>>().join("/");
    format!("CPUs {}", sets.iter().map(siblings).collect::<Vec<_>>().join(" "))
}

/// The CPUs of all cores inside a part.
fn cpus_inside(part: &Value) -> CpuList {
    let lists = |field: &str| part.get(field).and_then(Value::as_array).into_iter().flatten();
    let own = lists("cores").filter_map(|core| core.get("cpus")?.as_str()?.parse::<CpuList>().ok());
    let inner = lists("parts").map(cpus_inside);
    own.chain(inner).fold(CpuList::default(), |all, cpus| all.or(&cpus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::parse;

    const A: &str = r#"{
  "version": 1, "hostname": "a", "allowed_cpus": "0-3",
  "topology": { "kind": "machine", "memory_bytes": 6871947673, "parts": [
    { "kind": "package", "os_index": 0, "model": "EPYC 7451", "memory_bytes": 6871947673,
      "nodes": [{ "os_index": 0, "memory_bytes": 6871947673, "cpus": "0-3" }],
      "parts": [
        { "kind": "l3", "os_index": 0, "size_bytes": 16777216, "cores": [{ "cpus": "0" }, { "cpus": "1" }] },
        { "kind": "l3", "os_index": 1, "size_bytes": 16777216, "cores": [{ "cpus": "2" }, { "cpus": "3" }] }
      ] }
  ] }
}"#;

    fn machine(changes: &[(&str, &str)]) -> Machine {
        let changed = changes.iter().fold(A.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        parse(&changed).unwrap()
    }

    fn found(changes: &[(&str, &str)], all: bool) -> Vec<String> {
        let found = diff(&machine(&[]), &machine(changes), all);
        found.differences.iter().map(|found| format!("{}: {} | {}", found.place, found.a, found.b)).collect()
    }

    #[test]
    fn a_machine_is_like_itself() {
        assert_eq!(diff(&machine(&[]), &machine(&[]), true), Comparison::default());
    }

    #[test]
    fn what_differs_by_nature_is_passed_over_unless_asked_for() {
        let changes = [("\"a\"", "\"b\""), ("6871947673", "6871947000")];
        assert!(found(&changes, false).is_empty());
        assert_eq!(diff(&machine(&[]), &machine(&changes), false).passed_over, 4);
        assert_eq!(
            found(&changes, true),
            [
                "hostname: a | b",
                "memory: 6.4 GiB (6871947673) | 6.4 GiB (6871947000)",
                "Package #0, memory: 6.4 GiB (6871947673) | 6.4 GiB (6871947000)",
                "Package #0, NUMANode #0, memory: 6.4 GiB (6871947673) | 6.4 GiB (6871947000)",
            ]
        );
    }

    #[test]
    fn half_the_memory_and_another_model_are_told() {
        assert_eq!(
            found(&[("6871947673", "3435973836"), ("7451", "7542")], false),
            [
                "memory: 6.4 GiB | 3.2 GiB",
                "Package #0, memory: 6.4 GiB | 3.2 GiB",
                "Package #0, model: EPYC 7451 | EPYC 7542",
                "Package #0, NUMANode #0, memory: 6.4 GiB | 3.2 GiB",
            ]
        );
    }

    #[test]
    fn an_absent_group_is_one_place_and_shifts_no_other() {
        let second = ",\n        { \"kind\": \"l3\", \"os_index\": 1, \"size_bytes\": 16777216, \"cores\": [{ \"cpus\": \"2\" }, { \"cpus\": \"3\" }] }";
        let changes = [(second, ""), ("\"cpus\": \"0-3\"", "\"cpus\": \"0-1\""), ("\"0-3\"", "\"0-1\"")];
        assert_eq!(
            found(&changes, false),
            [
                "CPUs: 4 | 2",
                "L3 groups: 2 | 1",
                "cores: 4 | 2",
                "allowed CPUs: 0-3 | 0-1",
                "Package #0, NUMANode #0, CPUs: 0-3 | 0-1",
                "Package #0, L3 #1: 16 MiB, CPUs 2-3 | absent",
            ]
        );
    }

    #[test]
    fn siblings_and_sizes_are_told_where_they_are() {
        let changes = [
            ("[{ \"cpus\": \"0\" }, { \"cpus\": \"1\" }]", "[{ \"cpus\": \"0-1\" }]"),
            ("\"os_index\": 1, \"size_bytes\": 16777216", "\"os_index\": 1"),
        ];
        assert_eq!(
            found(&changes, false),
            [
                "SMT: no | yes",
                "cores: 4 | 3",
                "Package #0, L3 #0, cores: CPUs 0-1 | CPUs 0/1",
                "Package #0, L3 #1, size: 16 MiB | not known",
            ]
        );
    }

    /// An export without sizes has no machine without memory.
    #[test]
    fn memory_that_is_not_told_is_not_known() {
        let found = found(&[("6871947673", "0")], false);
        assert_eq!(
            found,
            [
                "memory: 6.4 GiB | not known",
                "Package #0, memory: 6.4 GiB | not known",
                "Package #0, NUMANode #0, memory: 6.4 GiB | not known",
            ]
        );
        let empty = machine(&[("6871947673", "0")]);
        assert_eq!(diff(&empty, &empty.clone(), true), Comparison::default());
    }

    /// Facts that the types of today do not know are compared by the same rules.
    #[test]
    fn facts_are_met_by_name() {
        let walk = |a: Value, b: Value| {
            let mut walk = Walk { all: false, found: Comparison::default() };
            walk.fields(&[], &object(a), &object(b));
            walk.found.differences.iter().map(|d| format!("{}: {} | {}", d.place, d.a, d.b)).collect::<Vec<_>>()
        };
        let disk =
            |name: &str, model: &str| json!({ "name": name, "model": model, "size_bytes": 1u64 << 40, "kind": "nvme" });
        assert_eq!(
            walk(
                json!({ "disks": [disk("nvme0n1", "x"), disk("nvme1n1", "y")], "cpu": { "features": ["aes", "sha_ni"] } }),
                json!({ "disks": [disk("nvme1n1", "z")], "cpu": { "features": ["aes"] }, "gpus": [] }),
            ),
            [
                "CPU, features: also sha_ni | nothing more",
                "disk nvme0n1: nvme, x, 1 TiB | absent",
                "disk nvme1n1, model: y | z",
                "GPUs: not known | none",
            ]
        );
        // Nor does one side alone become data.
        assert_eq!(
            walk(json!({ "cpu": { "features": ["aes", "sha_ni"], "models": [] } }), json!({ "cpu": { "models": [] } })),
            ["CPU, features: aes sha_ni | not known"]
        );
        let gpu = |name: &str| json!({ "name": name, "memory_bytes": 24u64 << 30 });
        assert_eq!(
            walk(json!({ "gpus": [gpu("A"), gpu("A")] }), json!({ "gpus": [gpu("A"), gpu("B"), gpu("B")] })),
            ["GPU (2), name: A | B", "GPU (3): absent | 24 GiB, B"]
        );
        assert_eq!(
            walk(
                json!({ "limits": { "nofile": { "soft": 1024 } } }),
                json!({ "limits": { "nofile": { "soft": "unlimited" } } })
            ),
            ["limits, nofile, soft: 1024 | unlimited"]
        );
    }
}
