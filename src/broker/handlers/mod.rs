//! One file an API: what each version means and what the rules are stands on its top.
//!
//! The table below is all there is to register: a line in it makes an API served, and so advertised. Each handler gets
//! its own request, decoded, and returns an [`Outcome`]; none sees a frame, a socket or another handler.

mod fetch_replica;
mod refusals;

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use super::{Broker, Connection, Listener, Reply, ReplyFuture};
use crate::log::{AppendError, ReadError};
use crate::metadata::Refusal;
use crate::protocol::messages::api_versions::ApiVersionsRequest;
use crate::protocol::{
    ApiKey, Decoder, EncodeError, ErrorCode, Frame, Request, RequestHeader, Str, decode_request_header, encode_response,
};
use crate::replica::WriteError;

pub use refusals::{can_be_refused, can_be_refused_for_a_topic};

/// One line an API: its key, and the module whose `handle` answers it. What is `for the controller` is handed on to the
/// active controller wherever it comes in.
macro_rules! served {
    ($($key:ident => $module:ident $(, for the $controller:ident)?;)*) => {
        $(mod $module;)*

        /// Whether only the active controller can answer `key`.
        fn is_forwarded(key: ApiKey) -> bool {
            match key {
                $(ApiKey::$key => false $(|| stringify!($controller) == "controller")?,)*
                #[allow(unreachable_patterns)]
                _ => false,
            }
        }

        /// The APIs that this broker serves.
        pub(super) const SERVED: &[ApiKey] = &[$(ApiKey::$key),*];

        fn dispatch(broker: Arc<Broker>, context: Context, header: RequestHeader, body: Decoder) -> ReplyFuture {
            match header.api_key {
                $(ApiKey::$key => Box::pin(async move {
                    let (request, kind) = match decode(&header, body) {
                        Ok(decoded) => decoded,
                        Err(reply) => return reply,
                    };
                    encode(&header, kind, $module::handle(&broker, &context, request).await)
                }),)*
                #[allow(unreachable_patterns)]
                key => Box::pin(std::future::ready(Reply::Close(format!("{key} is not served yet")))),
            }
        }
    };
}

served! {
    Produce => produce;
    Fetch => fetch;
    ListOffsets => list_offsets;
    Metadata => metadata;
    OffsetCommit => offset_commit;
    OffsetFetch => offset_fetch;
    FindCoordinator => find_coordinator;
    JoinGroup => join_group;
    Heartbeat => heartbeat;
    LeaveGroup => leave_group;
    SyncGroup => sync_group;
    DescribeGroups => describe_groups;
    ListGroups => list_groups;
    ApiVersions => api_versions;
    CreateTopics => create_topics, for the controller;
    DeleteTopics => delete_topics, for the controller;
    DeleteRecords => delete_records;
    InitProducerId => init_producer_id;
    OffsetForLeaderEpoch => offset_for_leader_epoch;
    DescribeConfigs => describe_configs;
    AlterConfigs => alter_configs, for the controller;
    DescribeLogDirs => describe_log_dirs;
    CreatePartitions => create_partitions, for the controller;
    DeleteGroups => delete_groups;
    ElectLeaders => elect_leaders, for the controller;
    IncrementalAlterConfigs => incremental_alter_configs, for the controller;
    AlterPartitionReassignments => alter_partition_reassignments, for the controller;
    ListPartitionReassignments => list_partition_reassignments, for the controller;
    OffsetDelete => offset_delete;
    DescribeQuorum => describe_quorum, for the controller;
    AlterPartition => alter_partition;
    UpdateFeatures => update_features, for the controller;
    Envelope => envelope;
    DescribeCluster => describe_cluster;
    DescribeProducers => describe_producers;
    BrokerRegistration => broker_registration;
    BrokerHeartbeat => broker_heartbeat;
    UnregisterBroker => unregister_broker, for the controller;
    AllocateProducerIds => allocate_producer_ids;
    ListConfigResources => list_config_resources;
    DescribeTopicPartitions => describe_topic_partitions;
    AddRaftVoter => add_raft_voter, for the controller;
    RemoveRaftVoter => remove_raft_voter, for the controller;
    QuorumVote => quorum_vote;
    QuorumAppend => quorum_append;
    QuorumSnapshot => quorum_snapshot;
    QuorumHello => quorum_hello;
}

/// Who asks, and in which version.
#[derive(Debug)]
struct Context {
    /// The version of the request and of its reply.
    version: i16,
    /// What the client calls itself.
    client_id: Option<Str>,
    /// Where the request came from.
    connection: Arc<Connection>,
}

impl Context {
    /// What the client calls itself; empty where it does not say.
    fn client_id(&self) -> String {
        self.client_id.as_deref().unwrap_or_default().to_owned()
    }

    /// The name of the listener that it came by: it is told where others are by that one.
    fn listener(&self) -> &str {
        &self.connection.listener_name
    }

    /// Where the client is, as Kafka writes it.
    fn client_host(&self) -> String {
        format!("/{}", self.connection.peer.ip())
    }
}

/// What a handler returns.
#[derive(Debug)]
enum Outcome<R> {
    /// A reply.
    Reply(R),
    /// No reply is due (a produce with acks 0).
    Nothing,
    /// The connection is closed, with a reason for the broker's log.
    Close(String),
}

/// Works on the request in `frame`, here or where the active controller is, unless it is to be refused.
pub(super) fn handle(broker: &Arc<Broker>, connection: &Arc<Connection>, frame: Bytes) -> ReplyFuture {
    match refusals::refused(broker, connection, &frame) {
        Some(refused) => refused,
        None => work(broker, connection, frame),
    }
}

