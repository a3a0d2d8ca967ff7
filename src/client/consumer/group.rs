//! The requests behind a membership: the task that joins, and the one that sends heartbeats.
//!
//! A join runs on the runtime, for it may take as long as the slowest member's `max.poll.interval.ms`, and the caller's
//! poll need not. The member that leads the group shares the partitions out between JoinGroup and SyncGroup.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::client::config::ConsumerConfig;
use crate::client::connection::Connection;
use crate::client::network::{Network, Purpose, Wanted};
use crate::client::{ClientError, Result};
use crate::common::ids::TopicPartition;
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::protocol::{ApiKey, ErrorCode, Request, Str};

use super::assignor::{Assignor, Member};
use super::coordinator::{JoinFailed, Joined, Membership, judge};
use super::protocol::{read_assignment, read_subscription, write_assignment, write_subscription};

/// `protocol_type` of consumers.
const PROTOCOL_TYPE: &str = "consumer";
/// From this version on LeaveGroup names members in a list.
const LEAVE_MANY: i16 = 3;

/// What the tasks of a member need.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) network: Arc<Network>,
    pub(super) config: Arc<ConsumerConfig>,
    pub(super) id: Arc<str>,
    pub(super) assignors: Vec<Assignor>,
    pub(super) membership: Arc<Mutex<Membership>>,
    /// When the caller last polled, in milliseconds on the monotonic clock; `u64::MAX` while it does.
    pub(super) polled: Arc<AtomicU64>,
    /// Wakes the caller.
    pub(super) arrived: Arc<Notify>,
}

impl Group {
    /// Joins the group: once, or as often as it takes.
    pub(super) async fn join(self, topics: BTreeSet<String>, owned: Vec<TopicPartition>) -> Result<Joined> {
        let (mut member_id, generation) = {
            let membership = self.membership.lock();
            (membership.member_id().to_owned(), membership.generation())
        };
        let instance_id = self.config.group_instance_id.clone();
        let mut member = Member { id: String::new(), instance_id, topics, owned, generation };
        let mut failures = 0;
        loop {
            member.id.clone_from(&member_id);
            match self.join_once(&member).await {
                Ok(joined) => return Ok(joined),
                Err(JoinFailed::Fatal(error)) => return Err(error),
                Err(JoinFailed::Again(id)) => {
                    if id.is_empty() {
                        // Whoever has no id owns nothing, as far as the group is concerned.
                        (member.owned, member.generation) = (Vec::new(), -1);
                    }
                    member_id = id;
                }
                Err(JoinFailed::AgainLater(id, error)) => {
                    tracing::debug!(group = %self.id, %error, "joining failed");
                    member_id = id;
                    failures += 1;
                    self.network.doors().clock.sleep(self.config.retry.after(failures)).await;
                }
            }
        }
    }

    async fn coordinator(&self) -> Result<Arc<Connection>> {
        let node = self.network.coordinator(&self.id).await?;
        let connection = self.network.connection_for(node, Purpose::Group).await;
        connection.inspect_err(|_| self.network.forget_coordinator(&self.id))
    }

    async fn ask<R: Request>(&self, request: &R, connection: &Connection, timeout: Duration) -> Result<R::Response> {
        let version = connection.version(R::KEY)?;
        let response = connection.call_at(request, version, timeout).await;
        response.inspect_err(|_| self.network.forget_coordinator(&self.id))
    }

