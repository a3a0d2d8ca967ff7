//! The seeds that the fuzz targets of `tests/fuzz/targets` begin from: real messages, batches and files, kept in
//! `tests/fuzz/corpus`.
//!
//! `STRANDLINE_CORPUS=write cargo test --test it fuzz_corpus` makes them anew. Without it the kept ones are held to
//! their word: each is still read without an error, so that a fuzzer begins behind the first checks and not before them.
//! What a fuzzer found once may be kept beside them, under a name that begins with `found-`.

mod log_files;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use strandline::config::{Scope, Values, all, properties};
use strandline::protocol::messages as m;
use strandline::protocol::primitives::Seed;
use strandline::protocol::{ApiKey, Message, Request, decode_request_header, decode_response, encode_request};
use strandline::protocol::{Str, Wire, encode_response};
use strandline::record::builder::ProducerState;
use strandline::record::{
    BatchBuilder, BatchOptions, Codec, Compression, EndTxnMarker, Header, TimestampType, batches,
};

/// Targets, then names, then bytes.
type Corpus = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

/// No seed of a message is larger: a fuzzer is quick on small inputs.
const MESSAGE: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

macro_rules! each_request {
    ($check:ident($($argument:expr),*) $($question:tt)?) => {
        each_request!(@ $check ($($argument),*) [$($question)?]
            m::produce::ProduceRequest, m::fetch::FetchRequest, m::list_offsets::ListOffsetsRequest,
            m::metadata::MetadataRequest, m::offset_commit::OffsetCommitRequest, m::offset_fetch::OffsetFetchRequest,
            m::find_coordinator::FindCoordinatorRequest, m::join_group::JoinGroupRequest,
            m::heartbeat::HeartbeatRequest, m::leave_group::LeaveGroupRequest, m::sync_group::SyncGroupRequest,
            m::describe_groups::DescribeGroupsRequest, m::list_groups::ListGroupsRequest,
            m::api_versions::ApiVersionsRequest, m::create_topics::CreateTopicsRequest,
            m::delete_topics::DeleteTopicsRequest, m::delete_records::DeleteRecordsRequest,
            m::init_producer_id::InitProducerIdRequest, m::offset_for_leader_epoch::OffsetForLeaderEpochRequest,
            m::describe_configs::DescribeConfigsRequest, m::alter_configs::AlterConfigsRequest,
            m::describe_log_dirs::DescribeLogDirsRequest, m::create_partitions::CreatePartitionsRequest,
            m::delete_groups::DeleteGroupsRequest, m::incremental_alter_configs::IncrementalAlterConfigsRequest,
            m::offset_delete::OffsetDeleteRequest, m::describe_quorum::DescribeQuorumRequest,
            m::add_raft_voter::AddRaftVoterRequest, m::remove_raft_voter::RemoveRaftVoterRequest,
            m::quorum_vote::QuorumVoteRequest, m::quorum_append::QuorumAppendRequest,
            m::quorum_snapshot::QuorumSnapshotRequest, m::quorum_hello::QuorumHelloRequest,
            m::describe_cluster::DescribeClusterRequest,
            m::describe_producers::DescribeProducersRequest, m::list_config_resources::ListConfigResourcesRequest,
            m::describe_topic_partitions::DescribeTopicPartitionsRequest, m::elect_leaders::ElectLeadersRequest,
            m::alter_partition_reassignments::AlterPartitionReassignmentsRequest,
            m::list_partition_reassignments::ListPartitionReassignmentsRequest,
            m::alter_partition::AlterPartitionRequest, m::update_features::UpdateFeaturesRequest,
            m::envelope::EnvelopeRequest, m::broker_registration::BrokerRegistrationRequest,
            m::broker_heartbeat::BrokerHeartbeatRequest, m::unregister_broker::UnregisterBrokerRequest,
            m::allocate_producer_ids::AllocateProducerIdsRequest)
    };
    (@ $check:ident $arguments:tt [] $($request:ty),+) => { $($check::<$request> $arguments;)+ };
    (@ $check:ident $arguments:tt [?] $($request:ty),+) => { $($check::<$request> $arguments?;)+ };
}

