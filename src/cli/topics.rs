//! `strandline topics`: what topics there are, and their making, changing and unmaking.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::connect::{self, Connect, pair};
use super::datetime;
use super::output::{Output, counted};
use super::table::Table;
use crate::client::admin::configs::{Alteration, Resource};
use crate::client::admin::topics::NewTopic;
use crate::client::admin::{Admin, Each};
use crate::client::metadata::TopicView;
use crate::client::network::Wanted;
use crate::client::offsets::{EARLIEST, LATEST, MAX_TIMESTAMP};
use crate::common::clock::SharedClock;
use crate::common::ids::{Offset, TopicPartition};
use crate::config::Scope;

/// Kafka's code for a config that was set for the topic itself.
const SET_FOR_TOPIC: i8 = 1;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: strandline topics create flights --partitions 4 --config retention.ms=86400000\n         \
                  strandline topics describe flights"
)]
pub(super) struct Topics {
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
    /// List the topics
    List {
        /// Kafka's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Make a topic
    Create {
        /// Its name
        name: String,
        /// How many partitions; the broker's num.partitions by default
        #[arg(long)]
        partitions: Option<i32>,
        /// How many replicas; the broker's default.replication.factor by default
        #[arg(long)]
        replication_factor: Option<i16>,
        /// A topic config (may be repeated)
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
    },
    /// Show partitions, leaders, replicas, and the configs that were set
    Describe {
        /// The topics; without any, all
        names: Vec<String>,
    },
    /// Add partitions, set configs, or delete them
    Alter {
        /// The topic
        name: String,
        /// How many partitions it is to have in all
        #[arg(long)]
        partitions: Option<i32>,
        /// A config to set (may be repeated)
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// A config to put back to its default (may be repeated)
        #[arg(long = "delete-config", value_name = "KEY")]
        deleted: Vec<String>,
    },
    /// Move replicas to other brokers, take a move back, or show what is being moved
    Reassign(super::reassign::Reassign),
    /// Unmake topics, with all their records
    Delete {
        /// The topics
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show offsets: where partitions begin and end, or what was first at a time
    Offsets {
        /// The topic
        name: String,
        /// latest, earliest, max (the record with the greatest timestamp), milliseconds, or 2013-01-01T05:15:00Z
        #[arg(long, default_value = "latest", allow_hyphen_values = true)]
        time: String,
    },
    /// Delete the first records of a partition
    DeleteRecords {
        /// The topic
        name: String,
        /// The partition
        #[arg(long)]
        partition: i32,
        /// The first offset that stays; -1 for none
        #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
        before: Offset,
    },
}

impl Topics {
    pub(super) fn run(self) -> Result<(), Failure> {
        let values = self.connect.values(Scope::Admin, &[])?;
        connect::run(async |doors| {
            let clock = doors.clock.clone();
            let admin = Admin::new(doors, &values)?;
            // A cluster that is not there is told at once, not after default.api.timeout.ms.
            admin.network().any().await?;
            let mut output = Output::stdout();
            let done = self.act(&admin, &clock, &mut output).await;
            output.flush()?;
            done
        })
    }

    async fn act(&self, admin: &Admin, clock: &SharedClock, output: &mut Output) -> Result<(), Failure> {
        match &self.action {
            Action::List { internal } => list(admin, *internal).await?.write(output, self.json),
            Action::Describe { names } => self.describe(admin, names, output).await,
            Action::Offsets { name, time } => self.offsets(admin, name, time).await?.write(output, self.json),
            Action::Create { name, partitions, replication_factor, configs } => {
                let configs = pairs("--config", configs)?.into_iter();
                let topic = NewTopic {
                    name: name.clone(),
                    partitions: *partitions,
                    replication_factor: *replication_factor,
                    configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
                    ..NewTopic::default()
                };
                let mut table = Table::new(&["topic", "partitions", "replication_factor", "topic_id"]);
                let done = each(admin.create_topics(&[topic], false).await?, |name, created| {
                    let id = (!created.id.is_zero()).then(|| created.id.to_string());
                    table.row([json!(name), json!(created.partitions), json!(created.replication_factor), json!(id)]);
                });
                table.write_rows(output, self.json)?;
                done
            }
            Action::Alter { name, partitions, configs, deleted } => {
                alter(admin, name, *partitions, &pairs("--config", configs)?, deleted).await
            }
            Action::Reassign(reassign) => reassign.act(admin, clock, output, self.json).await,
            Action::Delete { names } => each(admin.delete_topics(names).await?, |_, ()| {}),
            Action::DeleteRecords { name, partition, before } => {
                known(admin, std::slice::from_ref(name)).await?;
                let before = [(TopicPartition::new(name.as_str(), *partition), *before)];
                let mut table = Table::new(&["topic", "partition", "log_start_offset"]);
                let done = each(admin.delete_records(&before).await?, |partition, start| {
                    table.row([json!(partition.topic), json!(partition.partition), json!(start)]);
                });
                table.write_rows(output, self.json)?;
                done
            }
        }
    }

    async fn describe(&self, admin: &Admin, names: &[String], output: &mut Output) -> Result<(), Failure> {
        let topics = known(admin, names).await?;
        let resources: Vec<_> = topics.iter().map(|topic| Resource::Topic(topic.name.to_string())).collect();
        let configs = admin.describe_configs(&resources, false).await?;
        for (index, (topic, (_, configs))) in topics.iter().zip(configs).enumerate() {
            // What was set for this topic; the rest is the broker's or Kafka's default.
            let set = configs?.into_iter().filter(|config| config.source == SET_FOR_TOPIC);
            let set: Vec<_> = set.map(|config| (config.name, config.value.unwrap_or_default())).collect();
            let columns = &["partition", "leader", "leader_epoch", "replicas", "isr"];
            let rows = topic.partitions.iter().enumerate().map(|(index, partition)| {
                let (leader, epoch) = (partition.leader, partition.leader_epoch);
                [json!(index), json!(leader), json!(epoch), json!(partition.replicas), json!(partition.isr)]
            });
            if self.json {
                let names = columns.map(str::to_owned);
                let partitions: Vec<Value> = rows.map(|row| names.iter().cloned().zip(row).collect()).collect();
                let configs: Value = set.into_iter().collect();
                let topic = json!({
                    "topic": &*topic.name,
                    "topic_id": topic.id.to_string(),
                    "internal": topic.internal,
                    "partitions": partitions,
                    "configs": configs,
                });
                writeln!(output, "{topic}")?;
                continue;
            }
            let gap = if index == 0 { "" } else { "\n" };
            let count = counted(topic.partitions.len() as u64, "partition", "partitions");
            let replicas = replication(topic);
            writeln!(output, "{gap}Topic {}: {count}, replication {replicas}, id {}", topic.name, topic.id)?;
            for (key, value) in set {
                writeln!(output, "  {key}={value}")?;
            }
            let mut table = Table::new(columns);
            rows.for_each(|row| table.row(row));
            table.write(output, false)?;
        }
        Ok(())
    }

    async fn offsets(&self, admin: &Admin, name: &str, time: &str) -> Result<Table, Failure> {
        let timestamp = match time {
            "latest" => LATEST,
            "earliest" => EARLIEST,
            "max" => MAX_TIMESTAMP,
            _ => datetime::parse(time).filter(|moment| *moment >= 0).ok_or_else(|| {
                format!("--time {time:?}: it must be latest, earliest, max, milliseconds, or like 2013-01-01T05:15:00Z")
            })?,
        };
        let topics = known(admin, &[name.to_owned()]).await?;
        let partitions = topics
            .iter()
            .flat_map(|topic| (0..topic.partitions.len()).map(|index| TopicPartition::new(&*topic.name, index as i32)));
        let wanted = partitions.map(|partition| (partition, timestamp)).collect();
        let mut found: Vec<_> = admin.list_offsets(&wanted).await?.into_iter().collect();
        found.sort_by_key(|(partition, _)| partition.partition);
        let mut table = Table::new(&["topic", "partition", "offset", "timestamp"]);
        for (partition, listed) in found {
            let offset = (listed.offset >= 0).then_some(listed.offset);
            let moment = (listed.timestamp >= 0).then_some(listed.timestamp);
            let moment = if self.json { json!(moment) } else { json!(moment.map(datetime::show)) };
            table.row([json!(partition.topic), json!(partition.partition), json!(offset), moment]);
        }
        Ok(table)
    }
}

async fn list(admin: &Admin, internal: bool) -> Result<Table, Failure> {
    let mut table = Table::new(&["topic", "partitions", "replication_factor", "topic_id"]);
    for topic in admin.list_topics(internal).await? {
        let id = (!topic.id.is_zero()).then(|| topic.id.to_string());
        table.row([json!(&*topic.name), json!(topic.partitions.len()), json!(replication(&topic)), json!(id)]);
    }
    Ok(table)
}

async fn alter(
    admin: &Admin,
    name: &str,
    partitions: Option<i32>,
    configs: &[(&str, &str)],
    deleted: &[String],
) -> Result<(), Failure> {
    let set = configs.iter().map(|(key, value)| Alteration::Set((*key).to_owned(), (*value).to_owned()));
    let alterations: Vec<_> = set.chain(deleted.iter().map(|key| Alteration::Delete(key.clone()))).collect();
    if partitions.is_none() && alterations.is_empty() {
        return Err(Failure::Sentence(
            "nothing to alter: --partitions, --config or --delete-config says what".to_owned(),
        ));
    }
    if let Some(count) = partitions {
        each(admin.create_partitions(&[(name.to_owned(), count)], false).await?, |_, ()| {})?;
    }
    if !alterations.is_empty() {
        let changes = [(Resource::Topic(name.to_owned()), alterations)];
        each(admin.alter_configs(&changes, false).await?, |_, ()| {})?;
    }
    Ok(())
}

/// These topics as they are now, or all but Kafka's own, by name. A name that the cluster does not know is an error at
/// once: waiting for it, as a producer would, helps nobody who mistyped it.
pub(super) async fn known(admin: &Admin, names: &[String]) -> Result<Vec<Arc<TopicView>>, Failure> {
    if names.is_empty() {
        return Ok(admin.list_topics(false).await?);
    }
    let wanted: Vec<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
    let view = admin.network().refresh(Wanted::Topics(&wanted), false).await?;
    let found = wanted.iter().map(|name| match (view.topics.get(name), view.errors.get(name)) {
        (Some(topic), None) => Ok(topic.clone()),
        (_, Some(code)) => Err(Failure::Sentence(format!("topic {name}: {code}"))),
        (None, None) => Err(Failure::Sentence(format!("topic {name}: the cluster does not say anything about it"))),
    });
    found.collect()
}

/// Hands what went well to `done`, and tells what did not on stderr.
pub(super) fn each<K, T>(results: Each<K, T>, mut done: impl FnMut(K, T)) -> Result<(), Failure> {
    let mut all_well = true;
    for (key, result) in results {
        match result {
            Ok(value) => done(key, value),
            Err(error) => {
                all_well = false;
                eprintln!("strandline: {error}");
            }
        }
    }
    if all_well { Ok(()) } else { Err(Failure::Told) }
}

fn replication(topic: &TopicView) -> usize {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len())
}

fn pairs<'a>(option: &str, texts: &'a [String]) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    texts.iter().map(|text| pair(option, text)).collect()
}
