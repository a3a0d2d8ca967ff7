//! What is broken of the links between brokers, as a value: whoever is told the whole of it can carry it out.
//!
//! A cluster keeps one, changes it, and gives it to each of its brokers' [`Network`](super::Network)s, in this process or in
//! another; a broker that is started again is given it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::common::ids::NodeId;

/// What is broken of the links between brokers; nothing, to begin with.
///
/// ```
/// use std::collections::BTreeSet;
/// use strandline::cluster::Links;
/// let mut links = Links::default();
/// links.partition(&[BTreeSet::from([0]), BTreeSet::from([1, 2])]);
/// assert!(links.is_cut(0, 2) && links.is_cut(2, 0) && !links.is_cut(1, 2));
/// links.heal();
/// assert_eq!(links, Links::default());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    cut: BTreeSet<(NodeId, NodeId)>,
    delay_ms: u64,
    /// In millionths.
    break_rate: u32,
}

impl Links {
    /// Cuts all links between brokers of different groups, both ways; those within a group, and of brokers that are in none,
    /// stay as they are.
    pub fn partition(&mut self, groups: &[BTreeSet<NodeId>]) {
        for (place, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(place + 1) {
                for (one, two) in group.iter().flat_map(|one| other.iter().map(move |two| (*one, *two))) {
                    self.block(one, two);
                    self.block(two, one);
                }
            }
        }
    }

    /// Cuts one direction of a link: what `from` sends does not reach `to`.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Opens all links, and ends delays and breaks; what was held back arrives.
    pub fn heal(&mut self) {
        *self = Links::default();
    }

    /// Lets what brokers send each other arrive later.
    pub fn delay(&mut self, delay: Duration) {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    }

    /// Breaks connections between brokers: each write ends its connection with this probability, from 0 to 1.
    pub fn break_at(&mut self, rate: f64) {
        self.break_rate = (rate.clamp(0.0, 1.0) * 1e6) as u32;
    }

    /// Whether what `from` sends does not reach `to`.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to))
    }

    /// How much later everything arrives, in milliseconds.
    pub(super) fn delay_ms(&self) -> u64 {
        self.delay_ms
    }

    /// How many of a million writes end their connection.
    pub(super) fn break_rate(&self) -> u32 {
        self.break_rate
    }
}
