//! Memory from the kernel: the parent cache as every process of the machine sees it, and room for layers in huge pages.
//!
//! | | kind | safe twin |
//! | --- | --- | --- |
//! | `ParentFile` | the file itself, shared and read-only: 56 GiB at 32 GiB, once for all processes | reading it |
//! | `Anonymous` | zeros of this process, transparent huge pages wanted | a `Vec` |
//! | `InFile` | a file of huge pages, shared and writable; its content is of no meaning | a `Vec` |
//!
//! Why not safe: no safe crate maps files, because another process may change or shorten them. Ours never do: a parent
//! cache gets its name when it is whole and is replaced by another file, never written to; a file of huge pages is mapped
//! by who holds its lock (`memory::pool`), is removed and never shortened.

#![allow(unsafe_code)]

use super::{
    error::SdrError,
    label::{Label, Parents},
};
use crate::{
    sys::mempolicy::{self, PolicyError},
    units::{Bytes, NodeId},
};
use nix::{
    errno::Errno,
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap},
};
use std::{ffi::c_void, fs::File, io, num::NonZeroUsize, ops::Range, path::Path, ptr::NonNull, slice};

/// Transparent huge pages of x86-64; where they are larger, the kernel rounds on its own.
const HUGE_BYTES: usize = 2 << 20;
/// Pages that are taken between two looks at what else is to be done: some tens of milliseconds.
const POPULATE_BYTES: usize = 256 << 20;

/// A range of pages that ends with this value.
struct Pages {
    at: NonNull<c_void>,
    bytes: NonZeroUsize,
}

// SAFETY: pages belong to the process, not to a thread; who may write to them is decided by the owners' borrows.
unsafe impl Send for Pages {}
// SAFETY: as above: a shared reference gives shared slices only.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by us and nobody else unmaps it; slices of it borrow its owner.
        if let Err(errno) = unsafe { munmap(self.at, self.bytes.get()) } {
            tracing::warn!(%errno, "a mapping could not be given back");
        }
    }
}

/// Lets every page of a range of ours be there, writable. Kernels before 5.14 say `EINVAL`.
fn populate(at: NonNull<c_void>, bytes: usize) -> Result<(), Errno> {
    // SAFETY: only called with ranges of our own mappings. New pages are zero, present ones keep their content; what cannot
    // be had is an error here and not the signal that touching it would be.
    unsafe { madvise(at, bytes, MmapAdvise::MADV_POPULATE_WRITE) }
}

/// The parents of every node of a graph, mapped from the machine's parent cache.
pub struct ParentFile {
    pages: Pages,
    nodes: usize,
}

impl ParentFile {
    /// Maps the cache of a graph with so many nodes.
    pub fn open(path: &Path, nodes: usize) -> Result<Self, SdrError> {
        let refuse = |what: String| SdrError::Parents { path: path.to_owned(), what };
        let file = File::open(path).map_err(|e| refuse(e.to_string()))?;
        let found = file.metadata().map_err(|e| refuse(e.to_string()))?.len();
        let expected = nodes as u64 * size_of::<Parents>() as u64;
        let bytes = NonZeroUsize::new(expected as usize).ok_or_else(|| refuse("a graph without nodes".into()))?;
        if found != expected {
            return Err(refuse(format!("{found} bytes long, {expected} expected")));
        }
        // SAFETY: the kernel chooses a free range; the file has the length that is mapped, is read-only here, and is
        // never shortened (see above).
        let at = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0) };
        let at = at.map_err(|errno| refuse(errno.desc().into()))?;
        Ok(Self { pages: Pages { at, bytes }, nodes })
    }

    /// The rows, one a node.
    pub fn rows(&self) -> &[Parents] {
        // SAFETY: so many rows are mapped for as long as `self` lives; page boundaries are aligned for words, any
        // bytes are a row, and nobody writes to the file.
        unsafe { slice::from_raw_parts(self.pages.at.as_ptr().cast::<Parents>(), self.nodes) }
    }

    /// Has these nodes' rows read from the disk before they are asked for.
    pub fn will_need(&self, nodes: Range<usize>) {
        let row = size_of::<Parents>();
        let start = (nodes.start.min(self.nodes) * row) & !(HUGE_BYTES - 1);
        let end = nodes.end.min(self.nodes) * row;
        if start < end {
            let at = self.pages.at.as_ptr().wrapping_byte_add(start);
            let Some(at) = NonNull::new(at) else { return };
            // SAFETY: a range of our own mapping; this advice changes no content.
            if let Err(errno) = unsafe { madvise(at, end - start, MmapAdvise::MADV_WILLNEED) } {
                tracing::debug!(%errno, "reading parents ahead");
            }
        }
    }
}

