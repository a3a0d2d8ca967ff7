//! What a follower asks one leader for: a state machine without I/O, and the follower's side of a fetch session (KIP-227).
//!
//! A [`FetchPlan`] keeps the partitions that are fetched of one leader and how far each is. [`FetchPlan::request`] makes the
//! next request: all that is ready where there is no session yet, and within one only what has changed since it was told,
//! and what is to be left out from now on. [`FetchPlan::answered`] takes the answer's session, and
//! [`FetchPlan::was_asked`] tells for which position a partition's data is.
//!
//! A request may go out while one before it is not answered yet, so that a new partition need not wait for as long as the
//! leader waits for records; requests have numbers, and an answer is not for what a later request has told otherwise.
//! The first request of a session is not to be waited with, for until it is answered no other can go out.
//!
//! A partition whose fetch failed rests, and is left out of the session meanwhile; one whose log failed is not fetched until
//! it is followed anew. One that is throttled is held back, and left out too, while the follower's quota is exceeded
//! ([`FetchPlan::hold_back`]), unless it had all that is safe when records came for it last.
//!
//! Those that lag may be left out for a while ([`FetchPlan::rest_from_catching_up`]), so that a task that catches up leaves
//! the machine to others; what has all that is safe is fetched on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::following::Position;
use crate::common::ids::{NodeId, Offset, Uuid};
use crate::config::{Values, broker as key};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, ReplicaState};

/// A partition, as a fetch names it.
pub(super) type Key = (Uuid, i32);

/// How much to ask for, and how long the leader may wait (`replica.fetch.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// `replica.fetch.min.bytes`
    pub min_bytes: i32,
    /// `replica.fetch.wait.max.ms`
    pub max_wait_ms: i32,
    /// `replica.fetch.max.bytes`
    pub partition_max_bytes: i32,
    /// `replica.fetch.response.max.bytes`
    pub max_bytes: i32,
    /// `replica.fetch.backoff.ms`
    pub backoff: Duration,
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits {
            min_bytes: 1,
            max_wait_ms: 500,
            partition_max_bytes: 1 << 20,
            max_bytes: 10 << 20,
            backoff: Duration::from_secs(1),
        }
    }
}

impl FetchLimits {
    /// As a broker's keys say.
    pub fn of(values: &Values) -> FetchLimits {
        let int = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
        FetchLimits {
            min_bytes: int(values.get(key::REPLICA_FETCH_MIN_BYTES)),
            max_wait_ms: int(values.get(key::REPLICA_FETCH_WAIT_MAX_MS)),
            partition_max_bytes: int(values.get(key::REPLICA_FETCH_MAX_BYTES)),
            max_bytes: int(values.get(key::REPLICA_FETCH_RESPONSE_MAX_BYTES)),
            backoff: Duration::from_millis(u64::try_from(values.get(key::REPLICA_FETCH_BACKOFF_MS)).unwrap_or(0)),
        }
    }
}

/// A partition that is fetched.
#[derive(Debug, Clone)]
struct Followed {
    position: Position,
    /// What the leader was last told.
    told: Option<Position>,
    /// The number of the request that told it.
    told_in: u64,
    /// Whether the session has it.
    in_session: bool,
    /// Not before.
    rests_until: Option<Duration>,
    /// How often it had to rest since it last came on.
    rests: u32,
    /// Whether it is held back.
    is_held: bool,
    /// How far it was behind what is safe when records came last.
    lag: Option<Offset>,
}

impl Followed {
    /// Whether it may be asked for.
    fn is_ready(&self) -> bool {
        self.rests_until.is_none() && !self.is_held
    }
}

/// The first rest of a partition; each further one is twice as long, up to `replica.fetch.backoff.ms`. Kafka's followers rest
/// for all of it each time; but most often the leader is only about to hear that it leads.
const FIRST_REST: Duration = Duration::from_millis(5);

/// What is fetched of one leader.
#[derive(Debug)]
pub(super) struct FetchPlan {
    limits: FetchLimits,
    /// The id, 0 for none, and the epoch of the next request.
    session: (i32, i32),
    /// Whether a session was asked for, and given or not.
    settled: bool,
    /// The number of the last request.
    number: u64,
    followed: HashMap<Key, Followed>,
    /// Those whose position is not what the session knows, in the order in which they changed.
    changed: Vec<Key>,
    /// Those that the session is to forget.
    left: HashSet<Key>,
    /// Those that rest, by when that ends.
    resting: BTreeMap<Duration, Vec<Key>>,
    /// Those that are held back while the quota is exceeded.
    throttled: HashSet<Key>,
    /// How many are held back now.
    held: usize,
    /// Those that were behind what is safe when records came last.
    lagging: HashSet<Key>,
}

impl FetchPlan {
    pub(super) fn new(limits: FetchLimits) -> FetchPlan {
        FetchPlan {
            limits,
            session: (0, 0),
            settled: false,
            number: 0,
            followed: HashMap::new(),
            changed: Vec::new(),
            left: HashSet::new(),
            resting: BTreeMap::new(),
            throttled: HashSet::new(),
            held: 0,
            lagging: HashSet::new(),
        }
    }

