//! What is asked for: files of a size, so many, in a folder per node. The arithmetic of names and pages.
//!
//! Pure.

use super::error::Refusal;
use crate::units::{Bytes, CpuList, NodeId};
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

/// Stands for the node's number in a pattern.
pub const PLACEHOLDER: &str = "$NUMA_NODE_INDEX";

/// The files of one size in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub node: NodeId,
    pub folder: PathBuf,
    pub files: u64,
    pub file_bytes: Bytes,
}

/// Everything that one run is to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub targets: Vec<Target>,
    /// The page size that must be, or that a new mount gets.
    pub page_bytes: Option<Bytes>,
    /// Where a hugetlbfs is to be mounted when none is there.
    pub mount: Option<PathBuf>,
    /// Threads per node; by default as many as help.
    pub threads: Option<usize>,
}

impl Target {
    /// The files that are to be there.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.files).map(|index| self.folder.join(file_name(self.file_bytes, index)))
    }
}

/// Folders by node: `/mnt/huge/pc1/numa_$NUMA_NODE_INDEX`. Whoever loads the files takes the number for the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// `PATH/numa_N`, which is what PC1 makes of `HUGEPAGE_FILES_PATH`.
    pub fn of_path(path: &Path) -> Result<Self, Refusal> {
        // What is wrong with it is said of the path, as it was written.
        let text = path.to_str().ok_or_else(|| Refusal::NotUtf8(path.to_owned()))?;
        check(text)?;
        Self::parse_path(&path.join(format!("numa_{PLACEHOLDER}")))
    }

    /// A pattern that was made of a path, which may hold what no text can.
    pub fn parse_path(path: &Path) -> Result<Self, Refusal> {
        Self::parse(path.to_str().ok_or_else(|| Refusal::NotUtf8(path.to_owned()))?)
    }

    /// A pattern as PC1 takes it in `HUGEPAGE_FILES_PATH_PATTERN`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if !text.contains(PLACEHOLDER) {
            return Err(Refusal::NoPlaceholder(text.to_owned()));
        }
        check(text)?;
        let path = Path::new(text);
        // Of a text, and so nothing is lost in it. Without `.`, doubled and trailing slashes: one folder, one spelling.
        Ok(Self(path.components().collect::<PathBuf>().to_string_lossy().into_owned()))
    }

    /// For messages: `PATH/numa_N` of a path, a pattern as it was written.
    pub fn shown(&self) -> PathBuf {
        match self.0.strip_suffix(&format!("/numa_{PLACEHOLDER}")) {
            Some(path) => format!("{path}/numa_N").into(),
            None => self.0.clone().into(),
        }
    }

    /// The folder of a node.
    pub fn folder(&self, node: NodeId) -> PathBuf {
        self.0.replace(PLACEHOLDER, &node.to_string()).into()
    }
}

/// That a path or a pattern can be one: absolute, without a way out, without a sign that PC1's glob takes for many.
fn check(text: &str) -> Result<(), Refusal> {
    let path = Path::new(text);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Refusal::NotAbsolute(path.to_owned()));
    }
    if text.contains(['*', '?', '[']) {
        return Err(Refusal::Wildcard(text.to_owned()));
    }
    Ok(())
}

/// The most files of one folder that are made at once.
pub const FILES_MAX: u64 = 100_000;

const UNITS: [(&str, u32); 6] = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// `32.0_GiB_0`: the names that the field knows.
pub fn file_name(bytes: Bytes, index: u64) -> String {
    match UNITS.iter().find(|(_, shift)| bytes.0 >> shift > 0) {
        Some((unit, shift)) => format!("{:.1}_{unit}_{index}", bytes.0 as f64 / (1u64 << shift) as f64),
        None => format!("{}_B_{index}", bytes.0),
    }
}

/// Size and number of a name that the field knows. The size is exact where the name is: `1.3_GiB` is only near to it.
pub fn parse_name(name: &str) -> Option<(Bytes, u64)> {
    let (size, index) = name.rsplit_once('_')?;
    let (number, unit) = size.rsplit_once('_')?;
    let index: u64 = index.parse().ok()?;
    let bytes = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, shift)) => {
            let (whole, tenth) = number.split_once('.')?;
            let tenths = whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(tenth.parse().ok()?)?;
            Bytes(u64::try_from((u128::from(tenths) << shift) / 10).ok()?)
        }
        None => Bytes(number.parse().ok().filter(|_| unit == "B")?),
    };
    // Only in the one spelling that is written.
    (file_name(bytes, index) == name).then_some((bytes, index))
}

