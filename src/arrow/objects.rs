//! Rows as JSON objects: arrow-json's encoders, with what they lack.
//!
//! Nulls are written (`"a":null`), times with a zone in UTC, bytes as hexadecimal digits, what is not a finite number as
//! null. A time that no calendar has, such as the year 300,000, makes no object: arrow-json would write its own complaint
//! in the time's place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_json::writer::{Encoder, NullableEncoder, make_encoder};
use arrow_json::{EncoderFactory, EncoderOptions};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, TimeUnit};
use parking_lot::Mutex;

use crate::client::ClientError;

/// How a JSON object is made.
#[derive(Debug)]
pub(super) struct ObjectRecipe {
    /// Which columns of the table it is of.
    pub(super) columns: Vec<usize>,
    fields: Vec<FieldRef>,
    /// What stands before each field's value: `{"name":` and `,"name":`.
    lead: Vec<Vec<u8>>,
    options: EncoderOptions,
    /// Where the encoders say that a row is none.
    failed: Failed,
}

impl ObjectRecipe {
    /// Of these columns, by their places in the table.
    ///
    /// # Errors
    /// The column for whose type JSON has no word.
    pub(super) fn new<'a>(columns: &[(usize, &'a Field)]) -> Result<ObjectRecipe, &'a Field> {
        let (options, failed) = options();
        let mut recipe = ObjectRecipe { columns: Vec::new(), fields: Vec::new(), lead: Vec::new(), options, failed };
        for (at, (index, column)) in columns.iter().enumerate() {
            let empty = in_utc(&new_empty_array(column.data_type()));
            let field: FieldRef = Arc::new((*column).clone());
            make_encoder(&field, &empty, &recipe.options).map_err(|_| *column)?;
            let name = serde_json::Value::from(column.name().as_str());
            recipe.lead.push(format!("{}{name}:", if at == 0 { '{' } else { ',' }).into_bytes());
            recipe.columns.push(*index);
            recipe.fields.push(field);
        }
        Ok(recipe)
    }
}

/// How values are written, and where it is told that one of them could not be.
fn options() -> (EncoderOptions, Failed) {
    let failed = Failed::default();
    (PLAIN.clone().with_encoder_factory(Arc::new(Factory(failed.clone()))), failed)
}

/// As arrow-json does it.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Why the row that was written last is not what it should be; an encoder cannot return it.
#[derive(Debug, Clone, Default)]
struct Failed(Arc<(AtomicBool, Mutex<String>)>);

impl Failed {
    fn tell(&self, reason: &[u8]) {
        *self.0.1.lock() = String::from_utf8_lossy(reason).into_owned();
        self.0.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Option<String> {
        (self.0.0.load(Ordering::Relaxed) && self.0.0.swap(false, Ordering::Relaxed)).then(|| self.0.1.lock().clone())
    }
}

/// Makes the encoders that arrow-json lacks: of dictionaries whose nulls are among their values (its own sees those among
/// the keys only), and of times.
#[derive(Debug)]
struct Factory(Failed);

/// How arrow-json begins what it writes instead of a time that it cannot write. No time begins so.
const COMPLAINT: &[u8] = b"\"ERROR: ";

struct Times<'a> {
    times: NullableEncoder<'a>,
    failed: Failed,
}

impl Encoder for Times<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.times.encode(row, out);
        if let Some(reason) = out[start..].strip_prefix(COMPLAINT) {
            self.failed.tell(reason.strip_suffix(b"\"").unwrap_or(reason));
        }
    }
}

struct Words<'a> {
    keys: Vec<usize>,
    values: NullableEncoder<'a>,
}

impl EncoderFactory for Factory {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if array.data_type().is_temporal() {
            let times = make_encoder(field, array, &PLAIN)?;
            let times = Times { times, failed: self.0.clone() };
            return Ok(Some(NullableEncoder::new(Box::new(times), array.nulls().cloned())));
        }
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
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn write(&mut self, row: usize) -> Result<&[u8], ClientError> {
        self.buffer.clear();
        for (field, lead) in self.fields.iter_mut().zip(&self.recipe.lead) {
            self.buffer.extend_from_slice(lead);
            match field.is_null(row) {
                true => self.buffer.extend_from_slice(b"null"),
                false => field.encode(row, &mut self.buffer),
            }
        }
        self.buffer.push(b'}');
        match self.recipe.failed.take() {
            None => Ok(&self.buffer),
            Some(reason) => Err(ClientError::Invalid(format!("a time cannot be written as JSON: {reason}").into())),
        }
    }
}
