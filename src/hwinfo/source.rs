//! Where a machine comes from, by the one word that an operator gives.
//!
//! ```text
//! --from X ─ X exists ─┬─ folder ──────────────► captured tree ─► our own child, see sys::capture
//!                      └─ file, by its bytes ┬─ tar, tar.bz2, tar.gz ─► unpacked, then as above
//!                                            ├─ `<` ─► hwloc XML
//!                                            └─ `{` ─► machine.json
//!          ─ X does not exist ─────────────────► synthetic description
//! ```

use super::{
    CollectError, Facts, collect,
    full::{self, FullObject},
    recorded,
};
use crate::{
    machine::{self, Machine, MachineError},
    sys::{
        Root,
        capture::{Capture, CaptureError, ChildError, Limits, Reader},
        host,
        topology::{self, Detail, Source, Topology},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The longest XML export or machine.json. The largest known export, of 384 CPUs, has a third of a megabyte.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// What there is to say about a machine.
#[derive(Debug)]
pub struct Look {
    pub machine: Machine,
    /// Everything that hwloc knows, where it was asked for.
    pub full: Option<FullObject>,
    /// What hwloc said meanwhile.
    pub talk: String,
}

/// Why there is nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "read {text}: no such file or folder; without one, a synthetic description such as \
         `pack:2 [numa] l3:8(size=16MB) core:4 pu:1` is expected"
    )]
    Nothing { text: String },
    #[error("read {}: longer than {TEXT_BYTES_MAX} bytes", path.display())]
    Long { path: PathBuf },
    #[error(
        "read {}: neither an hwloc XML export, a captured tree (tar, tar.bz2, tar.gz or its folder) nor a machine.json",
        path.display()
    )]
    Unknown { path: PathBuf },
    #[error("read {}: {source}", path.display())]
    Machine { path: PathBuf, source: MachineError },
    #[error(
        "read {}: a machine.json holds no caches below L3 and no hwloc devices: --full needs the machine itself, \
         an XML export or a captured tree",
        path.display()
    )]
    NoFull { path: PathBuf },
    #[error("read {}: {source}", path.display())]
    Child { path: PathBuf, source: ChildError },
    #[error("read {}: the answer about the captured tree is not understood: {source}", path.display())]
    Answer { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// Looks at the machine that `from` names, or at this one. `reader` is the child that looks at captured trees.
pub fn look(from: Option<&str>, detail: Detail, reader: &Reader) -> Result<Look, SourceError> {
    let Some(from) = from else { return Ok(this_machine(&Root::at("/"), detail)?) };
    let path = Path::new(from);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => captured(path, &Capture::folder(path)?, detail, reader),
        Ok(_) => file(path, detail, reader),
        // Too long a text for a path is one for hwloc.
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::InvalidFilename].contains(&error.kind()) => {
            if looks_like_a_path(from) {
                return Err(SourceError::Nothing { text: from.to_owned() });
            }
            described(&Source::Synthetic(from.to_owned()), "synthetic", detail)
        }
        // A description with a zero byte in it is hwloc's to refuse.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            described(&Source::Synthetic(from.to_owned()), "synthetic", detail)
        }
        Err(source) => Err(SourceError::Read { path: path.to_owned(), source }),
    }
}

/// A description has no slash and no dot; a file name mostly has one.
fn looks_like_a_path(text: &str) -> bool {
    text.contains(['/', '.'])
}

