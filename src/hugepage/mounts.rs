//! Which mount a folder lies on, and what is refused as one: another file system, a link, the wrong pages.
//!
//! ```text
//! /mnt/huge/pc1/numa_0      the folder that is asked for
//! └───┬───┘                 the mount that covers it: a hugetlbfs, or one that is to be mounted
//!     └───┬───┘             what of the folder is there already, without a link in it
//! ```

use super::{error::Refusal, state::MadeMount};
use crate::{
    sys::{Root, hugetlbfs, mount::Mounted},
    units::Bytes,
};
use nix::sys::stat::{major, minor};
use std::{
    fs,
    path::{Path, PathBuf},
};

const HUGETLBFS: &str = "hugetlbfs";

/// Where the files of a folder will lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub mount: PathBuf,
    pub page_bytes: Bytes,
    /// It is not mounted yet.
    pub is_new: bool,
}

/// The mount that shows what lies at `path`: the nearest above it, of several at one place the last.
pub fn covering<'a>(mounts: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.path));
    above.max_by_key(|mount| Path::new(&mount.path).components().count())
}

/// Every hugetlbfs that can be seen.
pub fn hugetlbfs(mounts: &[Mounted]) -> impl Iterator<Item = &Mounted> {
    let is_seen = |mount: &&Mounted| covering(mounts, Path::new(&mount.path)) == Some(mount);
    mounts.iter().filter(|mount| mount.filesystem == HUGETLBFS).filter(is_seen)
}

/// Our own mount, which bears this source.
pub fn with_source<'a>(mounts: &'a [Mounted], at: &Path, source: &str) -> Option<&'a Mounted> {
    covering(mounts, at)
        .filter(|mount| Path::new(&mount.path) == at)
        .filter(|mount| mount.filesystem == HUGETLBFS && mount.source == source)
}

/// That a hugetlbfs which is mounted at `at` is not hidden by what somebody mounted over it later, which may be another
/// hugetlbfs. `ours` tell theirs from ours, and so does the `device` of what lies on it, where that is known.
pub fn refuse_hidden(
    root: &Root,
    mounts: &[Mounted],
    at: &Path,
    ours: &[MadeMount],
    device: Option<u64>,
) -> Result<(), Refusal> {
    let source = ours.iter().find(|made| made.at == at).map(|made| made.source.as_str());
    let device = device.map(|device| format!("{}:{}", major(device), minor(device)));
    let is_it = |mount: &Mounted| {
        let is_there = Path::new(&mount.path) == at && mount.filesystem == HUGETLBFS;
        let is_device = device.as_ref().is_none_or(|device| *device == mount.device);
        is_there && is_device && source.is_none_or(|source| source == mount.source)
    };
    let is_on_top = covering(mounts, at).is_some_and(is_it);
    // What is mounted over a folder above it is not seen in that.
    let is_seen = || hugetlbfs::look(root, at).is_ok_and(|found| found.is_some());
    match mounts.iter().any(is_it) && !(is_on_top && is_seen()) {
        true => Err(Refusal::Hidden(at.to_owned())),
        false => Ok(()),
    }
}

/// The device of a mount that is there.
pub fn device(root: &Root, place: &Place) -> Option<u64> {
    if place.is_new { None } else { hugetlbfs::identify(root, &place.mount).ok()?.map(|id| id.device) }
}

/// The place of a folder on a hugetlbfs that is mounted, to write to.
pub fn place(mounts: &[Mounted], folder: &Path, wanted: Option<Bytes>) -> Result<Place, Refusal> {
    let may_mount = |refusal| match refusal {
        Refusal::NotHugetlbfs { folder, mount, filesystem, there, .. } => {
            Refusal::NotHugetlbfs { folder, mount, filesystem, there, may_mount: true }
        }
        other => other,
    };
    let place = found(mounts, folder).map_err(may_mount)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != place.page_bytes) {
        let (found, mount) = (place.page_bytes, place.mount);
        return Err(Refusal::WrongPageSize { folder: folder.to_owned(), mount, found, wanted });
    }
    if covering(mounts, folder).is_some_and(|mount| mount.read_only) {
        return Err(Refusal::ReadOnlyMount(place.mount));
    }
    Ok(place)
}

/// The same to look at: it may be read-only, and nothing can be mounted for it.
pub fn found(mounts: &[Mounted], folder: &Path) -> Result<Place, Refusal> {
    let not_huge = |mount: PathBuf, filesystem: &str| Refusal::NotHugetlbfs {
        folder: folder.to_owned(),
        mount,
        filesystem: filesystem.to_owned(),
        there: hugetlbfs(mounts).map(|mount| (mount.path.clone().into(), mount.page_bytes())).collect(),
        may_mount: false,
    };
    let Some(mount) = covering(mounts, folder) else { return Err(not_huge("/".into(), "an unknown file system")) };
    let at = PathBuf::from(&mount.path);
    let (HUGETLBFS, Some(page_bytes)) = (mount.filesystem.as_str(), mount.page_bytes()) else {
        return Err(not_huge(at, &mount.filesystem));
    };
    Ok(Place { mount: at, page_bytes, is_new: false })
}