    async fn join_once(&self, member: &Member) -> std::result::Result<Joined, JoinFailed> {
        let later = |error: ClientError| {
            if error.retriable() { JoinFailed::AgainLater(member.id.clone(), error) } else { JoinFailed::Fatal(error) }
        };
        let connection = self.coordinator().await.map_err(later)?;
        let protocols = self.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: Str::from_static(assignor.name()),
            metadata: write_subscription(*assignor, member),
        });
        let instance_id = member.instance_id.as_deref().map(Str::from);
        let rebalance = self.config.max_poll_interval;
        let request = JoinGroupRequest {
            group_id: Str::from(&*self.id),
            session_timeout_ms: self.config.session_timeout.as_millis() as i32,
            rebalance_timeout_ms: rebalance.as_millis() as i32,
            member_id: member.id.as_str().into(),
            group_instance_id: instance_id.clone(),
            protocol_type: Str::from_static(PROTOCOL_TYPE),
            protocols: protocols.collect(),
            reason: None,
        };
        // The coordinator answers when all have joined, or after the rebalance timeout.
        let patience = rebalance.max(self.network.config().request_timeout) + Duration::from_secs(5);
        let response = self.ask(&request, &connection, patience).await.map_err(later)?;
        if response.error_code != ErrorCode::NONE {
            self.forget_if_moved(response.error_code);
            // The id comes with the error that asks for one, and otherwise stays what it was.
            let id =
                if response.error_code == ErrorCode::MEMBER_ID_REQUIRED { &*response.member_id } else { &member.id };
            return Err(judge(&self.id, response.error_code, id, "joining"));
        }
        let assignor = response.protocol_name.as_deref().and_then(Assignor::from_name);
        let Some(assignor) = assignor.filter(|assignor| self.assignors.contains(assignor)) else {
            let text = format!("group {} chose protocol {:?}, which was not offered", self.id, response.protocol_name);
            return Err(JoinFailed::Fatal(ClientError::invalid(text)));
        };
        let leads = response.leader == response.member_id;
        let member_id = response.member_id.to_string();
        let (assignments, counted) = if leads {
            let (assignments, counted) =
                self.share_out(assignor, &response).await.map_err(|error| match later(error) {
                    JoinFailed::AgainLater(_, error) => JoinFailed::AgainLater(member_id.clone(), error),
                    other => other,
                })?;
            (assignments, Some(counted))
        } else {
            (Vec::new(), None)
        };
        let request = SyncGroupRequest {
            group_id: Str::from(&*self.id),
            generation_id: response.generation_id,
            member_id: response.member_id.clone(),
            group_instance_id: instance_id,
            protocol_type: Some(Str::from_static(PROTOCOL_TYPE)),
            protocol_name: Some(Str::from_static(assignor.name())),
            assignments,
        };
        let synced = self.ask(&request, &connection, patience).await.map_err(later)?;
        if synced.error_code != ErrorCode::NONE {
            self.forget_if_moved(synced.error_code);
            return Err(judge(&self.id, synced.error_code, &member_id, "syncing with"));
        }
        let share = read_assignment(synced.assignment).map_err(|cause| {
            let text = format!("the share that group {} gave this member cannot be read: {cause}", self.id);
            JoinFailed::Fatal(ClientError::invalid(text))
        })?;
        Ok(Joined { member_id, generation: response.generation_id, assignor, share, counted })
    }

    fn forget_if_moved(&self, code: ErrorCode) {
        if matches!(code, ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) {
            self.network.forget_coordinator(&self.id);
        }
    }

    /// What the member that leads does: every member's share, and how many partitions each topic had.
    async fn share_out(
        &self,
        assignor: Assignor,
        response: &JoinGroupResponse,
    ) -> Result<(Vec<SyncGroupRequestAssignment>, BTreeMap<String, usize>)> {
        let members = response.members.iter().map(|member| {
            read_subscription(&member.member_id, member.group_instance_id.as_deref(), member.metadata.clone()).map_err(
                |cause| {
                    let text =
                        format!("what member {} of group {} wants cannot be read: {cause}", member.member_id, self.id);
                    ClientError::invalid(text)
                },
            )
        });
        let members = members.collect::<Result<Vec<_>>>()?;
        let topics: Vec<Arc<str>> = {
            let names: BTreeSet<&String> = members.iter().flat_map(|member| &member.topics).collect();
            names.into_iter().map(|name| Arc::from(name.as_str())).collect()
        };
        let view = self.network.refresh(Wanted::Topics(&topics), self.config.allow_auto_create).await?;
        let counted: BTreeMap<String, usize> = topics
            .iter()
            .filter_map(|name| Some((name.to_string(), view.topics.get(name)?.partitions.len())))
            .collect();
        if response.skip_assignment {
            // A static member that came back leads a group that already has its shares.
            return Ok((Vec::new(), counted));
        }
        let mut shares = assignor.assign(&members, &counted);
        let assignments = response.members.iter().map(|member| {
            let share = shares.remove(&*member.member_id).unwrap_or_default();
            SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment: write_assignment(&share) }
        });
        Ok((assignments.collect(), counted))
    }

    /// Sends heartbeats until the membership ends. Leaves the group if the caller stays away for too long.
    pub(super) fn start_heartbeats(&self) -> JoinHandle<()> {
        let this = self.clone();
        let generation = self.membership.lock().generation();
        self.network.doors().runtime.spawn(async move {
            let clock = this.network.doors().clock.clone();
            let mut heard = clock.monotonic();
            loop {
                clock.sleep(this.config.heartbeat_interval).await;
                let polled = Duration::from_millis(this.polled.load(Ordering::Acquire));
                if clock.monotonic().saturating_sub(polled) > this.config.max_poll_interval {
                    tracing::warn!(
                        group = %this.id,
                        "no poll for max.poll.interval.ms ({} ms): leaving the group",
                        this.config.max_poll_interval.as_millis()
                    );
                    this.leave("no poll for max.poll.interval.ms").await;
                    this.arrived.notify_one();
                    return;
                }
                let committer = this.membership.lock().committer();
                if committer.generation != generation {
                    return;
                }
                let request = HeartbeatRequest {
                    group_id: Str::from(&*this.id),
                    generation_id: generation,
                    member_id: committer.member_id.as_str().into(),
                    group_instance_id: committer.instance_id.as_deref().map(Str::from),
                };
                let answer = match this.coordinator().await {
                    Ok(connection) => this.ask(&request, &connection, this.config.session_timeout).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => {
                        heard = clock.monotonic();
                        let moved = this.membership.lock().heartbeat_answered(generation, answer.error_code);
                        if moved {
                            this.network.forget_coordinator(&this.id);
                        }
                        if answer.error_code != ErrorCode::NONE {
                            tracing::debug!(group = %this.id, code = %answer.error_code, "heartbeat");
                            this.arrived.notify_one();
                        }
                    }
                    Err(error) => {
                        tracing::debug!(group = %this.id, %error, "no heartbeat");
                        if clock.monotonic().saturating_sub(heard) > this.config.session_timeout {
                            // By now the coordinator has removed this member, or there is none.
                            heard = clock.monotonic();
                        }
                    }
                }
            }
        })
    }

    /// Leaves the group; a static member only forgets about it, for it is to come back.
    pub(super) async fn leave(&self, reason: &str) {
        let committer = self.membership.lock().committer();
        self.membership.lock().left();
        if committer.member_id.is_empty() || committer.instance_id.is_some() {
            return;
        }
        let left = async {
            let connection = self.coordinator().await?;
            let request = if connection.version(ApiKey::LeaveGroup)? >= LEAVE_MANY {
                let member_id = committer.member_id.as_str().into();
                let member = MemberIdentity { member_id, group_instance_id: None, reason: Some(reason.into()) };
                LeaveGroupRequest { group_id: Str::from(&*self.id), members: vec![member], ..Default::default() }
            } else {
                let member_id = committer.member_id.as_str().into();
                LeaveGroupRequest { group_id: Str::from(&*self.id), member_id, ..Default::default() }
            };
            self.ask(&request, &connection, self.network.config().request_timeout).await
        };
        if let Err(error) = left.await {
            // It will be removed after session.timeout.ms.
            tracing::debug!(group = %self.id, %error, "leaving failed");
        }
    }
}
