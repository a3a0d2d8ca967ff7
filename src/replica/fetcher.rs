//! Fetching: a task for each leader that something is followed of.
//!
//! [`Fetchers`] knows which partition is fetched of whom, and tells the task of that leader. A task asks, waits for the
//! answer, gives each partition what came for it, and asks again; what to ask for is its [`FetchPlan`]'s to say. Where
//! something new is to be fetched while the leader waits for records, that is asked for behind, and the leader waits no
//! longer. What lags does not take all of the machine: it [`Rests`], while the others are fetched on, and only as long as it
//! comes nearer all the same. Where a leader cannot be reached, or refuses, the partitions rest for up to
//! `replica.fetch.backoff.ms`: the next image will tell more.
//!
//! How a leader is reached is behind [`Leaders`]: over a connection ([`link`](super::link)), or in a test by a call.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;
use super::error::FollowError;
use super::following::{Given, Position};
use super::lost::LostLeaders;
use super::rests::Rests;
use super::session::{FetchLimits, FetchPlan, Key};
use super::throttle::Throttles;
use crate::common::clock::SharedClock;
use crate::common::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};
use crate::common::shutdown::Shutdown;
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, PartitionData};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::protocol::{ErrorCode, Str};

/// An answer that is under way, or why there is none.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, LinkError>> + Send + 'a>>;

/// Why a leader could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(pub String);

/// The way to one leader.
pub trait LeaderLink: Send + Sync + fmt::Debug {
    /// Fetches.
    fn fetch(&self, request: FetchRequest) -> Asking<'_, FetchResponse>;
    /// Asks where its logs begin and end.
    fn list_offsets(&self, request: ListOffsetsRequest) -> Asking<'_, ListOffsetsResponse>;
}

/// The ways to all leaders.
pub trait Leaders: Send + Sync + fmt::Debug {
    /// A way to `leader`; it need not lead anywhere yet.
    fn link(&self, leader: NodeId) -> Arc<dyn LeaderLink>;
}

/// What fetchers go by.
#[derive(Clone)]
pub(super) struct FetcherRules {
    pub(super) local: NodeId,
    pub(super) local_epoch: Arc<dyn Fn() -> i64 + Send + Sync>,
    pub(super) leaders: Arc<dyn Leaders>,
    pub(super) clock: SharedClock,
    pub(super) waits: SharedClock,
    /// What is throttled goes by `clock`, as all that a leader gives.
    pub(super) throttles: Arc<Throttles>,
    pub(super) shutdown: Shutdown,
    /// `num.replica.fetchers`
    pub(super) fetchers: i32,
    pub(super) limits: FetchLimits,
}

impl fmt::Debug for FetcherRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetcherRules").field("local", &self.local).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Which partition is fetched of whom.
#[derive(Debug, Default)]
pub(super) struct Fetchers {
    state: Mutex<State>,
    /// Of whom nothing could be fetched just now.
    pub(super) lost: Arc<LostLeaders>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until they are started.
    rules: Option<Arc<FetcherRules>>,
    tasks: HashMap<(NodeId, i32), Arc<Fetcher>>,
    /// What is followed, of whom, and in which epoch.
    followed: HashMap<TopicPartition, (NodeId, LeaderEpoch, Arc<Partition>)>,
}

/// One task, as the others see it.
#[derive(Debug, Default)]
struct Fetcher {
    changes: Mutex<Vec<Change>>,
    changed: Notify,
}

#[derive(Debug)]
enum Change {
    Follow(Arc<Partition>),
    Leave(Key),
    /// What is throttled, or how much.
    Throttles,
}

impl Fetcher {
    fn tell(&self, change: Change) {
        self.changes.lock().push(change);
        self.changed.notify_one();
    }
}

impl Fetchers {
    /// Starts to fetch what was to be followed so far, and all that will be.
    pub(super) fn start(&self, rules: FetcherRules) {
        let mut state = self.state.lock();
        state.rules = Some(Arc::new(rules));
        let waiting: Vec<_> =
            state.followed.values().map(|(leader, _, partition)| (*leader, partition.clone())).collect();
        for (leader, partition) in waiting {
            state.tell(leader, partition.id(), Change::Follow(partition.clone()), &self.lost);
        }
    }

