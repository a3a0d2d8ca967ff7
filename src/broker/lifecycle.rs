//! How a broker joins its cluster, stays in it, and leaves.
//!
//! ```text
//! registers      with each start, and is given an epoch that tells this start from all others
//! is fenced      until it has read the metadata up to its own registration: only then it knows what it may lead
//! serves         and tells the controller so every broker.heartbeat.interval.ms
//! stops          by asking first: others lead what it led when it may go
//! ```
//! One that is told that its registration is not the newest, or is gone, registers again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Broker;
use crate::common::ids::Uuid;
use crate::config::broker as key;
use crate::metadata::Refusal;
use crate::metadata::plan::Registration;
use crate::metadata::records::BrokerEndpoint;
use crate::protocol::ErrorCode;
use crate::protocol::messages::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, Feature, Listener,
};

/// How long another start of this broker may still be taken for alive.
const REGISTRATION_REST: Duration = Duration::from_millis(100);
/// How often a broker that is not ready yet asks where it stands.
const JOINING: Duration = Duration::from_millis(20);
/// How long a broker that stops waits for others to take over.
const LEAVING: Duration = Duration::from_secs(10);

/// This start of the broker, as the controller knows it.
#[derive(Debug)]
pub(super) struct Lifecycle {
    incarnation_id: Uuid,
    /// The epoch of its registration; -1 before there is one.
    epoch: AtomicI64,
    /// Told when the next heartbeat is due at once.
    hurry: Notify,
}

impl Default for Lifecycle {
    fn default() -> Lifecycle {
        Lifecycle { incarnation_id: Uuid::random(), epoch: AtomicI64::new(-1), hurry: Notify::new() }
    }
}

impl Broker {
    /// The epoch of this broker's registration; -1 before there is one.
    pub fn epoch(&self) -> i64 {
        self.lifecycle.epoch.load(Ordering::Acquire)
    }

    /// Tells the address under which clients reach this broker, registers it there, and ends when it may lead.
    ///
    /// # Errors
    /// What the controller refuses, or REQUEST_TIMED_OUT where none answers within
    /// `initial.broker.registration.timeout.ms`.
    pub async fn join(self: &Arc<Self>, endpoints: Vec<BrokerEndpoint>) -> Result<(), Refusal> {
        // It joins once: the first ones hold.
        let _ = self.endpoints.set(endpoints);
        let millis = self.values().get(key::INITIAL_BROKER_REGISTRATION_TIMEOUT_MS);
        let within = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let joining = async {
            self.register().await?;
            self.until_unfenced().await
        };
        tokio::select! {
            joined = joining => joined?,
            () = self.socket_clock.sleep(within) => {
                let sentence = format!("no controller let broker {} in within {within:?}: are a majority of the voters up?", self.node.id);
                return Err(Refusal::new(ErrorCode::REQUEST_TIMED_OUT, sentence));
            }
        }
        // Now the image is as whole as it was when this start was registered.
        self.set_strays_aside().await;
        self.image_is_whole().await;
        let beating = self.clone();
        self.shutdown.spawn(async move { beating.beat().await });
        Ok(())
    }

    async fn register(self: &Arc<Self>) -> Result<(), Refusal> {
        let endpoints = self.endpoints.get().cloned().unwrap_or_default();
        let wish = Registration::at(self.node.id, endpoints, self.node.directory_id);
        let request = BrokerRegistrationRequest {
            broker_id: wish.id,
            cluster_id: self.node.cluster_id.clone(),
            incarnation_id: self.lifecycle.incarnation_id,
            listeners: wish
                .endpoints
                .into_iter()
                .map(|end| Listener {
                    name: end.name,
                    host: end.host,
                    port: end.port,
                    security_protocol: end.security_protocol,
                })
                .collect(),
            features: wish
                .features
                .into_iter()
                .map(|known| Feature {
                    name: known.name,
                    min_supported_version: known.min_supported_version,
                    max_supported_version: known.max_supported_version,
                })
                .collect(),
            rack: self.node.rack.clone(),
            log_dirs: wish.log_dirs,
            previous_broker_epoch: match self.epoch() {
                -1 => self.replicas.dir().previous_broker_epoch().unwrap_or(-1),
                epoch => epoch,
            },
            ..Default::default()
        };
        loop {
            let refused = |response: &BrokerRegistrationResponse| response.error_code == ErrorCode::NOT_CONTROLLER;
            match self.ask_controller(&request, refused).await {
                Ok(response) => match response.error_code {
                    ErrorCode::NONE => {
                        self.lifecycle.epoch.store(response.broker_epoch, Ordering::Release);
                        self.replicas.registered(response.broker_epoch);
                        return Ok(());
                    }
                    // The last start of this broker may not be known to be over yet.
                    ErrorCode::DUPLICATE_BROKER_REGISTRATION => {
                        tracing::info!("another broker of this node.id is registered: waiting for its session to end");
                    }
                    code => {
                        let sentence = format!("the controller refused broker {}: {code}", self.node.id);
                        return Err(Refusal::new(code, sentence));
                    }
                },
                Err(code @ ErrorCode::NOT_CONTROLLER) => {
                    return Err(Refusal::new(code, "the broker stops"));
                }
                Err(_) => {}
            }
            self.socket_clock.sleep(REGISTRATION_REST).await;
        }
    }

