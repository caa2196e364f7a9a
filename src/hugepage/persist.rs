//! `hugepage-persist`: the same files after the next boot: a systemd unit that makes them, and the kernel's command line for pages
//! of 1 GiB.
//!
//! ```text
//! boot ─► kernel command line: pools of 1 GiB, while memory is in one piece
//!      ─► damocles-hugepages.service: mount, hugepage-file-init for each folder ─► damocles-worker.service
//! ```
//!
//! The unit mounts through `hugepage-file-init --mount`, not through a mount unit of its own: so the mount is in the record, and a
//! release of a later boot can take it back. Where a mount unit or /etc/fstab mounts there already, that comes first.
//!
//! The unit stands before the worker's in the order of a boot, and that alone: where it fails, the worker starts all the same, on
//! ordinary memory. Whoever wants it otherwise adds `Requires=` to the worker's unit, which is his.
//!
//! Pure but for the looks at this machine. [`super::install`] writes and removes the unit.

use super::{
    begin,
    chosen::{self, Choice},
    error::{InitError, Refusal},
    init,
    look::{self, Facts},
    mounts::{self, Place},
    pool,
    request::{self, PLACEHOLDER, Target},
    state,
};
use crate::{
    sys::{Root, durable::DurableError, settings},
    units::{Bytes, NodeId},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
};

/// The name of the unit.
pub const UNIT: &str = "damocles-hugepages.service";
pub(super) const FOLDER: &str = "/etc/systemd/system";
/// The first line of a file of ours.
pub(super) const MARK: &str =
    "# Made by `damocles-worker store hugepage-persist`, which overwrites it, and takes it away with --remove.";

/// What is to be there after a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub targets: Vec<(Target, Place)>,
    /// The record that the unit keeps.
    pub record: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// The unit that needs the files.
    pub worker_unit: String,
}

/// What does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Where it goes, or would: with another root the path below that.
    pub unit: PathBuf,
    pub text: String,
    pub kernel: Vec<KernelLine>,
    pub notes: Vec<String>,
}

/// Words for the kernel's command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelLine {
    pub page_bytes: Bytes,
    pub words: String,
    /// Whether this boot had them.
    pub is_there: bool,
}

/// Why a unit cannot be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    #[error("{}: somebody else made it; move it away, or keep it and add the unit under another name by hand", .0.display())]
    NotOurs(PathBuf),
    #[error("{}: a path that systemd would not read as one: it has a control character or is no text; choose another", .0.display())]
    OddPath(PathBuf),
    #[error(
        "{0:?} is no name of a systemd unit; write it as systemctl shows it, as in --worker-unit damocles-worker.service"
    )]
    NotAUnit(String),
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// All or none failed: what could not be had as it was.
    #[error("{cause}\nand could not be put back, which a second try of the same command may: {}", left.join("; "))]
    NotUndone { cause: Box<PersistError>, left: Vec<String> },
}

/// The files that lie in the folders that are meant, as what is wished for again.
pub fn targets_there(choice: &Choice, root: &Root, record: &Path) -> Result<Vec<(Target, Place)>, InitError> {
    let facts = look::look(root)?;
    let state = state::peek(root, record)?;
    let mut targets = Vec::new();
    for chosen in chosen::chosen(root, choice, &facts, &state)? {
        let Some(place) = &chosen.place else { continue };
        // Numbers count from 0 again after a boot, whatever is missing now.
        let mut files: BTreeMap<Bytes, u64> = BTreeMap::new();
        for item in chosen.items(root)?.iter().filter(|item| item.is_file) {
            let Some(bytes) = item.wanted(chosen.known.as_ref()) else { continue };
            let number = request::parse_name(&item.name).map_or(0, |(_, number)| number);
            let count = files.entry(bytes).or_default();
            *count = (*count).max(number.saturating_add(1));
        }
        for (file_bytes, files) in files {
            let target = Target { node: chosen.node, folder: chosen.folder.clone(), files, file_bytes };
            targets.push((target, place.clone()));
        }
    }
    if targets.is_empty() {
        return Err(chosen::nothing(choice, &state, record).into());
    }
    Ok(targets)
}

/// The places of targets of a configuration: where a hugetlbfs is mounted now, or where one is to be.
pub fn placed(
    targets: Vec<Target>,
    facts: &Facts,
    mount: Option<&Path>,
    page_bytes: Option<Bytes>,
) -> Result<Vec<(Target, Place)>, Refusal> {
    let place = |target: &Target| match mount.filter(|at| target.folder.starts_with(at)) {
        Some(at) => mounts::asked_for(&facts.mounts, at, page_bytes, &facts.page_sizes),
        None => mounts::place(&facts.mounts, &target.folder, page_bytes),
    };
    targets
        .into_iter()
        .map(|target| {
            facts.usable(target.node)?;
            let place = place(&target)?;
            request::pages_per_file(target.file_bytes, place.page_bytes)?;
            Ok((target, place))
        })
        .collect()
}

