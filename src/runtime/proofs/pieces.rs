//! add_pieces: the staged file, bit-padded, and the commitment of each piece.
//!
//! No pieces means a committed-capacity sector: one piece of zeros that fills it. The bytes stream through
//! the library's padding reader, so memory does not grow with the sector. A source that ends before its
//! payload is complete is an error: the rest would be taken for zeros.

use super::{ProofsError, convert, error::InStage, guard};
use crate::{
    runtime::{
        pieces::{Fetch, Shown},
        stage::{AddPiecesTask, Commitment, PieceFile, PieceInfo, PieceToAdd},
    },
    sys::durable::{self, AtomicFile},
    units::SealProof,
};
use filecoin_proofs_api::{
    UnpaddedBytesAmount,
    seal::{self, write_and_preprocess},
};
use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    path::Path,
};

const STAGE: &str = "add_pieces";
/// The smallest piece: 127 bytes, 128 with bit padding.
const SMALLEST_PIECE: u64 = 127;

/// Writes the staged file and returns its pieces in order; pieces at addresses are brought by `fetch`.
///
/// Safe to repeat: the file gets its name when it is complete and synced.
pub fn add_pieces(task: &AddPiecesTask, fetch: &Fetch) -> Result<Vec<PieceInfo>, ProofsError> {
    let target = &task.staged_filepath;
    let pieces = pieces_of(task);
    check(&pieces, task.seal_proof_type)?;
    durable::remove_leftovers(target).in_stage(STAGE)?;
    let mut staged = AtomicFile::create(target).in_stage(STAGE)?;
    let mut infos = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        infos.push(write_piece(task.seal_proof_type, piece, fetch, staged.file(), target)?);
    }
    // What the pieces leave free is zeros, as the commitment of the sector assumes.
    let length = task.seal_proof_type.sector_size().bytes().0;
    staged.file().set_len(length).map_err(|e| ProofsError::io(STAGE, target, "setting the length of", e))?;
    staged.commit().in_stage(STAGE)?;
    Ok(infos)
}

fn pieces_of(task: &AddPiecesTask) -> Vec<PieceToAdd> {
    if !task.pieces.is_empty() {
        return task.pieces.clone();
    }
    let whole = convert::unpadded(task.seal_proof_type.sector_size());
    vec![PieceToAdd { piece_file: PieceFile::Pledge, payload_size: whole, piece_size: whole }]
}

/// Refuses, before anything is written, pieces that the sector's tree cannot hold.
fn check(pieces: &[PieceToAdd], proof: SealProof) -> Result<(), ProofsError> {
    let sector = proof.sector_size().bytes().0;
    let mut start = 0u64;
    for (index, piece) in pieces.iter().enumerate() {
        let refuse = |what: String, hint| Err(ProofsError::Input { stage: STAGE, what, hint });
        let padded = piece.piece_size.saturating_add(piece.piece_size / SMALLEST_PIECE);
        if !piece.piece_size.is_multiple_of(SMALLEST_PIECE) || !padded.is_power_of_two() || padded < 128 {
            let what = format!("piece {index}: {} bytes is no piece size", piece.piece_size);
            return refuse(what, "a piece is 127/128 of a power of two, 127 bytes or more");
        }
        if piece.payload_size > piece.piece_size {
            let what = format!("piece {index}: {} bytes into a piece of {}", piece.payload_size, piece.piece_size);
            return refuse(what, "ask for a larger piece");
        }
        if !start.is_multiple_of(padded) {
            let what = format!("piece {index}: starts at padded byte {start}, which its size {padded} does not divide");
            return refuse(what, "put larger pieces first, or pledge pieces between");
        }
        start = start.saturating_add(padded);
        if start > sector {
            let what = format!("piece {index}: ends at padded byte {start}, beyond the sector's {sector}");
            return refuse(what, "leave pieces out");
        }
    }
    Ok(())
}

fn write_piece(
    proof: SealProof,
    piece: &PieceToAdd,
    fetch: &Fetch,
    staged: &mut File,
    target: &Path,
) -> Result<PieceInfo, ProofsError> {
    let trouble = RefCell::new(None);
    // The piece is its payload and zeros up to its size.
    let payload = Whole { source: open(piece, fetch)?, left: piece.payload_size, trouble: &trouble };
    let source = payload.chain(io::repeat(0)).take(piece.piece_size);
    let size = UnpaddedBytesAmount(piece.piece_size);
    let hint = "check free space in the store";
    let written =
        guard::call(STAGE, target, hint, || write_and_preprocess(convert::registered(proof), source, staged, size));
    let (info, _) = match (written, trouble.take()) {
        (Err(_), Some(what)) => return Err(piece_error(piece, what, false)),
        (written, _) => written?,
    };
    Ok(PieceInfo { commitment: info.commitment, size: info.size.0 })
}

fn piece_error(piece: &PieceToAdd, what: String, permanent: bool) -> ProofsError {
    ProofsError::Piece { stage: STAGE, from: Shown(&piece.piece_file).to_string(), what, permanent }
}

/// So many bytes of a source and no more; fewer are an error. What the source says of its trouble is kept, because the
/// library would tell it as its own.
struct Whole<'a> {
    source: Box<dyn Read>,
    left: u64,
    trouble: &'a RefCell<Option<String>>,
}

