//! Requests that are to be answered with an error, for a test's sake: this API, with this error, so many times.
//!
//! One table a broker, asked before a client's request is worked on; while it is empty that is one relaxed load. What the
//! answer looks like, each API's own, is said in `handlers/refusals.rs`. What brokers ask of each other is left alone.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::protocol::{ApiKey, ErrorCode};

/// One thing that is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFault {
    /// By which it is asked after.
    pub id: u64,
    /// The API's key.
    pub api: i16,
    /// The error's code.
    pub code: i16,
    /// How many requests are still to be refused; `None` for all.
    pub left: Option<u64>,
}

/// All that is to go wrong at one broker.
#[derive(Debug, Default)]
pub struct RequestFaults {
    any: AtomicBool,
    faults: Mutex<Vec<RequestFault>>,
    news: watch::Sender<()>,
}

impl RequestFaults {
    /// Adds one; of two for the same API the older one is used up first.
    pub fn add(&self, fault: RequestFault) {
        self.change(|faults| faults.push(fault));
    }

    /// Ends one.
    pub fn end(&self, id: u64) {
        self.change(|faults| faults.retain(|fault| fault.id != id));
    }

    /// How many requests one is still to refuse (`None` for all); `None` where there is no such fault.
    pub fn left(&self, id: u64) -> Option<Option<u64>> {
        self.faults.lock().iter().find(|fault| fault.id == id).map(|fault| fault.left)
    }

    /// Waits until one is used up; `false` where it ends before.
    pub async fn until_used(&self, id: u64) -> bool {
        let mut news = self.news.subscribe();
        loop {
            match self.left(id) {
                Some(Some(0)) => return true,
                None => return false,
                // The sender is ours.
                Some(_) => drop(news.changed().await),
            }
        }
    }

    /// The error for a request of `api`, if it is to be refused; it counts as refused then.
    pub(super) fn take(&self, api: ApiKey) -> Option<(u64, ErrorCode)> {
        if !self.is_any() {
            return None;
        }
        let mut taken = None;
        self.change(|faults| {
            let due = faults.iter_mut().find(|fault| fault.api == api as i16 && fault.left != Some(0));
            if let Some(fault) = due {
                fault.left = fault.left.map(|left| left - 1);
                taken = Some((fault.id, ErrorCode::from_code(fault.code)));
            }
        });
        taken
    }

    /// A request that was taken could not be refused.
    pub(super) fn give_back(&self, id: u64) {
        self.change(|faults| {
            if let Some(fault) = faults.iter_mut().find(|fault| fault.id == id) {
                fault.left = fault.left.map(|left| left + 1);
            }
        });
    }

    /// Whether anything is to go wrong.
    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<RequestFault>)) {
        let mut faults = self.faults.lock();
        change(&mut faults);
        self.any.store(faults.iter().any(|fault| fault.left != Some(0)), Ordering::Relaxed);
        drop(faults);
        self.news.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn fault(id: u64, code: ErrorCode, left: Option<u64>) -> RequestFault {
        RequestFault { id, api: ApiKey::Produce as i16, code: code.code(), left }
    }

    #[test]
    fn one_fault_after_the_other_is_used_up() {
        let faults = RequestFaults::default();
        faults.add(fault(1, ErrorCode::NOT_LEADER_OR_FOLLOWER, Some(2)));
        faults.add(fault(2, ErrorCode::REQUEST_TIMED_OUT, None));
        let taken = || faults.take(ApiKey::Produce).map(|(_, code)| code);
        assert_eq!([taken(), taken()], [Some(ErrorCode::NOT_LEADER_OR_FOLLOWER); 2]);
        assert_eq!([taken(), taken()], [Some(ErrorCode::REQUEST_TIMED_OUT); 2]);
        assert_eq!(faults.take(ApiKey::Fetch), None);
        faults.end(2);
        assert_eq!(faults.take(ApiKey::Produce), None);
        assert!(!faults.is_any());
        assert_eq!((faults.left(1), faults.left(2)), (Some(Some(0)), None));
    }

    #[tokio::test]
    async fn its_end_can_be_waited_for() {
        let faults = RequestFaults::default();
        faults.add(fault(1, ErrorCode::REQUEST_TIMED_OUT, Some(1)));
        let mut waiting = Box::pin(faults.until_used(1));
        assert!((&mut waiting).now_or_never().is_none());
        let (id, _) = faults.take(ApiKey::Produce).unwrap();
        faults.give_back(id);
        assert!((&mut waiting).now_or_never().is_none());
        faults.take(ApiKey::Produce);
        assert!(waiting.await);
        assert!(!faults.until_used(7).await);
    }
}
