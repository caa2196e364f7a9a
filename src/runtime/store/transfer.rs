//! Copies a sector's files into a persistent store: each under a temporary name, synced, compared, renamed.
//!
//! A reader of the store sees a file whole or not at all, and a transfer may be repeated after a crash: the
//! rename replaces what an earlier one brought. A failed copy leaves nothing behind.

use crate::{
    runtime::stage::TransferTask,
    sys::durable::{self, DurableError},
};
use blake2b_simd::{Hash, State};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const BLOCK: usize = 1 << 20;

/// Why a transfer stopped; files that had arrived before stay.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(
        "copy {from} to {to}: what was written reads back differently (length {length}); is the target disk sound?"
    )]
    Differs { from: PathBuf, to: PathBuf, length: u64 },
    #[error("route from {from}: {what}")]
    Unsupported { from: PathBuf, what: &'static str },
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
        if !from.is_absolute() || !to.is_absolute() {
            return Err(TransferError::Unsupported { from: from.clone(), what: "both ends need absolute paths" });
        }
        let partial = partial_name(to);
        copy(from, &partial, to).inspect_err(|_| {
            let _ = fs::remove_file(&partial);
        })?;
    }
    Ok(())
}

fn copy(from: &Path, partial: &Path, to: &Path) -> Result<(), TransferError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| DurableError::new(doing, &path, source)
    };
    let folder = to.parent().expect("an absolute path to a file has a parent");
    fs::create_dir_all(folder).map_err(io("making the folder", folder))?;
    let mut source = File::open(from).map_err(io("reading", from))?;
    let mut target = File::create(partial).map_err(io("writing", partial))?;
    let sent = pump(&mut source, &mut target).map_err(io("writing", partial))?;
    target.sync_all().map_err(io("syncing", partial))?;
    drop(target);
    let arrived = hash_file(partial).map_err(io("reading back", partial))?;
    if arrived != sent {
        return Err(TransferError::Differs { from: from.to_owned(), to: to.to_owned(), length: arrived.1 });
    }
    fs::rename(partial, to).map_err(io("renaming to", to))?;
    Ok(durable::sync_folder(folder)?)
}

/// Beside the target, so that the rename stays inside one filesystem; one name, so that a crash leaves at most one.
fn partial_name(to: &Path) -> PathBuf {
    let name = to.file_name().expect("a file has a name").to_string_lossy();
    to.with_file_name(format!(".{name}.partial"))
}

fn pump(from: &mut File, to: &mut File) -> io::Result<(Hash, u64)> {
    let (mut hasher, mut length, mut block) = (State::new(), 0, vec![0; BLOCK]);
    loop {
        let n = from.read(&mut block)?;
        if n == 0 {
            return Ok((hasher.finalize(), length));
        }
        to.write_all(&block[..n])?;
        hasher.update(&block[..n]);
        length += n as u64;
    }
}

fn hash_file(path: &Path) -> io::Result<(Hash, u64)> {
    let (mut file, mut hasher, mut length, mut block) = (File::open(path)?, State::new(), 0, vec![0; BLOCK]);
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok((hasher.finalize(), length));
        }
        hasher.update(&block[..n]);
        length += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stage::{TransferItem, TransferRoute};

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
        fs::write(&from, vec![7; 3 * BLOCK + 5]).unwrap();
        for _ in 0..2 {
            transfer(&route(&from, &to)).unwrap();
            assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
        }
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "no partial file stays");
    }

    #[test]
    fn a_missing_source_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = transfer(&route(&dir.path().join("gone"), &dir.path().join("to"))).unwrap_err().to_string();
        assert!(error.starts_with("reading ") && error.contains("gone"), "{error}");
    }
}
