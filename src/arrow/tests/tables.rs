//! Tables as records: what a table says is what the records say.

use arrow_array::builder::{MapBuilder, StringBuilder, StringDictionaryBuilder, StringRunBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryArray, Float16Array, Float64Array, Int8Array, Int64Array, LargeStringArray, NullArray, StringArray,
    StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt16Array,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow_schema::Fields;

use super::*;
use crate::arrow::encode::Rows;
use crate::arrow::plan::{Made, Placed};

/// The headers of a record.
type Pairs = Vec<(String, Option<Vec<u8>>)>;

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn column(name: &str) -> Made {
    Made::Column(name.to_owned())
}

/// Each row as the record it makes, or the reason why it makes none.
fn records(batch: &RecordBatch, options: &TableOptions) -> Vec<Result<Row, String>> {
    let plan = TablePlan::new(&batch.schema(), options).unwrap();
    let rows = Rows::new(&plan, batch).unwrap();
    let mut made = Vec::new();
    let mut start = 0;
    // It is left and taken up again at each row.
    while start < rows.count() {
        let stop = rows.each(&plan, "t", start, |row, record| {
            if row > start {
                return false;
            }
            made.push(record.map_err(|error| error.to_string()).map(|record| {
                Row {
                    partition: record.partition.unwrap_or(-1),
                    offset: 0,
                    timestamp: record.timestamp.unwrap_or(-1),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|header| {
                            (String::from_utf8(header.key.to_vec()).unwrap(), header.value.map(<[u8]>::to_vec))
                        })
                        .collect(),
                }
            }));
            true
        });
        start = stop.unwrap();
    }
    made
}

/// The values that a column makes.
fn values(array: ArrayRef) -> Vec<Option<Vec<u8>>> {
    let options = TableOptions { value: column("v"), ..TableOptions::default() };
    records(&table(vec![("v", array)]), &options).into_iter().map(|row| row.unwrap().value).collect()
}

fn objects(batch: &RecordBatch) -> Vec<String> {
    let options = TableOptions { value: Made::Rest, ..TableOptions::default() };
    let text = |row: Result<Row, String>| String::from_utf8(row.unwrap().value.unwrap()).unwrap();
    records(batch, &options).into_iter().map(text).collect()
}

fn refused(batch: &RecordBatch, options: TableOptions) -> String {
    TablePlan::new(&batch.schema(), &options).unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_scan_makes_the_records_it_was_made_of(
        appends in prop::collection::vec(
            (prop::collection::vec(any_row(), 1..9), prop::sample::select(&Codec::ALL[..])), 1..12,
        ),
        from in 0usize..5, batch_rows in 1usize..50,
    ) {
        let mut log = new_log(3);
        let mut expected = Vec::new();
        for (rows, codec) in appends {
            append(&mut log, &rows, codec);
            expected.extend(rows.into_iter().map(|row| Row { partition: 3, ..row }));
        }
        let logs = [log];
        let options = TableOptions {
            key: column("key"),
            value: column("value"),
            partition: Placed::Column("partition".to_owned()),
            timestamp: Some("timestamp".to_owned()),
            headers: Some("headers".to_owned()),
        };
        for binary in [Binary::View, Binary::Large, Binary::Small] {
            let shape = Shape { binary, ..Shape::default() };
            let scan = scan(&logs, ScanOptions { shape, batch_rows, ..ScanOptions::default() });
            let whole = arrow_select::concat::concat_batches(&scan.schema(), &batches(&scan)).unwrap();
            let from = from.min(whole.num_rows());
            let sliced = whole.slice(from, whole.num_rows() - from);
            let made: Vec<Row> = records(&sliced, &options).into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(&made, &expected[from..]);
        }
    }

    #[test]
    fn words_runs_and_views_say_what_they_stand_for(
        words in prop::collection::vec(prop::option::of("[a-d]{0,20}"), 0..40), from in 0usize..40,
    ) {
        let expected: Vec<_> = words.iter().map(|word| word.clone().map(String::into_bytes)).collect();
        let mut dictionary = StringDictionaryBuilder::<Int8Type>::new();
        let mut runs = StringRunBuilder::<Int32Type>::new();
        for word in &words {
            dictionary.append_option(word.as_ref());
            runs.append_option(word.as_ref());
        }
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(words.clone())),
            Arc::new(LargeStringArray::from(words.clone())),
            Arc::new(StringViewArray::from_iter(words.clone())),
            Arc::new(BinaryArray::from_iter(expected.clone())),
            Arc::new(dictionary.finish()),
            Arc::new(runs.finish()),
        ];
        let from = from.min(words.len());
        for array in arrays {
            let kind = array.data_type().clone();
            let sliced = array.slice(from, words.len() - from);
            prop_assert_eq!(&values(sliced.clone()), &expected[from..], "{}", kind);
            if !matches!(kind, DataType::Binary) {
                let json = |word: &Option<String>| serde_json::json!({ "v": word }).to_string();
                let expected: Vec<String> = words[from..].iter().map(json).collect();
                prop_assert_eq!(objects(&table(vec![("v", sliced)])), expected, "{}", kind);
            }
        }
    }
}

