//! The binary as a user meets it: what it prints, where, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use strandline::log::AbortedTxn;
use strandline::log::producer_snapshot;
use strandline::log::producer_state::{ProducerBatch, ProducerStates};
use strandline::protocol::messages::describe_log_dirs::DescribeLogDirsRequest;
use strandline::record::{
    Batch, BatchBuilder, BatchOptions, Codec, Compression, EndTxnMarker, Header, ProducerState, TimestampType,
};
use tempfile::TempDir;

use crate::wire::Wire;

/// Runs the binary in `dir`: exit code, stdout, stderr.
fn strandline(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_strandline")).args(args).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// The same, for what must succeed without a word on stderr.
fn answer(dir: &Path, args: &[&str]) -> String {
    let (code, stdout, stderr) = strandline(dir, args);
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}: {stdout}");
    stdout
}

/// A segment of four batches: plain, compressed and idempotent, append time, and a transaction's end.
fn segment() -> Vec<u8> {
    let header = |key: &'static [u8], value| Header { key, value };
    let mut plain = BatchBuilder::new(BatchOptions::default());
    plain.append(1_000, Some(b"UA"), Some(b"one"), [header(b"a", Some(b"1")), header(b"a", None)].into_iter());
    plain.append(1_500, None, None, std::iter::empty());
    let mut packed = BatchBuilder::new(BatchOptions {
        base_offset: 2,
        leader_epoch: 3,
        compression: Compression::new(Codec::Lz4),
        producer: ProducerState { id: 9, epoch: 1, base_sequence: i32::MAX },
        transactional: true,
        ..BatchOptions::default()
    });
    for value in ["two", "three"] {
        packed.append(2_000, Some(b"k"), Some(value.as_bytes()), std::iter::empty());
    }
    let mut appended = BatchBuilder::new(BatchOptions { base_offset: 4, ..BatchOptions::default() });
    appended.append(3_000, None, Some(b"four\xff"), std::iter::empty());
    let appended = appended.build().unwrap();
    let appended = Batch::parse(&appended).unwrap().with_timestamps(TimestampType::LogAppendTime, 4_000);
    let marker = EndTxnMarker { committed: true, coordinator_epoch: 7 }.build(5_000, 9, 1).unwrap();
    let stamp = Batch::parse(&marker).unwrap().stamped_prefix(7, 3);
    [&plain.build().unwrap(), &packed.build().unwrap(), &appended, &stamp[..], &marker[16..]].concat()
}

fn folder() -> (TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let bytes = segment();
    fs::write(dir.path().join("00000000000000000000.log"), &bytes).unwrap();
    (dir, bytes)
}

const LOG: &str = "00000000000000000000.log";

