//! Two runs at once: one waits for the other, whatever record each keeps; never a mix.

use crate::rig::{Answer, Rig, SMALL, counter};
use std::process::{Child, Stdio};

fn spawn(rig: &Rig, args: &[&str]) -> Child {
    rig.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn both(rig: &Rig, first: &[&str], second: &[&str]) -> [Answer; 2] {
    let children = [spawn(rig, first), spawn(rig, second)];
    children.map(|child| Answer::of(child.wait_with_output().unwrap()).ok())
}

#[test]
fn two_runs_for_one_folder_make_it_once() {
    let Some(rig) = Rig::take("two_runs_for_one_folder_make_it_once") else { return };
    let args = ["-c", "2", "-s", "32MiB", "--path", "@/huge/pc1", "--mount", "@/huge", "--page-size", "2MiB"];
    for round in 0..5 {
        let free = counter(SMALL, "free");
        let answers = both(&rig, &args, &args);
        let count = |word: &str| answers.iter().map(|answer| answer.out.matches(word).count()).collect::<Vec<_>>();
        let (mut made, mut kept) = (count(": made, "), count(": was there, verified"));
        made.sort();
        kept.sort();
        assert_eq!((made, kept), (vec![0, 2], vec![0, 2]), "round {round}: {answers:#?}");
        assert_eq!(counter(SMALL, "free"), free.saturating_sub(32));
        rig.clear();
    }
}

#[test]
fn records_of_their_own_do_not_let_two_runs_mix() {
    let Some(rig) = Rig::take("records_of_their_own_do_not_let_two_runs_mix") else { return };
    rig.mount("huge", "pagesize=2M");
    for round in 0..5 {
        let path = format!("@/huge/pc{round}");
        let first = ["-c", "2", "-s", "32MiB", "--path", &path];
        let nr = counter(SMALL, "nr") - counter(SMALL, "free");
        // The last --state counts.
        let children = [spawn(&rig, &first), {
            let mut command = std::process::Command::new(crate::rig::WORKER);
            command.args(["store", "hugepage-file-init", "--state"]).arg(rig.path("record/other.json"));
            let args = ["-c", "4", "-s", "32MiB", "--path"];
            command.args(args).arg(rig.path(&format!("huge/pc{round}")));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        }];
        let answers = children.map(|child| Answer::of(child.wait_with_output().unwrap()).ok());
        let made: usize = answers.iter().map(|answer| answer.out.matches(": made, ").count()).sum();
        assert_eq!(made, 4, "round {round}: {answers:#?}");
        assert_eq!(counter(SMALL, "nr") - counter(SMALL, "free"), nr + 4 * 16, "each page is in one file");
        assert_eq!(counter(SMALL, "free"), 0);
    }
}

#[test]
fn whoever_waits_says_so_and_can_be_stopped() {
    let Some(rig) = Rig::take("whoever_waits_says_so_and_can_be_stopped") else { return };
    rig.mount("huge", "pagesize=2M");
    std::fs::create_dir(rig.path("record")).unwrap();
    let lock = rig.path("record/hugepage.json.lock");
    let held = damocles_worker::sys::lock::Lock::take(&lock).unwrap();
    let before = rig.snapshot();
    let mut child = spawn(&rig, &["-c", "1", "-s", "2MiB", "--path", "@/huge/pc1"]);
    // The note says that it waits: from then on a signal finds it there.
    let mut note = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut note).unwrap();
    assert!(note.contains("another hugepage command is at work") && note.contains("waiting"), "{note}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(rig.snapshot(), before);
    drop(held);
    rig.run(&["-c", "1", "-s", "2MiB", "--path", "@/huge/pc1"]).ok();
}
