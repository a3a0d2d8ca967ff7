//! Record batches from anywhere: parsed, checked, decompressed, walked, compressed again.
//!
//! The CRC is not asked for first, or nothing would get past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strandline::record::{Batch, Codec, Compression, EndTxnMarker, TimestampType, batches};
use strandline_fuzz::within;

/// What a batch may decompress to.
const LIMIT: usize = 1 << 20;
/// What the codecs need for themselves: lz4's blocks are up to 4 MiB, read and written, its oldest format's 8 MiB.
const CODEC: usize = 24 << 20;

fuzz_target!(|bytes: &[u8]| within(2 * LIMIT + CODEC, || {
    let mut scratch = Vec::new();
    let mut all = batches(bytes);
    let mut end = 0;
    while let Some(Ok(batch)) = all.next() {
        end += batch.size_in_bytes();
        digest(&batch, &mut scratch);
    }
    assert_eq!(end, all.position());
}));

fn digest(batch: &Batch<'_>, scratch: &mut Vec<u8>) {
    let shown = format!("{batch:?}");
    assert!(shown.len() < 1000);
    let _ = (batch.verify_crc(), batch.next_offset(), batch.last_sequence(), batch.delete_horizon());
    let _ = EndTxnMarker::read(batch);
    let survey = batch.validate(LIMIT, scratch);
    let Ok(body) = batch.body(LIMIT) else {
        assert!(survey.is_err(), "it cannot be read, and was taken for good");
        return;
    };
    assert!(body.as_bytes().len() <= LIMIT.max(batch.size_in_bytes()));
    let (mut read, mut failed) = (0, false);
    for record in body.iter() {
        match record {
            Ok(record) => {
                read += 1;
                assert!(record.offset >= batch.base_offset() && record.offset <= batch.last_offset());
                let headers: usize =
                    record.headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
                assert!(headers <= body.as_bytes().len());
            }
            Err(_) => failed = true,
        }
    }
    if let Ok(survey) = survey {
        assert!(!failed, "a good batch has a bad record");
        assert_eq!(read, survey.record_count);
        assert!(survey.min_timestamp <= survey.max_timestamp);
        assert!((0..survey.record_count).contains(&survey.index_of_max_timestamp));
    }

    // The edits a broker makes: their CRC is good, and the records stay what they were.
    let codec = Codec::ALL[usize::from(batch.as_bytes().last().copied().unwrap_or(0)) % Codec::ALL.len()];
    let packed = batch.recompressed(Compression::new(codec), LIMIT).expect("what can be read can be packed");
    let packed = Batch::parse(&packed).expect("what we packed can be parsed");
    packed.verify_crc().expect("what we packed has a good CRC");
    assert_eq!(packed.body(LIMIT.max(body.as_bytes().len())).expect("it unpacks").as_bytes(), body.as_bytes());
    let stamped = batch.with_timestamps(TimestampType::LogAppendTime, 7);
    Batch::parse(&stamped).and_then(|batch| batch.verify_crc()).expect("a good CRC");
    let taken = batch.with_producer(1, 2, 3);
    Batch::parse(&taken).and_then(|batch| batch.verify_crc()).expect("a good CRC");
}
