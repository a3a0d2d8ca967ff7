//! One fetch of one partition, from an offset on, as it lies in the log: for readers that want bytes and not records.
//!
//! There is no session and no reading ahead; whoever reads many chunks asks for the next while it works on the last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::common::ids::{Offset, ProducerId, TopicPartition};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::protocol::{ApiKey, ErrorCode};
use crate::record::{BatchError, batches};

use super::network::{Network, Purpose, Wanted};
use super::offsets::retrying;
use super::{ClientError, Result};

/// From this version on Fetch names topics by id.
const TOPIC_IDS: i16 = 13;
/// How long a broker may sit on a fetch that finds nothing.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// What is wanted of a partition.
#[derive(Debug, Clone)]
pub struct FetchBatches {
    /// Which.
    pub partition: TopicPartition,
    /// The first record that is wanted; the batch that holds it comes whole.
    pub offset: Offset,
    /// How many bytes at most; the first batch comes even where it is larger.
    pub max_bytes: i32,
    /// Whether records of open transactions are held back.
    pub read_committed: bool,
    /// Whether the batches' CRCs are checked (`check.crcs`).
    pub check_crcs: bool,
}

/// What was fetched.
#[derive(Debug, Clone, Default)]
pub struct FetchedBatches {
    /// Whole batches; empty where there is nothing yet.
    pub batches: Bytes,
    /// The aborted transactions in them, by producer and first offset.
    pub aborted: Vec<(ProducerId, Offset)>,
    /// Up to where records may be read: the high watermark, or for committed reads the last stable offset.
    pub end: Offset,
}

impl FetchBatches {
    /// Asks the leader, and asks again until `within` is over: leaders move.
    ///
    /// # Errors
    /// [`ErrorCode::OFFSET_OUT_OF_RANGE`] and other refusals, and [`ClientError::Batch`] for damaged bytes.
    pub async fn fetch(&self, network: &Arc<Network>, within: Duration) -> Result<FetchedBatches> {
        let topic: [Arc<str>; 1] = [self.partition.topic.as_str().into()];
        let mut known = network.view().topics.contains_key(&topic[0]);
        retrying(network, within, || {
            let refresh = !std::mem::take(&mut known);
            let topic = &topic;
            async move {
                if refresh {
                    network.refresh(Wanted::Topics(topic), false).await?;
                }
                self.fetch_once(network).await
            }
        })
        .await
    }

    async fn fetch_once(&self, network: &Arc<Network>) -> Result<FetchedBatches> {
        let (topic, index) = (self.partition.topic.as_str(), self.partition.partition);
        let refused = |code| ClientError::kafka(code, format!("fetch of {}", self.partition));
        let view = network.view();
        let (leader, leader_epoch) = view.leader(topic, index).ok_or_else(|| {
            let known = view.topics.contains_key(topic);
            let code = if known { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            refused(view.errors.get(topic).copied().unwrap_or(code))
        })?;
        let connection = network.connection_for(leader, Purpose::Fetch).await?;
        let topic_id = view.topic_id(topic);
        let mut version = connection.version(ApiKey::Fetch)?;
        if topic_id.is_zero() {
            version = version.min(TOPIC_IDS - 1);
        }
        let partition = FetchPartition {
            partition: index,
            current_leader_epoch: leader_epoch,
            fetch_offset: self.offset,
            partition_max_bytes: self.max_bytes,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT.as_millis() as i32,
            min_bytes: 1,
            max_bytes: self.max_bytes,
            isolation_level: i8::from(self.read_committed),
            topics: vec![FetchTopic { topic: topic.into(), topic_id, partitions: vec![partition] }],
            ..FetchRequest::default()
        };
        let timeout = network.config().request_timeout + MAX_WAIT;
        let response = connection.call_at(&request, version, timeout).await?;
        if response.error_code != ErrorCode::NONE {
            return Err(refused(response.error_code));
        }
        let answer = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let answer = answer.ok_or_else(|| refused(ErrorCode::UNKNOWN_SERVER_ERROR))?;
        if answer.error_code != ErrorCode::NONE {
            return Err(refused(answer.error_code));
        }
        self.read(answer)
    }

    fn read(&self, answer: PartitionData) -> Result<FetchedBatches> {
        let bytes = answer.records.map(|records| records.0).unwrap_or_default();
        let wrong = |cause| ClientError::Batch { partition: self.partition.clone(), cause };
        let mut whole = 0;
        for batch in batches(&bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // The last batch may be cut where the answer was full; it is fetched again.
                Err(BatchError::Incomplete { .. }) if whole > 0 => break,
                Err(error) => return Err(wrong(error)),
            };
            if self.check_crcs {
                batch.verify_crc().map_err(wrong)?;
            }
            whole += batch.size_in_bytes();
        }
        let aborted = answer.aborted_transactions.unwrap_or_default();
        Ok(FetchedBatches {
            batches: bytes.slice(..whole),
            aborted: aborted.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect(),
            end: if self.read_committed { answer.last_stable_offset } else { answer.high_watermark },
        })
    }
}