#[test]
fn numbers_are_what_kafka_s_serializers_write() {
    let cells = |array: ArrayRef| values(array).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    assert_eq!(values(Arc::new(Int64Array::from(vec![Some(-2), None]))), [Some((-2i64).to_be_bytes().into()), None]);
    assert_eq!(cells(Arc::new(Int8Array::from(vec![-1]))), [(-1i16).to_be_bytes()]);
    assert_eq!(cells(Arc::new(UInt16Array::from(vec![65_535]))), [65_535i32.to_be_bytes()]);
    assert_eq!(cells(Arc::new(UInt32Array::from(vec![u32::MAX]))), [i64::from(u32::MAX).to_be_bytes()]);
    assert_eq!(cells(Arc::new(Float64Array::from(vec![1.5]))), [1.5f64.to_be_bytes()]);
    let half = arrow_cast::cast(&Float64Array::from(vec![0.5]), &DataType::Float16).unwrap();
    assert!(half.as_any().is::<Float16Array>());
    assert_eq!(cells(half), [0.5f32.to_be_bytes()]);
    assert_eq!(values(Arc::new(NullArray::new(2))), [None, None]);
}

#[test]
fn the_rest_becomes_an_object_with_its_nulls() {
    let words = StringDictionaryBuilder::<Int8Type>::new().finish();
    let moments =
        TimestampMicrosecondArray::from(vec![Some(1_357_034_400_000_000), None]).with_timezone("Europe/Berlin");
    let nested = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(2)]));
    let batch = table(vec![
        ("a \"b\"", Arc::new(StringArray::from(vec![Some("t\u{e9}\n"), None]))),
        ("f", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
        ("at", Arc::new(moments)),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x01\xff"[..]), None]))),
        ("s", Arc::new(arrow_array::StructArray::new(nested, vec![inner], None))),
        ("w", new_null_array(words.data_type(), 2)),
    ]);
    assert_eq!(
        objects(&batch),
        [
            "{\"a \\\"b\\\"\":\"t\u{e9}\\n\",\"f\":1.5,\"at\":\"2013-01-01T10:00:00Z\",\"bytes\":\"01ff\",\"s\":{\"x\":null},\"w\":null}",
            "{\"a \\\"b\\\"\":null,\"f\":null,\"at\":null,\"bytes\":null,\"s\":{\"x\":2},\"w\":null}",
        ]
    );
    // Nulls among the words of a dictionary are nulls, however deep.
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None]));
    let keys = Int8Array::from(vec![1, 0]);
    let dictionary: ArrayRef = Arc::new(arrow_array::DictionaryArray::new(keys, words));
    let fields = Fields::from(vec![Field::new("d", dictionary.data_type().clone(), true)]);
    let deep = arrow_array::StructArray::new(fields, vec![dictionary.clone()], None);
    assert_eq!(
        objects(&table(vec![("d", dictionary.clone()), ("s", Arc::new(deep))])),
        ["{\"d\":null,\"s\":{\"d\":null}}", "{\"d\":\"one\",\"s\":{\"d\":\"one\"}}"]
    );
    assert_eq!(values(dictionary), [None, Some(b"one".to_vec())]);
}

