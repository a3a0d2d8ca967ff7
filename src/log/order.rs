//! The order of the batches in a segment: each begins behind the one before it, and ends within what the segment's
//! indexes can express.
//!
//! A log's own appends hold it, and a scan at opening checks it. A segment that is trusted (below the recovery point, or
//! closed well) is not scanned: whoever walks it holds it to this order as far as it walks, so that files that something
//! else wrote are told of as damaged instead of leading a reader back and forth.

use crate::common::ids::Offset;
use crate::record::Batch;

/// Where a walk over a segment is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    base: Offset,
    next: Offset,
}

impl Order {
    /// Before the first batch that is looked at, of a segment that begins at `base`.
    pub(super) fn new(base: Offset) -> Order {
        Order { base, next: base }
    }

    /// The offset behind the batches so far.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// What is wrong with its offsets; it is not taken then.
    pub(super) fn take(&mut self, batch: &Batch<'_>) -> Result<(), String> {
        let (first, last) = (batch.base_offset(), batch.last_offset());
        if first < self.next {
            return Err(format!("offset {first} does not follow {}", self.next));
        }
        if last < first {
            return Err(format!("the batch at offset {first} ends before it begins, at {last}"));
        }
        if last - self.base > i64::from(i32::MAX) {
            return Err(format!("offset {last} is too far from the segment's begin, {}", self.base));
        }
        self.next = last + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};

    fn take(order: &mut Order, base_offset: Offset, last_delta: i32) -> Result<(), String> {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(0, None, None, std::iter::empty());
        let mut bytes = builder.build().unwrap().to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[23..27].copy_from_slice(&last_delta.to_be_bytes());
        order.take(&Batch::parse(&bytes).unwrap())
    }

    #[test]
    fn batches_follow_each_other_with_or_without_a_gap() {
        let mut order = Order::new(5);
        take(&mut order, 5, 1).unwrap();
        take(&mut order, 7, 0).unwrap();
        take(&mut order, 100, 9).unwrap();
        assert_eq!(order.next(), 110);
    }

    #[test]
    fn a_batch_that_goes_back_or_ends_before_it_begins_or_lies_too_far_is_refused() {
        let mut order = Order::new(5);
        for (base, delta) in [(4, 0), (i64::MIN, 1), (5, -1), (5, i32::MIN), (6, i32::MAX), (i64::MAX, 1)] {
            let text = take(&mut order, base, delta).unwrap_err();
            assert!(text.contains("offset"), "{text}");
        }
        assert_eq!(order.next(), 5);
    }
}
