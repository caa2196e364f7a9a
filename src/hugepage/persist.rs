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
//! A file in systemd's folder is ours by its first line. Another's is never written or removed.

use super::{
    chosen::{self, Choice},
    error::{InitError, Refusal},
    look::{self, Facts},
    mounts::{self, Place},
    pool,
    request::{self, PLACEHOLDER, Target},
    state,
};
use crate::{
    sys::{
        Root,
        durable::{self, DurableError},
        hugetlbfs::FileError,
        settings,
    },
    units::{Bytes, NodeId},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// The name of the unit.
pub const UNIT: &str = "damocles-hugepages.service";
const FOLDER: &str = "/etc/systemd/system";
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
/// The first line of a file of ours.
const MARK: &str =
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

/// What an installation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub written: Vec<PathBuf>,
    pub removed: Vec<PathBuf>,
    /// As it should be already.
    pub unchanged: Vec<PathBuf>,
}

/// Why a unit was not written or removed.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    #[error("{}: somebody else made it; move it away, or keep it and add the unit under another name by hand", .0.display())]
    NotOurs(PathBuf),
    #[error("{}: a path that systemd would not read as one: it has a control character or is no text", .0.display())]
    OddPath(PathBuf),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    File(#[from] FileError),
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

/// The unit and the words for the kernel.
pub fn boot(root: &Root, wish: &Wish) -> Result<Boot, BootError> {
    let facts = look::look(root).map_err(BootError::Look)?;
    let text = unit(wish)?;
    let command_line = root.read_some("/proc/cmdline").ok().flatten().unwrap_or_default();
    let kernel = kernel_lines(wish, &facts, &command_line);
    let mut notes = Vec::new();
    let release = settings::release(root).unwrap_or_default();
    if !kernel.is_empty() && is_before_5_16(&release) {
        notes.push(format!(
            "this kernel is {release}: pages per node on its command line (0:64,1:64) need 5.16; before that \
             hugepages=N spreads N pages over all nodes"
        ));
    }
    Ok(Boot { unit: Path::new(FOLDER).join(UNIT), text, kernel, notes })
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

/// Pages of 1 GiB and more need memory in one piece, which only a boot is sure to have. A pool that is larger now stays so.
fn kernel_lines(wish: &Wish, facts: &Facts, command_line: &str) -> Vec<KernelLine> {
    let mut sizes: BTreeMap<Bytes, BTreeMap<NodeId, u64>> = BTreeMap::new();
    for (target, place) in wish.targets.iter().filter(|(_, place)| place.page_bytes >= Bytes::gib(1)) {
        let pages = target.files.saturating_mul(target.file_bytes.0 / place.page_bytes.0);
        let node = sizes.entry(place.page_bytes).or_default().entry(target.node).or_default();
        *node = node.saturating_add(pages);
    }
    let line = |(page_bytes, mut pools): (Bytes, BTreeMap<NodeId, u64>)| {
        for (node, pool) in facts.nodes.iter().filter_map(|(id, node)| Some((*id, node.pool(page_bytes)?))) {
            let pages = pools.entry(node).or_default();
            *pages = (*pages).max(pool.pages.saturating_sub(pool.surplus));
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
fn unit(wish: &Wish) -> Result<String, PersistError> {
    let mounts: BTreeSet<_> = wish.targets.iter().map(|(_, place)| &place.mount).collect();
    let mounts = mounts.into_iter().map(|mount| word(&mount.to_string_lossy())).collect::<Result<Vec<_>, _>>()?;
    let mut text = format!(
        "{MARK}\n[Unit]\nDescription=Hugepage files for PC1\nRequiresMountsFor={}\nBefore={}\n\n[Service]\nType=oneshot\n\
         RemainAfterExit=yes\nTimeoutStartSec=infinity\n",
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

/// Writes the unit and lets it be started at boot. Twice is once.
pub fn install(root: &Root, boot: &Boot) -> Result<Changed, PersistError> {
    let mut changed = Changed::default();
    let link = Path::new(WANTS).join(UNIT);
    let is_linked = refuse_others(root, &boot.unit, &link)?;
    let real = root.path(&boot.unit);
    if fs::read_to_string(&real).is_ok_and(|text| text == boot.text) {
        changed.unchanged.push(boot.unit.clone());
    } else {
        let failed = |source| DurableError::new("writing", &real, source);
        root.effect("write the unit", &real).map_err(failed)?;
        durable::make_folder(&root.path(FOLDER))?;
        durable::write_atomic(&real, boot.text.as_bytes())?;
        changed.written.push(boot.unit.clone());
    }
    if is_linked {
        changed.unchanged.push(link);
        return Ok(changed);
    }
    let real = root.path(&link);
    let failed = |source| DurableError::new("linking", &real, source);
    root.effect("link the unit", &real).map_err(failed)?;
    durable::make_folder(&root.path(WANTS))?;
    std::os::unix::fs::symlink(format!("../{UNIT}"), &real).map_err(failed)?;
    durable::sync_folder_of(&real)?;
    changed.written.push(link);
    Ok(changed)
}

/// Takes away what `install` wrote, the link first: a unit that is linked and not there is an error at boot.
pub fn uninstall(root: &Root) -> Result<Changed, PersistError> {
    let mut changed = Changed::default();
    let (unit, link) = (Path::new(FOLDER).join(UNIT), Path::new(WANTS).join(UNIT));
    refuse_others(root, &unit, &link)?;
    for path in [link, unit] {
        let real = root.path(&path);
        if fs::symlink_metadata(&real).is_err() {
            continue;
        }
        let failed = |source| DurableError::new("removing", &real, source);
        root.effect("remove", &real).map_err(failed)?;
        durable::remove_if_there(&real)?;
        durable::sync_folder_of(&real)?;
        changed.removed.push(path);
    }
    Ok(changed)
}

/// What `uninstall` would take away.
pub fn installed(root: &Root) -> Result<Changed, PersistError> {
    let (unit, link) = (Path::new(FOLDER).join(UNIT), Path::new(WANTS).join(UNIT));
    refuse_others(root, &unit, &link)?;
    let is_there = |path: &PathBuf| fs::symlink_metadata(root.path(path)).is_ok();
    Ok(Changed { removed: [link, unit].into_iter().filter(is_there).collect(), ..Changed::default() })
}

/// That a unit and a link that are there are ours. Says whether the link is there.
fn refuse_others(root: &Root, unit: &Path, link: &Path) -> Result<bool, PersistError> {
    let not_ours = |path: &Path| PersistError::NotOurs(path.to_owned());
    let real = root.path(unit);
    match fs::symlink_metadata(&real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(DurableError::new("looking at", &real, error).into()),
        Ok(stat) if !stat.is_file() => return Err(not_ours(unit)),
        Ok(_) => {
            let text = fs::read_to_string(&real).map_err(|error| DurableError::new("reading", &real, error))?;
            if text.lines().next() != Some(MARK) {
                return Err(not_ours(unit));
            }
        }
    }
    let real = root.path(link);
    match fs::symlink_metadata(&real) {
        Err(_) => Ok(false),
        Ok(stat) if !stat.is_symlink() => Err(not_ours(link)),
        // `systemctl enable` writes the absolute path.
        Ok(_) => match fs::read_link(&real) {
            Ok(to) if to == Path::new("..").join(UNIT) || to == unit => Ok(true),
            _ => Err(not_ours(link)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hugepage::{look::Node, request::Pattern},
        sys::memory::Pool,
    };
    use proptest::prelude::*;

    fn wish() -> Wish {
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
        let words = |pages| kernel_lines(&wish(), &facts(pages), "ro quiet")[0].words.clone();
        assert_eq!(words([64, 64]), "hugepagesz=1G hugepages=0:64,1:64");
        assert_eq!(words([0, 80]), "hugepagesz=1G hugepages=0:64,1:80", "others have some too");
        let booted = kernel_lines(&wish(), &facts([64, 64]), "ro hugepagesz=1G hugepages=0:64,1:64 quiet");
        assert!(booted[0].is_there);
        let other = kernel_lines(&wish(), &facts([64, 64]), "ro hugepagesz=1G hugepages=0:64,1:640 quiet");
        assert!(!other[0].is_there, "1:640 is another number");
        let mut small = wish();
        small.targets.iter_mut().for_each(|(_, place)| place.page_bytes = Bytes::mib(2));
        assert!(kernel_lines(&small, &facts([0, 0]), "").is_empty(), "pages of 2 MiB can be had later");
        assert!(is_before_5_16("5.15.0-91-generic") && !is_before_5_16("5.16.1") && !is_before_5_16("6.1.0-37"));
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

    #[test]
    fn a_unit_is_installed_once_and_removed_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let mut boot = Boot { unit: Path::new(FOLDER).join(UNIT), text: unit(&wish()).unwrap(), ..Boot::default() };
        assert_eq!(install(&root, &boot).unwrap().written.len(), 2);
        let linked = fs::read_to_string(root.path(WANTS).join(UNIT)).unwrap();
        assert_eq!(linked, boot.text, "the link leads to it");
        let again = install(&root, &boot).unwrap();
        assert_eq!((again.written.len(), again.unchanged.len()), (0, 2));
        boot.text.push_str("# more\n");
        assert_eq!(install(&root, &boot).unwrap().written, [boot.unit.clone()]);
        assert_eq!(uninstall(&root).unwrap().removed.len(), 2);
        assert_eq!(uninstall(&root).unwrap(), Changed::default());
        assert!(!root.path(&boot.unit).exists() && fs::symlink_metadata(root.path(WANTS).join(UNIT)).is_err());
    }

    #[test]
    fn what_somebody_else_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let boot = Boot { unit: Path::new(FOLDER).join(UNIT), text: unit(&wish()).unwrap(), ..Boot::default() };
        fs::create_dir_all(root.path(FOLDER)).unwrap();
        fs::write(root.path(&boot.unit), "[Unit]\n").unwrap();
        for refused in [install(&root, &boot), uninstall(&root)] {
            assert!(refused.unwrap_err().to_string().contains("somebody else made it"));
        }
        assert_eq!(fs::read_to_string(root.path(&boot.unit)).unwrap(), "[Unit]\n");
        fs::remove_file(root.path(&boot.unit)).unwrap();
        fs::create_dir_all(root.path(WANTS)).unwrap();
        std::os::unix::fs::symlink("/elsewhere", root.path(WANTS).join(UNIT)).unwrap();
        assert!(matches!(install(&root, &boot), Err(PersistError::NotOurs(_))));
        assert!(!root.path(&boot.unit).exists(), "nothing was written before");
    }
}