/// The unit, which goes below `target`, and the words for the kernel of this machine.
pub fn boot(root: &Root, target: &Root, wish: &Wish) -> Result<Boot, BootError> {
    let check = |mount| begin::check_record(root, &wish.record, mount);
    let mut mounts = wish.targets.iter().map(|(_, place)| Some(place.mount.as_path()));
    mounts.try_for_each(check).map_err(|refusal| BootError::Look(refusal.into()))?;
    let facts = look::look(root).map_err(BootError::Look)?;
    let text = unit(wish)?;
    let command_line = root.read_some("/proc/cmdline").ok().flatten().unwrap_or_default();
    let kernel = kernel_lines(wish, &facts, &made_again(root, wish), &command_line);
    let mut notes = Vec::new();
    let release = settings::release(root).unwrap_or_default();
    if !kernel.is_empty() && is_before_5_16(&release) {
        notes.push(format!(
            "this kernel is {release}: pages per node on its command line (0:64,1:64) need 5.16; before that \
             hugepages=N spreads N pages over all nodes"
        ));
    }
    Ok(Boot { unit: target.path(FOLDER).join(UNIT), text, kernel, notes })
}

/// Why there is nothing to install.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Look(InitError),
    #[error(transparent)]
    Unit(#[from] PersistError),
}

fn is_before_5_16(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (5, 16),
        _ => false,
    }
}

/// Pages by node and size.
type Pages = BTreeMap<(NodeId, Bytes), u64>;

/// The pages that files hold now which the unit makes again.
fn made_again(root: &Root, wish: &Wish) -> Pages {
    let mut pages = Pages::new();
    for (target, place) in wish.targets.iter().filter(|(_, place)| !place.is_new) {
        let held = target.paths().map(|path| init::allocated(root, &path).0).fold(0, u64::saturating_add);
        *pages.entry((target.node, place.page_bytes)).or_default() += held / place.page_bytes.0.max(1);
    }
    pages
}

/// Pages of 1 GiB and more need memory in one piece, which only a boot is sure to have. What others use of a pool, or were
/// promised, they will want again, beside what is made; and a pool that is larger now stays so.
fn kernel_lines(wish: &Wish, facts: &Facts, made_again: &Pages, command_line: &str) -> Vec<KernelLine> {
    let mut sizes: BTreeMap<Bytes, BTreeMap<NodeId, u64>> = BTreeMap::new();
    for (target, place) in wish.targets.iter().filter(|(_, place)| place.page_bytes >= Bytes::gib(1)) {
        let pages = target.files.saturating_mul(target.file_bytes.0 / place.page_bytes.0);
        let node = sizes.entry(place.page_bytes).or_default().entry(target.node).or_default();
        *node = node.saturating_add(pages);
    }
    let line = |(page_bytes, mut pools): (Bytes, BTreeMap<NodeId, u64>)| {
        // Promises belong to no node: they are counted where free pages can keep them.
        let mut promised = facts.reserved.get(&page_bytes).copied().unwrap_or(0);
        for (node, pool) in facts.nodes.iter().filter_map(|(id, node)| Some((*id, node.pool(page_bytes)?))) {
            let ours = made_again.get(&(node, page_bytes)).copied().unwrap_or(0);
            let kept = promised.min(pool.free);
            promised -= kept;
            let others = pool.pages.saturating_sub(pool.free).saturating_sub(ours).saturating_add(kept);
            let pages = pools.entry(node).or_default();
            *pages = pages.saturating_add(others).max(pool::own(pool));
        }
        let words = pool::boot_line(page_bytes, &pools);
        KernelLine { page_bytes, is_there: has_words(command_line, &words), words }
    };
    sizes.into_iter().map(line).collect()
}

/// Whether these words stand there one after the other, as whole words: `0:6` is not in `0:64`.
fn has_words(line: &str, words: &str) -> bool {
    let (line, words): (Vec<_>, Vec<_>) = (line.split_whitespace().collect(), words.split_whitespace().collect());
    line.windows(words.len().max(1)).any(|part| part == words)
}

