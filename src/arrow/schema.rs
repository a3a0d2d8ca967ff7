//! Which columns a scan has, and of which types.
//!
//! | column | type | null |
//! |---|---|---|
//! | `partition` | int32 | never |
//! | `offset` | int64 | never |
//! | `timestamp` | timestamp[ms, UTC] | where a record has none |
//! | `key`, `value` | bytes, unless a [`Decoding`] says what they are | where the record's is null |
//! | `headers` | list<struct<key: utf8, value: binary>> | never: an empty list |
//!
//! A header's key that is not UTF-8 is shown with replacement characters, as Kafka's own clients show it.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::ScanError;

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
}

impl Column {
    /// All of them, in the order in which a scan has them.
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
        }
    }

    /// The column of this name.
    ///
    /// # Errors
    /// [`ScanError::Invalid`], with the names there are.
    pub fn parse(name: &str) -> Result<Column, ScanError> {
        Column::ALL.into_iter().find(|column| column.name() == name).ok_or_else(|| {
            let names: Vec<_> = Column::ALL.iter().map(|column| column.name()).collect();
            ScanError::Invalid(format!("there is no column {name:?}: a scan has {}", names.join(", ")))
        })
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
    /// The cell is null.
    Null,
}

/// The columns of a scan: what they show, under which names, in which types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// In their order, each with its name.
    pub columns: Vec<(String, Column)>,
    /// What the key is.
    pub key: Decoding,
    /// What the value is.
    pub value: Decoding,
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
            binary: Binary::View,
            on_error: OnError::Raise,
        }
    }
}

impl Shape {
    /// Checks that no two columns share a name, and none is shown twice.
    ///
    /// # Errors
    /// [`ScanError::Invalid`].
    pub fn check(&self) -> Result<(), ScanError> {
        for (index, (name, column)) in self.columns.iter().enumerate() {
            for (other, shown) in &self.columns[..index] {
                if other == name {
                    return Err(ScanError::Invalid(format!(
                        "two columns are named {name:?}: each name must be its own"
                    )));
                }
                if shown == column {
                    let column = column.name();
                    return Err(ScanError::Invalid(format!(
                        "{column} is shown as {other:?} and as {name:?}: once will do"
                    )));
                }
            }
        }
        Ok(())
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
            };
            Field::new(name, data_type, nullable)
        });
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }
}

/// The two fields of a header.
pub(super) fn header_fields() -> Fields {
    [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into_iter().collect()
}

/// The item of the list of headers.
pub(super) fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}
