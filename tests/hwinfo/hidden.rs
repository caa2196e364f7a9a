//! What a container or a broken tree hides: hidden things are told as hidden, not as absent.

use assert_cmd::Command;
use damocles_worker::machine::{self, Machine};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command as Process, Output},
};

/// Says why a test has nothing to test here.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// hwinfo on this machine with empty file systems mounted over folders, as container engines hide them.
fn hwinfo_behind(folders: &[&str], arguments: &str) -> Option<Output> {
    let program = assert_cmd::cargo::cargo_bin("damocles-worker-util");
    let mounts: Vec<_> = folders.iter().map(|folder| format!("mount -t tmpfs none {folder} && ")).collect();
    let script = format!("{}exec {} hwinfo {arguments}", mounts.concat(), program.display());
    // Another user's rights are enough where the kernel lets users have namespaces.
    let output = Process::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    let is_refused = error.contains("unshare:") || error.contains("mount:");
    (!is_refused).then_some(output)
}

#[test]
fn devices_that_a_container_hides_are_told_as_hidden() {
    let folders = ["/sys/block", "/sys/bus/pci/devices", "/sys/class/net"];
    if folders.iter().any(|folder| !Path::new(folder).exists()) {
        return skip("this machine has no block devices, PCI or network to hide");
    }
    let Some(output) = hwinfo_behind(&folders, "--json") else { return skip("no rights to mount, or no unshare") };
    let machine = machine::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!((&machine.disks, &machine.nics), (&None, &None));
    // NVIDIA's driver may know its GPUs all the same.
    assert!(machine.gpus.as_ref().is_none_or(|gpus| !gpus.is_empty()), "{:?}", machine.gpus);
    for (what, path) in [("disks", folders[0]), ("GPUs", folders[1]), ("network interfaces", folders[2])] {
        let missed = machine.unreadable.iter().find(|missed| missed.what == what);
        let missed = missed.unwrap_or_else(|| panic!("{what}: {:?}", machine.unreadable));
        assert_eq!(
            (missed.path.as_deref(), missed.reason.contains("mounted over it")),
            (Some(path), true),
            "{missed:?}"
        );
    }
    let text = String::from_utf8(hwinfo_behind(&folders, "").unwrap().stdout).unwrap();
    assert!(text.contains("\nCould not be read:\n  disks: something is mounted over it"), "{text}");
    assert!(!text.contains("Disks: none") && !text.contains("Network: none"), "{text}");
}

#[test]
fn cpus_whose_place_is_hidden_are_not_told_as_offline() {
    let Some(output) = hwinfo_behind(&["/sys/devices/system/cpu/cpu0/topology"], "--json") else {
        return skip("no rights to mount, or no unshare");
    };
    let machine = machine::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(!machine.offline_cpus.contains(0), "{:?}", machine.offline_cpus);
    let missed = machine.unreadable.iter().find(|missed| missed.what.starts_with("place of CPUs 0,"));
    let missed = missed.unwrap_or_else(|| panic!("{:?}", machine.unreadable));
    assert_eq!(missed.path.as_deref(), Some("/sys/devices/system/cpu/cpu0/topology/core_id"));
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Four CPUs of one package; those in `without` have no topology.
fn captured(root: &Path, online: &str, without: &[u32]) -> Machine {
    write(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Z\nflags\t\t: lm sha_ni\n");
    write(root, "proc/meminfo", "MemTotal:        1048576 kB\n");
    write(root, "sys/devices/system/cpu/online", &format!("{online}\n"));
    write(root, "sys/devices/system/cpu/possible", "0-3\n");
    for cpu in 0..4 {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}");
        write(root, &format!("{folder}/uevent"), "\n");
        if without.contains(&cpu) {
            continue;
        }
        write(root, &format!("{folder}/topology/physical_package_id"), "0\n");
        write(root, &format!("{folder}/topology/core_id"), &format!("{cpu}\n"));
        for (map, set) in
            [("package_cpus", 15), ("core_siblings", 15), ("core_cpus", 1 << cpu), ("thread_siblings", 1 << cpu)]
        {
            write(root, &format!("{folder}/topology/{map}"), &format!("{set:x}\n"));
        }
    }
    let mut command = Command::cargo_bin("damocles-worker-util").unwrap();
    let output = command.args(["hwinfo", "--json", "--from"]).arg(root).assert().success().get_output().stdout.clone();
    machine::parse(&String::from_utf8(output).unwrap()).unwrap()
}

#[test]
fn a_cpu_that_cannot_be_read_is_not_offline() {
    let dir = tempfile::tempdir().unwrap();
    let machine = captured(dir.path(), "0-2", &[2]);
    // 3 is switched off, 2 runs and nobody knows where it is.
    assert_eq!((machine.cpus().to_string(), machine.offline_cpus.to_string()), ("0-1".to_owned(), "3".to_owned()));
    let missed = machine.unreadable.iter().find(|missed| missed.what == "place of CPUs 2, which are online").unwrap();
    assert_eq!(missed.path.as_deref(), Some("/sys/devices/system/cpu/cpu2/topology/core_id"));
    let dir = tempfile::tempdir().unwrap();
    let machine = captured(dir.path(), "0-3", &[]);
    assert_eq!((machine.cpus().len(), machine.offline_cpus.len()), (4, 0));
    assert!(!machine.unreadable.iter().any(|missed| missed.what.starts_with("place")), "{:?}", machine.unreadable);
    assert_eq!(machine.cpu_model(), Some("Z"));
}