    /// Fetches a partition from `position` on.
    pub(super) fn follow(&mut self, key: Key, position: Position, is_throttled: bool) {
        let in_session = self.leave(key) || self.left.contains(&key);
        self.left.remove(&key);
        let followed = Followed {
            position,
            told: None,
            told_in: 0,
            in_session,
            rests_until: None,
            rests: 0,
            is_held: false,
            lag: None,
        };
        self.followed.insert(key, followed);
        self.changed.push(key);
        if is_throttled {
            self.throttled.insert(key);
        }
    }

    /// Fetches a partition no more; tells whether the session still has it.
    pub(super) fn leave(&mut self, key: Key) -> bool {
        self.throttled.remove(&key);
        self.lagging.remove(&key);
        let Some(left) = self.followed.remove(&key) else { return false };
        self.held -= usize::from(left.is_held);
        if left.in_session {
            self.left.insert(key);
        }
        left.in_session
    }

    /// Those that are throttled from now on.
    pub(super) fn set_throttled(&mut self, throttled: HashSet<Key>) {
        for key in std::mem::replace(&mut self.throttled, throttled) {
            if !self.throttled.contains(&key) {
                self.hold(key, false);
            }
        }
    }

    /// So many records came for a partition, or none: it is behind what is safe by `lag` now. Tells whether it comes nearer
    /// by that: less than half as many were written meanwhile.
    pub(super) fn lags(&mut self, key: Key, lag: Offset, came: Offset) -> bool {
        let Some(followed) = self.followed.get_mut(&key).filter(|known| came > 0 || known.lag.is_none()) else {
            return false;
        };
        let before = followed.lag.replace(lag);
        if lag > 0 {
            self.lagging.insert(key);
        } else {
            self.lagging.remove(&key);
        }
        before.is_some_and(|before| before - lag > came / 2)
    }

    /// Whether the last request asks for what lags: its session has some of it.
    pub(super) fn catches_up(&self) -> bool {
        let is_in_session = |key| self.followed.get(key).is_some_and(|followed| followed.in_session);
        self.lagging.iter().any(is_in_session)
    }

    /// How many lag.
    pub(super) fn lagging(&self) -> usize {
        self.lagging.len()
    }

    /// Leaves out until then what lags.
    pub(super) fn rest_from_catching_up(&mut self, until: Duration) {
        let lagging: Vec<Key> = self.lagging.iter().copied().collect();
        for key in lagging {
            if let Some(followed) = self.followed.get_mut(&key).filter(|known| known.rests_until.is_none()) {
                followed.rests_until = Some(until);
                if std::mem::take(&mut followed.in_session) {
                    self.left.insert(key);
                }
                self.resting.entry(until).or_default().push(key);
            }
        }
    }

    /// Holds back what is throttled and lags, where the quota `is_exceeded`; lets it go on, where it is not.
    pub(super) fn hold_back(&mut self, is_exceeded: impl FnOnce() -> bool) {
        if self.throttled.is_empty() {
            return;
        }
        let is_exceeded = is_exceeded();
        if !is_exceeded && self.held == 0 {
            return;
        }
        for key in self.throttled.iter().copied().collect::<Vec<_>>() {
            let lags = self.followed.get(&key).is_some_and(|followed| followed.lag.is_none_or(|lag| lag > 0));
            self.hold(key, is_exceeded && lags);
        }
    }

    fn hold(&mut self, key: Key, is_held: bool) {
        let Some(followed) = self.followed.get_mut(&key).filter(|known| known.is_held != is_held) else { return };
        followed.is_held = is_held;
        if is_held {
            self.held += 1;
            if std::mem::take(&mut followed.in_session) {
                self.left.insert(key);
            }
        } else {
            self.held -= 1;
            self.changed.push(key);
        }
    }

    /// Whether something is held back.
    pub(super) fn holds_back(&self) -> bool {
        self.held > 0
    }

    /// A partition has come on.
    pub(super) fn moved(&mut self, key: Key, position: Position) {
        if let Some(followed) = self.followed.get_mut(&key) {
            // The high watermark alone is no news: the session knows what it told.
            let same = Position { high_watermark: position.high_watermark, ..followed.position };
            followed.position = position;
            followed.rests = 0;
            if same != position {
                self.changed.push(key);
            }
        }
    }

    /// A partition could not be fetched: it rests.
    pub(super) fn rest(&mut self, key: Key, now: Duration) {
        if let Some(followed) = self.followed.get_mut(&key) {
            let until = now + (FIRST_REST * 2u32.saturating_pow(followed.rests.min(16))).min(self.limits.backoff);
            followed.rests += 1;
            if std::mem::take(&mut followed.in_session) {
                self.left.insert(key);
            }
            (followed.rests_until, followed.told) = (Some(until), None);
            self.resting.entry(until).or_default().push(key);
        }
    }

    /// The leader could not be asked: all rest, and the session is over.
    pub(super) fn rest_all(&mut self, now: Duration) {
        self.begin_anew();
        for key in self.followed.keys().copied().collect::<Vec<_>>() {
            self.rest(key, now);
        }
    }

