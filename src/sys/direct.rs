//! A file that is read and written past the page cache, for measuring the disk under it, and that nobody has to remove.
//!
//! It loses its name as soon as it is open: the kernel frees it with its last descriptor, also after a `kill -9`. A file
//! system that refuses direct access (`O_DIRECT`) gets ordinary one, and the file says so.

use nix::{
    errno::Errno,
    fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Direct access wants addresses and lengths that are multiples of a disk's block: this is one of every disk's.
const ALIGNMENT: usize = 4096;

/// The file.
#[derive(Debug)]
pub struct Direct {
    file: File,
    is_direct: bool,
}

impl Direct {
    /// A new, empty file in `folder`.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let (path, file, is_direct) = match open(folder, OFlag::O_DIRECT) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                let (path, file) = open(folder, OFlag::empty())?;
                (path, file, false)
            }
            opened => {
                let (path, file) = opened?;
                (path, file, true)
            }
        };
        fs::remove_file(&path)?;
        Ok(Self { file, is_direct })
    }

    /// Whether the page cache is passed by.
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Writes a whole block.
    pub fn write_at(&self, block: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(block, offset)
    }

    /// Reads a whole block.
    pub fn read_at(&self, block: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(block, offset)
    }

    /// Waits until the disk has everything, and has the page cache forget what it knows of the file.
    pub fn settle(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.is_direct {
            return Ok(());
        }
        Ok(posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }
}

fn open(folder: &Path, flag: OFlag) -> io::Result<(PathBuf, File)> {
    let named = tempfile::Builder::new().prefix(".damocles-bench-disk-").tempfile_in(folder)?;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flag.bits()).open(named.path());
    // On failure the name goes with `named`.
    let file = file?;
    let (_, path) = named.keep().map_err(|error| error.error)?;
    Ok((path, file))
}

/// Room for a block at an address that direct access takes.
#[derive(Debug)]
pub struct Block {
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl Block {
    /// `length` bytes that no disk can make smaller, different for each `salt`.
    pub fn filled(length: usize, salt: u64) -> Self {
        let mut room = vec![0u8; length + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT);
        let mut state = salt;
        for chunk in room.chunks_mut(8) {
            state = next(state);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        Self { room, start, length }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

/// The next of a row of numbers that look as if drawn (SplitMix64).
pub fn next(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_name_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = Direct::create(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let (mut written, mut read) = (Block::filled(4096, 1), Block::filled(4096, 2));
        assert_ne!(written.bytes(), read.bytes());
        assert_eq!(written.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        file.write_at(written.bytes(), 8192).unwrap();
        file.settle().unwrap();
        file.read_at(read.bytes(), 8192).unwrap();
        assert_eq!(written.bytes(), read.bytes());
        assert!(file.read_at(read.bytes(), 1 << 20).is_err(), "beyond its end");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Direct::create(Path::new("/nonexistent-folder")).is_err());
    }
}
