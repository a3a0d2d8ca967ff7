//! Which columns of a table become what of its records: decided once, from the schema, before a row is looked at.
//!
//! | of a record | from a column of | or |
//! |---|---|---|
//! | key, value | bytes or text, as they are; numbers, big-endian | several columns: a JSON object |
//! | partition | integers; the key decides where one is null | one number for all |
//! | timestamp | timestamps (without a zone: UTC), dates, int64 milliseconds; now where one is null | |
//! | headers | list<struct<key, value>> or map, of text and bytes | |
//!
//! A number takes as many bytes as the serializer that Kafka has for it: int16, int32, int64, float32 or float64. What has
//! none goes as the next larger: int8 and uint8 as int16, uint16 as int32, uint32 as int64, float16 as float32; uint64
//! has none. Each of them may be dictionary or run-end encoded.

use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};

use super::SendError;
use super::objects::ObjectRecipe;

/// What a record's key or value is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Made {
    /// Nothing: it is null.
    #[default]
    Null,
    /// One column, its bytes.
    Column(String),
    /// A JSON object of these columns.
    Object(Vec<String>),
    /// A JSON object of all columns that serve for nothing else.
    Rest,
}

/// Where records go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Placed {
    /// Where the key says, or else the producer.
    #[default]
    ByKey,
    /// To one partition.
    At(i32),
    /// To the partition whose number stands in this column.
    Column(String),
}

/// Which columns become what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// The key.
    pub key: Made,
    /// The value.
    pub value: Made,
    /// The partition.
    pub partition: Placed,
    /// The column of timestamps; otherwise each record has the time at which it is sent.
    pub timestamp: Option<String>,
    /// The column of headers.
    pub headers: Option<String>,
}

/// [`TableOptions`] held against a schema.
#[derive(Debug)]
pub struct TablePlan {
    pub(super) key: Recipe,
    pub(super) value: Recipe,
    pub(super) partition: Target,
    pub(super) timestamp: Option<usize>,
    pub(super) headers: Option<usize>,
}

/// How a key or a value is made.
#[derive(Debug)]
pub(super) enum Recipe {
    Null,
    Column(usize),
    Object(Box<ObjectRecipe>),
}

/// Where records go.
#[derive(Debug)]
pub(super) enum Target {
    ByKey,
    At(i32),
    Column(usize),
}

/// How the cells of a column become bytes, once dictionaries and runs are unpacked.
pub(super) enum Unpacking {
    /// There are none.
    Null,
    /// They are bytes, of this type once text is seen as such.
    Bytes(DataType),
    /// They are numbers: brought to this type, and then written big-endian.
    Number(DataType),
}

impl TablePlan {
    /// Finds the columns, and checks that they can be what they are to be.
    ///
    /// # Errors
    /// [`SendError::Invalid`] for a column that is not there, with those there are, or whose type has no bytes.
    pub fn new(schema: &Schema, options: &TableOptions) -> Result<TablePlan, SendError> {
        let mut used: Vec<&String> = Vec::new();
        for made in [&options.key, &options.value] {
            match made {
                Made::Column(name) => used.push(name),
                Made::Object(names) => used.extend(names),
                Made::Null | Made::Rest => {}
            }
        }
        used.extend(options.timestamp.iter().chain(&options.headers));
        if let Placed::Column(name) = &options.partition {
            used.push(name);
        }
        let rest: Vec<String> =
            schema.fields().iter().map(|field| field.name()).filter(|name| !used.contains(name)).cloned().collect();
        let make = |what: &str, made: &Made| match made {
            Made::Null => Ok(Recipe::Null),
            Made::Column(name) => {
                let (index, field) = find(schema, what, name)?;
                check_bytes(what, field)?;
                Ok(Recipe::Column(index))
            }
            Made::Object(names) if names.is_empty() => {
                Err(SendError::Invalid(format!("{what} is an empty list: name the columns of the JSON object")))
            }
            Made::Object(names) => object(schema, what, names),
            Made::Rest if rest.is_empty() => Err(SendError::Invalid(format!(
                "no column is left for the {what}: all of them serve for something else; name one as the {what}"
            ))),
            Made::Rest => object(schema, what, &rest),
        };
        let partition = match &options.partition {
            Placed::ByKey => Target::ByKey,
            Placed::At(partition) => Target::At(*partition),
            Placed::Column(name) => {
                let (index, field) = find(schema, "partition", name)?;
                let kind = flat(field.data_type());
                if !(kind.is_integer() || kind.is_null()) {
                    return Err(refused("partition", field, "integers are partitions"));
                }
                Target::Column(index)
            }
        };
        let timestamp = options.timestamp.as_ref().map(|name| {
            let (index, field) = find(schema, "timestamp", name)?;
            match flat(field.data_type()) {
                DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Int64 | DataType::Null => {
                    Ok(index)
                }
                _ => Err(refused(
                    "timestamp",
                    field,
                    "timestamps, dates and int64 (milliseconds since 1970) are timestamps",
                )),
            }
        });
        let headers = options.headers.as_ref().map(|name| {
            let (index, field) = find(schema, "headers", name)?;
            match is_headers(&flat(field.data_type())) {
                true => Ok(index),
                false => Err(refused("headers", field, "headers are list<struct<key: text, value: bytes>>")),
            }
        });
        Ok(TablePlan {
            key: make("key", &options.key)?,
            value: make("value", &options.value)?,
            partition,
            timestamp: timestamp.transpose()?,
            headers: headers.transpose()?,
        })
    }

