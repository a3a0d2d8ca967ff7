//! From the columns of a `RecordBatch` to keys, values, timestamps, partitions and headers, row by row and without a copy
//! of the bytes: they are borrowed from the columns until the producer has them in its batch.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, RunEndIndexType,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, Int64Array, LargeBinaryArray, LargeListArray,
    RecordBatch, UInt64Array, new_null_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;

use super::objects::{Objects, in_utc};
use super::plan::{Recipe, TablePlan, Target, Unpacking, flat, scale, unpacking};
use crate::client::ClientError;
use crate::client::producer::Record;
use crate::common::ids::Timestamp;
use crate::record::Header;

const MILLIS_OF_A_DAY: i64 = 86_400_000;

/// The rows of a `RecordBatch`, brought to the few types that records are made of.
pub(super) struct Rows {
    count: usize,
    key: Source,
    value: Source,
    partition: Option<ArrayRef>,
    timestamp: Option<Int64Array>,
    headers: Option<HeaderCells>,
}

/// What keys or values are made of.
enum Source {
    Cells(Cells),
    /// The columns of a JSON object.
    Object(Vec<ArrayRef>),
}

/// The bytes of a column.
enum Cells {
    Null,
    Small(BinaryArray),
    Large(LargeBinaryArray),
    View(BinaryViewArray),
    Fixed(FixedSizeBinaryArray),
}

