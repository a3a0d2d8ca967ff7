//! Arrow arrays of any type that a table may have, made of bytes: each is sound by Arrow's own rules, and as odd as they
//! allow (slices, nulls under nulls, dictionaries of nulls, runs, views, empty and nested lists).

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, FixedSizeBinaryBuilder, StringViewBuilder};
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, DurationMillisecondType, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, DictionaryArray, FixedSizeListArray,
    LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, NullArray, PrimitiveArray, RunArray,
    StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};

/// How deep lists, structs, dictionaries and runs may lie in each other.
const DEEPEST: usize = 3;

/// What is left of the input.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte; 0 when there is none.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next bytes, fewer where there are not so many.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    fn word(&mut self) -> [u8; 8] {
        let mut word = [0; 8];
        // Mostly small numbers, sometimes any.
        let length = [1, 1, 1, 2, 4, 8, 8, 8][self.below(8)];
        let taken = self.take(length);
        word[..taken.len()].copy_from_slice(taken);
        word
    }

    fn nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        match self.byte() {
            pattern if pattern & 1 == 0 => None,
            pattern => Some((0..rows).map(|row| pattern >> (row % 7 + 1) & 1 == 1).collect()),
        }
    }

    fn some_bytes(&mut self, rows: usize) -> Vec<Vec<u8>> {
        (0..rows)
            .map(|_| {
                let length = self.below(20);
                self.take(length).to_vec()
            })
            .collect()
    }

    fn some_text(&mut self, rows: usize) -> Vec<String> {
        self.some_bytes(rows).iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

fn numbers<T: ArrowPrimitiveType>(bytes: &mut Bytes<'_>, rows: usize, read: impl Fn([u8; 8]) -> T::Native) -> ArrayRef {
    let values: Vec<T::Native> = (0..rows).map(|_| read(bytes.word())).collect();
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), bytes.nulls(rows)))
}

fn low<const N: usize>(word: [u8; 8]) -> [u8; N] {
    std::array::from_fn(|at| word[at])
}

fn lengths(bytes: &mut Bytes<'_>, rows: usize) -> Vec<usize> {
    (0..rows).map(|_| bytes.below(4)).collect()
}

fn valid<T>(nulls: Option<&NullBuffer>, values: impl IntoIterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    values
        .into_iter()
        .enumerate()
        .map(move |(row, value)| nulls.is_none_or(|nulls| nulls.is_valid(row)).then_some(value))
}

/// An array of so many rows.
pub fn array(bytes: &mut Bytes<'_>, rows: usize) -> ArrayRef {
    // More than are asked for, and cut: offsets of slices are where arrays go wrong.
    let (before, behind) = match bytes.byte() {
        cut if cut < 128 => (0, 0),
        cut => (usize::from(cut & 7), usize::from(cut >> 3 & 3)),
    };
    any(bytes, before + rows + behind, 0).slice(before, rows)
}

