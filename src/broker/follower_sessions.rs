//! The fetch sessions of followers (KIP-227): thousands of partitions each, of which few have news.
//!
//! A session is as a consumer's (see [`fetch_session`](super::fetch_session)), but it holds its partitions and watches
//! them, so a step costs by what is new and not by what is followed. What is *due* is looked at: what the request names, what
//! has changed since it was looked at last ([`Marks`]), what was given records last time, and what is not in sync here, which
//! is noted with each step until it is.
//!
//! Sessions name topics by their ids. A follower that tells none, or finds no room here, is served as a consumer is, with all
//! its partitions each time.
//!
//! Nothing here waits, or knows a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::fetch_session::{Said, Target};
use crate::common::ids::Uuid;
use crate::protocol::ErrorCode;
use crate::replica::{Marks, Partition, Watch};

/// A session that rested this long may be pushed out.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);
/// How many partitions all sessions together may hold.
const MOST_PARTITIONS: usize = 1_000_000;

/// A partition as a session names it.
pub(crate) type Key = (Uuid, i32);

/// One partition of a session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) target: Target,
    /// The partition, or why it is not to be had.
    pub(crate) found: Result<Arc<Partition>, ErrorCode>,
    watch: Arc<Watch>,
    /// Whether it is among what is due.
    is_due: bool,
}

impl Entry {
    /// It is looked at now.
    pub(crate) fn begin(&self) {
        self.watch.begin();
    }
}

/// What one follower, or one of its fetchers, fetches here.
#[derive(Debug)]
pub(crate) struct Session {
    /// That of the next step.
    epoch: i32,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    places: HashMap<Key, usize>,
    /// What is to be looked at, in this order.
    due: Vec<usize>,
    marks: Arc<Marks>,
    last_used: Duration,
}

/// A session, and which step of it this is.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) session_id: i32,
    session: Arc<Mutex<Session>>,
    /// What wakes it.
    pub(crate) marks: Arc<Marks>,
    next_epoch: i32,
}

/// What a step asks for: partitions that are new or changed, each as it was found.
pub(crate) type Named = Vec<(Key, Target, Result<Arc<Partition>, ErrorCode>)>;

/// What becomes of an entry once it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until it changes.
    Rests,
    /// It is looked at with the next step too.
    Due,
    /// So it is, but behind the others: it was given records, and there may be no room for all.
    DueLast,
}

impl Session {
    fn new(now: Duration) -> Session {
        Session {
            epoch: 1,
            entries: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            due: Vec::new(),
            marks: Marks::new(),
            last_used: now,
        }
    }

    fn take(&mut self, named: Named, forgotten: &[Key]) {
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.entries[place] = None;
                self.free.push(place);
            }
        }
        self.due.retain(|place| self.entries[*place].is_some());
        for (key, target, found) in named {
            match self.places.get(&key).copied() {
                Some(place) => {
                    if let Some(entry) = self.entries[place].as_mut() {
                        let said = entry.target.said;
                        entry.target = Target { said, ..target };
                        if !same(&entry.found, &found) {
                            // The topic went away and came back, or could not be opened before.
                            (entry.found, entry.target.said) = (found, None);
                            entry.watch = watched(&self.marks, place, &entry.found);
                        }
                        self.put(place);
                    }
                }
                None => {
                    let place = self.free.pop().unwrap_or(self.entries.len());
                    if place == self.entries.len() {
                        self.entries.push(None);
                    }
                    let watch = watched(&self.marks, place, &found);
                    self.entries[place] = Some(Entry { key, target, found, watch, is_due: false });
                    self.places.insert(key, place);
                    self.put(place);
                }
            }
        }
    }

    fn put(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut)
            && !std::mem::replace(&mut entry.is_due, true)
        {
            self.due.push(place);
        }
    }

    /// Adds what was marked to what is due.
    fn take_marked(&mut self) {
        for place in self.marks.take() {
            self.put(place);
        }
    }
}

fn watched(marks: &Arc<Marks>, place: usize, found: &Result<Arc<Partition>, ErrorCode>) -> Arc<Watch> {
    let watch = Watch::new(marks, place);
    if let Ok(partition) = found {
        partition.watch_as_replica(&watch);
    }
    watch
}

fn same(a: &Result<Arc<Partition>, ErrorCode>, b: &Result<Arc<Partition>, ErrorCode>) -> bool {
    matches!((a, b), (Ok(a), Ok(b)) if Arc::ptr_eq(a, b))
}

