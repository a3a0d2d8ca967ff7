//! The sender: one task that takes batches out of the accumulator, sends them to their leaders and tells what became of
//! them.
//!
//! Each turn it looks at the partitions that have something, gathers for every broker what may go now (one batch a
//! partition and request, as many requests on their way as `max.in.flight.requests.per.connection`), and then waits for
//! the first of: a reply, a new or full batch, the end of a linger, rest or delivery time. Requests are queued to a
//! connection in the order in which batches were taken out, so batches of a partition arrive in order.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::client::config::ProducerConfig;
use crate::client::connection::Connection;
use crate::client::metadata::{BrokerView, ClusterView};
use crate::client::network::{Network, Wanted};
use crate::client::{ClientError, Result};
use crate::common::ids::NodeId;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::{ApiKey, ErrorCode, Str};
use crate::record::BatchOptions;

use super::accumulator::Accumulator;
use super::delivery::{BatchDelivery, Outcome};
use super::partition::{Identity, Next, Partition, Ready, Unbuilt};

/// From this version on Produce names topics by id.
const TOPIC_IDS: i16 = 13;

/// A batch on its way, and the partition it belongs to.
type Sent = (usize, Ready);
type Task = Pin<Box<dyn Future<Output = Event> + Send>>;

enum Event {
    Produced { node: NodeId, sent: Vec<Sent>, result: Result<ProduceResponse> },
    Connected { node: NodeId, result: Result<()> },
    Refreshed(Result<Arc<ClusterView>>),
    Identified(Result<Identity>),
}

#[derive(Default)]
struct Node {
    in_flight: usize,
    connecting: bool,
    failures: u32,
    not_before: Duration,
}

pub(super) struct Sender {
    accumulator: Arc<Accumulator>,
    network: Arc<Network>,
    config: ProducerConfig,
    partitions: Vec<Partition>,
    active: Vec<usize>,
    nodes: HashMap<NodeId, Node>,
    tasks: FuturesUnordered<Task>,
    identity: Option<Identity>,
    identifying: bool,
    /// The rest before the next attempt at an identity or at metadata.
    identity_failures: u32,
    identity_not_before: Duration,
    refreshing: bool,
    refresh_wanted: bool,
    refresh_failures: u32,
    refresh_not_before: Duration,
    /// Whether some partition's sequence has a gap.
    gaps: bool,
    /// Who is served first rotates.
    turn: usize,
}

impl Sender {
    pub(super) fn new(accumulator: Arc<Accumulator>, network: Arc<Network>, config: ProducerConfig) -> Sender {
        Sender {
            accumulator,
            network,
            config,
            partitions: Vec::new(),
            active: Vec::new(),
            nodes: HashMap::new(),
            tasks: FuturesUnordered::new(),
            identity: None,
            identifying: false,
            identity_failures: 0,
            identity_not_before: Duration::ZERO,
            refreshing: false,
            refresh_wanted: false,
            refresh_failures: 0,
            refresh_not_before: Duration::ZERO,
            gaps: false,
            turn: 0,
        }
    }

