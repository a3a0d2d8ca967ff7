//! The keys of producers, consumers and admin clients: those that all share, then each one's own.
//!
//! Names and defaults are Kafka's. Serializers are not here: keys and values are bytes.

use super::key::{Range, Support, keys, not_yet};
use super::value::{Bool, Bytes, Class, Int, IntMs, KIB, List, LongBytes, MIB, MINUTE, Ms, SECOND, Text};

use Range::{Any, AtLeast, Between, NonEmpty, OneOf, OneOfIgnoringCase, OneOfOrPrefix, SpecialOrBetween};
use Support::{Honoured, NoEffect, NotYet};

const SYSTEM_BUFFERS: Support = NoEffect("the system sizes socket buffers by itself");
const NO_METRICS: Support = NoEffect("the client keeps no such metrics");

keys! {
    /// The keys that every client has.
    Client TABLE;

    /// Where to find the cluster: host:port pairs, of which one must answer.
    BOOTSTRAP_SERVERS: List = "bootstrap.servers", (required), NonEmpty, High, Honoured;
    /// The name under which the client's requests are known to the broker.
    CLIENT_ID: Text = "client.id", (""), Any, Medium, Honoured;
    /// A connection that is not used for this long is closed. (Kafka's admin client says five minutes.)
    CONNECTIONS_MAX_IDLE_MS: Ms = "connections.max.idle.ms", (9 * MINUTE), Any, Medium, Honoured;
    /// How long a reply is waited for.
    REQUEST_TIMEOUT_MS: IntMs = "request.timeout.ms", (30 * SECOND), AtLeast(0), Medium, Honoured;
    /// The rest before a request is tried again; it doubles with each try.
    RETRY_BACKOFF_MS: Ms = "retry.backoff.ms", (100), AtLeast(0), Low, Honoured;
    /// The longest such rest.
    RETRY_BACKOFF_MAX_MS: Ms = "retry.backoff.max.ms", (SECOND), AtLeast(0), Low, Honoured;
    /// The rest before a lost connection is made again; it doubles with each try.
    RECONNECT_BACKOFF_MS: Ms = "reconnect.backoff.ms", (50), AtLeast(0), Low, Honoured;
    /// The longest such rest.
    RECONNECT_BACKOFF_MAX_MS: Ms = "reconnect.backoff.max.ms", (SECOND), AtLeast(0), Low, Honoured;
    /// Age at which metadata is asked for again even if nothing failed.
    METADATA_MAX_AGE_MS: Ms = "metadata.max.age.ms", (5 * MINUTE), AtLeast(0), Low, Honoured;
    /// How long one address is tried.
    SOCKET_CONNECTION_SETUP_TIMEOUT_MS: Ms = "socket.connection.setup.timeout.ms", (10 * SECOND), Any, Medium, Honoured;
    /// The longest that grows to after failures.
    SOCKET_CONNECTION_SETUP_TIMEOUT_MAX_MS: Ms = "socket.connection.setup.timeout.max.ms", (30 * SECOND), Any, Medium,
        NoEffect("each attempt may take socket.connection.setup.timeout.ms");
    /// The sockets' send buffer.
    SEND_BUFFER_BYTES: Bytes = "send.buffer.bytes", (128 * KIB), AtLeast(-1), Medium, SYSTEM_BUFFERS;
    /// The sockets' receive buffer.
    RECEIVE_BUFFER_BYTES: Bytes = "receive.buffer.bytes", (64 * KIB), AtLeast(-1), Medium, SYSTEM_BUFFERS;
    /// How the connection is protected. Only PLAINTEXT is served yet.
    SECURITY_PROTOCOL: Text = "security.protocol", ("PLAINTEXT"), OneOfIgnoringCase(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        Medium, NotYet;
    /// How a bootstrap name with several addresses is used.
    CLIENT_DNS_LOOKUP: Text = "client.dns.lookup", ("use_all_dns_ips"),
        OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]), Medium, NotYet;
    /// Whether a client that lost every broker starts again from the bootstrap servers.
    METADATA_RECOVERY_STRATEGY: Text = "metadata.recovery.strategy", ("rebootstrap"), OneOfIgnoringCase(&["REBOOTSTRAP", "NONE"]), Low, NotYet;
    /// How long it has no metadata before it does.
    METADATA_RECOVERY_REBOOTSTRAP_TRIGGER_MS: Ms = "metadata.recovery.rebootstrap.trigger.ms", (5 * MINUTE), AtLeast(0), Low, NotYet;
    /// Whether metrics are sent to the broker when it asks.
    ENABLE_METRICS_PUSH: Bool = "enable.metrics.push", (true), Any, Low, NO_METRICS;
    /// Samples that a metric keeps.
    METRICS_NUM_SAMPLES: Int = "metrics.num.samples", (2), AtLeast(1), Low, NO_METRICS;
    /// How fine metrics are.
    METRICS_RECORDING_LEVEL: Text = "metrics.recording.level", ("INFO"), OneOf(&["INFO", "DEBUG", "TRACE"]), Low, NO_METRICS;
    /// How long a sample is.
    METRICS_SAMPLE_WINDOW_MS: Ms = "metrics.sample.window.ms", (30 * SECOND), AtLeast(0), Low, NO_METRICS;
}

