//! Who leads a partition, and who is in sync: what happens when brokers come, go and fall behind.
//!
//! The rules are Kafka's (its `PartitionChangeBuilder`): a leader stays as long as it may; otherwise the first of the
//! replicas that is in sync and not fenced leads; where there is none, one that is eligible does, or nobody (`change`). A leader epoch rises when the leader changes, a partition epoch with every change, and a leader
//! that asks for another ISR names both, so that what it knew late is refused.

use super::change::Change;
use super::{Plan, Refusal};
use crate::common::ids::{LeaderEpoch, NodeId, Uuid};
use crate::metadata::image::{BrokerImage, Image, PartitionImage, TopicImage};
use crate::metadata::records::{BrokerRegistrationChangeRecord, MetadataRecord, PartitionChangeRecord};
use crate::protocol::ErrorCode;

/// Nobody leads.
pub const NO_LEADER: NodeId = -1;

/// How a leader is chosen by hand (ElectLeaders).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first replica, if it is in sync.
    Preferred,
    /// Where nobody leads: a replica in sync or else any that is there, with the records that it has.
    Unclean,
}

/// What a leader asks for (AlterPartition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterIsr {
    /// The leader, and the epoch of its registration.
    pub leader: (NodeId, i64),
    /// The topic.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that it knows.
    pub partition_epoch: i32,
    /// Those in sync, itself too, with the epochs of their registrations; -1 where that is not known.
    pub isr: Vec<(NodeId, i64)>,
}

/// Keeps a broker away from leading: all that it led or was in sync with goes to others.
pub fn fence_broker(image: &Image, id: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id).filter(|broker| !broker.fenced) else { return Vec::new() };
    let mut records = vec![registration_change(broker, 1)];
    records.extend(leave(image, id));
    records
}

/// Lets a broker lead again: it takes the partitions that wait for it.
pub fn unfence_broker(image: &Image, id: NodeId) -> Vec<MetadataRecord> {
    let Some(broker) = image.broker(id).filter(|broker| broker.fenced) else { return Vec::new() };
    let mut records = vec![registration_change(broker, -1)];
    let waits = |partition: &PartitionImage| partition.leader == NO_LEADER && partition.replicas.contains(&id);
    records.extend(each_change(image, waits, move |change| change.back = Some(id)));
    records
}

/// Takes a broker out of every ISR, and lets others lead; also before it is stopped (ControlledShutdown).
pub fn leave(image: &Image, id: NodeId) -> impl Iterator<Item = MetadataRecord> {
    let concerns = move |partition: &PartitionImage| partition.leader == id || partition.isr.contains(&id);
    each_change(image, concerns, move |change| {
        change.gone = Some(id);
        change.isr.retain(|node| *node != id);
    })
}

/// The same for one that was started again after an unclean shutdown: it may have lost what it had, and is not eligible either.
pub fn lose(image: &Image, id: NodeId) -> impl Iterator<Item = MetadataRecord> {
    let concerns = move |partition: &PartitionImage| {
        partition.leader == id || partition.isr.contains(&id) || partition.eligible.contains(&id)
    };
    each_change(image, concerns, move |change| {
        (change.gone, change.lost) = (Some(id), true);
        change.isr.retain(|node| *node != id);
    })
}

/// Lets any replica that is there lead where nobody may and `allows` says so by the topic's name
/// (`unclean.leader.election.enable`); `most` of them at most.
pub fn elect_unclean(image: &Image, allows: impl Fn(&str) -> bool, most: usize) -> Vec<MetadataRecord> {
    let leaderless = |topic: &&TopicImage| topic.partitions.iter().any(|partition| partition.leader == NO_LEADER);
    let topics = image.topics().filter(leaderless).filter(|topic| allows(&topic.name));
    let partitions = topics.flat_map(|topic| (0..topic.partitions.len()).map(move |index| (topic, index)));
    let changes = partitions.filter_map(|(topic, index)| {
        let mut change = Change::of(image, topic, index).filter(|_| topic.partitions[index].leader == NO_LEADER)?;
        change.unclean = true;
        change.finish()
    });
    changes.take(most).map(MetadataRecord::PartitionChange).collect()
}

