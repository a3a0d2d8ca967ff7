//! Values that are JSON objects, decoded to typed columns.
//!
//! Each record's value must be one object. A thousand of them go through one decoder (arrow-json's tape) at a time; only
//! where one of them fails are they looked at one by one, to find which, and why.
//!
//! The decoder knows a zone by its offset, so times in UTC are decoded as `+00:00` and named as they were asked for
//! afterwards. For the rules of other zones a table of all of them would be needed: they are refused.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_cast::cast;
use arrow_json::ReaderBuilder;
use arrow_json::reader::{Decoder, infer_json_schema_from_iterator};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat;

/// How many values are decoded at once, and how many bytes of them: the decoder's notes on them should stay in the cache.
const PIECE_ROWS: usize = 1024;
const PIECE_BYTES: usize = 1 << 20;

/// Gathers values, and decodes them piece by piece.
pub(super) struct JsonBuilder {
    schema: SchemaRef,
    /// The same as the decoder takes it.
    decoded: SchemaRef,
    /// Values that wait to be decoded, one after the other.
    bytes: Vec<u8>,
    /// Where each of them ends in `bytes`, and whether there was one: a record's value may be null.
    ends: Vec<(usize, bool)>,
    /// What was decoded, and how many rows and bytes that is.
    pieces: Vec<RecordBatch>,
    rows: usize,
    size: usize,
    bad: Vec<BadValue>,
    /// The first error that is none of a value's.
    failed: Option<ArrowError>,
}

/// A value that could not be decoded; it is null in every column.
pub(super) struct BadValue {
    pub(super) row: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) reason: String,
}

/// Decoded columns, and the rows that could not be decoded, in their order.
pub(super) struct DecodedJson {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) bad: Vec<BadValue>,
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
        JsonBuilder {
            schema,
            decoded,
            bytes: Vec::new(),
            ends: Vec::new(),
            pieces: Vec::new(),
            rows: 0,
            size: 0,
            bad: Vec::new(),
            failed: None,
        }
    }

    /// About how many bytes the values took so far.
    pub(super) fn copied(&self) -> usize {
        self.size + self.bytes.len()
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8]>) {
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.ends.push((self.bytes.len(), value.is_some()));
        if self.ends.len() >= PIECE_ROWS || self.bytes.len() >= PIECE_BYTES {
            self.decode();
        }
    }

    pub(super) fn finish(mut self) -> Result<DecodedJson, ArrowError> {
        self.decode();
        if let Some(error) = self.failed {
            return Err(error);
        }
        let columns = self.schema.fields().iter().enumerate().map(|(index, field)| {
            let pieces: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece.column(index).as_ref()).collect();
            match pieces.is_empty() {
                true => Ok(new_null_array(field.data_type(), 0)),
                // In the type that was asked for.
                false => cast(&concat(&pieces)?, field.data_type()),
            }
        });
        Ok(DecodedJson { columns: columns.collect::<Result<_, _>>()?, bad: self.bad })
    }

    /// Decodes what waits.
    fn decode(&mut self) {
        if self.ends.is_empty() || self.failed.is_some() {
            return;
        }
        let decoded = match self.decode_without(&[]) {
            Ok(piece) => Ok(piece),
            Err(_) => self.bad_rows().and_then(|bad| {
                let piece = self.decode_without(&bad)?;
                for (row, reason) in bad {
                    self.bad.push(BadValue { row: self.rows + row, bytes: self.value(row).to_vec(), reason });
                }
                Ok(piece)
            }),
        };
        match decoded {
            Ok(piece) => self.pieces.push(piece),
            Err(error) => self.failed = Some(error),
        }
        self.rows += self.ends.len();
        self.size += self.bytes.len();
        self.bytes.clear();
        self.ends.clear();
    }

    /// The value of a row that waits.
    fn value(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1].0 };
        &self.bytes[start..self.ends[row].0]
    }

    /// The rows of those that wait which cannot be decoded, and why.
    fn bad_rows(&self) -> Result<Vec<(usize, String)>, ArrowError> {
        let mut bad = Vec::new();
        let mut decoder = self.decoder(1)?;
        for row in 0..self.ends.len() {
            let decoded = self.decode_row(&mut decoder, row).and_then(|()| decoder.flush().map_err(|e| reason(&e)));
            if let Err(reason) = decoded {
                bad.push((row, reason));
                // It may hold a part of the row.
                decoder = self.decoder(1)?;
            }
        }
        Ok(bad)
    }

    fn decoder(&self, rows: usize) -> Result<Decoder, ArrowError> {
        ReaderBuilder::new(self.decoded.clone()).with_batch_size(rows + 1).build_decoder()
    }

    /// All rows that wait at once, but for those that are known to be bad.
    fn decode_without(&self, bad: &[(usize, String)]) -> Result<RecordBatch, ArrowError> {
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
        let rows: Vec<usize> = decoded.bad.iter().map(|bad| bad.row).collect();
        assert_eq!(rows, [1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(
            (decoded.bad[0].reason.as_str(), decoded.bad[2].reason.as_str()),
            ("it is cut", "it is more than one object")
        );
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
            assert!(decoded.bad.is_empty(), "{}", decoded.bad[0].reason);
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
    fn rows_are_counted_over_all_pieces() {
        let bad = [0, 5, PIECE_ROWS - 1, PIECE_ROWS, 3 * PIECE_ROWS + 7];
        let values: Vec<String> = (0..3 * PIECE_ROWS + 9)
            .map(|row| if bad.contains(&row) { "{".to_owned() } else { format!("{{\"a\": {row}}}") })
            .collect();
        let decoded = decode(one(DataType::Int64), &values.iter().map(|value| Some(&**value)).collect::<Vec<_>>());
        assert_eq!(decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), bad);
        assert!(decoded.bad.iter().all(|bad| bad.bytes == b"{"));
        let column = decoded.columns[0].as_primitive::<Int64Type>();
        let expected = (0..values.len()).map(|row| (!bad.contains(&row)).then_some(row as i64));
        assert!(column.iter().eq(expected));
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
