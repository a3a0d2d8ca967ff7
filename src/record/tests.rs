//! The room as a whole: batches that Apache Kafka built, round trips, and damaged bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::batch::{ATTRIBUTES_AT, COUNT_AT, LAST_DELTA_AT, put, seal};
use super::*;

const LIMIT: usize = 1 << 20;

/// Three records that Apache Kafka 4.3.1 built at base offset 10, leader epoch 5, producer (42, 3, 7), transactional.
const GOLDEN: [(Codec, &str); 5] = [
    (
        Codec::None,
        "000000000000000a000000890000000502d73731370010000000020000018bcfe568000000018bcfe56805000000000000002a000300000007\
         000000038001000000046b315e7468652066697273742076616c7565207468652066697273742076616c7565207468652066697273742076\
         616c75650602680231026801000018000a02010c7365636f6e640010001304046b330100",
    ),
    (
        Codec::Gzip,
        "000000000000000a0000007f00000005023a75bcd30011000000020000018bcfe568000000018bcfe56805000000000000002a000300000007\
         000000031f8b08000000000000ff6b6064606060c9368c2bc9485548cb2c2a2e51284bcc294d5520c06763ca603264ca00ea9660e06262e4\
         294e4dcecf4b611060106661c93666640000d192aad958000000",
    ),
    (
        Codec::Snappy,
        "000000000000000a00000086000000050203ff9b790012000000020000018bcfe568000000018bcfe56805000000000000002a000300000007\
         0000000382534e415050590000000001000000010000004158688001000000046b315e7468652066697273742076616c75652074687210007c\
         0602680231026801000018000a02010c7365636f6e640010001304046b330100",
    ),
    (
        Codec::Lz4,
        "000000000000000a000000800000000502b33567470013000000020000018bcfe568000000018bcfe56805000000000000002a000300000007\
         0000000304224d1860408240000000ff0a8001000000046b315e7468652066697273742076616c75652010000cf011060268023102680100\
         0018000a02010c7365636f6e640010001304046b33010000000000",
    ),
    (
        Codec::Zstd,
        "000000000000000a0000007d000000050244c1656c0014000000020000018bcfe568000000018bcfe56805000000000000002a000300000007\
         0000000328b52ffd005804020094038001000000046b315e7468652066697273742076616c7565200602680231026801000018000a02010c\
         7365636f6e640010001304046b33010001004d33c7010000",
    ),
];

/// The commit marker that Apache Kafka 4.3.1 builds for producer (42, 3), leader epoch 4, coordinator epoch 9.
const GOLDEN_COMMIT: &str = "00000000000000000000004200000004023d3e38be0030000000000000018bcfe568000000018bcfe56800\
     000000000000002a0003ffffffff000000012000000008000000010c00000000000900";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn header<'a>(key: &'a str, value: Option<&'a [u8]>) -> Header<'a> {
    Header { key: key.as_bytes(), value }
}

#[test]
fn batches_that_kafka_built_are_read() {
    for (codec, golden) in GOLDEN {
        let bytes = hex(golden);
        let batch = Batch::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset(), batch.last_offset(), batch.partition_leader_epoch()), (10, 12, 5));
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (42, 3, 7));
        assert_eq!((batch.last_sequence(), batch.record_count(), batch.codec().unwrap()), (9, 3, codec));
        assert!(batch.is_transactional() && !batch.is_control());
        let survey = batch.validate(LIMIT, &mut Vec::new()).unwrap();
        assert_eq!((survey.record_count, survey.first_null_key, survey.index_of_max_timestamp), (3, Some(1), 1));
        assert_eq!((survey.min_timestamp, survey.max_timestamp), (1_699_999_999_990, batch.max_timestamp()));

        let body = batch.body(LIMIT).unwrap();
        let records: Vec<_> = body.iter().map(Result::unwrap).collect();
        assert_eq!(records[0].key, Some(&b"k1"[..]));
        assert_eq!(records[0].timestamp, 1_700_000_000_000);
        let headers: Vec<_> = records[0].headers.collect();
        assert_eq!(headers, [header("h", Some(b"1")), header("h", None), header("", Some(b""))]);
        assert_eq!((records[1].key, records[1].value, records[1].offset), (None, Some(&b"second"[..]), 11));
        assert_eq!((records[2].value, records[2].timestamp), (None, 1_699_999_999_990));
    }
}