/// A mount that is asked for: the one that is there, or one that is to be made.
pub fn asked_for(mounts: &[Mounted], at: &Path, wanted: Option<Bytes>, has: &[Bytes]) -> Result<Place, Refusal> {
    let above = covering(mounts, at);
    if let Some(there) = above.filter(|mount| Path::new(&mount.path) == at && at != Path::new("/")) {
        return match there.filesystem.as_str() {
            HUGETLBFS => place(mounts, at, wanted),
            other => Err(Refusal::MountTaken { at: at.to_owned(), filesystem: other.to_owned() }),
        };
    }
    if let Some(inside) = above.filter(|mount| mount.filesystem == HUGETLBFS) {
        return Err(Refusal::MountInside { at: at.to_owned(), inside: inside.path.clone().into() });
    }
    let Some(page_bytes) = wanted else {
        return Err(Refusal::MountWithoutSize { at: at.to_owned(), has: has.to_vec() });
    };
    if !has.contains(&page_bytes) {
        return Err(Refusal::NoPageSize { page: page_bytes, has: has.to_vec() });
    }
    Ok(Place { mount: at.to_owned(), page_bytes, is_new: true })
}

/// The part of `path` that is there, which must be folders without a link among them; and the folders that are not there,
/// outermost first.
pub fn missing_folders(root: &Root, path: &Path) -> Result<(PathBuf, Vec<PathBuf>), Refusal> {
    let mut missing = Vec::new();
    for part in path.ancestors() {
        let real = root.path(part);
        match fs::symlink_metadata(&real) {
            Err(_) => missing.push(part.to_owned()),
            Ok(stat) if stat.is_symlink() => return Err(link(root, path, part)),
            Ok(stat) if !stat.is_dir() => return Err(Refusal::NoFolder(part.to_owned())),
            Ok(_) => {
                no_link_above(root, path, part)?;
                missing.reverse();
                return Ok((part.to_owned(), missing));
            }
        }
    }
    Err(Refusal::NoFolder(path.to_owned()))
}

fn no_link_above(root: &Root, path: &Path, there: &Path) -> Result<(), Refusal> {
    let is_link = |part: &&Path| fs::symlink_metadata(root.path(part)).is_ok_and(|stat| stat.is_symlink());
    match there.ancestors().find(is_link) {
        // The root itself may be reached through a link.
        Some(part) if part != Path::new("/") => Err(link(root, path, part)),
        _ => Ok(()),
    }
}

fn link(root: &Root, path: &Path, part: &Path) -> Refusal {
    let to = root.follow(part).ok();
    Refusal::Symlink { folder: path.to_owned(), link: part.to_owned(), to }
}

