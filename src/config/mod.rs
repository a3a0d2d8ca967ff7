//! Each broker, topic and client key, said once.
//!
//! | file | what it holds |
//! |---|---|
//! | [`key`] | what a key is: [`key::Key`], its row [`key::KeyDef`], and the macro that writes tables |
//! | [`value`] | from text to a checked value, and to the Rust type that a key names |
//! | [`topic`], [`broker`], [`client`] | the keys, as tables; [`broker_rest`] and [`security`] are Kafka's that we do not honour yet |
//! | [`values`] | a checked configuration: what was given, over defaults, each with its source |
//! | [`alter`] | set, delete, append, subtract: what AlterConfigs asks for |
//! | [`rules`] | what must hold between keys |
//! | [`listener`] | `NAME://host:port` |
//! | [`properties`] | server.properties |
//! | [`docs`] | the tables as Markdown |
//!
//! A reader asks with the key's constant, and gets the key's type:
//!
//! ```
//! use std::sync::Arc;
//! use strandline::config::{broker, topic, Values};
//!
//! let (broker, _notices) = Values::broker([("log.retention.hours", "1")]).unwrap();
//! let flights = Values::topic("flights", Arc::new(broker), [("segment.bytes", "2097152")]).unwrap();
//! assert_eq!(flights.get(topic::SEGMENT_BYTES), 2_097_152);
//! assert_eq!(flights.get(topic::RETENTION_MS), 3_600_000);
//! ```
//!
//! Every key that Kafka 4.3 has is known. One that we do not honour is refused with a sentence when it is set to
//! anything but its default; one that has no effect here is accepted, and whoever set it is told why. This room never
//! knows who reads a value or what for.

use std::collections::HashMap;
use std::sync::OnceLock;

pub mod alter;
pub mod broker;
pub mod broker_rest;
pub mod client;
pub mod docs;
pub mod error;
pub mod key;
pub mod listener;
pub mod properties;
pub mod rules;
pub mod security;
pub mod topic;
pub mod value;
pub mod values;

pub use error::{ConfigError, Owner};
pub use key::{ConfigType, Key, KeyDef, Scope};
pub use values::{Described, Source, Values};

/// The tables of a scope. A producer's, consumer's or admin client's begin with those that every client has.
fn tables(scope: Scope) -> &'static [&'static [&'static KeyDef]] {
    static TABLES: OnceLock<HashMap<Scope, Vec<&'static [&'static KeyDef]>>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let every = [client::TABLE, client::REST, security::CLIENT_TABLE];
        let with = |own: [&'static [&'static KeyDef]; 2]| every.into_iter().chain(own).collect();
        HashMap::from([
            (Scope::Broker, vec![broker::TABLE, broker_rest::TABLE, security::BROKER_TABLE]),
            (Scope::Topic, vec![topic::TABLE]),
            (Scope::Client, every.to_vec()),
            (Scope::Producer, with([client::producer::TABLE, client::producer::REST])),
            (Scope::Consumer, with([client::consumer::TABLE, client::consumer::REST])),
            (Scope::Admin, with([client::admin::TABLE, client::admin::REST])),
        ])
    });
    tables.get(&scope).map_or(&[], Vec::as_slice)
}

/// Every key of a scope, in the order of the tables.
pub fn all(scope: Scope) -> impl Iterator<Item = &'static KeyDef> {
    tables(scope).iter().flat_map(|table| table.iter().copied())
}

/// The key of this name.
pub fn find(scope: Scope, name: &str) -> Option<&'static KeyDef> {
    static INDEX: OnceLock<HashMap<(Scope, &'static str), &'static KeyDef>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let scopes = [Scope::Broker, Scope::Topic, Scope::Client, Scope::Producer, Scope::Consumer, Scope::Admin];
        scopes.into_iter().flat_map(|scope| all(scope).map(move |def| ((scope, def.name), def))).collect()
    });
    // The index wants a 'static name to look up with; a borrowed one does, for the map is covariant in its key.
    let index: &HashMap<(Scope, &str), &'static KeyDef> = index;
    index.get(&(scope, name)).copied()
}

/// The known key that looks most like this name, if one looks much like it.
pub fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    // Names are short: a limit keeps a hostile one from costing time.
    if name.len() > 200 {
        return None;
    }
    let dotted = name.to_ascii_lowercase().replace(['_', '-'], ".");
    // Names that differ that much in length alone need not be compared: a hostile request may ask for many names.
    let might_be = |near: &str| dotted.len().abs_diff(near.len()) <= near.len() / 3 || !dotted.is_ascii();
    all(scope)
        .filter(|def| might_be(def.name))
        .map(|def| (edits(&dotted, def.name), def.name))
        .min()
        .filter(|(edits, near)| *edits <= near.len() / 3)
        .map(|(_, near)| near)
}

/// How many characters must be put in, taken out or changed to make one text the other.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (index, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[index + 1];
            row[index + 1] = changed.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