#[test]
fn batches_are_told_as_kafkas_tool_tells_them() {
    let (dir, _) = folder();
    insta::assert_snapshot!(answer(dir.path(), &["dump-log", LOG]), @r"
    Dumping 00000000000000000000.log
    Log starting offset: 0
    baseOffset: 0 lastOffset: 1 count: 2 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: -1 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1500 size: 88 magic: 2 compresscodec: none crc: 25115733 isvalid: true
    baseOffset: 2 lastOffset: 3 count: 2 baseSequence: 2147483647 lastSequence: 0 producerId: 9 producerEpoch: 1 partitionLeaderEpoch: 3 isTransactional: true isControl: false deleteHorizonMs: OptionalLong.empty position: 88 CreateTime: 2000 size: 100 magic: 2 compresscodec: lz4 crc: 1511628552 isvalid: true
    baseOffset: 4 lastOffset: 4 count: 1 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: -1 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 188 LogAppendTime: 4000 size: 73 magic: 2 compresscodec: none crc: 3311143303 isvalid: true
    baseOffset: 7 lastOffset: 7 count: 1 baseSequence: -1 lastSequence: -1 producerId: 9 producerEpoch: 1 partitionLeaderEpoch: 3 isTransactional: true isControl: true deleteHorizonMs: OptionalLong.empty position: 261 CreateTime: 5000 size: 78 magic: 2 compresscodec: none crc: 2756240925 isvalid: true
    ");
}

#[test]
fn records_are_told_as_kafkas_tool_tells_them() {
    let (dir, _) = folder();
    let (code, stdout, stderr) = strandline(dir.path(), &["dump-log", "--files", LOG, "--print-data-log"]);
    let records: Vec<_> = stdout.lines().filter(|line| line.starts_with('|')).collect();
    insta::assert_snapshot!(format!("{code}\n{}\n{stderr}", records.join("\n")), @r"
    0
    | offset: 0 CreateTime: 1000 keySize: 2 valueSize: 3 sequence: -1 headerKeys: [a,a] key: UA payload: one
    | offset: 1 CreateTime: 1500 keySize: -1 valueSize: -1 sequence: -1 headerKeys: []
    | offset: 2 CreateTime: 2000 keySize: 1 valueSize: 3 sequence: 2147483647 headerKeys: [] key: k payload: two
    | offset: 3 CreateTime: 2000 keySize: 1 valueSize: 5 sequence: 0 headerKeys: [] key: k payload: three
    | offset: 4 LogAppendTime: 4000 keySize: -1 valueSize: 5 sequence: -1 headerKeys: [] payload: four�
    | offset: 7 CreateTime: 5000 keySize: 4 valueSize: 6 sequence: -1 headerKeys: [] endTxnMarker: COMMIT coordinatorEpoch: 7
    strandline: 00000000000000000000.log: offset 4 is followed by 7 (1 gap in all, as compaction leaves them)
    ");
    let bare = strandline(dir.path(), &["dump-log", LOG, "--print-data-log", "--skip-record-metadata"]).1;
    assert!(bare.contains("| key: UA payload: one\n"), "{bare}");
}

#[test]
fn each_line_of_json_is_an_object() {
    let (dir, _) = folder();
    let (_, stdout, _) = strandline(dir.path(), &["dump-log", "--json", "--print-data-log", LOG]);
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["kind"].as_str(), lines[0]["file"].as_str()), (Some("file"), Some(LOG)));
    assert_eq!(lines[1]["startOffset"], 0);
    assert_eq!((&lines[2]["baseOffset"], &lines[2]["deleteHorizonMs"]), (&0.into(), &serde_json::Value::Null));
    assert_eq!(lines[3]["headerKeys"], serde_json::json!(["a", "a"]));
    assert_eq!(lines.iter().filter(|line| line["kind"] == "record").count(), 6);
}

#[test]
fn a_sound_segment_is_verified_in_a_line() {
    let (dir, _) = folder();
    let (code, stdout, stderr) = strandline(dir.path(), &["dump-log", "--verify", LOG]);
    assert_eq!((code, stdout.as_str()), (0, &*format!("{LOG}: sound, 4 batches, 6 records, offsets 0 to 7\n")));
    assert!(stderr.contains("offset 4 is followed by 7 (1 gap"), "{stderr}");
}

#[test]
fn damage_is_told_with_its_place_and_fails() {
    let (dir, bytes) = folder();
    let path = dir.path().join(LOG);
    let verify = || strandline(dir.path(), &["dump-log", "--verify", LOG]);
    let mut flipped = bytes.clone();
    flipped[70] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let (code, stdout, stderr) = verify();
    assert_eq!((code, stdout.starts_with(&format!("{LOG}: DAMAGED, 4 batches"))), (1, true), "{stdout}");
    assert!(stderr.contains("at position 0: the batch at offset 0 carries CRC"), "{stderr}");
    let shown = strandline(dir.path(), &["dump-log", LOG]).1;
    assert_eq!((shown.matches("isvalid: false").count(), shown.matches("isvalid: true").count()), (1, 3));

    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let (code, _, stderr) = verify();
    assert!(code == 1 && stderr.contains("invalid bytes at the end") && stderr.contains("incomplete"), "{stderr}");

    fs::write(&path, [&bytes[..], &[0x7f; 100]].concat()).unwrap();
    let (code, _, stderr) = verify();
    assert!(code == 1 && stderr.contains("found 100 invalid bytes at the end"), "{stderr}");

    fs::write(&path, [&bytes[..], &bytes[..]].concat()).unwrap();
    let (code, _, stderr) = verify();
    assert!(code == 1 && stderr.contains("the batch begins at offset 0, and must begin behind 7"), "{stderr}");
}

fn index(entries: &[&[u32]]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.iter().flat_map(|number| number.to_be_bytes())).collect()
}

