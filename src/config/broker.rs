//! A broker's keys: what we honour, what we accept without effect and why, and (in [`super::broker_rest`]) what Kafka
//! has and we do not honour yet.
//!
//! Defaults are Kafka's, but for `node.id` and `process.roles`, which Kafka demands and we assume: a broker starts with
//! no configuration at all.

use super::key::{Range, Support, keys};
use super::value::{
    Bool, Bytes, DAY, Double, GIB, HOUR, Int, IntMs, KIB, List, Long, LongBytes, MIB, MINUTE, Ms, SECOND, Short, Text,
};

use Range::{Any, AtLeast, Between, Fraction, OneOf, SpecialOrAtLeast, SpecialOrBetween};
use Support::{Honoured, NoEffect};

const THREADS: Support = NoEffect("threads follow the machine's processors");
const ONE_BROKER: Support = NoEffect("brokers among themselves do not go by it yet");
const CHECKPOINTS: Support =
    NoEffect("all checkpoints are written together, as often as log.flush.offset.checkpoint.interval.ms says");
const NO_TRANSACTIONS: Support = NoEffect("transactions are not served yet");
const NO_SHARE_GROUPS: Support = NoEffect("share groups are not served yet");
/// The one selector of replicas that Kafka brings.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const RECEIVE_BUFFERS: Support = NoEffect("the system sizes receive buffers by itself");

