//! Labels and parents as the kernels read them, and how a label becomes bytes in a layer's file.
//!
//! A label is 32 bytes. In memory it is kept as the eight words of the SHA-256 state it came out of, which are
//! also the words of the messages it goes into: turned to bytes once, when its layer is written, instead of
//! twice for every child it has.

/// Bytes of a label.
pub const LABEL_BYTES: usize = 32;
/// Parents of a node in its own layer.
pub const BASE_PARENTS: usize = 6;
/// All parents of a node: the rest are in the layer before.
pub const PARENTS: usize = 14;
/// How many of its parents, in order and again from the first, a label is hashed from.
pub const TOTAL_PARENTS: usize = 37;
/// A label is a field element of 254 bits: the two top bits of its last byte are cleared.
pub const LAST_WORD: u32 = 0xffff_ff3f;

/// A label as the words of the hash it is. On a cache line boundary, so that each is one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Label(pub [u32; 8]);

impl Label {
    /// The label whose bytes in a layer's file are these.
    pub fn from_bytes(bytes: &[u8; LABEL_BYTES]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        Self(words)
    }

    /// Its bytes in a layer's file.
    pub fn to_bytes(self) -> [u8; LABEL_BYTES] {
        let mut bytes = [0; LABEL_BYTES];
        for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        bytes
    }
}

/// The parents of one node, as in the parent cache's file: six of its own layer, eight of the layer before,
/// little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Parents([u32; PARENTS]);

impl Parents {
    /// From numbers.
    pub fn new(parents: [u32; PARENTS]) -> Self {
        Self(parents.map(u32::to_le))
    }

    /// As numbers.
    pub fn get(&self) -> [u32; PARENTS] {
        self.0.map(u32::from_le)
    }
}

/// The labels of `words` as bytes, in order.
pub fn to_bytes(labels: &[Label], bytes: &mut [u8]) {
    for (label, bytes) in labels.iter().zip(bytes.as_chunks_mut::<LABEL_BYTES>().0) {
        *bytes = label.to_bytes();
    }
}

/// The labels whose bytes these are.
pub fn from_bytes(bytes: &[u8], labels: &mut [Label]) {
    for (label, bytes) in labels.iter_mut().zip(bytes.as_chunks::<LABEL_BYTES>().0) {
        *label = Label::from_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_its_big_endian_words_and_back() {
        let bytes: [u8; LABEL_BYTES] = std::array::from_fn(|i| i as u8);
        let label = Label::from_bytes(&bytes);
        assert_eq!(label.0[0], 0x0001_0203);
        assert_eq!(label.to_bytes(), bytes);
        let (mut out, mut back) = ([0; 64], [Label::default(); 2]);
        to_bytes(&[label, label], &mut out);
        assert_eq!([&bytes[..], &bytes[..]].concat(), out);
        from_bytes(&out, &mut back);
        assert_eq!(back, [label, label]);
    }
}
