//! Files that are to be unlinked, once those who may still read them by name have had their time.

use std::fmt;

use parking_lot::Mutex;

use crate::common::ids::Timestamp;
use crate::log::StorageError;
use crate::log::dir::DeletedLog;
use crate::log::retention::RemovedSegments;

/// Something whose files can be unlinked.
pub(super) trait Removed: fmt::Debug + Send {
    /// Unlinks them.
    fn unlink(&self) -> Result<(), StorageError>;
}

impl Removed for DeletedLog {
    fn unlink(&self) -> Result<(), StorageError> {
        self.delete()
    }
}

impl Removed for RemovedSegments {
    fn unlink(&self) -> Result<(), StorageError> {
        self.delete()
    }
}

/// What waits to be unlinked, and until when.
#[derive(Debug, Default)]
pub(super) struct Trash {
    waiting: Mutex<Vec<(Timestamp, Box<dyn Removed>)>>,
}

impl Trash {
    /// Unlinks `removed` when `due` has come.
    pub(super) fn put(&self, removed: impl Removed + 'static, due: Timestamp) {
        self.waiting.lock().push((due, Box::new(removed)));
    }

    /// Unlinks what is due. What fails is left to the next start, which finds it by its name.
    pub(super) fn empty(&self, now: Timestamp) {
        let (due, waiting) = std::mem::take(&mut *self.waiting.lock()).into_iter().partition(|(due, _)| *due <= now);
        let due: Vec<_> = due;
        self.waiting.lock().extend::<Vec<_>>(waiting);
        for (_, removed) in due {
            if let Err(error) = removed.unlink() {
                tracing::warn!(%error, "removed files could not be unlinked");
            }
        }
    }
}
