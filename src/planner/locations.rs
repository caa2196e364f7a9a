//! The site's paths as text, checked: each there, each UTF-8, no sealing folder inside another.

use super::{PlanError, Site};
use std::path::{Component, Path, PathBuf};

/// `./sealing` and `sealing` are one folder.
fn plain(dir: &Path) -> PathBuf {
    dir.components().filter(|part| *part != Component::CurDir).collect()
}

/// The site's paths as text, checked.
pub(super) struct Locations {
    pub manager_dir: String,
    pub sealing_dirs: Vec<String>,
    pub attached: Vec<(String, String)>,
}

impl Locations {
    pub fn of(site: &Site) -> Result<Self, PlanError> {
        if site.sealing_dirs.is_empty() {
            return Err(PlanError::Missing("sealing folder"));
        }
        if site.attached.is_empty() {
            return Err(PlanError::Missing("persistent store"));
        }
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        if site.sealing_dirs.iter().any(is_empty) {
            return Err(PlanError::Missing("name for each sealing folder"));
        }
        if is_empty(&site.manager_dir) {
            return Err(PlanError::Missing("name for the manager's folder"));
        }
        if site.attached.iter().any(|store| store.name.is_empty() || is_empty(&store.location)) {
            return Err(PlanError::Missing("name and a path for each persistent store"));
        }
        for (i, dir) in site.sealing_dirs.iter().enumerate() {
            for other in &site.sealing_dirs[..i] {
                if plain(dir).starts_with(plain(other)) || plain(other).starts_with(plain(dir)) {
                    return Err(PlanError::SealingDirsOverlap(other.clone(), dir.clone()));
                }
            }
        }
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| PlanError::NotUtf8(path.to_owned()));
        Ok(Self {
            manager_dir: text(&site.manager_dir)?,
            sealing_dirs: site.sealing_dirs.iter().map(|dir| text(dir)).collect::<Result<_, _>>()?,
            attached: site
                .attached
                .iter()
                .map(|store| Ok((store.name.clone(), text(&store.location)?)))
                .collect::<Result<_, PlanError>>()?,
        })
    }
}
