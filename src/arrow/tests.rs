//! Tables held against the records they came from.

mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use proptest::prelude::*;

use super::scan::Position;
use super::schema::OnError;
use super::source::LocalPartition;
use super::*;
use crate::common::ids::{Offset, TopicPartition};
use crate::log::fs::memory::MemoryFs;
use crate::log::{Handles, Log, LogConfig, LogOptions};
use crate::record::{BatchBuilder, BatchOptions, Codec, Compression, EndTxnMarker, Header, ProducerState};

const NOW: i64 = 1_700_000_000_000;

/// A record as a table shows it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    partition: i32,
    offset: Offset,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn new_log(partition: i32) -> Log {
    let config =
        LogConfig { segment_bytes: 4096, index_interval_bytes: 256, retention_ms: None, ..LogConfig::default() };
    let options = LogOptions {
        partition: TopicPartition::new("t", partition),
        dir: format!("/t-{partition}").into(),
        config,
        handles: Handles::new(Arc::new(MemoryFs::new()), 64),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    };
    Log::open(options).unwrap().0
}

/// Appends rows as one batch; their offsets follow the log's.
fn append(log: &mut Log, rows: &[Row], codec: Codec) {
    let mut builder = BatchBuilder::new(BatchOptions { compression: Compression::new(codec), ..Default::default() });
    for row in rows {
        let headers = row.headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() });
        builder.append(row.timestamp, row.key.as_deref(), row.value.as_deref(), headers);
    }
    log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
}

fn row(offset: Offset, value: &[u8]) -> Row {
    Row { partition: 0, offset, timestamp: NOW, key: None, value: Some(value.to_vec()), headers: Vec::new() }
}

fn source(logs: &[Log]) -> source::SharedSource {
    let partitions = logs.iter().map(|log| {
        let local = LocalPartition { reader: log.reader(), end: log.log_end_offset() };
        (log.partition().partition, local)
    });
    Arc::new(LogSource::new("t", partitions.collect()))
}

fn scan(logs: &[Log], options: ScanOptions) -> Scan {
    Scan::new(source(logs), options).unwrap()
}

fn batches(scan: &Scan) -> Vec<RecordBatch> {
    let mut reader = scan.reader();
    std::iter::from_fn(|| reader.next_batch().unwrap()).collect()
}

/// A column of bytes or text in whatever layout.
fn cells(batch: &RecordBatch, name: &str) -> Vec<Option<Vec<u8>>> {
    let column = batch.column_by_name(name).unwrap();
    let column = arrow_cast::cast(column, &DataType::LargeBinary).unwrap();
    let column = column.as_binary::<i64>();
    (0..column.len()).map(|row| column.is_valid(row).then(|| column.value(row).to_vec())).collect()
}

fn rows(scan: &Scan) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches(scan) {
        let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
        let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
        let times = batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampMillisecondType>();
        let (keys, values) = (cells(&batch, "key"), cells(&batch, "value"));
        let headers = batch.column_by_name("headers").unwrap().as_list::<i32>();
        for index in 0..batch.num_rows() {
            let list = headers.value(index);
            let pairs = list.as_struct();
            let (names, bytes) = (pairs.column(0).as_string::<i32>(), pairs.column(1).as_binary::<i32>());
            let pair = |at: usize| (names.value(at).to_owned(), bytes.is_valid(at).then(|| bytes.value(at).to_vec()));
            rows.push(Row {
                partition: partitions.value(index),
                offset: offsets.value(index),
                timestamp: if times.is_valid(index) { times.value(index) } else { -1 },
                key: keys[index].clone(),
                value: values[index].clone(),
                headers: (0..pairs.len()).map(pair).collect(),
            });
        }
    }
    rows
}

fn any_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..40))
}