keys! {
    /// The broker keys that we honour, or accept and say why they have no effect.
    Broker TABLE;

    // Who the broker is, and where it listens.

    /// The broker's id in its cluster.
    NODE_ID: Int = "node.id", (1), AtLeast(0), High, Honoured;
    /// The old name of `node.id`; when both are set they must agree.
    BROKER_ID: Int = "broker.id", (-1), SpecialOrAtLeast(-1, "follow node.id", 0), High, Honoured;
    /// What this node is: a broker, a controller, or both.
    PROCESS_ROLES: List = "process.roles", ("broker,controller"), OneOf(&["broker", "controller"]), High, Honoured;
    /// Where the broker listens: NAME://host:port, an empty host for every address, port 0 for any free one.
    LISTENERS: List = "listeners", ("PLAINTEXT://:9092"), Any, High, Honoured;
    /// What clients are told to connect to; without it, `listeners`.
    ADVERTISED_LISTENERS: Option<List> = "advertised.listeners", (null), Any, High, Honoured;
    /// The protocol of each listener name. Only PLAINTEXT is served yet.
    LISTENER_SECURITY_PROTOCOL_MAP: Text = "listener.security.protocol.map",
        ("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, Low, Honoured;
    /// The listener that brokers use among themselves; without it the one called PLAINTEXT, or where none is, the first.
    INTER_BROKER_LISTENER_NAME: Option<Text> = "inter.broker.listener.name", (null), Any, Medium, Honoured;
    /// The listeners for brokers and controllers among themselves: they are left out of what clients are told.
    CONTROLLER_LISTENER_NAMES: List = "controller.listener.names", (""), Any, High, Honoured;
    /// The first voters of the controller quorum, id@host:port, the same for all nodes. Without them and without bootstrap
    /// servers this node is alone.
    CONTROLLER_QUORUM_VOTERS: List = "controller.quorum.voters", (""), Any, High, Honoured;
    /// Where to find the controller quorum, host:port. Its first voters are those whom their log dirs were formatted with.
    CONTROLLER_QUORUM_BOOTSTRAP_SERVERS: List = "controller.quorum.bootstrap.servers", (""), Any, High, Honoured;
    /// Whether a controller that has no vote asks for one. A vote of the same node with another log dir goes first.
    CONTROLLER_QUORUM_AUTO_JOIN_ENABLE: Bool = "controller.quorum.auto.join.enable", (false), Any, Low, Honoured;
    /// How long a controller bears a leader that says nothing. Where it is not set, 300 ms.
    CONTROLLER_QUORUM_FETCH_TIMEOUT_MS: IntMs = "controller.quorum.fetch.timeout.ms", (2 * SECOND), AtLeast(0), High, Honoured;
    /// Up to when, after that, a controller stands for election, at a time that it draws. Where it is not set, 150 ms.
    CONTROLLER_QUORUM_ELECTION_TIMEOUT_MS: IntMs = "controller.quorum.election.timeout.ms", (SECOND), AtLeast(0), High, Honoured;
    /// Where the broker stands, for clients that prefer a near replica.
    BROKER_RACK: Option<Text> = "broker.rack", (null), Any, Medium, Honoured;
    /// How consumers find a near replica: with Kafka's selector by rack they read from one in theirs, else from the leader.
    REPLICA_SELECTOR_CLASS: Option<Text> = "replica.selector.class", (null), OneOf(&[RACK_AWARE]), Medium, Honoured;

    // Connections.

    /// The most connections at once; more wait until one has ended. Lowered below what there is, the longest silent are closed.
    MAX_CONNECTIONS: Int = "max.connections", (i32::MAX as i64), AtLeast(0), Medium, Honoured, ClusterWide;
    /// The most connections at once from one address; more are closed as they come.
    MAX_CONNECTIONS_PER_IP: Int = "max.connections.per.ip", (i32::MAX as i64), AtLeast(0), Medium, Honoured, ClusterWide;
    /// A connection that asks nothing for this long is closed.
    CONNECTIONS_MAX_IDLE_MS: Ms = "connections.max.idle.ms", (10 * MINUTE), Any, Medium, Honoured;
    /// The largest request; a larger one closes its connection.
    SOCKET_REQUEST_MAX_BYTES: Bytes = "socket.request.max.bytes", (100 * MIB), AtLeast(1), High, Honoured;
    /// The most bytes of requests in work at once, at least `socket.request.max.bytes`; reading from sockets waits when it is reached.
    QUEUED_MAX_REQUEST_BYTES: LongBytes = "queued.max.request.bytes", (-1), SpecialOrAtLeast(-1, "no limit", 1), Medium, Honoured;
    /// Requests that may wait for a thread.
    QUEUED_MAX_REQUESTS: Int = "queued.max.requests", (500), AtLeast(1), High, NoEffect("requests wait in their connections, not in a queue");
    /// Connections that may wait to be accepted.
    SOCKET_LISTEN_BACKLOG_SIZE: Int = "socket.listen.backlog.size", (50), AtLeast(1), Medium, NoEffect("the system's own backlog is used");
    /// The sockets' send buffer; -1 leaves its size to the system.
    SOCKET_SEND_BUFFER_BYTES: Bytes = "socket.send.buffer.bytes", (100 * KIB), Any, High, Honoured;
    /// The sockets' receive buffer.
    SOCKET_RECEIVE_BUFFER_BYTES: Bytes = "socket.receive.buffer.bytes", (100 * KIB), Any, High, RECEIVE_BUFFERS;
    /// Threads that serve connections.
    NUM_NETWORK_THREADS: Int = "num.network.threads", (3), AtLeast(1), High, THREADS, ClusterWide;
    /// Threads that serve requests.
    NUM_IO_THREADS: Int = "num.io.threads", (8), AtLeast(1), High, THREADS, ClusterWide;
    /// Threads for work in the background.
    BACKGROUND_THREADS: Int = "background.threads", (10), AtLeast(1), High, THREADS, ClusterWide;
    /// Threads that recover a data dir at the start.
    NUM_RECOVERY_THREADS_PER_DATA_DIR: Int = "num.recovery.threads.per.data.dir", (2), AtLeast(1), High, THREADS, ClusterWide;

    // The data dir.

    /// The data dir, when `log.dirs` is not set.
    LOG_DIR: List = "log.dir", ("/tmp/kafka-logs"), Any, High, Honoured;
    /// The data dirs. One is served yet.
    LOG_DIRS: Option<List> = "log.dirs", (null), Any, High, Honoured;
    /// The dir of the metadata log; without it, the first data dir.
    METADATA_LOG_DIR: Option<Text> = "metadata.log.dir", (null), Any, High, NoEffect("the metadata log lives in the data dir");
    /// A snapshot of the metadata is written once so many bytes of records came since the last one.
    METADATA_LOG_MAX_RECORD_BYTES_BETWEEN_SNAPSHOTS: LongBytes = "metadata.log.max.record.bytes.between.snapshots", (20 * MIB), AtLeast(1),
        High, Honoured;
    /// A snapshot of the metadata is written when the last one is this old and a record came since; 0 never does.
    METADATA_LOG_MAX_SNAPSHOT_INTERVAL_MS: Ms = "metadata.log.max.snapshot.interval.ms", (HOUR), AtLeast(0), High, Honoured;

    // Topics.

    /// Partitions of a topic that does not say how many.
    NUM_PARTITIONS: Int = "num.partitions", (1), AtLeast(1), Medium, Honoured;
    /// Replicas of a topic that does not say how many.
    DEFAULT_REPLICATION_FACTOR: Int = "default.replication.factor", (1), Any, Medium, Honoured;
    /// Whether asking for a topic's metadata creates it, when the client allows.
    AUTO_CREATE_TOPICS_ENABLE: Bool = "auto.create.topics.enable", (true), Any, High, Honoured;
    /// Whether topics may be deleted.
    DELETE_TOPIC_ENABLE: Bool = "delete.topic.enable", (true), Any, High, Honoured;

    // Defaults of the topics' keys.

    /// Default of the topics' `cleanup.policy`.
    LOG_CLEANUP_POLICY: List = "log.cleanup.policy", ("delete"), OneOf(&["compact", "delete"]), Medium, Honoured, ClusterWide;
    /// Default of the topics' `compression.type`.
    COMPRESSION_TYPE: Text = "compression.type", ("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        High, Honoured, ClusterWide;
    /// Default of the topics' `compression.gzip.level`.
    COMPRESSION_GZIP_LEVEL: Int = "compression.gzip.level", (-1), SpecialOrBetween(-1, "the codec's own", 1, 9), Medium, Honoured, ClusterWide;
    /// Default of the topics' `compression.lz4.level`.
    COMPRESSION_LZ4_LEVEL: Int = "compression.lz4.level", (9), Between(1, 17), Medium, Support::NotYet, ClusterWide;
    /// Default of the topics' `compression.zstd.level`.
    COMPRESSION_ZSTD_LEVEL: Int = "compression.zstd.level", (3), Between(-131_072, 22), Medium, Honoured, ClusterWide;
    /// Default of the topics' `delete.retention.ms`.
    LOG_CLEANER_DELETE_RETENTION_MS: Ms = "log.cleaner.delete.retention.ms", (DAY), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `file.delete.delay.ms`.
    LOG_SEGMENT_DELETE_DELAY_MS: Ms = "log.segment.delete.delay.ms", (MINUTE), AtLeast(0), High, Honoured, ClusterWide;
    /// Default of the topics' `flush.messages`.
    LOG_FLUSH_INTERVAL_MESSAGES: Long = "log.flush.interval.messages", (i64::MAX), AtLeast(1), High, Honoured, ClusterWide;
    /// Default of the topics' `flush.ms`; without it, `log.flush.scheduler.interval.ms`.
    LOG_FLUSH_INTERVAL_MS: Option<Ms> = "log.flush.interval.ms", (null), Any, High, Honoured, ClusterWide;
    /// How often it is checked whether a log is due to be forced to disk.
    LOG_FLUSH_SCHEDULER_INTERVAL_MS: Ms = "log.flush.scheduler.interval.ms", (i64::MAX), Any, High, Honoured;
    /// Default of the topics' `index.interval.bytes`.
    LOG_INDEX_INTERVAL_BYTES: Bytes = "log.index.interval.bytes", (4 * KIB), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `segment.index.bytes`.
    LOG_INDEX_SIZE_MAX_BYTES: Bytes = "log.index.size.max.bytes", (10 * MIB), AtLeast(4), Medium, Honoured, ClusterWide;
    /// Default of the topics' `local.retention.bytes`.
    LOG_LOCAL_RETENTION_BYTES: LongBytes = "log.local.retention.bytes", (-2), AtLeast(-2), Medium, Support::NotYet, ClusterWide;
    /// Default of the topics' `local.retention.ms`.
    LOG_LOCAL_RETENTION_MS: Ms = "log.local.retention.ms", (-2), AtLeast(-2), Medium, Support::NotYet, ClusterWide;
    /// Default of the topics' `max.compaction.lag.ms`.
    LOG_CLEANER_MAX_COMPACTION_LAG_MS: Ms = "log.cleaner.max.compaction.lag.ms", (i64::MAX), AtLeast(1), Medium, Honoured, ClusterWide;
    /// Default of the topics' `max.message.bytes`.
    MESSAGE_MAX_BYTES: Bytes = "message.max.bytes", (MIB + 12), AtLeast(0), High, Honoured, ClusterWide;
    /// Default of the topics' `message.timestamp.after.max.ms`.
    LOG_MESSAGE_TIMESTAMP_AFTER_MAX_MS: Ms = "log.message.timestamp.after.max.ms", (HOUR), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `message.timestamp.before.max.ms`.
    LOG_MESSAGE_TIMESTAMP_BEFORE_MAX_MS: Ms = "log.message.timestamp.before.max.ms", (i64::MAX), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `message.timestamp.type`.
    LOG_MESSAGE_TIMESTAMP_TYPE: Text = "log.message.timestamp.type", ("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium,
        Honoured, ClusterWide;
    /// Default of the topics' `min.cleanable.dirty.ratio`.
    LOG_CLEANER_MIN_CLEANABLE_RATIO: Double = "log.cleaner.min.cleanable.ratio", (0.5), Fraction(0.0, 1.0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `min.compaction.lag.ms`.
    LOG_CLEANER_MIN_COMPACTION_LAG_MS: Ms = "log.cleaner.min.compaction.lag.ms", (0), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Default of the topics' `min.insync.replicas`.
    MIN_INSYNC_REPLICAS: Int = "min.insync.replicas", (1), AtLeast(1), High, Honoured, ClusterWide;
    /// Default of the topics' `preallocate`.
    LOG_PREALLOCATE: Bool = "log.preallocate", (false), Any, Medium, Support::NotYet, ClusterWide;
    /// Default of the topics' `retention.bytes`.
    LOG_RETENTION_BYTES: LongBytes = "log.retention.bytes", (-1), SpecialOrAtLeast(-1, "no limit", 0), High, Honoured, ClusterWide;
    /// Default of the topics' `retention.ms`; without it, `log.retention.minutes`.
    LOG_RETENTION_MS: Option<Ms> = "log.retention.ms", (null), SpecialOrAtLeast(-1, "no limit", 0), High, Honoured, ClusterWide;
    /// Default of the topics' `retention.ms`, in minutes; without it, `log.retention.hours`.
    LOG_RETENTION_MINUTES: Option<Int> = "log.retention.minutes", (null), SpecialOrAtLeast(-1, "no limit", 1), High, Honoured;
    /// Default of the topics' `retention.ms`, in hours.
    LOG_RETENTION_HOURS: Int = "log.retention.hours", (168), SpecialOrAtLeast(-1, "no limit", 1), High, Honoured;
    /// Default of the topics' `segment.bytes`.
    LOG_SEGMENT_BYTES: Bytes = "log.segment.bytes", (GIB), AtLeast(MIB), High, Honoured, ClusterWide;
    /// Default of the topics' `segment.jitter.ms`; without it, `log.roll.jitter.hours`.
    LOG_ROLL_JITTER_MS: Option<Ms> = "log.roll.jitter.ms", (null), AtLeast(0), High, Honoured, ClusterWide;
    /// Default of the topics' `segment.jitter.ms`, in hours.
    LOG_ROLL_JITTER_HOURS: Int = "log.roll.jitter.hours", (0), AtLeast(0), High, Honoured;
    /// Default of the topics' `segment.ms`; without it, `log.roll.hours`.
    LOG_ROLL_MS: Option<Ms> = "log.roll.ms", (null), AtLeast(1), High, Honoured, ClusterWide;
    /// Default of the topics' `segment.ms`, in hours.
    LOG_ROLL_HOURS: Int = "log.roll.hours", (168), AtLeast(1), High, Honoured;
    /// Default of the topics' `unclean.leader.election.enable`.
    UNCLEAN_LEADER_ELECTION_ENABLE: Bool = "unclean.leader.election.enable", (false), Any, High, Honoured, ClusterWide;

    // The log's own work.

    /// How often retention is looked after.
    LOG_RETENTION_CHECK_INTERVAL_MS: Ms = "log.retention.check.interval.ms", (5 * MINUTE), AtLeast(1), Medium, Honoured;
    /// How often the recovery points are written.
    LOG_FLUSH_OFFSET_CHECKPOINT_INTERVAL_MS: IntMs = "log.flush.offset.checkpoint.interval.ms", (MINUTE), AtLeast(0), High, Honoured;
    /// How often the logs' start offsets are written.
    LOG_FLUSH_START_OFFSET_CHECKPOINT_INTERVAL_MS: IntMs = "log.flush.start.offset.checkpoint.interval.ms", (MINUTE), AtLeast(0), High,
        CHECKPOINTS;
    /// Whether compacted logs are cleaned.
    LOG_CLEANER_ENABLE: Bool = "log.cleaner.enable", (true), Any, Medium, Honoured;
    /// How long the cleaner rests when there is nothing to clean.
    LOG_CLEANER_BACKOFF_MS: Ms = "log.cleaner.backoff.ms", (15 * SECOND), AtLeast(0), Medium, Honoured, ClusterWide;
    /// Bytes of keys that the cleaner remembers at a time; a log with more of them takes several runs.
    LOG_CLEANER_DEDUPE_BUFFER_SIZE: LongBytes = "log.cleaner.dedupe.buffer.size", (128 * MIB), Any, Medium, Honoured, ClusterWide;
    /// Threads that clean.
    LOG_CLEANER_THREADS: Int = "log.cleaner.threads", (1), AtLeast(0), Medium, THREADS, ClusterWide;
    /// How often the high watermarks are written.
    REPLICA_HIGH_WATERMARK_CHECKPOINT_INTERVAL_MS: Ms = "replica.high.watermark.checkpoint.interval.ms", (5 * SECOND), Any, High, CHECKPOINTS;
    /// An idempotent producer that sent nothing for this long is forgotten.
    PRODUCER_ID_EXPIRATION_MS: IntMs = "producer.id.expiration.ms", (DAY), AtLeast(1), Low, Honoured, ClusterWide;

    // Fetching.

    /// The most bytes of one fetch, whatever the consumer asks.
    FETCH_MAX_BYTES: Bytes = "fetch.max.bytes", (55 * MIB), AtLeast(KIB), Medium, Honoured;
    /// Incremental fetch sessions that are kept at once.
    MAX_INCREMENTAL_FETCH_SESSION_CACHE_SLOTS: Int = "max.incremental.fetch.session.cache.slots", (1_000), AtLeast(0), Medium, Honoured;
    /// The most partitions in one reply of DescribeTopicPartitions.
    MAX_REQUEST_PARTITION_SIZE_LIMIT: Int = "max.request.partition.size.limit", (2_000), AtLeast(1), Medium, Honoured;

    // Groups and their offsets.

    /// How long the first rebalance of an empty group waits for more members.
    GROUP_INITIAL_REBALANCE_DELAY_MS: IntMs = "group.initial.rebalance.delay.ms", (3 * SECOND), AtLeast(0), Medium, Honoured;
    /// The shortest session timeout a member may ask for.
    GROUP_MIN_SESSION_TIMEOUT_MS: IntMs = "group.min.session.timeout.ms", (6 * SECOND), AtLeast(0), Medium, Honoured;
    /// The longest session timeout a member may ask for.
    GROUP_MAX_SESSION_TIMEOUT_MS: IntMs = "group.max.session.timeout.ms", (30 * MINUTE), AtLeast(0), Medium, Honoured;
    /// The most members of a group.
    GROUP_MAX_SIZE: Int = "group.max.size", (i32::MAX as i64), AtLeast(1), Medium, Honoured;
    /// The largest metadata text of a committed offset.
    OFFSET_METADATA_MAX_BYTES: Bytes = "offset.metadata.max.bytes", (4 * KIB), AtLeast(0), High, Honoured;
    /// Minutes that offsets are kept after their group is empty.
    OFFSETS_RETENTION_MINUTES: Int = "offsets.retention.minutes", (10_080), AtLeast(1), High, Honoured;
    /// How often expired offsets are looked for.
    OFFSETS_RETENTION_CHECK_INTERVAL_MS: Ms = "offsets.retention.check.interval.ms", (10 * MINUTE), AtLeast(1), High, Honoured;
    /// Partitions of `__consumer_offsets`.
    OFFSETS_TOPIC_NUM_PARTITIONS: Int = "offsets.topic.num.partitions", (50), AtLeast(1), High, Honoured;
    /// Replicas of `__consumer_offsets`.
    OFFSETS_TOPIC_REPLICATION_FACTOR: Short = "offsets.topic.replication.factor", (3), AtLeast(1), High, Honoured;
    /// Segment size of `__consumer_offsets`: small, so that it loads quickly.
    OFFSETS_TOPIC_SEGMENT_BYTES: Bytes = "offsets.topic.segment.bytes", (100 * MIB), AtLeast(1), High, Honoured;
    /// How long a commit may wait for its replicas.
    OFFSETS_COMMIT_TIMEOUT_MS: IntMs = "offsets.commit.timeout.ms", (5 * SECOND), AtLeast(1), High, Honoured;
    /// Bytes read at a time when offsets are loaded.
    OFFSETS_LOAD_BUFFER_SIZE: Bytes = "offsets.load.buffer.size", (5 * MIB), AtLeast(1), High, NoEffect("offsets are loaded from the mapped log");
    /// The kinds of group that are served.
    GROUP_COORDINATOR_REBALANCE_PROTOCOLS: List = "group.coordinator.rebalance.protocols", ("classic,consumer,streams"),
        OneOf(&["classic", "consumer", "share", "streams"]), Medium, NoEffect("classic groups are served, the others not yet");
    /// Threads of the group coordinator.
    GROUP_COORDINATOR_THREADS: Int = "group.coordinator.threads", (4), AtLeast(1), High, THREADS;

    // Accepted because Kafka's sample files set them.

    /// Whether a stopping broker hands over what it leads; without that others lead it once they miss the broker.
    CONTROLLED_SHUTDOWN_ENABLE: Bool = "controlled.shutdown.enable", (true), Any, Medium, Honoured;
    /// Whether leadership goes back to the preferred replicas by itself.
    AUTO_LEADER_REBALANCE_ENABLE: Bool = "auto.leader.rebalance.enable", (true), Any, High, Honoured;
    /// How often the controller looks for leaders that are not the preferred ones.
    LEADER_IMBALANCE_CHECK_INTERVAL_SECONDS: Long = "leader.imbalance.check.interval.seconds", (300), AtLeast(1), High, Honoured;
    /// Fetchers for each broker that is followed.
    NUM_REPLICA_FETCHERS: Int = "num.replica.fetchers", (1), AtLeast(1), High, Honoured, ClusterWide;
    /// A follower that lags for this long is out of sync.
    REPLICA_LAG_TIME_MAX_MS: Ms = "replica.lag.time.max.ms", (30 * SECOND), Any, High, Honoured;
    /// The most bytes a follower fetches of one partition.
    REPLICA_FETCH_MAX_BYTES: Bytes = "replica.fetch.max.bytes", (MIB), AtLeast(0), Medium, Honoured;
    /// The least bytes a follower waits for.
    REPLICA_FETCH_MIN_BYTES: Bytes = "replica.fetch.min.bytes", (1), Any, High, Honoured;
    /// How long a follower waits for them.
    REPLICA_FETCH_WAIT_MAX_MS: IntMs = "replica.fetch.wait.max.ms", (500), Any, High, Honoured;
    /// The most bytes of one reply to a follower.
    REPLICA_FETCH_RESPONSE_MAX_BYTES: Bytes = "replica.fetch.response.max.bytes", (10 * MIB), AtLeast(0), Medium, Honoured;
    /// How long a follower rests after an error.
    REPLICA_FETCH_BACKOFF_MS: IntMs = "replica.fetch.backoff.ms", (SECOND), AtLeast(0), Medium, Honoured;
    /// How long a follower waits for a reply.
    REPLICA_SOCKET_TIMEOUT_MS: IntMs = "replica.socket.timeout.ms", (30 * SECOND), Any, High, Honoured;
    /// How many bytes a second this broker gives to followers of throttled replicas that are not in sync
    /// (`leader.replication.throttled.replicas`).
    LEADER_REPLICATION_THROTTLED_RATE: LongBytes = "leader.replication.throttled.rate", (i64::MAX), AtLeast(0), Medium, Honoured,
        OnlyWhileRunning;
    /// How many bytes a second this broker fetches of throttled replicas (`follower.replication.throttled.replicas`).
    FOLLOWER_REPLICATION_THROTTLED_RATE: LongBytes = "follower.replication.throttled.rate", (i64::MAX), AtLeast(0), Medium, Honoured,
        OnlyWhileRunning;
    /// Over how many windows of time throttled replication is measured.
    REPLICATION_QUOTA_WINDOW_NUM: Int = "replication.quota.window.num", (11), AtLeast(1), Low, Honoured;
    /// How many seconds each of them is long.
    REPLICATION_QUOTA_WINDOW_SIZE_SECONDS: Int = "replication.quota.window.size.seconds", (1), AtLeast(1), Low, Honoured;
    /// A follower's receive buffer.
    REPLICA_SOCKET_RECEIVE_BUFFER_BYTES: Bytes = "replica.socket.receive.buffer.bytes", (64 * KIB), Any, High, ONE_BROKER;
    /// How often a broker tells the controller that it lives.
    BROKER_HEARTBEAT_INTERVAL_MS: IntMs = "broker.heartbeat.interval.ms", (2 * SECOND), Any, Medium, Honoured;
    /// How long the controller waits for that.
    BROKER_SESSION_TIMEOUT_MS: IntMs = "broker.session.timeout.ms", (9 * SECOND), Any, Medium, Honoured;
    /// How long a broker that starts waits for a controller that lets it in.
    INITIAL_BROKER_REGISTRATION_TIMEOUT_MS: IntMs = "initial.broker.registration.timeout.ms", (60 * SECOND), Any, Medium, Honoured;
    /// How long brokers and controllers wait for a reply among themselves.
    REQUEST_TIMEOUT_MS: IntMs = "request.timeout.ms", (30 * SECOND), Any, High, Honoured;
    /// Replicas of `__transaction_state`.
    TRANSACTION_STATE_LOG_REPLICATION_FACTOR: Short = "transaction.state.log.replication.factor", (3), AtLeast(1), High, NO_TRANSACTIONS;
    /// In-sync replicas that `__transaction_state` needs.
    TRANSACTION_STATE_LOG_MIN_ISR: Int = "transaction.state.log.min.isr", (2), AtLeast(1), High, NO_TRANSACTIONS;
    /// Partitions of `__transaction_state`.
    TRANSACTION_STATE_LOG_NUM_PARTITIONS: Int = "transaction.state.log.num.partitions", (50), AtLeast(1), High, NO_TRANSACTIONS;
    /// Segment size of `__transaction_state`.
    TRANSACTION_STATE_LOG_SEGMENT_BYTES: Bytes = "transaction.state.log.segment.bytes", (100 * MIB), AtLeast(1), High, NO_TRANSACTIONS;
    /// The longest transaction timeout a producer may ask for.
    TRANSACTION_MAX_TIMEOUT_MS: IntMs = "transaction.max.timeout.ms", (15 * MINUTE), AtLeast(1), High, NO_TRANSACTIONS;
    /// A transactional id that is not used for this long is forgotten.
    TRANSACTIONAL_ID_EXPIRATION_MS: IntMs = "transactional.id.expiration.ms", (7 * DAY), AtLeast(1), High, NO_TRANSACTIONS;
    /// Replicas of `__share_group_state`.
    SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR: Short = "share.coordinator.state.topic.replication.factor", (3), AtLeast(1), High,
        NO_SHARE_GROUPS;
    /// In-sync replicas that `__share_group_state` needs.
    SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR: Short = "share.coordinator.state.topic.min.isr", (2), AtLeast(1), High, NO_SHARE_GROUPS;
}
