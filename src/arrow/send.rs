//! A table into a topic: the rows of a stream of `RecordBatch`es, as records through a producer.
//!
//! It works in steps on the caller's own thread, for the stream may be anything, such as code in another language. A step
//! takes rows until its time is up, and goes on in the next where it was. Memory is bounded by the producer's
//! `buffer.memory` and one `RecordBatch`: word of what was written is gathered while the next rows are sent.

use std::fmt;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::SendError;
use super::encode::Rows;
use super::plan::TablePlan;
use crate::client::ClientError;
use crate::client::producer::{Bulk, Record, bulk::BulkReport};
use crate::common::clock::SharedClock;
use crate::common::ids::Timestamp;

/// How many rows are prepared at once, for a `RecordBatch` may have any number of them.
const SLICE: usize = 8192;
/// After how many rows the clock is read.
const LOOK_UP: usize = 64;

/// Sends a table. See the module.
pub struct TableSender<'a, I> {
    plan: TablePlan,
    batches: I,
    bulk: Bulk<'a>,
    clock: SharedClock,
    /// What is left of the batch that is worked on.
    batch: Option<RecordBatch>,
    /// A slice of it, and the next of its rows.
    slice: Option<(Rows, usize)>,
    /// How many rows came before the slice.
    sent: u64,
    ended: bool,
}

impl<'a, I: Iterator<Item = Result<RecordBatch, ArrowError>>> TableSender<'a, I> {
    /// Sends the rows of `batches`, all of the plan's schema, to the topic of `bulk`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SendError::Invalid`] for a partition that the topic does not have.
    pub fn new(plan: TablePlan, batches: I, bulk: Bulk<'a>) -> Result<TableSender<'a, I>, SendError> {
        if let Some(partition) = plan.fixed_partition() {
            let (topic, known) = (bulk.topic(), bulk.partition_count());
            if usize::try_from(partition).is_err() {
                return Err(SendError::Invalid(format!("partition is {partition}: it must be at least 0")));
            }
            if partition as usize >= known {
                let sentence = format!("topic {topic} has no partition {partition}: it has {known}");
                return Err(SendError::Invalid(sentence));
            }
        }
        let clock = bulk.producer().network().doors().clock.clone();
        Ok(TableSender { plan, batches, bulk, clock, batch: None, slice: None, sent: 0, ended: false })
    }

    /// Works for about so long. Returns whether all is done: every row was written, or is known to have failed.
    ///
    /// # Errors
    /// What ends it before that; the rows that were taken by then are sent all the same.
    pub fn advance(&mut self, within: Duration) -> Result<bool, SendError> {
        let deadline = self.clock.monotonic() + within;
        while !self.ended {
            if self.slice.is_none() && !self.prepare()? {
                self.ended = true;
                break;
            }
            self.send(deadline)?;
            if self.slice.is_some() || self.clock.monotonic() >= deadline {
                return Ok(false);
            }
        }
        Ok(self.bulk.finish(deadline))
    }

    /// What became of the rows, which are counted from 0: complete once [`TableSender::advance`] has returned `true`.
    pub fn into_report(self) -> BulkReport {
        self.bulk.into_report()
    }

    /// Takes the next slice; `false` when there is none.
    fn prepare(&mut self) -> Result<bool, SendError> {
        let broken = |row| move |source| SendError::Data { row, source };
        // Of what was sent before much is done by now.
        self.bulk.harvest();
        loop {
            let batch = match self.batch.take() {
                Some(batch) => batch,
                None => match self.batches.next() {
                    None => return Ok(false),
                    Some(batch) => batch.map_err(broken(self.sent))?,
                },
            };
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            let slice = batch.slice(0, rows.min(SLICE));
            self.slice = Some((Rows::new(&self.plan, &slice).map_err(broken(self.sent))?, 0));
            self.batch = (rows > SLICE).then(|| batch.slice(SLICE, rows - SLICE));
            return Ok(true);
        }
    }

    /// Sends from the slice; it is gone when all of it was taken.
    fn send(&mut self, deadline: Duration) -> Result<(), SendError> {
        let Some((rows, next)) = &mut self.slice else { return Ok(()) };
        let (bulk, clock, first) = (&mut self.bulk, &self.clock, self.sent);
        let topic = bulk.topic().clone();
        let mut now: Timestamp = clock.now();
        let mut failed: Option<ClientError> = None;
        let start = *next;
        let stopped = rows.each(&self.plan, &topic, start, |row, made| {
            if row % LOOK_UP == LOOK_UP - 1 {
                if row > start && clock.monotonic() >= deadline {
                    return false;
                }
                now = clock.now();
            }
            let number = first + row as u64;
            let sent = match made {
                Ok(record) => {
                    let record = Record { timestamp: record.timestamp.or(Some(now)), ..record };
                    bulk.send(number, &record, deadline)
                }
                Err(error) => {
                    bulk.refuse(number, error);
                    Ok(true)
                }
            };
            sent.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        });
        *next = stopped.map_err(|source| SendError::Data { row: first, source })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if *next == rows.count() {
            self.sent += rows.count() as u64;
            self.slice = None;
        }
        Ok(())
    }
}

impl<I> fmt::Debug for TableSender<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSender").field("topic", self.bulk.topic()).finish_non_exhaustive()
    }
}
