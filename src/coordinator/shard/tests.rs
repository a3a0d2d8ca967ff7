//! A world around a shard: its log, the clock, and the stories of groups in it.

mod administration;
mod joining;
mod offsets;
mod property;
mod replay;
mod static_members;

use std::collections::BTreeMap;

use super::*;
use crate::common::ids::Uuid;
use crate::coordinator::groups;
use crate::coordinator::groups::classic::leave::LeavingMember;
use crate::coordinator::groups::classic::member::Protocol;
use crate::coordinator::groups::offsets::{CommitPartition, CommitTopic, CommittedOffset};

const SESSION: i32 = 10_000;
const REBALANCE: i32 = 60_000;
const DELAY: i64 = 3_000;

fn config() -> GroupConfig {
    let (values, _) = Values::broker::<_, &str, &str>([]).unwrap();
    GroupConfig::new(&values)
}

/// A shard with its log and its clock. Writes succeed at once, unless they are told to fail or to wait.
struct World {
    shard: GroupShard,
    log: Vec<(Bytes, Option<Bytes>)>,
    now: Timestamp,
    next_token: u64,
    next_id: u128,
    replies: BTreeMap<ReplyToken, Reply>,
    write_error: Option<ErrorCode>,
}

impl World {
    fn new() -> World {
        World::with(config())
    }

    fn with(config: GroupConfig) -> World {
        let mut shard = GroupShard::new(config);
        assert_eq!(shard.on_loaded(1_000), Step::default());
        World {
            shard,
            log: Vec::new(),
            now: 1_000,
            next_token: 0,
            next_id: 0,
            replies: BTreeMap::new(),
            write_error: None,
        }
    }

    fn token(&mut self) -> ReplyToken {
        self.next_token += 1;
        ReplyToken(self.next_token)
    }

    fn take(&mut self, step: Step) {
        for (token, reply) in step.replies {
            assert!(self.replies.insert(token, reply).is_none(), "{token:?} is answered twice");
        }
        for write in step.writes {
            assert!(!write.records.is_empty());
            let result = self.write_error.take().map_or(Ok(()), Err);
            if result.is_ok() {
                self.log.extend(write.records.iter().map(|record| record.encode().unwrap()));
            }
            let step = self.shard.on_written(write.id, result, self.now);
            self.take(step);
        }
    }

