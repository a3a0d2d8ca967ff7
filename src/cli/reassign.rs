//! `strandline topics reassign`: replicas moved to other brokers, moves taken back, and what is being moved.
//!
//! A throttle is no part of a move: it is set before, in the configs of topics and brokers, and stays there until somebody
//! lifts it. That is done once nothing is being moved any more, by whoever waits for the move, takes it back, or asks with
//! `--verify`, as Kafka's tool does.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::Failure;
use super::output::Output;
use super::table::Table;
use super::topics::{each, known};
use crate::client::admin::Admin;
use crate::client::admin::reassign::Reassignment;
use crate::common::clock::SharedClock;
use crate::common::ids::{NodeId, TopicPartition};

/// How often is asked whether a move is done.
const ASK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline topics reassign flights --partition 0 --replicas 1,2,3 --wait\n         \
                  strandline topics reassign flights --replicas 1,2,3 --throttle 10000000\n         \
                  strandline topics reassign flights --verify\n         \
                  strandline topics reassign flights --cancel")]
pub(super) struct Reassign {
    /// The topic; without one, all that is being moved is shown
    name: Option<String>,
    /// A partition (may be repeated); all of the topic by default
    #[arg(long = "partition", value_name = "PARTITION", requires = "name")]
    partitions: Vec<i32>,
    /// The brokers that are to hold it, the preferred leader first: more or fewer than now change the replication factor
    #[arg(long, value_name = "BROKER,..", value_delimiter = ',', requires = "name", conflicts_with = "cancel")]
    replicas: Vec<NodeId>,
    /// Let it cost at most so many bytes a second at each broker, until --verify finds it done
    #[arg(long, value_name = "BYTES", requires = "replicas", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    throttle: Option<u64>,
    /// Lift the throttle, if nothing is being moved any more
    #[arg(long, requires = "name", conflicts_with_all = ["replicas", "cancel"])]
    verify: bool,
    /// Take back what is being moved
    #[arg(long, requires = "name")]
    cancel: bool,
    /// Return when nothing of it is being moved any more
    #[arg(long)]
    wait: bool,
}

impl Reassign {
    pub(super) async fn act(
        &self,
        admin: &Admin,
        clock: &SharedClock,
        output: &mut Output,
        json: bool,
    ) -> Result<(), Failure> {
        let asked = match &self.name {
            Some(name) => Some(self.partitions_of(admin, name).await?),
            None => None,
        };
        let mut done = Ok(());
        if let Some(partitions) = &asked {
            let moves = if self.cancel {
                // Only what is being moved: one that is not needs no taking back.
                let moving = admin.list_reassignments(Some(partitions)).await?;
                moving.into_iter().map(|moving| (moving.partition, None)).collect()
            } else if self.replicas.is_empty() {
                Vec::new()
            } else {
                partitions.iter().map(|partition| (partition.clone(), Some(self.replicas.clone()))).collect()
            };
            if let (Some(name), Some(rate)) = (&self.name, self.throttle) {
                let targets: Vec<_> =
                    partitions.iter().map(|partition| (partition.clone(), self.replicas.clone())).collect();
                each(admin.throttle_moves(&targets, rate).await?, |_, ()| {})?;
                if !self.wait {
                    eprintln!(
                        "strandline: throttled to {rate} bytes/s: once it is done, `strandline topics reassign {name} --verify` lifts that"
                    );
                }
            }
            if !moves.is_empty() {
                done = each(admin.alter_reassignments(&moves).await?, |_, ()| {});
            }
        }
        let mut moving = admin.list_reassignments(asked.as_deref()).await?;
        while self.wait && !moving.is_empty() {
            clock.sleep(ASK_AGAIN).await;
            moving = admin.list_reassignments(asked.as_deref()).await?;
        }
        table_of(&moving).write_rows(output, json)?;
        if let Some(name) = &self.name {
            self.lift(admin, name).await?;
        }
        done
    }

    /// Lifts the throttle, where that is asked for or follows from what is, and nothing is being moved any more.
    async fn lift(&self, admin: &Admin, name: &str) -> Result<(), Failure> {
        let lifts = match self.cancel {
            // A move that was taken back had a throttle or not.
            true => admin.is_throttled(name).await?,
            false => self.verify || (self.throttle.is_some() && self.wait),
        };
        if !lifts {
            return Ok(());
        }
        if !admin.list_reassignments(None).await?.is_empty() {
            eprintln!("strandline: partitions are still being moved: what throttles them stays");
            return Ok(());
        }
        each(admin.lift_throttles(&[name.to_owned()]).await?, |_, ()| {})
    }

    /// The partitions that are meant.
    async fn partitions_of(&self, admin: &Admin, name: &str) -> Result<Vec<TopicPartition>, Failure> {
        let named = |index: &i32| TopicPartition::new(name, *index);
        if !self.partitions.is_empty() {
            return Ok(self.partitions.iter().map(named).collect());
        }
        let topics = known(admin, &[name.to_owned()]).await?;
        Ok(topics.iter().flat_map(|topic| (0..).zip(&topic.partitions)).map(|(index, _)| named(&index)).collect())
    }
}

fn table_of(moving: &[Reassignment]) -> Table {
    let mut table = Table::new(&["topic", "partition", "replicas", "adding", "removing", "target"]);
    for one in moving {
        let (topic, partition) = (&one.partition.topic, one.partition.partition);
        let (replicas, adding, removing) = (json!(one.replicas), json!(one.adding), json!(one.removing));
        table.row([json!(topic), json!(partition), replicas, adding, removing, json!(one.target())]);
    }
    table
}
