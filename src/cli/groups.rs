//! `strandline groups`: which groups there are, how far they have read, and their moving and unmaking.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::connect::{self, Connect};
use super::datetime;
use super::output::{Output, counted};
use super::table::Table;
use super::topics::each;
use crate::client::admin::Admin;
use crate::client::admin::groups::GroupDescription;
use crate::client::network::Wanted;
use crate::client::offsets::{CommittedOffset, EARLIEST, LATEST};
use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::config::Scope;

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline groups describe readers\n         \
                  strandline groups reset readers --topic flights --to earliest --execute")]
pub(super) struct Groups {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connect: Connect,
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the groups
    List,
    /// Show who reads what, how far, and what is left to read
    Describe {
        /// The group
        group: String,
    },
    /// Forget groups and their offsets; they must have no members
    Delete {
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Move a group without members to other offsets; shows the plan, and does it with --execute
    Reset(Reset),
}

#[derive(Debug, Args)]
struct Reset {
    /// The group
    group: String,
    /// A topic, or some of its partitions: flights:0,2 (may be repeated)
    #[arg(long = "topic", value_name = "TOPIC[:N,..]", required = true)]
    topics: Vec<String>,
    /// earliest, latest, or an offset
    #[arg(long, value_name = "WHERE", required_unless_present = "to_datetime")]
    to: Option<String>,
    /// The first record that is not older: 2013-01-01T05:15:00Z, or milliseconds
    #[arg(long, value_name = "DATETIME", conflicts_with = "to")]
    to_datetime: Option<String>,
    /// Only show what would be done: what happens anyway without --execute
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    execute: bool,
}

/// Where a group is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// What ListOffsets gives for this.
    Time(Timestamp),
    /// This offset, or the nearest that is there.
    At(Offset),
}

impl Reset {
    fn target(&self) -> Result<Target, String> {
        match (self.to.as_deref(), self.to_datetime.as_deref()) {
            (Some("earliest"), _) => Ok(Target::Time(EARLIEST)),
            (Some("latest"), _) => Ok(Target::Time(LATEST)),
            (Some(text), _) => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Target::At(offset)),
                _ => Err(format!("--to {text:?}: it must be earliest, latest, or an offset")),
            },
            (None, text) => {
                let text = text.unwrap_or_default();
                let moment = datetime::parse(text).filter(|moment| *moment >= 0).map(Target::Time);
                moment.ok_or_else(|| {
                    format!("--to-datetime {text:?}: it must be like 2013-01-01T05:15:00Z, or milliseconds")
                })
            }
        }
    }
}

/// Reads `flights:0,2`: the topic, and its partitions if there are some.
fn topic_and_partitions(text: &str) -> Result<(&str, Option<Vec<i32>>), String> {
    let Some((topic, list)) = text.split_once(':') else { return Ok((text, None)) };
    let partitions: Option<Vec<i32>> =
        list.split(',').map(|index| index.parse().ok().filter(|index| *index >= 0)).collect();
    match partitions {
        Some(partitions) => Ok((topic, Some(partitions))),
        None => Err(format!("--topic {text:?}: it must be TOPIC, or TOPIC:0,2")),
    }
}

impl Groups {
    pub(super) fn run(self) -> Result<(), Failure> {
        let values = self.connect.values(Scope::Admin, &[])?;
        connect::run(async |doors| {
            let admin = Admin::new(doors, &values)?;
            // A cluster that is not there is told at once, not after default.api.timeout.ms.
            admin.network().any().await?;
            let mut output = Output::stdout();
            let done = self.act(&admin, &mut output).await;
            output.flush()?;
            done
        })
    }

    async fn act(&self, admin: &Admin, output: &mut Output) -> Result<(), Failure> {
        match &self.action {
            Action::List => {
                let mut table = Table::new(&["group", "state", "type", "protocol_type"]);
                for group in admin.list_groups().await? {
                    table.row([
                        json!(group.id),
                        json!(group.state),
                        json!(group.group_type),
                        json!(group.protocol_type),
                    ]);
                }
                table.write(output, self.json)
            }
            Action::Describe { group } => self.describe(admin, group, output).await,
            Action::Delete { groups } => each(admin.delete_groups(groups).await?, |_, ()| {}),
            Action::Reset(reset) => self.reset(admin, reset, output).await,
        }
    }

    async fn describe(&self, admin: &Admin, id: &str, output: &mut Output) -> Result<(), Failure> {
        let group = described(admin, id).await?;
        let committed = admin.group_offsets(id, None).await?;
        let mut partitions: BTreeMap<&TopicPartition, Option<usize>> =
            committed.keys().map(|partition| (partition, None)).collect();
        for (index, member) in group.members.iter().enumerate() {
            partitions.extend(member.assignment.iter().map(|partition| (partition, Some(index))));
        }
        let ends = list(admin, partitions.keys().copied(), LATEST).await?;
        let mut table = Table::new(&[
            "group",
            "topic",
            "partition",
            "current_offset",
            "log_end_offset",
            "lag",
            "member",
            "host",
            "client_id",
        ]);
        for (partition, member) in partitions {
            let current = committed.get(partition).map(|committed| committed.offset);
            let end = ends.get(partition).copied();
            let lag = current.zip(end).map(|(current, end)| (end - current).max(0));
            let member = member.map(|index| &group.members[index]);
            table.row([
                json!(id),
                json!(partition.topic),
                json!(partition.partition),
                json!(current),
                json!(end),
                json!(lag),
                json!(member.map(|member| member.instance_id.as_ref().unwrap_or(&member.id))),
                json!(member.map(|member| &member.host)),
                json!(member.map(|member| &member.client_id)),
            ]);
        }
        if !self.json {
            let assignor = if group.protocol.is_empty() { String::new() } else { format!(", {}", group.protocol) };
            let count = counted(group.members.len() as u64, "member", "members");
            writeln!(output, "Group {id}: {}{assignor}, {count}", group.state)?;
        }
        table.write(output, self.json)
    }

