//! The guest's first and only file system: a cpio archive in the kernel's `newc` form.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An archive that grows.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    pub fn folder(&mut self, path: &str) {
        self.entry(path.trim_matches('/'), 0o040_755, &[]);
    }

    /// A program; its folders are made.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_matches('/');
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        folders.for_each(|folder| self.folder(folder));
        self.entry(path, 0o100_755, content);
    }

    /// A program of this host with every library that it is linked to.
    pub fn linked_program(&mut self, path: &str, on_host: &Path) {
        for library in libraries(on_host) {
            self.program(library.to_str().unwrap(), &fs::read(&library).unwrap());
        }
        self.program(path, &stripped(on_host));
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let (inode, size, name_size) = (self.names.len() as u32, content.len() as u32, name.len() as u32 + 1);
        // inode, mode, uid, gid, links, mtime, size, device (4 numbers), length of the name, checksum.
        let header = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        header.iter().for_each(|number| self.bytes.extend(format!("{number:08x}").bytes()));
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The libraries that `ldd` names, the loader too.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    assert!(output.status.success(), "ldd {}", program.display());
    let words = String::from_utf8(output.stdout).unwrap();
    words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Without the debug information: the guest would unpack that too. As it is where `strip` is not there.
fn stripped(program: &Path) -> Vec<u8> {
    let target = tempfile::NamedTempFile::new().unwrap();
    let done = Command::new("strip").arg("-o").arg(target.path()).arg(program).status();
    let small = done.is_ok_and(|status| status.success());
    fs::read(if small { target.path() } else { program }).unwrap()
}

#[test]
fn an_archive_is_what_the_kernel_reads() {
    let mut archive = Archive::default();
    archive.program("/bin/x", b"abc");
    archive.program("bin/y", b"");
    let bytes = archive.finish();
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("070701").count(), 4, "bin once, x, y, the trailer: {text}");
    assert!(text.starts_with("07070100000001000041ed") && text.contains("bin/x\0") && text.contains("abc\0"));
    assert_eq!(bytes.len() % 4, 0);
}