fn any_row() -> impl Strategy<Value = Row> {
    let headers = prop::collection::vec(("[a-c]{0,2}", any_bytes()), 0..3);
    (prop::sample::select(vec![-1, 0, NOW]), any_bytes(), any_bytes(), headers)
        .prop_map(|(timestamp, key, value, headers)| Row { partition: 0, offset: 0, timestamp, key, value, headers })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_table_has_the_records_whatever_their_codec_and_layout(
        logs in prop::collection::vec(
            prop::collection::vec((prop::collection::vec(any_row(), 1..9), prop::sample::select(&Codec::ALL[..])), 0..12),
            1..4,
        ),
        start in 0i64..40, end in 0i64..60, batch_rows in 1usize..50, parts in 1usize..5,
    ) {
        let (mut made, mut expected) = (Vec::new(), Vec::new());
        for (partition, appends) in logs.into_iter().enumerate() {
            let mut log = new_log(partition as i32);
            for (mut rows, codec) in appends {
                let first = log.log_end_offset();
                append(&mut log, &rows, codec);
                for (index, row) in rows.iter_mut().enumerate() {
                    (row.partition, row.offset) = (partition as i32, first + index as i64);
                }
                expected.extend(rows.into_iter().filter(|row| (start..end).contains(&row.offset)));
            }
            made.push(log);
        }
        for binary in [Binary::View, Binary::Large, Binary::Small] {
            let shape = Shape { binary, ..Shape::default() };
            let (start, end) = (Position::Offset(start), Position::Offset(end));
            let scan = scan(&made, ScanOptions { start, end, shape, batch_rows, ..ScanOptions::default() });
            prop_assert_eq!(&rows(&scan), &expected);
            prop_assert_eq!(scan.count().unwrap(), expected.len() as u64);
            prop_assert!(batches(&scan).iter().all(|batch| batch.num_rows() <= batch_rows && batch.num_rows() > 0));
            let split: Vec<Row> = scan.splits(parts).unwrap().iter().flat_map(rows).collect();
            prop_assert_eq!(&split, &expected);
        }
    }
}

#[test]
fn a_mapped_batch_is_viewed_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        partition: TopicPartition::new("t", 0),
        dir: dir.path().join("t-0"),
        config: LogConfig::default(),
        handles: Handles::new(crate::log::fs::RealFs::shared(), 64),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    };
    let mut log = Log::open(options).unwrap().0;
    append(&mut log, &[row(0, b"a value that is longer than a view"), row(1, b"short")], Codec::None);
    let mapped = log.reader().read(0, usize::MAX, i64::MAX, true).unwrap().records;
    let logs = [log];
    let [batch] = batches(&scan(&logs, ScanOptions::default())).try_into().unwrap();
    let values = batch.column_by_name("value").unwrap().as_binary_view();
    let [block] = &values.data_buffers()[..] else { panic!("one block is enough") };
    assert_eq!((block.as_ptr(), block.len()), (mapped.as_ptr(), mapped.len()));
    // What is kept outlives the log.
    drop(logs);
    dir.close().unwrap();
    assert_eq!(values.value(0), b"a value that is longer than a view");
}

#[test]
fn columns_are_chosen_named_and_decoded() {
    let mut log = new_log(0);
    let typed =
        |offset, key: i64, value: &str| Row { key: Some(key.to_be_bytes().into()), ..row(offset, value.as_bytes()) };
    append(&mut log, &[typed(0, -7, "na\u{ef}ve, and longer than a view"), typed(1, i64::MAX, "")], Codec::Zstd);
    let shape = Shape {
        columns: vec![("text".to_owned(), Column::Value), ("id".to_owned(), Column::Key)],
        key: Decoding::Int64,
        value: Decoding::Utf8,
        ..Shape::default()
    };
    let scan = scan(&[log], ScanOptions { shape, ..ScanOptions::default() });
    let [batch] = batches(&scan).try_into().unwrap();
    assert_eq!(
        batch.column(0).as_string_view().iter().flatten().collect::<Vec<_>>(),
        ["na\u{ef}ve, and longer than a view", ""]
    );
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[-7, i64::MAX]);
    assert_eq!(batch.schema(), scan.schema());
}

