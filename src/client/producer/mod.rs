//! The producer: records in, batches out, and for each record word of where it lies.
//!
//! | file | what is in it |
//! |---|---|
//! | `accumulator` | where records wait, and the memory they may take: what `send` touches |
//! | [`partitioner`] | which partition a record goes to |
//! | `partition` | order and sequence numbers of one partition's batches |
//! | `sender` | the task that sends them |
//! | [`delivery`] | what became of a record |
//! | [`bulk`] | many records to one topic, such as the rows of a table |
//! | [`mod@line`] | records of a caller that must not wait, in line while there is no room |
//!
//! `send` appends to the batch of its partition under that partition's lock, and allocates nothing but the batch. It
//! waits only where Kafka's does: for a topic's metadata, and for memory, up to `max.block.ms`.

mod accumulator;
pub mod bulk;
pub mod delivery;
pub mod line;
mod partition;
pub mod partitioner;
mod sender;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::common::ids::Timestamp;
use crate::config::Values;
use crate::record::Header;

use super::config::{NetworkConfig, ProducerConfig};
use super::metadata::TopicView;
use super::network::{Network, Wanted};
use super::{ClientError, Doors, Result};

use accumulator::{Accumulator, Refused};
pub use bulk::Bulk;
pub use delivery::{Delivered, Delivery};
pub use line::Line;
use sender::Sender;

/// A record to send. Its bytes are copied into the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; otherwise the key decides, or else the producer.
    pub partition: Option<i32>,
    /// Its timestamp, in milliseconds since 1970; otherwise now.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [Header<'a>],
}

/// Why [`Producer::try_send`] did not take a record.
#[derive(Debug, Clone)]
pub enum NotSent {
    /// It would have to wait, for metadata or memory.
    WouldBlock,
    /// It never will be taken.
    Failed(ClientError),
}

/// Sends records to a cluster. Cheap to share behind an [`Arc`]; any thread may send.
#[derive(Debug)]
pub struct Producer {
    accumulator: Arc<Accumulator>,
    network: Arc<Network>,
    config: ProducerConfig,
    sender: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// A producer with the configuration `values` (of [`Scope::Producer`](crate::config::Scope::Producer)). Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for values that make no sense.
    pub fn new(doors: Doors, values: &Values) -> Result<Producer> {
        let config = ProducerConfig::new(values)?;
        let network = Network::new(doors.clone(), NetworkConfig::new(values)?);
        let accumulator = Arc::new(Accumulator::new(config.clone(), doors.clock.clone()));
        let sender = Sender::new(accumulator.clone(), network.clone(), config.clone());
        let sender = doors.runtime.spawn(sender.run());
        Ok(Producer { accumulator, network, config, sender: Mutex::new(Some(sender)) })
    }

    /// Its configuration.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// The way to its cluster.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Takes a record if that is possible at once.
    ///
    /// # Errors
    /// [`NotSent::WouldBlock`] while the topic is not known or `buffer.memory` is used up.
    #[inline]
    pub fn try_send(&self, record: &Record<'_>) -> std::result::Result<Delivery, NotSent> {
        self.append(record).map_err(|refused| match refused {
            Refused::Never(error) => NotSent::Failed(error),
            Refused::Topic | Refused::Memory => NotSent::WouldBlock,
        })
    }

    /// Takes a record; waits up to `max.block.ms` for the topic's metadata and for memory. Must not be called on a task:
    /// there [`Producer::send_async`] waits without holding up the thread.
    ///
    /// # Errors
    /// [`ClientError::BufferFull`], the topic's error, MESSAGE_TOO_LARGE for a record over `max.request.size`, and
    /// [`ClientError::Invalid`] for one that makes no sense or when it would have to wait on a task.
    #[inline]
    pub fn send(&self, record: &Record<'_>) -> Result<Delivery> {
        match self.append(record) {
            Ok(delivery) => Ok(delivery),
            Err(Refused::Never(error)) => Err(error),
            Err(_) if tokio::runtime::Handle::try_current().is_ok() => {
                Err(ClientError::invalid("send would have to wait, and this is a task: use send_async"))
            }
            Err(_) => self.network.doors().runtime.block_on(self.send_async(record)),
        }
    }

