//! `store hugepage-status`: what there is of hugepages on this host, and who uses it.

use super::{
    super::{Exit, Io},
    say::write_json,
    which::Which,
};
use crate::{
    hugepage::{
        error::processes,
        pool::pages,
        status::{self, FileStatus, FolderStatus, MountStatus, NodeStatus, RecordStatus, Status},
    },
    sys::Root,
};
use anyhow::Result;

const EXAMPLES: &str = "\
Examples:
  damocles-worker store hugepage-status
      pools of each node, every hugetlbfs, every file on it with the nodes of its pages, and who has it mapped
  damocles-worker store hugepage-status --path /mnt/huge_1g/pc1_1 --json
      the folders of one processor, as data

Nothing is changed. As another user than root it shows less: what could not be asked is named.
Exit code: 0 shown, whatever it shows, 2 could not.";

/// Show hugepage pools, mounts and files, where their pages lie and who has them mapped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io) -> Result<Exit> {
    let choice = args.which.choice()?;
    let status = status::status(&choice, &Root::at("/"), &args.which.record()?)?;
    if args.json {
        write_json(&serde_json::to_value(&status)?, io)?;
    } else {
        write(&status, io)?;
        if let (Some(pattern), true) = (&choice.pattern, status.folders.is_empty()) {
            writeln!(io.out, "folder {}: nothing is there", pattern.shown().display())?;
        }
    }
    Ok(Exit::Yes)
}

fn write(status: &Status, io: &mut Io) -> Result<()> {
    for node in &status.nodes {
        write_node(node, io)?;
    }
    for mount in &status.mounts {
        write_mount(mount, io)?;
    }
    if status.mounts.is_empty() {
        writeln!(io.out, "no hugetlbfs is mounted")?;
    }
    for folder in &status.folders {
        write_folder(folder, io)?;
    }
    write_record(&status.record, io)?;
    if !status.unasked.is_empty() {
        let (number, names) = (status.unasked.len(), processes(&status.unasked));
        let number = count(number, "process", "processes");
        writeln!(io.out, "{number} did not let us see what is mapped: {names}")?;
    }
    Ok(())
}

fn write_node(node: &NodeStatus, io: &mut Io) -> Result<()> {
    let cpus = if node.cpus.is_empty() { "no CPUs".to_owned() } else { format!("CPUs {}", node.cpus) };
    let forbidden = if node.is_allowed { "" } else { ", forbidden to this process" };
    writeln!(io.out, "node {}: {} of memory, {cpus}{forbidden}", node.node, node.memory_bytes.human())?;
    for pool in &node.pools {
        let all = pages(pool.pages);
        write!(io.out, "  {}: {all}, {} free", pool.page_bytes, pool.free)?;
        if pool.surplus > 0 {
            write!(io.out, ", {} surplus", pool.surplus)?;
        }
        if pool.added_by_this_tool > 0 {
            write!(io.out, ", {} added by this tool", pool.added_by_this_tool)?;
        }
        writeln!(io.out)?;
    }
    Ok(())
}

fn write_mount(mount: &MountStatus, io: &mut Io) -> Result<()> {
    let size = mount.page_bytes.map_or_else(|| "pages of unknown size".to_owned(), |size| format!("{size} pages"));
    write!(io.out, "hugetlbfs {}: {size}", mount.at.display())?;
    if let Some(left) = mount.left_bytes {
        write!(io.out, ", limited, {} left", left.human())?;
    }
    if mount.is_read_only {
        write!(io.out, ", read-only")?;
    }
    if mount.made_by_this_tool {
        write!(io.out, ", mounted by this tool")?;
    }
    writeln!(io.out)?;
    Ok(())
}

fn write_folder(folder: &FolderStatus, io: &mut Io) -> Result<()> {
    write!(io.out, "folder {}", folder.folder.display())?;
    match folder.node {
        Some(node) => write!(io.out, ", node {node}")?,
        None => write!(io.out, ", of no node by its name")?,
    }
    writeln!(io.out, "{}", if folder.is_recorded { "" } else { ", not in the record" })?;
    for file in &folder.files {
        write_file(file, io)?;
    }
    if let Some(hidden) = &folder.hidden {
        writeln!(io.out, "  {hidden}")?;
        return Ok(());
    }
    if folder.files.is_empty() && folder.missing.is_empty() && folder.others.is_empty() {
        writeln!(io.out, "  nothing lies in it")?;
    }
    for path in &folder.missing {
        writeln!(io.out, "  {}: was made here and is gone", name(path))?;
    }
    for path in &folder.others {
        writeln!(io.out, "  {}: not a file of PC1's by its name", name(path))?;
    }
    Ok(())
}

fn write_file(file: &FileStatus, io: &mut Io) -> Result<()> {
    write!(io.out, "  {}: ", name(&file.path))?;
    let counts: Vec<_> = file.pages.iter().map(|(node, number)| format!("{} on node {node}", pages(*number))).collect();
    match (&file.problem, counts.is_empty()) {
        (Some(problem), _) => write!(io.out, "WRONG: {problem}")?,
        (None, true) => write!(io.out, "{}", file.bytes.human())?,
        (None, false) => write!(io.out, "{}", counts.join(", "))?,
    }
    if !file.made_by_this_tool {
        write!(io.out, ", not made by this tool")?;
    }
    if !file.mapped_by.is_empty() {
        write!(io.out, ", mapped by {}", processes(&file.mapped_by))?;
    }
    writeln!(io.out)?;
    Ok(())
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn write_record(record: &RecordStatus, io: &mut Io) -> Result<()> {
    let path = record.path.display();
    if let Some(problem) = &record.problem {
        writeln!(io.out, "record: {problem}")?;
        return Ok(());
    }
    let is_empty = record.folders == 0 && record.mounts.is_empty() && record.points.is_empty();
    if is_empty && record.unfinished_run.is_none() && record.unfinished_removal.is_none() {
        writeln!(io.out, "record {path}: this tool made nothing here since the boot")?;
        return Ok(());
    }
    let (folders, mounts) = (count(record.folders, "folder", "folders"), count(record.mounts.len(), "mount", "mounts"));
    writeln!(io.out, "record {path}: {folders} and {mounts} of this tool")?;
    for (pid, what) in [(record.unfinished_run, "making files"), (record.unfinished_removal, "removing")] {
        if let Some(pid) = pid {
            writeln!(io.out, "  process {pid} is {what}, or was killed: the next command puts that in order")?;
        }
    }
    Ok(())
}