#[test]
fn what_cannot_be_decoded_is_told_or_null() {
    for binary in [Binary::View, Binary::Large, Binary::Small] {
        let mut log = new_log(0);
        let bad = [&[0xff; 20][..], b"\xffx"].map(|value| row(0, value));
        append(&mut log, &[row(0, b"fine, and longer than a view"), bad[0].clone(), bad[1].clone()], Codec::None);
        let shape = Shape { value: Decoding::Utf8, binary, ..Shape::default() };
        let logs = [log];
        let raise = scan(&logs, ScanOptions { shape: shape.clone(), ..ScanOptions::default() });
        let mut reader = raise.reader();
        let error = reader.next_batch().unwrap_err().to_string();
        assert_eq!(error, "the value of the record at offset 1 of t-0 is not utf8: its bytes are not UTF-8");
        assert!(reader.next_batch().unwrap().is_none(), "nothing follows an error");
        let shape = Shape { on_error: OnError::Null, ..shape };
        let found = rows(&raise.with_shape(shape).unwrap());
        let values: Vec<_> = found.into_iter().map(|row| row.value).collect();
        assert_eq!(values, [Some(b"fine, and longer than a view".to_vec()), None, None]);
    }
    let mut log = new_log(0);
    append(&mut log, &[row(0, &[0; 8]), row(1, &[0; 7])], Codec::None);
    let shape = Shape { value: Decoding::Float64, ..Shape::default() };
    let error = scan(&[log], ScanOptions { shape, ..ScanOptions::default() }).reader().next_batch().unwrap_err();
    assert_eq!(error.to_string(), "the value of the record at offset 1 of t-0 is not float64: it must have 8 bytes");
}

#[test]
fn json_values_become_columns() {
    let mut log = new_log(0);
    let values = [&b"{\"n\": 1, \"s\": {\"t\": \"x\"}}"[..], b"{\"n\": ", b"{\"offset\": 7, \"n\": 3}"];
    append(&mut log, &values.map(|value| row(0, value)), Codec::Gzip);
    append(&mut log, &[Row { value: None, ..row(3, b"") }], Codec::None);
    let logs = [log];
    let plain = scan(&logs, ScanOptions::default());
    let schema = plain.infer_json(10).unwrap();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["n", "s", "offset"]);
    let shape = Shape { json: Some(Arc::new(schema)), on_error: OnError::Column, ..Shape::default() };
    let chosen = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, shown)| ((*name).to_owned(), (*shown).to_owned())).collect();
        shape.clone().choose(Some(&pairs))
    };
    let error = shape.clone().choose(None).unwrap_err().to_string();
    let hint = "a field of the value has it: choose columns, and name one of them otherwise";
    assert_eq!(error, format!("two columns are named \"offset\": each name must be its own; {hint}"));
    let shape = chosen(&[("offset", "offset"), ("n", "n"), ("inner", "value.offset")]).unwrap();
    let [batch] = batches(&plain.with_shape(shape).unwrap()).try_into().unwrap();
    let numbers =
        |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    assert_eq!(numbers("offset"), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!((numbers("n"), numbers("inner")), (vec![Some(1), None, Some(3), None], vec![None, None, Some(7), None]));
    let errors = batch.column_by_name("error").unwrap().as_struct();
    assert_eq!((0..4).filter(|row| errors.is_valid(*row)).collect::<Vec<_>>(), [1]);
    assert_eq!(errors.column(1).as_binary::<i32>().value(1), b"{\"n\": ");
    assert_eq!(errors.column(2).as_string::<i32>().value(1), "it is cut");
    let raise = Shape { on_error: OnError::Raise, ..chosen(&[("n", "n")]).unwrap() };
    let raise = Shape { columns: raise.columns[..1].to_vec(), ..raise };
    let error = plain.with_shape(raise).unwrap().reader().next_batch().unwrap_err().to_string();
    assert_eq!(error, "the value of the record at offset 1 of t-0 is not json: it is cut");
    let empty = scan(&[new_log(0)], ScanOptions::default()).infer_json(10).unwrap_err().to_string();
    assert_eq!(empty, "value is \"json\", and no record is a JSON object to tell its fields: give a schema");
}