    /// Fetches a partition of `leader`, in its present epoch.
    pub(super) fn follow(&self, leader: NodeId, partition: &Arc<Partition>) {
        let mut state = self.state.lock();
        let epoch = partition.leader_epoch();
        match state.followed.get(partition.id()) {
            Some((known, known_epoch, _)) if *known == leader && *known_epoch == epoch => return,
            Some((known, ..)) if *known != leader => state.leave(partition.id(), &self.lost),
            _ => {}
        }
        state.followed.insert(partition.id().clone(), (leader, epoch, partition.clone()));
        state.tell(leader, partition.id(), Change::Follow(partition.clone()), &self.lost);
    }

    /// Tells all tasks that something else is throttled, or by other rates.
    pub(super) fn throttles_changed(&self) {
        self.state.lock().tasks.values().for_each(|fetcher| fetcher.tell(Change::Throttles));
    }

    /// Fetches a partition no more.
    pub(super) fn leave(&self, id: &TopicPartition) {
        self.state.lock().leave(id, &self.lost);
    }
}

impl State {
    fn leave(&mut self, id: &TopicPartition, lost: &Arc<LostLeaders>) {
        if let Some((leader, _, partition)) = self.followed.remove(id) {
            self.tell(leader, id, Change::Leave((partition.topic_id(), id.partition)), lost);
        }
    }

    /// Tells the task of `leader` that has the partition, which is started where there is none yet.
    fn tell(&mut self, leader: NodeId, id: &TopicPartition, change: Change, lost: &Arc<LostLeaders>) {
        let Some(rules) = &self.rules else { return };
        let index = spread(id, rules.fetchers);
        let fetcher = self.tasks.entry((leader, index)).or_insert_with(|| {
            let fetcher = Arc::new(Fetcher::default());
            let task = Task {
                leader,
                link: rules.leaders.link(leader),
                rules: rules.clone(),
                fetcher: fetcher.clone(),
                lost: lost.clone(),
                plan: FetchPlan::new(rules.limits),
                partitions: HashMap::new(),
                rests: Rests::default(),
            };
            rules.shutdown.spawn(task.run());
            fetcher
        });
        fetcher.tell(change);
    }
}

/// How many requests of one task may be without an answer.
const MOST_FLYING: usize = 4;

/// A request without an answer.
struct Flight<'a> {
    number: u64,
    /// Whether it asks for what lags, which the leader has.
    catches_up: bool,
    asking: Asking<'a, FetchResponse>,
    answer: Option<Result<FetchResponse, LinkError>>,
}