    /// Runs until the producer is closed and everything is done.
    pub(super) async fn run(mut self) {
        loop {
            let now = self.now();
            self.collect();
            self.expire(now);
            let wake_at = self.dispatch(now);
            if self.is_finished() {
                return;
            }
            let accumulator = self.accumulator.clone();
            let clock = self.network.doors().clock.clone();
            let timer = async {
                match wake_at {
                    Some(at) => clock.sleep(at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(event) = self.tasks.next(), if !self.tasks.is_empty() => self.handle(event),
                () = accumulator.wake.notified() => {}
                () = timer => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.network.doors().clock.monotonic()
    }

    fn is_finished(&self) -> bool {
        self.accumulator.closed.load(std::sync::atomic::Ordering::Acquire)
            && self.active.is_empty()
            && self.nodes.values().all(|node| node.in_flight == 0)
    }

    /// Takes over the partitions that got something.
    fn collect(&mut self) {
        for queue in self.accumulator.take_listed() {
            let slot = *queue.slot.get_or_init(|| {
                self.partitions.push(Partition::new(queue.clone()));
                self.partitions.len() - 1
            });
            self.activate(slot);
        }
    }

    fn activate(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.partitions[slot].active, true) {
            self.active.push(slot);
        }
    }

    /// Gives up what waited for longer than `delivery.timeout.ms`.
    fn expire(&mut self, now: Duration) {
        let Some(oldest) = now.checked_sub(self.config.delivery_timeout) else { return };
        for index in 0..self.active.len() {
            let partition = &mut self.partitions[self.active[index]];
            if partition.oldest().is_none_or(|created| created > oldest) {
                continue;
            }
            let name = format!("{}-{}", partition.queue.topic, partition.queue.partition);
            let error = ClientError::timeout(format!("delivery to {name}"), self.config.delivery_timeout);
            for ready in partition.take_older(oldest) {
                if ready.is_sequenced() {
                    partition.break_sequence();
                    self.gaps = true;
                }
                finish(&self.accumulator, &ready.delivery, ready.reserved, Outcome::failed(error.clone()));
            }
            for waiting in partition.queue.take_older(oldest) {
                finish(&self.accumulator, &waiting.delivery, waiting.reserved, Outcome::failed(error.clone()));
            }
        }
    }

    /// Sends what may go now, and says when there may be more to send.
    fn dispatch(&mut self, now: Duration) -> Option<Duration> {
        self.mend(now);
        let mut wake_at: Option<Duration> = None;
        let mut wake = |at: Duration| wake_at = Some(wake_at.map_or(at, |known| known.min(at)));
        let hurry = self.accumulator.in_a_hurry();
        let view = self.network.view();
        let mut wants_refresh = false;
        self.turn = self.turn.wrapping_add(1);
        // Several turns, for a partition may have more batches than one request takes.
        loop {
            let mut requests: HashMap<NodeId, (usize, Vec<Sent>)> = HashMap::new();
            let len = self.active.len();
            for step in 0..len {
                let slot = self.active[(self.turn + step) % len];
                let leader = {
                    let queue = &self.partitions[slot].queue;
                    view.leader(&queue.topic, queue.partition)
                };
                let Some((leader, _)) = leader else {
                    wants_refresh |= self.partitions[slot].oldest().is_some();
                    continue;
                };
                match self.may_send(leader, now) {
                    Ok(()) => {}
                    Err(Some(later)) => {
                        wake(later);
                        continue;
                    }
                    Err(None) => continue,
                }
                if requests.get(&leader).is_some_and(|(size, _)| *size >= self.config.max_request_size) {
                    continue;
                }
                let accumulator = &self.accumulator;
                let ratio = |topic: &str, before, after| accumulator.note_ratio(topic, before, after);
                let (linger, idempotent) = (self.config.linger, self.config.idempotent);
                match self.partitions[slot].next(now, linger, hurry, idempotent, self.identity, ratio) {
                    Next::Batch(ready) => {
                        let (size, sent) = requests.entry(leader).or_default();
                        *size += ready.bytes.len();
                        sent.push((slot, ready));
                    }
                    Next::Later(later) => later.into_iter().for_each(&mut wake),
                    Next::NeedsIdentity => self.identify(now).into_iter().for_each(&mut wake),
                    Next::Failed(Unbuilt { delivery, reserved }, cause) => {
                        let queue = &self.partitions[slot].queue;
                        let error = ClientError::invalid(format!("{}-{}: {cause}", queue.topic, queue.partition));
                        finish(&self.accumulator, &delivery, reserved, Outcome::failed(error));
                    }
                }
            }
            if requests.is_empty() {
                break;
            }
            for (node, (_, sent)) in requests {
                self.send(node, sent, &view);
            }
        }
        let (linger, partitions) = (self.config.linger, &mut self.partitions);
        self.active.retain(|slot| {
            let partition = &mut partitions[*slot];
            partition.active = partition.queue.due(linger, hurry).is_some() || !partition.is_idle();
            if let Some(oldest) = partition.active.then(|| partition.oldest()).flatten() {
                wake(oldest + self.config.delivery_timeout + Duration::from_millis(1));
            }
            partition.active
        });
        if (wants_refresh || self.refresh_wanted || self.network.age() >= self.network.config().metadata_max_age)
            && !self.accumulator.topics().is_empty()
        {
            self.refresh(now).into_iter().for_each(&mut wake);
        }
        wake_at
    }

    /// Whether another request may go to a broker; if not, when to look again.
    fn may_send(&mut self, node: NodeId, now: Duration) -> std::result::Result<(), Option<Duration>> {
        let state = self.nodes.entry(node).or_default();
        if state.in_flight >= self.config.max_in_flight || state.connecting {
            return Err(None);
        }
        if self.network.ready(node).is_some() {
            state.failures = 0;
            return Ok(());
        }
        if now < state.not_before {
            return Err(Some(state.not_before));
        }
        state.connecting = true;
        let network = self.network.clone();
        self.tasks.push(Box::pin(async move {
            let result = network.connection(node).await.map(|_| ());
            Event::Connected { node, result }
        }));
        Err(None)
    }

    fn send(&mut self, node: NodeId, sent: Vec<Sent>, view: &ClusterView) {
        let result = self.post(node, &sent, view);
        self.nodes.entry(node).or_default().in_flight += 1;
        match result {
            Ok(Some(reply)) => self.tasks.push(Box::pin(async move {
                let result = reply.await;
                Event::Produced { node, sent, result }
            })),
            Ok(None) => self.handle(Event::Produced { node, sent, result: Ok(ProduceResponse::default()) }),
            Err(error) => self.handle(Event::Produced { node, sent, result: Err(error) }),
        }
    }

    /// Queues a request to a broker's connection; `None` stands for no reply (acks 0).
    #[allow(clippy::type_complexity)]
    fn post(
        &self,
        node: NodeId,
        sent: &[Sent],
        view: &ClusterView,
    ) -> Result<Option<Pin<Box<dyn Future<Output = Result<ProduceResponse>> + Send>>>> {
        let connection: Arc<Connection> = self
            .network
            .ready(node)
            .ok_or_else(|| ClientError::disconnected(&format!("broker {node}").into(), "the connection just ended"))?;
        let mut version = connection.version(ApiKey::Produce)?;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for (slot, ready) in sent {
            let queue = &self.partitions[*slot].queue;
            let data = PartitionProduceData { index: queue.partition, records: Some(ready.bytes.clone().into()) };
            match topics.iter_mut().find(|topic| *topic.name == *queue.topic) {
                Some(topic) => topic.partition_data.push(data),
                None => {
                    let topic_id = view.topic_id(&queue.topic);
                    if topic_id.is_zero() {
                        version = version.min(TOPIC_IDS - 1);
                    }
                    let name = Str::from(&*queue.topic);
                    topics.push(TopicProduceData { name, topic_id, partition_data: vec![data] });
                }
            }
        }
        let timeout = self.config.request_timeout;
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.config.acks,
            timeout_ms: timeout.as_millis().min(i32::MAX as u128) as i32,
            topic_data: topics,
        };
        if self.config.acks == 0 {
            connection.tell(&request, version)?;
            return Ok(None);
        }
        let reply = connection.start(&request, version)?;
        Ok(Some(Box::pin(async move { reply.wait(timeout).await })))
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Connected { node, result } => {
                let state = self.nodes.entry(node).or_default();
                state.connecting = false;
                if let Err(error) = result {
                    tracing::debug!(node, %error, "no connection to broker");
                    state.failures += 1;
                    state.not_before = now + self.config.retry.after(state.failures);
                    self.refresh_wanted = true;
                }
            }
            Event::Refreshed(result) => {
                self.refreshing = false;
                match result {
                    Ok(view) => {
                        self.refresh_failures = 0;
                        for topic in view.topics.values() {
                            self.accumulator.set_partitions_if_known(&topic.name, topic.partitions.len());
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no metadata");
                        self.refresh_failures += 1;
                        self.refresh_wanted = true;
                    }
                }
                // Even good news may say that a partition has no leader: it is not asked again at once.
                self.refresh_not_before = now + self.config.retry.after(self.refresh_failures.max(1));
            }
            Event::Identified(result) => {
                self.identifying = false;
                match result {
                    Ok(identity) => {
                        self.identity = Some(identity);
                        self.identity_failures = 0;
                    }
                    Err(error) if error.retriable() => {
                        self.identity_failures += 1;
                        self.identity_not_before = now + self.config.retry.after(self.identity_failures);
                    }
                    // Nothing can be sent by an idempotent producer that may not have an id.
                    Err(error) => self.fail_all(&error),
                }
            }
            Event::Produced { node, sent, result } => self.produced(now, node, sent, result),
        }
    }

    fn produced(&mut self, now: Duration, node: NodeId, sent: Vec<Sent>, result: Result<ProduceResponse>) {
        self.nodes.entry(node).or_default().in_flight -= 1;
        for (slot, ready) in &sent {
            self.partitions[*slot].landed(ready);
        }
        let response = match result {
            Ok(response) if self.config.acks == 0 => {
                let written = Outcome::Written { base_offset: None, append_time: None };
                for (_, ready) in sent {
                    finish(&self.accumulator, &ready.delivery, ready.reserved, written.clone());
                }
                drop(response);
                return;
            }
            Ok(response) => response,
            Err(error) => {
                if error.wants_metadata() {
                    self.network.doubt(node);
                }
                for (slot, ready) in sent {
                    self.failed(now, slot, ready, error.clone(), Arc::new([]));
                }
                return;
            }
        };
        self.note_leaders(&response);
        let view = self.network.view();
        for (slot, ready) in sent {
            let queue = &self.partitions[slot].queue;
            let answer = response
                .responses
                .iter()
                .filter(|topic| *topic.name == *queue.topic || view.topic_name(topic.topic_id) == Some(&queue.topic))
                .flat_map(|topic| &topic.partition_responses)
                .find(|answer| answer.index == queue.partition);
            match answer {
                Some(answer) => {
                    if answer.error_code == ErrorCode::REQUEST_TIMED_OUT {
                        self.network.doubt(node);
                    }
                    self.answered(now, slot, ready, answer);
                }
                None => {
                    let name = format!("{}-{}", queue.topic, queue.partition);
                    let error = ClientError::kafka(ErrorCode::UNKNOWN_SERVER_ERROR, format!("{name}: no answer"));
                    self.failed(now, slot, ready, error, Arc::new([]));
                }
            }
        }
    }

    fn note_leaders(&self, response: &ProduceResponse) {
        for topic in &response.responses {
            let view = self.network.view();
            let name = if topic.name.is_empty() {
                view.topic_name(topic.topic_id).cloned()
            } else {
                Some((*topic.name).into())
            };
            let Some(name) = name else { continue };
            for answer in &topic.partition_responses {
                let leader = &answer.current_leader;
                if leader.leader_id >= 0 {
                    let endpoint = response.node_endpoints.iter().find(|node| node.node_id == leader.leader_id);
                    let endpoint = endpoint.and_then(|node| {
                        let port = u16::try_from(node.port).ok()?;
                        Some(BrokerView { id: node.node_id, host: node.host.to_string(), port, rack: None })
                    });
                    self.network.note_leader(&name, answer.index, leader.leader_id, leader.leader_epoch, endpoint);
                }
            }
        }
    }

    fn answered(&mut self, now: Duration, slot: usize, ready: Ready, answer: &PartitionProduceResponse) {
        let code = answer.error_code;
        if code == ErrorCode::NONE || code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER {
            let base_offset = Partition::base_offset(answer.base_offset);
            let append_time = (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms);
            self.partitions[slot].written(&ready);
            finish(&self.accumulator, &ready.delivery, ready.reserved, Outcome::Written { base_offset, append_time });
            return;
        }
        let partition = &mut self.partitions[slot];
        let name = format!("{}-{}", partition.queue.topic, partition.queue.partition);
        if code == ErrorCode::MESSAGE_TOO_LARGE && ready.count > 1 {
            let options = BatchOptions { compression: self.config.compression, ..BatchOptions::default() };
            let whole = ready.delivery.clone();
            match partition.split(ready, options) {
                Ok(parts) => {
                    parts.iter().for_each(|part| self.accumulator.track(part));
                    self.accumulator.release(&whole, 0);
                    self.activate(slot);
                }
                Err(failed) => {
                    let (ready, cause) = *failed;
                    let error = ClientError::invalid(format!("{name}: {cause}"));
                    self.give_up(slot, ready, error, Arc::new([]));
                }
            }
            return;
        }
        let context: Arc<str> = format!("produce to {name}").into();
        let culprits: Arc<[(u32, ClientError)]> = answer
            .record_errors
            .iter()
            .map(|culprit| {
                let message = culprit.batch_index_error_message.as_deref().or(answer.error_message.as_deref());
                (culprit.batch_index as u32, ClientError::kafka_said(code, context.clone(), message))
            })
            .collect();
        let message = if culprits.is_empty() {
            answer.error_message.as_deref().map(str::to_owned)
        } else {
            Some("another record of the same batch was refused".to_owned())
        };
        self.failed(now, slot, ready, ClientError::kafka_said(code, context, message.as_deref()), culprits);
    }

    /// Sends a batch again if that may help and there is time, and gives it up otherwise.
    fn failed(
        &mut self,
        now: Duration,
        slot: usize,
        ready: Ready,
        error: ClientError,
        culprits: Arc<[(u32, ClientError)]>,
    ) {
        if error.wants_metadata() {
            self.refresh_wanted = true;
        }
        let partition = &mut self.partitions[slot];
        let sequence_lost = self.config.idempotent
            && matches!(
                error.code(),
                Some(
                    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                        | ErrorCode::UNKNOWN_PRODUCER_ID
                        | ErrorCode::INVALID_PRODUCER_EPOCH
                        | ErrorCode::INVALID_PRODUCER_ID_MAPPING
                )
            );
        let in_time = now < ready.created + self.config.delivery_timeout;
        let attempts_left = i64::from(ready.attempts) <= i64::from(self.config.retries);
        if !(error.retriable() || sequence_lost) || !in_time || !attempts_left {
            self.give_up(slot, ready, error, culprits);
            return;
        }
        tracing::debug!(%error, attempts = ready.attempts, "a batch goes again");
        // A batch behind one that failed is out of order because of that one, and will not be once it is written.
        if sequence_lost && partition.is_first(&ready) {
            partition.break_sequence();
            self.gaps = true;
        }
        partition.not_before = now + self.config.retry.after(ready.attempts);
        partition.retry(ready);
        self.activate(slot);
    }

    fn give_up(&mut self, slot: usize, ready: Ready, error: ClientError, culprits: Arc<[(u32, ClientError)]>) {
        // Its numbers are missing from now on.
        if ready.is_sequenced() {
            self.partitions[slot].break_sequence();
            self.gaps = true;
        }
        finish(&self.accumulator, &ready.delivery, ready.reserved, Outcome::Failed { error, culprits });
    }

    /// Bumps the epoch for partitions whose sequence has a gap, once nothing of theirs is on its way.
    fn mend(&mut self, now: Duration) {
        if !self.gaps {
            return;
        }
        self.gaps = self.partitions.iter().any(Partition::is_broken);
        let wanting: Vec<usize> =
            (0..self.partitions.len()).filter(|slot| self.partitions[*slot].wants_bump()).collect();
        if wanting.is_empty() {
            return;
        }
        let Some(Identity { id, epoch }) = self.identity else {
            self.identify(now);
            return;
        };
        if epoch == i16::MAX {
            self.identity = None;
            self.identify(now);
            return;
        }
        let bumped = Identity { id, epoch: epoch + 1 };
        tracing::debug!(id, epoch = bumped.epoch, "the producer's epoch was bumped to mend a gap");
        self.identity = Some(bumped);
        for slot in wanting {
            self.partitions[slot].renumber(bumped);
            self.activate(slot);
        }
    }

    /// Asks for a producer id, unless that is under way; says when it may be asked for if it is too early.
    fn identify(&mut self, now: Duration) -> Option<Duration> {
        if self.identifying {
            return None;
        }
        if now < self.identity_not_before {
            return Some(self.identity_not_before);
        }
        self.identifying = true;
        let network = self.network.clone();
        self.tasks.push(Box::pin(async move { Event::Identified(init_producer_id(&network).await) }));
        None
    }

    fn refresh(&mut self, now: Duration) -> Option<Duration> {
        if self.refreshing {
            return None;
        }
        if now < self.refresh_not_before {
            return Some(self.refresh_not_before);
        }
        self.refreshing = true;
        self.refresh_wanted = false;
        let (network, topics) = (self.network.clone(), self.accumulator.topics());
        self.tasks
            .push(Box::pin(async move { Event::Refreshed(network.refresh(Wanted::Topics(&topics), true).await) }));
        None
    }

    fn fail_all(&mut self, error: &ClientError) {
        for slot in std::mem::take(&mut self.active) {
            let partition = &mut self.partitions[slot];
            partition.active = false;
            for ready in partition.take_all() {
                finish(&self.accumulator, &ready.delivery, ready.reserved, Outcome::failed(error.clone()));
            }
            for waiting in partition.queue.take_older(Duration::MAX) {
                finish(&self.accumulator, &waiting.delivery, waiting.reserved, Outcome::failed(error.clone()));
            }
            partition.queue.due(self.config.linger, false);
        }
    }
}

impl Drop for Sender {
    /// Nobody waits for ever, whatever ended the sender.
    fn drop(&mut self) {
        self.accumulator.closed.store(true, std::sync::atomic::Ordering::Release);
        self.accumulator.fail_incomplete(&ClientError::Closed("producer"));
    }
}

async fn init_producer_id(network: &Network) -> Result<Identity> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let response = network.call_any(&request).await?;
    match response.error_code {
        ErrorCode::NONE => Ok(Identity { id: response.producer_id, epoch: response.producer_epoch }),
        code => Err(ClientError::kafka(code, "InitProducerId")),
    }
}

fn finish(accumulator: &Accumulator, delivery: &Arc<BatchDelivery>, reserved: usize, outcome: Outcome) {
    // Memory first: whoever is woken by the outcome may send at once.
    accumulator.release(delivery, reserved);
    delivery.complete(outcome);
}
