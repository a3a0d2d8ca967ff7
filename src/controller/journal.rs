//! How the metadata lies on disk: `__cluster_metadata-0`, a log like any other, and a snapshot beside it.
//!
//! ```text
//! __cluster_metadata-0/
//!   00000000000000000000.log                   the entries, one batch each, of the term that is the batch's leader epoch
//!   00000000000000001234-0000000003.checkpoint a snapshot: the records that make the image as of offset 1234, epoch 3
//!   quorum-state                               the vote (`vote`)
//! ```
//! An entry's number is not its offset. The first entry there ever was has number 0; a snapshot says which number its last
//! entry has, and the batches behind it count on from there. [`Journal`] keeps term and offset of each of those in memory,
//! and reads the entries themselves from the log, but for the newest, which are asked for at once.
//!
//! A log dir that was formatted for some first voters begins with a snapshot that names them and holds nothing else
//! (`founding`); it counts as none as soon as there is an entry.
//!
//! A log that an earlier version of ours or a single Apache Kafka node wrote knows no numbers. All of it counts as
//! committed, by a quorum of this node alone: opening it reads the image and writes a snapshot that says so.
//!
//! Crash: the log recovers as every log does, by cutting at the first batch that is not whole; what is lost was not
//! answered yet, neither to who wished it nor to who leads. A snapshot is written when the log up to it is safe, and what
//! it stands for goes when it is safe itself; where power was lost before that, the log still holds it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use super::batches::{self, parse};
use super::error::ControllerError;
use super::snapshot::{self, SnapshotId};
use super::types::{Content, Entry, LogId, StoredMembership, Vote, Voter, log_id, membership};
use super::{SnapshotLimits, vote};
use crate::common::ids::{LeaderEpoch, NodeId, Offset, Timestamp, TopicPartition, Uuid};
use crate::log::fs::{Durability, SharedFs};
use crate::log::roll::{FlushJob, Synced};
use crate::log::{Log, LogConfig, LogDir};
use crate::metadata::topic_name::METADATA_TOPIC;
use crate::metadata::{Image, MetadataRecord};
use crate::record::batches as batches_in;

/// How much of the log is read at a time.
const READ: usize = 8 << 20;
/// How many bytes and how many of the newest entries are kept in memory.
const RECENT: (usize, usize) = (4 << 20, 1024);

/// The metadata log.
#[derive(Debug)]
pub(super) struct Journal {
    log: Log,
    fs: SharedFs,
    node: NodeId,
    limits: SnapshotLimits,
    /// Who votes, as the newest entry says that tells.
    voters: Vec<NodeId>,
    /// The number of the first of `slots`.
    first: u64,
    slots: VecDeque<Slot>,
    /// The newest entries.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    /// The last entry that is not here any more.
    purged: Option<LogId>,
    snapshot: Option<Saved>,
    /// The snapshot's time, or that of opening where there is none.
    snapshot_time: Timestamp,
    /// Bytes of entries since then.
    since_snapshot: u64,
}

/// Where an entry lies.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: Offset,
    term: LeaderEpoch,
}

/// The newest snapshot.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) id: SnapshotId,
    pub(super) last: LogId,
    pub(super) membership: StoredMembership,
    /// All of it, where the disk did not take it.
    unwritten: Option<Bytes>,
}

/// What is known when the log is opened: the image of the snapshot, and what it stands for.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) image: Image,
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) end: Offset,
    /// Who is to found the cluster, where the log dir was formatted so and nothing came since.
    pub(super) founders: Vec<Voter>,
}

impl Journal {
    /// Opens the log.
    pub(super) fn open(
        dir: &LogDir,
        node: &Voter,
        now: Timestamp,
        limits: SnapshotLimits,
    ) -> Result<(Journal, Restored), ControllerError> {
        let id = TopicPartition::new(METADATA_TOPIC, 0);
        let config = LogConfig {
            delete: false,
            retention_ms: None,
            max_message_bytes: batches::MAX_BATCH,
            segment_ms: i64::MAX,
            ..LogConfig::default()
        };
        let (mut log, report) = dir.open_log(id.clone(), config, now)?;
        for note in &report.notes {
            tracing::warn!(partition = %id, "{note}");
        }
        log.set_topic_id(Uuid::METADATA_TOPIC)?;
        let fs = dir.handles().fs().clone();
        let newest = snapshot::newest(fs.as_ref(), log.dir())?;
        if let Some((id, _)) = &newest
            && log.log_end_offset() < id.offset
        {
            // All of the log was in the snapshot, and went.
            log.truncate_fully_and_start_at(id.offset, now)?;
        }
        let mut journal = Journal {
            since_snapshot: log.size(),
            log,
            fs,
            node: node.id,
            limits,
            voters: Vec::new(),
            first: 0,
            slots: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            purged: None,
            snapshot: None,
            snapshot_time: now,
        };
        let restored = journal.restore(newest, node, now)?;
        Ok((journal, restored))
    }

