//! QuorumSnapshot (key 10002): a leading controller hands on its snapshot of the metadata.
//!
//! Version 0 is served, and no client is told of it: it is not Kafka's.
//!
//! Rules
//!   the quorum answers; this only hands on

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::quorum_snapshot::{QuorumSnapshotRequest, QuorumSnapshotResponse};

pub(super) async fn handle(broker: &Broker, _: &Context, request: QuorumSnapshotRequest) -> Outcome<QuorumSnapshotResponse> {
    Outcome::Reply(broker.controller().handle_snapshot(request).await)
}
