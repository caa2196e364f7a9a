//! Deals: alignment and commitments against the proofs library's own rules, and a 2 KiB sector from pieces to its proof
//! and back to the data.

use crate::seal::{MINER, NUMBER, Sector, TICKET};
use damocles_worker::{
    runtime::{
        manager::wire::*,
        pieces::Fetch,
        proofs,
        sector::deals::{compare, pieces},
        stage::{
            layout::{Placed, lay_out, smallest_piece, unpadded, zero_commitment},
            *,
        },
    },
    units::{PieceCid, SealProof, SectorSize},
};
use filecoin_proofs::pieces::{compute_comm_d, get_piece_start_byte, zero_padding};
use filecoin_proofs_api::{PieceInfo as LibraryPiece, UnpaddedBytesAmount, seal};
use proptest::prelude::*;
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
};

const PROOF: SealProof = SealProof::v1_1(SectorSize::KiB2);

fn library_size() -> filecoin_proofs::SectorSize {
    filecoin_proofs::SectorSize(2048)
}

fn as_library(pieces: &[(u64, Commitment)]) -> Vec<LibraryPiece> {
    let piece = |(size, commitment): &(u64, Commitment)| LibraryPiece {
        commitment: *commitment,
        size: UnpaddedBytesAmount(unpadded(*size)),
    };
    pieces.iter().map(piece).collect()
}

#[test]
fn zeros_have_the_librarys_commitments() {
    for size in (7..=36).map(|bits| 1u64 << bits) {
        let library = zero_padding(UnpaddedBytesAmount(unpadded(size))).unwrap();
        assert_eq!(zero_commitment(size), library.commitment, "{size}");
    }
}

/// A piece at any place, from 128 bytes to the sector.
fn sizes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((7u32..=11).prop_map(|bits| 1u64 << bits), 1..20)
}

proptest! {
    #[test]
    fn pieces_lie_where_the_library_expects_them_and_give_its_comm_d(sizes in sizes(), seed in any::<u8>()) {
        let Ok(placed) = lay_out(&sizes, 2048) else {
            let all: u64 = sizes.iter().sum();
            let starts: Vec<_> = sizes.iter().map(|size| UnpaddedBytesAmount(unpadded(*size))).collect();
            let end = filecoin_proofs::pieces::sum_piece_bytes_with_alignment(&starts);
            prop_assert!(all > 2048 || end.0 > unpadded(2048), "the library would place them");
            return Ok(());
        };
        let mut before = Vec::new();
        for Placed { start, size, .. } in placed.iter().filter(|piece| piece.entry.is_some()) {
            let amount = UnpaddedBytesAmount(unpadded(*size));
            prop_assert_eq!(get_piece_start_byte(&before, amount).0, unpadded(*start));
            before.push(amount);
        }
        let mut at = 0;
        for piece in &placed {
            prop_assert!(piece.start == at && piece.start % piece.size == 0, "no gaps, and each at a multiple of its size");
            at += piece.size;
        }
        prop_assert_eq!(at, 2048);

        let commitment = |entry: usize| [seed.wrapping_add(entry as u8) & 0x3f; 32];
        let deals: Vec<_> = sizes.iter().enumerate().map(|(i, size)| (*size, commitment(i))).collect();
        let full: Vec<_> = placed
            .iter()
            .map(|piece| (piece.size, piece.entry.map_or_else(|| zero_commitment(piece.size), commitment)))
            .collect();
        let library = |pieces: &[_]| compute_comm_d(library_size(), &as_library(pieces)).unwrap();
        // By itself the library pads up to a power of two that holds all, which may be less than the sector.
        let end = placed.iter().filter(|piece| piece.entry.is_some()).map(|piece| piece.start + piece.size).max();
        if end > Some(1024) {
            prop_assert_eq!(library(&full), library(&deals), "the library's own padding is the same");
        }
        let infos: Vec<_> = full.iter().map(|(size, commitment)| PieceInfo { commitment: *commitment, size: unpadded(*size) }).collect();
        prop_assert_eq!(proofs::comm_d(PROOF, &infos).unwrap(), library(&full));
    }

    #[test]
    fn a_files_commitment_is_the_librarys(data in prop::collection::vec(any::<u8>(), 1..2032)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("piece");
        fs::write(&path, &data).unwrap();
        let size = smallest_piece(data.len() as u64).unwrap();
        let found = proofs::piece_commitment(PROOF, &path, data.len() as u64, unpadded(size)).unwrap();
        let mut padded = data.clone();
        padded.resize(unpadded(size) as usize, 0);
        let registered = filecoin_proofs_api::RegisteredSealProof::StackedDrg2KiBV1_1;
        let library = seal::generate_piece_commitment(registered, &padded[..], UnpaddedBytesAmount(unpadded(size))).unwrap();
        prop_assert_eq!(found, library.commitment);
        let added = add(folder.path(), vec![local(&path, data.len() as u64, unpadded(size))]).unwrap();
        prop_assert_eq!(added[0].commitment, library.commitment, "what add_pieces answers is the same");
    }
}

fn local(path: &Path, payload_size: u64, piece_size: u64) -> PieceToAdd {
    PieceToAdd { piece_file: PieceFile::Local(path.to_owned()), payload_size, piece_size }
}

