//! Frames off a socket: a length of four bytes, then that many bytes of request.
//!
//! ```text
//! 0        4                      4+n
//! +--------+------ - - - ---------+--------+--- - -
//! | n: i32 | one request          | n: i32 | the next
//! +--------+------ - - - ---------+--------+--- - -
//! ```
//!
//! The first read of a frame goes to a page on the stack, since most requests are small and many may wait in the socket
//! at once. Only when the length is known, and allowed, is a buffer of just that size taken, and the rest of a large
//! frame is read straight into it. So an idle connection holds no buffer, and a hostile length costs nothing.
//!
//! Where `queued.max.request.bytes` limits what the requests of all connections may hold together, a frame first waits
//! for its share of that, in the order in which frames came, and its connection is not read meanwhile. The share is given
//! back when the last slice of the frame is dropped: with the reply at the latest.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::common::buffer::{Buffer, BufferPool};

/// How much the first read of a frame takes at most: one page.
const SCRATCH: usize = 4096;
/// The length before each request.
const PREFIX: usize = 4;

/// Why a connection's next frame cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed, or the network failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The length is negative or over the limit.
    #[error("a request of {length} bytes: it must be from 0 to {limit} (socket.request.max.bytes)")]
    Length {
        /// What the frame said.
        length: i32,
        /// What is allowed.
        limit: usize,
    },
    /// The other side closed in the middle of a frame.
    #[error("the connection ended {missing} bytes before the end of a request")]
    Truncated {
        /// What had still to come.
        missing: usize,
    },
}

/// Where the frames of all connections get their memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Intake {
    pool: BufferPool,
    limit: usize,
    /// What all frames together may still take, and what that was at first.
    budget: Option<(Arc<Semaphore>, usize)>,
}

impl Intake {
    /// Refuses frames of more than `limit` bytes, takes their buffers from `pool`, and lets all of them together have
    /// `budget` bytes at a time.
    pub fn new(pool: BufferPool, limit: usize, budget: Option<usize>) -> Intake {
        let budget = budget.map(|bytes| bytes.min(Semaphore::MAX_PERMITS));
        Intake { pool, limit, budget: budget.map(|bytes| (Arc::new(Semaphore::new(bytes)), bytes)) }
    }

    /// The wait for the share of a frame of `length` bytes; `None` where there is no limit.
    fn share(&self, length: usize) -> Option<Share> {
        let (budget, all) = self.budget.as_ref()?;
        // One that is larger than all there is gets all there is: else it would wait for ever.
        let bytes = u32::try_from(length.min(*all)).unwrap_or(u32::MAX);
        Some(Share(Box::pin(budget.clone().acquire_many_owned(bytes))))
    }
}

/// A share of the budget that is waited for.
struct Share(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>);

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share")
    }
}

/// A frame with its share of the budget.
struct Charged {
    frame: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// A frame that is being filled.
#[derive(Debug)]
struct Body {
    buffer: Buffer,
    filled: usize,
    share: Option<OwnedSemaphorePermit>,
}

/// Cuts what a connection sends into frames. Dropping a [`FrameReader::next`] half way loses nothing.
#[derive(Debug)]
pub struct FrameReader {
    intake: Intake,
    /// Bytes that were read and belong to no frame yet.
    stash: BytesMut,
    /// What the next frame waits for.
    share: Option<Share>,
    body: Option<Body>,
}

impl FrameReader {
    /// A reader whose frames come out of `intake`.
    pub fn new(intake: Intake) -> FrameReader {
        FrameReader { intake, stash: BytesMut::new(), share: None, body: None }
    }

    /// The next whole request without its length, or `None` where the other side closed between two.
    pub async fn next<S: AsyncRead + Unpin + ?Sized>(&mut self, stream: &mut S) -> Result<Option<Bytes>, FrameError> {
        poll_fn(|context| self.poll_next(Pin::new(&mut *stream), context)).await
    }

