//! Which columns a scan has, and of which types.
//!
//! | column | type | null |
//! |---|---|---|
//! | `partition` | int32 | never |
//! | `offset` | int64 | never |
//! | `timestamp` | timestamp[ms, UTC] | where a record has none |
//! | `key`, `value` | bytes, unless a [`Decoding`] says what they are | where the record's is null |
//! | `headers` | list<struct<key: utf8, value: binary>> | never: an empty list |
//! | the fields of a value that is JSON, in its place | what a schema says | where the value has none |
//! | `error`, if asked for | struct<column: utf8, bytes: binary, reason: utf8> | where all could be decoded |
//!
//! A header's key that is not UTF-8 is shown with replacement characters, as Kafka's own clients show it.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::ScanError;
use super::json::nullable;

/// What a column of a scan shows of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// The index of its partition.
    Partition,
    /// Its offset in the partition.
    Offset,
    /// Its timestamp.
    Timestamp,
    /// Its key.
    Key,
    /// Its value.
    Value,
    /// Its headers.
    Headers,
    /// A field of its value, which is JSON: by its index in [`Shape::json`].
    Field(usize),
    /// What could not be decoded of it, and why: see [`OnError::Column`].
    Error,
}

impl Column {
    /// Those that every record has, in the order in which a scan has them.
    pub const ALL: [Column; 6] =
        [Column::Partition, Column::Offset, Column::Timestamp, Column::Key, Column::Value, Column::Headers];

    /// The name it has unless another is given.
    pub fn name(self) -> &'static str {
        match self {
            Column::Partition => "partition",
            Column::Offset => "offset",
            Column::Timestamp => "timestamp",
            Column::Key => "key",
            Column::Value => "value",
            Column::Headers => "headers",
            Column::Field(_) => "field",
            Column::Error => "error",
        }
    }
}

/// How bytes lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binary {
    /// Views into the batches: nothing is copied. polars, DuckDB and DataFusion work on it.
    #[default]
    View,
    /// One run of bytes with 64-bit offsets: copied once; what pyarrow and pandas work on.
    Large,
    /// One run of bytes with 32-bit offsets: at most 2 GiB in one batch.
    Small,
}

impl Binary {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Binary::View => "view",
            Binary::Large => "large",
            Binary::Small => "small",
        }
    }

    /// The type of a column of bytes.
    pub fn bytes(self) -> DataType {
        match self {
            Binary::View => DataType::BinaryView,
            Binary::Large => DataType::LargeBinary,
            Binary::Small => DataType::Binary,
        }
    }

    /// The type of a column of text.
    pub fn text(self) -> DataType {
        match self {
            Binary::View => DataType::Utf8View,
            Binary::Large => DataType::LargeUtf8,
            Binary::Small => DataType::Utf8,
        }
    }
}

/// What the bytes of a key or value are. Numbers are big-endian, as Kafka's serializers write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decoding {
    /// Bytes.
    #[default]
    Binary,
    /// Text in UTF-8 (StringSerializer).
    Utf8,
    /// A signed number of two bytes (ShortSerializer).
    Int16,
    /// A signed number of four bytes (IntegerSerializer).
    Int32,
    /// A signed number of eight bytes (LongSerializer).
    Int64,
    /// A floating point number of four bytes (FloatSerializer).
    Float32,
    /// A floating point number of eight bytes (DoubleSerializer).
    Float64,
}

impl Decoding {
    const ALL: [Decoding; 7] = [
        Decoding::Binary,
        Decoding::Utf8,
        Decoding::Int16,
        Decoding::Int32,
        Decoding::Int64,
        Decoding::Float32,
        Decoding::Float64,
    ];

