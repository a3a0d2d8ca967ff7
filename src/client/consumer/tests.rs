//! The consumer against a broker with a log and a group coordinator that does as it is told.

use std::collections::HashMap;

use super::*;
use crate::client::offsets::CommittedOffset;
use crate::client::testing::{Answer, FakeBroker, TOPIC_ID, doors, values, while_time_passes};
use crate::common::clock::ManualClock;
use crate::config::Scope;
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::{BatchBuilder, BatchOptions};

/// How many records each batch of the log holds.
const PER_BATCH: i64 = 4;

/// What the broker has, and what it is to do.
#[derive(Default)]
pub(super) struct State {
    /// The log of each partition goes from the first to the second.
    logs: HashMap<i32, (i64, i64)>,
    committed: HashMap<i32, i64>,
    generation: i32,
    /// What the next heartbeats are answered.
    heartbeat: Vec<ErrorCode>,
    /// What this member's share will be, instead of what it works out as the leader.
    share: Option<Vec<i32>>,
    owned: Vec<Vec<TopicPartition>>,
    commits: usize,
    left: usize,
}

fn batch(base_offset: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch: 1, ..BatchOptions::default() });
    for offset in base_offset..base_offset + PER_BATCH {
        builder.append(offset, None, Some(offset.to_string().as_bytes()), std::iter::empty());
    }
    builder.build().unwrap()
}

