//! The clock: the only way to know the time or to wait for it.
//!
//! Whoever starts a broker gives it a [`Clock`]. [`SystemClock`] is the real one; [`ManualClock`] stands still until a
//! test moves it, and then wakes every sleeper whose time has come. [`TimeOfDay`] has the time of one clock and the waits
//! of another: a client of a broker whose clock is moved. State machines do not hold a clock: they are told the time with
//! each event.
//!
//! Whoever moves a manual clock wants to know when what was due is done. So what a broker does at its time, it does in a
//! [`Turn`]: [`Clock::turn`] ends with one, [`Clock::busy`] gives one for work that may lead to a new wait, and
//! [`ManualClock::settled`] waits until none is left. A turn is held until the next wait is asked for, so that a clock
//! that has settled has everybody's next wait. With the machine's clock all of this is nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::ids::Timestamp;

/// The milliseconds of a duration as people write it: "500ms", "90s", "15m", "12h", "7d"; `None` for anything else.
pub fn duration_millis(text: &str) -> Option<f64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// A wait that ends when its time has come.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;
/// A wait that ends with a turn to work.
pub type NextTurn = Pin<Box<dyn Future<Output = Turn> + Send>>;

/// What is due is being done while this lives: drop it once that is done, and the next wait is asked for.
#[derive(Debug, Default)]
pub struct Turn {
    /// How many there are, of a clock that somebody may wait for.
    turns: Option<watch::Sender<usize>>,
}

impl Turn {
    fn of(turns: &watch::Sender<usize>) -> Turn {
        turns.send_modify(|count| *count += 1);
        Turn { turns: Some(turns.clone()) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = &self.turns {
            turns.send_modify(|count| *count -= 1);
        }
    }
}

/// What the time is, and how to wait for it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time of day in milliseconds since 1970; it may jump.
    fn now(&self) -> Timestamp;
    /// The time since some fixed moment; it never goes back.
    fn monotonic(&self) -> Duration;
    /// Ends once [`Clock::monotonic`] has moved on by `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Ends once [`Clock::monotonic`] reads `at`, also where somebody moves the clock while this is asked for.
    fn sleep_until(&self, at: Duration) -> Sleep {
        let sleep = self.sleep(at.saturating_sub(self.monotonic()));
        if self.monotonic() < at { sleep } else { Box::pin(std::future::ready(())) }
    }

    /// Ends as [`Clock::sleep`] does, with a turn to do what is due.
    fn turn(&self, duration: Duration) -> NextTurn {
        let sleep = self.sleep(duration);
        Box::pin(async move {
            sleep.await;
            Turn::default()
        })
    }

    /// A turn for work that may lead to a wait.
    fn busy(&self) -> Turn {
        Turn::default()
    }
}

/// A clock that several rooms share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, with tokio's timers.
#[derive(Debug)]
pub struct SystemClock {
    /// Tokio's, so that it stands still with the timers where a test stops those.
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

/// The time of day of one clock, and the waits of another.
#[derive(Debug)]
pub struct TimeOfDay {
    /// Whose time of day it is.
    pub day: SharedClock,
    /// By which one waits.
    pub waits: SharedClock,
}

impl Clock for TimeOfDay {
    fn now(&self) -> Timestamp {
        self.day.now()
    }

    fn monotonic(&self) -> Duration {
        self.waits.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.waits.sleep(duration)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<Manual>,
    turns: watch::Sender<usize>,
}

#[derive(Debug)]
struct Manual {
    start: Timestamp,
    elapsed: Duration,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<Turn>>,
    next: u64,
}

impl ManualClock {
    /// A clock that reads `now` until it is moved.
    pub fn new(now: Timestamp) -> Arc<ManualClock> {
        let state = Manual { start: now, elapsed: Duration::ZERO, sleepers: BTreeMap::new(), next: 0 };
        Arc::new(ManualClock { state: Mutex::new(state), turns: watch::Sender::new(0) })
    }

    /// Moves the time on by `duration` and wakes, in their order, all who waited for a moment in it.
    ///
    /// Each finds the time as it is afterwards: what was due many times is done once.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state.lock();
        state.elapsed += duration;
        let after = (state.elapsed + Duration::from_nanos(1), 0);
        let later = state.sleepers.split_off(&after);
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        // All turns before any is taken: between two of them the clock has not settled.
        let due: Vec<_> = due.into_values().map(|sleeper| (sleeper, Turn::of(&self.turns))).collect();
        for (sleeper, turn) in due {
            // A sleeper that was dropped no longer waits.
            let _ = sleeper.send(turn);
        }
    }

