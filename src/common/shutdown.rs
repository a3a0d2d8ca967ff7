//! One signal that tells all tasks of a broker to end, and one wait until they have.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use parking_lot::Mutex;

/// Tells those who hold a [`Shutdown`] that it is time, and keeps the tasks that must end.
///
/// Clones share one signal. A task spawned through [`Shutdown::spawn`] is waited for by [`Shutdown::finish`].
#[derive(Debug, Clone)]
pub struct Shutdown {
    signal: Arc<watch::Sender<bool>>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown { signal: Arc::new(watch::channel(false).0), tasks: Arc::default() }
    }
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Gives the signal; a second time changes nothing.
    pub fn begin(&self) {
        self.signal.send_replace(true);
    }

    /// Whether the signal was given.
    pub fn has_begun(&self) -> bool {
        *self.signal.borrow()
    }

    /// Ends when the signal is given, at once if it was.
    pub async fn begun(&self) {
        let mut receiver = self.signal.subscribe();
        // An error means that the sender is gone, which `self` rules out.
        let _ = receiver.wait_for(|begun| *begun).await;
    }

    /// Starts a task that [`Shutdown::finish`] waits for. It must end soon after the signal.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        // Reap what has ended, so that short tasks do not pile up.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Does work that may wait, on a thread for it; `None` if it panics, or the runtime ends before it could begin.
    ///
    /// [`Shutdown::finish`] waits for it even where nobody waits for its result any more: it may hold files.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock();
            while tasks.try_join_next().is_some() {}
            // Who asked may have gone.
            tasks.spawn_blocking(move || drop(sender.send(work())));
        }
        receiver.await.ok()
    }

    /// Ends every task where it stands, as the end of its process would, and waits until none is left. Work on threads of its
    /// own cannot be ended: it is waited for.
    pub async fn abort(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock());
            if tasks.is_empty() {
                break;
            }
            tasks.abort_all();
            while tasks.join_next().await.is_some() {}
        }
        // For those who hold a clone and ask later.
        self.begin();
    }

    /// Gives the signal and waits until every task has ended.
    pub async fn finish(&self) {
        self.begin();
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock());
            if tasks.is_empty() {
                return;
            }
            while tasks.join_next().await.is_some() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finish_waits_for_every_task() {
        let shutdown = Shutdown::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let signal = shutdown.clone();
        shutdown.spawn(async move {
            signal.begun().await;
            let _ = sender.send(());
        });
        assert!(!shutdown.has_begun());
        shutdown.finish().await;
        receiver.await.unwrap();
    }

    #[tokio::test]
    async fn abort_ends_tasks_that_would_not_end_by_themselves() {
        let shutdown = Shutdown::new();
        let held = Arc::new(());
        let holding = held.clone();
        shutdown.spawn(async move {
            let _holding = holding;
            std::future::pending::<()>().await;
        });
        shutdown.abort().await;
        assert!(Arc::strong_count(&held) == 1 && shutdown.has_begun());
    }

    #[tokio::test]
    async fn finish_waits_for_work_that_nobody_waits_for() {
        let shutdown = Shutdown::new();
        let held = Arc::new(());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let work = {
            let held = held.clone();
            move || {
                let _held = held;
                gone.recv().unwrap();
            }
        };
        {
            let working = shutdown.blocking(work);
            tokio::pin!(working);
            // One poll starts it; then it is given up.
            assert!(futures_util::poll!(working.as_mut()).is_pending());
        }
        assert_eq!(Arc::strong_count(&held), 2);
        go.send(()).unwrap();
        shutdown.finish().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