#[test]
fn indexes_are_held_against_their_segment() {
    let (dir, _) = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let (offsets, times) = ("00000000000000000000.index", "00000000000000000000.timeindex");
    // The zeros are what an open index has room for.
    write(offsets, &[index(&[&[3, 88], &[7, 261]]), vec![0; 80]].concat());
    write(times, &[index(&[&[0, 2_000, 3], &[0, 5_000, 7]]), vec![0; 48]].concat());
    insta::assert_snapshot!(answer(dir.path(), &["dump-log", offsets, times]), @r"
    Dumping 00000000000000000000.index
    offset: 3 position: 88
    offset: 7 position: 261
    Dumping 00000000000000000000.timeindex
    timestamp: 2000 offset: 3
    timestamp: 5000 offset: 7
    ");
    write(offsets, &index(&[&[1, 88], &[3, 90], &[3, 261]]));
    write(times, &[index(&[&[0, 2_001, 3], &[0, 1_999, 6], &[0, 9_999, 9]]), vec![1]].concat());
    let (code, stdout, stderr) = strandline(dir.path(), &["dump-log", "--verify", offsets, times]);
    insta::assert_snapshot!(format!("{code}\n{stdout}\n{stderr}"), @r"
    1
    00000000000000000000.index: DAMAGED, 3 entries
    00000000000000000000.timeindex: DAMAGED, 3 entries

    strandline: 00000000000000000000.index: offset 1 is said to be at position 88, where offsets 2 to 3 are
    strandline: 00000000000000000000.index: no batch begins at position 90
    strandline: 00000000000000000000.index: offset 3 at position 261 does not ascend
    strandline: 00000000000000000000.index: offset 3 is said to be at position 261, where offsets 7 to 7 are
    strandline: 00000000000000000000.timeindex: found 1 bytes behind the last whole entry
    strandline: 00000000000000000000.timeindex: offset 3 is said to have timestamp 2001, and its batch has 2000
    strandline: 00000000000000000000.timeindex: timestamp 1999 of offset 6 does not ascend
    strandline: 00000000000000000000.timeindex: offset 6 is not in the segment
    strandline: 00000000000000000000.timeindex: offset 9 is not in the segment
    ");
    fs::remove_file(dir.path().join(LOG)).unwrap();
    write(offsets, &index(&[&[3, 88]]));
    let (code, _, stderr) = strandline(dir.path(), &["dump-log", offsets]);
    assert!(code == 0 && stderr.contains("not checked, for 00000000000000000000.log is not there"), "{stderr}");
}

#[test]
fn the_small_files_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let mut producers = ProducerStates::new();
    producers.update(&ProducerBatch {
        producer_id: 9,
        epoch: 2,
        first_sequence: 10,
        last_sequence: 14,
        first_offset: 100,
        last_offset: 104,
        timestamp: 1_700_000_000_000,
        transactional: true,
    });
    let aborted = AbortedTxn { producer_id: 9, first_offset: 1, last_offset: 5, last_stable_offset: 6 };
    write("00000000000000000105.snapshot", &producer_snapshot::encode(&producers));
    write("00000000000000000000.txnindex", &aborted.encode());
    write("leader-epoch-checkpoint", b"0\n2\n0 0\n3 1234\n");
    write("recovery-point-offset-checkpoint", b"0\n1\nflights 2 99\n");
    write("cleaner-offset-checkpoint", b"");
    write("partition.metadata", b"version: 0\ntopic_id: MkU3OEVBNTcwNTJENDM2Qg");
    let names = [
        "00000000000000000105.snapshot",
        "00000000000000000000.txnindex",
        "leader-epoch-checkpoint",
        "recovery-point-offset-checkpoint",
        "cleaner-offset-checkpoint",
        "partition.metadata",
    ];
    insta::assert_snapshot!(answer(dir.path(), &[&["dump-log"][..], &names].concat()), @r"
    Dumping 00000000000000000105.snapshot
    producerId: 9 producerEpoch: 2 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong[100] lastTimestamp: 1700000000000 firstSequence: 10 lastSequence: 14 lastOffset: 104 offsetDelta: 4 timestamp: 1700000000000
    Dumping 00000000000000000000.txnindex
    version: 0 producerId: 9 firstOffset: 1 lastOffset: 5 lastStableOffset: 6
    Dumping leader-epoch-checkpoint
    epoch: 0 startOffset: 0
    epoch: 3 startOffset: 1234
    Dumping recovery-point-offset-checkpoint
    topic: flights partition: 2 offset: 99
    Dumping cleaner-offset-checkpoint
    Dumping partition.metadata
    version: 0 topicId: MkU3OEVBNTcwNTJENDM2Qg
    ");
    let (code, stdout, _) = strandline(dir.path(), &[&["dump-log", "--verify"][..], &names].concat());
    assert!(code == 0 && stdout.contains("105.snapshot: sound, 1 producer\n"), "{stdout}");
    write("leader-epoch-checkpoint", b"0\n2\n3 0\n0 5\n");
    let (code, _, stderr) = strandline(dir.path(), &["dump-log", "leader-epoch-checkpoint"]);
    assert!(code == 1 && stderr.contains("does not ascend"), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_or_not_known_is_told() {
    let (dir, _) = folder();
    let (code, stdout, stderr) = strandline(dir.path(), &["dump-log", "notes.txt", "00000000000000000009.log", LOG]);
    assert!(code == 1 && stdout.contains("baseOffset: 7"), "{stdout}");
    assert!(stderr.contains("notes.txt: not a file that this command knows"), "{stderr}");
    assert!(stderr.contains("00000000000000000009.log: No such file"), "{stderr}");
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&[][..], &["fly"], &["dump-log"], &["dump-log", "--no-such", "x"]] {
        let (code, stdout, stderr) = strandline(dir.path(), args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains("Usage"), "{stderr}");
    }
    assert!(answer(dir.path(), &["--version"]).starts_with("strandline 0."));
    assert!(answer(dir.path(), &["dump-log", "--help"]).contains("Example: strandline dump-log"));
}

#[test]
fn the_demo_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = strandline(dir.path(), &["demo", "--keep"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("python -m strandline demo --keep"), "{stderr}");
}

#[test]
fn a_reader_who_goes_is_no_error() {
    let (dir, bytes) = folder();
    fs::write(dir.path().join(LOG), bytes.repeat(2_000)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_strandline"))
        .args(["dump-log", LOG])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8(done.stderr).unwrap().as_str()), (Some(0), ""));
}

/// `serve`, and where it says that it is once it is ready.
fn serve(dir: &Path, args: &[&str]) -> (Child, String) {
    let mut serving = Command::new(env!("CARGO_BIN_EXE_strandline"))
        .arg("serve")
        .args(args)
        .env_remove("STRANDLINE_LOG")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    BufReader::new(serving.stdout.as_mut().unwrap()).read_line(&mut told).unwrap();
    let address = told.strip_prefix("strandline is ready at ").unwrap_or_else(|| panic!("{told:?}")).trim();
    (serving, address.to_owned())
}

/// Ends it as an operator does, which is well: what it logged.
fn terminate(serving: Child) -> String {
    let process = rustix::process::Pid::from_child(&serving);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let done = serving.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn serve_takes_what_apache_kafka_comes_with() {
    let dir = tempfile::tempdir().unwrap();
    // Its config/server.properties without comments, on ports that are free.
    let properties = "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:0,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:0,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";
    fs::write(dir.path().join("server.properties"), properties).unwrap();
    let (serving, address) = serve(dir.path(), &["server.properties"]);
    assert!(address.starts_with("localhost:"), "{address}");
    answer(dir.path(), &["topics", "list", "-b", &address]);
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut wire = Wire::connect((Ipv4Addr::LOCALHOST, port).into());
    let dirs = wire.call(&DescribeLogDirsRequest::default(), 4).unwrap();
    let wanted = dir.path().canonicalize().unwrap().join("kraft-combined-logs");
    assert_eq!(Path::new(dirs.results[0].log_dir.as_str()), wanted);
    terminate(serving);
    assert!(dir.path().join("kraft-combined-logs/.kafka_cleanshutdown").exists());
}

#[test]
fn serve_logs_what_an_operator_asks_and_no_librarys_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (serving, address) = serve(dir.path(), &["--listen", "127.0.0.1:0"]);
    let logged = terminate(serving);
    let lines: Vec<&str> = logged.lines().collect();
    assert!(lines.iter().all(|line| line.contains(" strandline::")), "{logged}");
    for (what, line) in [
        ("this controller is the active one node=1", lines[0]),
        (&*format!("the node serves node=1 at=\"{address}\""), lines[lines.len() - 2]),
        ("the node has stopped node=1", lines[lines.len() - 1]),
    ] {
        assert!(line.contains(what), "{what}: {logged}");
    }
}
