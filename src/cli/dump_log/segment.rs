//! Segments: the batches of a `.log` (or of a Raft snapshot, which is written the same way), and their records.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::common::ids::Offset;
use crate::record::{
    Batch, BatchError, Body, ControlType, EndTxnMarker, HEADER_LEN, LOG_OVERHEAD, RecordView, TimestampType,
    batch::increment_sequence,
};

use super::super::Failure;
use super::super::output::counted;
use super::fields::{Fields, Value};
use super::{Depth, Findings, offset_in_name};

/// The most that the records of one batch may come to, decompressed.
const MAX_BODY: usize = 256 << 20;

/// Where a batch begins, and the batch.
pub(super) type Placed<'a> = (u64, Result<Batch<'a>, BatchError>);

/// A segment's batches, one after the other, of a file that may be larger than the memory.
pub(super) struct Segment {
    reader: BufReader<File>,
    position: u64,
    len: u64,
    buffer: Vec<u8>,
    /// Where the batch in the buffer begins, if there is one.
    current: Option<u64>,
}

impl Segment {
    /// Opens the file, to be read up to `max_bytes`.
    pub(super) fn open(path: &Path, max_bytes: Option<u64>) -> Result<Segment, Failure> {
        let file = File::open(path)?;
        let len = file.metadata()?.len().min(max_bytes.unwrap_or(u64::MAX));
        Ok(Segment {
            reader: BufReader::with_capacity(1 << 20, file),
            position: 0,
            len,
            buffer: Vec::new(),
            current: None,
        })
    }

    /// The next batch and where it begins; `None` at the end. Behind an error there is nothing to be found.
    pub(super) fn next(&mut self) -> Result<Option<Placed<'_>>, Failure> {
        self.current = None;
        if !self.read()? {
            return Ok(None);
        }
        let (position, left) = (self.position, self.len - self.position);
        let batch = match Batch::parse(&self.buffer) {
            // Only as much was read as tells what is wrong.
            Err(BatchError::Incomplete { needed, .. }) => {
                Err(BatchError::Incomplete { needed, available: usize::try_from(left).unwrap_or(usize::MAX) })
            }
            batch => batch,
        };
        match &batch {
            Ok(batch) => {
                self.current = Some(position);
                self.position += batch.size_in_bytes() as u64;
            }
            Err(_) => self.len = self.position,
        }
        Ok(Some((position, batch)))
    }

    /// Goes on to the first batch, the one that was read last included, that `wanted` wants; `None` where the segment,
    /// or what is sound of it, ends before that.
    pub(super) fn find(
        &mut self,
        wanted: impl Fn(u64, &Batch<'_>) -> bool,
    ) -> Result<Option<(u64, Batch<'_>)>, Failure> {
        loop {
            if let Some(position) = self.current
                && Batch::parse(&self.buffer).is_ok_and(|batch| wanted(position, &batch))
            {
                return Ok(Batch::parse(&self.buffer).ok().map(|batch| (position, batch)));
            }
            if self.next()?.is_none_or(|(_, batch)| batch.is_err()) {
                return Ok(None);
            }
        }
    }

    /// Reads the bytes of the next batch, or as much of them as tells why it is none; `false` at the end.
    fn read(&mut self) -> Result<bool, Failure> {
        let left = self.len - self.position;
        if left == 0 {
            self.buffer.clear();
            return Ok(false);
        }
        self.buffer.resize(LOG_OVERHEAD.min(left as usize), 0);
        self.reader.read_exact(&mut self.buffer)?;
        // A length that the file cannot hold is never allocated.
        let length = self.buffer.get(LOG_OVERHEAD - 4..).and_then(|bytes| bytes.first_chunk());
        let length = length.map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let size = LOG_OVERHEAD as u64 + u64::from(length.max(0).unsigned_abs());
        let wanted = if size <= left { size } else { left.min(HEADER_LEN as u64) } as usize;
        if wanted > self.buffer.len() {
            self.buffer.resize(wanted, 0);
            self.reader.read_exact(&mut self.buffer[LOG_OVERHEAD..])?;
        }
        Ok(true)
    }
}

