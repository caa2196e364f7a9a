//! Which folders a hugepage command is about, as every such command is told.

use crate::hugepage::{InitError, Pattern, Refusal, chosen::Choice, request::NodeChoice, state};
use std::path::{Path, PathBuf};

/// The folders that are meant.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only the folders of these NUMA nodes: 0, 0,1, 0-3 or all
    #[arg(short, long, value_name = "NODES")]
    node: Option<NodeChoice>,
    /// The folder of the files, which lie in PATH/numa_N; ignored with --path-pattern
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// The folders of the files, with $NUMA_NODE_INDEX where the node's number belongs
    #[arg(long, alias = "path_pattern", value_name = "PATTERN")]
    pub path_pattern: Option<String>,
    /// The record of what this tool made, by which it is taken back
    #[arg(long, value_name = "FILE", default_value = state::DEFAULT)]
    state: PathBuf,
}

impl Which {
    /// What was chosen.
    pub fn choice(&self) -> Result<Choice, InitError> {
        let pattern = match (&self.path_pattern, &self.path) {
            (Some(pattern), _) => Some(Pattern::parse_path(&absolute(Path::new(pattern))?)?),
            (None, Some(path)) => Some(Pattern::of_path(&absolute(path)?)?),
            (None, None) => None,
        };
        Ok(Choice { pattern, nodes: self.node.clone() })
    }

    /// Where the record is.
    pub fn record(&self) -> Result<PathBuf, InitError> {
        absolute(&self.state)
    }
}

/// A path from the root of the file system.
pub fn absolute(path: &Path) -> Result<PathBuf, InitError> {
    // An empty path has no place; what is wrong with it is said as of any that is not absolute.
    std::path::absolute(path).map_err(|_| Refusal::NotAbsolute(path.to_owned()).into())
}
