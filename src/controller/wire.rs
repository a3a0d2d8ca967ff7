//! What controllers say to each other: openraft's words as messages, and back.
//!
//! Everything that comes is checked here: a term or a number below 0, a batch whose CRC is wrong, records that cannot be
//! read. What passes is what the log may take.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse};

use super::error::ControllerError;
use super::types::{Content, Entry, LogId, SnapshotMeta, StoredMembership, Types, Vote, epoch, log_id};
use super::{batches, control, vote};
use crate::common::ids::NodeId;
use crate::protocol::Str;
use crate::protocol::messages::quorum_append::{QuorumAppendRequest, QuorumAppendResponse};
use crate::protocol::messages::quorum_snapshot::QuorumSnapshotRequest;
use crate::protocol::messages::quorum_vote::{
    QuorumEntryId, QuorumTerm, QuorumVoteRequest, QuorumVoteResponse, QuorumWay,
};
use crate::protocol::primitives::Records;

/// No quorum comes that far, and each election must have a next one.
const LAST_TERM: u64 = 1 << 30;

fn refuse(problem: impl Into<String>) -> ControllerError {
    ControllerError::Mismatch { offset: -1, problem: problem.into() }
}

pub(super) fn tell_vote(vote: &Vote) -> QuorumTerm {
    QuorumTerm {
        term: epoch(vote.leader_id.term),
        voted_for: vote.leader_id.voted_for.unwrap_or(-1),
        leads: vote.committed,
    }
}

pub(super) fn read_vote(told: &QuorumTerm) -> Result<Vote, ControllerError> {
    let term = u64::try_from(told.term).ok().filter(|term| *term <= LAST_TERM);
    let term = term.ok_or_else(|| refuse(format!("a vote is of term {}", told.term)))?;
    match (told.voted_for, told.leads) {
        (id, true) if id >= 0 => Ok(Vote::new_committed(term, id)),
        (id, false) if id >= 0 => Ok(Vote::new(term, id)),
        (_, false) => Ok(vote::nobody(term)),
        (id, true) => Err(refuse(format!("term {term} is led by {id}"))),
    }
}

fn tell_id(id: &LogId) -> QuorumEntryId {
    QuorumEntryId { term: epoch(id.leader_id.term), index: i64::try_from(id.index).unwrap_or(i64::MAX) }
}

fn read_id(told: &QuorumEntryId) -> Result<LogId, ControllerError> {
    match u64::try_from(told.index) {
        // The number after it must be one, too.
        Ok(index) if told.term >= 0 && told.index < i64::MAX => Ok(log_id(told.term, index)),
        _ => Err(refuse(format!("an entry has the term {} and the number {}", told.term, told.index))),
    }
}

fn read_ids(told: &Option<QuorumEntryId>) -> Result<Option<LogId>, ControllerError> {
    told.as_ref().map(read_id).transpose()
}

pub(super) fn tell_vote_request(way: QuorumWay, request: &VoteRequest<NodeId>) -> QuorumVoteRequest {
    QuorumVoteRequest { way, vote: tell_vote(&request.vote), last_entry: request.last_log_id.as_ref().map(tell_id) }
}

pub(super) fn read_vote_request(told: &QuorumVoteRequest) -> Result<VoteRequest<NodeId>, ControllerError> {
    Ok(VoteRequest { vote: read_vote(&told.vote)?, last_log_id: read_ids(&told.last_entry)? })
}

pub(super) fn tell_vote_response(response: &VoteResponse<NodeId>) -> QuorumVoteResponse {
    QuorumVoteResponse {
        vote: tell_vote(&response.vote),
        granted: response.vote_granted,
        last_entry: response.last_log_id.as_ref().map(tell_id),
        ..Default::default()
    }
}

pub(super) fn read_vote_response(told: &QuorumVoteResponse) -> Result<VoteResponse<NodeId>, ControllerError> {
    Ok(VoteResponse {
        vote: read_vote(&told.vote)?,
        vote_granted: told.granted,
        last_log_id: read_ids(&told.last_entry)?,
    })
}

pub(super) fn tell_append(way: QuorumWay, request: &AppendEntriesRequest<Types>) -> QuorumAppendRequest {
    let entries = match request.entries.as_slice() {
        [entry] => entry.batch.clone(),
        many => many.iter().flat_map(|entry| entry.batch.iter().copied()).collect::<Vec<u8>>().into(),
    };
    QuorumAppendRequest {
        way,
        vote: tell_vote(&request.vote),
        previous: request.prev_log_id.as_ref().map(tell_id),
        committed: request.leader_commit.as_ref().map(tell_id),
        entries: Records(entries),
    }
}