fn any(bytes: &mut Bytes<'_>, rows: usize, depth: usize) -> ArrayRef {
    let kinds = if depth < DEEPEST { 35 } else { 27 };
    match bytes.below(kinds) {
        0 => Arc::new(NullArray::new(rows)),
        1 => {
            let bits = (0..rows).map(|_| bytes.byte() & 1 == 1).collect();
            Arc::new(BooleanArray::new(bits, bytes.nulls(rows)))
        }
        2 => numbers::<Int8Type>(bytes, rows, |word| i8::from_le_bytes(low(word))),
        3 => numbers::<Int16Type>(bytes, rows, |word| i16::from_le_bytes(low(word))),
        4 => numbers::<Int32Type>(bytes, rows, |word| i32::from_le_bytes(low(word))),
        5 => numbers::<Int64Type>(bytes, rows, i64::from_le_bytes),
        6 => numbers::<UInt8Type>(bytes, rows, |word| word[0]),
        7 => numbers::<UInt16Type>(bytes, rows, |word| u16::from_le_bytes(low(word))),
        8 => numbers::<UInt32Type>(bytes, rows, |word| u32::from_le_bytes(low(word))),
        9 => numbers::<UInt64Type>(bytes, rows, u64::from_le_bytes),
        10 => numbers::<Float16Type>(bytes, rows, |word| half::f16::from_le_bytes(low(word))),
        11 => numbers::<Float32Type>(bytes, rows, |word| f32::from_le_bytes(low(word))),
        12 => numbers::<Float64Type>(bytes, rows, f64::from_le_bytes),
        13 => numbers::<Date32Type>(bytes, rows, |word| i32::from_le_bytes(low(word))),
        14 => numbers::<Date64Type>(bytes, rows, i64::from_le_bytes),
        15 => numbers::<TimestampSecondType>(bytes, rows, i64::from_le_bytes),
        16 => numbers::<TimestampMillisecondType>(bytes, rows, i64::from_le_bytes),
        17 => {
            let zones = ["UTC", "+05:30", "-00:01", "Europe/Amsterdam", "", "Mars/Olympus"];
            let zone = zones[bytes.below(zones.len())];
            let times = numbers::<TimestampMicrosecondType>(bytes, rows, i64::from_le_bytes);
            let data = times.to_data().into_builder();
            let kind = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some(zone.into()));
            arrow_array::make_array(data.data_type(kind).build().expect("a zone changes no buffer"))
        }
        18 => numbers::<TimestampNanosecondType>(bytes, rows, i64::from_le_bytes),
        19 => match bytes.byte() & 1 {
            0 => numbers::<Time64NanosecondType>(bytes, rows, i64::from_le_bytes),
            _ => numbers::<DurationMillisecondType>(bytes, rows, i64::from_le_bytes),
        },
        20 => {
            // The smallest precision that has any i64.
            let numbers = numbers::<Decimal128Type>(bytes, rows, |word| i64::from_le_bytes(word).into());
            let data = numbers.to_data().into_builder().data_type(DataType::Decimal128(19, 5));
            arrow_array::make_array(data.build().expect("a scale changes no buffer"))
        }
        21 => {
            let nulls = bytes.nulls(rows);
            Arc::new(valid(nulls.as_ref(), bytes.some_text(rows)).collect::<StringArray>())
        }
        22 => {
            let nulls = bytes.nulls(rows);
            Arc::new(valid(nulls.as_ref(), bytes.some_text(rows)).collect::<LargeStringArray>())
        }
        23 => {
            let nulls = bytes.nulls(rows);
            let mut views = StringViewBuilder::new().with_fixed_block_size(32);
            valid(nulls.as_ref(), bytes.some_text(rows)).for_each(|text| views.append_option(text));
            Arc::new(views.finish())
        }
        24 => {
            let nulls = bytes.nulls(rows);
            let found = bytes.some_bytes(rows);
            match bytes.byte() & 1 {
                0 => Arc::new(valid(nulls.as_ref(), found).collect::<BinaryArray>()),
                _ => Arc::new(valid(nulls.as_ref(), found).collect::<LargeBinaryArray>()),
            }
        }
        25 => {
            let nulls = bytes.nulls(rows);
            let mut views = BinaryViewBuilder::new().with_fixed_block_size(32);
            valid(nulls.as_ref(), bytes.some_bytes(rows)).for_each(|found| views.append_option(found));
            Arc::new(views.finish())
        }
        26 => {
            let width = bytes.below(5);
            let mut cells = FixedSizeBinaryBuilder::new(width as i32);
            for row in 0..rows {
                let mut cell = bytes.take(width).to_vec();
                cell.resize(width, row as u8);
                match row % 5 {
                    4 => cells.append_null(),
                    _ => cells.append_value(&cell).expect("it has that width"),
                }
            }
            Arc::new(cells.finish())
        }
        27 => dictionary(bytes, rows, depth),
        28 => runs(bytes, rows, depth),
        29 => {
            let lengths = lengths(bytes, rows);
            let items = any(bytes, lengths.iter().sum(), depth + 1);
            let nulls = bytes.nulls(rows);
            let field = item(&items);
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), items, nulls))
        }
        30 => {
            let lengths = lengths(bytes, rows);
            let items = any(bytes, lengths.iter().sum(), depth + 1);
            let nulls = bytes.nulls(rows);
            let field = item(&items);
            Arc::new(LargeListArray::new(field, OffsetBuffer::from_lengths(lengths), items, nulls))
        }
        31 => {
            let width = bytes.below(3) + 1;
            let items = any(bytes, rows * width, depth + 1);
            let nulls = bytes.nulls(rows);
            Arc::new(FixedSizeListArray::new(item(&items), width as i32, items, nulls))
        }
        32 => structs(bytes, rows, depth),
        33 => headers(bytes, rows),
        _ => map(bytes, rows),
    }
}

