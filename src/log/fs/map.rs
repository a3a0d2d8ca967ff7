//! A file mapped to be read: the one place of the log where memory is not Rust's own.
//!
//! A segment is mapped once, at the size it may grow to; pages past the end of the file are addresses without bytes. So
//! no slice of the whole is ever made: each reader gets a slice of exactly the range that was published to it.

use std::any::Any;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use super::{Kept, Map};

/// A read-only, shared map of a file.
#[derive(Debug)]
pub(super) struct FileMap {
    raw: Arc<MmapRaw>,
}

impl FileMap {
    /// Maps the first `len` bytes of `file`, which may have fewer.
    pub(super) fn new(file: &std::fs::File, len: u64) -> io::Result<FileMap> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let raw = MmapOptions::new().len(len.max(1)).map_raw_read_only(file)?;
        Ok(FileMap { raw: Arc::new(raw) })
    }
}

impl Map for FileMap {
    fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes> {
        let end = start.checked_add(len as u64).filter(|end| *end <= self.len());
        match end {
            Some(_) if len == 0 => Ok(Bytes::new()),
            Some(_) => Ok(Bytes::from_owner(Slice { raw: Arc::clone(&self.raw), start: start as usize, len })),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "a slice past the end of a map")),
        }
    }

    fn kept(&self) -> Option<Kept> {
        let raw: Arc<dyn Any + Send + Sync> = self.raw.clone();
        Some(Arc::downgrade(&raw))
    }
}

/// A published range; keeps the map alive.
struct Slice {
    raw: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Slice {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start + len` lies within the map (`FileMap::slice` checked it) and the map lives as long as `self`.
        // The bytes do not change and do not go away: the caller of `slice` promises that the range was written, the
        // log writes a byte once and never again, and it never shrinks a file below what it published (a truncation
        // makes a new file, a deletion unlinks).
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(self.start), self.len) }
    }
}
