//! Rows as JSON objects: arrow-json's encoders, with what they lack.
//!
//! Nulls are written (`"a":null`), times with a zone in UTC, bytes as hexadecimal digits, what is not a finite number as
//! null.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_json::writer::{Encoder, NullableEncoder, make_encoder};
use arrow_json::{EncoderFactory, EncoderOptions};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};

use super::plan::ObjectRecipe;

/// How values are written.
pub(super) fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Dictionaries))
}

/// Encodes dictionaries whose nulls are among their values; arrow-json's own encoder sees those among the keys only.
#[derive(Debug)]
struct Dictionaries;

struct Words<'a> {
    keys: Vec<usize>,
    values: NullableEncoder<'a>,
}

impl EncoderFactory for Dictionaries {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let Some(dictionary) = array.as_any_dictionary_opt() else { return Ok(None) };
        let words: &'a ArrayRef = dictionary.values();
        // Without a word each row is null, and is not asked for.
        let keys = if words.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        let values = make_encoder(field, words, options)?;
        Ok(Some(NullableEncoder::new(Box::new(Words { keys, values }), array.logical_nulls())))
    }
}

impl Encoder for Words<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.values.encode(self.keys[row], out);
    }
}

/// How the encoder knows UTC without a table of all zones.
const UTC: &str = "+00:00";

/// The same moments in UTC.
pub(super) fn in_utc(array: &ArrayRef) -> ArrayRef {
    let DataType::Timestamp(unit, Some(_)) = array.data_type() else { return array.clone() };
    match unit {
        TimeUnit::Second => Arc::new(array.as_primitive::<TimestampSecondType>().clone().with_timezone(UTC)),
        TimeUnit::Millisecond => Arc::new(array.as_primitive::<TimestampMillisecondType>().clone().with_timezone(UTC)),
        TimeUnit::Microsecond => Arc::new(array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone(UTC)),
        TimeUnit::Nanosecond => Arc::new(array.as_primitive::<TimestampNanosecondType>().clone().with_timezone(UTC)),
    }
}

/// Writes row after row into one buffer.
pub(super) struct Objects<'a> {
    recipe: &'a ObjectRecipe,
    fields: Vec<NullableEncoder<'a>>,
    buffer: Vec<u8>,
}

impl<'a> Objects<'a> {
    /// Of these columns, which are those of the recipe.
    pub(super) fn new(recipe: &'a ObjectRecipe, columns: &'a [ArrayRef]) -> Result<Objects<'a>, ArrowError> {
        let fields = recipe.fields.iter().zip(columns);
        let fields = fields.map(|(field, column)| make_encoder(field, column, &recipe.options));
        Ok(Objects { recipe, fields: fields.collect::<Result<_, _>>()?, buffer: Vec::new() })
    }

    /// The object of a row.
    pub(super) fn write(&mut self, row: usize) -> &[u8] {
        self.buffer.clear();
        for (field, lead) in self.fields.iter_mut().zip(&self.recipe.lead) {
            self.buffer.extend_from_slice(lead);
            match field.is_null(row) {
                true => self.buffer.extend_from_slice(b"null"),
                false => field.encode(row, &mut self.buffer),
            }
        }
        self.buffer.push(b'}');
        &self.buffer
    }
}
