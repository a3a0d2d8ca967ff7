//! `strandline format`: makes a data dir one of a cluster, before its broker starts for the first time.
//!
//! A broker that is alone does that by itself. Several must agree on the id of their cluster first: it is said to each of
//! them here, as Kafka's `kafka-storage.sh format` does.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::cluster::BrokerSettings;
use crate::common::ids::Uuid;
use crate::config::rules;
use crate::log::fs::RealFs;
use crate::log::meta_properties::MetaProperties;

#[derive(Debug, Args)]
pub(super) struct Format {
    /// Kafka's own server.properties, which names the node and its data dir
    file: Option<PathBuf>,
    /// One broker config, over what the file says (may be repeated)
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where the records are kept (log.dirs)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The id of the cluster, the same for all of its nodes [default: a new one, which is told]
    #[arg(short = 't', long, value_name = "ID")]
    cluster_id: Option<String>,
    /// Leave a data dir alone that is formatted already
    #[arg(short = 'g', long)]
    ignore_formatted: bool,
}

impl Format {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut settings = match &self.file {
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
        let fs = RealFs::shared();
        let cluster_id = self.cluster_id.unwrap_or_else(|| Uuid::random().to_string());
        for dir in rules::data_dirs(&values) {
            let root = Path::new(&dir);
            if let Some(meta) = MetaProperties::read(fs.as_ref(), root)? {
                if self.ignore_formatted {
                    continue;
                }
                let of = format!("node {} of cluster {}", meta.node_id, meta.cluster_id);
                let sentence = format!("{dir} is formatted already, for {of}: --ignore-formatted leaves it so");
                return Err(Failure::Sentence(sentence));
            }
            fs.create_dir_all(root).map_err(|error| format!("{dir}: {error}"))?;
            let meta = MetaProperties {
                cluster_id: cluster_id.clone(),
                node_id: rules::node_id(&values),
                directory_id: Uuid::random(),
            };
            meta.write(fs.as_ref(), root)?;
            println!("formatted {dir} for node {} of cluster {cluster_id}", meta.node_id);
        }
        Ok(())
    }
}
