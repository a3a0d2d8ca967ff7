//! What the clients of one cluster share: where it is, the keys that were given for all of them, and who must be closed
//! with it.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::LogSource;
use crate::client::Doors;
use crate::client::admin::Admin;
use crate::cluster::log_source;
use crate::common::clock::{SharedClock, SystemClock};
use crate::common::ids::Timestamp;
use crate::common::transport::Tcp;
use crate::config::{Scope, Values};
use crate::protocol::ErrorCode;

use super::cluster::Brokers;
use super::runtime::{self, Close, Registry};
use super::{convert, errors};

/// Where a cluster is.
pub(crate) struct Source {
    bootstrap: String,
    config: Vec<(String, String)>,
    /// The brokers, where they run in this process: clients keep them running until somebody closes them.
    brokers: Option<Arc<Brokers>>,
    /// What the clients go by.
    clock: SharedClock,
    clients: Registry,
    admin: Admin,
}

impl Source {
    /// The cluster behind these servers, with keys for all its clients.
    pub(crate) fn new(
        py: Python<'_>,
        bootstrap: String,
        config: Vec<(String, String)>,
        brokers: Option<Arc<Brokers>>,
    ) -> PyResult<Arc<Source>> {
        let given = || config.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let own = [("bootstrap.servers", bootstrap.as_str())];
        // A key that only some clients have is refused here, where it was written.
        Values::client(Scope::Client, own.into_iter().chain(given())).map_err(|error| convert::config_error(&error))?;
        let (values, notices) = Values::client(Scope::Admin, own.into_iter().chain(given()))
            .map_err(|error| convert::config_error(&error))?;
        warn(py, &notices)?;
        let clock = brokers.as_ref().map_or_else(SystemClock::shared, |brokers| brokers.time().of_clients());
        let admin = Admin::new(doors(&clock)?, &values).map_err(errors::client)?;
        Ok(Arc::new(Source { bootstrap, config, brokers, clock, clients: Registry::default(), admin }))
    }

    /// `host:port,...`
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The keys that were given for all its clients.
    pub(crate) fn config(&self) -> &[(String, String)] {
        &self.config
    }

    /// Through which doors its clients go.
    pub(crate) fn doors(&self) -> PyResult<Doors> {
        if self.brokers.as_ref().is_some_and(|brokers| brokers.is_closed()) {
            return Err(errors::closed("cluster"));
        }
        doors(&self.clock)
    }

    /// The brokers, where they run in this process.
    pub(crate) fn brokers(&self) -> Option<&Arc<Brokers>> {
        self.brokers.as_ref()
    }

    /// The logs of a topic, where the brokers run in this process.
    pub(crate) fn log_source(
        &self,
        topic: &str,
    ) -> Option<impl Future<Output = Result<LogSource, ErrorCode>> + Send + use<>> {
        let local = self.brokers.as_ref()?.local().clone();
        if local.is_apart() {
            return None;
        }
        let topic = topic.to_owned();
        Some(async move { log_source(&local, &topic).await })
    }

    /// The time, as its clients have it.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The admin client that everything of this cluster shares.
    pub(crate) fn admin(&self) -> PyResult<&Admin> {
        if let Some(brokers) = &self.brokers {
            if brokers.is_closed() {
                return Err(errors::closed("cluster"));
            }
            brokers.local().doubt_unheard(self.admin.network());
        }
        Ok(&self.admin)
    }

    /// The same, for a call that may outlive whoever made it.
    pub(crate) fn asker(self: &Arc<Self>) -> PyResult<Asker> {
        self.admin().map(|_| Asker(self.clone()))
    }

    /// A client's configuration: what was given for all, then `config`, then the keywords; `own` counts least.
    pub(crate) fn values(
        &self,
        py: Python<'_>,
        scope: Scope,
        config: Option<&Bound<'_, PyDict>>,
        keywords: Option<&Bound<'_, PyDict>>,
        own: &[(&str, &str)],
    ) -> PyResult<Values> {
        let given = convert::configs(config, keywords)?;
        let mut all = vec![("bootstrap.servers", self.bootstrap.as_str())];
        all.extend(own);
        all.extend(self.config.iter().chain(&given).map(|(key, value)| (key.as_str(), value.as_str())));
        let (values, notices) = Values::client(scope, all).map_err(|error| convert::config_error(&error))?;
        warn(py, &notices)?;
        Ok(values)
    }

    /// Has a client closed with the cluster, or at the interpreter's exit.
    pub(crate) fn register(&self, client: &Arc<impl Close + 'static>) -> PyResult<()> {
        self.clients.add(client);
        runtime::close_at_exit(client)
    }

    /// Closes the clients that were made here, and the connections of the admin client.
    pub(crate) async fn close(&self, within: Duration) {
        self.clients.close(within).await;
        self.admin.close();
    }
}

/// An admin client, and all that must live as long as it.
pub(crate) struct Asker(Arc<Source>);

impl std::ops::Deref for Asker {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.0.admin
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.admin.close();
    }
}

fn doors(clock: &SharedClock) -> PyResult<Doors> {
    Ok(Doors { transport: Tcp::shared(), clock: clock.clone(), runtime: runtime::handle()?.clone() })
}

/// Tells whoever set a key that it has no effect.
fn warn(py: Python<'_>, notices: &[String]) -> PyResult<()> {
    for notice in notices {
        let text = std::ffi::CString::new(notice.as_str()).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)?;
    }
    Ok(())
}
