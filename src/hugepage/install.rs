//! The unit of `hugepage-persist` in systemd's folder: written and linked, or taken away; all of it or none.
//!
//! ```text
//! refuse what is another's ─ look ─► folders ─ unit ─ link      ─┐
//!                               └──► link away ─ unit away      ─┴─ any failure: as it was before
//! ```
//!
//! A file there is ours by its first line, a link by where it leads. Another's is never written or removed. A killed installation
//! leaves at most a unit that nothing starts, a part of one under a hidden name, and folders; a second one, or a removal, finds
//! its way from there.

use super::persist::{Boot, FOLDER, MARK, PersistError, UNIT};
use crate::sys::{
    Root,
    durable::{self, DurableError},
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What an installation changed, by the paths that were touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub written: Vec<PathBuf>,
    pub removed: Vec<PathBuf>,
    /// As it should be already.
    pub unchanged: Vec<PathBuf>,
}

/// What was there before anything was changed.
struct Before {
    unit: PathBuf,
    link: PathBuf,
    text: Option<String>,
    /// Where the link led.
    to: Option<PathBuf>,
    /// Folders that were not there, outermost first.
    missing: Vec<PathBuf>,
}

/// Writes the unit and lets it be started at boot. Twice is once.
pub fn install(root: &Root, boot: &Boot) -> Result<Changed, PersistError> {
    let before = Before::look(root)?;
    write(root, &before, &boot.text).map_err(|cause| before.restore(root, cause))
}

/// Takes away what `install` wrote, the link first: a unit that is linked and not there is an error at boot.
pub fn uninstall(root: &Root) -> Result<Changed, PersistError> {
    let before = Before::look(root)?;
    take_away(root, &before).map_err(|cause| before.restore(root, cause))
}

/// What `uninstall` would take away.
pub fn installed(root: &Root) -> Result<Changed, PersistError> {
    let Before { unit, link, text, to, .. } = Before::look(root)?;
    let removed = to.map(|_| link).into_iter().chain(text.map(|_| unit)).collect();
    Ok(Changed { removed, ..Changed::default() })
}

fn write(root: &Root, before: &Before, text: &str) -> Result<Changed, PersistError> {
    let (unit, link) = (before.unit.clone(), before.link.clone());
    let mut changed = Changed::default();
    for folder in &before.missing {
        change(root, "make folder", folder, || durable::make_folder(folder))?;
    }
    sweep(root, &unit)?;
    if before.text.as_deref() == Some(text) {
        changed.unchanged.push(unit);
    } else {
        change(root, "write the unit", &unit, || durable::write_atomic(&unit, text.as_bytes()))?;
        changed.written.push(unit);
    }
    if before.to.is_some() {
        changed.unchanged.push(link);
    } else {
        change(root, "link the unit", &link, || make_link(&link, &Path::new("..").join(UNIT)))?;
        changed.written.push(link);
    }
    Ok(changed)
}

fn take_away(root: &Root, before: &Before) -> Result<Changed, PersistError> {
    let mut changed = Changed::default();
    if before.unit.parent().is_some_and(Path::exists) {
        sweep(root, &before.unit)?;
    }
    let (link, unit) = (before.to.is_some().then_some(&before.link), before.text.is_some().then_some(&before.unit));
    for path in link.into_iter().chain(unit) {
        change(root, "remove", path, || remove(path))?;
        changed.removed.push(path.clone());
    }
    Ok(changed)
}

/// What an installation left that was killed while it wrote.
fn sweep(root: &Root, unit: &Path) -> Result<(), DurableError> {
    for leftover in durable::leftovers(unit)? {
        change(root, "remove the leftover", &leftover, || durable::remove_leftover(&leftover))?;
    }
    Ok(())
}

/// Announces a change and makes it.
fn change(
    root: &Root,
    doing: &'static str,
    path: &Path,
    act: impl FnOnce() -> Result<(), DurableError>,
) -> Result<(), DurableError> {
    root.effect(doing, path).map_err(|source| DurableError::new(doing, path, source))?;
    act()
}

fn make_link(link: &Path, to: &Path) -> Result<(), DurableError> {
    std::os::unix::fs::symlink(to, link).map_err(|source| DurableError::new("linking", link, source))?;
    durable::sync_folder_of(link)
}

