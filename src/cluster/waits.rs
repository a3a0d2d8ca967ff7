//! What can be waited for, so that no test needs to sleep; and what is only done once all know of it.
//!
//! Brokers tell what they see when they see it ([`health`](super::health)); whenever one of them starts, stops or dies, those that
//! run then are asked anew.

use std::collections::BTreeSet;
use std::time::Duration;

use super::local::{LocalCluster, LocalError, Member};
use super::orders::{Answer, Order};
use super::runner::BrokerState;
use crate::client;
use crate::client::admin::topics::{CreatedTopic, NewTopic};
use crate::client::admin::{Admin, Each};
use crate::client::network::Network;
use crate::common::ids::NodeId;

/// How long a broker may take to say what it sees, when nobody can wait any longer, or to hear what the controller has told.
const LAST_WORD: Duration = Duration::from_secs(1);

impl LocalCluster {
    /// Ends when every broker that runs may lead, and every partition has a leader and all of its replicas that run in sync.
    ///
    /// # Errors
    /// [`LocalError::Unhealthy`] says what is not so after `within`.
    pub async fn wait_healthy(&self, within: Duration) -> Result<(), LocalError> {
        tokio::select! {
            () = self.until_healthy() => Ok(()),
            () = self.clock.sleep(within) => {
                let what = tokio::select! {
                    what = self.ailment() => what,
                    () = self.clock.sleep(LAST_WORD) => Some("not all brokers say what they see".to_owned()),
                };
                what.map_or(Ok(()), |what| Err(LocalError::Unhealthy { within, what }))
            }
        }
    }

    async fn until_healthy(&self) {
        let mut changes = self.changes.subscribe();
        loop {
            let up = self.up();
            let healthy = async {
                if up.is_empty() || up.iter().any(|member| member.state() == BrokerState::Paused) {
                    // Only a change can make it well.
                    std::future::pending::<()>().await;
                }
                let asking = up.iter().map(|member| member.runner.ask(Order::UntilHealthy(ids(&up))));
                futures_util::future::join_all(asking).await;
                // Each was, one after the other; now all at once.
                self.ailment().await.is_none()
            };
            tokio::select! {
                healthy = healthy => if healthy { return },
                // The sender is ours.
                _ = changes.changed() => {}
            }
        }
    }

    /// What keeps the cluster from being healthy, as the brokers that run see it.
    async fn ailment(&self) -> Option<String> {
        let up = self.up();
        if up.is_empty() {
            return Some("no broker runs".to_owned());
        }
        if let Some(paused) = up.iter().find(|member| member.state() == BrokerState::Paused) {
            return Some(format!("broker {} is paused", paused.id));
        }
        let asking = up.iter().map(|member| async {
            match member.runner.ask(Order::Ailment(ids(&up))).await {
                Some(Answer::Ailment(ailment)) => ailment,
                _ => Some(format!("broker {} has ended", member.id)),
            }
        });
        futures_util::future::join_all(asking).await.into_iter().flatten().next()
    }

    /// Ends when a broker runs no more: it was stopped, or has died.
    ///
    /// # Errors
    /// [`LocalError::Unknown`], [`LocalError::StillUp`] after `within`.
    pub async fn wait_down(&self, id: NodeId, within: Duration) -> Result<(), LocalError> {
        let member = self.member(id)?;
        let mut changes = self.changes.subscribe();
        let down = async {
            while member.state().is_up() {
                // The sender is ours.
                let _ = changes.changed().await;
            }
        };
        tokio::select! {
            () = down => Ok(()),
            () = self.clock.sleep(within) => Err(LocalError::StillUp { id, within }),
        }
    }

