//! BrokerRegistration (key 62): a broker that has started becomes one of the cluster.
//!
//! Versions 2-4 are served, on a controller's listener.
//!
//! Rules
//!   another cluster   INCONSISTENT_CLUSTER_ID
//!   a second one      DUPLICATE_BROKER_REGISTRATION, while the one that has this id is heard of within its session, and has
//!                     its connection
//!   the same again    a broker that did not hear the answer gets it again
//!   all others        in `metadata/plan/brokers.rs`

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::metadata::Image;
use crate::metadata::plan::{self, Registration};
use crate::metadata::records::{BrokerEndpoint, BrokerFeature};
use crate::protocol::ErrorCode;
use crate::protocol::messages::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};

pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: BrokerRegistrationRequest,
) -> Outcome<BrokerRegistrationResponse> {
    let refuse = |code| Outcome::Reply(BrokerRegistrationResponse { error_code: code, ..Default::default() });
    if !broker.is_active_controller() {
        return refuse(ErrorCode::NOT_CONTROLLER);
    }
    if request.cluster_id != broker.node().cluster_id {
        tracing::warn!(broker = request.broker_id, theirs = %request.cluster_id, "a broker of another cluster wants in");
        return refuse(ErrorCode::INCONSISTENT_CLUSTER_ID);
    }
    let id = request.broker_id;
    let wish = Registration {
        id,
        incarnation_id: request.incarnation_id,
        endpoints: request
            .listeners
            .into_iter()
            .map(|listener| BrokerEndpoint {
                name: listener.name,
                host: listener.host,
                port: listener.port,
                security_protocol: listener.security_protocol,
            })
            .collect(),
        rack: request.rack,
        log_dirs: request.log_dirs,
        previous_epoch: request.previous_broker_epoch,
        features: request
            .features
            .into_iter()
            .map(|known| BrokerFeature {
                name: known.name,
                min_supported_version: known.min_supported_version,
                max_supported_version: known.max_supported_version,
            })
            .collect(),
    };
    let is_alive = broker.holds_session(id);
    let decide = move |image: &Image| {
        let records = plan::register_broker(image, &wish, is_alive)?;
        let registers = records.iter().any(|record| matches!(record, crate::metadata::MetadataRecord::RegisterBroker(_)));
        let epoch = match image.broker(id) {
            Some(known) if !registers => known.epoch,
            _ => image.next_broker_epoch(),
        };
        Ok((epoch, records))
    };
    match broker.change(decide, false).await {
        Ok(epoch) => {
            broker.heard_of(id, &context.connection);
            tracing::info!(broker = id, epoch, "a broker is registered");
            Outcome::Reply(BrokerRegistrationResponse { broker_epoch: epoch, ..Default::default() })
        }
        Err(refusal) => {
            tracing::warn!(broker = id, %refusal, "a registration is refused");
            refuse(refusal.code)
        }
    }
}
