//! Fetch sessions (KIP-227): a consumer names its partitions once, and from then on only what changes.
//!
//! A request tells its session's id and an epoch that rises by one each time:
//!
//! | id | epoch | means |
//! |---|---|---|
//! | any | -1 | no session; one that is named ends |
//! | any | 0 | a full request: a new session if there is room; one that is named ends |
//! | n | e | the next step of session n: what is listed is added or changed, what is forgotten is taken out |
//!
//! The reply to a step holds only partitions that have something to say: records, an error, or a watermark that moved
//! since the last reply. A session remembers what it said. Those whose records went out move to the end of the order, so
//! that none starves. The cache has a fixed number of slots (`max.incremental.fetch.session.cache.slots`): a new session
//! takes the slot of one that was idle for two minutes, or gets none and fetches in full each time.
//!
//! A client may take its next step while the reply to the last is still waited with; that reply then waits no longer.
//!
//! A session lives longer than the request that made it, so it keeps names of its own and not slices of a frame; and all
//! sessions together hold at most [`MOST_PARTITIONS`], whoever asks for more fetches in full.
//!
//! Nothing here reads a log or waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::common::ids::{LeaderEpoch, Offset, Uuid};
use crate::protocol::{ErrorCode, Str};
use crate::replica::Waiter;

/// A session that rested this long may be pushed out (as in Apache Kafka).
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// How many partitions all sessions together may hold.
const MOST_PARTITIONS: usize = 1_000_000;

/// A topic as a fetch names it: by id from version 13 on, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    /// By its id.
    Id(Uuid),
    /// By its name.
    Name(Str),
}

impl TopicKey {
    /// The same, without the frame that its name is a slice of.
    fn owned(&self) -> TopicKey {
        match self {
            TopicKey::Id(id) => TopicKey::Id(*id),
            TopicKey::Name(name) => TopicKey::Name(Str::from(name.as_str())),
        }
    }
}

/// What a consumer wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) fetch_offset: Offset,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) max_bytes: i32,
    /// The first offset of a follower's log; -1 from a consumer.
    pub(crate) log_start_offset: Offset,
    /// The high watermark that a follower knows; the largest number where it does not tell.
    pub(crate) high_watermark: Offset,
    /// What the session's last reply said of it.
    pub(crate) said: Option<Said>,
}

impl Target {
    /// Whether a follower knows less than `now` of its leader's high watermark and log start.
    pub(crate) fn is_behind(&self, now: Said) -> bool {
        let own = Said { high_watermark: self.high_watermark, log_start_offset: self.log_start_offset };
        let known = self.said.unwrap_or(own);
        known.high_watermark < now.high_watermark || known.log_start_offset < now.log_start_offset
    }
}

/// What the last reply said of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    said: Option<Said>,
}

impl Entry {
    fn new(target: Target) -> Entry {
        Entry { target: Target { topic: target.topic.owned(), ..target }, said: None }
    }

    /// What is to be read.
    fn wanted(&self) -> Target {
        Target { said: self.said, ..self.target.clone() }
    }

    /// Asks for something else of the same partition.
    fn update(&mut self, target: Target) {
        let topic = std::mem::replace(&mut self.target.topic, TopicKey::Id(Uuid::ZERO));
        self.target = Target { topic, ..target };
    }
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    /// The partitions in the order in which they are read.
    order: Vec<Entry>,
    last_used: Duration,
    /// Who waits in the last step.
    waiter: Weak<Waiter>,
}

impl Session {
    fn put(&mut self, target: Target) {
        let same =
            |entry: &&mut Entry| entry.target.topic == target.topic && entry.target.partition == target.partition;
        match self.order.iter_mut().find(same) {
            Some(entry) => entry.update(target),
            None => self.order.push(Entry::new(target)),
        }
    }