impl Step {
    /// Whether the follower has taken its next step already, and waits for that one.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.session.lock().epoch != self.next_epoch
    }

    /// Looks at each entry that is due; nothing, where the follower has taken its next step.
    pub(crate) fn look(&self, mut look: impl FnMut(&Entry)) {
        let mut session = self.session.lock();
        if session.epoch != self.next_epoch {
            return;
        }
        session.take_marked();
        for place in &session.due {
            if let Some(entry) = session.entries[*place].as_ref() {
                look(entry);
            }
        }
    }

    /// Takes note of what the reply says, and what is due with the next step: `told` gives, for what was looked at, what was
    /// said of it (`None` for an error) and what becomes of it.
    pub(crate) fn replied(&self, told: &HashMap<Key, (Option<Said>, Next)>) {
        let mut session = self.session.lock();
        if session.epoch != self.next_epoch {
            // The next step looks at it all again.
            return;
        }
        let looked = std::mem::take(&mut session.due);
        let mut last = Vec::new();
        for place in looked {
            let Some(entry) = session.entries[place].as_mut() else { continue };
            let next = match told.get(&entry.key) {
                Some((said, next)) => {
                    entry.target.said = said.or(entry.target.said);
                    *next
                }
                None => Next::Due,
            };
            entry.is_due = next != Next::Rests;
            match next {
                Next::Rests => {}
                Next::Due => session.due.push(place),
                Next::DueLast => last.push(place),
            }
        }
        session.due.append(&mut last);
    }
}

/// All sessions of followers.
#[derive(Debug)]
pub(crate) struct FollowerSessions {
    slots: usize,
    sessions: Mutex<HashMap<i32, Arc<Mutex<Session>>>>,
}

impl FollowerSessions {
    /// A cache of `slots` sessions.
    pub(crate) fn new(slots: usize) -> FollowerSessions {
        FollowerSessions { slots, sessions: Mutex::default() }
    }

    /// Opens a session; `None` where there is no room.
    pub(crate) fn open(&self, named: Named, now: Duration) -> Option<Step> {
        let mut sessions = self.sessions.lock();
        let held: usize = sessions.values().map(|session| session.lock().places.len()).sum();
        if held + named.len() > MOST_PARTITIONS {
            return None;
        }
        if sessions.len() >= self.slots {
            let oldest = sessions.iter().map(|(id, session)| (session.lock().last_used, *id)).min();
            let (last_used, id) = oldest?;
            if now.saturating_sub(last_used) <= EVICTABLE_AFTER {
                return None;
            }
            sessions.remove(&id);
        }
        let session_id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session::new(now);
        session.take(named, &[]);
        let marks = session.marks.clone();
        let session = Arc::new(Mutex::new(session));
        sessions.insert(session_id, session.clone());
        Some(Step { session_id, session, marks, next_epoch: 1 })
    }

    /// Whether there is a session of this id.
    pub(crate) fn has(&self, session_id: i32) -> bool {
        self.sessions.lock().contains_key(&session_id)
    }

    /// Ends a session.
    pub(crate) fn end(&self, session_id: i32) {
        self.sessions.lock().remove(&session_id);
    }

    /// Takes the next step of a session: what is named becomes part of it, what is forgotten leaves.
    ///
    /// Fails with FETCH_SESSION_ID_NOT_FOUND or INVALID_FETCH_SESSION_EPOCH, after which a follower begins anew.
    pub(crate) fn step(
        &self,
        (session_id, epoch): (i32, i32),
        named: Named,
        forgotten: &[Key],
        now: Duration,
    ) -> Result<Step, ErrorCode> {
        let held = self.sessions.lock().get(&session_id).cloned().ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut session = held.lock();
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.last_used = now;
        // Who waits in the step before.
        session.marks.wake();
        session.take(named, forgotten);
        let (marks, next_epoch) = (session.marks.clone(), session.epoch);
        drop(session);
        Ok(Step { session_id, session: held, marks, next_epoch })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::FutureExt;

    use super::*;
    use crate::broker::fetch_session::TopicKey;
    use crate::common::clock::ManualClock;
    use crate::common::ids::{Offset, TopicPartition};
    use crate::log::fs::memory::MemoryFs;
    use crate::log::{Handles, LogConfig, LogDir};
    use crate::record::{BatchBuilder, BatchOptions};
    use crate::replica::{PartitionSpec, ReplicaManager, Throttled};

    const TOPIC: Uuid = Uuid([5; 16]);
    const NOW: Duration = Duration::ZERO;

    /// Two partitions that broker 1 leads.
    fn partitions() -> Vec<Arc<Partition>> {
        let dir = LogDir::open(Handles::new(Arc::new(MemoryFs::new()), 8), Path::new("/data"), "test").unwrap();
        let manager = ReplicaManager::new(dir, ManualClock::new(0)).unwrap();
        let open = |index| {
            let spec = PartitionSpec {
                id: TopicPartition::new("t", index),
                topic_id: TOPIC,
                local: 1,
                leader: 1,
                leader_epoch: 0,
                partition_epoch: 0,
                replicas: vec![1, 2],
                isr: vec![1, 2],
                config: LogConfig::default(),
                min_in_sync_replicas: 1,
                throttled: Throttled::default(),
            };
            manager.open_blocking(spec).unwrap()
        };
        (0..2).map(open).collect()
    }

    fn named(partitions: &[Arc<Partition>], offset: Offset) -> Named {
        let name = |partition: &Arc<Partition>| {
            let target = Target {
                topic: TopicKey::Id(TOPIC),
                partition: partition.id().partition,
                current_leader_epoch: 0,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                max_bytes: 100,
                log_start_offset: 0,
                high_watermark: 0,
                said: None,
            };
            ((TOPIC, partition.id().partition), target, Ok(partition.clone()))
        };
        partitions.iter().map(name).collect()
    }

    fn grow(partition: &Partition) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(0, None, Some(b"v"), std::iter::empty());
        partition.append(builder.build().unwrap(), 0).unwrap();
    }

