//! AllocateProducerIds (key 67): a broker gets a block of producer ids that nobody had.
//!
//! Version 0 is served, on a controller's listener.
//!
//! Rules
//!   STALE_BROKER_EPOCH   for a start of the broker that is not the newest

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::{Image, Refusal, plan};
use crate::protocol::ErrorCode;
use crate::protocol::messages::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

pub(super) async fn handle(
    broker: &Broker,
    _context: &Context,
    request: AllocateProducerIdsRequest,
) -> Outcome<AllocateProducerIdsResponse> {
    let refuse = |code| Outcome::Reply(AllocateProducerIdsResponse { error_code: code, ..Default::default() });
    if !broker.is_active_controller() {
        return refuse(ErrorCode::NOT_CONTROLLER);
    }
    let (id, epoch) = (request.broker_id, request.broker_epoch);
    let decide = move |image: &Image| {
        if image.broker(id).is_none_or(|broker| broker.epoch != epoch) {
            let sentence = format!("broker {id} is not registered at epoch {epoch}");
            return Err(Refusal::new(ErrorCode::STALE_BROKER_EPOCH, sentence));
        }
        let (first, count, record) = plan::allocate_producer_ids(image, id, epoch);
        Ok(((first, count), vec![record]))
    };
    match broker.change(decide, false).await {
        Ok((first, count)) => Outcome::Reply(AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: i32::try_from(count).unwrap_or(i32::MAX),
            ..Default::default()
        }),
        Err(refusal) => refuse(refusal.code),
    }
}
