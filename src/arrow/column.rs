//! A column of keys or of values: gathered record by record, finished as an Arrow array.
//!
//! What cannot be decoded is found when the column is finished, all rows at once, and looked for row by row only then.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, LargeBinaryArray, LargeStringArray,
    PrimitiveArray, StringArray,
};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_data::{ByteView, MAX_INLINE_VIEW_LEN};
use arrow_schema::ArrowError;

use super::schema::{Binary, Decoding};

/// Where a column's bytes are gathered.
enum Cells {
    /// 16 bytes each: the value itself, or its length, its first bytes, and where it lies.
    Views(Vec<u128>),
    /// All bytes in one run, and where each value ends.
    Run { ends: Vec<i64>, bytes: Vec<u8> },
    /// Values of one width, as they came: big-endian.
    Fixed { width: usize, bytes: Vec<u8> },
}

/// See the module.
pub(super) struct ColumnBuilder {
    decoding: Decoding,
    binary: Binary,
    cells: Cells,
    nulls: NullBufferBuilder,
    /// Rows whose length is not the width, and their bytes.
    bad: Vec<(usize, Vec<u8>)>,
}

/// A finished column, and the rows that could not be decoded, with their bytes; they are null in it.
pub(super) struct Finished {
    pub(super) array: ArrayRef,
    pub(super) bad: Vec<(usize, Vec<u8>)>,
}

impl ColumnBuilder {
    pub(super) fn new(decoding: Decoding, binary: Binary) -> ColumnBuilder {
        let cells = match (decoding.width(), binary) {
            (Some(width), _) => Cells::Fixed { width, bytes: Vec::new() },
            (None, Binary::View) => Cells::Views(Vec::new()),
            (None, _) => Cells::Run { ends: vec![0], bytes: Vec::new() },
        };
        ColumnBuilder { decoding, binary, cells, nulls: NullBufferBuilder::new(0), bad: Vec::new() }
    }

    /// Whether what is pushed must lie in a block that the finished column is given.
    pub(super) fn wants_blocks(&self) -> bool {
        matches!(self.cells, Cells::Views(_))
    }

    /// How many bytes were copied.
    pub(super) fn copied(&self) -> usize {
        match &self.cells {
            Cells::Views(views) => views.len() * 16,
            Cells::Run { bytes, .. } | Cells::Fixed { bytes, .. } => bytes.len(),
        }
    }

    /// Adds a value that lies at `offset` of block number `block`.
    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8]>, block: u32, offset: u32) {
        match (&mut self.cells, value) {
            (Cells::Views(views), Some(value)) => views.push(view(value, block, offset)),
            (Cells::Views(views), None) => views.push(0),
            (Cells::Run { ends, bytes }, value) => {
                bytes.extend_from_slice(value.unwrap_or_default());
                ends.push(bytes.len() as i64);
            }
            (Cells::Fixed { width, bytes }, Some(value)) if value.len() == *width => bytes.extend_from_slice(value),
            (Cells::Fixed { width, bytes }, value) => {
                if let Some(value) = value {
                    self.bad.push((self.nulls.len(), value.to_vec()));
                }
                bytes.resize(bytes.len() + *width, 0);
                return self.nulls.append_null();
            }
        }
        match value {
            Some(_) => self.nulls.append_non_null(),
            None => self.nulls.append_null(),
        }
    }

    /// The column; `blocks` are what the views lie in.
    pub(super) fn finish(mut self, blocks: &[Buffer]) -> Result<Finished, ArrowError> {
        let nulls = self.nulls.finish();
        let text = self.decoding == Decoding::Utf8;
        match self.cells {
            Cells::Fixed { bytes, .. } => Ok(Finished { array: numbers(self.decoding, &bytes, nulls), bad: self.bad }),
            Cells::Views(views) => {
                // An array that needs no block keeps none: a null or empty one in the list breaks importers.
                let long = views.iter().any(|view| *view as u32 > MAX_INLINE_VIEW_LEN);
                let blocks = if long { blocks.to_vec() } else { Vec::new() };
                let array = BinaryViewArray::try_new(ScalarBuffer::from(views), blocks, nulls)?;
                if !text {
                    return Ok(Finished { array: Arc::new(array), bad: Vec::new() });
                }
                let bad = match array.clone().to_string_view() {
                    Ok(array) => return Ok(Finished { array: Arc::new(array), bad: Vec::new() }),
                    Err(_) => rows_that_are_no_text((0..array.len()).map(|row| array.value(row))),
                };
                let nulls = without(array.nulls(), array.len(), &bad);
                let mut views = array.views().to_vec();
                bad.iter().for_each(|(row, _)| views[*row] = 0);
                let array = BinaryViewArray::try_new(views.into(), array.data_buffers().to_vec(), nulls)?;
                Ok(Finished { array: Arc::new(array.to_string_view()?), bad })
            }
            Cells::Run { ends, bytes } => run(ends, bytes, nulls, text, self.binary),
        }
    }
}