    /// The partitions that a step looks at, and what it says of all of them.
    fn look(step: &Step, next: Next) -> Vec<(i32, Offset)> {
        let (mut looked, mut told) = (Vec::new(), HashMap::new());
        step.look(|entry| {
            entry.begin();
            looked.push((entry.key.1, entry.target.fetch_offset));
            told.insert(entry.key, (Some(Said { high_watermark: 0, log_start_offset: 0 }), next));
        });
        step.replied(&told);
        looked
    }

    #[test]
    fn a_step_looks_at_what_is_named_and_then_at_what_has_changed() {
        let (sessions, partitions) = (FollowerSessions::new(10), partitions());
        let first = sessions.open(named(&partitions, 0), NOW).unwrap();
        assert_eq!(look(&first, Next::Rests), [(0, 0), (1, 0)]);

        let second = sessions.step((first.session_id, 1), Vec::new(), &[], NOW).unwrap();
        assert_eq!(look(&second, Next::Rests), []);
        assert!(second.marks.woken().now_or_never().is_some(), "the step before was woken");
        assert!(second.marks.woken().now_or_never().is_none());
        grow(&partitions[1]);
        assert!(second.marks.woken().now_or_never().is_some());
        assert_eq!(look(&second, Next::Due), [(1, 0)]);

        // What is due is looked at again, from where the follower is by now.
        let third = sessions.step((first.session_id, 2), named(&partitions[1..], 1), &[], NOW).unwrap();
        assert_eq!(look(&third, Next::Due), [(1, 1)]);
        let fourth = sessions.step((first.session_id, 3), Vec::new(), &[(TOPIC, 1)], NOW).unwrap();
        assert_eq!(look(&fourth, Next::Rests), []);
        grow(&partitions[1]);
        assert_eq!(look(&fourth, Next::Rests), [], "it is forgotten");
    }

    #[test]
    fn who_was_given_records_comes_last() {
        let (sessions, partitions) = (FollowerSessions::new(10), partitions());
        let first = sessions.open(named(&partitions, 0), NOW).unwrap();
        let mut told = HashMap::new();
        first.look(|entry| {
            // There was room for one.
            let next = if entry.key.1 == 0 { Next::DueLast } else { Next::Due };
            told.insert(entry.key, (None, next));
        });
        first.replied(&told);
        let second = sessions.step((first.session_id, 1), named(&partitions[..1], 5), &[], NOW).unwrap();
        assert_eq!(look(&second, Next::Rests), [(1, 0), (0, 5)]);
    }

    #[test]
    fn a_step_that_was_overtaken_takes_nothing_away() {
        let (sessions, partitions) = (FollowerSessions::new(10), partitions());
        let first = sessions.open(named(&partitions[..1], 0), NOW).unwrap();
        let second = sessions.step((first.session_id, 1), named(&partitions[1..], 0), &[], NOW).unwrap();
        assert!(first.is_overtaken() && !second.is_overtaken());
        assert_eq!(look(&first, Next::Rests), []);
        assert_eq!(look(&second, Next::Rests), [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_partition_that_is_another_now_is_watched_anew() {
        let sessions = FollowerSessions::new(10);
        let (old, new) = (partitions(), partitions());
        let first = sessions.open(named(&old[..1], 7), NOW).unwrap();
        look(&first, Next::Rests);
        let second = sessions.step((first.session_id, 1), named(&new[..1], 0), &[], NOW).unwrap();
        assert_eq!(look(&second, Next::Rests), [(0, 0)]);
        grow(&new[0]);
        assert_eq!(look(&second, Next::Rests), [(0, 0)]);
        grow(&old[0]);
        assert_eq!(look(&second, Next::Rests), []);
    }

    #[test]
    fn a_wrong_epoch_or_id_is_refused_and_a_full_cache_gives_up_only_sessions_at_rest() {
        let sessions = FollowerSessions::new(1);
        let id = sessions.open(Vec::new(), NOW).unwrap().session_id;
        let step = |id, epoch| sessions.step((id, epoch), Vec::new(), &[], NOW).map(|_| ());
        assert_eq!(step(id, 2), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        assert_eq!(step(id ^ 1, 1), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert!(sessions.open(Vec::new(), NOW + EVICTABLE_AFTER).is_none());
        let later = NOW + EVICTABLE_AFTER + Duration::from_secs(1);
        assert!(sessions.open(Vec::new(), later).is_some() && !sessions.has(id));
    }
}
