//! One connection to one broker: requests go out as they come, replies come back in the same order.
//!
//! One task owns the stream. It writes what callers put into a queue and reads replies, each of which belongs to the
//! oldest request that has none yet. A caller may give up at any time; its reply is then read and dropped. When the
//! stream ends, or a reply is late, the whole connection ends and every caller is told.
//!
//! The first exchange is ApiVersions. A broker that refuses its version answers in version 0 and says which it speaks;
//! the exchange is repeated in that one. Each later request goes out in the highest version that both know.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::common::buffer::BufferPool;
use crate::common::transport::BoxStream;
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{ApiKey, ErrorCode, Frame, Request, Str, Versions, decode_response, encode_request};

use super::Doors;
use super::error::{ClientError, Result};

/// The largest response that is read: far above what any request here asks for.
const MAX_RESPONSE: usize = 1 << 30;
/// What is allocated on the strength of a response's size alone; past it the buffer grows with what arrives.
const TRUSTED_RESPONSE: usize = 16 << 20;
/// From this size on a response gets a buffer of its own, which is used again once nobody holds a slice of it.
const POOLED_FROM: usize = 64 << 10;
/// How many bytes of such buffers are kept while nobody uses them.
const POOL: usize = 4 << 20;
/// How much is read at once when no response is under way.
const READ_AHEAD: usize = 64 << 10;

/// What a connection needs to know besides its stream.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// `client.id`
    pub client_id: Str,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `connections.max.idle.ms`; `None`: never closed.
    pub max_idle: Option<Duration>,
}

/// A connection to one broker; ends when it is dropped.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    versions: OnceLock<Vec<(ApiKey, Versions)>>,
    correlation: AtomicI32,
    options: ConnectionOptions,
    doors: Doors,
}

#[derive(Debug)]
struct Shared {
    address: Arc<str>,
    closed: AtomicBool,
    close: Notify,
    cause: Mutex<Option<Arc<str>>>,
    in_flight: AtomicUsize,
    /// Milliseconds on the monotonic clock.
    last_used: AtomicU64,
}

struct Outgoing {
    frame: Frame,
    correlation: i32,
    reply: Option<oneshot::Sender<Bytes>>,
}

type Waiting = Mutex<VecDeque<(i32, oneshot::Sender<Bytes>)>>;