/// Zeroed labels of this process alone. Their pages come when they are first written, from the node of the CPU that
/// writes them.
pub struct Anonymous {
    pages: Pages,
    first: NonNull<Label>,
    nodes: usize,
    is_huge: bool,
}

// SAFETY: `first` is inside of `pages`, to which the same holds.
unsafe impl Send for Anonymous {}
// SAFETY: as above.
unsafe impl Sync for Anonymous {}

impl Anonymous {
    /// Room for so many labels.
    pub fn new(nodes: usize) -> Result<Self, SdrError> {
        let bytes = nodes * size_of::<Label>();
        let failed = |errno: Errno| SdrError::Memory { bytes: Bytes(bytes as u64), source: io::Error::from(errno) };
        // The kernel aligns to small pages; a huge one needs its own boundary.
        let with_room = NonZeroUsize::new(bytes + HUGE_BYTES).ok_or_else(|| failed(Errno::EINVAL))?;
        let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses a free range, which is ours from now on.
        let at = unsafe { mmap_anonymous(None, with_room, read_write, MapFlags::MAP_PRIVATE) };
        let pages = Pages { at: at.map_err(failed)?, bytes: with_room };
        let first = pages.at.as_ptr().wrapping_byte_add(pages.at.as_ptr().align_offset(HUGE_BYTES));
        let first = NonNull::new(first).ok_or_else(|| failed(Errno::EFAULT))?;
        // SAFETY: a range inside of the mapping; this advice changes no content.
        let huge = unsafe { madvise(first, bytes, MmapAdvise::MADV_HUGEPAGE) };
        Ok(Self { pages, first: first.cast(), nodes, is_huge: huge.is_ok() })
    }

    /// Lets pages that are not there yet come from this node: from it alone, or as long as it has some.
    pub fn place(&self, node: NodeId, alone: bool) -> Result<(), PolicyError> {
        mempolicy::place_range(self.first.as_ptr().addr(), self.nodes * size_of::<Label>(), node, alone)
    }

