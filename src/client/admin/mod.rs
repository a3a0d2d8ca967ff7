//! The admin client: topics, configs, groups and their offsets, the cluster.
//!
//! | file | what is in it |
//! |---|---|
//! | [`topics`] | create, delete, describe and list topics; add partitions; delete records |
//! | [`configs`] | describe and alter configs |
//! | [`groups`] | list, describe and delete groups; their offsets |
//! | [`over_time`] | how many records a topic got, and when |
//! | [`reassign`] | move replicas to other brokers |
//! | [`cluster`] | brokers and log dirs |
//! | [`replicas`] | how far each replica is |
//! | [`quorum`] | the controllers: who votes, and how far each is |
//!
//! A call about several things returns a result for each, in the order they were named: one that fails does not hide the
//! others. A call that may be tried again is, until `default.api.timeout.ms` is over.

pub mod cluster;
pub mod configs;
pub mod groups;
pub mod over_time;
pub mod quorum;
pub mod reassign;
pub mod replicas;
pub mod throttle;
pub mod topics;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::common::ids::{NodeId, Timestamp, TopicPartition};
use crate::config::{Values, client};
use crate::protocol::{ErrorCode, Request, Str};

use super::config::NetworkConfig;
use super::network::Network;
use super::offsets::{self, ListedOffset};
use super::{ClientError, Doors, Result};

/// What became of each thing that a call was about.
pub type Each<K, T> = Vec<(K, Result<T>)>;

/// Manages a cluster.
#[derive(Debug)]
pub struct Admin {
    network: Arc<Network>,
    /// `default.api.timeout.ms`
    timeout: Duration,
}

impl Admin {
    /// An admin client with the configuration `values` (of [`Scope::Admin`](crate::config::Scope::Admin)). Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for values that make no sense.
    pub fn new(doors: Doors, values: &Values) -> Result<Admin> {
        let network = Network::new(doors, NetworkConfig::new(values)?);
        let timeout = values.get(client::admin::DEFAULT_API_TIMEOUT_MS).max(0) as u64;
        Ok(Admin { network, timeout: Duration::from_millis(timeout) })
    }

    /// The way to its cluster.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// How long a call may take (`default.api.timeout.ms`).
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Looks up offsets by time: see [`offsets::list_offsets`].
    ///
    /// # Errors
    /// As there.
    pub async fn list_offsets(
        &self,
        wanted: &HashMap<TopicPartition, Timestamp>,
    ) -> Result<HashMap<TopicPartition, ListedOffset>> {
        offsets::list_offsets(&self.network, wanted, false, self.timeout).await
    }

    /// Ends every connection.
    pub fn close(&self) {
        self.network.close();
    }

    fn timeout_ms(&self) -> i32 {
        self.network.config().request_timeout.as_millis().min(i32::MAX as u128) as i32
    }

    /// Asks whichever broker answers; brokers pass on to the controller what is the controller's.
    async fn ask<R: Request>(&self, request: &R) -> Result<R::Response> {
        offsets::retrying(&self.network, self.timeout, || self.network.call_any(request)).await
    }

    /// As [`Admin::ask`], and again for as long as `judge` finds a retriable error in the response.
    async fn ask_until<R: Request>(
        &self,
        request: &R,
        judge: impl Fn(&R::Response) -> Option<ErrorCode>,
    ) -> Result<R::Response> {
        let judge = &judge;
        let last = parking_lot::Mutex::new(None);
        let (network, kept) = (&self.network, &last);
        let result = offsets::retrying(network, self.timeout, || async move {
            let response = network.call_any(request).await?;
            match judge(&response).filter(|code| code.retriable()) {
                Some(code) => {
                    *kept.lock() = Some(response);
                    Err(ClientError::kafka(code, R::KEY.name()))
                }
                None => Ok(response),
            }
        })
        .await;
        // A response that says which of many failed is worth more than the error made of it.
        match result {
            Err(error) if error.code().is_some() => last.into_inner().ok_or(error),
            other => other,
        }
    }

    /// Asks one broker.
    async fn ask_broker<R: Request>(&self, node: NodeId, request: &R) -> Result<R::Response> {
        offsets::retrying(&self.network, self.timeout, || async {
            if !self.network.view().brokers.contains_key(&node) {
                self.network.refresh(super::network::Wanted::Topics(&[]), false).await?;
            }
            self.network.call(node, request).await
        })
        .await
    }
}

/// A result out of a code and a message.
fn outcome<T>(code: ErrorCode, message: Option<&Str>, context: impl FnOnce() -> String, value: T) -> Result<T> {
    if code == ErrorCode::NONE {
        return Ok(value);
    }
    Err(ClientError::kafka_said(code, context(), message.map(|message| &**message)))
}

/// The response left something out.
fn unanswered(context: String) -> ClientError {
    ClientError::kafka(ErrorCode::UNKNOWN_SERVER_ERROR, format!("{context}: the broker did not answer"))
}
