//! Runs the group coordinator over `__consumer_offsets`: one shard a partition, loaded when first asked for.
//!
//! A request goes to its group's shard with a token; the shard gives a step: replies for whoever waits on a token, and
//! records to write. The records of a write become one batch in the shard's partition, and what came of it goes back to
//! the shard, once all replicas in sync have it; that may give a further step. A shard is locked over each step and its
//! appends, and is told their ends in their order, so its log and its state go the same way. When another broker leads the
//! partition, the shard is let go of there, and loaded here. One task a shard sleeps until its first deadline, on the broker's clock.
//!
//! What the rules are, only the coordinator knows; what a request looks like on the wire, only the handlers.

pub(super) mod loading;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use self::loading::{LoadError, load};
use super::Broker;
use super::topics::OFFSETS_TOPIC;
use crate::common::clock::{SharedClock, Turn};
use crate::common::ids::{LeaderEpoch, Timestamp};
use crate::common::shutdown::Shutdown;
use crate::config::broker as key;
use crate::coordinator::records::Record;
use crate::coordinator::{GroupConfig, GroupShard, Reply, ReplyToken, Step, Write, WriteId, partition_for};
use crate::protocol::{EncodeError, ErrorCode};
use crate::record::{BatchBuilder, BatchError, BatchOptions};
use crate::replica::{Partition, Replication};

/// All shards of a broker.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    shards: Mutex<HashMap<i32, Arc<tokio::sync::OnceCell<Arc<Shard>>>>>,
    tokens: AtomicU64,
}

/// One partition of `__consumer_offsets`, and the groups it keeps.
#[derive(Debug)]
pub(crate) struct Shard {
    state: Mutex<State>,
    partition: Arc<Partition>,
    /// The epoch in which this broker leads it.
    epoch: LeaderEpoch,
    /// Begins when the partition is led elsewhere: the shard's tasks end.
    resigned: Shutdown,
    /// Writes whose end is to be told in their order, once all replicas in sync have them.
    written: mpsc::UnboundedSender<(WriteId, Option<Replication>)>,
    clock: SharedClock,
    /// Told when the first deadline may have moved up.
    deadline: Notify,
}

#[derive(Debug)]
struct State {
    groups: GroupShard,
    waiting: HashMap<ReplyToken, oneshot::Sender<Reply>>,
    /// How many writes wait for replicas.
    unreplicated: usize,
    /// Held from a new first deadline on until the task that keeps the time waits for it.
    turn: Option<Turn>,
}

