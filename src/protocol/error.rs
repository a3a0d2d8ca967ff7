//! Every error code of Kafka, said once: code, name, whether to try again, and what it means.
//!
//! A code that is not in the table keeps its number, so that it can be passed on and printed, and otherwise stands for
//! UNKNOWN_SERVER_ERROR.

use std::fmt;

use super::primitives::{DecodeError, Decoder, EncodeError, Encoder, Entropy, Version, Wire};

/// What a response says went wrong; [`ErrorCode::NONE`] if nothing did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(i16);

/// One line of the table.
struct Line {
    code: i16,
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

macro_rules! retriable {
    (retriable) => {
        true
    };
    (final) => {
        false
    };
}

macro_rules! errors {
    ($($code:literal $name:ident $retriable:tt $message:literal;)+) => {
        impl ErrorCode {
            $(
                #[doc = concat!($message, " (", $code, ")")]
                pub const $name: ErrorCode = ErrorCode($code);
            )+
        }

        /// The table, from -1 on without a gap.
        const LINES: &[Line] = &[
            $(Line {
                code: $code,
                name: stringify!($name),
                retriable: retriable!($retriable),
                message: $message,
            }),+
        ];
    };
}

errors! {
    -1 UNKNOWN_SERVER_ERROR final "The broker met an error that it did not expect; its log says more.";
    0 NONE final "No error.";
    1 OFFSET_OUT_OF_RANGE final "The offset is not between the start and the end of the log.";
    2 CORRUPT_MESSAGE retriable "A batch is damaged: its checksum, its size or its form is not right.";
    3 UNKNOWN_TOPIC_OR_PARTITION retriable "This broker knows no such topic or partition.";
    4 INVALID_FETCH_SIZE final "The fetch size is not allowed.";
    5 LEADER_NOT_AVAILABLE retriable "The partition has no leader at this moment.";
    6 NOT_LEADER_OR_FOLLOWER retriable "This broker does not lead the partition, or holds no replica of it.";
    7 REQUEST_TIMED_OUT retriable "The time allowed for the request ran out.";
    8 BROKER_NOT_AVAILABLE final "The broker is not available.";
    9 REPLICA_NOT_AVAILABLE retriable "The replica is not available.";
    10 MESSAGE_TOO_LARGE final "A batch is larger than the broker or the topic allows (max.message.bytes).";
    11 STALE_CONTROLLER_EPOCH final "The controller's reign has passed to another.";
    12 OFFSET_METADATA_TOO_LARGE final "The metadata text of a committed offset is too long (offset.metadata.max.bytes).";
    13 NETWORK_EXCEPTION retriable "The connection broke before the response arrived.";
    14 COORDINATOR_LOAD_IN_PROGRESS retriable "The coordinator is still reading its log.";
    15 COORDINATOR_NOT_AVAILABLE retriable "The coordinator is not available.";
    16 NOT_COORDINATOR retriable "This broker is not the coordinator.";
    17 INVALID_TOPIC_EXCEPTION final "The topic's name is not allowed, or the topic may not be used so.";
    18 RECORD_LIST_TOO_LARGE final "The batches are larger than a segment may be (segment.bytes).";
    19 NOT_ENOUGH_REPLICAS retriable "Fewer replicas are in sync than min.insync.replicas asks for; nothing was written.";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable "The records were written, but then fewer replicas were in sync than min.insync.replicas asks for.";
    21 INVALID_REQUIRED_ACKS final "acks must be 0, 1 or -1 (all).";
    22 ILLEGAL_GENERATION final "The group is in another generation.";
    23 INCONSISTENT_GROUP_PROTOCOL final "The member shares no protocol with the group, or named none.";
    24 INVALID_GROUP_ID final "The group's id is not allowed.";
    25 UNKNOWN_MEMBER_ID final "The group has no such member.";
    26 INVALID_SESSION_TIMEOUT final "The session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms.";
    27 REBALANCE_IN_PROGRESS final "The group is rebalancing: the member must join again.";
    28 INVALID_COMMIT_OFFSET_SIZE final "The committed offsets are larger than the broker can store.";
    29 TOPIC_AUTHORIZATION_FAILED final "The topic may not be accessed so by this principal.";
    30 GROUP_AUTHORIZATION_FAILED final "The group may not be accessed so by this principal.";
    31 CLUSTER_AUTHORIZATION_FAILED final "The cluster may not be accessed so by this principal.";
    32 INVALID_TIMESTAMP final "A record's timestamp is too far from the broker's time.";
    33 UNSUPPORTED_SASL_MECHANISM final "The broker does not speak this SASL mechanism.";
    34 ILLEGAL_SASL_STATE final "The request does not fit the state of the authentication.";
    35 UNSUPPORTED_VERSION final "The broker does not speak this version of the API.";
    36 TOPIC_ALREADY_EXISTS final "A topic of this name exists.";
    37 INVALID_PARTITIONS final "The number of partitions must be at least 1, and may only grow.";
    38 INVALID_REPLICATION_FACTOR final "The replication factor must be at least 1 and at most the number of brokers.";
    39 INVALID_REPLICA_ASSIGNMENT final "The assignment of replicas does not hold together.";
    40 INVALID_CONFIG final "A config's value is not allowed.";
    41 NOT_CONTROLLER retriable "This is not the controller.";
    42 INVALID_REQUEST final "The request contradicts itself, or asks for what this broker never does.";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT final "The log's message format cannot answer this request.";
    44 POLICY_VIOLATION final "The broker's policy refuses the request.";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER final "A batch's sequence number leaves a gap.";
    46 DUPLICATE_SEQUENCE_NUMBER final "A batch's sequence number was used before.";
    47 INVALID_PRODUCER_EPOCH final "The producer's epoch is older than the one the broker knows.";
    48 INVALID_TXN_STATE final "The transaction is in a state that does not allow this.";
    49 INVALID_PRODUCER_ID_MAPPING final "The producer id does not belong to the transactional id.";
    50 INVALID_TRANSACTION_TIMEOUT final "The transaction timeout is over transaction.max.timeout.ms.";
    51 CONCURRENT_TRANSACTIONS retriable "Another operation on the same transaction is under way.";
    52 TRANSACTION_COORDINATOR_FENCED final "The transaction coordinator that asks has been replaced.";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED final "The transactional id may not be used by this principal.";
    54 SECURITY_DISABLED final "Security is switched off.";
    55 OPERATION_NOT_ATTEMPTED final "Not tried, because another part of the request failed.";
    56 KAFKA_STORAGE_ERROR retriable "The disk under the log failed.";
    57 LOG_DIR_NOT_FOUND final "There is no such log dir.";
    58 SASL_AUTHENTICATION_FAILED final "The authentication failed.";
    59 UNKNOWN_PRODUCER_ID final "The broker has forgotten the producer.";
    60 REASSIGNMENT_IN_PROGRESS final "The partition's replicas are being moved.";
    61 DELEGATION_TOKEN_AUTH_DISABLED final "Delegation tokens are switched off.";
    62 DELEGATION_TOKEN_NOT_FOUND final "There is no such delegation token.";
    63 DELEGATION_TOKEN_OWNER_MISMATCH final "The principal neither owns the delegation token nor may renew it.";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED final "Delegation tokens may not be asked for over this connection.";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED final "The delegation token may not be accessed by this principal.";
    66 DELEGATION_TOKEN_EXPIRED final "The delegation token has expired.";
    67 INVALID_PRINCIPAL_TYPE final "The principal's type is not known.";
    68 NON_EMPTY_GROUP final "The group has members.";
    69 GROUP_ID_NOT_FOUND final "There is no such group.";
    70 FETCH_SESSION_ID_NOT_FOUND retriable "There is no such fetch session.";
    71 INVALID_FETCH_SESSION_EPOCH retriable "The fetch session is at another epoch.";
    72 LISTENER_NOT_FOUND retriable "The leader has no listener of the name the client came in by.";
    73 TOPIC_DELETION_DISABLED final "Topics may not be deleted here (delete.topic.enable).";
    74 FENCED_LEADER_EPOCH retriable "The client's leader epoch is older than the broker's.";
    75 UNKNOWN_LEADER_EPOCH retriable "The client's leader epoch is newer than the broker's.";
    76 UNSUPPORTED_COMPRESSION_TYPE final "The client cannot read the compression of this partition.";
    77 STALE_BROKER_EPOCH final "The broker has registered again since.";
    78 OFFSET_NOT_AVAILABLE retriable "The new leader does not know yet how far the records are committed.";
    79 MEMBER_ID_REQUIRED final "The member must join again with the id it was given.";
    80 PREFERRED_LEADER_NOT_AVAILABLE retriable "The preferred leader is not available.";
    81 GROUP_MAX_SIZE_REACHED final "The group is full (group.max.size).";
    82 FENCED_INSTANCE_ID final "Another member has taken over this group.instance.id.";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retriable "None of the replicas that may lead is available.";
    84 ELECTION_NOT_NEEDED retriable "The partition has the right leader already.";
    85 NO_REASSIGNMENT_IN_PROGRESS final "The partition's replicas are not being moved.";
    86 GROUP_SUBSCRIBED_TO_TOPIC final "The group is reading the topic: its offsets may not be deleted.";
    87 INVALID_RECORD final "A record is not allowed here.";
    88 UNSTABLE_OFFSET_COMMIT retriable "A transaction on the offsets is still open.";
    89 THROTTLING_QUOTA_EXCEEDED retriable "A quota is used up.";
    90 PRODUCER_FENCED final "Another producer with the same transactional id has taken over.";
    91 RESOURCE_NOT_FOUND final "There is no such resource.";
    92 DUPLICATE_RESOURCE final "The request names a resource twice.";
    93 UNACCEPTABLE_CREDENTIAL final "The credential is not good enough.";
    94 INCONSISTENT_VOTER_SET final "The voters that sender and receiver know are not the same.";
    95 INVALID_UPDATE_VERSION final "The feature's level may not be changed to this.";
    96 FEATURE_UPDATE_FAILED final "The features could not be changed.";
    97 PRINCIPAL_DESERIALIZATION_FAILURE final "The forwarded principal could not be read.";
    98 SNAPSHOT_NOT_FOUND final "There is no such snapshot.";
    99 POSITION_OUT_OF_RANGE final "The position is not inside the snapshot.";
    100 UNKNOWN_TOPIC_ID retriable "This broker knows no topic of this id.";
    101 DUPLICATE_BROKER_REGISTRATION final "A broker of this id is registered.";
    102 BROKER_ID_NOT_REGISTERED final "No broker of this id is registered.";
    103 INCONSISTENT_TOPIC_ID retriable "The log belongs to another topic of the same name.";
    104 INCONSISTENT_CLUSTER_ID final "The request is for another cluster.";
    105 TRANSACTIONAL_ID_NOT_FOUND final "There is no such transactional id.";
    106 FETCH_SESSION_TOPIC_ID_ERROR retriable "The fetch session knows the topic by another id.";
    107 INELIGIBLE_REPLICA final "A replica may not be in sync: it is fenced or shutting down.";
    108 NEW_LEADER_ELECTED final "The change was made, and made another replica the leader.";
    109 OFFSET_MOVED_TO_TIERED_STORAGE final "The offset has moved to the remote tier.";
    110 FENCED_MEMBER_EPOCH final "The member's epoch is not the one the group knows: it must drop its partitions and join again.";
    111 UNRELEASED_INSTANCE_ID final "Another member still uses this group.instance.id.";
    112 UNSUPPORTED_ASSIGNOR final "The group has no such assignor.";
    113 STALE_MEMBER_EPOCH final "The member's epoch is old: it must take in the latest heartbeat's answer and try again.";
    114 MISMATCHED_ENDPOINT_TYPE final "This listener is for the other kind of request (brokers or controllers).";
    115 UNSUPPORTED_ENDPOINT_TYPE final "This kind of endpoint is not known.";
    116 UNKNOWN_CONTROLLER_ID final "There is no controller of this id.";
    117 UNKNOWN_SUBSCRIPTION_ID final "The telemetry subscription is old or not known.";
    118 TELEMETRY_TOO_LARGE final "The telemetry is larger than the broker takes.";
    119 INVALID_REGISTRATION final "The controller finds fault with the broker's registration.";
    120 TRANSACTION_ABORTABLE final "The transaction cannot go on and must be aborted; the producer may then continue.";
    121 INVALID_RECORD_STATE final "The record is not in a state to be acknowledged so.";
    122 SHARE_SESSION_NOT_FOUND retriable "There is no such share session.";
    123 INVALID_SHARE_SESSION_EPOCH retriable "The share session is at another epoch.";
    124 FENCED_STATE_EPOCH final "The share group's state is at another epoch.";
    125 INVALID_VOTER_KEY final "The voter's key is not this replica's.";
    126 DUPLICATE_VOTER final "The replica is a voter already.";
    127 VOTER_NOT_FOUND final "The replica is not a voter.";
    128 INVALID_REGULAR_EXPRESSION final "The regular expression cannot be read.";
    129 REBOOTSTRAP_REQUIRED final "What the client knows of the cluster is too old: it must start again from its bootstrap servers.";
    130 STREAMS_INVALID_TOPOLOGY final "The streams topology is not allowed.";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH final "The streams topology's epoch is not allowed.";
    132 STREAMS_TOPOLOGY_FENCED final "The streams topology's epoch is old.";
    133 SHARE_SESSION_LIMIT_REACHED retriable "The broker keeps no more share sessions.";
}

impl ErrorCode {
    /// The code with this number, which need not be in the table.
    pub const fn from_code(code: i16) -> ErrorCode {
        ErrorCode(code)
    }

    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self.0
    }

