//! Where a thread's memory comes from, and on which node the pages of a file lie: system calls that no safe crate offers.
//!
//! ```text
//! bind_this_thread([1]) ─► fallocate ─► pages of node 1      the task's policy; fallocate on hugetlbfs ignores mbind
//! Mapping::of(file) ─ populate ─► page table ─ nodes() ─► [1, 1, 1, …]      move_pages tells mapped pages only
//! ```
//!
//! A home of `unsafe`. Its safe twin is what /proc says of the same things: `numa_maps` counts the pages of a mapping
//! by node ([`Mapping::counted_nodes`]), and tests compare the two.
//!
//! Always holds: a policy belongs to the thread that asked for it and ends with it; a mapping ends with its value;
//! nothing here forms a reference into mapped memory.

#![allow(unsafe_code)]

use super::root::{ReadError, Root};
use crate::units::NodeId;
use nix::{errno::Errno, libc};
use std::{
    collections::BTreeMap,
    ffi::c_void,
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    ptr,
};

const WORD_BITS: usize = libc::c_ulong::BITS as usize;
/// As many nodes as a kernel can be built for. The kernel wants room for all it might have.
const NODES_MAX: usize = 1024;

/// Where a thread's new pages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Near to the CPU that runs the thread.
    Local,
    /// From these nodes; an allocation that they cannot serve fails.
    Bind(Vec<NodeId>),
    /// From this node as long as it has some.
    Prefer(Vec<NodeId>),
    /// One that we never set, by the kernel's number.
    Other(i32),
}

/// A policy that the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {}{}", list(nodes), errno.desc(), hint(*errno))]
pub struct PolicyError {
    doing: &'static str,
    nodes: Vec<NodeId>,
    pub errno: Errno,
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EINVAL => "; is the node there, has it memory, and do the cpuset's mems of this process name it",
        Errno::EPERM => "; a container's seccomp profile forbids it: run it outside, or with the capability SYS_NICE",
        Errno::ENOSYS => "; this kernel was built without NUMA",
        _ => "",
    }
}

/// Lets this thread's new pages come from `nodes` alone.
pub fn bind_this_thread(nodes: &[NodeId]) -> Result<(), PolicyError> {
    set(libc::MPOL_BIND, nodes).map_err(|errno| PolicyError {
        doing: "bind this thread's memory to node",
        nodes: nodes.to_vec(),
        errno,
    })
}

/// Lets this thread's new pages come from `node` while it has some.
pub fn prefer_on_this_thread(node: NodeId) -> Result<(), PolicyError> {
    set(libc::MPOL_PREFERRED, &[node]).map_err(|errno| PolicyError {
        doing: "prefer for this thread's memory node",
        nodes: vec![node],
        errno,
    })
}

/// Takes back whatever policy this thread has.
pub fn reset_this_thread() -> Result<(), PolicyError> {
    set(libc::MPOL_DEFAULT, &[]).map_err(|errno| PolicyError {
        doing: "reset this thread's memory policy",
        nodes: vec![],
        errno,
    })
}

/// This thread's policy, asked of the kernel.
pub fn policy_of_this_thread() -> Result<Policy, PolicyError> {
    let mut mode: libc::c_int = 0;
    let mut mask = [0 as libc::c_ulong; NODES_MAX / WORD_BITS];
    // SAFETY: no crate of ours wraps get_mempolicy. With no address and no flags the kernel writes one int to `mode` and at
    // most as many bits as are told (one more than the last, by its convention) to `mask`; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            ptr::from_mut(&mut mode),
            mask.as_mut_ptr(),
            (NODES_MAX + 1) as libc::c_ulong,
            ptr::null_mut::<c_void>(),
            0 as libc::c_ulong,
        )
    };
    Errno::result(result).map_err(|errno| PolicyError {
        doing: "ask for this thread's memory policy",
        nodes: vec![],
        errno,
    })?;
    let is_set = |node: &usize| mask[node / WORD_BITS] >> (node % WORD_BITS) & 1 == 1;
    let nodes: Vec<_> = (0..NODES_MAX).filter(is_set).map(|node| NodeId(node as u32)).collect();
    Ok(match mode {
        libc::MPOL_DEFAULT => Policy::Local,
        libc::MPOL_BIND => Policy::Bind(nodes),
        // Preferring nothing is how the kernel of old spelt local.
        libc::MPOL_PREFERRED if nodes.is_empty() => Policy::Local,
        libc::MPOL_PREFERRED => Policy::Prefer(nodes),
        libc::MPOL_LOCAL => Policy::Local,
        other => Policy::Other(other),
    })
}