#[test]
fn moments_of_each_unit_are_milliseconds() {
    let times = |array: ArrayRef| -> Vec<i64> {
        let options = TableOptions { value: Made::Null, timestamp: Some("at".to_owned()), ..TableOptions::default() };
        records(&table(vec![("at", array)]), &options).into_iter().map(|row| row.unwrap().timestamp).collect()
    };
    assert_eq!(times(Arc::new(TimestampSecondArray::from(vec![Some(7), None]))), [7000, -1]);
    assert_eq!(times(Arc::new(TimestampMicrosecondArray::from(vec![7_999]).with_timezone("America/New_York"))), [7]);
    assert_eq!(times(Arc::new(TimestampNanosecondArray::from(vec![7_999_999, -1]))), [7, -1]);
    assert_eq!(times(Arc::new(arrow_array::Date32Array::from(vec![15_706]))), [1_356_998_400_000]);
    assert_eq!(times(Arc::new(arrow_array::Date64Array::from(vec![86_400_000]))), [86_400_000]);
    assert_eq!(times(Arc::new(Int64Array::from(vec![5]))), [5]);
    let late = table(vec![("at", Arc::new(TimestampSecondArray::from(vec![i64::MAX])))]);
    let options = TableOptions { timestamp: Some("at".to_owned()), ..TableOptions::default() };
    let plan = TablePlan::new(&late.schema(), &options).unwrap();
    let error = Rows::new(&plan, &late).err().unwrap().to_string();
    assert!(error.contains("is beyond what Kafka can say"), "{error}");
}

#[test]
fn partitions_come_from_any_integers() {
    let placed = |array: ArrayRef| -> Vec<Result<i32, String>> {
        let partition = Placed::Column("p".to_owned());
        let options = TableOptions { partition, ..TableOptions::default() };
        records(&table(vec![("p", array)]), &options).into_iter().map(|row| row.map(|row| row.partition)).collect()
    };
    assert_eq!(placed(Arc::new(Int8Array::from(vec![Some(3), None]))), [Ok(3), Ok(-1)]);
    let told = |shown: &str| Err(format!("partition is {shown}: no topic has so many, and it must be at least 0"));
    let most = u64::MAX.to_string();
    assert_eq!(placed(Arc::new(UInt64Array::from(vec![1, u64::MAX]))), [Ok(1), told(&most)]);
    assert_eq!(placed(Arc::new(Int64Array::from(vec![-5_000_000_000]))), [told("-5000000000")]);
}

#[test]
fn headers_are_lists_or_maps_and_a_bad_one_spoils_its_row_only() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("a");
    map.values().append_value("1");
    map.keys().append_value("b");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let options = TableOptions { headers: Some("h".to_owned()), ..TableOptions::default() };
    let made = |array: ArrayRef| -> Vec<Result<Pairs, String>> {
        records(&table(vec![("h", array)]), &options).into_iter().map(|row| row.map(|row| row.headers)).collect()
    };
    let pairs = vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)];
    assert_eq!(made(Arc::new(map.finish())), [Ok(pairs), Ok(vec![]), Ok(vec![])]);
    let empty = DataType::List(Arc::new(Field::new("item", DataType::Null, true)));
    assert_eq!(made(new_null_array(&empty, 2)), [Ok(vec![]), Ok(vec![])]);

    let keys: ArrayRef = Arc::new(StringViewArray::from(vec![Some("k"), None, Some("l")]));
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("v"), Some("w"), None]));
    let fields = Fields::from(vec![
        // Their order is not what counts.
        Field::new("value", DataType::Utf8, true),
        Field::new("key", DataType::Utf8View, true),
    ]);
    let nulls = arrow_buffer::NullBuffer::from(vec![true, true, false]);
    let pairs = arrow_array::StructArray::new(fields.clone(), vec![values, keys], Some(nulls));
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    let offsets = arrow_buffer::OffsetBuffer::new(vec![0i64, 1, 2, 3].into());
    let lists: ArrayRef = Arc::new(arrow_array::LargeListArray::new(item, offsets, Arc::new(pairs), None));
    let made = made(lists.slice(0, 3));
    assert_eq!(made[0], Ok(vec![("k".to_owned(), Some(b"v".to_vec()))]));
    assert_eq!(made[1], Err("the key of one of the headers is null: it must be text".to_owned()));
    assert_eq!(made[2], Err("one of the headers is null: leave it out".to_owned()));
}

