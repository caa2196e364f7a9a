//! Groups of the kernel's cpuset controller, version 1 and 2: made, joined, swept, read back.
//!
//! ```text
//! v1  a hierarchy of its own      /sys/fs/cgroup/cpuset/vc-worker/sub-pc1-4711-0/{cpuset.cpus, cpuset.mems, cgroup.procs}
//! v2  one hierarchy for all       /sys/fs/cgroup/vc-worker/sub-pc1-4711-0/…      each folder above says +cpuset
//! ```
//!
//! On a hybrid host the controller belongs to whichever hierarchy mounted it first, so it is asked, not assumed.
//! Groups lie below the mounted root, where the field's own processors look for them (`VC_CG_NAME`).
//!
//! Always holds: what the kernel granted is read back and compared. On v2 a group with CPUs that the folder above does
//! not have is accepted by the kernel in silence and gets others.

use super::{host::HostError, mount, root::Root};
use crate::units::{CpuList, NodeId};
use nix::unistd::{AccessFlags, access};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Why a group could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error(
        "cgroup: neither a v1 cpuset hierarchy nor a v2 one with the cpuset controller is mounted; \
         in a container: run it with the host's cgroups (--cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup), or privileged"
    )]
    NotMounted,
    #[error(transparent)]
    Mounts(#[from] HostError),
    #[error("cgroup: {doing} {}: {source}{}", path.display(), hint(source))]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "cgroup {}: asked for {what} {asked}, the kernel gives {given}; are they online, and may the group above use them",
        path.display()
    )]
    Short { path: PathBuf, what: &'static str, asked: String, given: String },
    #[error("cgroup {}: processes {pids} do not leave it; end them", path.display())]
    Busy { path: PathBuf, pids: String },
    #[error("cgroup {}: processes {pids} are in it, of another daemon; give this one another cgroup.group_name", path.display())]
    Taken { path: PathBuf, pids: String },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; run the daemon as root, or give its user that folder"
        }
        io::ErrorKind::ResourceBusy => "; processes that sit in that group keep its controllers from being shared out",
        _ => "",
    }
}

type Result<T> = std::result::Result<T, CgroupError>;

/// Which of the kernel's two interfaces has the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// The hierarchy that has the cpuset controller.
#[derive(Clone, Debug)]
pub struct Cpusets {
    root: Root,
    /// A path of the host.
    mount: PathBuf,
    pub version: Version,
}

impl Cpusets {
    /// Looks for the hierarchy.
    pub fn find(root: &Root) -> Result<Self> {
        let here = |mount: String, version| Self { root: root.clone(), mount: mount.into(), version };
        let mounts = mount::mounts(root)?;
        if let Some(v1) = mounts.iter().find(|m| m.filesystem == "cgroup" && m.options.iter().any(|o| o == "cpuset")) {
            return Ok(here(v1.path.clone(), Version::V1));
        }
        let has_cpuset = |path: &str| {
            let controllers = root.read(Path::new(path).join("cgroup.controllers")).unwrap_or_default();
            controllers.split_whitespace().any(|name| name == "cpuset")
        };
        let v2 = mounts.into_iter().find(|m| m.filesystem == "cgroup2" && has_cpuset(&m.path));
        v2.map(|v2| here(v2.path, Version::V2)).ok_or(CgroupError::NotMounted)
    }

    /// Whether a group may be made in `group`, as far as can be seen without making one.
    pub fn check_writable(&self, group: &str) -> Result<()> {
        let wanted = self.path(group);
        let there = wanted.ancestors().find(|path| path.exists()).unwrap_or(&wanted).to_owned();
        access(&there, AccessFlags::W_OK).map_err(|errno| CgroupError::Io {
            doing: "making groups in",
            path: there,
            source: errno.into(),
        })
    }

