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
    fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{HUGETLBFS_MAGIC, statfs},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
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

/// Gives the file of this name another one, which must be free, if it is this file.
pub fn set_aside(root: &Root, path: &Path, to: &Path, id: FileId) -> Result<()> {
    let changed = || FileError {
        doing: "set aside",
        path: root.path(path),
        source: io::Error::other("it is another file by now"),
    };
    if identify(root, path)? != Some(id) {
        return Err(changed());
    }
    let (from, real) = (root.path(path), root.path(to));
    let rename = |from: &Path, to: &Path| renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE);
    change(root, "set aside", path, |_| Ok(rename(&from, &real)?))?;
    if identify(root, to)? == Some(id) {
        return Ok(());
    }
    // Between the look and the renaming it became somebody else's.
    rename(&real, &from).map_err(|errno| FileError { doing: "put back", path: from, source: errno.into() })?;
    Err(changed())
}

/// Gives a file that was set aside its name back; one that is not there was not set aside, or is back already.
pub fn put_back(root: &Root, from: &Path, to: &Path, id: FileId) -> Result<()> {
    if identify(root, from)? != Some(id) {
        return Ok(());
    }
    let real = root.path(from);
    change(root, "put back", to, |to| Ok(renameat2(AT_FDCWD, &real, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)?))
}

/// Removes the file of this name if it is this file. Says whether it was.
pub fn remove_this(root: &Root, path: &Path, id: FileId) -> Result<bool> {
    match identify(root, path)? {
        Some(found) if found == id => change(root, "remove", path, |path| fs::remove_file(path)).map(|()| true),
        _ => Ok(false),
    }
}

/// Removes whatever lies in a folder that is ours by its name, and the folder.
pub fn remove_tree(root: &Root, path: &Path) -> Result<()> {
    if identify(root, path)?.is_none() {
        return Ok(());
    }
    change(root, "remove folder", path, |path| fs::remove_dir_all(path))
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
    use crate::sys::root::tests::tree;

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
        assert!(dir.path().join("b").exists());
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
