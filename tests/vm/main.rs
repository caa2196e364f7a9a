//! The shipped programs on machines that we do not own: guests whose kernel sees the hardware that a story asks for.
//!
//! ```text
//! Guest (a description) ─┐
//!                        ├─► ask ─► archive + qemu ─► Answers: each step's output and exit code, the files asked for
//! Script (what to run) ──┘
//! ```
//!
//! A story, whatever it is about, is written with four things:
//!
//! - `Guest { cpu, shape, nodes, .. }` is the machine: CPUs and nodes, and on wish CPUs switched off, distances,
//!   hugepages, a cgroup that forbids CPUs and nodes, words for the kernel's command line. What is left out comes from
//!   `..Guest::default()`: four CPUs, two nodes.
//! - `Script::new().program("damocles-worker").step("init", "damocles-worker store …").files("after", &["/sys/…"])` is
//!   what happens in it, in this order. `program` puts a binary of this package into `/bin`, `file` puts any file
//!   anywhere. A step is lines for the guest's shell (busybox), run as root in the cgroup; what one left running, the
//!   next finds running. `files` reads whatever its patterns match, outside the cgroup.
//! - `guest::ask(name, When::Slow, &guest, &script)` boots it, runs that and gives `Answers`; `None`, said on stderr,
//!   where the story is not to be run now or cannot be.
//! - `answers.step("init")` has `out`, `err` and `code`; `answers.said("init")` is `out` of a step that must have
//!   succeeded; `answers.files("after").get("/sys/…")` is a file's text.
//!
//! Three guests run with every `cargo test`; the others where `DAMOCLES_SLOW=1` asks for them (`make test-slow`).
//! Where qemu, the kernel or tools to fetch it are not there, a story says what it skipped. docs/testing-in-a-guest.md
//! tells how to run one by hand.

mod archive;
mod checks;
mod guest;
mod hugepages;
mod pc1;
mod placement;
mod script;
mod stories;
mod sysfs;
