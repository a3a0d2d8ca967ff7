//! `strandline scan`: a topic as a table, on stdout.
//!
//! The end is fixed when it begins, so it always ends. What it reads are whole batches, partition by partition, and what it
//! writes is what the Python package's `Topic.scan` gives, in the same words. It reads a cluster, or with `--data-dir` the
//! files of a broker that has stopped.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::connect::{self, Connect};
use super::output::Output;
use super::rows::RowWriter;
use super::{Failure, datetime};
use crate::arrow::scan::{BATCH_ROWS, INFERRED_FROM, Position};
use crate::arrow::schema::OnError;
use crate::arrow::source::SharedSource;
use crate::arrow::{Binary, Decoding, FetchSource, LogSource, Scan, ScanOptions, Shape};
use crate::client::admin::Admin;
use crate::common::clock::SystemClock;
use crate::common::ids::Timestamp;
use crate::config::Scope;
use crate::log::ReadOnlyDir;
use crate::log::fs::RealFs;

/// How many rows a table has unless another number is given: it is made for eyes, and its widths want all rows at once.
const TABLE_ROWS: u64 = 100;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: strandline scan flights --start 2013-03-01 --value json --columns carrier,dep_delay\n         \
                  strandline scan flights --start 1h --key utf8 --format csv > flights.csv\n         \
                  strandline scan flights --data-dir /var/lib/kafka --format arrow > flights.arrows"
)]
pub(super) struct ScanTopic {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    #[command(flatten)]
    connect: Connect,
    /// Where to begin: earliest, latest, an offset, offsets by partition (0:100,2:50), a time like 2013-01-01T05:15:00Z, or a
    /// duration back from now (90s, 15m, 12h, 7d)
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    start: String,
    /// Where to end, said likewise; the record there is no longer part of it
    #[arg(long, value_name = "WHERE", default_value = "latest")]
    end: String,
    /// Only these partitions
    #[arg(short = 'p', long, value_name = "N,..", value_delimiter = ',')]
    partitions: Option<Vec<i32>>,
    /// Only these columns, of partition, offset, timestamp, key, value, headers and the fields of a JSON value; NAME=COLUMN
    /// gives one another name
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// What the key is: binary, utf8, int16, int32, int64, float32 or float64
    #[arg(long, value_name = "KIND", default_value = "binary")]
    key: String,
    /// What the value is: as --key, or json, an object whose fields become columns
    #[arg(long, value_name = "KIND", default_value = "binary")]
    value: String,
    /// What becomes of what is none of that: raise, null, or column (null, and a column that tells)
    #[arg(long, value_parser = OnError::parse, value_name = "WHAT", default_value = "raise")]
    errors: OnError,
    /// Which transactions are read: read_uncommitted, or read_committed
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "read_uncommitted")]
    isolation: Isolation,
    /// The most rows [default: all; of a table 100]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to write it: table, json (an object a line), csv, arrow (a stream in Arrow's IPC format), or parquet (of
    /// the Python package)
    #[arg(long, value_parser = format, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Read the data dir of a broker that has stopped instead of a cluster; nothing in it is changed
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For eyes.
    Table,
    /// An object a line.
    Json,
    /// RFC 4180, with a line of names.
    Csv,
    /// A stream in Arrow's IPC format.
    Arrow,
}

/// What `--format` says.
fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        "arrow" => Ok(Format::Arrow),
        "parquet" => {
            let sentence = "it comes with the Python package: pip install strandline pyarrow, then the same command as \
                            python -m strandline; or take arrow, which most tools read";
            Err(sentence.to_owned())
        }
        _ => Err("it must be table, json, csv or arrow".to_owned()),
    }
}