/// Shows and checks a segment.
pub(super) fn dump(path: &Path, depth: Depth, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let base = offset_in_name(path);
    if let Some(offset) = base {
        let snapshot = path.extension().is_some_and(|end| end == "checkpoint");
        let label = if snapshot { "Snapshot end offset" } else { "Log starting offset" };
        fields.begin("segment", "")?;
        fields.add(if fields.is_json() { "startOffset" } else { label }, Value::Int(offset))?;
        fields.end()?;
    }
    let mut check = Check::new(base);
    let (mut batches, mut records) = (0u64, 0u64);
    let mut segment = Segment::open(path, depth.max_bytes)?;
    while let Some((position, batch)) = segment.next()? {
        let batch = match batch {
            Ok(batch) => batch,
            Err(_) if depth.max_bytes.is_some() => break,
            Err(error) => {
                let left = std::fs::metadata(path)?.len().saturating_sub(position);
                findings
                    .wrong
                    .push(format!("found {left} invalid bytes at the end, from position {position}: {error}"));
                break;
            }
        };
        batches += 1;
        let crc = batch.verify_crc();
        show_batch(&batch, position, crc.is_ok(), fields)?;
        check.batch(&batch, depth.records, position, findings);
        if let Err(error) = crc {
            findings.wrong.push(format!("at position {position}: {error}"));
        } else if !depth.records {
            records += u64::from(batch.record_count().max(0).unsigned_abs());
        } else {
            match batch.body(MAX_BODY) {
                Ok(body) => records += dump_records(&body, position, depth, &mut check, fields, findings)?,
                Err(error) => findings.wrong.push(format!("at position {position}: {error}")),
            }
        }
    }
    if depth.records {
        check.finish(findings);
    }
    findings.summary = match check.first {
        Some(first) => {
            let batches = counted(batches, "batch", "batches");
            let records = counted(records, "record", "records");
            format!(", {batches}, {records}, offsets {first} to {}", check.end)
        }
        None => ", empty".to_owned(),
    };
    Ok(())
}

/// Shows and checks the records of a batch, and returns how many there are.
fn dump_records(
    body: &Body<'_>,
    position: u64,
    depth: Depth,
    check: &mut Check,
    fields: &mut Fields<'_>,
    findings: &mut Findings,
) -> Result<u64, Failure> {
    let batch = body.batch();
    let (mut count, mut max_timestamp) = (0, batch.max_timestamp());
    for record in body.iter() {
        match record {
            Ok(record) => {
                count += 1;
                max_timestamp = max_timestamp.max(record.timestamp);
                check.record(record.offset, position, findings);
                show_record(&batch, &record, depth, fields)?;
            }
            Err(error) => findings.wrong.push(format!("at position {position}: {error}")),
        }
    }
    if max_timestamp > batch.max_timestamp() {
        findings.wrong.push(format!(
            "at position {position}: the batch has max timestamp {}, and a record {max_timestamp}",
            batch.max_timestamp()
        ));
    }
    Ok(count)
}

fn show_batch(batch: &Batch<'_>, position: u64, valid: bool, fields: &mut Fields<'_>) -> Result<(), Failure> {
    let codec = batch.codec().map_or("unknown", |codec| codec.name());
    fields.begin("batch", "")?;
    for (name, value) in [
        ("baseOffset", Value::Int(batch.base_offset())),
        ("lastOffset", Value::Int(batch.last_offset())),
        ("count", Value::Int(batch.record_count().into())),
        ("baseSequence", Value::Int(batch.base_sequence().into())),
        ("lastSequence", Value::Int(batch.last_sequence().into())),
        ("producerId", Value::Int(batch.producer_id())),
        ("producerEpoch", Value::Int(batch.producer_epoch().into())),
        ("partitionLeaderEpoch", Value::Int(batch.partition_leader_epoch().into())),
        ("isTransactional", Value::Bool(batch.is_transactional())),
        ("isControl", Value::Bool(batch.is_control())),
        ("deleteHorizonMs", Value::Optional(batch.delete_horizon())),
        ("position", Value::Int(position as i64)),
        (timestamp_name(batch), Value::Int(batch.max_timestamp())),
        ("size", Value::Int(batch.size_in_bytes() as i64)),
        ("magic", Value::Int(batch.magic().into())),
        ("compresscodec", Value::Word(codec)),
        ("crc", Value::Int(batch.crc().into())),
        ("isvalid", Value::Bool(valid)),
    ] {
        fields.add(name, value)?;
    }
    fields.end()
}

