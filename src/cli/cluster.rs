//! `strandline cluster`: the brokers, who controls them, who votes for that, and the partitions that need somebody's eye.

use std::collections::{BTreeMap, HashMap};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::connect::{self, Connect};
use super::output::{Output, counted};
use super::table::Table;
use super::voters::{AddVoter, RemoveVoter};
use crate::client::admin::Admin;
use crate::client::admin::cluster::DescribedBroker;
use crate::client::admin::configs::Resource;
use crate::client::admin::quorum::{Quorum, QuorumReplica};
use crate::client::admin::reassign::Reassignment;
use crate::client::metadata::{PartitionView, TopicView};
use crate::common::ids::{NodeId, TopicPartition};
use crate::config::Scope;

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline cluster status -b 127.0.0.1:9092")]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connect: Connect,
    /// Controllers to ask for the active one, instead of brokers (add-voter, remove-voter)
    #[arg(short = 'C', long, global = true, value_name = "HOST:PORT,..", conflicts_with = "bootstrap_server")]
    bootstrap_controller: Option<String>,
    /// One JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the brokers, the controller, and partitions without a leader, under-replicated, at or under their min ISR
    Status,
    /// Make a controller a voter of the metadata quorum, as `kafka-metadata-quorum.sh add-controller` does
    AddVoter(AddVoter),
    /// Take a voter's vote, as `kafka-metadata-quorum.sh remove-controller` does
    RemoveVoter(RemoveVoter),
}

impl Cluster {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.bootstrap_controller.is_some() && matches!(self.action, Action::Status) {
            return Err("controllers do not tell of partitions: --bootstrap-server must name a broker".into());
        }
        let values = match &self.bootstrap_controller {
            Some(servers) => self.connect.values_at(servers, Scope::Admin)?,
            None => self.connect.values(Scope::Admin, &[])?,
        };
        connect::run(async |doors| {
            let mut admin = Admin::new(doors.clone(), &values)?;
            // A cluster that is not there is told at once, not after default.api.timeout.ms.
            admin.network().any().await?;
            if self.bootstrap_controller.is_some()
                && let Some((host, port)) = admin.active_controller().await?
            {
                // Apache Kafka's controllers hand on nothing.
                let server = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
                admin = Admin::new(doors, &self.connect.values_at(&server, Scope::Admin)?)?;
            }
            let mut output = Output::stdout();
            match &self.action {
                Action::Status => Status::of(&admin).await?.write(&mut output, self.json)?,
                Action::AddVoter(add) => add.act(&admin, &mut output).await?,
                Action::RemoveVoter(remove) => remove.act(&admin, &mut output).await?,
            }
            output.flush()?;
            Ok(())
        })
    }
}

/// The cluster at one moment.
#[derive(Debug)]
struct Status {
    id: Option<String>,
    controller: Option<NodeId>,
    brokers: Vec<DescribedBroker>,
    quorum: Quorum,
    partitions: Vec<Partition>,
    topics: usize,
}

/// A partition, and what is the matter with it.
#[derive(Debug)]
struct Partition {
    id: TopicPartition,
    view: PartitionView,
    /// `min.insync.replicas`; `None` where there is one replica, and nothing to compare.
    min_isr: Option<usize>,
    is_moving: bool,
    is_under_replicated: bool,
}

impl Partition {
    fn new(
        id: TopicPartition,
        view: &PartitionView,
        moving: Option<&Reassignment>,
        min_isr: Option<usize>,
    ) -> Partition {
        // What is being brought is not missed yet.
        let coming = moving.map_or(0, |moving| moving.adding.len());
        let is_under_replicated = view.isr.len() < view.replicas.len().saturating_sub(coming);
        Partition { id, view: view.clone(), min_isr, is_moving: moving.is_some(), is_under_replicated }
    }

    fn is_under_min_isr(&self) -> bool {
        self.min_isr.is_some_and(|min| self.view.isr.len() < min)
    }

    fn is_at_min_isr(&self) -> bool {
        self.min_isr.is_some_and(|min| self.view.isr.len() == min)
    }

