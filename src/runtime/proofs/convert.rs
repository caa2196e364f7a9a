//! Between the wire's values and the library's types.

use super::ProofsError;
use crate::{
    runtime::stage::{Opaque, PieceInfo},
    units::{SealProof, SectorSize},
};
use filecoin_proofs_api::{RegisteredSealProof, UnpaddedBytesAmount};
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IntoDeserializer};

/// The library's value of the same name.
pub(super) fn registered(proof: SealProof) -> RegisteredSealProof {
    let name = proof.to_string();
    RegisteredSealProof::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(name.as_str()))
        .expect("every SealProof has the name of a registered proof")
}

/// The wire's value of the same name.
pub(super) fn from_registered(proof: RegisteredSealProof) -> SealProof {
    format!("{proof:?}").parse().expect("every registered proof is a SealProof")
}

/// The library's pieces.
pub(super) fn library_pieces(pieces: &[PieceInfo]) -> Vec<filecoin_proofs_api::PieceInfo> {
    let piece =
        |p: &PieceInfo| filecoin_proofs_api::PieceInfo { commitment: p.commitment, size: UnpaddedBytesAmount(p.size) };
    pieces.iter().map(piece).collect()
}

/// A sector's bytes before bit padding: 127 of every 128.
pub(super) fn unpadded(size: SectorSize) -> u64 {
    size.bytes().0 / 128 * 127
}

/// Reads a library value that was passed through.
pub(super) fn read<T: DeserializeOwned>(
    stage: &'static str,
    what: &'static str,
    value: &Opaque,
) -> Result<T, ProofsError> {
    value.read().map_err(|source| ProofsError::Value { stage, what, source })
}

/// Makes a library value one that is passed through.
pub(super) fn opaque<T: Serialize>(stage: &'static str, what: &'static str, value: &T) -> Result<Opaque, ProofsError> {
    Opaque::new(value).map_err(|source| ProofsError::Value { stage, what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seal_proof_is_a_registered_one_and_back() {
        for proof in SealProof::all() {
            assert_eq!(from_registered(registered(proof)), proof);
            assert_eq!(u64::from(registered(proof).sector_size()), proof.sector_size().bytes().0);
        }
    }
}