#[test]
fn what_makes_no_sense_is_said_before_a_row_is_looked_at() {
    let batch = table(vec![
        ("a", Arc::new(StringArray::from(vec!["x"]))),
        ("big", Arc::new(UInt64Array::from(vec![1]))),
        ("yes", Arc::new(arrow_array::BooleanArray::from(vec![true]))),
        ("gap", new_null_array(&DataType::Interval(arrow_schema::IntervalUnit::DayTime), 1)),
        ("numbers", new_null_array(&DataType::List(Arc::new(Field::new("item", DataType::Int8, true))), 1)),
    ]);
    let default = TableOptions::default;
    let names = |names: &[&str]| Made::Object(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        refused(&batch, TableOptions { key: column("b"), ..default() }),
        "key: there is no column \"b\": the data has a, big, yes, gap, numbers"
    );
    assert!(
        refused(&batch, TableOptions { key: column("big"), ..default() })
            .starts_with("key: column \"big\" is UInt64: Kafka's serializers know no number of that range")
    );
    assert_eq!(
        refused(&batch, TableOptions { value: column("yes"), ..default() }),
        "value: column \"yes\" is Boolean: bytes, text and numbers have bytes of their own; cast it, or send JSON: value=[\"yes\"]"
    );
    assert_eq!(
        refused(&batch, TableOptions { value: names(&["a", "a"]), ..default() }),
        "value has column \"a\" twice: once will do"
    );
    assert!(refused(&batch, TableOptions { value: names(&[]), ..default() }).starts_with("value is an empty list"));
    let placed = Placed::Column("a".to_owned());
    assert_eq!(
        refused(&batch, TableOptions { partition: placed, ..default() }),
        "partition: column \"a\" is Utf8: integers are partitions"
    );
    assert!(
        refused(&batch, TableOptions { timestamp: Some("a".to_owned()), ..default() })
            .starts_with("timestamp: column \"a\" is Utf8: timestamps, dates and int64")
    );
    assert!(
        refused(&batch, TableOptions { headers: Some("numbers".to_owned()), ..default() })
            .contains("headers are list<struct<key: text, value: bytes>>")
    );
    let one = table(vec![("a", Arc::new(StringArray::from(vec!["x"])))]);
    assert_eq!(
        refused(&one, TableOptions { key: column("a"), value: Made::Rest, ..default() }),
        "no column is left for the value: all of them serve for something else; name one as the value"
    );
    let twice = RecordBatch::try_new(
        Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("a", DataType::Utf8, true)])),
        vec![one.column(0).clone(), one.column(0).clone()],
    );
    assert_eq!(
        refused(&twice.unwrap(), TableOptions { key: column("a"), ..default() }),
        "key: two columns are named \"a\": rename one of them"
    );
}

#[test]
fn a_time_that_no_calendar_has_makes_no_object_and_hurts_no_other_row() {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 8_825_501_086_245_354_100, 1_000_000]));
    let nested: ArrayRef = Arc::new(arrow_array::StructArray::from(vec![(
        Arc::new(Field::new("at", times.data_type().clone(), true)),
        times.clone(),
    )]));
    for column in [times, nested] {
        let options = TableOptions { value: Made::Rest, ..TableOptions::default() };
        let rows = records(&table(vec![("v", column)]), &options);
        assert!(rows[0].is_ok() && rows[2].is_ok());
        let reason = rows[1].as_ref().unwrap_err();
        assert!(reason.contains("cannot be written as JSON") && reason.contains("8825501086245354100"), "{reason}");
    }
}

#[test]
fn words_that_stand_for_gigabytes_are_not_written_out() {
    const ROWS: usize = 8192;
    let word = vec![7u8; 1 << 20];
    let words: ArrayRef = Arc::new(BinaryArray::from_iter_values([&word]));
    let keys = arrow_array::Int8Array::from(vec![0; ROWS]);
    let dictionary = arrow_array::DictionaryArray::<Int8Type>::try_new(keys, words.clone()).unwrap();
    let ends = arrow_array::Int32Array::from(vec![ROWS as i32]);
    let runs = arrow_array::RunArray::<Int32Type>::try_new(&ends, &words).unwrap();
    let options = TableOptions { value: column("v"), ..TableOptions::default() };
    for array in [Arc::new(dictionary) as ArrayRef, Arc::new(runs)] {
        let batch = table(vec![("v", array)]);
        let plan = TablePlan::new(&batch.schema(), &options).unwrap();
        let mut bytes = 0;
        plan.each_record(&batch, "t", |_, record| bytes += record.unwrap().value.unwrap().len()).unwrap();
        assert_eq!(bytes, ROWS << 20);
    }
}
