//! Records that cannot be taken at once, sent in their order without holding up who sends them.
//!
//! A caller that must not wait, such as an event loop, hands its records to [`Line::send`]. Mostly a record is taken right
//! there. While its topic is not known yet, or `buffer.memory` is used up, a copy of it stands in the line of its topic, and
//! so does every later record to that topic, so that none overtakes another; a task takes from the line as there is room.
//! A record waits `max.block.ms` at most, counted from when it was handed over. Topics do not hold up each other.
//!
//! What stands in all lines together is bounded by `buffer.memory` once more: beyond that a record is refused at once, for
//! then its sender sends and never waits for anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::client::{ClientError, Result};
use crate::common::ids::Timestamp;
use crate::record::Header;

use super::{Delivery, NotSent, Producer, Record};

/// Is told once what became of a record that stood in line: that it was taken, or never will be.
pub type Taken = Box<dyn FnOnce(Result<Delivery>) + Send>;

/// A producer, and the records that wait for room in it. See the module.
pub struct Line {
    producer: Producer,
    lines: Mutex<Lines>,
    emptied: Notify,
    /// Set when closing ends: what stands in line then is given up.
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Lines {
    /// A topic stays here until the last record of its line was taken.
    by_topic: HashMap<String, VecDeque<Held>>,
    bytes: usize,
}

/// A record that waits.
struct Held {
    partition: Option<i32>,
    timestamp: Option<Timestamp>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// On the monotonic clock.
    deadline: Duration,
    taken: Taken,
}

impl Held {
    fn size(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(key, value)| key.len() + of(value)).sum();
        size_of::<Held>() + of(&self.key) + of(&self.value) + headers
    }
}

impl Line {
    /// In front of `producer`.
    pub fn new(producer: Producer) -> Arc<Line> {
        Arc::new(Line { producer, lines: Mutex::default(), emptied: Notify::new(), ended: watch::Sender::new(false) })
    }

    /// The producer.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Takes a record if that is possible at once, and otherwise puts it in line, without waiting for either. One that
    /// stands in line has no delivery yet: `taken` gives what will be told of it, on a task that it must not hold up.
    ///
    /// # Errors
    /// As [`Producer::send`], for what is known at once; [`ClientError::BufferFull`] when the lines are full too.
    #[inline]
    pub fn send(self: &Arc<Self>, record: &Record<'_>, taken: impl FnOnce() -> Taken) -> Result<Option<Delivery>> {
        let waits = {
            let lines = self.lines.lock();
            !lines.by_topic.is_empty() && lines.by_topic.contains_key(record.topic)
        };
        if !waits {
            match self.producer.try_send(record) {
                Ok(delivery) => return Ok(Some(delivery)),
                Err(NotSent::Failed(error)) => return Err(error),
                Err(NotSent::WouldBlock) => {}
            }
        }
        self.hold(record, taken).map(|()| None)
    }

    #[cold]
    fn hold(self: &Arc<Self>, record: &Record<'_>, taken: impl FnOnce() -> Taken) -> Result<()> {
        let Producer { config, network, .. } = &self.producer;
        let mut held = Held {
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
            deadline: network.doors().clock.monotonic() + config.max_block,
            taken: Box::new(drop),
        };
        let (size, limit) = (held.size(), config.buffer_memory);
        let mut lines = self.lines.lock();
        if lines.bytes > 0 && lines.bytes + size > limit {
            return Err(ClientError::BufferFull { limit, after: Duration::ZERO });
        }
        held.taken = taken();
        lines.bytes += size;
        if let Some(line) = lines.by_topic.get_mut(record.topic) {
            line.push_back(held);
            return Ok(());
        }
        lines.by_topic.insert(record.topic.to_owned(), VecDeque::from([held]));
        drop(lines);
        network.doors().runtime.spawn(self.clone().drain(record.topic.to_owned()));
        Ok(())
    }

    /// Sends what stands in one topic's line, until nothing does.
    async fn drain(self: Arc<Self>, topic: String) {
        let mut ended = self.ended.subscribe();
        loop {
            let held = {
                let mut lines = self.lines.lock();
                let Some(held) = lines.by_topic.get_mut(&topic).and_then(VecDeque::pop_front) else {
                    lines.by_topic.remove(&topic);
                    break;
                };
                held
            };
            let headers: Vec<_> =
                held.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let record = Record {
                topic: &topic,
                partition: held.partition,
                timestamp: held.timestamp,
                key: held.key.as_deref(),
                value: held.value.as_deref(),
                headers: &headers,
            };
            let result = tokio::select! {
                result = self.producer.send_by(&record, held.deadline) => result,
                _ = ended.wait_for(|ended| *ended) => Err(ClientError::Closed("producer")),
            };
            self.lines.lock().bytes -= held.size();
            (held.taken)(result);
        }
        self.emptied.notify_waiters();
    }

    /// Ends once no record stands in line.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lines.lock().by_topic.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// As [`Producer::flush`], with what stands in line.
    pub async fn flush(&self) {
        self.empty().await;
        self.producer.flush().await;
    }

    /// As [`Producer::close`], with what stands in line.
    pub async fn close(&self, timeout: Duration) {
        let clock = &self.producer.network.doors().clock;
        let deadline = clock.monotonic() + timeout;
        tokio::select! {
            () = self.empty() => {}
            () = clock.sleep(timeout) => {}
        }
        self.producer.close(deadline.saturating_sub(clock.monotonic())).await;
        self.ended.send_replace(true);
    }
}
