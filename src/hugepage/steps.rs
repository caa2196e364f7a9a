//! A run as steps, each with the shell command that would do the same.
//!
//! Pure. What `--dry-run` prints is made from the record that a run is carried out and taken back by.

use super::state::{Cut, Removal, Run};
use crate::units::{Bytes, NodeId};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    MakeFolder {
        path: PathBuf,
    },
    Mount {
        at: PathBuf,
        page_bytes: Bytes,
        source: String,
    },
    /// `file` takes the pool's new size.
    RaisePool {
        node: NodeId,
        page_bytes: Bytes,
        from: u64,
        to: u64,
        file: PathBuf,
    },
    /// Under the node's memory policy, on its CPUs: a node without is refused.
    Allocate {
        node: NodeId,
        bytes: Bytes,
        path: PathBuf,
    },
    Publish {
        from: PathBuf,
        to: PathBuf,
    },
    RemoveFile {
        path: PathBuf,
    },
    LowerPool {
        node: NodeId,
        page_bytes: Bytes,
        from: u64,
        to: u64,
        file: PathBuf,
    },
    Unmount {
        at: PathBuf,
    },
    RemoveFolder {
        path: PathBuf,
    },
}

impl Step {
    /// What a shell would be told.
    pub fn command(&self) -> String {
        match self {
            Self::MakeFolder { path } => format!("mkdir {}", quoted(path)),
            Self::Mount { at, page_bytes, source } => {
                format!("mount -t hugetlbfs -o nosuid,nodev,pagesize={} {source} {}", page_bytes.0, quoted(at))
            }
            Self::RaisePool { to, file, .. } | Self::LowerPool { to, file, .. } => {
                format!("echo {to} > {}", quoted(file))
            }
            Self::Allocate { node, bytes, path } => {
                format!("numactl --cpunodebind={node} --membind={node} fallocate -l {} {}", bytes.0, quoted(path))
            }
            Self::Publish { from, to } => format!("mv -n {} {}", quoted(from), quoted(to)),
            Self::RemoveFile { path } => format!("rm {}", quoted(path)),
            Self::Unmount { at } => format!("umount {}", quoted(at)),
            Self::RemoveFolder { path } => format!("rmdir {}", quoted(path)),
        }
    }
}

/// The steps of a run, in the order in which it takes them. `pool_file` names the file of a pool.
pub fn steps(run: &Run, pool_file: impl Fn(NodeId, Bytes) -> PathBuf) -> Vec<Step> {
    let make = |path: &PathBuf| Step::MakeFolder { path: path.clone() };
    let mut steps: Vec<Step> = run.points.iter().map(|point| make(&point.path)).collect();
    steps.extend(run.mount.iter().map(|mount| Step::Mount {
        at: mount.at.clone(),
        page_bytes: mount.page_bytes,
        source: mount.source.clone(),
    }));
    steps.extend(run.pools.iter().map(|raise| Step::RaisePool {
        node: raise.node,
        page_bytes: raise.page_bytes,
        from: raise.before + raise.surplus,
        to: raise.target,
        file: pool_file(raise.node, raise.page_bytes),
    }));
    steps.extend(run.stagings.iter().map(make));
    steps.extend(run.files.iter().map(|file| Step::Allocate {
        node: file.node,
        bytes: file.bytes,
        path: file.staged.clone(),
    }));
    steps.extend(run.folders.iter().map(|folder| make(&folder.path)));
    for file in &run.files {
        if file.replaces.is_some() {
            steps.push(Step::Publish { from: file.path.clone(), to: file.aside() });
        }
        steps.push(Step::Publish { from: file.staged.clone(), to: file.path.clone() });
    }
    let replaced = run.files.iter().filter(|file| file.replaces.is_some());
    steps.extend(replaced.map(|file| Step::RemoveFile { path: file.aside() }));
    steps.extend(run.stagings.iter().map(|path| Step::RemoveFolder { path: path.clone() }));
    steps
}