/// The text of the unit.
pub(super) fn unit(wish: &Wish) -> Result<String, PersistError> {
    if !is_unit_name(&wish.worker_unit) {
        return Err(PersistError::NotAUnit(wish.worker_unit.clone()));
    }
    let mounts: BTreeSet<_> = wish.targets.iter().map(|(_, place)| &place.mount).collect();
    let mounts = mounts.into_iter().map(|mount| word(&mount.to_string_lossy())).collect::<Result<Vec<_>, _>>()?;
    let mut text = format!(
        "{MARK}\n[Unit]\nDescription=Hugepage files for PC1\nRequiresMountsFor={}\n\
         # An order only: where this fails, the worker starts all the same. Requires={UNIT} in its own unit is stricter.\n\
         Before={}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=infinity\n",
        mounts.join(" "),
        wish.worker_unit,
    );
    for (target, place) in &wish.targets {
        let words = command(wish, target, place).iter().map(|part| word(part)).collect::<Result<Vec<_>, _>>()?;
        // Only in commands a dollar sign begins a variable.
        writeln!(text, "ExecStart={}", words.join(" ").replace('$', "$$")).expect("a text takes all that is written");
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    Ok(text)
}

fn command(wish: &Wish, target: &Target, place: &Place) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec![path(&wish.program), "store".into(), "hugepage-file-init".into()];
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    flag("--node", target.node.to_string());
    flag("--num", target.files.to_string());
    flag("--size", target.file_bytes.to_string());
    let (name, value) = folder_flag(&target.folder, target.node);
    flag(name, value);
    flag("--mount", path(&place.mount));
    flag("--page-size", place.page_bytes.to_string());
    if wish.record != Path::new(state::DEFAULT) {
        flag("--state", path(&wish.record));
    }
    words
}

/// The flag that names a folder of one node: any place where the node's number stands may have been the pattern's.
fn folder_flag(folder: &Path, node: NodeId) -> (&'static str, String) {
    let text = folder.to_string_lossy();
    if let Some(path) = text.strip_suffix(&format!("/numa_{node}")).filter(|path| !path.is_empty()) {
        return ("--path", path.to_owned());
    }
    let number = node.to_string();
    match text.rfind(&number) {
        Some(at) => {
            let pattern = format!("{}{PLACEHOLDER}{}", &text[..at], &text[at + number.len()..]);
            ("--path-pattern", pattern)
        }
        // A pattern always has the number in it; what has none is a folder of its own kind, and init will say so.
        None => ("--path-pattern", text.into_owned()),
    }
}

const UNIT_TYPES: [&str; 11] =
    ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];

/// Whether systemd would take this for the name of one unit, by systemd.unit(5): a template needs its instance.
fn is_unit_name(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let is_prefix = |prefix: &str| !prefix.is_empty() && !prefix.starts_with('@') && !prefix.ends_with('@');
    let of_type = name.rsplit_once('.').is_some_and(|(prefix, kind)| is_prefix(prefix) && UNIT_TYPES.contains(&kind));
    of_type && name.len() < 256 && name.chars().all(is_sign)
}

