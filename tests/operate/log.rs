//! The daemon's log of its children: whose words they are, and of which sector.

use crate::rig::Rig;

/// A stranger's pc1 that talks on both streams, and answers when the file `go` is there.
fn talker(go: &str) -> String {
    let script = format!(
        r#"echo "warming up" >&2; echo "pc1 processor ready"
while read -r line; do
    id=${{line#*:}}; id=${{id%%,*}}
    echo "hashing" >&2; echo "half way"
    while [ ! -e {go} ]; do sleep 0.05; done
    echo "{{\"id\":$id,\"err_msg\":\"no\",\"output\":null}}"
done"#
    );
    format!("[[processors.pc1]]\nbin = \"/bin/sh\"\nargs = ['-c', '''{script}''']\n")
}

#[test]
fn a_line_of_a_child_names_the_sector_and_the_stage_it_works_for() {
    let rig = Rig::new(&[""], "");
    let go = rig.path("go");
    rig.edit("[worker]", &(talker(go.to_str().unwrap()) + "[worker]"));
    let mut daemon = rig.start_with(&[], &[("RUST_LOG", "damocles_worker=debug")]);
    let line = |log: &str, words: &str| log.lines().find(|line| line.contains(words)).map(str::to_owned);
    for words in [" hashing stage=", "stray output: half way"] {
        daemon.until(words, |daemon| line(&daemon.log(), words).is_some());
        let line = line(&daemon.log(), words).unwrap();
        assert!(line.contains("stage=pc1 child=0") && line.contains("sector=\"s-t01000-1\""), "{line}");
    }
    std::fs::write(&go, "").unwrap();
    daemon.until("the answer", |daemon| line(&daemon.log(), " answered stage=pc1").is_some());
    let answered = line(&daemon.log(), " answered stage=pc1").unwrap();
    assert!(answered.contains("stage=pc1 child=0 id=1 sector=\"s-t01000-1\" well=false"), "{answered}");
    let before = line(&daemon.log(), " warming up stage=").unwrap();
    assert!(!before.contains("sector="), "it works for none: {before}");
}