fn show_record(
    batch: &Batch<'_>,
    record: &RecordView<'_>,
    depth: Depth,
    fields: &mut Fields<'_>,
) -> Result<(), Failure> {
    let size = |bytes: Option<&[u8]>| Value::Int(bytes.map_or(-1, |bytes| bytes.len() as i64));
    fields.begin("record", "| ")?;
    if depth.metadata {
        let sequence = match batch.base_sequence() {
            base if base < 0 => -1,
            base => increment_sequence(base, (record.offset - batch.base_offset()) as i32),
        };
        fields.add("offset", Value::Int(record.offset))?;
        fields.add(timestamp_name(batch), Value::Int(record.timestamp))?;
        fields.add("keySize", size(record.key))?;
        fields.add("valueSize", size(record.value))?;
        fields.add("sequence", Value::Int(sequence.into()))?;
        let keys: Vec<&[u8]> = record.headers.map(|header| header.key).collect();
        fields.add("headerKeys", Value::List(&keys))?;
        if batch.is_control() {
            show_control(batch, record, fields)?;
        }
    }
    if depth.data && !batch.is_control() {
        if let Some(key) = record.key {
            fields.add("key", Value::Bytes(key))?;
        }
        if let Some(value) = record.value {
            fields.add("payload", Value::Bytes(value))?;
        }
    }
    fields.end()
}

fn show_control(batch: &Batch<'_>, record: &RecordView<'_>, fields: &mut Fields<'_>) -> Result<(), Failure> {
    if let Ok(Some(marker)) = EndTxnMarker::read(batch) {
        let word = if marker.committed { "COMMIT" } else { "ABORT" };
        fields.add("endTxnMarker", Value::Word(word))?;
        return fields.add("coordinatorEpoch", Value::Int(marker.coordinator_epoch.into()));
    }
    let word = match record.key.and_then(ControlType::from_key) {
        Some(ControlType::Abort) => "ABORT(0)".to_owned(),
        Some(ControlType::Commit) => "COMMIT(1)".to_owned(),
        Some(ControlType::LeaderChange) => "LEADER_CHANGE(2)".to_owned(),
        Some(ControlType::SnapshotHeader) => "SNAPSHOT_HEADER(3)".to_owned(),
        Some(ControlType::SnapshotFooter) => "SNAPSHOT_FOOTER(4)".to_owned(),
        Some(ControlType::KRaftVersion) => "KRAFT_VERSION(5)".to_owned(),
        Some(ControlType::KRaftVoters) => "KRAFT_VOTERS(6)".to_owned(),
        Some(ControlType::Unknown(id)) => format!("UNKNOWN({id})"),
        None => "UNKNOWN".to_owned(),
    };
    fields.add("controlType", Value::Word(&word))
}

fn timestamp_name(batch: &Batch<'_>) -> &'static str {
    match batch.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// What must hold between batches, and between records: offsets ascend. They may leave some out.
struct Check {
    /// The last offset of the batch before, or the offset before the segment.
    end: Offset,
    /// The last offset that was shown, of a record or of a whole batch.
    last: Option<Offset>,
    first: Option<Offset>,
    gaps: u64,
    first_gap: Option<(Offset, Offset)>,
}

impl Check {
    fn new(base: Option<Offset>) -> Check {
        Check { end: base.unwrap_or(0) - 1, last: None, first: None, gaps: 0, first_gap: None }
    }

    /// A batch; its records follow one by one if they are looked at.
    fn batch(&mut self, batch: &Batch<'_>, records: bool, position: u64, findings: &mut Findings) {
        let (base, last) = (batch.base_offset(), batch.last_offset());
        if base <= self.end {
            findings.wrong.push(format!(
                "at position {position}: the batch begins at offset {base}, and must begin behind {}",
                self.end
            ));
        }
        self.end = last;
        self.first = self.first.or(Some(base));
        if !records {
            self.follow(base);
            self.last = Some(last);
        }
    }

    fn record(&mut self, offset: Offset, position: u64, findings: &mut Findings) {
        if self.last.is_some_and(|last| offset <= last) {
            findings.wrong.push(format!("at position {position}: offset {offset} does not ascend"));
        }
        self.follow(offset);
        self.last = Some(offset);
    }

    fn follow(&mut self, next: Offset) {
        if let Some(last) = self.last.filter(|last| next > last + 1) {
            self.gaps += 1;
            self.first_gap = self.first_gap.or(Some((last, next)));
        }
    }

    fn finish(&self, findings: &mut Findings) {
        if let Some((before, next)) = self.first_gap {
            findings.notes.push(format!(
                "offset {before} is followed by {next} ({} in all, as compaction leaves them)",
                counted(self.gaps, "gap", "gaps")
            ));
        }
    }
}