    /// As [`Session::put`] for many: a large session is searched by map and not by walking it for each.
    fn put_all(&mut self, targets: Vec<Target>) {
        if targets.len() < 8 || self.order.is_empty() {
            let fresh = self.order.is_empty();
            for target in targets {
                if fresh {
                    self.order.push(Entry::new(target));
                } else {
                    self.put(target);
                }
            }
            return;
        }
        let mut places: HashMap<(TopicKey, i32), usize> = HashMap::with_capacity(self.order.len());
        for (place, entry) in self.order.iter().enumerate() {
            places.insert((entry.target.topic.clone(), entry.target.partition), place);
        }
        for target in targets {
            match places.get(&(target.topic.clone(), target.partition)) {
                Some(place) => self.order[*place].update(target),
                None => {
                    places.insert((target.topic.clone(), target.partition), self.order.len());
                    self.order.push(Entry::new(target));
                }
            }
        }
    }
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) struct Step {
    /// The session's id, 0 for none.
    pub(crate) session_id: i32,
    /// The epoch of the step behind this one.
    next_epoch: i32,
    /// Whether only what changed is told.
    pub(crate) incremental: bool,
    /// What to read, in this order.
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Arc<Mutex<Session>>>,
}

impl Cache {
    /// How many partitions all sessions hold.
    fn partitions(&self) -> usize {
        self.sessions.values().map(|session| session.lock().order.len()).sum()
    }
}

/// All fetch sessions of a broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    most_partitions: usize,
    cache: Mutex<Cache>,
}

impl FetchSessions {
    /// A cache of `slots` sessions.
    pub(crate) fn new(slots: usize) -> FetchSessions {
        FetchSessions { slots, most_partitions: MOST_PARTITIONS, cache: Mutex::default() }
    }

    /// Takes a request in: what it names becomes part of its session, and what is to be read comes out.
    ///
    /// Fails with FETCH_SESSION_ID_NOT_FOUND or INVALID_FETCH_SESSION_EPOCH, after which a client begins anew.
    pub(crate) fn step(
        &self,
        (session_id, epoch): (i32, i32),
        targets: Vec<Target>,
        forgotten: &[(TopicKey, i32)],
        now: Duration,
    ) -> Result<Step, ErrorCode> {
        if epoch <= 0 {
            if session_id != 0 {
                self.cache.lock().sessions.remove(&session_id);
            }
            let session_id = if epoch == 0 && !targets.is_empty() { self.open(&targets, now) } else { 0 };
            return Ok(Step { session_id, next_epoch: 1, incremental: false, targets });
        }
        let mut cache = self.cache.lock();
        if !targets.is_empty() && cache.partitions() + targets.len() > self.most_partitions {
            // Most of them may be known to the session; but whoever comes here begins anew, and gets none if it is so.
            cache.sessions.remove(&session_id);
        }
        let session = cache.sessions.get(&session_id).cloned();
        drop(cache);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut session = session.lock();
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.last_used = now;
        if let Some(waiter) = std::mem::take(&mut session.waiter).upgrade() {
            waiter.wake();
        }
        session.put_all(targets);
        if !forgotten.is_empty() {
            let forgotten: HashSet<(&TopicKey, i32)> =
                forgotten.iter().map(|(topic, partition)| (topic, *partition)).collect();
            session.order.retain(|Entry { target, .. }| !forgotten.contains(&(&target.topic, target.partition)));
        }
        let targets = session.order.iter().map(Entry::wanted).collect();
        Ok(Step { session_id, next_epoch: session.epoch, incremental: true, targets })
    }

    /// Whether the client has taken its next step already: it waits for that one, and not for the reply to this. Until it
    /// has, `waiter` is woken when it does.
    pub(crate) fn is_overtaken(&self, step: &Step, waiter: &Arc<Waiter>) -> bool {
        if step.session_id == 0 {
            return false;
        }
        let session = self.cache.lock().sessions.get(&step.session_id).cloned();
        let Some(session) = session else { return true };
        let mut session = session.lock();
        session.waiter = Arc::downgrade(waiter);
        session.epoch != step.next_epoch
    }

