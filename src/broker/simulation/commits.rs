//! A group that commits, through whoever believes to coordinate it: the coordinator's own state machine, its loading and its
//! records, in the partition that all this is about. Only the loop is another: what is under way is looked at after each step.
//!
//! The group commits 0, 1, 2 and so on, and waits for the answer to one before it commits the next; it gives up where it grows
//! impatient, and where its coordinator is gone. What it was told is committed must be there on whoever leads, once that one is
//! asked: the last of it, or what it committed later, which may have come through unheard.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::{NODES, World, Wrong};
use crate::broker::groups::batch;
use crate::broker::groups::loading::{load, replay};
use crate::broker::handlers::append_error_code;
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Uuid};
use crate::config::Values;
use crate::coordinator::groups::offsets::{CommitPartition, CommitRequest, CommitTopic, FetchTopics};
use crate::coordinator::records::Record;
use crate::coordinator::{GroupConfig, GroupShard, Reply, ReplyToken, Step, Write, WriteId};
use crate::log::AppendError;
use crate::protocol::ErrorCode;
use crate::replica::{Partition, Replication, WriteError};

const GROUP: &str = "pilots";

/// What stands for a producer's id where a record is a commit.
const COMMITS: i64 = -2;

/// A broker that coordinates the group.
pub(super) struct Coordinator {
    groups: GroupShard,
    partition: Arc<Partition>,
    /// The epoch in which it leads.
    epoch: LeaderEpoch,
    /// What was written, where, and waits for replicas, in its order.
    under_way: VecDeque<(WriteId, Offset, Option<Replication>)>,
    /// Where what was written last lies.
    written: Offset,
}

/// The group's consumer.
#[derive(Debug, Default)]
pub(super) struct Committer {
    /// What it commits next.
    next: Offset,
    /// What it has no answer to yet, and from whom.
    waits: Option<(Offset, NodeId)>,
    /// What it was told is committed, and where that lies.
    pub(super) committed: Option<(Offset, Offset)>,
}

impl Committer {
    /// A broker is gone, or coordinates no more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.waits.take_if(|(_, waits_for)| *waits_for == node);
    }
}