    /// Where a group lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path(self.mount.join(name))
    }

    /// Makes the group `name` (`a/b/c`), gives it `cpus`, and the memory of `node` where one is named.
    pub fn make(&self, name: &str, cpus: &CpuList, node: Option<NodeId>) -> Result<()> {
        let path = self.path(name);
        self.make_folders(name)?;
        // Two containers that see the host's hierarchy may both have a daemon of number 1.
        let pids = pids(&path);
        if !pids.is_empty() {
            return Err(CgroupError::Taken { path, pids });
        }
        write(&path.join("cpuset.cpus"), &cpus.to_string())?;
        if let Some(node) = node {
            write(&path.join("cpuset.mems"), &node.to_string())?;
        }
        self.compare(&path, "cpus", cpus)?;
        match node {
            Some(node) => self.compare(&path, "mems", &CpuList::from_iter([node.0])),
            None => Ok(()),
        }
    }

    /// Moves this whole process into the group.
    pub fn join(&self, name: &str) -> Result<()> {
        let procs = self.path(name).join("cgroup.procs");
        let joined = fs::write(&procs, std::process::id().to_string());
        joined.map_err(|source| CgroupError::Io { doing: "moving this process to", path: procs, source })
    }

    /// Moves this process out of `name` to the root of the hierarchy, and removes the group.
    pub fn leave(&self, name: &str) -> Result<()> {
        self.join("")?;
        self.remove(name)
    }

    /// The groups right in `group` that begin with `prefix`, as full names.
    pub fn names(&self, group: &str, prefix: &str) -> Result<Vec<String>> {
        let folder = self.path(group);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| CgroupError::Io { doing: "reading", path: folder, source })?,
        };
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix) && self.path(group).join(name).is_dir())
            .map(|name| format!("{group}/{name}"))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes the group once its processes have left it, for which they have a second; one that is not there is removed
    /// already. The kernel's files in it go with it.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            match fs::remove_dir(&path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    return Err(CgroupError::Busy { pids: pids(&path), path });
                }
                Err(source) => return Err(CgroupError::Io { doing: "removing", path, source }),
            }
        }
    }

    /// The group's folders from the top, each ready to have groups with cpusets in it.
    fn make_folders(&self, name: &str) -> Result<()> {
        let mut above = self.path("");
        for part in name.split('/') {
            if self.version == Version::V2 {
                share_out(&above)?;
            }
            let folder = above.join(part);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(|source| CgroupError::Io { doing: "making", path: folder.clone(), source })?,
            }
            if self.version == Version::V1 {
                inherit(&above, &folder)?;
            }
            above = folder;
        }
        Ok(())
    }

    fn compare(&self, path: &Path, what: &'static str, asked: &CpuList) -> Result<()> {
        let file = match self.version {
            Version::V1 => path.join(format!("cpuset.effective_{what}")),
            Version::V2 => path.join(format!("cpuset.{what}.effective")),
        };
        let given = read(&file)?;
        if given.parse().is_ok_and(|given: CpuList| given == *asked) {
            return Ok(());
        }
        Err(CgroupError::Short { path: path.to_owned(), what, asked: asked.to_string(), given })
    }
}

/// The processes in a group, for people.
fn pids(group: &Path) -> String {
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.split_whitespace().collect::<Vec<_>>().join(", ")
}

/// v2: lets the folders in `folder` have cpusets.
fn share_out(folder: &Path) -> Result<()> {
    let control = folder.join("cgroup.subtree_control");
    if read(&control)?.split_whitespace().any(|name| name == "cpuset") {
        return Ok(());
    }
    write(&control, "+cpuset")
}

/// v1: a new group has nothing, and a process cannot join it like that.
fn inherit(above: &Path, folder: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if read(&folder.join(name))?.is_empty() {
            write(&folder.join(name), &read(&above.join(name))?)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path);
    text.map(|text| text.trim().to_owned()).map_err(|source| CgroupError::Io {
        doing: "reading",
        path: path.to_owned(),
        source,
    })
}