#[test]
fn another_schema_is_honoured_or_refused() {
    let mut log = new_log(0);
    append(&mut log, &[row(0, b"a value that is longer than a view")], Codec::None);
    let shape =
        Shape { columns: vec![("offset".into(), Column::Offset), ("value".into(), Column::Value)], ..Shape::default() };
    let scan = scan(&[log], ScanOptions { shape, ..ScanOptions::default() });
    let wanted =
        |offset, value| Schema::new(vec![Field::new("offset", offset, true), Field::new("value", value, true)]);
    for value in
        [DataType::BinaryView, DataType::LargeBinary, DataType::Binary, DataType::Utf8View, DataType::LargeUtf8]
    {
        let mut reader = scan.reader_in(&wanted(DataType::Int32, value.clone())).unwrap();
        let batch = reader.next_batch().unwrap().unwrap();
        assert_eq!((batch.column(0).data_type(), batch.column(1).data_type()), (&DataType::Int32, &value));
        assert_eq!(cells(&batch, "value"), [Some(b"a value that is longer than a view".to_vec())]);
    }
    let list = DataType::List(Arc::new(Field::new("item", DataType::Date32, true)));
    let error = scan.reader_in(&wanted(DataType::Int64, list)).err().unwrap().to_string();
    assert!(
        error.starts_with("column \"value\" is LargeBinary: it cannot be read as")
            || error.contains("cannot be read as"),
        "{error}"
    );
    let error = scan.reader_in(&Schema::empty()).err().unwrap().to_string();
    assert_eq!(error, r#"a schema with the columns [] was asked for: this scan has ["offset", "value"]"#);
}

#[test]
fn a_scan_is_a_snapshot_and_says_when_its_records_are_gone() {
    let mut log = new_log(0);
    for n in 0..40 {
        append(&mut log, &[row(n, &[b'x'; 400])], Codec::None);
    }
    let mut logs = [log];
    let taken = scan(&logs, ScanOptions::default());
    append(&mut logs[0], &[row(40, b"later")], Codec::None);
    assert_eq!(rows(&taken).len(), 40);
    let mut reader = taken.reader();
    let kept = reader.next_batch().unwrap().unwrap();
    assert!(logs[0].delete_records(10));
    let error = taken.reader().next_batch().unwrap_err().to_string();
    let told = "records 0 to 10 of t-0 are gone: retention or DeleteRecords took them before they were read; begin anew with what is left";
    assert_eq!(error, told);
    assert_eq!(taken.within(&[PartitionRange { partition: 0, start: 10, end: 99 }]).count().unwrap(), 30);
    assert_eq!(cells(&kept, "value")[0].as_deref(), Some(&[b'x'; 400][..]));
}

#[test]
fn positions_are_offsets_or_times_and_are_cut_to_what_is_there() {
    let mut log = new_log(0);
    for n in 0..10 {
        append(&mut log, &[Row { timestamp: NOW + n * 10, ..row(n, b"x") }], Codec::None);
    }
    let logs = [log];
    let range = |start, end| {
        let scan = scan(&logs, ScanOptions { start, end, ..ScanOptions::default() });
        (scan.ranges()[0].start, scan.ranges()[0].end)
    };
    use Position::{Earliest, Latest, Offset, Offsets, Time};
    assert_eq!(range(Earliest, Latest), (0, 10));
    assert_eq!(range(Offset(3), Offset(7)), (3, 7));
    assert_eq!(range(Offset(-3), Offset(70)), (0, 10));
    assert_eq!(range(Offset(7), Offset(3)), (3, 3));
    assert_eq!(range(Time(NOW + 11), Time(NOW + 50)), (2, 5));
    assert_eq!(range(Time(NOW + 1000), Latest), (10, 10));
    assert_eq!(range(Offsets(BTreeMap::new()), Offsets(BTreeMap::from([(0, 4)]))), (0, 4));
    let wrong = ScanOptions { start: Offsets(BTreeMap::from([(5, 4)])), ..ScanOptions::default() };
    assert_eq!(
        Scan::new(source(&logs), wrong).unwrap_err().to_string(),
        "an offset is given for partition 5, which is not read"
    );
    let wrong = ScanOptions { partitions: Some(vec![1]), ..ScanOptions::default() };
    assert_eq!(Scan::new(source(&logs), wrong).unwrap_err().to_string(), "topic t has no partition 1: it has 1");
}

#[test]
fn committed_reads_leave_out_what_was_aborted() {
    let mut log = new_log(0);
    let mut sequence = 0;
    let mut transaction = |log: &mut Log, value: &str, committed: Option<bool>| {
        let producer = ProducerState { id: 7, epoch: 0, base_sequence: sequence };
        sequence += 1;
        let mut builder = BatchBuilder::new(BatchOptions { producer, transactional: true, ..Default::default() });
        builder.append(NOW, None, Some(value.as_bytes()), std::iter::empty());
        log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
        if let Some(committed) = committed {
            let marker = EndTxnMarker { committed, coordinator_epoch: 0 }.build(NOW, 7, 0).unwrap();
            log.append(marker, 0, crate::log::Origin::Coordinator, NOW).unwrap();
        }
    };
    transaction(&mut log, "kept", Some(true));
    transaction(&mut log, "aborted", Some(false));
    transaction(&mut log, "open", None);
    let logs = [log];
    let values = |read_committed| {
        let scan = scan(&logs, ScanOptions { read_committed, ..ScanOptions::default() });
        let values: Vec<_> =
            rows(&scan).into_iter().map(|row| String::from_utf8(row.value.unwrap()).unwrap()).collect();
        assert_eq!(scan.count().unwrap(), values.len() as u64);
        values
    };
    assert_eq!(values(false), ["kept", "aborted", "open"]);
    assert_eq!(values(true), ["kept"]);
}

#[test]
fn a_limit_and_an_empty_topic_end_early() {
    let mut log = new_log(0);
    append(&mut log, &(0..9).map(|n| row(n, b"x")).collect::<Vec<_>>(), Codec::None);
    let scan9 = scan(&[log], ScanOptions { limit: Some(4), batch_rows: 3, ..ScanOptions::default() });
    assert_eq!(batches(&scan9).iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((scan9.count().unwrap(), scan9.with_limit(9).count().unwrap()), (4, 4));
    assert!(scan9.splits(2).is_err());
    let empty = scan(&[new_log(0)], ScanOptions::default());
    assert_eq!((batches(&empty).len(), empty.count().unwrap()), (0, 0));
    assert_eq!(empty.splits(3).unwrap().len(), 1);
}

#[test]
fn parts_are_equal_to_a_row_and_make_a_scan_over_another_source() {
    let logs = [3, 0, 8].map(|count| {
        let mut log = new_log(0);
        (0..count).for_each(|n| append(&mut log, &[row(n, b"x")], Codec::None));
        log
    });
    let partitions = logs.iter().enumerate().map(|(partition, log)| {
        let local = LocalPartition { reader: log.reader(), end: log.log_end_offset() };
        (partition as i32, local)
    });
    let source: source::SharedSource = Arc::new(LogSource::new("t", partitions.collect()));
    let whole = Scan::new(source.clone(), ScanOptions { batch_rows: 2, ..ScanOptions::default() }).unwrap();
    let sizes = |parts: &[Scan]| parts.iter().map(|part| part.count().unwrap()).collect::<Vec<_>>();
    assert_eq!(sizes(&whole.splits(3).unwrap()), [3, 4, 4]);
    assert_eq!(sizes(&whole.splits(99).unwrap()), [1; 11]);
    assert_eq!(whole.splits(0).unwrap_err().to_string(), "0 parts: a scan is split into at least 1");
    let second = &whole.splits(3).unwrap()[1];
    let again = Scan::of_parts(source.clone(), second.parts()).unwrap();
    assert_eq!((again.parts(), rows(&again)), (second.parts(), rows(second)));
    let range = PartitionRange { partition: 0, start: 2, end: 1 };
    let wrong = ScanParts { ranges: vec![range], ..second.parts() };
    assert_eq!(Scan::of_parts(source, wrong).unwrap_err().to_string(), "partition 0 is read from 2 to 1");
}
