//! A scan: fixed offsets of a topic's partitions, read as record batches as often as one likes.
//!
//! A [`Scan`] is a value: where its bytes come from, which offsets, which columns. Its end is fixed when it is made, so
//! each [`ScanReader`] gives the same rows, or says which of them are gone. Partitions come one after the other, each in
//! the order of its offsets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_cast::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use bytes::Bytes;

use super::ScanError;
use super::rows::Rows;
use super::schema::{Binary, Column, Decoding, Shape};
use super::source::{Cursor, PartitionRange, SharedSource};
use crate::client::consumer::batch::Aborted;
use crate::common::clock::duration_millis;
use crate::common::ids::{Offset, Timestamp, TopicPartition};
use crate::record::batches;

/// How many rows a record batch has at most, unless another number is given.
pub const BATCH_ROWS: usize = 1 << 16;
/// From about how many records the fields of JSON values are inferred, unless another number is given.
pub const INFERRED_FROM: usize = 1_000;
/// About how many bytes are gathered for one record batch.
const BATCH_BYTES: usize = 32 << 20;

/// Where a scan begins or ends, in each partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// This offset.
    Offset(Offset),
    /// An offset for each partition; one that is not named begins at its first record, or ends behind its last.
    Offsets(BTreeMap<i32, Offset>),
    /// The first record that is not older, as Kafka looks it up (offsetsForTimes): the log is not sorted by time.
    Time(Timestamp),
}

impl Position {
    /// A duration back from `now`, as people write it: "500ms", "90s", "15m", "12h", "7d". `None` for anything else.
    pub fn ago(text: &str, now: Timestamp) -> Option<Position> {
        let millis = duration_millis(text)?;
        Some(Position::Time(now.saturating_sub(millis.round() as i64)))
    }
}

/// What of a topic is read, and how.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Where it begins.
    pub start: Position,
    /// Where it ends: the record at this position is no longer part of it.
    pub end: Position,
    /// Of which partitions; `None` for all.
    pub partitions: Option<Vec<i32>>,
    /// Which columns.
    pub shape: Shape,
    /// The most rows of one record batch.
    pub batch_rows: usize,
    /// The most rows of all.
    pub limit: Option<u64>,
    /// Whether records of open and aborted transactions are left out.
    pub read_committed: bool,
}

