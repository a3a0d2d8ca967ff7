//! Arrow's rows on stdout: a table for eyes, JSON or CSV for programs, or Arrow's own stream.
//!
//! In text, bytes are shown as text, with replacement characters where they are none; moments are in UTC, to the
//! millisecond. All text is made from the JSON of a row, so that a nested value looks alike everywhere.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow_cast::cast;
use arrow_ipc::writer::StreamWriter;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value};

use super::output::Output;
use super::scan::Format;
use super::table::Table;
use super::{Failure, datetime};

/// How many characters of a value a table's cell shows.
const CELL: usize = 60;

/// See the module.
pub(super) struct RowWriter {
    format: Format,
    schema: SchemaRef,
    /// The rows of a table, which are written when all are there.
    table: Table,
    /// How many rows a table takes; `None` for all.
    most: Option<u64>,
    rows: u64,
    stream: Option<StreamWriter<Vec<u8>>>,
}

impl RowWriter {
    /// Writes rows of this schema.
    pub(super) fn new(format: Format, schema: &SchemaRef, most: Option<u64>) -> RowWriter {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let table = Table::new(&names);
        RowWriter { format, schema: schema.clone(), table, most, rows: 0, stream: None }
    }

    /// Writes the rows of a batch.
    pub(super) fn write(&mut self, output: &mut Output, batch: &RecordBatch) -> Result<(), Failure> {
        match self.format {
            Format::Arrow => {
                let stream = self.stream()?;
                stream.write(batch)?;
                return output.bytes(&std::mem::take(stream.get_mut()));
            }
            Format::Json => output.bytes(&lines(batch)?)?,
            Format::Csv => {
                if self.rows == 0 {
                    self.write_names(output)?;
                }
                for row in parsed(&lines(batch)?) {
                    let cells: Vec<String> = row?.values().map(|value| quoted(&plain(value))).collect();
                    writeln!(output, "{}", cells.join(","))?;
                }
            }
            Format::Table => {
                for row in parsed(&lines(batch)?) {
                    let values = row?.into_iter().map(|(_, value)| clipped(value));
                    if self.most.is_none_or(|most| self.rows < most) {
                        self.table.row(values);
                    }
                    self.rows += 1;
                }
                return Ok(());
            }
        }
        self.rows += batch.num_rows() as u64;
        output.flush()
    }

    /// Writes what is still to be written, and says whether a table was full.
    pub(super) fn finish(mut self, output: &mut Output) -> Result<bool, Failure> {
        match self.format {
            Format::Arrow => {
                let stream = self.stream()?;
                stream.finish()?;
                output.bytes(&std::mem::take(stream.get_mut()))?;
            }
            Format::Csv if self.rows == 0 => self.write_names(output)?,
            Format::Table => self.table.write(output, false)?,
            Format::Csv | Format::Json => {}
        }
        Ok(self.most.is_some_and(|most| self.rows > most))
    }

    /// The stream, begun when it is first wanted: the schema goes ahead.
    fn stream(&mut self) -> Result<&mut StreamWriter<Vec<u8>>, ArrowError> {
        match &mut self.stream {
            Some(stream) => Ok(stream),
            none => Ok(none.insert(StreamWriter::try_new(Vec::new(), &self.schema)?)),
        }
    }

    fn write_names(&self, output: &mut Output) -> Result<(), Failure> {
        let names: Vec<String> = self.schema.fields().iter().map(|field| quoted(field.name())).collect();
        writeln!(output, "{}", names.join(","))
    }
}

/// The rows as JSON, an object a line.
fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(readable).collect::<Result<_, _>>()?;
    let fields = batch.schema().fields().iter().zip(&columns).map(retyped).collect::<Fields>();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn parsed(lines: &[u8]) -> impl Iterator<Item = serde_json::Result<Map<String, Value>>> {
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice)
}

fn retyped((field, column): (&Arc<Field>, &ArrayRef)) -> Field {
    field.as_ref().clone().with_data_type(column.data_type().clone())
}

/// The column with text in the place of bytes and of moments, however deep they lie.
fn readable(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let column = cast(column, &DataType::LargeBinary)?;
            let texts = column.as_binary::<i64>().iter().map(|value| value.map(String::from_utf8_lossy));
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let moments = column.as_primitive::<TimestampMillisecondType>().iter();
            Arc::new(moments.map(|moment| moment.map(datetime::show)).collect::<StringArray>())
        }
        DataType::Utf8View | DataType::LargeUtf8 => cast(column, &DataType::Utf8)?,
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let columns: Vec<ArrayRef> = parts.columns().iter().map(readable).collect::<Result<_, _>>()?;
            let fields = fields.iter().zip(&columns).map(retyped).collect();
            Arc::new(StructArray::try_new(fields, columns, parts.nulls().cloned())?)
        }
        DataType::List(item) => {
            let list = column.as_list::<i32>();
            let values = readable(list.values())?;
            let item = Arc::new(retyped((item, &values)));
            Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        _ => column.clone(),
    })
}

