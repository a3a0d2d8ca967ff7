//! A topic that is followed: its records as record batches, as they arrive, without an end.
//!
//! A [`Follow`] reads all partitions at once, through a [`Consumer`]: rows come in the order of their offsets within a
//! partition, and as they arrive between partitions. A record batch is handed out when it has `batch_rows` rows or is
//! large, or `max_wait` after its first row came; never an empty one.
//!
//! It reads alone, each partition from where it was told to begin, and takes up partitions that are added, from their
//! first record. Or it is a member of a group, which shares out the partitions: then one begins where the group
//! committed, or else where it was told to. What was handed out is committed when the next batch is asked for, and not
//! before: whoever fails in the middle of a batch gets it again.
//!
//! What is gathered lives here and not in a future, so a call that is given up loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::ScanError;
use super::parts::ScanParts;
use super::rows::Rows;
use super::schema::Shape;
use crate::client::ClientError;
use crate::client::consumer::{Consumer, FetchedBatch, Polled, RebalanceEvent};
use crate::client::network::Wanted;
use crate::client::offsets::{CommittedOffset, EARLIEST, LATEST};
use crate::common::ids::{Offset, TopicPartition, Uuid};
use crate::protocol::ErrorCode;

/// How long rows wait for more, unless another time is given.
pub const MAX_WAIT: Duration = Duration::from_secs(1);
/// About how many bytes are gathered for one record batch.
const BATCH_BYTES: usize = 32 << 20;
/// How long a poll waits at most, before it is looked what became of the topic.
const LOOK: Duration = Duration::from_secs(10);

/// Rows that wait to be handed out together. Time is on the monotonic clock.
#[derive(Default)]
struct Gathered {
    batches: Vec<FetchedBatch>,
    rows: usize,
    bytes: usize,
    /// When the first of them came.
    since: Duration,
}

impl Gathered {
    fn push(&mut self, batch: FetchedBatch, now: Duration) {
        if self.batches.is_empty() {
            self.since = now;
        }
        self.rows += batch.len();
        self.bytes += batch.range().len();
        self.batches.push(batch);
    }

    /// For how long they may wait for more; `None` where there are none.
    fn waits(&self, limits: Limits, now: Duration) -> Option<Duration> {
        if self.batches.is_empty() {
            return None;
        }
        let full = self.rows >= limits.batch_rows || self.bytes >= BATCH_BYTES;
        Some(if full { Duration::ZERO } else { (self.since + limits.max_wait).saturating_sub(now) })
    }

    /// Whether a new partition is read on from where the consumer is. That is where the group committed, if it did. If not,
    /// rows may have come from where the consumer would begin by itself, with the very poll that told of the partition:
    /// they go, for they come again.
    fn stays(&mut self, name: &TopicPartition, committed: bool) -> bool {
        if !committed {
            self.forget(std::slice::from_ref(name));
        }
        committed
    }

    /// Drops what is here of these partitions.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        let since = self.since;
        for batch in std::mem::take(self).batches {
            if !partitions.contains(batch.partition()) {
                self.push(batch, since);
            }
        }
    }
}

/// When a record batch is handed out.
#[derive(Debug, Clone, Copy)]
struct Limits {
    batch_rows: usize,
    max_wait: Duration,
}

/// See the module.
pub struct Follow {
    consumer: Consumer,
    topic: Arc<str>,
    topic_id: Uuid,
    /// Whether it takes up partitions that are added.
    all: bool,
    /// Where each partition begins of which nothing is committed; one that is not here begins at its first record.
    begins: BTreeMap<i32, Offset>,
    shape: Shape,
    schema: SchemaRef,
    limits: Limits,
    /// Whether what was handed out is committed when the next batch is asked for.
    commits: bool,
    gathered: Gathered,
    /// What was handed out and is not committed yet.
    given: HashMap<TopicPartition, CommittedOffset>,
    /// Partitions that the group gave, and that have no place yet.
    unplaced: Vec<TopicPartition>,
    /// Partitions that go with the next poll.
    going: Vec<TopicPartition>,
    /// Whether the consumer's cluster has told of the topic.
    met: bool,
}

