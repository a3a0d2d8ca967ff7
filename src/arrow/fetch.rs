//! A topic of any Kafka cluster: batches are slices of what its brokers answer.
//!
//! Its calls wait on the runtime that its client was given, so they come from threads that are none of the runtime's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::ScanError;
use super::source::{Chunk, Cursor, PartitionRange, Source, last_batch_end};
use crate::client::fetch::{FetchBatches, FetchedBatches};
use crate::client::network::{Network, Wanted};
use crate::client::offsets::{EARLIEST, LATEST, list_offsets, retrying};
use crate::client::{ClientError, Result};
use crate::common::ids::{Offset, Timestamp, TopicPartition, Uuid};
use crate::protocol::ErrorCode;

/// How much is fetched at once: the next is on its way while this is worked on, so a scan holds two of them.
const CHUNK: i32 = 8 << 20;

/// See the module.
#[derive(Clone)]
pub struct FetchSource {
    topic: Arc<str>,
    /// The topic's id, once it was met: one that is made anew under its name is another.
    topic_id: Arc<OnceLock<Uuid>>,
    network: Arc<Network>,
    /// How long one call may take.
    within: Duration,
    check_crcs: bool,
}

impl fmt::Debug for FetchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchSource").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl FetchSource {
    /// A topic of the cluster that `network` leads to. A call is given up after `within`.
    pub fn new(network: Arc<Network>, topic: &str, within: Duration) -> FetchSource {
        FetchSource { topic: topic.into(), topic_id: Arc::default(), network, within, check_crcs: true }
    }

    /// The same, for the topic with this id only; [`Uuid::ZERO`] says nothing.
    pub fn with_id(self, topic_id: Uuid) -> FetchSource {
        let known = if topic_id.is_zero() { OnceLock::new() } else { OnceLock::from(topic_id) };
        FetchSource { topic_id: Arc::new(known), ..self }
    }

    /// Whether the topic of that name is, by what is known now, the one that is read.
    fn is_same(&self) -> bool {
        let id = self.network.view().topic_id(&self.topic);
        id.is_zero() || *self.topic_id.get_or_init(|| id) == id
    }

    /// Waits for what the runtime does: a thread that outlives the runtime is told that it has ended.
    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> std::result::Result<T, ScanError> {
        let runtime = &self.network.doors().runtime;
        let done = runtime.block_on(runtime.spawn(future));
        Ok(done.map_err(ended)??)
    }

    fn name(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(&*self.topic, partition)
    }

    /// How many partitions the topic has now.
    async fn partition_count(&self) -> Result<usize> {
        let topic = [self.topic.clone()];
        let view = retrying(&self.network, self.within, || self.network.refresh(Wanted::Topics(&topic), false)).await?;
        match (view.topics.get(&self.topic), view.errors.get(&self.topic)) {
            (Some(topic), None) => {
                if !topic.id.is_zero() {
                    let _ = self.topic_id.set(topic.id);
                }
                Ok(topic.partitions.len())
            }
            (_, code) => {
                let code = code.copied().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                Err(ClientError::kafka(code, format!("topic {}", self.topic)))
            }
        }
    }

    async fn look_up(
        &self,
        partitions: &[i32],
        timestamp: Timestamp,
        read_committed: bool,
    ) -> Result<BTreeMap<i32, Offset>> {
        let wanted: HashMap<_, _> = partitions.iter().map(|index| (self.name(*index), timestamp)).collect();
        let found = list_offsets(&self.network, &wanted, read_committed, self.within).await?;
        Ok(found.into_iter().map(|(name, listed)| (name.partition, listed.offset)).collect())
    }
}

/// A task ends early only with its runtime.
fn ended(_: JoinError) -> ClientError {
    ClientError::Closed("client")
}

impl Source for FetchSource {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn topic_id(&self) -> Uuid {
        self.topic_id.get().copied().unwrap_or(Uuid::ZERO)
    }

    fn bounds(&self, read_committed: bool) -> std::result::Result<Vec<PartitionRange>, ScanError> {
        let this = self.clone();
        self.wait(async move {
            let count = this.partition_count().await?;
            let partitions: Vec<i32> = (0..count as i32).collect();
            let starts = this.look_up(&partitions, EARLIEST, false).await?;
            let ends = this.look_up(&partitions, LATEST, read_committed).await?;
            let range = |partition| {
                let (start, end) = (starts.get(&partition)?, ends.get(&partition)?);
                Some(PartitionRange { partition, start: *start.min(end), end: *end })
            };
            Ok(partitions.into_iter().filter_map(range).collect())
        })
    }