    fn known(self) -> Option<&'static Line> {
        LINES.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }

    fn line(self) -> &'static Line {
        self.known().unwrap_or(&LINES[0])
    }

    /// Kafka's name; that of UNKNOWN_SERVER_ERROR for a code that is not in the table.
    pub fn name(self) -> &'static str {
        self.line().name
    }

    /// Whether the same request may succeed later.
    pub fn retriable(self) -> bool {
        self.line().retriable
    }

    /// What it means, as a sentence.
    pub fn message(self) -> &'static str {
        self.line().message
    }

    /// Whether the code is in the table.
    pub fn is_known(self) -> bool {
        self.known().is_some()
    }

    /// Whether nothing went wrong.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// `Ok` if nothing went wrong, else the code as an error.
    pub const fn ok(self) -> Result<(), ErrorCode> {
        if self.is_none() { Ok(()) } else { Err(self) }
    }

    /// Every code of the table.
    pub fn all() -> impl Iterator<Item = ErrorCode> {
        LINES.iter().map(|line| ErrorCode(line.code))
    }
}

impl fmt::Display for ErrorCode {
    /// The name and the sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() {
            write!(f, "{}: {}", self.name(), self.message())
        } else {
            write!(f, "{} (code {}): {}", self.name(), self.0, self.message())
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() { f.write_str(self.name()) } else { write!(f, "ErrorCode({})", self.0) }
    }
}

