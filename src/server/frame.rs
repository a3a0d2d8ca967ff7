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

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

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

/// Cuts what a connection sends into frames. Dropping a [`FrameReader::next`] half way loses nothing.
#[derive(Debug)]
pub struct FrameReader {
    pool: BufferPool,
    limit: usize,
    /// Bytes that were read and belong to no frame yet.
    stash: BytesMut,
    /// The frame that is being filled, and how far.
    body: Option<(Buffer, usize)>,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes and takes its buffers from `pool`.
    pub fn new(pool: BufferPool, limit: usize) -> FrameReader {
        FrameReader { pool, limit, stash: BytesMut::new(), body: None }
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
            if let Some((buffer, filled)) = &mut self.body {
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
                    && let Some((buffer, _)) = self.body.take()
                {
                    return Poll::Ready(Ok(Some(buffer.freeze().slice(PREFIX..))));
                }
                continue;
            }
            if self.begin_frame()? {
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
    fn begin_frame(&mut self) -> Result<bool, FrameError> {
        let Some(prefix) = self.stash.first_chunk::<PREFIX>() else {
            return Ok(false);
        };
        let length = i32::from_be_bytes(*prefix);
        let whole = match usize::try_from(length) {
            Ok(length) if length <= self.limit => PREFIX + length,
            _ => return Err(FrameError::Length { length, limit: self.limit }),
        };
        let mut buffer = self.pool.take(whole)?;
        let filled = whole.min(self.stash.len());
        buffer.bytes_mut()[..filled].copy_from_slice(&self.stash[..filled]);
        self.stash.advance(filled);
        if self.stash.is_empty() {
            // An idle connection holds no buffer.
            self.stash = BytesMut::new();
        }
        self.body = Some((buffer, filled));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader() -> FrameReader {
        FrameReader::new(BufferPool::new(1 << 20), 1 << 20)
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
}