not_yet! {
    /// Keys of every client that are not honoured yet, security apart.
    Client REST;

    "config.providers" List ("");
    "metric.reporters" List ("org.apache.kafka.common.metrics.JmxReporter");
}

/// A producer's own keys.
pub mod producer {
    use super::*;

    keys! {
        /// A producer's own keys.
        Producer TABLE;

        /// Who must have a batch before it counts as sent: `all` in-sync replicas (also -1), the leader (1), nobody (0).
        ACKS: Text = "acks", ("all"), OneOf(&["all", "-1", "0", "1"]), High, Honoured;
        /// Whether retries can neither double nor reorder records. It needs acks=all, retries, and at most 5 requests in flight.
        ENABLE_IDEMPOTENCE: Bool = "enable.idempotence", (true), Any, High, Honoured;
        /// The size at which a batch is sent.
        BATCH_SIZE: Bytes = "batch.size", (16 * KIB), AtLeast(0), Medium, Honoured;
        /// How long a batch waits for more records.
        LINGER_MS: Ms = "linger.ms", (5), AtLeast(0), Medium, Honoured;
        /// Bytes of records that may wait; then `send` blocks for `max.block.ms`, and fails.
        BUFFER_MEMORY: LongBytes = "buffer.memory", (32 * MIB), AtLeast(0), High, Honoured;
        /// How long `send` may block.
        MAX_BLOCK_MS: Ms = "max.block.ms", (MINUTE), AtLeast(0), Medium, Honoured;
        /// The largest request, and the largest record before compression.
        MAX_REQUEST_SIZE: Bytes = "max.request.size", (MIB), AtLeast(0), Medium, Honoured;
        /// The codec of batches.
        COMPRESSION_TYPE: Text = "compression.type", ("none"), OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]), High, Honoured;
        /// The level when the codec is gzip; -1 is the codec's own choice.
        COMPRESSION_GZIP_LEVEL: Int = "compression.gzip.level", (-1), SpecialOrBetween(-1, "the codec's own", 1, 9), Medium, Honoured;
        /// The level when the codec is lz4.
        COMPRESSION_LZ4_LEVEL: Int = "compression.lz4.level", (9), Between(1, 17), Medium, NotYet;
        /// The level when the codec is zstd.
        COMPRESSION_ZSTD_LEVEL: Int = "compression.zstd.level", (3), Between(-131_072, 22), Medium, Honoured;
        /// How often a batch is tried again, within `delivery.timeout.ms`.
        RETRIES: Int = "retries", (i32::MAX as i64), AtLeast(0), High, Honoured;
        /// How long after `send` a record is given up. At least `linger.ms` plus `request.timeout.ms`.
        DELIVERY_TIMEOUT_MS: IntMs = "delivery.timeout.ms", (2 * MINUTE), AtLeast(0), Medium, Honoured;
        /// Requests on their way on one connection.
        MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION: Int = "max.in.flight.requests.per.connection", (5), AtLeast(1), Low, Honoured;
        /// Whether keys play no part in choosing the partition.
        PARTITIONER_IGNORE_KEYS: Bool = "partitioner.ignore.keys", (false), Any, Medium, Honoured;
        /// Age at which a topic that is not used is left out of metadata.
        METADATA_MAX_IDLE_MS: Ms = "metadata.max.idle.ms", (5 * MINUTE), AtLeast(5_000), Low,
            NoEffect("a topic that was used is known as long as its producer lives");
    }

    not_yet! {
        /// A producer's keys that are not honoured yet.
        Producer REST;

        "interceptor.classes" List ("");
        "partitioner.adaptive.partitioning.enable" Bool (true);
        "partitioner.availability.timeout.ms" Ms (0) AtLeast(0);
        "partitioner.class" Class (null);
        "transaction.timeout.ms" IntMs (60_000);
        "transaction.two.phase.commit.enable" Bool (false);
        "transactional.id" Text (null) NonEmpty;
    }
}

/// A consumer's own keys.
pub mod consumer {
    use super::*;

