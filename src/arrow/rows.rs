//! From chunks of batches to the columns of one `RecordBatch`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMillisecondArray};
use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;

use super::ScanError;
use super::column::ColumnBuilder;
use super::headers::HeadersBuilder;
use super::json::JsonBuilder;
use super::problems::Problems;
use super::schema::{Column, OnError, Shape};
use crate::client::consumer::FetchedBatch;
use crate::client::consumer::batch::Aborted;
use crate::common::ids::{Offset, TopicPartition};
use crate::record::{Batch, BatchError, RecordView, batches};

/// What one batch may decompress to, and about how much one block of unpacked batches holds: views count in 32 bits.
const UNPACKED_LIMIT: usize = 1 << 30;

/// Gathers rows.
pub(super) struct Rows<'a> {
    shape: &'a Shape,
    schema: SchemaRef,
    /// Which rows came from which partition: the partition and the row behind its last.
    origins: Vec<(Arc<TopicPartition>, usize)>,
    offsets: Vec<Offset>,
    timestamps: Vec<i64>,
    timed: NullBufferBuilder,
    key: Option<ColumnBuilder>,
    value: Option<ColumnBuilder>,
    headers: Option<HeadersBuilder>,
    /// The value's fields, and which column shows each.
    json: Option<(Vec<usize>, JsonBuilder)>,
    blocks: Vec<Buffer>,
    held: usize,
    /// What becomes a block when the rows are finished.
    gathered: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(shape: &'a Shape, schema: SchemaRef) -> Rows<'a> {
        let has = |column| shape.columns.iter().any(|(_, shown)| *shown == column);
        Rows {
            shape,
            schema,
            origins: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
            timed: NullBufferBuilder::new(0),
            key: has(Column::Key).then(|| ColumnBuilder::new(shape.key, shape.binary)),
            value: has(Column::Value).then(|| ColumnBuilder::new(shape.value, shape.binary)),
            headers: has(Column::Headers).then(HeadersBuilder::new),
            json: shape.json_wanted().map(|(shown, schema)| (shown, JsonBuilder::new(schema))),
            blocks: Vec::new(),
            held: 0,
            gathered: Vec::new(),
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// About how many bytes are held: blocks and copies.
    pub(super) fn bytes(&self) -> usize {
        let columns = self.key.iter().chain(&self.value).map(ColumnBuilder::copied).sum::<usize>();
        let columns = columns + self.json.as_ref().map_or(0, |(_, json)| json.copied());
        self.held + columns + self.headers.as_ref().map_or(0, HeadersBuilder::copied)
    }

    /// Adds the records of `bytes`, whole batches of `partition`, whose offsets lie in `range`.
    pub(super) fn add(
        &mut self,
        partition: &Arc<TopicPartition>,
        bytes: &Bytes,
        range: Range<Offset>,
        mut aborted: Option<&mut Aborted>,
    ) -> Result<(), ScanError> {
        let wrong = |source| ScanError::Batch { partition: TopicPartition::clone(partition), source };
        let mut unpacked = Vec::new();
        let mut waiting: Vec<(Batch<'_>, Range<usize>)> = Vec::new();
        let mut plain = false;
        let mut at = 0;
        for batch in batches(bytes) {
            let batch = batch.map_err(wrong)?;
            let body = at + batch.size_in_bytes() - batch.body_bytes().len();
            at += batch.size_in_bytes();
            let dropped = match &mut aborted {
                Some(aborted) => aborted.drops(&batch).map_err(wrong)?,
                None => false,
            };
            if dropped || batch.is_control() || batch.last_offset() < range.start || batch.base_offset() >= range.end {
                continue;
            }
            if batch.is_compressed() {
                let start = unpacked.len();
                batch.decompress_into(UNPACKED_LIMIT, &mut unpacked).map_err(wrong)?;
                waiting.push((batch, start..unpacked.len()));
                if unpacked.len() < UNPACKED_LIMIT {
                    continue;
                }
            }
            // Rows come in the order of their offsets: what waits goes first.
            self.walk_unpacked(std::mem::take(&mut unpacked), &mut waiting, &range, &mut plain, bytes)
                .map_err(wrong)?;
            if !batch.is_compressed() {
                // It is viewed where it lies: in the chunk itself.
                plain = true;
                self.walk(&batch, bytes, body..at, &range).map_err(wrong)?;
            }
        }
        self.walk_unpacked(unpacked, &mut waiting, &range, &mut plain, bytes).map_err(wrong)?;
        if plain {
            self.push_block(Buffer::from(bytes.clone()));
        }
        self.note_origin(partition);
        Ok(())
    }

    /// Adds the records of a batch that a consumer fetched; to be mixed with [`Rows::add`] by nobody. What is viewed is
    /// copied into one block: whoever keeps a row of a stream should not keep the whole answer that it came in.
    pub(super) fn add_fetched(&mut self, batch: &FetchedBatch) {
        let number = self.blocks.len() as u32;
        for record in batch.records() {
            let (mut places, gathered) = ([0; 2], &mut self.gathered);
            for ((column, piece), place) in
                [(&self.key, record.key), (&self.value, record.value)].into_iter().zip(&mut places)
            {
                if column.as_ref().is_some_and(ColumnBuilder::wants_blocks) {
                    *place = gathered.len() as u32;
                    gathered.extend_from_slice(piece.unwrap_or_default());
                }
            }
            self.push(&record, number, places);
        }
        self.note_origin(batch.partition());
    }

    /// Walks batches that were unpacked into `unpacked`, which becomes a block.
    fn walk_unpacked(
        &mut self,
        unpacked: Vec<u8>,
        waiting: &mut Vec<(Batch<'_>, Range<usize>)>,
        range: &Range<Offset>,
        plain: &mut bool,
        chunk: &Bytes,
    ) -> Result<(), BatchError> {
        if waiting.is_empty() {
            return Ok(());
        }
        if std::mem::take(plain) {
            self.push_block(Buffer::from(chunk.clone()));
        }
        for (batch, body) in waiting.drain(..) {
            self.walk(&batch, &unpacked, body, range)?;
        }
        self.push_block(Buffer::from_vec(unpacked));
        Ok(())
    }

    fn push_block(&mut self, block: Buffer) {
        if self.key.iter().chain(&self.value).any(ColumnBuilder::wants_blocks) {
            self.held += block.len();
            self.blocks.push(block);
        }
    }

    /// Walks the records of a batch that lie at `body` of the block that comes next.
    fn walk(
        &mut self,
        batch: &Batch<'_>,
        block: &[u8],
        body: Range<usize>,
        range: &Range<Offset>,
    ) -> Result<(), BatchError> {
        let number = self.blocks.len() as u32;
        let start = block.as_ptr() as usize;
        // A piece of the block; both lie in the same allocation, which has less than 4 GiB.
        let at = |piece: Option<&[u8]>| piece.map_or(0, |piece| (piece.as_ptr() as usize - start) as u32);
        for record in batch.records(&block[body]) {
            let record = record?;
            if !range.contains(&record.offset) {
                continue;
            }
            self.push(&record, number, [at(record.key), at(record.value)]);
        }
        Ok(())
    }

    /// Adds a record whose key and value lie at these places of block number `block`.
    #[inline]
    fn push(&mut self, record: &RecordView<'_>, block: u32, [key_at, value_at]: [u32; 2]) {
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.timed.append(record.timestamp != -1);
        if let Some(key) = &mut self.key {
            key.push(record.key, block, key_at);
        }
        if let Some(value) = &mut self.value {
            value.push(record.value, block, value_at);
        }
        if let Some(headers) = &mut self.headers {
            headers.push(record.headers);
        }
        if let Some((_, json)) = &mut self.json {
            json.push(record.value);
        }
    }

    /// Notes which partition the rows came from that were added last.
    fn note_origin(&mut self, partition: &Arc<TopicPartition>) {
        match self.origins.last_mut() {
            Some((last, rows)) if Arc::ptr_eq(last, partition) => *rows = self.offsets.len(),
            _ => self.origins.push((partition.clone(), self.offsets.len())),
        }
    }

    /// The rows as a batch.
    pub(super) fn finish(mut self) -> Result<RecordBatch, ScanError> {
        let rows = self.offsets.len();
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            self.push_block(Buffer::from_vec(gathered));
        }
        let mut problems = Problems::new(rows);
        let mut key = self.key.take().map(|key| key.finish(&self.blocks)).transpose()?;
        let mut value = self.value.take().map(|value| value.finish(&self.blocks)).transpose()?;
        for (column, decoding, finished) in [("key", self.shape.key, &mut key), ("value", self.shape.value, &mut value)]
        {
            let reason = || match decoding.width() {
                Some(width) => format!("it must have {width} bytes"),
                None => "its bytes are not UTF-8".to_owned(),
            };
            for (row, bytes) in finished.iter_mut().flat_map(|finished| finished.bad.drain(..)) {
                problems.note(row, column, decoding.name(), bytes, reason());
            }
        }
        let mut fields: BTreeMap<usize, ArrayRef> = BTreeMap::new();
        if let Some((shown, json)) = self.json.take() {
            let decoded = json.finish()?;
            for bad in decoded.bad {
                problems.note(bad.row, "value", "json", bad.bytes, bad.reason);
            }
            fields = shown.into_iter().zip(decoded.columns).collect();
        }
        if self.shape.on_error == OnError::Raise {
            self.complain(&problems)?;
        }
        let mut headers = self.headers.take().map(HeadersBuilder::finish).transpose()?;
        let mut timed = self.timed.finish();
        let missing = || ArrowError::InvalidArgumentError("a column is shown twice".to_owned());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.shape.columns.len());
        for (_, column) in &self.shape.columns {
            arrays.push(match column {
                Column::Partition => Arc::new(self.partitions()),
                Column::Offset => Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
                Column::Timestamp => {
                    let values = std::mem::take(&mut self.timestamps);
                    Arc::new(TimestampMillisecondArray::new(values.into(), timed.take()).with_timezone("UTC"))
                }
                Column::Key => key.take().ok_or_else(missing)?.array,
                Column::Value => value.take().ok_or_else(missing)?.array,
                Column::Headers => headers.take().ok_or_else(missing)?,
                Column::Field(index) => fields.remove(index).ok_or_else(missing)?,
                Column::Error => problems.column()?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    fn partitions(&self) -> Int32Array {
        let mut values = Vec::with_capacity(self.origins.last().map_or(0, |(_, end)| *end));
        for (partition, end) in &self.origins {
            values.resize(*end, partition.partition);
        }
        Int32Array::from(values)
    }

    /// Tells of the first row that could not be decoded.
    fn complain(&self, problems: &Problems) -> Result<(), ScanError> {
        let Some((row, problem)) = problems.first() else { return Ok(()) };
        let Some((partition, _)) = self.origins.iter().find(|(_, end)| row < *end) else { return Ok(()) };
        Err(ScanError::Decode {
            partition: TopicPartition::clone(partition),
            offset: self.offsets[row],
            column: problem.column,
            wanted: problem.wanted,
            reason: problem.reason.clone(),
        })
    }
}
