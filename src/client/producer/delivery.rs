//! What became of a record: one state for a batch, and for each record a handle on it.
//!
//! A [`Delivery`] is the batch's state and the record's index in it; nothing is allocated for a record. A batch that
//! was too large for the broker is split: its state then points at those of its parts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::client::{ClientError, Result};
use crate::common::ids::{Offset, Timestamp};

/// Runs once a batch is done.
type Callback = Box<dyn FnOnce() + Send>;

/// Where a record lies now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset; `None` when the broker did not say (`acks` is 0, or a repeat of an old batch).
    pub offset: Option<Offset>,
    /// The timestamp: the record's own, or the broker's under log append time.
    pub timestamp: Timestamp,
}

/// What will become, or became, of a record that was sent. A future; cheap to clone and to drop.
#[derive(Clone)]
pub struct Delivery {
    batch: Arc<BatchDelivery>,
    index: u32,
    timestamp: Timestamp,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It was written.
    Written {
        /// The offset of its first record, if the broker said.
        base_offset: Option<Offset>,
        /// The timestamp that the broker gave all records, if it did.
        append_time: Option<Timestamp>,
    },
    /// It was not, or nobody knows.
    Failed {
        /// Why.
        error: ClientError,
        /// The records that were the reason, if the broker named some, each with its own words.
        culprits: Arc<[(u32, ClientError)]>,
    },
}

impl Outcome {
    pub(super) fn failed(error: ClientError) -> Outcome {
        Outcome::Failed { error, culprits: Arc::new([]) }
    }
}

/// The state that all records of a batch share.
pub(super) struct BatchDelivery {
    topic: Arc<str>,
    partition: i32,
    state: Mutex<State>,
}

enum State {
    Waiting {
        wakers: Vec<Waker>,
        callbacks: Vec<Callback>,
    },
    Done(Outcome),
    /// The index of each part's first record, and the part.
    Split(Vec<(u32, Arc<BatchDelivery>)>),
}

impl BatchDelivery {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Arc<BatchDelivery> {
        let state = State::Waiting { wakers: Vec::new(), callbacks: Vec::new() };
        Arc::new(BatchDelivery { topic, partition, state: Mutex::new(state) })
    }

    /// The handle of the record `index`.
    #[inline]
    pub(super) fn delivery(self: &Arc<Self>, index: u32, timestamp: Timestamp) -> Delivery {
        Delivery { batch: self.clone(), index, timestamp }
    }

    /// The partition of its records.
    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// Whether it is known of every record what became of it.
    pub(super) fn is_done(&self) -> bool {
        let parts: Vec<_> = match &*self.state.lock() {
            State::Waiting { .. } => return false,
            State::Done(_) => return true,
            State::Split(parts) => parts.iter().map(|(_, part)| part.clone()).collect(),
        };
        parts.iter().all(|part| part.is_done())
    }

    /// The offset of the first record (`None` where the broker did not say), if the batch was written, and as one. Where
    /// it was not, each record has its own story.
    pub(super) fn written(&self) -> Option<Option<Offset>> {
        match &*self.state.lock() {
            State::Done(Outcome::Written { base_offset, .. }) => Some(*base_offset),
            _ => None,
        }
    }

    /// Says what became of the batch; only the first word counts.
    pub(super) fn complete(&self, outcome: Outcome) {
        self.settle(State::Done(outcome));
    }

    /// Splits the batch into parts that begin at these indexes, and returns the parts' states.
    pub(super) fn split(&self, starts: &[u32]) -> Vec<Arc<BatchDelivery>> {
        let parts: Vec<_> = starts.iter().map(|_| BatchDelivery::new(self.topic.clone(), self.partition)).collect();
        let callbacks = self.settle(State::Split(starts.iter().copied().zip(parts.iter().cloned()).collect()));
        // Those who wait for the whole batch are told when the last part is done.
        if !callbacks.is_empty() {
            let left = Arc::new(AtomicUsize::new(parts.len()));
            let callbacks = Arc::new(Mutex::new(callbacks));
            for part in &parts {
                let (left, callbacks) = (left.clone(), callbacks.clone());
                part.on_done(Box::new(move || {
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        let callbacks = std::mem::take(&mut *callbacks.lock());
                        callbacks.into_iter().for_each(|callback| callback());
                    }
                }));
            }
        }
        parts
    }

    /// Changes the state, wakes who waits, and runs the callbacks unless the batch was split.
    fn settle(&self, settled: State) -> Vec<Callback> {
        let is_split = matches!(settled, State::Split(_));
        let mut state = self.state.lock();
        if !matches!(*state, State::Waiting { .. }) {
            return Vec::new();
        }
        let before = std::mem::replace(&mut *state, settled);
        drop(state);
        let State::Waiting { wakers, callbacks } = before else { return Vec::new() };
        wakers.into_iter().for_each(Waker::wake);
        if is_split {
            return callbacks;
        }
        callbacks.into_iter().for_each(|callback| callback());
        Vec::new()
    }

    fn on_done(&self, callback: Callback) {
        let mut state = self.state.lock();
        match &mut *state {
            State::Waiting { callbacks, .. } => callbacks.push(callback),
            State::Done(_) => {
                drop(state);
                callback();
            }
            State::Split(parts) => {
                let parts: Vec<_> = parts.iter().map(|(_, part)| part.clone()).collect();
                drop(state);
                let left = Arc::new(AtomicUsize::new(parts.len()));
                let callback = Arc::new(Mutex::new(Some(callback)));
                for part in parts {
                    let (left, callback) = (left.clone(), callback.clone());
                    part.on_done(Box::new(move || {
                        if left.fetch_sub(1, Ordering::AcqRel) == 1
                            && let Some(callback) = callback.lock().take()
                        {
                            callback();
                        }
                    }));
                }
            }
        }
    }
}

