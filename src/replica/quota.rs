//! How much replication may cost (KIP-73): bytes a second, over some windows of time. A state machine without I/O.
//!
//! ```text
//!   oldest that counts                              now
//!   |-- 900 B --|-- 0 --|-- 1,200 B --|-- 400 B -----|        rate = 2,500 B / (now - start of the oldest)
//! ```
//! A [`Quota`] is told what went over the wire, also what goes beyond it: whoever asks first is served whole, and the next one
//! waits until the rate has come down. The rate is what was counted since the oldest window began, by the time since then,
//! or by the length of one window where that is more: the first bytes of all are not taken for a flood. A window counts no
//! more once nothing came in it for as long as all windows together last; so no burst, however large, is waited for longer.
//!
//! The rules are those of Kafka's replication quotas; [`Quota::free_at`] tells besides when the rate will be within the
//! limit if nothing more comes, so that who waits can wait for that.

use std::collections::VecDeque;
use std::time::Duration;

/// The windows that are looked back on (`replication.quota.window.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// How many.
    pub number: u32,
    /// How long each is.
    pub length: Duration,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { number: 11, length: Duration::from_secs(1) }
    }
}

impl Windows {
    /// How long what was counted is remembered.
    fn memory(self) -> Duration {
        self.length.saturating_mul(self.number)
    }
}

/// What was counted in one window.
#[derive(Debug)]
struct Counted {
    start: Duration,
    /// When something was counted last.
    last: Duration,
    bytes: u64,
}

/// A limit, and what counts against it. Times are those of a clock that never goes back.
#[derive(Debug)]
pub(super) struct Quota {
    /// Bytes a second.
    rate: u64,
    windows: Windows,
    /// The oldest first.
    counted: VecDeque<Counted>,
}

impl Default for Quota {
    /// Without a limit.
    fn default() -> Quota {
        Quota { rate: u64::MAX, windows: Windows::default(), counted: VecDeque::new() }
    }
}

impl Quota {
    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    pub(super) fn set_windows(&mut self, windows: Windows) {
        self.windows = windows;
    }

    /// Counts bytes that went over the wire, whether they were within the limit or not.
    pub(super) fn record(&mut self, bytes: u64, now: Duration) {
        if bytes == 0 {
            return;
        }
        let memory = self.windows.memory();
        self.counted.retain(|window| now < window.last + memory);
        match self.counted.back_mut().filter(|window| now < window.start + self.windows.length) {
            Some(window) => (window.bytes, window.last) = (window.bytes.saturating_add(bytes), now),
            None => {
                // One more than is looked back on, for the oldest may overlap with what is.
                if self.counted.len() > self.windows.number as usize {
                    self.counted.pop_front();
                }
                self.counted.push_back(Counted { start: now, last: now, bytes });
            }
        }
    }

    /// When the rate will be within the limit if nothing more comes; `None` where it is now.
    pub(super) fn free_at(&self, now: Duration) -> Option<Duration> {
        let memory = self.windows.memory();
        let live = self.counted.iter().filter(|window| now < window.last + memory);
        let mut bytes = live.clone().fold(0u64, |sum, window| sum.saturating_add(window.bytes));
        let mut at = now;
        for oldest in live {
            let within = match self.time_for(bytes) {
                time if time <= self.windows.length => at,
                time => at.max(oldest.start.saturating_add(time)),
            };
            let forgotten = oldest.last + memory;
            if within < forgotten {
                return (within > now).then_some(within);
            }
            at = at.max(forgotten);
            bytes = bytes.saturating_sub(oldest.bytes);
        }
        (at > now).then_some(at)
    }

