//! The way from a broker to the active controller: this very node, or another one over its controller listener.
//!
//! Who the controller is may change at any moment, and while there is none nobody can be asked. So a request goes to whoever
//! leads now, and again to the next one, until it is answered by a controller that leads or its time is over. A request
//! that was on its way when the controller went may have been carried out: what is asked this way may be asked twice.
//!
//! A node that took itself for the active controller may find out in the middle of a client's request that it does not lead.
//! Such an answer is not the client's (librdkafka would give up): as in Apache Kafka, it is what the envelope says.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Broker, Connection, Reply, handlers};
use crate::client::connection::{Connection as Line, ConnectionOptions};
use crate::client::{ClientError, Doors};
use crate::common::ids::NodeId;
use crate::config::broker as key;
use crate::controller::{Leadership, Voter};
use crate::metadata::Refusal;
use crate::protocol::messages::envelope::EnvelopeRequest;
use crate::protocol::{ErrorCode, Frame, Request, Str, decode_response, encode_request};

/// How long to rest before the next try, while nobody leads or the leader is not reached.
const REST: Duration = Duration::from_millis(20);

tokio::task_local! {
    /// Whether a change was refused, in the request that this task answers, because this node does not lead.
    static LEADS_NOT: Cell<bool>;
}

/// The connection to the active controller.
#[derive(Debug)]
pub(super) struct ToController {
    doors: Doors,
    line: Mutex<Option<(NodeId, Arc<Line>)>>,
    /// Held while one is opened: the controller takes the end of the one that a heartbeat came by for a hint, so there must
    /// not be another that others use.
    opening: tokio::sync::Mutex<()>,
    /// Those who are asked in turn while nobody is known to lead: whoever does answers.
    others: Vec<Voter>,
    turn: AtomicUsize,
}

impl ToController {
    pub(super) fn new(doors: Doors, others: Vec<Voter>) -> ToController {
        ToController {
            doors,
            line: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            others,
            turn: AtomicUsize::new(0),
        }
    }

    /// The connection to this controller, made if there is none.
    async fn line_to(&self, leader: &Voter, options: ConnectionOptions) -> Result<Arc<Line>, Unanswered> {
        let known = || {
            let known = self.line.lock().clone();
            known.filter(|(id, line)| *id == leader.id && !line.is_closed()).map(|(_, line)| line)
        };
        if let Some(line) = known() {
            return Ok(line);
        }
        let _opening = self.opening.lock().await;
        if let Some(line) = known() {
            return Ok(line);
        }
        let address: Arc<str> = format!("{}:{}", leader.host, leader.port).into();
        let timeout = Duration::from_secs(1);
        let stream = tokio::select! {
            stream = self.doors.transport.connect(&leader.host, leader.port) => {
                stream.map_err(|cause| ClientError::disconnected(&address, cause.to_string()))?
            }
            () = self.doors.clock.sleep(timeout) => {
                return Err(ClientError::timeout(format!("connecting to {address}"), timeout).into());
            }
        };
        let line = Line::open(&self.doors, stream, address, options).await?;
        *self.line.lock() = Some((leader.id, line.clone()));
        Ok(line)
    }

    fn next(&self) -> Option<Voter> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.others.get(turn % self.others.len().max(1)).cloned()
    }
}

/// Why the active controller did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nobody leads, as far as this node knows.
    #[error("no controller leads the quorum now")]
    NoController,
    /// It cannot be reached, or went before it answered.
    #[error(transparent)]
    Line(#[from] ClientError),
    /// Its reply makes no sense, or this broker's own does.
    #[error("{0}")]
    Reply(String),
}

impl Broker {
    /// Answers a client's request as the active controller; `None` where this node turned out not to lead.
    pub(crate) async fn answer_as_controller(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        frame: Bytes,
    ) -> Option<Reply> {
        if !self.is_active_controller() {
            return None;
        }
        let answering = async {
            let reply = handlers::answer(self, connection, frame).await;
            (!LEADS_NOT.with(Cell::get)).then_some(reply)
        };
        LEADS_NOT.scope(Cell::new(false), answering).await
    }

    /// Notes that a change was refused because this node does not lead, for who answers a request with that.
    pub(super) fn note_refusal(refusal: &Refusal) {
        if refusal.code == ErrorCode::NOT_CONTROLLER {
            // Of what the broker changes by itself nobody waits for an answer.
            let _ = LEADS_NOT.try_with(|leads_not| leads_not.set(true));
        }
    }

    /// Whether this node is the active controller.
    pub(crate) fn is_active_controller(&self) -> bool {
        self.controller.leader().borrow().is_us
    }

    /// Asks whoever is the active controller now, once.
    pub(crate) async fn try_controller<R: Request>(
        self: &Arc<Self>,
        request: &R,
        within: Duration,
    ) -> Result<R::Response, Unanswered> {
        let leadership = self.controller.leader().borrow().clone();
        if leadership.is_us {
            return self.ask_self(request).await;
        }
        let leader = leadership.leader.or_else(|| self.to_controller.next()).ok_or(Unanswered::NoController)?;
        let asking = async {
            let line = self.line_to(&leader).await?;
            Ok(line.call_at(request, line.version(R::KEY)?, within).await?)
        };
        tokio::select! {
            answered = asking => answered,
            // One that hangs, or is cut off, would be waited for long after another one leads.
            () = self.until_led_by_another(leader.id) => Err(Unanswered::NoController),
        }
    }

