//! `strandline serve`: one broker, until SIGTERM or Ctrl-C.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::cluster::{BrokerSettings, RunningBroker, serve_for_parent};

/// Where a broker listens that was told nothing: this machine only, for there is no authentication yet.
const LISTEN: &str = "127.0.0.1:9092";

/// What our own lines tell better; whoever asks for it by its name gets it, for the last directive counts.
const QUIET: &str = "openraft=off";

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Kafka's own server.properties; what is not in it has Kafka's default
    file: Option<PathBuf>,
    /// One broker config, over what the file says (may be repeated)
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where the records are kept (log.dirs) [default: strandline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What to log to stderr: error, warn, info, debug, trace, or directives as `info,strandline::replica=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "STRANDLINE_LOG")]
    log_level: String,
    /// Take all that a broker is started with, and more, from stdin: for a parent that runs a cluster of processes
    #[arg(long, hide = true, conflicts_with_all = ["file", "overrides", "data_dir", "listen"])]
    for_parent: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(format!("{QUIET},{}", self.log_level))?;
        // A second subscriber (in a process that set its own) is no reason not to serve.
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let _ = log.with_ansi(colours(std::env::var_os("NO_COLOR").as_deref())).try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("strandline").build()?;
        if self.for_parent {
            return runtime.block_on(async {
                let mut terminate = signal(SignalKind::terminate())?;
                serve_for_parent(async move { terminate.recv().await.unwrap_or_default() }).await?;
                Ok(())
            });
        }
        let mut settings = match &self.file {
            Some(file) => BrokerSettings::from_properties(file)?,
            None => BrokerSettings::new(),
        };
        for pair in &self.overrides {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("--override {pair:?}: it must be KEY=VALUE"))?;
            settings.set(key, value);
        }
        match (&self.data_dir, settings.is_set("log.dirs") || settings.is_set("log.dir")) {
            (Some(dir), _) => settings.set("log.dirs", &dir.display().to_string()),
            (None, false) => settings.set("log.dirs", "strandline-data"),
            (None, true) => {}
        }
        match (&self.listen, settings.is_set("listeners")) {
            (Some(listen), _) => settings.set("listeners", &format!("PLAINTEXT://{listen}")),
            (None, false) => settings.set("listeners", &format!("PLAINTEXT://{LISTEN}")),
            (None, true) => {}
        }
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let broker = RunningBroker::start(settings).await?;
            println!("strandline is ready at {}", broker.bootstrap_servers());
            std::io::stdout().flush()?;
            let died = broker.died();
            tokio::pin!(died);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                Some(reason) = &mut died => return Err(format!("the broker has ended: {reason}").into()),
            }
            broker.stop().await?;
            Ok(())
        })
    }
}

/// Whether the log has colours: on a terminal only, and not for somebody who set `NO_COLOR` to anything.
fn colours(no_color: Option<&OsStr>) -> bool {
    std::io::stderr().is_terminal() && no_color.is_none_or(OsStr::is_empty)
}
