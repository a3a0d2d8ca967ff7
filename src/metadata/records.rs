//! The records of `__cluster_metadata`, in Kafka's own format.
//!
//! ```text
//! +------------------+-------------+--------------+------------ - -
//! | frame version: 1 | record type | version      | the record, flexible
//! | varint           | varint      | varint       |
//! +------------------+-------------+--------------+------------ - -
//! ```
//!
//! Each is the value of one record in the log; keys are null. The types that this cluster uses are tables here; others
//! that a log written by Apache Kafka may hold are kept whole as [`MetadataRecord::Other`] and change nothing here.
//!
//! Crash: records that belong together are one batch, which is there whole or not at all.

use bytes::Bytes;

use crate::common::ids::Uuid;
use crate::protocol::{DecodeError, Decoder, EncodeError, Encoder, Message, Str, message};

/// The version of the frame around a record.
const FRAME_VERSION: u32 = 1;

message! {
    /// A broker has come.
    RegisterBrokerRecord (versions 0-4, flexible 0+) {
        broker_id: i32,
        is_migrating_zk_broker: bool [2+],
        incarnation_id: Uuid,
        broker_epoch: i64,
        end_points: Vec<BrokerEndpoint>,
        features: Vec<BrokerFeature>,
        rack: Option<Str>,
        fenced: bool = true,
        in_controlled_shutdown: bool [1+],
        log_dirs: Vec<Uuid> [3+] tag 0,
        cordoned_log_dirs: Option<Vec<Uuid>> [4+] tag 1,
    }

    /// A broker has gone for good.
    UnregisterBrokerRecord (versions 0, flexible 0+) {
        broker_id: i32,
        broker_epoch: i64,
    }

    /// Where a broker listens.
    BrokerEndpoint {
        name: Str,
        host: Str,
        port: u16,
        security_protocol: i16,
    }

    /// A feature that a broker knows, and in which levels.
    BrokerFeature {
        name: Str,
        min_supported_version: i16,
        max_supported_version: i16,
    }

    /// A topic was made.
    TopicRecord (versions 0, flexible 0+) {
        name: Str,
        topic_id: Uuid,
    }

    /// A partition was made; in a snapshot, the whole of it.
    PartitionRecord (versions 0-2, flexible 0+) {
        partition_id: i32 = -1,
        topic_id: Uuid,
        replicas: Vec<i32>,
        isr: Vec<i32>,
        removing_replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        leader: i32 = -1,
        leader_recovery_state: i8 [0+] tag 0,
        leader_epoch: i32 = -1,
        partition_epoch: i32 = -1,
        directories: Vec<Uuid> [1+],
        eligible_leader_replicas: Option<Vec<i32>> [2+] tag 1,
        last_known_elr: Option<Vec<i32>> [2+] tag 2,
    }

    /// A key of a resource's configs has a value, or has it no more.
    ConfigRecord (versions 0, flexible 0+) {
        resource_type: i8,
        resource_name: Str,
        name: Str,
        value: Option<Str>,
    }

    /// A partition changed; what is null or at its default stays.
    PartitionChangeRecord (versions 0-2, flexible 0+) {
        partition_id: i32 = -1,
        topic_id: Uuid,
        isr: Option<Vec<i32>> [0+] tag 0,
        leader: i32 [0+] tag 1 = -2,
        replicas: Option<Vec<i32>> [0+] tag 2,
        removing_replicas: Option<Vec<i32>> [0+] tag 3,
        adding_replicas: Option<Vec<i32>> [0+] tag 4,
        leader_recovery_state: i8 [0+] tag 5 = -1,
        eligible_leader_replicas: Option<Vec<i32>> [2+] tag 6,
        last_known_elr: Option<Vec<i32>> [2+] tag 7,
        directories: Option<Vec<Uuid>> [1+] tag 8,
    }

    /// A topic was taken away.
    RemoveTopicRecord (versions 0, flexible 0+) {
        topic_id: Uuid,
    }

    /// The cluster has agreed on a feature's level; 0 takes it away.
    FeatureLevelRecord (versions 0, flexible 0+) {
        name: Str,
        feature_level: i16,
    }

    /// A broker was given producer ids: all below `next_producer_id` are gone.
    ProducerIdsRecord (versions 0, flexible 0+) {
        broker_id: i32,
        broker_epoch: i64 = -1,
        next_producer_id: i64,
    }

    /// A broker's registration changed: 1 fenced, -1 not fenced any more, 0 as it was.
    BrokerRegistrationChangeRecord (versions 0-3, flexible 0+) {
        broker_id: i32,
        broker_epoch: i64,
        fenced: i8 [0+] tag 0,
        in_controlled_shutdown: i8 [1+] tag 1,
        log_dirs: Vec<Uuid> [2+] tag 2,
        cordoned_log_dirs: Option<Vec<Uuid>> [3+] tag 3,
    }
}

