//! How a broker of a cluster is run: in this process, or in one of its own. Whoever runs brokers sees no difference.
//!
//! ```text
//!            bind            start
//!  stopped ------> bound --------------> running <---> paused
//!     ^                                    |   |
//!     +--- stop, kill ---------------------+   +--- by itself ---> died (starts again as from stopped)
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::watch;

use super::child::{Child, Gone};
use super::network::Network;
use super::orders::{Answer, Birth, Bound, FromChild, Order, Subject, ToChild};
use super::running::{BoundBroker, RunningBroker, StartError};
use super::settings::BrokerSettings;
use crate::broker::Broker;
use crate::common::ids::NodeId;
use crate::log::fs::faulty::{DiskFault, Faults};
use crate::protocol::ErrorCode;

/// How long a process may take to end when it was told to, before it is killed.
const ENDING: Duration = Duration::from_secs(30);

/// What a broker is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerState {
    /// It runs.
    Running,
    /// It runs, and neither sends nor hears.
    Paused,
    /// It was stopped or killed, or has not been started.
    Stopped,
    /// It has ended by itself.
    Died {
        /// Why, as far as it can be told.
        reason: String,
    },
}

impl fmt::Display for BrokerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BrokerState::Running => "running",
            BrokerState::Paused => "paused",
            BrokerState::Stopped => "stopped",
            BrokerState::Died { .. } => "died",
        })
    }
}

impl BrokerState {
    /// Whether it can be stopped: one that is paused is.
    pub fn is_up(&self) -> bool {
        matches!(self, BrokerState::Running | BrokerState::Paused)
    }
}

/// Told whenever a broker has become something else.
pub(super) type Changes = watch::Sender<()>;

/// How a broker is run.
#[derive(Debug)]
pub(super) enum Runner {
    /// In this process.
    Here(Arc<Here>),
    /// In a process of its own.
    Apart(Apart),
}

impl Runner {
    /// The runner that `settings` ask for, of the broker that `network` knows as `port`.
    pub(super) fn new(settings: &BrokerSettings, port: NodeId, network: &Arc<Network>, changes: &Changes) -> Runner {
        match settings.process {
            None => Runner::Here(Arc::new(Here {
                network: network.clone(),
                port,
                disk: Faults::default(),
                changes: changes.clone(),
                stage: Mutex::default(),
            })),
            Some(_) => Runner::Apart(Apart { changes: changes.clone(), child: Mutex::default() }),
        }
    }

    /// Binds its listeners; from now on `disk` goes wrong with its disk.
    pub(super) async fn bind(&self, settings: &BrokerSettings, disk: Vec<DiskFault>) -> Result<Bound, StartError> {
        match self {
            Runner::Here(here) => here.bind(settings, disk).await,
            Runner::Apart(apart) => apart.bind(settings, disk).await,
        }
    }

    /// Starts what is bound; where clients reach it.
    pub(super) async fn start(&self, birth: &Birth) -> Result<String, StartError> {
        match self {
            Runner::Here(here) => here.start(birth).await,
            Runner::Apart(apart) => apart.start(birth).await,
        }
    }

    /// Stops it; with `hand_over` others lead first what it led.
    pub(super) async fn stop(&self, settings: &BrokerSettings, hand_over: bool) -> Result<(), String> {
        match self {
            Runner::Here(here) => here.stop(hand_over).await,
            Runner::Apart(apart) => apart.stop(settings, hand_over).await,
        }
    }

    /// Ends it where it stands, whatever it is.
    pub(super) async fn kill(&self) {
        match self {
            Runner::Here(here) => here.kill().await,
            Runner::Apart(apart) => apart.kill().await,
        }
    }

    /// Lets it neither send nor hear.
    pub(super) fn pause(&self) {
        match self {
            Runner::Here(here) => here.network.pause(here.port),
            Runner::Apart(apart) => apart.pause(),
        }
    }

    /// Ends a pause.
    pub(super) fn resume(&self) {
        match self {
            Runner::Here(here) => here.network.resume(here.port),
            Runner::Apart(apart) => apart.resume(),
        }
    }

    /// What it is.
    pub(super) fn state(&self) -> BrokerState {
        match self {
            Runner::Here(here) => here.state(),
            Runner::Apart(apart) => apart.state(),
        }
    }

    /// Has a broker that runs do something, and waits for its answer; `None` where it does not run, or stops meanwhile.
    pub(super) async fn ask(&self, order: Order) -> Option<Answer> {
        match self {
            Runner::Here(here) => here.ask(order).await,
            Runner::Apart(apart) => apart.ask(order).await,
        }
    }

    /// Has a broker that runs take note of something. One that is paused does when it goes on: it is not waited for.
    pub(super) async fn tell(&self, order: Order) {
        match self {
            Runner::Here(here) => match order {
                // The network and the disk are there before and after it.
                Order::Links(links) => here.network.set(&links),
                Order::BreakDisk(fault) => here.disk.add(fault),
                Order::HealDisk => here.disk.set(Vec::new()),
                order => {
                    here.ask(order).await;
                }
            },
            Runner::Apart(apart) => apart.tell(order).await,
        }
    }