/// Where the next row's key or value comes from.
enum Next<'a> {
    Cells(&'a Cells),
    Object(Objects<'a>),
}

/// The headers of all rows, one after the other.
struct HeaderCells {
    ends: OffsetBuffer<i64>,
    nulls: Option<NullBuffer>,
    keys: Cells,
    values: Cells,
    /// Which of the pairs are null.
    pairs: Option<NullBuffer>,
}

/// Why a row makes no record, or the record.
pub(super) type Made<'a> = Result<Record<'a>, ClientError>;

impl TablePlan {
    /// Gives `sink` what each row of `batch` would be sent as, or why it would not, without sending anything.
    ///
    /// # Errors
    /// Columns that are not what the plan's schema says.
    pub fn each_record(
        &self,
        batch: &RecordBatch,
        topic: &str,
        mut sink: impl FnMut(usize, Result<Record<'_>, ClientError>),
    ) -> Result<(), ArrowError> {
        let all = Rows::new(self, batch)?.each(self, topic, 0, |row, made| {
            sink(row, made);
            true
        });
        all.map(|_| ())
    }
}

impl Rows {
    /// The rows of `batch`, whose schema is that of the plan.
    pub(super) fn new(plan: &TablePlan, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let source = |recipe: &Recipe| -> Result<Source, ArrowError> {
            Ok(match recipe {
                Recipe::Null => Source::Cells(Cells::Null),
                Recipe::Column(index) => Source::Cells(Cells::new(batch.column(*index))?),
                Recipe::Object(object) => {
                    Source::Object(object.columns.iter().map(|index| in_utc(batch.column(*index))).collect())
                }
            })
        };
        let partition = match plan.partition {
            Target::Column(index) => Some(integers(batch.column(index))?),
            Target::ByKey | Target::At(_) => None,
        };
        Ok(Rows {
            count: batch.num_rows(),
            key: source(&plan.key)?,
            value: source(&plan.value)?,
            partition,
            timestamp: plan.timestamp.map(|index| millis(batch.column(index))).transpose()?,
            headers: plan.headers.map(|index| HeaderCells::new(batch.column(index))).transpose()?.flatten(),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Gives `sink` the records of the rows from `start` on, until it returns `false`. Returns the row it stopped at.
    pub(super) fn each(
        &self,
        plan: &TablePlan,
        topic: &str,
        start: usize,
        mut sink: impl FnMut(usize, Made<'_>) -> bool,
    ) -> Result<usize, ArrowError> {
        let mut key = self.key.next(&plan.key)?;
        let mut value = self.value.next(&plan.value)?;
        let mut headers: Vec<Header<'_>> = Vec::new();
        for row in start..self.count {
            headers.clear();
            let mut problem = self.headers.as_ref().and_then(|cells| cells.get(row, &mut headers).err());
            let partition = self.partition(&plan.partition, row).unwrap_or_else(|error| {
                problem = Some(error);
                None
            });
            let timestamp = self.timestamp.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row));
            let made = match (problem, key.get(row), value.get(row)) {
                (None, Ok(key), Ok(value)) => Ok(Record { topic, partition, timestamp, key, value, headers: &headers }),
                (Some(problem), ..) | (None, Err(problem), _) | (None, Ok(_), Err(problem)) => Err(problem),
            };
            if !sink(row, made) {
                return Ok(row);
            }
        }
        Ok(self.count)
    }

    fn partition(&self, target: &Target, row: usize) -> Result<Option<i32>, ClientError> {
        let Some(column) = &self.partition else {
            return Ok(match target {
                Target::At(partition) => Some(*partition),
                Target::ByKey | Target::Column(_) => None,
            });
        };
        if column.is_null(row) {
            return Ok(None);
        }
        let fits = match column.as_primitive_opt::<Int64Type>() {
            Some(column) => i32::try_from(column.value(row)).map_err(|_| column.value(row).to_string()),
            None => {
                let number = column.as_primitive::<UInt64Type>().value(row);
                i32::try_from(number).map_err(|_| number.to_string())
            }
        };
        fits.map(Some).map_err(|shown| {
            let sentence = format!("partition is {shown}: no topic has so many, and it must be at least 0");
            ClientError::Invalid(sentence.into())
        })
    }
}

impl Source {
    fn next<'a>(&'a self, recipe: &'a Recipe) -> Result<Next<'a>, ArrowError> {
        match (self, recipe) {
            (Source::Object(columns), Recipe::Object(recipe)) => Ok(Next::Object(Objects::new(recipe, columns)?)),
            (Source::Cells(cells), _) => Ok(Next::Cells(cells)),
            (Source::Object(_), _) => {
                Err(ArrowError::InvalidArgumentError("these are rows of another plan".to_owned()))
            }
        }
    }
}

impl Next<'_> {
    #[inline]
    fn get(&mut self, row: usize) -> Result<Option<&[u8]>, ClientError> {
        match self {
            Next::Cells(cells) => Ok(cells.get(row)),
            Next::Object(objects) => objects.write(row).map(Some),
        }
    }
}

impl Cells {
    fn new(column: &ArrayRef) -> Result<Cells, ArrowError> {
        let flat = unpack(column)?;
        Ok(match unpacking(flat.data_type()) {
            Some(Unpacking::Null) => Cells::Null,
            Some(Unpacking::Bytes(kind)) => {
                let bytes = exactly(&flat, &kind)?;
                match kind {
                    DataType::Binary => Cells::Small(bytes.as_binary().clone()),
                    DataType::LargeBinary => Cells::Large(bytes.as_binary().clone()),
                    DataType::BinaryView => Cells::View(bytes.as_binary_view().clone()),
                    _ => Cells::Fixed(bytes.as_fixed_size_binary().clone()),
                }
            }
            Some(Unpacking::Number(kind)) => Cells::Fixed(big_endian(&exactly(&flat, &kind)?)?),
            None => {
                let sentence = format!("{} has no bytes", flat.data_type());
                return Err(ArrowError::InvalidArgumentError(sentence));
            }
        })
    }

    #[inline]
    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Cells::Null => None,
            Cells::Small(cells) => cells.is_valid(row).then(|| cells.value(row)),
            Cells::Large(cells) => cells.is_valid(row).then(|| cells.value(row)),
            Cells::View(cells) => cells.is_valid(row).then(|| cells.value(row)),
            Cells::Fixed(cells) => cells.is_valid(row).then(|| cells.value(row)),
        }
    }
}

impl HeaderCells {
    /// `None` where no row has any.
    fn new(column: &ArrayRef) -> Result<Option<HeaderCells>, ArrowError> {
        let column = unpack(column)?;
        let (ends, nulls, pairs) = match column.data_type() {
            DataType::Null => return Ok(None),
            DataType::Map(..) => {
                let map = column.as_map();
                let ends: ScalarBuffer<i64> = map.offsets().iter().map(|end| i64::from(*end)).collect();
                (OffsetBuffer::new(ends), map.nulls().cloned(), Arc::new(map.entries().clone()) as ArrayRef)
            }
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => {
                let lists = exactly(&column, &DataType::LargeList(item.clone()))?;
                let lists: &LargeListArray = lists.as_list();
                (lists.offsets().clone(), lists.nulls().cloned(), lists.values().clone())
            }
            other => return Err(ArrowError::InvalidArgumentError(format!("{other} is no list of headers"))),
        };
        // Of a slice, only its own part is unpacked.
        let (from, to) = (ends[0], ends[ends.len() - 1]);
        let pairs = pairs.slice(from as usize, (to - from) as usize);
        let ends = OffsetBuffer::new(ends.iter().map(|end| end - from).collect());
        let Some(fields) = pairs.as_struct_opt() else {
            // A list of nulls: mostly of empty lists.
            let none = Some(NullBuffer::new_null(pairs.len()));
            return Ok(Some(HeaderCells { ends, nulls, keys: Cells::Null, values: Cells::Null, pairs: none }));
        };
        let named = |name: &str, at: usize| fields.column_by_name(name).unwrap_or(fields.column(at)).clone();
        let (keys, values) = match column.data_type() {
            DataType::Map(..) => (fields.column(0).clone(), fields.column(1).clone()),
            _ => (named("key", 0), named("value", 1)),
        };
        let pairs = fields.nulls().cloned();
        Ok(Some(HeaderCells { ends, nulls, keys: Cells::new(&keys)?, values: Cells::new(&values)?, pairs }))
    }

    fn get<'a>(&'a self, row: usize, headers: &mut Vec<Header<'a>>) -> Result<(), ClientError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(());
        }
        for at in self.ends[row] as usize..self.ends[row + 1] as usize {
            if self.pairs.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
                return Err(ClientError::Invalid("one of the headers is null: leave it out".into()));
            }
            let Some(key) = self.keys.get(at) else {
                return Err(ClientError::Invalid("the key of one of the headers is null: it must be text".into()));
            };
            headers.push(Header { key, value: self.values.get(at) });
        }
        Ok(())
    }
}

