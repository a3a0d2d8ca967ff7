//! `strandline consume`: the records of topics, as lines, in a format of one's own, or as JSON.
//!
//! Without a group it reads the partitions that it is told, from where it is told. With `-G` it is a member of a group:
//! it reads its share and commits it. Each poll is written and flushed before the next, so a reader never waits for
//! what is here already. Ctrl-C, a count, or the end of what is there end it, and the group is left with a word.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::connect::{self, Connect};
use super::datetime;
use super::format::{Format, Message};
use super::output::Output;
use crate::client::consumer::{Consumer, FetchedBatch, RebalanceEvent};
use crate::client::network::Wanted;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::client::{ClientError, Doors};
use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::config::Scope;

/// How many records a poll may bring: enough that writing them is not done in crumbs.
const MOST: usize = 20_000;
/// How long a poll waits when there is nothing.
const POLL: Duration = Duration::from_millis(500);
/// How long leaving a group may take.
const CLOSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Example: strandline consume flights -e -f '%p %o %k=%v\\n'\n         \
                  strandline consume flights -G readers -o beginning -J | jq .payload")]
pub(super) struct Consume {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    connect: Connect,
    /// Where to begin: beginning, end, stored, an offset, -N (before the end), s@MS or s@DATETIME; also e@ to end there
    /// [default: beginning; with -G stored]
    #[arg(short = 'o', long = "offset", value_name = "WHERE", allow_hyphen_values = true)]
    offsets: Vec<String>,
    /// Only these partitions
    #[arg(short = 'p', long, value_name = "N,..", value_delimiter = ',', conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Read as a member of this group, and commit
    #[arg(short = 'G', long)]
    group: Option<String>,
    /// Stop after so many records
    #[arg(short = 'c', long)]
    count: Option<u64>,
    /// Stop at the end of what was there at the start
    #[arg(short = 'e', long)]
    exit: bool,
    /// How to write a record: %v %k %o %p %t %T %h %K %S, \n \t \xHH [default: %v\n]
    #[arg(short = 'f', long)]
    format: Option<String>,
    /// What stands between key and value, to have both
    #[arg(short = 'K', long, value_name = "SEP", conflicts_with_all = ["format", "json"])]
    key_delimiter: Option<String>,
    /// One JSON object a line, with kcat's keys
    #[arg(short = 'J', long, conflicts_with = "format")]
    json: bool,
    /// Write a null as NULL
    #[arg(short = 'Z', long)]
    null: bool,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Where the log begins.
    Beginning,
    /// Behind the last record.
    End,
    /// Where the group has come to.
    Stored,
    /// At this offset.
    At(Offset),
    /// So many before the end.
    Back(Offset),
    /// At the first record that is not older.
    Since(Timestamp),
}

/// What `-o` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    From(Start),
    /// Only records before the first that is not older than this.
    Until(Timestamp),
}

impl Where {
    fn parse(text: &str) -> Result<Where, String> {
        let moment = |text: &str| datetime::parse(text).filter(|moment| *moment >= 0);
        let wrong = || {
            format!(
                "-o {text:?}: it must be beginning, end, stored, an offset, -N, or s@ or e@ with milliseconds or \
                 a time like 2013-01-01T05:15:00Z"
            )
        };
        Ok(match text {
            "beginning" | "earliest" => Where::From(Start::Beginning),
            "end" | "latest" => Where::From(Start::End),
            "stored" => Where::From(Start::Stored),
            _ => match (text.strip_prefix("s@"), text.strip_prefix("e@"), text.parse::<i64>()) {
                (Some(since), ..) => Where::From(Start::Since(moment(since).ok_or_else(wrong)?)),
                (_, Some(until), _) => Where::Until(moment(until).ok_or_else(wrong)?),
                (.., Ok(offset)) if text.starts_with('-') => Where::From(Start::Back(offset.saturating_neg())),
                (.., Ok(offset)) => Where::From(Start::At(offset)),
                (.., Err(_)) => return Err(wrong()),
            },
        })
    }
}