    /// Ends when nobody has a turn: what was due is done, and who waits for a later time has said so.
    pub async fn settled(&self) {
        // An error means that the sender is gone, which `self` rules out.
        let _ = self.turns.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Moves the time on by `duration`, and ends when what was due in it is done.
    pub async fn pass(&self, duration: Duration) {
        // Who is about to wait would else wait from a time that is too late.
        self.settled().await;
        self.advance(duration);
        self.settled().await;
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
        let turn = self.turn(duration);
        Box::pin(async move {
            turn.await;
        })
    }

    fn turn(&self, duration: Duration) -> NextTurn {
        let mut state = self.state.lock();
        if duration.is_zero() {
            return Box::pin(std::future::ready(self.busy()));
        }
        let (sender, receiver) = oneshot::channel();
        // What lies beyond all time is never due.
        let key = (state.elapsed.saturating_add(duration), state.next);
        state.next += 1;
        state.sleepers.insert(key, sender);
        Box::pin(async move {
            // The clock is gone: nothing will ever be due again, and nobody is left to be late for.
            receiver.await.unwrap_or_default()
        })
    }

    fn busy(&self) -> Turn {
        Turn::of(&self.turns)
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
    async fn a_manual_clock_settles_once_all_turns_are_over() {
        let clock = ManualClock::new(0);
        // Nobody has a turn.
        clock.settled().await;
        let (first, second) = (clock.turn(Duration::from_secs(1)), clock.turn(Duration::from_secs(2)));
        drop(clock.turn(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(5));
        let (first, second) = (first.await, second.await);
        let waits = |clock: &Arc<ManualClock>| {
            let clock = clock.clone();
            tokio::spawn(async move { clock.settled().await })
        };
        let settled = waits(&clock);
        drop(first);
        tokio::task::yield_now().await;
        assert!(!settled.is_finished());
        drop(second);
        settled.await.unwrap();
        let busy = clock.busy();
        let settled = waits(&clock);
        tokio::task::yield_now().await;
        assert!(!settled.is_finished());
        drop(busy);
        settled.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_done_in_turns_is_done_when_time_has_passed() {
        let clock = ManualClock::new(0);
        let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (worker, counter) = (clock.clone(), done.clone());
        let mut turn = clock.busy();
        let job = tokio::spawn(async move {
            loop {
                let next = worker.turn(Duration::from_secs(60));
                drop(turn);
                turn = next.await;
                tokio::task::yield_now().await;
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        for expected in 1..=10 {
            clock.pass(Duration::from_secs(60)).await;
            assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), expected);
        }
        // Many times at once are one.
        clock.pass(Duration::from_secs(6_000)).await;
        assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), 11);
        job.abort();
    }

    /// A clock that somebody moves between the question what the time is and the wait.
    #[derive(Debug)]
    struct Moved(Arc<ManualClock>);

    impl Clock for Moved {
        fn now(&self) -> Timestamp {
            self.0.now()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            self.0.advance(Duration::from_secs(1));
            self.0.sleep(duration)
        }
    }

    #[tokio::test]
    async fn a_wait_for_a_moment_ends_where_that_has_come_meanwhile() {
        let clock = ManualClock::new(0);
        Moved(clock.clone()).sleep_until(Duration::from_secs(1)).await;
        clock.sleep_until(Duration::from_secs(1)).await;
        let later = clock.sleep_until(Duration::from_secs(3));
        clock.advance(Duration::from_secs(2));
        later.await;
    }

    #[tokio::test]
    async fn the_time_of_one_clock_goes_with_the_waits_of_another() {
        let (day, waits) = (ManualClock::new(5), ManualClock::new(0));
        let clock = TimeOfDay { day: day.clone(), waits: waits.clone() };
        let sleep = clock.sleep(Duration::from_secs(1));
        day.advance(Duration::from_secs(9));
        assert_eq!((clock.now(), clock.monotonic(), waits.sleepers()), (9_005, Duration::ZERO, 1));
        waits.advance(Duration::from_secs(1));
        sleep.await;
    }

    #[tokio::test]
    async fn the_system_clock_moves_on() {
        let clock = SystemClock::shared();
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(1)).await;
        assert!(clock.monotonic() > before && clock.now() > 1_600_000_000_000);
    }
}