    /// What is the matter, in words; empty where nothing is.
    fn troubles(&self) -> Vec<&'static str> {
        let troubles = [
            (self.view.leader.is_none(), "no leader"),
            (self.is_under_replicated, "under-replicated"),
            (self.is_under_min_isr(), "under min ISR"),
            (self.is_at_min_isr(), "at min ISR"),
            (self.is_moving, "moving"),
        ];
        troubles.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect()
    }
}

impl Status {
    async fn of(admin: &Admin) -> Result<Status, Failure> {
        let cluster = admin.describe_cluster().await?;
        let brokers = admin.describe_brokers().await?;
        let quorum = admin.describe_quorum().await?;
        let topics = admin.list_topics(true).await?;
        let moving = admin.list_reassignments(None).await?;
        let moving: HashMap<&TopicPartition, &Reassignment> = moving.iter().map(|one| (&one.partition, one)).collect();
        let mins = min_isrs(admin, topics.iter().map(|topic| &**topic)).await?;
        let mut partitions = Vec::new();
        for topic in &topics {
            for (index, view) in (0..).zip(&topic.partitions) {
                let id = TopicPartition::new(&*topic.name, index);
                let moving = moving.get(&id).copied();
                partitions.push(Partition::new(id, view, moving, mins.get(&*topic.name).copied()));
            }
        }
        let topics = topics.len();
        // The broker that clients are told of as the controller is any of them.
        let controller = Some(quorum.leader).filter(|leader| *leader >= 0);
        Ok(Status { id: cluster.id, controller, brokers, quorum, partitions, topics })
    }

    fn count(&self, is_so: impl Fn(&Partition) -> bool) -> usize {
        self.partitions.iter().filter(|partition| is_so(partition)).count()
    }