impl Delivery {
    /// The topic the record was sent to.
    pub fn topic(&self) -> &Arc<str> {
        &self.batch.topic
    }

    /// The partition the record was sent to.
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// Whether it is known what became of the record.
    pub fn is_done(&self) -> bool {
        self.result().is_some()
    }

    /// What became of the record, once that is known.
    pub fn result(&self) -> Option<Result<Delivered>> {
        self.look(|_| ())
    }

    /// Runs `callback` once the record's whole batch is done: at once if it is, and otherwise on the producer's own task,
    /// which it must not hold up. Records of one batch need only one callback: see [`Delivery::same_batch`].
    pub fn on_batch_done(&self, callback: impl FnOnce() + Send + 'static) {
        self.batch.on_done(Box::new(callback));
    }

    /// Whether both records were sent in one batch, and will be done together.
    pub fn same_batch(&self, other: &Delivery) -> bool {
        Arc::ptr_eq(&self.batch, &other.batch)
    }

    /// The result, or what `waiting` does with the list of wakers.
    fn look(&self, waiting: impl FnOnce(&mut Vec<Waker>)) -> Option<Result<Delivered>> {
        let (mut batch, mut index) = (self.batch.clone(), self.index);
        loop {
            let part = {
                let mut state = batch.state.lock();
                match &mut *state {
                    State::Waiting { wakers, .. } => {
                        waiting(wakers);
                        return None;
                    }
                    State::Done(outcome) => return Some(self.judge(outcome, index)),
                    State::Split(parts) => {
                        let at = parts.partition_point(|(start, _)| *start <= index).saturating_sub(1);
                        let (start, part) = &parts[at];
                        index -= start;
                        part.clone()
                    }
                }
            };
            batch = part;
        }
    }

    fn judge(&self, outcome: &Outcome, index: u32) -> Result<Delivered> {
        match outcome {
            Outcome::Written { base_offset, append_time } => Ok(Delivered {
                topic: self.batch.topic.clone(),
                partition: self.batch.partition,
                offset: base_offset.map(|base| base + i64::from(index)),
                timestamp: append_time.unwrap_or(self.timestamp),
            }),
            Outcome::Failed { error, culprits } => {
                let own = culprits.iter().find(|(culprit, _)| *culprit == index);
                Err(own.map_or_else(|| error.clone(), |(_, error)| error.clone()))
            }
        }
    }
}

impl Future for Delivery {
    type Output = Result<Delivered>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.look(|wakers| {
            // A task that awaits many records of a batch needs waking once.
            if !wakers.last().is_some_and(|last| last.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
        });
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

impl fmt::Debug for BatchDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch of {}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Delivery");
        text.field("topic", &self.batch.topic).field("partition", &self.batch.partition);
        text.field("result", &self.result()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(base_offset: i64) -> Outcome {
        Outcome::Written { base_offset: Some(base_offset), append_time: None }
    }

    #[tokio::test]
    async fn each_record_gets_its_own_offset() {
        let batch = BatchDelivery::new("t".into(), 3);
        let deliveries = [batch.delivery(0, 7), batch.delivery(1, 8)];
        assert!(!deliveries[0].is_done() && deliveries[0].same_batch(&deliveries[1]));
        let waiting = tokio::spawn(deliveries[1].clone());
        tokio::task::yield_now().await;
        batch.complete(written(100));
        batch.complete(Outcome::failed(ClientError::Closed("producer")));
        let delivered = waiting.await.unwrap().unwrap();
        assert_eq!((delivered.offset, delivered.timestamp, delivered.partition), (Some(101), 8, 3));
    }

    #[test]
    fn the_records_of_a_split_batch_are_done_with_their_parts() {
        let batch = BatchDelivery::new("t".into(), 0);
        let deliveries: Vec<_> = (0..5).map(|index| batch.delivery(index, 0)).collect();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |delivery: &Delivery| {
            let ran = ran.clone();
            delivery.on_batch_done(move || {
                ran.fetch_add(1, Ordering::SeqCst);
            });
        };
        count(&deliveries[0]);
        let parts = batch.split(&[0, 2]);
        count(&deliveries[4]);
        parts[0].complete(written(10));
        assert_eq!(deliveries[1].result().unwrap().unwrap().offset, Some(11));
        assert!(!deliveries[2].is_done() && !batch.is_done());
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        parts[1].complete(written(50));
        assert!(batch.is_done() && parts[0].written() == Some(Some(10)));
        assert_eq!(batch.written(), None, "not as one");
        assert_eq!(deliveries[4].result().unwrap().unwrap().offset, Some(52));
        assert_eq!(ran.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_culprit_is_told_apart_from_the_rest() {
        let batch = BatchDelivery::new("t".into(), 0);
        let culprits = [(1, ClientError::Invalid("no key".into()))].into();
        batch.complete(Outcome::Failed { error: ClientError::Invalid("another record was wrong".into()), culprits });
        assert_eq!(batch.delivery(1, 0).result().unwrap().unwrap_err().to_string(), "no key");
        assert_eq!(batch.delivery(0, 0).result().unwrap().unwrap_err().to_string(), "another record was wrong");
    }
}
