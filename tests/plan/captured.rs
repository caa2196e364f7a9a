//! The machines in the folder that `DAMOCLES_TEST_TOPOLOGIES` names, which nest in every way: with a TiB of memory on
//! each node, whatever is planned for them is sound.

use crate::{placed_site, random_placed::faults};
use assert_cmd::cargo::cargo_bin;
use damocles_worker::{
    machine::{self, Machine, Part},
    planner::{self, Choices, PlanError, Request, Target},
    profile::Profile,
    units::{Bytes, Prover, SectorSize},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// None when the variable is not set: the data is not part of the project.
fn files() -> Vec<PathBuf> {
    let Some(topologies) = std::env::var_os("DAMOCLES_TEST_TOPOLOGIES") else { return Vec::new() };
    let in_folder = |folder: &str| fs::read_dir(PathBuf::from(&topologies).join(folder)).unwrap();
    let all = ["xml", "linux"].into_iter().flat_map(in_folder).map(|entry| entry.unwrap().path());
    // An export of a later hwloc is refused by hwinfo, which has its own test.
    let is_machine = |path: &PathBuf| {
        let name = path.to_string_lossy();
        (name.ends_with(".xml") && !name.ends_with(".v3.xml")) || name.ends_with(".tar.bz2")
    };
    let mut files: Vec<_> = all.filter(is_machine).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn machine_of(path: &Path) -> Machine {
    let output = Command::new(cargo_bin("damocles-worker-util"))
        .args(["hwinfo", "--json", "--from"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let mut machine = machine::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    give_memory(&mut machine.topology);
    assert_eq!(machine.check(), []);
    machine
}

fn give_memory(part: &mut Part) {
    for node in part.nodes.iter_mut().filter(|node| !node.cpus.is_empty()) {
        node.memory_bytes = Bytes::tib(1);
        node.page_pools = None;
    }
    part.parts.iter_mut().for_each(give_memory);
    let nodes = part.nodes.iter().map(|node| node.memory_bytes.0);
    part.memory_bytes = Bytes(nodes.chain(part.parts.iter().map(|part| part.memory_bytes.0)).sum());
}

#[test]
fn machines_of_every_nesting_get_sound_plans_or_a_reason() {
    let mut planned = 0;
    for path in files() {
        let machine = machine_of(&path);
        for prover in Prover::ALL {
            let choices = Choices { prover, ..Choices::default() };
            let target =
                Target { rate: "100TiB/month".parse().unwrap(), sector_size: SectorSize::GiB32, days_per_month: 30.0 };
            let request = Request { target, choices, site: placed_site(), profile: Profile::shipped() };
            match planner::plan(&machine, &request) {
                Ok(plan) => {
                    planned += 1;
                    let found = faults(&machine, &request.choices, &plan);
                    assert_eq!(found, Vec::<String>::new(), "{} {prover}", path.display());
                }
                Err(PlanError::NoL3 { .. }) => assert!(machine.l3_groups().is_empty(), "{}", path.display()),
                Err(PlanError::Refused { found, .. }) => panic!("{} {prover}: {found}", path.display()),
                Err(no) => assert!(no.is_answer(), "{} {prover}: {no}", path.display()),
            }
        }
    }
    assert!(planned > 10 || files().is_empty(), "only {planned} plans");
}
