//! InitProducerId (key 22): hands an id to a producer, so that what it sends again is known again.
//!
//! Versions 0-6 are served.
//!   2  flexible     3  a producer may name the id and epoch it has (KIP-360)     6  two-phase commit
//!
//! Rules
//!   no transactional id   a fresh id with epoch 0
//!   transactional id      refused: transactions are not served yet, and none is advertised

use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::ErrorCode;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: InitProducerIdRequest,
) -> Outcome<InitProducerIdResponse> {
    let refuse = |code: ErrorCode| {
        Outcome::Reply(InitProducerIdResponse {
            error_code: code,
            producer_epoch: -1,
            ..Default::default()
        })
    };
    if request.transactional_id.is_some() {
        return refuse(ErrorCode::INVALID_REQUEST);
    }
    match broker.next_producer_id().await {
        Ok(producer_id) => Outcome::Reply(InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }),
        Err(code) => refuse(code),
    }
}
