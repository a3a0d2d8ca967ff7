//! How a group shares partitions: what the member that leads the group computes.
//!
//! | name | shares | protocol |
//! |---|---|---|
//! | `range` | each topic in runs, the first members get the odd ones | eager |
//! | `roundrobin` | all partitions in turn | eager |
//! | `sticky` | evenly, moving as little as can be | eager |
//! | `cooperative-sticky` | as `sticky`; what moves is first given up, and given out in a second rebalance | cooperative |

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::common::ids::TopicPartition;

/// A way to share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Assignor {
    /// `range`
    Range,
    /// `roundrobin`
    RoundRobin,
    /// `sticky`
    Sticky,
    /// `cooperative-sticky`
    CooperativeSticky,
}

/// A member, as the one that leads the group knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// `group.instance.id`
    pub instance_id: Option<String>,
    /// What it subscribes to.
    pub topics: BTreeSet<String>,
    /// What it had when it joined.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it got that; -1 where it does not say.
    pub generation: i32,
}

/// Each member's partitions, by its id.
pub type Assignments = HashMap<String, Vec<TopicPartition>>;

impl Assignor {
    /// All of them.
    pub const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether members keep their partitions while the group rebalances.
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// Shares the partitions of topics, given as how many each has, among the members that subscribe to them. Every
    /// member is in the result.
    pub fn assign(self, members: &[Member], topics: &BTreeMap<String, usize>) -> Assignments {
        let mut shares: Assignments = members.iter().map(|member| (member.id.clone(), Vec::new())).collect();
        // Static members come first, by a name that outlives them: so they get the same again.
        let mut sorted: Vec<&Member> = members.iter().collect();
        sorted.sort_by_key(|m| (m.instance_id.is_none(), m.instance_id.clone(), m.id.clone()));
        match self {
            Assignor::Range => range(&sorted, topics, &mut shares),
            Assignor::RoundRobin => round_robin(&sorted, topics, &mut shares),
            Assignor::Sticky => sticky(&sorted, topics, &mut shares),
            Assignor::CooperativeSticky => {
                sticky(&sorted, topics, &mut shares);
                hold_back(&sorted, &mut shares);
            }
        }
        shares
    }
}

fn give(shares: &mut Assignments, member: &Member, partition: TopicPartition) {
    shares.entry(member.id.clone()).or_default().push(partition);
}

fn range(members: &[&Member], topics: &BTreeMap<String, usize>, shares: &mut Assignments) {
    for (topic, count) in topics {
        let takers: Vec<_> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        if takers.is_empty() {
            continue;
        }
        let (each, odd) = (count / takers.len(), count % takers.len());
        let mut next = 0;
        for (index, member) in takers.iter().enumerate() {
            for _ in 0..each + usize::from(index < odd) {
                give(shares, member, TopicPartition::new(topic.as_str(), next));
                next += 1;
            }
        }
    }
}

fn all_partitions(topics: &BTreeMap<String, usize>) -> impl Iterator<Item = TopicPartition> + '_ {
    topics.iter().flat_map(|(topic, count)| (0..*count).map(|index| TopicPartition::new(topic.as_str(), index as i32)))
}

fn round_robin(members: &[&Member], topics: &BTreeMap<String, usize>, shares: &mut Assignments) {
    let mut turn = 0;
    for partition in all_partitions(topics) {
        let next = (0..members.len()).find(|step| {
            let member = members[(turn + step) % members.len()];
            member.topics.contains(&partition.topic)
        });
        if let Some(step) = next {
            turn += step;
            give(shares, members[turn % members.len()], partition);
            turn += 1;
        }
    }
}