/// Lets the pages of a range that are not there yet come from `node`: from it alone, or as long as it has some. The kernel
/// rounds to whole pages. The policy ends with the mapping.
pub fn place_range(start: usize, bytes: usize, node: NodeId, alone: bool) -> Result<(), PolicyError> {
    let failed = |errno| PolicyError { doing: "take memory for layers from node", nodes: vec![node], errno };
    let mask = mask(&[node]).map_err(failed)?;
    let mode = if alone { libc::MPOL_BIND } else { libc::MPOL_PREFERRED };
    // SAFETY: no crate of ours wraps mbind. Without flags it moves nothing: whatever is mapped there keeps its content, and
    // only where future pages come from is changed; a range that is not mapped is an error. The kernel reads at most the bits
    // that are told (one more than the last, by its convention) from `mask`, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_mbind, start, bytes, mode, mask.as_ptr(), (NODES_MAX + 1) as libc::c_ulong, 0)
    };
    Errno::result(result).map(drop).map_err(failed)
}

fn mask(nodes: &[NodeId]) -> Result<[libc::c_ulong; NODES_MAX / WORD_BITS], Errno> {
    let mut mask = [0 as libc::c_ulong; NODES_MAX / WORD_BITS];
    for node in nodes {
        let node = node.0 as usize;
        *mask.get_mut(node / WORD_BITS).ok_or(Errno::EINVAL)? |= 1 << (node % WORD_BITS);
    }
    Ok(mask)
}

fn set(mode: libc::c_int, nodes: &[NodeId]) -> Result<(), Errno> {
    let mask = mask(nodes)?;
    // The default takes an empty set only, which is told by no mask.
    let (mask, bits) = match nodes {
        [] => (ptr::null(), 0),
        _ => (mask.as_ptr(), NODES_MAX + 1),
    };
    // SAFETY: no crate of ours wraps set_mempolicy. The kernel reads at most the bits that are told (one more than the
    // last, by its convention) from `mask`, which outlives the call, and changes where this thread's future pages
    // come from: no memory that a reference points to.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits as libc::c_ulong) };
    Errno::result(result).map(drop)
}

/// Why the pages of a file could not be told.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    #[error("it has {allocated} of its {bytes} bytes: the rest was never allocated")]
    Holes { allocated: u64, bytes: u64 },
    #[error("{doing}: {}{}", errno.desc(), if *errno == Errno::EPERM { hint(*errno) } else { "" })]
    Call { doing: &'static str, errno: Errno },
    #[error("ask for its size: {0}")]
    Stat(io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("read /proc/self/numa_maps: it does not name the mapping")]
    NotNamed,
}

impl PagesError {
    fn call(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { doing, errno }
    }
}

/// A whole file in this process's address space, shared and read-only, without a reservation of its own.
#[derive(Debug)]
pub struct Mapping {
    at: *mut c_void,
    bytes: usize,
    page_bytes: usize,
}

impl Mapping {
    /// Maps a file of huge pages and lets every page appear in the page table. Files with holes are refused: reading a hole
    /// of a hugetlbfs file would allocate a page for it, anywhere.
    pub fn of(file: &File, page_bytes: u64) -> Result<Self, PagesError> {
        let stat = file.metadata().map_err(PagesError::Stat)?;
        let (allocated, bytes) = (stat.blocks() * 512, stat.len());
        if allocated < bytes || bytes == 0 {
            return Err(PagesError::Holes { allocated, bytes });
        }
        let at = map(file, 0, bytes as usize, libc::PROT_READ).map_err(PagesError::call("map it"))?;
        let mapping = Self { at, bytes: bytes as usize, page_bytes: page_bytes as usize };
        mapping.populate()?;
        Ok(mapping)
    }

