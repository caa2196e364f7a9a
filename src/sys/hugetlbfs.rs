//! The file system whose files are huge pages: mounted, looked at, filled, and everything of it taken back.
//!
//! Seen on real kernels: `fallocate` here follows the calling thread's memory policy and ignores `mbind`; refused half-way it
//! leaves the pages that it did get; it holds the file for as long as it works, so that two threads are no faster in one
//! file than one is. Whoever fills a file in parallel lets further threads fault pages in
//! ([`Window`](super::mempolicy::Window)) and then allocates the whole with `fallocate`,
//! which passes over pages that are there.

use super::{Root, users::FileId};
use crate::units::Bytes;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, RenameFlags, fallocate, open, renameat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        stat::{Mode, fstatat},
        statfs::{HUGETLBFS_MAGIC, statfs},
    },
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Something that could not be done to a file, a folder or a mount.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

type Result<T> = std::result::Result<T, FileError>;

/// Announces a change, makes it, and says of a failure what it was about.
fn change<T>(root: &Root, doing: &'static str, path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> Result<T> {
    let real = root.path(path);
    root.effect(doing, &real).and_then(|()| act(&real)).map_err(|source| FileError { doing, path: real, source })
}

/// What a file system says of itself, as far as it is a hugetlbfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugetlbfs {
    pub page_bytes: Bytes,
    /// What a limit of the mount (`size=`) leaves; nothing where there is none.
    pub left: Option<Bytes>,
}

/// Whether `path` lies on a hugetlbfs, asked of the kernel.
pub fn look(root: &Root, path: &Path) -> Result<Option<Hugetlbfs>> {
    let real = root.path(path);
    let stat = statfs(&real).map_err(|errno| FileError {
        doing: "ask for the file system of",
        path: real,
        source: errno.into(),
    })?;
    if stat.filesystem_type() != HUGETLBFS_MAGIC {
        return Ok(None);
    }
    let page_bytes = Bytes(stat.block_size() as u64);
    let left = (stat.blocks() > 0).then(|| Bytes(stat.blocks_free().saturating_mul(page_bytes.0)));
    Ok(Some(Hugetlbfs { page_bytes, left }))
}

