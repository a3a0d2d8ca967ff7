//! What members of a consumer group tell each other through the coordinator, which does not look into it
//! (`protocol_type` is `consumer`).
//!
//! Both messages begin with their version (i16), and a reader takes a later version for the latest it knows.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::common::ids::TopicPartition;
use crate::protocol::{DecodeError, Decoder, Encoder, Message, Str, message};

use super::assignor::{Assignor, Member};

/// The latest version of both messages that is read and written here.
const NEWEST: i16 = 3;

message! {
    /// What a member subscribes to, and what it has.
    Subscription (versions 0-3) {
        topics: Vec<Str>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<TopicIndexes> [1+] ignorable,
        generation_id: i32 [2+] ignorable = -1,
        rack_id: Option<Str> [3+] ignorable,
    }

    /// What a member gets.
    Assignment (versions 0-3) {
        assigned_partitions: Vec<TopicIndexes>,
        user_data: Option<Bytes>,
    }

    /// Partitions of one topic.
    TopicIndexes {
        topic: Str,
        partitions: Vec<i32>,
    }
}

fn indexes<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Vec<TopicIndexes> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics.into_iter().map(|(topic, partitions)| TopicIndexes { topic: topic.into(), partitions }).collect()
}

fn partitions(topics: &[TopicIndexes]) -> Vec<TopicPartition> {
    let of = |topic: &TopicIndexes| {
        let name = topic.topic.to_string();
        topic.partitions.iter().map(move |index| TopicPartition::new(name.clone(), *index)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of).collect()
}

fn write<M: Message>(message: &M) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.i16(NEWEST);
    // Lists of names and numbers fit any frame that could be sent.
    message
        .encode(&mut encoder, NEWEST)
        .map_or_else(|error| unreachable!("{error}"), |()| encoder.finish().into_bytes())
}

fn read<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let version = decoder.i16()?;
    M::decode(&mut decoder, version.clamp(0, NEWEST))
}

/// What a member says when it joins, for one of its assignors.
pub(super) fn write_subscription(assignor: Assignor, member: &Member) -> Bytes {
    // Java's sticky assignor finds what a member had in its user data, and the cooperative one the generation.
    let user_data = match assignor {
        Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&member.generation.to_be_bytes())),
        Assignor::Sticky => Some(sticky_user_data(member)),
        Assignor::Range | Assignor::RoundRobin => None,
    };
    write(&Subscription {
        topics: member.topics.iter().map(Str::from).collect(),
        user_data,
        owned_partitions: indexes(&member.owned),
        generation_id: member.generation,
        rack_id: None,
    })
}

fn sticky_user_data(member: &Member) -> Bytes {
    let mut data = Vec::new();
    let topics = indexes(&member.owned);
    data.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        data.extend_from_slice(&(topic.topic.len() as i16).to_be_bytes());
        data.extend_from_slice(topic.topic.as_bytes());
        data.extend_from_slice(&(topic.partitions.len() as i32).to_be_bytes());
        for index in topic.partitions {
            data.extend_from_slice(&index.to_be_bytes());
        }
    }
    data.extend_from_slice(&member.generation.to_be_bytes());
    data.into()
}

/// What the other members say.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read_subscription(id: &str, instance_id: Option<&str>, bytes: Bytes) -> Result<Member, DecodeError> {
    let subscription: Subscription = read(bytes)?;
    Ok(Member {
        id: id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
        topics: subscription.topics.iter().map(ToString::to_string).collect(),
        owned: partitions(&subscription.owned_partitions),
        generation: subscription.generation_id,
    })
}

/// A member's share, for the coordinator to hand it.
pub(super) fn write_assignment(share: &[TopicPartition]) -> Bytes {
    write(&Assignment { assigned_partitions: indexes(share), user_data: None })
}

/// The share that the coordinator handed us; nothing is an empty one.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let assignment: Assignment = read(bytes)?;
    Ok(partitions(&assignment.assigned_partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_survives_its_bytes() {
        let member = Member {
            id: "m".to_owned(),
            instance_id: None,
            topics: ["t".to_owned(), "u".to_owned()].into(),
            owned: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 3)],
            generation: 7,
        };
        for assignor in Assignor::ALL {
            let bytes = write_subscription(assignor, &member);
            assert_eq!(read_subscription("m", None, bytes).unwrap(), member);
        }
    }

    #[test]
    fn an_old_or_a_future_subscription_is_read() {
        let old = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]);
        let member = read_subscription("m", None, old).unwrap();
        assert_eq!((member.topics.len(), member.owned.len(), member.generation), (1, 0, -1));
        let mut future = write_subscription(Assignor::Range, &member).to_vec();
        future[1] = 99;
        future.extend_from_slice(b"more");
        assert_eq!(read_subscription("m", None, future.into()).unwrap(), member);
    }

    #[test]
    fn a_share_survives_its_bytes() {
        let share = vec![TopicPartition::new("t", 0), TopicPartition::new("u", 3)];
        assert_eq!(read_assignment(write_assignment(&share)).unwrap(), share);
        assert_eq!(read_assignment(Bytes::new()).unwrap(), []);
        assert!(read_assignment(Bytes::from_static(&[0, 1, 0, 0])).is_err());
    }
}
