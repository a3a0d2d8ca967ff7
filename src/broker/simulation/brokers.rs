//! Brokers: their disks, what they know of the controllers' log, and how they follow each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commits::Coordinator;
use super::{CONTROLLER, MIN_IN_SYNC, NOW, TOPIC, World, Wrong};
use crate::common::clock::{Clock, ManualClock};
use crate::common::ids::{NodeId, Offset, Timestamp, TopicPartition, Uuid};
use crate::log::fs::memory::MemoryFs;
use crate::log::fs::watched::WatchedFs;
use crate::log::{Handles, LogConfig, LogDir, ReadError};
use crate::metadata::Image;
use crate::metadata::plan::{self, Heartbeat, Registration};
use crate::protocol::ErrorCode;
use crate::replica::{
    AlterIsrWish, FetchError, FetchFrom, FollowError, Given, IsrState, Partition, PartitionSpec, Position,
    ReplicaFetch, ReplicaManager, Throttled,
};

/// How many of its turns a follower waits for an answer.
const PATIENCE: usize = 8;
/// A broker's log dir, on a disk of its own.
pub(super) const DATA: &str = "/data";

/// What is on its way.
pub(super) enum Message {
    Fetch { from: NodeId, to: NodeId, at: Position, epoch: i64 },
    Fetched { from: NodeId, to: NodeId, at: Position, answer: Answer },
    Wish { from: NodeId, epoch: i64, wish: AlterIsrWish },
    Granted { to: NodeId, id: TopicPartition, answer: Result<IsrState, ErrorCode> },
}

impl Message {
    /// The broker that it comes to.
    fn to(&self) -> NodeId {
        match self {
            Message::Fetch { to, .. } | Message::Fetched { to, .. } | Message::Granted { to, .. } => *to,
            Message::Wish { .. } => CONTROLLER,
        }
    }
}

pub(super) enum Answer {
    Records(Given),
    Diverging(i32, Offset),
    OutOfRange(std::ops::Range<Offset>),
    Refused,
}

/// A broker that is up.
pub(super) struct Up {
    pub(super) manager: ReplicaManager,
    /// Whether a write to its disk has failed.
    pub(super) failed: Arc<AtomicBool>,
    wishes: tokio::sync::mpsc::UnboundedReceiver<AlterIsrWish>,
    image: Image,
    /// How much of the controllers' log it has applied.
    applied: usize,
    pub(super) incarnation: Uuid,
    /// Of its registration, once it has that.
    pub(super) epoch: Option<i64>,
    /// The epoch with which the start before was stopped cleanly, as its log dir tells.
    pub(super) previous_epoch: Option<i64>,
    /// Whether it wants to be stopped, once others lead what it leads.
    pub(super) leaving: bool,
    /// Where it goes on following; `None` while a fetch is under way, or it is to begin.
    position: Option<Position>,
    /// How many of its turns its fetch may still be on its way before it is sent again.
    pub(super) patience: usize,
    /// The coordinator of the group, while it leads and once it was asked.
    pub(super) coordinator: Option<Coordinator>,
    /// The high watermark it showed, by the epoch in which it leads.
    pub(super) shown: BTreeMap<i32, Offset>,
}

/// A machine: its disk and its clock outlive its broker.
pub(super) struct Node {
    pub(super) fs: Arc<MemoryFs>,
    pub(super) clock: Arc<ManualClock>,
    /// How wrong its clock tells the time of day.
    pub(super) wrong: i64,
    /// Whether its disk is full, or soon will be.
    pub(super) full: bool,
    /// The epoch with which its broker was stopped cleanly, while nobody has started it again.
    pub(super) stopped: Option<i64>,
    /// Whether it was ever stopped cleanly, and wrote down what it knew of producers.
    pub(super) has_snapshot: bool,
    /// Whether its disk, and all that waits for it, is slow.
    pub(super) slow: bool,
    pub(super) up: Option<Up>,
}

