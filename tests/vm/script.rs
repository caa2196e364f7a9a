//! What a guest is asked: programs and files that it gets, steps that it runs, files that are read in it.
//!
//! ```text
//! Script ─► init, a shell script ─► guest ─► its second serial port:   ===== step NAME CODE BYTES BYTES\n out err
//!                                                                      ===== files NAME BYTES\n path:line …
//!                                                                      ===== end\n
//! ```
//!
//! Lengths and not only marks, so that a step may print what it likes, marks and half lines too.

use crate::{archive::Archive, guest::Guest};
use assert_cmd::cargo::cargo_bin;
use std::{collections::BTreeMap, fmt::Write as _};

const MARK: &str = "=====";
/// Where each step's lines and output are in the guest.
const STEPS: &str = "/steps";
/// The cgroup that steps run in, where the guest has one.
const CGROUP: &str = "/sys/fs/cgroup/story";

/// What is to be done in a guest, in order.
#[derive(Clone, Debug, Default)]
pub struct Script {
    programs: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    asks: Vec<Ask>,
}

#[derive(Clone, Debug)]
enum Ask {
    Step { name: String, lines: String },
    Files { name: String, patterns: Vec<String> },
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    /// A program of this package goes into `/bin`, with its libraries.
    pub fn program(mut self, name: &str) -> Self {
        self.programs.push(name.to_owned());
        self
    }

    /// A file at `path`, which may be run.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// Lines for the guest's shell. The exit code is that of the last one, or of `exit`.
    pub fn step(mut self, name: &str, lines: &str) -> Self {
        self.asks.push(Ask::Step { name: name.to_owned(), lines: lines.to_owned() });
        self
    }

    /// Whatever files the patterns match now, line by line. A pattern that matches nothing is no failure.
    pub fn files(mut self, name: &str, patterns: &[&str]) -> Self {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        self.asks.push(Ask::Files { name: name.to_owned(), patterns });
        self
    }

    /// Puts everything that the guest needs for this into its archive.
    pub fn pack(&self, guest: &Guest, archive: &mut Archive) {
        for name in &self.programs {
            archive.linked_program(&format!("bin/{name}"), &cargo_bin(name));
        }
        for (path, content) in &self.files {
            archive.program(path, content);
        }
        archive.folder(STEPS);
        for (number, ask) in self.asks.iter().enumerate() {
            if let Ask::Step { lines, .. } = ask {
                archive.program(&format!("{STEPS}/{number}"), format!("{lines}\n").as_bytes());
            }
        }
        archive.program("init", self.init(guest).as_bytes());
    }

    /// What the guest does: set itself up, answer, switch itself off.
    fn init(&self, guest: &Guest) -> String {
        let mut script = String::from(SETUP);
        for cpu in guest.offline {
            writeln!(script, "echo 0 > /sys/devices/system/cpu/cpu{cpu}/online").unwrap();
        }
        for (node, kib, pages) in guest.pages {
            let pool = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-{kib}kB");
            writeln!(script, "echo {pages} > {pool}/nr_hugepages").unwrap();
        }
        if let Some((cpus, nodes)) = guest.cgroup {
            writeln!(script, "mount -t cgroup2 cgroup /sys/fs/cgroup; mkdir {CGROUP}").unwrap();
            writeln!(script, "echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control").unwrap();
            writeln!(script, "echo {cpus} > {CGROUP}/cpuset.cpus; echo {nodes} > {CGROUP}/cpuset.mems").unwrap();
        }
        for (number, ask) in self.asks.iter().enumerate() {
            match ask {
                Ask::Step { name, .. } => step(&mut script, number, name, guest.cgroup.is_some()),
                // One process for all files: hundreds of `cat`s would take longer than the boot.
                Ask::Files { name, patterns } => writeln!(
                    script,
                    "grep '' {} >{STEPS}/{number}.out; echo '{MARK} files {name}' $(wc -c <{STEPS}/{number}.out); \
                     cat {STEPS}/{number}.out",
                    patterns.join(" ")
                )
                .unwrap(),
            }
        }
        writeln!(script, "echo '{MARK} end'\npoweroff -f").unwrap();
        script
    }
}

const SETUP: &str = "#!/bin/busybox sh\n\
                     /bin/busybox --install -s /bin\n\
                     export PATH=/bin HOME=/tmp NO_COLOR=1\n\
                     mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys\n\
                     hostname guest\n\
                     stty -F /dev/ttyS1 raw\n\
                     exec >/dev/ttyS1\n";

