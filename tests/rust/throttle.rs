//! Moves that may cost only so much (KIP-73), among three brokers in one process, by a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use strandline::client::admin::configs::{Alteration, Resource};
use strandline::client::admin::topics::NewTopic;
use strandline::client::producer::{Producer, Record};
use strandline::common::clock::{Clock, ManualClock};
use strandline::common::ids::{NodeId, Offset, TopicPartition};

use crate::cluster::{PATIENCE, Shore, run};

/// What a fetch takes: two records.
const FETCH: &str = "100000";
/// So much may be taken in a second, and all of it at once in the first.
const RATE: u64 = 150_000;
const RECORD: usize = 45_000;
/// After which nothing is remembered of what was taken.
const FORGOTTEN: Duration = Duration::from_secs(12);

struct Throttled {
    shore: Shore,
    clock: Arc<ManualClock>,
    producer: Producer,
}

impl Throttled {
    /// Partition 0 of "t" on brokers 0 and 1, with as many records.
    async fn with(records: usize) -> Throttled {
        let clock = ManualClock::new(1_700_000_000_000);
        // A fetch that waits is only answered in time where the clock, or a change, wakes it.
        let own = [
            ("replica.fetch.max.bytes", FETCH),
            ("replica.fetch.response.max.bytes", FETCH),
            ("replica.fetch.wait.max.ms", "120000"),
            ("replica.lag.time.max.ms", "120000"),
        ];
        let shore = Shore::on_clock(clock.clone(), &own).await;
        let assignments = [(0, vec![0, 1])].into();
        shore.make(NewTopic { assignments, ..NewTopic::new("t", 1) }).await;
        let producer = shore.producer();
        let throttled = Throttled { shore, clock, producer };
        throttled.send(records).await;
        throttled
    }

    /// Writes records one by one, each to all in sync before the next.
    async fn send(&self, records: usize) {
        let value = vec![b'v'; RECORD];
        for _ in 0..records {
            let (value, timestamp) = (Some(&value[..]), Some(self.clock.now()));
            let record = Record { topic: "t", partition: Some(0), value, timestamp, ..Record::default() };
            self.producer.send_async(&record).await.unwrap().await.unwrap();
        }
    }

    async fn configure(&self, changes: &[(Resource, Vec<Alteration>)]) {
        let admin = self.shore.admin();
        for (_, changed) in admin.alter_configs(changes, false).await.unwrap() {
            changed.unwrap();
        }
        admin.close();
    }

    /// Begins to move it; nobody waits for that.
    async fn begin_move(&self, target: &[NodeId]) {
        let admin = self.shore.admin();
        let moves = [(TopicPartition::new("t", 0), Some(target.to_vec()))];
        for (_, begun) in admin.alter_reassignments(&moves).await.unwrap() {
            begun.unwrap();
        }
        admin.close();
    }

    fn is_at(&self, replicas: &[NodeId]) -> bool {
        let broker = self.shore.cluster.running().remove(0);
        broker.controller().read(|image| {
            let partition = image.partition("t", 0).unwrap();
            partition.replicas == replicas && !partition.is_reassigning()
        })
    }

    /// How far broker 2 is.
    async fn reach(&self) -> Offset {
        let broker = self.shore.cluster.broker(2).unwrap();
        match broker.open_partition("t", 0).await {
            Ok(partition) => partition.log_end_offset(),
            // It has not heard of it yet.
            Err(_) => 0,
        }
    }

    async fn until_reached(&self, offset: Offset) {
        let waiting = async {
            while self.reach().await < offset {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn until_at(&self, replicas: &[NodeId]) {
        let waiting = async {
            while !self.is_at(replicas) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn end(self) {
        self.producer.close(PATIENCE).await;
        self.shore.cluster.stop_all().await.unwrap();
    }
}

/// One side alone is throttled: the leader, or the one that comes.
fn a_move_takes_its_time(side: &'static str) {
    run(async move {
        let throttled = Throttled::with(20).await;
        let set =
            |key: &str, value: String| vec![Alteration::Set(format!("{side}.replication.throttled.{key}"), value)];
        let changes = [
            (Resource::Topic("t".to_owned()), set("replicas", "*".to_owned())),
            (Resource::Broker(None), set("rate", RATE.to_string())),
        ];
        throttled.configure(&changes).await;
        throttled.begin_move(&[0, 2]).await;
        throttled.until_reached(2).await;
        // Broker 1 is in sync: what is written is not held back, though it counts.
        throttled.send(20).await;
        let held_at = throttled.reach().await;
        assert!(held_at <= 6, "{held_at} records at once");
        throttled.send(20).await;
        assert_eq!(throttled.reach().await, held_at, "no time has passed");
        assert!(!throttled.is_at(&[0, 2]));

        let mut reached = held_at;
        while !throttled.is_at(&[0, 2]) {
            throttled.clock.advance(FORGOTTEN);
            let next = (reached + 1).min(60);
            throttled.until_reached(next).await;
            if throttled.reach().await == 60 {
                break;
            }
            reached = throttled.reach().await;
        }
        throttled.until_at(&[0, 2]).await;
        throttled.end().await;
    });
}

#[test]
fn a_move_takes_its_time_where_the_leader_is_throttled() {
    a_move_takes_its_time("leader");
}

#[test]
fn a_move_takes_its_time_where_the_follower_is_throttled() {
    a_move_takes_its_time("follower");
}

/// A fetch waits at the leader then, and is to hear of it.
#[test]
fn a_move_is_done_when_its_leader_is_freed_in_the_middle() {
    run(async {
        let throttled = Throttled::with(20).await;
        let rate = "leader.replication.throttled.rate".to_owned();
        let all = vec![Alteration::Set("leader.replication.throttled.replicas".to_owned(), "0:0".to_owned())];
        let slow = vec![Alteration::Set(rate.clone(), "1".to_owned())];
        throttled.configure(&[(Resource::Topic("t".to_owned()), all), (Resource::Broker(Some(0)), slow)]).await;
        throttled.begin_move(&[0, 2]).await;
        throttled.until_reached(1).await;
        throttled.send(10).await;
        assert!(throttled.reach().await < 20 && !throttled.is_at(&[0, 2]));
        throttled.configure(&[(Resource::Broker(Some(0)), vec![Alteration::Delete(rate)])]).await;
        throttled.until_at(&[0, 2]).await;
        throttled.end().await;
    });
}

#[test]
fn a_move_is_done_when_its_throttle_is_lifted_in_the_middle() {
    run(async {
        let throttled = Throttled::with(20).await;
        let admin = throttled.shore.admin();
        let moves = [(TopicPartition::new("t", 0), vec![2, 1])];
        for (_, set) in admin.throttle_moves(&moves, 1).await.unwrap() {
            set.unwrap();
        }
        throttled.begin_move(&[2, 1]).await;
        throttled.until_reached(1).await;
        throttled.send(10).await;
        assert!(throttled.reach().await < 20 && !throttled.is_at(&[2, 1]));
        assert!(admin.is_throttled("t").await.unwrap());
        // No time passes.
        for (_, lifted) in admin.lift_throttles(&["t".to_owned()]).await.unwrap() {
            lifted.unwrap();
        }
        throttled.until_at(&[2, 1]).await;
        assert_eq!(throttled.reach().await, 30);
        assert!(!admin.is_throttled("t").await.unwrap());
        admin.close();
        throttled.end().await;
    });
}
