//! Scans in parts, and scans that travel: what another process needs to read the same rows.
//!
//! A [`Scan`] is a value but for its source, which holds logs or connections of this process. [`ScanParts`] is the rest of
//! it. Whoever gets it opens the topic in a way of its own and puts both together with [`Scan::of_parts`]; the topic's
//! id goes along, so that a topic which was made anew under the same name is not taken for the one that was scanned.

use crate::common::ids::Uuid;

use super::ScanError;
use super::scan::Scan;
use super::schema::{Column, Shape};
use super::source::{PartitionRange, SharedSource};

/// A scan without its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanParts {
    /// The topic's name.
    pub topic: String,
    /// Its id; [`Uuid::ZERO`] where that is not known.
    pub topic_id: Uuid,
    /// The offsets that are read.
    pub ranges: Vec<PartitionRange>,
    /// Which columns.
    pub shape: Shape,
    /// The most rows of one record batch.
    pub batch_rows: usize,
    /// The most rows of all.
    pub limit: Option<u64>,
    /// Whether records of open and aborted transactions are left out.
    pub read_committed: bool,
}

impl Scan {
    /// What it is besides its source.
    pub fn parts(&self) -> ScanParts {
        ScanParts {
            topic: self.source.topic().to_owned(),
            topic_id: self.source.topic_id(),
            ranges: self.ranges.clone(),
            shape: self.shape.clone(),
            batch_rows: self.batch_rows,
            limit: self.limit,
            read_committed: self.read_committed,
        }
    }

    /// The scan that these are the parts of, over `source`; nothing is asked of the source.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for columns that clash, batches without rows, and ranges that end before they begin.
    pub fn of_parts(source: SharedSource, parts: ScanParts) -> Result<Scan, ScanError> {
        let ScanParts { topic: _, topic_id: _, ranges, shape, batch_rows, limit, read_committed } = parts;
        shape.check()?;
        if batch_rows == 0 {
            return Err(ScanError::Invalid("batch_rows is 0: a record batch must have at least 1 row".to_owned()));
        }
        let fields = shape.json.as_ref().map_or(0, |json| json.fields().len());
        if let Some((name, _)) =
            shape.columns.iter().find(|(_, shown)| matches!(shown, Column::Field(index) if *index >= fields))
        {
            return Err(ScanError::Invalid(format!("column {name:?} shows a field that the value does not have")));
        }
        if let Some(range) = ranges.iter().find(|range| range.start < 0 || range.end < range.start) {
            let PartitionRange { partition, start, end } = range;
            return Err(ScanError::Invalid(format!("partition {partition} is read from {start} to {end}")));
        }
        Ok(Scan { source, ranges, shape, batch_rows, limit, read_committed })
    }

    /// Cuts it into `count` scans that have about as many offsets each, and together its rows; into fewer where there
    /// are fewer offsets.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for no parts at all, and for a scan with a limit: its parts could not know of each other's
    /// rows.
    pub fn splits(&self, count: usize) -> Result<Vec<Scan>, ScanError> {
        if count == 0 {
            return Err(ScanError::Invalid("0 parts: a scan is split into at least 1".to_owned()));
        }
        if self.limit.is_some() {
            return Err(ScanError::Invalid(
                "a scan with a limit cannot be split: split it first, or leave it out".to_owned(),
            ));
        }
        let total: u64 = self.ranges.iter().map(|range| (range.end - range.start).max(0) as u64).sum();
        let count = (count as u64).min(total).max(1);
        // Where the part ends that is being filled, as an offset into all ranges put one behind the other.
        let end_of = |part: u64| (u128::from(total) * u128::from(part) / u128::from(count)) as u64;
        let (mut parts, mut part, mut at) = (Vec::new(), Vec::new(), 0u64);
        for range in &self.ranges {
            let mut start = range.start;
            while start < range.end {
                let room = end_of(parts.len() as u64 + 1) - at;
                let taken = room.min((range.end - start) as u64);
                let end = start + taken as i64;
                part.push(PartitionRange { partition: range.partition, start, end });
                (start, at) = (end, at + taken);
                if taken == room {
                    parts.push(std::mem::take(&mut part));
                }
            }
        }
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        Ok(parts.into_iter().map(|ranges| Scan { ranges, ..self.clone() }).collect())
    }
}
