//! Snappy as Kafka's clients send it: in xerial's framing (Java), or raw (librdkafka).
//!
//! ```text
//! +------------------------------+---------+---------+--------+-----------------+--------+----
//! | 82 'S' 'N' 'A' 'P' 'P' 'Y' 0 | version | compat. | length | raw snappy      | length | ...
//! |                              | i32 1   | i32 1   | i32    | (32 KiB of data)| i32    |
//! +------------------------------+---------+---------+--------+-----------------+--------+----
//! ```
//! The header may come again between blocks, where two streams were put behind each other.

use std::cell::RefCell;

use super::compression::{CompressionError, malformed};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAME_HEADER: usize = 16;
const BLOCK: usize = 32 * 1024;
/// No snappy element gives more than 64 bytes from 3.
const GREATEST_RATIO: usize = 22;

thread_local! {
    static ENCODER: RefCell<snap::raw::Encoder> = RefCell::new(snap::raw::Encoder::new());
}

/// Puts `input` behind what `out` holds, in xerial's framing.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    ENCODER.with_borrow_mut(|encoder| {
        for block in input.chunks(BLOCK) {
            let start = out.len();
            out.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
            let written = encoder.compress(block, &mut out[start + 4..]).map_err(malformed)?;
            out[start..start + 4].copy_from_slice(&(written as i32).to_be_bytes());
            out.truncate(start + 4 + written);
        }
        Ok(())
    })
}

/// Puts `input`, framed or raw, behind what `out` holds; adds at most `limit` bytes.
pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let start = out.len();
    if !input.starts_with(&MAGIC) {
        return decompress_block(input, limit, out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(FRAME_HEADER..).ok_or_else(|| malformed("its xerial header is cut"))?;
            continue;
        }
        let (length, behind) = rest.split_first_chunk().ok_or_else(|| malformed("a block's length is cut"))?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| malformed("a block's length is negative"))?;
        let block = behind.get(..length).ok_or_else(|| malformed("a block ends behind the batch"))?;
        decompress_block(block, limit - (out.len() - start), out).map_err(|error| match error {
            CompressionError::TooLarge { .. } => CompressionError::TooLarge { limit },
            other => other,
        })?;
        rest = &behind[length..];
    }
    Ok(())
}

fn decompress_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let claimed = snap::raw::decompress_len(block).map_err(malformed)?;
    if claimed > limit {
        return Err(CompressionError::TooLarge { limit });
    }
    if claimed > block.len().saturating_mul(GREATEST_RATIO) {
        return Err(malformed("it claims to hold more than it can"));
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(malformed)?;
    out.truncate(start + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_snappy_is_read() {
        let raw = snap::raw::Encoder::new().compress_vec(b"tide tide tide tide tide").unwrap();
        let mut out = Vec::new();
        decompress(&raw, 100, &mut out).unwrap();
        assert_eq!(out, b"tide tide tide tide tide");
    }

    #[test]
    fn two_framed_streams_are_read_as_one() {
        let mut framed = Vec::new();
        compress(b"ebb ", &mut framed).unwrap();
        compress(b"flow", &mut framed).unwrap();
        let mut out = Vec::new();
        decompress(&framed, 8, &mut out).unwrap();
        assert_eq!(out, b"ebb flow");
        out.clear();
        assert_eq!(decompress(&framed, 7, &mut out), Err(CompressionError::TooLarge { limit: 7 }));
    }

    #[test]
    fn a_block_that_claims_too_much_costs_nothing() {
        // 1 GiB, claimed by five bytes.
        let bomb = [0x80, 0x80, 0x80, 0x80, 0x04, 0x00];
        let mut out = Vec::new();
        assert!(matches!(decompress(&bomb, usize::MAX, &mut out), Err(CompressionError::Malformed(_))));
        assert_eq!(out.capacity(), 0);
    }
}
