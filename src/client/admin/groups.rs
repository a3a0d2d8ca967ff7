//! Groups: list, describe, delete; read, set and delete their offsets.

use std::collections::{BTreeMap, HashMap};

use crate::client::consumer::share_of;
use crate::client::network::{Purpose, Wanted};
use crate::client::offsets::{self, CommittedOffset, Committer, group_error};
use crate::client::{ClientError, Result};
use crate::common::ids::TopicPartition;
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::describe_groups::DescribeGroupsRequest;
use crate::protocol::messages::list_groups::ListGroupsRequest;
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::{ErrorCode, Request};

use super::{Admin, Each, outcome, unanswered};

/// A group, in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub id: String,
    /// `consumer` for consumers; empty for one that only commits.
    pub protocol_type: String,
    /// `Stable`, `Empty`, ...; empty where the broker did not say.
    pub state: String,
    /// `Classic`, `Consumer`, `Share`; empty where the broker did not say.
    pub group_type: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty`, `Dead`.
    pub state: String,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// The assignor.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`
    pub instance_id: Option<String>,
    /// `client.id`
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Its share; empty for groups that are not consumers'.
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// All groups, by id.
    ///
    /// # Errors
    /// Those of any broker: a part would look like the whole.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>> {
        let view =
            offsets::retrying(&self.network, self.timeout, || self.network.refresh(Wanted::Topics(&[]), false)).await?;
        let mut groups = Vec::new();
        for node in view.brokers.keys() {
            let response = offsets::retrying(&self.network, self.timeout, || async {
                let response = self.network.call(*node, &ListGroupsRequest::default()).await?;
                outcome(response.error_code, None, || format!("groups of broker {node}"), response.groups)
            });
            groups.extend(response.await?.into_iter().map(|group| GroupListing {
                id: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                group_type: group.group_type.to_string(),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// These groups, with their members. A group that does not exist is `Dead`, or GROUP_ID_NOT_FOUND on newer brokers.
    ///
    /// # Errors
    /// Those of the call; each group's own is in the result.
    pub async fn describe_groups(&self, ids: &[String]) -> Result<Each<String, GroupDescription>> {
        let mut each = Vec::new();
        for id in ids {
            let request = DescribeGroupsRequest { groups: vec![id.into()], ..Default::default() };
            let result = offsets::retrying(&self.network, self.timeout, || async {
                let context = || format!("describe group {id}");
                let response = self.ask_coordinator(id, &request).await?;
                let group = response.groups.into_iter().next().ok_or_else(|| unanswered(context()))?;
                group_error(&self.network, id, group.error_code, || {
                    let said = group.error_message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
                    format!("describe group {id}{said}")
                })?;
                let is_consumers = &*group.protocol_type == "consumer";
                let members = group.members.into_iter().map(|member| GroupMember {
                    id: member.member_id.to_string(),
                    instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
                    client_id: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                    // Another client's own format is not an error of the group.
                    assignment: if is_consumers {
                        share_of(member.member_assignment).unwrap_or_default()
                    } else {
                        Vec::new()
                    },
                });
                Ok(GroupDescription {
                    id: group.group_id.to_string(),
                    state: group.group_state.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    protocol: group.protocol_data.to_string(),
                    members: members.collect(),
                })
            });
            each.push((id.clone(), result.await));
        }
        Ok(each)
    }

    /// Deletes groups, which must be empty, with their offsets.
    ///
    /// # Errors
    /// Those of the call; each group's own is in the result.
    pub async fn delete_groups(&self, ids: &[String]) -> Result<Each<String, ()>> {
        let mut each = Vec::new();
        for id in ids {
            let request = DeleteGroupsRequest { groups_names: vec![id.into()] };
            let result = offsets::retrying(&self.network, self.timeout, || async {
                let context = || format!("delete group {id}");
                let response = self.ask_coordinator(id, &request).await?;
                let answer = response.results.into_iter().next().ok_or_else(|| unanswered(context()))?;
                group_error(&self.network, id, answer.error_code, context)
            });
            each.push((id.clone(), result.await));
        }
        Ok(each)
    }

    /// What a group has committed: of these partitions, or of all.
    ///
    /// # Errors
    /// The group's.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<HashMap<TopicPartition, CommittedOffset>> {
        offsets::committed(&self.network, group, partitions, self.timeout).await
    }

    /// Sets a group's offsets. The group must have no members.
    ///
    /// # Errors
    /// The group's; [`ErrorCode::UNKNOWN_MEMBER_ID`] while it has members.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Result<()> {
        offsets::commit(&self.network, &Committer::anyone(group), offsets, self.timeout).await
    }

    /// Deletes a group's offsets in these partitions. No member may subscribe to their topics.
    ///
    /// # Errors
    /// The group's; each partition's own is in the result.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<TopicPartition, ()>> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for partition in partitions {
            let index = OffsetDeleteRequestPartition { partition_index: partition.partition };
            topics.entry(&partition.topic).or_default().push(index);
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic { name: name.into(), partitions });
        let request = OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
        let response = offsets::retrying(&self.network, self.timeout, || async {
            let response = self.ask_coordinator(group, &request).await?;
            group_error(&self.network, group, response.error_code, || format!("delete offsets of group {group}"))?;
            Ok(response)
        })
        .await?;
        let answers: HashMap<TopicPartition, ErrorCode> = response
            .topics
            .iter()
            .flat_map(|topic| {
                let name = topic.name.to_string();
                let one = move |p: &crate::protocol::messages::offset_delete::OffsetDeleteResponsePartition| {
                    (TopicPartition::new(name.clone(), p.partition_index), p.error_code)
                };
                topic.partitions.iter().map(one)
            })
            .collect();
        let each = partitions.iter().map(|partition| {
            let context = || format!("delete the offset of group {group} in {partition}");
            let result = match answers.get(partition) {
                Some(code) => outcome(*code, None, context, ()),
                None => Err(unanswered(context())),
            };
            (partition.clone(), result)
        });
        Ok(each.collect())
    }

    async fn ask_coordinator<R: Request>(&self, group: &str, request: &R) -> Result<R::Response> {
        let node = self.network.coordinator(group).await?;
        let forget = |_: &ClientError| self.network.forget_coordinator(group);
        let connection = self.network.connection_for(node, Purpose::Group).await.inspect_err(forget)?;
        connection.call(request).await.inspect_err(forget)
    }
}