/// A view of `value`, which lies at `offset` of block number `block`.
#[inline]
fn view(value: &[u8], block: u32, offset: u32) -> u128 {
    let length = value.len() as u32;
    if length <= MAX_INLINE_VIEW_LEN {
        let mut view = [0; 16];
        view[..4].copy_from_slice(&length.to_le_bytes());
        view[4..4 + value.len()].copy_from_slice(value);
        return u128::from_le_bytes(view);
    }
    let mut prefix = [0; 4];
    prefix.copy_from_slice(&value[..4]);
    ByteView { length, prefix: u32::from_le_bytes(prefix), buffer_index: block, offset }.into()
}

fn rows_that_are_no_text<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<(usize, Vec<u8>)> {
    let bad = values.enumerate().filter(|(_, value)| std::str::from_utf8(value).is_err());
    bad.map(|(row, value)| (row, value.to_vec())).collect()
}

/// The nulls, with those of `rows` added.
fn without(nulls: Option<&NullBuffer>, len: usize, rows: &[(usize, Vec<u8>)]) -> Option<NullBuffer> {
    let mut valid: Vec<bool> = (0..len).map(|row| nulls.is_none_or(|nulls| nulls.is_valid(row))).collect();
    rows.iter().for_each(|(row, _)| valid[*row] = false);
    Some(NullBuffer::from(valid))
}

fn run(
    ends: Vec<i64>,
    bytes: Vec<u8>,
    nulls: Option<NullBuffer>,
    text: bool,
    binary: Binary,
) -> Result<Finished, ArrowError> {
    let values = Buffer::from_vec(bytes);
    let small = || -> Result<OffsetBuffer<i32>, ArrowError> {
        let too_large = |_| ArrowError::OffsetOverflowError(values.len());
        let ends: Result<Vec<i32>, _> = ends.iter().map(|end| i32::try_from(*end)).collect();
        Ok(OffsetBuffer::new(ends.map_err(too_large)?.into()))
    };
    let large = || OffsetBuffer::new(ScalarBuffer::from(ends.clone()));
    let fine = |array: ArrayRef| Ok(Finished { array, bad: Vec::new() });
    if !text {
        return match binary {
            Binary::Small => fine(Arc::new(BinaryArray::try_new(small()?, values.clone(), nulls)?)),
            _ => fine(Arc::new(LargeBinaryArray::try_new(large(), values, nulls)?)),
        };
    }
    let build = |nulls: Option<NullBuffer>, values: Buffer| -> Result<ArrayRef, ArrowError> {
        Ok(match binary {
            Binary::Small => Arc::new(StringArray::try_new(small()?, values, nulls)?),
            _ => Arc::new(LargeStringArray::try_new(large(), values, nulls)?),
        })
    };
    if let Ok(array) = build(nulls.clone(), values.clone()) {
        return fine(array);
    }
    let rows = ends.len() - 1;
    let bad = rows_that_are_no_text((0..rows).map(|row| &values[ends[row] as usize..ends[row + 1] as usize]));
    // What lies under a null must be text as well.
    let mut mended = values.to_vec();
    for (row, _) in &bad {
        mended[ends[*row] as usize..ends[*row + 1] as usize].fill(b'?');
    }
    let array = build(without(nulls.as_ref(), rows, &bad), Buffer::from_vec(mended))?;
    Ok(Finished { array, bad })
}

fn numbers(decoding: Decoding, bytes: &[u8], nulls: Option<NullBuffer>) -> ArrayRef {
    fn array<T: ArrowPrimitiveType, const N: usize>(
        bytes: &[u8],
        nulls: Option<NullBuffer>,
        read: fn([u8; N]) -> T::Native,
    ) -> ArrayRef {
        let (values, _) = bytes.as_chunks::<N>();
        let values: ScalarBuffer<T::Native> = values.iter().map(|bytes| read(*bytes)).collect();
        Arc::new(PrimitiveArray::<T>::new(values, nulls))
    }
    match decoding {
        Decoding::Int16 => array::<Int16Type, 2>(bytes, nulls, i16::from_be_bytes),
        Decoding::Int32 => array::<Int32Type, 4>(bytes, nulls, i32::from_be_bytes),
        Decoding::Float32 => array::<Float32Type, 4>(bytes, nulls, f32::from_be_bytes),
        Decoding::Float64 => array::<Float64Type, 8>(bytes, nulls, f64::from_be_bytes),
        // Bytes and text have no width and do not come here.
        Decoding::Int64 | Decoding::Binary | Decoding::Utf8 => array::<Int64Type, 8>(bytes, nulls, i64::from_be_bytes),
    }
}
