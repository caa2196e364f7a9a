//! Machines side by side with their pictures: each picture is looked at as a browser would, read and its boxes
//! measured; and what differs between two machines.

mod command;
mod compare;
mod document;
mod machines;

use damocles_worker::{
    hwinfo,
    machine::{self, Machine},
    sys::topology::Source,
};
use document::{Document, Shape};
use machines::{any_machine, documented_machine, with_devices};
use proptest::prelude::*;

fn synthetic(line: &str) -> Machine {
    hwinfo::describe(&Source::Synthetic(line.into()), "synthetic").unwrap()
}

fn draw(machine: &Machine) -> Document {
    document::read(&hwinfo::picture(machine))
}

/// What holds for every picture.
fn assert_sound(machine: &Machine) {
    let document = draw(machine);
    document.assert_nested_and_apart();
    document.assert_texts_fit();
    let mut drawn: Vec<u32> = document.texts("cpu").chain(document.texts("forbidden")).map(number).collect();
    drawn.sort_unstable();
    // Once each: the machine's set against the picture's list.
    assert_eq!(drawn, machine.cpus().iter().collect::<Vec<_>>());
    let nodes = document.texts("node").count() + document.texts("memory").count();
    assert_eq!(nodes, machine.nodes().len());
    let devices = [machine.gpus.iter().flatten().count(), machine.disks.iter().flatten().count()];
    assert_eq!(["gpu", "disk"].map(|class| lines(&document, class).len()), devices);
}

fn number(text: &str) -> u32 {
    text.parse().unwrap()
}

/// What is written in the boxes of a kind, box by box.
fn lines(document: &Document, class: &str) -> Vec<String> {
    document.shapes.iter().filter(|shape| shape.class == class).map(|shape: &Shape| shape.texts.join(" | ")).collect()
}

#[test]
fn the_documented_machine_is_drawn_with_its_groups() {
    let machine = machine::parse(&documented_machine()).unwrap();
    assert_sound(&machine);
    let document = draw(&machine);
    assert_eq!(
        lines(&document, "package"),
        [
            "Package #0 · 251.57 GiB | *** *** *** 32-Core Processor | CPUs 0-31",
            "Package #1 · 251.98 GiB | *** *** *** 32-Core Processor | CPUs 32-63"
        ]
    );
    assert_eq!(lines(&document, "node"), ["NUMANode #0 · 251.57 GiB", "NUMANode #1 · 251.98 GiB"]);
    assert_eq!(lines(&document, "l3")[15], "L3 #15 · 16 MiB | CPUs 60-63");
    assert_eq!(
        lines(&document, "machine"),
        ["Machine · documented · 503.55 GiB | 2 packages · 2 NUMA nodes · 16 L3 groups · 64 cores · 64 CPUs"]
    );
}

/// 2 x 64 cores with SMT: it fits on a screen at full size, with letters of 12 pixels.
#[test]
fn a_large_machine_fits_on_a_screen() {
    let machine = synthetic("pack:2 [numa(memory=1TB)] l3:8(size=33554432) core:8 pu:2");
    assert_sound(&machine);
    let page = draw(&machine).page;
    assert!(page.width <= 1920 && page.height <= 1080, "{} x {}", page.width, page.height);
}

#[test]
fn siblings_share_a_core() {
    let document = draw(&synthetic("pack:1 core:2 pu:2(indexes=0,2,1,3)"));
    let inside = |core: &Shape| {
        let cpus = document.shapes.iter().filter(|cpu| cpu.class == "cpu" && core.holds(cpu));
        cpus.map(|cpu| cpu.texts[0].clone()).collect::<Vec<_>>()
    };
    let cores: Vec<_> = document.shapes.iter().filter(|shape| shape.class == "core").map(inside).collect();
    assert_eq!(cores, [["0", "2"], ["1", "3"]]);
}

#[test]
fn memory_without_cpus_looks_different() {
    let document = draw(&synthetic("pack:1 [numa(memory=1GB)] [numa(memory=2GB)] core:2 pu:1"));
    assert_eq!(lines(&document, "node"), ["NUMANode #0 · 953.67 MiB"]);
    assert_eq!(lines(&document, "memory"), ["NUMANode #1 · 1.86 GiB · memory only"]);
}

#[test]
fn forbidden_and_offline_cpus_are_told() {
    let text = documented_machine()
        .replace("\"allowed_cpus\":\"0-63\"", "\"allowed_cpus\":\"0-5\",\"offline_cpus\":\"64-65\"");
    let machine = machine::parse(&text).unwrap();
    assert_sound(&machine);
    let document = draw(&machine);
    assert_eq!((document.texts("cpu").count(), document.texts("forbidden").count()), (6, 58));
    assert_eq!(lines(&document, "note"), ["offline CPUs: 64-65", "CPUs forbidden by the cgroup (hatched): 6-63"]);
}

#[test]
fn devices_are_drawn_at_their_node() {
    let machine = with_devices();
    assert_sound(&machine);
    let document = draw(&machine);
    let inside = |outer: &str| {
        let outer =
            document.shapes.iter().find(|shape| shape.texts.first().is_some_and(|text| text.starts_with(outer)));
        let outer = outer.unwrap();
        document
            .shapes
            .iter()
            .filter(|shape| outer.holds(shape))
            .map(|shape| shape.texts.join(" | "))
            .collect::<Vec<_>>()
    };
    let gpu = "GPU · 24 GiB | NVIDIA GeForce RTX 3090";
    let disk = |name: &str| format!("{name} · NVMe · 6.99 TiB | KIOXIA KCD61LUL7T68 | /mnt/{name}");
    assert_eq!(inside("NUMANode #0"), [format!("{gpu} | 0000:21:00.0"), disk("nvme0n1")]);
    assert_eq!(inside("NUMANode #1"), [format!("{gpu} | 0000:a1:00.0"), "eth0 · 100 Gbit/s".to_owned()]);
    assert_eq!(inside("Devices whose"), [disk("nvme1n1")]);
}

#[test]
fn names_from_firmware_are_text() {
    let mut machine = synthetic("pack:1 core:1 pu:1");
    machine.hostname = "a<b>&\"'\u{1}".to_owned();
    machine.topology.parts[0].model = Some("</text><script>alert(1)</script>\u{fffe}".to_owned());
    assert_sound(&machine);
    let document = draw(&machine);
    assert!(lines(&document, "machine")[0].starts_with("Machine · a<b>&\"'\u{fffd}"));
    assert!(lines(&document, "package")[0].contains("</text><script>alert(1)</script>\u{fffd}"));
}

#[test]
fn the_same_machine_gives_the_same_bytes() {
    let machine = synthetic("pack:2 l3:2 core:4 pu:2");
    assert_eq!(hwinfo::picture(&machine), hwinfo::picture(&machine.clone()));
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let picture = hwinfo::picture(&synthetic("pack:2 l3:2 core:4 pu:2"));
    let links = picture.matches("http").count();
    assert!(links == 1 && picture.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{picture}");
    assert!(!picture.contains("href") && !picture.contains("@import"), "{picture}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_machine_can_be_drawn(machine in any_machine()) {
        assert_sound(&machine);
    }
}