fn add(folder: &Path, pieces: Vec<PieceToAdd>) -> Result<Vec<PieceInfo>, proofs::ProofsError> {
    let task = AddPiecesTask { seal_proof_type: PROOF, pieces, staged_filepath: folder.join("staged") };
    proofs::add_pieces(&task, &Fetch::default())
}

/// A manager that gives these bytes to whoever asks, and claims them to be `length` long.
fn giving(bytes: Vec<u8>, length: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/piecestore/x", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    url
}

#[test]
fn a_torn_download_is_an_error_and_leaves_no_staged_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = giving(vec![1; 500], 1000);
    let piece = |payload_size| PieceToAdd { piece_file: PieceFile::Url(url.clone()), payload_size, piece_size: 1016 };
    let error = add(folder.path(), vec![piece(1000)]).unwrap_err();
    assert!(!error.is_permanent(), "it may succeed the next time");
    let said = error.to_string();
    assert!(said.starts_with(&format!("add_pieces: piece from {url}: cut off after 500 bytes")), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    let short = add(folder.path(), vec![piece(1001)]).unwrap_err().to_string();
    assert!(short.contains("has 1000 bytes, the deal's data has 1001"), "{short}");
    // Of more than the payload only the payload is taken, as the field does.
    let long = giving(vec![1; 2000], 2000);
    let piece = PieceToAdd { piece_file: PieceFile::Url(long), payload_size: 100, piece_size: 127 };
    add(folder.path(), vec![piece]).unwrap();
    let staged = fs::read(folder.path().join("staged")).unwrap();
    assert!(staged.len() == 2048 && staged[128..].iter().all(|byte| *byte == 0));
}

fn deal(number: u64, path: &Path) -> SectorPiece {
    let payload = fs::metadata(path).unwrap().len();
    let size = smallest_piece(payload).unwrap();
    let cid = PieceCid(proofs::piece_commitment(PROOF, path, payload, unpadded(size)).unwrap());
    SectorPiece {
        piece: PieceInfoV2 { size, piece_cid: CidJson { cid: cid.to_string() } },
        deal_info: DealInfoV2 { deal_id: number, allocation_id: 0, payload_size: payload, is_builtin_market: true },
    }
}

/// Two deals with room between them: one from a folder, one over HTTP.
#[test]
fn a_sector_with_deals_is_proven_and_unsealing_gives_their_data_back() {
    let mut sector = Sector::new(SectorSize::KiB2);
    let data = [vec![0x5a; 100], (0..1000u32).map(|i| ((i * 31) >> 2) as u8).collect::<Vec<_>>()];
    let files = [sector.path("first"), sector.path("second")];
    data.iter().zip(&files).for_each(|(data, file)| fs::write(file, data).unwrap());
    let deals = [deal(1, &files[0]), deal(2, &files[1])];
    let expected = pieces(&deals, SectorSize::KiB2).unwrap();
    let url = giving(data[1].clone(), data[1].len());
    let mut sources = [PieceFile::Local(files[0].clone()), PieceFile::Url(url)].into_iter();
    let to_add = expected
        .iter()
        .map(|piece| PieceToAdd {
            piece_file: if piece.payload.is_some() { sources.next().unwrap() } else { PieceFile::Pledge },
            payload_size: piece.payload.unwrap_or(piece.size),
            piece_size: piece.size,
        })
        .collect();
    sector.prepare(to_add);
    compare(&expected, &sector.pieces).unwrap();

    let pc1out = proofs::pc1(&sector.pc1_task()).unwrap();
    let pc2out = proofs::pc2(&sector.pc2_task(pc1out)).unwrap();
    let of_deals: Vec<_> =
        deals.iter().map(|deal| (deal.piece.size, deal.piece.piece_cid.cid.parse::<PieceCid>().unwrap().0)).collect();
    assert_eq!(pc2out.comm_d, compute_comm_d(library_size(), &as_library(&of_deals)).unwrap());
    let c1out = sector.c1(pc2out.clone());

    let unseal = proofs::UnsealTask {
        registered_proof: PROOF,
        prover_id: prover_id(MINER),
        sector_id: NUMBER,
        comm_d: pc2out.comm_d,
        ticket: TICKET,
        sealed_file: sector.path("sealed"),
        unsealed_output: sector.path("unsealed"),
    };
    assert_eq!(proofs::unseal_whole(&unseal).unwrap(), 2032);
    let unsealed = fs::read(sector.path("unsealed")).unwrap();
    assert!(unsealed[..100] == data[0] && unsealed[1016..2016] == data[1], "the data of both deals");
    assert!(unsealed[100..1016].iter().chain(&unsealed[2016..]).all(|byte| *byte == 0), "zeros around them");

    let task = C2Task { c1out, prover_id: prover_id(MINER), sector_id: NUMBER, miner_id: MINER };
    match proofs::c2(&task) {
        Ok(output) => {
            let claim = sector.claim(&pc2out);
            assert!(proofs::verify_seal(&claim, &output.proof).unwrap());
            let empty = SealClaim { comm_d: zero_commitment(2048), ..claim };
            assert!(!proofs::verify_seal(&empty, &output.proof).unwrap(), "it proves the deals' data and no other");
        }
        Err(error) if error.to_string().contains(".params: missing") => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: c2 and verify_seal of a sector with deals: {error}");
        }
        Err(error) => panic!("{error}"),
    }
}