/// That the kernel agrees that what is there of a folder lies on its mount.
pub fn check_on_mount(root: &Root, there: &Path, place: &Place) -> Result<Option<Bytes>, super::InitError> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(root.path(path)).map(|stat| stat.dev()).ok();
    match hugetlbfs::look(root, there)? {
        Some(found) if found.page_bytes == place.page_bytes && device(there) == device(&place.mount) => Ok(found.left),
        _ => Err(Refusal::Hidden(there.to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mounted(path: &str, filesystem: &str, options: &str) -> Mounted {
        Mounted {
            device: "0:40".into(),
            subtree: "/".into(),
            path: path.into(),
            filesystem: filesystem.into(),
            source: format!("source-of-{path}"),
            read_only: options.starts_with("ro"),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    fn host() -> Vec<Mounted> {
        vec![
            mounted("/", "ext4", "rw"),
            mounted("/mnt/huge_1g", HUGETLBFS, "rw,pagesize=1024M"),
            mounted("/mnt/huge_2m", HUGETLBFS, "rw,pagesize=2M"),
            mounted("/mnt/ro", HUGETLBFS, "ro,pagesize=2M"),
            mounted("/data", "xfs", "rw"),
        ]
    }

    fn refused(folder: &str, wanted: Option<Bytes>) -> String {
        place(&host(), Path::new(folder), wanted).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_lies_on_the_nearest_mount_above_it() {
        let found = place(&host(), Path::new("/mnt/huge_1g/pc1/numa_0"), None).unwrap();
        assert_eq!(found, Place { mount: "/mnt/huge_1g".into(), page_bytes: Bytes::gib(1), is_new: false });
        place(&host(), Path::new("/mnt/huge_2m"), Some(Bytes::mib(2))).unwrap();
        // Names that merely begin alike are other folders.
        assert!(refused("/mnt/huge_1gx/pc1", None).contains("not on a hugetlbfs but on ext4, mounted at /;"));
    }

    #[test]
    fn another_file_system_is_refused_with_those_that_are_there() {
        let text = refused("/data/pc1", None);
        assert!(text.contains("on xfs, mounted at /data") && text.contains("/mnt/huge_1g (1GiB pages)"), "{text}");
        assert!(text.contains("/mnt/ro (2MiB pages)"), "a read-only one is shown too: {text}");
        let none = place(&host()[..1], Path::new("/mnt/x"), None).unwrap_err().to_string();
        assert!(none.contains("none is mounted here: mount one with --mount DIR --page-size SIZE"), "{none}");
        for mounts in [&host()[..], &host()[..1]] {
            let looked = found(mounts, Path::new("/data/pc1")).unwrap_err().to_string();
            assert!(looked.contains("not on a hugetlbfs") && !looked.contains("--mount"), "{looked}");
        }
    }

    #[test]
    fn the_wrong_pages_and_a_read_only_mount_are_refused() {
        let text = refused("/mnt/huge_1g/pc1", Some(Bytes::mib(2)));
        assert!(text.contains("a hugetlbfs of 1GiB pages") && text.contains("asked for are 2MiB pages"), "{text}");
        assert!(refused("/mnt/ro/x", None).contains("read-only"));
    }

    #[test]
    fn what_is_mounted_over_a_hugetlbfs_hides_it() {
        let mut mounts = host();
        mounts.push(mounted("/mnt/huge_1g", "tmpfs", "rw"));
        assert!(place(&mounts, Path::new("/mnt/huge_1g/x"), None).unwrap_err().to_string().contains("on tmpfs"));
        assert_eq!(hugetlbfs(&mounts).count(), 2);
        assert!(with_source(&host(), Path::new("/mnt/huge_1g"), "source-of-/mnt/huge_1g").is_some());
        assert!(with_source(&host(), Path::new("/mnt/huge_1g"), "another").is_none());
        assert!(with_source(&mounts, Path::new("/mnt/huge_1g"), "source-of-/mnt/huge_1g").is_none());
    }

    #[test]
    fn a_mount_is_made_only_where_it_is_right() {
        let has = [Bytes::mib(2), Bytes::gib(1)];
        let ask = |at: &str, wanted| asked_for(&host(), Path::new(at), wanted, &has);
        assert!(ask("/mnt/new", Some(Bytes::gib(1))).unwrap().is_new);
        assert!(!ask("/mnt/huge_1g", Some(Bytes::gib(1))).unwrap().is_new, "there is one");
        assert!(matches!(ask("/mnt/huge_1g", Some(Bytes::mib(2))), Err(Refusal::WrongPageSize { .. })));
        assert!(matches!(ask("/data", Some(Bytes::mib(2))), Err(Refusal::MountTaken { .. })));
        assert!(matches!(ask("/mnt/huge_1g/in", Some(Bytes::gib(1))), Err(Refusal::MountInside { .. })));
        assert!(matches!(ask("/mnt/new", Some(Bytes::mib(16))), Err(Refusal::NoPageSize { .. })));
        let text = ask("/mnt/new", None).unwrap_err().to_string();
        assert!(text.contains("--page-size") && text.contains("2MiB,1GiB"), "{text}");
    }

    #[test]
    fn links_and_files_on_the_way_are_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        fs::create_dir_all(dir.path().join("mnt/huge")).unwrap();
        fs::write(dir.path().join("mnt/file"), "").unwrap();
        symlink("huge", dir.path().join("mnt/link")).unwrap();
        symlink("gone", dir.path().join("mnt/nowhere")).unwrap();
        let missing = |path: &str| missing_folders(&root, Path::new(path));
        let (there, folders) = missing("/mnt/huge/pc1/numa_0").unwrap();
        assert_eq!(there, Path::new("/mnt/huge"));
        assert_eq!(folders, [Path::new("/mnt/huge/pc1"), Path::new("/mnt/huge/pc1/numa_0")]);
        assert_eq!(missing("/mnt/huge").unwrap().1, Vec::<PathBuf>::new());
        let text = missing("/mnt/link/pc1").unwrap_err().to_string();
        assert!(text.contains("the symbolic link /mnt/link, which leads to /mnt/huge;"), "{text}");
        fs::create_dir(dir.path().join("mnt/huge/deep")).unwrap();
        assert!(missing("/mnt/link/deep/x").unwrap_err().to_string().contains("the symbolic link /mnt/link"));
        assert!(missing("/mnt/nowhere").unwrap_err().to_string().contains("which leads nowhere"));
        assert!(matches!(missing("/mnt/file/x"), Err(Refusal::NoFolder(path)) if path == Path::new("/mnt/file")));
    }
}