/// The lowest and the highest version, which between them have every field.
fn versions<T: Message>() -> Vec<i16> {
    let mut versions = vec![T::VERSIONS.min, T::VERSIONS.max];
    versions.dedup();
    versions
}

/// The largest frame under [`MESSAGE`] that a few dozen samples give: the one that says most.
fn best(mut sample: impl FnMut(u64) -> Option<Bytes>) -> Vec<u8> {
    let frames = (0..64).filter_map(&mut sample);
    // A frame begins with its size, which the targets do not read.
    frames
        .map(|frame| frame[4..].to_vec())
        .filter(|frame| frame.len() <= MESSAGE)
        .max_by_key(Vec::len)
        .unwrap_or_default()
}

fn messages<R: Request>(corpus: &mut Corpus) {
    let client = Str::from("strandline".to_owned());
    for version in versions::<R>() {
        let request = best(|seed| {
            let request = R::sample(&mut Seed(seed), R::version(version));
            Some(encode_request(&request, version, seed as i32, Some(&client)).ok()?.into_bytes())
        });
        corpus.entry("request").or_default().insert(format!("{}-v{version}", R::KEY), request);
        let response = best(|seed| {
            let response = R::Response::sample(&mut Seed(seed), R::version(version));
            Some(encode_response::<R>(&response, version, seed as i32).ok()?.into_bytes())
        });
        let at = ApiKey::ALL.iter().position(|api| *api == R::KEY).unwrap();
        let response = [&[at as u8, version as u8][..], &response].concat();
        corpus.entry("response").or_default().insert(format!("{}-v{version}", R::KEY), response);
    }
}

fn batch(options: BatchOptions, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    let headers = [Header { key: b"h", value: Some(b"1") }, Header { key: b"h", value: None }];
    for at in 0..records {
        let key = format!("key {at}");
        let value = "the water leaves a mark ".repeat(at % 3);
        builder.append(
            1_700_000_000_000 + at as i64,
            (at % 3 != 1).then_some(key.as_bytes()),
            (at % 4 != 3).then_some(value.as_bytes()),
            headers[..at % 3].iter().copied(),
        );
    }
    builder.build_vec().unwrap()
}

fn record(corpus: &mut Corpus) {
    let all = corpus.entry("record").or_default();
    let producer = ProducerState { id: 7, epoch: 1, base_sequence: i32::MAX - 1 };
    for codec in Codec::ALL {
        let compression = Compression::new(codec);
        let options = BatchOptions { compression, ..BatchOptions::default() };
        for records in [1, 3, 40] {
            all.insert(format!("{codec}-{records}"), batch(options, records));
        }
        let idempotent = BatchOptions { producer, transactional: true, base_offset: 100, leader_epoch: 3, ..options };
        all.insert(format!("{codec}-idempotent"), batch(idempotent, 4));
        let appended = BatchOptions { timestamp_type: TimestampType::LogAppendTime, ..options };
        all.insert(format!("{codec}-append-time"), batch(appended, 2));
    }
    let one = batch(BatchOptions::default(), 2);
    all.insert("three-in-a-row".to_owned(), [&one[..], &one, &one].concat());
    for committed in [true, false] {
        let marker = EndTxnMarker { committed, coordinator_epoch: 3 };
        all.insert(format!("marker-{committed}"), marker.build(1_000, 7, 1).unwrap().to_vec());
    }
    // Raw snappy, and zstd without a content size: what librdkafka and streaming encoders send.
    let plain = batch(BatchOptions::default(), 12);
    let plain = batches(&plain).next().unwrap().unwrap();
    let raw = snap::raw::Encoder::new().compress_vec(plain.body_bytes()).unwrap();
    all.insert("snappy-raw".to_owned(), with_body(plain.as_bytes(), Codec::Snappy, &raw));
    let mut stream = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    std::io::Write::write_all(&mut stream, plain.body_bytes()).unwrap();
    all.insert("zstd-stream".to_owned(), with_body(plain.as_bytes(), Codec::Zstd, &stream.finish().unwrap()));
}