pub(super) fn serve(broker: &FakeBroker, state: State) -> Arc<Mutex<State>> {
    let state = Arc::new(Mutex::new(state));
    let shared = || state.clone();
    broker.on(|request: FindCoordinatorRequest, _| {
        let key = request.coordinator_keys[0].clone();
        let found = Coordinator { key, node_id: 1, host: "fake".into(), port: 9092, ..Default::default() };
        Answer::Reply(FindCoordinatorResponse { coordinators: vec![found], ..Default::default() })
    });
    let kept = shared();
    broker.on(move |request: ListOffsetsRequest, _| {
        let state = kept.lock();
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|asked| {
                    let (start, end) = state.logs[&asked.partition_index];
                    // Timestamps are offsets here.
                    let offset = match asked.timestamp {
                        LATEST => end,
                        EARLIEST => start,
                        time if time < end => time.max(start),
                        _ => -1,
                    };
                    let partition_index = asked.partition_index;
                    ListOffsetsPartitionResponse { partition_index, offset, ..Default::default() }
                })
                .collect(),
        });
        Answer::Reply(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
    });
    let kept = shared();
    let mut session: HashMap<i32, i64> = HashMap::new();
    broker.on(move |request: FetchRequest, _| {
        let state = kept.lock();
        if request.session_epoch == 0 {
            session.clear();
        }
        for topic in &request.forgotten_topics_data {
            for index in &topic.partitions {
                session.remove(index);
            }
        }
        for topic in &request.topics {
            assert_eq!(topic.topic_id, TOPIC_ID);
            session.extend(topic.partitions.iter().map(|asked| (asked.partition, asked.fetch_offset)));
        }
        let mut partitions = Vec::new();
        for (index, from) in &session {
            let (start, end) = state.logs[index];
            let mut data = PartitionData { partition_index: *index, ..Default::default() };
            (data.high_watermark, data.last_stable_offset, data.log_start_offset) = (end, end, start);
            if *from < start || *from > end {
                data.error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
            } else if *from < end {
                data.records = Some(batch(from - from % PER_BATCH).into());
            } else if request.session_epoch > 0 {
                continue;
            }
            partitions.push(data);
        }
        let news = partitions.iter().any(|data| data.records.is_some() || data.error_code != ErrorCode::NONE);
        let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() };
        let response = FetchResponse { session_id: 77, responses: vec![topic], ..Default::default() };
        let wait = Duration::from_millis(if news { 0 } else { request.max_wait_ms as u64 });
        Answer::Later(wait, response)
    });
    let kept = shared();
    broker.on(move |request: OffsetFetchRequest, _| {
        let state = kept.lock();
        let group = &request.groups[0];
        let topics = group.topics.iter().flatten().map(|topic| OffsetFetchResponseTopics {
            name: topic.name.clone(),
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: state.committed.get(index).copied().unwrap_or(-1),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let answer = OffsetFetchResponseGroup { topics: topics.collect(), ..Default::default() };
        Answer::Reply(OffsetFetchResponse { groups: vec![answer], ..Default::default() })
    });
    let kept = shared();
    broker.on(move |request: OffsetCommitRequest, _| {
        let mut state = kept.lock();
        state.commits += 1;
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for asked in &topic.partitions {
                state.committed.insert(asked.partition_index, asked.committed_offset);
                let partition_index = asked.partition_index;
                partitions.push(OffsetCommitResponsePartition { partition_index, ..Default::default() });
            }
            topics.push(OffsetCommitResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
        }
        Answer::Reply(OffsetCommitResponse { topics, ..Default::default() })
    });
    let kept = shared();
    broker.on(move |request: JoinGroupRequest, _| {
        if request.member_id.is_empty() {
            let error_code = ErrorCode::MEMBER_ID_REQUIRED;
            return Answer::Reply(JoinGroupResponse { error_code, member_id: "m-1".into(), ..Default::default() });
        }
        let mut state = kept.lock();
        state.generation += 1;
        let offered = &request.protocols[0];
        let member = protocol::read_subscription("m-1", None, offered.metadata.clone()).unwrap();
        state.owned.push(member.owned);
        let metadata = offered.metadata.clone();
        let members = vec![JoinGroupResponseMember { member_id: "m-1".into(), metadata, ..Default::default() }];
        Answer::Reply(JoinGroupResponse {
            generation_id: state.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(offered.name.clone()),
            leader: "m-1".into(),
            member_id: "m-1".into(),
            members,
            ..Default::default()
        })
    });
    let kept = shared();
    broker.on(move |request: SyncGroupRequest, _| {
        let state = kept.lock();
        assert_eq!(request.generation_id, state.generation);
        let assignment = match &state.share {
            Some(share) => {
                let share: Vec<_> = share.iter().map(|index| TopicPartition::new("t", *index)).collect();
                protocol::write_assignment(&share)
            }
            None => request.assignments[0].assignment.clone(),
        };
        Answer::Reply(SyncGroupResponse { assignment, ..Default::default() })
    });
    let kept = shared();
    broker.on(move |_: HeartbeatRequest, _| {
        let error_code = kept.lock().heartbeat.pop().unwrap_or(ErrorCode::NONE);
        Answer::Reply(HeartbeatResponse { error_code, ..Default::default() })
    });
    let kept = shared();
    broker.on(move |request: LeaveGroupRequest, _| {
        assert_eq!(&*request.members[0].member_id, "m-1");
        kept.lock().left += 1;
        Answer::Reply(LeaveGroupResponse::default())
    });
    state
}

pub(super) fn logs(logs: &[(i64, i64)]) -> State {
    let logs = logs.iter().enumerate().map(|(index, log)| (index as i32, *log));
    State { logs: logs.collect(), ..State::default() }
}

pub(super) fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn consumer(doors: &Doors, pairs: &[(&str, &str)]) -> Consumer {
    Consumer::new(doors.clone(), &values(Scope::Consumer, pairs)).unwrap()
}

async fn poll(clock: &ManualClock, consumer: &mut Consumer) -> Polled {
    while_time_passes(clock, consumer.poll(None, Duration::from_secs(10))).await.unwrap()
}

/// Polls until so many records came, or ten seconds bring none; the values are the offsets.
async fn read(clock: &ManualClock, consumer: &mut Consumer, most: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < most {
        let polled = poll(clock, consumer).await;
        assert!(polled.events.is_empty(), "{:?}", polled.events);
        if polled.batches.is_empty() {
            break;
        }
        for batch in &polled.batches {
            for record in batch.records() {
                assert_eq!(record.value, Some(record.offset.to_string().as_bytes()));
                offsets.push(record.offset);
            }
        }
    }
    offsets
}

#[tokio::test]
async fn assigned_partitions_are_read_from_where_the_policy_says() {
    let broker = FakeBroker::new(1);
    serve(&broker, logs(&[(4, 20)]));
    let (doors, clock) = doors(&broker);
    let mut earliest = consumer(&doors, &[("auto.offset.reset", "earliest")]);
    earliest.assign([name(0)]).unwrap();
    assert_eq!(read(&clock, &mut earliest, 16).await, (4..20).collect::<Vec<_>>());
    assert_eq!(earliest.lag(&name(0)), Some(0));
    assert_eq!((earliest.high_watermark(&name(0)), earliest.log_start(&name(0))), (Some(20), Some(4)));
    let mut latest = consumer(&doors, &[]);
    latest.assign([name(0)]).unwrap();
    assert_eq!(while_time_passes(&clock, latest.position(&name(0), Duration::from_secs(5))).await.unwrap(), 20);
    let mut none = consumer(&doors, &[("auto.offset.reset", "none")]);
    none.assign([name(0)]).unwrap();
    let error = while_time_passes(&clock, none.poll(None, Duration::from_secs(5))).await.unwrap_err();
    assert_eq!(error.to_string(), "no offset to start from for t-0: commit one, seek, or set auto.offset.reset");
}

#[tokio::test]
async fn a_seek_goes_anywhere() {
    let broker = FakeBroker::new(1);
    serve(&broker, logs(&[(4, 20)]));
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("max.poll.records", "2")]);
    consumer.assign([name(0)]).unwrap();
    consumer.seek(&name(0), 13).unwrap();
    assert_eq!(read(&clock, &mut consumer, 2).await, [13, 14]);
    consumer.seek_to_beginning(&[]).unwrap();
    assert_eq!(read(&clock, &mut consumer, 2).await, [4, 5]);
    consumer.seek_to_timestamp(&[name(0)], 17).unwrap();
    assert_eq!(read(&clock, &mut consumer, 9).await, [17, 18, 19]);
    consumer.seek_to_timestamp(&[name(0)], 99).unwrap();
    assert_eq!(while_time_passes(&clock, consumer.position(&name(0), Duration::from_secs(5))).await.unwrap(), 20);
    assert!(consumer.seek(&name(7), 0).is_err() && consumer.seek(&name(0), -5).is_err());
}