/// Gives a partition the ISR that its leader asks for; a reassignment that waited for it is done with that.
///
/// # Errors
/// As Kafka's controller: STALE_BROKER_EPOCH, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, NOT_CONTROLLER for one who knows
/// more than we do, FENCED_LEADER_EPOCH, INVALID_UPDATE_VERSION, INELIGIBLE_REPLICA for a follower that is fenced or was
/// started anew, INVALID_REQUEST.
pub fn alter_isr(image: &Image, wish: &AlterIsr) -> Plan {
    let (leader, broker_epoch) = wish.leader;
    let refuse = |code, sentence: String| Err(Refusal::new(code, sentence));
    match image.broker(leader) {
        Some(broker) if broker.epoch == broker_epoch => {}
        known => {
            let known = known.map_or("is not registered".to_owned(), |known| format!("is at epoch {}", known.epoch));
            return refuse(ErrorCode::STALE_BROKER_EPOCH, format!("broker {leader} {known}, not at {broker_epoch}"));
        }
    }
    let Some(topic) = image.topic_by_id(wish.topic_id) else {
        return refuse(ErrorCode::UNKNOWN_TOPIC_ID, format!("no topic has the id {}", wish.topic_id));
    };
    let name = format!("{}-{}", topic.name, wish.partition);
    let index = usize::try_from(wish.partition).unwrap_or(usize::MAX);
    let unknown = || Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no {name}"));
    let partition = topic.partitions.get(index).ok_or_else(unknown)?;
    let (known, told) =
        ((partition.leader_epoch, partition.partition_epoch), (wish.leader_epoch, wish.partition_epoch));
    let epochs =
        format!("{name} is at leader epoch {} and partition epoch {}, not {} and {}", known.0, known.1, told.0, told.1);
    if told.0 > known.0 || told.1 > known.1 {
        return refuse(ErrorCode::NOT_CONTROLLER, epochs);
    }
    if told.0 < known.0 {
        return refuse(ErrorCode::FENCED_LEADER_EPOCH, epochs);
    }
    if partition.leader != leader {
        return refuse(ErrorCode::INVALID_REQUEST, format!("{name} is led by {}, not by {leader}", partition.leader));
    }
    if told.1 < known.1 {
        return refuse(ErrorCode::INVALID_UPDATE_VERSION, epochs);
    }
    let isr: Vec<NodeId> = wish.isr.iter().map(|(node, _)| *node).collect();
    let fits = |(at, node): (usize, &NodeId)| partition.replicas.contains(node) && !isr[..at].contains(node);
    if !isr.contains(&leader) || !isr.iter().enumerate().all(fits) {
        let sentence =
            format!("{name}: {isr:?} is no ISR of the replicas {:?} with leader {leader}", partition.replicas);
        return refuse(ErrorCode::INVALID_REQUEST, sentence);
    }
    let ready = |(node, epoch): &&(NodeId, i64)| {
        image.broker(*node).is_some_and(|broker| broker.is_active() && (*epoch == -1 || *epoch == broker.epoch))
    };
    if let Some((node, epoch)) = wish.isr.iter().find(|one| !ready(one)) {
        let sentence = format!("{name}: broker {node} at epoch {epoch} is fenced, gone, or was started anew");
        return refuse(ErrorCode::INELIGIBLE_REPLICA, sentence);
    }
    let mut change = Change::of(image, topic, index).ok_or_else(unknown)?;
    change.isr = isr;
    // A leader that asks has looked through its log first.
    change.recovered = true;
    Ok(change.finish().map(MetadataRecord::PartitionChange).into_iter().collect())
}

/// Chooses a leader by hand.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION, ELECTION_NOT_NEEDED, PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE.
pub fn elect_leader(image: &Image, topic: &str, partition: i32, how: Election) -> Plan {
    let name = format!("{topic}-{partition}");
    let index = usize::try_from(partition).unwrap_or(usize::MAX);
    let found = image.topic(topic).and_then(|topic| Some((topic, topic.partitions.get(index)?)));
    let Some((topic, partition)) = found else {
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no {name}")));
    };
    let preferred = partition.replicas.first().copied().unwrap_or(NO_LEADER);
    let has_it = match how {
        Election::Preferred => partition.leader == preferred,
        Election::Unclean => partition.leader != NO_LEADER,
    };
    if has_it {
        let sentence = format!("{name} is led by {} already", partition.leader);
        return Err(Refusal::new(ErrorCode::ELECTION_NOT_NEEDED, sentence));
    }
    let record = match how {
        Election::Preferred => {
            let leader = first_ready(image, &[preferred], &partition.isr).ok_or_else(|| {
                let sentence = format!("{name}: the preferred leader {preferred} is fenced or not in sync");
                Refusal::new(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, sentence)
            })?;
            PartitionChangeRecord { leader, ..change_of(topic, index) }
        }
        Election::Unclean => {
            // What the others have beyond it is lost.
            let changed = Change::of(image, topic, index).and_then(|mut change| {
                change.unclean = true;
                change.finish()
            });
            let record = changed.filter(|record| record.leader >= 0);
            record.ok_or_else(|| {
                let sentence = format!("{name}: none of its replicas {:?} is there", partition.replicas);
                Refusal::new(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE, sentence)
            })?
        }
    };
    Ok(vec![MetadataRecord::PartitionChange(record)])
}

