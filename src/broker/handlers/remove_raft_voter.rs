//! RemoveRaftVoter (key 81): takes a voter out of the metadata quorum (KIP-853).
//!
//! Version 0 is served.
//!
//! Rules
//!   it stays an observer; VOTER_NOT_FOUND for one that is no voter, or of another directory
//!   the last voter stays (INVALID_REQUEST); INCONSISTENT_CLUSTER_ID for another cluster's

use super::{Context, Outcome, check_cluster};
use crate::broker::Broker;
use crate::metadata::Refusal;
use crate::protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _: &Context,
    request: RemoveRaftVoterRequest,
) -> Outcome<RemoveRaftVoterResponse> {
    let (error_code, error_message) = match remove(broker, request).await {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, Some(Str::from(refusal.message))),
    };
    Outcome::Reply(RemoveRaftVoterResponse { error_code, error_message, ..Default::default() })
}

async fn remove(broker: &Broker, request: RemoveRaftVoterRequest) -> Result<(), Refusal> {
    check_cluster(broker, request.cluster_id.as_ref())?;
    broker.controller().remove_voter(request.voter_id, request.voter_directory_id).await
}
