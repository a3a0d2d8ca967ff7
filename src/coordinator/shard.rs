//! The shard: the groups and offsets of one partition of `__consumer_offsets`. Every request enters here.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::groups::admin::{self, DeletedGroup, DescribedGroup, ListedGroup};
use super::groups::classic::group::{ClassicGroup, State};
use super::groups::classic::heartbeat::{HeartbeatRequest, heartbeat};
use super::groups::classic::join::{JoinReply, JoinRequest};
use super::groups::classic::leave::{LeaveReply, LeaveRequest};
use super::groups::classic::sync::{SyncReply, SyncRequest};
use super::groups::classic::{Context, join, leave, rebalance, sync};
use super::groups::offsets::{
    self, CommitReply, CommitRequest, DeleteOffsetsReply, FetchTopics, FetchedTopic, Offsets,
};
use super::records::{Record, RecordError};
use super::step::{After, Reply, ReplyToken, Step, WriteId, Writes};
use super::timers::{TimerKey, Timers};
use crate::common::ids::Timestamp;
use crate::config::{Values, broker};
use crate::protocol::ErrorCode;

/// The records of one write at most: an expiry of many offsets is written in pieces.
const MAX_RECORDS_A_WRITE: usize = 1_000;

/// What of the broker's configuration the coordinator heeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// group.initial.rebalance.delay.ms
    pub initial_rebalance_delay_ms: i64,
    /// group.min.session.timeout.ms
    pub min_session_timeout_ms: i64,
    /// group.max.session.timeout.ms
    pub max_session_timeout_ms: i64,
    /// group.max.size
    pub max_size: usize,
    /// offset.metadata.max.bytes
    pub offset_metadata_max: usize,
    /// offsets.retention.minutes, in milliseconds
    pub offsets_retention_ms: i64,
    /// offsets.retention.check.interval.ms
    pub offsets_retention_check_interval_ms: i64,
}

impl GroupConfig {
    /// From a broker's configuration.
    pub fn new(values: &Values) -> GroupConfig {
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        GroupConfig {
            initial_rebalance_delay_ms: values.get(broker::GROUP_INITIAL_REBALANCE_DELAY_MS),
            min_session_timeout_ms: values.get(broker::GROUP_MIN_SESSION_TIMEOUT_MS),
            max_session_timeout_ms: values.get(broker::GROUP_MAX_SESSION_TIMEOUT_MS),
            max_size: size(i64::from(values.get(broker::GROUP_MAX_SIZE))),
            offset_metadata_max: size(values.get(broker::OFFSET_METADATA_MAX_BYTES)),
            offsets_retention_ms: i64::from(values.get(broker::OFFSETS_RETENTION_MINUTES)) * 60_000,
            offsets_retention_check_interval_ms: values.get(broker::OFFSETS_RETENTION_CHECK_INTERVAL_MS),
        }
    }
}

/// What a replay met.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReplayCount {
    /// Records that were applied.
    pub applied: u64,
    /// Records of kinds that are not served yet: consumer, share and streams groups of Apache Kafka.
    pub skipped: u64,
    /// Records that could not be read.
    pub damaged: u64,
}

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupConfig,
    groups: BTreeMap<String, ClassicGroup>,
    offsets: Offsets,
    timers: Timers,
    writes: Writes,
    replayed: ReplayCount,
    /// When expired offsets are looked for; never before the shard was loaded.
    next_expiry: Option<Timestamp>,
}

impl GroupShard {
    /// A shard that knows no groups.
    pub fn new(config: GroupConfig) -> GroupShard {
        GroupShard {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            writes: Writes::default(),
            replayed: ReplayCount::default(),
            next_expiry: None,
        }
    }

    // The log, and the time.

