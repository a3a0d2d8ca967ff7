//! The words of the quorum, as openraft takes them: who votes, what an entry is, what becomes of a wish.
//!
//! An [`Entry`] is one batch of the metadata log. Its term is the batch's leader epoch, its index is its number in the
//! log, counted from the first one there ever was; offsets count records and so are another thing (`journal` knows both).
//!
//! A wish carries the term in which it was decided. openraft gives its entry the term of whoever leads when it is
//! written, which may be the same node in a later term, that has seen other changes in between. Such an entry is written
//! as a "nothing" (`batches`), so that it is nothing to everybody who ever reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use openraft::entry::{FromAppData, RaftEntry, RaftPayload};
use openraft::log_id::RaftLogId;
use openraft::{CommittedLeaderId, RaftTypeConfig, TokioRuntime};
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::snapshot::MAX_LEN;
use crate::common::ids::{LeaderEpoch, NodeId, Uuid};
use crate::metadata::MetadataRecord;

/// One of the controllers, or an observer of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Voter {
    /// `node.id`
    pub id: NodeId,
    /// The id of its metadata log dir; zero where it is not known.
    pub directory_id: Uuid,
    /// The host of its controller listener.
    pub host: String,
    /// The port of its controller listener.
    pub port: u16,
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "controller {} at {}:{}", self.id, self.host, self.port)
    }
}

pub(super) type LogId = openraft::LogId<NodeId>;
pub(super) type Vote = openraft::Vote<NodeId>;
pub(super) type Membership = openraft::Membership<NodeId, Voter>;
pub(super) type StoredMembership = openraft::StoredMembership<NodeId, Voter>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<NodeId, Voter>;
pub(super) type StorageFault = openraft::StorageError<NodeId>;
pub(super) type Raft = openraft::Raft<Types>;

/// What openraft is made of here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

impl RaftTypeConfig for Types {
    type D = Wish;
    type R = Outcome;
    type NodeId = NodeId;
    type Node = Voter;
    type Entry = Entry;
    type SnapshotData = SnapshotBytes;
    type AsyncRuntime = TokioRuntime;
    type Responder = openraft::impls::OneshotResponder<Types>;
}

/// The id of the entry of `term` and `index`.
pub(super) fn log_id(term: LeaderEpoch, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(u64::from(term.max(0).unsigned_abs()), 0), index)
}

/// A term as Kafka's leader epoch.
pub(super) fn epoch(term: u64) -> LeaderEpoch {
    LeaderEpoch::try_from(term).unwrap_or(LeaderEpoch::MAX)
}

/// A membership of these voters, all of which are among `nodes`.
pub(super) fn membership(voters: &[BTreeSet<NodeId>], nodes: BTreeMap<NodeId, Voter>) -> Membership {
    Membership::new(voters.to_vec(), nodes)
}

/// A change that its proposer has decided on.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// The term in which it was decided.
    pub(super) term: u64,
    /// Its records.
    pub(super) records: Arc<[MetadataRecord]>,
    /// The same as a batch, which is to be stamped yet.
    pub(super) batch: Bytes,
}

/// What became of an entry that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its records are in the image.
    Applied,
    /// It held nothing, or came too late.
    Nothing,
}

/// What an entry says.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A leader's first.
    Blank,
    /// Who votes from here on.
    Membership(Membership),
    /// A wish that is not in the log yet.
    Wish(Wish),
    /// Records in the log; `None` until somebody needs them.
    Records(Option<Arc<[MetadataRecord]>>),
}

/// One entry: a batch of the metadata log.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) log_id: LogId,
    pub(super) content: Content,
    /// The batch as it lies in the log; empty for one that was not written yet.
    pub(super) batch: Bytes,
}

impl Entry {
    pub(super) fn new(log_id: LogId, content: Content) -> Entry {
        Entry { log_id, content, batch: Bytes::new() }
    }

    /// The term of the leader that wrote it.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        epoch(self.log_id.leader_id.term)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.content {
            Content::Blank => "blank",
            Content::Membership(_) => "membership",
            Content::Wish(_) => "wish",
            Content::Records(_) => "records",
        };
        write!(f, "{}:{content}", self.log_id)
    }
}

impl FromAppData<Wish> for Entry {
    fn from_app_data(wish: Wish) -> Entry {
        Entry::new(LogId::default(), Content::Wish(wish))
    }
}

impl RaftPayload<NodeId, Voter> for Entry {
    fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    fn get_membership(&self) -> Option<&Membership> {
        match &self.content {
            Content::Membership(membership) => Some(membership),
            _ => None,
        }
    }
}

impl RaftLogId<NodeId> for Entry {
    fn get_log_id(&self) -> &LogId {
        &self.log_id
    }

    fn set_log_id(&mut self, log_id: &LogId) {
        self.log_id = *log_id;
    }
}

impl RaftEntry<NodeId, Voter> for Entry {
    fn new_blank(log_id: LogId) -> Entry {
        Entry::new(log_id, Content::Blank)
    }

    fn new_membership(log_id: LogId, membership: Membership) -> Entry {
        Entry::new(log_id, Content::Membership(membership))
    }
}

/// A snapshot's bytes on their way: written from the beginning on, without leaps, and not without end.
#[derive(Debug, Default)]
pub(super) struct SnapshotBytes(Cursor<Vec<u8>>);

impl SnapshotBytes {
    pub(super) fn new(bytes: Vec<u8>) -> SnapshotBytes {
        SnapshotBytes(Cursor::new(bytes))
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0.into_inner())
    }
}

impl AsyncRead for SnapshotBytes {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SnapshotBytes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.0.position() + bytes.len() as u64 > MAX_LEN as u64 {
            let text = format!("a snapshot of the metadata has more than {MAX_LEN} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for SnapshotBytes {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        if let SeekFrom::Start(at) = position
            && at > self.0.get_ref().len() as u64
        {
            let text = format!("a snapshot of the metadata goes on at {at}: it has {} bytes", self.0.get_ref().len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(cx)
    }
}