/// A word as systemd reads it: quoted where it must be, its own signs doubled.
fn word(text: &str) -> Result<String, PersistError> {
    if text.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err(PersistError::OddPath(text.into()));
    }
    let text = text.replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%$".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text);
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        hugepage::{look::Node, request::Pattern},
        sys::memory::Pool,
    };
    use proptest::prelude::*;

    pub(in crate::hugepage) fn wish() -> Wish {
        let target = |node: u32, path: &str| {
            let node = NodeId(node);
            let folder = Pattern::of_path(Path::new(path)).unwrap().folder(node);
            let place = Place { mount: "/mnt/huge_1g".into(), page_bytes: Bytes::gib(1), is_new: false };
            (Target { node, folder, files: 2, file_bytes: Bytes::gib(32) }, place)
        };
        Wish {
            targets: vec![target(0, "/mnt/huge_1g/pc1_1"), target(1, "/mnt/huge_1g/pc1_2")],
            record: state::DEFAULT.into(),
            program: "/usr/bin/damocles-worker".into(),
            worker_unit: "damocles-worker.service".into(),
        }
    }

    fn facts(pages: [u64; 2]) -> Facts {
        let node = |pages| Node {
            pools: vec![Pool { page_bytes: Bytes::gib(1), pages, free: 0, surplus: 0 }],
            ..Node::default()
        };
        let nodes = pages.iter().enumerate().map(|(id, pages)| (NodeId(id as u32), node(*pages)));
        Facts { nodes: nodes.collect(), ..Facts::default() }
    }

    #[test]
    fn the_unit_makes_every_folder_before_the_worker() {
        assert_eq!(
            unit(&wish()).unwrap(),
            format!(
                "{MARK}\n\
                 [Unit]\n\
                 Description=Hugepage files for PC1\n\
                 RequiresMountsFor=/mnt/huge_1g\n\
                 # An order only: where this fails, the worker starts all the same. Requires=damocles-hugepages.service in its own \
                 unit is stricter.\n\
                 Before=damocles-worker.service\n\
                 \n\
                 [Service]\n\
                 Type=oneshot\n\
                 RemainAfterExit=yes\n\
                 TimeoutStartSec=infinity\n\
                 ExecStart=/usr/bin/damocles-worker store hugepage-file-init --node 0 --num 2 --size 32GiB \
                 --path /mnt/huge_1g/pc1_1 --mount /mnt/huge_1g --page-size 1GiB\n\
                 ExecStart=/usr/bin/damocles-worker store hugepage-file-init --node 1 --num 2 --size 32GiB \
                 --path /mnt/huge_1g/pc1_2 --mount /mnt/huge_1g --page-size 1GiB\n\
                 \n\
                 [Install]\n\
                 WantedBy=multi-user.target\n"
            )
        );
    }

    #[test]
    fn the_kernel_gets_pages_per_node_and_none_is_lost() {
        let ours = Pages::from([0, 1].map(|node| ((NodeId(node), Bytes::gib(1)), 64)));
        let lines = |pages, line| kernel_lines(&wish(), &facts(pages), &ours, line);
        let words = |pages| lines(pages, "ro quiet")[0].words.clone();
        assert_eq!(words([64, 64]), "hugepagesz=1G hugepages=0:64,1:64");
        assert_eq!(words([0, 80]), "hugepagesz=1G hugepages=0:64,1:80", "others use 16 beside ours");
        assert!(lines([64, 64], "ro hugepagesz=1G hugepages=0:64,1:64 quiet")[0].is_there);
        let other = lines([64, 64], "ro hugepagesz=1G hugepages=0:64,1:640 quiet");
        assert!(!other[0].is_there, "1:640 is another number");
        let mut small = wish();
        small.targets.iter_mut().for_each(|(_, place)| place.page_bytes = Bytes::mib(2));
        assert!(kernel_lines(&small, &facts([0, 0]), &ours, "").is_empty(), "pages of 2 MiB can be had later");
        assert!(is_before_5_16("5.15.0-91-generic") && !is_before_5_16("5.16.1") && !is_before_5_16("6.1.0-37"));
    }

    #[test]
    fn what_others_use_of_a_pool_they_get_beside_what_is_made() {
        let mut facts = facts([16, 70]);
        facts.nodes.get_mut(&NodeId(1)).unwrap().pools[0].free = 70;
        let words = |facts: &Facts| kernel_lines(&wish(), facts, &Pages::new(), "")[0].words.clone();
        assert_eq!(words(&facts), "hugepagesz=1G hugepages=0:80,1:70", "all 16 are in use, and 64 are made");
        facts.reserved.insert(Bytes::gib(1), 10);
        assert_eq!(words(&facts), "hugepagesz=1G hugepages=0:80,1:74", "10 of the free ones are promised");
    }

    #[test]
    fn the_name_of_the_workers_unit_must_be_one() {
        for name in ["damocles-worker.service", "worker@1.service", r"a\x2db.mount", "a.b.target"] {
            assert!(is_unit_name(name), "{name}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for name in [
            "bad unit",
            "bad unit.service",
            "worker",
            "",
            ".service",
            "worker@.service",
            "@1.service",
            "a.srv",
            "a\nb.service",
            "a/b.service",
            "a.service b.service",
            &long,
        ] {
            let told = unit(&Wish { worker_unit: name.into(), ..wish() }).unwrap_err().to_string();
            assert!(told.contains("is no name of a systemd unit"), "{told}");
        }
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        assert_eq!(word("/mnt/a-b_1").unwrap(), "/mnt/a-b_1");
        assert_eq!(word("/mnt/a b\"c\\").unwrap(), r#""/mnt/a b\"c\\""#);
        assert_eq!(word("/50%").unwrap(), "/50%%");
        assert!(matches!(word("/a\nb"), Err(PersistError::OddPath(_))));
        let mut odd = wish();
        odd.targets[0].0.folder = "/mnt/node 0/pc1".into();
        assert!(unit(&odd).unwrap().contains("--path-pattern \"/mnt/node $$NUMA_NODE_INDEX/pc1\""));
    }

    proptest! {
        #[test]
        fn the_flag_of_a_folder_means_that_folder(before in "[a-z0-9_]{0,6}", after in "[a-z0-9/_]{0,6}", node in 0u32..30) {
            let pattern = Pattern::parse(&format!("/mnt/{before}{PLACEHOLDER}{after}")).unwrap();
            let folder = pattern.folder(NodeId(node));
            let (flag, value) = folder_flag(&folder, NodeId(node));
            let read = if flag == "--path" { Pattern::of_path(Path::new(&value)) } else { Pattern::parse(&value) };
            prop_assert_eq!(read.unwrap().folder(NodeId(node)), folder);
        }
    }
}
