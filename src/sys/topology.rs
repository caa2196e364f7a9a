//! hwloc topologies: of this machine, of an XML export, of a synthetic description.

pub use hwlocality::{
    Topology,
    cpu::cpuset::CpuSet,
    object::{TopologyObject, attributes::ObjectAttributes, types::ObjectType},
};

use hwlocality::topology::builder::{BuildFlags, TopologyBuilder};
use std::{fs, io, path::PathBuf};

/// Where a topology comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The machine that this process runs on.
    ThisMachine,
    /// A file that `lstopo --of xml` wrote.
    Xml(PathBuf),
    /// hwloc's one-line description: `pack:2 [numa] l3:8 core:4 pu:1`.
    Synthetic(String),
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("read topology {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "read topology {}: hwloc XML of version {found}, the hwloc in use ({}) reads version 2 and older; \
         export it again with `lstopo --of xml --export-xml-flags v2`",
        path.display(),
        hwloc_version()
    )]
    XmlVersion { path: PathBuf, found: String },
    #[error("read topology {}: hwloc refuses it as an XML export: {reason}", path.display())]
    Xml { path: PathBuf, reason: String },
    #[error(
        "synthetic topology {text:?}: hwloc refuses it: {reason}; write it like `pack:2 [numa] l3:8(size=16MB) core:4 pu:1`"
    )]
    Synthetic { text: String, reason: String },
    #[error("look at this machine through hwloc: {reason}")]
    ThisMachine { reason: String },
}

/// Loads a topology, forbidden CPUs and nodes included.
pub fn load(source: &Source) -> Result<Topology, TopologyError> {
    match source {
        Source::ThisMachine => finish(TopologyBuilder::new()).map_err(|reason| TopologyError::ThisMachine { reason }),
        Source::Xml(path) => {
            let xml = fs::read_to_string(path).map_err(|source| TopologyError::Read { path: path.clone(), source })?;
            if let Some(found) = xml_version(&xml).filter(|version| !is_readable(version)) {
                return Err(TopologyError::XmlVersion { path: path.clone(), found: found.to_owned() });
            }
            TopologyBuilder::new()
                .from_xml(&xml)
                .map_err(|error| error.to_string())
                .and_then(finish)
                .map_err(|reason| TopologyError::Xml { path: path.clone(), reason })
        }
        Source::Synthetic(text) => TopologyBuilder::new()
            .from_synthetic(text)
            .map_err(|error| error.to_string())
            .and_then(finish)
            .map_err(|reason| TopologyError::Synthetic { text: text.clone(), reason }),
    }
}

fn finish(builder: TopologyBuilder) -> Result<Topology, String> {
    // Without this flag hwloc leaves forbidden CPUs out, and they could not be told from absent ones.
    builder
        .with_flags(BuildFlags::INCLUDE_DISALLOWED)
        .map_err(|error| error.to_string())?
        .build()
        .map_err(|error| error.to_string())
}

/// The version in `<topology version="2.0">`. hwloc itself only answers "invalid argument" to one it cannot
/// read. Files of hwloc 1 have no version.
fn xml_version(xml: &str) -> Option<&str> {
    let (_, after) = xml.split_once("<topology")?;
    let (tag, _) = after.split_once('>')?;
    let (_, value) = tag.split_once("version=\"")?;
    value.split_once('"').map(|(version, _)| version)
}

fn is_readable(version: &str) -> bool {
    version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major <= 2)
}

/// The version of the hwloc library in use, for messages.
fn hwloc_version() -> String {
    let version = hwlocality::hwloc_api_version();
    format!("API {}.{}", version >> 16, version >> 8 & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: Source) -> String {
        load(&source).expect_err("refused").to_string()
    }

    #[test]
    fn xml_of_a_later_hwloc_is_refused_with_its_version() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "<?xml version=\"1.0\"?>\n<topology version=\"3.0\">\n</topology>\n").unwrap();
        let error = refused(Source::Xml(file.path().into()));
        assert!(error.contains("version 3.0") && error.contains("--export-xml-flags v2"), "{error}");
    }

    #[test]
    fn what_is_not_a_topology_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "<html></html>", "<topology version=\"2.0\"><object type=\"Machine\""] {
            fs::write(file.path(), text).unwrap();
            let error = refused(Source::Xml(file.path().into()));
            assert!(error.contains("hwloc refuses it as an XML export"), "{text}: {error}");
        }
        assert!(refused(Source::Xml("/nonexistent.xml".into())).contains("/nonexistent.xml"));
        for text in ["", "pack", "core:4 pu:0 x", "pu:2 core:2", "a\0b"] {
            let error = refused(Source::Synthetic(text.into()));
            assert!(error.contains("hwloc refuses it") && error.contains("core:4 pu:1"), "{text}: {error}");
        }
    }
}
