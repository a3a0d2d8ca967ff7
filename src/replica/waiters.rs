//! Those who wait for a partition to grow.
//!
//! A request that finds too little leaves a [`Waiter`] with each partition it needs, looks once more, and sleeps. Each is
//! noted with the offset that it waits for; once that is passed it is woken and forgotten, and who still has too little comes
//! again. A waiter that gave up is only held weakly, and swept out before the list would grow.
//!
//! A follower reads thousands of partitions and finds news in few. So its session leaves a [`Watch`] with each, once, and
//! what has changed puts the watch's number on the session's [`Marks`]: only those are looked at.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// What has changed of all that a session watches.
#[derive(Debug, Default)]
pub struct Marks {
    marked: Mutex<Vec<usize>>,
    waiter: Waiter,
}

impl Marks {
    /// Of a session that watches nothing yet.
    pub fn new() -> Arc<Marks> {
        Arc::default()
    }

    /// The numbers of the watches that were marked since the last time.
    pub fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.marked.lock())
    }

    /// Ends once something is marked; at once if that has happened since the last time.
    pub async fn woken(&self) {
        self.waiter.woken().await;
    }

    /// Ends the wait for a mark.
    pub fn wake(&self) {
        self.waiter.wake();
    }
}

/// One partition of a session; it is watched for as long as this lives.
#[derive(Debug)]
pub struct Watch {
    marks: Arc<Marks>,
    number: usize,
    is_marked: AtomicBool,
}

impl Watch {
    /// The watch that has this number among those of `marks`; marked, for nothing of it is known.
    pub fn new(marks: &Arc<Marks>, number: usize) -> Arc<Watch> {
        Arc::new(Watch { marks: marks.clone(), number, is_marked: AtomicBool::new(true) })
    }

    /// The partition is looked at now: what changes from here on is to be marked again.
    pub fn begin(&self) {
        self.is_marked.store(false, Ordering::SeqCst);
    }

    fn mark(&self) {
        if !self.is_marked.swap(true, Ordering::SeqCst) {
            self.marks.marked.lock().push(self.number);
            self.marks.waiter.wake();
        }
    }
}

/// The watches on one partition.
#[derive(Debug, Default)]
pub(super) struct Watches {
    list: Mutex<Vec<Weak<Watch>>>,
}

impl Watches {
    pub(super) fn add(&self, watch: &Arc<Watch>) {
        let mut list = self.list.lock();
        list.retain(|watch| watch.strong_count() > 0);
        list.push(Arc::downgrade(watch));
    }

    /// Marks all.
    pub(super) fn mark(&self) {
        for watch in self.list.lock().iter().filter_map(Weak::upgrade) {
            watch.mark();
        }
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

    #[tokio::test]
    async fn a_watch_is_marked_once_until_it_is_looked_at() {
        let (watches, marks) = (Watches::default(), Marks::new());
        let (first, second) = (Watch::new(&marks, 1), Watch::new(&marks, 2));
        watches.add(&first);
        watches.add(&second);
        watches.mark();
        assert_eq!(marks.take(), [0; 0], "nothing is known of it yet anyway");
        first.begin();
        watches.mark();
        watches.mark();
        marks.woken().await;
        assert_eq!(marks.take(), [1]);
        drop((first, second));
        watches.add(&Watch::new(&marks, 3));
        assert_eq!(watches.list.lock().len(), 1);
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
