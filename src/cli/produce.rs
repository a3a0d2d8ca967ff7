//! `strandline produce`: the lines of stdin, or of files, become records.
//!
//! A thread of its own reads, for a keyboard may keep it waiting, and hands over blocks; they are split where a record
//! ends, and each record's bytes go from the block straight into a batch. What became of the records is looked at in
//! their order, so a failure can be told with its place. Ctrl-C stops the reading; what was read is still sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;

use super::Failure;
use super::connect::{self, Connect};
use super::escape::unescape;
use crate::client::Doors;
use crate::client::producer::{Delivery, NotSent, Producer, Record};
use crate::config::Scope;
use crate::record::Header;

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// How many blocks may wait to be sent.
const BLOCKS: usize = 4;
/// How long records may take to be sent once the input has ended or Ctrl-C was pressed twice.
const CLOSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Example: printf 'UA:one\\nDL:two\\n' | strandline produce flights -K : -z zstd\n         \
                  strandline produce logs -H host=web1 /var/log/syslog")]
pub(super) struct Produce {
    /// The topic
    topic: String,
    /// Files to read instead of stdin ("-"), one record a line
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// What stands between key and value; \t, \n and \xHH are understood
    #[arg(short = 'K', long, value_name = "SEP", conflicts_with = "key")]
    key_delimiter: Option<String>,
    /// One key for all records
    #[arg(short = 'k', long)]
    key: Option<String>,
    /// What stands between records
    #[arg(short = 'D', long, value_name = "SEP", default_value = "\\n")]
    delimiter: String,
    /// The partition; without it the key decides
    #[arg(short = 'p', long)]
    partition: Option<i32>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    compression: Option<String>,
    /// A header for each record (may be repeated); without =VALUE it is null
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Who must have a record before it counts as written: 0, 1 or all
    #[arg(long)]
    acks: Option<String>,
    /// An empty value is null: a tombstone
    #[arg(short = 'Z', long)]
    null: bool,
}

impl Produce {
    pub(super) fn run(self) -> Result<(), Failure> {
        let delimiter = unescape(&self.delimiter)?;
        let key_delimiter = self.key_delimiter.as_deref().map(unescape).transpose()?;
        for (option, separator) in [("-D", Some(&delimiter)), ("-K", key_delimiter.as_ref())] {
            if separator.is_some_and(Vec::is_empty) {
                return Err(Failure::Sentence(format!("{option} is empty: it must be at least one byte")));
            }
        }
        let mut own = vec![];
        own.extend(self.compression.as_deref().map(|codec| ("compression.type", codec)));
        own.extend(self.acks.as_deref().map(|acks| ("acks", acks)));
        let values = self.connect.values(Scope::Producer, &own)?;
        let headers: Vec<(&str, Option<&str>)> = self
            .headers
            .iter()
            .map(|header| header.split_once('=').map_or((header.as_str(), None), |(name, value)| (name, Some(value))))
            .collect();
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| Header { key: name.as_bytes(), value: value.map(str::as_bytes) })
            .collect();
        connect::run(async |doors: Doors| {
            let producer = Producer::new(doors, &values)?;
            let mut sending = Sending {
                producer: &producer,
                template: Record {
                    topic: &self.topic,
                    partition: self.partition,
                    key: self.key.as_deref().map(str::as_bytes),
                    headers: &headers,
                    ..Record::default()
                },
                delimiter: &delimiter,
                key_delimiter: key_delimiter.as_deref(),
                null: self.null,
                waiting: VecDeque::new(),
                written: 0,
            };
            let done = sending.all(&self.files).await;
            producer.close(CLOSE).await;
            done
        })
    }
}

/// What the reading thread hands over.
enum Input {
    /// Bytes, cut anywhere.
    Block(Vec<u8>),
    /// A file has ended, and its last record with it.
    End,
}

