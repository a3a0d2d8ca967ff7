//! Writing a frame: small things are copied, large ones spliced in.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::common::ids::Uuid;

use super::{Place, Version, Versions, Wire};

/// From this length on bytes are spliced in and not copied. Below it a copy costs less than one more chunk to write.
const SPLICE: usize = 4096;
/// What is made room for behind spliced bytes: about what stands between the records of two partitions.
const ROOM: usize = 128;
/// The longest string, in either form.
const MAX_STRING: usize = i16::MAX as usize;

/// Why a message cannot be spoken in a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct EncodeError {
    /// The field that was being written.
    pub place: &'static Place,
    /// What was wrong.
    pub problem: EncodeProblem,
}

/// What can be wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeProblem {
    /// The field says something that this version cannot say.
    #[error("holds a value that version {0} cannot carry")]
    NotInVersion(i16),
    /// A null where none may stand.
    #[error("is null, which version {0} does not allow")]
    UnexpectedNull(i16),
    /// A string that is too long.
    #[error("the string has {0} bytes: it must have at most 32767")]
    StringTooLong(usize),
    /// More bytes or items than a length can say.
    #[error("the length is {0}: it must be at most 2147483646")]
    TooLong(usize),
    /// A version that the message does not have.
    #[error("version {version} is not one of {supported}")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The versions there are.
        supported: Versions,
    },
}

/// Gathers a message's bytes.
///
/// ```text
/// first: [ size?, small things ]   done: [ spliced records ] [ small things ] [ spliced ] ...   head: [ growing ]
/// ```
/// `first` is what `head` was when the first bytes were spliced; it stays open, so that the size can be filled in.
#[derive(Debug)]
pub struct Encoder {
    first: Vec<u8>,
    done: VecDeque<Bytes>,
    done_len: usize,
    head: Vec<u8>,
    place: &'static Place,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { first: Vec::new(), done: VecDeque::new(), done_len: 0, head: Vec::new(), place: Place::START }
    }
}

impl Encoder {
    /// Empty; nothing is allocated before the first byte.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Begins a frame that crosses a connection: four bytes are kept free for its size. Ends with
    /// [`Encoder::finish_frame`].
    pub(in crate::protocol) fn begin_frame(capacity: usize) -> Encoder {
        let mut head = Vec::with_capacity(capacity);
        head.extend_from_slice(&[0; 4]);
        Encoder { head, ..Encoder::default() }
    }

    /// Ends what [`Encoder::begin_frame`] began: the size is what stands behind it.
    pub(in crate::protocol) fn finish_frame(mut self) -> Result<Frame, EncodeError> {
        let len = self.len() - 4;
        let Ok(size) = i32::try_from(len) else { return Err(self.error(EncodeProblem::TooLong(len))) };
        let start = if self.first.is_empty() { &mut self.head } else { &mut self.first };
        start[..4].copy_from_slice(&size.to_be_bytes());
        Ok(self.finish())
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.first.len() + self.done_len + self.head.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says which field comes next, for errors.
    #[inline(always)]
    pub fn at(&mut self, place: &'static Place) {
        self.place = place;
    }

    /// The error `problem`, here.
    #[cold]
    pub fn error(&self, problem: EncodeProblem) -> EncodeError {
        EncodeError { place: self.place, problem }
    }

    /// What was written.
    pub fn finish(mut self) -> Frame {
        let len = self.len();
        if !self.first.is_empty() {
            self.done.push_front(Bytes::from(self.first));
        }
        if !self.head.is_empty() {
            self.done.push_back(Bytes::from(self.head));
        }
        Frame { chunks: self.done, len }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
    }

    /// The bytes as they are: copied if few, spliced in if many.
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE {
            return self.put(bytes);
        }
        if !self.head.is_empty() {
            let head = std::mem::replace(&mut self.head, Vec::with_capacity(ROOM));
            if self.is_empty() {
                self.first = head;
            } else {
                self.done_len += head.len();
                self.done.push_back(Bytes::from(head));
            }
        }
        self.done_len += bytes.len();
        self.done.push_back(bytes.clone());
    }

