//! Values that are JSON objects, decoded to typed columns.
//!
//! Each record's value must be one object. All rows of a batch go through one decoder (arrow-json's tape); only where
//! one of them fails are they looked at one by one, to find which, and why.
//!
//! The decoder knows a zone by its offset, so times in UTC are decoded as `+00:00` and named as they were asked for
//! afterwards. For the rules of other zones a table of all of them would be needed: they are refused.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_cast::cast;
use arrow_json::ReaderBuilder;
use arrow_json::reader::{Decoder, infer_json_schema_from_iterator};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

/// Gathers values, and decodes them when the rows are finished.
pub(super) struct JsonBuilder {
    schema: SchemaRef,
    /// The same as the decoder takes it.
    decoded: SchemaRef,
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`, and whether there was one: a record's value may be null.
    ends: Vec<(usize, bool)>,
}

/// Decoded columns, and the rows that could not be decoded, with the reason; they are null in every column.
pub(super) struct DecodedJson {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) bad: Vec<(usize, String)>,
}

/// The columns that `schema` says a value has; a value that lacks one has a null there, so each may be null.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<Field>>(),
    ))
}

/// The schema of some values, as far as they tell: their fields in the order in which they come up. Values that are no
/// JSON objects are passed over.
///
/// # Errors
/// Fields that are of one kind here and of another there.
pub(super) fn infer<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Schema, ArrowError> {
    let objects = values.filter_map(|value| serde_json::from_slice(value).ok().filter(serde_json::Value::is_object));
    infer_json_schema_from_iterator(objects.map(Ok))
}

impl JsonBuilder {
    /// A builder of the columns in `schema`, each nullable. With none, values are only checked.
    pub(super) fn new(schema: SchemaRef) -> JsonBuilder {
        let decoded = decodable(&schema);
        JsonBuilder { schema, decoded, bytes: Vec::new(), ends: Vec::new() }
    }

    pub(super) fn copied(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8]>) {
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.ends.push((self.bytes.len(), value.is_some()));
    }

    /// The value of a row.
    pub(super) fn value(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1].0 };
        &self.bytes[start..self.ends[row].0]
    }

    pub(super) fn finish(&self) -> Result<DecodedJson, ArrowError> {
        let rows = self.ends.len();
        if rows == 0 {
            let columns = self.schema.fields().iter().map(|field| new_null_array(field.data_type(), 0));
            return Ok(DecodedJson { columns: columns.collect(), bad: Vec::new() });
        }
        if let Ok(batch) = self.decode(&[]) {
            return Ok(DecodedJson { columns: self.named(&batch)?, bad: Vec::new() });
        }
        let mut bad = Vec::new();
        for row in 0..rows {
            let mut decoder = self.decoder(1)?;
            let decoded = self.decode_row(&mut decoder, row).and_then(|()| decoder.flush().map_err(|e| reason(&e)));
            if let Err(reason) = decoded {
                bad.push((row, reason));
            }
        }
        let batch = self.decode(&bad)?;
        Ok(DecodedJson { columns: self.named(&batch)?, bad })
    }

    /// The columns in the types that were asked for.
    fn named(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        let fields = self.schema.fields().iter();
        batch.columns().iter().zip(fields).map(|(column, field)| cast(column, field.data_type())).collect()
    }

    fn decoder(&self, rows: usize) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(self.decoded.clone()).with_batch_size(rows + 1).build_decoder()
    }

    /// All rows at once, but for those that are known to be bad.
    fn decode(&self, bad: &[(usize, String)]) -> Result<RecordBatch, ArrowError> {
        let mut decoder = self.decoder(self.ends.len())?;
        let mut bad = bad.iter().map(|(row, _)| *row).peekable();
        for row in 0..self.ends.len() {
            if bad.next_if_eq(&row).is_some() {
                decoder.decode(b"{}")?;
            } else {
                self.decode_row(&mut decoder, row).map_err(ArrowError::JsonError)?;
            }
        }
        decoder.flush()?.ok_or_else(|| ArrowError::JsonError("no rows".to_owned()))
    }

    /// Feeds one value, which must be one row: what is cut, or more than that, would run into its neighbours.
    fn decode_row(&self, decoder: &mut Decoder, row: usize) -> Result<(), String> {
        let before = decoder.len();
        let value = if self.ends[row].1 { self.value(row) } else { b"{}" };
        let read = decoder.decode(value).map_err(|error| reason(&error))?;
        if decoder.has_partial_record() || decoder.len() == before {
            return Err("it is cut".to_owned());
        }
        // The decoder stops behind as many rows as it was made for.
        if decoder.len() > before + 1 || read < value.trim_ascii_end().len() {
            return Err("it is more than one object".to_owned());
        }
        Ok(())
    }
}

/// Whether values can be decoded to these columns.
///
/// # Errors
/// Why not: there is no decoder for one of the types.
pub(super) fn check(schema: &Schema) -> Result<(), String> {
    for field in schema.fields() {
        let alone = Schema::new(vec![field.clone()]);
        let built = ReaderBuilder::new(decodable(&alone)).build_decoder();
        built.map_err(|error| {
            format!("JSON cannot be read as column {:?}, {}: {error}", field.name(), field.data_type())
        })?;
    }
    Ok(())
}

fn decodable(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(by_offset).collect::<Vec<_>>()))
}

/// The field with UTC, wherever it stands in it, called by its offset.
fn by_offset(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Timestamp(unit, Some(zone)) if ["UTC", "Etc/UTC", "Z"].contains(&zone.as_ref()) => {
            DataType::Timestamp(*unit, Some("+00:00".into()))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(by_offset).collect()),
        DataType::List(item) => DataType::List(by_offset(item)),
        DataType::LargeList(item) => DataType::LargeList(by_offset(item)),
        DataType::ListView(item) => DataType::ListView(by_offset(item)),
        DataType::LargeListView(item) => DataType::LargeListView(by_offset(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(by_offset(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(by_offset(entries), *sorted),
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

/// The decoder's words, without the name of its error.
fn reason(error: &ArrowError) -> String {
    let text = error.to_string();
    text.strip_prefix("Json error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_schema::{DataType, TimeUnit};

    fn decode(schema: Schema, values: &[Option<&str>]) -> DecodedJson {
        let mut builder = JsonBuilder::new(nullable(&schema));
        values.iter().for_each(|value| builder.push(value.map(str::as_bytes)));
        builder.finish().unwrap()
    }

    fn one(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("a", data_type, false)])
    }

    #[test]
    fn a_null_value_and_a_missing_field_are_null() {
        let decoded = decode(one(DataType::Int64), &[Some("{\"a\": 1}"), None, Some(" {\"b\": 2} "), Some("{}")]);
        assert!(decoded.bad.is_empty());
        let column = decoded.columns[0].as_primitive::<Int64Type>();
        assert_eq!(column.iter().collect::<Vec<_>>(), [Some(1), None, None, None]);
    }

    #[test]
    fn each_bad_row_is_named_and_hurts_no_other() {
        let values = [
            "{\"a\": 1}",
            "{\"a\": ",
            "2}",
            "{\"a\": 3} {\"a\": 4}",
            "",
            "{\"a\": \"five\"}",
            "[6]",
            "7",
            "{\"a\": 8}",
            "\u{0}",
        ];
        let decoded = decode(one(DataType::Int64), &values.map(Some));
        let rows: Vec<usize> = decoded.bad.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!((decoded.bad[0].1.as_str(), decoded.bad[2].1.as_str()), ("it is cut", "it is more than one object"));
        let column = decoded.columns[0].as_primitive::<Int64Type>();
        assert_eq!(column.len(), values.len());
        assert_eq!(column.iter().flatten().collect::<Vec<_>>(), [1, 8]);
    }

    #[test]
    fn times_in_utc_are_read_wherever_they_stand_and_keep_its_name() {
        let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let list = DataType::List(Arc::new(Field::new("item", utc.clone(), true)));
        for (kind, value) in [
            (utc.clone(), "\"2013-01-01T05:00:00Z\""),
            (utc.clone(), "\"2013-01-01T06:00:00+01:00\""),
            (list.clone(), "[\"2013-01-01T05:00:00\"]"),
            (DataType::Struct(vec![Field::new("b", list, true)].into()), "{\"b\": [\"2013-01-01T05:00:00Z\"]}"),
        ] {
            let decoded = decode(one(kind.clone()), &[Some(&format!("{{\"a\": {value}}}"))]);
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
            assert_eq!(decoded.columns[0].data_type(), &kind);
            let mut leaf = decoded.columns[0].to_data();
            while let Some(child) = leaf.child_data().first() {
                leaf = child.clone();
            }
            assert_eq!(leaf.buffers()[0].typed_data::<i64>(), [1_357_016_400_000]);
        }
    }

    #[test]
    fn types_that_json_cannot_be_read_as_are_refused_before_anything_is_read() {
        let zone = DataType::Timestamp(TimeUnit::Millisecond, Some("Europe/Amsterdam".into()));
        let error = check(&one(zone)).unwrap_err();
        assert!(error.contains("column \"a\"") && error.contains("Europe/Amsterdam"), "{error}");
        assert!(check(&one(DataType::Decimal128(10, 2))).is_ok());
    }

    #[test]
    fn a_schema_is_inferred_in_the_order_of_the_fields() {
        let values = ["{\"z\": 1, \"a\": {\"y\": \"text\", \"b\": [1.5]}}", "no json", "{\"z\": 2.5, \"c\": null}"];
        let schema = infer(values.iter().map(|value| value.as_bytes())).unwrap();
        let told: Vec<String> = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
        assert_eq!(told[0], "z Float64");
        assert!(told[1].starts_with("a Struct(\"y\": Utf8, \"b\": List("), "{told:?}");
        assert_eq!(told[2], "c Null");
    }
}