fn remove(path: &Path) -> Result<(), DurableError> {
    durable::remove_if_there(path)?;
    durable::sync_folder_of(path)
}

impl Before {
    /// What is there; what is somebody else's is refused.
    fn look(root: &Root) -> Result<Self, PersistError> {
        let folder = root.path(FOLDER);
        let wants = folder.join("multi-user.target.wants");
        let (unit, link) = (folder.join(UNIT), wants.join(UNIT));
        let mut missing: Vec<_> = wants.ancestors().take_while(|part| !part.exists()).map(Path::to_owned).collect();
        missing.retain(|part| !part.as_os_str().is_empty());
        missing.reverse();
        Ok(Self { text: text_of(&unit)?, to: target_of(root, &link)?, unit, link, missing })
    }

    /// Makes everything as it was, and gives the cause back with what could not be.
    fn restore(&self, root: &Root, cause: PersistError) -> PersistError {
        let mut left = Vec::new();
        let mut note = |result: Result<(), DurableError>| left.extend(result.err().map(|error| error.to_string()));
        let (is_text, is_linked) = (fs::read_to_string(&self.unit).ok(), fs::read_link(&self.link).ok());
        if is_text != self.text {
            note(change(root, "put back the unit", &self.unit, || match &self.text {
                Some(text) => durable::write_atomic(&self.unit, text.as_bytes()),
                None => remove(&self.unit),
            }));
        }
        if is_linked != self.to {
            note(change(root, "put back the link", &self.link, || match &self.to {
                Some(to) => make_link(&self.link, to),
                None => remove(&self.link),
            }));
        }
        for folder in self.missing.iter().rev().filter(|folder| folder.exists()) {
            note(change(root, "remove folder", folder, || remove_folder(folder)));
        }
        match left.is_empty() {
            true => cause,
            false => PersistError::NotUndone { cause: Box::new(cause), left },
        }
    }
}

/// A folder that others use by now stays.
fn remove_folder(folder: &Path) -> Result<(), DurableError> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(DurableError::new("removing folder", folder, error))
        }
        _ => Ok(()),
    }
}

/// The text of a unit that is there and ours.
fn text_of(unit: &Path) -> Result<Option<String>, PersistError> {
    match fs::symlink_metadata(unit) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DurableError::new("looking at", unit, error).into()),
        Ok(stat) if !stat.is_file() => return Err(PersistError::NotOurs(unit.to_owned())),
        Ok(_) => {}
    }
    let text = fs::read_to_string(unit).map_err(|error| DurableError::new("reading", unit, error))?;
    if text.lines().next() == Some(MARK) { Ok(Some(text)) } else { Err(PersistError::NotOurs(unit.to_owned())) }
}

