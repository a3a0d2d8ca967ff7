//! A broker in a process of its own, as that process has it: it does what its parent tells it, and ends with it.
//!
//! What the parent sees of it, and how it is sure to end, is told in [`child`](super::child).

use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;

use super::network::Network;
use super::orders::{Birth, Bound, FromChild, Line, Order, Subject, ToChild};
use super::running::{BoundBroker, RunningBroker, StartError};
use super::settings::BrokerSettings;
use crate::log::fs::faulty::Faults;

/// Why it does not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot talk to its parent.
    #[error("{0}")]
    Parent(#[from] io::Error),
    /// It does not start, or stop, as it should. The parent was told.
    #[error(transparent)]
    Broker(#[from] StartError),
    /// It has ended by itself.
    #[error("the broker has ended: {0}")]
    Died(String),
}

/// Does what is told on stdin, and answers on stdout, until the parent says stop, or `terminated` ends; if the parent goes, this
/// process ends where it stands.
///
/// # Errors
/// [`ControlError`].
pub async fn serve_for_parent(terminated: impl Future<Output = ()>) -> Result<(), ControlError> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let (sender, mut orders) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("strandline-orders".to_owned()).spawn(move || listen(&sender))?;
    let settings = BrokerSettings::new();
    let network = Network::new(settings.transport.clone(), settings.socket_clock.clone());
    let mut child = Controlled { network, settings, disk: Faults::default(), stage: Stage::Begun, died: None };
    tokio::pin!(terminated);
    let (order, hand_over) = loop {
        tokio::select! {
            () = &mut terminated => break (None, true),
            reason = died(&mut child.died) => return Err(ControlError::Died(reason)),
            order = orders.recv() => match order {
                Some(Line { id, says: ToChild::Stop }) => break (Some(id), false),
                Some(order) => child.does(order).await?,
                // It is about to end.
                None => std::future::pending().await,
            },
        }
    };
    let stopped = match child.stage {
        Stage::Runs(running, _) if hand_over => running.stop().await,
        Stage::Runs(running, _) => running.stop_with_all().await,
        Stage::Begun | Stage::Bound(_) => Ok(()),
    };
    let stopped = stopped.map_err(StartError::Open);
    if let Some(id) = order {
        say(id, stopped.as_ref().map_or_else(StartError::told, |()| FromChild::Stopped))?;
    }
    Ok(stopped?)
}

/// Reads the parent's orders, and ends the process with it.
fn listen(orders: &mpsc::UnboundedSender<Line<ToChild>>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(order) => drop(orders.send(order)),
            Err(error) => tracing::error!(%line, %error, "what this broker is told is no order"),
        }
    }
    let _ = kill_process(getpid(), Signal::KILL);
}

fn say(id: u64, says: FromChild) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { id, says })?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// What tells that a broker has ended by itself.
type Death = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Ends when a broker that runs has died.
async fn died(death: &mut Option<Death>) -> String {
    if let Some(death) = death
        && let Some(reason) = death.await
    {
        return reason;
    }
    std::future::pending().await
}

enum Stage {
    Begun,
    Bound(BoundBroker),
    Runs(RunningBroker, Subject),
}

struct Controlled {
    network: Arc<Network>,
    settings: BrokerSettings,
    disk: Faults,
    stage: Stage,
    died: Option<Death>,
}

impl Controlled {
    async fn does(&mut self, order: Line<ToChild>) -> Result<(), ControlError> {
        let done = match order.says {
            ToChild::Bind { properties, durable, cluster_id, disk } => {
                self.settings.properties = properties;
                self.settings.durable = durable;
                self.settings.cluster_id = cluster_id;
                self.settings.file_system = self.disk.of(self.settings.file_system.clone());
                self.disk.set(disk);
                self.bind().await.map(FromChild::Bound)
            }
            ToChild::Start(birth) => self.start(birth).await.map(FromChild::Started),
            ToChild::Do(does) => {
                return Ok(self.answer(order.id, does)?);
            }
            ToChild::Stop => return Ok(()),
        };
        say(order.id, done.as_ref().map_or_else(StartError::told, Clone::clone))?;
        done?;
        Ok(())
    }

    async fn bind(&mut self) -> Result<Bound, StartError> {
        // Its own id; where it is alone the network needs none.
        let id = crate::config::rules::node_id(&self.settings.values()?);
        let settings = self.settings.clone().with_transport(self.network.of(id));
        let broker = BoundBroker::bind_again(&settings).await?;
        let bound = broker.bound();
        self.stage = Stage::Bound(broker);
        Ok(bound)
    }

    async fn start(&mut self, birth: Birth) -> Result<String, StartError> {
        let Stage::Bound(broker) = std::mem::replace(&mut self.stage, Stage::Begun) else {
            return Err(StartError::Listeners("it is not bound, or runs already".to_owned()));
        };
        birth.ports.iter().for_each(|(port, id)| self.network.learn(*port, *id));
        self.network.set(&birth.links);
        let running = broker.start(birth.voters()).await?;
        let bootstrap = running.bootstrap_servers();
        self.died = Some(Box::pin(running.died()));
        let (network, disk) = (self.network.clone(), self.disk.clone());
        let subject = Subject { broker: running.broker().clone(), network, disk };
        self.stage = Stage::Runs(running, subject);
        Ok(bootstrap)
    }

    /// Orders take effect as they come; an answer that takes long comes later.
    fn answer(&self, id: u64, order: Order) -> io::Result<()> {
        let Stage::Runs(_, subject) = &self.stage else {
            return say(id, StartError::Listeners("it does not run yet".to_owned()).told());
        };
        let subject = subject.clone();
        let mut obeying = Box::pin(async move { subject.obey(order).await });
        if let Some(answer) = (&mut obeying).now_or_never() {
            return say(id, FromChild::Did(answer));
        }
        tokio::spawn(async move {
            // A parent that hears nothing is one that has gone.
            let _ = say(id, FromChild::Did(obeying.await));
        });
        Ok(())
    }
}