#[test]
fn an_uncompressed_batch_is_built_byte_for_byte_as_kafka_builds_it() {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: 10,
        leader_epoch: 5,
        producer: ProducerState { id: 42, epoch: 3, base_sequence: 7 },
        transactional: true,
        ..BatchOptions::default()
    });
    let headers = [header("h", Some(b"1")), header("h", None), header("", Some(b""))];
    let value = b"the first value the first value the first value";
    builder.append(1_700_000_000_000, Some(b"k1"), Some(value), headers.into_iter());
    builder.append(1_700_000_000_005, None, Some(b"second"), std::iter::empty());
    builder.append(1_699_999_999_990, Some(b"k3"), None, std::iter::empty());
    assert_eq!(builder.build().unwrap(), hex(GOLDEN[0].1));
}

#[test]
fn a_commit_marker_is_built_byte_for_byte_as_kafka_builds_it() {
    let marker = EndTxnMarker { committed: true, coordinator_epoch: 9 };
    let built = marker.build(1_700_000_000_000, 42, 3).unwrap();
    let golden = hex(GOLDEN_COMMIT);
    let batch = Batch::parse(&built).unwrap();
    assert_eq!([&batch.stamped_prefix(0, 4)[..], &built[16..]].concat(), golden);
    assert_eq!(EndTxnMarker::read(&Batch::parse(&golden).unwrap()).unwrap(), Some(marker));
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    let good = hex(GOLDEN[0].1);
    let refused = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        edit(&mut bad);
        seal(&mut bad);
        let batch = Batch::parse(&bad).unwrap();
        batch.verify_crc().unwrap();
        let error = batch.validate(LIMIT, &mut Vec::new()).unwrap_err();
        assert!(!error.is_corrupt() || matches!(error, BatchError::Compression { .. }), "{error}");
        assert!(batch.body(LIMIT).map_or(true, |body| body.iter().count() <= 4), "the records end somewhere");
        error
    };
    let count = |count: i32| {
        move |bad: &mut Vec<u8>| {
            put(bad, COUNT_AT, &count.to_be_bytes());
            put(bad, LAST_DELTA_AT, &(count.wrapping_sub(1)).to_be_bytes());
        }
    };
    for wrong in [0, -1, 2, 4, i32::MAX, i32::MIN] {
        refused(&count(wrong));
    }
    refused(&|bad| put(bad, LAST_DELTA_AT, &5i32.to_be_bytes()));
    // The first record's offset delta, its length, and its key's length.
    for at in [61, 65, 66] {
        refused(&|bad| bad[at] ^= 0x02);
    }
    let unknown = refused(&|bad| bad[ATTRIBUTES_AT + 1] |= 7);
    assert_eq!(unknown, BatchError::UnknownCodec { base_offset: 10, codec: 7 });
    let wrong_codec = refused(&|bad| bad[ATTRIBUTES_AT + 1] |= 3);
    assert!(matches!(wrong_codec, BatchError::Compression { codec: Codec::Lz4, .. }));
}

#[test]
fn a_builder_says_when_it_is_full() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    assert!(builder.is_empty() && builder.has_room(1 << 20, 100));
    builder.append(0, None, Some(&[0; 50]), std::iter::empty());
    assert!(!builder.is_full(200) && builder.has_room(50, 200) && !builder.has_room(150, 200));
    builder.append(0, None, Some(&[0; 100]), std::iter::empty());
    assert!(builder.is_full(200));
    assert_eq!(builder.estimated_size(), builder.uncompressed_size());
    let size = builder.uncompressed_size();
    assert_eq!(builder.build().unwrap().len(), size);
}