/// Reads all files, one after the other, into `blocks`; ends early when nobody takes them.
fn read(files: Vec<PathBuf>, blocks: &mpsc::Sender<Result<Input, Failure>>) -> Result<(), Failure> {
    let stdin = [PathBuf::from("-")];
    for path in if files.is_empty() { &stdin[..] } else { &files[..] } {
        let told = |error: io::Error| Failure::Sentence(format!("{}: {error}", path.display()));
        let mut file: Box<dyn Read> = match path.to_str() {
            Some("-") => Box::new(io::stdin().lock()),
            _ => Box::new(File::open(path).map_err(told)?),
        };
        loop {
            let mut block = vec![0; BLOCK];
            let len = match file.read(&mut block) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(told(error)),
            };
            block.truncate(len);
            let input = if len == 0 { Input::End } else { Input::Block(block) };
            if blocks.blocking_send(Ok(input)).is_err() {
                return Ok(());
            }
            if len == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Records on their way.
struct Sending<'a> {
    producer: &'a Producer,
    /// What all records have in common.
    template: Record<'a>,
    delimiter: &'a [u8],
    key_delimiter: Option<&'a [u8]>,
    null: bool,
    /// What is not known to be written yet, in the order of the input.
    waiting: VecDeque<Delivery>,
    written: u64,
}

impl Sending<'_> {
    async fn all(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let (sender, mut blocks) = mpsc::channel(BLOCKS);
        let files = files.to_vec();
        std::thread::Builder::new().name("strandline-read".to_owned()).spawn(move || {
            if let Err(failure) = read(files, &sender) {
                // Nobody takes it only where the command has ended already.
                let _ = sender.blocking_send(Err(failure));
            }
        })?;
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut rest = Vec::new();
        loop {
            let input = tokio::select! {
                input = blocks.recv() => input,
                _ = &mut interrupt => break,
            };
            match input {
                Some(Ok(Input::Block(block))) => tokio::select! {
                    done = self.block(&mut rest, block) => done?,
                    _ = &mut interrupt => break,
                },
                Some(Ok(Input::End)) if rest.is_empty() => {}
                Some(Ok(Input::End)) => self.record(&std::mem::take(&mut rest)).await?,
                Some(Err(failure)) => {
                    self.settle().await?;
                    return Err(failure);
                }
                None => break,
            }
        }
        tokio::select! {
            done = self.settle() => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::Sentence(format!("stopped with {} records not sent", self.waiting.len()))),
        }
    }

    /// Sends the records that end in `block`; what is behind the last goes to `rest`, which is in front of the next.
    async fn block(&mut self, rest: &mut Vec<u8>, mut block: Vec<u8>) -> Result<(), Failure> {
        if !rest.is_empty() {
            rest.append(&mut block);
            block = std::mem::take(rest);
        }
        let mut at = 0;
        while let Some(len) = find(&block[at..], self.delimiter) {
            self.record(&block[at..at + len]).await?;
            at += len + self.delimiter.len();
        }
        rest.extend_from_slice(&block[at..]);
        let limit = self.producer.config().max_request_size;
        if rest.len() > limit {
            self.settle().await?;
            let at = self.written + 1;
            return Err(Failure::Sentence(format!(
                "record {at} is longer than max.request.size, which is {limit} bytes"
            )));
        }
        self.look()
    }

    async fn record(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut record = Record { value: Some(bytes), ..self.template };
        if let Some(delimiter) = self.key_delimiter
            && let Some(len) = find(bytes, delimiter)
        {
            record.key = Some(&bytes[..len]);
            record.value = Some(&bytes[len + delimiter.len()..]);
        }
        if self.null && record.value == Some(&[]) {
            record.value = None;
        }
        let sent = match self.producer.try_send(&record) {
            Ok(delivery) => Ok(delivery),
            Err(NotSent::WouldBlock) => self.producer.send_async(&record).await,
            Err(NotSent::Failed(error)) => Err(error),
        };
        match sent {
            Ok(delivery) => self.waiting.push_back(delivery),
            Err(error) => {
                let at = self.written + self.waiting.len() as u64 + 1;
                // The records before it are not to blame.
                self.settle().await?;
                return Err(Failure::Sentence(format!("record {at} was not sent: {error}")));
            }
        }
        Ok(())
    }

    /// Looks at what became of the oldest records.
    fn look(&mut self) -> Result<(), Failure> {
        let mut done: Option<Delivery> = None;
        while let Some(first) = self.waiting.front() {
            // All records of a batch that was written are written.
            if !done.as_ref().is_some_and(|done| done.same_batch(first)) {
                match first.result() {
                    None => break,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        let at = self.written + 1;
                        return Err(Failure::Sentence(format!("record {at} was not written: {error}")));
                    }
                }
            }
            done = self.waiting.pop_front();
            self.written += 1;
        }
        Ok(())
    }

    /// Waits until it is known of every record what became of it.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.producer.flush().await;
        self.look()
    }
}

/// Where `needle` begins in `bytes`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [byte] => bytes.iter().position(|next| next == byte),
        _ => bytes.windows(needle.len()).position(|window| window == needle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_found_where_it_begins() {
        assert_eq!(find(b"UA:one:two", b":"), Some(2));
        assert_eq!(find(b"UA::one", b"::"), Some(2));
        assert_eq!((find(b"UA", b":"), find(b"", b":"), find(b"a", b"ab")), (None, None, None));
    }
}
