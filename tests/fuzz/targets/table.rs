//! A table of any types, sent with any plan: each row becomes a record or a reason, the same whichever way the table is
//! cut, and a JSON object is one that others can read.
//!
//! ```text
//! key | value | partition | timestamp | headers | rows | columns | column | column | ...      see `strandline_fuzz::arrays`
//! ```
#![no_main]

use arrow_array::{RecordBatch, UInt64Array};
use libfuzzer_sys::fuzz_target;
use strandline::arrow::plan::{Made, Placed};
use strandline::arrow::{TableOptions, TablePlan};
use strandline_fuzz::arrays::{Bytes, array};
use strandline_fuzz::within;

const NAMES: [&str; 5] = ["a", "key", "v\"\\\u{1}", "headers", ""];

/// A record, or why there is none.
type Row = Result<(Option<i32>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Headers), String>;
type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fuzz_target!(|bytes: &[u8]| {
    within((8 << 20) + 1024 * bytes.len(), || {
        let mut bytes = Bytes(bytes);
        let options = TableOptions {
            key: made(&mut bytes),
            value: made(&mut bytes),
            partition: match bytes.byte() {
                which if which < 128 => Placed::ByKey,
                which if which < 140 => Placed::At(i32::from(which) - 134),
                _ => Placed::Column(name(&mut bytes)),
            },
            timestamp: (bytes.byte() & 1 == 1).then(|| name(&mut bytes)),
            headers: (bytes.byte() & 1 == 1).then(|| name(&mut bytes)),
        };
        let rows = bytes.below(20);
        let columns = (0..1 + bytes.below(NAMES.len())).map(|at| (NAMES[at], array(&mut bytes, rows), true));
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).expect("columns of one length");
        let Ok(plan) = TablePlan::new(&batch.schema(), &options) else { return };
        let Some(all) = records(&plan, &batch) else { return };
        assert_eq!(all.len(), rows);
        for start in 0..rows {
            let one = records(&plan, &batch.slice(start, 1));
            assert_eq!(one.as_deref(), Some(&all[start..=start]), "row {start} by itself");
        }
        // The same rows in buffers of their own.
        let every: UInt64Array = (0..rows as u64).collect();
        if let Ok(copied) = arrow_select::take::take_record_batch(&batch, &every) {
            assert_eq!(records(&plan, &copied), Some(all.clone()));
        }
        for (record, object) in
            all.iter().flatten().flat_map(|(_, _, key, value, _)| [(key, &options.key), (value, &options.value)])
        {
            if matches!(object, Made::Rest | Made::Object(_)) {
                let text = record.as_deref().expect("an object is never null");
                let object: serde_json::Value = serde_json::from_slice(text)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
                assert!(object.is_object());
            }
        }
    });
});

fn name(bytes: &mut Bytes<'_>) -> String {
    NAMES[bytes.below(NAMES.len())].to_owned()
}

fn made(bytes: &mut Bytes<'_>) -> Made {
    match bytes.below(4) {
        0 => Made::Null,
        1 => Made::Column(name(bytes)),
        2 => Made::Object((0..bytes.below(4)).map(|_| name(bytes)).collect()),
        _ => Made::Rest,
    }
}

/// What the rows become; `None` where the batch as a whole is refused.
fn records(plan: &TablePlan, batch: &RecordBatch) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    let whole = plan.each_record(batch, "t", |row, made| {
        assert_eq!(row, rows.len());
        rows.push(made.map_err(|error| error.to_string()).map(|record| {
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let headers = record.headers.iter().map(|header| (header.key.to_vec(), owned(header.value))).collect();
            (record.partition, record.timestamp, owned(record.key), owned(record.value), headers)
        }));
    });
    match whole {
        Ok(()) => Some(rows),
        Err(error) => {
            assert!(error.to_string().len() < 4000);
            None
        }
    }
}