    /// How long these bytes take at the limit.
    fn time_for(&self, bytes: u64) -> Duration {
        match self.rate {
            0 if bytes == 0 => Duration::ZERO,
            0 => Duration::MAX,
            rate => {
                let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate));
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(500);

    fn after(millis: u64) -> Duration {
        START + Duration::from_millis(millis)
    }

    fn limited_to(rate: u64) -> Quota {
        let mut quota = Quota::default();
        quota.set_rate(rate);
        quota
    }

    #[test]
    fn without_a_limit_nothing_is_too_much() {
        let mut quota = Quota::default();
        quota.record(u64::MAX, START);
        quota.record(u64::MAX, START);
        assert_eq!(quota.free_at(START), None);
    }

    #[test]
    fn a_burst_is_waited_for_as_long_as_it_takes_at_the_limit() {
        let mut quota = limited_to(1_000);
        assert_eq!(quota.free_at(START), None);
        quota.record(1_000, START);
        assert_eq!(quota.free_at(START), None, "what a window may take is no burst");
        quota.record(4_000, START);
        assert_eq!(quota.free_at(START), Some(after(5_000)));
        assert_eq!(quota.free_at(after(4_999)), Some(after(5_000)));
        assert_eq!(quota.free_at(after(5_000)), None);
        // What comes then is measured over all the time since.
        quota.record(2_000, after(5_000));
        assert_eq!(quota.free_at(after(5_000)), Some(after(7_000)));
    }

    #[test]
    fn no_burst_is_remembered_for_longer_than_all_windows_last() {
        let mut quota = limited_to(1_000);
        quota.record(1_000_000, START);
        assert_eq!(quota.free_at(START), Some(after(11_000)));
        // What comes in the same window lets it be remembered for longer.
        quota.record(1, after(999));
        assert_eq!(quota.free_at(after(999)), Some(after(11_999)));
        assert_eq!(quota.free_at(after(11_999)), None);
    }

    #[test]
    fn what_is_forgotten_takes_its_time_along() {
        let mut quota = limited_to(1_000);
        quota.record(1, START);
        quota.record(3_000, after(10_500));
        assert_eq!(quota.free_at(after(10_500)), None, "3,001 bytes in more than ten seconds");
        // Once the first byte is forgotten the rest came in half a second, and is a burst.
        assert_eq!(quota.free_at(after(11_000)), Some(after(13_500)));
    }

    #[test]
    fn a_limit_of_nothing_lets_one_through_when_all_is_forgotten() {
        let mut quota = limited_to(0);
        assert_eq!(quota.free_at(START), None);
        quota.record(1, START);
        assert_eq!(quota.free_at(after(1)), Some(after(11_000)));
        assert_eq!(quota.free_at(after(11_000)), None);
    }

    #[test]
    fn another_limit_and_other_windows_hold_for_what_was_counted_before() {
        let mut quota = limited_to(1_000);
        quota.record(6_000, START);
        quota.set_rate(2_000);
        assert_eq!(quota.free_at(START), Some(after(3_000)));
        quota.set_rate(u64::MAX);
        assert_eq!(quota.free_at(START), None);
        quota.set_rate(1_000);
        quota.set_windows(Windows { number: 2, length: Duration::from_secs(2) });
        assert_eq!(quota.free_at(START), Some(after(4_000)));
    }

    #[test]
    fn over_a_long_time_the_limit_holds_and_is_used() {
        let mut quota = limited_to(10_000);
        let (mut now, mut sent) = (START, 0u64);
        while now < START + Duration::from_secs(600) {
            match quota.free_at(now) {
                Some(at) => {
                    assert!(at > now, "who waits would wait for ever");
                    let shortly_before = at - Duration::from_nanos(1);
                    assert_eq!(quota.free_at(shortly_before.max(now)), Some(at));
                    assert_eq!(quota.free_at(at), None);
                    now = at;
                }
                None => {
                    quota.record(25_000, now);
                    sent += 25_000;
                    now += Duration::from_millis(7);
                }
            }
        }
        assert!((5_900_000..=6_200_000).contains(&sent), "{sent} bytes in 600 s at 10,000 a second");
        assert!(quota.counted.len() <= 12);
    }
}
