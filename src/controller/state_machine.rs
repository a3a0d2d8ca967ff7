//! openraft's state machine: committed entries into the image, the image into snapshots, and who is told of it.
//!
//! The image changes an entry at a time, under a lock that readers share; who has subscribed hears of the entry's records
//! once they are in the image, in order. A snapshot of a leader replaces the image as a whole.

use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};

use super::error::ControllerError;
use super::journal::{Journal, Restored, Saved};
use super::snapshot::{self, SnapshotId};
use super::storage::Store;
use super::types::{
    Content, Entry, LogId, Outcome, SnapshotBytes, SnapshotMeta, StorageFault, StoredMembership, Types, epoch,
};
use crate::common::ids::{Offset, Timestamp};
use crate::metadata::{Image, MetadataRecord};

/// What a subscriber hears.
#[derive(Debug, Clone)]
pub enum Applied {
    /// These records are in the image.
    Records {
        /// The offset of the first.
        offset: Offset,
        /// They, in order.
        records: Arc<[MetadataRecord]>,
    },
    /// The image is another one as a whole: look at all of it. Each subscription begins with it.
    Snapshot,
}

/// What has been applied.
#[derive(Debug)]
pub(super) struct State {
    pub(super) image: RwLock<Image>,
    progress: Mutex<Progress>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Applied>>>,
    /// The last entry that was applied.
    pub(super) applied: watch::Sender<Option<LogId>>,
    /// Told when a snapshot is due.
    pub(super) snapshot_due: Notify,
}

#[derive(Debug, Clone)]
struct Progress {
    last: Option<LogId>,
    membership: StoredMembership,
    /// The offset behind the last entry.
    end: Offset,
}

impl State {
    pub(super) fn new(restored: Restored) -> State {
        let Restored { image, last, membership, end, .. } = restored;
        State {
            image: RwLock::new(image),
            progress: Mutex::new(Progress { last, membership, end }),
            subscribers: Mutex::default(),
            applied: watch::Sender::new(last),
            snapshot_due: Notify::new(),
        }
    }

    /// The offset up to which the image has all.
    pub(super) fn end(&self) -> Offset {
        self.progress.lock().end
    }

    /// Hears of all that is applied from now on.
    pub(super) fn subscribe(&self) -> mpsc::UnboundedReceiver<Applied> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // Nothing is applied meanwhile.
        let _image = self.image.read();
        let _ = sender.send(Applied::Snapshot);
        self.subscribers.lock().push(sender);
        receiver
    }

    fn tell(&self, applied: &Applied) {
        self.subscribers.lock().retain(|subscriber| subscriber.send(applied.clone()).is_ok());
    }

    /// Ends all subscriptions.
    pub(super) fn end_subscriptions(&self) {
        self.subscribers.lock().clear();
    }

    fn apply(&self, entry: &Entry) -> Result<Outcome, ControllerError> {
        let batch = super::batches::parse(&entry.batch, -1)?;
        let (offset, end) = (batch.base_offset(), batch.next_offset());
        let mut outcome = Outcome::Nothing;
        match &entry.content {
            Content::Blank => {}
            Content::Membership(membership) => {
                self.progress.lock().membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            Content::Wish(_) | Content::Records(_) => {
                let records = Journal::records_of(entry)?;
                let mut image = self.image.write();
                for (offset, record) in (offset..).zip(records.iter()) {
                    image.apply(record).map_err(|source| ControllerError::Image { offset, source })?;
                }
                if !is_no_op(&records) {
                    outcome = Outcome::Applied;
                }
                if !records.is_empty() {
                    self.tell(&Applied::Records { offset, records });
                }
            }
        }
        let mut progress = self.progress.lock();
        (progress.last, progress.end) = (Some(entry.log_id), end);
        Ok(outcome)
    }
}

/// Whether these are the records of a wish that came too late.
fn is_no_op(records: &[MetadataRecord]) -> bool {
    matches!(records, [MetadataRecord::Other { key: 20, .. }])
}

