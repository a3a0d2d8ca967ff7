//! Seeds of the targets `file` and `partition`: what a log leaves on its disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use strandline::common::ids::{TopicPartition, Uuid};
use strandline::log::fs::memory::MemoryFs;
use strandline::log::fs::{FileSystem, read_file};
use strandline::log::leader_epoch::LeaderEpochs;
use strandline::log::meta_properties::MetaProperties;
use strandline::log::{Handles, Log, LogConfig, LogOptions, Origin};
use strandline::log::{checkpoint, partition_metadata, producer_snapshot, transaction_index};
use strandline::record::{BatchBuilder, BatchOptions, Codec, Compression, EndTxnMarker, ProducerState};

const DIR: &str = "/t-0";
const NOW: i64 = 1_700_000_000_000;

/// The names that `tests/fuzz/targets/partition.rs` knows, in its order.
const NAMES: [&str; 16] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000000.snapshot",
    "00000000000000000005.log",
    "00000000000000000005.index",
    "00000000000000000005.timeindex",
    "00000000000000000005.txnindex",
    "00000000000000000005.snapshot",
    "00000000000000000009.log",
    "00000000000000000009.index",
    "00000000000000000009.timeindex",
    "00000000000000000009.snapshot",
    "leader-epoch-checkpoint",
    "partition.metadata",
];

pub(super) fn batch(
    compression: Compression,
    producer: ProducerState,
    transactional: bool,
    records: usize,
) -> bytes::Bytes {
    let options = BatchOptions { compression, producer, transactional, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for at in 0..records {
        builder.append(NOW + at as i64, Some(b"key"), Some(&[b'v'; 40]), std::iter::empty());
    }
    builder.build().unwrap()
}

/// A log of three segments, which begin at 0, 5 and 9: an idempotent batch, an aborted transaction, plain batches.
fn written(compression: Compression) -> BTreeMap<String, Vec<u8>> {
    let fs = MemoryFs::new();
    let (mut log, _) = Log::open(LogOptions {
        partition: TopicPartition::new("t", 0),
        dir: DIR.into(),
        config: LogConfig { segment_bytes: 4096, index_interval_bytes: 64, ..LogConfig::default() },
        handles: Handles::new(Arc::new(fs.clone()), 16),
        recovery_point: 0,
        log_start_offset: 0,
        cleaned_to: 0,
        clean: false,
        now: NOW,
    })
    .unwrap();
    log.set_topic_id(Uuid([7; 16])).unwrap();
    let producer = |id, base_sequence| ProducerState { id, epoch: 0, base_sequence };
    let append = |log: &mut Log, bytes, epoch, origin| log.append(bytes, epoch, origin, NOW).unwrap().last_offset;
    append(&mut log, batch(compression, producer(1, 0), false, 3), 0, Origin::Client);
    append(&mut log, batch(compression, producer(2, 0), true, 1), 0, Origin::Client);
    let marker = EndTxnMarker { committed: false, coordinator_epoch: 1 }.build(NOW, 2, 0).unwrap();
    assert_eq!(append(&mut log, marker, 0, Origin::Coordinator), 4);
    log.roll(NOW).unwrap();
    append(&mut log, batch(compression, producer(1, 3), false, 2), 1, Origin::Client);
    append(&mut log, batch(compression, ProducerState::NONE, false, 2), 1, Origin::Client);
    log.roll(NOW).unwrap();
    append(&mut log, batch(compression, producer(1, 5), false, 2), 2, Origin::Client);
    log.close(NOW).unwrap();
    let names = fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    names.map(|name| (name.clone(), read_file(&fs, &Path::new(DIR).join(name), 1 << 20).unwrap().unwrap())).collect()
}

/// As the target reads it: flags, recovery point, log start offset, files.
fn packed(head: [u8; 3], files: &BTreeMap<String, Vec<u8>>, keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut bytes = head.to_vec();
    for (which, name) in NAMES.iter().enumerate() {
        if let Some(content) = files.get(*name).filter(|_| keep(name)) {
            bytes.push(which as u8);
            bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
            bytes.extend_from_slice(content);
        }
    }
    bytes
}

pub(super) fn partitions() -> BTreeMap<String, Vec<u8>> {
    let plain = written(Compression::NONE);
    let zstd = written(Compression::new(Codec::Zstd));
    let all = |_: &str| true;
    let seeds = [
        ("clean", packed([1, 11, 0], &plain, all)),
        ("crashed", packed([0, 0, 0], &plain, all)),
        ("crashed-behind-9", packed([0, 9, 6], &plain, all)),
        ("logs-only", packed([0, 5, 0], &plain, |name| name.ends_with(".log"))),
        ("clean-without-indexes", packed([1, 11, 2], &plain, |name| !name.ends_with("index"))),
        ("clean-without-the-first", packed([1, 11, 7], &plain, |name| !name.starts_with("00000000000000000000"))),
        ("compressed", packed([1, 0, 0], &zstd, all)),
        ("empty", packed([0, 0, 0], &plain, |_| false)),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

pub(super) fn files() -> BTreeMap<String, Vec<u8>> {
    let log = written(Compression::NONE);
    let offsets = [("flights", 0, 1234), ("flights", 1, 0), ("__consumer_offsets", 49, i64::MAX)];
    let offsets = offsets.map(|(topic, partition, offset)| (TopicPartition::new(topic, partition), offset)).into();
    let mut epochs = LeaderEpochs::new();
    for (epoch, offset) in [(0, 0), (3, 1234), (7, 99_999)] {
        epochs.assign(epoch, offset);
    }
    let meta = MetaProperties { cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(), node_id: 1, directory_id: Uuid([9; 16]) };
    let seeds = [
        ("checkpoint", b'c', checkpoint::encode(&offsets).into_bytes()),
        ("checkpoint-empty", b'c', b"0\n0\n".to_vec()),
        ("epochs", b'e', epochs.encode().into_bytes()),
        ("partition-metadata", b'p', partition_metadata::encode(Uuid([3; 16])).into_bytes()),
        ("meta-properties", b'm', meta.encode().into_bytes()),
        (
            "meta-properties-kafka",
            b'm',
            b"#\n#Mon Nov 23 20:00:00 UTC 2026\ncluster.id=x\nversion=1\nnode.id=1\n".to_vec(),
        ),
        ("transactions", b't', log["00000000000000000000.txnindex"].clone()),
        ("snapshot", b's', log["00000000000000000009.snapshot"].clone()),
    ];
    seeds.map(|(name, which, bytes)| (name.to_owned(), [&[which], &bytes[..]].concat())).into()
}

pub(super) fn is_file(bytes: &[u8]) -> Result<(), String> {
    let read = match bytes[0] {
        b'c' => checkpoint::decode(&bytes[1..]).map(drop),
        b'e' => LeaderEpochs::decode(&bytes[1..]).map(drop),
        b'p' => partition_metadata::decode(&bytes[1..]).map(drop),
        b'm' => MetaProperties::decode(&bytes[1..]).map(drop),
        b't' => transaction_index::decode(&bytes[1..]).map(drop),
        _ => producer_snapshot::decode(&bytes[1..]).map(drop),
    };
    read.map_err(|damage| damage.to_string())
}

pub(super) fn is_partition(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes.get(3..).ok_or("no head")?;
    while let [_, high, low, behind @ ..] = rest {
        rest = behind.get(usize::from(u16::from_be_bytes([*high, *low]))..).ok_or("a file is cut")?;
    }
    if rest.is_empty() { Ok(()) } else { Err("bytes behind the last file".to_owned()) }
}