/// The steps of a release. `now` gives what a pool has, surplus pages not counted.
pub fn removal_steps(
    removal: &Removal,
    folders: &[PathBuf],
    now: impl Fn(NodeId, Bytes) -> u64,
    pool_file: impl Fn(NodeId, Bytes) -> PathBuf,
) -> Vec<Step> {
    let remove = |path: &PathBuf| Step::RemoveFolder { path: path.clone() };
    let mut steps: Vec<Step> = removal.files.iter().map(|file| Step::RemoveFile { path: file.path.clone() }).collect();
    steps.extend(lower_steps(&removal.cuts, |cut| now(cut.node, cut.page_bytes), pool_file));
    steps.extend(folders.iter().rev().map(remove));
    steps.extend(removal.mounts.iter().map(|mount| Step::Unmount { at: mount.at.clone() }));
    steps.extend(removal.points.iter().rev().map(|point| remove(&point.path)));
    steps
}

/// Pools as they are lowered. `now` gives what a pool has before.
pub fn lower_steps(cuts: &[Cut], now: impl Fn(&Cut) -> u64, pool_file: impl Fn(NodeId, Bytes) -> PathBuf) -> Vec<Step> {
    let lower = |cut: &Cut| {
        let (node, page_bytes, from) = (cut.node, cut.page_bytes, now(cut));
        Step::LowerPool { node, page_bytes, from, to: from.saturating_sub(cut.by), file: pool_file(node, page_bytes) }
    };
    cuts.iter().filter(|cut| cut.by > 0).map(lower).collect()
}

/// A path as one word of a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hugepage::state::{MadeFolder, MadeMount, Raise, RunFile};

    fn run() -> Run {
        Run {
            id: "c0ffee".into(),
            mount: Some(MadeMount {
                at: "/mnt/huge_1g".into(),
                page_bytes: Bytes::gib(1),
                source: "damocles-worker-c0ffee".into(),
            }),
            points: vec![MadeFolder::planned("/mnt/huge_1g".into())],
            pools: vec![Raise {
                node: NodeId(0),
                page_bytes: Bytes::gib(1),
                before: 0,
                surplus: 0,
                target: 32,
                is_begun: false,
                before_undo: None,
            }],
            stagings: vec!["/mnt/huge_1g/.damocles-init-c0ffee-staging".into()],
            folders: ["/mnt/huge_1g/pc1 a", "/mnt/huge_1g/pc1 a/numa_0"]
                .map(|path| MadeFolder::planned(path.into()))
                .into(),
            files: vec![RunFile {
                mount: "/mnt/huge_1g".into(),
                path: "/mnt/huge_1g/pc1 a/numa_0/32.0_GiB_0".into(),
                staged: "/mnt/huge_1g/.damocles-init-c0ffee-staging/file-0".into(),
                node: NodeId(0),
                page_bytes: Bytes::gib(1),
                bytes: Bytes::gib(32),
                device: None,
                replaces: None,
                id: None,
            }],
            ..Run::default()
        }
    }

    #[test]
    fn the_steps_read_as_a_shell_script() {
        let file = |node: NodeId, _| PathBuf::from(format!("/sys/devices/system/node/node{node}/nr_hugepages"));
        let commands: Vec<_> = steps(&run(), file).iter().map(Step::command).collect();
        assert_eq!(
            commands.join("\n"),
            "mkdir /mnt/huge_1g\n\
             mount -t hugetlbfs -o nosuid,nodev,pagesize=1073741824 damocles-worker-c0ffee /mnt/huge_1g\n\
             echo 32 > /sys/devices/system/node/node0/nr_hugepages\n\
             mkdir /mnt/huge_1g/.damocles-init-c0ffee-staging\n\
             numactl --cpunodebind=0 --membind=0 fallocate -l 34359738368 /mnt/huge_1g/.damocles-init-c0ffee-staging/file-0\n\
             mkdir '/mnt/huge_1g/pc1 a'\n\
             mkdir '/mnt/huge_1g/pc1 a/numa_0'\n\
             mv -n /mnt/huge_1g/.damocles-init-c0ffee-staging/file-0 '/mnt/huge_1g/pc1 a/numa_0/32.0_GiB_0'\n\
             rmdir /mnt/huge_1g/.damocles-init-c0ffee-staging"
        );
    }

    #[test]
    fn quotes_in_a_path_stay_in_it() {
        assert_eq!(quoted(Path::new("/a'b")), r"'/a'\''b'");
        assert_eq!(quoted(Path::new("/a$b")), "'/a$b'");
    }
}
