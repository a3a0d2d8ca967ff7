//! `strandline cluster add-voter | remove-voter`: who votes in the metadata quorum, as Kafka's `kafka-metadata-quorum.sh
//! add-controller | remove-controller` takes it and tells it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::output::Output;
use crate::client::admin::Admin;
use crate::client::admin::quorum::NewVoter;
use crate::cluster::BrokerSettings;
use crate::common::ids::{NodeId, Uuid};
use crate::config::{listener, rules};
use crate::log::fs::RealFs;
use crate::log::meta_properties::MetaProperties;

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline cluster add-voter --config server-2.properties -b 10.0.0.1:9092")]
pub(super) struct AddVoter {
    /// The controller's own server.properties; its data dir, which tells the directory id, must be on this machine
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One config of it, over what the file says (may be repeated)
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline cluster remove-voter -i 2 -d Q8avnqiVQViocJEVS5OKxg -b 10.0.0.1:9092")]
pub(super) struct RemoveVoter {
    /// The voter's node id
    #[arg(short = 'i', long, value_name = "ID")]
    controller_id: NodeId,
    /// The id of its metadata directory, as `cluster status` shows it
    #[arg(short = 'd', long, value_name = "ID")]
    controller_directory_id: Uuid,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

impl AddVoter {
    pub(super) async fn act(&self, admin: &Admin, output: &mut Output) -> Result<(), Failure> {
        let voter = self.voter()?;
        if !self.dry_run {
            admin.add_voter(&voter).await?;
        }
        let does = if self.dry_run { "DRY RUN of adding" } else { "Added" };
        let NewVoter { id, directory_id, listener: (name, host, port) } = &voter;
        let endpoint = listener::Endpoint { name: name.clone(), host: host.clone(), port: *port };
        writeln!(output, "{does} controller {id} with directory id {directory_id} and endpoints: {endpoint}")?;
        Ok(())
    }

    /// The voter that the properties describe.
    fn voter(&self) -> Result<NewVoter, Failure> {
        let mut settings = match &self.config {
            Some(file) => BrokerSettings::from_properties(file)?,
            None => BrokerSettings::new(),
        };
        for pair in &self.overrides {
            let (key, value) = super::connect::pair("--override", pair)?;
            settings.set(key, value);
        }
        if !settings.is_set("node.id") || !settings.is_set("process.roles") {
            return Err("node.id and process.roles must be set: is this a controller's configuration?".into());
        }
        let values = settings.values()?;
        if !listener::has_role(&values, "controller") {
            return Err("process.roles does not hold controller: only a controller can have a vote".into());
        }
        let listeners = listener::controllers(&values)?;
        let own = listeners.first().ok_or("listeners has none that controller.listener.names names")?;
        let (host, port) = listener::told_controller(&values, &own.host, own.port)?;
        let host = if host.is_empty() { "localhost".to_owned() } else { host };
        let dirs = rules::data_dirs(&values);
        let dir = dirs.first().map(Path::new).unwrap_or(Path::new("."));
        let meta = MetaProperties::read(RealFs::shared().as_ref(), dir)?;
        let meta = meta.ok_or_else(|| format!("Unable to read meta.properties from {}", dir.display()))?;
        let listener = (own.name.clone(), host, port);
        Ok(NewVoter { id: rules::node_id(&values), directory_id: meta.directory_id, listener })
    }
}

impl RemoveVoter {
    pub(super) async fn act(&self, admin: &Admin, output: &mut Output) -> Result<(), Failure> {
        let RemoveVoter { controller_id: id, controller_directory_id: directory, dry_run } = self;
        if !dry_run {
            admin.remove_voter(*id, *directory).await?;
        }
        let does = if *dry_run { "DRY RUN of removing" } else { "Removed" };
        writeln!(output, "{does} KRaft controller {id} with directory id {directory}")?;
        Ok(())
    }
}