impl Follow {
    /// Follows the topic of `parts`, each partition from the first offset of its range on, in its shape and with its
    /// `batch_rows`; with `all`, also partitions that come later. A `consumer` with a group joins it, and `parts` must
    /// have all partitions. The consumer must not commit by itself.
    ///
    /// # Errors
    /// [`ScanError::Client`] where the consumer refuses.
    pub fn new(
        mut consumer: Consumer,
        parts: &ScanParts,
        all: bool,
        max_wait: Duration,
        commits: bool,
    ) -> Result<Follow, ScanError> {
        let begins: BTreeMap<i32, Offset> = parts.ranges.iter().map(|range| (range.partition, range.start)).collect();
        if consumer.config().group_id.is_some() {
            consumer.subscribe([parts.topic.as_str()])?;
        } else {
            let name = |partition| TopicPartition::new(parts.topic.as_str(), partition);
            consumer.assign_from(begins.iter().map(|(partition, offset)| (name(*partition), Some(*offset))))?;
        }
        Ok(Follow {
            commits: commits && consumer.config().group_id.is_some(),
            consumer,
            topic: parts.topic.as_str().into(),
            topic_id: parts.topic_id,
            all,
            begins,
            schema: parts.shape.schema(),
            shape: parts.shape.clone(),
            limits: Limits { batch_rows: parts.batch_rows.max(1), max_wait },
            gathered: Gathered::default(),
            given: HashMap::new(),
            unplaced: Vec::new(),
            going: Vec::new(),
            met: false,
        })
    }

    /// The schema of its batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The partitions that it reads now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }

    /// The next rows. It waits for them for ever, or up to `timeout`: then it hands out what came by then, and `None` where
    /// nothing did.
    ///
    /// # Errors
    /// What cannot be decoded, which is told each time it is asked for; what a poll of the consumer tells; the topic's end.
    pub async fn next(&mut self, timeout: Option<Duration>) -> Result<Option<RecordBatch>, ScanError> {
        if self.commits {
            self.commit_quietly().await?;
        }
        self.given_up();
        let deadline = timeout.map(|timeout| self.now() + timeout);
        loop {
            self.place().await?;
            let now = self.now();
            let waits = self.gathered.waits(self.limits, now);
            let left = deadline.map(|deadline| deadline.saturating_sub(now));
            let due = waits == Some(Duration::ZERO) || (waits.is_some() && !self.going.is_empty());
            if due || (waits.is_some() && left == Some(Duration::ZERO)) {
                return self.hand_out().map(Some);
            }
            let age = self.consumer.network().age();
            let fresh = self.consumer.network().config().metadata_max_age.saturating_sub(age);
            if fresh.is_zero() && self.consumer.config().group_id.is_none() {
                self.refresh().await;
            }
            let wait = [waits, left].into_iter().flatten().fold(LOOK, Duration::min);
            let wait = wait.min(fresh.max(Duration::from_millis(100)));
            let room = self.limits.batch_rows - self.gathered.rows;
            let Polled { events, batches } = match self.consumer.poll(Some(room), wait).await {
                Err(ClientError::NoOffset(name)) => return Err(self.overtaken(name).await),
                polled => polled?,
            };
            let now = self.now();
            batches.into_iter().for_each(|batch| self.gathered.push(batch, now));
            events.into_iter().for_each(|event| self.rebalanced(event));
            self.look_at_topic()?;
            if left == Some(Duration::ZERO) && self.gathered.batches.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Commits what was handed out, for the group.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit(&mut self) -> Result<(), ScanError> {
        let given = self.given.clone();
        if !given.is_empty() || self.consumer.config().group_id.is_none() {
            self.consumer.commit(Some(given)).await?;
        }
        self.given.clear();
        Ok(())
    }

    /// Leaves the group, and ends every connection; what was handed out last is not committed.
    pub async fn close(&mut self, within: Duration) {
        self.consumer.close(within).await;
    }

    fn now(&self) -> Duration {
        self.consumer.network().doors().clock.monotonic()
    }

    /// Commits; what somebody else may own by now, or a rebalance puts off, is let be: it will be read again.
    async fn commit_quietly(&mut self) -> Result<(), ScanError> {
        match self.commit().await {
            Err(ScanError::Client(error))
                if matches!(
                    error.code(),
                    Some(
                        ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::REBALANCE_IN_PROGRESS
                    )
                ) =>
            {
                tracing::info!(topic = %self.topic, %error, "offsets were not committed: the group rebalances");
                Ok(())
            }
            result => result,
        }
    }

    /// Forgets partitions that were named as going: their rows were handed out, and the caller could commit.
    fn given_up(&mut self) {
        for name in std::mem::take(&mut self.going) {
            self.given.remove(&name);
        }
    }

    fn rebalanced(&mut self, event: RebalanceEvent) {
        match event {
            RebalanceEvent::Assigned(partitions) => self.unplaced.extend(partitions),
            RebalanceEvent::Revoked(partitions) => {
                self.unplaced.retain(|name| !partitions.contains(name));
                if self.gathered.batches.is_empty() {
                    partitions.iter().for_each(|name| drop(self.given.remove(name)));
                } else {
                    // What was gathered is handed out before they go.
                    self.going = partitions;
                }
            }
            RebalanceEvent::Lost(partitions) => {
                self.unplaced.retain(|name| !partitions.contains(name));
                partitions.iter().for_each(|name| drop(self.given.remove(name)));
                self.gathered.forget(&partitions);
            }
        }
    }

    /// Has new partitions of which the group committed nothing begin where they should.
    async fn place(&mut self) -> Result<(), ScanError> {
        if self.unplaced.is_empty() {
            return Ok(());
        }
        let committed = self.consumer.committed(&self.unplaced).await?;
        for name in std::mem::take(&mut self.unplaced) {
            if self.gathered.stays(&name, committed.contains_key(&name)) {
                continue;
            }
            match self.begins.get(&name.partition) {
                Some(offset) => self.consumer.seek(&name, *offset)?,
                None => self.consumer.seek_to_beginning(&[name])?,
            }
        }
        Ok(())
    }

    async fn refresh(&self) {
        if let Err(error) =
            self.consumer.network().refresh(Wanted::Topics(std::slice::from_ref(&self.topic)), false).await
        {
            tracing::debug!(topic = %self.topic, %error, "no metadata");
        }
    }

    /// What the cluster tells of the topic by the way: that it is gone, or has more partitions.
    fn look_at_topic(&mut self) -> Result<(), ScanError> {
        let view = self.consumer.network().view();
        let Some(topic) = view.topics.get(&self.topic) else {
            if self.met && view.errors.contains_key(&self.topic) {
                return Err(self.gone());
            }
            return Ok(());
        };
        self.met = true;
        if self.topic_id.is_zero() {
            self.topic_id = topic.id;
        }
        if !topic.id.is_zero() && topic.id != self.topic_id {
            return Err(self.gone());
        }
        let known = self.begins.last_key_value().map_or(0, |(partition, _)| partition + 1);
        let count = topic.partitions.len() as i32;
        if self.all && known < count && self.consumer.config().group_id.is_none() {
            self.consumer.assign_from((0..count).map(|index| (TopicPartition::new(&*self.topic, index), None)))?;
            self.begins.extend((known..count).map(|partition| (partition, 0)));
        }
        Ok(())
    }

    /// Why a partition cannot be read from where it stands.
    async fn overtaken(&self, partition: TopicPartition) -> ScanError {
        let gathered = self.gathered.batches.iter().rev().find(|batch| **batch.partition() == partition);
        let from = gathered.map(FetchedBatch::next_offset);
        let from = from.or_else(|| self.given.get(&partition).map(|given| given.offset));
        let from = from.or_else(|| self.begins.get(&partition.partition).copied()).unwrap_or(0);
        let look_up = async |timestamp| -> Result<Option<Offset>, ClientError> {
            let found = self.consumer.list_offsets(&HashMap::from([(partition.clone(), timestamp)])).await?;
            Ok(found.get(&partition).map(|listed| listed.offset))
        };
        match (look_up(EARLIEST).await, look_up(LATEST).await) {
            (Ok(Some(log_start)), _) if from < log_start => ScanError::Gone { partition, from, log_start },
            (_, Ok(Some(log_end))) => ScanError::Cut { partition, end: from, log_end },
            (Err(error), _) | (_, Err(error)) => error.into(),
            (_, Ok(None)) => ClientError::NoOffset(partition).into(),
        }
    }

    fn gone(&self) -> ScanError {
        let context = format!("topic {}, which was followed, is deleted", self.topic);
        ClientError::kafka(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, context).into()
    }

    /// Makes a record batch of what was gathered.
    fn hand_out(&mut self) -> Result<RecordBatch, ScanError> {
        let mut rows = Rows::new(&self.shape, self.schema.clone());
        for batch in &self.gathered.batches {
            rows.add_fetched(batch);
        }
        let made = rows.finish()?;
        for batch in std::mem::take(&mut self.gathered).batches {
            let leader_epoch = batch.leader_epoch();
            let committed = CommittedOffset { leader_epoch, ..CommittedOffset::new(batch.next_offset()) };
            self.given.insert(TopicPartition::clone(batch.partition()), committed);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};

    fn batch(partition: i32, rows: usize) -> FetchedBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..rows {
            builder.append(0, None, Some(b"v"), std::iter::empty());
        }
        let partition = Arc::new(TopicPartition::new("t", partition));
        FetchedBatch::new(&partition, builder.build().unwrap(), 0).unwrap().unwrap()
    }

    const LIMITS: Limits = Limits { batch_rows: 5, max_wait: Duration::from_secs(10) };
    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn rows_wait_for_others_until_there_are_enough_or_their_time_is_over() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.waits(LIMITS, at(3)), None);
        gathered.push(batch(0, 2), at(5));
        gathered.push(batch(1, 2), at(9));
        // The time counts from the first.
        assert_eq!(gathered.waits(LIMITS, at(9)), Some(at(6)));
        assert_eq!(gathered.waits(LIMITS, at(15)), Some(at(0)));
        assert_eq!(gathered.waits(LIMITS, at(99)), Some(at(0)));
        gathered.push(batch(1, 1), at(9));
        assert_eq!(gathered.waits(LIMITS, at(9)), Some(at(0)));
    }

