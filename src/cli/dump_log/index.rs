//! Offset and time indexes, held against the segment that lies beside them.
//!
//! An index that a broker has open may end in zeros, which are room for entries to come: they are not shown.

use std::fs;
use std::io;
use std::path::Path;

use crate::common::ids::Offset;
use crate::log::offset_index::{self, OffsetIndex};
use crate::log::time_index::{self, TimeIndex};

use super::super::Failure;
use super::super::output::counted;
use super::fields::{Fields, Value};
use super::segment::Segment;
use super::{Findings, offset_in_name};

/// Reads an index: its base offset, and its entries without the zeros behind them.
fn read(path: &Path, entry_len: usize, findings: &mut Findings) -> Result<(Offset, Vec<u8>), Failure> {
    let base = offset_in_name(path).ok_or("its name must begin with the base offset, in 20 digits")?;
    let mut bytes = fs::read(path)?;
    let extra = bytes.len() % entry_len;
    if extra != 0 {
        findings.wrong.push(format!("found {extra} bytes behind the last whole entry"));
    }
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used.next_multiple_of(entry_len).min(bytes.len() - extra));
    Ok((base, bytes))
}

/// The segment beside an index, if it is there.
fn segment_beside(path: &Path, base: Offset, findings: &mut Findings) -> Result<Option<Segment>, Failure> {
    let beside = path.with_file_name(format!("{base:020}.log"));
    match fs::exists(&beside) {
        Ok(true) => Segment::open(&beside, None).map(Some),
        Ok(false) => {
            findings.notes.push(format!("the entries are not checked, for {} is not there", beside.display()));
            Ok(None)
        }
        Err(error) => Err(io_failure(&beside, &error)),
    }
}

fn io_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::Sentence(format!("{}: {error}", path.display()))
}

/// Shows and checks an offset index.
pub(super) fn dump_offsets(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let (base, bytes) = read(path, offset_index::ENTRY_LEN, findings)?;
    let mut segment = segment_beside(path, base, findings)?;
    let (mut count, mut before) = (0, None::<offset_index::Entry>);
    for entry in OffsetIndex::new(base, &bytes).entries() {
        count += 1;
        fields.begin("entry", "")?;
        fields.add("offset", Value::Int(entry.offset))?;
        fields.add("position", Value::Int(entry.position.into()))?;
        fields.end()?;
        if before.is_some_and(|before| entry.offset <= before.offset || entry.position <= before.position) {
            findings.wrong.push(format!("offset {} at position {} does not ascend", entry.offset, entry.position));
        }
        before = Some(entry);
        let Some(segment) = &mut segment else { continue };
        match segment.find(|position, _| position >= u64::from(entry.position))? {
            Some((position, batch)) if position == u64::from(entry.position) => {
                let (first, last) = (batch.base_offset(), batch.last_offset());
                if !(first..=last).contains(&entry.offset) {
                    findings.wrong.push(format!(
                        "offset {} is said to be at position {position}, where offsets {first} to {last} are",
                        entry.offset
                    ));
                }
            }
            _ => findings.wrong.push(format!("no batch begins at position {}", entry.position)),
        }
    }
    findings.summary = format!(", {}", counted(count, "entry", "entries"));
    Ok(())
}

/// Shows and checks a time index.
pub(super) fn dump_times(path: &Path, fields: &mut Fields<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let (base, bytes) = read(path, time_index::ENTRY_LEN, findings)?;
    let mut segment = segment_beside(path, base, findings)?;
    let (mut count, mut before) = (0, None::<time_index::Entry>);
    for entry in TimeIndex::new(base, &bytes).entries() {
        count += 1;
        fields.begin("entry", "")?;
        fields.add("timestamp", Value::Int(entry.timestamp))?;
        fields.add("offset", Value::Int(entry.offset))?;
        fields.end()?;
        if before.is_some_and(|before| entry.timestamp <= before.timestamp || entry.offset <= before.offset) {
            findings.wrong.push(format!("timestamp {} of offset {} does not ascend", entry.timestamp, entry.offset));
        }
        before = Some(entry);
        let Some(segment) = &mut segment else { continue };
        match segment.find(|_, batch| batch.last_offset() >= entry.offset)? {
            Some((_, batch)) if batch.base_offset() <= entry.offset => {
                if batch.max_timestamp() != entry.timestamp {
                    findings.wrong.push(format!(
                        "offset {} is said to have timestamp {}, and its batch has {}",
                        entry.offset,
                        entry.timestamp,
                        batch.max_timestamp()
                    ));
                }
            }
            _ => findings.wrong.push(format!("offset {} is not in the segment", entry.offset)),
        }
    }
    findings.summary = format!(", {}", counted(count, "entry", "entries"));
    Ok(())
}