fn file(path: &Path, detail: Detail, reader: &Reader) -> Result<Look, SourceError> {
    let read = |source| SourceError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    // Read once from the front and never again: it may be a pipe.
    let mut head = Vec::new();
    (&mut file).take(512).read_to_end(&mut head).map_err(read)?;
    // What a pipe tells of its length is nothing, and that is right too.
    let length = file.metadata().map_or(0, |found| found.len()).min(TEXT_BYTES_MAX) as usize;
    let whole = io::Cursor::new(head.clone()).chain(file);
    match kind_of(path, &head) {
        Kind::Tar => captured(path, &Capture::packed(path, whole, &Limits::default())?, detail, reader),
        Kind::Xml => {
            let text = text(path, whole, length)?;
            described(&Source::XmlText { name: path.to_owned(), text }, &stem(path), detail)
        }
        Kind::Json if detail == Detail::Everything => Err(SourceError::NoFull { path: path.to_owned() }),
        Kind::Json => {
            let machine = machine::parse(&text(path, whole, length)?)
                .map_err(|source| SourceError::Machine { path: path.to_owned(), source })?;
            Ok(Look { machine, full: None, talk: String::new() })
        }
        Kind::Unknown => Err(SourceError::Unknown { path: path.to_owned() }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tar,
    Xml,
    Json,
    Unknown,
}

/// By the first bytes: names lie, and a pipe has none. Where they tell nothing, the ending decides which refusal
/// an operator reads.
fn kind_of(path: &Path, head: &[u8]) -> Kind {
    let is_ending = |ending: &str| path.extension().is_some_and(|found| found == ending);
    let first = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        _ if head.starts_with(b"BZh") || head.starts_with(b"\x1f\x8b") || head.get(257..262) == Some(b"ustar") => {
            Kind::Tar
        }
        Some(b'<') => Kind::Xml,
        Some(b'{') => Kind::Json,
        _ if is_ending("xml") => Kind::Xml,
        _ if is_ending("json") => Kind::Json,
        _ if is_ending("tar") || is_ending("bz2") || is_ending("gz") => Kind::Tar,
        _ => Kind::Unknown,
    }
}

fn text(path: &Path, whole: impl Read, length: usize) -> Result<String, SourceError> {
    let mut text = String::with_capacity(length + 1);
    let read = |source| SourceError::Read { path: path.to_owned(), source };
    let length = whole.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).map_err(read)?;
    if length as u64 > TEXT_BYTES_MAX {
        return Err(SourceError::Long { path: path.to_owned() });
    }
    Ok(text)
}

/// `cap.tar.bz2` is called `cap`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let endings = [".tar.bz2", ".tar.gz", ".tbz2", ".tbz", ".tgz", ".tar", ".xml"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name).to_owned()
}

fn described(source: &Source, name: &str, detail: Detail) -> Result<Look, SourceError> {
    let topology = topology::load(source, detail).map_err(CollectError::from)?;
    let hostname = collect::recorded_hostname(&topology).unwrap_or_else(|| name.to_owned());
    let mut machine = collect(&topology, &Facts::named(hostname))?;
    recorded::fill(&mut machine, &topology, &Root::at("/"));
    let export = match source {
        Source::XmlText { text, .. } => Some(text.as_str()),
        _ => None,
    };
    Ok(look_of(&topology, machine, detail, export))
}

/// Looks at the machine that hwloc shows in this process; `root` is where its files are.
fn this_machine(root: &Root, detail: Detail) -> Result<Look, CollectError> {
    let (topology, machine) = super::this_topology(root, detail)?;
    Ok(look_of(&topology, machine, detail, None))
}

fn look_of(topology: &Topology, machine: Machine, detail: Detail, export: Option<&str>) -> Look {
    let full = (detail == Detail::Everything).then(|| full::full(topology, export));
    Look { machine, full, talk: String::new() }
}

/// What the child says about a captured tree.
#[derive(Deserialize)]
struct Answer {
    machine: Box<RawValue>,
    full: Option<FullObject>,
}

fn captured(path: &Path, capture: &Capture, detail: Detail, reader: &Reader) -> Result<Look, SourceError> {
    let more: &[&str] = if detail == Detail::Everything { &["--full"] } else { &[] };
    let place = || path.to_owned();
    let said = reader.read(capture, more).map_err(|source| SourceError::Child { path: place(), source })?;
    let answer: Answer =
        serde_json::from_slice(&said.answer).map_err(|source| SourceError::Answer { path: place(), source })?;
    let mut machine =
        machine::parse(answer.machine.get()).map_err(|source| SourceError::Machine { path: place(), source })?;
    if machine.hostname == super::NAMELESS {
        machine.hostname = stem(path);
    }
    Ok(Look { machine, full: answer.full, talk: said.talk })
}