    /// Moves the time on, deadline by deadline.
    fn wait(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            let step = self.shard.on_time(self.now);
            self.take(step);
        }
        self.now = end;
    }

    fn send_join(&mut self, request: JoinRequest) -> ReplyToken {
        let token = self.token();
        let step = self.shard.join(token, request, self.now);
        self.take(step);
        token
    }

    fn request(&mut self, group: &str, member_id: &str) -> JoinRequest {
        self.next_id += 1;
        JoinRequest {
            group_id: group.to_owned(),
            member_id: member_id.to_owned(),
            group_instance_id: None,
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: SESSION,
            rebalance_timeout_ms: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol("range", "t"), protocol("roundrobin", "t")],
            reason: None,
            fresh_id: Uuid(self.next_id.to_be_bytes()),
            requires_known_member_id: true,
            supports_skipping_assignment: true,
        }
    }

    /// Asks for an id, and joins with it; the reply is still to come.
    fn join(&mut self, group: &str) -> (String, ReplyToken) {
        let request = self.request(group, "");
        let asked = self.send_join(request);
        let reply = self.joined(asked);
        assert_eq!(reply.error, ErrorCode::MEMBER_ID_REQUIRED);
        let request = self.request(group, &reply.member_id);
        (reply.member_id, self.send_join(request))
    }

    fn rejoin(&mut self, group: &str, member_id: &str) -> ReplyToken {
        let request = self.request(group, member_id);
        self.send_join(request)
    }

    fn waits(&self, token: ReplyToken) -> bool {
        !self.replies.contains_key(&token)
    }

    #[track_caller]
    fn joined(&self, token: ReplyToken) -> JoinReply {
        match self.replies.get(&token) {
            Some(Reply::Join(reply)) => reply.clone(),
            other => panic!("{other:?} is no answer to JoinGroup"),
        }
    }

    fn send_sync(
        &mut self,
        group: &str,
        member_id: &str,
        generation_id: i32,
        assignments: &[(&str, &str)],
    ) -> ReplyToken {
        let token = self.token();
        let request = SyncRequest {
            group_id: group.to_owned(),
            generation_id,
            member_id: member_id.to_owned(),
            group_instance_id: None,
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments
                .iter()
                .map(|(id, to)| ((*id).to_owned(), Bytes::copy_from_slice(to.as_bytes())))
                .collect(),
        };
        let step = self.shard.sync(token, request, self.now);
        self.take(step);
        token
    }

    #[track_caller]
    fn synced(&self, token: ReplyToken) -> SyncReply {
        match self.replies.get(&token) {
            Some(Reply::Sync(reply)) => reply.clone(),
            other => panic!("{other:?} is no answer to SyncGroup"),
        }
    }

    fn heartbeat(&mut self, group: &str, member_id: &str, generation_id: i32) -> ErrorCode {
        let token = self.token();
        let request = HeartbeatRequest {
            group_id: group.to_owned(),
            generation_id,
            member_id: member_id.to_owned(),
            group_instance_id: None,
        };
        let step = self.shard.heartbeat(token, &request, self.now);
        self.take(step);
        match self.replies[&token] {
            Reply::Heartbeat(error) => error,
            ref other => panic!("{other:?} is no answer to Heartbeat"),
        }
    }

    fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let token = self.token();
        let leaving = |(id, instance): &(&str, Option<&str>)| LeavingMember {
            member_id: (*id).to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        };
        let request = LeaveRequest { group_id: group.to_owned(), members: members.iter().map(leaving).collect() };
        let step = self.shard.leave(token, request, self.now);
        self.take(step);
        match &self.replies[&token] {
            Reply::Leave(reply) => reply.members.iter().map(|member| member.error).collect(),
            other => panic!("{other:?} is no answer to LeaveGroup"),
        }
    }

    /// A group of `count` members, stable in its first generation; the leader first.
    fn stable(&mut self, group: &str, count: usize) -> Vec<String> {
        let joining: Vec<_> = (0..count).map(|_| self.join(group)).collect();
        self.wait(DELAY * 2);
        let leader = self.joined(joining[0].1).leader;
        let mut ids: Vec<String> = joining.into_iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| *id != leader);
        let generation = self.shard.group(group).unwrap().generation_id();
        let assignments: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        for id in ids.iter().rev() {
            let given = if *id == leader { &assignments[..] } else { &[] };
            self.send_sync(group, id, generation, given);
        }
        assert_eq!(self.state(group), State::Stable);
        ids
    }

    #[track_caller]
    fn state(&self, group: &str) -> State {
        self.shard.group(group).unwrap().state()
    }

    fn commit_of(&self, group: &str, member_id: &str, generation_id: i32, topic: &str, offset: i64) -> CommitRequest {
        CommitRequest {
            group_id: group.to_owned(),
            generation_id,
            member_id: member_id.to_owned(),
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![CommitTopic {
                name: topic.to_owned(),
                topic_id: Uuid::ZERO,
                partitions: vec![CommitPartition { partition: 0, offset, leader_epoch: -1, metadata: None }],
            }],
        }
    }

    fn send_commit(&mut self, request: CommitRequest) -> ErrorCode {
        let token = self.token();
        let step = self.shard.commit(token, request, self.now);
        self.take(step);
        match &self.replies[&token] {
            Reply::Commit(reply) => reply.topics[0].1[0].1,
            other => panic!("{other:?} is no answer to OffsetCommit"),
        }
    }

    fn commit(&mut self, group: &str, member_id: &str, generation_id: i32, topic: &str, offset: i64) -> ErrorCode {
        let request = self.commit_of(group, member_id, generation_id, topic, offset);
        self.send_commit(request)
    }

    fn committed(&self, group: &str, topic: &str) -> Option<CommittedOffset> {
        let topics = FetchTopics::Named(vec![(topic.to_owned(), Uuid::ZERO, vec![0])]);
        self.shard.fetch_offsets(group, &topics)[0].1[0].1.clone()
    }

    fn offset(&self, group: &str, topic: &str) -> Option<i64> {
        self.committed(group, topic).map(|committed| committed.offset)
    }

    /// The shard that a restart would give.
    fn restarted(&self) -> GroupShard {
        let mut shard = GroupShard::new(self.shard.config.clone());
        for (key, value) in &self.log {
            shard.replay(key.clone(), value.clone()).unwrap();
        }
        shard
    }

    fn restart(&mut self) {
        self.shard = self.restarted();
        let step = self.shard.on_loaded(self.now);
        self.take(step);
    }
}

/// A consumer's subscription to one topic.
fn protocol(name: &str, topic: &str) -> Protocol {
    let mut metadata = vec![0, 0, 0, 0, 0, 1, 0, topic.len() as u8];
    metadata.extend_from_slice(topic.as_bytes());
    metadata.extend_from_slice(&[0xff; 4]);
    Protocol { name: name.to_owned(), metadata: metadata.into() }
}
