//! What a request gives: records to write, replies to send.

use std::collections::BTreeMap;

use super::groups::admin::DeletedGroup;
use super::groups::classic::join::JoinReply;
use super::groups::classic::leave::LeaveReply;
use super::groups::classic::member::Member;
use super::groups::classic::sync::SyncReply;
use super::groups::offsets::{CommitReply, DeleteOffsetsReply};
use super::records::Record;
use crate::protocol::ErrorCode;

/// Names the request that a reply answers; the caller chooses it, and never two alike at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyToken(pub u64);

/// Names a write until [`on_written`](super::GroupShard::on_written) says what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// Records to append together, as one batch, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// To be given back to `on_written`.
    pub id: WriteId,
    /// What to append; never empty.
    pub records: Vec<Record>,
}

/// An answer to a request that may have waited.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To JoinGroup.
    Join(JoinReply),
    /// To SyncGroup.
    Sync(SyncReply),
    /// To Heartbeat.
    Heartbeat(ErrorCode),
    /// To LeaveGroup.
    Leave(LeaveReply),
    /// To OffsetCommit.
    Commit(CommitReply),
    /// To OffsetDelete.
    DeleteOffsets(DeleteOffsetsReply),
    /// To DeleteGroups.
    DeleteGroups(Vec<DeletedGroup>),
}

/// What to do next: send the replies, append the writes. The two do not wait for each other: a reply that must wait for
/// a write is not in the step that asks for it, but in the step that `on_written` gives.
#[derive(Debug, Default, PartialEq)]
#[must_use]
pub struct Step {
    /// To append, in this order.
    pub writes: Vec<Write>,
    /// To send, each to the request of its token.
    pub replies: Vec<(ReplyToken, Reply)>,
}

impl Step {
    pub(super) fn reply(&mut self, token: ReplyToken, reply: Reply) {
        self.replies.push((token, reply));
    }
}

/// What waits for a write.
#[derive(Debug)]
pub(super) enum After {
    /// A group was created; these replies wait. If the write fails the group is forgotten.
    Created { group_id: String, replies: Vec<(ReplyToken, Reply)> },
    /// A group ran empty. Nothing waits: if the write fails, the last generation in the log would merely time out.
    Emptied,
    /// The leader's assignment. Written, it is handed out; failed, the group rebalances again.
    Assigned { group_id: String, generation_id: i32, assignments: BTreeMap<String, bytes::Bytes> },
    /// A static member took the place of its predecessor; failed, the predecessor is put back.
    Replaced(ReplyToken, Box<Replaced>),
    /// The records change offsets or delete groups: applied when written, then the reply.
    Apply { reply: Option<(ReplyToken, Reply)>, records: Vec<Record> },
}

/// A static member that took its predecessor's place without a rebalance.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) group_id: String,
    pub(super) new_member_id: String,
    pub(super) predecessor: Member,
    pub(super) was_leader: Option<String>,
    pub(super) success: JoinReply,
}

/// The writes whose end is not known yet.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next: u64,
    pending: BTreeMap<WriteId, After>,
}

impl Writes {
    pub(super) fn begin(&mut self, step: &mut Step, records: Vec<Record>, after: After) {
        let id = WriteId(self.next);
        self.next += 1;
        self.pending.insert(id, after);
        step.writes.push(Write { id, records });
    }

    pub(super) fn end(&mut self, id: WriteId) -> Option<After> {
        self.pending.remove(&id)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = After> {
        std::mem::take(&mut self.pending).into_values()
    }
}

/// The error that a member sees when a write failed with `error`, as Kafka maps it.
pub(super) fn write_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::REQUEST_TIMED_OUT => {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        error => error,
    }
}

impl Reply {
    /// The same reply to say that its write failed.
    pub(super) fn failed(self, error: ErrorCode) -> Reply {
        let mapped = write_error(error);
        match self {
            Reply::Join(reply) => Reply::Join(JoinReply::error(&reply.member_id, mapped)),
            Reply::Sync(_) => Reply::Sync(SyncReply::error(mapped)),
            Reply::Heartbeat(_) => Reply::Heartbeat(mapped),
            Reply::Leave(_) => Reply::Leave(LeaveReply { error: mapped, members: Vec::new() }),
            Reply::Commit(reply) => Reply::Commit(reply.failed(mapped)),
            Reply::DeleteOffsets(_) => Reply::DeleteOffsets(DeleteOffsetsReply { error: mapped, topics: Vec::new() }),
            Reply::DeleteGroups(groups) => Reply::DeleteGroups(
                groups.into_iter().map(|group| DeletedGroup { group_id: group.group_id, error: mapped }).collect(),
            ),
        }
    }
}