impl Node {
    pub(super) fn new() -> Node {
        Node {
            fs: Arc::new(MemoryFs::new()),
            clock: ManualClock::new(NOW),
            wrong: 0,
            full: false,
            stopped: None,
            has_snapshot: false,
            slow: false,
            up: None,
        }
    }
}

impl World {
    pub(super) fn up(&mut self, id: NodeId) -> Option<&mut Up> {
        self.nodes.get_mut(&id)?.up.as_mut()
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].up.is_some()
    }

    pub(super) fn partition(&self, id: NodeId) -> Option<Arc<Partition>> {
        self.nodes[&id].up.as_ref()?.manager.get(TOPIC, 0)
    }

    /// The time of day, as a broker has it.
    pub(super) fn wall(&self, id: NodeId) -> Timestamp {
        NOW + self.nodes[&id].wrong
    }

    pub(super) fn monotonic(&self, id: NodeId) -> Duration {
        self.nodes[&id].clock.monotonic()
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        // Whoever starts it again has made room.
        node.fs.fail_at(None);
        (node.full, node.stopped) = (false, None);
        let failed = Arc::new(AtomicBool::new(false));
        let told = failed.clone();
        let fs = WatchedFs::of(node.fs.clone(), move |_, _| told.store(true, Ordering::Relaxed));
        let dir = LogDir::open(Handles::new(fs, 64), Path::new(DATA), "test").unwrap();
        let previous_epoch = dir.previous_broker_epoch();
        let manager = ReplicaManager::new(dir, node.clock.clone()).unwrap();
        let wishes = manager.isr_wishes().unwrap();
        node.up = Some(Up {
            manager,
            failed,
            wishes,
            image: Image::default(),
            applied: 0,
            incarnation: Uuid::random(),
            epoch: None,
            previous_epoch,
            leaving: false,
            position: None,
            patience: 0,
            coordinator: None,
            shown: BTreeMap::new(),
        });
        self.tell(|| format!("{id} starts, stopped cleanly at {previous_epoch:?}"));
    }

    /// Registers, or beats: it may lead once it knows of its own registration.
    pub(super) fn beat(&mut self, id: NodeId) {
        if !self.reaches(id, CONTROLLER) || !self.reaches(CONTROLLER, id) {
            return;
        }
        let Some(up) = self.nodes[&id].up.as_ref() else { return };
        let (incarnation, previous_epoch) = (up.incarnation, up.previous_epoch);
        if let Some(epoch) = up.epoch {
            let is_caught_up = up.image.broker(id).is_some_and(|known| known.epoch == epoch);
            let beat = Heartbeat { id, epoch, is_caught_up, want_fence: false, want_shut_down: up.leaving };
            self.decide(None, |image| match plan::heartbeat(image, &beat) {
                Ok((_, records)) => Ok(records),
                Err(refusal) => panic!("a heartbeat of {id} is refused: {refusal:?}"),
            });
            let may_stop = self.controllers.image.broker(id).is_some_and(|known| known.fenced);
            // One that nobody lets go is stopped all the same, sooner or later.
            if beat.want_shut_down && (may_stop || self.chance(5)) {
                self.stop(id);
            }
            return;
        }
        // Its answer may be lost: it asks again, and may hear that it is registered, or be registered once more.
        let known = self.controllers.image.broker(id).filter(|known| known.incarnation_id == incarnation);
        if let Some(epoch) = known.map(|known| known.epoch)
            && self.chance(80)
        {
            let up = self.up(id).unwrap();
            up.epoch = Some(epoch);
            up.manager.registered(epoch);
            self.tell(|| format!("{id} has epoch {epoch}"));
            return;
        }
        let log_dir = Uuid([u8::try_from(id).unwrap() + 1; 16]);
        let mut wish =
            Registration { incarnation_id: incarnation, ..Registration::new(id, ("localhost", 9092), log_dir) };
        wish.previous_epoch = previous_epoch.unwrap_or(-1);
        if self.wrong == Wrong::HidesItsFall {
            wish.previous_epoch = self.controllers.image.broker(id).map_or(-1, |known| known.epoch);
        }
        self.decide(None, |image| Ok(plan::register_broker(image, &wish, false).unwrap()));
    }

    /// The next decision of the controllers'; of one that is far behind, all but a few of those that it has missed.
    pub(super) fn hear(&mut self, id: NodeId) {
        if !self.reaches(CONTROLLER, id) {
            return;
        }
        let some = 1 + self.one_of(4);
        let end = self.controllers.log.len();
        let Some(up) = self.nodes.get_mut(&id).and_then(|node| node.up.as_mut()) else { return };
        if up.applied == end {
            return;
        }
        let to = (up.applied + 1).max(end.saturating_sub(some));
        for record in self.controllers.log[up.applied..to].iter().flatten() {
            up.image.apply(record).unwrap();
        }
        up.applied = to;
        self.become_what_it_heard(id);
    }

    fn become_what_it_heard(&mut self, id: NodeId) {
        let now = self.monotonic(id);
        let min_in_sync = if self.wrong == Wrong::AcknowledgesAlone { 1 } else { MIN_IN_SYNC };
        let log = self.log.clone();
        let up = self.up(id).unwrap();
        let Some(spec) = spec(&up.image, id, min_in_sync, log) else { return };
        let caught_up = up.image.broker(id).is_some_and(|known| Some(known.epoch) == up.epoch);
        // What it knew before it joined may be old: until then it leads nobody, and follows nobody.
        if !caught_up {
            return;
        }
        if !spec.replicas.contains(&id) {
            if up.manager.has(&spec.id) {
                up.manager.apply(vec![spec]);
                (up.position, up.patience) = (None, 0);
                self.resign(id);
                self.tell(|| format!("{id} has no replica any more"));
            }
            return;
        }
        let partition = match up.manager.open_blocking(spec.clone()) {
            Ok(partition) => partition,
            Err(error) => return self.stop_on(id, &error),
        };
        let before = partition.leader_epoch();
        partition.apply(&spec, now);
        if spec.leader_epoch != before || spec.leader == id {
            up.position = None;
            up.patience = 0;
        }
        let (leader, epoch) = (spec.leader, spec.leader_epoch);
        let end = partition.log_end_offset();
        self.resign(id);
        self.tell(|| format!("{id} hears: {leader} leads in {epoch}, and ends at {end}"));
    }

    /// Asks its leader, if it follows one.
    pub(super) fn fetch(&mut self, id: NodeId) {
        let Some(partition) = self.partition(id) else { return };
        let (leader, now) = (partition.leader_id(), self.wall(id));
        if leader < 0 || leader == id {
            return;
        }
        let up = self.up(id).unwrap();
        if up.patience > 0 {
            up.patience -= 1;
            return;
        }
        let epoch = up.epoch.unwrap();
        let position = match up.position.take() {
            Some(position) => position,
            None => match partition.begin_following(now) {
                Ok(position) => position,
                Err(FollowError::Overtaken) => return,
                Err(error) => return self.stop_on(id, &error),
            },
        };
        up.patience = PATIENCE;
        self.messages.push_back(Message::Fetch { from: id, to: leader, at: position, epoch });
    }

    fn serve(&mut self, to: NodeId, from: NodeId, at: Position, epoch: i64) {
        let now = self.monotonic(to);
        let Some(partition) = self.partition(to) else { return };
        let asks = FetchFrom {
            offset: at.offset,
            current_leader_epoch: at.leader_epoch,
            last_fetched_epoch: at.last_fetched_epoch,
            max_bytes: 1 << (7 + self.one_of(6)),
            min_one: true,
            read_committed: false,
        };
        let replica = ReplicaFetch { node: from, broker_epoch: epoch, log_start_offset: at.log_start_offset };
        let answer = match partition.fetch_as_replica(replica, asks, now) {
            Ok(fetched) => match fetched.diverging_epoch {
                Some((epoch, end)) => Answer::Diverging(epoch, end),
                None => Answer::Records(Given {
                    // Mapped memory of a disk that may be cut: a message has its own.
                    records: bytes::Bytes::copy_from_slice(&fetched.records),
                    high_watermark: fetched.high_watermark,
                    log_start_offset: fetched.log_start_offset,
                }),
            },
            Err(FetchError::Read(ReadError::OffsetOutOfRange { .. })) => {
                Answer::OutOfRange(partition.log_start_offset()..partition.log_end_offset())
            }
            Err(_) => Answer::Refused,
        };
        self.messages.push_back(Message::Fetched { from: to, to: from, at, answer });
    }

    fn take(&mut self, id: NodeId, at: Position, answer: Answer) {
        let Some(partition) = self.partition(id) else { return };
        let now = self.wall(id);
        let done = match answer {
            Answer::Records(given) => partition.append_given(&at, given, now),
            Answer::Diverging(epoch, end) => {
                self.tell(|| format!("{id} at {at:?} is told that epoch {epoch} ends at {end}"));
                partition.truncate_diverging(&at, (epoch, end), now)
            }
            Answer::OutOfRange(log) if self.wrong == Wrong::BeginsAtTheEnd => {
                partition.follow_within(&at, log.end..log.end, now)
            }
            Answer::OutOfRange(log) => partition.follow_within(&at, log, now),
            Answer::Refused => Err(FollowError::Overtaken),
        };
        let position = match done {
            Ok(position) => Some(position),
            Err(FollowError::Overtaken) => None,
            Err(FollowError::Refused(error)) => {
                self.tell(|| format!("{id} cannot follow at {at:?}: {error}"));
                None
            }
            Err(error) => return self.stop_on(id, &error),
        };
        let up = self.up(id).unwrap();
        (up.patience, up.position) = (0, position);
    }

    pub(super) fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        // Mostly in order, sometimes not.
        let place = if self.chance(80) { 0 } else { self.one_of(self.messages.len()) };
        let Some(message) = self.messages.remove(place) else { return };
        if self.is_slow(message.to()) {
            self.messages.push_back(message);
            return;
        }
        match message {
            Message::Fetch { from, to, at, epoch } if self.reaches(from, to) => self.serve(to, from, at, epoch),
            Message::Fetched { from, to, at, answer } if self.reaches(from, to) => self.take(to, at, answer),
            Message::Wish { from, epoch, wish } => {
                if self.reaches(from, CONTROLLER) {
                    self.decide_isr(from, epoch, wish);
                } else {
                    let (to, id) = (from, wish.id);
                    self.messages.push_back(Message::Granted { to, id, answer: Err(ErrorCode::REQUEST_TIMED_OUT) });
                }
            }
            Message::Granted { to, id, answer } => {
                if let Some(up) = self.up(to) {
                    up.manager.isr_answered(&id, answer);
                }
            }
            Message::Fetch { .. } | Message::Fetched { .. } => {}
        }
    }

    /// Whether a broker that is slow does not come to do what it is to do now.
    pub(super) fn is_slow(&mut self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.slow) && !self.chance(10)
    }

    pub(super) fn ask_controller(&mut self, id: NodeId) {
        let Some(up) = self.up(id) else { return };
        let Some(epoch) = up.epoch else { return };
        while let Ok(wish) = self.up(id).unwrap().wishes.try_recv() {
            self.messages.push_back(Message::Wish { from: id, epoch, wish });
        }
    }
}

fn spec(image: &Image, local: NodeId, min_in_sync_replicas: i32, config: LogConfig) -> Option<PartitionSpec> {
    let topic = image.topic(TOPIC)?;
    let partition = topic.partitions.first()?;
    Some(PartitionSpec {
        id: TopicPartition::new(TOPIC, 0),
        topic_id: topic.id,
        local,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        config,
        min_in_sync_replicas,
        throttled: Throttled::default(),
    })
}