/// openraft's handle of the image.
#[derive(Debug)]
pub(super) struct StateMachine {
    pub(super) state: Arc<State>,
    pub(super) store: Arc<Store>,
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageFault> {
        let progress = self.state.progress.lock();
        Ok((progress.last, progress.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageFault>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let mut last = None;
        for entry in entries {
            let outcome = self.state.apply(&entry);
            outcomes.push(outcome.map_err(|error| StorageIOError::apply(entry.log_id, self.store.failed(&error)))?);
            last = Some(entry.log_id);
        }
        if last.is_some() {
            self.state.applied.send_replace(last);
            if self.store.journal.lock().snapshot_due(self.state.end(), self.store.clock.now()) {
                self.state.snapshot_due.notify_one();
            }
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let now = self.store.clock.now();
        self.store.journal.lock().snapshot_begins(now);
        let (image, progress) = (self.state.image.read(), self.state.progress.lock().clone());
        Builder { store: self.store.clone(), records: image.records(), progress, now }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotBytes>, StorageFault> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotBytes>,
    ) -> Result<(), StorageFault> {
        let bytes = snapshot.into_bytes();
        let meta = meta.clone();
        let read = {
            let (meta, bytes) = (meta.clone(), bytes.clone());
            move |store: &Store| {
                let (id, image, last, membership) = check(&meta, &bytes)?;
                store.journal.lock().install(id, last, membership.clone(), &bytes, store.clock.now())?;
                Ok((id, image, last, membership))
            }
        };
        let installed = self.store.work(read).await;
        let (id, image, last, membership) = installed
            .map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), self.store.failed(&error)))?;
        {
            let mut shown = self.state.image.write();
            *shown = image;
            *self.state.progress.lock() = Progress { last: Some(last), membership, end: id.offset };
            self.state.tell(&Applied::Snapshot);
        }
        self.state.applied.send_replace(Some(last));
        self.store.installed.notify_waiters();
        tracing::info!(name = id.name(), bytes = bytes.len(), "a snapshot of the leader is installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageFault> {
        let found = self.store.work(|store| store.journal.lock().snapshot_bytes()).await;
        let found = found.map_err(|error| StorageIOError::read_snapshot(None, self.store.failed(&error)))?;
        Ok(found.map(|(saved, bytes)| Snapshot {
            meta: meta_of(&saved),
            snapshot: Box::new(SnapshotBytes::new(bytes.to_vec())),
        }))
    }
}

fn meta_of(saved: &Saved) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(saved.last),
        last_membership: saved.membership.clone(),
        snapshot_id: saved.id.name(),
    }
}

/// Reads a snapshot that a leader sent; it must say of itself what the leader said of it.
fn check(meta: &SnapshotMeta, bytes: &Bytes) -> Result<(SnapshotId, Image, LogId, StoredMembership), ControllerError> {
    let refuse = |problem: String| ControllerError::Mismatch { offset: -1, problem };
    let id = SnapshotId::of(&meta.snapshot_id)
        .ok_or_else(|| refuse(format!("'{}' is no snapshot's name", meta.snapshot_id)))?;
    let content = snapshot::decode(bytes)?;
    match content.position {
        Some((last, membership)) if Some(last) == meta.last_log_id => Ok((id, content.image, last, membership)),
        _ => Err(refuse(format!("the snapshot {} does not say which entry is its last", meta.snapshot_id))),
    }
}

/// Makes one snapshot.
#[derive(Debug)]
pub(super) struct Builder {
    store: Arc<Store>,
    records: Vec<MetadataRecord>,
    progress: Progress,
    now: Timestamp,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageFault> {
        let Progress { last, membership, end } = self.progress.clone();
        let (records, now) = (std::mem::take(&mut self.records), self.now);
        let build = move |store: &Store| {
            // openraft asks for a snapshot only where something was applied.
            let last = last.unwrap_or_default();
            let id = SnapshotId { offset: end, epoch: epoch(last.leader_id.term) };
            let bytes = Bytes::from(snapshot::encode(id, &records, last, &membership, now)?);
            // The log up to it is made safe first; none of it happens while the journal is held.
            let job = store.journal.lock().flush_job();
            let flushed = match job {
                Some(job) => {
                    let result = job.run();
                    store.journal.lock().flushed(result, now)
                }
                None => Ok(()),
            };
            let written = flushed.and_then(|()| snapshot::write(store.fs.as_ref(), &store.dir, id, &bytes));
            store.journal.lock().saved(id, last, membership.clone(), &bytes, written, now);
            let meta = SnapshotMeta { last_log_id: Some(last), last_membership: membership, snapshot_id: id.name() };
            Ok(Snapshot { meta, snapshot: Box::new(SnapshotBytes::new(bytes.to_vec())) })
        };
        let built = self.store.work(build).await;
        built.map_err(|error| StorageIOError::write_snapshot(None, self.store.failed(&error)).into())
    }
}
