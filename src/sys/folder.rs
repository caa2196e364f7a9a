//! A folder of files that is there whole or not at all, and that replaces an older one of its kind in one step.
//!
//! ```text
//! write ─► .DIR.tmp-XXXX/ with all files, synced ─┬─ nothing or an empty folder at DIR: rename
//!                                                 └─ one of ours at DIR: exchange the two, remove the old one
//! ```
//!
//! A folder is ours by its list of sums, SHA256SUMS, and only as long as it says the truth: a file that was changed, added or
//! taken away since is somebody's work, and such a folder is refused with the file's name.

use super::{
    durable::{self, DurableError},
    root::Root,
};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The list of sums, in the form that `sha256sum -c` reads.
pub const SUMS: &str = "SHA256SUMS";
const MARK: &str = "# Written by damocles-worker-util. A folder whose files all have these sums may be replaced by it.";

/// A file of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile<'a> {
    /// Below the folder, of plain names.
    pub path: &'a str,
    pub bytes: &'a [u8],
    pub is_executable: bool,
}

/// What is at a place where a folder is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or an empty folder.
    Free,
    /// One that was written here before and that nobody has changed.
    Ours,
}

/// Why a folder is not written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{}: it is no folder; give another name", .0.display())]
    NoFolder(PathBuf),
    #[error("{}: a folder is replaced under its name; give the name", .0.display())]
    NoName(PathBuf),
    #[error("{}: it has files and was not written by this command; give an empty folder or another name", .0.display())]
    NotOurs(PathBuf),
    #[error("{}: {} {what} since it was written; move it away, or give another folder", dir.display(), file.display())]
    Changed { dir: PathBuf, file: PathBuf, what: &'static str },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

type Result<T> = std::result::Result<T, FolderError>;

/// What is at `dir`, and whether it may be replaced.
///
/// # Errors
/// It is not ours, or was changed, or cannot be read.
pub fn look(dir: &Path) -> Result<Found> {
    if dir.file_name().is_none() {
        return Err(FolderError::NoName(dir.to_owned()));
    }
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Free),
        Err(error) => return Err(DurableError::new("looking at", dir, error).into()),
        Ok(metadata) if !metadata.is_dir() => return Err(FolderError::NoFolder(dir.to_owned())),
        Ok(_) => {}
    }
    let there = listing(dir)?;
    if there.is_empty() {
        return Ok(Found::Free);
    }
    let sums = match fs::read_to_string(dir.join(SUMS)) {
        Ok(text) if text.starts_with(MARK) => parse(&text),
        _ => return Err(FolderError::NotOurs(dir.to_owned())),
    };
    let changed = |file: &Path, what| FolderError::Changed { dir: dir.to_owned(), file: file.to_owned(), what };
    for file in there.iter().filter(|file| *file != Path::new(SUMS)) {
        let Some(sum) = sums.get(file) else { return Err(changed(file, "was added")) };
        let path = dir.join(file);
        let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        let bytes = if is_file { fs::read(&path) } else { Err(io::ErrorKind::InvalidInput.into()) };
        let bytes = bytes.map_err(|error| DurableError::new("reading", &path, error))?;
        if sum_of(&bytes) != *sum {
            return Err(changed(file, "was changed"));
        }
    }
    match sums.keys().find(|file| !there.contains(*file)) {
        Some(file) => Err(changed(file, "was taken away")),
        None => Ok(Found::Ours),
    }
}

