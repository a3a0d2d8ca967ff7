//! DescribeCluster (key 60): the brokers and which of them is the controller.
//!
//! Versions 0-2 are served.
//!   1  endpoint type (only brokers here)     2  fenced brokers
//!
//! Rules
//!   a client that asks for controllers gets UNSUPPORTED_ENDPOINT_TYPE: no listener of this broker is a controller's

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::{ErrorCode, Str};

/// The endpoint type of brokers.
const BROKERS: i8 = 1;

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: DescribeClusterRequest,
) -> Outcome<DescribeClusterResponse> {
    let node = broker.node();
    if context.version >= 1 && request.endpoint_type != BROKERS {
        let code = if request.endpoint_type == 2 {
            ErrorCode::MISMATCHED_ENDPOINT_TYPE
        } else {
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE
        };
        return Outcome::Reply(DescribeClusterResponse {
            error_code: code,
            error_message: Some(Str::from(code.message())),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        });
    }
    let with_fenced = context.version >= 2 && request.include_fenced_brokers;
    let (brokers, controller_id) = broker.controller().read(|image| {
        let brokers = image.brokers().filter(|broker| with_fenced || !broker.fenced).map(|broker| DescribeClusterBroker {
            broker_id: broker.id,
            host: Str::from(broker.endpoint.0.as_str()),
            port: i32::from(broker.endpoint.1),
            rack: broker.rack.as_deref().map(Str::from),
            is_fenced: broker.fenced,
        });
        (brokers.collect(), broker.told_controller(image))
    });
    Outcome::Reply(DescribeClusterResponse {
        cluster_id: node.cluster_id.clone(),
        controller_id,
        brokers,
        ..Default::default()
    })
}