/// Where a link leads that is there and ours.
fn target_of(root: &Root, link: &Path) -> Result<Option<PathBuf>, PersistError> {
    let not_ours = || PersistError::NotOurs(link.to_owned());
    match fs::symlink_metadata(link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DurableError::new("looking at", link, error).into()),
        Ok(stat) if !stat.is_symlink() => return Err(not_ours()),
        Ok(_) => {}
    }
    let to = fs::read_link(link).map_err(|error| DurableError::new("reading", link, error))?;
    // `systemctl enable` writes the absolute path, as the system sees it that it is for.
    let absolute = [Path::new(FOLDER).join(UNIT), root.path(FOLDER).join(UNIT)];
    let is_ours = to == Path::new("..").join(UNIT) || absolute.contains(&to);
    if is_ours { Ok(Some(to)) } else { Err(not_ours()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hugepage::persist::{self, tests::wish},
        sys::faults::Faults,
    };

    const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";

    fn boot(root: &Root) -> Boot {
        Boot { unit: root.path(FOLDER).join(UNIT), text: persist::unit(&wish()).unwrap(), ..Boot::default() }
    }

    /// Every path below a folder, with what is in it.
    fn all(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_link(&path).map(|to| to.display().to_string()).or_else(|_| fs::read_to_string(&path));
            found.push(format!("{} {}", path.display(), text.unwrap_or_default()));
            if path.is_dir() && !path.is_symlink() {
                found.extend(all(&path));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_unit_is_installed_once_and_removed_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let mut boot = boot(&root);
        let written = install(&root, &boot).unwrap().written;
        assert_eq!(written, [root.path(FOLDER).join(UNIT), root.path(WANTS).join(UNIT)], "the paths that were touched");
        let linked = fs::read_to_string(root.path(WANTS).join(UNIT)).unwrap();
        assert_eq!(linked, boot.text, "the link leads to it");
        let again = install(&root, &boot).unwrap();
        assert_eq!((again.written.len(), again.unchanged), (0, written));
        boot.text.push_str("# more\n");
        assert_eq!(install(&root, &boot).unwrap().written, [boot.unit.clone()]);
        assert_eq!(uninstall(&root).unwrap().removed.len(), 2);
        assert_eq!(uninstall(&root).unwrap(), Changed::default());
        assert!(!boot.unit.exists() && fs::symlink_metadata(root.path(WANTS).join(UNIT)).is_err());
    }

    #[test]
    fn what_somebody_else_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let boot = boot(&root);
        fs::create_dir_all(root.path(FOLDER)).unwrap();
        fs::write(&boot.unit, "[Unit]\n").unwrap();
        for refused in [install(&root, &boot), uninstall(&root)] {
            let told = refused.unwrap_err().to_string();
            assert!(told.starts_with(&format!("{}: somebody else made it", boot.unit.display())), "{told}");
        }
        assert_eq!(fs::read_to_string(&boot.unit).unwrap(), "[Unit]\n");
        fs::remove_file(&boot.unit).unwrap();
        fs::create_dir_all(root.path(WANTS)).unwrap();
        std::os::unix::fs::symlink("/elsewhere", root.path(WANTS).join(UNIT)).unwrap();
        assert!(matches!(install(&root, &boot), Err(PersistError::NotOurs(_))));
        assert!(!boot.unit.exists(), "nothing was written before");
    }

    #[test]
    fn what_a_killed_installation_left_goes_with_the_next_one_and_with_a_removal() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        let boot = boot(&root);
        install(&root, &boot).unwrap();
        let done = all(dir.path());
        let leave = || std::mem::forget(durable::AtomicFile::create(&boot.unit).unwrap());
        leave();
        assert_ne!(all(dir.path()), done);
        install(&root, &boot).unwrap();
        assert_eq!(all(dir.path()), done);
        leave();
        uninstall(&root).unwrap();
        assert!(durable::leftovers(&boot.unit).unwrap().is_empty() && !boot.unit.exists());
    }

    #[test]
    fn whichever_change_fails_everything_is_as_before() {
        // On nothing, on an older unit, and away with one.
        for (older, is_install) in [(false, true), (true, true), (true, false)] {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::at(dir.path());
            let boot = boot(&root);
            let prepare = || {
                let _ = fs::remove_dir_all(dir.path().join("etc"));
                if older {
                    let text = format!("{MARK}\n# older\n");
                    install(&root, &Boot { text, ..boot.clone() }).unwrap();
                }
            };
            let act = |faults: &std::sync::Arc<Faults>| {
                let root = root.clone().with_faults(faults);
                if is_install { install(&root, &boot) } else { uninstall(&root) }
            };
            prepare();
            let counting = Faults::counting();
            act(&counting).unwrap();
            let done = all(dir.path());
            let changes = counting.asked();
            assert_eq!(changes.len(), [[0, 6], [2, 1]][usize::from(older)][usize::from(is_install)], "{changes:?}");
            for (n, change) in changes.iter().enumerate() {
                prepare();
                let before = all(dir.path());
                let error = act(&Faults::once(n)).unwrap_err().to_string();
                assert!(error.contains("asked for by a test"), "{change}: {error}");
                assert_eq!(all(dir.path()), before, "change {n}, {change}: {error}");
                // Where nothing can be put back either, that is said, and a second try does it.
                let error = act(&Faults::from(n)).unwrap_err().to_string();
                let is_as_before = all(dir.path()) == before;
                assert!(is_as_before || error.contains("could not be put back"), "change {n}, {change}: {error}");
                act(&Faults::counting()).unwrap();
                assert_eq!(all(dir.path()), done, "change {n}, {change}");
            }
        }
    }
}
