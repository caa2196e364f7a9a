//! Where the bytes of a deal's piece come from.
//!
//! ```text
//! find: worker.local_pieces_dirs, in order ─► the manager's own folder (embedded) ─► <manager>/piecestore/<cid>
//!                 └────────── PieceFile::Local ──────────┘                               └ PieceFile::Url ─ Fetch ─► bytes
//! ```
//!
//! What is found is only a place. Whether its bytes are the piece is seen when they have been added: the daemon compares
//! the commitment that came of them with the deal's.

mod fetch;

pub use fetch::{Fetch, FetchError};

use super::stage::PieceFile;
use crate::units::PieceCid;
use std::{fmt, path::PathBuf};

/// Finds pieces.
pub trait PieceSource: Send + Sync {
    /// Where the piece is, of which `payload` bytes are needed; the error says where it was looked for.
    fn find(&self, cid: PieceCid, payload: u64) -> Result<PieceFile, String>;
}

/// What a manager says to the search for a piece that lies in no folder of the worker's.
pub type AskManager = Box<dyn Fn(PieceCid) -> Option<PieceFile> + Send + Sync>;

/// The folders of a worker, and what its manager has.
pub struct Pieces {
    folders: Vec<PathBuf>,
    manager: AskManager,
}

impl Pieces {
    /// Searches `folders` in order, then asks the manager.
    pub fn new(folders: Vec<PathBuf>, manager: AskManager) -> Self {
        Self { folders, manager }
    }

    /// A file of the piece's name, as the field's tools write it, that is long enough. One that is still on its way is
    /// passed over.
    fn in_folders(&self, cid: PieceCid, payload: u64) -> Option<PathBuf> {
        let names = [cid.to_string(), format!("{cid}.car")];
        let paths = self.folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        paths.into_iter().find(|path| match path.metadata() {
            Ok(meta) if meta.is_file() && meta.len() >= payload => true,
            Ok(meta) => {
                let found = if meta.is_file() { meta.len() } else { 0 };
                tracing::warn!(path = %path.display(), found, payload, "passed over: no file of enough bytes");
                false
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "passed over");
                false
            }
        })
    }
}

impl PieceSource for Pieces {
    fn find(&self, cid: PieceCid, payload: u64) -> Result<PieceFile, String> {
        if let Some(path) = self.in_folders(cid, payload) {
            return Ok(PieceFile::Local(path));
        }
        (self.manager)(cid).ok_or_else(|| {
            let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
            let folders = if folders.is_empty() { "none are set".to_owned() } else { folders.join(", ") };
            format!("piece {cid} is neither in worker.local_pieces_dirs ({folders}) nor known to the manager: bring it there")
        })
    }
}

/// The address of a piece at a manager whose calls go to `base`.
pub fn url_at(base: &str, cid: PieceCid) -> String {
    let base = base.trim_end_matches('/');
    format!("{}/piecestore/{cid}", base.strip_suffix("/rpc/v0").unwrap_or(base))
}

/// A place of bytes for people: an address without what it may keep secret.
pub struct Shown<'a>(pub &'a PieceFile);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PieceFile::Pledge => f.write_str("zeros"),
            PieceFile::Local(path) => path.display().fmt(f),
            PieceFile::Url(url) => f.write_str(&fetch::shown(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const CID: PieceCid = PieceCid([7; 32]);

    fn pieces(folders: &[&std::path::Path], known: bool) -> Pieces {
        let ask = move |cid| known.then(|| PieceFile::Url(url_at("http://m/rpc/v0", cid)));
        Pieces::new(folders.iter().map(|folder| folder.to_path_buf()).collect(), Box::new(ask))
    }

    #[test]
    fn folders_come_in_order_with_both_names_and_the_manager_last() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [first.path(), second.path()];
        let found = || pieces(&folders, true).find(CID, 3).unwrap();
        assert_eq!(found(), PieceFile::Url(format!("http://m/piecestore/{CID}")));
        let car = second.path().join(format!("{CID}.car"));
        fs::write(&car, "data").unwrap();
        assert_eq!(found(), PieceFile::Local(car));
        let plain = first.path().join(CID.to_string());
        fs::write(&plain, "da").unwrap();
        assert_ne!(found(), PieceFile::Local(plain.clone()), "it is shorter than the payload: on its way");
        fs::write(&plain, "data").unwrap();
        assert_eq!(found(), PieceFile::Local(plain));
    }

    #[test]
    fn a_piece_that_is_nowhere_is_told_with_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(CID.to_string())).unwrap();
        let error = pieces(&[folder.path()], false).find(CID, 1).unwrap_err();
        assert!(error.contains(&folder.path().display().to_string()) && error.contains(&CID.to_string()), "{error}");
        assert!(pieces(&[], false).find(CID, 1).unwrap_err().contains("none are set"));
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let url = PieceFile::Url("http://me:hunter22@m:1/piecestore/x?token=abc".into());
        assert_eq!(Shown(&url).to_string(), "http://m:1/piecestore/x");
        assert_eq!(url_at("https://m/base/", CID), format!("https://m/base/piecestore/{CID}"));
    }
}
