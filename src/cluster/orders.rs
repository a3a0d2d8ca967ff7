//! What a broker is told to do beside what clients ask of it, and what it answers: the same for one in this process and one in
//! a process of its own.
//!
//! ```text
//!  LocalCluster -- Order --> Runner::Here  ------------------------------------------> Subject::obey
//!               \- Order --> Runner::Apart -- {"id": 7, "order": ...} -- its stdin --> Subject::obey
//!                                          <- {"id": 7, "answer": ..} -- its stdout -
//! ```
//! A process is also told how to begin and when to end ([`ToChild`]). One line of JSON each way; both ends are the same build.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::health;
use super::links::Links;
use super::network::Network;
use super::running::StartError;
use crate::broker::{Broker, RequestFault};
use crate::common::ids::NodeId;
use crate::controller::Voter;
use crate::log::fs::faulty::{DiskFault, Faults};
use crate::metadata::Image;

/// What a broker that runs is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Order {
    /// What is broken of the links to the others, from now on.
    Links(Links),
    /// What goes wrong with its disk besides, from now on.
    BreakDisk(DiskFault),
    /// Nothing does any more.
    HealDisk,
    /// Which requests it refuses besides, from now on.
    Refuse(RequestFault),
    /// That it does not any more.
    EndRefusal(u64),
    /// How many requests are still to be refused.
    RefusalsLeft(u64),
    /// The same: answered when they all were, or never will be.
    UntilRefused(u64),
    /// Whether the cluster is healthy as it sees it, if these brokers run: answered at once.
    Ailment(Vec<NodeId>),
    /// The same: answered when it is.
    UntilHealthy(Vec<NodeId>),
    /// Who leads a partition: answered when it is none of these.
    UntilLed(String, i32, BTreeSet<NodeId>),
    /// Answered when all replicas of a topic are in sync.
    UntilInSync(String),
    /// Answered when it knows these topics.
    UntilKnown(Vec<String>),
    /// Answered when it knows that another one does not serve any more.
    UntilFenced(NodeId),
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// What keeps the cluster from being healthy.
    Ailment(Option<String>),
    /// How many requests are still to be refused, `None` for all.
    Left(Option<u64>),
    /// There is no such refusal.
    NoRefusal,
    /// Whether they all were.
    Refused(bool),
    /// Who leads.
    Leader(NodeId),
}

/// A broker that obeys.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) broker: Arc<Broker>,
    pub(super) network: Arc<Network>,
    pub(super) disk: Faults,
}

impl Subject {
    /// Carries out an order.
    pub(super) async fn obey(&self, order: Order) -> Answer {
        match order {
            Order::Links(links) => self.network.set(&links),
            Order::BreakDisk(fault) => self.disk.add(fault),
            Order::HealDisk => self.disk.set(Vec::new()),
            Order::Refuse(fault) => self.broker.request_faults().add(fault),
            Order::EndRefusal(id) => self.broker.request_faults().end(id),
            Order::RefusalsLeft(id) => {
                return self.broker.request_faults().left(id).map_or(Answer::NoRefusal, Answer::Left);
            }
            Order::UntilRefused(id) => return Answer::Refused(self.broker.request_faults().until_used(id).await),
            Order::Ailment(running) => return Answer::Ailment(health::of(&self.broker, &running)),
            Order::UntilHealthy(running) => health::until_well(&self.broker, &running).await,
            Order::UntilLed(topic, partition, not_in) => {
                let find = |image: &Image| health::leader(image, &topic, partition, &not_in);
                return Answer::Leader(health::until(&self.broker, find).await);
            }
            Order::UntilInSync(topic) => health::until(&self.broker, |image| health::in_sync(image, &topic)).await,
            Order::UntilKnown(topics) => health::until(&self.broker, |image| health::known(image, &topics)).await,
            Order::UntilFenced(id) => health::until(&self.broker, |image| health::fenced(image, id)).await,
        }
        Answer::Done
    }
}

/// What a broker in a process of its own is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ToChild {
    /// To bind its listeners: the first that it is told.
    Bind {
        /// Its properties.
        properties: Vec<(String, String)>,
        /// Whether its data stays when it goes.
        durable: bool,
        /// The cluster that it is of.
        cluster_id: Option<String>,
        /// What is wrong with its disk.
        disk: Vec<DiskFault>,
    },
    /// To start.
    Start(Birth),
    /// To stop, with nothing handed over.
    Stop,
    /// What every broker may be told.
    Do(Order),
}

/// What a broker is started with, once all are bound.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Birth {
    /// The first controllers of its cluster: id, directory id, host and port.
    pub(super) voters: Vec<(NodeId, String, String, u16)>,
    /// Who listens where.
    pub(super) ports: Vec<(u16, NodeId)>,
    /// What is broken of the links.
    pub(super) links: Links,
}

impl Birth {
    pub(super) fn of(voters: &[Voter]) -> Birth {
        let told = |voter: &Voter| (voter.id, voter.directory_id.to_string(), voter.host.clone(), voter.port);
        Birth { voters: voters.iter().map(told).collect(), ..Birth::default() }
    }

    pub(super) fn voters(&self) -> Vec<Voter> {
        let voter = |(id, directory_id, host, port): &(NodeId, String, String, u16)| Voter {
            id: *id,
            directory_id: directory_id.parse().unwrap_or_default(),
            host: host.clone(),
            port: *port,
        };
        self.voters.iter().map(voter).collect()
    }
}

/// Where a broker is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bound {
    /// `node.id`
    pub(super) id: NodeId,
    /// `listeners`, with the ports that were bound.
    pub(super) listeners: String,
    /// Those ports.
    pub(super) ports: Vec<u16>,
    /// Where other controllers reach it; `None` where it has no listener for them.
    pub(super) controller: Option<(String, u16)>,
}

/// What a broker in a process of its own answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum FromChild {
    /// To [`ToChild::Bind`].
    Bound(Bound),
    /// To [`ToChild::Start`]: where clients reach it.
    Started(String),
    /// To [`ToChild::Stop`].
    Stopped,
    /// To [`ToChild::Do`].
    Did(Answer),
    /// It cannot bind, start or stop, and ends.
    Failed {
        /// The error's code in the protocol.
        code: i16,
        /// The system's, where it is one of that.
        errno: Option<i32>,
        /// All of it.
        sentence: String,
    },
}

impl StartError {
    /// As a process tells its parent.
    pub(super) fn told(&self) -> FromChild {
        FromChild::Failed { code: self.code().code(), errno: self.errno(), sentence: self.to_string() }
    }
}

/// A line to or from a process; answers have the id of what they answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line<T> {
    pub(super) id: u64,
    pub(super) says: T,
}
