//! What can go wrong with a request to a cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::common::ids::TopicPartition;
use crate::config::ConfigError;
use crate::protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use crate::record::BatchError;

/// What a broker said that the error's own sentence does not.
fn besides(code: ErrorCode, message: Option<&str>) -> String {
    message.filter(|said| *said != code.message()).map(|said| format!(" ({said})")).unwrap_or_default()
}

/// Why a client could not do what it was asked to.
///
/// Cheap to clone: one failure may be told to every record of a batch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// A broker answered with an error.
    #[error("{context}: {code}{}", besides(*code, message.as_deref()))]
    Kafka {
        /// Kafka's error.
        code: ErrorCode,
        /// What was asked, of what.
        context: Arc<str>,
        /// What the broker said besides.
        message: Option<Arc<str>>,
    },
    /// The time that was given ran out.
    #[error("{what} took longer than {} ms", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: Arc<str>,
        /// How long.
        after: Duration,
    },
    /// The connection could not be made, or ended.
    #[error("no connection to {address}: {cause}")]
    Disconnected {
        /// host:port, or what is known instead.
        address: Arc<str>,
        /// Why.
        cause: Arc<str>,
    },
    /// The broker and this client share no version of an API.
    #[error("{address} speaks {api} in versions {broker}, and this client in {client}")]
    UnsupportedVersion {
        /// Which broker.
        address: Arc<str>,
        /// The API.
        api: ApiKey,
        /// The broker's versions; "none" if it does not know the API.
        broker: String,
        /// Ours.
        client: String,
    },
    /// A response cannot be read.
    #[error("the response from {address} cannot be read: {cause}")]
    Response {
        /// Which broker.
        address: Arc<str>,
        /// Why.
        cause: DecodeError,
    },
    /// A request cannot be written in the version that the broker speaks.
    #[error("the request cannot be written: {0}")]
    Request(#[from] EncodeError),
    /// A fetched batch is no good.
    #[error("{partition}: {cause}")]
    Batch {
        /// The partition it came from.
        partition: TopicPartition,
        /// What is wrong with it.
        cause: BatchError,
    },
    /// A configuration is refused.
    #[error(transparent)]
    Config(Arc<ConfigError>),
    /// What was asked makes no sense, or not now; the text says what would.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// There is no committed offset (or it is gone), and `auto.offset.reset` is `none`.
    #[error("no offset to start from for {0}: commit one, seek, or set auto.offset.reset")]
    NoOffset(TopicPartition),
    /// `buffer.memory` is used up, and stayed so for `max.block.ms`.
    #[error("buffer.memory ({limit} bytes) is used up, and was for {} ms", after.as_millis())]
    BufferFull {
        /// `buffer.memory`, in bytes.
        limit: usize,
        /// How long was waited.
        after: Duration,
    },
    /// The producer, consumer or client was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
}

/// A result of this room.
pub type Result<T> = std::result::Result<T, ClientError>;

impl ClientError {
    /// A broker's error.
    pub fn kafka(code: ErrorCode, context: impl Into<Arc<str>>) -> ClientError {
        ClientError::Kafka { code, context: context.into(), message: None }
    }

    /// A broker's error with the broker's own words.
    pub fn kafka_said(code: ErrorCode, context: impl Into<Arc<str>>, message: Option<&str>) -> ClientError {
        ClientError::Kafka { code, context: context.into(), message: message.map(Into::into) }
    }

    pub(crate) fn disconnected(address: &Arc<str>, cause: impl Into<Arc<str>>) -> ClientError {
        ClientError::Disconnected { address: address.clone(), cause: cause.into() }
    }

    pub(crate) fn timeout(what: impl Into<Arc<str>>, after: Duration) -> ClientError {
        ClientError::Timeout { what: what.into(), after }
    }

    pub(super) fn invalid(what: impl Into<Arc<str>>) -> ClientError {
        ClientError::Invalid(what.into())
    }

    /// Kafka's error, if a broker answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed if it is made again.
    pub fn retriable(&self) -> bool {
        match self {
            ClientError::Kafka { code, .. } => code.retriable(),
            ClientError::Timeout { .. } | ClientError::Disconnected { .. } | ClientError::BufferFull { .. } => true,
            _ => false,
        }
    }

    /// Whether it speaks for stale metadata: another broker may be the one to ask.
    pub(super) fn wants_metadata(&self) -> bool {
        match self {
            ClientError::Kafka { code, .. } => matches!(
                *code,
                ErrorCode::NOT_LEADER_OR_FOLLOWER
                    | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                    | ErrorCode::UNKNOWN_TOPIC_ID
                    | ErrorCode::INCONSISTENT_TOPIC_ID
                    | ErrorCode::LEADER_NOT_AVAILABLE
                    | ErrorCode::FENCED_LEADER_EPOCH
                    | ErrorCode::UNKNOWN_LEADER_EPOCH
                    | ErrorCode::REPLICA_NOT_AVAILABLE
                    | ErrorCode::LISTENER_NOT_FOUND
                    | ErrorCode::KAFKA_STORAGE_ERROR
                    | ErrorCode::OFFSET_NOT_AVAILABLE
                    // A leader that is cut off hears from no follower, nor that another leads.
                    | ErrorCode::REQUEST_TIMED_OUT
            ),
            ClientError::Disconnected { .. } | ClientError::Timeout { .. } => true,
            _ => false,
        }
    }
}

impl From<ConfigError> for ClientError {
    fn from(error: ConfigError) -> ClientError {
        ClientError::Config(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_says_twice_is_told_once() {
        let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let told =
            |message: &str| ClientError::Kafka { code, context: "t".into(), message: Some(message.into()) }.to_string();
        assert_eq!(told(code.message()), format!("t: {code}"));
        assert_eq!(told("it is gone"), format!("t: {code} (it is gone)"));
    }
}