#[tokio::test]
async fn an_offset_that_is_gone_is_reset_by_the_policy() {
    let broker = FakeBroker::new(1);
    serve(&broker, logs(&[(8, 20)]));
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("auto.offset.reset", "earliest")]);
    consumer.assign([name(0)]).unwrap();
    consumer.seek(&name(0), 2).unwrap();
    assert_eq!(read(&clock, &mut consumer, 3).await[..3], [8, 9, 10]);
}

#[tokio::test]
async fn a_paused_partition_waits() {
    let broker = FakeBroker::new(2);
    serve(&broker, logs(&[(0, 8), (0, 8)]));
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("auto.offset.reset", "earliest")]);
    consumer.assign([name(0), name(1)]).unwrap();
    consumer.pause(&[name(1)]).unwrap();
    assert_eq!(consumer.paused(), [name(1)]);
    assert_eq!(read(&clock, &mut consumer, 99).await, (0..8).collect::<Vec<_>>());
    consumer.resume(&[name(1)]).unwrap();
    assert_eq!(read(&clock, &mut consumer, 99).await, (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_member_joins_reads_commits_and_leaves() {
    let broker = FakeBroker::new(2);
    let state = serve(&broker, State { committed: HashMap::from([(1, 6)]), ..logs(&[(0, 8), (0, 8)]) });
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("group.id", "g"), ("auto.offset.reset", "earliest")]);
    consumer.subscribe(["t"]).unwrap();
    let polled = poll(&clock, &mut consumer).await;
    assert_eq!(polled.events, [RebalanceEvent::Assigned(vec![name(0), name(1)])]);
    assert_eq!(read(&clock, &mut consumer, 99).await.len(), 10);
    // By itself, every five seconds.
    assert!(state.lock().commits >= 1);
    assert_eq!(state.lock().committed, HashMap::from([(0, 8), (1, 8)]));
    consumer.commit(Some(HashMap::from([(name(0), CommittedOffset::new(3))]))).await.unwrap();
    assert_eq!(consumer.committed(&[name(0)]).await.unwrap()[&name(0)].offset, 3);
    while_time_passes(&clock, consumer.close(Duration::from_secs(5))).await;
    {
        let state = state.lock();
        assert_eq!((state.left, state.committed[&0]), (1, 8));
    }
    assert!(matches!(consumer.poll(None, Duration::ZERO).await, Err(ClientError::Closed(_))));
}

#[tokio::test]
async fn an_eager_member_gives_up_everything_before_it_joins_again() {
    let broker = FakeBroker::new(2);
    let state = serve(&broker, logs(&[(0, 8), (0, 8)]));
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("group.id", "g"), ("auto.offset.reset", "earliest")]);
    consumer.subscribe(["t"]).unwrap();
    poll(&clock, &mut consumer).await;
    read(&clock, &mut consumer, 99).await;
    {
        let mut state = state.lock();
        state.heartbeat.push(ErrorCode::REBALANCE_IN_PROGRESS);
        state.share = Some(vec![1]);
    }
    let polled = poll(&clock, &mut consumer).await;
    assert_eq!(polled.events, [RebalanceEvent::Revoked(vec![name(0), name(1)])]);
    // What was read is committed before, and the caller still may.
    assert_eq!(state.lock().committed, HashMap::from([(0, 8), (1, 8)]));
    assert_eq!(consumer.assignment().len(), 2);
    let polled = poll(&clock, &mut consumer).await;
    assert_eq!(polled.events, [RebalanceEvent::Assigned(vec![name(1)])]);
    assert_eq!((consumer.assignment(), state.lock().generation), (vec![name(1)], 2));
    assert!(read(&clock, &mut consumer, 1).await.is_empty());
}