    fn restore(
        &mut self,
        newest: Option<(SnapshotId, Bytes)>,
        node: &Voter,
        now: Timestamp,
    ) -> Result<Restored, ControllerError> {
        let content =
            newest.map(|(id, bytes)| Ok::<_, ControllerError>((id, snapshot::decode(&bytes)?))).transpose()?;
        match content {
            Some((id, snapshot::Content { image, position: Some((last, membership)), .. })) => {
                self.voters = membership.voter_ids().collect();
                (self.first, self.purged) = (last.index + 1, Some(last));
                self.snapshot = Some(Saved { id, last, membership: membership.clone(), unwritten: None });
                self.scan(id.offset)?;
                Ok(Restored { image, last: Some(last), membership, end: id.offset, ..Restored::default() })
            }
            None if self.log.log_end_offset() == 0 => Ok(Restored::default()),
            Some((snapshot::FOUNDING, content)) if self.log.log_end_offset() == 0 => {
                Ok(Restored { founders: content.founders, ..Restored::default() })
            }
            // What the log dir was formatted with may still be there.
            None | Some((snapshot::FOUNDING, _)) if self.begins_with_voters()? => {
                self.scan(0)?;
                Ok(Restored::default())
            }
            content => {
                let (id, image) = match content {
                    Some((id, content)) => (id, content.image),
                    None => (SnapshotId { offset: self.log.log_start_offset(), epoch: 0 }, Image::default()),
                };
                self.adopt(id, image, node, now)
            }
        }
    }

    /// Whether the log begins with an entry of ours that says who votes.
    fn begins_with_voters(&self) -> Result<bool, ControllerError> {
        if self.log.log_start_offset() > 0 {
            return Ok(false);
        }
        let read = self.log.reader().read(0, 1, Offset::MAX, true)?;
        Ok(batches::membership_of(&read.records)?.is_some())
    }

    /// Takes over a log that knows no entries: reads all of it behind the snapshot `id`, and writes one that does.
    fn adopt(
        &mut self,
        id: SnapshotId,
        mut image: Image,
        node: &Voter,
        now: Timestamp,
    ) -> Result<Restored, ControllerError> {
        let mut end = id.offset.max(self.log.log_start_offset());
        let reader = self.log.reader();
        while end < reader.log_end_offset() {
            let read = reader.read(end, READ, Offset::MAX, true)?;
            for batch in batches_in(&read.records) {
                let batch = batch.map_err(|source| ControllerError::Batch { offset: end, source })?;
                batch.verify_crc().map_err(|source| ControllerError::Batch { offset: end, source })?;
                let body = batch.body(batches::MAX_BATCH);
                let body = body.map_err(|source| ControllerError::Batch { offset: end, source })?;
                for record in body.iter().filter(|_| !batch.is_control()) {
                    let record = record.map_err(|source| ControllerError::Batch { offset: end, source })?;
                    if let Some(value) = record.value.filter(|_| record.offset >= end) {
                        snapshot::apply(&mut image, value, record.offset)?;
                    }
                }
                end = batch.next_offset();
            }
        }
        let epoch = self.log.leader_epochs().latest().unwrap_or(0).max(id.epoch);
        let last = log_id(epoch, 0);
        let voters = membership(&[BTreeSet::from([node.id])], BTreeMap::from([(node.id, node.clone())]));
        let membership = StoredMembership::new(Some(last), voters);
        self.voters = vec![node.id];
        (self.first, self.purged) = (1, Some(last));
        let id = SnapshotId { offset: end, epoch };
        let bytes = snapshot::encode(id, &image.records(), last, &membership, now)?;
        self.log.flush(now)?;
        snapshot::write(self.fs.as_ref(), self.log.dir(), id, &bytes)?;
        self.snapshot = Some(Saved { id, last, membership: membership.clone(), unwritten: None });
        self.since_snapshot = 0;
        self.clean_up(true, now)?;
        tracing::info!(name = id.name(), "the metadata log of a single controller is taken over");
        Ok(Restored { image, last: Some(last), membership, end, ..Restored::default() })
    }