impl Connection {
    /// Takes over a stream to `address` and asks the broker for its versions.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`], [`ClientError::Timeout`], or a broker that does not speak ApiVersions.
    pub async fn open(
        doors: &Doors,
        stream: BoxStream,
        address: Arc<str>,
        options: ConnectionOptions,
    ) -> Result<Arc<Connection>> {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            address,
            closed: AtomicBool::new(false),
            close: Notify::new(),
            cause: Mutex::new(None),
            in_flight: AtomicUsize::new(0),
            last_used: AtomicU64::new(doors.clock.monotonic().as_millis() as u64),
        });
        doors.runtime.spawn(run(shared.clone(), stream, queue, doors.clone(), options.max_idle));
        let connection = Connection {
            shared,
            outgoing,
            versions: OnceLock::new(),
            correlation: AtomicI32::new(0),
            options,
            doors: doors.clone(),
        };
        let versions = connection.negotiate().await?;
        let _ = connection.versions.set(versions);
        Ok(Arc::new(connection))
    }

    async fn negotiate(&self) -> Result<Vec<(ApiKey, Versions)>> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("strandline"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        };
        let newest = ApiKey::ApiVersions.spec().served.max;
        let (mut version, mut response) = (newest, self.api_versions(&request, newest).await?);
        if response.error_code == ErrorCode::UNSUPPORTED_VERSION {
            let spoken = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16);
            version = spoken.map_or(0, |api| api.max_version.min(newest)).max(0);
            response = self.api_versions(&request, version).await?;
        }
        if response.error_code != ErrorCode::NONE {
            let context = format!("ApiVersions {version} to {}", self.shared.address);
            return Err(ClientError::kafka(response.error_code, context));
        }
        let versions = response
            .api_keys
            .iter()
            .filter_map(|api| Some((ApiKey::from_i16(api.api_key)?, Versions::new(api.min_version, api.max_version))));
        Ok(versions.collect())
    }

    async fn api_versions(&self, request: &ApiVersionsRequest, version: i16) -> Result<ApiVersionsResponse> {
        let frame = self.exchange(request, version, self.options.request_timeout).await?;
        // The error code comes first behind the correlation id, and with it the response is in version 0.
        let code = frame.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]));
        let refused = code == Some(ErrorCode::UNSUPPORTED_VERSION.code());
        self.decode::<ApiVersionsRequest>(frame, if refused { 0 } else { version })
    }

    /// host:port
    pub fn address(&self) -> &Arc<str> {
        &self.shared.address
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Ends the connection; those who wait for a reply are told `cause`.
    pub fn close(&self, cause: &str) {
        self.shared.fail(cause);
    }

    /// How many requests have no reply yet.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// The highest version of `api` that both ends know.
    ///
    /// # Errors
    /// [`ClientError::UnsupportedVersion`] if there is none.
    pub fn version(&self, api: ApiKey) -> Result<i16> {
        let ours = api.spec().served;
        let theirs = self.versions.get().and_then(|all| all.iter().find(|(known, _)| *known == api));
        if let Some((_, theirs)) = theirs {
            let version = ours.max.min(theirs.max);
            if version >= ours.min && version >= theirs.min {
                return Ok(version);
            }
        }
        Err(ClientError::UnsupportedVersion {
            address: self.shared.address.clone(),
            api,
            broker: theirs.map_or_else(|| "none".to_owned(), |(_, theirs)| theirs.to_string()),
            client: ours.to_string(),
        })
    }

    /// As [`Connection::version`], and not above `most`.
    ///
    /// # Errors
    /// As [`Connection::version`].
    pub fn version_up_to(&self, api: ApiKey, most: i16) -> Result<i16> {
        Ok(self.version(api)?.min(most))
    }

    /// Asks in the highest version that both know.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`], [`ClientError::Timeout`] (which ends the connection), or what a codec refuses.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response> {
        self.call_at(request, self.version(R::KEY)?, self.options.request_timeout).await
    }

    /// Asks in `version`, and waits for `timeout`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_at<R: Request>(&self, request: &R, version: i16, timeout: Duration) -> Result<R::Response> {
        let frame = self.exchange(request, version, timeout).await?;
        self.decode::<R>(frame, version)
    }

    /// Sends a request that has no reply (Produce with `acks` 0), and ends once it is queued.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`], or what the codec refuses.
    pub fn tell<R: Request>(&self, request: &R, version: i16) -> Result<()> {
        self.post(request, version, None)
    }

    /// Queues a request and returns its reply, to be waited for. Requests leave in the order of these calls.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`], or what the codec refuses.
    pub fn start<R: Request>(self: &Arc<Self>, request: &R, version: i16) -> Result<Reply<R>> {
        let (sender, receiver) = oneshot::channel();
        self.post(request, version, Some(sender))?;
        Ok(Reply { connection: self.clone(), receiver, version, request: PhantomData })
    }

    async fn exchange<R: Request>(&self, request: &R, version: i16, timeout: Duration) -> Result<Bytes> {
        let (sender, receiver) = oneshot::channel();
        self.post(request, version, Some(sender))?;
        self.reply::<R>(receiver, timeout).await
    }

    async fn reply<R: Request>(&self, receiver: oneshot::Receiver<Bytes>, timeout: Duration) -> Result<Bytes> {
        tokio::select! {
            biased;
            reply = receiver => reply.map_err(|_| self.gone()),
            () = self.doors.clock.sleep(timeout) => {
                // Replies come in order, so all behind this one are late too.
                self.close(&format!("{} took longer than {} ms", R::KEY, timeout.as_millis()));
                Err(ClientError::timeout(format!("{} to {}", R::KEY, self.shared.address), timeout))
            }
        }
    }

    fn post<R: Request>(&self, request: &R, version: i16, reply: Option<oneshot::Sender<Bytes>>) -> Result<()> {
        if self.is_closed() {
            return Err(self.gone());
        }
        let correlation = self.correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = encode_request(request, version, correlation, Some(&self.options.client_id))?;
        self.shared.touch(&self.doors);
        self.outgoing.send(Outgoing { frame, correlation, reply }).map_err(|_| self.gone())
    }

    fn decode<R: Request>(&self, frame: Bytes, version: i16) -> Result<R::Response> {
        let response = decode_response::<R>(frame, version);
        response
            .map(|(_, response)| response)
            .map_err(|cause| ClientError::Response { address: self.shared.address.clone(), cause })
    }

    fn gone(&self) -> ClientError {
        let cause = self.shared.cause.lock().clone().unwrap_or_else(|| "it was closed".into());
        ClientError::disconnected(&self.shared.address, cause)
    }
}

/// A reply that is under way; see [`Connection::start`].
#[derive(Debug)]
pub struct Reply<R> {
    connection: Arc<Connection>,
    receiver: oneshot::Receiver<Bytes>,
    version: i16,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Reply<R> {
    /// Waits for the reply, for up to `timeout`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn wait(self, timeout: Duration) -> Result<R::Response> {
        let frame = self.connection.reply::<R>(self.receiver, timeout).await?;
        self.connection.decode::<R>(frame, self.version)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.fail("the client closed it");
    }
}

impl Shared {
    fn fail(&self, cause: &str) {
        self.cause.lock().get_or_insert_with(|| cause.into());
        self.closed.store(true, Ordering::Release);
        // Stores a permit, so the task sees it even if it is not waiting now.
        self.close.notify_one();
    }