impl Read for Whole<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || target.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(target.len());
        let read = match self.source.read(&mut target[..most]) {
            Ok(0) => Err(io::Error::other(format!("ended {} bytes before the end of its data", self.left))),
            read => read,
        };
        match read {
            Ok(n) => self.left -= n as u64,
            Err(ref error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(ref error) => *self.trouble.borrow_mut() = Some(error.to_string()),
        }
        read
    }
}

fn open(piece: &PieceToAdd, fetch: &Fetch) -> Result<Box<dyn Read>, ProofsError> {
    match &piece.piece_file {
        PieceFile::Pledge => Ok(Box::new(io::repeat(0))),
        PieceFile::Url(url) => match fetch.open(url, piece.payload_size) {
            Ok(download) => Ok(Box::new(download)),
            Err(error) => Err(piece_error(piece, error.what, error.permanent)),
        },
        PieceFile::Local(path) => {
            let doing = |doing| move |e| ProofsError::io(STAGE, path, doing, e);
            let meta = path.metadata().map_err(doing("looking at piece file"))?;
            if !meta.is_file() {
                // A pipe would be waited for.
                return Err(piece_error(piece, "is not a file".into(), false));
            }
            if meta.len() < piece.payload_size {
                let what = format!("the file has {} bytes, its payload should have {}", meta.len(), piece.payload_size);
                return Err(ProofsError::File { stage: STAGE, path: path.clone(), what, hint: "bring the whole file" });
            }
            Ok(Box::new(File::open(path).map_err(doing("opening piece file"))?))
        }
    }
}

/// The commitment of the piece that `payload` bytes of `source` and zeros up to `piece_size` are (unpadded).
pub fn piece_commitment(
    proof: SealProof,
    path: &Path,
    payload: u64,
    piece_size: u64,
) -> Result<Commitment, ProofsError> {
    let file = File::open(path).map_err(|e| ProofsError::io(STAGE, path, "opening piece file", e))?;
    let source = file.take(payload).chain(io::repeat(0)).take(piece_size);
    let info = guard::call(STAGE, path, "check that the file can be read", || {
        seal::generate_piece_commitment(convert::registered(proof), source, UnpaddedBytesAmount(piece_size))
    })?;
    Ok(info.commitment)
}

/// The commitment of a sector with these pieces, which lie in order and aligned.
pub fn comm_d(proof: SealProof, pieces: &[PieceInfo]) -> Result<Commitment, ProofsError> {
    let whole = Path::new("the sector's pieces");
    guard::call(STAGE, whole, "the pieces must fit the sector", || {
        seal::compute_comm_d(convert::registered(proof), &convert::library_pieces(pieces))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    fn piece(piece_file: PieceFile, payload_size: u64, piece_size: u64) -> PieceToAdd {
        PieceToAdd { piece_file, payload_size, piece_size }
    }

    fn add(task: &AddPiecesTask) -> Result<Vec<PieceInfo>, ProofsError> {
        add_pieces(task, &Fetch::default())
    }

    fn task(folder: &Path, pieces: Vec<PieceToAdd>) -> AddPiecesTask {
        let seal_proof_type = SealProof::v1_1(SectorSize::KiB2);
        AddPiecesTask { seal_proof_type, pieces, staged_filepath: folder.join("staged") }
    }

    #[test]
    fn no_pieces_is_one_piece_of_zeros_that_fills_the_sector() {
        let folder = tempfile::tempdir().unwrap();
        let infos = add(&task(folder.path(), vec![])).unwrap();
        assert_eq!(infos.len(), 1);
        assert_eq!(infos[0].size, 2032);
        assert_eq!(std::fs::read(folder.path().join("staged")).unwrap(), vec![0; 2048]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_short_local_piece_is_filled_up_and_so_is_the_sector() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("piece");
        std::fs::write(&source, [0x11; 100]).unwrap();
        let infos = add(&task(folder.path(), vec![piece(PieceFile::Local(source), 100, 1016)])).unwrap();
        assert_eq!(infos[0].size, 1016);
        let staged = std::fs::read(folder.path().join("staged")).unwrap();
        assert_eq!(staged.len(), 2048);
        assert_eq!(staged[0], 0x11);
        assert!(staged[128..].iter().all(|&b| b == 0));
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused_before_a_byte_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let pledge = |size| piece(PieceFile::Pledge, size, size);
        for (pieces, said) in [
            (vec![pledge(1000)], "no piece size"),
            (vec![pledge(0)], "no piece size"),
            (vec![piece(PieceFile::Pledge, 128, 127)], "128 bytes into a piece of 127"),
            (vec![pledge(127), pledge(1016)], "piece 1: starts at padded byte 128"),
            (vec![pledge(2032), pledge(127)], "beyond the sector's 2048"),
            (vec![piece(PieceFile::Url("nowhere".into()), 1, 127)], "is no address"),
            (vec![piece(PieceFile::Local("/nonexistent/p".into()), 1, 127)], "looking at piece file /nonexistent/p"),
            (vec![piece(PieceFile::Local("/dev/null".into()), 0, 127)], "piece from /dev/null: is not a file"),
            (vec![piece(PieceFile::Local("/etc/hostname".into()), 2032, 2032)], "bring the whole file"),
        ] {
            let error = add(&task(folder.path(), pieces)).unwrap_err().to_string();
            assert!(error.starts_with("add_pieces: ") && error.contains(said), "{error}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{said}");
        }
    }
}