    fn offsets_for_time(
        &self,
        partitions: &[i32],
        timestamp: Timestamp,
    ) -> std::result::Result<BTreeMap<i32, Offset>, ScanError> {
        // Kafka takes negative times for names; all records it can hold are later.
        let asked = if timestamp < 0 { EARLIEST } else { timestamp };
        let (this, partitions) = (self.clone(), partitions.to_vec());
        let mut found = self.wait(async move { this.look_up(&partitions, asked, false).await })?;
        found.retain(|_, offset| *offset >= 0);
        Ok(found)
    }

    fn open(&self, range: PartitionRange, read_committed: bool) -> std::result::Result<Box<dyn Cursor>, ScanError> {
        Ok(Box::new(FetchCursor { source: self.clone(), range, read_committed, coming: None, idle_since: None }))
    }
}

/// Reads one partition, one fetch ahead.
struct FetchCursor {
    source: FetchSource,
    range: PartitionRange,
    read_committed: bool,
    coming: Option<JoinHandle<Result<FetchedBatches>>>,
    /// Since when answers are empty, on the monotonic clock.
    idle_since: Option<Duration>,
}

impl FetchCursor {
    fn ask(&self) -> JoinHandle<Result<FetchedBatches>> {
        let FetchSource { network, within, check_crcs, .. } = self.source.clone();
        let fetch = FetchBatches {
            partition: self.source.name(self.range.partition),
            offset: self.range.start,
            max_bytes: CHUNK,
            read_committed: self.read_committed,
            check_crcs,
        };
        let runtime = network.doors().runtime.clone();
        runtime.spawn(async move { fetch.fetch(&network, within).await })
    }

    /// Why nothing was fetched: records that are gone are told as such.
    fn explain(&self, error: ClientError) -> ScanError {
        if !self.source.is_same() {
            return ScanError::Removed { partition: self.source.name(self.range.partition) };
        }
        if error.code() != Some(ErrorCode::OFFSET_OUT_OF_RANGE) {
            return error.into();
        }
        let PartitionRange { partition, start, end } = self.range;
        let source = self.source.clone();
        let look_up = async move {
            let earliest = source.look_up(&[partition], EARLIEST, false).await?;
            Ok((earliest, source.look_up(&[partition], LATEST, false).await?))
        };
        let Ok((earliest, latest)) = self.source.wait(look_up) else { return error.into() };
        let name = self.source.name(partition);
        match (earliest.get(&partition), latest.get(&partition)) {
            (Some(log_start), _) if start < *log_start => {
                ScanError::Gone { partition: name, from: start, log_start: *log_start }
            }
            (_, Some(log_end)) if end > *log_end => ScanError::Cut { partition: name, end, log_end: *log_end },
            _ => error.into(),
        }
    }
}

impl Cursor for FetchCursor {
    fn next(&mut self) -> std::result::Result<Option<Chunk>, ScanError> {
        while self.range.start < self.range.end {
            let coming = self.coming.take().unwrap_or_else(|| self.ask());
            let fetched = self.source.network.doors().runtime.block_on(coming);
            let fetched = fetched.map_err(ended)?.map_err(|error| self.explain(error))?;
            if !self.source.is_same() {
                return Err(ScanError::Removed { partition: self.source.name(self.range.partition) });
            }
            let Some(last) = last_batch_end(&fetched.batches) else {
                if fetched.end >= self.range.end {
                    // Compaction took all that was left.
                    self.range.start = self.range.end;
                    return Ok(None);
                }
                // The leader is new and has not learnt yet how far its followers are.
                let now = self.source.network.doors().clock.monotonic();
                if now.saturating_sub(*self.idle_since.get_or_insert(now)) > self.source.within {
                    let what = format!("reading {} at {}", self.source.name(self.range.partition), self.range.start);
                    return Err(ClientError::timeout(what, self.source.within).into());
                }
                continue;
            };
            self.idle_since = None;
            self.range.start = last;
            if last < self.range.end {
                self.coming = Some(self.ask());
            }
            return Ok(Some(Chunk { batches: fetched.batches, aborted: fetched.aborted }));
        }
        Ok(None)
    }
}

impl Drop for FetchCursor {
    fn drop(&mut self) {
        if let Some(coming) = &self.coming {
            coming.abort();
        }
    }
}
