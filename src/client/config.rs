//! The client's keys as the types that the code uses: read once, when a client is made.

use std::time::Duration;

use crate::common::ids::Timestamp;
use crate::config::client::{self, consumer, producer};
use crate::config::{Scope, Values, rules};
use crate::record::{Codec, Compression};

use super::error::{ClientError, Result};

fn ms(value: i64) -> Duration {
    Duration::from_millis(value.max(0) as u64)
}

/// What every client needs to reach a cluster.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// `bootstrap.servers`, as host and port.
    pub bootstrap: Vec<(String, u16)>,
    /// `client.id`
    pub client_id: String,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`
    pub retry: Backoff,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`
    pub reconnect: Backoff,
    /// `metadata.max.age.ms`
    pub metadata_max_age: Duration,
    /// `connections.max.idle.ms`; `None`: never closed.
    pub max_idle: Option<Duration>,
    /// `socket.connection.setup.timeout.ms`
    pub connect_timeout: Duration,
}

/// A rest that doubles with each failure, up to a limit, with a fifth of jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first rest.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Backoff {
    /// The rest after `failures` in a row, of which there must be at least one for there to be any.
    pub fn after(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let rest = self.first.saturating_mul(1 << (failures - 1).min(20)).min(self.longest);
        rest.mul_f64(0.8 + 0.4 * rand::random::<f64>())
    }
}

