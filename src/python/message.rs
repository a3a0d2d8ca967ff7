//! What a consumer hands out: messages that are an index into the batch that was fetched.
//!
//! A fetched batch is walked once, without the GIL, into a [`MessageBatch`]: where each record's key and value lie in
//! the batch's body. A [`Message`] is that batch and an index; its `bytes` objects are made when they are asked for. So a
//! message that is kept keeps its whole batch.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::client::consumer::FetchedBatch;
use crate::client::offsets::CommittedOffset;
use crate::common::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use crate::record::records::RecordView;

use super::convert;
use super::runtime::Home;

/// Where a record lies in its batch's body.
struct Place {
    offset: Offset,
    timestamp: Timestamp,
    key: Span,
    value: Span,
    headers: Vec<(Span, Span)>,
}

impl Place {
    #[inline]
    fn of(body: &[u8], record: &RecordView<'_>) -> Place {
        Place {
            offset: record.offset,
            timestamp: record.timestamp,
            key: Span::of(body, record.key),
            value: Span::of(body, record.value),
            headers: record.headers.map(|h| (Span::of(body, Some(h.key)), Span::of(body, h.value))).collect(),
        }
    }
}

/// A piece of the body; null when it has no end.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

const NULL: u32 = u32::MAX;

impl Span {
    /// Where `piece`, a slice of `body`, lies.
    #[inline]
    fn of(body: &[u8], piece: Option<&[u8]>) -> Span {
        match piece {
            None => Span { start: 0, len: NULL },
            // A batch's length is an i32, so both numbers fit.
            Some(piece) => Span {
                start: (piece.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize) as u32,
                len: piece.len() as u32,
            },
        }
    }

    #[inline]
    fn in_body(self, body: &[u8]) -> Option<&[u8]> {
        if self.len == NULL {
            return None;
        }
        let start = self.start as usize;
        body.get(start..start + self.len as usize)
    }
}

/// The records of one fetched batch that are to be handed out.
pub(crate) struct MessageBatch {
    partition: Arc<TopicPartition>,
    leader_epoch: LeaderEpoch,
    next_offset: Offset,
    body: Home<Bytes>,
    places: Vec<Place>,
}

impl MessageBatch {
    /// Walks a fetched batch.
    pub(crate) fn read(batch: &FetchedBatch) -> MessageBatch {
        let body = batch.body();
        let mut places = Vec::with_capacity(batch.len());
        places.extend(batch.records().map(|record| Place::of(body, &record)));
        MessageBatch {
            partition: batch.partition().clone(),
            leader_epoch: batch.leader_epoch(),
            next_offset: batch.next_offset(),
            body: Home::new("message", body.clone()),
            places,
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The partition.
    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition::clone(&self.partition)
    }

    /// The epoch of the leader that appended it; -1 where that is not known.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The offset of a record; behind all of them, the offset that follows.
    pub(crate) fn offset(&self, index: usize) -> Offset {
        self.places.get(index).map_or(self.next_offset, |place| place.offset)
    }

    /// The offset to go on from behind these records.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }
}

/// A record as a consumer sees it: where it lies, when it was made, and its bytes.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster:
/// ...     cluster.producer().send("flights", key=b"UA", value=b"EWR-IAH").result().offset
/// ...     [message] = cluster.consumer("flights", auto_offset_reset="earliest", stop_at_end=True)
/// ...     message.key, message.value, message.partition, message.offset
/// 0
/// (b'UA', b'EWR-IAH', 0, 0)
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Message {
    batch: Arc<MessageBatch>,
    index: u32,
}

impl Message {
    #[inline]
    pub(crate) fn new(batch: &Arc<MessageBatch>, index: usize) -> Message {
        Message { batch: batch.clone(), index: index as u32 }
    }

    fn place(&self) -> &Place {
        // Made only for an index that is there, and batches never shrink.
        &self.batch.places[self.index as usize]
    }