impl ScanTopic {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.format == Format::Arrow && std::io::stdout().is_terminal() {
            let sentence = "--format arrow is not for a terminal: send it to a file or a program";
            return Err(Failure::Sentence(sentence.to_owned()));
        }
        // What makes no sense is told before anybody is asked.
        let now = SystemClock::shared().now();
        let options = self.options(now)?;
        if let Some(dir) = &self.data_dir {
            return self.write(self.in_dir(dir)?, options);
        }
        let values = self.connect.values(Scope::Admin, &[])?;
        connect::run_outside(|doors| {
            let admin = Admin::new(doors, &values)?;
            let source = Arc::new(FetchSource::new(admin.network().clone(), &self.topic, admin.timeout()));
            let done = self.write(source, options);
            admin.close();
            done
        })
    }

    /// The topic in a folder.
    fn in_dir(&self, dir: &Path) -> Result<SharedSource, Failure> {
        let opened = ReadOnlyDir::open(RealFs::shared(), dir)?;
        let Some((source, notes)) = LogSource::in_dir(&opened, &self.topic)? else {
            let sentence = format!("topic {}: {} has no folder of it", self.topic, dir.display());
            return Err(Failure::Sentence(sentence));
        };
        notes.iter().for_each(|note| eprintln!("strandline: {note}"));
        Ok(Arc::new(source))
    }

    fn options(&self, now: Timestamp) -> Result<ScanOptions, Failure> {
        let shape = Shape {
            key: Decoding::parse("--key", &self.key)?,
            value: match self.value.as_str() {
                "json" => Decoding::Binary,
                value => Decoding::parse("--value", value)?,
            },
            // Most programs that read Arrow's files work on these, and not on views.
            binary: if self.format == Format::Arrow { Binary::Large } else { Binary::View },
            on_error: self.errors,
            ..Shape::default()
        };
        Ok(ScanOptions {
            start: position("--start", &self.start, now)?,
            end: position("--end", &self.end, now)?,
            partitions: self.partitions.clone(),
            shape,
            batch_rows: BATCH_ROWS,
            limit: self.limit,
            read_committed: self.isolation == Isolation::ReadCommitted,
        })
    }

    fn write(&self, source: SharedSource, options: ScanOptions) -> Result<(), Failure> {
        let shape = options.shape.clone();
        let scan = Scan::new(source, options)?;
        let json = match self.value.as_str() {
            "json" => Some(Arc::new(scan.infer_json(INFERRED_FROM)?)),
            _ => None,
        };
        let columns: Option<Vec<(String, String)>> =
            self.columns.as_ref().map(|columns| columns.iter().map(|column| named(column)).collect());
        let scan = scan.with_shape(Shape { json, ..shape }.choose(columns.as_deref())?)?;
        // One more is read, to tell whether there was more.
        let most = (self.format == Format::Table && self.limit.is_none()).then_some(TABLE_ROWS);
        let scan = most.map_or(scan.clone(), |most| scan.with_limit(most + 1));
        let mut output = Output::stdout();
        let mut rows = RowWriter::new(self.format, &scan.schema(), most);
        let mut reader = scan.reader();
        let done = loop {
            match reader.next_batch() {
                Ok(Some(batch)) => rows.write(&mut output, &batch)?,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What came before a record that cannot be read is written all the same.
        let more = rows.finish(&mut output)?;
        output.flush()?;
        done?;
        if more {
            eprintln!("strandline: these are the first {TABLE_ROWS} rows; --limit N for more, or another --format");
        }
        Ok(())
    }
}

/// A column's own name, and what it shows.
fn named(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((name, column)) => (name.to_owned(), column.to_owned()),
        None => (text.strip_prefix("value.").unwrap_or(text).to_owned(), text.to_owned()),
    }
}

/// What `--start` or `--end` says.
fn position(option: &str, text: &str, now: Timestamp) -> Result<Position, String> {
    let by_partition = || {
        let pairs = text.split(',').map(|pair| {
            let (index, offset) = pair.split_once(':')?;
            Some((index.parse::<i32>().ok()?, offset.parse::<i64>().ok()?))
        });
        pairs.collect::<Option<BTreeMap<_, _>>>().map(Position::Offsets)
    };
    match text {
        "earliest" => return Ok(Position::Earliest),
        "latest" => return Ok(Position::Latest),
        _ => {}
    }
    let found = text.parse().ok().map(Position::Offset).or_else(by_partition);
    found.or_else(|| Position::ago(text, now)).or_else(|| datetime::parse(text).map(Position::Time)).ok_or_else(|| {
        format!(
            "{option} {text:?}: it must be earliest, latest, an offset, offsets by partition like 0:100,2:50, a time \
             like 2013-01-01T05:15:00Z, or a duration back from now like 90s, 15m, 12h or 7d"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_said_as_in_python() {
        let now = 1_700_000_000_000;
        for (text, meant) in [
            ("earliest", Position::Earliest),
            ("latest", Position::Latest),
            ("42", Position::Offset(42)),
            ("0:100,2:50", Position::Offsets(BTreeMap::from([(0, 100), (2, 50)]))),
            ("90s", Position::Time(now - 90_000)),
            ("1.5h", Position::Time(now - 5_400_000)),
            ("2013-01-01", Position::Time(1_356_998_400_000)),
            ("2013-01-01T05:15:00Z", Position::Time(1_357_017_300_000)),
        ] {
            assert_eq!(position("--start", text, now), Ok(meant), "{text}");
        }
        for text in ["", "middle", "0:x", "5y", "2013-13-01"] {
            let sentence = position("--end", text, now).unwrap_err();
            assert!(sentence.starts_with(&format!("--end {text:?}: it must be earliest")), "{sentence}");
        }
    }

    #[test]
    fn a_column_has_its_own_name_or_the_one_it_is_given() {
        for (text, name, column) in
            [("key", "key", "key"), ("carrier=key", "carrier", "key"), ("value.key", "key", "value.key")]
        {
            assert_eq!(named(text), (name.to_owned(), column.to_owned()));
        }
    }
}
