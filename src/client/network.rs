//! The way to every broker of a cluster: connections made when they are needed, and what is known of the cluster.
//!
//! A producer, a consumer and an admin client have one each. A connection that could not be made is not tried again
//! before its rest is over (`reconnect.backoff.ms`, doubling); several callers who need it wait for one attempt.
//!
//! A broker may be reached and know nothing new: one that is cut off from the others still names itself as the leader.
//! Or it is reached and says nothing. So whoever waited for one in vain doubts it ([`Network::doubt`]), and what any broker
//! may answer is asked of the others first until one of them has told of the cluster.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::common::ids::{LeaderEpoch, NodeId};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::protocol::{ApiKey, ErrorCode, Request, Str};

use super::Doors;
use super::config::NetworkConfig;
use super::connection::{Connection, ConnectionOptions};
use super::error::{ClientError, Result};
use super::metadata::{BrokerView, ClusterView, TopicView};

/// Which topics to ask about.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All there are.
    All,
    /// These.
    Topics(&'a [Arc<str>]),
}

/// What a connection is for. A broker answers the requests of a connection one after the other, so those that it may
/// sit on have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Whatever is answered at once.
    Main,
    /// Fetches, which wait for records.
    Fetch,
    /// A group's requests, for joining waits for the other members.
    Group,
}

/// The way to every broker of a cluster.
#[derive(Debug)]
pub struct Network {
    doors: Doors,
    config: NetworkConfig,
    view: RwLock<Arc<ClusterView>>,
    slots: Mutex<HashMap<(String, u16, Purpose), Arc<Slot>>>,
    /// One metadata request at a time.
    refreshing: tokio::sync::Mutex<()>,
    /// When the view was last asked for, in milliseconds on the monotonic clock.
    refreshed: AtomicU64,
    coordinators: Mutex<HashMap<String, NodeId>>,
    /// The host:port of those that are asked last.
    doubted: Mutex<HashSet<String>>,
}

/// The way to one address.
#[derive(Debug, Default)]
struct Slot {
    ready: RwLock<Option<Arc<Connection>>>,
    attempt: tokio::sync::Mutex<Attempt>,
}

#[derive(Debug, Default)]
struct Attempt {
    failures: u32,
    /// On the monotonic clock.
    not_before: Duration,
}

impl Network {
    /// A network that knows its bootstrap servers, and has no connection yet.
    pub fn new(doors: Doors, config: NetworkConfig) -> Arc<Network> {
        Arc::new(Network {
            doors,
            config,
            view: RwLock::default(),
            slots: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            refreshed: AtomicU64::new(0),
            coordinators: Mutex::default(),
            doubted: Mutex::default(),
        })
    }

    /// The doors it was given.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Its configuration.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// What is known of the cluster now.
    pub fn view(&self) -> Arc<ClusterView> {
        self.view.read().clone()
    }

    /// How old that is.
    pub fn age(&self) -> Duration {
        let refreshed = Duration::from_millis(self.refreshed.load(Ordering::Relaxed));
        self.doors.clock.monotonic().saturating_sub(refreshed)
    }

    /// A connection to a broker.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`] and [`ClientError::Timeout`]; also for a broker that the metadata does not name.
    pub async fn connection(&self, node: NodeId) -> Result<Arc<Connection>> {
        self.connection_for(node, Purpose::Main).await
    }

    /// As [`Network::connection`], for a purpose of its own.
    ///
    /// # Errors
    /// As [`Network::connection`].
    pub async fn connection_for(&self, node: NodeId, purpose: Purpose) -> Result<Arc<Connection>> {
        let address = self.view.read().brokers.get(&node).map(|broker| (broker.host.clone(), broker.port, purpose));
        match address {
            Some(address) => self.connect(address).await,
            None => Err(ClientError::disconnected(&format!("broker {node}").into(), "the cluster does not name it")),
        }
    }

    /// The connection to a broker, if it is open.
    pub fn ready(&self, node: NodeId) -> Option<Arc<Connection>> {
        let address = self.view.read().brokers.get(&node).map(|b| (b.host.clone(), b.port, Purpose::Main))?;
        self.slots.lock().get(&address)?.open()
    }