/// The child's side of `captured`: writes what hwloc shows in this process, which its parent pointed at `root`.
pub fn write_captured(root: &Path, detail: Detail, out: &mut dyn io::Write) -> Result<(), CapturedError> {
    #[derive(Serialize)]
    struct Answer<'a> {
        machine: &'a Machine,
        full: &'a Option<FullObject>,
    }
    let tree = Root::captured(root).map_err(|source| CapturedError::Read { path: root.to_owned(), source })?;
    host::check_nodes_listed(&tree).map_err(CollectError::from)?;
    let topology = topology::load(&Source::ThisMachine, detail).map_err(CollectError::from)?;
    if topology.is_this_system() {
        return Err(CapturedError::NotPointed);
    }
    let machine = super::captured_machine(&topology, &tree)?;
    let full = (detail == Detail::Everything).then(|| full::full(&topology, None));
    Ok(serde_json::to_writer(out, &Answer { machine: &machine, full: &full })?)
}

/// Why the child has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CapturedError {
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("look at a captured machine: hwloc shows this machine instead; use --from")]
    NotPointed,
    #[error("look at captured machine {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write the answer: {0}")]
    Write(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        Reader { program: Some("/nonexistent".into()), args: Vec::new(), timeout: std::time::Duration::from_secs(1) }
    }

    fn refused(from: &str) -> String {
        look(Some(from), Detail::Structure, &reader()).unwrap_err().to_string()
    }

    fn file_of(name: &str, content: &[u8]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn a_description_is_taken_where_no_file_has_its_name() {
        let look = look(Some("pack:2 core:2 pu:1"), Detail::Structure, &reader()).unwrap();
        assert_eq!((look.machine.hostname.as_str(), look.machine.cpus().len()), ("synthetic", 4));
        assert!(refused("no/such.xml").contains("no such file or folder; without one, a synthetic description"));
        assert!(refused("nonsense").contains("hwloc refuses it"));
        assert!(refused(&"x ".repeat(4_000)).contains("hwloc refuses it"));
        assert!(refused("a\0b").contains("hwloc refuses it"));
    }

    #[test]
    fn a_file_is_known_by_its_bytes_and_not_by_its_name() {
        let machine =
            serde_json::to_string(&look(Some("pu:2"), Detail::Structure, &reader()).unwrap().machine).unwrap();
        let (_dir, path) = file_of("m.xml", machine.as_bytes());
        assert_eq!(look(Some(&path), Detail::Structure, &reader()).unwrap().machine.cpus().len(), 2);
        let error = look(Some(&path), Detail::Everything, &reader()).unwrap_err().to_string();
        assert!(error.contains("--full needs the machine itself"), "{error}");
        for (name, content, expected) in [
            ("a", &b"<topology version=\"3.0\">"[..], "version 3.0"),
            ("a.json", b"<topology", "cut short"),
            ("a", b"{", "not a machine description"),
            ("a", b"BZh9", "not a whole tar"),
            ("a", b"plain", "neither an hwloc XML export"),
            ("a", b"", "neither an hwloc XML export"),
            ("a.xml", b"", "the file is empty"),
            ("a.json", b"", "not a machine description"),
            ("a.tar.bz2", b"", "no sys/devices/system/cpu in it"),
            ("a.xml", b"<topology \xff", "valid UTF-8"),
        ] {
            let (_dir, path) = file_of(name, content);
            let error = refused(&path);
            assert!(error.contains(&path) && error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_capture_is_called_by_its_files_name() {
        for name in ["cap.tar.bz2", "cap.tgz", "cap.xml", "cap"] {
            assert_eq!(stem(&Path::new("/x").join(name)), "cap");
        }
        assert_eq!(stem(Path::new("node.7")), "node.7");
    }
}
