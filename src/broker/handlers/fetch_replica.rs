//! The fetch of a follower, where it has a session that names topics by their ids: only what is new is looked at.
//!
//! The rules are those of [`fetch`](super::fetch); what is due, the session knows ([`follower_sessions`]). The request is
//! noted with each partition that is looked at first; what changes while it waits is looked at again and read.
//!
//! [`follower_sessions`]: crate::broker::follower_sessions

use std::collections::HashMap;
use std::time::Duration;

use super::fetch::{NEWS_WAIT, name_leader, partition_data, refuse, said};
use super::{Context, Outcome};
use crate::broker::Broker;
use crate::broker::fetch_session::{Said, Target, TopicKey};
use crate::broker::follower_sessions::{Entry, Key, Named, Next, Step};
use crate::broker::throttling::Throttling;
use crate::common::ids::NodeId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use crate::replica::{FetchFrom, ReplicaFetch};

/// Answers a follower's fetch, where it has a session here or may open one; `None` for one that is to be served in full.
pub(super) async fn handle(
    broker: &Broker,
    context: &Context,
    request: &FetchRequest,
    (node, broker_epoch): (NodeId, i64),
) -> Option<Outcome<FetchResponse>> {
    let sessions = broker.follower_sessions();
    let (session_id, epoch) = (request.session_id, request.session_epoch);
    let known = session_id != 0 && sessions.has(session_id);
    if epoch < 0 || (epoch > 0 && !known) {
        if known {
            sessions.end(session_id);
        }
        return None;
    }
    let named = name(broker, request).await;
    let now = broker.clock().monotonic();
    let step = if epoch == 0 {
        sessions.end(session_id);
        sessions.open(named, now)?
    } else {
        let forgotten = request.forgotten_topics_data.iter();
        let forgotten: Vec<Key> =
            forgotten.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect();
        match sessions.step((session_id, epoch), named, &forgotten, now) {
            Ok(step) => step,
            Err(error_code) => return Some(Outcome::Reply(FetchResponse { error_code, ..Default::default() })),
        }
    };
    let mut pass = Pass {
        broker,
        node,
        broker_epoch,
        now,
        limit: request.max_bytes.clamp(0, broker.fetch_max_bytes()) as usize,
        noted: HashMap::new(),
        found: Found::default(),
    };
    pass.look(&step);
    let enough = |found: &Found| found.is_due || found.bytes >= request.min_bytes.max(0) as usize;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    if !enough(&pass.found) && !wait.is_zero() {
        let mut timeout = broker.socket_clock().sleep(wait);
        let mut hastened = false;
        loop {
            if pass.found.news && !hastened && wait > NEWS_WAIT {
                (timeout, hastened) = (broker.socket_clock().sleep(NEWS_WAIT), true);
            }
            tokio::select! {
                () = step.marks.woken() => {}
                () = pass.found.throttling.free(broker) => {}
                () = &mut timeout => break,
                () = broker.shutdown().begun() => break,
            }
            if step.is_overtaken() {
                // What woke this one may have been meant for that.
                step.marks.wake();
                break;
            }
            pass.look(&step);
            if enough(&pass.found) {
                break;
            }
        }
    }
    Some(Outcome::Reply(respond(broker, context, &step, pass.found)))
}

/// What a request names, each partition as it is found.
async fn name(broker: &Broker, request: &FetchRequest) -> Named {
    let mut named = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let target = Target {
                topic: TopicKey::Id(topic.topic_id),
                partition: partition.partition,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                max_bytes: partition.partition_max_bytes,
                log_start_offset: partition.log_start_offset,
                high_watermark: partition.high_watermark,
                said: None,
            };
            let found = broker.find_partition_by_id(topic.topic_id, partition.partition).await;
            named.push(((topic.topic_id, partition.partition), target, found));
        }
    }
    named
}

/// What was found in what is due.
#[derive(Default)]
struct Found {
    /// What there is to say.
    replies: Vec<(Target, PartitionData)>,
    told: HashMap<Key, (Option<Said>, Next)>,
    bytes: usize,
    /// Whether the reply is due, whatever there is to read.
    is_due: bool,
    /// Whether there is something to learn besides records.
    news: bool,
    throttling: Throttling,
}