/// The length that a file of this name should have, when it has `bytes`.
pub fn bytes_of_name(name: &str, bytes: Bytes) -> Option<Bytes> {
    let (near, index) = parse_name(name)?;
    Some(if file_name(bytes, index) == name { bytes } else { near })
}

/// How many pages a file takes. A size between two multiples is refused with both.
pub fn pages_per_file(file_bytes: Bytes, page_bytes: Bytes) -> Result<u64, Refusal> {
    if file_bytes.0 > 0 && file_bytes.0.is_multiple_of(page_bytes.0) {
        return Ok(file_bytes.0 / page_bytes.0);
    }
    let below = file_bytes.0 / page_bytes.0 * page_bytes.0;
    Err(Refusal::NotAMultiple {
        size: file_bytes,
        page: page_bytes,
        below: (below > 0).then_some(Bytes(below)),
        above: below.checked_add(page_bytes.0).map(Bytes),
    })
}

/// `0,1`, `0-3` or `all`, as `--node` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChoice {
    All,
    These(BTreeSet<NodeId>),
}

impl std::str::FromStr for NodeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        // Node numbers have the form of CPU lists.
        let refuse = || format!("{text:?} names no nodes; write 0, 0,1, 0-3 or all");
        let list: CpuList = text.parse().map_err(|_| refuse())?;
        if list.is_empty() { Err(refuse()) } else { Ok(Self::These(list.iter().map(NodeId).collect())) }
    }
}

