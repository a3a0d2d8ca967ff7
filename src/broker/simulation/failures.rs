//! What goes wrong: brokers that fall or are stopped, disks that are full, clocks that leap, messages that are lost.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::brokers::DATA;
use super::{NODES, TOPIC, World};
use crate::common::ids::{NodeId, TopicPartition};
use crate::log::dir::CLEAN_SHUTDOWN;
use crate::log::fs::FileSystem;
use crate::log::fs::memory::{Fault, choices};
use crate::protocol::ErrorCode;

impl World {
    /// A broker ends without a word, or loses power, and with it what it has not synced.
    pub(super) fn kill(&mut self, id: NodeId, power: bool) {
        let Some(up) = self.nodes.get_mut(&id).and_then(|node| node.up.take()) else { return };
        drop(up);
        self.forget(id);
        self.tell(|| format!("{id} is killed, power {power}"));
        if power {
            self.lose_power(id, self.nodes[&id].fs.operations());
        }
    }

    /// What a broker's disk had not synced when it did so much is lost; so it has fallen.
    fn lose_power(&mut self, id: NodeId, at: usize) {
        self.seen.lost_power += 1;
        self.damaged.extend(self.controllers.image.broker(id).map(|known| (id, known.epoch)));
        if !self.keeps_eligible {
            // Nothing may happen to the others now.
            self.cut.clear();
            self.nodes.values().for_each(|node| node.fs.fail_at(None));
        }
        self.cut_disk(id, at);
    }

    fn cut_disk(&mut self, id: NodeId, at: usize) {
        let seed = self.one_of(1 << 30) as u64;
        let node = self.nodes.get_mut(&id).unwrap();
        node.fs = Arc::new(node.fs.crash(at, &mut choices(seed)));
    }

    /// A broker is asked to stop, and to let others lead first; or is stopped as it is.
    pub(super) fn ask_to_stop(&mut self, id: NodeId) {
        // What is in its place for who lost power is to stay there.
        if !self.keeps_eligible && !self.damaged.is_empty() {
            return;
        }
        let hands_over = self.chance(50);
        let Some(up) = self.up(id) else { return };
        if hands_over {
            up.leaving = true;
        } else {
            self.stop(id);
        }
    }

    /// A broker closes its logs and ends. Power is lost while it does, or behind it: then nothing of it is lost.
    pub(super) fn stop(&mut self, id: NodeId) {
        // One that has not heard of its registration cannot say which start of it was stopped.
        let is_told = self.nodes[&id].up.as_ref().is_some_and(|up| up.epoch.is_some());
        if !is_told && !self.may_fall(id, false) {
            return;
        }
        let may_lose = self.may_fall(id, true);
        let Some(up) = self.nodes.get_mut(&id).and_then(|node| node.up.take()) else { return };
        let (now, from) = (self.wall(id), self.nodes[&id].fs.operations());
        let end = up.manager.get(TOPIC, 0).map(|partition| partition.log_end_offset());
        let closed = up.manager.close(now);
        let epoch = up.epoch.or(up.previous_epoch).unwrap_or(-1);
        drop(up);
        self.forget(id);
        let node = self.nodes.get_mut(&id).unwrap();
        node.has_snapshot = true;
        let is_marked = node.fs.stat(&Path::new(DATA).join(CLEAN_SHUTDOWN)).unwrap().is_some();
        node.stopped = closed.is_ok().then_some(epoch).filter(|_| is_marked);
        let (stopped, to) = (node.stopped, node.fs.operations());
        self.seen.stopped += usize::from(stopped.is_some());
        self.tell(|| format!("{id} is stopped, cleanly at {stopped:?}, and ended at {end:?}"));
        if may_lose && self.chance(20) {
            let at = from + self.one_of(to - from + 1);
            self.tell(|| format!("its power is lost behind {} of {} writes", at - from, to - from));
            self.nodes.get_mut(&id).unwrap().stopped = None;
            self.lose_power(id, at);
        } else if stopped.is_some() && self.chance(30) {
            self.tell(|| "its power is lost behind that".to_owned());
            self.cut_disk(id, to);
        }
    }

    /// Whoever has a disk that failed a write, whichever it was, stops.
    pub(super) fn stop_on_failures(&mut self) {
        for id in NODES {
            if self.nodes[&id].up.as_ref().is_some_and(|up| up.failed.load(Ordering::Relaxed)) {
                self.stop_on(id, &"its disk has failed");
            }
        }
    }

    /// A broker whose only disk fails stops.
    pub(super) fn stop_on(&mut self, id: NodeId, error: &dyn Display) {
        self.tell(|| format!("{id} cannot write: {error}"));
        self.kill(id, false);
    }

    /// A disk is full, from some write on that is soon to come.
    pub(super) fn fill(&mut self, id: NodeId) {
        if !self.may_fall(id, false) {
            return;
        }
        let (soon, written) = (self.one_of(10), self.one_of(200));
        let node = self.nodes.get_mut(&id).unwrap();
        let at = node.fs.operations() + soon;
        node.fs.fail_at(Some(Fault { at, kind: io::ErrorKind::StorageFull, stays: true, written }));
        node.full = true;
        self.tell(|| format!("the disk of {id} is full"));
    }

    /// A clock goes forward, and who lags is noticed; or it tells another time of day all at once.
    pub(super) fn leap(&mut self, id: NodeId) {
        if self.chance(50) {
            let leap = Duration::from_millis(1 + self.one_of(20_000) as u64);
            self.nodes[&id].clock.advance(leap);
            let now = self.monotonic(id);
            if let Some(up) = self.up(id) {
                up.manager.shrink_isrs(now);
            }
        } else {
            let hours = [-6, -1, 0, 0, 1, 6][self.one_of(6)];
            self.nodes.get_mut(&id).unwrap().wrong = hours * 3_600_000;
            self.tell(|| format!("the clock of {id} is wrong by {hours} hours"));
            let now = self.wall(id);
            if let Some(partition) = self.partition(id) {
                // It is done from time to time: those that are silent for a day are forgotten, and none is.
                partition.with_log(|log| log.expire_producers(now));
            }
        }
    }

    /// Everything that is on its way is lost.
    pub(super) fn lose_messages(&mut self) {
        self.messages.clear();
        for id in NODES {
            if let Some(up) = self.up(id) {
                up.patience = 0;
                // A wish that was lost is answered by nobody: the broker gives it up.
                up.manager.isr_answered(&TopicPartition::new(TOPIC, 0), Err(ErrorCode::REQUEST_TIMED_OUT));
            }
        }
    }

    /// A second passes everywhere, and clocks are right.
    pub(super) fn pass(&mut self) {
        for node in self.nodes.values_mut() {
            node.clock.advance(Duration::from_secs(1));
            node.wrong = 0;
        }
    }
}
