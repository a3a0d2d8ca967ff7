//! What can be wrong with a batch.

use crate::common::ids::Offset;

use super::compression::{Codec, CompressionError};

/// Why bytes are not a good batch.
///
/// [`BatchError::Incomplete`] is the one that may mend itself: the bytes end before the batch does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does. `needed` counts from the batch's first byte; while the length field itself
    /// is not all there it is [`super::LOG_OVERHEAD`].
    #[error("the batch is incomplete: it needs {needed} bytes and there are {available}")]
    Incomplete {
        /// How many bytes the batch has in all.
        needed: usize,
        /// How many of them are there.
        available: usize,
    },
    /// The length field is one that no batch can have.
    #[error("the batch at offset {base_offset} says that it is {length} bytes long: it must be at least 49")]
    Length {
        /// The base offset field.
        base_offset: Offset,
        /// The length field.
        length: i32,
    },
    /// The format is not the one that this room reads.
    #[error("the batch at offset {base_offset} has magic {magic}: it must be 2")]
    Magic {
        /// The base offset field.
        base_offset: Offset,
        /// The magic byte.
        magic: i8,
    },
    /// The checksum does not fit the bytes.
    #[error("the batch at offset {base_offset} carries CRC {stored:#010x}, and its bytes give {computed:#010x}")]
    Crc {
        /// The base offset field.
        base_offset: Offset,
        /// What the header says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// The attributes name a codec that does not exist.
    #[error("the batch at offset {base_offset} names codec {codec}: it must be 0 to 4")]
    UnknownCodec {
        /// The base offset field.
        base_offset: Offset,
        /// The codec's bits.
        codec: u8,
    },
    /// The body could not be decompressed or compressed.
    #[error("the {codec} body of the batch at offset {base_offset} is no good: {cause}")]
    Compression {
        /// The base offset field.
        base_offset: Offset,
        /// The codec.
        codec: Codec,
        /// What went wrong.
        cause: CompressionError,
    },
    /// A header field contradicts another, or what the body holds.
    #[error("the batch at offset {base_offset} contradicts itself: {what} is {found}, it must be {expected}")]
    Contradiction {
        /// The base offset field.
        base_offset: Offset,
        /// Which field.
        what: &'static str,
        /// What it says.
        found: i64,
        /// What it must say.
        expected: i64,
    },
    /// A record's bytes do not hold together.
    #[error("record {index} of the batch at offset {base_offset} is malformed: {what}")]
    Record {
        /// The base offset field.
        base_offset: Offset,
        /// Which record, from 0.
        index: i32,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl BatchError {
    /// Whether the bytes themselves are damaged or cut (Kafka's CORRUPT_MESSAGE), rather than whole bytes that say
    /// something wrong (INVALID_RECORD).
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            BatchError::Incomplete { .. }
                | BatchError::Length { .. }
                | BatchError::Magic { .. }
                | BatchError::Crc { .. }
                | BatchError::Compression { .. }
        )
    }
}
