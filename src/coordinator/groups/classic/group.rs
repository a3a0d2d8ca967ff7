//! A classic group: its members, the protocol they vote for, its state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Buf, Bytes};

use super::member::{Member, Protocol};
use crate::common::ids::Timestamp;
use crate::coordinator::records::{GroupSnapshot, MemberSnapshot};
use crate::protocol::ErrorCode;

/// The protocol type of consumers, whose subscriptions the coordinator can read.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// No members; offsets may be there.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Everybody has joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Everybody has an assignment, or can have it.
    Stable,
    /// The group is gone, or has moved to another coordinator.
    Dead,
}

impl State {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The wait of an empty group's first rebalance for more members.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InitialWait {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
    pub(super) member_added: bool,
}

/// A classic group.
#[derive(Debug, Clone)]
pub struct ClassicGroup {
    /// Its id.
    pub group_id: String,
    pub(super) state: State,
    /// When the state was reached; `None` when an old record did not say.
    pub(super) state_since: Option<Timestamp>,
    pub(super) generation_id: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) leader_id: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Members by `group.instance.id`.
    pub(super) static_members: BTreeMap<String, String>,
    /// Ids that were handed out (KIP-394) and not used yet.
    pub(super) pending_join: BTreeSet<String>,
    /// Members that have not sent SyncGroup in this generation.
    pub(super) pending_sync: BTreeSet<String>,
    /// The topics that its consumers subscribe to; `None` when that cannot be known.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    pub(super) initial_wait: Option<InitialWait>,
}

impl ClassicGroup {
    /// A group without members, as the first JoinGroup or the first commit without a group makes it.
    pub(in crate::coordinator) fn new(group_id: &str, now: Timestamp) -> ClassicGroup {
        ClassicGroup {
            group_id: group_id.to_owned(),
            state: State::Empty,
            state_since: Some(now),
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader_id: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            subscribed_topics: None,
            initial_wait: None,
        }
    }

    /// The group that a record describes.
    pub(in crate::coordinator) fn from_snapshot(group_id: &str, snapshot: &GroupSnapshot) -> ClassicGroup {
        let mut group = ClassicGroup::new(group_id, 0);
        group.state = if snapshot.members.is_empty() { State::Empty } else { State::Stable };
        group.state_since = (snapshot.state_since != -1).then_some(snapshot.state_since);
        group.generation_id = snapshot.generation_id;
        group.protocol_type = Some(snapshot.protocol_type.clone()).filter(|kind| !kind.is_empty());
        group.protocol_name.clone_from(&snapshot.protocol_name);
        group.leader_id.clone_from(&snapshot.leader_id);
        for member in &snapshot.members {
            let name = snapshot.protocol_name.clone().unwrap_or_default();
            group.add(Member {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                // The oldest records have one timeout for both.
                rebalance_timeout_ms: match member.rebalance_timeout_ms {
                    -1 => member.session_timeout_ms,
                    timeout => timeout,
                },
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![Protocol { name, metadata: member.subscription.clone() }],
                assignment: member.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// What the log keeps of the group. `assignments` stands in for what members have, where it names them.
    pub(super) fn snapshot(&self, assignments: Option<&BTreeMap<String, Bytes>>) -> GroupSnapshot {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let member = |member: &Member| MemberSnapshot {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: match assignments {
                Some(assignments) => assignments.get(&member.member_id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            },
        };
        GroupSnapshot {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation_id: self.generation_id,
            protocol_name: self.protocol_name.clone(),
            leader_id: self.leader_id.clone(),
            state_since: self.state_since.unwrap_or(-1),
            members: self.members.values().map(member).collect(),
        }
    }

    /// What the log keeps of a group that was just made.
    pub(in crate::coordinator) fn empty_snapshot(&self) -> GroupSnapshot {
        GroupSnapshot { state_since: self.state_since.unwrap_or(-1), ..GroupSnapshot::default() }
    }

    /// Where the group stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often the group has rebalanced.
    pub fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// The protocol type of its members (`consumer`, `connect`); `None` before the first, and for offsets without members.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol that this generation chose.
    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    /// Its members by id.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// The id of the member that assigns; empty when there is none.
    pub fn leader(&self) -> &str {
        self.leader_id.as_deref().unwrap_or_default()
    }

    /// When the state was reached; `None` when an old record did not say.
    pub fn state_since(&self) -> Option<Timestamp> {
        self.state_since
    }

    /// Whether a consumer of this group subscribes to a topic; taken for granted when that cannot be known.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.as_ref().map_or(self.has_consumers(), |topics| topics.contains(topic))
    }

    /// Whether its members are consumers.
    pub fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// The topics that its consumers subscribe to; `None` when that cannot be known.
    pub fn subscribed_topics(&self) -> Option<&BTreeSet<String>> {
        self.subscribed_topics.as_ref()
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader_id.as_deref() == Some(member_id)
    }

    pub(super) fn transition(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.state_since = Some(now);
    }

    pub(super) fn can_rebalance(&self) -> bool {
        matches!(self.state, State::Empty | State::CompletingRebalance | State::Stable)
    }

    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), member.member_id.clone());
        }
        if self.leader_id.is_none() {
            self.leader_id = Some(member.member_id.clone());
        }
        self.pending_join.remove(&member.member_id);
        self.members.insert(member.member_id.clone(), member);
    }

