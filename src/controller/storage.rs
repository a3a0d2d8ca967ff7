//! openraft's log storage over the [`Journal`]: entries appended, read, taken back and let go; the vote.
//!
//! What waits for the disk waits on a thread of its own, and the journal is not held over a sync. On a runtime of a single
//! thread, which is a simulation's or a test's, all is done in place, so that a seed gives the same run again.

use std::ops::{Bound, Range, RangeBounds};
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

use super::error::ControllerError;
use super::journal::Journal;
use super::types::{Entry, LogId, StorageFault, Types, Vote, Voter};
use super::vote;
use crate::common::clock::SharedClock;
use crate::common::shutdown::Shutdown;
use crate::log::fs::SharedFs;

/// How many bytes of entries are sent at once.
const SENT_AT_ONCE: usize = 1 << 20;

/// Does work on the disk here and now; the runtime's other tasks go on, where it has more than this thread.
pub(super) fn in_place<T>(job: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => job(),
        _ => tokio::task::block_in_place(job),
    }
}

/// The journal, shared by openraft's log and its state machine.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) journal: Mutex<Journal>,
    pub(super) fs: SharedFs,
    /// The log's folder.
    pub(super) dir: PathBuf,
    pub(super) clock: SharedClock,
    pub(super) durable: bool,
    /// Ends when the controller ends.
    pub(super) tasks: Shutdown,
    /// Told when a snapshot was installed, or the storage failed.
    pub(super) installed: Notify,
    /// Why the storage failed, once it has.
    pub(super) failure: Mutex<Option<String>>,
    /// The first voters, for their directories.
    pub(super) voters: Vec<Voter>,
}

impl Store {
    /// Does work on the disk where a thread may wait.
    pub(super) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Store) -> Result<T, ControllerError> + Send + 'static,
    ) -> Result<T, ControllerError> {
        let in_place = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !self.durable || in_place {
            return job(self);
        }
        let store = self.clone();
        let done = self.tasks.blocking(move || job(&store)).await;
        done.unwrap_or_else(|| Err(ControllerError::Ended("its runtime is gone".to_owned())))
    }

    /// Does work on the disk after all tasks have ended.
    pub(super) async fn work_at_last<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Store) -> Result<T, ControllerError> + Send + 'static,
    ) -> Result<T, ControllerError> {
        let done = self.work(job).await;
        self.tasks.finish().await;
        done
    }

    /// Takes note of an error that the quorum cannot go on after.
    pub(super) fn failed(&self, error: &ControllerError) -> AnyError {
        tracing::error!(%error, "the quorum cannot go on");
        self.failure.lock().get_or_insert_with(|| error.to_string());
        self.installed.notify_waiters();
        AnyError::error(error.to_string())
    }
}

/// openraft's handle of the log.
#[derive(Debug, Clone)]
pub(super) struct LogStore(pub(super) Arc<Store>);

impl LogStore {
    fn unread(&self, error: ControllerError) -> StorageFault {
        StorageIOError::read_logs(self.0.failed(&error)).into()
    }

    fn entries(&self, range: Range<u64>, bytes: usize) -> Result<Vec<Entry>, ControllerError> {
        self.0.journal.lock().entries(range, bytes)
    }

    async fn change(
        &self,
        change: impl FnOnce(&Store) -> Result<(), ControllerError> + Send + 'static,
    ) -> Result<(), StorageFault> {
        let done = self.0.work(change).await;
        done.map_err(|error| StorageIOError::write_logs(self.0.failed(&error)).into())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageFault> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(start..end, usize::MAX).map_err(|error| self.unread(error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageFault> {
        self.entries(start..end, SENT_AT_ONCE).map_err(|error| self.unread(error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageFault> {
        let journal = self.0.journal.lock();
        Ok(LogState { last_purged_log_id: journal.purged(), last_log_id: journal.last() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageFault> {
        let vote = *vote;
        let write = move |store: &Store| {
            let directory = vote::directory_of(&vote, store.voters.iter());
            store.journal.lock().set_vote(&vote, directory, store.durable)
        };
        let done = self.0.work(write).await;
        done.map_err(|error| StorageIOError::write_vote(self.0.failed(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageFault> {
        let vote = self.0.journal.lock().vote();
        vote.map_err(|error| StorageIOError::read_vote(self.0.failed(&error)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageFault>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        loop {
            let installed = self.0.installed.notified();
            if !self.0.journal.lock().awaits_snapshot() {
                break;
            }
            // What is waited for may never come.
            let failed = self.0.failure.lock().clone();
            if let Some(failure) = failed.or_else(|| self.0.tasks.has_begun().then(|| "it ends".to_owned())) {
                return Err(StorageIOError::write_logs(AnyError::error(failure)).into());
            }
            tokio::select! {
                () = installed => {}
                () = self.0.tasks.begun() => {}
            }
        }
        let append = move |store: &Store| {
            let now = store.clock.now();
            let job = {
                let mut journal = store.journal.lock();
                journal.append(entries, now)?;
                if store.durable { journal.flush_job() } else { None }
            };
            match job {
                Some(job) => {
                    let result = job.run();
                    store.journal.lock().flushed(result, now)
                }
                None => Ok(()),
            }
        };
        self.change(append).await?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageFault> {
        self.change(move |store| store.journal.lock().truncate(since, store.clock.now())).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageFault> {
        self.change(move |store| store.journal.lock().purge(upto, store.clock.now())).await
    }
}
