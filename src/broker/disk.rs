//! What a broker does when its disk fails.
//!
//! Apache Kafka halts a broker when the last of its log dirs fails, also when it is full; this one has a single log dir. So:
//!
//! | who else there is | what becomes of it |
//! |---|---|
//! | other brokers that may lead | it ends where it stands, as if it were killed: they lead what it led, and what it had not written it never acknowledged |
//! | nobody | it goes on, and refuses what it cannot write or read (KAFKA_STORAGE_ERROR), until it can again: its end would help nobody |
//!
//! Any write counts, be it of a partition's log, the metadata's, or a checkpoint, and any read that is answered with an error
//! ([`WatchedFs`](crate::log::fs::watched::WatchedFs)).

use std::sync::Arc;

use tokio::sync::watch;

use super::Broker;
use crate::log::fs::SharedFs;
use crate::log::fs::watched::WatchedFs;

/// The last write or read that failed, in words.
#[derive(Debug, Clone, Default)]
pub(super) struct DiskFailures(Arc<watch::Sender<Option<String>>>);

impl DiskFailures {
    /// The file system, watched.
    pub(super) fn watch(&self, under: SharedFs) -> SharedFs {
        let failures = self.clone();
        WatchedFs::of(under, move |path, error| {
            failures.0.send_replace(Some(format!("{}: {error}", path.display())));
        })
    }
}

impl Broker {
    /// Ends when a write or a read has failed while others may lead what this broker leads, and tells which; `None` when this broker
    /// stops before.
    pub fn disk_failed(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut failures = self.disk_failures.0.subscribe();
        let (shutdown, controller, id) = (self.shutdown.clone(), self.controller.clone(), self.node.id);
        async move {
            loop {
                // A failure of the time before it joined is looked at as well.
                let failure = failures.borrow_and_update().clone();
                if let Some(failure) = failure {
                    let others = |image: &crate::metadata::Image| {
                        image.brokers().any(|broker| broker.id != id && broker.is_active())
                    };
                    if controller.read(others) {
                        return Some(failure);
                    }
                    tracing::error!(%failure, "the disk fails, and no other broker is there to lead");
                }
                tokio::select! {
                    // The sender is held until the shutdown is over.
                    _ = failures.changed() => {}
                    () = shutdown.begun() => return None,
                }
            }
        }
    }
}
