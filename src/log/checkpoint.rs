//! Checkpoints: small text files that give an offset for each partition of a log dir.
//!
//! ```text
//! 0                    version
//! 2                    how many lines follow
//! flights 0 1234       topic, partition, offset
//! flights 1 99
//! ```
//! One format, four files at the log dir's root: `recovery-point-offset-checkpoint` (what is before it was synced),
//! `replication-offset-checkpoint` (the high watermark), `log-start-offset-checkpoint` (where a log begins that
//! delete-records cut inside a segment) and `cleaner-offset-checkpoint` (up to where a log is compacted).
//!
//! Crash: a file is replaced as a whole (written beside, synced, renamed), so the old one or the new one is there. A
//! damaged one is told and taken for empty: every log is then scanned from its begin, which costs time and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::error::{Damage, StorageError};
use super::fs::{Durability, FileSystem, read_file, replace_file};
use crate::common::ids::{Offset, TopicPartition};

/// What is before it was synced.
pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
/// High watermarks.
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
/// Where logs begin.
pub const LOG_START: &str = "log-start-offset-checkpoint";
/// Up to where logs are compacted.
pub const CLEANER: &str = "cleaner-offset-checkpoint";

/// The largest checkpoint that is read.
pub(crate) const MAX_LEN: usize = 256 << 20;

/// An offset for each partition.
pub type Offsets = BTreeMap<TopicPartition, Offset>;

/// The text of a checkpoint.
pub fn encode(offsets: &Offsets) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    text
}

/// Reads a checkpoint's text.
pub fn decode(text: &[u8]) -> Result<Offsets, Damage> {
    let mut offsets = Offsets::new();
    for line in lines(text)? {
        let mut words = line.split_ascii_whitespace();
        let entry = (|| {
            let partition = TopicPartition::new(words.next()?, words.next()?.parse().ok()?);
            Some((partition, words.next()?.parse().ok()?)).filter(|_| words.next().is_none())
        })();
        match entry {
            Some((partition, offset)) => offsets.insert(partition, offset),
            None => return Err(Damage(format!("{line:?} is not \"topic partition offset\""))),
        };
    }
    Ok(offsets)
}

/// The lines behind the version and the count, which must match. Shared with the leader epoch checkpoint.
pub(super) fn lines(text: &[u8]) -> Result<Vec<&str>, Damage> {
    let text = std::str::from_utf8(text).map_err(|_| Damage("not a text".to_owned()))?;
    // Kafka makes its checkpoints empty.
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = text.lines();
    match lines.next() {
        Some("0") => {}
        version => return Err(Damage(format!("version {:?}, \"0\" is known", version.unwrap_or("")))),
    }
    let told = lines.next().unwrap_or("");
    let lines: Vec<_> = lines.collect();
    match told.parse::<usize>() {
        Ok(count) if count == lines.len() => Ok(lines),
        _ => Err(Damage(format!("{} lines, {told:?} were told", lines.len()))),
    }
}

/// Reads the checkpoint `name` of the log dir `root`; none there is an empty one.
pub fn read(fs: &dyn FileSystem, root: &Path, name: &str) -> Result<Offsets, StorageError> {
    let path = root.join(name);
    match read_file(fs, &path, MAX_LEN).map_err(StorageError::io("reading", &path))? {
        None => Ok(Offsets::new()),
        Some(text) => decode(&text).map_err(|damage| StorageError::Damaged { path, damage }),
    }
}

/// Replaces the checkpoint `name` of the log dir `root`, synced.
pub fn write(fs: &dyn FileSystem, root: &Path, name: &str, offsets: &Offsets) -> Result<(), StorageError> {
    let path = root.join(name);
    replace_file(fs, &path, encode(offsets).as_bytes(), Durability::Synced).map_err(StorageError::io("writing", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fs::RealFs;
    use proptest::prelude::*;

    #[test]
    fn a_checkpoint_is_kafkas_text() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::from([
            (TopicPartition::new("flights", 1), 99),
            (TopicPartition::new("__consumer_offsets", 0), 1 << 40),
        ]);
        assert_eq!(read(&RealFs, dir.path(), LOG_START).unwrap(), Offsets::new());
        write(&RealFs, dir.path(), LOG_START, &offsets).unwrap();
        let text = std::fs::read_to_string(dir.path().join(LOG_START)).unwrap();
        assert_eq!(text, "0\n2\n__consumer_offsets 0 1099511627776\nflights 1 99\n");
        assert_eq!(read(&RealFs, dir.path(), LOG_START).unwrap(), offsets);
    }

    #[test]
    fn what_does_not_add_up_is_told() {
        let text = |text: &str| decode(text.as_bytes()).unwrap_err().to_string();
        assert!(text("1\n0\n").contains("version \"1\""));
        assert!(text("0\n2\na 0 1\n").contains("1 lines, \"2\""));
        assert!(text("0\n1\na b 1\n").contains("\"a b 1\""));
        assert!(text("\n").contains("version"));
        assert_eq!(decode(b"").unwrap(), Offsets::new());
    }

    proptest! {
        #[test]
        fn random_texts_never_panic(text in "[0-9a \n-]{0,60}") {
            let _ = decode(text.as_bytes());
        }
    }
}