    /// Ends when another node than `id` is known to lead.
    async fn until_led_by_another(&self, id: NodeId) {
        let mut leader = self.controller.leader();
        let other = |known: &Leadership| known.is_us || known.leader.as_ref().is_some_and(|leader| leader.id != id);
        if leader.wait_for(other).await.is_err() {
            // The controller is closed: whoever asks ends by its own.
            std::future::pending::<()>().await;
        }
    }

    /// Asks the active controller, again and again until one that leads has answered: `is_refused` tells of a reply whether
    /// it came from one that does not.
    ///
    /// # Errors
    /// REQUEST_TIMED_OUT after `request.timeout.ms`; NOT_CONTROLLER when this broker stops.
    pub(crate) async fn ask_controller<R: Request>(
        self: &Arc<Self>,
        request: &R,
        is_refused: impl Fn(&R::Response) -> bool,
    ) -> Result<R::Response, ErrorCode> {
        let within = self.controller_timeout();
        let asking = async {
            loop {
                match self.try_controller(request, within).await {
                    Ok(response) if !is_refused(&response) => return response,
                    Ok(_) => {}
                    Err(reason) => tracing::debug!(api = %R::KEY, %reason, "the controller did not answer"),
                }
                self.rest().await;
            }
        };
        tokio::select! {
            response = asking => Ok(response),
            () = self.socket_clock.sleep(within) => Err(ErrorCode::REQUEST_TIMED_OUT),
            () = self.shutdown.begun() => Err(ErrorCode::NOT_CONTROLLER),
        }
    }

    /// Hands a client's request on to the active controller, and gives back its reply as it came.
    pub(super) async fn forward(self: Arc<Self>, connection: Arc<Connection>, frame: Bytes) -> Reply {
        let within = self.controller_timeout();
        let address = match connection.peer.ip() {
            std::net::IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
            std::net::IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
        };
        let envelope =
            EnvelopeRequest { request_data: frame.clone(), request_principal: None, client_host_address: address };
        let forwarding = async {
            loop {
                if let Some(reply) = self.answer_as_controller(&connection, frame.clone()).await {
                    return reply;
                }
                match self.try_controller(&envelope, within).await {
                    Ok(response) => match (response.error_code, response.response_data) {
                        (ErrorCode::NONE, Some(reply)) => return Reply::Send(Frame::sized(reply)),
                        (ErrorCode::NOT_CONTROLLER, _) => {}
                        (code, _) => return Reply::Close(format!("the controller refused a request: {code}")),
                    },
                    Err(reason) => tracing::debug!(%reason, "the controller did not take a client's request"),
                }
                self.rest().await;
            }
        };
        tokio::select! {
            reply = forwarding => reply,
            () = self.socket_clock.sleep(within) => Reply::Close("no controller answered within request.timeout.ms".into()),
            () = self.shutdown.begun() => Reply::Close("the broker stops".to_owned()),
        }
    }

    /// Asks this node itself, by the way that others come.
    async fn ask_self<R: Request>(self: &Arc<Self>, request: &R) -> Result<R::Response, Unanswered> {
        let version = R::KEY.spec().served.max;
        let frame = encode_request(request, version, 0, Some(&Str::from_static("broker")));
        let frame = frame.map_err(|error| Unanswered::Reply(error.to_string()))?.into_bytes();
        let reply = handlers::answer(self, &self.connect_self(), frame.slice(SIZE..)).await;
        match reply {
            Reply::Send(frame) => decode_response::<R>(frame.into_bytes().slice(SIZE..), version)
                .map(|(_, response)| response)
                .map_err(|error| Unanswered::Reply(error.to_string())),
            Reply::Nothing => Err(Unanswered::Reply(format!("{} has no reply", R::KEY))),
            Reply::Close(reason) => Err(Unanswered::Reply(reason)),
        }
    }

    async fn line_to(&self, leader: &Voter) -> Result<Arc<Line>, Unanswered> {
        let options = ConnectionOptions {
            client_id: Str::from(format!("broker-{}", self.node.id)),
            request_timeout: self.controller_timeout(),
            max_idle: None,
        };
        self.to_controller.line_to(leader, options).await
    }

    /// Until the next try is of use.
    async fn rest(&self) {
        let mut leader = self.controller.leader();
        leader.mark_unchanged();
        tokio::select! {
            () = self.socket_clock.sleep(REST) => {}
            // An error means that the controller is closed: the broker stops.
            _ = leader.changed() => {}
        }
    }

    fn controller_timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.values().get(key::REQUEST_TIMEOUT_MS)).unwrap_or(0))
    }
}

/// How many bytes the size before a frame takes.
const SIZE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{FakeBroker, doors};
    use crate::common::ids::Uuid;

    #[tokio::test]
    async fn requests_at_once_share_one_connection() {
        let controller = FakeBroker::new(1);
        let to_controller = ToController::new(doors(&controller).0, Vec::new());
        let leader = Voter { id: 1, directory_id: Uuid::ZERO, host: "fake".to_owned(), port: 9093 };
        let open = || {
            let options = ConnectionOptions {
                client_id: "broker-2".into(),
                request_timeout: Duration::from_secs(30),
                max_idle: None,
            };
            to_controller.line_to(&leader, options)
        };
        let (one, other) = tokio::join!(open(), open());
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert!(Arc::ptr_eq(&open().await.unwrap(), &open().await.unwrap()));
        assert_eq!(controller.connects.load(Ordering::SeqCst), 1);
    }
}
