//! BrokerRegistration (key 62): a broker that has started becomes one of the cluster.
//!
//! Versions 2-4 are served, on a controller's listener.
//!
//! Rules
//!   another cluster   INCONSISTENT_CLUSTER_ID
//!   a second one      DUPLICATE_BROKER_REGISTRATION, while the one that has this id is heard of within its session, and has
//!                     its connection
//!   the same again    a broker that did not hear the answer gets it again
//!   an observer       one that is no voter tells its controller listener: the metadata is brought there
//!   all others        in `metadata/plan/brokers.rs`

use super::{Context, Outcome};
use crate::broker::Broker;
use crate::broker::lifecycle::CONTROLLER_LISTENER;
use crate::common::ids::Uuid;
use crate::controller::Voter;
use crate::metadata::{Image, Refusal};
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
    if let Err(refusal) = observe(broker, &request).await {
        tracing::warn!(broker = id, %refusal, "the metadata cannot be brought to a broker");
        return refuse(refusal.code);
    }
    let wish = Registration {
        id,
        incarnation_id: request.incarnation_id,
        endpoints: request
            .listeners
            .into_iter()
            .filter(|listener| *listener.name != *CONTROLLER_LISTENER)
            .map(|listener| BrokerEndpoint {
                name: listener.name,
                host: listener.host,
                port: listener.port,
                security_protocol: listener.security_protocol,
            })
            .collect(),
        rack: request.rack,
        log_dirs: request.log_dirs,
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
        let same = |known: &&crate::metadata::image::BrokerImage| known.incarnation_id == wish.incarnation_id;
        if let Some(known) = image.broker(id).filter(same) {
            return Ok((known.epoch, Vec::new()));
        }
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
            Outcome::Reply(BrokerRegistrationResponse { broker_epoch: epoch, ..Default::default() })
        }
        Err(refusal) => {
            tracing::warn!(broker = id, %refusal, "a registration is refused");
            refuse(refusal.code)
        }
    }
}

/// Lets the metadata come to a broker that has no vote.
async fn observe(broker: &Broker, request: &BrokerRegistrationRequest) -> Result<(), Refusal> {
    let id = request.broker_id;
    let listener = request.listeners.iter().find(|listener| *listener.name == *CONTROLLER_LISTENER);
    let votes = broker.controller().quorum().voters.iter().any(|one| one.voter.id == id);
    match listener {
        Some(listener) if !votes => {
            let directory_id = request.log_dirs.first().copied().unwrap_or(Uuid::ZERO);
            let (host, port) = (listener.host.to_string(), listener.port);
            broker.controller().add_observer(Voter { id, directory_id, host, port }).await
        }
        _ => Ok(()),
    }
}