    /// The broker, where it runs in this process.
    pub(super) fn broker(&self) -> Option<Arc<Broker>> {
        match self {
            Runner::Here(here) => here.subject().map(|subject| subject.broker),
            Runner::Apart(_) => None,
        }
    }

    /// The id of the process that is all its own.
    pub(super) fn pid(&self) -> Option<i32> {
        match self {
            Runner::Here(_) => None,
            Runner::Apart(apart) => apart.living().map(|child| child.pid()),
        }
    }

    /// How its process ended; `None` where it has none, or that lives.
    pub(super) fn exit_code(&self) -> Option<i32> {
        match self {
            Runner::Here(_) => None,
            Runner::Apart(apart) => Some(apart.last()?.exit()?.code()),
        }
    }

    /// The last lines of its log, where it is told apart from this process's.
    pub(super) fn log(&self) -> Vec<String> {
        match self {
            Runner::Here(_) => Vec::new(),
            Runner::Apart(apart) => apart.last().map_or_else(Vec::new, |child| child.log()),
        }
    }
}

/// What a broker of this process has come to.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Stopped,
    Bound(BoundBroker),
    Running(RunningBroker),
    Died(String),
}

/// A broker in this process.
#[derive(Debug)]
pub(super) struct Here {
    network: Arc<Network>,
    /// Under which id the network knows it.
    port: NodeId,
    disk: Faults,
    changes: Changes,
    stage: Mutex<Stage>,
}

impl Here {
    async fn bind(&self, settings: &BrokerSettings, disk: Vec<DiskFault>) -> Result<Bound, StartError> {
        let settings = settings.clone().with_transport(self.network.of(self.port));
        let file_system = self.disk.of(settings.file_system.clone());
        let settings = settings.with_file_system(file_system);
        self.disk.set(disk);
        let broker = BoundBroker::bind_again(&settings).await?;
        let bound = broker.bound();
        *self.stage.lock() = Stage::Bound(broker);
        Ok(bound)
    }

    async fn start(self: &Arc<Self>, birth: &Birth) -> Result<String, StartError> {
        let Stage::Bound(broker) = self.take() else {
            return Err(StartError::Listeners("it is not bound".to_owned()));
        };
        let running = broker.start(birth.voters()).await?;
        let bootstrap = running.bootstrap_servers();
        let (died, here) = (running.died(), Arc::downgrade(self));
        *self.stage.lock() = Stage::Running(running);
        tokio::spawn(async move {
            if let (Some(reason), Some(here)) = (died.await, here.upgrade()) {
                here.bury(reason);
            }
        });
        Ok(bootstrap)
    }

    async fn stop(&self, hand_over: bool) -> Result<(), String> {
        let Stage::Running(running) = self.take() else { return Ok(()) };
        let stopped = if hand_over { running.stop().await } else { running.stop_with_all().await };
        stopped.map_err(|error| error.to_string())
    }

    async fn kill(&self) {
        if let Stage::Running(running) = self.take() {
            running.kill().await;
        }
        // Who comes after it is not paused.
        self.network.resume(self.port);
    }

    async fn ask(&self, order: Order) -> Option<Answer> {
        Some(self.subject()?.obey(order).await)
    }

    /// Takes note that it has died. What is left of it goes, its connections too, by which the others see that it is gone.
    fn bury(&self, reason: String) {
        let mut stage = self.stage.lock();
        let buried = match &*stage {
            // Another one may have been started meanwhile.
            Stage::Running(running) if running.death().is_some() => std::mem::replace(&mut *stage, Stage::Died(reason)),
            _ => return,
        };
        drop(stage);
        drop(buried);
        self.changes.send_replace(());
    }

    fn take(&self) -> Stage {
        std::mem::take(&mut *self.stage.lock())
    }

    fn state(&self) -> BrokerState {
        match &*self.stage.lock() {
            Stage::Died(reason) => BrokerState::Died { reason: reason.clone() },
            Stage::Running(_) if self.network.is_paused(self.port) => BrokerState::Paused,
            Stage::Running(_) => BrokerState::Running,
            Stage::Stopped | Stage::Bound(_) => BrokerState::Stopped,
        }
    }

    fn subject(&self) -> Option<Subject> {
        match &*self.stage.lock() {
            Stage::Running(running) => Some(Subject {
                broker: running.broker().clone(),
                network: self.network.clone(),
                disk: self.disk.clone(),
            }),
            Stage::Stopped | Stage::Bound(_) | Stage::Died(_) => None,
        }
    }
}

/// A process, and whether it is to run.
#[derive(Debug, Clone)]
struct Process {
    child: Arc<Child>,
    /// Whether its broker serves.
    started: bool,
    /// Whether it was stopped or killed: what is left of it is its log.
    ended: bool,
}

/// A broker in a process of its own.
#[derive(Debug)]
pub(super) struct Apart {
    changes: Changes,
    child: Mutex<Option<Process>>,
}

