//! Where the replicas of new partitions go: evenly over the brokers, and over as many racks as there are.
//!
//! Brokers stand in one row in which racks alternate. Each next partition is led by the next broker in it; its followers
//! are those behind the leader, a step further with each round of the row, so that the followers of one leader are not
//! always the same; one whose rack the partition has already waits until each rack has a replica. These are the rules of
//! Kafka's `AdminUtils`.
//!
//! Nothing is left to chance: where the row begins is an argument.

use std::collections::BTreeMap;

use crate::common::ids::NodeId;

/// The replicas of `count` partitions, `factor` each, the leader first. `factor` is at most the number of `brokers`.
pub(super) fn place(brokers: &[(NodeId, Option<&str>)], start: usize, count: usize, factor: usize) -> Vec<Vec<NodeId>> {
    let row = alternate(brokers);
    let mut racks: Vec<Option<&str>> = row.iter().map(|(_, rack)| *rack).collect();
    racks.sort_unstable();
    racks.dedup();
    (start..start + count).map(|turn| replicas(&row, racks.len(), turn, factor)).collect()
}

fn replicas(row: &[(NodeId, Option<&str>)], racks: usize, turn: usize, factor: usize) -> Vec<NodeId> {
    let (size, first, round) = (row.len(), turn % row.len(), turn / row.len());
    let mut chosen = vec![row[first]];
    // Once around finds a broker of each other rack, and once more whoever is left.
    let followers = (0..2 * size).map(|step| match size {
        1 => row[first],
        _ => row[(first + 1 + (round + step) % (size - 1)) % size],
    });
    for follower in followers {
        if chosen.len() >= factor {
            break;
        }
        let same_broker = chosen.iter().any(|(node, _)| *node == follower.0);
        let same_rack = chosen.iter().any(|(_, rack)| *rack == follower.1);
        if !same_broker && (!same_rack || chosen.len() >= racks) {
            chosen.push(follower);
        }
    }
    chosen.into_iter().map(|(node, _)| node).collect()
}

/// The brokers by node id, a rack after the other in turn.
fn alternate<'a>(brokers: &[(NodeId, Option<&'a str>)]) -> Vec<(NodeId, Option<&'a str>)> {
    let mut racks: BTreeMap<Option<&str>, Vec<(NodeId, Option<&'a str>)>> = BTreeMap::new();
    for broker in brokers {
        racks.entry(broker.1).or_default().push(*broker);
    }
    racks.values_mut().for_each(|rack| rack.sort_unstable());
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| racks.values().filter_map(move |rack| rack.get(at).copied())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const RACKS: [&str; 4] = ["a", "b", "c", "d"];

    #[test]
    fn leaders_go_round_and_followers_shift_with_each_round() {
        let brokers = [(1, None), (2, None), (3, None)];
        let placed = place(&brokers, 0, 6, 2);
        assert_eq!(placed, [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2]]);
        assert_eq!(place(&brokers, 2, 2, 1), [[3], [1]], "new partitions go on where the others ended");
    }

    #[test]
    fn a_partition_has_a_replica_in_each_rack() {
        let brokers = [(1, Some("a")), (2, Some("a")), (3, Some("a")), (4, Some("b"))];
        let placed = place(&brokers, 0, 4, 2);
        assert!(placed.iter().all(|replicas| replicas.contains(&4)), "{placed:?}");
    }

    proptest! {
        #[test]
        fn replicas_are_spread_over_brokers_and_racks(
            racks in prop::collection::vec(prop::option::of(0..4usize), 1..12), start in 0..50usize, count in 0..60usize,
            factor in 1..6usize,
        ) {
            let brokers: Vec<(NodeId, Option<&str>)> =
                (0..).zip(racks.iter().map(|rack| rack.map(|rack| RACKS[rack]))).collect();
            let factor = factor.min(brokers.len());
            let rack_of = |node: &NodeId| brokers[*node as usize].1;
            let all: BTreeSet<_> = brokers.iter().map(|(_, rack)| *rack).collect();
            let placed = place(&brokers, start, count, factor);
            prop_assert_eq!(placed.len(), count);
            for replicas in &placed {
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor, "{:?}", replicas);
                let here: BTreeSet<_> = replicas.iter().map(rack_of).collect();
                prop_assert_eq!(here.len(), factor.min(all.len()), "{:?}", replicas);
            }
            let led = |node: NodeId| placed.iter().filter(|replicas| replicas[0] == node).count();
            let leads: Vec<usize> = brokers.iter().map(|(node, _)| led(*node)).collect();
            let (least, most) = (leads.iter().min().unwrap(), leads.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", leads);
        }
    }
}