    keys! {
        /// A consumer's own keys.
        Consumer TABLE;

        /// The group that shares the topics' partitions and keeps their offsets.
        GROUP_ID: Option<Text> = "group.id", (null), Any, High, Honoured;
        /// A name that outlives restarts: the member gets its partitions back without a rebalance.
        GROUP_INSTANCE_ID: Option<Text> = "group.instance.id", (null), NonEmpty, Medium, Honoured;
        /// The group protocol. Only classic is served yet.
        GROUP_PROTOCOL: Text = "group.protocol", ("classic"), OneOfIgnoringCase(&["CLASSIC", "CONSUMER"]), High, NotYet;
        /// How partitions are shared: strategies in order of liking.
        PARTITION_ASSIGNMENT_STRATEGY: List = "partition.assignment.strategy", ("range,cooperative-sticky"), Any, Medium, Honoured;
        /// Where to start when there is no committed offset, or it is gone.
        AUTO_OFFSET_RESET: Text = "auto.offset.reset", ("latest"), OneOfOrPrefix(&["latest", "earliest", "none"], "by_duration:"), Medium, Honoured;
        /// Whether positions are committed from time to time.
        ENABLE_AUTO_COMMIT: Bool = "enable.auto.commit", (true), Any, Medium, Honoured;
        /// How often that is done.
        AUTO_COMMIT_INTERVAL_MS: IntMs = "auto.commit.interval.ms", (5 * SECOND), AtLeast(0), Low, Honoured;
        /// A member that sends no heartbeat for this long is removed.
        SESSION_TIMEOUT_MS: IntMs = "session.timeout.ms", (45 * SECOND), AtLeast(1), High, Honoured;
        /// How often heartbeats are sent; less than `session.timeout.ms`.
        HEARTBEAT_INTERVAL_MS: IntMs = "heartbeat.interval.ms", (3 * SECOND), AtLeast(1), High, Honoured;
        /// A consumer that does not poll for this long leaves its group; also how long a rebalance waits for it.
        MAX_POLL_INTERVAL_MS: IntMs = "max.poll.interval.ms", (5 * MINUTE), AtLeast(1), Medium, Honoured;
        /// The most records that one poll returns.
        MAX_POLL_RECORDS: Int = "max.poll.records", (500), AtLeast(1), Medium, Honoured;
        /// The broker waits for this many bytes,
        FETCH_MIN_BYTES: Bytes = "fetch.min.bytes", (1), AtLeast(0), High, Honoured;
        /// but no longer than this.
        FETCH_MAX_WAIT_MS: IntMs = "fetch.max.wait.ms", (500), AtLeast(0), Low, Honoured;
        /// The most bytes of one fetch.
        FETCH_MAX_BYTES: Bytes = "fetch.max.bytes", (50 * MIB), AtLeast(0), Medium, Honoured;
        /// The most bytes of one partition in a fetch.
        MAX_PARTITION_FETCH_BYTES: Bytes = "max.partition.fetch.bytes", (MIB), AtLeast(0), High, Honoured;
        /// Whether records of aborted or open transactions are seen.
        ISOLATION_LEVEL: Text = "isolation.level", ("read_uncommitted"), OneOf(&["read_committed", "read_uncommitted"]), Medium, Honoured;
        /// Whether a batch's CRC is checked.
        CHECK_CRCS: Bool = "check.crcs", (true), Any, Low, Honoured;
        /// Where the consumer stands, to read from a near replica.
        CLIENT_RACK: Text = "client.rack", (""), Any, Low, Honoured;
        /// Whether subscribing creates a topic, where the broker allows.
        ALLOW_AUTO_CREATE_TOPICS: Bool = "allow.auto.create.topics", (true), Any, Medium, Honoured;
        /// Whether a pattern leaves out internal topics.
        EXCLUDE_INTERNAL_TOPICS: Bool = "exclude.internal.topics", (true), Any, Medium, Honoured;
        /// How long a call that names no time may take.
        DEFAULT_API_TIMEOUT_MS: IntMs = "default.api.timeout.ms", (MINUTE), AtLeast(0), Medium, Honoured;
    }

    not_yet! {
        /// A consumer's keys that are not honoured yet.
        Consumer REST;

        "group.remote.assignor" Text (null);
        "interceptor.classes" List ("");
        "share.acknowledgement.mode" Text ("implicit") OneOf(&["implicit", "explicit"]);
        "share.acquire.mode" Text ("BATCH_OPTIMIZED") OneOfIgnoringCase(&["batch_optimized", "record_limit"]);
    }
}

/// An admin client's own keys.
pub mod admin {
    use super::*;

    keys! {
        /// An admin client's own keys.
        Admin TABLE;

        /// How long a call that names no time may take.
        DEFAULT_API_TIMEOUT_MS: IntMs = "default.api.timeout.ms", (MINUTE), AtLeast(0), Medium, Honoured;
        /// How often a call is tried again.
        RETRIES: Int = "retries", (i32::MAX as i64), AtLeast(0), Low, Honoured;
    }

    not_yet! {
        /// An admin client's keys that are not honoured yet.
        Admin REST;

        "bootstrap.controllers" List ("");
    }
}