/// A value as a cell of CSV: a null is empty, what is nested is JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A cell of CSV, in quotes where it needs them.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A value as a table's cell has room for it, on one line.
fn clipped(value: Value) -> Value {
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        _ => return value,
    };
    let mut shown = String::new();
    for (index, letter) in text.chars().enumerate() {
        if index == CELL {
            shown.push('…');
            break;
        }
        if letter.is_control() { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    Value::String(shown)
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryViewArray, Float64Array, Int32Array, TimestampMillisecondArray};

    use super::*;
    use crate::cli::output::tests::Shared;

    fn batch() -> RecordBatch {
        let headers = StructArray::from(vec![
            (Arc::new(Field::new("key", DataType::Utf8, false)), Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
            (
                Arc::new(Field::new("value", DataType::Binary, true)),
                cast(&StringArray::from(vec!["é"]), &DataType::Binary).unwrap(),
            ),
        ]);
        let item = Arc::new(Field::new("item", headers.data_type().clone(), false));
        let offsets = arrow_buffer::OffsetBuffer::new(vec![0, 1, 1].into());
        RecordBatch::try_from_iter([
            ("partition", Arc::new(Int32Array::from(vec![0, 11])) as ArrayRef),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![1_357_017_300_250, 0]).with_timezone("UTC"))),
            ("value", Arc::new(BinaryViewArray::from(vec![Some(&b"a \"long\",\nvalue \xff"[..]), None]))),
            ("mean", Arc::new(Float64Array::from(vec![Some(2.5), None]))),
            ("headers", Arc::new(ListArray::try_new(item, offsets, Arc::new(headers), None).unwrap())),
        ])
        .unwrap()
    }

    fn written(format: Format) -> (Vec<u8>, bool) {
        let (shared, batch) = (Shared::default(), batch());
        let mut output = Output::to(shared.clone());
        let mut rows = RowWriter::new(format, &batch.schema(), Some(1));
        rows.write(&mut output, &batch).unwrap();
        let more = rows.finish(&mut output).unwrap();
        output.flush().unwrap();
        (shared.taken(), more)
    }

    fn text(format: Format) -> String {
        String::from_utf8(written(format).0).unwrap()
    }

    #[test]
    fn json_is_an_object_a_row_with_its_nulls() {
        insta::assert_snapshot!(text(Format::Json), @r#"
        {"partition":0,"at":"2013-01-01T05:15:00.250Z","value":"a \"long\",\nvalue �","mean":2.5,"headers":[{"key":"a","value":"é"}]}
        {"partition":11,"at":"1970-01-01T00:00:00.000Z","value":null,"mean":null,"headers":[]}
        "#);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        insta::assert_snapshot!(text(Format::Csv), @r#"
        partition,at,value,mean,headers
        0,2013-01-01T05:15:00.250Z,"a ""long"",
        value �",2.5,"[{""key"":""a"",""value"":""é""}]"
        11,1970-01-01T00:00:00.000Z,,,[]
        "#);
    }

    #[test]
    fn a_table_keeps_each_row_on_its_line_and_says_when_it_is_full() {
        assert!(written(Format::Table).1);
        insta::assert_snapshot!(text(Format::Table), @r#"
        PARTITION  AT                        VALUE               MEAN  HEADERS
                0  2013-01-01T05:15:00.250Z  a "long",\nvalue �   2.5  [{"key":"a","value":"é"}]
        "#);
        let Value::String(shown) = clipped(Value::String("x".repeat(200))) else { panic!("a text stays one") };
        assert_eq!(shown.chars().count(), CELL + 1);
    }

    #[test]
    fn arrow_is_read_back_as_it_was() {
        let (bytes, _) = written(Format::Arrow);
        let mut reader = arrow_ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), batch());
        assert!(reader.next().is_none());
    }

    #[test]
    fn nothing_is_written_with_its_names() {
        let (shared, schema) = (Shared::default(), batch().schema());
        let mut output = Output::to(shared.clone());
        RowWriter::new(Format::Csv, &schema, None).finish(&mut output).unwrap();
        output.flush().unwrap();
        assert_eq!(shared.taken(), b"partition,at,value,mean,headers\n");
    }
}