type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);
type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<OwnedHeader>);

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let bytes = || prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(Just(7u8), 60..300)];
    let header = (vec(any::<u8>(), 0..4), proptest::option::of(vec(any::<u8>(), 0..80)));
    let timestamp = prop_oneof![Just(-1i64), 0..=i64::MAX, Just(1_700_000_000_000)];
    (timestamp, proptest::option::of(bytes()), proptest::option::of(bytes()), vec(header, 0..4))
}

fn any_codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.to_vec())
}

fn build(codec: Codec, records: &[OwnedRecord]) -> Bytes {
    let options = BatchOptions { compression: Compression::new(codec), base_offset: 100, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for (timestamp, key, value, headers) in records {
        let headers = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
        builder.append(*timestamp, key.as_deref(), value.as_deref(), headers);
    }
    builder.build().unwrap()
}

proptest! {
    #[test]
    fn what_was_built_is_read(codec in any_codec(), records in vec(any_record(), 1..40)) {
        let bytes = build(codec, &records);
        let batch = Batch::parse(&bytes).unwrap();
        prop_assert_eq!(batch.size_in_bytes(), bytes.len());
        batch.verify_crc().unwrap();
        let survey = batch.validate(LIMIT, &mut Vec::new()).unwrap();
        prop_assert_eq!(survey.max_timestamp, records.iter().map(|record| record.0).max().unwrap());
        prop_assert_eq!(survey.max_timestamp, batch.max_timestamp());
        prop_assert_eq!(survey.first_null_key, records.iter().position(|r| r.1.is_none()).map(|at| at as i32));
        let body = batch.body(LIMIT).unwrap();
        let read: Vec<OwnedRecord> = body
            .iter()
            .map(|record| {
                let record = record.unwrap();
                let headers = record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
                (record.timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
            })
            .collect();
        prop_assert_eq!(read, records);
        prop_assert_eq!(body.iter().last().unwrap().unwrap().offset, batch.last_offset());
    }

    /// With the CRC made to fit again, so that the damage gets past it.
    #[test]
    fn damaged_batches_never_panic_nor_grow(
        codec in any_codec(),
        records in vec(any_record(), 1..10),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = build(codec, &records).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for batch in batches(&bytes).take(1_000) {
            let Ok(batch) = batch else { break };
            let mut sealed = batch.as_bytes().to_vec();
            seal(&mut sealed);
            let batch = Batch::parse(&sealed).unwrap();
            let mut scratch = Vec::new();
            let _ = batch.validate(LIMIT, &mut scratch);
            prop_assert!(scratch.capacity() <= 4 * LIMIT);
            if let Ok(body) = batch.body(LIMIT) {
                for record in body.iter().flatten() {
                    let _ = record.headers.count();
                }
            }
            let _ = EndTxnMarker::read(&batch);
            let _ = format!("{batch:?}");
        }
    }

    #[test]
    fn noise_is_no_batch_and_no_panic(noise in vec(any::<u8>(), 0..200), codec in any_codec()) {
        for batch in batches(&noise) {
            let _ = batch.map(|batch| batch.validate(LIMIT, &mut Vec::new()));
        }
        let mut out = Vec::new();
        let _ = super::compression::decompress(codec, &noise, LIMIT, &mut out);
        prop_assert!(out.len() <= LIMIT + 1);
    }

    #[test]
    fn lz4_frames_of_every_kind_are_read(
        data in vec(any::<u8>(), 0..3000),
        linked in any::<bool>(),
        sums in any::<bool>(),
        sized in any::<bool>(),
    ) {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        use std::io::Write;
        let data = data.repeat(50);
        let frame = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_mode(if linked { BlockMode::Linked } else { BlockMode::Independent })
            .block_checksums(sums)
            .content_checksum(sums)
            .content_size(sized.then_some(data.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
        encoder.write_all(&data).unwrap();
        let mut out = Vec::new();
        super::compression::decompress(Codec::Lz4, &encoder.finish().unwrap(), data.len(), &mut out).unwrap();
        prop_assert_eq!(out, data);
    }
}
