//! The offset index: where in the segment an offset lies, within `index.interval.bytes`.
//!
//! ```text
//! 0               4           8
//! +---------------+-----------+----
//! | rel. offset   | position  | ...     u32 + u32, big endian, ascending in both
//! +---------------+-----------+----
//! ```
//! An entry names the *last* offset of a batch, less the segment's base offset, and where in the file that batch begins;
//! `base.index` beside `base.log`.
//!
//! Crash: the file is written when the segment is flushed, rolled or closed; before that its entries are in memory only.
//! What a crash leaves may lack entries or end in garbage. Behind the recovery point the segment is scanned and the index
//! made anew; in front of it the index was synced first. One that is missing, or is not ascending within its segment,
//! is made anew when it is first used.

use crate::common::ids::Offset;

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 8;

/// An entry: the last offset of a batch, and where the batch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The last offset of the batch.
    pub(crate) offset: Offset,
    /// Where in the segment it begins.
    pub(crate) position: u32,
}

/// The bytes of an entry.
pub(crate) fn encode(base: Offset, entry: Entry) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    bytes[..4].copy_from_slice(&((entry.offset - base) as u32).to_be_bytes());
    bytes[4..].copy_from_slice(&entry.position.to_be_bytes());
    bytes
}

/// An index's bytes, read as what they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OffsetIndex<'a> {
    base: Offset,
    entries: &'a [[u8; ENTRY_LEN]],
    /// Whether nothing is left behind the last whole entry.
    whole: bool,
}

impl<'a> OffsetIndex<'a> {
    /// The whole entries in `bytes`, of the segment that begins at `base`.
    pub(crate) fn new(base: Offset, bytes: &'a [u8]) -> OffsetIndex<'a> {
        let (entries, rest) = bytes.as_chunks();
        OffsetIndex { base, entries, whole: rest.is_empty() }
    }

    /// All entries, in their order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().map(|bytes| self.decode(bytes))
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<Entry> {
        self.get(self.entries.len().wrapping_sub(1))
    }

    /// The entry at `index`.
    fn get(&self, index: usize) -> Option<Entry> {
        self.entries.get(index).map(|bytes| self.decode(bytes))
    }

    fn decode(&self, bytes: &[u8; ENTRY_LEN]) -> Entry {
        let [o0, o1, o2, o3, p0, p1, p2, p3] = *bytes;
        let offset = self.base + i64::from(u32::from_be_bytes([o0, o1, o2, o3]));
        Entry { offset, position: u32::from_be_bytes([p0, p1, p2, p3]) }
    }

    /// Where to begin to look for `offset`: the batch of the last entry at or before it, or the segment's begin.
    pub(crate) fn floor(&self, offset: Offset) -> u32 {
        let after = self.entries.partition_point(|entry| self.decode(entry).offset <= offset);
        self.get(after.wrapping_sub(1)).map_or(0, |entry| entry.position)
    }

    /// The largest position that an entry knows to be the begin of a batch and that is at most `position`.
    pub(crate) fn floor_position(&self, position: u32) -> u32 {
        let after = self.entries.partition_point(|entry| self.decode(entry).position <= position);
        self.get(after.wrapping_sub(1)).map_or(0, |entry| entry.position)
    }

    /// Whether it is of whole entries, ascending, and points into a segment of `segment_len` bytes.
    pub(crate) fn is_sound(&self, segment_len: u64) -> bool {
        let ascending = self.entries.windows(2).all(|pair| {
            let (before, after) = (self.decode(&pair[0]), self.decode(&pair[1]));
            before.offset < after.offset && before.position < after.position
        });
        self.whole
            && ascending
            && self.entries.last().is_none_or(|last| u64::from(self.decode(last).position) < segment_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(Offset, u32)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(offset, position)| encode(100, Entry { offset: *offset, position: *position }))
            .collect()
    }

    #[test]
    fn the_floor_of_an_offset_is_the_last_entry_at_or_before_it() {
        let bytes = index(&[(104, 0), (110, 5000), (190, 9000)]);
        let index = OffsetIndex::new(100, &bytes);
        assert_eq!([100, 104, 109, 110, 500].map(|offset| index.floor(offset)), [0, 0, 0, 5000, 9000]);
        assert_eq!([0, 4999, 5000, 20_000].map(|position| index.floor_position(position)), [0, 0, 5000, 9000]);
    }

    #[test]
    fn an_index_that_falls_or_points_outside_is_not_sound() {
        let sound = |entries: &[(Offset, u32)]| OffsetIndex::new(100, &index(entries)).is_sound(6000);
        assert!(sound(&[]) && sound(&[(104, 10), (105, 5999)]));
        // What is pushed behind half an entry would be read across its border.
        assert!(!OffsetIndex::new(100, &[0]).is_sound(6000));
        assert!(
            !sound(&[(104, 10), (105, 6000)]) && !sound(&[(104, 10), (104, 20)]) && !sound(&[(104, 10), (105, 10)])
        );
    }
}