    /// The node of each page, in the file's order.
    pub fn nodes(&self) -> Result<Vec<NodeId>, PagesError> {
        let pages: Vec<*mut c_void> =
            (0..self.bytes).step_by(self.page_bytes).map(|offset| self.at.wrapping_byte_add(offset)).collect();
        let mut status = vec![-libc::ENOENT; pages.len()];
        // SAFETY: no crate of ours wraps move_pages. Without target nodes it moves nothing: the kernel reads `pages.len()`
        // addresses, which need not even be valid, and writes as many ints to `status`; both live as long as the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len() as libc::c_ulong,
                pages.as_ptr(),
                ptr::null::<libc::c_int>(),
                status.as_mut_ptr(),
                0,
            )
        };
        Errno::result(result).map_err(PagesError::call("ask where its pages lie (move_pages)"))?;
        let node = |status: i32| {
            let error = || PagesError::Call { doing: "ask where a page lies", errno: Errno::from_raw(-status) };
            u32::try_from(status).map(NodeId).map_err(|_| error())
        };
        status.into_iter().map(node).collect()
    }

    /// How many pages lie on each node by /proc/self/numa_maps: the safe twin of [`Mapping::nodes`].
    pub fn counted_nodes(&self, root: &Root) -> Result<BTreeMap<NodeId, u64>, PagesError> {
        let maps = root.read("/proc/self/numa_maps")?;
        let start = format!("{:x} ", self.at.addr());
        maps.lines()
            .find_map(|line| line.trim_start_matches('0').strip_prefix(&start).map(node_counts))
            .ok_or(PagesError::NotNamed)
    }

    fn populate(&self) -> Result<(), PagesError> {
        // SAFETY: the range is this mapping's own, which nothing refers to. Populating for reading changes no content.
        let result = unsafe { libc::madvise(self.at, self.bytes, libc::MADV_POPULATE_READ) };
        match Errno::result(result) {
            Ok(_) => Ok(()),
            // Kernels before 5.14 do not know it.
            Err(Errno::EINVAL) => {
                self.touch();
                Ok(())
            }
            Err(errno) => Err(PagesError::Call { doing: "let its pages be mapped", errno }),
        }
    }

    /// Reads a byte of every page.
    fn touch(&self) {
        for offset in (0..self.bytes).step_by(self.page_bytes) {
            // SAFETY: the byte lies in this mapping, which is readable, and the file was seen to hold a page for it. Another
            // process may write it meanwhile, so it is read as volatile and through no reference. Were the
            // file cut short in this moment, the kernel would end the process; the populating above, which
            // every kernel of today knows, reports that instead.
            let _ = unsafe { ptr::read_volatile(self.at.wrapping_byte_add(offset).cast::<u8>()) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        unmap(self.at, self.bytes);
    }
}

/// A whole file in this process's address space, to let its pages be faulted in by several threads at once, without touching
/// them. An accelerator only: `fallocate` holds the file for each thread in turn, but whatever could not be done here, it
/// has to do and to report. One mapping serves all threads, since making one waits for every other thread's faults.
#[derive(Debug)]
pub struct Window {
    at: *mut c_void,
    bytes: usize,
}

// SAFETY: the address is a number to this type: it is given to the kernel and never followed, and madvise may be called
// by any number of threads. Only the one owner, in `drop`, ends the mapping.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps a file, shared and writable; its pages need not be there.
    pub fn of(file: &File, bytes: u64) -> Result<Self, Errno> {
        let bytes = usize::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?;
        Ok(Self { at: map(file, 0, bytes, libc::PROT_READ | libc::PROT_WRITE)?, bytes })
    }

    /// Lets the pages of a part be faulted in under this thread's policy. Kernels before 5.14 refuse it with `EINVAL`.
    pub fn populate(&self, offset: u64, bytes: u64) -> Result<(), Errno> {
        let (offset, bytes) = (offset as usize, bytes as usize);
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the range was seen to lie in this mapping, which nothing refers to. New pages are zero, present ones keep
        // their content. A page that cannot be had is an error here, and not the signal that touching it would be.
        let result = unsafe { libc::madvise(self.at.wrapping_byte_add(offset), bytes, libc::MADV_POPULATE_WRITE) };
        Errno::result(result).map(drop)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        unmap(self.at, self.bytes);
    }
}

fn map(file: &File, offset: u64, bytes: usize, protection: libc::c_int) -> Result<*mut c_void, Errno> {
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: without a wish for an address the kernel places the mapping where nothing else is, so no memory of this
    // program changes. The file stays mapped after its descriptor is closed.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, file.as_raw_fd(), offset) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(at) }
}

fn unmap(at: *mut c_void, bytes: usize) {
    // SAFETY: `at` and `bytes` are one whole mapping of `map`, given back once, and nothing refers into it.
    let result = unsafe { libc::munmap(at, bytes) };
    debug_assert_eq!(result, 0, "a whole mapping can be unmapped: {}", Errno::last().desc());
}