    /// Tells that it lives until it may lead, and knows it.
    async fn until_unfenced(self: &Arc<Self>) -> Result<(), Refusal> {
        let id = self.node.id;
        loop {
            let known = self.controller.read(|image| image.broker(id).map(|broker| (broker.epoch, broker.fenced)));
            match known {
                Some((epoch, false)) if epoch == self.epoch() => return Ok(()),
                _ => self.heartbeat(false).await?,
            };
            self.socket_clock.sleep(JOINING).await;
        }
    }

    /// One heartbeat, answered by a controller that leads; registers again where that is what it takes.
    async fn heartbeat(self: &Arc<Self>, want_shut_down: bool) -> Result<BrokerHeartbeatResponse, Refusal> {
        let (id, epoch) = (self.node.id, self.epoch());
        let knows_itself = self.controller.read(|image| image.broker(id).is_some_and(|broker| broker.epoch == epoch));
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset: self.published_offset(),
            want_fence: !knows_itself,
            want_shut_down,
            ..Default::default()
        };
        let refused = |response: &BrokerHeartbeatResponse| response.error_code == ErrorCode::NOT_CONTROLLER;
        let response = self.ask_controller(&request, refused).await;
        match response {
            Ok(response) => match response.error_code {
                ErrorCode::NONE => Ok(response),
                ErrorCode::STALE_BROKER_EPOCH | ErrorCode::BROKER_ID_NOT_REGISTERED if !want_shut_down => {
                    tracing::warn!(code = %response.error_code, "the controller does not know this start: registering again");
                    self.register().await?;
                    Ok(response)
                }
                code => Err(Refusal::new(code, format!("a heartbeat was refused: {code}"))),
            },
            Err(code) => Err(Refusal::new(code, "no controller answered a heartbeat")),
        }
    }

    async fn beat(self: Arc<Self>) {
        loop {
            let millis = u64::try_from(self.values().get(key::BROKER_HEARTBEAT_INTERVAL_MS)).unwrap_or(0);
            // One that was fenced though it lives wants back at once.
            let fenced = self.controller.read(|image| image.broker(self.node.id).is_none_or(|broker| broker.fenced));
            let rest = if fenced { JOINING } else { Duration::from_millis(millis.max(1)) };
            let mut leader = self.controller.leader();
            leader.mark_unchanged();
            tokio::select! {
                () = self.socket_clock.sleep(rest) => {}
                () = self.lifecycle.hurry.notified() => {}
                // A new controller hears of this broker at once, and has a connection that may break.
                changed = leader.changed() => if changed.is_err() { return },
                () = self.shutdown.begun() => return,
            }
            if let Err(refusal) = self.heartbeat(false).await {
                tracing::debug!(%refusal, "no answer to a heartbeat");
            }
        }
    }

    /// Lets the next heartbeat go out now: the image says something of this broker that may want an answer.
    pub(super) fn hurry_heartbeat(&self) {
        self.lifecycle.hurry.notify_one();
    }

    /// Asks the controller to let this broker stop: others lead what it led when this ends. Gives up after ten seconds, or
    /// where there is nobody to hand over to.
    pub async fn hand_over(self: &Arc<Self>) {
        let id = self.node.id;
        let has_others = self.controller.read(|image| image.live_brokers().any(|broker| broker.id != id));
        if self.epoch() < 0 || !has_others {
            return;
        }
        let leaving = async {
            loop {
                match self.heartbeat(true).await {
                    Ok(response) if response.should_shut_down => return,
                    Ok(_) => {}
                    Err(refusal) => {
                        tracing::warn!(%refusal, "the controller did not let this broker stop: it stops all the same");
                        return;
                    }
                }
                self.socket_clock.sleep(JOINING).await;
            }
        };
        tokio::select! {
            () = leaving => {}
            () = self.socket_clock.sleep(LEAVING) => {
                tracing::warn!("nobody took over within {LEAVING:?}: this broker stops all the same");
            }
        }
    }
}