/// Why bytes are no metadata record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The frame around the record is not of a kind that is known.
    #[error("a metadata record has frame version {0}: only 1 is known")]
    Frame(u32),
    /// A number in the frame is out of range.
    #[error("a metadata record has {0} for its type or version: they are at most 32767")]
    Number(u32),
    /// The record itself makes no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// One line a record: its name here, its struct, its type on disk, and the version we write.
macro_rules! records {
    ($($name:ident($record:ident) = $key:literal, written as $version:literal;)+) => {
        /// One change of the cluster's metadata.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MetadataRecord {
            $(
                #[doc = concat!("[`", stringify!($record), "`].")]
                $name($record),
            )+
            /// One of Kafka's that changes nothing here.
            Other {
                /// Its type.
                key: i16,
                /// All of it, with its frame.
                value: Bytes,
            },
        }

        impl MetadataRecord {
            /// The record whose frame is `value`.
            pub fn decode(value: Bytes) -> Result<MetadataRecord, RecordError> {
                let mut decoder = Decoder::new(value.clone());
                let frame = decoder.uvarint()?;
                if frame != FRAME_VERSION {
                    return Err(RecordError::Frame(frame));
                }
                let mut number = || decoder.uvarint().map_err(RecordError::from).and_then(small);
                let (key, version) = (number()?, number()?);
                Ok(match key {
                    $($key => MetadataRecord::$name($record::decode(&mut decoder, version)?),)+
                    _ => MetadataRecord::Other { key, value },
                })
            }

            /// The record in its frame.
            pub fn encode(&self) -> Result<Bytes, EncodeError> {
                let mut encoder = Encoder::new();
                encoder.uvarint(FRAME_VERSION);
                match self {
                    $(MetadataRecord::$name(record) => {
                        encoder.uvarint($key);
                        encoder.uvarint($version);
                        record.encode(&mut encoder, $version)?;
                    })+
                    MetadataRecord::Other { value, .. } => return Ok(value.clone()),
                }
                Ok(encoder.finish().into_bytes())
            }
        }
    };
}

records! {
    RegisterBroker(RegisterBrokerRecord) = 0, written as 3;
    UnregisterBroker(UnregisterBrokerRecord) = 1, written as 0;
    Topic(TopicRecord) = 2, written as 0;
    Partition(PartitionRecord) = 3, written as 2;
    Config(ConfigRecord) = 4, written as 0;
    PartitionChange(PartitionChangeRecord) = 5, written as 2;
    RemoveTopic(RemoveTopicRecord) = 9, written as 0;
    FeatureLevel(FeatureLevelRecord) = 12, written as 0;
    ProducerIds(ProducerIdsRecord) = 15, written as 0;
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17, written as 2;
}

fn small(number: u32) -> Result<i16, RecordError> {
    i16::try_from(number).map_err(|_| RecordError::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_record_has_kafkas_bytes() {
        // Written by Apache Kafka 4.3.1 for a topic "t1".
        let record = MetadataRecord::Topic(TopicRecord {
            name: Str::from("t1"),
            topic_id: "T_g5ChGQTXe29S6lMn0h5Q".parse().unwrap(),
        });
        let bytes = record.encode().unwrap();
        assert_eq!(bytes[..6], [1, 2, 0, 3, b't', b'1']);
        assert_eq!(bytes.len(), 23, "as Kafka's dump tool tells");
        assert_eq!(MetadataRecord::decode(bytes).unwrap(), record);
    }

    #[test]
    fn unknown_records_are_kept_apart() {
        let no_op = Bytes::from_static(&[1, 20, 0, 0]);
        assert_eq!(MetadataRecord::decode(no_op.clone()).unwrap(), MetadataRecord::Other { key: 20, value: no_op });
        assert!(matches!(MetadataRecord::decode(Bytes::from_static(&[2, 2, 0])), Err(RecordError::Frame(2))));
        assert!(MetadataRecord::decode(Bytes::from_static(&[1, 2, 0, 9])).is_err());
    }
}
