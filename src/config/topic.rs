//! A topic's keys: the 33 that Kafka 4.3 documents, under their own names.

use super::broker as b;
use super::key::{Range, Support, Synonym, keys};
use super::value::{Bool, Bytes, DAY, Double, GIB, HOUR, Int, KIB, List, LongBytes, MIB, MINUTE, Ms, Text};

use Range::{Any, AtLeast, Between, Fraction, OneOf, SpecialOrAtLeast, SpecialOrBetween, ThrottledReplicas};
use Support::{Honoured, NotYet};

const fn from(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: MINUTE }
}

const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: HOUR }
}

keys! {
    /// A topic's keys.
    Topic TABLE;

    /// `delete` drops segments by retention, `compact` keeps the last record of each key; both may be set, and an empty
    /// list keeps everything.
    CLEANUP_POLICY: List = "cleanup.policy", ("delete"), OneOf(&["compact", "delete"]), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_CLEANUP_POLICY.name())];
    /// The codec of the log: `producer` keeps what each producer chose, any other compresses every batch again.
    COMPRESSION_TYPE: Text = "compression.type", ("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Medium, Honoured, ClusterWide, synonyms [from(b::COMPRESSION_TYPE.name())];
    /// The gzip level when `compression.type` is gzip; -1 is the codec's own choice.
    COMPRESSION_GZIP_LEVEL: Int = "compression.gzip.level", (-1), SpecialOrBetween(-1, "the codec's own", 1, 9), Medium, Honoured,
        ClusterWide, synonyms [from(b::COMPRESSION_GZIP_LEVEL.name())];
    /// The lz4 level when `compression.type` is lz4.
    COMPRESSION_LZ4_LEVEL: Int = "compression.lz4.level", (9), Between(1, 17), Medium, NotYet, ClusterWide,
        synonyms [from(b::COMPRESSION_LZ4_LEVEL.name())];
    /// The zstd level when `compression.type` is zstd.
    COMPRESSION_ZSTD_LEVEL: Int = "compression.zstd.level", (3), Between(-131_072, 22), Medium, Honoured, ClusterWide,
        synonyms [from(b::COMPRESSION_ZSTD_LEVEL.name())];
    /// How long a compacted log keeps a tombstone after it was cleaned.
    DELETE_RETENTION_MS: Ms = "delete.retention.ms", (DAY), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_CLEANER_DELETE_RETENTION_MS.name())];
    /// How long a removed segment stays on disk as `.deleted`.
    FILE_DELETE_DELAY_MS: Ms = "file.delete.delay.ms", (MINUTE), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_SEGMENT_DELETE_DELAY_MS.name())];
    /// Records after which the log is forced to disk; the default leaves it to the system and to replication.
    FLUSH_MESSAGES: crate::config::value::Long = "flush.messages", (i64::MAX), AtLeast(1), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_FLUSH_INTERVAL_MESSAGES.name())];
    /// Time after which the log is forced to disk; the default leaves it to the system and to replication.
    FLUSH_MS: Ms = "flush.ms", (i64::MAX), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_FLUSH_INTERVAL_MS.name()), from(b::LOG_FLUSH_SCHEDULER_INTERVAL_MS.name())];
    /// The replicas that fetch within `follower.replication.throttled.rate`: partition:broker pairs, or *.
    FOLLOWER_REPLICATION_THROTTLED_REPLICAS: List = "follower.replication.throttled.replicas", (""), ThrottledReplicas, Medium, Honoured,
        ClusterWide;
    /// Bytes of log between two index entries.
    INDEX_INTERVAL_BYTES: Bytes = "index.interval.bytes", (4 * KIB), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_INDEX_INTERVAL_BYTES.name())];
    /// The replicas that serve followers within `leader.replication.throttled.rate`: partition:broker pairs, or *.
    LEADER_REPLICATION_THROTTLED_REPLICAS: List = "leader.replication.throttled.replicas", (""), ThrottledReplicas, Medium, Honoured,
        ClusterWide;
    /// Bytes of a tiered log that stay on this disk; -2 follows `retention.bytes`.
    LOCAL_RETENTION_BYTES: LongBytes = "local.retention.bytes", (-2), AtLeast(-2), Medium, NotYet, ClusterWide,
        synonyms [from(b::LOG_LOCAL_RETENTION_BYTES.name())];
    /// Time that a tiered log stays on this disk; -2 follows `retention.ms`.
    LOCAL_RETENTION_MS: Ms = "local.retention.ms", (-2), AtLeast(-2), Medium, NotYet, ClusterWide,
        synonyms [from(b::LOG_LOCAL_RETENTION_MS.name())];
    /// Age at which a record must be compacted even if little else is dirty.
    MAX_COMPACTION_LAG_MS: Ms = "max.compaction.lag.ms", (i64::MAX), AtLeast(1), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_CLEANER_MAX_COMPACTION_LAG_MS.name())];
    /// The largest batch that is accepted, with its header, after compression.
    MAX_MESSAGE_BYTES: Bytes = "max.message.bytes", (MIB + 12), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::MESSAGE_MAX_BYTES.name())];
    /// How far a record's timestamp may be in the future.
    MESSAGE_TIMESTAMP_AFTER_MAX_MS: Ms = "message.timestamp.after.max.ms", (HOUR), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_MESSAGE_TIMESTAMP_AFTER_MAX_MS.name())];
    /// How far a record's timestamp may be in the past.
    MESSAGE_TIMESTAMP_BEFORE_MAX_MS: Ms = "message.timestamp.before.max.ms", (i64::MAX), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_MESSAGE_TIMESTAMP_BEFORE_MAX_MS.name())];
    /// Whose clock stamps a record: the producer's (CreateTime) or the broker's (LogAppendTime).
    MESSAGE_TIMESTAMP_TYPE: Text = "message.timestamp.type", ("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, Honoured,
        ClusterWide, synonyms [from(b::LOG_MESSAGE_TIMESTAMP_TYPE.name())];
    /// The share of a compacted log that must be dirty before it is cleaned.
    MIN_CLEANABLE_DIRTY_RATIO: Double = "min.cleanable.dirty.ratio", (0.5), Fraction(0.0, 1.0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_CLEANER_MIN_CLEANABLE_RATIO.name())];
    /// Age below which a record is never compacted.
    MIN_COMPACTION_LAG_MS: Ms = "min.compaction.lag.ms", (0), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_CLEANER_MIN_COMPACTION_LAG_MS.name())];
    /// How many replicas must hold a record before a producer with acks=all hears of success.
    MIN_INSYNC_REPLICAS: Int = "min.insync.replicas", (1), AtLeast(1), Medium, Honoured, ClusterWide,
        synonyms [from(b::MIN_INSYNC_REPLICAS.name())];
    /// Whether a new segment's file is given its full size at once.
    PREALLOCATE: Bool = "preallocate", (false), Any, Medium, NotYet, ClusterWide,
        synonyms [from(b::LOG_PREALLOCATE.name())];
    /// Whether a tiered topic stops copying segments to the object store.
    REMOTE_LOG_COPY_DISABLE: Bool = "remote.log.copy.disable", (false), Any, Medium, NotYet, ClusterWide;
    /// Whether tiered data is deleted when tiering is turned off.
    REMOTE_LOG_DELETE_ON_DISABLE: Bool = "remote.log.delete.on.disable", (false), Any, Medium, NotYet, ClusterWide;
    /// Whether closed segments are copied to an object store.
    REMOTE_STORAGE_ENABLE: Bool = "remote.storage.enable", (false), Any, Medium, NotYet, ClusterWide;
    /// Size at which the oldest segments of a partition are dropped.
    RETENTION_BYTES: LongBytes = "retention.bytes", (-1), SpecialOrAtLeast(-1, "no limit", 0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_RETENTION_BYTES.name())];
    /// Age at which a segment is dropped.
    RETENTION_MS: Ms = "retention.ms", (7 * DAY), SpecialOrAtLeast(-1, "no limit", 0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_RETENTION_MS.name()), minutes(b::LOG_RETENTION_MINUTES.name()), hours(b::LOG_RETENTION_HOURS.name())];
    /// Size at which a segment is closed and the next begins. Retention drops whole segments.
    SEGMENT_BYTES: Bytes = "segment.bytes", (GIB), AtLeast(MIB), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_SEGMENT_BYTES.name())];
    /// Size of a segment's indexes; a full one closes the segment.
    SEGMENT_INDEX_BYTES: Bytes = "segment.index.bytes", (10 * MIB), AtLeast(4), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_INDEX_SIZE_MAX_BYTES.name())];
    /// The most by which `segment.ms` is shortened at random, so that segments do not all close at once.
    SEGMENT_JITTER_MS: Ms = "segment.jitter.ms", (0), AtLeast(0), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_ROLL_JITTER_MS.name()), hours(b::LOG_ROLL_JITTER_HOURS.name())];
    /// Age at which a segment is closed even if it is not full.
    SEGMENT_MS: Ms = "segment.ms", (7 * DAY), AtLeast(1), Medium, Honoured, ClusterWide,
        synonyms [from(b::LOG_ROLL_MS.name()), hours(b::LOG_ROLL_HOURS.name())];
    /// Whether a replica that fell behind may lead when no other is left; records may be lost.
    UNCLEAN_LEADER_ELECTION_ENABLE: Bool = "unclean.leader.election.enable", (false), Any, Medium, Honoured, ClusterWide,
        synonyms [from(b::UNCLEAN_LEADER_ELECTION_ENABLE.name())];
}
