//! Copies a sector's files into a persistent store: each under a temporary name, synced, read back, given its name.
//!
//! A reader of the store sees a file whole or not at all. A transfer may be repeated after a crash: a file that has
//! arrived is compared and left alone. What bears the name and has other content is never replaced: it is another
//! sector's, perhaps the only copy of it. A failed copy leaves nothing behind.
//!
//! Reading back asks the kernel to forget the file's pages first, so that the bytes come from the file system and
//! not from the memory they were written from. The kernel takes that as advice: memory file systems keep their
//! pages, and a disk or a file server may answer from a cache of its own. So it finds what was lost on the way to
//! the disk, not every disk that lies.

use crate::{
    runtime::stage::TransferTask,
    sys::{
        blocks,
        durable::{self, DurableError},
    },
};
use blake2b_simd::{Hash, State};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Why a transfer stopped; files that had arrived before stay.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(
        "copy {from} to {to}: {sent} bytes were written, {arrived} bytes with other content read back; is the target disk sound?"
    )]
    Differs { from: PathBuf, to: PathBuf, sent: u64, arrived: u64 },
    #[error(
        "copy {from} ({here} bytes) to {to}: a file of that name is there with {}, and is left alone; \
         it is another sector's of the same name: move it away, or give this store to one manager only",
        if here == there { "the same length and other content".into() } else { format!("{there} bytes") }
    )]
    Occupied { from: PathBuf, to: PathBuf, here: u64, there: u64 },
    #[error("copy {from} to {to}: what bears that name is no file, and is left alone; move it away")]
    NoFile { from: PathBuf, to: PathBuf },
    #[error("route from {from}: {what}")]
    Unsupported { from: PathBuf, what: &'static str },
}

impl TransferError {
    /// Whether the same must fail again until somebody has moved something away.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Occupied { .. } | Self::NoFile { .. } | Self::Unsupported { .. })
    }
}

/// Carries out every route of `task`, in order.
pub fn transfer(task: &TransferTask) -> Result<(), TransferError> {
    for route in &task.routes {
        let (from, to) = (&route.src.uri, &route.dest.uri);
        if route.opt.as_ref().is_some_and(|opt| opt.is_dir) {
            return Err(TransferError::Unsupported {
                from: from.clone(),
                what: "folders are transferred file by file",
            });
        }
        if route.dest.store_name.as_ref().is_some_and(|name| !task.stores.contains_key(name)) {
            return Err(TransferError::Unsupported {
                from: from.clone(),
                what: "its target store is not among the task's stores",
            });
        }
        if !from.is_absolute() || !to.is_absolute() {
            return Err(TransferError::Unsupported { from: from.clone(), what: "both ends need absolute paths" });
        }
        bring(from, to)?;
    }
    Ok(())
}

