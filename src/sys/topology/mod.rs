//! hwloc topologies: of this machine, of an XML export, of a synthetic description.
//!
//! Exports and descriptions pass `limits` before hwloc sees them.

pub mod limits;

pub use hwlocality::{
    Topology,
    cpu::{cpuset::CpuSet, kind::CpuKind},
    info::TextualInfo,
    memory::attribute::{Initiator, MemoryAttribute},
    object::{
        TopologyObject,
        attributes::{DownstreamAttributes, ObjectAttributes, PCIDeviceAttributes},
        distance::{Distances as TopologyDistances, DistancesKind},
        types::{BridgeType, CacheType, OSDeviceType, ObjectType},
    },
};

use super::ffi::environment::Setting;
use hwlocality::topology::builder::{BuildFlags, TopologyBuilder, TypeFilter};
use limits::Unfit;
use std::{
    fs, io, panic,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Where a topology comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The machine that this process runs on.
    ThisMachine,
    /// A file that `lstopo --of xml` wrote.
    Xml(PathBuf),
    /// The content of such a file, and its name for messages.
    XmlText { name: PathBuf, text: String },
    /// hwloc's one-line description: `pack:2 [numa] l3:8 core:4 pu:1`.
    Synthetic(String),
}

/// How much of a machine is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Packages, caches, nodes, cores, CPUs; of an export the devices too, which nothing else tells.
    Structure,
    /// That, and the devices that people care for: disks, GPUs, network.
    Devices,
    /// That, instruction caches, and every device that hwloc finds.
    Everything,
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
    #[error("read topology {}: {unfit}", path.display())]
    XmlUnfit { path: PathBuf, unfit: Unfit },
    #[error("read topology {}: hwloc refuses it as an XML export: {reason}", path.display())]
    Xml { path: PathBuf, reason: String },
    #[error("synthetic topology {text:?}: {unfit}")]
    SyntheticUnfit { text: String, unfit: Unfit },
    #[error(
        "synthetic topology {text:?}: hwloc refuses it: {reason}; write it like `pack:2 [numa] l3:8(size=16MB) core:4 pu:1`"
    )]
    Synthetic { text: String, reason: String },
    #[error("look at this machine through hwloc: {reason}; it needs to read /sys/devices/system")]
    ThisMachine { reason: String },
}

/// Where hwloc looks for its plugins.
pub const PLUGINS: &str = "HWLOC_PLUGINS_PATH";
/// A place where there are none.
pub const NO_PLUGINS: &str = "/dev/null";

/// Loads a topology, forbidden CPUs and nodes included.
pub fn load(source: &Source, detail: Detail) -> Result<Topology, TopologyError> {
    // hwloc opens every plugin before it knows whether it needs any: an XML library, OpenCL, a display, half of all
    // time. They find devices, which the structure has none of, and read XML, which hwloc can do itself.
    let without = (detail == Detail::Structure).then(|| Setting::of(PLUGINS, NO_PLUGINS)).flatten();
    match load_with(source, detail) {
        // What hwloc writes it reads itself; what others wrote in its form, also where HWLOC_XMLFILE names it, may take
        // a whole XML library.
        Err(TopologyError::Xml { .. } | TopologyError::ThisMachine { .. }) if without.is_some() => {
            drop(without);
            load_with(source, detail)
        }
        loaded => loaded,
    }
}

/// Loads with whatever plugins hwloc finds.
fn load_with(source: &Source, detail: Detail) -> Result<Topology, TopologyError> {
    match source {
        Source::ThisMachine => {
            finish(TopologyBuilder::new(), detail).map_err(|reason| TopologyError::ThisMachine { reason })
        }
        Source::Xml(path) => {
            let xml = fs::read_to_string(path).map_err(|source| TopologyError::Read { path: path.clone(), source })?;
            load_xml(path, &xml, detail)
        }
        Source::XmlText { name, text } => load_xml(name, text, detail),
        Source::Synthetic(text) => load_synthetic(text, detail),
    }
}

fn load_xml(path: &std::path::Path, xml: &str, detail: Detail) -> Result<Topology, TopologyError> {
    let path = || path.to_owned();
    limits::judge_xml(xml).map_err(|unfit| match unfit {
        Unfit::Version(found) => TopologyError::XmlVersion { path: path(), found },
        unfit => TopologyError::XmlUnfit { path: path(), unfit },
    })?;
    from_xml(xml)
        .and_then(|builder| finish(builder, if detail == Detail::Structure { Detail::Devices } else { detail }))
        .map_err(|reason| TopologyError::Xml { path: path(), reason })
}

