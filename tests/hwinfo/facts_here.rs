//! The facts of the machine that runs the test, compared with where else they can be had.

use assert_cmd::Command;
use damocles_worker::{
    machine::{self, Ceiling, Fleet, Machine, Spec},
    units::Bytes,
};
use std::{fs, path::Path};

fn hwinfo(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.arg("hwinfo").args(arguments).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

fn here() -> Machine {
    machine::parse(&hwinfo(&["--json"])).unwrap()
}

fn meminfo(field: &str) -> Bytes {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
    Bytes(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[test]
fn memory_swap_and_pools_are_those_of_proc() {
    let machine = here();
    assert_eq!(machine.kernel.as_ref().unwrap().swap.unwrap().total_bytes, meminfo("SwapTotal"));
    let free: u64 = machine.nodes().iter().map(|node| node.free_bytes.unwrap().0).sum();
    assert!(free > 0 && free <= machine.memory_bytes().0, "{free}");
    let default_size = meminfo("Hugepagesize");
    let pools = machine.nodes().into_iter().flat_map(|node| node.page_pools.as_ref().unwrap());
    let pages: u64 = pools.filter(|pool| pool.page_bytes == default_size).map(|pool| pool.pages).sum();
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("HugePages_Total:")).unwrap();
    assert_eq!(pages, total.trim().parse::<u64>().unwrap());
}

#[test]
fn disks_have_the_sizes_of_sys() {
    for disk in here().disks.unwrap() {
        let sectors = fs::read_to_string(Path::new("/sys/block").join(&disk.name).join("size")).unwrap();
        assert_eq!(disk.size_bytes.unwrap().0, sectors.trim().parse::<u64>().unwrap() * 512, "{}", disk.name);
        for mount in &disk.mounts {
            assert!(Path::new(&mount.path).exists() && mount.free_bytes <= mount.total_bytes, "{mount:?}");
        }
    }
}

#[test]
fn limits_are_those_of_the_system_call() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    let limits = here().limits.unwrap();
    for (found, resource) in [(limits.memlock, Resource::RLIMIT_MEMLOCK), (limits.nofile, Resource::RLIMIT_NOFILE)] {
        let (soft, hard) = getrlimit(resource).unwrap();
        let ceiling = |value| if value == RLIM_INFINITY { Ceiling::Unlimited } else { Ceiling::At(value) };
        assert_eq!((found.soft, found.hard), (ceiling(soft), ceiling(hard)));
    }
}

#[test]
fn instructions_are_those_that_this_processor_runs() {
    let machine = here();
    let cpu = machine.cpu.as_ref().unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        assert_eq!(cpu.has("avx2"), std::is_x86_feature_detected!("avx2"));
        assert_eq!(cpu.has("sha_ni"), std::is_x86_feature_detected!("sha"));
        assert_eq!(cpu.has("avx512f"), std::is_x86_feature_detected!("avx512f"));
    }
    assert_eq!(cpu.architecture.as_deref(), Some(std::env::consts::ARCH));
    let described: Vec<u32> = cpu.models.iter().flat_map(|model| model.cpus.iter().collect::<Vec<_>>()).collect();
    assert_eq!(described.len(), machine.cpus().len());
}

#[test]
fn what_is_absent_is_listed() {
    let machine = here();
    let listed = machine.unreadable.len();
    assert!(machine.absent().len() <= listed, "{:?} {:?}", machine.absent(), machine.unreadable);
    let answers: serde_json::Value = serde_json::from_str(&hwinfo(&["--json"])).unwrap();
    let answer = serde_json::to_value(machine.pc1_capable()).unwrap();
    assert_eq!(answers["pc1_capable"], answer);
}

#[test]
fn sections_stand_below_the_tree() {
    let text = hwinfo(&[]);
    let places: Vec<_> =
        ["CPU topology:", "\nProcessor:\n", "\nKernel:\n", "\nMemory:\n", "\nDisks:", "\nGPUs:", "\nNetwork:"]
            .iter()
            .map(|title| text.find(title).unwrap_or_else(|| panic!("{title}: {text}")))
            .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
}

#[test]
fn toml_is_an_entry_of_a_fleet_file() {
    let text = hwinfo(&["--toml"]);
    let fleet: Fleet = toml::from_str(&text).unwrap();
    assert_eq!(fleet.machine, [Spec::of(&here())]);
    // Appended, entries make a fleet.
    let two: Fleet = toml::from_str(&format!("{text}\n{text}")).unwrap();
    assert_eq!(two.machine.len(), 2);
}

#[test]
fn two_forms_at_once_are_a_usage_error() {
    Command::cargo_bin("damocles-worker-util").unwrap().args(["hwinfo", "--json", "--toml"]).assert().code(2);
}

/// Past the test harness, which keeps what passing tests print.
fn tell(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "NVIDIA GPUs: {line}");
}

/// A GPU as NVIDIA's own tool shows it.
struct Smi {
    address: String,
    name: String,
    mib: u64,
    driver: String,
}

/// What that tool says; nothing, and a word why, where it is not installed or finds no driver.
fn nvidia_smi() -> Vec<Smi> {
    let arguments = ["--query-gpu=pci.bus_id,name,memory.total,driver_version", "--format=csv,noheader,nounits"];
    let output = match std::process::Command::new("nvidia-smi").args(arguments).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            tell(&format!("nothing to compare with, nvidia-smi ended with {}", output.status));
            return Vec::new();
        }
        Err(error) => {
            tell(&format!("nothing to compare with, nvidia-smi: {error}"));
            return Vec::new();
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let gpu = |line: &str| {
        let cells: Vec<_> = line.split(", ").map(|cell| cell.trim().to_owned()).collect();
        let [address, name, mib, driver] = cells.try_into().unwrap();
        Smi { address: address.to_ascii_lowercase(), name, mib: mib.parse().unwrap(), driver }
    };
    text.lines().map(gpu).collect()
}

#[test]
fn nvidia_gpus_are_those_of_the_vendors_tool() {
    let machine = here();
    let gpus = machine.gpus.unwrap();
    let expected = nvidia_smi();
    assert_eq!(gpus.iter().filter(|gpu| gpu.driver_version.is_some()).count(), expected.len(), "{gpus:?}");
    for Smi { address, name, mib, driver } in expected {
        let is_it = |gpu: &&machine::Gpu| gpu.pci_address.as_ref().is_some_and(|found| address.ends_with(found));
        let gpu = gpus.iter().find(is_it).unwrap_or_else(|| panic!("{address}: {gpus:?}"));
        assert_eq!(gpu.name, name);
        assert_eq!(gpu.driver_version.as_ref(), Some(&driver));
        // The tool's total leaves out what the driver keeps, in some versions.
        let found = gpu.memory_bytes.unwrap().0 >> 20;
        assert!(found.abs_diff(mib) * 20 < mib, "{found} MiB, not {mib}");
        let node = gpu.node.map_or_else(|| "none told".to_owned(), |node| node.to_string());
        let ours = format!("{}, {found} MiB, driver {driver}, node {node}", gpu.name);
        tell(&format!("{address}: ours {ours}; nvidia-smi {name}, {mib} MiB, driver {driver}"));
    }
}