    /// When the next partition has rested.
    pub(super) fn next_rested(&self) -> Option<Duration> {
        self.resting.keys().next().copied()
    }

    /// Whether another request may go out before the last one is answered, and has something to tell.
    pub(super) fn has_more(&mut self, now: Duration) -> bool {
        self.end_rests(now);
        let ready = |key| self.followed.get(key).is_some_and(Followed::is_ready);
        self.session.0 != 0 && (!self.left.is_empty() || self.changed.iter().any(ready))
    }

    /// The next request and its number, `None` where nothing is ready.
    pub(super) fn request(
        &mut self,
        (local, broker_epoch): (NodeId, i64),
        now: Duration,
    ) -> Option<(u64, FetchRequest)> {
        self.end_rests(now);
        let incremental = self.session.0 != 0;
        let mut wanted = std::mem::take(&mut self.changed);
        if !incremental {
            wanted = self.followed.keys().copied().collect();
        }
        if !self.followed.values().any(Followed::is_ready) {
            return None;
        }
        // One topic's partitions together; and each once.
        wanted.sort_unstable();
        wanted.dedup();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for key in wanted {
            let Some(followed) = self.followed.get_mut(&key).filter(|followed| followed.is_ready()) else {
                continue;
            };
            let position = followed.position;
            // A leader adds first and forgets then: who is told of in one request as both is gone.
            self.left.remove(&key);
            (followed.told, followed.told_in, followed.in_session) = (Some(position), self.number + 1, true);
            let partition = FetchPartition {
                partition: key.1,
                current_leader_epoch: position.leader_epoch,
                fetch_offset: position.offset,
                last_fetched_epoch: position.last_fetched_epoch,
                log_start_offset: position.log_start_offset,
                partition_max_bytes: self.limits.partition_max_bytes,
                high_watermark: position.high_watermark,
                ..Default::default()
            };
            match topics.last_mut() {
                Some(topic) if topic.topic_id == key.0 => topic.partitions.push(partition),
                _ => topics.push(FetchTopic { topic_id: key.0, partitions: vec![partition], ..Default::default() }),
            }
        }
        let (session_id, session_epoch) = self.session;
        if incremental {
            self.session.1 = session_epoch.checked_add(1).unwrap_or(1);
        }
        self.number += 1;
        let request = FetchRequest {
            replica_state: ReplicaState { replica_id: local, replica_epoch: broker_epoch },
            max_wait_ms: if self.settled { self.limits.max_wait_ms } else { 0 },
            min_bytes: self.limits.min_bytes,
            max_bytes: self.limits.max_bytes,
            session_id,
            session_epoch,
            topics,
            forgotten_topics_data: self.forgotten(session_id),
            ..Default::default()
        };
        Some((self.number, request))
    }

    fn forgotten(&mut self, session_id: i32) -> Vec<ForgottenTopic> {
        let left = std::mem::take(&mut self.left);
        if session_id == 0 || left.is_empty() {
            return Vec::new();
        }
        let mut left: Vec<Key> = left.into_iter().collect();
        left.sort_unstable();
        let topics = left.chunk_by(|a, b| a.0 == b.0).map(|topic| ForgottenTopic {
            topic_id: topic[0].0,
            partitions: topic.iter().map(|key| key.1).collect(),
            ..Default::default()
        });
        topics.collect()
    }

    fn end_rests(&mut self, now: Duration) {
        while let Some(entry) = self.resting.first_entry().filter(|entry| *entry.key() <= now) {
            for key in entry.remove() {
                // It may have been followed anew, or rest again, since.
                if let Some(followed) = self.followed.get_mut(&key)
                    && followed.rests_until.is_some_and(|until| until <= now)
                {
                    followed.rests_until = None;
                    self.changed.push(key);
                }
            }
        }
    }

    /// Takes the session of an answer.
    ///
    /// # Errors
    /// What the leader refused the whole request with. A session that it does not know is begun anew at once, and is none.
    pub(super) fn answered(&mut self, code: ErrorCode, session_id: i32) -> Result<(), ErrorCode> {
        match code {
            ErrorCode::NONE => {
                match session_id {
                    id if id == self.session.0 => {}
                    0 => self.begin_anew(),
                    id => self.session = (id, 1),
                }
                self.settled = true;
                Ok(())
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR => {
                self.begin_anew();
                Ok(())
            }
            code => Err(code),
        }
    }

    fn begin_anew(&mut self) {
        (self.session, self.settled) = ((0, 0), false);
        self.left.clear();
        self.followed.values_mut().for_each(|followed| followed.in_session = false);
    }

    /// The position for which the answer to request `number` holds a partition's data; `None` where that is another than it
    /// has now, or it is not followed.
    pub(super) fn was_asked(&self, key: Key, number: u64) -> Option<Position> {
        let followed = self.followed.get(&key).filter(|followed| followed.told_in <= number)?;
        let told = followed.told.filter(|_| followed.rests_until.is_none())?;
        (told.offset == followed.position.offset && told.leader_epoch == followed.position.leader_epoch).then_some(told)
    }
}