impl Broker {
    /// Asks the shard of `group_id`, and waits for the reply.
    ///
    /// Fails where the shard cannot be loaded, or the broker stops before there is a reply.
    pub(crate) async fn ask_group(
        self: &Arc<Self>,
        group_id: &str,
        ask: impl FnOnce(&mut GroupShard, ReplyToken, Timestamp) -> Step,
    ) -> Result<Reply, ErrorCode> {
        let shard = self.shard_of(group_id).await?;
        let (sender, receiver) = oneshot::channel();
        let token = ReplyToken(self.groups.tokens.fetch_add(1, Ordering::Relaxed));
        shard.run(self.clock().now(), |state, now| {
            state.waiting.insert(token, sender);
            ask(&mut state.groups, token, now)
        });
        tokio::select! {
            reply = receiver => reply.map_err(|_| ErrorCode::NOT_COORDINATOR),
            () = self.shutdown().begun() => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    /// Looks at the shard of `group_id`.
    pub(crate) async fn look_at_group<R>(
        self: &Arc<Self>,
        group_id: &str,
        look: impl FnOnce(&GroupShard) -> R,
    ) -> Result<R, ErrorCode> {
        let shard = self.shard_of(group_id).await?;
        let state = shard.state.lock();
        Ok(look(&state.groups))
    }

    /// All shards that this broker leads, loaded.
    pub(crate) async fn all_shards(self: &Arc<Self>) -> Result<Vec<Arc<Shard>>, ErrorCode> {
        let count = self.offsets_partitions();
        let mut shards = Vec::new();
        for index in 0..count {
            match self.shard(index).await {
                Ok(shard) => shards.push(shard),
                Err(ErrorCode::NOT_COORDINATOR) => {}
                Err(code) => return Err(code),
            }
        }
        Ok(shards)
    }

    async fn shard_of(self: &Arc<Self>, group_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        self.ensure_offsets_topic().await?;
        self.shard(partition_for(group_id, self.offsets_partitions())).await
    }

    fn offsets_partitions(&self) -> i32 {
        let count = self.controller().read(|image| image.topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len()));
        count.and_then(|count| i32::try_from(count).ok()).unwrap_or(0)
    }

    async fn shard(self: &Arc<Self>, index: i32) -> Result<Arc<Shard>, ErrorCode> {
        let cell = self.groups.shards.lock().entry(index).or_default().clone();
        let loaded = cell.get_or_try_init(|| self.load(index)).await;
        if let Ok(shard) = loaded
            && !self.leads_offsets(index, shard.epoch)
        {
            // It was led elsewhere while it was loaded; who comes next loads it anew.
            self.groups.leaders_changed(self);
            return Err(ErrorCode::NOT_COORDINATOR);
        }
        loaded.cloned().inspect_err(|code| {
            if *code != ErrorCode::NOT_COORDINATOR {
                tracing::error!(%code, partition = index, "{OFFSETS_TOPIC} was not loaded");
            }
        })
    }

    /// Whether this broker leads that partition, in that epoch.
    fn leads_offsets(&self, index: i32, epoch: LeaderEpoch) -> bool {
        self.controller.read(|image| {
            let partition = image.partition(OFFSETS_TOPIC, index);
            partition.is_some_and(|partition| partition.leader == self.node.id && partition.leader_epoch == epoch)
        })
    }

    async fn load(self: &Arc<Self>, index: i32) -> Result<Arc<Shard>, ErrorCode> {
        let led = || {
            let spec = self.controller.read(|image| self.partition_spec(image, OFFSETS_TOPIC, index));
            spec.filter(|spec| spec.leader == self.node.id).ok_or(ErrorCode::NOT_COORDINATOR)
        };
        led()?;
        let partition = self.find_partition(OFFSETS_TOPIC, index).await?;
        let spec = led()?;
        // Who asks may come before the partition was told that it is led here.
        partition.apply(&spec, self.clock().monotonic());
        let epoch = spec.leader_epoch;
        let config = GroupConfig::new(&self.values());
        let now = self.clock().now();
        let loading = {
            let partition = partition.clone();
            self.shutdown().blocking(move || {
                let mut groups = GroupShard::new(config);
                load(&partition, epoch, &mut groups)?;
                Ok(groups)
            })
        };
        let groups = loading.await.unwrap_or(Err(LoadError::Ended)).map_err(|error| match error {
            LoadError::NotLed(_) => ErrorCode::NOT_COORDINATOR,
            LoadError::Read(_) | LoadError::Batch(_) | LoadError::Ended => {
                tracing::error!(%error, partition = index, "{OFFSETS_TOPIC} cannot be read");
                ErrorCode::COORDINATOR_NOT_AVAILABLE
            }
        })?;
        let (written, writes) = mpsc::unbounded_channel();
        let timeout = self.values().get(key::OFFSETS_COMMIT_TIMEOUT_MS);
        let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(0));
        let state = Mutex::new(State { groups, waiting: HashMap::new(), unreplicated: 0, turn: None });
        let shard = Arc::new(Shard {
            state,
            partition,
            epoch,
            resigned: Shutdown::new(),
            written,
            clock: self.clock().clone(),
            deadline: Notify::new(),
        });
        shard.run(now, |state, now| state.groups.on_loaded(now));
        self.shutdown().spawn(shard.clone().keep_time(self.shutdown().clone()));
        let waits = shard.clone().keep_order(writes, timeout, self.socket_clock.clone(), self.shutdown().clone());
        self.shutdown().spawn(waits);
        Ok(shard)
    }
}

