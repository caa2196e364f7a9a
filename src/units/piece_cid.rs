//! Piece CIDs: the commitment of a piece as deals and managers write it, `baga6ea4seaq…`.
//!
//! A CID of version 1 in lower-case base32, with the codec `fil-commitment-unsealed` and a multihash of 32 bytes of
//! `sha2-256-trunc254-padded`. Nothing else names a piece, so nothing else is accepted, and each has one spelling.

use super::ParseError;
use std::{fmt, str::FromStr};

/// What stands before the commitment, as varints: version 1, codec 0xf101, multihash 0x1012 of 0x20 bytes.
const PREFIX: [u8; 7] = [0x01, 0x81, 0xe2, 0x03, 0x92, 0x20, 0x20];
/// The multibase sign of lower-case base32 without padding.
const BASE32: char = 'b';
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A piece's commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceCid(pub [u8; 32]);

super::serde_as_string!(PieceCid);

impl fmt::Display for PieceCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from(BASE32);
        let (mut held, mut bits) = (0u32, 0);
        for byte in PREFIX.iter().chain(&self.0) {
            held = held << 8 | u32::from(*byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(letter(held >> bits));
            }
        }
        if bits > 0 {
            text.push(letter(held << (5 - bits)));
        }
        f.pad(&text)
    }
}

fn letter(five_bits: u32) -> char {
    char::from(ALPHABET[(five_bits & 31) as usize])
}

impl FromStr for PieceCid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| ParseError::new(text, "a piece CID", why);
        let letters = text.strip_prefix(BASE32).ok_or_else(|| refuse("it begins with baga6ea4seaq, in base32"))?;
        let bytes = decode(letters).ok_or_else(|| refuse("after the b it is base32: a to z and 2 to 7"))?;
        let commitment = bytes
            .strip_prefix(&PREFIX)
            .ok_or_else(|| refuse("it is of version 1, fil-commitment-unsealed, sha2-256-trunc254-padded"))?;
        let cid = commitment.try_into().map(Self).map_err(|_| refuse("it holds 32 bytes"))?;
        // The bits behind the last byte mean nothing; only zeros are the CID's own spelling.
        if cid.to_string() == text { Ok(cid) } else { Err(refuse("its last letter has bits too many")) }
    }
}

fn decode(letters: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(letters.len() * 5 / 8), 0u32, 0);
    for letter in letters.bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        held = held << 5 | value as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The piece of zeros that fills a 2 KiB sector, and the one of 128 bytes, as the network's tools print them.
    const KNOWN: [(&str, [u8; 4]); 2] = [
        ("baga6ea4seaqpy7usqklokfx2vxuynmupslkeutzexe2uqurdg5vhtebhxqmpqmy", [0xfc, 0x7e, 0x92, 0x82]),
        ("baga6ea4seaqdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy", [0x37, 0x31, 0xbb, 0x99]),
    ];

    #[test]
    fn known_pieces_read_and_print_as_the_network_writes_them() {
        for (text, first) in KNOWN {
            let cid: PieceCid = text.parse().unwrap();
            assert_eq!(cid.0[..4], first);
            assert_eq!(cid.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_piece_is_refused_with_the_reason() {
        let (known, _) = KNOWN[0];
        for (text, why) in [
            (String::new(), "begins with baga"),
            (known.to_uppercase(), "begins with baga"),
            (known[1..].to_owned(), "base32"),
            (format!("{known}1"), "base32"),
            (known.replace('q', "é"), "base32"),
            ("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".to_owned(), "fil-commitment-unsealed"),
            (known[..60].to_owned(), "32 bytes"),
            (format!("{known}aa"), "32 bytes"),
            (format!("{}z", &known[..63]), "bits too many"),
        ] {
            let error = text.parse::<PieceCid>().unwrap_err().to_string();
            assert!(error.contains("is not a piece CID") && error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_commitment_has_one_spelling(commitment in any::<[u8; 32]>(), letter in 1usize..64, other in 0usize..32) {
            let cid = PieceCid(commitment);
            let text = cid.to_string();
            prop_assert_eq!(text.parse::<PieceCid>(), Ok(cid));
            prop_assert!(text.starts_with("baga6ea4seaq") && text.len() == 64);
            let mut changed = text.clone().into_bytes();
            changed[letter] = ALPHABET[other];
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(read) = changed.parse::<PieceCid>() {
                prop_assert_eq!(read == cid, changed == text);
            }
        }

        #[test]
        fn no_text_breaks_the_parser(text in "\\PC*|b[a-z2-7]{0,80}") {
            if let Ok(cid) = text.parse::<PieceCid>() {
                prop_assert_eq!(cid.to_string(), text);
            }
        }
    }
}