/// Works on all requests under way, in their order, until the first of them has its answer.
async fn first_answer(flying: &mut VecDeque<Flight<'_>>) -> Option<(u64, Result<FetchResponse, LinkError>)> {
    poll_fn(|context| {
        for flight in flying.iter_mut().filter(|flight| flight.answer.is_none()) {
            if let Poll::Ready(answer) = flight.asking.as_mut().poll(context) {
                flight.answer = Some(answer);
            }
        }
        match flying.front() {
            Some(flight) if flight.answer.is_none() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
    let flight = flying.pop_front()?;
    flight.answer.map(|answer| (flight.number, answer))
}

/// Which of a leader's fetchers has a partition, as Kafka spreads them.
fn spread(id: &TopicPartition, fetchers: i32) -> i32 {
    // Java's hash of the name; 31 times that and the index.
    let name = id.topic.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let hash = name.wrapping_mul(31).wrapping_add(id.partition);
    // Java's `abs`, which gives 0 for the least of all.
    hash.checked_abs().unwrap_or(0) % fetchers.max(1)
}

/// One task: what it fetches of one leader.
struct Task {
    leader: NodeId,
    link: Arc<dyn LeaderLink>,
    rules: Arc<FetcherRules>,
    fetcher: Arc<Fetcher>,
    lost: Arc<LostLeaders>,
    plan: FetchPlan,
    partitions: HashMap<Key, Arc<Partition>>,
    rests: Rests,
}

impl Task {
    async fn run(mut self) {
        let shutdown = self.rules.shutdown.clone();
        tokio::select! {
            () = shutdown.begun() => {}
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        let link = self.link.clone();
        // Requests that are not answered yet, in their order.
        let mut flying: VecDeque<Flight<'_>> = VecDeque::new();
        loop {
            self.take_changes().await;
            let now = self.rules.waits.monotonic();
            let (quota, clock) = (&self.rules.throttles.follower, &self.rules.clock);
            self.plan.hold_back(|| quota.free_at(clock.monotonic()).is_some());
            // What lags would be in the answer to a second request as well: it went out before the first had its own.
            let may_follow = flying.len() < MOST_FLYING && !flying.iter().any(|flight| flight.catches_up);
            if flying.is_empty() || (may_follow && self.plan.has_more(now)) {
                let own = (self.rules.local, (self.rules.local_epoch)());
                match self.plan.request(own, now) {
                    Some((number, request)) => {
                        let catches_up = self.plan.catches_up();
                        flying.push_back(Flight { number, catches_up, asking: link.fetch(request), answer: None });
                    }
                    None if flying.is_empty() => {
                        self.more_may_be_asked(now).await;
                        continue;
                    }
                    None => {}
                }
            }
            tokio::select! {
                biased;
                answer = first_answer(&mut flying) => {
                    if let Some((number, answer)) = answer && !self.answered(number, answer).await {
                        flying.clear();
                    }
                    self.rest_from_catching_up();
                }
                () = self.more_may_be_asked(now) => {}
            }
        }
    }

    /// Leaves the machine to others for a while, where it has worked long enough for what lags.
    fn rest_from_catching_up(&mut self) {
        if let Some(rest) = self.rests.due(self.plan.lagging()) {
            self.plan.rest_from_catching_up(self.rules.waits.monotonic() + rest);
        }
    }

    /// Waits until there may be something else to ask for.
    async fn more_may_be_asked(&self, now: Duration) {
        let rested = async {
            match self.plan.next_rested() {
                Some(at) => self.rules.waits.sleep(at.saturating_sub(now)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = rested => {}
            () = self.fetcher.changed.notified() => {}
            () = self.quota_free() => {}
        }
    }

    /// Ends when what is held back may be fetched again; never, where nothing is.
    async fn quota_free(&self) {
        if !self.plan.holds_back() {
            return pending().await;
        }
        if let Some(at) = self.rules.throttles.follower.free_at(self.rules.clock.monotonic()) {
            self.rules.clock.sleep_until(at).await;
        }
    }

    async fn take_changes(&mut self) {
        let changes = std::mem::take(&mut *self.fetcher.changes.lock());
        for change in changes {
            match change {
                Change::Leave(key) => {
                    self.plan.leave(key);
                    self.partitions.remove(&key);
                }
                Change::Follow(partition) => self.follow(partition).await,
                Change::Throttles => {
                    let throttled = |(key, partition): (&Key, &Arc<Partition>)| {
                        partition.is_throttled_as_follower().then_some(*key)
                    };
                    self.plan.set_throttled(self.partitions.iter().filter_map(throttled).collect());
                }
            }
        }
    }

    async fn follow(&mut self, partition: Arc<Partition>) {
        let key = (partition.topic_id(), partition.id().partition);
        let (working, now) = (partition.clone(), self.rules.clock.now());
        // It may cut the log.
        let begun = self.rules.shutdown.blocking(move || working.begin_following(now)).await;
        match begun {
            Some(Ok(position)) => {
                let (id, leader, offset) = (partition.id(), self.leader, position.offset);
                tracing::debug!(partition = %id, leader, offset, "a partition is followed");
                self.plan.follow(key, position, partition.is_throttled_as_follower());
                self.partitions.insert(key, partition);
            }
            // It leads by now, or the broker ends.
            Some(Err(FollowError::Overtaken)) | None => {}
            Some(Err(error)) => self.give_up(key, &partition, &error),
        }
    }

    fn give_up(&mut self, key: Key, partition: &Partition, error: &FollowError) {
        let id = partition.id();
        tracing::error!(partition = %id, %error, "a partition is not followed any more, until its leader epoch changes");
        self.plan.leave(key);
        self.partitions.remove(&key);
    }

    /// Takes an answer; `false` where it says that those to come are worth nothing.
    async fn answered(&mut self, number: u64, answer: Result<FetchResponse, LinkError>) -> bool {
        let now = self.rules.waits.monotonic();
        let response = match answer {
            Ok(response) => {
                if self.lost.found(self.leader) {
                    tracing::info!(leader = self.leader, "a leader is fetched from again");
                }
                response
            }
            Err(error) => {
                if self.lost.lost(self.leader, now) {
                    tracing::warn!(leader = self.leader, %error, "a leader cannot be fetched from");
                }
                self.plan.rest_all(now);
                return false;
            }
        };
        if let Err(code) = self.plan.answered(response.error_code, response.session_id) {
            tracing::warn!(leader = self.leader, %code, "a leader refuses to be fetched from");
            self.plan.rest_all(now);
            return false;
        }
        // What has changed meanwhile counts before what was fetched.
        self.take_changes().await;
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let asked = self.plan.was_asked(key, number);
                if let (Some(at), Some(partition)) = (asked, self.partitions.get(&key).cloned()) {
                    self.give(key, &partition, at, data).await;
                }
            }
        }
        response.error_code.is_none()
    }

    /// Gives a partition what came for it.
    async fn give(&mut self, key: Key, partition: &Arc<Partition>, at: Position, data: PartitionData) {
        let now = self.rules.clock.now();
        let out_of_range = data.error_code == ErrorCode::OFFSET_OUT_OF_RANGE;
        let result = match data.error_code {
            ErrorCode::NONE if data.diverging_epoch.end_offset >= 0 => {
                let end = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
                let working = partition.clone();
                self.blocking(move || working.truncate_diverging(&at, end, now)).await
            }
            ErrorCode::NONE => {
                let given = Given {
                    records: data.records.unwrap_or_default().0,
                    high_watermark: data.high_watermark,
                    log_start_offset: data.log_start_offset,
                };
                let (bytes, high_watermark) = (given.records.len(), given.high_watermark);
                let begun = self.rules.waits.monotonic();
                let result = partition.append_given(&at, given, now);
                if let Ok(position) = &result {
                    let lag = high_watermark.saturating_sub(position.offset);
                    let comes_nearer = self.plan.lags(key, lag, position.offset - at.offset);
                    if lag > 0 && comes_nearer {
                        self.rests.worked(self.rules.waits.monotonic().saturating_sub(begun));
                    }
                    if partition.is_throttled_as_follower() {
                        self.rules.throttles.follower.record(bytes, self.rules.clock.monotonic());
                    }
                }
                result
            }
            ErrorCode::OFFSET_OUT_OF_RANGE => match self.leader_log(partition, at.leader_epoch).await {
                Ok(log) => {
                    let working = partition.clone();
                    self.blocking(move || working.follow_within(&at, log, now)).await
                }
                Err(reason) => {
                    tracing::info!(partition = %partition.id(), leader = self.leader, reason, "where the leader's log is cannot be asked");
                    return self.rest(key);
                }
            },
            code => {
                let (id, leader) = (partition.id(), self.leader);
                tracing::debug!(partition = %id, leader, %code, "a partition cannot be fetched");
                return self.rest(key);
            }
        };
        match result {
            // The leader could not serve it, and yet its log holds the offset: it may be another by now.
            Ok(position) if out_of_range && position == at => self.rest(key),
            Ok(position) => self.plan.moved(key, position),
            // Whoever changed it has told, or will.
            Err(FollowError::Overtaken) => self.rest(key),
            Err(error @ FollowError::Refused(_)) => {
                let (id, leader, offset) = (partition.id(), self.leader, at.offset);
                tracing::error!(partition = %id, leader, offset, %error, "what a leader gave is refused");
                self.rest(key);
            }
            Err(error) => self.give_up(key, partition, &error),
        }
    }

    fn rest(&mut self, key: Key) {
        self.plan.rest(key, self.rules.waits.monotonic());
    }

    async fn blocking(
        &self,
        work: impl FnOnce() -> Result<Position, FollowError> + Send + 'static,
    ) -> Result<Position, FollowError> {
        self.rules.shutdown.blocking(work).await.unwrap_or(Err(FollowError::Overtaken))
    }

    /// Where the leader's log begins and ends.
    async fn leader_log(
        &self,
        partition: &Partition,
        leader_epoch: LeaderEpoch,
    ) -> Result<std::ops::Range<Offset>, String> {
        const LATEST: i64 = -1;
        const EARLIEST: i64 = -2;
        let end = self.leader_offset(partition, leader_epoch, LATEST).await?;
        let start = self.leader_offset(partition, leader_epoch, EARLIEST).await?;
        Ok(start..end)
    }

    async fn leader_offset(
        &self,
        partition: &Partition,
        current_leader_epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<Offset, String> {
        let id = partition.id();
        let asked = ListOffsetsPartition { partition_index: id.partition, current_leader_epoch, timestamp };
        let request = ListOffsetsRequest {
            replica_id: self.rules.local,
            topics: vec![ListOffsetsTopic { name: Str::from(&*id.topic), partitions: vec![asked] }],
            ..Default::default()
        };
        let response = self.link.list_offsets(request).await.map_err(|error| error.to_string())?;
        let told = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        match told {
            Some(told) if told.error_code == ErrorCode::NONE && told.offset >= 0 => Ok(told.offset),
            Some(told) => Err(told.error_code.to_string()),
            None => Err("the leader tells nothing of it".to_owned()),
        }
    }
}