impl Shard {
    /// Looks at the groups.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&GroupShard) -> R) -> R {
        look(&self.state.lock().groups)
    }

    /// Another broker leads the partition, or this one does anew: nothing is written for this shard from here on, so that
    /// who loads the next one misses nothing.
    fn resign(&self) {
        let mut state = self.state.lock();
        self.resigned.begin();
        // Whoever waits for a reply is told by the end of its sender.
        state.waiting.clear();
    }

    /// Takes a step and all that follow from it.
    pub(crate) fn step(&self, now: Timestamp, work: impl FnOnce(&mut GroupShard, Timestamp) -> Step) {
        self.run(now, |state, now| work(&mut state.groups, now));
    }

    fn run(&self, now: Timestamp, work: impl FnOnce(&mut State, Timestamp) -> Step) {
        // Before anybody has a reply: who has one may move the clock.
        let turn = self.clock.busy();
        let mut state = self.state.lock();
        let before = state.groups.next_deadline();
        let mut steps = vec![work(&mut state, now)];
        while let Some(step) = steps.pop() {
            for (token, reply) in step.replies {
                if let Some(sender) = state.waiting.remove(&token) {
                    // Whoever asked may be gone.
                    let _ = sender.send(reply);
                }
            }
            for Write { id, records } in step.writes {
                match self.append(&records, now) {
                    Ok(None) if state.unreplicated == 0 => steps.push(state.groups.on_written(id, Ok(()), now)),
                    Ok(replication) => {
                        state.unreplicated += 1;
                        // Nobody takes it where the shard has resigned: its members are told otherwise.
                        let _ = self.written.send((id, replication));
                    }
                    Err(code) => steps.push(state.groups.on_written(id, Err(code), now)),
                }
            }
        }
        if state.groups.next_deadline() != before {
            state.turn = Some(turn);
            self.deadline.notify_one();
        }
    }

    /// Appends records, and tells what to wait for until all replicas in sync have them.
    fn append(&self, records: &[Record], now: Timestamp) -> Result<Option<Replication>, ErrorCode> {
        if self.resigned.has_begun() {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let batch = batch(records, now).map_err(|error| {
            tracing::error!(%error, "a change of a group cannot be written");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        self.partition.append_for_all(batch, now).map(|(_, replication)| replication).map_err(|error| {
            tracing::error!(partition = %self.partition.id(), %error, "a change of a group was not written");
            super::handlers::append_error_code(&error)
        })
    }

    /// Tells the shard the end of each write that waits for replicas, in the order of the writes.
    async fn keep_order(
        self: Arc<Self>,
        mut writes: mpsc::UnboundedReceiver<(WriteId, Option<Replication>)>,
        timeout: Duration,
        clock: SharedClock,
        shutdown: Shutdown,
    ) {
        loop {
            let (id, replication) = tokio::select! {
                write = writes.recv() => match write { Some(write) => write, None => return },
                () = self.resigned.begun() => return,
                () = shutdown.begun() => return,
            };
            let replicated = match replication {
                None => Ok(()),
                Some(replication) => tokio::select! {
                    replicated = self.partition.replication(replication) => replicated,
                    () = clock.sleep(timeout) => Err(ErrorCode::REQUEST_TIMED_OUT),
                    () = self.resigned.begun() => return,
                    () = shutdown.begun() => return,
                },
            };
            self.run(self.clock.now(), |state, now| {
                state.unreplicated -= 1;
                state.groups.on_written(id, replicated, now)
            });
        }
    }

    /// Tells the shard the time when its first deadline has come.
    async fn keep_time(self: Arc<Self>, shutdown: Shutdown) {
        let mut turn = None;
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.groups.next_deadline().map(|deadline| {
                    let left = u64::try_from(deadline - self.clock.now()).unwrap_or(0);
                    self.clock.turn(Duration::from_millis(left))
                });
                state.turn = None;
                next
            };
            drop(turn);
            let due = async {
                match next {
                    Some(next) => next.await,
                    None => std::future::pending().await,
                }
            };
            turn = tokio::select! {
                turn = due => {
                    self.step(self.clock.now(), GroupShard::on_time);
                    Some(turn)
                }
                () = self.deadline.notified() => None,
                () = self.resigned.begun() => return,
                () = shutdown.begun() => return,
            };
        }
    }
}

impl Groups {
    /// Lets go of the shards that are led elsewhere now, or were led elsewhere in between: who waits there is told to look
    /// for the coordinator anew.
    pub(super) fn leaders_changed(&self, broker: &Broker) {
        self.shards.lock().retain(|index, cell| match cell.get() {
            Some(shard) if !broker.leads_offsets(*index, shard.epoch) => {
                // Before somebody can load it anew.
                shard.resign();
                false
            }
            _ => true,
        });
    }

    /// Forgets what groups committed for a topic that is gone.
    pub(crate) fn topic_deleted(&self, broker: &Broker, topic: &str) {
        let shards: Vec<_> = self.shards.lock().values().filter_map(|cell| cell.get().cloned()).collect();
        for shard in shards {
            shard.step(broker.clock().now(), |groups, _| groups.on_topics_deleted(&[topic.to_owned()]));
        }
    }
}

/// Records as the bytes of one batch.
pub(super) fn batch(records: &[Record], now: Timestamp) -> Result<Bytes, BuildError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        let (key, value) = record.encode()?;
        builder.append(now, Some(&key), value.as_deref(), std::iter::empty());
    }
    Ok(builder.build()?)
}

/// Why records cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

#[cfg(test)]
mod tests;
