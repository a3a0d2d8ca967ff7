//! How long what lags rests, so that a broker that catches up leaves the machine to those who write and read now.
//!
//! It is paid for by work: as long as a task has worked for partitions that lag, so long they rest. The busier the machine,
//! the longer the same work takes, and the rest; whoever has nothing but to catch up still does that half of the time. (Longer
//! rests were tried beside a load as fast as it goes: it lost as much, and for longer. Kafka has nothing of the kind; an
//! operator's throttle, KIP-73, is in [`throttle`](super::throttle).)
//!
//! Nothing here knows a clock: who works tells for how long, and is told how long to rest.

use std::time::Duration;

/// Shorter rests are put together: timers are not that fine.
const SHORTEST: Duration = Duration::from_millis(2);
/// To leave a partition out of a fetch session and to take it in again is work, too: a small part of this.
const EACH: Duration = Duration::from_micros(20);

/// One task's account.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// How long it has worked for what lags since the last rest.
    worked: Duration,
}

impl Rests {
    /// It has worked so long for one that lags.
    pub(super) fn worked(&mut self, took: Duration) {
        self.worked += took;
    }

    /// How long those that lag, so many, are to rest now.
    pub(super) fn due(&mut self, lagging: usize) -> Option<Duration> {
        let each = EACH.saturating_mul(u32::try_from(lagging).unwrap_or(u32::MAX));
        (self.worked >= SHORTEST.max(each)).then(|| std::mem::take(&mut self.worked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_lags_rests_as_long_as_it_was_worked_for() {
        let mut rests = Rests::default();
        rests.worked(MS);
        // Too short for a timer; it is not forgotten.
        assert_eq!(rests.due(1), None);
        rests.worked(2 * MS);
        assert_eq!(rests.due(1), Some(3 * MS));
        assert_eq!(rests.due(1), None);
    }

    #[test]
    fn the_more_lag_the_longer_they_are_worked_for_between_rests() {
        let mut rests = Rests::default();
        rests.worked(19 * MS);
        assert_eq!(rests.due(1_000), None);
        rests.worked(MS);
        assert_eq!(rests.due(1_000), Some(20 * MS));
    }
}
