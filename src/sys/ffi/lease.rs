//! Whether anybody else has a file open or mapped, asked of the kernel: also where /proc does not say.
//!
//! A write lease is granted only on a file that nobody else has open, and whoever maps a file has it open for as long. Unlike
//! /proc/PID/maps this sees processes of other containers, and those that do not let us look; it does not say who they are.
//! Its safe twin is `sys::users`.

use nix::{errno::Errno, libc};
use std::{fs::File, os::fd::AsRawFd};

/// By linux/fcntl.h, the same on every architecture; the libc crate has it not.
const F_SETSIG: libc::c_int = 10;

/// Whether another open file of this inode is there, a mapped one included. `EACCES` where this process may not ask: it must
/// own the file or have CAP_LEASE.
pub fn is_open_elsewhere(file: &File) -> Result<bool, Errno> {
    // Whoever opens the file while we hold the lease makes the kernel tell us, by a signal that would end us: by this one not.
    control(file, F_SETSIG, libc::SIGURG)?;
    match control(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => control(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(Errno::EAGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn control(file: &File, what: libc::c_int, how: libc::c_int) -> Result<(), Errno> {
    // SAFETY: no crate of ours wraps these two. The descriptor is open as long as `file` is borrowed, the argument of both is an int
    // by fcntl(2), and the kernel reads and writes no memory of ours.
    #[expect(unsafe_code)]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), what, how) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn another_who_has_it_open_is_seen_and_gone_again() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "x").unwrap();
        let asked = File::open(&path).unwrap();
        assert_eq!(is_open_elsewhere(&asked), Ok(false));
        let writer = File::options().write(true).open(&path).unwrap();
        assert_eq!(is_open_elsewhere(&asked), Ok(true));
        drop(writer);
        let reader = File::open(&path).unwrap();
        assert_eq!(is_open_elsewhere(&asked), Ok(true));
        drop(reader);
        assert_eq!(is_open_elsewhere(&asked), Ok(false));
    }
}
