//! Moves that are not to cost more than so many bytes a second (KIP-73), set and lifted as Kafka's reassignment tool does.
//!
//! | config | of | says |
//! |---|---|---|
//! | `leader.replication.throttled.replicas` | each topic that moves | those that hold its partitions now |
//! | `follower.replication.throttled.replicas` | each topic that moves | those that come |
//! | `leader.replication.throttled.rate`, `follower.replication.throttled.rate` | each broker of these | the bytes a second |
//!
//! Moves that are under way already are throttled along with the new ones. A broker must be asked itself to change its
//! configs; one that is away is left out, for it gives and takes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::configs::{Alteration, Resource};
use super::reassign::Reassignment;
use super::{Admin, Each};
use crate::client::Result;
use crate::client::network::Wanted;
use crate::common::ids::{NodeId, TopicPartition};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// Where the records of one partition come from, and where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Movement {
    sources: BTreeSet<NodeId>,
    destinations: BTreeSet<NodeId>,
}

impl Admin {
    /// Lets the moves of these partitions, and those that are under way, cost at most `rate` bytes a second at each broker.
    /// To be called before they begin; lifted by [`Admin::lift_throttles`].
    ///
    /// # Errors
    /// Those of the call; each topic's and broker's own is in the result.
    pub async fn throttle_moves(
        &self,
        targets: &[(TopicPartition, Vec<NodeId>)],
        rate: u64,
    ) -> Result<Each<Resource, ()>> {
        let moving = self.list_reassignments(None).await?;
        let names: BTreeSet<&str> = targets.iter().map(|(partition, _)| partition.topic.as_str()).collect();
        let names: Vec<Arc<str>> = names.into_iter().map(Into::into).collect();
        let view = self.network().refresh(Wanted::Topics(&names), false).await?;
        let holders = |id: &TopicPartition| {
            view.partition(&id.topic, id.partition).map(|partition| partition.replicas.clone()).unwrap_or_default()
        };
        let movements = movements(&moving, targets, holders);
        let mut changes = topic_changes(&movements);
        let brokers: BTreeSet<NodeId> =
            movements.values().flat_map(|movement| movement.sources.union(&movement.destinations)).copied().collect();
        let rates = [LEADER_RATE, FOLLOWER_RATE].map(|key| Alteration::Set(key.to_owned(), rate.to_string()));
        let there = brokers.into_iter().filter(|id| view.brokers.contains_key(id));
        changes.extend(there.map(|id| (Resource::Broker(Some(id)), rates.to_vec())));
        self.alter_configs(&changes, false).await
    }

    /// Lifts what throttles these topics, and all brokers: nothing says which of them a move concerned that is done.
    ///
    /// # Errors
    /// Those of the call; each topic's and broker's own is in the result.
    pub async fn lift_throttles(&self, topics: &[String]) -> Result<Each<Resource, ()>> {
        let view = self.network().refresh(Wanted::Topics(&[]), false).await?;
        let delete = |keys: [&str; 2]| keys.map(|key| Alteration::Delete(key.to_owned())).to_vec();
        let brokers: BTreeSet<NodeId> = view.brokers.keys().copied().collect();
        let brokers = brokers.into_iter().map(|id| (Resource::Broker(Some(id)), delete([LEADER_RATE, FOLLOWER_RATE])));
        let topics =
            topics.iter().map(|name| (Resource::Topic(name.clone()), delete([LEADER_REPLICAS, FOLLOWER_REPLICAS])));
        let changes: Vec<_> = brokers.chain(topics).collect();
        self.alter_configs(&changes, false).await
    }

    /// Whether replicas of a topic are throttled.
    ///
    /// # Errors
    /// Those of the call, and of the topic.
    pub async fn is_throttled(&self, topic: &str) -> Result<bool> {
        let described = self.describe_configs(&[Resource::Topic(topic.to_owned())], false).await?;
        for (_, configs) in described {
            let set = |key: &str| [LEADER_REPLICAS, FOLLOWER_REPLICAS].contains(&key);
            if configs?.iter().any(|config| set(&config.name) && !config.is_default()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What moves from where to where: what is under way, and what is to begin. `holders` tells who has a partition now.
fn movements(
    moving: &[Reassignment],
    targets: &[(TopicPartition, Vec<NodeId>)],
    holders: impl Fn(&TopicPartition) -> Vec<NodeId>,
) -> BTreeMap<TopicPartition, Movement> {
    let mut movements: BTreeMap<TopicPartition, Movement> = BTreeMap::new();
    for one in moving {
        let destinations: BTreeSet<NodeId> = one.adding.iter().copied().collect();
        let sources = one.replicas.iter().copied().filter(|node| !destinations.contains(node)).collect();
        movements.insert(one.partition.clone(), Movement { sources, destinations });
    }
    for (partition, target) in targets {
        let movement = movements
            .entry(partition.clone())
            .or_insert_with(|| Movement { sources: holders(partition).into_iter().collect(), ..Movement::default() });
        movement.destinations = target.iter().copied().filter(|node| !movement.sources.contains(node)).collect();
    }
    movements
}

/// Which replicas are throttled, topic by topic.
fn topic_changes(movements: &BTreeMap<TopicPartition, Movement>) -> Vec<(Resource, Vec<Alteration>)> {
    let mut lists: BTreeMap<&str, [Vec<String>; 2]> = BTreeMap::new();
    for (partition, movement) in movements {
        let [leaders, followers] = lists.entry(&partition.topic).or_default();
        let pair = |node: &NodeId| format!("{}:{node}", partition.partition);
        leaders.extend(movement.sources.iter().map(pair));
        followers.extend(movement.destinations.iter().map(pair));
    }
    let changes = lists.into_iter().map(|(topic, [leaders, followers])| {
        let set = |key: &str, replicas: Vec<String>| Alteration::Set(key.to_owned(), replicas.join(","));
        (Resource::Topic(topic.to_owned()), vec![set(LEADER_REPLICAS, leaders), set(FOLLOWER_REPLICAS, followers)])
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn lists(movements: &BTreeMap<TopicPartition, Movement>) -> Vec<(String, String)> {
        let changes = topic_changes(movements).into_iter().flat_map(|(_, changes)| changes);
        let set = changes.map(|change| match change {
            Alteration::Set(key, value) => (key, value),
            other => panic!("{other:?}"),
        });
        set.collect()
    }

    #[test]
    fn those_that_hold_a_partition_lead_and_those_that_come_follow() {
        let targets = [(id(0), vec![2, 3]), (id(10), vec![1, 2])];
        let movements = movements(&[], &targets, |_| vec![1, 2]);
        assert_eq!(
            lists(&movements),
            [
                ("leader.replication.throttled.replicas".to_owned(), "0:1,0:2,10:1,10:2".to_owned()),
                // Nobody comes for partition 10.
                ("follower.replication.throttled.replicas".to_owned(), "0:3".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_under_way_is_throttled_along_and_a_new_target_takes_its_place() {
        let moving = |partition| Reassignment {
            partition: id(partition),
            replicas: vec![3, 1, 2],
            adding: vec![3],
            removing: vec![1],
        };
        let movements = movements(&[moving(0), moving(1)], &[(id(1), vec![4, 2])], |_| panic!("it moves already"));
        let (leaders, followers) = ("0:1,0:2,1:1,1:2".to_owned(), "0:3,1:4".to_owned());
        assert_eq!(
            lists(&movements),
            [(LEADER_REPLICAS.to_owned(), leaders), (FOLLOWER_REPLICAS.to_owned(), followers)]
        );
    }
}