/// hwlocality takes EINVAL for a refusal and panics at any other errno, and the XML library leaves others behind (EILSEQ, behind
/// an odd encoding). That is a refusal too, so the panic is caught and its message not printed.
fn from_xml(xml: &str) -> Result<TopologyBuilder, String> {
    // The hook is the whole process's: two threads that swap it at once could leave the wrong one behind.
    static HOOK: Mutex<()> = Mutex::new(());
    let alone = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let loaded = panic::catch_unwind(|| TopologyBuilder::new().from_xml(xml));
    panic::set_hook(hook);
    drop(alone);
    match loaded {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("it is not well-formed XML".to_owned()),
    }
}

fn load_synthetic(text: &str, detail: Detail) -> Result<Topology, TopologyError> {
    let shown = || match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    limits::judge_synthetic(text).map_err(|unfit| TopologyError::SyntheticUnfit { text: shown(), unfit })?;
    TopologyBuilder::new()
        .from_synthetic(text)
        .map_err(|error| error.to_string())
        .and_then(|builder| finish(builder, detail))
        .map_err(|reason| TopologyError::Synthetic { text: shown(), reason })
}

fn finish(builder: TopologyBuilder, detail: Detail) -> Result<Topology, String> {
    // Without this flag hwloc leaves forbidden CPUs out, and they could not be told from absent ones.
    let builder = builder.with_flags(BuildFlags::INCLUDE_DISALLOWED).map_err(|error| error.to_string())?;
    let builder = match detail {
        // First-level caches group nothing that their core does not; every object less is time less.
        Detail::Structure => without_l1(builder)?,
        Detail::Devices => {
            without_l1(builder)?.with_io_type_filter(TypeFilter::KeepImportant).map_err(|error| error.to_string())?
        }
        Detail::Everything => with_devices(builder)?,
    };
    builder.build().map_err(|error| error.to_string())
}

fn without_l1(builder: TopologyBuilder) -> Result<TopologyBuilder, String> {
    builder.with_type_filter(ObjectType::L1Cache, TypeFilter::KeepNone).map_err(|error| error.to_string())
}

fn with_devices(builder: TopologyBuilder) -> Result<TopologyBuilder, String> {
    builder
        .with_io_type_filter(TypeFilter::KeepAll)
        .and_then(|builder| builder.with_type_filter(ObjectType::Misc, TypeFilter::KeepAll))
        .map_err(|error| error.to_string())?
        .with_cpu_icache_type_filter(TypeFilter::KeepAll)
        .map_err(|error| error.to_string())
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
        load(&source, Detail::Structure).expect_err("refused").to_string()
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
        for (text, expected) in [
            ("", "the file is empty"),
            ("<html></html>", "no <topology> in it"),
            ("<topology version=\"2.0\"><object type=\"Machine\"", "it was cut short"),
            ("<topology version=\"2.0\"><object </topology>", "the tag of an object in it is not well-formed"),
            ("<topology version=\"2.0\"></topology>", "hwloc refuses it as an XML export"),
        ] {
            fs::write(file.path(), text).unwrap();
            let error = refused(Source::Xml(file.path().into()));
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(refused(Source::Xml("/nonexistent.xml".into())).contains("/nonexistent.xml"));
        for text in ["", "pack", "core:4 pu:0 x", "pu:2 core:2", "a\0b"] {
            let error = refused(Source::Synthetic(text.into()));
            assert!(error.contains("hwloc refuses it") && error.contains("core:4 pu:1"), "{text}: {error}");
        }
    }

    /// Found by fuzzing: behind such a text, which our own look refuses before, errno is one that hwlocality panics at.
    #[test]
    fn a_text_at_which_the_xml_library_stumbles_is_no_panic() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-7\"?>\n<topology version=\"2.0\">\n</object></topology>\n";
        assert_eq!(from_xml(text).map(|_| ()).unwrap_err(), "it is not well-formed XML");
        assert!(from_xml("<topology").is_err());
    }

    #[test]
    fn more_cpus_than_hwloc_can_take_are_refused_before_it_is_asked() {
        let began = std::time::Instant::now();
        let error = refused(Source::Synthetic("pack:1024 core:1024 pu:1024".into()));
        assert!(error.contains("1073741824 CPUs, at most 8192"), "{error}");
        let pus = "<object type=\"PU\" os_index=\"0\"/>".repeat(10_000);
        let text = format!("<topology version=\"2.0\">{pus}</topology>");
        let error = refused(Source::XmlText { name: "big.xml".into(), text });
        assert!(error.starts_with("read topology big.xml: it describes 10000 CPUs"), "{error}");
        assert!(began.elapsed().as_secs() < 5);
    }
}
