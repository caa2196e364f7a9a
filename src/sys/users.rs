//! Which processes have a file mapped: /proc/PID/maps names it by device and inode.

use super::{Root, root::ReadError};
use std::io;

/// A file by what does not change with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    /// Of a file's metadata.
    pub fn of(stat: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: stat.dev(), inode: stat.ino() }
    }
}

/// A process, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Process {
    pub pid: u32,
    /// What the kernel calls it: the beginning of its program's name.
    pub name: String,
}

/// Who has files mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// A process and a file that it has mapped.
    pub users: Vec<(Process, FileId)>,
    /// Processes that did not let us look. Any of them may have any file mapped.
    pub unread: Vec<Process>,
}

impl Users {
    /// Who has this file mapped.
    pub fn of(&self, file: FileId) -> Vec<&Process> {
        self.users.iter().filter(|(_, mapped)| *mapped == file).map(|(process, _)| process).collect()
    }
}

/// Looks for mappings of `files` in every process but this one. A process that ends meanwhile has none any more.
pub fn users(root: &Root, files: &[FileId]) -> Result<Users, ReadError> {
    look(root, files, |_| true)
}

/// The same for mappings that can be written to: whoever only asks where a file's pages lie maps it too, to read.
pub fn writers(root: &Root, files: &[FileId]) -> Result<Users, ReadError> {
    look(root, files, |line| line.split_whitespace().nth(1).is_some_and(|access| access.contains('w')))
}

fn look(root: &Root, files: &[FileId], counts: impl Fn(&str) -> bool) -> Result<Users, ReadError> {
    let mut found = Users::default();
    let own = std::process::id();
    for pid in root.names("/proc")?.iter().filter_map(|name| name.parse::<u32>().ok()).filter(|pid| *pid != own) {
        let read = |file: &str| root.read(format!("/proc/{pid}/{file}"));
        let process = || Process { pid, name: read("comm").unwrap_or_default() };
        match read("maps") {
            Ok(maps) => {
                let lines = maps.lines().filter(|line| counts(line));
                let mut mapped: Vec<_> = lines.filter_map(mapped).filter(|id| files.contains(id)).collect();
                mapped.sort();
                mapped.dedup();
                found.users.extend(mapped.into_iter().map(|file| (process(), file)));
            }
            Err(error) if has_ended(&error.source) => {}
            Err(_) => found.unread.push(process()),
        }
    }
    found.users.sort_by_key(|(process, file)| (process.pid, *file));
    found.unread.sort_by_key(|process| process.pid);
    Ok(found)
}

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// `7f00-7f20 rw-s 00000000 00:2a 1234   /mnt/huge/x`: device and inode. 00:00 0 is memory without a file.
fn mapped(line: &str) -> Option<FileId> {
    let mut words = line.split_whitespace().skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let device = nix::sys::stat::makedev(number(major)?, number(minor)?);
    let inode = words.next()?.parse().ok().filter(|inode| *inode != 0)?;
    Some(FileId { device, inode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const MAPS: &str = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/x\n\
        7f0000000000-7f0040000000 rw-s 00000000 00:2a 77 /mnt/huge 1g/numa_0/32.0_GiB_0\n\
        7f0040000000-7f0080000000 rw-s 40000000 00:2a 77 /mnt/huge 1g/numa_0/32.0_GiB_0 (deleted)\n\
        7fffb2c0d000-7fffb2c2e000 rw-p 00000000 00:00 0           [stack]\n";

    #[test]
    fn whoever_maps_a_file_is_named_once_and_whoever_hides_is_told() {
        let (_dir, root) = tree(&[
            ("proc/12/maps", MAPS),
            ("proc/12/comm", "pc1\n"),
            ("proc/13/maps", "7f0000000000-7f0040000000 r--s 00000000 00:2a 77 /mnt/huge 1g/numa_0/32.0_GiB_0\n"),
            ("proc/14/maps/this-is-a-folder", "and cannot be read as a file"),
            ("proc/15/comm", "ended while we looked\n"),
            ("proc/self/maps", MAPS),
        ]);
        let file = FileId { device: nix::sys::stat::makedev(0, 0x2a), inode: 77 };
        let other = FileId { inode: 78, ..file };
        let all = users(&root, &[file, other]).unwrap();
        assert_eq!(all.of(file).iter().map(|process| process.pid).collect::<Vec<_>>(), [12, 13]);
        let users = writers(&root, &[file, other]).unwrap();
        assert_eq!(users.users, [(Process { pid: 12, name: "pc1".into() }, file)], "13 only looks");
        assert_eq!(users.of(file).len(), 1);
        assert!(users.of(other).is_empty());
        assert_eq!(users.unread.iter().map(|process| process.pid).collect::<Vec<_>>(), [14]);
    }
}
