//! A broker that runs: opened, bound, and told its address.

use std::net::SocketAddr;
use std::sync::Arc;

use super::BrokerSettings;
use crate::broker::{Broker, BrokerOptions, OpenError};
use crate::config::listener::{Endpoint, advertised, bound};
use crate::config::{ConfigError, Values, broker as key};
use crate::server::Server;

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
    /// The broker cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A broker that runs, until [`RunningBroker::stop`].
#[derive(Debug)]
pub struct RunningBroker {
    broker: Arc<Broker>,
    address: SocketAddr,
    advertised: (String, u16),
}

impl RunningBroker {
    /// Starts a broker on the current tokio runtime; it serves when this returns.
    pub async fn start(settings: BrokerSettings) -> Result<RunningBroker, StartError> {
        let (properties, notices) = Values::broker(settings.properties.iter().map(|(key, value)| (key, value)))?;
        for notice in notices {
            tracing::info!("{notice}");
        }
        let properties = Arc::new(properties);
        let listeners = bound(&properties).map_err(StartError::Listeners)?;
        let [listener] = listeners.as_slice() else {
            let sentence = format!("listeners names {} of them: this broker serves one", listeners.len());
            return Err(StartError::Listeners(sentence));
        };
        let server = Server::bind(&settings.transport, &listener.host, listener.port)
            .await
            .map_err(|source| StartError::Bind { endpoint: listener.clone(), source })?;
        let options = BrokerOptions {
            properties: properties.clone(),
            clock: settings.clock.clone(),
            socket_clock: settings.socket_clock.clone(),
            file_system: settings.file_system.clone(),
            durable: settings.durable,
        };
        let broker = Broker::open(options).await?;
        let address = server.address();
        let (host, port) = told(&properties, address).map_err(StartError::Listeners)?;
        broker.advertise(&host, port).await.map_err(|refusal| StartError::Listeners(refusal.message))?;
        server.start(broker.clone(), settings.socket_clock);
        Ok(RunningBroker { broker, address, advertised: (host, port) })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port`, as a client's `bootstrap.servers` takes it.
    pub fn bootstrap_servers(&self) -> String {
        let (host, port) = &self.advertised;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The broker itself.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Answers what is under way, closes every log, and marks the stop as clean.
    pub async fn stop(self) -> Result<(), OpenError> {
        self.broker.stop().await
    }
}

/// What clients are told: `advertised.listeners`, or what was bound, with the real port and a real host.
fn told(properties: &Values, address: SocketAddr) -> Result<(String, u16), String> {
    let endpoints = advertised(properties)?;
    let endpoint = endpoints.first().ok_or("there is no listener to advertise")?;
    let port = if endpoint.port == 0 { address.port() } else { endpoint.port };
    let everywhere = endpoint.host.is_empty() || endpoint.host == "0.0.0.0" || endpoint.host == "::";
    let host = match (everywhere, properties.is_set(key::ADVERTISED_LISTENERS)) {
        (true, true) if !endpoint.host.is_empty() => {
            return Err(format!("advertised.listeners names {}: clients cannot connect to it", endpoint.host));
        }
        (true, _) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        (false, _) => endpoint.host.clone(),
    };
    Ok((host, port))
}
