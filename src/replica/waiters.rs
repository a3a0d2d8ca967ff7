//! Those who wait for a partition to grow.
//!
//! A request that finds too little leaves a [`Waiter`] with each partition it needs, looks once more, and sleeps. Each is
//! noted with the offset that it waits for; once that is passed it is woken and forgotten, and who still has too little comes
//! again. A waiter that gave up is only held weakly, and swept out before the list would grow.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::common::ids::Offset;

/// One request that waits, perhaps on many partitions.
#[derive(Debug, Default)]
pub struct Waiter {
    notify: Notify,
}

impl Waiter {
    /// A waiter that nobody knows of yet.
    pub fn new() -> Arc<Waiter> {
        Arc::default()
    }

    /// Ends once what it waits for has come; at once if that has happened since the last time.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Ends its wait.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

/// The waiters of one partition, each with the offset that it waits for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Mutex<Vec<(Offset, Weak<Waiter>)>>,
}

impl Waiters {
    /// Notes `waiter` until `offset` is passed.
    pub(super) fn add(&self, waiter: &Arc<Waiter>, offset: Offset) {
        let mut list = self.list.lock();
        if list.len() == list.capacity() {
            list.retain(|(_, waiter)| waiter.strong_count() > 0);
        }
        list.push((offset, Arc::downgrade(waiter)));
    }

    /// Wakes and forgets those who wait for `offset` or less.
    pub(super) fn wake(&self, offset: Offset) {
        let mut list = self.list.lock();
        list.retain(|(wanted, waiter)| {
            let due = *wanted <= offset;
            if due && let Some(waiter) = waiter.upgrade() {
                waiter.wake();
            }
            !due
        });
    }

    /// Wakes and forgets all: something else has changed.
    pub(super) fn wake_all(&self) {
        self.wake(Offset::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_between_looking_and_sleeping_is_not_lost() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.add(&waiter, 1);
        waiters.wake(1);
        waiter.woken().await;
    }

    #[tokio::test]
    async fn only_those_are_woken_whose_offset_is_passed() {
        let waiters = Waiters::default();
        let (early, late) = (Waiter::new(), Waiter::new());
        waiters.add(&early, 5);
        waiters.add(&late, 6);
        waiters.wake(5);
        early.woken().await;
        assert!(futures_util::FutureExt::now_or_never(late.woken()).is_none());
        waiters.wake_all();
        late.woken().await;
    }

    #[test]
    fn waiters_that_gave_up_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            waiters.add(&Waiter::new(), 0);
        }
        assert!(waiters.list.lock().len() < 100);
    }
}
