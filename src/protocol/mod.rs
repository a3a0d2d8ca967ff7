//! The wire: primitive types, messages, the API table, error codes.
//!
//! | to know | read |
//! |---|---|
//! | which APIs there are, in which versions | [`api`] |
//! | the bytes of one API | its file in [`messages`] |
//! | how a message's table becomes code | [`message`] |
//! | ints, strings, arrays, tagged fields and their bounds | [`primitives`] |
//! | what stands before a message in a frame | [`headers`], [`frame`] |
//! | what a code means | [`error`] |
//!
//! Decoding copies nothing: a string or a run of records is a slice of the frame it came in. Encoding copies only what
//! is small: records are spliced between the bytes around them. Each length in a frame is held against the bytes that
//! are there before anything is allocated.
//!
//! This room knows no disks, no sockets and no record batches: records are bytes here.

pub mod api;
pub mod error;
pub mod frame;
pub mod headers;
pub mod message;
pub mod messages;
pub mod primitives;

pub use api::ApiKey;
pub use error::ErrorCode;
pub use frame::{decode_request_header, decode_response, decode_response_header, encode_request, encode_response};
pub use headers::{RequestHeader, ResponseHeader};
pub(crate) use message::message;
pub use message::{Message, Request};
pub use primitives::{DecodeError, Decoder, EncodeError, Encoder, Frame, Records, Str, Version, Versions, Wire};