    fn touch(&self, doors: &Doors) {
        self.last_used.store(doors.clock.monotonic().as_millis() as u64, Ordering::Relaxed);
    }
}

async fn run(
    shared: Arc<Shared>,
    stream: BoxStream,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    doors: Doors,
    max_idle: Option<Duration>,
) {
    let waiting = Waiting::default();
    let (reader, writer) = tokio::io::split(stream);
    let cause = tokio::select! {
        cause = read(reader, &shared, &waiting, &doors) => cause.to_string(),
        cause = write(writer, &shared, &waiting, queue) => cause.map_or_else(|e| e.to_string(), |()| "it was closed".into()),
        () = idle(&shared, &doors, max_idle) => "it was idle for connections.max.idle.ms".to_owned(),
        () = shared.close.notified() => "it was closed".to_owned(),
    };
    tracing::debug!(address = %shared.address, cause, "connection closed");
    shared.fail(&cause);
    shared.in_flight.store(0, Ordering::Relaxed);
    // Dropping the senders in `waiting` and in the queue tells every caller.
}

async fn write(
    mut writer: impl AsyncWriteExt + Unpin,
    shared: &Shared,
    waiting: &Waiting,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
) -> io::Result<()> {
    while let Some(Outgoing { mut frame, correlation, reply }) = queue.recv().await {
        if let Some(reply) = reply {
            waiting.lock().push_back((correlation, reply));
            shared.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        writer.write_all_buf(&mut frame).await?;
        if queue.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}

/// Reads replies until that fails, and says why it did.
async fn read(mut reader: impl AsyncReadExt + Unpin, shared: &Shared, waiting: &Waiting, doors: &Doors) -> io::Error {
    let mut buffer = BytesMut::with_capacity(READ_AHEAD);
    let pool = BufferPool::new(POOL);
    loop {
        let frame = match read_frame(&mut reader, &mut buffer, &pool).await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        shared.touch(doors);
        let Some((expected, reply)) = waiting.lock().pop_front() else {
            return io::Error::new(io::ErrorKind::InvalidData, "the broker sent a response that nobody asked for");
        };
        shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        let correlation = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
        if correlation != Some(expected) {
            let text = format!("the broker answered request {correlation:?} where {expected} was due");
            return io::Error::new(io::ErrorKind::InvalidData, text);
        }
        // Nobody may be waiting any more.
        let _ = reply.send(frame);
    }
}

async fn read_frame(
    reader: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut BytesMut,
    pool: &BufferPool,
) -> io::Result<Bytes> {
    let size = loop {
        if let Some(size) = buffer.first_chunk() {
            break i32::from_be_bytes(*size);
        }
        buffer.reserve(READ_AHEAD);
        read_some(reader, buffer).await?;
    };
    let size = usize::try_from(size).ok().filter(|size| *size <= MAX_RESPONSE).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the broker says that its response has {size} bytes"))
    })?;
    if (POOLED_FROM..=TRUSTED_RESPONSE).contains(&size) {
        let mut whole = pool.take(4 + size)?;
        let mut filled = buffer.len().min(4 + size);
        whole.bytes_mut()[..filled].copy_from_slice(&buffer[..filled]);
        buffer.advance(filled);
        while filled < 4 + size {
            match reader.read(&mut whole.bytes_mut()[filled..]).await? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed it")),
                read => filled += read,
            }
        }
        return Ok(whole.freeze().slice(4..));
    }
    while buffer.len() < 4 + size {
        let missing = 4 + size - buffer.len();
        if buffer.capacity() == buffer.len() || missing <= TRUSTED_RESPONSE {
            buffer.reserve(missing.min(TRUSTED_RESPONSE));
        }
        read_some(reader, buffer).await?;
    }
    let mut frame = buffer.split_to(4 + size).freeze();
    Ok(frame.split_off(4))
}

async fn read_some(reader: &mut (impl AsyncReadExt + Unpin), buffer: &mut BytesMut) -> io::Result<()> {
    match reader.read_buf(buffer).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed it")),
        _ => Ok(()),
    }
}

/// Ends when the connection was not used for `max_idle`.
async fn idle(shared: &Shared, doors: &Doors, max_idle: Option<Duration>) {
    let Some(max_idle) = max_idle else { return std::future::pending().await };
    loop {
        let used = Duration::from_millis(shared.last_used.load(Ordering::Relaxed));
        let left = (used + max_idle).saturating_sub(doors.clock.monotonic());
        if left.is_zero() && shared.in_flight.load(Ordering::Relaxed) == 0 {
            return;
        }
        doors.clock.sleep(left.max(Duration::from_millis(100))).await;
    }
}

#[cfg(test)]
mod tests;