/// The file is the kernel's: it is there or the group is not what it seems.
fn write(path: &Path, text: &str) -> Result<()> {
    let open = fs::OpenOptions::new().write(true).open(path);
    open.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())).map_err(|source| CgroupError::Io {
        doing: "writing",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const V1: &str = "30 22 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      31 22 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
    const V2: &str = "32 22 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn cpus(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    #[test]
    fn the_hierarchy_that_has_the_controller_is_found_on_hybrid_hosts_too() {
        let mountinfo = "proc/self/mountinfo";
        let (_dir, root) = tree(&[(mountinfo, &format!("{V2}{V1}"))]);
        let found = Cpusets::find(&root).unwrap();
        assert_eq!((found.version, found.mount), (Version::V1, "/sys/fs/cgroup/cpuset".into()));
        let controllers = "sys/fs/cgroup/unified/cgroup.controllers";
        let (_dir, root) = tree(&[(mountinfo, V2), (controllers, "cpu cpuset memory\n")]);
        assert_eq!(Cpusets::find(&root).unwrap().version, Version::V2);
        for controllers_there in ["memory cpusets\n", ""] {
            let (_dir, root) = tree(&[(mountinfo, V2), (controllers, controllers_there)]);
            assert!(Cpusets::find(&root).unwrap_err().to_string().contains("neither a v1 cpuset hierarchy"));
        }
    }

    /// A v2 hierarchy whose kernel grants `given` to the group `g/sub`.
    fn v2(given: &str) -> (tempfile::TempDir, Cpusets) {
        let mount = "sys/fs/cgroup/unified";
        let file = |name: &str| format!("{mount}/{name}");
        let (dir, root) = tree(&[
            ("proc/self/mountinfo", V2),
            (&file("cgroup.controllers"), "cpuset"),
            (&file("cgroup.subtree_control"), "cpu memory"),
            (&file("g/cgroup.subtree_control"), "cpuset"),
            (&file("g/sub/cpuset.cpus"), ""),
            (&file("g/sub/cpuset.mems"), ""),
            (&file("g/sub/cpuset.cpus.effective"), given),
            (&file("g/sub/cpuset.mems.effective"), "1"),
        ]);
        let cpusets = Cpusets::find(&root).unwrap();
        (dir, cpusets)
    }

    #[test]
    fn a_group_gets_cpus_and_mems_and_the_folders_above_share_out() {
        let (_dir, cpusets) = v2("2-3\n");
        cpusets.make("g/sub", &cpus("2-3"), Some(NodeId(1))).unwrap();
        let text = |name: &str| fs::read_to_string(cpusets.path(name)).unwrap();
        assert_eq!(text("cgroup.subtree_control"), "+cpusetory", "written, as into a kernel's file");
        assert_eq!(text("g/cgroup.subtree_control"), "cpuset", "it shares out already");
        assert_eq!((text("g/sub/cpuset.cpus").as_str(), text("g/sub/cpuset.mems").as_str()), ("2-3", "1"));
    }

    #[test]
    fn what_the_kernel_does_not_give_is_an_error_and_not_a_wish() {
        let (_dir, cpusets) = v2("0-1\n");
        let error = cpusets.make("g/sub", &cpus("2-3"), None).unwrap_err().to_string();
        assert!(error.contains("asked for cpus 2-3, the kernel gives 0-1"), "{error}");
        let (_dir, cpusets) = v2("2-3");
        let error = cpusets.make("g/sub", &cpus("2-3"), Some(NodeId(0))).unwrap_err().to_string();
        assert!(error.contains("asked for mems 0, the kernel gives 1"), "{error}");
        fs::write(cpusets.path("g/sub/cgroup.procs"), "12\n13\n").unwrap();
        let error = cpusets.make("g/sub", &cpus("2-3"), None).unwrap_err().to_string();
        assert!(error.contains("processes 12, 13 are in it, of another daemon"), "{error}");
        let error = cpusets.make("g/other", &cpus("2-3"), None).unwrap_err().to_string();
        assert!(error.starts_with("cgroup: writing ") && error.contains("g/other/cpuset.cpus"), "{error}");
    }

    /// On this host, where it is root and has a hierarchy of either version.
    #[test]
    fn the_kernel_makes_fills_and_removes_a_group() {
        let Ok(cpusets) = Cpusets::find(&Root::at("/")) else { return skip("no cpuset hierarchy") };
        let group = format!("damocles-test-{}", std::process::id());
        let name = format!("{group}/sub-pc1-1-0");
        if !nix::unistd::geteuid().is_root() || cpusets.check_writable(&group).is_err() {
            return skip("no right to make groups");
        }
        cpusets.make(&name, &cpus("0"), Some(NodeId(0))).unwrap();
        cpusets.make(&name, &cpus("0"), None).unwrap();
        assert_eq!(cpusets.names(&group, "sub-").unwrap(), std::slice::from_ref(&name));
        let error = cpusets.make(&format!("{group}/sub-2"), &cpus("5000"), None).unwrap_err().to_string();
        assert!(error.contains("sub-2"), "{error}");
        for name in [name.as_str(), &format!("{group}/sub-2"), &group, &group] {
            cpusets.remove(name).unwrap();
        }
        assert!(cpusets.names(&group, "").unwrap().is_empty());
    }

    fn skip(why: &str) {
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("skipped cgroups of this kernel: {why}\n"));
    }
}
