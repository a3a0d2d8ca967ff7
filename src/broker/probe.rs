//! Whether it is certain that a process has ended which listened somewhere: its machine says that nobody listens there.
//!
//! A process that is about to end may still be connected to, for its listener is among the last things that are closed
//! (Linux closes what was opened last first); it hangs up without a word then, or while the connection is made (a reset), and
//! is asked again. One that stands still is connected to and says nothing: it lives.

use std::io;
use std::time::Duration;

use crate::client::connection::{Connection, ConnectionOptions};
use crate::client::{ClientError, Doors};
use crate::protocol::Str;

/// How long somebody who listens may take to say so.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long after it hung up it is asked again.
const REST: Duration = Duration::from_millis(20);
/// What the asker calls itself, as `client.id`.
const NAME: Str = Str::from_static("controller-probe");

/// Whether nobody listens at `host:port` any more. Where that is not certain: `false`.
pub(super) async fn is_gone(doors: &Doors, host: &str, port: u16) -> bool {
    let asking = async {
        loop {
            match doors.transport.connect(host, port).await {
                Err(cause) => match cause.kind() {
                    io::ErrorKind::ConnectionRefused => return true,
                    io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => doors.clock.sleep(REST).await,
                    _ => return false,
                },
                Ok(stream) => {
                    let address = format!("{host}:{port}").into();
                    let options = ConnectionOptions { client_id: NAME, request_timeout: PATIENCE, max_idle: None };
                    match Connection::open(doors, stream, address, options).await {
                        Err(ClientError::Disconnected { .. }) => doors.clock.sleep(REST).await,
                        _ => return false,
                    }
                }
            }
        }
    };
    tokio::select! {
        gone = asking => gone,
        () = doors.clock.sleep(PATIENCE) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::common::clock::ManualClock;
    use crate::common::transport::{BoxStream, Listener, Pending, Transport};

    /// What each attempt to connect comes to; the last one again and again.
    #[derive(Debug, Clone, Copy)]
    enum Found {
        Refused,
        Resets,
        HangsUp,
        Silent,
        Unreachable,
    }

    #[derive(Debug)]
    struct Machine {
        left: Mutex<Vec<Found>>,
        /// The far ends of those that are silent.
        held: Mutex<Vec<tokio::io::DuplexStream>>,
    }

    impl Transport for Machine {
        fn bind<'a>(&'a self, _: &'a str, _: u16) -> Pending<'a, Box<dyn Listener>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }

        fn connect<'a>(&'a self, _: &'a str, _: u16) -> Pending<'a, BoxStream> {
            let mut left = self.left.lock();
            let found = if left.len() > 1 { left.remove(0) } else { left[0] };
            let (near, far) = tokio::io::duplex(1 << 10);
            if matches!(found, Found::Silent) {
                self.held.lock().push(far);
            }
            Box::pin(async move {
                match found {
                    Found::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
                    Found::Resets => Err(io::ErrorKind::ConnectionReset.into()),
                    Found::Unreachable => Err(io::ErrorKind::HostUnreachable.into()),
                    Found::HangsUp | Found::Silent => Ok(Box::new(near) as BoxStream),
                }
            })
        }
    }

    async fn look(found: &[Found]) -> bool {
        let clock = ManualClock::new(0);
        let transport = Arc::new(Machine { left: Mutex::new(found.to_vec()), held: Mutex::default() });
        let doors = Doors { transport, clock: clock.clone(), runtime: tokio::runtime::Handle::current() };
        let mut looking = std::pin::pin!(is_gone(&doors, "fake", 9092));
        loop {
            tokio::select! {
                biased;
                gone = &mut looking => return gone,
                () = async { for _ in 0..50 { tokio::task::yield_now().await } } => clock.advance(REST),
            }
        }
    }

    #[tokio::test]
    async fn only_who_is_refused_is_certain() {
        assert!(look(&[Found::Refused]).await);
        assert!(look(&[Found::HangsUp, Found::Resets, Found::HangsUp, Found::Refused]).await);
        assert!(!look(&[Found::Resets]).await);
        assert!(!look(&[Found::HangsUp]).await);
        assert!(!look(&[Found::Silent]).await);
        assert!(!look(&[Found::Unreachable]).await);
    }
}
