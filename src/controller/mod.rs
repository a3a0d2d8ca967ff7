//! The cluster image made durable: its log, and the one who may write it.
//!
//! [`Controller::propose`] is the only way to change the image. It asks for the records that a wish comes to, appends
//! them as one batch to `__cluster_metadata-0`, in Kafka's own format, syncs, and applies them: so an image is never
//! ahead of its log, and a wish takes effect whole or not at all. [`Controller::open`] reads the newest snapshot, if
//! there is one, then the log behind it, and has the same image again; `journal` knows how they lie on disk, and writes
//! a new `snapshot` from time to time, so that the log does not grow for ever.
//!
//! There is one controller in a cluster of one, so nobody has to agree: this room is where the vote will go.
//!
//! It never knows who wishes, or why.

mod journal;
pub mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

use parking_lot::{Mutex, RwLock};

use crate::common::clock::SharedClock;
use crate::common::ids::Offset;
use crate::log::{AppendError, LogDir, ReadError, StorageError};
use crate::metadata::image::ImageError;
use crate::metadata::records::RecordError;
use crate::metadata::{Image, MetadataRecord, Refusal};
use crate::protocol::ErrorCode;
use crate::record::BatchError;
use journal::Journal;

/// Why the metadata cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The log cannot be opened or synced.
    #[error("the metadata log: {0}")]
    Storage(#[from] StorageError),
    /// The log cannot be read.
    #[error("the metadata log: {0}")]
    Read(#[from] ReadError),
    /// The log takes no change.
    #[error("the metadata log: {0}")]
    Append(#[from] AppendError),
    /// A batch in the log or a snapshot is damaged.
    #[error("the metadata log at offset {offset}: {source}")]
    Batch {
        /// The offset of the batch.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A record cannot be understood.
    #[error("the metadata log at offset {offset}: {source}")]
    Record {
        /// The record's offset.
        offset: Offset,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A record does not fit what came before.
    #[error("the metadata log at offset {offset}: {source}")]
    Image {
        /// The record's offset.
        offset: Offset,
        /// Why it does not fit.
        source: ImageError,
    },
    /// A record cannot be written.
    #[error("record {offset} of a change: {problem}")]
    Encode {
        /// Its place in the change, from 0.
        offset: Offset,
        /// Why.
        problem: String,
    },
    /// A snapshot cannot be read or written.
    #[error("the metadata snapshot {name}: {source}")]
    Snapshot {
        /// Its file name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

/// When a snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 for never.
    pub interval_ms: i64,
}

/// One of the controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: crate::common::ids::NodeId,
    /// The id of its log dir.
    pub directory_id: crate::common::ids::Uuid,
    /// Where its controller listener is.
    pub host: String,
    /// The port of that.
    pub port: u16,
}

/// Who leads the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, where one is known.
    pub leader: Option<Voter>,
    /// Its epoch.
    pub epoch: i32,
    /// Whether it is this node.
    pub is_us: bool,
}

/// What was applied to the image.
#[derive(Debug, Clone)]
pub enum Applied {
    /// These records.
    Records {
        /// The offset of the last of them.
        offset: Offset,
        /// In their order.
        records: std::sync::Arc<[MetadataRecord]>,
    },
    /// A snapshot took the place of everything.
    Snapshot,
}

/// The cluster's metadata and its log.
#[derive(Debug)]
pub struct Controller {
    leadership: tokio::sync::watch::Sender<Leadership>,
    subscribers: Mutex<Vec<tokio::sync::mpsc::UnboundedSender<Applied>>>,
    image: RwLock<Image>,
    /// Held over deciding, appending and applying, so that wishes come one after another.
    journal: Mutex<Journal>,
    clock: SharedClock,
}

impl Controller {
    /// The metadata that lies in `dir`, or that of a new cluster, which begins with `bootstrap`. With `durable`, each
    /// change is on the disk before it takes effect.
    pub fn open(
        dir: &LogDir,
        clock: SharedClock,
        durable: bool,
        limits: SnapshotLimits,
        bootstrap: impl FnOnce() -> Vec<MetadataRecord>,
    ) -> Result<Controller, ControllerError> {
        let (journal, image) = Journal::open(dir, clock.now(), durable, limits)?;
        let is_new = journal.is_empty();
        let leadership = tokio::sync::watch::Sender::new(Leadership { leader: None, epoch: 0, is_us: true });
        let controller = Controller {
            leadership,
            subscribers: Mutex::default(),
            image: RwLock::new(image),
            journal: Mutex::new(journal),
            clock,
        };
        if is_new {
            controller.write(&mut controller.journal.lock(), &bootstrap())?;
        }
        Ok(controller)
    }

    /// Who leads.
    pub fn leader(&self) -> tokio::sync::watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// What is applied from now on.
    pub fn subscribe(&self) -> tokio::sync::mpsc::UnboundedReceiver<Applied> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        self.subscribers.lock().push(sender);
        receiver
    }

    /// Looks at the image. `look` must be short: changes wait for it.
    pub fn read<R>(&self, look: impl FnOnce(&Image) -> R) -> R {
        look(&self.image.read())
    }

    /// Changes the image by the records that `decide` comes to, once they are in the log.
    ///
    /// Waits for the disk: call it where a thread may. Fails as `decide` does, or with KAFKA_STORAGE_ERROR.
    pub async fn propose<T>(
        &self,
        decide: impl FnOnce(&Image) -> Result<(T, Vec<MetadataRecord>), Refusal>,
    ) -> Result<T, Refusal> {
        let mut journal = self.journal.lock();
        let (answer, records) = self.read(decide)?;
        self.write(&mut journal, &records).map_err(|error| {
            tracing::error!(%error, "a change of the cluster's metadata was not written");
            Refusal::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
        })?;
        Ok(answer)
    }

    /// Writes a snapshot if the last one is old, and there is something new.
    pub fn snapshot_if_due(&self) {
        self.snapshot(&mut self.journal.lock());
    }

    fn snapshot(&self, journal: &mut Journal) {
        if let Err(error) = journal.snapshot_if_due(&self.image.read(), self.clock.now()) {
            tracing::warn!(%error, "a snapshot of the metadata was not written: its log goes on");
        }
    }

    /// Makes sure that all is on the disk, and closes the log.
    pub fn close(&self) -> Result<(), ControllerError> {
        self.journal.lock().close(self.clock.now())
    }

    fn write(&self, journal: &mut Journal, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        if records.is_empty() {
            return Ok(());
        }
        let first = journal.append(records, self.clock.now())?;
        let mut image = self.image.write();
        for (offset, record) in (first..).zip(records) {
            image.apply(record).map_err(|source| ControllerError::Image { offset, source })?;
        }
        drop(image);
        let applied = Applied::Records { offset: first + records.len() as i64 - 1, records: records.into() };
        self.subscribers.lock().retain(|subscriber| subscriber.send(applied.clone()).is_ok());
        self.snapshot(journal);
        Ok(())
    }
}
