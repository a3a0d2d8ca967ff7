//! The column of headers: list<struct<key: utf8, value: binary>>, in their order and with their duplicates.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::ArrowError;

use super::schema::{header_fields, header_item};
use crate::record::Headers;

/// Gathers the headers of record after record.
pub(super) struct HeadersBuilder {
    ends: Vec<i32>,
    count: usize,
    keys: StringBuilder,
    values: BinaryBuilder,
}

impl HeadersBuilder {
    pub(super) fn new() -> HeadersBuilder {
        HeadersBuilder { ends: vec![0], count: 0, keys: StringBuilder::new(), values: BinaryBuilder::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, headers: Headers<'_>) {
        self.count += headers.len();
        for header in headers {
            self.keys.append_value(String::from_utf8_lossy(header.key));
            self.values.append_option(header.value);
        }
        // A batch of rows ends long before this overflows: see `rows`.
        self.ends.push(i32::try_from(self.count).unwrap_or(i32::MAX));
    }

    pub(super) fn copied(&self) -> usize {
        self.keys.values_slice().len() + self.values.values_slice().len()
    }

    pub(super) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let headers = StructArray::try_new(header_fields(), columns, None)?;
        Ok(Arc::new(ListArray::try_new(header_item(), OffsetBuffer::new(self.ends.into()), Arc::new(headers), None)?))
    }
}