impl std::error::Error for ErrorCode {}

impl Wire for ErrorCode {
    const MIN_LEN: usize = 2;

    #[inline]
    fn read(decoder: &mut Decoder, _version: Version) -> Result<Self, DecodeError> {
        decoder.i16().map(ErrorCode)
    }

    #[inline]
    fn write(&self, encoder: &mut Encoder, _version: Version) -> Result<(), EncodeError> {
        encoder.i16(self.0);
        Ok(())
    }

    fn sample<E: Entropy>(entropy: &mut E, _version: Version) -> Self {
        ErrorCode(entropy.below(135) as i16 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_gap_and_no_name_twice() {
        for (index, line) in LINES.iter().enumerate() {
            assert_eq!(i32::from(line.code), index as i32 - 1, "{}", line.name);
        }
        let mut names: Vec<_> = LINES.iter().map(|line| line.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LINES.len());
    }

    #[test]
    fn codes_have_the_names_that_kafka_gives_them() {
        let known = [
            (ErrorCode::UNKNOWN_SERVER_ERROR, -1, false),
            (ErrorCode::NONE, 0, false),
            (ErrorCode::OFFSET_OUT_OF_RANGE, 1, false),
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, 6, true),
            (ErrorCode::REBALANCE_IN_PROGRESS, 27, false),
            (ErrorCode::KAFKA_STORAGE_ERROR, 56, true),
            (ErrorCode::INVALID_RECORD, 87, false),
            (ErrorCode::UNKNOWN_TOPIC_ID, 100, true),
            (ErrorCode::SHARE_SESSION_LIMIT_REACHED, 133, true),
        ];
        for (error, code, retriable) in known {
            assert_eq!((error.code(), error.retriable()), (code, retriable), "{error:?}");
        }
    }

    #[test]
    fn an_unknown_code_keeps_its_number() {
        let error = ErrorCode::from_code(999);
        assert_eq!((error.code(), error.name(), error.retriable()), (999, "UNKNOWN_SERVER_ERROR", false));
        assert!(!error.is_known() && error.to_string().contains("999"));
        assert_eq!(ErrorCode::from_code(i16::MIN).name(), "UNKNOWN_SERVER_ERROR");
        assert_eq!(ErrorCode::from_code(i16::MAX).name(), "UNKNOWN_SERVER_ERROR");
    }
}
