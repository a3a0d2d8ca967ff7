//! QuorumVote (key 10000): a controller asks for this one's vote.
//!
//! Version 0 is served, and no client is told of it: it is not Kafka's.
//!
//! Rules
//!   the quorum answers; this only hands on

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::quorum_vote::{QuorumVoteRequest, QuorumVoteResponse};

pub(super) async fn handle(broker: &Broker, _: &Context, request: QuorumVoteRequest) -> Outcome<QuorumVoteResponse> {
    Outcome::Reply(broker.controller().handle_vote(request).await)
}
