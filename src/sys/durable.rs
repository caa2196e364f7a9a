//! Files that are whole or absent, also after a crash: temporary name, fsync, rename, fsync of the folder.
//!
//! ```text
//! AtomicFile::create("x") ─► .x.tmp-XXXXXX ─ write ─► commit(): fsync, rename to x, fsync of the folder
//!                                          └ dropped, process alive: removed
//!                                          └ process killed: a dot file nobody reads; `remove_leftovers` sweeps it
//! ```
//!
//! Always holds: a final name is given only to bytes that are on the disk. A rename without the fsync
//! before it may show a file of full length and no content after a power cut; without the fsync of the
//! folder after it the old name may come back.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What stands between the final name and the random part of a temporary one.
const TEMP_MARK: &str = ".tmp-";

/// A file operation that failed: what was being done, to what, and what to try.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}{}", path.display(), hint(source))]
pub struct DurableError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DurableError {
    /// An `io::Error` with what was being done to which path.
    pub fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }

    /// The kind of the failure underneath.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The path that was worked on.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

type Result<T> = std::result::Result<T, DurableError>;

/// What to try, where the kind of failure tells.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space on that file system and try again",
        io::ErrorKind::PermissionDenied => "; check the owner and mode of the folder",
        io::ErrorKind::ReadOnlyFilesystem => "; mount the file system writable",
        io::ErrorKind::NotFound => "; create the folder or correct the path",
        _ => "",
    }
}

/// Turns an `io::Result` into ours.
trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| DurableError::new(doing, path, source))
    }
}

/// A file that gets its name when it is complete.
#[derive(Debug)]
pub struct AtomicFile {
    temp: tempfile::NamedTempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Opens a temporary file next to `target`, readable by all like any other file.
    pub fn create(target: &Path) -> Result<Self> {
        let temp = temp_builder(&temp_prefix(target))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder_of(target))
            .doing("creating a temporary file beside", target)?;
        Ok(Self { temp, target: target.to_owned() })
    }

    /// The open file, to write to.
    pub fn file(&mut self) -> &mut File {
        self.temp.as_file_mut()
    }

    /// The temporary name, for code that insists on opening by path.
    pub fn temp_path(&self) -> &Path {
        self.temp.path()
    }

    /// Syncs the bytes and gives the file its name; an older file of that name is replaced in one step.
    pub fn commit(self) -> Result<()> {
        self.temp.as_file().sync_all().doing("syncing", self.temp.path())?;
        let target = self.target;
        self.temp.persist(&target).map_err(|e| DurableError::new("renaming into place", &target, e.error))?;
        sync_folder_of(&target)
    }
}

/// Writes `bytes` to `target`: afterwards the old content or the new one is there, never a mixture.
pub fn write_atomic(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.file().write_all(bytes).doing("writing", target)?;
    file.commit()
}

/// Syncs a finished file and renames it to its final name on the same file system.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    sync_file(from)?;
    fs::rename(from, to).doing("renaming into place", to)?;
    sync_folder_of(to)
}

/// Makes a folder and its missing parents, and syncs the name of each in the folder that holds it. The last name is
/// synced also when it is there: whoever made it may have been killed before that.
pub fn make_folder(path: &Path) -> Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().skip(1).take_while(|parent| *parent != Path::new("") && !parent.is_dir()).collect();
    fs::create_dir_all(path).doing("creating folder", path)?;
    missing.into_iter().chain([path]).try_for_each(sync_folder_of)
}

/// Syncs a file's bytes and length.
pub fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).doing("syncing", path)
}

/// Syncs a folder, so that names given or removed in it survive a power cut.
pub fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).doing("syncing folder", path)
}

/// Syncs the folder that holds `path`.
pub fn sync_folder_of(path: &Path) -> Result<()> {
    sync_folder(folder_of(path))
}

/// Removes a file; one that is not there is no failure. Says whether there was one.
pub fn remove_if_there(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DurableError::new("removing", path, error)),
    }
}

/// A temporary folder beside `target`, on the same file system; removed with its content on drop.
pub fn temp_folder_for(target: &Path) -> Result<tempfile::TempDir> {
    temp_builder(&temp_prefix(target)).tempdir_in(folder_of(target)).doing("creating a temporary folder beside", target)
}

/// Removes what killed writers of `target` left beside it. Only its one writer may call this.
pub fn remove_leftovers(target: &Path) -> Result<()> {
    leftovers(target)?.iter().try_for_each(|path| remove_leftover(path))
}

/// What killed writers of `target` left beside it.
pub fn leftovers(target: &Path) -> Result<Vec<PathBuf>> {
    let (folder, prefix) = (folder_of(target), temp_prefix(target));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).doing("listing", folder)? {
        let entry = entry.doing("listing", folder)?;
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes one of them, a file or a folder.
pub fn remove_leftover(path: &Path) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).doing("looking at", path)?.is_dir();
    if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }.doing("removing", path)
}

fn temp_builder(prefix: &OsString) -> tempfile::Builder<'_, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    builder
}

/// `.NAME.tmp-`: hidden, and tells whose it is.
fn temp_prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(TEMP_MARK);
    prefix
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_file_has_its_name_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        write_atomic(&target, b"one").unwrap();
        write_atomic(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn an_abandoned_file_never_gets_the_name_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        write_atomic(&target, b"old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.file().write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn leftovers_of_killed_writers_are_swept_and_only_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        AtomicFile::create(&target).unwrap().temp.keep().unwrap();
        let dir = temp_folder_for(&target).unwrap().keep();
        fs::write(dir.join("inside"), b"1").unwrap();
        fs::write(folder.path().join("xy"), b"other").unwrap();
        assert_eq!(names(folder.path()).len(), 3);
        remove_leftovers(&target).unwrap();
        assert_eq!(names(folder.path()), ["xy"]);
    }

    #[test]
    fn a_folder_is_made_with_its_parents_and_a_second_time_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = make_folder(&folder.path().join("file/below")).unwrap_err().to_string();
        assert!(error.starts_with("creating folder ") && error.contains("file/below"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named_with_what_to_do() {
        let error = write_atomic(Path::new("/nonexistent-folder/x"), b"").unwrap_err().to_string();
        assert!(error.starts_with("creating a temporary file beside /nonexistent-folder/x: "), "{error}");
        assert!(error.ends_with("; create the folder or correct the path"), "{error}");
    }
}
