//! The cells of a batch of rows that could not be decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::ArrowError;

use super::schema::error_fields;

/// One cell that could not be decoded.
pub(super) struct Problem {
    /// `key` or `value`.
    pub(super) column: &'static str,
    /// What it should be.
    pub(super) wanted: &'static str,
    /// What it is.
    pub(super) bytes: Vec<u8>,
    /// Why it is not what it should be.
    pub(super) reason: String,
}

/// The first problem of each row that has one.
pub(super) struct Problems {
    rows: usize,
    by_row: BTreeMap<usize, Problem>,
}

impl Problems {
    pub(super) fn new(rows: usize) -> Problems {
        Problems { rows, by_row: BTreeMap::new() }
    }

    pub(super) fn note(
        &mut self,
        row: usize,
        column: &'static str,
        wanted: &'static str,
        bytes: Vec<u8>,
        reason: String,
    ) {
        self.by_row.entry(row).or_insert(Problem { column, wanted, bytes, reason });
    }

    /// That of the first row which has one.
    pub(super) fn first(&self) -> Option<(usize, &Problem)> {
        self.by_row.first_key_value().map(|(row, problem)| (*row, problem))
    }

    /// The column that tells them: null where there is none.
    pub(super) fn column(&self) -> Result<ArrayRef, ArrowError> {
        let (mut columns, mut bytes, mut reasons) = (StringBuilder::new(), BinaryBuilder::new(), StringBuilder::new());
        for row in 0..self.rows {
            let problem = self.by_row.get(&row);
            columns.append_value(problem.map_or("", |problem| problem.column));
            bytes.append_value(problem.map_or(&[][..], |problem| &problem.bytes));
            reasons.append_value(problem.map_or("", |problem| &problem.reason));
        }
        let arrays: Vec<ArrayRef> =
            vec![Arc::new(columns.finish()), Arc::new(bytes.finish()), Arc::new(reasons.finish())];
        let valid: Vec<bool> = (0..self.rows).map(|row| self.by_row.contains_key(&row)).collect();
        Ok(Arc::new(StructArray::try_new(error_fields(), arrays, Some(NullBuffer::from(valid)))?))
    }
}