/// Mounts a hugetlbfs. Its source is a mere word, which is shown beside it in the list of mounts.
pub fn mount_at(root: &Root, at: &Path, page_bytes: Bytes, source: &str) -> Result<()> {
    let options = format!("pagesize={}", page_bytes.0);
    change(root, "mount a hugetlbfs at", at, |at| {
        Ok(mount(Some(source), at, Some("hugetlbfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))?)
    })
}

/// Takes a mount away; one that is in use stays, and one with files in it: they would be gone with their last mount.
pub fn unmount(root: &Root, at: &Path) -> Result<()> {
    let failed = |source| unmount_failed(root, at, source);
    if fs::read_dir(root.path(at)).map_err(failed)?.next().is_some() {
        return Err(failed(files_in_it()));
    }
    change(root, "unmount", at, |at| Ok(umount2(at, MntFlags::UMOUNT_NOFOLLOW)?))
}

/// What `unmount` says when it fails.
pub fn unmount_failed(root: &Root, at: &Path, source: io::Error) -> FileError {
    FileError { doing: "unmount", path: root.path(at), source }
}

/// Why a mount with files in it stays.
pub fn files_in_it() -> io::Error {
    io::Error::other("there are files in it, which would be gone with it")
}

/// Makes one folder, which must not be there.
pub fn make_folder(root: &Root, path: &Path) -> Result<()> {
    change(root, "make folder", path, |path| fs::create_dir(path))
}

/// Removes a folder, unless something lies in it. Says whether it is gone.
pub fn remove_folder(root: &Root, path: &Path) -> Result<bool> {
    let removed = change(root, "remove folder", path, |path| fs::remove_dir(path));
    match removed {
        Ok(()) => Ok(true),
        Err(error) => match error.source.kind() {
            io::ErrorKind::NotFound => Ok(true),
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy => Ok(false),
            _ => Err(error),
        },
    }
}

/// Makes a file of this length without pages; it must not be there.
pub fn create(root: &Root, path: &Path, bytes: Bytes) -> Result<File> {
    change(root, "create", path, |path| {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(bytes.0)?;
        Ok(file)
    })
}

/// Allocates a part of a file with pages of the nodes that this thread's policy names.
pub fn allocate(root: &Root, file: &File, path: &Path, offset: u64, bytes: u64) -> Result<()> {
    change(root, "allocate the pages of", path, |_| {
        let number = |value: u64| i64::try_from(value).map_err(|_| Errno::EFBIG);
        Ok(fallocate(file, FallocateFlags::empty(), number(offset)?, number(bytes)?)?)
    })
}

/// Gives a file its final name, which must be free.
pub fn publish(root: &Root, from: &Path, to: &Path) -> Result<()> {
    let from = root.path(from);
    change(root, "publish", to, |to| Ok(renameat2(AT_FDCWD, &from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?))
}

/// Gives a folder its final name, which must be free.
pub fn publish_folder(root: &Root, from: &Path, to: &Path) -> Result<()> {
    let from = root.path(from);
    change(root, "publish", to, |to| match renameat2(AT_FDCWD, &from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // NFS cannot be asked so. There a folder replaces only an empty one, which is looked for just before.
        Err(Errno::EINVAL) if fs::symlink_metadata(to).is_err() => fs::rename(&from, to),
        Err(Errno::EINVAL) => Err(Errno::EEXIST.into()),
        renamed => Ok(renamed?),
    })
}

/// Gives the file of this name another one, which must be free, if it is this file.
pub fn set_aside(root: &Root, path: &Path, to: &Path, id: FileId) -> Result<()> {
    if rename_this(root, "set aside", path, to, id)? {
        return Ok(());
    }
    let source = io::Error::other("it is another file by now");
    Err(FileError { doing: "set aside", path: root.path(path), source })
}

/// Renames the file of this name if it is this file. Says whether it was.
fn rename_this(root: &Root, doing: &'static str, path: &Path, to: &Path, id: FileId) -> Result<bool> {
    if identify(root, path)? != Some(id) {
        return Ok(false);
    }
    let (from, real) = (root.path(path), root.path(to));
    change(root, doing, path, |_| rename(&from, &real))?;
    if identify(root, to)? == Some(id) {
        return Ok(true);
    }
    // Between the look and the renaming it became somebody else's.
    change(root, "put back", path, |from| rename(&real, from))?;
    Ok(false)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?)
}

/// Gives a file that was set aside its name back; one that is not there was not set aside, or is back already.
pub fn put_back(root: &Root, from: &Path, to: &Path, id: FileId) -> Result<()> {
    if identify(root, from)? != Some(id) {
        return Ok(());
    }
    let real = root.path(from);
    change(root, "put back", to, |to| {
        rename(&real, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let why = format!(
                    "somebody gave that name to another file meanwhile, and ours waits as {}; move his away, and the next \
                     hugepage command puts ours back",
                    real.display()
                );
                io::Error::new(io::ErrorKind::AlreadyExists, why)
            }
            _ => error,
        })
    })
}

/// Removes the file of this name if it is this file. Says whether it was.
///
/// The kernel removes by name alone, and the name may be given to another file after the look. So the file gets a name first that
/// nobody but us would give, is looked at there, and goes from there; another's gets its name back. All of it in one open
/// folder, so that the path is followed once.
pub fn remove_this(root: &Root, path: &Path, id: FileId) -> Result<bool> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(false) };
    let failed = |source| FileError { doing: "look at", path: root.path(path), source };
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = match open(&root.path(parent), flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(false),
        opened => opened.map_err(|errno| failed(errno.into()))?,
    };
    let identify = |name: &OsStr| match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileId { device: stat.st_dev, inode: stat.st_ino })),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    };
    let rename = |from: &OsStr, to: &OsStr| Ok(renameat2(&folder, from, &folder, to, RenameFlags::RENAME_NOREPLACE)?);
    let give_back = |from: &OsStr| {
        let why = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                format!(
                    "a file of another is called {} now, and its own name is taken: rename one of them",
                    from.display()
                ),
            ),
            _ => error,
        };
        change(root, "put back", path, |_| rename(from, name).map_err(why))
    };
    // By the file, so that a second try finds what a killed first one left.
    let doomed = OsString::from(format!(".damocles-gone-{:x}-{:x}", id.device, id.inode));
    if identify(&doomed)?.is_some_and(|found| found != id) {
        // Another's, renamed by a try that was killed before it had looked.
        give_back(&doomed)?;
        return Ok(false);
    }
    if identify(&doomed)? != Some(id) {
        if identify(name)? != Some(id) {
            return Ok(false);
        }
        change(root, "rename to remove", path, |_| rename(name, &doomed))?;
        if identify(&doomed)? != Some(id) {
            give_back(&doomed)?;
            return Ok(false);
        }
    }
    change(root, "remove", path, |_| Ok(unlinkat(&folder, doomed.as_os_str(), UnlinkatFlags::NoRemoveDir)?))?;
    Ok(true)
}

/// Removes whatever lies in a folder that is ours by its name, and the folder.
pub fn remove_tree(root: &Root, path: &Path) -> Result<()> {
    if identify(root, path)?.is_none() {
        return Ok(());
    }
    change(root, "remove folder", path, |path| fs::remove_dir_all(path))
}

