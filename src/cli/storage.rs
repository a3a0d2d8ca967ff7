//! `strandline format`: makes a data dir one of a cluster, before its node starts for the first time.
//!
//! A broker that is alone does that by itself. Several must agree on the id of their cluster first, and on who votes: it is
//! said to each of them here, with the options and the words of Kafka's `kafka-storage.sh format`.
//!
//! ```text
//! --standalone               this node is the first voter, and the only one
//! --initial-controllers ...  these are the first voters; the same for all of them. The log dir gets the id that stands there.
//! --no-initial-controllers   the voters are to be found by controller.quorum.bootstrap.servers
//! ```
//! Crash: meta.properties is written last, and a dir without it is not formatted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::cluster::BrokerSettings;
use crate::common::clock::SystemClock;
use crate::common::ids::{NodeId, Uuid};
use crate::config::{Values, broker as key, listener, rules};
use crate::controller::{self, Voter};
use crate::log::dir::make_root;
use crate::log::fs::RealFs;
use crate::log::meta_properties::MetaProperties;

/// What Kafka calls the level of `metadata.version` that a new cluster begins with.
const METADATA_VERSION: &str = "4.3-IV0";

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline format -t MkU3OEVBNTcwNTJENDM2Qg --standalone -c server.properties")]
pub(super) struct Format {
    /// Kafka's own server.properties, which names the node and its data dir
    file: Option<PathBuf>,
    /// The same, by Kafka's option
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// One broker config, over what the file says (may be repeated)
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where the records are kept (log.dirs)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The id of the cluster, the same for all of its nodes [default: a new one, which is told]
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: Option<String>,
    /// Make this controller the only voter of a new cluster
    #[arg(short, long)]
    standalone: bool,
    /// The first voters of a new cluster, id@host:port:directory,...; the same for all of its nodes
    #[arg(short = 'I', long, value_name = "VOTERS", conflicts_with = "standalone")]
    initial_controllers: Option<String>,
    /// Let this node find the voters by controller.quorum.bootstrap.servers
    #[arg(short = 'N', long, conflicts_with_all = ["standalone", "initial_controllers"])]
    no_initial_controllers: bool,
    /// Leave a data dir alone that is formatted already
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
}