/// Works on the request in `frame`, here or where the active controller is.
fn work(broker: &Arc<Broker>, connection: &Arc<Connection>, frame: Bytes) -> ReplyFuture {
    if is_forwarded_frame(&frame) {
        let (broker, connection) = (broker.clone(), connection.clone());
        return Box::pin(async move {
            match broker.answer_as_controller(&connection, frame.clone()).await {
                Some(reply) => reply,
                None => broker.forward(connection, frame).await,
            }
        });
    }
    answer(broker, connection, frame)
}

/// Whether `frame` is a request that only the active controller can answer.
fn is_forwarded_frame(frame: &Bytes) -> bool {
    let key = frame.first_chunk().map(|key| i16::from_be_bytes(*key));
    key.and_then(ApiKey::from_i16).is_some_and(is_forwarded)
}

/// Works on the request in `frame` here.
pub(super) fn answer(broker: &Arc<Broker>, connection: &Arc<Connection>, frame: Bytes) -> ReplyFuture {
    let (header, body) = match decode_request_header(frame) {
        Ok(parts) => parts,
        Err(error) => return close(error.to_string()),
    };
    let (key, version) = (header.api_key, header.api_version);
    if key.spec().internal && connection.listener == Listener::Client {
        return close(format!("{key} is for brokers and controllers among themselves, on a controller's listener"));
    }
    if !key.spec().served.contains(version) {
        if key == ApiKey::ApiVersions {
            let told = api_versions::unsupported(connection.listener);
            let reply = encode_response::<ApiVersionsRequest>(&told, 0, header.correlation_id);
            return Box::pin(std::future::ready(sent(reply)));
        }
        return close(format!("{key} version {version} is not served"));
    }
    if connection.listener == Listener::Controller && !is_for_controllers(key) {
        return close(format!("{key} is for brokers: this is a controller's listener"));
    }
    let context = Context { version, client_id: header.client_id.clone(), connection: connection.clone() };
    dispatch(broker.clone(), context, header, body)
}

/// Whether `key` is answered on a controller's listener: what nodes ask among themselves, and what an admin client may want of
/// controllers alone.
fn is_for_controllers(key: ApiKey) -> bool {
    let also = matches!(key, ApiKey::ApiVersions | ApiKey::DescribeCluster | ApiKey::DescribeConfigs);
    key.spec().internal || is_forwarded(key) || also
}

fn close(reason: String) -> ReplyFuture {
    Box::pin(std::future::ready(Reply::Close(reason)))
}

/// The request, and its type for the reply.
fn decode<R: Request>(header: &RequestHeader, mut body: Decoder) -> Result<(R, PhantomData<R>), Reply> {
    let request = R::decode(&mut body, header.api_version);
    request.map(|request| (request, PhantomData)).map_err(|error| Reply::Close(error.to_string()))
}

fn encode<R: Request>(header: &RequestHeader, _: PhantomData<R>, outcome: Outcome<R::Response>) -> Reply {
    match outcome {
        Outcome::Reply(response) => sent(encode_response::<R>(&response, header.api_version, header.correlation_id)),
        Outcome::Nothing => Reply::Nothing,
        Outcome::Close(reason) => Reply::Close(reason),
    }
}

fn sent(reply: Result<Frame, EncodeError>) -> Reply {
    match reply {
        Ok(frame) => Reply::Send(frame),
        Err(error) => Reply::Close(format!("a reply cannot be told: {error}")),
    }
}

/// The code of an append that failed.
pub(super) fn append_error_code(error: &WriteError) -> ErrorCode {
    let error = match error {
        WriteError::NotLeader(_) => return ErrorCode::NOT_LEADER_OR_FOLLOWER,
        WriteError::NotEnoughReplicas { .. } => return ErrorCode::NOT_ENOUGH_REPLICAS,
        WriteError::Log(error) => error,
    };
    match error {
        AppendError::CorruptMessage(_) => ErrorCode::CORRUPT_MESSAGE,
        AppendError::UnsupportedMagic(_) | AppendError::InvalidRecord { .. } => ErrorCode::INVALID_RECORD,
        AppendError::InvalidTimestamp { .. } => ErrorCode::INVALID_TIMESTAMP,
        AppendError::MessageTooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::RecordListTooLarge { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
        AppendError::UnsupportedCompression(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        AppendError::InvalidProducerEpoch(_) => ErrorCode::INVALID_PRODUCER_EPOCH,
        // Only followers are told an offset, and they append nothing here.
        AppendError::UnexpectedOffset { .. } => ErrorCode::UNKNOWN_SERVER_ERROR,
        AppendError::Storage(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

/// The code of a log that cannot be read.
fn read_error_code(error: ReadError) -> ErrorCode {
    tracing::error!(%error, "a log could not be read");
    ErrorCode::KAFKA_STORAGE_ERROR
}

/// Refuses what is meant for another cluster.
fn check_cluster(broker: &Broker, cluster_id: Option<&Str>) -> Result<(), Refusal> {
    let ours = &broker.node().cluster_id;
    match cluster_id.filter(|cluster_id| *cluster_id != ours) {
        Some(other) => {
            let sentence = format!("the request is for cluster {other}, and this is cluster {ours}");
            Err(Refusal::new(ErrorCode::INCONSISTENT_CLUSTER_ID, sentence))
        }
        None => Ok(()),
    }
}