/// When what bears this name was made, in nanoseconds since 1970; none where the file system does not say it.
pub fn born(root: &Root, path: &Path) -> Option<u64> {
    let born = fs::symlink_metadata(root.path(path)).ok()?.created().ok()?;
    u64::try_from(born.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// What bears this name: a link is not followed.
pub fn identify(root: &Root, path: &Path) -> Result<Option<FileId>> {
    let real = root.path(path);
    match fs::symlink_metadata(&real) {
        Ok(stat) => Ok(Some(FileId::of(&stat))),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { doing: "look at", path: real, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{faults::Faults, root::tests::tree};

    #[test]
    fn another_file_system_is_none_of_huge_pages() {
        let (_dir, root) = tree(&[("a/b", "x")]);
        assert_eq!(look(&root, Path::new("/a")).unwrap(), None);
        assert!(look(&root, Path::new("/gone")).unwrap_err().to_string().contains("ask for the file system of"));
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let (dir, root) = tree(&[("a", "mine"), ("b", "another's")]);
        let error = publish(&root, Path::new("/a"), Path::new("/b")).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), "another's");
        assert!(create(&root, Path::new("/b"), Bytes(1)).is_err());
    }

    #[test]
    fn only_the_very_file_is_removed() {
        let (dir, root) = tree(&[("a", "mine"), ("b", "another's")]);
        let id = identify(&root, Path::new("/a")).unwrap().unwrap();
        assert!(!remove_this(&root, Path::new("/b"), id).unwrap());
        assert!(remove_this(&root, Path::new("/a"), id).unwrap());
        assert!(!remove_this(&root, Path::new("/a"), id).unwrap(), "it is gone");
        assert!(!remove_this(&root, Path::new("/gone/a"), id).unwrap(), "so is its folder");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[test]
    fn a_removal_that_was_broken_off_after_the_renaming_is_finished() {
        let (dir, root) = tree(&[("a", "mine")]);
        let id = identify(&root, Path::new("/a")).unwrap().unwrap();
        let broken = root.clone().with_faults(&Faults::from(1));
        assert!(remove_this(&broken, Path::new("/a"), id).is_err());
        // By now somebody may have taken the name.
        fs::write(dir.path().join("a"), "another's").unwrap();
        assert!(remove_this(&root, Path::new("/a"), id).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "another's");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn anothers_file_that_a_killed_try_renamed_gets_its_name_back() {
        let (dir, root) = tree(&[("a", "mine")]);
        let id = identify(&root, Path::new("/a")).unwrap().unwrap();
        let doomed = dir.path().join(format!(".damocles-gone-{:x}-{:x}", id.device, id.inode));
        fs::write(&doomed, "another's").unwrap();
        let error = remove_this(&root, Path::new("/a"), id).unwrap_err().to_string();
        assert!(error.contains("put back") && error.contains(".damocles-gone-") && error.contains("rename"), "{error}");
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(!remove_this(&root, Path::new("/a"), id).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "another's");
        assert!(!doomed.exists());
    }

    #[test]
    fn what_cannot_get_its_name_back_says_who_is_in_the_way_and_what_to_do() {
        let (dir, root) = tree(&[("a", "mine")]);
        let [a, aside] = ["/a", "/aside"].map(Path::new);
        let id = identify(&root, a).unwrap().unwrap();
        set_aside(&root, a, aside, id).unwrap();
        fs::write(dir.path().join("a"), "another's").unwrap();
        let told = put_back(&root, aside, a, id).unwrap_err().to_string();
        assert!(told.contains("another file meanwhile") && told.contains("/aside; move his away"), "{told}");
        fs::remove_file(dir.path().join("a")).unwrap();
        put_back(&root, aside, a, id).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "mine");
        assert!(
            set_aside(&root, a, aside, FileId { inode: 1, ..id }).unwrap_err().to_string().contains("another file")
        );
    }

    #[test]
    fn a_folder_that_holds_something_stays() {
        let (dir, root) = tree(&[("full/x", "")]);
        make_folder(&root, Path::new("/empty")).unwrap();
        assert!(make_folder(&root, Path::new("/empty")).is_err(), "a folder that is there was not made by us");
        assert!(remove_folder(&root, Path::new("/empty")).unwrap() && !dir.path().join("empty").exists());
        assert!(remove_folder(&root, Path::new("/gone")).unwrap());
        assert!(!remove_folder(&root, Path::new("/full")).unwrap());
        assert!(dir.path().join("full/x").exists());
        remove_tree(&root, Path::new("/full")).unwrap();
        remove_tree(&root, Path::new("/full")).unwrap();
    }
}