/// `default file=/mnt/x huge dirty=3 N0=1 N1=2 kernelpagesize_kB=2048`, by node.
fn node_counts(words: &str) -> BTreeMap<NodeId, u64> {
    let count = |word: &str| {
        let (node, pages) = word.strip_prefix('N')?.split_once('=')?;
        Some((NodeId(node.parse().ok()?), pages.parse().ok()?))
    };
    words.split_whitespace().filter_map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A thread of its own: a policy stays with its thread.
    fn apart(test: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn a_policy_that_was_set_is_what_the_kernel_tells() {
        apart(|| {
            let start = policy_of_this_thread().unwrap();
            bind_this_thread(&[NodeId(0)]).unwrap();
            assert_eq!(policy_of_this_thread().unwrap(), Policy::Bind(vec![NodeId(0)]));
            prefer_on_this_thread(NodeId(0)).unwrap();
            assert_eq!(policy_of_this_thread().unwrap(), Policy::Prefer(vec![NodeId(0)]));
            apart(|| {
                assert_eq!(policy_of_this_thread().unwrap(), Policy::Prefer(vec![NodeId(0)]), "threads inherit it")
            });
            reset_this_thread().unwrap();
            assert_eq!(policy_of_this_thread().unwrap(), start);
        });
    }

    #[test]
    fn a_node_that_is_not_there_is_refused_and_changes_nothing() {
        apart(|| {
            for node in [NodeId(1000), NodeId(5000)] {
                let error = bind_this_thread(&[NodeId(0), node]).err().map(|error| error.to_string());
                // Together with a node that is there the kernel may take it: alone it cannot.
                assert!(error.is_none_or(|error| error.contains("is the node there")));
                reset_this_thread().unwrap();
                let error = bind_this_thread(&[node]).unwrap_err().to_string();
                assert!(error.starts_with(&format!("bind this thread's memory to node {node}: ")), "{error}");
                assert_eq!(policy_of_this_thread().unwrap(), Policy::Local);
            }
        });
    }

    /// Files of small pages do as well: the calls are the same.
    fn file(bytes: usize) -> File {
        use std::io::Write;
        let mut file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        file
    }

    #[test]
    fn move_pages_and_numa_maps_count_the_same() {
        let file = file(16 * 4096);
        let mapping = Mapping::of(&file, 4096).unwrap();
        let nodes = mapping.nodes().unwrap();
        assert_eq!(nodes.len(), 16);
        let mut counted = BTreeMap::new();
        nodes.iter().for_each(|node| *counted.entry(*node).or_insert(0) += 1);
        assert_eq!(mapping.counted_nodes(&Root::at("/")).unwrap(), counted);
        mapping.touch();
    }

    #[test]
    fn a_file_with_holes_is_not_mapped() {
        let file = file(4096);
        file.set_len(3 << 20).unwrap();
        let error = Mapping::of(&file, 4096).unwrap_err().to_string();
        assert!(error.contains("of its 3145728 bytes: the rest was never allocated"), "{error}");
        file.set_len(0).unwrap();
        assert!(matches!(Mapping::of(&file, 4096), Err(PagesError::Holes { bytes: 0, .. })));
    }

    #[test]
    fn populating_allocates_and_keeps_what_is_there() {
        use std::os::unix::fs::FileExt;
        let file = file(4096);
        file.set_len(8 * 4096).unwrap();
        let window = Window::of(&file, 9 * 4096).unwrap();
        match window.populate(0, 8 * 4096) {
            Err(Errno::EINVAL) => return, // a kernel before 5.14
            result => result.unwrap(),
        }
        assert_eq!(file.metadata().unwrap().blocks() * 512, 8 * 4096);
        let mut byte = [0];
        file.read_at(&mut byte, 4095).unwrap();
        assert_eq!(byte, [7]);
        // Beyond the end there is nothing to be had, and no signal either.
        window.populate(8 * 4096, 4096).unwrap_err();
        assert_eq!(window.populate(8 * 4096, 8192), Err(Errno::EINVAL), "beyond the mapping");
    }

    #[test]
    fn counts_are_read_as_the_kernel_writes_them() {
        let counts = node_counts("bind:1 file=/mnt/N7=x huge dirty=3 N0=1 N12=2 kernelpagesize_kB=2048");
        assert_eq!(counts, BTreeMap::from([(NodeId(0), 1), (NodeId(12), 2)]));
    }
}
