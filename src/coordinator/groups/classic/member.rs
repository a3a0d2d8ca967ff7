//! One member of a classic group.

use bytes::Bytes;

use crate::coordinator::step::ReplyToken;

/// A protocol that a member can speak, with what it wants the leader to know (a consumer: its subscription).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Its name (`range`).
    pub name: String,
    /// The member's metadata under it.
    pub metadata: Bytes,
}

/// One member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its id, given by the coordinator.
    pub member_id: String,
    /// The name that makes it a static member.
    pub group_instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols it can speak, the best first.
    pub protocols: Vec<Protocol>,
    /// What the leader assigned; empty until then.
    pub assignment: Bytes,
    /// The JoinGroup that waits for the join phase to end.
    pub(super) awaiting_join: Option<ReplyToken>,
    /// The SyncGroup that waits for the leader's assignment.
    pub(super) awaiting_sync: Option<ReplyToken>,
    /// It never got a JoinGroup reply, so it cannot send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    /// Its metadata under a protocol; empty when it does not speak it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|known| known.name == protocol)
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }

    /// The candidate it likes best.
    pub(super) fn vote(&self, candidates: &[&str]) -> Option<&str> {
        self.protocols.iter().map(|protocol| protocol.name.as_str()).find(|name| candidates.contains(name))
    }

    /// Whether its silence is no sign of failure: it waits for us. A new member may be gone even so.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}