    /// Takes note of the batches from `offset` on.
    fn scan(&mut self, mut offset: Offset) -> Result<(), ControllerError> {
        let reader = self.log.reader();
        while offset < reader.log_end_offset() {
            let read = reader.read(offset, READ, Offset::MAX, true)?.records;
            let mut at = 0;
            while at < read.len() {
                let size = parse(&read[at..], offset)?.size_in_bytes();
                let bytes = read.slice(at..at + size);
                let batch = parse(&bytes, offset)?;
                if batch.base_offset() != offset {
                    let problem = format!("a batch begins at {}", batch.base_offset());
                    return Err(ControllerError::Mismatch { offset, problem });
                }
                let (term, next) = (batch.partition_leader_epoch(), batch.next_offset());
                let entry = batches::entry(bytes, self.next_index())?;
                self.note(Slot { offset, term }, entry);
                (offset, at) = (next, at + size);
            }
        }
        Ok(())
    }

    fn note(&mut self, slot: Slot, entry: Entry) {
        if let Content::Membership(membership) = &entry.content {
            self.voters = membership.voter_ids().collect();
        }
        self.slots.push_back(slot);
        self.recent_bytes += entry.batch.len();
        self.recent.push_back(entry);
        while self.recent_bytes > RECENT.0 || self.recent.len() > RECENT.1 {
            let Some(entry) = self.recent.pop_front() else { break };
            self.recent_bytes -= entry.batch.len();
        }
    }

    /// The log's folder.
    pub(super) fn folder(&self) -> PathBuf {
        self.log.dir().to_owned()
    }

    /// Whether there never was an entry.
    pub(super) fn is_pristine(&self) -> bool {
        self.last().is_none()
    }

    fn next_index(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The last entry; the last one that went where there is none.
    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.back().map_or(self.purged, |slot| Some(log_id(slot.term, self.next_index() - 1)))
    }

