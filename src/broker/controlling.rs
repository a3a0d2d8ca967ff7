//! What the active controller does besides answering: it notices brokers that are gone, and lets preferred leaders lead again.
//!
//! ```text
//! a heartbeat comes        its session begins anew
//! no heartbeat in time     the broker is fenced, and what it led goes to others; what waits in the sockets is read before,
//!                          and the time in which this controller stood still itself does not count
//! its connection breaks    a hint: whoever stopped a process cleanly or with kill -9 leaves nobody who listens there, and
//!                          then it is fenced at once. Where somebody does listen, or nobody answers at all, the link may
//!                          be what broke: it is asked again until it is heard of, or its session is over.
//! ```
//! Every `leader.imbalance.check.interval.seconds` the partitions whose first replica is in sync and does not lead go back to it
//! (`auto.leader.rebalance.enable`). Where nobody may lead a partition, and `unclean.leader.election.enable` of its topic allows it,
//! any replica that is there does, with the records that it has.
//!
//! All of it lasts as long as this node is in office. Of itself it needs no sign of life: when its clock leaps, it lives.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Broker, Connection, probe};
use crate::common::ids::NodeId;
use crate::config::broker as key;
use crate::config::topic as topic_key;
use crate::controller::Applied;
use crate::controller::sessions::Sessions;
use crate::metadata::{Image, MetadataRecord, ResourceType, plan};

/// How many leaders change at once at most, as in Apache Kafka: each is a change that clients must hear of.
const MOST_ELECTED_AT_ONCE: usize = 1_000;

/// How long it waits after a broker could not be fenced, before it tries again.
const FENCING_REST: Duration = Duration::from_millis(100);

/// How long after it was not certain that a broker is gone it is asked again, while it is not heard of.
const PROBE_REST: Duration = Duration::from_millis(100);

/// A controller that wakes this much too late stood still itself (SIGSTOP, a debugger, a host that swaps), and the brokers'
/// signs of life wait in its sockets.
const STOOD_STILL: Duration = Duration::from_millis(50);

/// What an operator wants to know of.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// For how long it reads its sockets before it believes that a session is over.
const AWAKE: Duration = Duration::from_millis(100);

/// The sessions of the brokers, while this node is the active controller.
#[derive(Debug, Default)]
pub(super) struct Controlling {
    sessions: Mutex<Sessions>,
    /// Told when the first deadline may have moved up.
    deadline: Notify,
}

/// Watches over the brokers whenever this node is the active controller.
pub(super) fn start(broker: &Arc<Broker>) {
    let broker = broker.clone();
    let shutdown = broker.shutdown().clone();
    shutdown.clone().spawn(async move {
        let mut leader = broker.controller.leader();
        loop {
            let epoch = {
                let leadership = leader.borrow_and_update();
                leadership.is_us.then_some(leadership.epoch)
            };
            let changed = tokio::select! {
                () = broker.in_office(), if epoch.is_some() => return,
                changed = leader.changed() => changed,
                () = shutdown.begun() => return,
            };
            if changed.is_err() {
                return;
            }
        }
    });
}

impl Broker {
    /// Does what the active controller does; ends only when it is dropped.
    async fn in_office(self: &Arc<Self>) {
        tokio::join!(self.watch_over_brokers(), self.balance_leaders(), self.elect_unclean_leaders());
    }

    /// Lets replicas lead that may lack records, where the topic allows that, as soon as nobody else may.
    async fn elect_unclean_leaders(&self) {
        let mut news = self.controller.subscribe();
        while let Some(applied) = news.recv().await {
            let mut concerns = may_want_leaders(&applied);
            while let Ok(applied) = news.try_recv() {
                concerns |= may_want_leaders(&applied);
            }
            while concerns && self.elect_unclean().await {}
        }
    }

