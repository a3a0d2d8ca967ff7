//! The clock: the only way to know the time or to wait for it.
//!
//! Whoever starts a broker gives it a [`Clock`]. [`SystemClock`] is the real one; [`ManualClock`] stands still until a
//! test moves it, and then wakes every sleeper whose time has come. State machines do not hold a clock: they are told
//! the time with each event.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::ids::Timestamp;

/// A wait that ends when its time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the time is, and how to wait for it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time of day in milliseconds since 1970; it may jump.
    fn now(&self) -> Timestamp;
    /// The time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;
    /// Ends once [`Clock::monotonic`] has moved on by `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A clock that several rooms share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, with tokio's timers.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The machine's clock.
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Before 1970 there is no Kafka: a clock set there reads 0.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Timestamp)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    start: Timestamp,
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    next: u64,
}

impl ManualClock {
    /// A clock that reads `now` until it is moved.
    pub fn new(now: Timestamp) -> Arc<ManualClock> {
        let state = Manual { start: now, elapsed: Duration::ZERO, sleepers: BTreeMap::new(), next: 0 };
        Arc::new(ManualClock { state: Mutex::new(state) })
    }

    /// Moves the time on by `duration` and wakes, in their order, all who waited for a moment in it.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state.lock();
        state.elapsed += duration;
        let after = (state.elapsed + Duration::from_nanos(1), 0);
        let later = state.sleepers.split_off(&after);
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        for (_, sleeper) in due {
            // A sleeper that was dropped no longer waits.
            let _ = sleeper.send(());
        }
    }

    /// How many wait for the clock to move.
    pub fn sleepers(&self) -> usize {
        self.state.lock().sleepers.values().filter(|sleeper| !sleeper.is_closed()).count()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let state = self.state.lock();
        state.start + state.elapsed.as_millis() as Timestamp
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().elapsed
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut state = self.state.lock();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (sender, receiver) = oneshot::channel();
        let key = (state.elapsed + duration, state.next);
        state.next += 1;
        state.sleepers.insert(key, sender);
        Box::pin(async move {
            // The clock is gone: nothing will ever be due again, and nobody is left to be late for.
            let _ = receiver.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = ManualClock::new(1_000);
        let early = clock.sleep(Duration::from_millis(10));
        let late = clock.sleep(Duration::from_millis(20));
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_millis(10));
        early.await;
        assert_eq!((clock.now(), clock.sleepers()), (1_010, 1));
        clock.advance(Duration::from_secs(1));
        late.await;
    }

    #[tokio::test]
    async fn the_system_clock_moves_on() {
        let clock = SystemClock::shared();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(1)).await;
        assert!(clock.monotonic() > before && clock.now() > 1_600_000_000_000);
    }
}
