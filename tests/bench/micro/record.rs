//! The record room: batches built, checked and walked, with each codec.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use strandline::record::{Batch, BatchBuilder, BatchOptions, Codec, Compression};

use crate::{LARGE, SMALL};

const NOW: i64 = 1_700_000_000_000;
const LIMIT: usize = 1 << 30;

/// What records hold: JSON of a hundred bytes or so, which compresses as such things do.
fn values(size: usize) -> Vec<String> {
    let value = |at: usize| {
        let (delay, distance, flight) = (at * 7919 % 240, at * 104_729 % 4983, at * 31 % 9999);
        format!(
            r#"{{"carrier":"UA","flight":{flight},"origin":"EWR","dest":"IAH","dep_delay":{delay},"distance":{distance}}}"#
        )
    };
    (0..size / 100).map(value).collect()
}

fn build(values: &[String], codec: Codec) -> Bytes {
    let capacity = values.iter().map(|value| value.len() + 20).sum();
    let options = BatchOptions { compression: Compression::new(codec), capacity, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for (at, value) in values.iter().enumerate() {
        builder.append(NOW + at as i64, Some(b"UA"), Some(value.as_bytes()), std::iter::empty());
    }
    builder.build().unwrap()
}

/// A batch of this size before compression.
pub(super) fn batch(size: usize, codec: Codec) -> Bytes {
    build(&values(size), codec)
}

fn bytes(values: &[String]) -> BytesCount {
    BytesCount::new(values.iter().map(String::len).sum::<usize>())
}

#[divan::bench(args = Codec::ALL)]
fn build_a_batch(bencher: Bencher, codec: Codec) {
    let values = values(SMALL);
    bencher.counter(bytes(&values)).counter(ItemsCount::new(values.len())).bench(|| build(&values, codec));
}

#[divan::bench]
fn parse_and_check_the_crc(bencher: Bencher) {
    let batch = batch(LARGE, Codec::None);
    bencher.counter(BytesCount::new(batch.len())).bench(|| Batch::parse(black_box(&batch)).unwrap().verify_crc());
}

#[divan::bench(args = Codec::ALL)]
fn decompress(bencher: Bencher, codec: Codec) {
    let values = values(LARGE);
    let batch = build(&values, codec);
    let mut out = Vec::new();
    bencher.counter(bytes(&values)).bench_local(|| {
        out.clear();
        Batch::parse(&batch).unwrap().decompress_into(LIMIT, &mut out)
    });
}

/// What a broker does with a batch that it was sent.
#[divan::bench(args = Codec::ALL)]
fn validate(bencher: Bencher, codec: Codec) {
    let values = values(SMALL);
    let batch = build(&values, codec);
    let mut scratch = Vec::new();
    bencher
        .counter(bytes(&values))
        .counter(ItemsCount::new(values.len()))
        .bench_local(|| Batch::parse(&batch).unwrap().validate(LIMIT, &mut scratch));
}

/// What a consumer does.
#[divan::bench]
fn walk_the_records(bencher: Bencher) {
    let values = values(LARGE);
    let batch = build(&values, Codec::None);
    bencher.counter(bytes(&values)).counter(ItemsCount::new(values.len())).bench(|| {
        let batch = Batch::parse(&batch).unwrap();
        batch.records(batch.body_bytes()).map(|record| record.unwrap().value.map_or(0, <[u8]>::len)).sum::<usize>()
    });
}
