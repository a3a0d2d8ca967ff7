//! Values that say they are JSON, read as typed columns: each row is there, good or told of, whichever rows it is
//! read with.
//!
//! ```text
//! schema | policy | key | layout | value | value | ...          value: length u8 (255: null) | bytes
//! ```
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use libfuzzer_sys::fuzz_target;
use strandline::arrow::schema::OnError;
use strandline::arrow::source::LocalPartition;
use strandline::arrow::{Binary, Decoding, LogSource, Scan, ScanError, ScanOptions, Shape};
use strandline::common::ids::TopicPartition;
use strandline::log::fs::memory::MemoryFs;
use strandline::log::{Handles, Log, LogConfig, LogOptions};
use strandline::record::{BatchBuilder, BatchOptions, Codec, Compression};
use strandline_fuzz::arrays::Bytes;
use strandline_fuzz::within;

const NOW: i64 = 1_700_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let [schema, policy, key, layout, values @ ..] = bytes else { return };
    within((16 << 20) + 4096 * bytes.len(), || {
        let values = values_of(values);
        let log = log_of(&values, *layout);
        let reader = log.reader();
        let end = reader.log_end_offset();
        let source = Arc::new(LogSource::new("t", BTreeMap::from([(0, LocalPartition { reader, end })])));
        let scan =
            |shape, batch_rows| Scan::new(source.clone(), ScanOptions { shape, batch_rows, ..ScanOptions::default() });
        let Some(json) = schema_of(*schema, || scan(Shape::default(), 100)?.infer_json(100)) else { return };
        let shape = Shape {
            json: Some(json),
            key: [Decoding::Binary, Decoding::Utf8, Decoding::Int32, Decoding::Float64][usize::from(key % 4)],
            binary: [Binary::View, Binary::Large, Binary::Small][usize::from(layout >> 4) % 3],
            on_error: OnError::Column,
            ..Shape::default()
        };
        let Ok(shape) = shape.choose(None) else { return };
        let read = |shape: &Shape, batch_rows| read(&scan(shape.clone(), batch_rows).expect("the columns were chosen"));
        let all = read(&shape, 1000).expect("what cannot be decoded stands in a column");
        assert_eq!(all.num_rows(), values.len());
        let few = read(&shape, 1 + usize::from(policy >> 2) % 5).expect("what cannot be decoded stands in a column");
        assert_eq!(few, all, "a row hangs on the rows that it is read with");
        let bad = all.column_by_name("error").expect("it was asked for");
        let bad = bad.len() - bad.null_count();
        match policy % 2 {
            0 => {
                let raised = read(&Shape { on_error: OnError::Raise, ..shape }, 1000);
                assert_eq!(matches!(raised, Err(ScanError::Decode { .. })), bad > 0);
            }
            _ => {
                let nulls = read(&Shape { on_error: OnError::Null, ..shape }, 1000).expect("nulls are no errors");
                assert_eq!(nulls.columns(), &all.columns()[..nulls.num_columns()]);
            }
        }
    });
});

fn values_of(bytes: &[u8]) -> Vec<Option<&[u8]>> {
    let mut bytes = Bytes(bytes);
    let mut values = Vec::new();
    while !bytes.0.is_empty() {
        values.push(match bytes.byte() {
            255 => None,
            length => Some(bytes.take(length.into())),
        });
    }
    values
}

fn log_of(values: &[Option<&[u8]>], layout: u8) -> Log {
    let options = LogOptions {
        partition: TopicPartition::new("t", 0),
        dir: "/t-0".into(),
        config: LogConfig::default(),
        handles: Handles::new(Arc::new(MemoryFs::new()), 16),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    };
    let (mut log, _) = Log::open(options).expect("memory does not fail");
    let compression = Compression::new(if layout & 1 == 1 { Codec::Lz4 } else { Codec::None });
    for some in values.chunks(1 + usize::from(layout >> 1 & 7)) {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for value in some {
            // The key is the value's begin: bytes of any length.
            builder.append(NOW, value.map(|value| &value[..value.len().min(8)]), *value, std::iter::empty());
        }
        log.append_as_leader(builder.build().expect("a good batch"), 0, NOW).expect("memory does not fail");
    }
    log
}

fn schema_of(which: u8, infer: impl FnOnce() -> Result<Schema, ScanError>) -> Option<SchemaRef> {
    let one = |kind| Schema::new(vec![Field::new("a", kind, true)]);
    let item = |kind| Arc::new(Field::new("item", kind, true));
    let nested =
        DataType::Struct(vec![Field::new("b", DataType::Int64, true), Field::new("c", DataType::Utf8, false)].into());
    let entries = DataType::Struct(
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Int64, true)].into(),
    );
    let schema = match which % 16 {
        0 | 1 => return infer().ok().map(Arc::new),
        2 => one(DataType::Int64),
        3 => one(DataType::Utf8View),
        4 => one(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))),
        5 => one(DataType::Decimal128(10, 3)),
        6 => one(DataType::List(item(DataType::Float64))),
        7 => one(nested),
        8 => one(DataType::List(item(nested))),
        9 => one(DataType::Map(Arc::new(Field::new("entries", entries, false)), false)),
        10 => one(DataType::Boolean),
        11 => one(DataType::Date32),
        12 => one(DataType::LargeUtf8),
        13 => Schema::empty(),
        14 => one(DataType::Timestamp(TimeUnit::Nanosecond, None)),
        _ => Schema::new(vec![
            Field::new("a", DataType::UInt8, true),
            Field::new("b", DataType::Null, true),
            Field::new("c", DataType::Float32, true),
            Field::new("d", DataType::Time32(TimeUnit::Second), true),
        ]),
    };
    Some(Arc::new(schema))
}

fn read(scan: &Scan) -> Result<RecordBatch, ScanError> {
    let mut reader = scan.reader();
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        for column in batch.columns() {
            column.to_data().validate_full().expect("a sound array");
        }
        batches.push(batch);
    }
    Ok(arrow_select::concat::concat_batches(&reader.schema(), &batches).expect("batches of one schema"))
}
