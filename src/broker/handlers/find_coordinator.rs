//! FindCoordinator (key 10): which broker keeps a group.
//!
//! Versions 0-6 are served.
//!   1  key types     3  flexible     4  many keys at once     5, 6  new errors, new key types
//!
//! Rules
//!   a group         whoever leads its partition of `__consumer_offsets`, which is made with the first question;
//!                   COORDINATOR_NOT_AVAILABLE while nobody does
//!   a transaction   INVALID_REQUEST: transactions are not served yet; so are share groups

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::{ErrorCode, Str};

/// The key type of a group.
const GROUP: i8 = 0;

pub(super) async fn handle(
    broker: &Arc<Broker>,
    context: &Context,
    request: FindCoordinatorRequest,
) -> Outcome<FindCoordinatorResponse> {
    let keys = if context.version >= 4 { request.coordinator_keys } else { vec![request.key] };
    let ready = match request.key_type {
        GROUP => broker.ensure_offsets_topic().await,
        _ => Err(ErrorCode::INVALID_REQUEST),
    };
    let coordinators = keys.into_iter().map(|key| {
        let found = ready.and_then(|()| broker.coordinator_of(&key, context.listener()));
        let (code, (node_id, host, port)) = match found {
            Ok(endpoint) => (ErrorCode::NONE, endpoint),
            Err(code) => (code, (-1, Str::default(), -1)),
        };
        let error_message = (code != ErrorCode::NONE).then(|| match request.key_type {
            GROUP => Str::from(code.message()),
            other => Str::from(format!("key type {other} has no coordinator here: only groups (0) have one")),
        });
        Coordinator { key, node_id, host, port, error_code: code, error_message }
    });
    let mut coordinators: Vec<Coordinator> = coordinators.collect();
    let response = if context.version >= 4 {
        FindCoordinatorResponse { coordinators, ..Default::default() }
    } else {
        let Coordinator { error_code, error_message, node_id, host, port, .. } =
            coordinators.pop().unwrap_or_default();
        let error_message = error_message.filter(|_| context.version >= 1);
        FindCoordinatorResponse { error_code, error_message, node_id, host, port, ..Default::default() }
    };
    Outcome::Reply(response)
}
