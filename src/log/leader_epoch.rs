//! Which leader wrote from which offset on: `leader-epoch-checkpoint` in the partition's folder.
//!
//! ```text
//! 0          version
//! 2          how many lines follow
//! 0 0        leader epoch, its first offset; both ascending
//! 3 1234
//! ```
//! With it a follower finds where its log parts from its leader's, and a client that its reads were from a log that is
//! gone.
//!
//! Crash: each batch carries its epoch, so the file tells nothing new of what was appended: it is written (beside, then
//! renamed) with the first batch of an epoch, safely when the log is flushed or closed, and what lies behind the recovery
//! point is read again from the batches, which are right where the file says something else.
//! A damaged file is made anew the same way.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::error::{Damage, StorageError};
use super::fs::{Durability, FileSystem, read_file, replace_file};
use crate::common::ids::{LeaderEpoch, Offset};

/// The file's name.
pub const FILE: &str = "leader-epoch-checkpoint";

/// An epoch and its first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub epoch: LeaderEpoch,
    /// The first offset written under it.
    pub start_offset: Offset,
}

/// The epochs of a log, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
    /// Whether the file says something else.
    dirty: bool,
    /// Whether the file may be lost with the power.
    unsynced: bool,
}

impl LeaderEpochs {
    /// No epoch.
    pub fn new() -> LeaderEpochs {
        LeaderEpochs::default()
    }

