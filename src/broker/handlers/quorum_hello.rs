//! QuorumHello (key 10003): a node says who it is, asks who leads the metadata quorum, and may want in.
//!
//! Version 0 is served, and no client is told of it: it is not Kafka's.
//!
//! Rules
//!   the quorum answers; this only hands on

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::quorum_hello::{QuorumHelloRequest, QuorumHelloResponse};

pub(super) async fn handle(broker: &Broker, _: &Context, request: QuorumHelloRequest) -> Outcome<QuorumHelloResponse> {
    Outcome::Reply(broker.controller().handle_hello(request).await)
}