    /// The last entry that is not here any more.
    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// The offset behind an entry, as far as it is known here.
    pub(super) fn end_of(&self, index: u64) -> Option<Offset> {
        if let Some(at) = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) {
            let next = self.slots.get(at + 1).map(|slot| slot.offset);
            return self.slots.get(at).map(|_| next.unwrap_or(self.log.log_end_offset()));
        }
        let saved = self.snapshot.as_ref().filter(|saved| saved.last.index == index);
        match saved {
            Some(saved) => Some(saved.id.offset),
            None if index + 1 == self.first => self.slots.front().map(|slot| slot.offset),
            None => None,
        }
    }

    /// The offset behind the last entry.
    pub(super) fn end(&self) -> Offset {
        self.log.log_end_offset()
    }

    /// The entries of these numbers, as far as they are here; not many more than `bytes`, but at least one.
    pub(super) fn entries(&self, range: Range<u64>, bytes: usize) -> Result<Vec<Entry>, ControllerError> {
        let range = range.start.max(self.first)..range.end.min(self.next_index());
        let mut found = Vec::new();
        let (mut index, mut room) = (range.start, bytes);
        let recent_from = self.next_index() - self.recent.len() as u64;
        let reader = self.log.reader();
        while index < range.end && (found.is_empty() || room > 0) {
            if index >= recent_from {
                let entry = &self.recent[(index - recent_from) as usize];
                room = room.saturating_sub(entry.batch.len());
                found.push(entry.clone());
                index += 1;
                continue;
            }
            let offset = self.slots[(index - self.first) as usize].offset;
            let read = reader.read(offset, READ.min(room), Offset::MAX, true)?.records;
            let mut at = 0;
            while at < read.len() && index < range.end {
                let size = parse(&read[at..], offset)?.size_in_bytes();
                // A copy: the map is not held longer than it is read.
                found.push(batches::entry(Bytes::copy_from_slice(&read[at..at + size]), index)?);
                (at, index) = (at + size, index + 1);
            }
            if at == 0 {
                let problem = format!("entry {index} cannot be read");
                return Err(ControllerError::Mismatch { offset, problem });
            }
            room = room.saturating_sub(at);
        }
        Ok(found)
    }

    /// Appends entries, which follow on the last one.
    pub(super) fn append(&mut self, entries: Vec<Entry>, now: Timestamp) -> Result<(), ControllerError> {
        let mut offset = self.log.log_end_offset();
        let mut ready = Vec::with_capacity(entries.len());
        for (expected, entry) in (self.next_index()..).zip(entries) {
            let index = entry.log_id.index;
            if index != expected {
                let problem = format!("entry {index} comes where {expected} is due");
                return Err(ControllerError::Mismatch { offset, problem });
            }
            let entry = batches::stamped(entry, offset, (self.node, &self.voters), now)?;
            let batch = parse(&entry.batch, offset)?;
            let (base_offset, term, next) = (batch.base_offset(), batch.partition_leader_epoch(), batch.next_offset());
            if (base_offset, term) != (offset, entry.epoch()) || next <= offset {
                let problem = format!("the batch of entry {} is at offset {base_offset}, epoch {term}", entry.log_id);
                return Err(ControllerError::Mismatch { offset, problem });
            }
            ready.push((Slot { offset, term }, entry));
            offset = next;
        }
        let bytes = match ready.as_slice() {
            [(_, entry)] => entry.batch.clone(),
            many => {
                let mut all = BytesMut::new();
                many.iter().for_each(|(_, entry)| all.extend_from_slice(&entry.batch));
                all.freeze()
            }
        };
        let appended = self.log.append_as_follower(bytes, now)?;
        self.since_snapshot += appended.size as u64;
        ready.into_iter().for_each(|(slot, entry)| self.note(slot, entry));
        Ok(())
    }

    /// What is to be run, without holding the journal, for all entries to be safe; then tell [`Journal::flushed`].
    pub(super) fn flush_job(&self) -> Option<FlushJob> {
        self.log.flush_job()
    }

    /// Takes note of what [`FlushJob::run`] gave.
    pub(super) fn flushed(
        &mut self,
        result: Result<Synced, crate::log::StorageError>,
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        Ok(self.log.flushed(result, now)?)
    }

    /// Makes all entries safe, those too that were there when the log was opened: the system may have held them back still.
    pub(super) fn sync(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        Ok(self.log.flush(now)?)
    }

    /// Takes entries back, from this one on: another leader has others in their place.
    pub(super) fn truncate(&mut self, since: LogId, now: Timestamp) -> Result<(), ControllerError> {
        let keep = usize::try_from(since.index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get(keep) else { return Ok(()) };
        self.log.truncate_to(slot.offset, now)?;
        self.slots.truncate(keep);
        let end = self.next_index();
        while self.recent.back().is_some_and(|entry| entry.log_id.index >= end) {
            self.recent.pop_back();
        }
        self.recent_bytes = self.recent.iter().map(|entry| entry.batch.len()).sum();
        Ok(())
    }

    /// Lets entries go, up to and with this one; from the disk once a snapshot there stands for them.
    pub(super) fn purge(&mut self, upto: LogId, now: Timestamp) -> Result<(), ControllerError> {
        if self.purged.is_some_and(|purged| purged >= upto) {
            return Ok(());
        }
        let gone = usize::try_from((upto.index + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots.drain(..gone.min(self.slots.len()));
        (self.first, self.purged) = (upto.index + 1, Some(upto));
        while self.recent.front().is_some_and(|entry| entry.log_id.index < self.first) {
            self.recent.pop_front();
        }
        self.recent_bytes = self.recent.iter().map(|entry| entry.batch.len()).sum();
        self.clean_up(false, now)
    }

    /// Whether entries were let go for a snapshot that is not on the disk yet: what comes behind it has to wait.
    pub(super) fn awaits_snapshot(&self) -> bool {
        let saved = self.snapshot.as_ref().map(|saved| saved.last);
        self.slots.is_empty() && self.purged > saved
    }

    /// Makes the journal go with the disk again after the disk failed. Entries that were let go for a snapshot that then
    /// could not be written are there still; what a snapshot stands for may have to be removed yet.
    pub(super) fn mend(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        if !self.awaits_snapshot() {
            return self.clean_up(false, now);
        }
        let saved = self.snapshot.as_ref().map(|saved| (saved.last, saved.id.offset));
        (self.first, self.purged) = saved.map_or((0, None), |(last, _)| (last.index + 1, Some(last)));
        self.scan(saved.map_or(0, |(_, offset)| offset))
    }

    /// Whether a snapshot is due, where `end` is the offset up to which the image has all.
    pub(super) fn snapshot_due(&self, end: Offset, now: Timestamp) -> bool {
        let at = self.snapshot.as_ref().map_or(0, |saved| saved.id.offset);
        let interval = self.limits.interval_ms;
        let old = interval > 0 && now.saturating_sub(self.snapshot_time) >= interval;
        end > at && (old || self.since_snapshot >= self.limits.bytes)
    }

    /// Begins a snapshot: the next one is as far away as after one that was written.
    pub(super) fn snapshot_begins(&mut self, now: Timestamp) {
        (self.snapshot_time, self.since_snapshot) = (now, 0);
    }

    /// Takes note of a snapshot of our own. Where the disk did not take it, the log holds all of it still.
    pub(super) fn saved(
        &mut self,
        id: SnapshotId,
        last: LogId,
        membership: StoredMembership,
        bytes: &Bytes,
        written: Result<(), ControllerError>,
        now: Timestamp,
    ) {
        if self.snapshot.as_ref().is_some_and(|saved| saved.last > last) {
            return;
        }
        let unwritten = match written {
            Ok(()) => {
                tracing::info!(name = id.name(), bytes = bytes.len(), "a snapshot of the metadata is written");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a snapshot of the metadata was not written: its log goes on");
                Some(bytes.clone())
            }
        };
        self.snapshot = Some(Saved { id, last, membership, unwritten });
        if let Err(error) = self.clean_up(true, now) {
            tracing::warn!(%error, "what a snapshot of the metadata stands for could not be removed");
        }
    }

    /// Puts a leader's snapshot in the place of all that is here.
    pub(super) fn install(
        &mut self,
        id: SnapshotId,
        last: LogId,
        membership: StoredMembership,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), ControllerError> {
        snapshot::write(self.fs.as_ref(), self.log.dir(), id, bytes)?;
        self.voters = membership.voter_ids().collect();
        self.snapshot = Some(Saved { id, last, membership, unwritten: None });
        self.snapshot_begins(now);
        // It is there, whatever becomes of what it stands for: `mend` tries that again.
        if let Err(error) = self.purge(last, now).and_then(|()| self.clean_up(true, now)) {
            tracing::warn!(%error, "what a leader's snapshot stands for could not be removed");
        }
        Ok(())
    }

    /// Removes from the disk what is neither needed here nor after a restart.
    fn clean_up(&mut self, roll: bool, now: Timestamp) -> Result<(), ControllerError> {
        let Some(Saved { id, unwritten: None, .. }) = self.snapshot else { return Ok(()) };
        if self.log.log_end_offset() < id.offset {
            if self.slots.is_empty() {
                self.log.truncate_fully_and_start_at(id.offset, now)?;
            }
            return snapshot::remove_older(self.fs.as_ref(), self.log.dir(), id);
        }
        if roll {
            self.log.roll(now)?;
        }
        let needed = self.slots.front().map_or(id.offset, |slot| slot.offset.min(id.offset));
        if needed > self.log.log_start_offset() {
            self.log.delete_records(needed);
            self.log.enforce_retention(now, needed)?.delete()?;
        }
        snapshot::remove_older(self.fs.as_ref(), self.log.dir(), id)
    }

    /// The bytes of the newest snapshot.
    pub(super) fn snapshot_bytes(&self) -> Result<Option<(Saved, Bytes)>, ControllerError> {
        let Some(saved) = &self.snapshot else { return Ok(None) };
        let bytes = match &saved.unwritten {
            Some(bytes) => Some(bytes.clone()),
            None => snapshot::read(self.fs.as_ref(), self.log.dir(), saved.id)?,
        };
        Ok(bytes.map(|bytes| (saved.clone(), bytes)))
    }

    /// The vote as it was written down, and never of an older term than the log's.
    pub(super) fn vote(&self) -> Result<Option<Vote>, ControllerError> {
        let vote = vote::read(self.fs.as_ref(), self.log.dir(), self.node)?;
        let term = self.last().map_or(0, |last| last.leader_id.term);
        Ok(match vote {
            Some(vote) if vote.leader_id.term >= term => Some(vote),
            _ if term > 0 => Some(vote::nobody(term)),
            vote => vote,
        })
    }

    /// Writes the vote down.
    pub(super) fn set_vote(&self, vote: &Vote, directory: Uuid, durable: bool) -> Result<(), ControllerError> {
        let durability = if durable { Durability::Synced } else { Durability::Lazy };
        vote::write(self.fs.as_ref(), self.log.dir(), vote, directory, durability)
    }

    /// Syncs and closes.
    pub(super) fn close(&mut self, now: Timestamp) -> Result<(), ControllerError> {
        Ok(self.log.close(now)?)
    }

    /// The records of an entry.
    pub(super) fn records_of(entry: &Entry) -> Result<std::sync::Arc<[MetadataRecord]>, ControllerError> {
        match &entry.content {
            Content::Records(Some(records)) => Ok(records.clone()),
            _ => Ok(batches::records(&entry.batch)?.into()),
        }
    }
}
