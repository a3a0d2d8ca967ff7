//! Those who wait for a partition to grow.
//!
//! A fetch that finds too little leaves a [`Waiter`] with each partition it reads, looks once more, and sleeps. The next
//! append wakes all who are noted here and forgets them; who still has too little comes again. A waiter that gave up is
//! only held weakly, and swept out before the list would grow.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One fetch that waits, perhaps on many partitions.
#[derive(Debug, Default)]
pub struct Waiter {
    notify: Notify,
}

impl Waiter {
    /// A waiter that nobody knows of yet.
    pub fn new() -> Arc<Waiter> {
        Arc::default()
    }

    /// Ends once a partition where it was left has grown; at once if that has happened since the last time.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Mutex<Vec<Weak<Waiter>>>,
}

impl Waiters {
    /// Notes `waiter` until the next [`Waiters::wake`].
    pub(super) fn add(&self, waiter: &Arc<Waiter>) {
        let mut list = self.list.lock();
        if list.len() == list.capacity() {
            list.retain(|waiter| waiter.strong_count() > 0);
        }
        list.push(Arc::downgrade(waiter));
    }

    /// Wakes and forgets all.
    pub(super) fn wake(&self) {
        let mut list = self.list.lock();
        for waiter in list.drain(..).filter_map(|waiter| waiter.upgrade()) {
            waiter.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_between_looking_and_sleeping_is_not_lost() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.add(&waiter);
        waiters.wake();
        waiter.woken().await;
    }

    #[test]
    fn waiters_that_gave_up_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Waiter::new());
        }
        assert!(waiters.list.lock().len() < 100);
    }
}
