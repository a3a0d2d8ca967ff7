//! Reading a frame: a position that only moves forward and never past the end.

use std::mem::size_of;

use bytes::Bytes;

use crate::common::ids::Uuid;

use super::{Place, Str, Version, Versions};

/// What decoded arrays may take in memory, for each byte of the frame.
///
/// Measured over all messages, an honest item grows about sixfold (a short topic name becomes a struct that holds a
/// slice). An array of empty strings would grow thirtyfold; that is what the limit is for.
const MEMORY_PER_BYTE: usize = 16;
/// What decoded arrays may take in any case.
const MEMORY_BASE: usize = 1 << 20;
/// The most that is allocated on the strength of an array's count alone.
const TRUSTED_BYTES: usize = 1 << 20;
/// The longest string, in either form.
const MAX_STRING: usize = i16::MAX as usize;

/// Why bytes are not the message they should be: where, and what was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{place} at byte {position}: {problem}")]
pub struct DecodeError {
    /// The field that was being read.
    pub place: &'static Place,
    /// Where in the frame, in bytes from its start.
    pub position: usize,
    /// What was wrong.
    pub problem: DecodeProblem,
}

/// What can be wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The frame ends inside the value.
    #[error("needs {needed} bytes, but only {remaining} are left")]
    Truncated {
        /// How many bytes the value needs.
        needed: usize,
        /// How many there are.
        remaining: usize,
    },
    /// A null where none may stand.
    #[error("is null, which version {0} does not allow")]
    UnexpectedNull(i16),
    /// A string that is too long.
    #[error("the string has {0} bytes: it must have at most 32767")]
    StringTooLong(usize),
    /// A count that the bytes left cannot hold.
    #[error("the count is {count}, but the {remaining} bytes left can hold at most {most}")]
    CountTooHigh {
        /// The count in the frame.
        count: usize,
        /// How many bytes are left.
        remaining: usize,
        /// How many items fit in them.
        most: usize,
    },
    /// Arrays that would take far more memory than the frame.
    #[error("{count} items would take more memory than a frame of {frame} bytes may ask for")]
    TooMuchMemory {
        /// The count in the frame.
        count: usize,
        /// The frame's length.
        frame: usize,
    },
    /// A uvarint of more than 32 bits.
    #[error("the uvarint has more than 32 bits")]
    VarintTooLong,
    /// A tagged field with bytes behind its value.
    #[error("tagged field {tag} has {left} bytes behind its value")]
    TaggedFieldTooLong {
        /// The field's tag.
        tag: u32,
        /// How many bytes are left over.
        left: usize,
    },
    /// A version that the message does not have.
    #[error("version {version} is not one of {supported}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The versions there are.
        supported: Versions,
    },
    /// An API that is not in the table.
    #[error("API key {0} is not known")]
    UnknownApi(i16),
    /// Bytes behind the message.
    #[error("{0} bytes are left behind the message")]
    TrailingBytes(usize),
}

/// Walks over one frame.
///
/// What it gives out (strings, bytes, records) are slices of the frame, which stays in memory as long as one of them.
#[derive(Debug)]
pub struct Decoder {
    frame: Bytes,
    position: usize,
    end: usize,
    memory: usize,
    place: &'static Place,
}

impl Decoder {
    /// Stands at the start of `frame`.
    pub fn new(frame: Bytes) -> Decoder {
        let end = frame.len();
        let memory = MEMORY_BASE.saturating_add(end.saturating_mul(MEMORY_PER_BYTE));
        Decoder { frame, position: 0, end, memory, place: Place::START }
    }

    /// How many bytes lie behind, from the frame's start.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes may still be read.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Says which field comes next, for errors.
    #[inline(always)]
    pub fn at(&mut self, place: &'static Place) {
        self.place = place;
    }

    /// The error `problem`, here.
    #[cold]
    pub fn error(&self, problem: DecodeProblem) -> DecodeError {
        DecodeError { place: self.place, position: self.position, problem }
    }

    /// Demands that nothing is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeProblem::TrailingBytes(left))),
        }
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.position..self.end);
        self.position = self.end;
        rest
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let remaining = self.remaining();
        if len > remaining {
            return Err(self.error(DecodeProblem::Truncated { needed: len, remaining }));
        }
        let start = self.position;
        self.position += len;
        Ok(&self.frame[start..start + len])
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// The next `len` bytes, as a slice of the frame.
    pub fn slice(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(len)?;
        Ok(self.frame.slice(start..start + len))
    }

    /// One byte; all but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// One byte, signed.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Two bytes.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, signed.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Eight bytes, IEEE 754.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.array().map(f64::from_be_bytes)
    }

    /// Sixteen bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array().map(Uuid)
    }

    /// An unsigned varint of at most five bytes.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.array::<1>()?[0];
            if shift == 28 && byte > 0x0f {
                return Err(self.error(DecodeProblem::VarintTooLong));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A length: `None` is null, which any negative one means, as in Apache Kafka.
    fn len(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        let len = if short { i32::from(self.i16()?) } else { self.i32()? };
        Ok(usize::try_from(len).ok())
    }

    /// A string or null. What is not UTF-8 in it becomes U+FFFD, as in Apache Kafka.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        let Some(len) = self.len(flexible, true)? else { return Ok(None) };
        if len > MAX_STRING {
            return Err(self.error(DecodeProblem::StringTooLong(len)));
        }
        self.slice(len).map(|bytes| Some(Str::from_utf8_lossy(bytes)))
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.len(flexible, false)? else { return Ok(None) };
        self.slice(len).map(Some)
    }

    /// An array's count or null, held against the bytes left (an item takes at least `min_len`) and against the memory
    /// that this frame may ask for. Gives the count and how many items to make room for at once.
    pub(super) fn nullable_count<T>(
        &mut self,
        flexible: bool,
        min_len: usize,
    ) -> Result<Option<(usize, usize)>, DecodeError> {
        let Some(count) = self.len(flexible, false)? else { return Ok(None) };
        let remaining = self.remaining();
        let most = remaining / min_len.max(1);
        if count > most {
            return Err(self.error(DecodeProblem::CountTooHigh { count, remaining, most }));
        }
        match self.memory.checked_sub(count.saturating_mul(size_of::<T>())) {
            Some(memory) => self.memory = memory,
            None => return Err(self.error(DecodeProblem::TooMuchMemory { count, frame: self.frame.len() })),
        }
        Ok(Some((count, count.min(TRUSTED_BYTES / size_of::<T>().max(1)))))
    }

    /// What stands for null where `version` allows none.
    #[cold]
    pub(super) fn null(&self, version: Version) -> DecodeError {
        self.error(DecodeProblem::UnexpectedNull(version.number))
    }

    /// The tagged fields at the end of a struct. `known` is called with each tag, reads the value if it knows the tag,
    /// and says whether it did; unknown ones are skipped.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Decoder, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint()?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let remaining = self.remaining();
            if size > remaining {
                return Err(self.error(DecodeProblem::Truncated { needed: size, remaining }));
            }
            let outer = std::mem::replace(&mut self.end, self.position + size);
            let end = self.end;
            if known(self, tag)? && self.position != end {
                let left = end - self.position;
                return Err(self.error(DecodeProblem::TaggedFieldTooLong { tag, left }));
            }
            self.position = end;
            self.end = outer;
        }
        Ok(())
    }

    /// Skips the tagged fields at the end of a struct that knows none.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }
}