    /// What counts, by the words that it is told in.
    fn counts(&self) -> [(&'static str, usize); 5] {
        [
            ("without leader", self.count(|partition| partition.view.leader.is_none())),
            ("under-replicated", self.count(|partition| partition.is_under_replicated)),
            ("under min ISR", self.count(Partition::is_under_min_isr)),
            ("at min ISR", self.count(Partition::is_at_min_isr)),
            ("moving", self.count(|partition| partition.is_moving)),
        ]
    }

    fn write(&self, output: &mut Output, as_json: bool) -> Result<(), Failure> {
        let broker_columns = ["broker", "address", "rack", "state", "leads", "replicas", "in_sync"];
        let quorum_columns = ["node", "part", "directory", "log_end_offset", "lag"];
        let partition_columns = ["topic", "partition", "leader", "replicas", "isr", "min_isr", "trouble"];
        if as_json {
            let named = |columns: &[&str], rows: Vec<Vec<Value>>| -> Vec<Value> {
                rows.into_iter().map(|row| columns.iter().map(|name| (*name).to_owned()).zip(row).collect()).collect()
            };
            let counts = self
                .counts()
                .into_iter()
                .map(|(word, count)| (word.to_lowercase().replace([' ', '-'], "_"), json!(count)));
            let status = json!({
                "cluster": self.id,
                "controller": self.controller,
                "topics": self.topics,
                "partitions": self.partitions.len(),
                "counts": counts.collect::<serde_json::Map<_, _>>(),
                "brokers": named(&broker_columns, self.broker_rows()),
                "quorum": named(&quorum_columns, self.quorum_rows()),
                "troubles": named(&partition_columns, self.trouble_rows()),
            });
            writeln!(output, "{status}")?;
            return Ok(());
        }
        let id = self.id.as_deref().unwrap_or("without id");
        let controller = self.controller.map_or("no controller".to_owned(), |id| format!("controller {id}"));
        let brokers = counted(self.brokers.len() as u64, "broker", "brokers");
        writeln!(output, "Cluster {id}: {brokers}, {controller}")?;
        write_table(output, &broker_columns, self.broker_rows())?;
        let voters = counted(self.quorum.voters.len() as u64, "voter", "voters");
        let observers = counted(self.quorum.observers.len() as u64, "observer", "observers");
        writeln!(output, "\nQuorum of {voters} and {observers}, epoch {}", self.quorum.epoch)?;
        write_table(output, &quorum_columns, self.quorum_rows())?;
        let partitions = counted(self.partitions.len() as u64, "partition", "partitions");
        let topics = counted(self.topics as u64, "topic", "topics");
        let counts = self.counts().into_iter().filter(|(_, count)| *count > 0);
        let counts: Vec<String> = counts.map(|(word, count)| format!("{count} {word}")).collect();
        let well = if counts.is_empty() { "all in sync".to_owned() } else { counts.join(", ") };
        writeln!(output, "\n{partitions} of {topics}: {well}")?;
        let troubles = self.trouble_rows();
        if !troubles.is_empty() {
            write_table(output, &partition_columns, troubles)?;
        }
        Ok(())
    }

    fn broker_rows(&self) -> Vec<Vec<Value>> {
        let row = |described: &DescribedBroker| {
            let broker = &described.broker;
            let id = broker.id;
            vec![
                json!(id),
                json!(format!("{}:{}", broker.host, broker.port)),
                json!(broker.rack),
                json!(if described.is_fenced { "fenced" } else { "active" }),
                json!(self.count(|partition| partition.view.leader == Some(id))),
                json!(self.count(|partition| partition.view.replicas.contains(&id))),
                json!(self.count(|partition| partition.view.isr.contains(&id))),
            ]
        };
        self.brokers.iter().map(row).collect()
    }

    /// The controllers and observers, and how far each is behind the leader.
    fn quorum_rows(&self) -> Vec<Vec<Value>> {
        let quorum = &self.quorum;
        let end = quorum.voters.iter().find(|one| one.id == quorum.leader).and_then(|leader| leader.log_end_offset);
        let row = |one: &QuorumReplica, part: &str| {
            let part = if one.id == quorum.leader { "leader" } else { part };
            let lag = end.zip(one.log_end_offset).map(|(end, at)| (end - at).max(0));
            vec![json!(one.id), json!(part), json!(one.directory_id.to_string()), json!(one.log_end_offset), json!(lag)]
        };
        let voters = quorum.voters.iter().map(|one| row(one, "voter"));
        voters.chain(quorum.observers.iter().map(|one| row(one, "observer"))).collect()
    }

    fn trouble_rows(&self) -> Vec<Vec<Value>> {
        let troubled = self.partitions.iter().map(|one| (one, one.troubles())).filter(|(_, words)| !words.is_empty());
        let row = |(one, words): (&Partition, Vec<&str>)| {
            let (leader, replicas, isr) = (json!(one.view.leader), json!(one.view.replicas), json!(one.view.isr));
            let (topic, partition) = (json!(one.id.topic), json!(one.id.partition));
            vec![topic, partition, leader, replicas, isr, json!(one.min_isr), json!(words)]
        };
        troubled.map(row).collect()
    }
}

fn write_table(output: &mut Output, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<(), Failure> {
    let mut table = Table::new(columns);
    rows.into_iter().for_each(|row| table.row(row));
    table.write(output, false)
}

/// `min.insync.replicas` of the topics that have several replicas.
async fn min_isrs<'a>(
    admin: &Admin,
    topics: impl Iterator<Item = &'a TopicView>,
) -> Result<BTreeMap<String, usize>, Failure> {
    let replicated = topics.filter(|topic| topic.partitions.iter().any(|partition| partition.replicas.len() > 1));
    let resources: Vec<Resource> = replicated.map(|topic| Resource::Topic(topic.name.to_string())).collect();
    let mut mins = BTreeMap::new();
    for (resource, configs) in admin.describe_configs(&resources, false).await? {
        // One that was deleted meanwhile has none.
        let (Resource::Topic(name), Ok(configs)) = (resource, configs) else { continue };
        let min = configs.into_iter().find(|config| config.name == "min.insync.replicas");
        if let Some(min) = min.and_then(|min| min.value?.parse().ok()) {
            mins.insert(name, min);
        }
    }
    Ok(mins)
}