/// Runs a step in a process of its own, so that `exit` ends only that, and tells what became of it. What a step left
/// running may go on writing to its files: only what was counted is sent.
fn step(script: &mut String, number: usize, name: &str, in_cgroup: bool) {
    let (out, err) = (format!("{STEPS}/{number}.out"), format!("{STEPS}/{number}.err"));
    let enter = if in_cgroup { format!("echo 0 >{CGROUP}/cgroup.procs && ") } else { String::new() };
    let lines = [
        format!("({enter}exec sh {STEPS}/{number}) </dev/null >{out} 2>{err}; code=$?"),
        format!("outs=$(wc -c <{out}); errs=$(wc -c <{err}); echo '{MARK} step {name}' $code $outs $errs"),
        format!("head -c $outs {out}; head -c $errs {err}"),
    ];
    lines.iter().for_each(|line| writeln!(script, "{line}").unwrap());
}

/// What a guest said.
#[derive(Debug, Default)]
pub struct Answers {
    steps: BTreeMap<String, Step>,
    files: BTreeMap<String, Files>,
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub out: String,
    pub err: String,
    pub code: i32,
}

/// Files of the guest by their paths, each line with its line feed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, String>);

impl Answers {
    pub fn step(&self, name: &str) -> &Step {
        self.steps.get(name).unwrap_or_else(|| panic!("no step {name}, there are {:?}", self.steps.keys()))
    }

    /// What a step that must have succeeded printed.
    pub fn said(&self, name: &str) -> &str {
        let step = self.step(name);
        assert_eq!(step.code, 0, "{name}: {}{}", step.out, step.err);
        &step.out
    }

    pub fn files(&self, name: &str) -> &Files {
        self.files.get(name).unwrap_or_else(|| panic!("no files {name}, there are {:?}", self.files.keys()))
    }

    /// Reads what came through the serial port; nothing where the end is missing.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut answers = Self::default();
        loop {
            let line = line(&mut bytes)?;
            let words: Vec<&str> = line.strip_prefix(MARK)?.split_whitespace().collect();
            match words[..] {
                ["end"] => return Some(answers),
                ["step", name, code, out, err] => {
                    let (out, err) = (text(&mut bytes, out)?, text(&mut bytes, err)?);
                    answers.steps.insert(name.to_owned(), Step { out, err, code: code.parse().ok()? });
                }
                ["files", name, size] => {
                    answers.files.insert(name.to_owned(), Files::parse(&text(&mut bytes, size)?));
                }
                _ => return None,
            }
        }
    }
}

/// Takes a line off the front.
fn line(bytes: &mut &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
    *bytes = &bytes[end + 1..];
    Some(line)
}

/// Takes as many bytes off the front as a number says.
fn text(bytes: &mut &[u8], size: &str) -> Option<String> {
    let (text, rest) = bytes.split_at_checked(size.parse().ok()?)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

impl Files {
    /// The text of a file, which must be there.
    pub fn get(&self, path: &str) -> &str {
        self.0.get(path).unwrap_or_else(|| panic!("no {path}, there are {:?}", self.0.keys()))
    }

    /// The files whose path begins so.
    pub fn below<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let files = self.0.iter().filter(move |(path, _)| path.starts_with(beginning));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// From `path:line` lines.
    fn parse(text: &str) -> Self {
        let mut files = Self::default();
        for (path, line) in text.lines().filter_map(|line| line.split_once(':')) {
            let file = files.0.entry(path.to_owned()).or_default();
            file.push_str(line);
            file.push('\n');
        }
        files
    }
}

#[test]
fn answers_are_cut_by_their_lengths_whatever_is_in_them() {
    let said = b"===== step a 3 12 2\n===== end\nhae!===== files f 24\n/sys/a:0-3\n/sys/b:\n/s:x\n===== end\n";
    let answers = Answers::parse(said).unwrap();
    assert_eq!(*answers.step("a"), Step { out: "===== end\nha".into(), err: "e!".into(), code: 3 });
    let files = answers.files("f");
    assert_eq!((files.get("/sys/a"), files.get("/sys/b"), files.get("/s")), ("0-3\n", "\n", "x\n"));
    assert_eq!(files.below("/sys/").count(), 2);
    for short in [&said[..said.len() - 1], &said[..40], b"", b"noise\n"] {
        assert!(Answers::parse(short).is_none(), "{}", String::from_utf8_lossy(short));
    }
}

#[test]
fn a_guest_is_told_its_steps_in_order() {
    let guest = Guest { offline: &[3], pages: &[(1, 2048, 64)], cgroup: Some(("0-1", "0")), ..Guest::default() };
    let init = Script::new().step("one", "echo 'it''s'").files("sys", &["/sys/a*", "/b"]).init(&guest);
    let places = [
        "cpu3/online",
        "echo 64 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
        "echo 0-1 > /sys/fs/cgroup/story/cpuset.cpus; echo 0 > /sys/fs/cgroup/story/cpuset.mems",
        "(echo 0 >/sys/fs/cgroup/story/cgroup.procs && exec sh /steps/0)",
        "grep '' /sys/a* /b >/steps/1.out",
        "poweroff",
    ]
    .map(|piece| init.find(piece).unwrap_or_else(|| panic!("{piece} is missing in {init}")));
    assert!(places.is_sorted(), "{init}");
}