    /// Has all pages taken now, a part at a time. On kernels that do not offer it they come when they are first written.
    pub fn populate(&mut self, between: &mut dyn FnMut() -> Result<(), SdrError>) -> Result<(), SdrError> {
        let bytes = self.nodes * size_of::<Label>();
        for offset in (0..bytes).step_by(POPULATE_BYTES) {
            between()?;
            let part = POPULATE_BYTES.min(bytes - offset);
            let at = NonNull::new(self.first.as_ptr().wrapping_byte_add(offset)).expect("inside of a mapping");
            match populate(at.cast(), part) {
                Err(Errno::EINVAL) => return Ok(()),
                Err(errno) => {
                    return Err(SdrError::Memory { bytes: Bytes(bytes as u64), source: io::Error::from(errno) });
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Whether the kernel took the wish for huge pages.
    pub fn is_huge(&self) -> bool {
        self.is_huge
    }

    /// The labels.
    pub fn labels(&self) -> &[Label] {
        debug_assert!(self.first.as_ptr().addr() >= self.pages.at.as_ptr().addr());
        // SAFETY: `first` is aligned and so many labels lie behind it in the mapping, which lives as long as `self`;
        // zeros and any other words are labels.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.nodes) }
    }

    /// The labels, to write.
    pub fn labels_mut(&mut self) -> &mut [Label] {
        // SAFETY: as in `labels`; `self` is borrowed mutably, so there is no other slice.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.nodes) }
    }
}

/// Labels in a file of huge pages. The file stays what it is; whatever was in it is overwritten.
pub struct InFile {
    pages: Pages,
    nodes: usize,
}

impl InFile {
    /// Maps a file that is exactly as long as so many labels. All its pages are in the page table afterwards.
    pub fn map(file: &File, nodes: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(nodes * size_of::<Label>()).ok_or(Errno::EINVAL)?;
        let found = file.metadata()?.len();
        if found != bytes.get() as u64 {
            return Err(io::Error::other(format!("it is {found} bytes long, not {bytes}")));
        }
        let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let shared = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: the kernel chooses a free range, which is ours from now on; the file has the length that is mapped and is
        // not shortened (see above).
        let at = unsafe { mmap(None, bytes, read_write, shared, file, 0) }?;
        let mapped = Self { pages: Pages { at, bytes }, nodes };
        match populate(at, bytes.get()) {
            Ok(()) | Err(Errno::EINVAL) => Ok(mapped),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The labels.
    pub fn labels(&self) -> &[Label] {
        // SAFETY: so many labels are mapped for as long as `self` lives, at the boundary of a page; any bytes are labels.
        // Who else maps the file is kept out by its lock and by a look at /proc/*/maps, both before this value was made.
        unsafe { slice::from_raw_parts(self.pages.at.as_ptr().cast::<Label>(), self.nodes) }
    }

    /// The labels, to write.
    pub fn labels_mut(&mut self) -> &mut [Label] {
        // SAFETY: as in `labels`; `self` is borrowed mutably, so there is no other slice.
        unsafe { slice::from_raw_parts_mut(self.pages.at.as_ptr().cast::<Label>(), self.nodes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sdr::label::PARENTS;

    #[test]
    fn a_file_of_labels_keeps_what_is_written_and_is_mapped_at_its_length_only() {
        let file = tempfile::tempfile().unwrap();
        let nodes = 4096;
        file.set_len(nodes as u64 * 32).unwrap();
        let mut twin = vec![Label::default(); nodes];
        let mut mapped = InFile::map(&file, nodes).unwrap();
        assert_eq!(mapped.labels(), twin);
        for labels in [mapped.labels_mut(), &mut twin] {
            labels.iter_mut().enumerate().for_each(|(i, label)| label.0[i % 8] = i as u32);
        }
        drop(mapped);
        assert_eq!(InFile::map(&file, nodes).unwrap().labels(), twin, "it is the file that was written");
        let error = InFile::map(&file, 2 * nodes).err().unwrap().to_string();
        assert_eq!(error, "it is 131072 bytes long, not 262144");
        assert!(InFile::map(&file, 0).is_err());
    }

    #[test]
    fn memory_that_is_placed_and_populated_is_still_zeros() {
        let mut memory = Anonymous::new(70_000).unwrap();
        match memory.place(NodeId(0), true) {
            Ok(()) => {}
            // Of a container that may not, or a kernel without nodes.
            Err(error) => assert!(error.to_string().starts_with("take memory for layers from node 0: "), "{error}"),
        }
        assert!(memory.place(NodeId(5000), false).is_err());
        let mut calls = 0;
        memory
            .populate(&mut || {
                calls += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(calls, 1);
        assert!(memory.labels().iter().all(|label| *label == Label::default()));
        assert!(matches!(memory.populate(&mut || Err(SdrError::Stopped)), Err(SdrError::Stopped)));
    }

    #[test]
    fn a_mapped_parent_cache_reads_as_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parents");
        let numbers: Vec<u32> = (0..64 * PARENTS as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = ParentFile::open(&path, 64).unwrap();
        mapped.will_need(0..64);
        mapped.will_need(60..900);
        let read: Vec<Parents> = numbers.as_chunks::<PARENTS>().0.iter().map(|row| Parents::new(*row)).collect();
        assert_eq!(mapped.rows(), read);
    }

    #[test]
    fn a_parent_cache_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parents");
        std::fs::write(&path, [0; 56 * 64]).unwrap();
        let refused = |nodes| ParentFile::open(&path, nodes).err().unwrap().to_string();
        assert!(refused(128).contains("3584 bytes long, 7168 expected; remove it, it is made again"));
        assert!(refused(0).contains("without nodes"));
        std::fs::remove_file(&path).unwrap();
        assert!(refused(64).contains("No such file"));
    }

    #[test]
    fn memory_for_labels_is_zeroed_aligned_and_keeps_what_is_written() {
        for nodes in [2, 65_536, 70_000] {
            let mut memory = Anonymous::new(nodes).unwrap();
            let mut twin = vec![Label::default(); nodes];
            assert_eq!(memory.labels(), twin);
            assert_eq!(memory.labels().as_ptr().addr() % HUGE_BYTES, 0);
            for labels in [memory.labels_mut(), &mut twin] {
                labels.iter_mut().enumerate().for_each(|(i, label)| label.0[i % 8] = i as u32);
            }
            assert_eq!(memory.labels(), twin);
        }
    }

    #[test]
    fn more_memory_than_addresses_is_an_error() {
        let error = Anonymous::new(1 << 50).err().unwrap().to_string();
        assert!(error.starts_with("taking ") && error.contains("run fewer pc1 tasks at once"), "{error}");
    }
}