    #[test]
    fn rows_that_came_before_their_partition_had_its_place_come_once() {
        let mut gathered = Gathered::default();
        [(0, 2), (1, 2)].into_iter().for_each(|(partition, rows)| gathered.push(batch(partition, rows), at(5)));
        // From where the group was: the consumer reads on behind them.
        assert!(gathered.stays(&TopicPartition::new("t", 1), true));
        assert_eq!(gathered.rows, 4);
        // From elsewhere: the consumer is sent to where the partition begins.
        assert!(!gathered.stays(&TopicPartition::new("t", 0), false));
        assert_eq!((gathered.rows, gathered.batches[0].partition().partition), (2, 1));
    }

    #[test]
    fn rows_of_partitions_that_were_lost_are_forgotten() {
        let mut gathered = Gathered::default();
        [(0, 2), (1, 2), (0, 1)].into_iter().for_each(|(partition, rows)| gathered.push(batch(partition, rows), at(5)));
        gathered.forget(&[TopicPartition::new("t", 0)]);
        assert_eq!((gathered.rows, gathered.batches.len()), (2, 1));
        assert_eq!(gathered.waits(LIMITS, at(7)), Some(at(8)));
        gathered.forget(&[TopicPartition::new("t", 1)]);
        assert_eq!((gathered.rows, gathered.bytes, gathered.waits(LIMITS, at(7))), (0, 0, None));
    }
}
