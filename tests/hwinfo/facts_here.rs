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

/// Others may reserve pages and mount file systems while a test looks twice: what is wrong must stay wrong.
fn assert_settles(mut wrong: impl FnMut() -> Vec<String>) {
    let mut last = Vec::new();
    for _ in 0..5 {
        last = wrong();
        if last.is_empty() {
            return;
        }
    }
    panic!("{last:#?}");
}

#[test]
fn memory_swap_and_pools_are_those_of_proc() {
    let default_size = meminfo("Hugepagesize");
    assert_settles(|| {
        let machine = here();
        let swap = machine.kernel.as_ref().unwrap().swap.unwrap().total_bytes;
        let free: u64 = machine.nodes().iter().map(|node| node.free_bytes.unwrap().0).sum();
        assert!(free > 0 && free <= machine.memory_bytes().0, "{free}");
        let pools = machine.nodes().into_iter().flat_map(|node| node.page_pools.as_ref().unwrap());
        let pages: u64 = pools.filter(|pool| pool.page_bytes == default_size).map(|pool| pool.pages).sum();
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("HugePages_Total:")).unwrap();
        let (found, expected) = ((swap, pages), (meminfo("SwapTotal"), total.trim().parse::<u64>().unwrap()));
        if found == expected { Vec::new() } else { vec![format!("{found:?}, not {expected:?}")] }
    });
}

#[test]
fn disks_have_the_sizes_of_sys() {
    for disk in here().disks.unwrap() {
        let sectors = fs::read_to_string(Path::new("/sys/block").join(&disk.name).join("size")).unwrap();
        assert_eq!(disk.size_bytes.unwrap().0, sectors.trim().parse::<u64>().unwrap() * 512, "{}", disk.name);
        for mount in disk.mounts.iter().flatten() {
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

/// What `hwinfo diff` finds between this machine and a recording of it, as `place: here, recorded`; nothing where the
/// recording could not be made.
fn differences_to(record: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let Ok(output) = std::process::Command::new("sh").args(["-c", record]).current_dir(dir.path()).output() else {
        return Vec::new();
    };
    let mut recorded = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let recorded = recorded.find(|path| path.to_string_lossy().ends_with(".bz2") || path.ends_with("only.xml"));
    let Some(recorded) = recorded.filter(|_| output.status.success()) else {
        crate::hidden::skip("hwloc's tools are not installed (Debian: hwloc-nox)");
        return Vec::new();
    };
    let here = dir.path().join("here.json");
    fs::write(&here, hwinfo(&["--json"])).unwrap();
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.args(["hwinfo", "diff", "--json"]).args([&here, &recorded]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |difference: &serde_json::Value, key: &str| difference[key].as_str().unwrap().to_owned();
    let found = found["differences"].as_array().unwrap().iter();
    found.map(|found| format!("{}: {}, {}", word(found, "place"), word(found, "a"), word(found, "b"))).collect()
}

/// Differences of GPUs that the driver's library tells live, and that nobody asks about a recording.
fn is_of_driver(found: &str) -> bool {
    found.starts_with("GPU") && here().gpus.iter().flatten().any(|gpu| gpu.driver_version.is_some())
}

/// Wherever the recording knows a fact, it is the fact of the live look.
#[test]
fn this_machine_and_a_capture_of_it_agree() {
    assert_settles(|| {
        let mut found = differences_to("hwloc-gather-topology --io here");
        found.retain(|found| !found.ends_with(", not known") && !is_of_driver(found));
        found
    });
}

#[test]
fn this_machine_and_an_export_of_it_agree() {
    assert_settles(|| {
        let mut found = differences_to("lstopo-no-graphics --disallowed only.xml");
        // Of SATA disks an export does not tell whether they turn.
        let is_kind = |found: &str| found.contains(", kind: ") && found.ends_with(", unknown");
        found.retain(|found| !found.ends_with(", not known") && !is_kind(found) && !is_of_driver(found));
        found
    });
}

#[test]
fn sections_stand_below_the_tree() {
    let text = hwinfo(&[]);
    let places: Vec<_> =
        ["CPU topology:", "\nProcessor:\n", "\nKernel:\n", "\nMemory:\n", "\nLimits of this process:\n"]
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
    let gpus = machine.gpus.unwrap_or_default();
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
