//! Unpacks a stranger's tar into an empty folder, and nowhere else.
//!
//! Only plain files, folders and symbolic links come out. No path and no link leaves the folder, and nothing is
//! unpacked without bounds: a few bytes of bzip2 can hold gigabytes. Links are made last, so that no file is
//! written through one; one that leads out, in whatever way, ends the unpacking.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, EntryType};

/// How much may come out of an archive. A capture of a machine of 128 CPUs has 9,729 entries of 15 B on average.
#[derive(Clone, Debug)]
pub struct Limits {
    pub entries: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of the tar once unpacked, its headers included.
    pub total_bytes: u64,
    /// Folders around a file.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 400_000, file_bytes: 8 << 20, total_bytes: 256 << 20, depth: 64 }
    }
}

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("{0}; it is not a whole tar, tar.bz2 or tar.gz")]
    Io(#[from] io::Error),
    #[error("it unpacks to more than {0} bytes; a captured machine is much smaller")]
    TooLarge(u64),
    #[error("it has more than {0} entries; a captured machine has fewer")]
    TooMany(u64),
    #[error("{}: a file of {bytes} bytes; a captured machine has none so large", path.display())]
    LargeFile { path: PathBuf, bytes: u64 },
    #[error("{}: the path leads out of the archive or is deeper than {depth} folders", path.display())]
    Path { path: PathBuf, depth: usize },
    #[error("{} -> {}: the link leads out of the archive", path.display(), to.display())]
    Link { path: PathBuf, to: PathBuf },
    #[error("{}: neither a file, a folder nor a symbolic link", path.display())]
    Kind { path: PathBuf },
    #[error("write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Unpacks `tar` into `folder`, which is empty.
pub fn unpack(tar: impl Read, folder: &Path, limits: &Limits) -> Result<(), UnpackError> {
    let mut bounded = Bounded { inner: decompressed(tar)?, left: limits.total_bytes, spent: false };
    match unpack_from(&mut bounded, folder, limits) {
        Err(UnpackError::Io(_)) if bounded.spent => Err(UnpackError::TooLarge(limits.total_bytes)),
        ended => ended,
    }
}

/// By its first bytes and not by its name: names lie, and a pipe has none.
fn decompressed<'a>(mut tar: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    (&mut tar).take(3).read_to_end(&mut head)?;
    let whole = io::Cursor::new(head.clone()).chain(tar);
    Ok(match head.as_slice() {
        b"BZh" => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        [0x1f, 0x8b, _] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        _ => Box::new(whole),
    })
}

fn unpack_from(tar: &mut impl Read, folder: &Path, limits: &Limits) -> Result<(), UnpackError> {
    let mut links = BTreeMap::new();
    let mut count = 0;
    for entry in Archive::new(tar).entries()? {
        let mut entry = entry?;
        count += 1;
        if count > limits.entries {
            return Err(UnpackError::TooMany(limits.entries));
        }
        let inner = entry.path()?.into_owned();
        let path = folder.join(inside(&inner, limits.depth)?);
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir_all(&path).map_err(|source| UnpackError::Write { path: inner, source })?;
            }
            EntryType::Regular | EntryType::Continuous => {
                if entry.size() > limits.file_bytes {
                    return Err(UnpackError::LargeFile { path: inner, bytes: entry.size() });
                }
                write(&path, &mut entry).map_err(|source| UnpackError::Write { path: inner, source })?;
            }
            EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                links.insert(path, (inner, to));
            }
            EntryType::XGlobalHeader | EntryType::XHeader => {}
            _ => return Err(UnpackError::Kind { path: inner }),
        }
    }
    make_links(folder, &links)
}

/// The path with nothing in it that could lead elsewhere.
fn inside(path: &Path, depth: usize) -> Result<PathBuf, UnpackError> {
    let out = || UnpackError::Path { path: path.to_owned(), depth };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(out()),
        }
    }
    if clean.components().count() > depth { Err(out()) } else { Ok(clean) }
}

/// Always a new file of our own: an archive that has one twice cannot write through what it made before.
fn write(path: &Path, content: &mut impl Read) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if path.is_file() {
        fs::remove_file(path)?;
    }
    let mut file = fs::File::create_new(path)?;
    io::copy(content, &mut file).map(|_| ())
}

type Links = BTreeMap<PathBuf, (PathBuf, PathBuf)>;