    /// Arrow's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Decoding::Binary => "binary",
            Decoding::Utf8 => "utf8",
            Decoding::Int16 => "int16",
            Decoding::Int32 => "int32",
            Decoding::Int64 => "int64",
            Decoding::Float32 => "float32",
            Decoding::Float64 => "float64",
        }
    }

    /// The decoding of this name; `what` is said in the error.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], with the names there are.
    pub fn parse(what: &str, name: &str) -> Result<Decoding, ScanError> {
        Decoding::ALL.into_iter().find(|decoding| decoding.name() == name).ok_or_else(|| {
            let names: Vec<_> = Decoding::ALL.iter().map(|decoding| decoding.name()).collect();
            ScanError::Invalid(format!("{what} is {name:?}: it must be one of {}", names.join(", ")))
        })
    }

    /// How many bytes such a value has; `None` where that is up to the value.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Decoding::Binary | Decoding::Utf8 => None,
            Decoding::Int16 => Some(2),
            Decoding::Int32 | Decoding::Float32 => Some(4),
            Decoding::Int64 | Decoding::Float64 => Some(8),
        }
    }

    fn data_type(self, binary: Binary) -> DataType {
        match self {
            Decoding::Binary => binary.bytes(),
            Decoding::Utf8 => binary.text(),
            Decoding::Int16 => DataType::Int16,
            Decoding::Int32 => DataType::Int32,
            Decoding::Int64 => DataType::Int64,
            Decoding::Float32 => DataType::Float32,
            Decoding::Float64 => DataType::Float64,
        }
    }
}

/// What becomes of a record whose bytes are not what they were said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The scan ends with [`ScanError::Decode`].
    #[default]
    Raise,
    /// The cell is null; of a JSON value, all of them.
    Null,
    /// As [`OnError::Null`], and a column more says which of key and value it was, what its bytes are, and why:
    /// `error`, a struct<column: utf8, bytes: binary, reason: utf8> that is null where all is well.
    Column,
}

impl OnError {
    const ALL: [OnError; 3] = [OnError::Raise, OnError::Null, OnError::Column];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OnError::Raise => "raise",
            OnError::Null => "null",
            OnError::Column => "column",
        }
    }

    /// The policy of this name.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], with the names there are.
    pub fn parse(name: &str) -> Result<OnError, ScanError> {
        OnError::ALL
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| ScanError::Invalid(format!("errors is {name:?}: it must be 'raise', 'null' or 'column'")))
    }
}

/// The columns of a scan: what they show, under which names, in which types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// In their order, each with its name.
    pub columns: Vec<(String, Column)>,
    /// What the key is.
    pub key: Decoding,
    /// What the value is, unless it is JSON.
    pub value: Decoding,
    /// The fields of a value that is a JSON object; `None` for a value that is none.
    pub json: Option<SchemaRef>,
    /// How bytes and text lie in memory.
    pub binary: Binary,
    /// What becomes of what cannot be decoded.
    pub on_error: OnError,
}

impl Default for Shape {
    /// All columns, as bytes, without a copy.
    fn default() -> Shape {
        Shape {
            columns: Column::ALL.iter().map(|column| (column.name().to_owned(), *column)).collect(),
            key: Decoding::Binary,
            value: Decoding::Binary,
            json: None,
            binary: Binary::View,
            on_error: OnError::Raise,
        }
    }
}