/// Who may say that it owns each partition: of two that do, the one of the later generation; of the same, nobody.
fn owners<'a>(members: &[&'a Member]) -> HashMap<&'a TopicPartition, Option<usize>> {
    let mut owners: HashMap<&TopicPartition, (i32, Option<usize>)> = HashMap::new();
    for (index, member) in members.iter().enumerate() {
        for partition in &member.owned {
            let owner = owners.entry(partition).or_insert((member.generation, Some(index)));
            if owner.1 == Some(index) {
                continue;
            }
            match member.generation.cmp(&owner.0) {
                std::cmp::Ordering::Greater => *owner = (member.generation, Some(index)),
                std::cmp::Ordering::Equal => owner.1 = None,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    owners.into_iter().map(|(partition, (_, owner))| (partition, owner)).collect()
}

fn sticky(members: &[&Member], topics: &BTreeMap<String, usize>, shares: &mut Assignments) {
    let owners = owners(members);
    let may = |member: usize, partition: &TopicPartition| members[member].topics.contains(&partition.topic);
    let mut loads: Vec<Vec<TopicPartition>> = vec![Vec::new(); members.len()];
    let mut free = Vec::new();
    for partition in all_partitions(topics) {
        match owners.get(&partition).copied().flatten().filter(|owner| may(*owner, &partition)) {
            Some(owner) => loads[owner].push(partition),
            None => free.push(partition),
        }
    }
    for partition in free {
        let least = (0..members.len()).filter(|member| may(*member, &partition)).min_by_key(|m| loads[*m].len());
        if let Some(member) = least {
            loads[member].push(partition);
        }
    }
    // Moves single partitions from where there are more to where there are fewer, as long as that evens out.
    loop {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|member| std::cmp::Reverse(loads[*member].len()));
        let found = order.iter().find_map(|from| {
            // The last ones move first: they were added last.
            (0..loads[*from].len()).rev().find_map(|at| {
                let partition = &loads[*from][at];
                let to = (0..members.len()).filter(|to| may(*to, partition)).min_by_key(|to| loads[*to].len())?;
                (loads[to].len() + 1 < loads[*from].len()).then_some((*from, at, to))
            })
        });
        let Some((from, at, to)) = found else { break };
        let partition = loads[from].remove(at);
        loads[to].push(partition);
    }
    for (member, mut load) in members.iter().zip(loads) {
        load.sort();
        shares.insert(member.id.clone(), load);
    }
}

/// Takes back what another member still has: it is given out once that member has let it go.
fn hold_back(members: &[&Member], shares: &mut Assignments) {
    let owners = owners(members);
    for (index, member) in members.iter().enumerate() {
        if let Some(share) = shares.get_mut(&member.id) {
            share.retain(|partition| owners.get(partition).copied().flatten().is_none_or(|owner| owner == index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(id: &str, topics: &[&str], owned: &[(&str, i32)]) -> Member {
        Member {
            id: id.to_owned(),
            topics: topics.iter().map(ToString::to_string).collect(),
            owned: owned.iter().map(|(topic, index)| TopicPartition::new(*topic, *index)).collect(),
            ..Member::default()
        }
    }

    fn topics(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
        counts.iter().map(|(topic, count)| (topic.to_string(), *count)).collect()
    }

    fn text(shares: &Assignments, id: &str) -> String {
        shares[id].iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn range_gives_runs_of_each_topic() {
        let members = [member("b", &["t", "u"], &[]), member("a", &["t", "u"], &[])];
        let shares = Assignor::Range.assign(&members, &topics(&[("t", 3), ("u", 3)]));
        assert_eq!(text(&shares, "a"), "t-0 t-1 u-0 u-1");
        assert_eq!(text(&shares, "b"), "t-2 u-2");
    }

    #[test]
    fn range_puts_static_members_first() {
        let named = Member { instance_id: Some("z".to_owned()), ..member("z-1", &["t"], &[]) };
        let shares = Assignor::Range.assign(&[member("a", &["t"], &[]), named], &topics(&[("t", 3)]));
        assert_eq!(text(&shares, "z-1"), "t-0 t-1");
    }

    #[test]
    fn round_robin_goes_round_all_topics() {
        let members = [member("a", &["t", "u"], &[]), member("b", &["t", "u"], &[])];
        let shares = Assignor::RoundRobin.assign(&members, &topics(&[("t", 3), ("u", 3)]));
        assert_eq!(text(&shares, "a"), "t-0 t-2 u-1");
        let members = [member("a", &["t"], &[]), member("b", &["t", "u"], &[]), member("c", &["t", "u", "v"], &[])];
        let shares = Assignor::RoundRobin.assign(&members, &topics(&[("t", 1), ("u", 2), ("v", 3)]));
        assert_eq!(text(&shares, "a"), "t-0");
        assert_eq!(text(&shares, "b"), "u-0");
        assert_eq!(text(&shares, "c"), "u-1 v-0 v-1 v-2");
    }

    #[test]
    fn sticky_moves_no_more_than_it_must() {
        let members = [member("a", &["t"], &[("t", 0), ("t", 1), ("t", 2), ("t", 3)]), member("b", &["t"], &[])];
        let shares = Assignor::Sticky.assign(&members, &topics(&[("t", 4)]));
        assert_eq!(text(&shares, "a"), "t-0 t-1");
        assert_eq!(text(&shares, "b"), "t-2 t-3");
    }

    #[test]
    fn cooperative_sticky_gives_out_what_moves_only_when_it_is_free() {
        let members = [member("a", &["t"], &[("t", 0), ("t", 1), ("t", 2), ("t", 3)]), member("b", &["t"], &[])];
        let shares = Assignor::CooperativeSticky.assign(&members, &topics(&[("t", 4)]));
        assert_eq!((text(&shares, "a").as_str(), text(&shares, "b").as_str()), ("t-0 t-1", ""));
        let members = [member("a", &["t"], &[("t", 0), ("t", 1)]), member("b", &["t"], &[])];
        let shares = Assignor::CooperativeSticky.assign(&members, &topics(&[("t", 4)]));
        assert_eq!(text(&shares, "b"), "t-2 t-3");
    }

    #[test]
    fn of_two_owners_the_later_generation_counts() {
        let old = Member { generation: 1, ..member("a", &["t"], &[("t", 0)]) };
        let new = Member { generation: 2, ..member("b", &["t"], &[("t", 0)]) };
        let shares = Assignor::Sticky.assign(&[old, new], &topics(&[("t", 2)]));
        assert_eq!((text(&shares, "a").as_str(), text(&shares, "b").as_str()), ("t-1", "t-0"));
    }

    proptest! {
        #[test]
        fn every_partition_has_one_owner_that_subscribes_and_loads_are_even(
            subscriptions in proptest::collection::vec(0u8..8, 1..6),
            counts in proptest::collection::vec(0usize..7, 3),
            owned in proptest::collection::vec((0usize..6, 0usize..3, 0i32..7), 0..20),
        ) {
            let names = ["t", "u", "v"];
            let topics: BTreeMap<String, usize> =
                names.iter().zip(&counts).map(|(name, count)| (name.to_string(), *count)).collect();
            let mut members: Vec<Member> = subscriptions
                .iter()
                .enumerate()
                .map(|(index, bits)| {
                    let own: Vec<_> = (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| names[bit]).collect();
                    member(&format!("m{index}"), &own, &[])
                })
                .collect();
            for (who, topic, index) in owned {
                let at = who % members.len();
                members[at].owned.push(TopicPartition::new(names[topic], index));
            }
            for assignor in Assignor::ALL {
                let shares = assignor.assign(&members, &topics);
                let mut seen = BTreeSet::new();
                for member in &members {
                    for partition in &shares[&member.id] {
                        prop_assert!(member.topics.contains(&partition.topic));
                        prop_assert!((partition.partition as usize) < topics[&partition.topic]);
                        prop_assert!(seen.insert(partition.clone()), "{partition} twice");
                    }
                }
                if assignor != Assignor::CooperativeSticky {
                    let wanted = all_partitions(&topics)
                        .filter(|partition| members.iter().any(|m| m.topics.contains(&partition.topic)));
                    prop_assert_eq!(seen.len(), wanted.count());
                }
                let alike = members.iter().all(|member| member.topics == members[0].topics);
                if alike && matches!(assignor, Assignor::Sticky | Assignor::RoundRobin) {
                    let loads: Vec<_> = shares.values().map(Vec::len).collect();
                    prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
                }
            }
        }
    }
}