    async fn reset(&self, admin: &Admin, reset: &Reset, output: &mut Output) -> Result<(), Failure> {
        let target = reset.target()?;
        let partitions = wanted(admin, &reset.topics).await?;
        // A group that is not there is made by its first offsets.
        let found = admin.describe_groups(std::slice::from_ref(&reset.group)).await?.into_iter().next();
        if let Some((_, Ok(group))) = found
            && !group.members.is_empty()
        {
            let (id, count) = (&reset.group, group.members.len());
            return Err(Failure::Sentence(format!(
                "group {id} has {count} members: stop them before moving the group"
            )));
        }
        let committed = admin.group_offsets(&reset.group, Some(&partitions)).await?;
        let first = list(admin, &partitions, EARLIEST).await?;
        let last = list(admin, &partitions, LATEST).await?;
        let timed = match target {
            Target::Time(timestamp) => list(admin, &partitions, timestamp).await?,
            Target::At(_) => HashMap::new(),
        };
        let mut table = Table::new(&["group", "topic", "partition", "current_offset", "new_offset"]);
        let mut moved = HashMap::new();
        for partition in &partitions {
            let at = |offsets: &HashMap<_, Offset>| offsets.get(partition).copied().filter(|offset| *offset >= 0);
            let (first, last) = (at(&first).unwrap_or(0), at(&last).unwrap_or(0));
            let new = match target {
                Target::Time(_) => at(&timed).unwrap_or(last),
                Target::At(offset) => offset.clamp(first, last),
            };
            if let Target::At(offset) = target
                && offset != new
            {
                eprintln!("strandline: {partition} has offsets {first} to {last}: {offset} becomes {new}");
            }
            let current = committed.get(partition).map(|committed| committed.offset);
            let TopicPartition { topic, partition: index } = partition;
            table.row([json!(reset.group), json!(topic), json!(index), json!(current), json!(new)]);
            moved.insert(partition.clone(), CommittedOffset::new(new));
        }
        if reset.execute {
            admin.alter_group_offsets(&reset.group, &moved).await?;
        }
        table.write(output, self.json)?;
        if !reset.execute && !self.json {
            writeln!(output, "This is the plan, and nothing was changed: --execute does it.")?;
        }
        Ok(())
    }
}

async fn described(admin: &Admin, id: &str) -> Result<GroupDescription, Failure> {
    let found = admin.describe_groups(&[id.to_owned()]).await?.into_iter().next();
    let (_, group) = found.ok_or_else(|| format!("group {id}: the cluster does not say anything about it"))?;
    let group = group?;
    // Older brokers tell of a group that is not there as of one that died.
    if group.state == "Dead" && group.members.is_empty() {
        return Err(Failure::Sentence(format!("describe group {id}: GROUP_ID_NOT_FOUND: there is no such group")));
    }
    Ok(group)
}

/// The partitions that `--topic` means.
async fn wanted(admin: &Admin, topics: &[String]) -> Result<Vec<TopicPartition>, Failure> {
    let parsed: Vec<_> = topics.iter().map(|text| topic_and_partitions(text)).collect::<Result<_, _>>()?;
    let names: Vec<Arc<str>> = parsed.iter().map(|(name, _)| Arc::from(*name)).collect();
    let view = admin.network().refresh(Wanted::Topics(&names), false).await?;
    let mut partitions = Vec::new();
    for (name, chosen) in parsed {
        if let Some(code) = view.errors.get(name) {
            return Err(Failure::Sentence(format!("topic {name}: {code}")));
        }
        let count = view.topics.get(name).map_or(0, |topic| topic.partitions.len()) as i32;
        let chosen = chosen.unwrap_or_else(|| (0..count).collect());
        if let Some(wrong) = chosen.iter().find(|index| **index >= count) {
            return Err(Failure::Sentence(format!("{name} has no partition {wrong}: it has {count}")));
        }
        partitions.extend(chosen.into_iter().map(|index| TopicPartition::new(name, index)));
    }
    Ok(partitions)
}

async fn list<'a>(
    admin: &Admin,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    timestamp: Timestamp,
) -> Result<HashMap<TopicPartition, Offset>, Failure> {
    let wanted: HashMap<_, _> = partitions.into_iter().map(|partition| (partition.clone(), timestamp)).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let listed = admin.list_offsets(&wanted).await?;
    Ok(listed.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_come_with_partitions() {
        assert_eq!(topic_and_partitions("t"), Ok(("t", None)));
        assert_eq!(topic_and_partitions("t:0,2"), Ok(("t", Some(vec![0, 2]))));
        assert!(topic_and_partitions("t:").is_err() && topic_and_partitions("t:-1").is_err());
    }

    #[test]
    fn a_target_is_an_end_an_offset_or_a_moment() {
        let reset = |to: Option<&str>, to_datetime: Option<&str>| Reset {
            group: String::new(),
            topics: Vec::new(),
            to: to.map(str::to_owned),
            to_datetime: to_datetime.map(str::to_owned),
            dry_run: false,
            execute: false,
        };
        assert_eq!(reset(Some("earliest"), None).target(), Ok(Target::Time(EARLIEST)));
        assert_eq!(reset(Some("42"), None).target(), Ok(Target::At(42)));
        assert_eq!(reset(None, Some("2013-01-01")).target(), Ok(Target::Time(1_356_998_400_000)));
        assert!(reset(Some("-1"), None).target().unwrap_err().contains("it must be earliest"));
        assert!(reset(None, Some("soon")).target().unwrap_err().contains("--to-datetime \"soon\""));
    }
}
