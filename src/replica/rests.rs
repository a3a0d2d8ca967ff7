//! How long what lags rests, so that a broker that catches up leaves the machine to those who write and read now.
//!
//! It is paid for by work: as long as a task has worked for partitions that lag, so long they rest, and three times as long
//! while records come for partitions that are in sync, whose writers wait for this broker too. The busier the machine, the
//! longer the same work takes, and the rest. Whoever has nothing but to catch up still does that half of the time. (Kafka
//! has nothing of the kind; an operator's throttle, KIP-73, is in [`throttle`](super::throttle).)
//!
//! Nothing here knows a clock: who works tells for how long, and is told how long to rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many times as long as the work the rest is, while nobody in sync is written to.
const ALONE: u32 = 1;
/// And while somebody is.
const BESIDE_OTHERS: u32 = 3;
/// Others count from this part of what came for those that lag.
const OTHERS: u64 = 4;

/// Shorter rests are put together: timers are not that fine.
const SHORTEST: Duration = Duration::from_millis(2);
/// To leave a partition out of a fetch session and to take it in again is work, too: a small part of this.
const EACH: Duration = Duration::from_micros(20);

/// What came for partitions that are in sync, over all tasks of a broker, in bytes.
#[derive(Debug, Default)]
pub(super) struct InSync(AtomicU64);

/// One task's account.
#[derive(Debug)]
pub(super) struct Rests {
    /// How long it has worked for what lags since the last rest.
    worked: Duration,
    /// What came by that, in bytes.
    bytes: u64,
    in_sync: Arc<InSync>,
    /// What had come for those in sync at the last rest.
    in_sync_then: u64,
}

impl Rests {
    pub(super) fn new(in_sync: Arc<InSync>) -> Rests {
        let in_sync_then = in_sync.0.load(Ordering::Relaxed);
        Rests { worked: Duration::ZERO, bytes: 0, in_sync, in_sync_then }
    }

    /// So much came for a partition that is in sync.
    pub(super) fn came_in_sync(&self, bytes: usize) {
        self.in_sync.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It has worked so long for one that lags.
    pub(super) fn worked(&mut self, took: Duration, bytes: usize) {
        self.worked += took;
        self.bytes += bytes as u64;
    }

    /// How long those that lag, so many, are to rest now.
    pub(super) fn due(&mut self, lagging: usize) -> Option<Duration> {
        let each = EACH.saturating_mul(u32::try_from(lagging).unwrap_or(u32::MAX));
        if self.worked < SHORTEST.max(each) {
            return None;
        }
        let in_sync = self.in_sync.0.load(Ordering::Relaxed);
        let others = in_sync - std::mem::replace(&mut self.in_sync_then, in_sync);
        let times = if others > std::mem::take(&mut self.bytes) / OTHERS { BESIDE_OTHERS } else { ALONE };
        Some(times * std::mem::take(&mut self.worked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MB: usize = 1 << 20;

    #[test]
    fn one_who_only_catches_up_rests_as_long_as_it_worked() {
        let mut rests = Rests::new(Arc::default());
        rests.worked(MS, MB);
        // Too short for a timer; it is not forgotten.
        assert_eq!(rests.due(1), None);
        rests.worked(2 * MS, MB);
        assert_eq!(rests.due(1), Some(3 * MS));
        assert_eq!(rests.due(1), None);
    }

    #[test]
    fn where_those_in_sync_are_written_to_it_is_longer() {
        let in_sync = Arc::new(InSync::default());
        let mut rests = Rests::new(in_sync.clone());
        let other = Rests::new(in_sync);
        other.came_in_sync(MB);
        rests.worked(2 * MS, 2 * MB);
        assert_eq!(rests.due(1), Some(6 * MS));
        // What came before the last rest does not count, nor does a trickle.
        other.came_in_sync(MB / 2);
        rests.worked(2 * MS, 2 * MB);
        assert_eq!(rests.due(1), Some(2 * MS));
    }

    #[test]
    fn the_more_lag_the_longer_they_are_worked_for_between_rests() {
        let mut rests = Rests::new(Arc::default());
        rests.worked(19 * MS, MB);
        assert_eq!(rests.due(1_000), None);
        rests.worked(MS, MB);
        assert_eq!(rests.due(1_000), Some(20 * MS));
    }
}
