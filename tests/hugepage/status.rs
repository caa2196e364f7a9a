//! What is shown: pools, mounts, files and who has them mapped.

use crate::rig::{Rig, SMALL, counter};
use damocles_worker::sys::mempolicy::Mapping;
use serde_json::Value;
use std::fs::{self, File};

fn status(rig: &Rig, args: &[&str]) -> Value {
    let before = rig.snapshot();
    let args: Vec<_> = args.iter().copied().chain(["--json"]).collect();
    let status = serde_json::from_str(&rig.ask("status", &args).ok().out).unwrap();
    assert_eq!(rig.snapshot(), before, "looking changes nothing");
    status
}

/// The one of a list whose field ends like this.
fn of<'a>(list: &'a Value, field: &str, end: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item[field].as_str().unwrap().ends_with(end));
    found.unwrap_or_else(|| panic!("{end}: {list:#}"))
}

#[test]
fn everything_is_shown_that_was_made() {
    let Some(rig) = Rig::take("everything_is_shown_that_was_made") else { return };
    let at_first = counter(SMALL, "nr");
    rig.run(&["-c2", "-s8MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size=2MiB"]).ok();
    let added = counter(SMALL, "nr") - at_first;
    let folder = rig.path("huge/pc1/numa_0");
    File::create(folder.join("8.0_MiB_2")).unwrap().set_len(8 << 20).unwrap();
    File::create(folder.join("qemu")).unwrap();
    let file = File::open(folder.join("8.0_MiB_0")).unwrap();
    let _mapping = Mapping::of(&file, 2 << 20).unwrap();
    for args in [&[][..], &["--path", "@/huge/pc1"], &["-n", "0"]] {
        let status = status(&rig, args);
        let pools = status["nodes"][0]["pools"].as_array().unwrap();
        let pool = pools.iter().find(|pool| pool["page_bytes"] == 2 << 20).unwrap();
        assert_eq!(
            (pool["pages"].as_u64(), pool["free"].as_u64()),
            (Some(counter(SMALL, "nr")), Some(counter(SMALL, "free")))
        );
        assert_eq!(pool["added_by_this_tool"].as_u64(), Some(added));
        let mount = of(&status["mounts"], "at", "/huge");
        assert_eq!((mount["made_by_this_tool"].as_bool(), mount["page_bytes"].as_u64()), (Some(true), Some(2 << 20)));
        let shown = of(&status["folders"], "folder", "/pc1/numa_0");
        assert_eq!((shown["node"].as_u64(), shown["is_recorded"].as_bool()), (Some(0), Some(true)));
        let first = of(&shown["files"], "path", "8.0_MiB_0");
        assert_eq!((first["pages"]["0"].as_u64(), first["problem"].is_null()), (Some(4), true));
        assert_eq!(first["mapped_by"][0]["pid"].as_u64(), Some(u64::from(std::process::id())));
        assert!(of(&shown["files"], "path", "8.0_MiB_1")["mapped_by"].as_array().unwrap().is_empty());
        let hole = of(&shown["files"], "path", "8.0_MiB_2");
        assert!(hole["problem"].as_str().unwrap().contains("only 0B of its 8MiB are allocated"), "{hole}");
        assert_eq!(hole["made_by_this_tool"].as_bool(), Some(false));
        assert!(shown["others"][0].as_str().unwrap().ends_with("/qemu"));
    }
    let told = rig.ask("status", &[]).ok().out;
    for words in [
        "8.0_MiB_1: 4 pages on node 0\n",
        "8.0_MiB_2: WRONG: only 0B of its 8MiB are allocated, not made by this tool",
        ", mapped by ",
        ", mounted by this tool",
        "1 folder and 1 mount of this tool",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_record_that_is_damaged_is_said_and_all_else_shown() {
    let Some(rig) = Rig::take("a_record_that_is_damaged_is_said_and_all_else_shown") else { return };
    rig.mount("huge", "pagesize=2M");
    rig.run(&["-c1", "-s8MiB", "--path", "@/huge/pc1"]).ok();
    fs::write(rig.state(), "{").unwrap();
    let status = status(&rig, &[]);
    assert!(status["record"]["problem"].as_str().unwrap().contains("read the record "), "{status:#}");
    let shown = of(&status["folders"], "folder", "/pc1/numa_0");
    assert_eq!((shown["node"].as_u64(), shown["is_recorded"].as_bool()), (Some(0), Some(false)));
    assert_eq!(of(&shown["files"], "path", "8.0_MiB_0")["pages"]["0"].as_u64(), Some(4));
}

#[test]
fn a_folder_that_is_on_no_hugetlbfs_is_refused() {
    let Some(rig) = Rig::take("a_folder_that_is_on_no_hugetlbfs_is_refused") else { return };
    rig.ask("status", &["--path", "@/plain"]).refused(2, &["is not on a hugetlbfs but on "]);
    rig.mount("huge", "pagesize=2M");
    let status = status(&rig, &["--path", "@/huge/none"]);
    assert!(status["folders"].as_array().unwrap().is_empty());
    let told = rig.ask("status", &["--path", "@/huge/none"]).ok().out;
    assert!(told.contains("/huge/none/numa_N: nothing is there\n"), "{told}");
    for args in [&["-n", "77"][..], &["-n", "0,77", "--path", "@/huge/none"]] {
        rig.ask("status", args).refused(2, &["node 77 is not there; this machine has 0"]);
    }
}
