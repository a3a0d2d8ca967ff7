//! `partition.metadata`: the id of the topic that a partition's folder belongs to.
//!
//! ```text
//! version: 0
//! topic_id: MkU3OEVBNTcwNTJENDM2Qg
//! ```
//! A folder whose id is not the one the cluster knows under that name is of a topic that was deleted and made again.
//!
//! Crash: written beside and renamed, not synced: the id is the cluster's, the file only repeats it. Empty or missing, it
//! is written again.

use std::path::Path;

use super::error::{Damage, StorageError};
use super::fs::{Durability, FileSystem, read_file, replace_file};
use crate::common::ids::Uuid;

/// The file's name.
pub const FILE: &str = "partition.metadata";

/// The file's text.
pub fn encode(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Reads the file's text.
pub fn decode(text: &[u8]) -> Result<Uuid, Damage> {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    match (value("version"), value("topic_id").map(str::parse)) {
        (Some("0"), Some(Ok(topic_id))) => Ok(topic_id),
        _ => Err(Damage(format!("{text:?} is not \"version: 0\" and a topic_id"))),
    }
}

/// The id in the partition's folder `dir`; `None` where there is none, or none that can be read.
pub fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Option<Uuid>, StorageError> {
    let path = dir.join(FILE);
    let text = read_file(fs, &path, 4096).map_err(StorageError::io("reading", &path))?;
    Ok(text.and_then(|text| decode(&text).ok()))
}

/// Writes the id into the partition's folder `dir`.
pub fn write(fs: &dyn FileSystem, dir: &Path, topic_id: Uuid) -> Result<(), StorageError> {
    let path = dir.join(FILE);
    replace_file(fs, &path, encode(topic_id).as_bytes(), Durability::Lazy).map_err(StorageError::io("writing", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_survives_its_text() {
        let id = Uuid::random();
        assert_eq!(decode(encode(id).as_bytes()).unwrap(), id);
        assert!(decode(b"").is_err() && decode(b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").is_err());
    }
}