fn item(items: &ArrayRef) -> Arc<Field> {
    Arc::new(Field::new("item", items.data_type().clone(), true))
}

fn dictionary(bytes: &mut Bytes<'_>, rows: usize, depth: usize) -> ArrayRef {
    let count = bytes.below(5);
    let words = any(bytes, count, depth + 1);
    let nulls = bytes.nulls(rows);
    let keys: Vec<i8> = (0..rows).map(|_| bytes.below(count) as i8).collect();
    // Without a word each row is null.
    let nulls = if count == 0 { Some(NullBuffer::new_null(rows)) } else { nulls };
    Arc::new(DictionaryArray::<Int8Type>::new(PrimitiveArray::new(keys.into(), nulls), words))
}

fn runs(bytes: &mut Bytes<'_>, rows: usize, depth: usize) -> ArrayRef {
    let mut ends = Vec::new();
    let mut end = 0;
    while end < rows {
        end = rows.min(end + 1 + bytes.below(4));
        ends.push(end as i32);
    }
    let values = any(bytes, ends.len(), depth + 1);
    match RunArray::try_new(&PrimitiveArray::<Int32Type>::from(ends), &values) {
        Ok(runs) => Arc::new(runs),
        // There are none of some types.
        Err(_) => Arc::new(NullArray::new(rows)),
    }
}

fn structs(bytes: &mut Bytes<'_>, rows: usize, depth: usize) -> ArrayRef {
    let columns: Vec<ArrayRef> = (0..bytes.below(3) + 1).map(|_| any(bytes, rows, depth + 1)).collect();
    let names = ["key", "value", "\"quoted\\\n"];
    let fields: Fields =
        columns.iter().zip(names).map(|(column, name)| Field::new(name, column.data_type().clone(), true)).collect();
    Arc::new(StructArray::new(fields, columns, bytes.nulls(rows)))
}

/// As headers are: a list of pairs, whose keys and values are what they are.
fn headers(bytes: &mut Bytes<'_>, rows: usize) -> ArrayRef {
    let lengths = lengths(bytes, rows);
    let count = lengths.iter().sum();
    let nulls = bytes.nulls(count);
    let keys: ArrayRef = Arc::new(valid(nulls.as_ref(), bytes.some_text(count)).collect::<StringArray>());
    let values = any(bytes, count, DEEPEST);
    let fields = vec![Field::new("key", DataType::Utf8, true), Field::new("value", values.data_type().clone(), true)];
    let pairs: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![keys, values], bytes.nulls(count)));
    let nulls = bytes.nulls(rows);
    Arc::new(ListArray::new(item(&pairs), OffsetBuffer::from_lengths(lengths), pairs, nulls))
}

fn map(bytes: &mut Bytes<'_>, rows: usize) -> ArrayRef {
    let lengths = lengths(bytes, rows);
    let count = lengths.iter().sum();
    let keys: ArrayRef = Arc::new(StringArray::from(bytes.some_text(count)));
    let values = any(bytes, count, DEEPEST);
    let fields: Fields =
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", values.data_type().clone(), true)].into();
    let entries = StructArray::new(fields.clone(), vec![keys, values], None);
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let nulls = bytes.nulls(rows);
    Arc::new(MapArray::new(field, OffsetBuffer::from_lengths(lengths), entries, nulls, false))
}