/// The first of `replicas` that is one of `among` and may lead.
pub(super) fn first_ready(image: &Image, replicas: &[NodeId], among: &[NodeId]) -> Option<NodeId> {
    let ready = |node: &NodeId| image.broker(*node).is_some_and(BrokerImage::is_active);
    replicas.iter().copied().find(|node| among.contains(node) && ready(node))
}

/// A change, made consistent, of each partition that `concerns`.
fn each_change(
    image: &Image,
    concerns: impl Fn(&PartitionImage) -> bool,
    change: impl Fn(&mut Change<'_>),
) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| (0..topic.partitions.len()).map(move |index| (topic, index))).filter_map(
        move |(topic, index)| {
            topic.partitions.get(index).filter(|partition| concerns(partition))?;
            let mut wished = Change::of(image, topic, index)?;
            change(&mut wished);
            wished.finish().map(MetadataRecord::PartitionChange)
        },
    )
}

/// A change of each partition that `concerns`.
pub(super) fn each(
    image: &Image,
    concerns: impl Fn(&PartitionImage) -> bool,
    change: impl Fn(&mut PartitionChangeRecord, &PartitionImage),
) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| (0..topic.partitions.len()).map(move |index| (topic, index))).filter_map(
        move |(topic, index)| {
            let partition = topic.partitions.get(index).filter(|partition| concerns(partition))?;
            let mut record = change_of(topic, index);
            let as_it_was = record.clone();
            change(&mut record, partition);
            (record != as_it_was).then_some(MetadataRecord::PartitionChange(record))
        },
    )
}

pub(super) fn change_of(topic: &TopicImage, index: usize) -> PartitionChangeRecord {
    let partition_id = i32::try_from(index).unwrap_or(i32::MAX);
    PartitionChangeRecord { partition_id, topic_id: topic.id, ..Default::default() }
}

