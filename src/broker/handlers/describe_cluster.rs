//! DescribeCluster (key 60): the brokers and which of them is the controller.
//!
//! Versions 0-2 are served.
//!   1  endpoint type     2  fenced brokers
//!
//! Rules
//!   a listener tells of those that it is for: brokers, or on a controller's listener the voters of the metadata quorum and who
//!   leads it; and brokers by where their listener of the same name is, those alone that have one. Who asks for the others gets MISMATCHED_ENDPOINT_TYPE, and UNSUPPORTED_ENDPOINT_TYPE for what is neither

use super::{Context, Outcome};
use crate::broker::{Broker, Listener};
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::{ErrorCode, Str};

/// The endpoint types.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: DescribeClusterRequest,
) -> Outcome<DescribeClusterResponse> {
    let node = broker.node();
    let told = match context.connection.listener {
        Listener::Client => BROKERS,
        Listener::Controller => CONTROLLERS,
    };
    if context.version >= 1 && request.endpoint_type != told {
        let code = match request.endpoint_type {
            BROKERS | CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
        };
        return Outcome::Reply(DescribeClusterResponse {
            error_code: code,
            error_message: Some(Str::from(code.message())),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        });
    }
    if told == CONTROLLERS {
        return Outcome::Reply(controllers(broker));
    }
    let with_fenced = context.version >= 2 && request.include_fenced_brokers;
    let (brokers, controller_id) = broker.controller().read(|image| {
        let brokers = image.brokers().filter(|broker| with_fenced || !broker.fenced).filter_map(|broker| {
            let endpoint = broker.endpoint(context.listener())?;
            Some(DescribeClusterBroker {
                broker_id: broker.id,
                host: Str::from(endpoint.host.as_str()),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(Str::from),
                is_fenced: broker.fenced,
            })
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

/// The voters, and who leads them.
fn controllers(broker: &Broker) -> DescribeClusterResponse {
    let leadership = broker.controller().leader().borrow().clone();
    let leader = if leadership.is_us { Some(broker.node().id) } else { leadership.leader.map(|leader| leader.id) };
    let voters = broker.controller().quorum().voters.into_iter().map(|replica| DescribeClusterBroker {
        broker_id: replica.voter.id,
        host: Str::from(replica.voter.host),
        port: i32::from(replica.voter.port),
        ..Default::default()
    });
    DescribeClusterResponse {
        endpoint_type: CONTROLLERS,
        cluster_id: broker.node().cluster_id.clone(),
        controller_id: leader.unwrap_or(-1),
        brokers: voters.collect(),
        ..Default::default()
    }
}