    /// Lets some of them lead; tells whether there may be more.
    async fn elect_unclean(&self) -> bool {
        let values = self.values();
        let decide = move |image: &Image| {
            let allows = |topic: &str| {
                let own = image.configs(ResourceType::Topic, topic);
                let own = own.and_then(|configs| configs.get(topic_key::UNCLEAN_LEADER_ELECTION_ENABLE.name()));
                own.map_or_else(|| values.get(key::UNCLEAN_LEADER_ELECTION_ENABLE), |value| value == "true")
            };
            let records = plan::elect_unclean(image, allows, MOST_ELECTED_AT_ONCE);
            Ok((records.len(), records))
        };
        match self.change(decide, false).await {
            Ok(0) => false,
            Ok(count) => {
                tracing::warn!(
                    partitions = count,
                    "replicas lead that may lack records: unclean.leader.election.enable"
                );
                count == MOST_ELECTED_AT_ONCE
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "no replica out of sync could be elected");
                false
            }
        }
    }

    /// Lets preferred leaders lead again, from time to time.
    async fn balance_leaders(&self) {
        let values = self.values();
        if !values.get(key::AUTO_LEADER_REBALANCE_ENABLE) {
            return;
        }
        let seconds = values.get(key::LEADER_IMBALANCE_CHECK_INTERVAL_SECONDS);
        let interval = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        loop {
            self.socket_clock.sleep(interval).await;
            while self.prefer_leaders().await {}
        }
    }

    /// Lets some preferred leaders lead; tells whether there may be more.
    async fn prefer_leaders(&self) -> bool {
        let decide = |image: &Image| {
            let records = plan::prefer_leaders(image, MOST_ELECTED_AT_ONCE);
            Ok((records.len(), records))
        };
        match self.change(decide, false).await {
            Ok(0) => false,
            Ok(count) => {
                tracing::info!(partitions = count, "preferred leaders lead again");
                count == MOST_ELECTED_AT_ONCE
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "preferred leaders could not be elected");
                false
            }
        }
    }

    /// Watches over the brokers.
    async fn watch_over_brokers(self: &Arc<Self>) {
        let live: Vec<NodeId> = self.controller.read(|image| image.live_brokers().map(|broker| broker.id).collect());
        let live: Vec<NodeId> = live.into_iter().filter(|id| *id != self.node.id).collect();
        let timeout = u64::try_from(self.values().get(key::BROKER_SESSION_TIMEOUT_MS)).unwrap_or(0);
        let now = self.socket_clock.monotonic();
        {
            let mut sessions = self.controlling.sessions.lock();
            sessions.begin(live.iter().copied(), Duration::from_millis(timeout), now);
            if let Some((id, silent)) = self.controller.take_predecessor() {
                sessions.silent_for(id, silent);
            }
        }
        // Whoever was before may have gone together with some of them.
        for id in live {
            self.probe_soon(id);
        }
        loop {
            let begun = self.socket_clock.monotonic();
            let next = self.controlling.sessions.lock().next_look(begun);
            let due = async {
                match next {
                    Some(at) => self.socket_clock.sleep(at.saturating_sub(begun)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.controlling.deadline.notified() => {}
            }
            let now = self.woke(next);
            if self.controlling.sessions.lock().next_deadline().is_none_or(|at| now < at) {
                continue;
            }
            self.socket_clock.sleep(AWAKE).await;
            self.woke(Some(now + AWAKE));
            let expired = self.controlling.sessions.lock().take_expired(now);
            for id in expired {
                tracing::warn!(broker = id, "a broker was not heard of within broker.session.timeout.ms: it is fenced");
                let broker = self.clone();
                // Beside this, which would take the time that it lasts for its own standing still.
                self.shutdown.spawn(async move { broker.fence(id).await });
            }
        }
    }

    /// What was to sleep until `due` goes on, at the time that is returned; where that is much later, no session has run
    /// meanwhile.
    fn woke(&self, due: Option<Duration>) -> Duration {
        let now = self.socket_clock.monotonic();
        let late = due.map_or(Duration::ZERO, |due| now.saturating_sub(due));
        if late >= STOOD_STILL {
            self.controlling.sessions.lock().stood_still(late, now);
        }
        if late >= WORTH_A_LINE {
            tracing::warn!(?late, "this controller stood still: the sessions of the brokers last longer by that");
        }
        now
    }

    /// A sign of life of a broker, on the connection that it came by.
    pub(crate) fn heard_of(&self, id: NodeId, connection: &Connection) {
        if id == self.node.id {
            return;
        }
        connection.broker.store(id, std::sync::atomic::Ordering::Relaxed);
        self.controlling.sessions.lock().heard(id, self.socket_clock.monotonic());
        self.controlling.deadline.notify_one();
    }

    /// Whether another start of a broker must wait for the end of its session.
    pub(crate) fn holds_session(&self, id: NodeId) -> bool {
        self.controlling.sessions.lock().holds(id, self.socket_clock.monotonic())
    }

    /// Nothing more is expected of a broker.
    pub(crate) fn end_session(&self, id: NodeId) {
        self.controlling.sessions.lock().end(id);
    }

    /// A connection has ended; a broker may have gone with it.
    pub fn disconnected(self: &Arc<Self>, connection: &Connection) {
        let id = connection.broker.load(std::sync::atomic::Ordering::Relaxed);
        if id >= 0 && id != self.node.id && self.is_active_controller() && !self.shutdown.has_begun() {
            self.controlling.sessions.lock().broke(id);
            self.probe_soon(id);
        }
    }

    /// Asks whether a broker is gone, until that is certain, or it is heard of: one that is about to end may take its time.
    fn probe_soon(self: &Arc<Self>, id: NodeId) {
        let broker = self.clone();
        let begun = self.socket_clock.monotonic();
        self.shutdown.spawn(async move {
            while !broker.is_gone(id).await {
                let silent = broker.controlling.sessions.lock().is_silent_since(id, begun);
                if !silent || !broker.is_active_controller() || broker.shutdown.has_begun() {
                    return;
                }
                tokio::select! {
                    () = async { broker.socket_clock.sleep(PROBE_REST).await } => {}
                    () = broker.shutdown.begun() => return,
                }
            }
            // One that stopped as it should is fenced already.
            if !broker.controller.read(|image| image.broker(id).is_none_or(|known| known.fenced)) {
                tracing::warn!(broker = id, "nobody listens where a broker did: it is fenced");
            }
            broker.end_session(id);
            broker.fence(id).await;
        });
    }

    async fn is_gone(&self, id: NodeId) -> bool {
        let Some((host, port)) = self.address_of(id) else { return false };
        tokio::select! {
            gone = probe::is_gone(&self.doors, &host, port) => gone,
            () = self.shutdown.begun() => false,
        }
    }

    /// Fences a broker, whose session is over: nothing else would do it later, so it is tried until it is done.
    async fn fence(&self, id: NodeId) {
        let fence = move |image: &Image| Ok(((), plan::fence_broker(image, id)));
        while let Err(refusal) = self.change(fence, false).await {
            tracing::warn!(broker = id, %refusal, "a broker could not be fenced");
            tokio::select! {
                () = async { self.socket_clock.sleep(FENCING_REST).await } => {}
                () = self.shutdown.begun() => return,
            }
            if !self.is_active_controller()
                || self.controlling.sessions.lock().is_alive(id, self.socket_clock.monotonic())
            {
                return;
            }
        }
    }
}

/// Whether a partition may want a leader after this, or may have one that it could not have before.
fn may_want_leaders(applied: &Applied) -> bool {
    let concerns = |record: &MetadataRecord| match record {
        MetadataRecord::PartitionChange(change) => change.leader == plan::NO_LEADER,
        MetadataRecord::BrokerRegistrationChange(change) => change.fenced == -1,
        MetadataRecord::RegisterBroker(broker) => !broker.fenced,
        MetadataRecord::Config(_) => true,
        _ => false,
    };
    match applied {
        Applied::Snapshot => true,
        Applied::Records { records, .. } => records.iter().any(concerns),
    }
}
