//! What every command that speaks to a cluster takes: where it is, and the client's configs.

use std::future::Future;

use clap::Args;
use tokio::runtime::{Builder, Handle, Runtime};

use super::Failure;
use crate::client::Doors;
use crate::common::clock::SystemClock;
use crate::common::transport::Tcp;
use crate::config::{Scope, Values};

/// The options that say which cluster, and how.
#[derive(Debug, Args)]
pub(super) struct Connect {
    /// Brokers of the cluster, one is enough
    #[arg(short = 'b', long, global = true, value_name = "HOST:PORT,..", default_value = "127.0.0.1:9092")]
    bootstrap_server: String,
    /// A client config, by Kafka's name (may be repeated)
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE")]
    client_configs: Vec<String>,
}

impl Connect {
    /// The configuration of a client of this scope. `own` is what the command's other options stand for: -X is stronger.
    pub(super) fn values(&self, scope: Scope, own: &[(&str, &str)]) -> Result<Values, Failure> {
        self.collect(&self.bootstrap_server, scope, own)
    }

    /// The configuration of a client that asks elsewhere than the option says.
    pub(super) fn values_at(&self, servers: &str, scope: Scope) -> Result<Values, Failure> {
        self.collect(servers, scope, &[])
    }

    fn collect(&self, servers: &str, scope: Scope, own: &[(&str, &str)]) -> Result<Values, Failure> {
        let mut pairs = vec![("bootstrap.servers", servers), ("client.id", "strandline")];
        pairs.extend(own);
        for config in &self.client_configs {
            let (key, value) = pair("-X", config)?;
            pairs.retain(|(known, _)| *known != key);
            pairs.push((key, value));
        }
        let (values, notices) = Values::client(scope, pairs)?;
        for notice in notices {
            eprintln!("strandline: {notice}");
        }
        Ok(values)
    }
}

/// Splits the `KEY=VALUE` that `option` was given.
pub(super) fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| Failure::Sentence(format!("{option} {text:?}: it must be KEY=VALUE")))
}

/// Runs a command that waits by itself for what it asks of a cluster: on this thread, which is none of the runtime's.
pub(super) fn run_outside(command: impl FnOnce(Doors) -> Result<(), Failure>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let doors = Doors { transport: Tcp::shared(), clock: SystemClock::shared(), runtime: runtime.handle().clone() };
    let done = command(doors);
    runtime.shutdown_background();
    done
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("strandline").enable_all().build()
}

/// Runs a command that speaks to a cluster, on a runtime that ends with it.
pub(super) fn run<F: Future<Output = Result<(), Failure>>>(command: impl FnOnce(Doors) -> F) -> Result<(), Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let runtime = Handle::current();
        command(Doors { transport: Tcp::shared(), clock: SystemClock::shared(), runtime }).await
    });
    // A thread that waits for a keyboard, or a broker that does not answer, holds nobody up.
    runtime.shutdown_background();
    done
}
