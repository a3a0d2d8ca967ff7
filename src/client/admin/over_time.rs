//! How many records a topic got, and when: told from the brokers' time indexes, without reading one of them.

use std::collections::HashMap;

use crate::client::Result;
use crate::client::offsets::{EARLIEST, LATEST, ListedOffset, MAX_TIMESTAMP};
use crate::common::ids::{Offset, Timestamp, TopicPartition};

use super::Admin;

/// How many records lie between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan {
    /// Where it begins, in milliseconds since 1970.
    pub start: Timestamp,
    /// Where it ends; the next begins there.
    pub end: Timestamp,
    /// How many records: offsets, so what compaction removed counts.
    pub records: i64,
}

type Offsets = HashMap<TopicPartition, ListedOffset>;

impl Admin {
    /// Cuts the time from the first record of these partitions to the newest into `count` equal spans and tells how many
    /// records each got. Every span costs a look-up in the time index of each partition, all of them on their way at once.
    /// A record counts where the log first reaches its span, as Kafka looks up times. Empty where there are no records.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`].
    pub async fn records_over_time(&self, partitions: &[TopicPartition], count: usize) -> Result<Vec<TimeSpan>> {
        let ask = async |timestamp: Timestamp| -> Result<Offsets> {
            self.list_offsets(&partitions.iter().map(|name| (name.clone(), timestamp)).collect()).await
        };
        let (starts, ends) = futures_util::future::try_join(ask(EARLIEST), ask(LATEST)).await?;
        let (first, newest) = futures_util::future::try_join(ask(0), ask(MAX_TIMESTAMP)).await?;
        let times = |found: &Offsets| -> Vec<Timestamp> {
            found.values().filter(|listed| listed.offset >= 0).map(|listed| listed.timestamp).collect()
        };
        let (Some(from), Some(to)) = (times(&first).into_iter().min(), times(&newest).into_iter().max()) else {
            return Ok(Vec::new());
        };
        let edges = edges(from, to, count);
        let inner = edges.get(1..edges.len() - 1).unwrap_or_default();
        let looked_up = futures_util::future::try_join_all(inner.iter().map(|edge| ask(*edge))).await?;
        let counts = (0..edges.len() - 1).map(|span| -> i64 {
            let at = |name: &TopicPartition, edge: usize| -> Offset {
                let of = |found: &Offsets| found.get(name).map_or(-1, |listed| listed.offset);
                let (start, end) = (of(&starts).max(0), of(&ends).max(0));
                match edge {
                    0 => start,
                    edge if edge + 1 == edges.len() => end,
                    // No record is so new: all are older.
                    edge => match of(&looked_up[edge - 1]) {
                        -1 => end,
                        offset => offset.clamp(start, end.max(start)),
                    },
                }
            };
            partitions.iter().map(|name| (at(name, span + 1) - at(name, span)).max(0)).sum()
        });
        let spans = edges.windows(2).zip(counts);
        Ok(spans.map(|(edges, records)| TimeSpan { start: edges[0], end: edges[1], records }).collect())
    }
}

/// The moments that cut the time from `from` to `to` into `count` spans, or into fewer of a millisecond each.
fn edges(from: Timestamp, to: Timestamp, count: usize) -> Vec<Timestamp> {
    // The newest record lies within the last span.
    let length = i128::from(to.max(from)) - i128::from(from) + 1;
    let count = (count.max(1) as i128).min(length);
    let edge = |index: i128| i128::from(from) + length * index / count;
    (0..=count).map(|index| Timestamp::try_from(edge(index)).unwrap_or(Timestamp::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_equal_and_hold_the_first_and_the_newest() {
        assert_eq!(edges(100, 199, 4), [100, 125, 150, 175, 200]);
        assert_eq!(edges(5, 5, 24), [5, 6]);
        assert_eq!(edges(5, 6, 24), [5, 6, 7]);
        assert_eq!(edges(0, Timestamp::MAX, 2), [0, 1 << 62, Timestamp::MAX]);
    }
}
