//! Partitions that move between three brokers while they are written: what comes is fetched, what goes is taken away.

use std::path::Path;

use strandline::client::admin::reassign::Reassignment;
use strandline::client::admin::topics::NewTopic;
use strandline::common::ids::{NodeId, TopicPartition};
use strandline::log::fs::FileSystem;
use strandline::metadata::image::PartitionImage;
use strandline::protocol::ErrorCode;

use crate::cluster::{PATIENCE, Shore, numbers, run};

impl Shore {
    /// Partition 0 of topic "t" on these brokers.
    async fn placed(replicas: &[NodeId], own: &[(&str, &str)]) -> Shore {
        let shore = Shore::with(own).await;
        let assignments = [(0, replicas.to_vec())].into();
        shore.make(NewTopic { assignments, ..NewTopic::new("t", 1) }).await;
        shore
    }

    /// Moves it; without a target, takes a move back.
    async fn reassign(&self, target: Option<&[NodeId]>) -> Result<(), ErrorCode> {
        let admin = self.admin();
        let moves = [(TopicPartition::new("t", 0), target.map(<[NodeId]>::to_vec))];
        let [(_, done)] = admin.alter_reassignments(&moves).await.unwrap().try_into().ok().unwrap();
        admin.close();
        done.map_err(|error| error.code().unwrap())
    }

    async fn moving(&self) -> Vec<Reassignment> {
        let admin = self.admin();
        let moving = admin.list_reassignments(None).await.unwrap();
        admin.close();
        moving
    }

    /// Waits until the partition is so, as some broker sees it.
    async fn until(&self, is_so: impl Fn(&PartitionImage) -> bool) {
        let broker = self.cluster.running().remove(0);
        let mut news = broker.controller().subscribe();
        let waiting = async {
            while !broker.controller().read(|image| is_so(image.partition("t", 0).unwrap())) {
                news.recv().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    async fn until_at(&self, replicas: &[NodeId]) {
        self.until(|now| now.replicas == replicas && !now.is_reassigning()).await;
        self.cluster.wait_healthy(PATIENCE).await.unwrap();
    }

    /// Whether a broker has the partition's folder.
    fn lies_at(&self, id: NodeId) -> bool {
        let entries = self.disk.list(Path::new(&format!("/data/broker-{id}"))).unwrap();
        entries.iter().any(|entry| entry.name == "t-0")
    }

    /// Waits until it has it no more: a moment after the metadata said so.
    async fn until_gone_from(&self, id: NodeId) {
        let waiting = async {
            while self.lies_at(id) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }
}

#[test]
fn a_partition_moves_while_it_is_written() {
    run(async {
        let shore = Shore::placed(&[0, 1], &[]).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..50).await;
        shore.reassign(Some(&[2, 1])).await.unwrap();
        shore.send(&producer, "t", 50..100).await;
        shore.until_at(&[2, 1]).await;
        assert!(shore.moving().await.is_empty());
        shore.send(&producer, "t", 100..120).await;
        producer.close(PATIENCE).await;
        let leader = shore.leader("t");
        assert_ne!(leader, 0);
        assert_eq!(shore.values_at(leader, "t").await, numbers(0..120));
        shore.until_gone_from(0).await;
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn the_replication_factor_grows_and_shrinks() {
    run(async {
        let shore = Shore::placed(&[0], &[]).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..20).await;
        shore.reassign(Some(&[0, 1, 2])).await.unwrap();
        shore.until_at(&[0, 1, 2]).await;
        shore.send(&producer, "t", 20..40).await;
        shore.cluster.kill_broker(0).await.unwrap();
        shore.send(&producer, "t", 40..60).await;
        shore.cluster.start_broker(0).await.unwrap();
        shore.cluster.wait_healthy(PATIENCE).await.unwrap();
        shore.reassign(Some(&[0])).await.unwrap();
        shore.until_at(&[0]).await;
        shore.send(&producer, "t", 60..70).await;
        producer.close(PATIENCE).await;
        assert_eq!(shore.values_at(0, "t").await, numbers(0..70));
        shore.until_gone_from(1).await;
        shore.until_gone_from(2).await;
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn a_move_to_a_broker_that_is_down_waits_and_is_taken_back() {
    run(async {
        let shore = Shore::placed(&[0, 1], &[]).await;
        shore.cluster.kill_broker(2).await.unwrap();
        shore.reassign(Some(&[0, 2])).await.unwrap();
        let [moving] = shore.moving().await.try_into().unwrap();
        assert_eq!((moving.target(), moving.adding, moving.removing), (vec![0, 2], vec![2], vec![1]));
        shore.reassign(None).await.unwrap();
        assert!(shore.moving().await.is_empty());
        assert_eq!(shore.reassign(None).await, Err(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
        shore.until(|now| now.replicas == [0, 1]).await;
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn what_went_while_its_broker_was_down_is_taken_away_when_it_is_back() {
    run(async {
        let shore = Shore::placed(&[0, 1], &[]).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..10).await;
        producer.close(PATIENCE).await;
        shore.cluster.kill_broker(1).await.unwrap();
        shore.reassign(Some(&[0, 2])).await.unwrap();
        shore.until(|now| now.replicas == [0, 2]).await;
        assert!(shore.lies_at(1));
        shore.cluster.start_broker(1).await.unwrap();
        shore.until_gone_from(1).await;
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn what_came_is_not_taken_away_by_what_the_metadata_said_before() {
    run(async {
        let shore = Shore::placed(&[0], &[]).await;
        let producer = shore.producer();
        shore.send(&producer, "t", 0..30).await;
        producer.close(PATIENCE).await;
        shore.reassign(Some(&[2])).await.unwrap();
        shore.until_at(&[2]).await;
        shore.until_gone_from(0).await;
        // It reads in its own log of the metadata that the partition was elsewhere, before it reads that it is here.
        shore.cluster.kill_broker(2).await.unwrap();
        shore.cluster.start_broker(2).await.unwrap();
        shore.until(|now| now.leader == 2).await;
        assert_eq!(shore.values_at(2, "t").await, numbers(0..30));
        shore.cluster.stop_all().await.unwrap();
    });
}

#[test]
fn a_leader_that_was_away_leads_again_by_itself() {
    run(async {
        let shore = Shore::placed(&[0, 1, 2], &[("leader.imbalance.check.interval.seconds", "1")]).await;
        shore.cluster.kill_broker(0).await.unwrap();
        shore.until(|now| now.leader > 0).await;
        shore.cluster.start_broker(0).await.unwrap();
        shore.until(|now| now.leader == 0).await;
        shore.cluster.stop_all().await.unwrap();
    });
}
