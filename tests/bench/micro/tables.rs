//! The room of tables: a log to Arrow, as bytes and as JSON, and rows of a table to records.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use divan::Bencher;
use divan::counter::ItemsCount;
use strandline::arrow::plan::Made;
use strandline::arrow::source::LocalPartition;
use strandline::arrow::{LogSource, Scan, ScanOptions, Shape, TableOptions, TablePlan};
use strandline::record::{BatchBuilder, BatchOptions};
use tempfile::TempDir;

use crate::log::{NOW, open};

const ROWS: usize = 100_000;

/// A log with a flight in each record, about 235 bytes of JSON.
fn flights() -> (TempDir, Arc<LogSource>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for first in (0..ROWS).step_by(500) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for flight in first..first + 500 {
            let value = format!(
                "{{\"year\":2013,\"month\":1,\"day\":1,\"dep_time\":517,\"dep_delay\":{}.5,\"arr_delay\":11.0,\
                 \"carrier\":\"UA\",\"flight\":{flight},\"tailnum\":\"N14228\",\"origin\":\"EWR\",\"dest\":\"IAH\",\
                 \"air_time\":227.0,\"distance\":1400,\"hour\":5,\"minute\":15,\"time_hour\":\"2013-01-01T05:00:00Z\"}}",
                flight % 40
            );
            builder.append(NOW, None, Some(value.as_bytes()), std::iter::empty());
        }
        log.append_as_leader(builder.build().unwrap(), 0, NOW).unwrap();
    }
    let partition = LocalPartition { end: log.log_end_offset(), reader: log.reader() };
    (dir, Arc::new(LogSource::new("flights", BTreeMap::from([(0, partition)]))))
}

fn read(scan: &Scan) -> usize {
    let mut reader = scan.reader();
    let mut rows = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        rows += batch.num_rows();
    }
    rows
}

#[divan::bench]
fn scan_to_views(bencher: Bencher) {
    let (_dir, source) = flights();
    let scan = Scan::new(source, ScanOptions::default()).unwrap();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| assert_eq!(read(&scan), ROWS));
}

#[divan::bench]
fn scan_json_to_columns(bencher: Bencher) {
    let (_dir, source) = flights();
    let scan = Scan::new(source, ScanOptions::default()).unwrap();
    let json = Some(Arc::new(scan.infer_json(1000).unwrap()));
    let scan = scan.with_shape(Shape { json, ..Shape::default() }.choose(None).unwrap()).unwrap();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| assert_eq!(read(&scan), ROWS));
}

fn table() -> RecordBatch {
    let numbers = 0..8192i64;
    let columns: [(&str, ArrayRef); 3] = [
        ("carrier", Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("C{}", n % 16))))),
        ("flight", Arc::new(Int64Array::from_iter_values(numbers.clone()))),
        ("delay", Arc::new(Float64Array::from_iter_values(numbers.map(|n| n as f64 / 7.0)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[divan::bench(args = ["bytes", "json"])]
fn rows_to_records(bencher: Bencher, kind: &str) {
    let batch = table();
    let value = if kind == "json" { Made::Rest } else { Made::Column("carrier".to_owned()) };
    let plan = TablePlan::new(&batch.schema(), &TableOptions { value, ..TableOptions::default() }).unwrap();
    bencher.counter(ItemsCount::new(batch.num_rows())).bench_local(|| {
        let mut bytes = 0;
        let all =
            plan.each_record(&batch, "flights", |_, record| bytes += record.unwrap().value.map_or(0, <[u8]>::len));
        all.unwrap();
        bytes
    });
}
