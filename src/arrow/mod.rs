//! Topics as tables: record batches, mapped from a log or fetched from a cluster, become Arrow arrays; and back.
//!
//! | file | what is in it |
//! |---|---|
//! | [`schema`] | which columns a scan has, and of which types: [`Shape`] |
//! | [`source`] | where whole batches come from: [`Source`], [`Cursor`], a log in this process ([`LogSource`]) |
//! | [`fetch`] | the same over a socket, from any Kafka cluster ([`FetchSource`]) |
//! | `rows`, `column`, `headers`, `json`, `problems` | from a chunk of batches to the columns of a `RecordBatch` |
//! | [`scan`] | a bounded snapshot, and the reader that makes its batches ([`Scan`], [`ScanReader`]) |
//! | [`follow`] | a topic's records as they arrive, for one reader or a group's ([`Follow`]) |
//! | [`parts`] | scans cut into parts, and what of one another process needs ([`ScanParts`]) |
//! | [`plan`] | which columns of a table become what of the records it is sent as ([`TablePlan`]) |
//! | `encode`, `objects` | from the rows of a `RecordBatch` to keys, values, headers; to JSON objects |
//! | [`send`] | a stream of `RecordBatch`es into a producer ([`TableSender`]) |
//! | [`error`] | what can go wrong |
//!
//! A chunk of uncompressed batches becomes one buffer of the arrays as it is: a mapped segment's bytes, or a fetch's.
//! Keys and values are views into it (Arrow's `BinaryView`), 16 bytes each, and nothing is copied. Compressed batches of
//! a chunk are unpacked once into one buffer of its own, and viewed likewise. Who cannot use views gets the bytes copied
//! into one run (`LargeBinary`, `Binary`).
//!
//! A buffer is cut to the chunk it came from, so an array that is kept holds no more of a map than that, and it holds it
//! whatever becomes of the segment's file, its topic or its broker.
//!
//! The other way, keys and values are borrowed from the columns until the producer has copied them into its batches; a
//! `RecordBatch` is worked on in slices, so that one of any size takes little memory besides its own.
//!
//! It never knows of brokers, or of Python.

mod column;
mod encode;
pub mod error;
pub mod fetch;
pub mod follow;
mod headers;
mod json;
mod objects;
pub mod parts;
pub mod plan;
mod problems;
mod rows;
pub mod scan;
pub mod schema;
pub mod send;
pub mod source;

pub use error::{ScanError, SendError};
pub use fetch::FetchSource;
pub use follow::Follow;
pub use parts::ScanParts;
pub use plan::{TableOptions, TablePlan};
pub use scan::{Scan, ScanOptions, ScanReader};
pub use schema::{Binary, Column, Decoding, Shape};
pub use send::TableSender;
pub use source::{Chunk, Cursor, LogSource, PartitionRange, Source};

#[cfg(test)]
mod tests;
