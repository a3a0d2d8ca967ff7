//! UnregisterBroker (key 64): takes a broker that is gone for good out of the cluster.
//!
//! Version 0 is served.
//!
//! Rules
//!   BROKER_ID_NOT_REGISTERED   where there is none
//!   one that still lives       registers again with its next heartbeat

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::{Image, plan};
use crate::protocol::Str;
use crate::protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: UnregisterBrokerRequest,
) -> Outcome<UnregisterBrokerResponse> {
    let id = request.broker_id;
    let decide = move |image: &Image| plan::unregister_broker(image, id).map(|records| ((), records));
    Outcome::Reply(match broker.change(decide, false).await {
        Ok(()) => {
            broker.end_session(id);
            UnregisterBrokerResponse::default()
        }
        Err(refusal) => UnregisterBrokerResponse {
            error_code: refusal.code,
            error_message: Some(Str::from(refusal.message)),
            ..Default::default()
        },
    })
}
