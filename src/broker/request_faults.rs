//! Requests that are to be answered with an error, for a test's sake: this API, with this error, so many times; those of one client
//! alone, or about one topic alone.
//!
//! One table a broker, asked before a client's request is worked on; while it is empty that is one relaxed load. What the
//! answer looks like, each API's own, is said in `handlers/refusals.rs`. What brokers ask of each other is left alone.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::protocol::{ApiKey, ErrorCode};

/// One thing that is to go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFault {
    /// By which it is asked after.
    pub id: u64,
    /// The API's key.
    pub api: i16,
    /// The error's code.
    pub code: i16,
    /// How many requests are still to be refused; `None` for all.
    pub left: Option<u64>,
    /// The topic that a request must name, and whose part of it alone is refused; `None` for any request.
    pub topic: Option<String>,
    /// The `client.id` that a request must have; `None` for any client.
    pub client_id: Option<String>,
}

impl RequestFault {
    fn is_due(&self, api: ApiKey, client_id: &str) -> bool {
        let is_its = self.client_id.as_deref().is_none_or(|wanted| wanted == client_id);
        self.api == api as i16 && self.left != Some(0) && is_its
    }
}

/// All that is to go wrong at one broker.
#[derive(Debug, Default)]
pub struct RequestFaults {
    any: AtomicBool,
    faults: Mutex<Vec<RequestFault>>,
    news: watch::Sender<()>,
}

impl RequestFaults {
    /// Adds one; of two for the same API the older one is used up first, those for one topic after the others.
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

    /// The error for a request of `api`, if it is to be refused as a whole; it counts as refused then.
    pub(super) fn take(&self, api: ApiKey, client_id: &str) -> Option<(u64, ErrorCode)> {
        if !self.is_any() {
            return None;
        }
        let mut taken = None;
        self.change(|faults| {
            let due = faults.iter_mut().find(|fault| fault.topic.is_none() && fault.is_due(api, client_id));
            if let Some(fault) = due {
                fault.left = fault.left.map(|left| left - 1);
                taken = Some((fault.id, ErrorCode::from_code(fault.code)));
            }
        });
        taken
    }

    /// The topics whose part of a request of `api` is to be refused, each with its fault and its error; none counts yet.
    pub(super) fn topics(&self, api: ApiKey, client_id: &str) -> Vec<(u64, String, ErrorCode)> {
        let faults = self.faults.lock();
        let due = faults.iter().filter(|fault| fault.is_due(api, client_id));
        due.filter_map(|fault| Some((fault.id, fault.topic.clone()?, ErrorCode::from_code(fault.code)))).collect()
    }

    /// Counts a request as refused by this one; `false` where it was used up or ended meanwhile.
    pub(super) fn take_one(&self, id: u64) -> bool {
        let mut is_taken = false;
        self.change(|faults| {
            if let Some(fault) = faults.iter_mut().find(|fault| fault.id == id && fault.left != Some(0)) {
                fault.left = fault.left.map(|left| left - 1);
                is_taken = true;
            }
        });
        is_taken
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
        RequestFault { id, api: ApiKey::Produce as i16, code: code.code(), left, topic: None, client_id: None }
    }

    #[test]
    fn one_fault_after_the_other_is_used_up() {
        let faults = RequestFaults::default();
        faults.add(fault(1, ErrorCode::NOT_LEADER_OR_FOLLOWER, Some(2)));
        faults.add(fault(2, ErrorCode::REQUEST_TIMED_OUT, None));
        let taken = || faults.take(ApiKey::Produce, "").map(|(_, code)| code);
        assert_eq!([taken(), taken()], [Some(ErrorCode::NOT_LEADER_OR_FOLLOWER); 2]);
        assert_eq!([taken(), taken()], [Some(ErrorCode::REQUEST_TIMED_OUT); 2]);
        assert_eq!(faults.take(ApiKey::Fetch, ""), None);
        faults.end(2);
        assert_eq!(faults.take(ApiKey::Produce, ""), None);
        assert!(!faults.is_any());
        assert_eq!((faults.left(1), faults.left(2)), (Some(Some(0)), None));
    }

    #[test]
    fn a_fault_may_be_for_one_client_or_for_one_topic() {
        let faults = RequestFaults::default();
        let code = ErrorCode::REQUEST_TIMED_OUT;
        faults.add(RequestFault { client_id: Some("gull".into()), ..fault(1, code, Some(1)) });
        faults.add(RequestFault { topic: Some("t".into()), ..fault(2, code, Some(1)) });
        assert_eq!(faults.take(ApiKey::Produce, "tern"), None);
        assert_eq!(faults.take(ApiKey::Produce, "gull"), Some((1, code)));
        assert_eq!(faults.topics(ApiKey::Fetch, "gull"), []);
        assert_eq!(faults.topics(ApiKey::Produce, "gull"), [(2, "t".to_owned(), code)]);
        assert!(faults.take_one(2) && !faults.take_one(2) && !faults.take_one(7));
        assert_eq!(faults.topics(ApiKey::Produce, "gull"), []);
    }

    #[tokio::test]
    async fn its_end_can_be_waited_for() {
        let faults = RequestFaults::default();
        faults.add(fault(1, ErrorCode::REQUEST_TIMED_OUT, Some(1)));
        let mut waiting = Box::pin(faults.until_used(1));
        assert!((&mut waiting).now_or_never().is_none());
        let (id, _) = faults.take(ApiKey::Produce, "").unwrap();
        faults.give_back(id);
        assert!((&mut waiting).now_or_never().is_none());
        faults.take(ApiKey::Produce, "");
        assert!(waiting.await);
        assert!(!faults.until_used(7).await);
    }
}