    /// Takes a record; waits up to `max.block.ms` for the topic's metadata and for memory.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_async(&self, record: &Record<'_>) -> Result<Delivery> {
        let deadline = self.network.doors().clock.monotonic() + self.config.max_block;
        self.send_by(record, deadline).await
    }

    /// As [`Producer::send_async`], with a deadline on the monotonic clock instead of `max.block.ms`.
    async fn send_by(&self, record: &Record<'_>, deadline: Duration) -> Result<Delivery> {
        let clock = &self.network.doors().clock;
        loop {
            // Registered before the attempt, so that memory freed in between is not missed.
            let freed = self.accumulator.freed();
            let refused = match self.append(record) {
                Ok(delivery) => return Ok(delivery),
                Err(refused) => refused,
            };
            let left = deadline.saturating_sub(clock.monotonic());
            match refused {
                Refused::Never(error) => return Err(error),
                Refused::Topic => self.learn(record, left).await?,
                Refused::Memory => tokio::select! {
                    () = freed => {}
                    () = clock.sleep(left) => {
                        let limit = self.config.buffer_memory;
                        return Err(ClientError::BufferFull { limit, after: self.config.max_block });
                    }
                },
            }
        }
    }

    #[inline]
    fn append(&self, record: &Record<'_>) -> std::result::Result<Delivery, Refused> {
        self.accumulator.append(record, || self.network.view().topics.get(record.topic).cloned())
    }

    /// Learns of a record's topic.
    async fn learn(&self, record: &Record<'_>, within: Duration) -> Result<()> {
        let topic = self.partitions(record.topic, within).await?;
        let known = topic.partitions.len();
        match record.partition {
            Some(partition) if usize::try_from(partition).is_ok_and(|at| at >= known) => {
                // It may have got more partitions since.
                let view = self.network.refresh(Wanted::Topics(std::slice::from_ref(&topic.name)), false).await?;
                let known = view.topics.get(record.topic).map_or(0, |topic| topic.partitions.len());
                self.accumulator.set_partitions(&topic.name, known.max(1));
                if partition as usize >= known {
                    let text = format!("{} has no partition {partition}: it has {known}", record.topic);
                    return Err(ClientError::invalid(text));
                }
                Ok(())
            }
            Some(partition) if partition < 0 => {
                Err(ClientError::invalid(format!("partition is {partition}: it must be at least 0")))
            }
            _ => Ok(()),
        }
    }

    /// A topic's partitions; waits up to `within` until the cluster knows them.
    ///
    /// # Errors
    /// As [`Network::topic`].
    pub async fn partitions(&self, topic: &str, within: Duration) -> Result<Arc<TopicView>> {
        let topic = self.network.topic(&topic.into(), true, within).await?;
        self.accumulator.set_partitions(&topic.name, topic.partitions.len());
        Ok(topic)
    }

    /// Sends everything that was taken so far without waiting for `linger.ms`, and ends when it is done, well or badly.
    pub async fn flush(&self) {
        let _hurry = self.accumulator.hurry();
        for batch in self.accumulator.incomplete() {
            let (sender, done) = tokio::sync::oneshot::channel();
            batch.on_batch_done(move || {
                let _ = sender.send(());
            });
            // What became of it is for whoever holds its deliveries.
            let _ = done.await;
        }
    }

    /// Takes no more records, sends what was taken for up to `timeout`, and gives the rest up.
    pub async fn close(&self, timeout: Duration) {
        self.accumulator.closed.store(true, Ordering::Release);
        self.accumulator.wake.notify_one();
        let sender = self.sender.lock().take();
        if let Some(mut sender) = sender {
            tokio::select! {
                _ = &mut sender => {}
                () = self.network.doors().clock.sleep(timeout) => sender.abort(),
            }
        }
        self.accumulator.fail_incomplete(&ClientError::Closed("producer"));
        self.network.close();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.accumulator.closed.store(true, Ordering::Release);
        if let Some(sender) = self.sender.lock().take() {
            sender.abort();
        }
        self.network.close();
    }
}

#[cfg(test)]
mod tests;
