//! Whole frames: header and message together, for both ends of a connection.
//!
//! ```text
//! size i32 | header | message          size counts what is behind it
//! ```
//! Bytes behind a message are left alone, as Kafka does.
//!
//! Whoever reads a connection reads the size, holds it against its own limit (`socket.request.max.bytes`), and hands
//! the rest over as one [`Bytes`]. Frames that are made here begin with their size.

use bytes::Bytes;

use super::headers::{RequestHeader, ResponseHeader};
use super::message::{Message, Request};
use super::primitives::{DecodeError, Decoder, EncodeError, Encoder, Frame, Str};

/// What an encoder makes room for at first: most frames are smaller.
const ROOM: usize = 256;

/// The header of a request's frame (without its size), and the decoder that stands before the message.
pub fn decode_request_header(frame: Bytes) -> Result<(RequestHeader, Decoder), DecodeError> {
    let mut decoder = Decoder::new(frame);
    let header = RequestHeader::decode(&mut decoder)?;
    Ok((header, decoder))
}

/// The frame that answers a request `R` that came in `version`.
pub fn encode_response<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<Frame, EncodeError> {
    let mut encoder = Encoder::begin_frame(ROOM);
    ResponseHeader { correlation_id }.encode(&mut encoder, R::KEY, version);
    response.encode(&mut encoder, version)?;
    encoder.finish_frame()
}

/// The frame of a request.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> Result<Frame, EncodeError> {
    let mut encoder = Encoder::begin_frame(ROOM);
    let client_id = client_id.cloned();
    RequestHeader { api_key: R::KEY, api_version: version, correlation_id, client_id }.encode(&mut encoder)?;
    request.encode(&mut encoder, version)?;
    encoder.finish_frame()
}

/// The correlation id of a response's frame (without its size), which tells what request it answers.
pub fn decode_response_header(frame: &Bytes) -> Result<i32, DecodeError> {
    Decoder::new(frame.clone()).i32()
}

/// The correlation id and the message of the frame that answers a request `R` sent in `version`.
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut decoder = Decoder::new(frame);
    let header = ResponseHeader::decode(&mut decoder, R::KEY, version)?;
    let response = R::Response::decode(&mut decoder, version)?;
    Ok((header.correlation_id, response))
}

#[cfg(test)]
mod tests;
