//! # Strandline: a Kafka-compatible event streaming system in one library
//!
//! A strandline is the mark that the highest water leaves on a beach: the high watermark.
//!
//! **The record batch is the only currency.** The Kafka record batch (magic 2) that a producer builds is the very bytes
//! that cross the wire, lie in the segment file, go to consumers, and stand behind what a reader sees. It is checked
//! once, stamped once (base offset and leader epoch, which its CRC leaves out), and never encoded again unless a topic
//! asks for it.
//!
//! ## The map of the house
//!
//! A floor imports only the floors below it, and no other room of its own floor. `tests/rust/floors.rs` reads the
//! imports and keeps this true, so the table is also what the test checks.
//!
//! | floor | room | what lives there | it never knows |
//! |---|---|---|---|
//! | 1 | [`common`] | ids, the clock, transports, shutdown, page-aligned buffers | anything above |
//! | 1 | [`config`] | each broker, topic and client key once: type, default, range, text, whether it may change | who reads it |
//! | 2 | [`record`] | views of batches and records, the builder, compression, CRC | I/O, async |
//! | 2 | [`protocol`] | the wire: primitive types, one file an API with its message as a table, error codes | disks, sockets |
//! | 3 | [`log`] | one partition on disk: segments, indexes, recovery, retention, producer state, epochs, mapped reads | async, sockets, messages |
//! | 3 | [`client`] | connections, metadata, producer, consumer, admin, for any Kafka cluster | brokers |
//! | 4 | [`arrow`] | topics as tables: record batches, mapped or fetched, to Arrow arrays and back | brokers, Python |
//! | 4 | [`metadata`] | the cluster image and the records that change it: a pure state machine | I/O |
//! | 5 | [`controller`] | the image replicated by Raft (openraft): its log, its snapshots, who leads and may change it | handlers |
//! | 6 | [`replica`] | partitions led or followed: appends, reads, who is in sync, high watermark, fetchers, waits | groups |
//! | 7 | [`coordinator`] | groups: pure state machines over their internal topic | sockets |
//! | 8 | [`broker`] | wires the above, joins its cluster; `handlers/`, one file an API, each opening with its versions and rules | Python |
//! | 9 | [`server`] | listeners, connections, ordered replies, memory and connection limits | Python |
//! | 10 | [`cluster`] | the brokers of one cluster, in this process or in their own: started, stopped, killed, cut off, their disks broken | Python |
//! | 11 | [`cli`] | the command line | business |
//! | 12 | `python` | the bindings: convert, release the GIL, call | business |
//!
//! ## The doors to the outside
//!
//! Three small traits, given by whoever starts a broker, are the only way out: [`common::clock::Clock`] (now, and every
//! timer), [`common::transport::Transport`] (listen, connect) and the log's `FileSystem` (files, maps, sync). No room
//! reads the system clock, sleeps, opens a socket or a file by itself.
//!
//! ## Where a change goes
//!
//! | to add | touch |
//! |---|---|
//! | an API | its message table in `protocol/messages/`, one line in `protocol/api.rs`, its handler in `broker/handlers/`, one line in `broker/handlers/mod.rs` |
//! | a config key | one line in `config/` |
//! | an error code | one line in `protocol/error.rs` |
//! | a command | one file in `cli/`, one line in `cli/mod.rs` |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arrow;
pub mod broker;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod common;
pub mod config;
pub mod controller;
pub mod coordinator;
pub mod log;
pub mod metadata;
pub mod protocol;
#[cfg(feature = "python")]
pub mod python;
pub mod record;
pub mod replica;
pub mod server;