/// Writes all `files` to `dir`, or none of them: until the last step nothing at `dir` has changed.
///
/// # Errors
/// What is there may not be replaced, or a step failed; then `dir` is as it was.
pub fn write(root: &Root, dir: &Path, files: &[NewFile]) -> Result<Found> {
    let found = look(dir)?;
    let dir = plain(dir);
    if let Some(parent) = dir.parent().filter(|parent| *parent != Path::new("")) {
        durable::make_folder(parent)?;
    }
    durable::remove_leftovers(&dir)?;
    let step = |doing: &'static str, path: &Path| {
        root.effect(doing, path).map_err(|error| FolderError::from(DurableError::new(doing, path, error)))
    };
    step("making a temporary folder beside", &dir)?;
    let new = durable::temp_folder_for(&dir)?;
    let sums = sums(files);
    let list = NewFile { path: SUMS, bytes: sums.as_bytes(), is_executable: false };
    for file in files.iter().chain([&list]) {
        let path = new.path().join(file.path);
        step("writing", &path)?;
        write_file(&path, file)?;
    }
    for folder in folders(new.path(), files) {
        durable::sync_folder(&folder)?;
    }
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(new.path(), open)
        .map_err(|error| DurableError::new("opening to readers", new.path(), error))?;
    step("putting into place", &dir)?;
    put(new.path(), &dir, found)?;
    durable::sync_folder_of(&dir)?;
    // What lies under the passing name is the old folder now, or nothing; its removal is no part of the answer.
    drop(new);
    Ok(found)
}

/// `dir/` and `dir/.` are `dir`; a name is what temporary ones are made of.
fn plain(dir: &Path) -> PathBuf {
    dir.components().collect()
}

fn write_file(path: &Path, file: &NewFile) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| DurableError::new("creating folder", folder, error))?;
    }
    durable::write_atomic(path, file.bytes)?;
    if file.is_executable {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, mode).map_err(|error| DurableError::new("making executable", path, error))?;
    }
    Ok(())
}

/// Every folder that files lie in, and the folder itself.
fn folders(new: &Path, files: &[NewFile]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        files.iter().flat_map(|file| Path::new(file.path).ancestors().skip(1)).map(|below| new.join(below)).collect();
    folders.sort();
    folders.dedup();
    folders
}

fn put(new: &Path, dir: &Path, found: Found) -> Result<()> {
    let failed = |error: io::Error| FolderError::from(DurableError::new("putting into place", dir, error));
    match found {
        // An empty folder is replaced by this too, and one that was filled meanwhile is not.
        Found::Free => fs::rename(new, dir).map_err(failed),
        Found::Ours => match renameat2(AT_FDCWD, new, AT_FDCWD, dir, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => Ok(()),
            // File systems that cannot exchange (NFS, some overlays): for a moment nothing is at the place.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => put_in_two_steps(new, dir).map_err(failed),
            Err(errno) => Err(failed(errno.into())),
        },
    }
}

/// The old folder stands beside under a name that nobody sweeps until the new one has its place.
fn put_in_two_steps(new: &Path, dir: &Path) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(dir.file_name().unwrap_or_default());
    name.push(".old");
    let aside = dir.with_file_name(name);
    fs::rename(dir, &aside)?;
    match fs::rename(new, dir) {
        Ok(()) => fs::remove_dir_all(&aside),
        Err(error) => fs::rename(&aside, dir).and(Err(error)),
    }
}

fn listing(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let folder = dir.join(&below);
        let failed = |error| DurableError::new("listing", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = below.join(entry.file_name());
            match entry.file_type().map_err(failed)?.is_dir() {
                true => left.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn sums(files: &[NewFile]) -> String {
    let mut text = format!("{MARK}\n");
    for file in files {
        writeln!(text, "{}  {}", sum_of(file.bytes), file.path).expect("a String takes everything");
    }
    text
}

fn parse(text: &str) -> BTreeMap<PathBuf, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path.into(), sum.to_owned())).collect()
}