    /// Who leads a partition, once that is a broker that runs and none of `not_in`.
    ///
    /// # Errors
    /// [`LocalError::Late`] after `within`.
    pub async fn wait_leader(
        &self,
        topic: &str,
        partition: i32,
        not_in: &BTreeSet<NodeId>,
        within: Duration,
    ) -> Result<NodeId, LocalError> {
        let order = Order::UntilLed(topic.to_owned(), partition, not_in.clone());
        let mut changes = self.changes.subscribe();
        let led = async {
            loop {
                let heard = self.heard();
                let asking = heard.iter().map(|member| {
                    let asking = member.runner.ask(order.clone());
                    Box::pin(async move {
                        match asking.await {
                            Some(Answer::Leader(leader)) => leader,
                            _ => std::future::pending().await,
                        }
                    })
                });
                let first = async {
                    if heard.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    futures_util::future::select_all(asking).await.0
                };
                tokio::select! {
                    // One that was cut off may not know yet that the leader it knew is gone.
                    leader = first => match self.up().iter().any(|member| member.id == leader) {
                        true => return leader,
                        false => drop(changes.changed().await),
                    },
                    // The sender is ours.
                    _ = changes.changed() => {}
                }
            }
        };
        tokio::select! {
            leader = led => Ok(leader),
            () = self.clock.sleep(within) => {
                let what = format!("partition {partition} of {topic:?} is led by no broker that runs and is not in {not_in:?}");
                Err(LocalError::Late { what, within })
            }
        }
    }

    /// Ends when every replica of a topic is in sync, as all brokers that run see it.
    ///
    /// # Errors
    /// [`LocalError::Late`] after `within`.
    pub async fn wait_in_sync(&self, topic: &str, within: Duration) -> Result<(), LocalError> {
        let mut changes = self.changes.subscribe();
        let synced = async {
            loop {
                let heard = self.heard();
                let all = async {
                    if heard.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let asking = heard.iter().map(|member| member.runner.ask(Order::UntilInSync(topic.to_owned())));
                    futures_util::future::join_all(asking).await.iter().all(Option::is_some)
                };
                tokio::select! {
                    true = all => return,
                    // The sender is ours.
                    _ = changes.changed() => {}
                }
            }
        };
        tokio::select! {
            () = synced => Ok(()),
            () = self.clock.sleep(within) => {
                Err(LocalError::Late { what: format!("not every replica of {topic:?} is in sync"), within })
            }
        }
    }

    /// Makes topics as `admin`, which is of this cluster, does; ends when every broker that can be heard knows those that were
    /// made: whichever is asked for them then has heard of them. As with all that the controller tells, nobody waits for who is
    /// cut off from it; here, not for longer than a second.
    ///
    /// # Errors
    /// Those of the call; each topic's own is in the result.
    pub async fn create_topics(
        &self,
        admin: &Admin,
        topics: &[NewTopic],
    ) -> client::Result<Each<String, CreatedTopic>> {
        self.doubt_unheard(admin.network());
        let each = admin.create_topics(topics, false).await?;
        let made: Vec<String> = each.iter().filter(|(_, made)| made.is_ok()).map(|(name, _)| name.clone()).collect();
        if !made.is_empty() {
            self.told(&Order::UntilKnown(made)).await;
        }
        Ok(each)
    }

    /// Ends when every broker that can be heard knows that one does not serve any more, in the same way.
    pub(super) async fn until_known_down(&self, id: NodeId) {
        self.told(&Order::UntilFenced(id)).await;
    }

    async fn told(&self, order: &Order) {
        let asking = self.heard().into_iter().map(|member| member.runner.ask(order.clone()));
        tokio::select! {
            _ = futures_util::future::join_all(asking) => {}
            () = self.clock.sleep(LAST_WORD) => {}
        }
    }

    /// Has a client of this cluster ask those last that cannot be heard at the moment: one that is paused takes what it is
    /// asked, and says nothing.
    pub fn doubt_unheard(&self, network: &Network) {
        for (member, addresses) in self.members.iter().zip(&self.bootstrap) {
            if member.state() != BrokerState::Running {
                addresses.split(',').for_each(|address| network.doubt_at(address));
            }
        }
    }

    /// Those that run, and can be heard.
    fn heard(&self) -> Vec<&Member> {
        self.up().into_iter().filter(|member| member.state() == BrokerState::Running).collect()
    }
}

fn ids(members: &[&Member]) -> Vec<NodeId> {
    members.iter().map(|member| member.id).collect()
}