impl NetworkConfig {
    /// From a client's configuration, of whatever scope.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a server that is not host:port.
    pub fn new(values: &Values) -> Result<NetworkConfig> {
        let bootstrap = values
            .get(client::BOOTSTRAP_SERVERS)
            .iter()
            .map(|server| {
                parse_server(server).ok_or_else(|| {
                    ClientError::invalid(format!("bootstrap.servers has {server:?}: each must be host:port"))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let idle = values.get(client::CONNECTIONS_MAX_IDLE_MS);
        Ok(NetworkConfig {
            bootstrap,
            client_id: values.get(client::CLIENT_ID),
            request_timeout: ms(values.get(client::REQUEST_TIMEOUT_MS)),
            retry: Backoff {
                first: ms(values.get(client::RETRY_BACKOFF_MS)),
                longest: ms(values.get(client::RETRY_BACKOFF_MAX_MS)),
            },
            reconnect: Backoff {
                first: ms(values.get(client::RECONNECT_BACKOFF_MS)),
                longest: ms(values.get(client::RECONNECT_BACKOFF_MAX_MS)),
            },
            metadata_max_age: ms(values.get(client::METADATA_MAX_AGE_MS)),
            max_idle: (idle >= 0).then(|| ms(idle)),
            connect_timeout: ms(values.get(client::SOCKET_CONNECTION_SETUP_TIMEOUT_MS)),
        })
    }
}

/// `host:port`, `[v6]:port`, with or without `PROTOCOL://` in front.
fn parse_server(server: &str) -> Option<(String, u16)> {
    let server = server.trim();
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let (host, port) = server.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some((host.to_owned(), port.parse().ok().filter(|port| *port != 0)?))
}

/// What a producer needs to know.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// `acks`: -1 for `all`, 1, or 0.
    pub acks: i16,
    /// Whether it is idempotent: `enable.idempotence`, and nothing that rules it out.
    pub idempotent: bool,
    /// `batch.size`, in bytes.
    pub batch_size: usize,
    /// `linger.ms`
    pub linger: Duration,
    /// `buffer.memory`, in bytes.
    pub buffer_memory: usize,
    /// `max.block.ms`
    pub max_block: Duration,
    /// `max.request.size`, in bytes.
    pub max_request_size: usize,
    /// `compression.type` and its level.
    pub compression: Compression,
    /// `retries`
    pub retries: i32,
    /// `delivery.timeout.ms`
    pub delivery_timeout: Duration,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `max.in.flight.requests.per.connection`
    pub max_in_flight: usize,
    /// `partitioner.ignore.keys`
    pub ignore_keys: bool,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`
    pub retry: Backoff,
}

impl ProducerConfig {
    /// From a producer's configuration.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a level that the codec does not have.
    pub fn new(values: &Values) -> Result<ProducerConfig> {
        debug_assert_eq!(values.owner().scope, Scope::Producer);
        let invalid = |error: &dyn std::fmt::Display| ClientError::invalid(error.to_string());
        let codec: Codec = values.get(producer::COMPRESSION_TYPE).parse().map_err(|error| invalid(&error))?;
        let level = match codec {
            Codec::Gzip => Some(values.get(producer::COMPRESSION_GZIP_LEVEL)),
            Codec::Zstd => Some(values.get(producer::COMPRESSION_ZSTD_LEVEL)),
            _ => None,
        };
        let compression = match level {
            Some(level) => Compression::with_level(codec, level).map_err(|error| invalid(&error))?,
            None => Compression::new(codec),
        };
        Ok(ProducerConfig {
            acks: match values.get(producer::ACKS).as_str() {
                "0" => 0,
                "1" => 1,
                _ => -1,
            },
            idempotent: rules::idempotence(values),
            batch_size: values.get(producer::BATCH_SIZE) as usize,
            linger: ms(values.get(producer::LINGER_MS)),
            buffer_memory: values.get(producer::BUFFER_MEMORY) as usize,
            max_block: ms(values.get(producer::MAX_BLOCK_MS)),
            max_request_size: values.get(producer::MAX_REQUEST_SIZE) as usize,
            compression,
            retries: values.get(producer::RETRIES),
            delivery_timeout: ms(rules::delivery_timeout_ms(values)),
            request_timeout: ms(values.get(client::REQUEST_TIMEOUT_MS)),
            max_in_flight: values.get(producer::MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION) as usize,
            ignore_keys: values.get(producer::PARTITIONER_IGNORE_KEYS),
            retry: NetworkConfig::new(values)?.retry,
        })
    }
}

/// Where to start without a committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// Behind the last record.
    Latest,
    /// At the first record that is still there.
    Earliest,
    /// Nowhere: it is an error.
    None,
    /// At the first record that is not older than this.
    ByDuration(Duration),
}

/// What a consumer needs to know.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// `group.id`
    pub group_id: Option<String>,
    /// `group.instance.id`
    pub group_instance_id: Option<String>,
    /// `partition.assignment.strategy`, by Kafka's short names.
    pub assignors: Vec<String>,
    /// `auto.offset.reset`
    pub offset_reset: OffsetReset,
    /// `enable.auto.commit` and `auto.commit.interval.ms`
    pub auto_commit: Option<Duration>,
    /// `session.timeout.ms`
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`
    pub max_poll_interval: Duration,
    /// `max.poll.records`
    pub max_poll_records: usize,
    /// `fetch.min.bytes`
    pub fetch_min_bytes: i32,
    /// `fetch.max.wait.ms`
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`
    pub max_partition_fetch_bytes: i32,
    /// Whether `isolation.level` is `read_committed`.
    pub read_committed: bool,
    /// `check.crcs`
    pub check_crcs: bool,
    /// `client.rack`
    pub rack: String,
    /// `allow.auto.create.topics`
    pub allow_auto_create: bool,
    /// `exclude.internal.topics`
    pub exclude_internal: bool,
    /// `default.api.timeout.ms`
    pub api_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`
    pub retry: Backoff,
}

impl ConsumerConfig {
    /// From a consumer's configuration.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for an `auto.offset.reset` whose duration cannot be read.
    pub fn new(values: &Values) -> Result<ConsumerConfig> {
        debug_assert_eq!(values.owner().scope, Scope::Consumer);
        let reset = values.get(consumer::AUTO_OFFSET_RESET);
        let offset_reset = match reset.as_str() {
            "latest" => OffsetReset::Latest,
            "earliest" => OffsetReset::Earliest,
            "none" => OffsetReset::None,
            other => {
                let duration = other.strip_prefix("by_duration:").and_then(parse_iso_duration).ok_or_else(|| {
                    ClientError::invalid(format!(
                        "auto.offset.reset is {other:?}: it must be latest, earliest, none, or by_duration:PnDTnHnMn.nS"
                    ))
                })?;
                OffsetReset::ByDuration(duration)
            }
        };
        let interval = values.get(consumer::AUTO_COMMIT_INTERVAL_MS);
        Ok(ConsumerConfig {
            group_id: values.get(consumer::GROUP_ID).filter(|group| !group.is_empty()),
            group_instance_id: values.get(consumer::GROUP_INSTANCE_ID),
            assignors: values.get(consumer::PARTITION_ASSIGNMENT_STRATEGY).iter().map(|name| short(name)).collect(),
            offset_reset,
            auto_commit: values.get(consumer::ENABLE_AUTO_COMMIT).then(|| ms(interval)),
            session_timeout: ms(values.get(consumer::SESSION_TIMEOUT_MS)),
            heartbeat_interval: ms(values.get(consumer::HEARTBEAT_INTERVAL_MS)),
            max_poll_interval: ms(values.get(consumer::MAX_POLL_INTERVAL_MS)),
            max_poll_records: values.get(consumer::MAX_POLL_RECORDS) as usize,
            fetch_min_bytes: values.get(consumer::FETCH_MIN_BYTES) as i32,
            fetch_max_wait: ms(values.get(consumer::FETCH_MAX_WAIT_MS)),
            fetch_max_bytes: values.get(consumer::FETCH_MAX_BYTES) as i32,
            max_partition_fetch_bytes: values.get(consumer::MAX_PARTITION_FETCH_BYTES) as i32,
            read_committed: values.get(consumer::ISOLATION_LEVEL) == "read_committed",
            check_crcs: values.get(consumer::CHECK_CRCS),
            rack: values.get(consumer::CLIENT_RACK),
            allow_auto_create: values.get(consumer::ALLOW_AUTO_CREATE_TOPICS),
            exclude_internal: values.get(consumer::EXCLUDE_INTERNAL_TOPICS),
            api_timeout: ms(values.get(consumer::DEFAULT_API_TIMEOUT_MS)),
            retry: NetworkConfig::new(values)?.retry,
        })
    }
}

/// Java's class names of the assignors are taken too, for people have them in their files.
fn short(name: &str) -> String {
    match name.rsplit('.').next() {
        Some("RangeAssignor") => "range".to_owned(),
        Some("RoundRobinAssignor") => "roundrobin".to_owned(),
        Some("StickyAssignor") => "sticky".to_owned(),
        Some("CooperativeStickyAssignor") => "cooperative-sticky".to_owned(),
        _ => name.to_owned(),
    }
}

/// The part of ISO 8601 that Java's Duration reads: PnDTnHnMn.nS, nothing negative.
fn parse_iso_duration(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let (days, time) = text.strip_prefix('P')?.split_once('T').unwrap_or((text.strip_prefix('P')?, ""));
    let mut seconds = 0.0;
    for (part, units) in [(days, &[('D', 86_400.0)][..]), (time, &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])] {
        let mut rest = part;
        let mut units = units.iter();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..end].parse().ok()?;
            let unit = rest[end..].chars().next()?;
            let (_, factor) = units.find(|(known, _)| *known == unit)?;
            seconds += number * factor;
            rest = &rest[end + 1..];
        }
    }
    if text.len() < 3 { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

impl OffsetReset {
    /// The timestamp to ask ListOffsets for; `None` where there is none to ask for.
    pub fn timestamp(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            OffsetReset::Latest => Some(-1),
            OffsetReset::Earliest => Some(-2),
            OffsetReset::None => None,
            OffsetReset::ByDuration(age) => Some(now.saturating_sub(age.as_millis() as i64).max(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_host_and_port() {
        assert_eq!(parse_server("a:9092"), Some(("a".to_owned(), 9092)));
        assert_eq!(parse_server(" PLAINTEXT://[::1]:9092"), Some(("::1".to_owned(), 9092)));
        for wrong in ["a", "a:", ":1", "a:0", "a:99999"] {
            assert_eq!(parse_server(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_as_java_reads_them() {
        assert_eq!(parse_iso_duration("P1DT2H3M4.5S"), Some(Duration::from_millis(93_784_500)));
        assert_eq!(parse_iso_duration("PT30S"), Some(Duration::from_secs(30)));
        for wrong in ["", "P", "PT", "30S", "PT30", "PT1S1M", "P-1D"] {
            assert_eq!(parse_iso_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_rest_doubles_up_to_its_limit() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(1000) };
        assert_eq!(backoff.after(0), Duration::ZERO);
        for (failures, about) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (400, 1000)] {
            let rest = backoff.after(failures).as_millis();
            assert!((about * 8 / 10..=about * 12 / 10).contains(&rest), "{failures}: {rest}");
        }
    }
}
