//! The unit: what it says, as systemd reads it, installed and removed.

use crate::rig::{Rig, skip};
use std::{fs, process::Command};

const UNIT: &str = "etc/systemd/system/damocles-hugepages.service";
const LINK: &str = "etc/systemd/system/multi-user.target.wants/damocles-hugepages.service";

#[test]
fn the_unit_makes_the_same_files_again() {
    let Some(rig) = Rig::take("the_unit_makes_the_same_files_again") else { return };
    let make = ["-c2", "-s8MiB", "--path", "@/huge dir/pc1", "--mount", "@/huge dir", "--page-size=2MiB"];
    rig.run(&make).ok();
    let before = rig.snapshot();
    let printed = rig.ask("persist", &[]).ok().out;
    assert_eq!(rig.snapshot(), before, "printing changes nothing");
    assert!(printed.contains("Before=damocles-worker.service\n"), "{printed}");
    assert!(!printed.contains("kernel command line"), "pages of 2 MiB need none: {printed}");
    rig.ask("persist", &["--install", "--root", "@/image"]).ok();
    verify_with_systemd(&rig);
    // After a boot there is nothing: what the unit would run then makes it all again.
    rig.ask("release", &["--all"]).ok();
    let unit = fs::read_to_string(rig.path("image").join(UNIT)).unwrap();
    let commands: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    assert_eq!(commands.len(), 1, "{unit}");
    // A shell reads these words as systemd does.
    let ran = Command::new("sh").arg("-c").arg(commands[0]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(rig.path("huge dir/pc1/numa_0/8.0_MiB_1").exists());
    rig.ask("verify", &[]).ok();
}

fn verify_with_systemd(rig: &Rig) {
    let unit = rig.path("image").join(UNIT);
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output() {
        Ok(told) => {
            let told = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
            let ours: Vec<_> = told.lines().filter(|line| line.contains("damocles-hugepages")).collect();
            assert!(ours.is_empty(), "{ours:?}");
        }
        Err(error) => skip("systemd-analyze verify", &error.to_string()),
    }
}

#[test]
fn a_unit_is_installed_once_and_taken_away() {
    let Some(rig) = Rig::take("a_unit_is_installed_once_and_taken_away") else { return };
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c1", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    fs::create_dir(rig.path("image")).unwrap();
    let install = ["--path", "@/huge/pc1", "--install", "--root", "@/image", "--worker-unit", "sealer.service"];
    let dry: Vec<_> = install.iter().copied().chain(["--dry-run"]).collect();
    let before = rig.snapshot();
    let script = rig.ask("persist", &dry).ok().out;
    assert!(script.contains("cat > "), "{script}");
    assert_eq!(rig.snapshot(), before);
    assert!(!script.contains("systemctl"), "the systemd of this host has no part in an image: {script}");
    let shell = Command::new("sh").arg("-c").arg(format!("set -e\n{script}")).output().unwrap();
    assert!(shell.status.success(), "{script}\n{}", String::from_utf8_lossy(&shell.stderr));
    assert_eq!(rig.ask("persist", &install).ok().out.matches(": as it should be").count(), 2, "{script}");
    fs::remove_dir_all(rig.path("image/etc")).unwrap();
    let answer = rig.ask("persist", &install).ok();
    assert_eq!(answer.out.matches(": written").count(), 2);
    assert!(!answer.err.contains("systemctl"), "{answer:?}");
    let installed = rig.snapshot();
    assert_eq!(rig.ask("persist", &install).ok().out.matches(": as it should be").count(), 2);
    assert_eq!(rig.snapshot(), installed, "twice is once");
    assert!(fs::read_to_string(rig.path("image").join(LINK)).unwrap().contains("Before=sealer.service"));
    // Below another root its own paths are named, and not this host's.
    let json: serde_json::Value =
        serde_json::from_str(&rig.ask("persist", &[&install[..], &["--json"]].concat()).ok().out).unwrap();
    let touched = [UNIT, LINK].map(|path| rig.path("image").join(path).display().to_string());
    assert_eq!(json["unchanged"], serde_json::json!(touched));
    assert_eq!(json["boot"]["unit"].as_str(), Some(touched[0].as_str()));
    let remove = ["--remove", "--root", "@/image"];
    assert_eq!(rig.ask("persist", &["--remove", "--root", "@/image", "--dry-run"]).ok().out.lines().count(), 2);
    assert_eq!(rig.snapshot(), installed);
    assert_eq!(rig.ask("persist", &remove).ok().out.matches(": removed").count(), 2);
    assert_eq!(rig.ask("persist", &remove).ok().out, "", "a second time there is nothing");
    assert!(!rig.path("image").join(UNIT).exists());
}

#[test]
fn what_somebody_else_installed_is_left() {
    let Some(rig) = Rig::take("what_somebody_else_installed_is_left") else { return };
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c1", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    let unit = rig.path("image").join(UNIT);
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(&unit, "[Unit]\nDescription=mine\n").unwrap();
    let before = rig.snapshot();
    for args in [&["--install", "--root", "@/image"][..], &["--remove", "--root", "@/image"]] {
        rig.ask("persist", args).refused(2, &[&format!("{}: somebody else made it", unit.display())]);
    }
    assert_eq!(rig.snapshot(), before);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let Some(rig) = Rig::take("what_cannot_be_kept_is_refused") else { return };
    rig.ask("persist", &[]).refused(2, &["names no files of this boot"]);
    rig.ask("persist", &["-n", "77"]).refused(2, &["node 77 is not there; this machine has 0"]);
    rig.ask("persist", &["--path", "@/plain"]).refused(2, &["is not on a hugetlbfs"]);
    rig.ask("persist", &["--install", "--remove"]).refused(2, &["cannot be used with"]);
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c1", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    for install in [&["--install", "--root", "@/image"][..], &["--install", "--dry-run"], &[]] {
        let before = rig.snapshot();
        let answer = rig.ask("persist", &[install, &["--worker-unit", "bad unit"]].concat());
        answer.refused(2, &["\"bad unit\" is no name of a systemd unit; write it as systemctl shows it"]);
        assert_eq!(rig.snapshot(), before);
    }
    rig.ask("persist", &["--path", "@/huge/pc1", "--state", "@/huge/x.json"]).refused(2, &["would lie on a hugetlbfs"]);
    rig.clear();
    rig.ask("persist", &["--mount", "@/huge"]).refused(2, &["--from"]);
    rig.ask("persist", &["--from", "@/gone.toml"]).refused(2, &["gone.toml: read it: "]);
}