pub(super) fn read_append(told: &QuorumAppendRequest) -> Result<AppendEntriesRequest<Types>, ControllerError> {
    let previous = read_ids(&told.previous)?;
    let mut index = previous.map_or(0, |id| id.index + 1);
    let bytes = &told.entries.0;
    let (mut entries, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let size = batches::parse(&bytes[at..], -1)?.size_in_bytes();
        entries.push(read_entry(bytes.slice(at..at + size), index)?);
        (at, index) = (at + size, index + 1);
    }
    Ok(AppendEntriesRequest {
        vote: read_vote(&told.vote)?,
        prev_log_id: previous,
        leader_commit: read_ids(&told.committed)?,
        entries,
    })
}

/// An entry as a leader sent it, with all of its records read.
fn read_entry(bytes: bytes::Bytes, index: u64) -> Result<Entry, ControllerError> {
    let batch = batches::parse(&bytes, -1)?;
    batch.verify_crc().map_err(|source| ControllerError::Batch { offset: batch.base_offset(), source })?;
    let mut scratch = Vec::new();
    batch
        .validate(batches::MAX_BATCH, &mut scratch)
        .map_err(|source| ControllerError::Batch { offset: batch.base_offset(), source })?;
    if batch.base_offset() < 0 || batch.partition_leader_epoch() < 0 {
        let (offset, epoch) = (batch.base_offset(), batch.partition_leader_epoch());
        return Err(refuse(format!("a batch has the offset {offset} and the epoch {epoch}")));
    }
    let mut entry = batches::entry(bytes, index)?;
    if let Content::Records(records @ None) = &mut entry.content {
        *records = Some(batches::records(&entry.batch)?.into());
    }
    Ok(entry)
}

pub(super) fn tell_append_response(response: &AppendEntriesResponse<NodeId>) -> QuorumAppendResponse {
    let told = QuorumAppendResponse::default();
    match response {
        AppendEntriesResponse::Success => told,
        AppendEntriesResponse::PartialSuccess(matching) => {
            QuorumAppendResponse { outcome: 1, matching: matching.as_ref().map(tell_id), ..told }
        }
        AppendEntriesResponse::Conflict => QuorumAppendResponse { outcome: 2, ..told },
        AppendEntriesResponse::HigherVote(vote) => QuorumAppendResponse { outcome: 3, vote: tell_vote(vote), ..told },
    }
}

pub(super) fn read_append_response(
    told: &QuorumAppendResponse,
) -> Result<AppendEntriesResponse<NodeId>, ControllerError> {
    Ok(match told.outcome {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(read_ids(&told.matching)?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(read_vote(&told.vote)?),
        other => return Err(refuse(format!("an append came to {other}"))),
    })
}

pub(super) fn tell_snapshot(
    way: QuorumWay,
    request: InstallSnapshotRequest<Types>,
) -> Result<QuorumSnapshotRequest, ControllerError> {
    let last = request.meta.last_log_id.ok_or_else(|| refuse("a snapshot has no last entry"))?;
    let membership = &request.meta.last_membership;
    Ok(QuorumSnapshotRequest {
        way,
        vote: tell_vote(&request.vote),
        name: Str::from(request.meta.snapshot_id),
        last_entry: tell_id(&last),
        voters: Records(control::membership_batch(membership.membership(), 0)?),
        voters_entry: membership.log_id().as_ref().map(tell_id),
        position: i64::try_from(request.offset).unwrap_or(i64::MAX),
        piece: request.data.into(),
        is_last: request.done,
    })
}

pub(super) fn read_snapshot(told: &QuorumSnapshotRequest) -> Result<InstallSnapshotRequest<Types>, ControllerError> {
    let voters = batches::membership_of(&told.voters.0)?;
    let voters = voters.ok_or_else(|| refuse("a snapshot does not say who votes"))?;
    let offset = u64::try_from(told.position);
    Ok(InstallSnapshotRequest {
        vote: read_vote(&told.vote)?,
        meta: SnapshotMeta {
            last_log_id: Some(read_id(&told.last_entry)?),
            last_membership: StoredMembership::new(read_ids(&told.voters_entry)?, voters),
            snapshot_id: told.name.to_string(),
        },
        offset: offset.map_err(|_| refuse(format!("a snapshot goes on at {}", told.position)))?,
        data: told.piece.to_vec(),
        done: told.is_last,
    })
}