impl Shape {
    /// Chooses columns. Each of `wanted` is a name of one's own and what it shows: a column of the record, `value` for all
    /// fields of a JSON value, one of its fields, or `value.field` where a column of the record has the field's name. By
    /// default it is all there is.
    ///
    /// # Errors
    /// [`ScanError::Invalid`] for a column that is not there, with those there are, and for names that clash.
    pub fn choose(self, wanted: Option<&[(String, String)]>) -> Result<Shape, ScanError> {
        let fields: Vec<String> =
            self.json.iter().flat_map(|json| json.fields()).map(|field| field.name().clone()).collect();
        let is_json = self.json.is_some();
        let expand = |name: &str, column: Column| -> Vec<(String, Column)> {
            match column {
                Column::Value if is_json => {
                    fields.iter().enumerate().map(|(index, field)| (field.clone(), Column::Field(index))).collect()
                }
                column => vec![(name.to_owned(), column)],
            }
        };
        let find = |shown: &str| {
            let field = |name: &str| fields.iter().position(|field| field == name).map(Column::Field);
            let of_value = || shown.strip_prefix("value.").and_then(field);
            Column::ALL.into_iter().find(|column| column.name() == shown).or_else(|| field(shown)).or_else(of_value)
        };
        let mut columns = Vec::new();
        match wanted {
            None => Column::ALL.into_iter().for_each(|column| columns.extend(expand(column.name(), column))),
            Some(wanted) => {
                for (name, shown) in wanted {
                    let column = find(shown).ok_or_else(|| {
                        let records = Column::ALL.iter().map(|column| column.name());
                        let names: Vec<&str> = records.chain(fields.iter().map(String::as_str)).collect();
                        ScanError::Invalid(format!("there is no column {shown:?}: a scan has {}", names.join(", ")))
                    })?;
                    columns.extend(expand(name, column));
                }
            }
        }
        if self.on_error == OnError::Column {
            columns.push((Column::Error.name().to_owned(), Column::Error));
        }
        let shape = Shape { columns, ..self };
        shape.check()?;
        Ok(shape)
    }

    /// Checks that no two columns share a name, that none is shown twice, and that JSON can be read as its fields.
    ///
    /// # Errors
    /// [`ScanError::Invalid`].
    pub fn check(&self) -> Result<(), ScanError> {
        for (index, (name, column)) in self.columns.iter().enumerate() {
            for (other, shown) in &self.columns[..index] {
                if other == name {
                    let is_field = |column: &Column| matches!(column, Column::Field(_));
                    let hint = match is_field(column) != is_field(shown) {
                        true => "; a field of the value has it: choose columns, and name one of them otherwise",
                        false => "",
                    };
                    let sentence = format!("two columns are named {name:?}: each name must be its own{hint}");
                    return Err(ScanError::Invalid(sentence));
                }
                if shown == column {
                    let column = column.name();
                    return Err(ScanError::Invalid(format!(
                        "{column} is shown as {other:?} and as {name:?}: once will do"
                    )));
                }
            }
        }
        match self.json_wanted() {
            Some((_, fields)) => super::json::check(&fields).map_err(ScanError::Invalid),
            None => Ok(()),
        }
    }

    /// The Arrow schema.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|(name, column)| {
            let (data_type, nullable) = match column {
                Column::Partition => (DataType::Int32, false),
                Column::Offset => (DataType::Int64, false),
                Column::Timestamp => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
                Column::Key => (self.key.data_type(self.binary), true),
                Column::Value => (self.value.data_type(self.binary), true),
                Column::Headers => (DataType::List(header_item()), false),
                Column::Field(index) => (self.json_field(*index), true),
                Column::Error => (DataType::Struct(error_fields()), true),
            };
            Field::new(name, data_type, nullable)
        });
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

impl Shape {
    fn json_field(&self, index: usize) -> DataType {
        let field = self.json.as_ref().and_then(|json| json.fields().get(index));
        field.map_or(DataType::Null, |field| field.data_type().clone())
    }

    /// The fields of the value that are shown, and so decoded: each once, with the schema that they make.
    pub(super) fn json_wanted(&self) -> Option<(Vec<usize>, SchemaRef)> {
        let json = self.json.as_ref()?;
        let shown = self.columns.iter().filter_map(|(_, column)| match column {
            Column::Field(index) => Some(*index),
            _ => None,
        });
        let shown: Vec<usize> = shown.collect();
        let fields = shown.iter().filter_map(|index| json.fields().get(*index).cloned()).collect::<Vec<_>>();
        Some((shown, nullable(&Schema::new(fields))))
    }
}

/// The fields of the column that tells errors.
pub(super) fn error_fields() -> Fields {
    let fields = [("column", DataType::Utf8), ("bytes", DataType::Binary), ("reason", DataType::Utf8)];
    fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, false)).collect()
}

/// The two fields of a header.
pub(super) fn header_fields() -> Fields {
    [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into_iter().collect()
}

/// The item of the list of headers.
pub(super) fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}
