//! A node that runs: bound, opened, let into its cluster, and told its address.
//!
//! One that is a controller only has no listener for clients, and does not register.
//!
//! Its listeners are bound first ([`BoundBroker`]): the others must know where its controller listener is before any of them
//! can start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::BrokerSettings;
use super::orders::Bound;
use crate::broker::{Broker, BrokerOptions, Listener, OpenError};
use crate::common::ids::NodeId;
use crate::config::listener::{self, Endpoint, advertised, bound};
use crate::config::{ConfigError, Values, broker as key, rules};
use crate::controller::Voter;
use crate::metadata::Refusal;
use crate::metadata::records::BrokerEndpoint;
use crate::protocol::{ErrorCode, Str};
use crate::server::Server;

/// How long a port that was given up may still be taken.
const REBIND: Duration = Duration::from_millis(50);
/// How often it is tried again.
const REBINDS: usize = 40;
/// Kafka's number of the only protocol that is served.
const PLAINTEXT: i16 = 0;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listeners are not what this broker can do.
    #[error("{0}")]
    Listeners(String),
    /// The address cannot be bound.
    #[error("cannot listen on {endpoint}: {source}")]
    Bind {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        source: std::io::Error,
    },
    /// The cluster does not let it in.
    #[error("{0}")]
    Join(Refusal),
    /// The broker cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What a broker in a process of its own says.
    #[error("{sentence}")]
    Told {
        /// The error's code in the protocol.
        code: ErrorCode,
        /// The system's, where it is one of that.
        errno: Option<i32>,
        /// All of it.
        sentence: String,
    },
    /// The process that it should run in cannot be made.
    #[error("a process for it cannot be started: {0}")]
    Process(std::io::Error),
    /// Its process ended before it served.
    #[error("{0}")]
    Ended(String),
}

