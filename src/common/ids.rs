//! Ids and offsets, under Kafka's names.

use std::fmt;
use std::str::FromStr;

/// The position of a record in its partition; dense, from 0.
pub type Offset = i64;
/// Milliseconds since 1970-01-01T00:00:00Z; -1 where a message says "none".
pub type Timestamp = i64;
/// The reign of a partition's leader; rises by one with each election, -1 where unknown.
pub type LeaderEpoch = i32;
/// The id of a broker or controller (`node.id`).
pub type NodeId = i32;
/// The id that InitProducerId hands to a producer; -1 for a producer without idempotence.
pub type ProducerId = i64;
/// The incarnation of a producer id.
pub type ProducerEpoch = i16;

/// A 128-bit id as Kafka uses it for topics, log dirs and clusters.
///
/// Its text form is URL-safe base64 without padding, 22 characters long.
///
/// ```
/// use strandline::common::ids::Uuid;
/// let id: Uuid = "MkU3OEVBNTcwNTJENDM2Qg".parse().unwrap();
/// assert_eq!(id.to_string(), "MkU3OEVBNTcwNTJENDM2Qg");
/// assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// The id that stands for "none" on the wire.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// Kafka's id of the topic `__cluster_metadata`.
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A random version-4 id, never one whose text begins with `-` (Kafka's tools would take it for an option).
    pub fn random() -> Uuid {
        loop {
            let mut bytes: [u8; 16] = rand::random();
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = Uuid(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Whether this is the id that stands for "none".
    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        // 22 characters carry 132 bits: the last one holds the two lowest bits, shifted up by four.
        for index in 0..22u32 {
            let six = if index < 21 { (value >> (122 - 6 * index)) & 63 } else { (value & 3) << 4 };
            write!(f, "{}", BASE64[six as usize] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a [`Uuid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: it must be 22 characters of URL-safe base64")]
pub struct InvalidUuid(pub String);

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Uuid, InvalidUuid> {
        let invalid = || InvalidUuid(text.to_owned());
        let bytes = text.as_bytes();
        if bytes.len() != 22 {
            return Err(invalid());
        }
        let mut value = 0u128;
        for (index, byte) in bytes.iter().enumerate() {
            let six = BASE64.iter().position(|c| c == byte).ok_or_else(invalid)? as u128;
            value = if index < 21 { (value << 6) | six } else { (value << 2) | (six >> 4) };
        }
        Ok(Uuid(value.to_be_bytes()))
    }
}

/// One partition of one topic, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    /// `topic-partition`, which is also the name of the partition's folder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        for _ in 0..1000 {
            let id = Uuid::random();
            assert_eq!(id.to_string().parse::<Uuid>().unwrap(), id);
        }
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn a_bad_id_is_refused_with_its_text() {
        assert!("short".parse::<Uuid>().unwrap_err().to_string().contains("\"short\""));
        assert!("!!!!!!!!!!!!!!!!!!!!!!".parse::<Uuid>().is_err());
    }
}