    /// The partition that all records go to, if it is one.
    pub(super) fn fixed_partition(&self) -> Option<i32> {
        match self.partition {
            Target::At(partition) => Some(partition),
            Target::ByKey | Target::Column(_) => None,
        }
    }
}

/// The recipe of a JSON object of the columns with these names.
fn object(schema: &Schema, what: &str, names: &[String]) -> Result<Recipe, SendError> {
    let mut columns = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(SendError::Invalid(format!("{what} has column {name:?} twice: once will do")));
        }
        columns.push(find(schema, what, name)?);
    }
    let recipe = ObjectRecipe::new(&columns).map_err(|field| {
        refused(what, field, "JSON has no such thing: cast it to text or a number, or leave it out")
    })?;
    Ok(Recipe::Object(Box::new(recipe)))
}

fn find<'a>(schema: &'a Schema, what: &str, name: &str) -> Result<(usize, &'a Field), SendError> {
    let mut found = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
    match (found.next(), found.next()) {
        (Some((index, field)), None) => Ok((index, field)),
        (Some(_), Some(_)) => {
            Err(SendError::Invalid(format!("{what}: two columns are named {name:?}: rename one of them")))
        }
        (None, _) => {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Err(SendError::Invalid(format!("{what}: there is no column {name:?}: the data has {}", names.join(", "))))
        }
    }
}

fn refused(what: &str, field: &Field, instead: &str) -> SendError {
    SendError::Invalid(format!("{what}: column {:?} is {}: {instead}", field.name(), field.data_type()))
}

/// The type of what a dictionary or runs stand for.
pub(super) fn flat(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(_, value) => flat(value),
        DataType::RunEndEncoded(_, value) => flat(value.data_type()),
        kind => kind.clone(),
    }
}

/// How the cells of a column become bytes, if they can.
pub(super) fn unpacking(kind: &DataType) -> Option<Unpacking> {
    use DataType::*;
    Some(match flat(kind) {
        Null => Unpacking::Null,
        Binary | Utf8 => Unpacking::Bytes(Binary),
        LargeBinary | LargeUtf8 => Unpacking::Bytes(LargeBinary),
        BinaryView | Utf8View => Unpacking::Bytes(BinaryView),
        FixedSizeBinary(width) => Unpacking::Bytes(FixedSizeBinary(width)),
        Int8 | UInt8 | Int16 => Unpacking::Number(Int16),
        UInt16 | Int32 => Unpacking::Number(Int32),
        UInt32 | Int64 => Unpacking::Number(Int64),
        Float16 | Float32 => Unpacking::Number(Float32),
        Float64 => Unpacking::Number(Float64),
        _ => return None,
    })
}

fn check_bytes(what: &str, field: &Field) -> Result<(), SendError> {
    match unpacking(field.data_type()) {
        Some(_) => Ok(()),
        None if flat(field.data_type()) == DataType::UInt64 => {
            Err(refused(what, field, "Kafka's serializers know no number of that range; cast it to int64 or text"))
        }
        None => {
            let name = field.name();
            let instead =
                format!("bytes, text and numbers have bytes of their own; cast it, or send JSON: {what}=[{name:?}]");
            Err(refused(what, field, &instead))
        }
    }
}

fn is_headers(kind: &DataType) -> bool {
    let pairs = match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => item.data_type(),
        DataType::Null => return true,
        _ => return false,
    };
    let is_bytes =
        |field: &FieldRef| matches!(unpacking(field.data_type()), Some(Unpacking::Bytes(_) | Unpacking::Null));
    match (pairs, kind) {
        // Nothing but empty lists.
        (DataType::Null, _) => true,
        (DataType::Struct(fields), DataType::Map(..)) => fields.len() == 2 && fields.iter().all(is_bytes),
        (DataType::Struct(fields), _) => {
            let named = |name: &str| fields.iter().find(|field| field.name() == name).is_some_and(is_bytes);
            fields.len() == 2 && named("key") && named("value")
        }
        _ => false,
    }
}

/// Milliseconds of a unit of time, or how many of it a millisecond has.
pub(super) fn scale(unit: TimeUnit) -> (i64, i64) {
    match unit {
        TimeUnit::Second => (1000, 1),
        TimeUnit::Millisecond => (1, 1),
        TimeUnit::Microsecond => (1, 1000),
        TimeUnit::Nanosecond => (1, 1_000_000),
    }
}