/// Casts; what does not fit is an error, and not a null.
fn exactly(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == kind {
        return Ok(array.clone());
    }
    cast_with_options(array, kind, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Without dictionaries and runs. Words become views, sixteen bytes a row, and stay where they are: written out they may
/// come to more than an array holds.
fn unpack(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = match (array.data_type(), flat(array.data_type())) {
        (DataType::Dictionary(..) | DataType::RunEndEncoded(..), DataType::Utf8 | DataType::LargeUtf8) => {
            DataType::Utf8View
        }
        (DataType::Dictionary(..) | DataType::RunEndEncoded(..), DataType::Binary | DataType::LargeBinary) => {
            DataType::BinaryView
        }
        (_, kind) => kind,
    };
    match array.data_type() {
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => write_out::<Int16Type>(array, &kind),
            DataType::Int32 => write_out::<Int32Type>(array, &kind),
            _ => write_out::<Int64Type>(array, &kind),
        },
        _ => exactly(array, &kind),
    }
}

/// The rows that runs stand for, of this type. What the runs are of is cast before, and not after.
fn write_out<T: RunEndIndexType>(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let Some(runs) = array.as_run_opt::<T>() else { return exactly(array, kind) };
    let values = exactly(&unpack(runs.values())?, kind)?;
    let rows: UInt64Array = (0..runs.len()).map(|row| runs.get_physical_index(row) as u64).collect();
    take(&values, &rows, None)
}

/// A column of integers as int64, or uint64 if it is one.
fn integers(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let flat = unpack(column)?;
    match flat.data_type() {
        DataType::UInt64 => Ok(flat),
        DataType::Null => Ok(new_null_array(&DataType::Int64, flat.len())),
        _ => exactly(&flat, &DataType::Int64),
    }
}

/// A column of moments as milliseconds since 1970.
fn millis(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let flat = unpack(column)?;
    let (numbers, (factor, divisor)) = match flat.data_type() {
        DataType::Timestamp(unit, _) => (exactly(&flat, &DataType::Int64)?, scale(*unit)),
        DataType::Date32 => {
            let days = flat.as_primitive::<Date32Type>();
            let millis: Int64Array = days.unary(|days| i64::from(days) * MILLIS_OF_A_DAY);
            return Ok(millis);
        }
        DataType::Date64 => (exactly(&flat, &DataType::Int64)?, (1, 1)),
        DataType::Null => (new_null_array(&DataType::Int64, flat.len()), (1, 1)),
        _ => (exactly(&flat, &DataType::Int64)?, (1, 1)),
    };
    let numbers = numbers.as_primitive::<Int64Type>();
    if (factor, divisor) == (1, 1) {
        return Ok(numbers.clone());
    }
    let scaled = |number: Timestamp| {
        let overflow = || ArrowError::ComputeError(format!("timestamp {number} is beyond what Kafka can say"));
        number.checked_mul(factor).map(|number| number.div_euclid(divisor)).ok_or_else(overflow)
    };
    numbers.try_unary(scaled)
}

/// Numbers as Kafka's serializers write them.
fn big_endian(numbers: &ArrayRef) -> Result<FixedSizeBinaryArray, ArrowError> {
    fn bytes<T: ArrowPrimitiveType, const N: usize>(
        array: &ArrayRef,
        write: impl Fn(T::Native) -> [u8; N],
    ) -> Result<FixedSizeBinaryArray, ArrowError> {
        let array = array.as_primitive::<T>();
        let bytes: Vec<u8> = array.values().iter().flat_map(|number| write(*number)).collect();
        FixedSizeBinaryArray::try_new(N as i32, Buffer::from_vec(bytes), array.nulls().cloned())
    }
    match numbers.data_type() {
        DataType::Int16 => bytes::<Int16Type, 2>(numbers, i16::to_be_bytes),
        DataType::Int32 => bytes::<Int32Type, 4>(numbers, i32::to_be_bytes),
        DataType::Float32 => bytes::<Float32Type, 4>(numbers, f32::to_be_bytes),
        DataType::Float64 => bytes::<Float64Type, 8>(numbers, f64::to_be_bytes),
        _ => bytes::<Int64Type, 8>(numbers, i64::to_be_bytes),
    }
}