/// Makes every link, then asks the kernel where each leads: a link behind another link can climb higher than its
/// text tells. One that leads nowhere is harmless and stays out.
fn make_links(folder: &Path, links: &Links) -> Result<(), UnpackError> {
    let folder = folder.canonicalize()?;
    for (path, (inner, to)) in links {
        if to.is_absolute() {
            return Err(UnpackError::Link { path: inner.clone(), to: to.clone() });
        }
        // A name that is taken already keeps its file or folder.
        if path.symlink_metadata().is_ok() {
            continue;
        }
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent)
            .and_then(|()| std::os::unix::fs::symlink(to, path))
            .map_err(|source| UnpackError::Write { path: inner.clone(), source })?;
        if parent.canonicalize().is_ok_and(|parent| !parent.starts_with(&folder)) {
            return Err(UnpackError::Link { path: inner.clone(), to: to.clone() });
        }
    }
    for (path, (inner, to)) in links {
        match path.canonicalize() {
            Ok(real) if real.starts_with(&folder) => {}
            Ok(_) => return Err(UnpackError::Link { path: inner.clone(), to: to.clone() }),
            Err(_) if path.is_symlink() => {
                fs::remove_file(path).map_err(|source| UnpackError::Write { path: inner.clone(), source })?;
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// A reader that ends with an error where its bytes are spent.
struct Bounded<R> {
    inner: R,
    left: u64,
    spent: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => {
                self.spent = true;
                Err(io::Error::other("the archive is too large"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tar::{Builder, Header};

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header
    }

    /// Puts the name in as it is: the builder itself refuses names that lead out.
    fn named(header: &mut Header, name: &str) {
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
    }

    fn file(tar: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = header(EntryType::Regular, content.len() as u64);
        named(&mut header, name);
        tar.append(&header, content).unwrap();
    }

    fn link(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, to: &str) {
        let mut header = header(kind, 0);
        header.set_link_name_literal(to).unwrap();
        named(&mut header, name);
        tar.append(&header, io::empty()).unwrap();
    }

    fn archive(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        fill(&mut tar);
        tar.into_inner().unwrap()
    }

    fn unpacked(tar: &[u8]) -> Result<tempfile::TempDir, UnpackError> {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { entries: 10, file_bytes: 100, total_bytes: 100_000, depth: 4 };
        unpack(tar, folder.path(), &limits).map(|()| folder)
    }

    fn refused(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> String {
        unpacked(&archive(fill)).unwrap_err().to_string()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn files_folders_and_links_come_out_packed_or_not() {
        let plain = archive(|tar| {
            file(tar, "name/sys/a", b"one");
            link(tar, EntryType::Symlink, "name/sys/b", "../sys/a");
            link(tar, EntryType::Symlink, "name/sys/nowhere", "c");
        });
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for tar in [&plain, &bzip2(&plain), &gzip.finish().unwrap()] {
            let folder = unpacked(tar).unwrap();
            assert_eq!(fs::read(folder.path().join("name/sys/b")).unwrap(), b"one");
            assert!(!folder.path().join("name/sys/nowhere").is_symlink());
        }
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for name in ["../x", "/etc/x", "a/../../x", "a/b/c/d/e"] {
            let error = refused(|tar| file(tar, name, b""));
            assert!(error.contains("leads out of the archive"), "{name}: {error}");
        }
    }

    #[test]
    fn a_link_that_leads_out_is_refused_also_through_another() {
        assert!(refused(|tar| link(tar, EntryType::Symlink, "a", "/etc")).contains("a -> /etc"));
        assert!(refused(|tar| link(tar, EntryType::Symlink, "a", "../..")).contains("the link leads out"));
        // `p` is three folders deep and leads to the top: what climbs from it climbs out.
        let error = refused(|tar| {
            file(tar, "q/f", b"");
            link(tar, EntryType::Symlink, "a/b/p", "../../q");
            link(tar, EntryType::Symlink, "z", "a/b/p/../..");
        });
        assert!(error.contains("z -> a/b/p/../.."), "{error}");
        // A link is never written through: the file comes first, whatever the order in the archive.
        let folder = unpacked(&archive(|tar| {
            link(tar, EntryType::Symlink, "a", "b");
            file(tar, "b", b"stays");
            file(tar, "a", b"a file");
        }))
        .unwrap();
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"stays");
    }

    #[test]
    fn devices_and_hard_links_are_refused() {
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::Link] {
            let error = refused(|tar| link(tar, kind, "a", "/dev/sda"));
            assert!(error.contains("a: neither a file, a folder nor a symbolic link"), "{error}");
        }
    }

    #[test]
    fn a_bomb_is_refused_whatever_it_is_made_of() {
        assert!(refused(|tar| file(tar, "a", &[0; 101])).contains("a file of 101 bytes"));
        let many = refused(|tar| (0..11).for_each(|i| file(tar, &format!("{i}"), b"")));
        assert!(many.contains("more than 10 entries"), "{many}");
        // A long-name entry is read into memory by the library: the bound is around all bytes.
        let long = archive(|tar| {
            let mut header = header(EntryType::GNULongName, 90_000_000);
            named(&mut header, "././@LongLink");
            tar.append(&header, io::repeat(b'a').take(90_000_000)).unwrap();
        });
        let packed = bzip2(&long);
        assert!(packed.len() < 10_000);
        assert!(unpacked(&packed).unwrap_err().to_string().contains("more than 100000 bytes"));
    }

    #[test]
    fn what_is_no_whole_archive_is_refused() {
        let whole = archive(|tar| file(tar, "a", b"one"));
        for bytes in [&whole[..515], b"BZh91AY&SY", b"\x1f\x8b\x08\0", &[7; 600]] {
            let error = unpacked(bytes).unwrap_err().to_string();
            assert!(error.contains("not a whole tar"), "{error}");
        }
    }
}