    fn bytes<'py>(&self, py: Python<'py>, span: Span) -> Option<Bound<'py, PyBytes>> {
        span.in_body(self.batch.body.anywhere()).map(|bytes| PyBytes::new(py, bytes))
    }

    /// What a consumer that is done with it commits.
    pub(crate) fn committed(&self) -> (TopicPartition, CommittedOffset) {
        let leader_epoch = self.batch.leader_epoch;
        let offset = self.place().offset + 1;
        (self.batch.partition(), CommittedOffset { leader_epoch, ..CommittedOffset::new(offset) })
    }

    fn parts(&self) -> (&str, i32, Offset) {
        (&self.batch.partition.topic, self.batch.partition.partition, self.place().offset)
    }
}

#[pymethods]
impl Message {
    /// The topic.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.batch.partition.topic)
    }

    /// The partition.
    #[getter]
    fn partition(&self) -> i32 {
        self.batch.partition.partition
    }

    /// The offset in the partition.
    #[getter]
    fn offset(&self) -> Offset {
        self.place().offset
    }

    /// Milliseconds since 1970: when the producer says it was made, or when the broker took it (log append time). -1
    /// where there is none.
    #[getter]
    fn timestamp(&self) -> Timestamp {
        self.place().timestamp
    }

    /// The timestamp as a `datetime` in UTC; `None` where there is none.
    #[getter]
    fn datetime<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        convert::datetime(py, self.place().timestamp)
    }

    /// The key, or `None`.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.bytes(py, self.place().key)
    }

    /// The value; `None` is a tombstone: on a compacted topic it deletes its key.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.bytes(py, self.place().value)
    }

    /// The headers in their order, duplicates too: a list of (key, value or `None`).
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let body = self.batch.body.anywhere();
        let pair = |(key, value): &(Span, Span)| {
            let key = String::from_utf8_lossy(key.in_body(body).unwrap_or_default());
            PyTuple::new(py, [PyString::new(py, &key).into_any(), self.bytes(py, *value).into_pyobject(py)?.into_any()])
        };
        PyList::new(py, self.place().headers.iter().map(pair).collect::<PyResult<Vec<_>>>()?)
    }

    /// The epoch of the leader that wrote it; `None` where the broker did not say.
    #[getter]
    fn leader_epoch(&self) -> Option<LeaderEpoch> {
        (self.batch.leader_epoch >= 0).then_some(self.batch.leader_epoch)
    }

    fn __repr__(&self) -> String {
        let body = self.batch.body.anywhere();
        let place = self.place();
        let (topic, partition, offset) = self.parts();
        let headers = match place.headers.len() {
            0 => String::new(),
            count => format!(", headers={count}"),
        };
        format!(
            "Message(topic='{topic}', partition={partition}, offset={offset}, timestamp={}, key={}, value={}{headers})",
            place.timestamp,
            shown(place.key.in_body(body)),
            shown(place.value.in_body(body)),
        )
    }

    /// What a notebook shows: its parts, one below the other.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("strandline._html")?.call_method1("message", (slf,))
    }

    fn __eq__(&self, other: &Message) -> bool {
        let bytes = |message: &Message, span: Span| span.in_body(message.batch.body.anywhere()).map(<[u8]>::to_vec);
        let (own, others) = (self.place(), other.place());
        self.parts() == other.parts()
            && own.timestamp == others.timestamp
            && bytes(self, own.key) == bytes(other, others.key)
            && bytes(self, own.value) == bytes(other, others.value)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.parts().hash(&mut hasher);
        hasher.finish()
    }
}

/// Bytes as Python writes them, cut where they are long.
fn shown(bytes: Option<&[u8]>) -> String {
    const LIMIT: usize = 48;
    let Some(bytes) = bytes else { return "None".to_owned() };
    let text: String =
        bytes.iter().take(LIMIT).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    // Python leaves double quotes alone.
    let text = text.replace("\\\"", "\"");
    if bytes.len() > LIMIT { format!("b'{text}'... ({} bytes)", bytes.len()) } else { format!("b'{text}'") }
}