/// What a commit's record says, as the values of other records do.
pub(super) fn told_by(key: &[u8], value: Option<&[u8]>) -> String {
    let record = Record::decode(Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
    match record {
        Ok(Some(Record::Offset { value: Some(committed), .. })) => format!("{COMMITS}:{}", committed.offset),
        other => panic!("{other:?} is no commit"),
    }
}

impl World {
    /// The group commits, if it waits for nothing.
    pub(super) fn commit_offset(&mut self) {
        if self.committer.waits.is_some() && self.chance(90) {
            return;
        }
        let leads = |id: &NodeId| self.partition(*id).is_some_and(|partition| partition.is_leader());
        let leaders: Vec<NodeId> = NODES.into_iter().filter(leads).collect();
        if leaders.is_empty() {
            return;
        }
        let node = leaders[self.one_of(leaders.len())];
        let (offset, now) = (self.committer.next, self.wall(node));
        self.committer.next += 1;
        self.committer.waits = Some((offset, node));
        let token = ReplyToken(u64::try_from(offset).unwrap());
        let step = self.coordinate(node).groups.commit(token, request(offset), now);
        self.take_step(node, step);
    }

    /// The coordinator of a broker that believes to lead, loaded if it is not.
    fn coordinate(&mut self, node: NodeId) -> &mut Coordinator {
        let (partition, now, wrong) = (self.partition(node).unwrap(), self.wall(node), self.wrong);
        let epoch = partition.leader_epoch();
        self.up(node).unwrap().coordinator.get_or_insert_with(|| {
            let none: [(&str, &str); 0] = [];
            let mut groups = GroupShard::new(GroupConfig::new(&Values::broker(none).unwrap().0));
            match wrong {
                Wrong::LoadsWhatIsShown => replay(&partition, partition.high_watermark(), &mut groups),
                _ => load(&partition, epoch, &mut groups),
            }
            .unwrap();
            assert_eq!(groups.on_loaded(now), Step::default(), "a group without members waits for nobody");
            Coordinator { groups, partition, epoch, under_way: VecDeque::new(), written: -1 }
        })
    }

    /// Lets go of a coordinator whose broker leads no more, or in another epoch.
    pub(super) fn resign(&mut self, node: NodeId) {
        let led = self.partition(node).filter(|partition| partition.is_leader()).map(|it| it.leader_epoch());
        if let Some(up) = self.up(node)
            && up.coordinator.take_if(|coordinator| Some(coordinator.epoch) != led).is_some()
        {
            self.committer.forget(node);
        }
    }

    /// Sends the replies of a step, and writes what it has to write.
    fn take_step(&mut self, node: NodeId, step: Step) {
        for (token, reply) in step.replies {
            self.hear_of_commit(node, token, &reply);
        }
        for Write { id, records } in step.writes {
            let now = self.wall(node);
            let Some(coordinator) = self.up(node).and_then(|up| up.coordinator.as_mut()) else { return };
            match coordinator.partition.append_for_all(batch(&records, now).unwrap(), now) {
                Ok((appended, replication)) => {
                    coordinator.under_way.push_back((id, appended.first_offset, replication));
                }
                Err(WriteError::Log(AppendError::Storage(error))) => return self.stop_on(node, &error),
                Err(error) => {
                    let step = coordinator.groups.on_written(id, Err(append_error_code(&error)), now);
                    self.take_step(node, step);
                }
            }
        }
    }

    fn hear_of_commit(&mut self, node: NodeId, token: ReplyToken, reply: &Reply) {
        let Reply::Commit(reply) = reply else { panic!("a commit is answered with {reply:?}") };
        let (error, offset) = (reply.topics[0].1[0].1, Offset::try_from(token.0).unwrap());
        if self.committer.waits != Some((offset, node)) {
            return;
        }
        self.committer.waits = None;
        if error == ErrorCode::NONE {
            let at = self.up(node).and_then(|up| up.coordinator.as_ref()).map(|it| it.written).unwrap();
            self.committer.committed = Some((offset, at));
            self.seen.committed += 1;
            self.tell(|| format!("{node} has committed {offset}, at {at}"));
        }
    }

    /// Hears what became of the commits that are under way.
    pub(super) fn settle_commits(&mut self) {
        for node in NODES {
            let now = self.wall(node);
            while let Some(coordinator) = self.up(node).and_then(|up| up.coordinator.as_mut())
                && let Some((id, at, replication)) = coordinator.under_way.front().copied()
                && let Some(end) = replication.map_or(Some(Ok(())), |append| coordinator.partition.replicated(append))
            {
                coordinator.under_way.pop_front();
                coordinator.written = at;
                let step = coordinator.groups.on_written(id, end, now);
                self.take_step(node, step);
            }
        }
    }

    /// What was committed is there on whoever leads.
    pub(super) fn check_commits(&mut self) {
        let Some((offset, _)) = self.committer.committed else { return };
        for node in NODES.into_iter().filter(|node| self.truly_leads(*node)).collect::<Vec<_>>() {
            let fetched = self.coordinate(node).groups.fetch_offsets(GROUP, &FetchTopics::All);
            let found = fetched.first().and_then(|(_, partitions)| partitions[0].1.as_ref()).map(|it| it.offset);
            assert!(found >= Some(offset), "{offset} was committed, and {node}, where it is {found:?}, has not got it");
        }
    }
}

fn request(offset: Offset) -> CommitRequest {
    let partition = CommitPartition { partition: 0, offset, leader_epoch: -1, metadata: None };
    CommitRequest {
        group_id: GROUP.into(),
        generation_id: -1,
        member_id: String::new(),
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![CommitTopic { name: "flights".into(), topic_id: Uuid::ZERO, partitions: vec![partition] }],
    }
}