    /// A connection to whichever broker answers: one that is open, then those of the cluster, then the bootstrap servers;
    /// those that are doubted last.
    ///
    /// # Errors
    /// The last one's.
    pub async fn any(&self) -> Result<Arc<Connection>> {
        let doubted = self.doubted.lock().clone();
        let is_doubted = |(host, port): &(String, u16)| doubted.contains(&format!("{host}:{port}"));
        let mut open: Vec<_> = {
            let slots = self.slots.lock();
            let main = slots.iter().filter(|((_, _, purpose), _)| *purpose == Purpose::Main);
            main.filter_map(|((host, port, _), slot)| Some(((host.clone(), *port), slot.open()?))).collect()
        };
        open.retain(|(address, _)| !is_doubted(address));
        if let Some((_, connection)) = open.into_iter().min_by_key(|(_, connection)| connection.in_flight()) {
            return Ok(connection);
        }
        let mut addresses: Vec<_> = self.view.read().brokers.values().map(|b| (b.host.clone(), b.port)).collect();
        let turn = |len: usize| if len == 0 { 0 } else { rand::random_range(0..len) };
        let first = turn(addresses.len());
        addresses.rotate_left(first);
        let mut bootstrap = self.config.bootstrap.clone();
        let first = turn(bootstrap.len());
        bootstrap.rotate_left(first);
        addresses.extend(bootstrap);
        // Stable: the order among the others stays.
        addresses.sort_by_key(is_doubted);
        let mut last = ClientError::disconnected(&"the cluster".into(), "bootstrap.servers is empty");
        for (host, port) in addresses {
            let address = format!("{host}:{port}");
            match self.connect((host, port, Purpose::Main)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
            self.doubt_at(&address);
        }
        Err(last)
    }

    /// Asks this broker last for what any may answer, until another has told of the cluster.
    pub fn doubt(&self, node: NodeId) {
        let address = self.view.read().brokers.get(&node).map(|broker| format!("{}:{}", broker.host, broker.port));
        self.doubted.lock().extend(address);
    }

    /// As [`Network::doubt`], whoever listens at this host:port.
    pub fn doubt_at(&self, address: &str) {
        self.doubted.lock().insert(address.to_owned());
    }

    /// Asks whichever broker answers, and doubts one that does not.
    ///
    /// # Errors
    /// As [`Network::any`] and [`Connection::call`].
    pub async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response> {
        let connection = self.any().await?;
        self.ask(&connection, request, connection.version(R::KEY)?).await
    }

    async fn ask<R: Request>(&self, of: &Connection, request: &R, version: i16) -> Result<R::Response> {
        of.call_at(request, version, self.config.request_timeout).await.inspect_err(|error| {
            if error.wants_metadata() {
                self.doubt_at(of.address());
            }
        })
    }

    async fn connect(&self, address: (String, u16, Purpose)) -> Result<Arc<Connection>> {
        let slot = self.slots.lock().entry(address.clone()).or_default().clone();
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let mut attempt = slot.attempt.lock().await;
        if let Some(connection) = slot.open() {
            return Ok(connection);
        }
        let rest = attempt.not_before.saturating_sub(self.doors.clock.monotonic());
        if !rest.is_zero() {
            self.doors.clock.sleep(rest).await;
        }
        match self.open(&address).await {
            Ok(connection) => {
                attempt.failures = 0;
                *slot.ready.write() = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                attempt.failures += 1;
                attempt.not_before = self.doors.clock.monotonic() + self.config.reconnect.after(attempt.failures);
                Err(error)
            }
        }
    }

    async fn open(&self, (host, port, _): &(String, u16, Purpose)) -> Result<Arc<Connection>> {
        let address: Arc<str> = format!("{host}:{port}").into();
        let stream = tokio::select! {
            stream = self.doors.transport.connect(host, *port) => {
                stream.map_err(|cause| ClientError::disconnected(&address, cause.to_string()))?
            }
            () = self.doors.clock.sleep(self.config.connect_timeout) => {
                return Err(ClientError::timeout(format!("connecting to {address}"), self.config.connect_timeout));
            }
        };
        let options = ConnectionOptions {
            client_id: self.config.client_id.as_str().into(),
            request_timeout: self.config.request_timeout,
            max_idle: self.config.max_idle,
        };
        Connection::open(&self.doors, stream, address, options).await
    }

    /// Asks one broker.
    ///
    /// # Errors
    /// As [`Network::connection`] and [`Connection::call`].
    pub async fn call<R: Request>(&self, node: NodeId, request: &R) -> Result<R::Response> {
        self.connection(node).await?.call(request).await
    }

    /// Asks the controller, or any broker while it is not known: brokers pass such requests on.
    ///
    /// # Errors
    /// As [`Network::call`].
    pub async fn call_controller<R: Request>(&self, request: &R) -> Result<R::Response> {
        let controller = self.view.read().controller;
        match controller {
            Some(node) => self.call(node, request).await,
            None => self.call_any(request).await,
        }
    }

    /// Asks for metadata and returns what is known then. `create` lets the broker create topics that are missing.
    ///
    /// # Errors
    /// Those of the connection. A topic's own error is in [`ClusterView::errors`].
    pub async fn refresh(&self, wanted: Wanted<'_>, create: bool) -> Result<Arc<ClusterView>> {
        let _one = self.refreshing.lock().await;
        let connection = self.any().await?;
        let version = connection.version(ApiKey::Metadata)?;
        let topics = match wanted {
            // Version 0 says "all" with an empty list; later ones with null.
            Wanted::All if version == 0 => Some(Vec::new()),
            Wanted::All => None,
            Wanted::Topics(names) => Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic { name: Some(Str::from(&**name)), ..Default::default() })
                    .collect(),
            ),
        };
        let request =
            MetadataRequest { topics, allow_auto_topic_creation: create || version < 4, ..MetadataRequest::default() };
        let response = self.ask(&connection, &request, version).await?;
        if response.error_code != ErrorCode::NONE {
            return Err(ClientError::kafka(response.error_code, "Metadata"));
        }
        self.doubted.lock().retain(|address| **address == **connection.address());
        let mut view = self.view.write();
        *view = Arc::new(view.merged(&response, matches!(wanted, Wanted::All)));
        self.refreshed.store(self.doors.clock.monotonic().as_millis() as u64, Ordering::Relaxed);
        Ok(view.clone())
    }

    /// Takes note of a leader that a response named by the way (KIP-951).
    pub fn note_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: NodeId,
        epoch: LeaderEpoch,
        endpoint: Option<BrokerView>,
    ) {
        let mut view = self.view.write();
        if let Some(newer) = view.with_leader(topic, partition, leader, epoch, endpoint) {
            *view = Arc::new(newer);
        }
    }

    /// A topic, from what is known or else from the cluster, which is asked again until `within` is over.
    ///
    /// # Errors
    /// The topic's error, if it will not pass; what the last attempt failed with, once time is up.
    pub async fn topic(&self, name: &Arc<str>, create: bool, within: Duration) -> Result<Arc<TopicView>> {
        if let Some(topic) = self.view().topics.get(name) {
            return Ok(topic.clone());
        }
        let deadline = self.doors.clock.monotonic() + within;
        let mut failures = 0;
        loop {
            let left = deadline.saturating_sub(self.doors.clock.monotonic());
            let result = tokio::select! {
                result = self.refresh(Wanted::Topics(std::slice::from_ref(name)), create) => result,
                () = self.doors.clock.sleep(left) => {
                    return Err(ClientError::timeout(format!("metadata of topic {name}"), within));
                }
            };
            let error = match result {
                Ok(view) => match (view.topics.get(name), view.errors.get(name)) {
                    (Some(topic), None) => return Ok(topic.clone()),
                    (_, Some(code)) => ClientError::kafka(*code, format!("topic {name}")),
                    (None, None) => ClientError::kafka(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("topic {name}")),
                },
                Err(error) => error,
            };
            failures += 1;
            let rest = self.config.retry.after(failures);
            if !error.retriable() || self.doors.clock.monotonic() + rest >= deadline {
                return Err(error);
            }
            self.doors.clock.sleep(rest).await;
        }
    }

    /// The coordinator of a group, from what is known or else from the cluster.
    ///
    /// # Errors
    /// [`ErrorCode::COORDINATOR_NOT_AVAILABLE`] and others, to be tried again where they are retriable.
    pub async fn coordinator(&self, group: &str) -> Result<NodeId> {
        if let Some(node) = self.coordinators.lock().get(group) {
            return Ok(*node);
        }
        let connection = self.any().await?;
        let version = connection.version(ApiKey::FindCoordinator)?;
        let request = if version >= 4 {
            FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() }
        } else {
            FindCoordinatorRequest { key: group.into(), ..Default::default() }
        };
        let response = self.ask(&connection, &request, version).await?;
        let (code, message, node, host, port) = match response.coordinators.into_iter().next() {
            Some(found) => (found.error_code, found.error_message, found.node_id, found.host, found.port),
            None => (response.error_code, response.error_message, response.node_id, response.host, response.port),
        };
        if code != ErrorCode::NONE {
            return Err(ClientError::kafka_said(code, format!("coordinator of group {group}"), message.as_deref()));
        }
        let mut view = self.view.write();
        if !view.brokers.contains_key(&node)
            && let Ok(port) = u16::try_from(port)
        {
            let mut newer = ClusterView::clone(&view);
            newer.brokers.insert(node, BrokerView { id: node, host: host.to_string(), port, rack: None });
            *view = Arc::new(newer);
        }
        drop(view);
        self.coordinators.lock().insert(group.to_owned(), node);
        Ok(node)
    }

    /// Forgets a group's coordinator: it moved, it is gone, or it is cut off and does not know that it moved.
    pub fn forget_coordinator(&self, group: &str) {
        let forgotten = self.coordinators.lock().remove(group);
        forgotten.into_iter().for_each(|node| self.doubt(node));
    }

    /// Ends every connection.
    pub fn close(&self) {
        for slot in self.slots.lock().values() {
            if let Some(connection) = slot.ready.write().take() {
                connection.close("the client was closed");
            }
        }
    }
}

impl Slot {
    fn open(&self) -> Option<Arc<Connection>> {
        self.ready.read().clone().filter(|connection| !connection.is_closed())
    }
}