impl Default for ScanOptions {
    /// All that is there, in all columns.
    fn default() -> ScanOptions {
        ScanOptions {
            start: Position::Earliest,
            end: Position::Latest,
            partitions: None,
            shape: Shape::default(),
            batch_rows: BATCH_ROWS,
            limit: None,
            read_committed: false,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Scan {
    pub(super) source: SharedSource,
    pub(super) ranges: Vec<PartitionRange>,
    pub(super) shape: Shape,
    pub(super) batch_rows: usize,
    pub(super) limit: Option<u64>,
    pub(super) read_committed: bool,
}

impl Scan {
    /// Fixes what is read.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for a partition that is not there and columns that clash; the source's errors.
    pub fn new(source: SharedSource, options: ScanOptions) -> Result<Scan, ScanError> {
        let ScanOptions { start, end, partitions, shape, batch_rows, limit, read_committed } = options;
        shape.check()?;
        if batch_rows == 0 {
            return Err(ScanError::Invalid("batch_rows is 0: a record batch must have at least 1 row".to_owned()));
        }
        let mut bounds = source.bounds(read_committed)?;
        if let Some(wanted) = &partitions {
            let count = bounds.len();
            if let Some(missing) = wanted.iter().find(|wanted| !bounds.iter().any(|b| b.partition == **wanted)) {
                let topic = source.topic();
                return Err(ScanError::Invalid(format!("topic {topic} has no partition {missing}: it has {count}")));
            }
            bounds.retain(|bound| wanted.contains(&bound.partition));
        }
        let begins = resolve(&source, &bounds, &start, |bound| bound.start)?;
        let ends = resolve(&source, &bounds, &end, |bound| bound.end)?;
        let ranges = bounds.iter().zip(begins.into_iter().zip(ends)).map(|(bound, (start, end))| {
            let end = end.clamp(bound.start, bound.end);
            PartitionRange { partition: bound.partition, start: start.clamp(bound.start, end), end }
        });
        Ok(Scan { ranges: ranges.collect(), source, shape, batch_rows, limit, read_committed })
    }

    /// The schema of values that are JSON, as far as the first of them tell: about `rows` of them, from all partitions.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] where none of them is a JSON object; [`ScanError::Arrow`] where a field is of one kind in one
    /// value and of another in the next; and as [`ScanReader::next_batch`].
    pub fn infer_json(&self, rows: usize) -> Result<Schema, ScanError> {
        let shape = Shape {
            columns: vec![(Column::Value.name().to_owned(), Column::Value)],
            json: None,
            value: Decoding::Binary,
            ..self.shape.clone()
        };
        let some = |range: &&PartitionRange| range.start < range.end;
        let share = rows.div_ceil(self.ranges.iter().filter(some).count().max(1));
        let mut sample = Vec::new();
        for range in self.ranges.iter().filter(some) {
            let mut reader = self.within(&[*range]).with_shape(shape.clone())?.with_limit(share as u64).reader();
            while let Some(batch) = reader.next_batch()? {
                sample.push(cast(batch.column(0), &DataType::LargeBinary)?);
            }
        }
        let values = sample.iter().flat_map(|column| column.as_binary::<i64>().iter().flatten());
        let schema = super::json::infer(values)?;
        if schema.fields().is_empty() {
            let sentence = "value is \"json\", and no record is a JSON object to tell its fields: give a schema";
            return Err(ScanError::Invalid(sentence.to_owned()));
        }
        Ok(schema)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.source.topic()
    }

    /// The offsets that are read.
    pub fn ranges(&self) -> &[PartitionRange] {
        &self.ranges
    }

    /// The columns.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The Arrow schema of its batches.
    pub fn schema(&self) -> SchemaRef {
        self.shape.schema()
    }

    /// The same rows in another shape.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for columns that clash.
    pub fn with_shape(&self, shape: Shape) -> Result<Scan, ScanError> {
        shape.check()?;
        Ok(Scan { shape, ..self.clone() })
    }

    /// The same, up to this many rows.
    pub fn with_limit(&self, limit: u64) -> Scan {
        Scan { limit: Some(self.limit.map_or(limit, |known| known.min(limit))), ..self.clone() }
    }

    /// The same, but only these offsets of these partitions; of others, nothing.
    pub fn within(&self, ranges: &[PartitionRange]) -> Scan {
        let narrowed = self.ranges.iter().filter_map(|own| {
            let wanted = ranges.iter().find(|range| range.partition == own.partition)?;
            let end = own.end.min(wanted.end);
            Some(PartitionRange { partition: own.partition, start: own.start.max(wanted.start).min(end), end })
        });
        Scan { ranges: narrowed.collect(), ..self.clone() }
    }

    /// The same without what comes before the first record that is not older than `timestamp`, in each partition.
    ///
    /// # Errors
    /// The source's.
    pub fn since(&self, timestamp: Timestamp) -> Result<Scan, ScanError> {
        let partitions: Vec<i32> = self.ranges.iter().map(|range| range.partition).collect();
        let found = self.source.offsets_for_time(&partitions, timestamp)?;
        let later = self.ranges.iter().map(|range| {
            let start = found.get(&range.partition).copied().unwrap_or(range.end);
            PartitionRange { start: start.clamp(range.start, range.end), ..*range }
        });
        Ok(Scan { ranges: later.collect(), ..self.clone() })
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> ScanReader {
        self.read_as(self.schema(), self.shape.clone())
    }

    /// Reads it in the types of `wanted`, which has its columns' names in their order.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for other names, and for types that its own cannot become.
    pub fn reader_in(&self, wanted: &Schema) -> Result<ScanReader, ScanError> {
        let own = self.schema();
        let names = |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        if names(&own) != names(wanted) {
            return Err(ScanError::Invalid(format!(
                "a schema with the columns {:?} was asked for: this scan has {:?}",
                names(wanted),
                names(&own)
            )));
        }
        let types = || wanted.fields().iter().map(|field| field.data_type());
        let mut shape = self.shape.clone();
        if types().any(|t| matches!(t, DataType::BinaryView | DataType::Utf8View)) {
            shape.binary = Binary::View;
        } else if types().any(|t| matches!(t, DataType::LargeBinary | DataType::LargeUtf8)) {
            shape.binary = Binary::Large;
        } else if types().any(|t| matches!(t, DataType::Binary | DataType::Utf8)) {
            shape.binary = Binary::Small;
        }
        let own = shape.schema();
        for (own, wanted) in own.fields().iter().zip(wanted.fields()) {
            let (from, to) = (own.data_type(), wanted.data_type());
            if !(from.equals_datatype(to) || can_cast_types(from, to)) {
                let name = own.name();
                return Err(ScanError::Invalid(format!("column {name:?} is {from}: it cannot be read as {to}")));
            }
        }
        // Names of inner fields and nullability are told as they are here; the types are those that were asked for.
        let fields = own.fields().iter().zip(wanted.fields()).map(|(own, wanted)| {
            let same = own.data_type().equals_datatype(wanted.data_type());
            if same { own.as_ref().clone() } else { own.as_ref().clone().with_data_type(wanted.data_type().clone()) }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(self.read_as(schema, shape))
    }

    fn read_as(&self, schema: SchemaRef, shape: Shape) -> ScanReader {
        let offsets: u64 = self.ranges.iter().map(|range| (range.end - range.start) as u64).sum();
        let offsets = offsets.min(self.limit.unwrap_or(u64::MAX));
        ScanReader {
            own: shape.schema(),
            schema,
            shape,
            source: self.source.clone(),
            waiting: self.ranges.iter().copied().filter(|range| range.start < range.end).collect(),
            current: None,
            ready: None,
            batch_rows: self.batch_rows,
            left: self.limit.unwrap_or(u64::MAX),
            read_committed: self.read_committed,
            progress: Arc::new(Progress { offsets, done: AtomicU64::new(0) }),
        }
    }

    /// How many rows it has: told from the batches' headers, without unpacking or decoding them.
    ///
    /// # Errors
    /// As [`ScanReader::next_batch`].
    pub fn count(&self) -> Result<u64, ScanError> {
        let mut reader = self.reader();
        let mut count = 0;
        while count < reader.left
            && let Some((partition, range, bytes)) = reader.next_chunk()?
        {
            let wrong = |source| ScanError::Batch { partition: TopicPartition::clone(&partition), source };
            let aborted = &mut reader.current;
            for batch in batches(&bytes) {
                let batch = batch.map_err(wrong)?;
                let aborted = aborted.as_mut().and_then(|open| open.aborted.as_mut());
                let dropped = aborted.map_or(Ok(false), |aborted| aborted.drops(&batch)).map_err(wrong)?;
                if dropped
                    || batch.is_control()
                    || batch.last_offset() < range.start
                    || batch.base_offset() >= range.end
                {
                    continue;
                }
                if range.start <= batch.base_offset() && batch.last_offset() < range.end {
                    count += u64::try_from(batch.record_count()).unwrap_or(0);
                    continue;
                }
                for record in batch.body(crate::log::append::DECOMPRESSED_LIMIT).map_err(wrong)?.iter() {
                    count += u64::from(range.contains(&record.map_err(wrong)?.offset));
                }
            }
        }
        Ok(count.min(self.limit.unwrap_or(u64::MAX)))
    }
}

/// The offset that `position` means in each partition.
fn resolve(
    source: &SharedSource,
    bounds: &[PartitionRange],
    position: &Position,
    open: impl Fn(&PartitionRange) -> Offset,
) -> Result<Vec<Offset>, ScanError> {
    let times = match position {
        Position::Time(timestamp) => {
            let partitions: Vec<i32> = bounds.iter().map(|bound| bound.partition).collect();
            source.offsets_for_time(&partitions, *timestamp)?
        }
        _ => BTreeMap::new(),
    };
    if let Position::Offsets(offsets) = position
        && let Some(unknown) = offsets.keys().find(|index| !bounds.iter().any(|bound| bound.partition == **index))
    {
        let sentence = format!("an offset is given for partition {unknown}, which is not read");
        return Err(ScanError::Invalid(sentence));
    }
    let offset = |bound: &PartitionRange| match position {
        Position::Earliest => bound.start,
        Position::Latest => bound.end,
        Position::Offset(offset) => *offset,
        Position::Offsets(offsets) => offsets.get(&bound.partition).copied().unwrap_or_else(|| open(bound)),
        Position::Time(_) => times.get(&bound.partition).copied().unwrap_or(bound.end),
    };
    Ok(bounds.iter().map(offset).collect())
}

/// How far a reader is.
#[derive(Debug)]
pub struct Progress {
    offsets: u64,
    done: AtomicU64,
}

impl Progress {
    /// How many offsets the scan spans, but no more than its limit.
    pub fn total(&self) -> u64 {
        self.offsets
    }

    /// How many of them were read.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed).min(self.offsets)
    }
}

/// The partition that is read now.
struct Open {
    partition: Arc<TopicPartition>,
    range: PartitionRange,
    cursor: Box<dyn Cursor>,
    aborted: Option<Aborted>,
    /// Up to where it was read.
    at: Offset,
}

/// Reads a scan, batch by batch.
pub struct ScanReader {
    /// What its rows are built in, and what they are handed out in.
    own: SchemaRef,
    schema: SchemaRef,
    shape: Shape,
    source: SharedSource,
    waiting: VecDeque<PartitionRange>,
    current: Option<Open>,
    /// Rows that were built and not handed out yet.
    ready: Option<RecordBatch>,
    batch_rows: usize,
    left: u64,
    read_committed: bool,
    progress: Arc<Progress>,
}

impl ScanReader {
    /// The schema of its batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// How far it is; to be looked at from another thread.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// The next rows; `None` at the end. After an error there are no more.
    ///
    /// # Errors
    /// [`ScanError::Gone`] for rows that retention took, and whatever cannot be read, unpacked or decoded.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        let next = self.try_next();
        if next.is_err() {
            (self.left, self.ready) = (0, None);
        }
        next
    }

    fn try_next(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.ready.is_none() {
            self.ready = self.build()?;
        }
        let Some(ready) = self.ready.take() else { return Ok(None) };
        let most = self.batch_rows.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let rows = ready.num_rows().min(most);
        if rows < ready.num_rows() {
            self.ready = Some(ready.slice(rows, ready.num_rows() - rows));
        }
        self.left -= rows as u64;
        let batch = ready.slice(0, rows);
        if Arc::ptr_eq(&self.own, &self.schema) || self.own == self.schema {
            return Ok(Some(batch));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let columns = batch.columns().iter().zip(self.schema.fields());
        let cast = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast_with_options(column, field.data_type(), &options),
        });
        Ok(Some(RecordBatch::try_new(self.schema.clone(), cast.collect::<Result<_, _>>()?)?))
    }

    /// Gathers rows until there are enough for a batch; `None` where there are none.
    fn build(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        let shape = self.shape.clone();
        let mut rows = Rows::new(&shape, self.own.clone());
        while rows.len() < self.batch_rows
            && (rows.len() as u64) < self.left
            && rows.bytes() < BATCH_BYTES
            && let Some((partition, range, bytes)) = self.next_chunk()?
        {
            let aborted = self.current.as_mut().and_then(|open| open.aborted.as_mut());
            rows.add(&partition, &bytes, range, aborted)?;
        }
        if rows.len() == 0 { Ok(None) } else { rows.finish().map(Some) }
    }

    /// The next chunk, the partition it is of, and which of its offsets are wanted.
    #[allow(clippy::type_complexity)]
    fn next_chunk(&mut self) -> Result<Option<(Arc<TopicPartition>, std::ops::Range<Offset>, Bytes)>, ScanError> {
        loop {
            let open = match &mut self.current {
                Some(open) => open,
                None => {
                    let Some(range) = self.waiting.pop_front() else { return Ok(None) };
                    let partition = Arc::new(TopicPartition::new(self.source.topic(), range.partition));
                    let cursor = self.source.open(range, self.read_committed)?;
                    self.current.insert(Open { partition, range, cursor, aborted: None, at: range.start })
                }
            };
            let Some(chunk) = open.cursor.next()? else {
                self.progress.done.fetch_add((open.range.end - open.at) as u64, Ordering::Relaxed);
                self.current = None;
                continue;
            };
            let end = super::source::last_batch_end(&chunk.batches).unwrap_or(open.at).clamp(open.at, open.range.end);
            self.progress.done.fetch_add((end - open.at) as u64, Ordering::Relaxed);
            open.at = end;
            if self.read_committed {
                open.aborted = Some(Aborted::new(chunk.aborted));
            }
            return Ok(Some((open.partition.clone(), open.range.start..open.range.end, chunk.batches)));
        }
    }
}

impl Iterator for ScanReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map_err(ArrowError::from).transpose()
    }
}

impl RecordBatchReader for ScanReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