fn bring(from: &Path, to: &Path) -> Result<(), TransferError> {
    durable::make_folder(to.parent().expect("an absolute path to a file has a parent"))?;
    let partial = partial_name(to);
    if has_arrived(from, to)? {
        // A crash may have come before its name was synced, and before the partial name was removed.
        durable::remove_if_there(&partial)?;
        return Ok(durable::sync_folder_of(to)?);
    }
    let brought = copy(from, &partial, to).and_then(|()| name(from, &partial, to));
    brought.inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

/// Whether `to` is there and holds what `from` holds; an error when it is there with anything else.
fn has_arrived(from: &Path, to: &Path) -> Result<bool, TransferError> {
    let there = match fs::symlink_metadata(to) {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => return Err(TransferError::NoFile { from: from.to_owned(), to: to.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(DurableError::new("looking at", to, error).into()),
    };
    let here = fs::metadata(from).map_err(|source| DurableError::new("reading", from, source))?.len();
    if here == there && hash_file("reading", from)? == hash_file("comparing", to)? {
        return Ok(true);
    }
    Err(TransferError::Occupied { from: from.to_owned(), to: to.to_owned(), here, there })
}

fn copy(from: &Path, partial: &Path, to: &Path) -> Result<(), TransferError> {
    let (sent, bytes_sent) = write(from, partial)?;
    forget_pages(partial);
    let (arrived, bytes_arrived) = hash_file("reading back", partial)?;
    if (arrived, bytes_arrived) == (sent, bytes_sent) {
        return Ok(());
    }
    let (from, to) = (from.to_owned(), to.to_owned());
    Err(TransferError::Differs { from, to, sent: bytes_sent, arrived: bytes_arrived })
}

/// Writes and syncs `partial`, and says what was written.
fn write(from: &Path, partial: &Path) -> Result<(Hash, u64), DurableError> {
    let mut source = File::open(from).map_err(|error| DurableError::new("reading", from, error))?;
    let failed = |error| DurableError::new("writing", partial, error);
    let mut target = File::create(partial).map_err(failed)?;
    let mut hasher = State::new();
    let bytes = blocks::each(&mut source, |block| {
        hasher.update(block);
        target.write_all(block)
    });
    let bytes = bytes.map_err(failed)?;
    target.sync_all().map_err(|error| DurableError::new("syncing", partial, error))?;
    Ok((hasher.finalize(), bytes))
}

/// After a sync only: a page that is not on the disk yet cannot be forgotten.
fn forget_pages(path: &Path) {
    let advise = |file| Ok(posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?);
    if let Err(error) = File::open(path).and_then(advise) {
        // Advice that is not taken makes reading back prove less; it is no reason not to transfer.
        tracing::info!(path = %path.display(), %error, "the copy may be compared with its pages in memory");
    }
}

/// Gives the copy its name, unless somebody has taken it meanwhile.
fn name(from: &Path, partial: &Path, to: &Path) -> Result<(), TransferError> {
    match fs::hard_link(partial, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => drop(has_arrived(from, to)?),
        // Not every file system has links; there nothing better than looking is to be had.
        Err(_) if has_arrived(from, to)? => {}
        Err(_) => fs::rename(partial, to).map_err(|error| DurableError::new("renaming to", to, error))?,
    }
    durable::remove_if_there(partial)?;
    Ok(durable::sync_folder_of(to)?)
}

/// Beside the target, so that it gets its name inside one filesystem; one name, so that a crash leaves at most one.
fn partial_name(to: &Path) -> PathBuf {
    let name = to.file_name().expect("a file has a name").to_string_lossy();
    to.with_file_name(format!(".{name}.partial"))
}

fn hash_file(doing: &'static str, path: &Path) -> Result<(Hash, u64), DurableError> {
    let mut hasher = State::new();
    let read = File::open(path).and_then(|mut file| {
        blocks::each(&mut file, |block| {
            hasher.update(block);
            Ok(())
        })
    });
    let bytes = read.map_err(|error| DurableError::new(doing, path, error))?;
    Ok((hasher.finalize(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stage::{TransferItem, TransferRoute, TransferStoreInfo};

    fn route(from: &Path, to: &Path) -> TransferTask {
        let item = |uri: &Path| TransferItem { store_name: None, uri: uri.to_owned() };
        TransferTask {
            stores: Default::default(),
            routes: vec![TransferRoute { src: item(from), dest: item(to), opt: None }],
        }
    }

    #[test]
    fn a_file_arrives_whole_and_a_second_time_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("store/sealed/a"));
        fs::write(&from, vec![7; (3 << 20) + 5]).unwrap();
        for _ in 0..2 {
            transfer(&route(&from, &to)).unwrap();
            assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
        }
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "no partial file stays");
    }

    #[test]
    fn what_has_arrived_is_not_written_again_and_its_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("store/cache/s-t01000-1/a"));
        fs::write(&from, b"bytes").unwrap();
        transfer(&route(&from, &to)).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&to).unwrap());
        let first = inode();
        fs::write(partial_name(&to), b"half").unwrap();
        transfer(&route(&from, &to)).unwrap();
        assert_eq!(inode(), first);
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_that_name_with_other_content_is_left_alone() {
        for (there, said) in [(&b"other"[..], "the same length and other content"), (b"longer one", "with 10 bytes")] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("a"), dir.path().join("b"));
            fs::write(&from, b"bytes").unwrap();
            fs::write(&to, there).unwrap();
            let error = transfer(&route(&from, &to)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("copy {} (5 bytes) to {}: ", from.display(), to.display())), "{error}");
            assert!(error.contains(said) && error.contains("another sector's of the same name"), "{error}");
            assert_eq!(fs::read(&to).unwrap(), there);
            // The same when the name is taken while the copy is under way.
            fs::write(partial_name(&to), b"bytes").unwrap();
            assert!(matches!(name(&from, &partial_name(&to), &to), Err(TransferError::Occupied { .. })));
            assert_eq!(fs::read(&to).unwrap(), there);
        }
    }

    #[test]
    fn a_folder_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"bytes").unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        let error = transfer(&route(&dir.path().join("a"), &dir.path().join("b"))).unwrap_err();
        assert!(matches!(error, TransferError::NoFile { .. }), "{error}");
    }

    #[test]
    fn bytes_that_read_back_differently_are_told_with_both_lengths() {
        let (from, to) = ("/a".into(), "/b".into());
        assert_eq!(
            TransferError::Differs { from, to, sent: 5, arrived: 4 }.to_string(),
            "copy /a to /b: 5 bytes were written, 4 bytes with other content read back; is the target disk sound?"
        );
    }

    #[test]
    fn one_task_may_bring_files_to_several_stores_and_to_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"bytes").unwrap();
        let to = |store: &str| {
            let uri = dir.path().join(store).join("sealed/a");
            let dest = TransferItem { store_name: Some(store.into()), uri };
            let src = TransferItem { store_name: None, uri: dir.path().join("a") };
            TransferRoute { src, dest, opt: None }
        };
        let info = |name: &str| (name.to_owned(), TransferStoreInfo { name: name.into(), meta: None });
        let stores = [info("one"), info("two")].into();
        let task = TransferTask { stores, routes: vec![to("one"), to("two"), to("three")] };
        let error = transfer(&task).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("not among the task's stores"), "{error}");
        for (store, there) in [("one", true), ("two", true), ("three", false)] {
            assert_eq!(dir.path().join(store).join("sealed/a").exists(), there, "{store}");
        }
    }

    #[test]
    fn a_missing_source_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = transfer(&route(&dir.path().join("gone"), &dir.path().join("to"))).unwrap_err().to_string();
        assert!(error.starts_with("reading ") && error.contains("gone"), "{error}");
    }
}