/// How what is due is looked at.
struct Pass<'a> {
    broker: &'a Broker,
    node: NodeId,
    broker_epoch: i64,
    now: Duration,
    limit: usize,
    /// Those for which the request was noted, and whether the follower is in sync there.
    noted: HashMap<Key, bool>,
    found: Found,
}

impl Pass<'_> {
    fn look(&mut self, step: &Step) {
        let mut found = Found::default();
        let noted = &mut self.noted;
        let fetch = ReplicaFetch { node: self.node, broker_epoch: self.broker_epoch, log_start_offset: -1 };
        let times = (self.now, self.broker.clock().monotonic());
        step.look(|entry| look_at(entry, fetch, times, self.limit, noted, &mut found));
        self.found = found;
    }
}

fn look_at(
    entry: &Entry,
    replica: ReplicaFetch,
    (asked_at, now): (Duration, Duration),
    limit: usize,
    noted: &mut HashMap<Key, bool>,
    found: &mut Found,
) {
    entry.begin();
    let target = &entry.target;
    let partition = match &entry.found {
        Ok(partition) => partition,
        Err(code) => {
            found.is_due = true;
            found.told.insert(entry.key, (None, Next::Due));
            let data = PartitionData { aborted_transactions: Some(Vec::new()), ..refuse(target, *code) };
            return found.replies.push((target.clone(), data));
        }
    };
    let left = limit.saturating_sub(found.bytes);
    let from = FetchFrom {
        offset: target.fetch_offset,
        current_leader_epoch: target.current_leader_epoch,
        last_fetched_epoch: target.last_fetched_epoch,
        max_bytes: (target.max_bytes.max(0) as usize).min(left),
        min_one: found.bytes == 0,
        read_committed: false,
    };
    let fetched = match noted.get(&entry.key) {
        Some(_) => partition.fetch_again_as_replica(from),
        None => {
            let replica = ReplicaFetch { log_start_offset: target.log_start_offset, ..replica };
            partition.fetch_as_replica(replica, from, asked_at)
        }
    };
    let is_in_sync = *noted.entry(entry.key).or_insert(fetched.as_ref().is_ok_and(|fetched| fetched.is_in_sync));
    let mut data = partition_data(target, fetched);
    let withheld = found.throttling.withhold(partition, replica.node, &mut data, now);
    let bytes = data.records.as_ref().map_or(0, |records| records.len());
    let failed = data.error_code != ErrorCode::NONE || data.diverging_epoch.end_offset >= 0;
    let now_said = said(data.high_watermark, data.log_start_offset);
    found.bytes += bytes;
    found.is_due |= failed;
    // Who is held back has no use for how far others are.
    found.news |= !failed && !withheld && target.is_behind(now_said);
    // What was given is looked at again, in case it gets lost; and what there was no room for.
    let next = match bytes {
        0 if failed || left == 0 || !is_in_sync || withheld => Next::Due,
        0 => Next::Rests,
        _ => Next::DueLast,
    };
    found.told.insert(entry.key, ((!failed).then_some(now_said), next));
    if failed || bytes > 0 || target.said != Some(now_said) {
        found.replies.push((target.clone(), data));
    }
}

fn respond(broker: &Broker, context: &Context, step: &Step, found: Found) -> FetchResponse {
    step.replied(&found.told);
    found.throttling.sent(broker);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut node_endpoints = Vec::new();
    for (target, mut data) in found.replies {
        let TopicKey::Id(topic_id) = target.topic else { continue };
        if context.version >= 16 {
            name_leader(broker, context, &target, &mut data, &mut node_endpoints);
        }
        match responses.last_mut() {
            Some(topic) if topic.topic_id == topic_id => topic.partitions.push(data),
            _ => {
                responses.push(FetchableTopicResponse { topic_id, partitions: vec![data], ..Default::default() });
            }
        }
    }
    FetchResponse { session_id: step.session_id, responses, node_endpoints, ..Default::default() }
}
