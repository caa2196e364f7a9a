//! Reading a stream to its end, block by block: for digests and copies of files that do not fit in memory.

use std::io::{self, Read};

const BLOCK_BYTES: usize = 1 << 20;

/// Gives every block of `from` to `each`, in order, and returns how many bytes there were.
pub fn each(from: &mut impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let (mut block, mut bytes) = (vec![0; BLOCK_BYTES], 0);
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                each(&block[..n])?;
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_once_and_in_order() {
        let whole: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|i| (i >> 3) as u8).collect();
        let mut seen = Vec::new();
        let bytes = each(&mut whole.as_slice(), |block| {
            seen.extend_from_slice(block);
            Ok(())
        });
        assert_eq!(bytes.unwrap(), whole.len() as u64);
        assert!(seen == whole);
        assert_eq!(each(&mut io::empty(), |_| panic!("there is none")).unwrap(), 0);
    }

    #[test]
    fn what_the_receiver_cannot_take_ends_it() {
        let refused = each(&mut [1u8; 3].as_slice(), |_| Err(io::Error::other("full")));
        assert_eq!(refused.unwrap_err().to_string(), "full");
    }
}