    fn poll_next<S: AsyncRead + ?Sized>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            if let Some(Body { buffer, filled, .. }) = &mut self.body {
                let mut rest = ReadBuf::new(&mut buffer.bytes_mut()[*filled..]);
                if rest.capacity() > 0 {
                    ready!(stream.as_mut().poll_read(context, &mut rest))?;
                    let read = rest.filled().len();
                    if read == 0 {
                        return Poll::Ready(Err(FrameError::Truncated { missing: buffer.len() - *filled }));
                    }
                    *filled += read;
                }
                if *filled == buffer.len()
                    && let Some(Body { buffer, share, .. }) = self.body.take()
                {
                    let frame = buffer.freeze();
                    let frame = match share {
                        Some(share) => Bytes::from_owner(Charged { frame, _share: share }),
                        None => frame,
                    };
                    return Poll::Ready(Ok(Some(frame.slice(PREFIX..))));
                }
                continue;
            }
            if ready!(self.poll_begin(context))? {
                continue;
            }
            let mut scratch = [0u8; SCRATCH];
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(stream.as_mut().poll_read(context, &mut scratch))?;
            match (scratch.filled(), self.stash.len()) {
                ([], 0) => return Poll::Ready(Ok(None)),
                ([], some) => return Poll::Ready(Err(FrameError::Truncated { missing: PREFIX - some })),
                (read, _) => self.stash.extend_from_slice(read),
            }
        }
    }

    /// Takes a buffer for the frame whose length lies in the stash, and moves there what came of it.
    fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, FrameError>> {
        let Some(prefix) = self.stash.first_chunk::<PREFIX>() else {
            return Poll::Ready(Ok(false));
        };
        let length = i32::from_be_bytes(*prefix);
        let limit = self.intake.limit;
        let whole = match usize::try_from(length) {
            Ok(length) if length <= limit => PREFIX + length,
            _ => return Poll::Ready(Err(FrameError::Length { length, limit })),
        };
        if self.share.is_none() {
            self.share = self.intake.share(whole - PREFIX);
        }
        let share = match &mut self.share {
            // The semaphore is never closed.
            Some(share) => ready!(share.0.as_mut().poll(context)).ok(),
            None => None,
        };
        self.share = None;
        let mut buffer = self.intake.pool.take(whole)?;
        let filled = whole.min(self.stash.len());
        buffer.bytes_mut()[..filled].copy_from_slice(&self.stash[..filled]);
        self.stash.advance(filled);
        if self.stash.is_empty() {
            // An idle connection holds no buffer.
            self.stash = BytesMut::new();
        }
        self.body = Some(Body { buffer, filled, share });
        Poll::Ready(Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn reader() -> FrameReader {
        FrameReader::new(Intake::new(BufferPool::new(1 << 20), 1 << 20, None))
    }

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        bodies.iter().flat_map(|body| [&(body.len() as i32).to_be_bytes()[..], body].concat()).collect()
    }

    async fn all(reader: &mut FrameReader, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut bytes).await? {
            frames.push(frame.to_vec());
        }
        Ok(frames)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_come_out_as_they_went_in(sizes in prop::collection::vec(0usize..100_000, 0..8), chunk in 1usize..70_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![(size % 251) as u8; *size]).collect();
            let bytes = framed(&bodies);
            let frames = runtime.block_on(async {
                let (mut near, mut far) = tokio::io::duplex(chunk);
                let writer = async {
                    tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await.unwrap();
                    drop(far);
                };
                let mut reader = reader();
                let reading = async {
                    let mut frames = Vec::new();
                    while let Some(frame) = reader.next(&mut near).await.unwrap() {
                        frames.push(frame.to_vec());
                    }
                    frames
                };
                tokio::join!(writer, reading).1
            });
            prop_assert_eq!(frames, bodies);
        }
    }

    #[tokio::test]
    async fn a_hostile_length_is_refused_before_it_costs() {
        for length in [-1, i32::MIN, i32::MAX, (1 << 20) + 1] {
            let error = all(&mut reader(), &length.to_be_bytes()).await.unwrap_err();
            assert!(matches!(error, FrameError::Length { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn an_end_within_a_frame_tells_what_is_missing() {
        let bytes = framed(&[vec![1; 10]]);
        let error = all(&mut reader(), &bytes[..9]).await.unwrap_err();
        assert!(matches!(error, FrameError::Truncated { missing: 5 }), "{error}");
        let error = all(&mut reader(), &bytes[..3]).await.unwrap_err();
        assert!(matches!(error, FrameError::Truncated { missing: 1 }), "{error}");
    }

    #[tokio::test]
    async fn a_reader_at_rest_holds_no_buffer() {
        let mut reader = reader();
        assert_eq!(all(&mut reader, &framed(&[vec![1; 9], vec![2; 9]])).await.unwrap().len(), 2);
        assert_eq!((reader.stash.capacity(), reader.body.is_none()), (0, true));
    }

    #[tokio::test]
    async fn a_frame_waits_for_its_share_and_gives_it_back_with_its_last_slice() {
        let intake = Intake::new(BufferPool::new(1 << 20), 1 << 20, Some(100));
        let mut readers = [(); 3].map(|()| FrameReader::new(intake.clone()));
        let bytes = [60, 60, 1000].map(|size| framed(&[vec![7; size]]));
        let first = readers[0].next(&mut &bytes[0][..]).await.unwrap().unwrap();
        let kept = first.slice(59..);
        drop(first);
        {
            let [_, second, _] = &mut readers;
            let mut stream = &bytes[1][..];
            assert!(second.next(&mut stream).now_or_never().is_none(), "60 of 100 are taken");
            drop(kept);
            // What was read before the wait is not lost.
            drop(second.next(&mut stream).await.unwrap().unwrap());
        }
        // One that is larger than all there is comes alone.
        let large = readers[2].next(&mut &bytes[2][..]).await.unwrap().unwrap();
        assert_eq!(large.len(), 1000);
        assert!(readers[0].next(&mut &bytes[0][..]).now_or_never().is_none());
    }
}