fn registration_change(broker: &BrokerImage, fenced: i8) -> MetadataRecord {
    MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        fenced,
        ..Default::default()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Values;
    use crate::metadata::plan::change::tests::{keep, restart};
    use crate::metadata::plan::{self, CreateTopic};

    pub(in crate::metadata::plan) const BROKERS: i32 = 5;

    pub(in crate::metadata::plan) fn apply(image: &mut Image, records: impl IntoIterator<Item = MetadataRecord>) {
        records.into_iter().for_each(|record| image.apply(&record).unwrap());
    }

    /// Five brokers, and a topic whose partitions have these replicas.
    pub(in crate::metadata::plan) fn cluster(replicas: &[&[NodeId]]) -> Image {
        let mut image = Image::default();
        for id in 1..=BROKERS {
            let wish = plan::Registration::new(id, ("localhost", 9092), Uuid::random());
            let records = plan::register_broker(&image, &wish, false).unwrap();
            apply(&mut image, records);
            let records = unfence_broker(&image, id);
            apply(&mut image, records);
        }
        let assignments: BTreeMap<i32, Vec<NodeId>> = (0..).zip(replicas.iter().map(|nodes| nodes.to_vec())).collect();
        let wish =
            CreateTopic { name: "t".into(), partitions: -1, replication_factor: -1, assignments, ..Default::default() };
        let none: [(&str, &str); 0] = [];
        let records = plan::create_topic(&image, &wish, &Arc::new(Values::broker(none).unwrap().0)).unwrap();
        apply(&mut image, records);
        image
    }

    pub(in crate::metadata::plan) fn fence(image: &mut Image, id: NodeId) {
        let records = fence_broker(image, id);
        apply(image, records);
    }

    pub(in crate::metadata::plan) fn unfence(image: &mut Image, id: NodeId) {
        let records = unfence_broker(image, id);
        apply(image, records);
    }

    /// What the leader of partition 0 would ask for.
    pub(in crate::metadata::plan) fn wish(image: &Image, isr: &[NodeId]) -> AlterIsr {
        let topic = image.topic("t").unwrap();
        let partition = &topic.partitions[0];
        let epoch = |id| image.broker(id).map_or(-1, |broker| broker.epoch);
        AlterIsr {
            leader: (partition.leader, epoch(partition.leader)),
            topic_id: topic.id,
            partition: 0,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.iter().map(|id| (*id, epoch(*id))).collect(),
        }
    }

    fn told(image: &Image) -> (NodeId, &[NodeId], i32, i32) {
        let partition = image.partition("t", 0).unwrap();
        (partition.leader, &partition.isr, partition.leader_epoch, partition.partition_epoch)
    }

    #[test]
    fn a_broker_that_goes_hands_over_and_takes_back_what_only_it_has() {
        let mut image = cluster(&[&[1, 2, 3]]);
        fence(&mut image, 1);
        assert_eq!(told(&image), (2, &[2, 3][..], 1, 1));
        fence(&mut image, 3);
        assert_eq!(told(&image), (2, &[2][..], 1, 2), "a follower that goes makes no new epoch of the leader");
        fence(&mut image, 2);
        assert_eq!(told(&image), (NO_LEADER, &[2][..], 2, 3), "the last stays in sync");
        unfence(&mut image, 1);
        assert_eq!(told(&image).0, NO_LEADER, "it lacks what was written since");
        unfence(&mut image, 2);
        assert_eq!(told(&image), (2, &[2][..], 3, 4));
        assert!(unfence_broker(&image, 2).is_empty() && fence_broker(&image, 9).is_empty());
    }

    #[test]
    fn a_leader_is_asked_for_what_it_knows() {
        let mut image = cluster(&[&[1, 2, 3]]);
        let good = wish(&image, &[1, 2]);
        let code = |image: &Image, wish: &AlterIsr| alter_isr(image, wish).unwrap_err().code;
        for (wrong, expected) in [
            (AlterIsr { leader: (1, 7), ..good.clone() }, ErrorCode::STALE_BROKER_EPOCH),
            (AlterIsr { leader: (9, 0), ..good.clone() }, ErrorCode::STALE_BROKER_EPOCH),
            (AlterIsr { topic_id: Uuid::random(), ..good.clone() }, ErrorCode::UNKNOWN_TOPIC_ID),
            (AlterIsr { partition: 7, ..good.clone() }, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            (AlterIsr { leader_epoch: 1, ..good.clone() }, ErrorCode::NOT_CONTROLLER),
            (AlterIsr { partition_epoch: 1, ..good.clone() }, ErrorCode::NOT_CONTROLLER),
            (AlterIsr { leader_epoch: -1, ..good.clone() }, ErrorCode::FENCED_LEADER_EPOCH),
            (AlterIsr { partition_epoch: -1, ..good.clone() }, ErrorCode::INVALID_UPDATE_VERSION),
            (AlterIsr { leader: (2, 2), ..good.clone() }, ErrorCode::INVALID_REQUEST),
            (wish(&image, &[2, 3]), ErrorCode::INVALID_REQUEST),
            (wish(&image, &[1, 1]), ErrorCode::INVALID_REQUEST),
            (wish(&image, &[1, 4]), ErrorCode::INVALID_REQUEST),
            (AlterIsr { isr: vec![(1, 1), (2, 5)], ..good.clone() }, ErrorCode::INELIGIBLE_REPLICA),
        ] {
            assert_eq!(code(&image, &wrong), expected, "{wrong:?}");
        }
        let records = alter_isr(&image, &good).unwrap();
        apply(&mut image, records);
        assert_eq!(told(&image), (1, &[1, 2][..], 0, 1));
        assert_eq!(code(&image, &good), ErrorCode::INVALID_UPDATE_VERSION, "it asks a second time");
        fence(&mut image, 3);
        assert_eq!(code(&image, &wish(&image, &[1, 2, 3])), ErrorCode::INELIGIBLE_REPLICA);
    }

    #[test]
    fn leaders_are_chosen_by_hand_where_that_is_of_use() {
        let mut image = cluster(&[&[1, 2, 3]]);
        let elect = |image: &Image, how| elect_leader(image, "t", 0, how).map_err(|refusal| refusal.code);
        assert_eq!(elect(&image, Election::Preferred), Err(ErrorCode::ELECTION_NOT_NEEDED));
        fence(&mut image, 1);
        assert_eq!(elect(&image, Election::Preferred), Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE));
        assert_eq!(elect(&image, Election::Unclean), Err(ErrorCode::ELECTION_NOT_NEEDED));
        unfence(&mut image, 1);
        let records = alter_isr(&image, &wish(&image, &[2, 3, 1])).unwrap();
        apply(&mut image, records);
        let records = elect(&image, Election::Preferred).unwrap();
        apply(&mut image, records);
        assert_eq!(told(&image).0, 1);

        [1, 2, 3].into_iter().for_each(|id| fence(&mut image, id));
        assert_eq!(elect(&image, Election::Unclean), Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
        unfence(&mut image, 2);
        assert_eq!(told(&image).0, NO_LEADER);
        let records = elect(&image, Election::Unclean).unwrap();
        apply(&mut image, records);
        assert_eq!((told(&image).0, told(&image).1), (2, &[2][..]));
    }

    /// How many must be in sync, where replicas stay eligible.
    const MIN: usize = 2;

    #[derive(Debug, Clone)]
    enum Event {
        Fence(NodeId),
        Unfence(NodeId),
        Restart(NodeId, bool),
        Alter(Vec<NodeId>),
        Elect(bool),
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1..=BROKERS).prop_map(Event::Fence),
            (1..=BROKERS).prop_map(Event::Unfence),
            (1..=BROKERS, any::<bool>()).prop_map(|(id, clean)| Event::Restart(id, clean)),
            prop::collection::vec(1..=BROKERS, 1..4).prop_map(Event::Alter),
            any::<bool>().prop_map(Event::Elect),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_leader_is_in_sync_and_one_an_epoch(
            keeps in any::<bool>(),
            events in prop::collection::vec(any_event(), 0..60),
        ) {
            let mut image = cluster(&[&[1, 2, 3], &[4, 5, 1], &[2]]);
            if keeps {
                keep(&mut image);
            }
            let mut led: BTreeMap<(usize, i32), NodeId> = BTreeMap::new();
            for event in events {
                let before = image.clone();
                match event {
                    Event::Fence(id) => fence(&mut image, id),
                    Event::Unfence(id) => unfence(&mut image, id),
                    Event::Restart(id, clean) => restart(&mut image, id, clean),
                    Event::Alter(isr) => {
                        if let Ok(records) = alter_isr(&image, &wish(&image, &isr)) {
                            apply(&mut image, records);
                        }
                    }
                    Event::Elect(unclean) => {
                        let how = if unclean { Election::Unclean } else { Election::Preferred };
                        if let Ok(records) = elect_leader(&image, "t", 0, how) {
                            apply(&mut image, records);
                        }
                    }
                }
                for (index, now) in image.topic("t").unwrap().partitions.iter().enumerate() {
                    let then = &before.topic("t").unwrap().partitions[index];
                    let known = now.isr.iter().chain(&now.eligible).chain(&now.last_known_eligible);
                    prop_assert!(known.clone().next().is_some() && known.clone().all(|node| now.replicas.contains(node)));
                    prop_assert!(!now.isr.iter().any(|node| now.eligible.contains(node)), "{now:?}");
                    prop_assert!(now.isr.len() < MIN.min(now.replicas.len()) || now.eligible.is_empty(), "{now:?}");
                    prop_assert!(keeps || !now.isr.is_empty());
                    prop_assert!(now.leader == NO_LEADER || now.isr.contains(&now.leader));
                    prop_assert!(now.leader == NO_LEADER || !image.broker(now.leader).unwrap().fenced);
                    // Nobody waits for a leader who is there.
                    let could = |node: &NodeId| !image.broker(*node).unwrap().fenced;
                    prop_assert!(now.leader != NO_LEADER || !now.isr.iter().any(could), "{now:?}");
                    prop_assert!(now.leader_epoch >= then.leader_epoch && now.partition_epoch >= then.partition_epoch);
                    if now != then {
                        prop_assert_eq!(now.partition_epoch, then.partition_epoch + 1);
                    }
                    if now.leader != NO_LEADER {
                        let leader = *led.entry((index, now.leader_epoch)).or_insert(now.leader);
                        prop_assert_eq!(leader, now.leader, "two leaders in one epoch");
                    }
                }
            }
        }
    }
}