#[tokio::test]
async fn a_cooperative_member_keeps_reading_what_it_keeps() {
    let broker = FakeBroker::new(2);
    let state = serve(&broker, logs(&[(0, 8), (0, 8)]));
    let (doors, clock) = doors(&broker);
    let pairs = [
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("max.poll.records", "1"),
    ];
    let mut consumer = consumer(&doors, &pairs);
    consumer.subscribe(["t"]).unwrap();
    poll(&clock, &mut consumer).await;
    read(&clock, &mut consumer, 3).await;
    {
        let mut state = state.lock();
        state.heartbeat.push(ErrorCode::REBALANCE_IN_PROGRESS);
        state.share = Some(vec![1]);
    }
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(while_time_passes(&clock, consumer.poll(None, Duration::from_secs(1))).await.unwrap().events);
    }
    let [revoked, assigned, again] = &events[..] else { panic!("{events:?}") };
    assert_eq!(revoked, &RebalanceEvent::Revoked(vec![name(0)]));
    assert_eq!((assigned, again), (&RebalanceEvent::Assigned(vec![]), &RebalanceEvent::Assigned(vec![])));
    assert_eq!(consumer.assignment(), [name(1)]);
    // It told the group what it had, and after giving one up what was left.
    assert_eq!(state.lock().owned, [vec![], vec![name(0), name(1)], vec![name(1)]]);
}

#[tokio::test]
async fn a_member_that_was_thrown_out_has_lost_its_share_and_joins_anew() {
    let broker = FakeBroker::new(1);
    let state = serve(&broker, logs(&[(0, 8)]));
    let (doors, clock) = doors(&broker);
    let mut consumer = consumer(&doors, &[("group.id", "g"), ("enable.auto.commit", "false")]);
    consumer.subscribe(["t"]).unwrap();
    poll(&clock, &mut consumer).await;
    state.lock().heartbeat.push(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(poll(&clock, &mut consumer).await.events, [RebalanceEvent::Lost(vec![name(0)])]);
    assert_eq!(poll(&clock, &mut consumer).await.events, [RebalanceEvent::Assigned(vec![name(0)])]);
    let state = state.lock();
    assert_eq!((state.generation, state.commits), (2, 0));
}

#[tokio::test]
async fn a_member_that_is_not_polled_leaves() {
    let broker = FakeBroker::new(1);
    let state = serve(&broker, logs(&[(0, 8)]));
    let (doors, clock) = doors(&broker);
    let pairs = [("group.id", "g"), ("max.poll.interval.ms", "60000"), ("session.timeout.ms", "45000")];
    let mut consumer = consumer(&doors, &pairs);
    consumer.subscribe(["t"]).unwrap();
    poll(&clock, &mut consumer).await;
    use crate::common::clock::Clock;
    while_time_passes(&clock, clock.sleep(Duration::from_secs(50))).await;
    assert_eq!(state.lock().left, 0);
    assert!(broker.count(ApiKey::Heartbeat) >= 10);
    while_time_passes(&clock, clock.sleep(Duration::from_secs(30))).await;
    assert_eq!(state.lock().left, 1);
    assert_eq!(poll(&clock, &mut consumer).await.events, [RebalanceEvent::Lost(vec![name(0)])]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_would() {
    let broker = FakeBroker::new(1);
    let (doors, _clock) = doors(&broker);
    let mut alone = consumer(&doors, &[]);
    assert!(alone.subscribe(["t"]).unwrap_err().to_string().contains("group.id is not set"));
    let nothing = alone.poll(None, Duration::ZERO).await.unwrap_err();
    assert!(nothing.to_string().contains("do either before polling"));
    assert!(alone.commit(None).await.is_err());
    let mut member = consumer(&doors, &[("group.id", "g")]);
    member.subscribe(["t"]).unwrap();
    assert!(member.assign([name(0)]).unwrap_err().to_string().contains("unsubscribe"));
    assert!(member.subscribe_pattern("(").is_err());
    let values = values(Scope::Consumer, &[("group.id", "g"), ("partition.assignment.strategy", "fair")]);
    let error = Consumer::new(doors, &values).unwrap_err();
    assert!(error.to_string().contains("\"fair\": each must be one of range, roundrobin"), "{error}");
}
