//! What a test does to a cluster that no operator would: links that are cut, disks that break, requests that are refused.
//!
//! Each is an [`Order`] to the brokers that it concerns; what outlives a broker's start (links, broken disks) the cluster keeps,
//! and gives to whoever is started next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::links::Links;
use super::local::{LocalCluster, LocalError, up};
use super::orders::{Answer, Order};
use crate::broker::{RequestFault, can_be_refused, can_be_refused_for_a_topic};
use crate::common::ids::NodeId;
use crate::log::fs::faulty::DiskFault;
use crate::protocol::{ApiKey, ErrorCode};

/// Requests that a broker is to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequests {
    /// Of which API.
    pub api: ApiKey,
    /// With which error.
    pub code: ErrorCode,
    /// How many; `None` for all.
    pub times: Option<u64>,
    /// Only what they ask of this topic: the others are worked on.
    pub topic: Option<String>,
    /// Only those of the client that calls itself so (`client.id`).
    pub client_id: Option<String>,
}

impl LocalCluster {
    /// Breaks the links between the brokers, or heals them, as `change` says; what a broker that is paused sends and hears is
    /// changed when it goes on.
    pub async fn change_links(&self, change: impl FnOnce(&mut Links)) {
        let mut links = self.links.lock().await;
        change(&mut links);
        let telling = self.members.iter().map(|member| member.runner.tell(Order::Links(links.clone())));
        futures_util::future::join_all(telling).await;
    }

    /// Has a broker's disk fail from now on. What is to fail only some times ends with the broker, and is for one that runs; all
    /// else stays until it is healed, also when the broker is started again.
    ///
    /// # Errors
    /// [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn break_disk(&self, id: NodeId, fault: DiskFault) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let mut disk = member.disk.lock().await;
        match fault.times {
            None => disk.push(fault.clone()),
            Some(_) => up(member)?,
        }
        member.runner.tell(Order::BreakDisk(fault)).await;
        Ok(())
    }

    /// Has a broker's disk work again.
    ///
    /// # Errors
    /// [`LocalError::Unknown`].
    pub async fn heal_disk(&self, id: NodeId) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let mut disk = member.disk.lock().await;
        disk.clear();
        member.runner.tell(Order::HealDisk).await;
        Ok(())
    }

    /// Has a broker that runs refuse requests; the id by which that is asked after. It ends with the broker.
    ///
    /// # Errors
    /// [`LocalError::CannotRefuse`], [`LocalError::CannotRefuseTopic`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn refuse(&self, id: NodeId, requests: RefusedRequests) -> Result<u64, LocalError> {
        let RefusedRequests { api, code, times, topic, client_id } = requests;
        if !can_be_refused(api) {
            return Err(LocalError::CannotRefuse { api });
        }
        if topic.is_some() && !can_be_refused_for_a_topic(api) {
            return Err(LocalError::CannotRefuseTopic { api });
        }
        let fault = self.refusals.fetch_add(1, Ordering::Relaxed);
        let order = RequestFault { id: fault, api: api as i16, code: code.code(), left: times, topic, client_id };
        self.ask_of(id, Order::Refuse(order)).await.map(|_| fault)
    }

    /// Ends a refusal.
    ///
    /// # Errors
    /// [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn end_refusal(&self, id: NodeId, fault: u64) -> Result<(), LocalError> {
        self.ask_of(id, Order::EndRefusal(fault)).await.map(drop)
    }

    /// How many requests are still to be refused, `None` for all.
    ///
    /// # Errors
    /// [`LocalError::NoRefusal`], [`LocalError::State`], [`LocalError::Unknown`].
    pub async fn refusals_left(&self, id: NodeId, fault: u64) -> Result<Option<u64>, LocalError> {
        match self.ask_of(id, Order::RefusalsLeft(fault)).await? {
            Answer::Left(left) => Ok(left),
            _ => Err(LocalError::NoRefusal { id }),
        }
    }

    /// Ends when a refusal is used up.
    ///
    /// # Errors
    /// [`LocalError::NotRefused`] after `within`; those of [`LocalCluster::refusals_left`].
    pub async fn wait_refused(&self, id: NodeId, fault: u64, within: Duration) -> Result<(), LocalError> {
        tokio::select! {
            answer = self.ask_of(id, Order::UntilRefused(fault)) => match answer? {
                Answer::Refused(true) => Ok(()),
                _ => Err(LocalError::NoRefusal { id }),
            },
            () = self.clock.sleep(within) => Err(LocalError::NotRefused { id, within }),
        }
    }

    /// Asks a broker that must run.
    async fn ask_of(&self, id: NodeId, order: Order) -> Result<Answer, LocalError> {
        let member = self.member(id)?;
        up(member)?;
        let mut changes = self.changes.subscribe();
        let ended = async {
            while member.state().is_up() {
                // The sender is ours.
                let _ = changes.changed().await;
            }
        };
        tokio::select! {
            answer = member.runner.ask(order) => answer.ok_or(LocalError::State { id, state: "does not run" }),
            () = ended => Err(LocalError::State { id, state: "does not run any more" }),
        }
    }
}