impl Apart {
    async fn bind(&self, settings: &BrokerSettings, disk: Vec<DiskFault>) -> Result<Bound, StartError> {
        let changes = self.changes.clone();
        let command = settings.process.as_deref().unwrap_or_default();
        let child = Child::start(command, move || changes.send_replace(())).await.map_err(StartError::Process)?;
        *self.child.lock() = Some(Process { child: child.clone(), started: false, ended: false });
        let order = ToChild::Bind {
            properties: settings.properties.clone(),
            durable: settings.durable,
            cluster_id: settings.cluster_id.clone(),
            disk,
        };
        match self.told(&child, order).await? {
            FromChild::Bound(bound) => Ok(bound),
            other => Err(unexpected(&other)),
        }
    }

    async fn start(&self, birth: &Birth) -> Result<String, StartError> {
        let child = self.last().ok_or_else(|| StartError::Listeners("it is not bound".to_owned()))?;
        match self.told(&child, ToChild::Start(birth.clone())).await? {
            FromChild::Started(bootstrap) => {
                if let Some(process) = &mut *self.child.lock() {
                    process.started = true;
                }
                Ok(bootstrap)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What it answers to one of the orders that it may fail at.
    async fn told(&self, child: &Arc<Child>, order: ToChild) -> Result<FromChild, StartError> {
        let answer = child.ask(order).await;
        if let Ok(FromChild::Failed { .. }) | Err(Gone) = answer {
            // It ends by itself then; where it does not, there is nobody to wait for it.
            child.signal(Signal::KILL);
            child.ended().await;
            self.end();
        }
        match answer {
            Ok(FromChild::Failed { code, errno, sentence }) => {
                Err(StartError::Told { code: ErrorCode::from_code(code), errno, sentence })
            }
            Ok(answer) => Ok(answer),
            Err(Gone) => Err(StartError::Ended(child.last_words())),
        }
    }

    async fn stop(&self, settings: &BrokerSettings, hand_over: bool) -> Result<(), String> {
        let Some(child) = self.living() else { return Ok(()) };
        let ending = async {
            let answer = if hand_over {
                child.signal(Signal::TERM);
                Ok(FromChild::Stopped)
            } else {
                child.ask(ToChild::Stop).await
            };
            (answer, child.ended().await)
        };
        let ended = tokio::select! {
            ended = ending => Ok(ended),
            () = settings.socket_clock.sleep(ENDING) => Err(format!("its process did not end within {ENDING:?}, and was killed")),
        };
        if ended.is_err() {
            child.signal(Signal::KILL);
            child.ended().await;
        }
        self.end();
        match ended? {
            (Ok(FromChild::Failed { sentence, .. }), _) => Err(sentence),
            (_, exit) if exit.code() == 0 => Ok(()),
            (_, _) => Err(child.last_words()),
        }
    }

    async fn kill(&self) {
        if let Some(child) = self.living() {
            child.signal(Signal::KILL);
            child.ended().await;
        }
        self.end();
    }

    /// Takes note that its end was wished for.
    fn end(&self) {
        if let Some(process) = &mut *self.child.lock() {
            process.ended = true;
        }
    }

    fn pause(&self) {
        if let Some(child) = self.living() {
            child.pause();
        }
    }

    fn resume(&self) {
        if let Some(child) = self.living() {
            child.resume();
        }
    }

    /// The process that there was last.
    fn last(&self) -> Option<Arc<Child>> {
        self.child.lock().as_ref().map(|process| process.child.clone())
    }

    /// The process, while it lives.
    fn living(&self) -> Option<Arc<Child>> {
        self.last().filter(|child| child.exit().is_none())
    }

    fn state(&self) -> BrokerState {
        let process = self.child.lock().clone();
        let Some(Process { child, started: true, ended: false }) = process else { return BrokerState::Stopped };
        match child.exit() {
            Some(_) => BrokerState::Died { reason: child.last_words() },
            None if child.is_paused() => BrokerState::Paused,
            None => BrokerState::Running,
        }
    }

    async fn tell(&self, order: Order) {
        let Some(child) = self.living() else { return };
        let mut changes = self.changes.subscribe();
        let mut telling = std::pin::pin!(self.ask(order));
        loop {
            if child.is_paused() {
                // It is on its way at least.
                let _ = telling.as_mut().now_or_never();
                return;
            }
            tokio::select! {
                _ = &mut telling => return,
                _ = changes.changed() => {}
            }
        }
    }

    async fn ask(&self, order: Order) -> Option<Answer> {
        let process = self.child.lock().clone().filter(|process| process.started)?;
        match process.child.ask(ToChild::Do(order)).await {
            Ok(FromChild::Did(answer)) => Some(answer),
            Ok(_) | Err(Gone) => None,
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(process) = self.child.get_mut() {
            process.child.signal(Signal::KILL);
        }
    }
}

fn unexpected(answer: &FromChild) -> StartError {
    StartError::Ended(format!("its process answers what was not asked: {answer:?}"))
}
