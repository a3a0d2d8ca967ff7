//! When a follower asks again: of a leader that answers by script.

use std::future::pending;

use super::*;

/// Answers the first request with a session, in which it does not lead partition 1; and then waits for records for ever.
#[derive(Debug, Default)]
struct Scripted {
    /// The partitions that each request named.
    asked: Mutex<Vec<Vec<i32>>>,
}

#[derive(Debug)]
struct ToScripted(Arc<Scripted>);

impl Leaders for ToScripted {
    fn link(&self, _: NodeId) -> Arc<dyn LeaderLink> {
        Arc::new(ToScripted(self.0.clone()))
    }
}

impl LeaderLink for ToScripted {
    fn fetch(&self, request: FetchRequest) -> Asking<'_, FetchResponse> {
        let named = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|asked| asked.partition));
        let count = {
            let mut asked = self.0.asked.lock();
            asked.push(named.collect());
            asked.len()
        };
        Box::pin(async move {
            if count > 1 {
                return pending().await;
            }
            let error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            let partitions = vec![PartitionData { partition_index: 1, error_code, ..Default::default() }];
            let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() };
            Ok(FetchResponse { session_id: 77, responses: vec![topic], ..Default::default() })
        })
    }

    fn list_offsets(&self, _: ListOffsetsRequest) -> Asking<'_, ListOffsetsResponse> {
        Box::pin(pending())
    }
}

#[tokio::test]
async fn whose_rest_is_over_is_asked_for_while_the_leader_waits_for_others() {
    let trio = Trio::start();
    let leader = Arc::new(Scripted::default());
    let dir = LogDir::open(Handles::new(Arc::new(MemoryFs::new()), 64), Path::new("/data"), "test").unwrap();
    let manager = ReplicaManager::new(dir, trio.clock.clone()).unwrap();
    manager.start_fetchers_over(trio.rules(2, &manager, Arc::new(ToScripted(leader.clone()))));
    let specs = [0, 1].map(|index| PartitionSpec { id: TopicPartition::new(TOPIC, index), ..trio.spec(2) });
    manager.apply(specs.to_vec());

    for (count, then) in [(2, Duration::from_millis(5)), (3, Duration::ZERO)] {
        until(|| leader.asked.lock().len() == count, || format!("{:?}", leader.asked.lock())).await;
        trio.clock.advance(then);
    }
    assert_eq!(leader.asked.lock()[1..], [vec![], vec![1]]);
}
