//! The transport: the only way to listen and to connect.
//!
//! [`Tcp`] is the real one. A simulator or an in-process client gives its own; nothing above can tell.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug + 'static> Stream for T {}

/// A connection of whatever kind the transport makes.
pub type BoxStream = Box<dyn Stream>;

/// A result that is still under way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Listens and connects.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Binds `host:port` (port 0: any free one; an empty host: every address).
    fn bind<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, Box<dyn Listener>>;
    /// Connects to `host:port`.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, BoxStream>;
}

/// A transport that several rooms share.
pub type SharedTransport = Arc<dyn Transport>;

/// Accepts connections.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The address that was bound, with the real port.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// How many bytes the system may keep of what a connection that comes from now on was sent and has not taken;
    /// without it, as many as it likes.
    fn limit_send_buffer(&self, bytes: usize) -> io::Result<()>;
    /// The next connection and where it comes from.
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)>;
}

/// TCP, with Nagle's algorithm off.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tcp;

impl Tcp {
    /// TCP, to be shared.
    pub fn shared() -> SharedTransport {
        Arc::new(Tcp)
    }
}

impl Transport for Tcp {
    fn bind<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = match host {
                // One socket for both families, where the machine has the newer one.
                "" => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?
                    }
                    bound => bound?,
                },
                host => TcpListener::bind((host, port)).await?,
            };
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Pending<'a, BoxStream> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }

    fn limit_send_buffer(&self, bytes: usize) -> io::Result<()> {
        // What is accepted inherits it.
        Ok(rustix::net::sockopt::set_socket_send_buffer_size(self, bytes)?)
    }

    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)> {
        Box::pin(async move {
            let (stream, mut peer) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            // On a socket for both families an address of the older one comes in the clothes of the newer.
            peer.set_ip(peer.ip().to_canonical());
            Ok((Box::new(stream) as BoxStream, peer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_host_is_every_address() {
        let listener = Tcp.bind("", 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = Tcp.connect("127.0.0.1", port).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(Tcp.bind("", port).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn the_send_buffer_of_what_is_accepted_is_limited() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.limit_send_buffer(50_000).unwrap();
        let _client = Tcp.connect("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        let (stream, _) = TcpListener::accept(&listener).await.unwrap();
        // The system counts its own bookkeeping in, for which it doubles what it was told.
        assert_eq!(rustix::net::sockopt::socket_send_buffer_size(&stream).unwrap(), 100_000);
    }
}
