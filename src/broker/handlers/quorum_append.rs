//! QuorumAppend (key 10001): a leading controller hands on entries of the metadata log.
//!
//! Version 0 is served, and no client is told of it: it is not Kafka's.
//!
//! Rules
//!   the quorum answers; this only hands on

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};

pub(super) async fn handle(broker: &Broker, _: &Context, request: QuorumAppendRequest) -> Outcome<QuorumAppendResponse> {
    Outcome::Reply(broker.controller().handle_append(request).await)
}
