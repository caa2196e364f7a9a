//! machine.json: what is read breaks no invariant, reads back as the same machine, and everything that shows, compares
//! or judges a machine takes it.
#![no_main]

use damocles_worker::{
    hwinfo::{self, Paint, cpuset},
    machine::{self, Fleet, Machine, pc1_units::Prover},
    units::CpuList,
};

/// The other machine of a comparison.
const OTHER: &str = r#"{"version": 1, "hostname": "other", "allowed_cpus": "0-3", "topology": {"kind": "machine",
    "memory_bytes": 1024, "nodes": [{"os_index": 0, "memory_bytes": 1024, "cpus": "0-3"}], "parts": [
    {"kind": "l3", "os_index": 0, "memory_bytes": 0, "cores": [{"cpus": "0,2"}, {"cpus": "1,3"}]}]}}"#;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(machine) = machine::parse(text) else { return };
    assert!(machine.check().is_empty());
    let again = serde_json::to_string(&machine).expect("a machine is data");
    assert_eq!(machine::parse(&again).expect("we printed it"), machine);
    print(&machine);
    compare(&machine);
    judge(&machine);
});

/// As text, as data, as a picture.
fn print(machine: &Machine) {
    let written = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut out = Vec::new();
        write(&mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("we write text")
    };
    let tree = written(&|out| hwinfo::write_tree(machine, out));
    let tables = written(&|out| hwinfo::write_tables(machine, out));
    for text in [&tree, &tables] {
        // A terminal obeys control characters, and a stranger wrote these names.
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    // One line a part, whatever it is called.
    let nodes = machine.nodes().len();
    let leaves = machine.parts().iter().filter(|part| !part.cores.is_empty()).count();
    let parts = machine.parts().len() + nodes + leaves;
    assert!(tree.lines().count() >= 1 + parts && tree.lines().count() <= 3 + parts, "{tree}");
    let painted = written(&|out| hwinfo::write_painted_tree(machine, Paint::Terminal, out));
    assert_eq!(painted.lines().count(), tree.lines().count());
    let json = written(&|out| hwinfo::write_json(machine, out));
    assert_eq!(&machine::parse(&json).expect("readers pass the verdict over"), machine);
    if let Ok(toml) = hwinfo::fleet_toml(machine) {
        assert_eq!(toml::from_str::<Fleet>(&toml).expect("it was read back before").machine.len(), 1);
    }
    assert_well_formed(&hwinfo::picture(machine));
}

/// XML as any reader takes it: each tag closed in its order, no stray `<` or `&`, no character that XML lacks.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, tag)) = rest.split_once('<') {
        assert_text(text);
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.split_whitespace().next().expect("a tag has a name");
        match tag {
            _ if tag.starts_with(['?', '!']) => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(&name[1..]), "{svg}"),
            _ if tag.ends_with('/') => assert_text(tag),
            _ => open.push(name),
        }
    }
    assert_text(rest);
    assert!(open.is_empty(), "{open:?} stay open in {svg}");
}

fn assert_text(text: &str) {
    assert!(!text.contains(['>']) && !text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    for entity in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;", "#"].iter().any(|known| entity.starts_with(known)), "{text:?}");
    }
}

/// A machine is like itself; against another one both directions find as much.
fn compare(machine: &Machine) {
    assert!(hwinfo::diff(machine, machine, true).differences.is_empty());
    let other = machine::parse(OTHER).expect("it is a machine");
    let there = hwinfo::diff(machine, &other, true).differences.len();
    assert_eq!(there, hwinfo::diff(&other, machine, true).differences.len());
    let told = hwinfo::diff(machine, &other, false);
    assert_eq!(told.differences.len() + told.passed_over, there);
}

/// Sets that are whole, halved, alternating, and of CPUs that may not exist.
fn judge(machine: &Machine) {
    // The search for better sets takes its time on thousands of CPUs; what it does wrong it does on few.
    if machine.cpus().len() > 256 {
        return;
    }
    let all = machine.cpus();
    let half: CpuList = all.iter().take(all.len() / 2).collect();
    let alternating: CpuList = all.iter().step_by(2).collect();
    let strange: CpuList = (0..6).chain(65_530..65_536).collect();
    for prover in [Prover::Stock, Prover::StockDamocles, Prover::Own] {
        for (producers, concurrent, smt) in [(1, None, false), (3, Some(2), true)] {
            let question = cpuset::Question { producers, concurrent, smt, ..cpuset::Question::pc1(prover) };
            for set in [&all, &half, &alternating, &strange] {
                let verdict = cpuset::judge(machine, set, &question);
                assert_eq!(&verdict.cpuset, set);
                cpuset::write_verdict(&verdict, &mut Vec::new()).expect("a vector takes everything");
            }
            let sets = cpuset::suggest(machine, 2, &question);
            cpuset::write_suggestions(2, &sets, &mut Vec::new()).expect("a vector takes everything");
        }
    }
}
