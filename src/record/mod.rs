//! Record batches (magic 2): views, the builder, compression, CRC.
//!
//! A batch is a slice of bytes and stays one. [`Batch`] reads its header in place; [`Batch::body`] gives its records,
//! borrowed when they are not compressed and decompressed under a limit when they are; [`BatchBuilder`] makes a batch
//! in one buffer. A writer stamps a batch with [`Batch::stamped_prefix`]: the first 16 bytes, which the CRC leaves out,
//! so that the bytes behind them are never copied or changed.
//!
//! | file | what is in it |
//! |---|---|
//! | [`batch`] | the header, drawn; [`Batch`], [`batches`], stamping and the few edits that need a new CRC |
//! | [`records`] | [`RecordView`]s in a batch's body; the broker's check of a produced batch |
//! | [`builder`] | [`BatchBuilder`]: the producer's hot path |
//! | [`compression`] | the codecs, both ways, with a cap on what comes out |
//! | `filter` | a copy of a batch with some records left out: what compaction writes |
//! | [`control`] | transaction markers |
//! | [`varint`] | the numbers inside records |
//!
//! This room does no I/O, reads no clock, and knows no topic.

pub mod batch;
pub mod builder;
pub mod compression;
pub mod control;
pub mod error;
mod filter;
pub mod records;
mod snappy;
pub mod varint;

#[cfg(test)]
mod tests;

pub use batch::{Batch, HEADER_LEN, LOG_OVERHEAD, TimestampType, batches};
pub use builder::{BatchBuilder, BatchOptions, ProducerState};
pub use compression::{Codec, Compression};
pub use control::{ControlType, EndTxnMarker};
pub use error::BatchError;
pub use records::{Body, Header, Headers, RecordView, Survey};