    /// Notes what a reply says, and tells for each partition, in the order of [`Step::targets`], whether it belongs in
    /// the reply. `said` holds `None` for an error; `data` whether there are records.
    pub(crate) fn reply(&self, step: &Step, replies: &[(Option<Said>, bool)]) -> Vec<bool> {
        let session = self.cache.lock().sessions.get(&step.session_id).cloned();
        let Some(session) = session else { return vec![true; replies.len()] };
        let mut session = session.lock();
        if session.epoch != step.next_epoch || session.order.len() != replies.len() {
            // The client has changed the session meanwhile: what this reply says is not noted, and so is said again.
            return replies.iter().map(|(said, data)| !step.incremental || *data || said.is_none()).collect();
        }
        let mut tell = Vec::with_capacity(replies.len());
        for (entry, (said, data)) in session.order.iter_mut().zip(replies) {
            tell.push(!step.incremental || *data || said.is_none() || entry.said != *said);
            entry.said = *said;
        }
        // A stable partition of the order: those with records go behind those without.
        let mut with_data = replies.iter().map(|(_, data)| *data);
        let (behind, mut order): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut session.order).into_iter().partition(|_| with_data.next().unwrap_or(false));
        order.extend(behind);
        session.order = order;
        tell
    }

    fn open(&self, targets: &[Target], now: Duration) -> i32 {
        let mut cache = self.cache.lock();
        if cache.partitions() + targets.len() > self.most_partitions {
            return 0;
        }
        if cache.sessions.len() >= self.slots {
            let oldest = cache.sessions.iter().map(|(id, session)| (session.lock().last_used, *id)).min();
            match oldest {
                Some((last_used, id)) if now.saturating_sub(last_used) > EVICTABLE_AFTER => {
                    cache.sessions.remove(&id);
                }
                _ => return 0,
            }
        }
        let id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !cache.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session { epoch: 1, order: Vec::new(), last_used: now, waiter: Weak::new() };
        session.put_all(targets.to_vec());
        cache.sessions.insert(id, Arc::new(Mutex::new(session)));
        id
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn target(partition: i32, fetch_offset: Offset) -> Target {
        Target {
            topic: TopicKey::Name(Str::from("t")),
            partition,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            max_bytes: 100,
            log_start_offset: -1,
            high_watermark: Offset::MAX,
            said: None,
        }
    }

    fn said(high_watermark: Offset) -> Option<Said> {
        Some(Said { high_watermark, log_start_offset: 0 })
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_step_reads_all_and_tells_what_changed() {
        let sessions = FetchSessions::new(10);
        let full = sessions.step((0, 0), vec![target(0, 0), target(1, 0)], &[], NOW).unwrap();
        assert!(full.session_id != 0 && !full.incremental);
        assert_eq!(sessions.reply(&full, &[(said(5), true), (said(0), false)]), [true, true]);

        // Partition 0 had records, so it comes last now.
        let next = sessions.step((full.session_id, 1), vec![target(0, 5)], &[], NOW).unwrap();
        let knowing = |target: Target, high_watermark| Target { said: said(high_watermark), ..target };
        assert_eq!(next.targets, [knowing(target(1, 0), 0), knowing(target(0, 5), 5)]);
        assert!(next.targets[1].is_behind(said(6).unwrap()) && !next.targets[1].is_behind(said(5).unwrap()));
        assert_eq!(sessions.reply(&next, &[(said(0), false), (said(5), false)]), [false, false]);

        let next = sessions.step((full.session_id, 2), vec![], &[], NOW).unwrap();
        assert_eq!(sessions.reply(&next, &[(said(1), false), (None, false)]), [true, true]);
    }

    #[test]
    fn a_forgotten_partition_is_not_read() {
        let sessions = FetchSessions::new(10);
        let full = sessions.step((0, 0), vec![target(0, 0), target(1, 0)], &[], NOW).unwrap();
        let forgotten = [(TopicKey::Name(Str::from("t")), 0)];
        let next = sessions.step((full.session_id, 1), vec![], &forgotten, NOW).unwrap();
        assert_eq!(next.targets.iter().map(|target| target.partition).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_wrong_epoch_or_id_is_refused() {
        let sessions = FetchSessions::new(10);
        let id = sessions.step((0, 0), vec![target(0, 0)], &[], NOW).unwrap().session_id;
        assert_eq!(sessions.step((id, 2), vec![], &[], NOW).unwrap_err(), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(sessions.step((id ^ 1, 1), vec![], &[], NOW).unwrap_err(), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        sessions.step((id, -1), vec![target(0, 0)], &[], NOW).unwrap();
        assert_eq!(sessions.step((id, 1), vec![], &[], NOW).unwrap_err(), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }

    #[test]
    fn a_full_cache_gives_up_only_sessions_at_rest() {
        let sessions = FetchSessions::new(1);
        let first = sessions.step((0, 0), vec![target(0, 0)], &[], NOW).unwrap().session_id;
        assert_eq!(sessions.step((0, 0), vec![target(0, 0)], &[], NOW).unwrap().session_id, 0);
        let later = NOW + EVICTABLE_AFTER + Duration::from_secs(1);
        let second = sessions.step((0, 0), vec![target(0, 0)], &[], later).unwrap().session_id;
        assert!(second != 0 && second != first);
    }

    #[test]
    fn who_waits_is_told_when_the_next_step_has_come() {
        let sessions = FetchSessions::new(10);
        let full = sessions.step((0, 0), vec![target(0, 0)], &[], NOW).unwrap();
        let waiter = Waiter::new();
        assert!(!sessions.is_overtaken(&full, &waiter));
        let next = sessions.step((full.session_id, 1), vec![target(1, 0)], &[], NOW).unwrap();
        assert!(waiter.woken().now_or_never().is_some() && sessions.is_overtaken(&full, &waiter));
        // What the old one says is not taken for known by the new one.
        assert_eq!(sessions.reply(&full, &[(said(5), false)]), [true]);
        assert_eq!(sessions.reply(&next, &[(said(5), false), (said(0), false)]), [true, true]);
        assert!(!sessions.is_overtaken(&next, &waiter));
    }

    #[test]
    fn a_session_keeps_no_frame_in_memory() {
        let sessions = FetchSessions::new(10);
        let frame = bytes::Bytes::from(b"tide and a long frame behind it".to_vec());
        let topic = TopicKey::Name(Str::from_utf8_lossy(frame.slice(..4)));
        let named = Target { topic, ..target(0, 0) };
        let id = sessions.step((0, 0), vec![named.clone()], &[], NOW).unwrap().session_id;
        drop(sessions.step((id, 1), vec![Target { fetch_offset: 9, ..named }], &[], NOW).unwrap());
        assert!(frame.is_unique());
        assert_eq!(sessions.step((id, 2), vec![], &[], NOW).unwrap().targets[0].fetch_offset, 9);
    }

    #[test]
    fn all_sessions_together_hold_only_so_many_partitions() {
        let sessions = FetchSessions { most_partitions: 5, ..FetchSessions::new(10) };
        let many = |count| (0..count).map(|n| target(n, 0)).collect::<Vec<_>>();
        assert_eq!(sessions.step((0, 0), many(6), &[], NOW).unwrap().session_id, 0);
        let first = sessions.step((0, 0), many(3), &[], NOW).unwrap().session_id;
        assert_eq!(sessions.step((0, 0), many(3), &[], NOW).unwrap().session_id, 0);
        assert_eq!(sessions.step((first, 1), vec![], &[], NOW).unwrap().targets.len(), 3);
        let error = sessions.step((first, 2), many(4), &[], NOW).unwrap_err();
        assert_eq!(error, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert!(sessions.step((0, 0), many(5), &[], NOW).unwrap().session_id != 0);
    }
}
