//! The time index: from which offset on a timestamp may be met.
//!
//! ```text
//! 0                        8               12
//! +------------------------+---------------+----
//! | timestamp (ms)         | rel. offset   | ...     i64 + u32, big endian, ascending timestamps
//! +------------------------+---------------+----
//! ```
//! An entry says that the largest timestamp up to and with the batch that ends at the offset is this one, and is in that
//! batch. The last entry of a closed segment is the largest of the whole segment; `base.timeindex` beside `base.log`.
//!
//! Crash: as the offset index, and mended with it.

use crate::common::ids::{Offset, Timestamp};

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 12;

/// An entry: the largest timestamp so far, and the last offset of the batch that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The largest timestamp so far.
    pub(crate) timestamp: Timestamp,
    /// The last offset of the batch that has it.
    pub(crate) offset: Offset,
}

/// The bytes of an entry.
pub(crate) fn encode(base: Offset, entry: Entry) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    bytes[..8].copy_from_slice(&entry.timestamp.to_be_bytes());
    bytes[8..].copy_from_slice(&((entry.offset - base) as u32).to_be_bytes());
    bytes
}

/// An index's bytes, read as what they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeIndex<'a> {
    base: Offset,
    entries: &'a [[u8; ENTRY_LEN]],
    /// Whether nothing is left behind the last whole entry.
    whole: bool,
}

impl<'a> TimeIndex<'a> {
    /// The whole entries in `bytes`, of the segment that begins at `base`.
    pub(crate) fn new(base: Offset, bytes: &'a [u8]) -> TimeIndex<'a> {
        let (entries, rest) = bytes.as_chunks();
        TimeIndex { base, entries, whole: rest.is_empty() }
    }

    /// All entries, in their order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().map(|bytes| self.decode(bytes))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<Entry> {
        self.entries.last().map(|bytes| self.decode(bytes))
    }

    /// From which offset on to look for the first record at or after `timestamp`: the last entry that is earlier, as
    /// all up to its batch's end are earlier too.
    pub(crate) fn floor(&self, timestamp: Timestamp) -> Offset {
        let after = self.entries.partition_point(|entry| self.decode(entry).timestamp < timestamp);
        self.entries.get(after.wrapping_sub(1)).map_or(self.base, |entry| self.decode(entry).offset)
    }

    /// Whether it is of whole entries, ascending, and speaks of offsets before `next_offset`.
    pub(crate) fn is_sound(&self, next_offset: Offset) -> bool {
        let ascending = self.entries.windows(2).all(|pair| {
            let (before, after) = (self.decode(&pair[0]), self.decode(&pair[1]));
            before.timestamp < after.timestamp && before.offset < after.offset
        });
        self.whole && ascending && self.last().is_none_or(|last| last.offset < next_offset)
    }

    fn decode(&self, bytes: &[u8; ENTRY_LEN]) -> Entry {
        let [t0, t1, t2, t3, t4, t5, t6, t7, o0, o1, o2, o3] = *bytes;
        let offset = self.base + i64::from(u32::from_be_bytes([o0, o1, o2, o3]));
        Entry { timestamp: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(Timestamp, Offset)]) -> Vec<u8> {
        let entry = |(timestamp, offset): &(Timestamp, Offset)| Entry { timestamp: *timestamp, offset: *offset };
        entries.iter().flat_map(|pair| encode(100, entry(pair))).collect()
    }

    #[test]
    fn the_floor_of_a_timestamp_is_the_last_entry_before_it() {
        let bytes = index(&[(10, 104), (20, 110)]);
        let index = TimeIndex::new(100, &bytes);
        assert_eq!([5, 10, 11, 20, 21].map(|timestamp| index.floor(timestamp)), [100, 100, 104, 104, 110]);
        assert_eq!(index.last(), Some(Entry { timestamp: 20, offset: 110 }));
        assert!(!TimeIndex::new(100, &bytes[1..]).is_sound(111));
        assert!(index.is_sound(111) && !index.is_sound(110));
    }

    #[test]
    fn timestamps_that_fall_are_not_sound() {
        assert!(!TimeIndex::new(100, &index(&[(20, 104), (10, 105)])).is_sound(1000));
        assert!(!TimeIndex::new(100, &index(&[(20, 104), (30, 104)])).is_sound(1000));
    }
}