    /// Forgets a member or a pending id. Whoever waits on the member's behalf must have been answered.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if let Some(instance) = removed.as_ref().and_then(|member| member.group_instance_id.as_ref())
            && self.static_members.get(instance).is_some_and(|holder| holder == member_id)
        {
            self.static_members.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader_id = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        removed
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(super) fn has_all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    /// A leader that has joined: the present one, or the first member that has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        let present = self.leader_id.as_ref().and_then(|leader| self.members.get(leader));
        if present.is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| joined(member)) {
            Some(member) => {
                self.leader_id = Some(member.member_id.clone());
                true
            }
            None => false,
        }
    }

    /// The error of a request that names a member who is not one, or whose place another has taken.
    pub(in crate::coordinator) fn check_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(holder) if holder != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// Whether a member of this type could speak with all others.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all =
            |name: &str| self.members.values().all(|member| member.protocols.iter().any(|known| known.name == name));
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| spoken_by_all(&protocol.name))
    }

    /// The protocol that all speak and most like best; of equals, the first by name.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let (first, rest) = {
            let mut members = self.members.values();
            (members.next()?, members)
        };
        let others: Vec<&Member> = rest.collect();
        let candidates: Vec<&str> = first
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str())
            .filter(|name| others.iter().all(|member| member.protocols.iter().any(|known| known.name == *name)))
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for vote in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(vote).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    /// The topics of all consumers' subscriptions.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.has_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription_topics(member.metadata(protocol))?);
        }
        Some(topics)
    }
}

/// The topics at the head of a consumer's subscription, which every version of it begins with: i16 version, then an
/// array of strings. `None` when these are not such bytes.
fn subscription_topics(mut bytes: Bytes) -> Option<Vec<String>> {
    let _version = bytes.try_get_i16().ok()?;
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    // Each topic takes at least its length's two bytes.
    if count > bytes.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        if length > bytes.len() {
            return None;
        }
        topics.push(String::from_utf8(bytes.split_to(length).to_vec()).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriptions_topics_are_read_whatever_follows() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\0\0\0\0rest";
        assert_eq!(subscription_topics(Bytes::from_static(bytes)), Some(vec!["a".to_owned(), "bc".to_owned()]));
    }

    #[test]
    fn bytes_that_are_no_subscription_are_not_read() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\0\x7f\xff\xff\xff",
            b"\0\0\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\0\x09a",
            b"\0\0\0\0\0\x01\xff\xff",
        ] {
            assert_eq!(subscription_topics(Bytes::from_static(bytes)), None, "{bytes:?}");
        }
    }
}
