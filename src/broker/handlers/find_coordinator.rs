//! FindCoordinator (key 10): which broker keeps a group.
//!
//! Versions 0-6 are served.
//!   1  key types     3  flexible     4  many keys at once     5, 6  new errors, new key types
//!
//! Rules
//!   a group         this broker, once `__consumer_offsets` is there; it is made with the first question
//!   a transaction   INVALID_REQUEST: transactions are not served yet; so are share groups

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::{ErrorCode, Str};

/// The key type of a group.
const GROUP: i8 = 0;

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: FindCoordinatorRequest,
) -> Outcome<FindCoordinatorResponse> {
    let code = if request.key_type == GROUP {
        broker.ensure_offsets_topic().await.err().unwrap_or(ErrorCode::NONE)
    } else {
        ErrorCode::INVALID_REQUEST
    };
    let message = (code != ErrorCode::NONE).then(|| match request.key_type {
        GROUP => Str::from(code.message()),
        other => Str::from(format!("key type {other} has no coordinator here: only groups (0) have one")),
    });
    let node = broker.node();
    let (node_id, (host, port)) =
        if code == ErrorCode::NONE { (node.id, broker.endpoint()) } else { (-1, (Str::default(), -1)) };
    let response = if context.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
            key,
            node_id,
            host: host.clone(),
            port,
            error_code: code,
            error_message: message.clone(),
        });
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
    } else {
        let error_message = if context.version >= 1 { message } else { None };
        FindCoordinatorResponse { error_code: code, error_message, node_id, host, port, ..Default::default() }
    };
    Outcome::Reply(response)
}