impl Consume {
    pub(super) fn run(self) -> Result<(), Failure> {
        let format = match (&self.format, &self.key_delimiter) {
            _ if self.json => Format::Json,
            (Some(format), _) => Format::parse(format, self.null)?,
            (None, Some(delimiter)) => Format::parse(&format!("%k{}%v\\n", delimiter.replace('%', "%%")), self.null)?,
            (None, None) => Format::parse("%v\\n", self.null)?,
        };
        let (mut start, mut until) = (None, None);
        for text in &self.offsets {
            match Where::parse(text)? {
                Where::From(from) => start = Some(from),
                Where::Until(moment) => until = Some(moment),
            }
        }
        let mut own = vec![];
        if let Some(group) = &self.group {
            own.push(("group.id", group.as_str()));
            match start.unwrap_or(Start::Stored) {
                Start::Stored => {}
                Start::Beginning => own.push(("auto.offset.reset", "earliest")),
                Start::End => own.push(("auto.offset.reset", "latest")),
                _ => {
                    let sentence = "with -G the group's own offsets count: -o can be stored, beginning or end \
                                    (for partitions without one); strandline groups reset moves a group";
                    return Err(Failure::Sentence(sentence.to_owned()));
                }
            }
        } else if start == Some(Start::Stored) {
            return Err(Failure::Sentence("-o stored needs the group that stores the offsets: -G GROUP".to_owned()));
        }
        // A name that was mistyped is to be told, not created.
        own.push(("allow.auto.create.topics", "false"));
        let values = self.connect.values(Scope::Consumer, &own)?;
        connect::run(async |doors: Doors| {
            let mut consumer = Consumer::new(doors, &values)?;
            let reading = Reading {
                consumer: &mut consumer,
                output: Output::stdout(),
                scratch: Vec::new(),
                format,
                left: self.count.unwrap_or(u64::MAX),
                bounded: self.exit || until.is_some(),
                until: until.unwrap_or(LATEST),
                joined: self.group.is_none(),
                ends: HashMap::new(),
            };
            let done = self.read(reading, start.unwrap_or(Start::Beginning)).await;
            consumer.close(CLOSE).await;
            done
        })
    }

    async fn read(&self, mut reading: Reading<'_>, start: Start) -> Result<(), Failure> {
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        tokio::select! {
            begun = self.begin(&mut reading, start) => begun?,
            _ = &mut interrupt => return Ok(()),
        }
        loop {
            tokio::select! {
                more = reading.poll() => {
                    if !more? {
                        return Ok(());
                    }
                }
                _ = &mut interrupt => return reading.output.flush(),
            }
        }
    }

    async fn begin(&self, reading: &mut Reading<'_>, start: Start) -> Result<(), Failure> {
        let network = reading.consumer.network().clone();
        if self.topics.iter().any(|topic| topic.starts_with('^')) {
            if self.group.is_none() {
                return Err(Failure::Sentence("a pattern (^...) needs a group: -G GROUP".to_owned()));
            }
            return Ok(reading.consumer.subscribe_pattern(&self.topics.join("|"))?);
        }
        let names: Vec<Arc<str>> = self.topics.iter().map(|topic| topic.as_str().into()).collect();
        let view = network.refresh(Wanted::Topics(&names), false).await?;
        let mut partitions = Vec::new();
        for name in &names {
            if let Some(code) = view.errors.get(name) {
                return Err(Failure::Sentence(format!("topic {name}: {code}")));
            }
            let count = view.topics.get(name).map_or(0, |topic| topic.partitions.len()) as i32;
            if let Some(wrong) = self.partitions.iter().find(|wanted| !(0..count).contains(wanted)) {
                return Err(Failure::Sentence(format!("{name} has no partition {wrong}: it has {count}")));
            }
            let wanted = (0..count).filter(|index| self.partitions.is_empty() || self.partitions.contains(index));
            partitions.extend(wanted.map(|index| TopicPartition::new(&**name, index)));
        }
        if self.group.is_some() {
            return Ok(reading.consumer.subscribe(&self.topics)?);
        }
        let starts = reading.starts(&partitions, start).await?;
        // Nothing is waited for in between, so the first fetch begins at the right place.
        reading.consumer.assign(partitions.iter().cloned())?;
        for (partition, offset) in &starts {
            reading.consumer.seek(partition, *offset)?;
        }
        reading.bound(&partitions).await
    }
}

/// A consumer, what it writes, and where it stops.
struct Reading<'a> {
    consumer: &'a mut Consumer,
    output: Output,
    scratch: Vec<u8>,
    format: Format,
    /// How many records are still to be written.
    left: u64,
    /// Whether it stops at the ends.
    bounded: bool,
    /// What the ends are looked up by.
    until: Timestamp,
    /// Whether it is known what there is to read.
    joined: bool,
    /// The ends that are still to be reached.
    ends: HashMap<TopicPartition, Offset>,
}

