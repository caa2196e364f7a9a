//! Calls that are not used here, each with what is used instead.

use crate::{
    assert_tidy, tokens,
    tree::{self, TextFile},
};

const MACROS: &[(&str, &str)] = &[
    ("println", "write to io.out, so that a closed pipe is no panic"),
    ("print", "write to io.out, so that a closed pipe is no panic"),
    ("eprintln", "write to io.err, or log with tracing"),
    ("eprint", "write to io.err, or log with tracing"),
    ("dbg", "remove it, or log with tracing"),
    ("todo", "build it, or refuse with `not supported in this version`"),
    ("unimplemented", "build it, or refuse with `not supported in this version`"),
];

const CALLS: &[(&str, &str)] = &[
    ("env::set_var", "set it on a spawned child: other threads read the environment"),
    ("env::remove_var", "set it on a spawned child: other threads read the environment"),
];

/// Where the environment is changed after all: only while the kernel counts one thread in the process.
const ENVIRONMENT_HOME: &str = "src/sys/ffi/environment.rs";

fn banned(file: &TextFile) -> Vec<String> {
    let facts = tokens::facts(file);
    let macros = facts.macros.iter().filter_map(|found| {
        let (name, instead) = MACROS.iter().find(|(name, _)| found.what == *name)?;
        Some(format!("{}: {name}!: {instead}", file.at(found.line)))
    });
    let elsewhere = facts.outer.iter().filter(|_| file.path != ENVIRONMENT_HOME);
    let calls = elsewhere.filter_map(|found| {
        let path = found.what.join("::");
        let (name, instead) = CALLS.iter().find(|(name, _)| path == *name || path.ends_with(&format!("::{name}")))?;
        Some(format!("{}: {name}: {instead}", file.at(found.line)))
    });
    let skipped = facts.attributes.iter().filter(|found| found.what == "ignore").map(|found| {
        format!("{}: an ignored test: let it run, or move it to where `make test-slow` runs it", file.at(found.line))
    });
    macros.chain(calls).chain(skipped).collect()
}

#[test]
fn banned_calls_are_not_made() {
    assert_tidy(tree::rust_files().iter().flat_map(banned).collect());
}

mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        banned(&TextFile::example("src/a.rs", text)).len()
    }

    #[test]
    fn each_banned_call_is_found() {
        for (name, _) in MACROS {
            assert_eq!(findings(&format!("fn f() {{ {name}!(\"x\"); }}")), 1, "{name}");
        }
        assert_eq!(findings("fn f() { std::env::set_var(\"A\", \"b\"); }"), 1);
        assert_eq!(findings("use std::env::remove_var;"), 1);
        assert_eq!(findings("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), 1);
    }

    #[test]
    fn their_neighbours_are_not() {
        let home = TextFile::example(ENVIRONMENT_HOME, "fn f() { env::set_var(\"A\", \"b\"); }");
        assert_eq!(banned(&home).len(), 0);
        assert_eq!(findings("fn f() { writeln!(io.out, \"println!\"); let ignore = env::var(\"A\"); } // dbg!(1)"), 0);
    }
}