impl NodeChoice {
    /// The nodes that are meant, of those `there`. Without a choice a machine of one node has no other.
    pub fn of(choice: Option<&Self>, there: &BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>, Refusal> {
        match choice {
            Some(Self::All) => Ok(there.clone()),
            Some(Self::These(nodes)) => Ok(nodes.clone()),
            None if there.len() == 1 => Ok(there.clone()),
            None => Err(Refusal::WhichNode(there.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_that_the_field_knows() {
        for (bytes, name) in [
            (Bytes::gib(32), "32.0_GiB_1"),
            (Bytes::gib(64), "64.0_GiB_1"),
            (Bytes::mib(512), "512.0_MiB_1"),
            (Bytes::mib(1536), "1.5_GiB_1"),
            (Bytes(100), "100_B_1"),
        ] {
            assert_eq!(file_name(bytes, 1), name);
        }
    }

    #[test]
    fn names_are_read_in_the_one_spelling_that_is_written() {
        assert_eq!(parse_name("32.0_GiB_7"), Some((Bytes::gib(32), 7)));
        assert_eq!(parse_name("1.5_GiB_0"), Some((Bytes::mib(1536), 0)));
        assert_eq!(parse_name("100_B_1"), Some((Bytes(100), 1)));
        for name in ["32_GiB_7", "32.0_GiB_07", "032.0_GiB_7", "32.0_GB_7", "32.0_GiB", "1024.0_MiB_0", "x", "_B_1", ""]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
        // 1.25 GiB is written 1.2: the length decides, where it fits.
        let (name, bytes) = (file_name(Bytes::mib(1280), 0), Bytes::mib(1280));
        assert_eq!(bytes_of_name(&name, bytes), Some(bytes));
        assert_eq!(bytes_of_name("32.0_GiB_0", Bytes::gib(3)), Some(Bytes::gib(32)));
        assert_eq!(bytes_of_name("qemu", Bytes::gib(3)), None);
    }

    #[test]
    fn a_path_means_a_folder_per_node_below_it() {
        let pattern = Pattern::of_path(Path::new("/mnt/huge_1g//pc1_1/")).unwrap();
        assert_eq!(pattern.folder(NodeId(1)), Path::new("/mnt/huge_1g/pc1_1/numa_1"));
        assert_eq!(pattern.shown(), Path::new("/mnt/huge_1g/pc1_1/numa_N"));
        let pattern = Pattern::parse("/mnt/./n$NUMA_NODE_INDEX/pc1").unwrap();
        assert_eq!(pattern.shown(), Path::new("/mnt/n$NUMA_NODE_INDEX/pc1"), "as it was written");
        assert_eq!(pattern.folder(NodeId(12)), Path::new("/mnt/n12/pc1"));
    }

    #[test]
    fn patterns_without_a_node_or_with_a_way_out_are_refused() {
        assert!(matches!(Pattern::parse("/mnt/huge"), Err(Refusal::NoPlaceholder(_))));
        assert!(matches!(Pattern::parse("/mnt/*_$NUMA_NODE_INDEX"), Err(Refusal::Wildcard(_))));
        assert!(matches!(Pattern::of_path(Path::new("/mnt/huge[1]")), Err(Refusal::Wildcard(_))));
        assert!(matches!(Pattern::parse("huge/$NUMA_NODE_INDEX"), Err(Refusal::NotAbsolute(_))));
        assert!(matches!(Pattern::of_path(Path::new("/mnt/huge/../etc")), Err(Refusal::NotAbsolute(_))));
        use std::os::unix::ffi::OsStrExt;
        let latin = Path::new(std::ffi::OsStr::from_bytes(b"/mnt/h\xfcge"));
        let refused = Pattern::of_path(latin).unwrap_err().to_string();
        assert!(refused.contains(r#""/mnt/h\xFCge""#) && refused.contains("UTF-8"), "{refused}");
        let refused = Pattern::of_path(Path::new("/mnt/huge[1]")).unwrap_err().to_string();
        assert!(refused.starts_with("/mnt/huge[1] has one of"), "{refused}");
    }

    #[test]
    fn a_size_between_two_multiples_names_both() {
        let refused = pages_per_file(Bytes(3 * 1024 * 1024), Bytes::mib(2)).unwrap_err().to_string();
        assert!(refused.contains("2MiB or 4MiB"), "{refused}");
        let refused = pages_per_file(Bytes(2048), Bytes::gib(1)).unwrap_err().to_string();
        assert!(refused.contains("1GiB") && !refused.contains(" or "), "{refused}");
        assert!(pages_per_file(Bytes(0), Bytes::gib(1)).is_err());
    }

    #[test]
    fn without_a_choice_only_a_machine_of_one_node_has_an_answer() {
        let nodes = |list: &[u32]| list.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        assert_eq!(NodeChoice::of(None, &nodes(&[3])).unwrap(), nodes(&[3]));
        let refused = NodeChoice::of(None, &nodes(&[0, 1])).unwrap_err().to_string();
        assert!(refused.contains("0,1") && refused.contains("--node"), "{refused}");
        let choice = "0-1,7".parse::<NodeChoice>().unwrap();
        assert_eq!(
            NodeChoice::of(Some(&choice), &nodes(&[0])).unwrap(),
            nodes(&[0, 1, 7]),
            "the plan names what is not there"
        );
        assert_eq!(NodeChoice::of(Some(&"all".parse().unwrap()), &nodes(&[0, 2])).unwrap(), nodes(&[0, 2]));
        for text in ["", "x", "1-", "ALL"] {
            assert!(text.parse::<NodeChoice>().is_err(), "{text}");
        }
    }

    proptest! {
        // No file is longer than an offset can say.
        #[test]
        fn every_name_that_is_written_is_read_back(bytes in 1..=i64::MAX as u64, index in 0u64..) {
            let name = file_name(Bytes(bytes), index);
            let (near, read) = parse_name(&name).ok_or_else(|| TestCaseError::fail(name.clone()))?;
            prop_assert_eq!(read, index);
            prop_assert!(near.0.abs_diff(bytes) as f64 <= bytes as f64 * 0.051, "{name} {near}");
            prop_assert_eq!(bytes_of_name(&name, Bytes(bytes)), Some(Bytes(bytes)));
        }

        #[test]
        fn pages_times_size_is_the_file_or_the_neighbours_are_named(bytes in 0u64..1 << 50, shift in 16u32..35) {
            let page = Bytes(1 << shift);
            match pages_per_file(Bytes(bytes), page) {
                Ok(pages) => prop_assert_eq!(pages * page.0, bytes),
                Err(Refusal::NotAMultiple { below, above, .. }) => {
                    let above = above.unwrap();
                    prop_assert!(above.0 > bytes && above.0 - page.0 <= bytes);
                    prop_assert!(pages_per_file(above, page).is_ok());
                    match below {
                        Some(below) => {
                            prop_assert!(below.0 < bytes && below.0 + page.0 > bytes);
                            prop_assert!(pages_per_file(below, page).is_ok());
                        }
                        None => prop_assert!(bytes < page.0),
                    }
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn names_of_one_size_differ_by_their_number_alone(bytes in 1u64.., a in 0u64..1000, b in 0u64..1000) {
            let stem = |name: String| name.rsplit_once('_').map(|(stem, _)| stem.to_owned()).unwrap();
            let (first, second) = (file_name(Bytes(bytes), a), file_name(Bytes(bytes), b));
            prop_assert_eq!(first == second, a == b);
            prop_assert_eq!(stem(first), stem(second));
        }
    }
}