    /// Takes note that `epoch` writes from `start_offset` on. An epoch that is known already, or is behind the latest,
    /// or unknown (-1), changes nothing.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) {
        if epoch < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return;
        }
        // A leader that wrote nothing leaves no trace.
        self.entries.retain(|entry| entry.start_offset < start_offset);
        self.entries.push(EpochEntry { epoch, start_offset });
        self.dirty = true;
    }

    /// Takes note of a batch that recovery finds: epochs above its own that begin at it or before are of a leader whose records
    /// were cut off since the file was written.
    pub(crate) fn found(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if self.epoch_for(offset).is_some_and(|told| epoch >= 0 && told > epoch) {
            self.entries.retain(|entry| entry.epoch <= epoch || entry.start_offset > offset);
            self.dirty = true;
        }
        self.assign(epoch, offset);
    }

    /// The latest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The epoch under which `offset` was written.
    pub fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(after.wrapping_sub(1)).map(|entry| entry.epoch)
    }

    /// The largest known epoch that is at most `epoch`, and the offset behind its last record; (-1, -1) where there is
    /// none, as Kafka answers OffsetForLeaderEpoch.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end_offset: Offset) -> (LeaderEpoch, Offset) {
        if epoch < 0 {
            return (-1, -1);
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end_offset);
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match (self.entries.get(after), self.entries.get(after.wrapping_sub(1))) {
            // An epoch of the future.
            (None, _) => (-1, -1),
            // One before all that are known: it ended where they begin.
            (Some(higher), None) => (epoch, higher.start_offset),
            (Some(higher), Some(floor)) => (floor.epoch, higher.start_offset),
        }
    }

    /// Forgets what begins at `offset` or behind it.
    pub fn truncate_from_end(&mut self, offset: Offset) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < offset);
        self.dirty |= self.entries.len() != before;
    }

    /// Forgets what ended before `offset`; the epoch that holds it begins there now.
    pub fn truncate_from_start(&mut self, offset: Offset) {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        if let Some(last) = after.checked_sub(1) {
            self.dirty |= last > 0 || self.entries[last].start_offset != offset;
            self.entries.drain(..last);
            self.entries[0].start_offset = offset;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.dirty |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }

    /// Reads the file's text.
    pub fn decode(text: &[u8]) -> Result<LeaderEpochs, Damage> {
        let mut epochs = LeaderEpochs::new();
        for line in checkpoint::lines(text)? {
            let pair = line.split_once(' ').map(|(epoch, offset)| (epoch.parse(), offset.parse()));
            let Some((Ok(epoch), Ok(start_offset))) = pair else {
                return Err(Damage(format!("{line:?} is not \"epoch offset\"")));
            };
            let entry = EpochEntry { epoch, start_offset };
            let ascends = |last: &EpochEntry| last.epoch < entry.epoch && last.start_offset <= entry.start_offset;
            if epoch < 0 || start_offset < 0 || !epochs.entries.last().is_none_or(ascends) {
                return Err(Damage(format!("{line:?} does not ascend")));
            }
            epochs.entries.push(entry);
        }
        Ok(epochs)
    }

    /// Reads the file in the partition's folder `dir`, `None` where there is none.
    pub(crate) fn load(fs: &dyn FileSystem, dir: &Path) -> Result<Option<LeaderEpochs>, StorageError> {
        let path = path(dir);
        match read_file(fs, &path, checkpoint::MAX_LEN).map_err(StorageError::io("reading", &path))? {
            None => Ok(None),
            Some(text) => {
                LeaderEpochs::decode(&text).map(Some).map_err(|damage| StorageError::Damaged { path, damage })
            }
        }
    }

    /// Takes note that whoever wrote the file ended before it was known to be safe.
    pub(crate) fn not_known_to_be_safe(&mut self) {
        self.unsynced = true;
    }

    /// Writes the file if it says something else, or is to be safe and may not be.
    pub(crate) fn flush(&mut self, fs: &dyn FileSystem, dir: &Path, sync: Durability) -> Result<(), StorageError> {
        let is_to_be_safe = sync == Durability::Synced;
        if self.dirty || is_to_be_safe && self.unsynced {
            let path = path(dir);
            replace_file(fs, &path, self.encode().as_bytes(), sync).map_err(StorageError::io("writing", &path))?;
            (self.dirty, self.unsynced) = (false, !is_to_be_safe);
        }
        Ok(())
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(LeaderEpoch, Offset)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        entries.iter().for_each(|(epoch, offset)| epochs.assign(*epoch, *offset));
        epochs
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(LeaderEpoch, Offset)> {
        epochs.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(1, 0), (3, 10), (4, 20)]);
        let ends = [-1, 0, 1, 2, 3, 4, 5].map(|epoch| epochs.end_offset_for(epoch, 25));
        assert_eq!(ends, [(-1, -1), (0, 0), (1, 10), (1, 10), (3, 20), (4, 25), (-1, -1)]);
        assert_eq!([0, 9, 10, 99].map(|offset| epochs.epoch_for(offset)), [Some(1), Some(1), Some(3), Some(4)]);
    }

    #[test]
    fn what_a_batch_tells_is_right() {
        let mut told = epochs(&[(1, 0), (2, 8), (3, 20)]);
        told.found(1, 4);
        told.found(2, 12);
        told.found(-1, 13);
        assert_eq!(pairs(&told), [(1, 0), (2, 8), (3, 20)]);
        told.found(1, 10);
        assert_eq!(pairs(&told), [(1, 0), (3, 20)]);
        told.found(4, 30);
        assert_eq!(pairs(&told), [(1, 0), (3, 20), (4, 30)]);
    }

    #[test]
    fn a_leader_that_wrote_nothing_leaves_no_trace() {
        assert_eq!(pairs(&epochs(&[(1, 0), (2, 10), (3, 10), (2, 11), (-1, 12)])), [(1, 0), (3, 10)]);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut cut = epochs(&[(1, 0), (3, 10), (4, 20)]);
        cut.truncate_from_end(20);
        assert_eq!(pairs(&cut), [(1, 0), (3, 10)]);
        cut.truncate_from_start(12);
        assert_eq!(pairs(&cut), [(3, 12)]);
        cut.truncate_from_start(5);
        assert_eq!(pairs(&cut), [(3, 12)]);
    }

    #[test]
    fn the_text_survives_and_damage_is_told() {
        let whole = epochs(&[(0, 0), (3, 1234)]);
        assert_eq!(whole.encode(), "0\n2\n0 0\n3 1234\n");
        assert_eq!(pairs(&LeaderEpochs::decode(whole.encode().as_bytes()).unwrap()), pairs(&whole));
        for text in ["0", "0\n1\n", "0\n2\n3 0\n1 5\n", "0\n1\nx 5\n", "0\n1\n-1 5\n"] {
            assert!(LeaderEpochs::decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