    /// Applies a record that is in the log, at the start. One that cannot be read is skipped, and its error returned for
    /// the caller's log; the replay may go on.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), RecordError> {
        match Record::decode(key, value) {
            Ok(Some(record)) => {
                self.replayed.applied += 1;
                self.apply(&record);
                Ok(())
            }
            Ok(None) => {
                self.replayed.skipped += 1;
                Ok(())
            }
            Err(error) => {
                self.replayed.damaged += 1;
                Err(error)
            }
        }
    }

    /// What the replay met so far.
    pub fn replay_count(&self) -> ReplayCount {
        self.replayed
    }

    /// The log has been replayed: members are expected to be heard of, and expired offsets looked for.
    pub fn on_loaded(&mut self, now: Timestamp) -> Step {
        self.next_expiry = Some(now.saturating_add(self.config.offsets_retention_check_interval_ms));
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        let mut step = Step::default();
        for group_id in ids {
            self.with_group(&group_id, now, &mut step, |group, cx| {
                let members: Vec<String> = group.members().keys().cloned().collect();
                for member_id in &members {
                    cx.expect_heartbeat(group, member_id);
                }
                // group.max.size may have changed since.
                if members.len() > cx.config.max_size {
                    rebalance::prepare(group, cx);
                }
            });
        }
        step
    }

    /// The partition goes to another broker, or this one stops: all who wait are told NOT_COORDINATOR. The shard is empty
    /// afterwards.
    pub fn unload(&mut self, now: Timestamp) -> Step {
        let mut step = Step::default();
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for group_id in ids {
            self.with_group(&group_id, now, &mut step, rebalance::unload);
        }
        for after in self.writes.drain() {
            let waiting = match after {
                After::Created { replies, .. } => replies,
                After::Replaced(token, replaced) => vec![(token, Reply::Join(replaced.success))],
                After::Apply { reply, .. } => reply.into_iter().collect(),
                After::Emptied | After::Assigned { .. } => Vec::new(),
            };
            for (token, reply) in waiting {
                step.reply(token, reply.failed(ErrorCode::NOT_COORDINATOR));
            }
        }
        *self = GroupShard::new(self.config.clone());
        step
    }

    /// When [`GroupShard::on_time`] must be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.timers.next(), self.next_expiry].into_iter().flatten().min()
    }

    /// Does what is due: sessions that are over, phases whose time is up, offsets that have expired.
    pub fn on_time(&mut self, now: Timestamp) -> Step {
        let mut step = Step::default();
        while let Some(key) = self.timers.take_due(now) {
            match key {
                TimerKey::Session { group_id, member_id } => {
                    self.with_group(&group_id, now, &mut step, |group, cx| {
                        rebalance::session_is_over(group, cx, &member_id);
                    });
                }
                TimerKey::Join { group_id } => self.with_group(&group_id, now, &mut step, rebalance::join_time_is_up),
                TimerKey::Sync { group_id } => self.with_group(&group_id, now, &mut step, rebalance::sync_time_is_up),
            }
        }
        if self.next_expiry.is_some_and(|moment| moment <= now) {
            self.next_expiry = Some(now.saturating_add(self.config.offsets_retention_check_interval_ms));
            self.expire(now, &mut step);
        }
        step
    }

    /// What came of a write: its records are in the log and will stay, or they are not there.
    pub fn on_written(&mut self, id: WriteId, result: Result<(), ErrorCode>, now: Timestamp) -> Step {
        let mut step = Step::default();
        let Some(after) = self.writes.end(id) else { return step };
        match after {
            After::Emptied => {}
            After::Created { group_id, replies } => match result {
                Ok(()) => step.replies.extend(replies),
                Err(error) => {
                    self.with_group(&group_id, now, &mut step, rebalance::unload);
                    self.groups.remove(&group_id);
                    self.timers.cancel_group(&group_id);
                    for (_, reply) in &mut step.replies {
                        *reply = reply.clone().failed(error);
                    }
                    step.replies.extend(replies.into_iter().map(|(token, reply)| (token, reply.failed(error))));
                }
            },
            After::Assigned { group_id, generation_id, assignments } => {
                self.with_group(&group_id, now, &mut step, |group, cx| {
                    sync::written(group, cx, generation_id, &assignments, result);
                });
            }
            After::Replaced(token, replaced) => {
                let group = self.groups.get_mut(&replaced.group_id);
                let mut cx = Context {
                    config: &self.config,
                    timers: &mut self.timers,
                    writes: &mut self.writes,
                    step: &mut step,
                    now,
                };
                join::replaced(group, &mut cx, token, *replaced, result);
            }
            After::Apply { reply, records } => {
                for record in records.iter().filter(|_| result.is_ok()) {
                    if let Record::Group { group_id, value: None } = record {
                        // Whoever joined since the group was found empty must look for it again.
                        self.with_group(group_id, now, &mut step, rebalance::unload);
                    }
                    self.apply_at(record, now);
                }
                if let Some((token, reply)) = reply {
                    step.reply(
                        token,
                        match result {
                            Ok(()) => reply,
                            Err(error) => reply.failed(error),
                        },
                    );
                }
            }
        }
        step
    }

    fn apply(&mut self, record: &Record) {
        self.apply_at(record, 0);
    }

    fn apply_at(&mut self, record: &Record, now: Timestamp) {
        match record {
            Record::Offset { group_id, topic, partition, value } => {
                // Offsets without a group are a simple consumer's: a group that never had members.
                if value.is_some() && !self.groups.contains_key(group_id) {
                    self.groups.insert(group_id.clone(), ClassicGroup::new(group_id, now));
                }
                self.offsets.apply(group_id, topic, *partition, value.as_ref());
            }
            Record::Group { group_id, value: Some(snapshot) } => {
                self.groups.insert(group_id.clone(), ClassicGroup::from_snapshot(group_id, snapshot));
            }
            Record::Group { group_id, value: None } => {
                self.groups.remove(group_id);
                self.timers.cancel_group(group_id);
            }
        }
    }

    fn with_group(
        &mut self,
        group_id: &str,
        now: Timestamp,
        step: &mut Step,
        transition: impl FnOnce(&mut ClassicGroup, &mut Context<'_>),
    ) {
        if let Some(group) = self.groups.get_mut(group_id) {
            let (config, timers, writes) = (&self.config, &mut self.timers, &mut self.writes);
            transition(group, &mut Context { config, timers, writes, step, now });
        }
    }

    // The members of classic groups.

    /// JoinGroup. The reply may come in a later step.
    pub fn join(&mut self, token: ReplyToken, request: JoinRequest, now: Timestamp) -> Step {
        let mut step = Step::default();
        let refused = |step: &mut Step, error| {
            step.reply(token, Reply::Join(JoinReply::error(&request.member_id, error)));
        };
        if request.group_id.is_empty() {
            refused(&mut step, ErrorCode::INVALID_GROUP_ID);
            return step;
        }
        let session = i64::from(request.session_timeout_ms);
        if !(self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms).contains(&session) {
            refused(&mut step, ErrorCode::INVALID_SESSION_TIMEOUT);
            return step;
        }
        let group_id = request.group_id.clone();
        let is_new = !self.groups.contains_key(&group_id);
        if is_new {
            if !request.member_id.is_empty() {
                refused(&mut step, ErrorCode::UNKNOWN_MEMBER_ID);
                return step;
            }
            self.groups.insert(group_id.clone(), ClassicGroup::new(&group_id, now));
        }
        self.with_group(&group_id, now, &mut step, |group, cx| join::join(group, cx, token, request));
        if is_new && let Some(group) = self.groups.get(&group_id) {
            // A group is in the log before anybody hears of it.
            let record = Record::group(&group_id, group.empty_snapshot());
            let replies = std::mem::take(&mut step.replies);
            self.writes.begin(&mut step, vec![record], After::Created { group_id, replies });
        }
        step
    }

    /// SyncGroup. The reply may come in a later step.
    pub fn sync(&mut self, token: ReplyToken, request: SyncRequest, now: Timestamp) -> Step {
        let mut step = Step::default();
        let group_id = request.group_id.clone();
        if let Some(error) = self.missing(&group_id) {
            step.reply(token, Reply::Sync(SyncReply::error(error)));
            return step;
        }
        self.with_group(&group_id, now, &mut step, |group, cx| sync::sync(group, cx, token, request));
        step
    }

    /// Heartbeat. The reply is in this step.
    pub fn heartbeat(&mut self, token: ReplyToken, request: &HeartbeatRequest, now: Timestamp) -> Step {
        let mut step = Step::default();
        let mut error = self.missing(&request.group_id).unwrap_or(ErrorCode::NONE);
        self.with_group(&request.group_id, now, &mut step, |group, cx| error = heartbeat(group, cx, request));
        step.reply(token, Reply::Heartbeat(error));
        step
    }

    /// LeaveGroup. The reply is in this step.
    pub fn leave(&mut self, token: ReplyToken, request: LeaveRequest, now: Timestamp) -> Step {
        let mut step = Step::default();
        let group_id = request.group_id.clone();
        match self.missing(&group_id) {
            Some(ErrorCode::UNKNOWN_MEMBER_ID) => {
                step.reply(token, Reply::Leave(LeaveReply::all(request.members, ErrorCode::UNKNOWN_MEMBER_ID)));
            }
            Some(error) => step.reply(token, Reply::Leave(LeaveReply { error, members: Vec::new() })),
            None => self.with_group(&group_id, now, &mut step, |group, cx| leave::leave(group, cx, token, request)),
        }
        step
    }

    /// The error of a member's request to a group that is not there.
    fn missing(&self, group_id: &str) -> Option<ErrorCode> {
        match group_id {
            "" => Some(ErrorCode::INVALID_GROUP_ID),
            id if self.groups.contains_key(id) => None,
            _ => Some(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    // Offsets.

    /// OffsetCommit. The reply comes once the offsets are in the log.
    pub fn commit(&mut self, token: ReplyToken, request: CommitRequest, now: Timestamp) -> Step {
        let mut step = Step::default();
        let checked = match self.groups.get(&request.group_id) {
            Some(group) => offsets::check_commit(group, &request),
            None if request.generation_id < 0 => Ok(()),
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        };
        if let Err(error) = checked {
            step.reply(token, Reply::Commit(CommitReply::error(&request.topics, error)));
            return step;
        }
        // A commit is as good as a heartbeat.
        self.with_group(&request.group_id, now, &mut step, |group, cx| {
            if matches!(group.state(), State::Stable | State::PreparingRebalance) {
                cx.expect_heartbeat(group, &request.member_id);
            }
        });
        let (reply, records) = offsets::commit(request, now, self.config.offset_metadata_max);
        self.apply_when_written(&mut step, token, Reply::Commit(reply), records);
        step
    }

    /// OffsetFetch, of one group. A group that is not there has committed nothing.
    pub fn fetch_offsets(&self, group_id: &str, topics: &FetchTopics) -> Vec<FetchedTopic> {
        self.offsets.fetch(group_id, topics)
    }

    /// OffsetDelete. The reply comes once the offsets are gone from the log.
    pub fn delete_offsets(&mut self, token: ReplyToken, group_id: &str, topics: &[(String, Vec<i32>)]) -> Step {
        let mut step = Step::default();
        let (reply, records) = match self.groups.get(group_id) {
            Some(group) => self.offsets.delete(group, topics),
            None => (DeleteOffsetsReply { error: ErrorCode::GROUP_ID_NOT_FOUND, topics: Vec::new() }, Vec::new()),
        };
        self.apply_when_written(&mut step, token, Reply::DeleteOffsets(reply), records);
        step
    }

    /// Topics were deleted: their offsets go with them.
    pub fn on_topics_deleted(&mut self, topics: &[String]) -> Step {
        let mut step = Step::default();
        let records = self.offsets.delete_topics(topics);
        self.apply_in_pieces(&mut step, records);
        step
    }

    fn expire(&mut self, now: Timestamp, step: &mut Step) {
        let mut records = Vec::new();
        for group in self.groups.values() {
            let (expired, nothing_left) = self.offsets.expire(group, now, self.config.offsets_retention_ms);
            records.extend(expired);
            if nothing_left && group.state() == State::Empty {
                records.push(Record::group_gone(&group.group_id));
            }
        }
        self.apply_in_pieces(step, records);
    }

    fn apply_when_written(&mut self, step: &mut Step, token: ReplyToken, reply: Reply, records: Vec<Record>) {
        if records.is_empty() {
            step.reply(token, reply);
        } else {
            self.writes.begin(step, records.clone(), After::Apply { reply: Some((token, reply)), records });
        }
    }

    fn apply_in_pieces(&mut self, step: &mut Step, records: Vec<Record>) {
        for piece in records.chunks(MAX_RECORDS_A_WRITE) {
            self.writes.begin(step, piece.to_vec(), After::Apply { reply: None, records: piece.to_vec() });
        }
    }

    // Administration.

    /// DescribeGroups, of one group.
    pub fn describe(&self, group_id: &str) -> DescribedGroup {
        admin::describe(group_id, self.groups.get(group_id))
    }

    /// ListGroups: the groups that pass the filters (words in any case; an empty filter lets all pass).
    pub fn list(&self, states: &[String], types: &[String]) -> Vec<ListedGroup> {
        self.groups.values().filter_map(|group| admin::list(group, states, types)).collect()
    }

    /// DeleteGroups. The reply comes once the groups are gone from the log.
    pub fn delete_groups(&mut self, token: ReplyToken, group_ids: &[String]) -> Step {
        let mut step = Step::default();
        let (mut records, mut reply) = (Vec::new(), Vec::new());
        for group_id in group_ids {
            let error = admin::check_delete(self.groups.get(group_id));
            if error == ErrorCode::NONE {
                records.extend(self.offsets.delete_all(group_id));
                records.push(Record::group_gone(group_id));
            }
            reply.push(DeletedGroup { group_id: group_id.clone(), error });
        }
        self.apply_when_written(&mut step, token, Reply::DeleteGroups(reply), records);
        step
    }

    /// A group, for tests and metrics.
    pub fn group(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.groups.get(group_id)
    }

    /// How many groups and offsets the shard keeps.
    pub fn size(&self) -> (usize, usize) {
        (self.groups.len(), self.offsets.len())
    }
}

#[cfg(test)]
mod tests;
