//! Envelope (key 58): a request that a client sent to another broker, for the controller.
//!
//! Version 0 is served, on a controller's listener.
//!
//! Rules
//!   NOT_CONTROLLER    where this node does not lead: the broker asks whoever does
//!   INVALID_REQUEST   for what is no request that a broker hands on

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Context, Outcome};
use crate::broker::{Broker, Reply};
use crate::protocol::{ErrorCode, Str};
use crate::protocol::messages::envelope::{EnvelopeRequest, EnvelopeResponse};

/// How many bytes the size before a frame takes.
const SIZE: usize = 4;

pub(super) async fn handle(
    broker: &Arc<Broker>,
    _context: &Context,
    request: EnvelopeRequest,
) -> Outcome<EnvelopeResponse> {
    let refuse = |code| Outcome::Reply(EnvelopeResponse { response_data: None, error_code: code });
    if !super::is_forwarded_frame(&request.request_data) {
        return refuse(ErrorCode::INVALID_REQUEST);
    }
    let address: IpAddr = match request.client_host_address.as_ref() {
        [a, b, c, d] => [*a, *b, *c, *d].into(),
        bytes => match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => octets.into(),
            Err(_) => return refuse(ErrorCode::INVALID_REQUEST),
        },
    };
    let client = broker.connect(SocketAddr::new(address, 0), crate::broker::Listener::Client, Str::default());
    let Some(reply) = broker.answer_as_controller(&client, request.request_data).await else {
        return refuse(ErrorCode::NOT_CONTROLLER);
    };
    match reply {
        Reply::Send(frame) => {
            let response_data = Some(frame.into_bytes().slice(SIZE..));
            Outcome::Reply(EnvelopeResponse { response_data, error_code: ErrorCode::NONE })
        }
        // What a client's own broker would close the connection for.
        Reply::Nothing | Reply::Close(_) => refuse(ErrorCode::INVALID_REQUEST),
    }
}
