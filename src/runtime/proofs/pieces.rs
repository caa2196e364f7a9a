//! add_pieces: the staged file, bit-padded, and the commitment of each piece.
//!
//! No pieces means a committed-capacity sector: one piece of zeros that fills it. The bytes stream through
//! the library's padding reader, so memory does not grow with the sector.

use super::{ProofsError, convert, error::InStage, guard};
use crate::{
    runtime::stage::{AddPiecesTask, PieceFile, PieceInfo, PieceToAdd},
    sys::durable::{self, AtomicFile},
    units::SealProof,
};
use filecoin_proofs_api::{UnpaddedBytesAmount, seal::write_and_preprocess};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

const STAGE: &str = "add_pieces";
/// The smallest piece: 127 bytes, 128 with bit padding.
const SMALLEST_PIECE: u64 = 127;

/// Writes the staged file and returns its pieces in order.
///
/// Safe to repeat: the file gets its name when it is complete and synced.
pub fn add_pieces(task: &AddPiecesTask) -> Result<Vec<PieceInfo>, ProofsError> {
    let target = &task.staged_filepath;
    let pieces = pieces_of(task);
    check(&pieces, task.seal_proof_type)?;
    durable::remove_leftovers(target).in_stage(STAGE)?;
    let mut staged = AtomicFile::create(target).in_stage(STAGE)?;
    let mut infos = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        infos.push(write_piece(task.seal_proof_type, piece, staged.file(), target)?);
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
    staged: &mut File,
    target: &Path,
) -> Result<PieceInfo, ProofsError> {
    let source = open(piece)?;
    // The piece is its payload and zeros up to its size.
    let source = source.take(piece.payload_size).chain(io::repeat(0)).take(piece.piece_size);
    let size = UnpaddedBytesAmount(piece.piece_size);
    let hint = "check free space, and that the source stays readable";
    let (info, _) =
        guard::call(STAGE, target, hint, || write_and_preprocess(convert::registered(proof), source, staged, size))?;
    Ok(PieceInfo { commitment: info.commitment, size: info.size.0 })
}

fn open(piece: &PieceToAdd) -> Result<Box<dyn Read>, ProofsError> {
    match &piece.piece_file {
        PieceFile::Pledge => Ok(Box::new(io::repeat(0))),
        PieceFile::Url(_) => Err(ProofsError::NotSupported { stage: STAGE, what: "a piece from a url" }),
        PieceFile::Local(path) => {
            let file = File::open(path).map_err(|e| ProofsError::io(STAGE, path, "opening piece file", e))?;
            let length = file.metadata().map_err(|e| ProofsError::io(STAGE, path, "looking at piece file", e))?.len();
            if length < piece.payload_size {
                let what = format!("the file has {length} bytes, its payload should have {}", piece.payload_size);
                return Err(ProofsError::File { stage: STAGE, path: path.clone(), what, hint: "bring the whole file" });
            }
            Ok(Box::new(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    fn piece(piece_file: PieceFile, payload_size: u64, piece_size: u64) -> PieceToAdd {
        PieceToAdd { piece_file, payload_size, piece_size }
    }

    fn task(folder: &Path, pieces: Vec<PieceToAdd>) -> AddPiecesTask {
        let seal_proof_type = SealProof::v1_1(SectorSize::KiB2);
        AddPiecesTask { seal_proof_type, pieces, staged_filepath: folder.join("staged") }
    }

    #[test]
    fn no_pieces_is_one_piece_of_zeros_that_fills_the_sector() {
        let folder = tempfile::tempdir().unwrap();
        let infos = add_pieces(&task(folder.path(), vec![])).unwrap();
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
        let infos = add_pieces(&task(folder.path(), vec![piece(PieceFile::Local(source), 100, 1016)])).unwrap();
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
            (vec![piece(PieceFile::Url("http://x".into()), 1, 127)], "a piece from a url: not supported"),
            (vec![piece(PieceFile::Local("/nonexistent/p".into()), 1, 127)], "opening piece file /nonexistent/p"),
            (vec![piece(PieceFile::Local("/etc/hostname".into()), 2032, 2032)], "bring the whole file"),
        ] {
            let error = add_pieces(&task(folder.path(), pieces)).unwrap_err().to_string();
            assert!(error.starts_with("add_pieces: ") && error.contains(said), "{error}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{said}");
        }
    }
}