/// A batch's header before another body. The CRC is not mended: the fuzzers do not ask for it.
fn with_body(batch: &[u8], codec: Codec, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&batch[..strandline::record::HEADER_LEN], body].concat();
    let length = (bytes.len() - strandline::record::LOG_OVERHEAD) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = (bytes[22] & !7) | codec.id();
    bytes
}

fn config(corpus: &mut Corpus) {
    let files = corpus.entry("config").or_default();
    let none: [(&str, &str); 0] = [];
    let broker = Arc::new(Values::broker(none).unwrap().0);
    let topic = Values::topic("t", broker.clone(), none).unwrap();
    for (name, values) in [("broker", &*broker), ("topic", &topic)] {
        // All keys at their defaults, a few hundred at a time: one file of all would be slow to mutate.
        let lines: Vec<_> = values
            .describe_all()
            .into_iter()
            .filter_map(|described| Some(format!("{}={}\n", described.def.name, described.value?)))
            .collect();
        for (at, lines) in lines.chunks(24).enumerate() {
            // The first byte says whose it is.
            files.insert(format!("{name}-{at}"), format!("{}{}", &name[..1], lines.concat()).into_bytes());
        }
    }
    for (name, scope) in [("producer", Scope::Producer), ("consumer", Scope::Consumer), ("admin", Scope::Admin)] {
        let lines = all(scope).filter(|def| def.name.len() % 5 == 0);
        let text: String = lines.filter_map(|def| Some(format!("{}={}\n", def.name, def.default_text()?))).collect();
        files.insert(name.to_owned(), format!("{}{text}", &name[..1]).into_bytes());
    }
    let texts = [
        ("listeners", "blisteners=PLAINTEXT://127.0.0.1:9092,CLIENT://[::1]:0\nadvertised.listeners=PLAINTEXT://a:1\n"),
        (
            "shapes",
            "t# a comment\n! another\na b\nc: d\ne = f \\\n   g\\t\\u0041\\uD83D\\uDE00\\z\r\n\nretention.ms=-1\n",
        ),
        (
            "topic-values",
            "tcleanup.policy=compact,delete\nretention.bytes=1048576\nsegment.ms=1\ncompression.type=zstd\n",
        ),
    ];
    files.extend(texts.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
}

/// Values for each schema that the target `json` knows: see there what the four bytes in front say.
fn json() -> BTreeMap<String, Vec<u8>> {
    let flights =
        ["{\"a\":1,\"b\":\"EWR\"}", "{\"a\":2.5,\"b\":null,\"c\":[1,2]}", "{\"c\":{\"d\":true}}", "{}", "[1]", "{"];
    let times = ["{\"a\":\"2013-01-01T05:00:00Z\"}", "{\"a\":\"2013-01-01T05:00:00+01:00\"}", "{\"a\":1357016400000}"];
    let numbers = ["{\"a\":1}", "{\"a\":-1.25}", "{\"a\":\"12345.678\"}", "{\"a\":1e300}", "{\"a\":null} "];
    let nested =
        ["{\"a\":{\"b\":1,\"c\":\"\\u0041\\ud83d\\ude00\"}}", "{\"a\":[{\"b\":1,\"c\":\"x\"},null]}", "{\"a\":[]}"];
    let seed = |front: [u8; 4], values: &[&str]| {
        let value = |value: &&str| [&[value.len() as u8], value.as_bytes()].concat();
        // The last of them is null.
        [front.to_vec(), values.iter().flat_map(value).collect(), vec![255]].concat()
    };
    let mut seeds = BTreeMap::new();
    for (name, schema, values) in
        [("inferred", 0, &flights[..]), ("decimals", 5, &numbers), ("timestamps", 4, &times), ("nested", 8, &nested)]
    {
        seeds.insert(name.to_owned(), seed([schema, schema, 1, schema * 7], values));
    }
    seeds
}

/// Whether a seed of `json` is whole values.
fn is_json(mut bytes: &[u8]) -> Result<(), String> {
    bytes = bytes.get(4..).ok_or("it has no values")?;
    while let Some((length, rest)) = bytes.split_first() {
        let length = if *length == 255 { 0 } else { usize::from(*length) };
        bytes = rest.get(length..).ok_or("its last value is cut")?;
    }
    Ok(())
}

fn seeds() -> Corpus {
    let mut corpus = Corpus::new();
    each_request!(messages(&mut corpus));
    record(&mut corpus);
    config(&mut corpus);
    corpus.insert("file", log_files::files());
    corpus.insert("partition", log_files::partitions());
    let streams = streams::streams(&corpus["request"]);
    corpus.insert("broker", streams);
    corpus.insert("json", json());
    // All of them were found: what they say is known to the target only.
    corpus.insert("table", BTreeMap::new());
    corpus
}

/// Whether a seed that we made gets past the first checks of its target.
fn is_read(target: &str, bytes: &[u8]) -> Result<(), String> {
    fn request<R: Request>(bytes: &Bytes) -> Result<(), String> {
        let (header, mut decoder) = decode_request_header(bytes.clone()).map_err(|error| error.to_string())?;
        if header.api_key == R::KEY {
            R::from_bytes(decoder.rest(), header.api_version).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
    fn response<R: Request>(bytes: &[u8]) -> Result<(), String> {
        if ApiKey::ALL[usize::from(bytes[0])] == R::KEY {
            let frame = Bytes::copy_from_slice(&bytes[2..]);
            decode_response::<R>(frame, i16::from(bytes[1])).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
    match target {
        "request" => {
            let bytes = Bytes::copy_from_slice(bytes);
            each_request!(request(&bytes)?);
        }
        "response" => {
            each_request!(response(bytes)?);
        }
        "record" => {
            for batch in batches(bytes) {
                let batch = batch.map_err(|error| error.to_string())?;
                batch.validate(1 << 20, &mut Vec::new()).map_err(|error| error.to_string())?;
            }
        }
        "config" => drop(properties::parse(&String::from_utf8_lossy(&bytes[1..])).map_err(|error| error.to_string())?),
        "broker" => streams::is_stream(bytes)?,
        "file" => log_files::is_file(bytes)?,
        "partition" => log_files::is_partition(bytes)?,
        "json" => is_json(bytes)?,
        _ => return Err("there is no such target".to_owned()),
    }
    Ok(())
}

#[test]
fn each_api_has_a_seed_of_a_request_and_of_a_response() {
    for target in ["request", "response"] {
        let kept = std::fs::read_dir(root().join(target)).unwrap();
        let kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        for api in ApiKey::ALL {
            let is_of_it = |name: &String| name.starts_with(&format!("{api}-v"));
            assert!(
                kept.iter().any(is_of_it),
                "{api} has no seed of a {target}: name it in each_request!, and make corpus"
            );
        }
    }
}

#[test]
fn each_kept_seed_is_still_read() {
    if std::env::var("STRANDLINE_CORPUS").is_ok_and(|word| word == "write") {
        write();
    }
    let (mut files, mut total) = (0, 0);
    for target in seeds().keys() {
        let dir = root().join(target);
        let mut kept = 0;
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            (files, total, kept) = (files + 1, total + bytes.len(), kept + 1);
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("found-") {
                is_read(target, &bytes).unwrap_or_else(|error| panic!("{target}/{name}: {error}"));
            }
        }
        assert!(kept >= 4, "{target} has {kept} seeds");
    }
    assert!(files <= 300 && total <= 400 << 10, "{files} files, {total} bytes: a corpus is kept small");
}

fn write() {
    for (target, seeds) in seeds() {
        let dir = root().join(target);
        std::fs::create_dir_all(&dir).unwrap();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_string_lossy().starts_with("found-") {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (name, bytes) in seeds {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}