    fn append(&mut self, other: Encoder) {
        self.put(&other.first);
        for chunk in &other.done {
            self.splice(chunk);
        }
        self.put(&other.head);
    }

    /// One byte, 1 or 0.
    pub fn bool(&mut self, value: bool) {
        self.head.push(u8::from(value));
    }

    /// One byte.
    pub fn i8(&mut self, value: i8) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) {
        self.put(&value.to_be_bytes());
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self, value: f64) {
        self.put(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.put(&value.0);
    }

    /// An unsigned varint.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.head.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.push(value as u8);
    }

    /// A length; `None` is null.
    pub(super) fn put_len(&mut self, len: Option<usize>, flexible: bool, short: bool) -> Result<(), EncodeError> {
        if let Some(len) = len {
            if short && len > MAX_STRING {
                return Err(self.error(EncodeProblem::StringTooLong(len)));
            }
            if len >= i32::MAX as usize {
                return Err(self.error(EncodeProblem::TooLong(len)));
            }
        }
        match (flexible, short) {
            (true, _) => self.uvarint(len.map_or(0, |len| len as u32 + 1)),
            (false, true) => self.i16(len.map_or(-1, |len| len as i16)),
            (false, false) => self.i32(len.map_or(-1, |len| len as i32)),
        }
        Ok(())
    }

    /// A string or null.
    pub fn nullable_string(&mut self, value: Option<&str>, flexible: bool) -> Result<(), EncodeError> {
        self.put_len(value.map(str::len), flexible, true)?;
        self.put(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Bytes or null.
    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result<(), EncodeError> {
        self.put_len(value.map(Bytes::len), flexible, false)?;
        if let Some(bytes) = value {
            self.splice(bytes);
        }
        Ok(())
    }

    /// What stands for null where `version` allows none.
    #[cold]
    pub(super) fn null(&self, version: Version) -> EncodeError {
        self.error(EncodeProblem::UnexpectedNull(version.number))
    }
}

/// The tagged fields at the end of one struct, gathered so that each can be preceded by its size.
#[derive(Debug, Default)]
pub struct Tags {
    count: u32,
    fields: Encoder,
}

impl Tags {
    /// None yet; nothing is allocated before the first.
    pub fn new() -> Tags {
        Tags::default()
    }

    /// Adds `value` under `tag`. Tags must rise.
    pub fn put<T: Wire>(
        &mut self,
        place: &'static Place,
        tag: u32,
        value: &T,
        version: Version,
    ) -> Result<(), EncodeError> {
        let mut one = Encoder::new();
        one.at(place);
        value.write(&mut one, version)?;
        self.fields.uvarint(tag);
        self.fields.uvarint(one.len() as u32);
        self.fields.append(one);
        self.count += 1;
        Ok(())
    }

    /// Writes them all.
    pub fn finish(self, encoder: &mut Encoder) {
        encoder.uvarint(self.count);
        encoder.append(self.fields);
    }
}

/// Bytes ready to be sent: few chunks, to be written with one vectored write (it is a [`Buf`]).
#[derive(Debug, Clone, Default)]
pub struct Frame {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Frame {
    /// A frame of what stands behind its size: a reply, say, that came from elsewhere.
    ///
    /// # Panics
    /// Where that is 2 GiB or more; no frame that was read is.
    pub fn sized(content: Bytes) -> Frame {
        #[allow(clippy::expect_used)]
        let size = i32::try_from(content.len()).expect("a frame is smaller than 2 GiB");
        let len = content.len() + 4;
        Frame { chunks: [Bytes::copy_from_slice(&size.to_be_bytes()), content].into(), len }
    }

    /// How many bytes are left to send.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all was sent.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks that are left.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.chunks.iter()
    }

    /// All in one piece; copies if there is more than one chunk.
    pub fn into_bytes(mut self) -> Bytes {
        match self.chunks.len() {
            1 => self.chunks.pop_front().unwrap_or_default(),
            _ => self.copy_to_bytes(self.len),
        }
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advanced by {count} in a frame with {} bytes left", self.len);
        self.len -= count;
        while let Some(front) = self.chunks.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chunks.pop_front();
        }
    }
}