impl StartError {
    /// The error's code in the protocol.
    pub fn code(&self) -> ErrorCode {
        match self {
            StartError::Config(_) | StartError::Listeners(_) => ErrorCode::INVALID_CONFIG,
            StartError::Join(refusal) => refusal.code,
            StartError::Open(_) => ErrorCode::KAFKA_STORAGE_ERROR,
            StartError::Told { code, .. } => *code,
            StartError::Bind { .. } | StartError::Process(_) | StartError::Ended(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        }
    }

    /// The system's error number, where it is one of that.
    pub fn errno(&self) -> Option<i32> {
        match self {
            StartError::Bind { source, .. } | StartError::Process(source) => source.raw_os_error(),
            StartError::Told { errno, .. } => *errno,
            _ => None,
        }
    }
}

/// A broker whose listeners are bound, and which does not run yet.
#[derive(Debug)]
pub struct BoundBroker {
    settings: BrokerSettings,
    properties: Arc<Values>,
    /// In the order of `listeners`; none of a node that is a controller only, which has the other.
    clients: Vec<(Endpoint, Server)>,
    controllers: Option<Server>,
}

impl BoundBroker {
    /// As [`BoundBroker::bind`], for a broker that is started again: a port that was its own may still be being given up.
    pub(super) async fn bind_again(settings: &BrokerSettings) -> Result<BoundBroker, StartError> {
        for _ in 0..REBINDS {
            match BoundBroker::bind(settings.clone()).await {
                Err(StartError::Bind { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {
                    settings.socket_clock.sleep(REBIND).await;
                }
                bound => return bound,
            }
        }
        BoundBroker::bind(settings.clone()).await
    }

    /// Where it is bound.
    pub(super) fn bound(&self) -> Bound {
        let controller = self.controller_address();
        Bound {
            id: self.id(),
            listeners: self.listeners(),
            ports: self
                .clients
                .iter()
                .map(|(_, server)| server.address())
                .chain(controller)
                .map(|at| at.port())
                .collect(),
            controller: controller.map(|address| (address.ip().to_string(), address.port())),
        }
    }

    /// Checks the settings and binds their listeners.
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::Listeners`], [`StartError::Bind`].
    pub async fn bind(settings: BrokerSettings) -> Result<BoundBroker, StartError> {
        let (properties, notices) = Values::broker(settings.properties.iter().map(|(key, value)| (key, value)))?;
        for notice in notices {
            tracing::info!("{notice}");
        }
        let properties = Arc::new(properties);
        let listeners = bound(&properties).map_err(StartError::Listeners)?;
        let mut clients = Vec::new();
        for endpoint in &listeners {
            clients.push((endpoint.clone(), bind(&settings, endpoint, Listener::Client).await?));
        }
        let others = !listener::voters(&properties).map_err(StartError::Listeners)?.is_empty()
            || !listener::bootstrap_servers(&properties).map_err(StartError::Listeners)?.is_empty();
        let controllers = match listener::controllers(&properties).map_err(StartError::Listeners)?.as_slice() {
            // Apache Kafka's brokers have none, for they fetch the metadata; ours are brought it, wherever they are.
            [] if others => {
                let host = listeners.first().map(|endpoint| endpoint.host.clone()).unwrap_or_default();
                let endpoint = Endpoint { name: "CONTROLLER".to_owned(), host, port: 0 };
                Some(bind(&settings, &endpoint, Listener::Controller).await?)
            }
            [] => None,
            [endpoint] => Some(bind(&settings, endpoint, Listener::Controller).await?),
            several => {
                let sentence = format!("listeners names {} of them for controllers: there can be one", several.len());
                return Err(StartError::Listeners(sentence));
            }
        };
        Ok(BoundBroker { settings, properties, clients, controllers })
    }

    /// `node.id`
    pub fn id(&self) -> NodeId {
        rules::node_id(&self.properties)
    }

    /// Where clients reach it by its first listener; of a controller only, where the others do.
    pub fn address(&self) -> SocketAddr {
        address(&self.clients, &self.controllers)
    }

    /// Where other controllers reach it; `None` where it has no listener for them.
    pub fn controller_address(&self) -> Option<SocketAddr> {
        self.controllers.as_ref().map(Server::address)
    }

    /// `listeners`, with the ports that were bound.
    fn listeners(&self) -> String {
        let told = |endpoint: &Endpoint, server: &Server| {
            Endpoint { port: server.address().port(), ..endpoint.clone() }.to_string()
        };
        let controllers = listener::controllers(&self.properties).unwrap_or_default();
        let both = self.clients.iter().map(|(end, server)| told(end, server));
        let both = both.chain(controllers.iter().zip(&self.controllers).map(|(end, server)| told(end, server)));
        both.collect::<Vec<_>>().join(",")
    }

    /// Starts it, on the current tokio runtime; it serves, and may lead, when this returns. `voters` are the first
    /// controllers of its cluster; where there are none it is its own.
    ///
    /// # Errors
    /// [`StartError::Open`], [`StartError::Join`], [`StartError::Listeners`].
    pub async fn start(self, voters: Vec<Voter>) -> Result<RunningBroker, StartError> {
        let BoundBroker { settings, properties, clients, controllers } = self;
        let here = controllers.as_ref().map(|server| controllers_told(&properties, server.address())).transpose()?;
        let broker = Broker::open(BrokerOptions {
            properties: properties.clone(),
            clock: settings.clock.clone(),
            socket_clock: settings.socket_clock.clone(),
            transport: settings.transport.clone(),
            file_system: settings.file_system.clone(),
            durable: settings.durable,
            cluster_id: settings.cluster_id.clone(),
            controller_listener: here.clone(),
            voters,
        })
        .await?;
        let address = address(&clients, &controllers);
        if let Some(controllers) = controllers {
            controllers.start(broker.clone(), settings.socket_clock.clone());
        }
        if clients.is_empty() {
            let advertised = here.unwrap_or_default();
            return Ok(RunningBroker::of(broker, address, advertised));
        }
        let endpoints = told(&properties, &clients).map_err(StartError::Listeners)?;
        let advertised = endpoints.first().map(|first| (first.host.to_string(), first.port)).unwrap_or_default();
        if let Err(refusal) = broker.join(endpoints).await {
            broker.stop(false).await?;
            return Err(StartError::Join(refusal));
        }
        // What it knew before it joined may be old: it may have led what others lead by now. Who comes meanwhile waits.
        for (_, server) in clients {
            server.start(broker.clone(), settings.socket_clock.clone());
        }
        Ok(RunningBroker::of(broker, address, advertised))
    }
}

/// Ends a broker whose disk fails while others can lead, and tells why.
fn end_with_disk(broker: &Arc<Broker>) -> watch::Receiver<Option<String>> {
    let death = watch::Sender::new(None);
    let died = death.subscribe();
    let (failing, failed) = (broker.disk_failed(), Arc::downgrade(broker));
    tokio::spawn(async move {
        let Some(failure) = failing.await else { return };
        let reason = format!("its disk failed, and others can lead: {failure}");
        tracing::error!("this broker ends: {reason}");
        if let Some(broker) = failed.upgrade() {
            broker.kill().await;
        }
        death.send_replace(Some(reason));
    });
    died
}

/// Where a node is that has one of the two at least: the rules of the configuration see to that.
fn address(clients: &[(Endpoint, Server)], controllers: &Option<Server>) -> SocketAddr {
    let server = clients.first().map(|(_, server)| server).or(controllers.as_ref());
    server.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), Server::address)
}

async fn bind(settings: &BrokerSettings, endpoint: &Endpoint, role: Listener) -> Result<Server, StartError> {
    Server::bind(&settings.transport, &endpoint.host, endpoint.port, (role, &endpoint.name))
        .await
        .map_err(|source| StartError::Bind { endpoint: endpoint.clone(), source })
}

/// A broker that runs, until [`RunningBroker::stop`].
#[derive(Debug)]
pub struct RunningBroker {
    broker: Arc<Broker>,
    address: SocketAddr,
    advertised: (String, u16),
    died: watch::Receiver<Option<String>>,
}

impl RunningBroker {
    /// One that serves now.
    fn of(broker: Arc<Broker>, address: SocketAddr, advertised: (String, u16)) -> RunningBroker {
        let died = end_with_disk(&broker);
        let running = RunningBroker { broker, address, advertised, died };
        let (node, at) = (running.broker.node(), running.bootstrap_servers());
        tracing::info!(node = node.id, at, cluster = %node.cluster_id, version = env!("CARGO_PKG_VERSION"), "the node serves");
        running
    }

    /// Binds and starts a broker on the current tokio runtime; it serves when this returns. Its first controllers are those of
    /// `controller.quorum.voters`, or those whom the bootstrap servers know, or itself.
    ///
    /// # Errors
    /// As [`BoundBroker::bind`] and [`BoundBroker::start`].
    pub async fn start(settings: BrokerSettings) -> Result<RunningBroker, StartError> {
        let bound = BoundBroker::bind(settings).await?;
        let voters = listener::voters(&bound.properties).map_err(StartError::Listeners)?;
        let voters = voters.into_iter().map(|(id, host, port)| Voter { id, host, port, ..Default::default() });
        let voters = voters.collect();
        bound.start(voters).await
    }

    /// The address that was bound for clients, by the first listener; of a controller only, for the others.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port`, as a client's `bootstrap.servers` takes it; of a controller only, as `bootstrap.controllers` does.
    pub fn bootstrap_servers(&self) -> String {
        let (host, port) = &self.advertised;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The broker itself.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Why it has ended by itself; `None` while it has not.
    pub fn death(&self) -> Option<String> {
        self.died.borrow().clone()
    }

    /// Ends when it has ended by itself, and tells why; `None` where it is stopped or killed before.
    pub fn died(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut died = self.died.clone();
        async move { died.wait_for(Option::is_some).await.ok().and_then(|death| death.clone()) }
    }

    /// Hands over what it leads, answers what is under way, closes every log, and marks the stop as clean.
    ///
    /// # Errors
    /// A log cannot be closed.
    pub async fn stop(self) -> Result<(), OpenError> {
        self.stopped(true).await
    }

    /// As [`RunningBroker::stop`], without handing over: the whole cluster stops.
    ///
    /// # Errors
    /// A log cannot be closed.
    pub async fn stop_with_all(self) -> Result<(), OpenError> {
        self.stopped(false).await
    }

    async fn stopped(self, hands_over: bool) -> Result<(), OpenError> {
        self.broker.stop(hands_over).await?;
        tracing::info!(node = self.broker.node().id, "the node has stopped");
        Ok(())
    }

    /// Ends it where it stands, as kill -9 would end its process: nothing is answered, closed or marked any more.
    pub async fn kill(self) {
        self.broker.kill().await;
    }
}

/// Where other nodes reach the listener for controllers.
fn controllers_told(properties: &Values, address: SocketAddr) -> Result<(String, u16), StartError> {
    let (host, port) = listener::told_controller(properties, &address.ip().to_string(), address.port())
        .map_err(StartError::Listeners)?;
    Ok((if host.is_empty() { nodename() } else { host }, port))
}

/// This machine's own name.
fn nodename() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where others reach it, listener by listener: `advertised.listeners`, or what was bound, with the real port and a real host. A
/// listener that is not advertised is for those who know of it.
fn told(properties: &Values, clients: &[(Endpoint, Server)]) -> Result<Vec<BrokerEndpoint>, String> {
    let told = advertised(properties)?;
    let mut endpoints = Vec::new();
    for (bound, server) in clients {
        let Some(endpoint) = told.iter().find(|told| told.name == bound.name) else { continue };
        let port = if endpoint.port == 0 { server.address().port() } else { endpoint.port };
        let everywhere = endpoint.host.is_empty() || endpoint.host == "0.0.0.0" || endpoint.host == "::";
        let host = match (everywhere, properties.is_set(key::ADVERTISED_LISTENERS)) {
            (true, true) if !endpoint.host.is_empty() => {
                return Err(format!("advertised.listeners names {}: clients cannot connect to it", endpoint.host));
            }
            (true, _) => nodename(),
            (false, _) => endpoint.host.clone(),
        };
        endpoints.push(BrokerEndpoint {
            name: Str::from(endpoint.name.as_str()),
            host: Str::from(host),
            port,
            security_protocol: PLAINTEXT,
        });
    }
    if endpoints.is_empty() {
        return Err("there is no listener to advertise".to_owned());
    }
    Ok(endpoints)
}
