//! The small, quick file work around stages: folders, links, markers, side files, and dropping a sector.

use super::{Store, StoreError};
use crate::{
    runtime::{
        sector::State,
        stage::{Opaque, PC2_RUNNING, SectorPaths, TREE_D},
    },
    sys::durable,
    units::SectorSize,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// c1's answer, beside the sector's other files.
const C1_OUTPUT: &str = "c1-output.json";

impl Store {
    fn sector_paths(&self) -> Result<SectorPaths, StoreError> {
        self.paths().ok_or_else(|| self.io("finding the sector in")(io::Error::other("the store holds none")))
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> StoreError + use<> {
        let root = self.root().to_owned();
        move |source| super::failed(&root, doing, source)
    }

    /// Makes the folder that tree-d is built in.
    pub fn prepare_tree_d(&self) -> Result<PathBuf, StoreError> {
        let folder = self.root().join(self.sector_paths()?.prepared());
        durable::make_folder(&folder)?;
        Ok(folder)
    }

    /// Uses `file` as tree-d instead of building it. A file of the wrong length is refused in words.
    pub fn link_static_tree_d(&self, file: &Path, size: SectorSize) -> Result<Result<(), String>, StoreError> {
        let expected = size.tree_d_bytes();
        let refuse = |what: String| Ok(Err(format!("static tree-d of {size}, {}: {what}", file.display())));
        let file = match fs::canonicalize(file).and_then(|file| Ok((fs::metadata(&file)?.len(), file))) {
            Ok((length, file)) if length == expected => file,
            Ok((length, _)) => return refuse(format!("{length} bytes long, {expected} expected")),
            Err(e) => return refuse(e.to_string()),
        };
        let link = self.prepare_tree_d()?.join(TREE_D);
        durable::remove_leftovers(&link)?;
        let folder = durable::temp_folder_for(&link)?;
        let made = folder.path().join(TREE_D);
        std::os::unix::fs::symlink(&file, &made)
            .and_then(|()| fs::rename(&made, &link))
            .map_err(self.io("linking the static tree-d into"))?;
        durable::sync_folder_of(&link)?;
        Ok(Ok(()))
    }

    /// Makes what pc1 expects to find: a sealed file to write to, a cache folder, tree-d in it.
    pub fn prepare_pc1(&self) -> Result<(), StoreError> {
        let paths = self.sector_paths()?;
        let cache = self.root().join(paths.cache());
        durable::make_folder(&cache)?;
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root().join(paths.sealed()))
            .map_err(self.io("making the sealed file in"))?;
        let (from, to) = (self.root().join(paths.prepared()).join(TREE_D), cache.join(TREE_D));
        match fs::hard_link(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            done => done.map_err(self.io("linking tree-d into the cache folder of")),
        }
    }

    /// Sets the marker that pc2 is running.
    pub fn mark_pc2(&self) -> Result<(), StoreError> {
        let marker = self.root().join(self.sector_paths()?.cache()).join(PC2_RUNNING);
        Ok(durable::write_atomic(&marker, b"")?)
    }

    /// Whether the marker of a running pc2 is set, by this program or another.
    pub fn pc2_marked(&self) -> bool {
        self.paths().is_some_and(|paths| self.root().join(paths.cache()).join(PC2_RUNNING).exists())
    }

    /// Takes the marker away.
    pub fn unmark_pc2(&self) -> Result<(), StoreError> {
        let cache = self.root().join(self.sector_paths()?.cache());
        remove(&cache.join(PC2_RUNNING)).map_err(self.io("unmarking pc2 in"))
    }

    /// Keeps c1's answer and returns its digest.
    pub fn keep_c1(&self, output: &Opaque) -> Result<String, StoreError> {
        let json = output.as_json().as_bytes();
        durable::write_atomic(&self.c1_path()?, json)?;
        Ok(digest(json))
    }

    /// c1's answer, if it is the one with this digest; the error says in what way it is not.
    pub fn read_c1(&self, expected: &str) -> Result<Result<Opaque, String>, StoreError> {
        let path = self.c1_path()?;
        let json = match fs::read_to_string(&path) {
            Ok(json) => json,
            Err(e) => return Ok(Err(format!("read {}: {e}", path.display()))),
        };
        if digest(json.as_bytes()) != expected {
            return Ok(Err(format!("{} is not what was journaled", path.display())));
        }
        Ok(Opaque::from_json(json).map_err(|e| format!("{}: {e}", path.display())))
    }

    fn c1_path(&self) -> Result<PathBuf, StoreError> {
        Ok(self.root().join(self.sector_paths()?.cache()).join(C1_OUTPUT))
    }

    /// How many bytes of the sector a persistent store keeps, as the files are now.
    pub fn persisted_bytes(&self) -> u64 {
        let (Some(sector), Some(paths)) = (self.record().sector, self.paths()) else { return 0 };
        let files = paths.persisted(sector.proof_type.sector_size());
        files.iter().filter_map(|(path, _)| Some(fs::metadata(self.root().join(path)).ok()?.len())).sum()
    }

    /// Removes what the stages after the record's state had made, and waits until the disk has it so. Pc2 alone is not
    /// undone here: its replica is made again from the staged file (`RestoreReplica`).
    pub fn remove_undone(&self) -> Result<(), StoreError> {
        use State::*;
        let paths = self.sector_paths()?;
        let whole = [paths.staged(), paths.prepared(), paths.sealed(), paths.cache()];
        let made_later = match self.record().state {
            Allocated | DealsAcquired => &whole[..],
            PieceAdded => &whole[1..],
            TreeDBuilt | TicketAssigned => &whole[2..],
            PCSubmitted | PCLanded | Persisted | PersistanceSubmitted | SeedAssigned => {
                &[paths.cache().join(C1_OUTPUT)][..]
            }
            // Pc2's files, or none: a submission makes no file, and c2's answer lies in the journal.
            _ => &[],
        };
        for path in made_later {
            let path = self.root().join(path);
            remove(&path).map_err(self.io("removing what is to be made again in"))?;
            if path.parent().is_some_and(Path::is_dir) {
                durable::sync_folder_of(&path)?;
            }
        }
        Ok(())
    }

    /// Removes every file of the sector. What is gone already stays gone.
    pub fn drop_files(&self) -> Result<(), StoreError> {
        let paths = self.sector_paths()?;
        for path in [paths.staged(), paths.prepared(), paths.sealed(), paths.cache()] {
            remove(&self.root().join(path)).map_err(self.io("dropping the sector's files in"))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn digest(bytes: &[u8]) -> String {
    blake2b_simd::Params::new().hash_length(32).hash(bytes).to_hex().to_string()
}
