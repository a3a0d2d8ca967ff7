//! The transaction index: the aborted transactions that end in a segment, in `base.txnindex`.
//!
//! ```text
//! 0         2              10             18            26                    34
//! +---------+--------------+--------------+-------------+---------------------+
//! | i16 = 0 | producer id  | first offset | last offset | last stable offset  | ...    big endian
//! +---------+--------------+--------------+-------------+---------------------+
//! ```
//! The last offset is that of the abort marker; the last stable offset is what it was once the marker was there. Entries
//! ascend by last offset. A segment in which no transaction was aborted has no file.
//!
//! Crash: an entry is written when its marker is; behind the recovery point the file is made anew from the markers.

use std::io::IoSlice;
use std::path::Path;

use super::error::{Damage, StorageError};
use super::fs::handles::Handles;
use super::fs::{Durability, OpenMode, read_file, remove_if_there, replace_file};
use super::producer_state::CompletedTxn;
use super::segment::{self, TXN_INDEX};
use crate::common::ids::{Offset, ProducerId};

const ENTRY_LEN: usize = 34;
const VERSION: i16 = 0;
const MAX_LEN: usize = 256 << 20;

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first offset.
    pub first_offset: Offset,
    /// The offset of the marker that aborted it.
    pub last_offset: Offset,
    /// The last stable offset once it was aborted.
    pub last_stable_offset: Offset,
}

impl AbortedTxn {
    /// What is kept of a transaction that was aborted.
    pub fn new(done: CompletedTxn, last_stable_offset: Offset) -> AbortedTxn {
        let CompletedTxn { producer_id, first_offset, last_offset, .. } = done;
        AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset }
    }

    /// The bytes of an entry.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (chunk, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}

/// Reads a file's entries.
pub fn decode(bytes: &[u8]) -> Result<Vec<AbortedTxn>, Damage> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() {
        return Err(Damage(format!("{} bytes behind the last entry", rest.len())));
    }
    let mut all: Vec<AbortedTxn> = Vec::with_capacity(entries.len());
    for entry in entries {
        let [v0, v1, fields @ ..] = entry;
        let version = i16::from_be_bytes([*v0, *v1]);
        let mut fields = fields.as_chunks::<8>().0.iter().map(|field| i64::from_be_bytes(*field));
        let mut field = || fields.next().unwrap_or(-1);
        let (producer_id, first_offset, last_offset, last_stable_offset) = (field(), field(), field(), field());
        if version != VERSION || all.last().is_some_and(|last| last.last_offset >= last_offset) {
            return Err(Damage(format!("version {version} and last offset {last_offset} do not follow")));
        }
        all.push(AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset });
    }
    Ok(all)
}

/// Adds an entry to the file of the segment at `base`.
pub(crate) fn append(handles: &Handles, dir: &Path, base: Offset, aborted: &AbortedTxn) -> Result<(), StorageError> {
    let path = segment::path(dir, base, TXN_INDEX);
    let write = || {
        let file = handles.fs().open(&path, OpenMode::Create)?;
        file.write_at(file.len()?, &mut [IoSlice::new(&aborted.encode())])
    };
    write().map_err(StorageError::io("appending to", &path))
}

/// Gives the segment at `base` a file with these entries, or none.
pub(crate) fn replace(handles: &Handles, dir: &Path, base: Offset, entries: &[AbortedTxn]) -> Result<(), StorageError> {
    let (fs, path) = (handles.fs().as_ref(), segment::path(dir, base, TXN_INDEX));
    let bytes: Vec<u8> = entries.iter().flat_map(AbortedTxn::encode).collect();
    match bytes.is_empty() {
        true => remove_if_there(fs, &path).map_err(StorageError::io("removing", &path)),
        false => replace_file(fs, &path, &bytes, Durability::Synced).map_err(StorageError::io("writing", &path)),
    }
}

/// The entries of the segment at `base`; none where there is no file.
pub(crate) fn load(handles: &Handles, dir: &Path, base: Offset) -> Result<Vec<AbortedTxn>, StorageError> {
    let path = segment::path(dir, base, TXN_INDEX);
    match read_file(handles.fs().as_ref(), &path, MAX_LEN).map_err(StorageError::io("reading", &path))? {
        None => Ok(Vec::new()),
        Some(bytes) => decode(&bytes).map_err(|damage| StorageError::Damaged { path, damage }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_damage_is_told() {
        let entry = |last_offset| AbortedTxn { producer_id: 7, first_offset: 1, last_offset, last_stable_offset: 9 };
        let bytes = [entry(5).encode(), entry(8).encode()].concat();
        assert_eq!(decode(&bytes).unwrap(), [entry(5), entry(8)]);
        assert!(decode(&bytes[..40]).is_err());
        assert!(decode(&[entry(8).encode(), entry(5).encode()].concat()).is_err());
    }
}
