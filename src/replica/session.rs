//! What a follower asks one leader for: a state machine without I/O, and the follower's side of a fetch session (KIP-227).
//!
//! A [`FetchPlan`] keeps the partitions that are fetched of one leader and how far each is. [`FetchPlan::request`] makes the
//! next request: all that is ready where there is no session yet, and within one only what has changed since it was told,
//! and what is to be left out from now on. [`FetchPlan::answered`] takes the answer's session, and
//! [`FetchPlan::was_asked`] tells for which position a partition's data is.
//!
//! A partition whose fetch failed rests, and is left out of the session meanwhile; one whose log failed is not fetched until
//! it is followed anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::following::Position;
use crate::common::ids::{NodeId, Uuid};
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
    /// Whether the session has it.
    in_session: bool,
    /// Not before.
    rests_until: Option<Duration>,
}

/// What is fetched of one leader.
#[derive(Debug)]
pub(super) struct FetchPlan {
    limits: FetchLimits,
    /// The id, 0 for none, and the epoch of the next request.
    session: (i32, i32),
    followed: HashMap<Key, Followed>,
    /// Those whose position is not what the session knows, in the order in which they changed.
    changed: Vec<Key>,
    /// Those that the session is to forget.
    left: HashSet<Key>,
    /// Those that rest, by when that ends.
    resting: BTreeMap<Duration, Vec<Key>>,
}

impl FetchPlan {
    pub(super) fn new(limits: FetchLimits) -> FetchPlan {
        FetchPlan {
            limits,
            session: (0, 0),
            followed: HashMap::new(),
            changed: Vec::new(),
            left: HashSet::new(),
            resting: BTreeMap::new(),
        }
    }

    /// Fetches a partition from `position` on.
    pub(super) fn follow(&mut self, key: Key, position: Position) {
        let in_session = self.leave(key) || self.left.contains(&key);
        self.left.remove(&key);
        self.followed.insert(key, Followed { position, told: None, in_session, rests_until: None });
        self.changed.push(key);
    }

    /// Fetches a partition no more; tells whether the session still has it.
    pub(super) fn leave(&mut self, key: Key) -> bool {
        let in_session = self.followed.remove(&key).is_some_and(|followed| followed.in_session);
        if in_session {
            self.left.insert(key);
        }
        in_session
    }

    /// A partition has come on.
    pub(super) fn moved(&mut self, key: Key, position: Position) {
        if let Some(followed) = self.followed.get_mut(&key) {
            // The high watermark alone is no news: the session knows what it told.
            let same = Position { high_watermark: position.high_watermark, ..followed.position };
            followed.position = position;
            if same != position {
                self.changed.push(key);
            }
        }
    }

    /// A partition could not be fetched: it rests.
    pub(super) fn rest(&mut self, key: Key, now: Duration) {
        let until = now + self.limits.backoff;
        if let Some(followed) = self.followed.get_mut(&key) {
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

    /// The next request, `None` where nothing is ready.
    pub(super) fn request(&mut self, (local, broker_epoch): (NodeId, i64), now: Duration) -> Option<FetchRequest> {
        self.end_rests(now);
        let incremental = self.session.0 != 0;
        let mut wanted = std::mem::take(&mut self.changed);
        if !incremental {
            wanted = self.followed.keys().copied().collect();
        }
        if self.followed.values().all(|followed| followed.rests_until.is_some()) {
            return None;
        }
        // One topic's partitions together; and each once.
        wanted.sort_unstable();
        wanted.dedup();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for key in wanted {
            let Some(followed) = self.followed.get_mut(&key).filter(|followed| followed.rests_until.is_none()) else {
                continue;
            };
            let position = followed.position;
            (followed.told, followed.in_session) = (Some(position), true);
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
        Some(FetchRequest {
            replica_state: ReplicaState { replica_id: local, replica_epoch: broker_epoch },
            max_wait_ms: self.limits.max_wait_ms,
            min_bytes: self.limits.min_bytes,
            max_bytes: self.limits.max_bytes,
            session_id: self.session.0,
            session_epoch: self.session.1,
            topics,
            forgotten_topics_data: self.forgotten(),
            ..Default::default()
        })
    }

    fn forgotten(&mut self) -> Vec<ForgottenTopic> {
        let left = std::mem::take(&mut self.left);
        if self.session.0 == 0 || left.is_empty() {
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
                let (known, epoch) = self.session;
                self.session = match session_id {
                    0 => (0, 0),
                    id if known == 0 => (id, 1),
                    id => (id, epoch.checked_add(1).unwrap_or(1)),
                };
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
        self.session = (0, 0);
        self.left.clear();
        self.followed.values_mut().for_each(|followed| followed.in_session = false);
    }

    /// The position for which an answer holds a partition's data; `None` where it went another way since, or is not
    /// followed.
    pub(super) fn was_asked(&self, key: Key) -> Option<Position> {
        let followed = self.followed.get(&key)?;
        let told = followed.told.filter(|_| followed.rests_until.is_none())?;
        (told.offset == followed.position.offset && told.leader_epoch == followed.position.leader_epoch).then_some(told)
    }
}