impl Format {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut settings = match self.file.as_ref().or(self.config.as_ref()) {
            Some(file) => BrokerSettings::from_properties(file)?,
            None => BrokerSettings::new(),
        };
        for pair in &self.overrides {
            let (key, value) = super::connect::pair("--override", pair)?;
            settings.set(key, value);
        }
        match (&self.data_dir, settings.is_set("log.dirs") || settings.is_set("log.dir")) {
            (Some(dir), _) => settings.set("log.dirs", &dir.display().to_string()),
            (None, false) => settings.set("log.dirs", "strandline-data"),
            (None, true) => {}
        }
        let values = settings.values()?;
        let node_id = rules::node_id(&values);
        let voters = self.voters(&values)?;
        let fs = RealFs::shared();
        let cluster_id = self.cluster_id.clone().unwrap_or_else(|| Uuid::random().to_string());
        for dir in rules::data_dirs(&values) {
            let root = Path::new(&dir);
            if let Some(meta) = MetaProperties::read(fs.as_ref(), root)? {
                self.check_formatted(&dir, &meta, node_id)?;
                println!("All of the log directories are already formatted.");
                continue;
            }
            if self.cluster_id.is_none() {
                println!("The cluster id is {cluster_id}: format its other nodes with --cluster-id {cluster_id}.");
            }
            let us = voters.iter().flatten().find(|voter| voter.id == node_id);
            let kind = match (&voters, us) {
                (None, _) => "metadata directory",
                (Some(_), None) => "dynamic metadata directory",
                (Some(_), Some(_)) => "dynamic metadata voter directory",
            };
            println!("Formatting {kind} {dir} with metadata.version {METADATA_VERSION}.");
            make_root(fs.as_ref(), root).map_err(|error| format!("{dir}: {error}"))?;
            if let Some(voters) = &voters {
                controller::format_dir(fs.as_ref(), root, voters, SystemClock::shared().now())?;
            }
            let directory_id = us.map_or_else(Uuid::random, |voter| voter.directory_id);
            MetaProperties { cluster_id: cluster_id.clone(), node_id, directory_id }.write(fs.as_ref(), root)?;
        }
        Ok(())
    }

    /// A dir that is formatted is left alone, where it may be and is this node's.
    fn check_formatted(&self, dir: &str, meta: &MetaProperties, node_id: NodeId) -> Result<(), Failure> {
        let refuse = |key: &str, expected: &str, read: &str| {
            Err(Failure::Sentence(format!(
                "Invalid {key} in: {dir}/meta.properties. Expected {expected}, but read {read}"
            )))
        };
        if let Some(wanted) = self.cluster_id.as_ref().filter(|wanted| **wanted != meta.cluster_id) {
            return refuse("cluster.id", wanted, &meta.cluster_id);
        }
        if meta.node_id != node_id {
            return refuse("node.id", &node_id.to_string(), &meta.node_id.to_string());
        }
        if !self.ignore_formatted {
            let sentence = format!(
                "Log directory {dir} is already formatted. Use --ignore-formatted to ignore this directory and format the others."
            );
            return Err(Failure::Sentence(sentence));
        }
        Ok(())
    }

    /// The first voters that the dir is to name; `None` where it names nobody.
    fn voters(&self, values: &Values) -> Result<Option<Vec<Voter>>, Failure> {
        let names_voters = !values.get(key::CONTROLLER_QUORUM_VOTERS).is_empty();
        if names_voters && (self.standalone || self.initial_controllers.is_some()) {
            let sentence = "You cannot specify controller.quorum.voters and format the node with --initial-controllers or \
                            --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and \
                            specify controller.quorum.bootstrap.servers instead.";
            return Err(Failure::Sentence(sentence.to_owned()));
        }
        let controls = listener::has_role(values, "controller");
        if self.standalone {
            return if controls {
                Ok(Some(vec![itself(values)?]))
            } else {
                Err(Failure::Sentence("You can only use --standalone on a controller.".to_owned()))
            };
        }
        if let Some(text) = &self.initial_controllers {
            return Ok(Some(initial_controllers(text)?));
        }
        // Without any server this node is alone, and founds its cluster as it starts.
        let has_servers = !values.get(key::CONTROLLER_QUORUM_BOOTSTRAP_SERVERS).is_empty();
        if controls && has_servers && !names_voters && !self.no_initial_controllers {
            let sentence = "Because controller.quorum.voters is not set on this controller, you must specify one of the \
                            following: --standalone, --initial-controllers, or --no-initial-controllers.";
            return Err(Failure::Sentence(sentence.to_owned()));
        }
        Ok(None)
    }
}

/// This node as a voter, with a new log dir.
fn itself(values: &Values) -> Result<Voter, Failure> {
    let listeners = listener::controllers(values)?;
    let own = listeners.first().ok_or(
        "No controller listeners found: listeners must have one, which controller.listener.names names".to_owned(),
    )?;
    let (host, port) = listener::told_controller(values, &own.host, own.port)?;
    let host = if host.is_empty() { "localhost".to_owned() } else { host };
    Ok(Voter { id: rules::node_id(values), directory_id: Uuid::random(), host, port })
}

/// Reads id@host:port:directory,...
fn initial_controllers(text: &str) -> Result<Vec<Voter>, Failure> {
    let mut ids = BTreeSet::new();
    let mut voters = Vec::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let must = || {
            let example = "0@example.com:8082:JEXY6aqzQY-32P5TStzaFg";
            Failure::Sentence(format!(
                "--initial-controllers {one}: it must be id@host:port:directory, as in {example}"
            ))
        };
        let (id, rest) = one.split_once('@').ok_or_else(must)?;
        let (place, directory) = rest.rsplit_once(':').ok_or_else(must)?;
        let (host, port) = listener::place(place).ok_or_else(must)?;
        let id: NodeId = id.parse().ok().filter(|id| *id >= 0).ok_or_else(must)?;
        let directory_id: Uuid = directory.parse().map_err(|_| must())?;
        if !ids.insert(id) {
            return Err(Failure::Sentence(format!("Node id {id} was specified more than once.")));
        }
        voters.push(Voter { id, directory_id, host, port });
    }
    if voters.is_empty() {
        return Err(Failure::Sentence("--initial-controllers names nobody".to_owned()));
    }
    Ok(voters)
}
