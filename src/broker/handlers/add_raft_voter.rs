//! AddRaftVoter (key 80): makes a node a voter of the metadata quorum (KIP-853).
//!
//! Versions 0-1 are served.
//!   1  whether to wait until the change is committed: it is always waited for
//!
//! Rules
//!   the node first catches up as an observer, and stays one where it does not within timeout_ms (REQUEST_TIMED_OUT)
//!   DUPLICATE_VOTER for one that is a voter; INCONSISTENT_CLUSTER_ID for another cluster's

use std::time::Duration;

use super::{Context, Outcome, check_cluster};
use crate::broker::Broker;
use crate::controller::Voter;
use crate::metadata::Refusal;
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use crate::protocol::{ErrorCode, Str};

pub(super) async fn handle(
    broker: &Broker,
    _: &Context,
    request: AddRaftVoterRequest,
) -> Outcome<AddRaftVoterResponse> {
    let (error_code, error_message) = match add(broker, request).await {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, Some(Str::from(refusal.message))),
    };
    Outcome::Reply(AddRaftVoterResponse { error_code, error_message, ..Default::default() })
}

async fn add(broker: &Broker, request: AddRaftVoterRequest) -> Result<(), Refusal> {
    check_cluster(broker, request.cluster_id.as_ref())?;
    let Some(listener) = request.listeners.first().filter(|listener| !listener.host.is_empty() && listener.port > 0)
    else {
        let sentence = format!("voter {} names no listener: the others cannot reach it", request.voter_id);
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
    };
    if request.voter_id < 0 {
        let sentence = format!("the voter's id is {}: it must be at least 0", request.voter_id);
        return Err(Refusal::new(ErrorCode::INVALID_REQUEST, sentence));
    }
    let voter = Voter {
        id: request.voter_id,
        directory_id: request.voter_directory_id,
        host: listener.host.to_string(),
        port: listener.port,
    };
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    broker.controller().add_voter(voter, timeout).await
}
