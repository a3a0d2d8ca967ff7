//! `meta.properties`: whose a log dir is.
//!
//! ```text
//! #
//! version=1
//! cluster.id=MkU3OEVBNTcwNTJENDM2Qg
//! node.id=1
//! directory.id=q5uy1G2zShGvkXYTjmdMJw
//! ```
//! A dir of another cluster or node is refused, before anything in it is touched.
//!
//! Crash: written once, beside, synced and renamed, when the dir is first used.

use std::path::Path;

use super::error::{Damage, StorageError};
use super::fs::{Durability, FileSystem, read_file, replace_file};
use crate::common::ids::{NodeId, Uuid};

/// The file's name.
pub const FILE: &str = "meta.properties";

/// Whose a log dir is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster's id, a text that Kafka does not look into.
    pub cluster_id: String,
    /// The broker's id.
    pub node_id: NodeId,
    /// The dir's own id; zero where an old file has none.
    pub directory_id: Uuid,
}

impl MetaProperties {
    /// The file's text.
    pub fn encode(&self) -> String {
        let MetaProperties { cluster_id, node_id, directory_id } = self;
        format!("#\nversion=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n")
    }

    /// Reads the file's text.
    pub fn decode(text: &[u8]) -> Result<MetaProperties, Damage> {
        let text = std::str::from_utf8(text).map_err(|_| Damage("not a text".to_owned()))?;
        let value = |key: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
            lines.map(|(key, value)| (key.trim(), value.trim())).find(|pair| pair.0 == key).map(|pair| pair.1)
        };
        let needed = |key: &str| value(key).ok_or_else(|| Damage(format!("{key} is missing")));
        let (version, node_id) = (needed("version")?, needed("node.id")?);
        if version != "1" {
            return Err(Damage(format!("version {version}, 1 is known")));
        }
        let directory_id = match value("directory.id") {
            None => Uuid::ZERO,
            Some(text) => text.parse().map_err(|error| Damage(format!("directory.id: {error}")))?,
        };
        Ok(MetaProperties {
            cluster_id: needed("cluster.id")?.to_owned(),
            node_id: node_id.parse().map_err(|_| Damage(format!("node.id {node_id:?} is not a number")))?,
            directory_id,
        })
    }

    /// Reads the file of the log dir `root`, `None` where there is none.
    pub fn read(fs: &dyn FileSystem, root: &Path) -> Result<Option<MetaProperties>, StorageError> {
        let path = root.join(FILE);
        match read_file(fs, &path, 64 << 10).map_err(StorageError::io("reading", &path))? {
            None => Ok(None),
            Some(text) => {
                MetaProperties::decode(&text).map(Some).map_err(|damage| StorageError::Damaged { path, damage })
            }
        }
    }

    /// Writes the file of the log dir `root`, synced.
    pub fn write(&self, fs: &dyn FileSystem, root: &Path) -> Result<(), StorageError> {
        let path = root.join(FILE);
        replace_file(fs, &path, self.encode().as_bytes(), Durability::Synced)
            .map_err(StorageError::io("writing", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_survive_their_text() {
        let meta = MetaProperties { cluster_id: "abc".into(), node_id: 3, directory_id: Uuid::random() };
        assert_eq!(MetaProperties::decode(meta.encode().as_bytes()).unwrap(), meta);
    }

    #[test]
    fn kafkas_file_with_its_comments_is_read() {
        let text = b"#\n#Mon Nov 23 20:00:00 UTC 2026\ncluster.id=x\nversion=1\nnode.id=1\n";
        let meta = MetaProperties::decode(text).unwrap();
        assert_eq!((meta.cluster_id.as_str(), meta.node_id, meta.directory_id), ("x", 1, Uuid::ZERO));
        assert!(MetaProperties::decode(b"version=0\nbroker.id=1").unwrap_err().to_string().contains("node.id"));
    }
}
