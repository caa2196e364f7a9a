//! Where the hugepage files of each node lie, as `HUGEPAGE_FILES_PATH` and `HUGEPAGE_FILES_PATH_PATTERN` say it.
//!
//! `/mnt/huge/pc1` means `/mnt/huge/pc1/numa_$NUMA_NODE_INDEX`; the number is the node's.

use crate::units::{NodeId, ParseError};
use std::{
    fmt,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "$NUMA_NODE_INDEX";

/// A folder for each node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// What is meant by a folder and a pattern, of which the pattern goes first. Empty texts say nothing.
    pub fn of(path: Option<&str>, pattern: Option<&str>) -> Result<Option<Self>, ParseError> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        match (given(path), given(pattern)) {
            (_, Some(pattern)) => Self::parse(&pattern).map(Some),
            (Some(path), None) => {
                let below = Path::new(&path).join(format!("numa_{PLACEHOLDER}"));
                Self::parse(&below.to_string_lossy()).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    fn parse(text: &str) -> Result<Self, ParseError> {
        if !text.contains(PLACEHOLDER) || !Path::new(text).is_absolute() {
            let accepted = "an absolute path, of a pattern one with $NUMA_NODE_INDEX in it, such as /mnt/huge/numa_$NUMA_NODE_INDEX";
            return Err(ParseError::new(text, "a folder of hugepage files", accepted));
        }
        Ok(Self(text.to_owned()))
    }

    /// The folder of a node.
    pub fn folder(&self, node: NodeId) -> PathBuf {
        self.0.replace(PLACEHOLDER, &node.to_string()).into()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_goes_before_the_path_and_empty_texts_say_nothing() {
        let folder = |path, pattern| Pattern::of(path, pattern).unwrap().map(|found| found.folder(NodeId(1)));
        assert_eq!(folder(Some("/mnt/huge/pc1"), None), Some("/mnt/huge/pc1/numa_1".into()));
        let pattern = Some("/mnt/h$NUMA_NODE_INDEX/x_$NUMA_NODE_INDEX");
        assert_eq!(folder(Some("/mnt/huge/pc1"), pattern), Some("/mnt/h1/x_1".into()));
        assert_eq!(folder(Some(" "), Some("")), None);
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        for (path, pattern) in
            [(None, Some("/mnt/huge/numa_0")), (Some("huge"), None), (None, Some("numa_$NUMA_NODE_INDEX"))]
        {
            let error = Pattern::of(path, pattern).unwrap_err().to_string();
            assert!(error.contains("is not a folder of hugepage files: an absolute path"), "{error}");
        }
    }
}