#[test]
fn a_configuration_is_kept_before_its_files_are_there() {
    let Some(rig) = Rig::take("a_configuration_is_kept_before_its_files_are_there") else { return };
    let folder = rig.path("huge/pc1_1").display().to_string();
    let config = format!(
        "[sector_manager]\nrpc_client.addr = \"embedded\"\n[sealing]\nallowed_sizes = [\"32GiB\"]\n[[sealing_thread]]\n\
         location = \"./s\"\n[[attached]]\nlocation = \"./p\"\n[[processors.pc1]]\nconcurrent = 1\n\
         envs = {{ HUGEPAGE_FILES_PATH = {folder:?} }}\n"
    );
    fs::write(rig.path("worker.toml"), config).unwrap();
    let args = ["--from", "@/worker.toml", "--mount", "@/huge", "--page-size", "1GiB"];
    let has_large = std::path::Path::new(&crate::rig::pool_file(crate::rig::LARGE)).exists();
    let answer = rig.ask("persist", &args);
    if !has_large {
        answer.refused(2, &["this kernel has no pages of 1GiB"]);
        return skip("a_configuration_is_kept_before_its_files_are_there", "this kernel has no pages of 1 GiB");
    }
    let answer = answer.ok();
    assert!(answer.out.contains("--node 0 --num 2 --size 32GiB --path "), "{answer:?}");
    assert!(answer.out.contains("not on that of this boot): hugepagesz=1G hugepages=0:64\n"), "{answer:?}");
    assert!(answer.err.contains("GRUB_CMDLINE_LINUX"), "{answer:?}");
    let json: serde_json::Value =
        serde_json::from_str(&rig.ask("persist", &[&args[..], &["--json"]].concat()).ok().out).unwrap();
    assert_eq!(json["kernel"][0]["words"].as_str(), Some("hugepagesz=1G hugepages=0:64"));
}