impl Reading<'_> {
    /// Writes what a poll brings, and says whether there is more to read.
    async fn poll(&mut self) -> Result<bool, Failure> {
        self.reach_ends().await?;
        if self.left == 0 || (self.bounded && self.joined && self.ends.is_empty()) {
            return Ok(false);
        }
        let most = usize::try_from(self.left).unwrap_or(MOST).min(MOST);
        let polled = self.consumer.poll(Some(most), POLL).await?;
        for event in polled.events {
            match event {
                RebalanceEvent::Assigned(partitions) => {
                    self.joined = true;
                    self.bound(&partitions).await?;
                }
                RebalanceEvent::Revoked(partitions) | RebalanceEvent::Lost(partitions) => {
                    self.ends.retain(|partition, _| !partitions.contains(partition));
                }
            }
        }
        for batch in &polled.batches {
            self.write(batch)?;
        }
        self.output.flush()?;
        Ok(true)
    }

    fn write(&mut self, batch: &FetchedBatch) -> Result<(), Failure> {
        let partition = batch.partition();
        let end = self.ends.get(&**partition).copied();
        let end = end.unwrap_or(if self.bounded { Offset::MIN } else { Offset::MAX });
        let timestamp_type = batch.header().timestamp_type();
        self.scratch.clear();
        for record in batch.records().take_while(|record| record.offset < end) {
            let message = Message { topic: &partition.topic, partition: partition.partition, timestamp_type, record };
            self.format.put(&mut self.scratch, &message);
            self.left -= 1;
        }
        self.output.bytes(&self.scratch)
    }

    /// Where to begin in each partition. An offset that is not in the log becomes the nearest that is.
    async fn starts(
        &self,
        partitions: &[TopicPartition],
        start: Start,
    ) -> Result<Vec<(TopicPartition, Offset)>, Failure> {
        let first = self.list(partitions, EARLIEST).await?;
        let last = self.list(partitions, LATEST).await?;
        let since = match start {
            Start::Since(timestamp) => self.list(partitions, timestamp).await?,
            _ => HashMap::new(),
        };
        let starts = partitions.iter().map(|partition| {
            let at = |offsets: &HashMap<_, Offset>| offsets.get(partition).copied().filter(|offset| *offset >= 0);
            let (first, last) = (at(&first).unwrap_or(0), at(&last).unwrap_or(0));
            let offset = match start {
                Start::Beginning | Start::Stored => first,
                Start::End => last,
                Start::Back(count) => last.saturating_sub(count).max(first),
                Start::Since(_) => at(&since).unwrap_or(last),
                Start::At(offset) => {
                    let nearest = offset.clamp(first, last);
                    if nearest != offset {
                        eprintln!("strandline: {partition} has offsets {first} to {last}: beginning at {nearest}");
                    }
                    nearest
                }
            };
            (partition.clone(), offset)
        });
        Ok(starts.collect())
    }

    /// Learns where to stop in these partitions, if it is to stop.
    async fn bound(&mut self, partitions: &[TopicPartition]) -> Result<(), Failure> {
        if !self.bounded {
            return Ok(());
        }
        let mut ends = self.list(partitions, self.until).await?;
        // No record is that new.
        let open: Vec<_> = ends.iter().filter(|(_, end)| **end < 0).map(|(partition, _)| partition.clone()).collect();
        ends.extend(self.list(&open, LATEST).await?);
        self.ends.extend(ends);
        Ok(())
    }

    /// Is done with the partitions whose ends are reached: what is behind an end is left for the next reader.
    async fn reach_ends(&mut self) -> Result<(), Failure> {
        let open: Vec<_> = self.ends.iter().map(|(partition, end)| (partition.clone(), *end)).collect();
        for (partition, end) in open {
            match self.consumer.position(&partition, Duration::ZERO).await {
                Ok(position) if position >= end => {
                    self.consumer.pause(std::slice::from_ref(&partition))?;
                    if position > end {
                        self.consumer.seek(&partition, end)?;
                    }
                    self.ends.remove(&partition);
                }
                // Not known yet.
                Ok(_) | Err(ClientError::Timeout { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn list(
        &self,
        partitions: &[TopicPartition],
        timestamp: Timestamp,
    ) -> Result<HashMap<TopicPartition, Offset>, Failure> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted = partitions.iter().map(|partition| (partition.clone(), timestamp)).collect();
        let listed = self.consumer.list_offsets(&wanted).await?;
        Ok(listed.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_said_as_in_kcat() {
        for (text, meant) in [
            ("beginning", Where::From(Start::Beginning)),
            ("latest", Where::From(Start::End)),
            ("stored", Where::From(Start::Stored)),
            ("42", Where::From(Start::At(42))),
            ("-10", Where::From(Start::Back(10))),
            ("s@1357017300000", Where::From(Start::Since(1_357_017_300_000))),
            ("s@2013-01-01T05:15:00Z", Where::From(Start::Since(1_357_017_300_000))),
            ("e@2013-01-01", Where::Until(1_356_998_400_000)),
        ] {
            assert_eq!(Where::parse(text), Ok(meant), "{text}");
        }
        for text in ["", "middle", "s@", "s@yesterday", "e@-5", "1.5"] {
            assert!(Where::parse(text).unwrap_err().contains("it must be beginning"), "{text}");
        }
    }
}
