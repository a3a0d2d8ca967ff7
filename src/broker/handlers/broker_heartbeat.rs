//! BrokerHeartbeat (key 63): a broker lives, and learns where it stands.
//!
//! Versions 0-1 are served, on a controller's listener.
//!
//! Rules
//!   fenced     until it has read the metadata up to its registration, and does not ask to be
//!   stopping   hands over what it leads first (`metadata/plan/heartbeat.rs`)

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::Image;
use crate::metadata::plan::{self, Heartbeat};
use crate::protocol::ErrorCode;
use crate::protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: BrokerHeartbeatRequest,
) -> Outcome<BrokerHeartbeatResponse> {
    let refuse = |code| Outcome::Reply(BrokerHeartbeatResponse { error_code: code, ..Default::default() });
    if !broker.is_active_controller() {
        return refuse(ErrorCode::NOT_CONTROLLER);
    }
    let id = request.broker_id;
    let beat = Heartbeat {
        id,
        epoch: request.broker_epoch,
        is_caught_up: !request.want_fence,
        want_fence: request.want_fence,
        want_shut_down: request.want_shut_down,
    };
    // Most change nothing, and need not wait for others who do.
    let asked = broker.controller().read(|image| plan::heartbeat(image, &beat));
    let changes = matches!(&asked, Ok((_, records)) if !records.is_empty());
    let answered = match asked {
        Ok(_) if changes => {
            broker.change(move |image: &Image| plan::heartbeat(image, &beat), false).await
        }
        asked => asked.map(|(standing, _)| standing),
    };
    match answered {
        Ok(standing) if standing.may_stop => {
            tracing::info!(broker = id, "a broker leads nothing any more, and stops");
            broker.end_session(id);
            told(standing)
        }
        Ok(standing) => {
            if changes && !standing.is_fenced && !request.want_shut_down {
                tracing::info!(broker = id, "a broker is unfenced");
            }
            broker.heard_of(id, &context.connection);
            told(standing)
        }
        Err(refusal) => refuse(refusal.code),
    }
}

fn told(standing: plan::Standing) -> Outcome<BrokerHeartbeatResponse> {
    Outcome::Reply(BrokerHeartbeatResponse {
        is_caught_up: !standing.is_fenced,
        is_fenced: standing.is_fenced,
        should_shut_down: standing.may_stop,
        ..Default::default()
    })
}
