//! Heartbeat (key 12): a member says that it lives, and learns whether its group rebalances.
//!
//! Versions 0-4 are served.
//!   3  static members     4  flexible
//!
//! The rules are the coordinator's: `coordinator/groups/classic/heartbeat.rs`.

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::coordinator::Reply;
use crate::coordinator::groups::classic::heartbeat::HeartbeatRequest as Beat;
use crate::protocol::ErrorCode;
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: HeartbeatRequest,
) -> Outcome<HeartbeatResponse> {
    let beat = Beat {
        group_id: request.group_id.to_string(),
        generation_id: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(String::from),
    };
    let asked = broker.ask_group(&request.group_id, |shard, token, now| shard.heartbeat(token, &beat, now)).await;
    let error_code = match asked {
        Ok(Reply::Heartbeat(code)) => code,
        Ok(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        Err(code) => code,
    };
    Outcome::Reply(HeartbeatResponse { error_code, ..Default::default() })
}
