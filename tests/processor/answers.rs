//! What comes through the pipes: in any order, among anything.

use crate::rig::{Rig, begin, end, rehearsing, run, stranger};
use damocles_worker::runtime::{processor::Output, stage::Stage::*};

#[test]
fn answers_in_another_order_reach_who_asked() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "reverse=3"));
    let slots = ["a", "b", "c"].map(|name| begin(&pool, rig.tree_d(name)));
    // The child answers the last one first; by when each answer is here, another may be too.
    for slot in [slots[2], slots[1], slots[0]] {
        assert_eq!(end(&pool, slot), Ok(Output::TreeD));
    }
    assert!(["a", "b", "c"].iter().all(|name| rig.path(name).join("sc-02-data-tree-d.dat").exists()));
}

#[test]
fn stray_output_breaks_nothing() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "babble"));
    for name in ["a", "b", "c"] {
        assert_eq!(run(&pool, rig.tree_d(name)), Ok(Output::TreeD));
    }
}

#[test]
fn an_output_of_another_stage_is_a_temporary_failure() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "wrong"));
    let error = run(&pool, rig.tree_d("a")).unwrap_err();
    assert!(error.to_string().starts_with("tree_d: answered with what is no output of tree_d: "), "{error}");
    assert!(!error.permanent);
}

#[test]
fn an_error_is_told_in_the_childs_words_and_the_next_task_is_none_the_worse() {
    let rig = Rig::new();
    let pool = rig.pool(&rehearsing(TreeD, "fail=2"));
    assert_eq!(run(&pool, rig.tree_d("a")), Ok(Output::TreeD));
    let error = run(&pool, rig.tree_d("b")).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.permanent), ("tree_d: rehearsed failure", false));
    assert_eq!(run(&pool, rig.tree_d("c")), Ok(Output::TreeD));
}

/// A stranger that knows the wire and nothing of us: it answers each request twice, with the number it was asked by.
const PARROT: &str = r#"
echo "hello"
echo "tree_d processor ready"
while read -r line; do
    id=${line#*:}; id=${id%%,*}
    echo "{\"id\":$id,\"err_msg\":null,\"output\":true}"
    echo "{\"id\":$id,\"err_msg\":\"twice\",\"output\":null}"
    echo "asked: $line" >&2
done
"#;

#[test]
fn a_strangers_processor_works_and_repeated_answers_are_passed_over() {
    let rig = Rig::new();
    let pool = rig.pool(&stranger(TreeD, PARROT));
    for name in ["a", "b", "c"] {
        assert_eq!(run(&pool, rig.tree_d(name)), Ok(Output::TreeD), "ids begin with 1 and go on");
    }
}