fn sum_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::faults::Faults;

    fn files<'a>(text: &'a str) -> Vec<NewFile<'a>> {
        let file = |path, is_executable| NewFile { path, bytes: text.as_bytes(), is_executable };
        vec![file("a.txt", false), file("b/run.sh", true)]
    }

    fn rig() -> (tempfile::TempDir, PathBuf, Root) {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("plan");
        (place, dir, Root::at("/"))
    }

    fn names(place: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_written_whole_and_replaced_whole() {
        let (place, dir, root) = rig();
        assert_eq!(write(&root, &dir, &files("one")).unwrap(), Found::Free);
        assert_eq!(write(&root, &dir, &files("two")[..1]).unwrap(), Found::Ours);
        assert_eq!(names(place.path()), ["plan"]);
        assert_eq!(names(&dir), [SUMS, "a.txt"], "what the new one does not have is gone");
        assert_eq!(fs::read(dir.join("a.txt")).unwrap(), b"two");
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o755);
        write(&root, &dir, &files("three")).unwrap();
        assert_eq!(fs::metadata(dir.join("b/run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn where_folders_cannot_be_exchanged_it_takes_two_steps() {
        let (place, dir, root) = rig();
        write(&root, &dir, &files("one")).unwrap();
        let new = place.path().join("new");
        fs::create_dir(&new).unwrap();
        put_in_two_steps(&new, &dir).unwrap();
        assert_eq!((names(place.path()), names(&dir).len()), (vec!["plan".to_owned()], 0));
        write(&root, &dir, &files("one")).unwrap();
        assert!(put_in_two_steps(&place.path().join("nothing"), &dir).is_err());
        assert_eq!(look(&dir).unwrap(), Found::Ours, "the old one is back");
    }

    #[test]
    fn somebody_elses_folder_and_changed_files_are_refused_by_name() {
        let (_place, dir, root) = rig();
        write(&root, &dir, &files("one")).unwrap();
        let refused = |why: &str| {
            let error = write(&root, &dir, &files("two")).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_ne!(fs::read(dir.join("b/run.sh")).ok().as_deref(), Some(&b"two"[..]));
        };
        fs::write(dir.join("note"), "mine").unwrap();
        refused("note was added");
        fs::remove_file(dir.join("note")).unwrap();
        fs::write(dir.join("a.txt"), "mine").unwrap();
        refused("a.txt was changed");
        fs::remove_file(dir.join("a.txt")).unwrap();
        refused("a.txt was taken away");
        fs::remove_file(dir.join(SUMS)).unwrap();
        refused("was not written by this command");
        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, "a file").unwrap();
        refused("it is no folder");
        assert!(look(Path::new("..")).unwrap_err().to_string().contains("give the name"));
    }

    #[test]
    fn an_empty_folder_is_filled_and_missing_parents_are_made() {
        let (_place, dir, root) = rig();
        fs::create_dir(&dir).unwrap();
        write(&root, &dir, &files("one")).unwrap();
        assert_eq!(look(&dir).unwrap(), Found::Ours);
        let deep = dir.with_file_name("x").join("y/");
        write(&root, &deep, &files("one")).unwrap();
        assert_eq!(look(&deep).unwrap(), Found::Ours);
    }

    #[test]
    fn whatever_fails_the_old_folder_is_whole_and_nothing_is_left_beside_it() {
        let (place, dir, root) = rig();
        let counting = Faults::counting();
        write(&root.clone().with_faults(&counting), &dir, &files("old")).unwrap();
        let steps = counting.asked().len();
        assert!(steps >= 5, "{:?}", counting.asked());
        for n in 0..steps {
            for faults in [Faults::once(n), Faults::from(n)] {
                write(&root.clone().with_faults(&faults), &dir, &files("new")).unwrap_err();
                assert_eq!(names(place.path()), ["plan"], "step {n}");
                assert_eq!(look(&dir).unwrap(), Found::Ours);
                assert_eq!(fs::read(dir.join("a.txt")).unwrap(), b"old");
            }
        }
    }

    #[test]
    fn sums_are_those_that_sha256sum_checks() {
        let text = sums(&files("abc"));
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(text.ends_with(&format!("{sum}  a.txt\n{sum}  b/run.sh\n")), "{text}");
    }
}
