//! A topic as a table: what `Topic.scan` takes, and the streams that Arrow's PyCapsule interface hands out.
//!
//! The class that people see, `strandline.Scan`, is Python (`python/strandline/scan.py`): it knows pyarrow, pandas, polars
//! and DuckDB. Here is what it stands on.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;

use arrow_array::ffi::to_ffi;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatch, RecordBatchReader, StructArray};
use arrow_schema::Schema;
use arrow_schema::ffi::FFI_ArrowSchema;
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCapsule, PyDict, PyInt, PyList, PyString};

use crate::arrow::scan::{BATCH_ROWS, INFERRED_FROM, Position, Progress};
use crate::arrow::schema::OnError;
use crate::arrow::{
    Binary, Decoding, FetchSource, LogSource, Scan, ScanError, ScanOptions, ScanReader, Shape, source::SharedSource,
};
use crate::common::clock::SystemClock;
use crate::common::ids::{Offset, Timestamp};
use crate::protocol::ErrorCode;

use super::runtime::{self, Apart, Home};
use super::source::Source;
use super::travel::{self, Place};
use super::{convert, errors};

/// Arrow's names for what is in a capsule.
pub(super) const SCHEMA: &CStr = c"arrow_schema";
pub(super) const ARRAY: &CStr = c"arrow_array";
pub(super) const STREAM: &CStr = c"arrow_array_stream";

/// Where the records of a topic are.
pub(crate) enum Origin<'a> {
    /// Behind the brokers of a cluster.
    Cluster(&'a Arc<Source>),
    /// In logs that no broker has open, of this data dir.
    Logs(&'a LogSource, &'a Path),
}

impl Origin<'_> {
    /// Where another process finds it.
    fn place(&self) -> Place {
        match self {
            Origin::Cluster(source) => {
                Place::Cluster { bootstrap: source.bootstrap().into(), config: source.config().into() }
            }
            Origin::Logs(_, dir) => Place::DataDir((*dir).to_owned()),
        }
    }
}

/// What `Topic.scan` was given, as it came.
pub(crate) struct Given<'a, 'py> {
    pub(crate) start: Option<&'a Bound<'py, PyAny>>,
    pub(crate) end: Option<&'a Bound<'py, PyAny>>,
    pub(crate) partitions: Option<Vec<i32>>,
    pub(crate) columns: Option<&'a Bound<'py, PyAny>>,
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
    pub(crate) schema: Option<&'a Bound<'py, PyAny>>,
    pub(crate) binary: &'a str,
    pub(crate) errors: &'a str,
    pub(crate) batch_rows: Option<usize>,
    pub(crate) limit: Option<u64>,
    pub(crate) isolation: &'a str,
    /// Whether it is for a stream: then it starts behind the last record where nothing else is said, and what there is in
    /// the whole topic tells the fields of JSON.
    pub(crate) follows: bool,
}

/// What `Topic.scan` made.
pub(super) struct Fixed {
    pub(super) scan: Scan,
    /// Whether the layout of bytes was left to us.
    pub(super) auto: bool,
}

/// Fixes a scan of `topic`, and wraps it in the class that people see.
pub(crate) fn make<'py>(
    py: Python<'py>,
    origin: &Origin<'_>,
    topic: &str,
    given: Given<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let Fixed { scan, auto } = fix(py, origin, topic, given)?;
    let native = NativeScan { scan: Home::new("scan", scan), auto, place: origin.place() };
    py.import("strandline.scan")?.getattr("Scan")?.call1((native,))
}

/// Fixes a scan of `topic`.
pub(super) fn fix<'py>(py: Python<'py>, origin: &Origin<'_>, topic: &str, given: Given<'_, 'py>) -> PyResult<Fixed> {
    let auto = given.binary == "auto";
    let shape = Shape {
        key: Decoding::parse("key", given.key).map_err(error)?,
        value: match given.value {
            "json" => Decoding::Binary,
            value => Decoding::parse("value", value).map_err(error)?,
        },
        binary: layout(given.binary)?,
        on_error: OnError::parse(given.errors).map_err(error)?,
        ..Shape::default()
    };
    let open_start = if given.follows { Position::Latest } else { Position::Earliest };
    let options = ScanOptions {
        start: given.start.map_or(Ok(open_start), |start| position(py, origin, topic, start, "start"))?,
        end: given.end.map_or(Ok(Position::Latest), |end| position(py, origin, topic, end, "end"))?,
        partitions: given.partitions,
        shape: shape.clone(),
        batch_rows: given.batch_rows.unwrap_or(BATCH_ROWS),
        limit: given.limit,
        read_committed: match given.isolation {
            "read_uncommitted" => false,
            "read_committed" => true,
            other => {
                let sentence = format!("isolation is {other:?}: it must be 'read_uncommitted' or 'read_committed'");
                return Err(PyValueError::new_err(sentence));
            }
        },
    };
    let columns = given.columns.map(columns).transpose()?;
    let schema = match (given.value, given.schema) {
        ("json", Some(schema)) => Some(given_schema(schema)?),
        (_, None) => None,
        (value, Some(_)) => {
            let sentence = format!("a schema is given, and value is {value:?}: it is for value=\"json\"");
            return Err(PyValueError::new_err(sentence));
        }
    };
    let infer = given.value == "json" && schema.is_none();
    let follows = given.follows;
    let source = open(py, origin, topic)?;
    let mut fixing = runtime::apart(move || {
        let partitions = options.partitions.clone();
        let scan = Scan::new(source.clone(), options)?;
        let sample = || match follows {
            true => Scan::new(source, ScanOptions { partitions, ..ScanOptions::default() }),
            false => Ok(scan.clone()),
        };
        let json = match infer {
            true => Some(Arc::new(sample()?.infer_json(INFERRED_FROM)?)),
            false => schema.map(Arc::new),
        };
        scan.with_shape(Shape { json, ..shape }.choose(columns.as_deref())?)
    })?;
    let scan = runtime::join(py, &mut fixing)?;
    Ok(Fixed { scan: scan.map_err(error)?, auto })
}

/// A schema that was given: anything with Arrow's PyCapsule interface, polars' schemas too.
fn given_schema(given: &Bound<'_, PyAny>) -> PyResult<Schema> {
    if !given.hasattr("__arrow_c_schema__")? {
        let kind = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "schema is {kind}: it must be a pyarrow.Schema, or anything else with __arrow_c_schema__"
        )));
    }
    imported(given.call_method0("__arrow_c_schema__")?.cast::<PyCapsule>()?)
}

/// Where the records of a topic come from: logs, of a cluster in this process or of a data dir, or else fetches.
fn open(py: Python<'_>, origin: &Origin<'_>, topic: &str) -> PyResult<SharedSource> {
    let source = match origin {
        Origin::Cluster(source) => source,
        Origin::Logs(source, _) => return Ok(Arc::new((*source).clone())),
    };
    if let Some(opening) = source.log_source(topic) {
        return match runtime::wait(py, opening)? {
            Ok(source) => Ok(Arc::new(source)),
            Err(code) => Err(errors::coded(code, format!("topic {topic}: {}", code.message()))),
        };
    }
    let admin = source.admin()?;
    Ok(Arc::new(FetchSource::new(admin.network().clone(), topic, admin.timeout())))
}

pub(super) fn layout(binary: &str) -> PyResult<Binary> {
    match binary {
        "auto" | "view" => Ok(Binary::View),
        "large" => Ok(Binary::Large),
        "small" => Ok(Binary::Small),
        other => {
            let sentence = format!("binary is {other:?}: it must be 'auto', 'view', 'large' or 'small'");
            Err(PyValueError::new_err(sentence))
        }
    }
}

/// The columns: names of theirs, or a dict from a name of one's own to what it shows.
fn columns(given: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    if given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("columns is a str: it must be a list of names, or a dict of name: column"));
    }
    match given.cast::<PyDict>() {
        Ok(dict) => dict.iter().map(|(name, column)| Ok((name.extract()?, column.extract()?))).collect(),
        Err(_) => {
            let names: Vec<String> = given.try_iter()?.map(|name| name?.extract()).collect::<PyResult<_>>()?;
            let named = |name: String| (name.strip_prefix("value.").unwrap_or(&name).to_owned(), name);
            Ok(names.into_iter().map(named).collect())
        }
    }
}

/// A position: an offset, offsets by partition, a time, a duration back from now, "earliest", "latest", or what a group
/// committed.
fn position(
    py: Python<'_>,
    origin: &Origin<'_>,
    topic: &str,
    given: &Bound<'_, PyAny>,
    what: &str,
) -> PyResult<Position> {
    if given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>() {
        return given.extract().map(Position::Offset);
    }
    if let Ok(offsets) = given.cast::<PyDict>() {
        let pairs = offsets.iter().map(|(index, offset)| Ok((index.extract::<i32>()?, offset.extract::<Offset>()?)));
        return pairs.collect::<PyResult<BTreeMap<_, _>>>().map(Position::Offsets);
    }
    if let Ok(list) = given.cast::<PyList>() {
        let offsets = list.iter().enumerate().map(|(index, offset)| Ok((index as i32, offset.extract::<Offset>()?)));
        return offsets.collect::<PyResult<BTreeMap<_, _>>>().map(Position::Offsets);
    }
    let now = match origin {
        Origin::Cluster(source) => source.now(),
        Origin::Logs(..) => SystemClock::shared().now(),
    };
    if let Ok(text) = given.cast::<PyString>() {
        match text.to_str()? {
            "earliest" => return Ok(Position::Earliest),
            "latest" => return Ok(Position::Latest),
            text => {
                if let Some(position) = Position::ago(text, now) {
                    return Ok(position);
                }
            }
        }
    }
    let datetime = py.import("datetime")?;
    if given.is_instance(&datetime.getattr("timedelta")?)? {
        let seconds: f64 = given.call_method0("total_seconds")?.extract()?;
        return Ok(Position::Time(now - (seconds * 1000.0).round() as i64));
    }
    if given.is_instance(&py.import("strandline.scan")?.getattr("Committed")?)? {
        let group: String = given.getattr("group_id")?.extract()?;
        let Origin::Cluster(source) = origin else {
            return Err(PyValueError::new_err(format!(
                "{what} is committed({group:?}): only a running cluster tells what a group committed; give offsets"
            )));
        };
        let admin = source.admin()?;
        let committed = runtime::wait(py, admin.group_offsets(&group, None))?.map_err(errors::client)?;
        let of_topic = committed.into_iter().filter(|(name, _)| name.topic == topic);
        return Ok(Position::Offsets(of_topic.map(|(name, committed)| (name.partition, committed.offset)).collect()));
    }
    let is_date =
        given.is_instance(&datetime.getattr("date")?)? && !given.is_instance(&datetime.getattr("datetime")?)?;
    let moment = if is_date { given.call_method0("isoformat")? } else { given.clone() };
    match convert::timestamp(&moment) {
        Ok(timestamp) => Ok(Position::Time(timestamp)),
        Err(_) => Err(PyValueError::new_err(format!(
            "{what} is {}: it must be an offset, a dict of partition: offset, a datetime or ISO 8601, a timedelta or a \
             duration back from now ('90s', '15m', '12h', '7d'), 'earliest', 'latest', or committed(group_id)",
            given.repr()?
        ))),
    }
}

/// An error as an exception.
pub(super) fn error(error: ScanError) -> PyErr {
    let sentence = error.to_string();
    match error {
        ScanError::Invalid(_) => PyValueError::new_err(sentence),
        ScanError::Gone { .. } | ScanError::Cut { .. } | ScanError::Removed { .. } => {
            errors::coded(ErrorCode::OFFSET_OUT_OF_RANGE, sentence)
        }
        ScanError::Read { .. } => errors::coded(ErrorCode::KAFKA_STORAGE_ERROR, sentence),
        ScanError::Batch { .. } => errors::coded(ErrorCode::CORRUPT_MESSAGE, sentence),
        ScanError::Decode { .. } | ScanError::Arrow(_) => errors::coded(ErrorCode::INVALID_RECORD, sentence),
        ScanError::Client(error) => errors::client(error),
    }
}

/// The offsets of a topic that a scan fixed, and the columns it shows; what `strandline.Scan` stands on.
#[pyclass(frozen, module = "strandline._strandline")]
pub(crate) struct NativeScan {
    scan: Home<Scan>,
    /// Whether the layout of bytes was left to us.
    auto: bool,
    /// Where another process finds its topic.
    place: Place,
}

impl NativeScan {
    fn with(&self, scan: Scan) -> NativeScan {
        NativeScan { scan: Home::new("scan", scan), auto: self.auto, place: self.place.clone() }
    }

    /// The scan in the layout that libraries without views can work on, unless another was asked for.
    fn laid_out(&self, views: bool) -> PyResult<Scan> {
        let scan = self.scan.get()?;
        if views || !self.auto {
            return Ok(scan.clone());
        }
        scan.with_shape(Shape { binary: Binary::Large, ..scan.shape().clone() }).map_err(error)
    }
}

#[pymethods]
impl NativeScan {
    /// The topic's name.
    #[getter]
    fn topic(&self) -> PyResult<&str> {
        Ok(self.scan.get()?.topic())
    }

    /// What is read: partition, first offset, and the offset behind the last.
    #[getter]
    fn ranges(&self) -> PyResult<Vec<(i32, Offset, Offset)>> {
        Ok(self.scan.get()?.ranges().iter().map(|range| (range.partition, range.start, range.end)).collect())
    }

    /// The columns: the name of each, and what it shows.
    #[getter]
    fn columns(&self) -> PyResult<Vec<(String, &'static str)>> {
        let shape = self.scan.get()?.shape();
        Ok(shape.columns.iter().map(|(name, column)| (name.clone(), column.name())).collect())
    }

    /// An Arrow schema in a capsule; with `views`, bytes are views unless the scan was told otherwise.
    fn schema<'py>(&self, py: Python<'py>, views: bool) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.laid_out(views)?.schema().as_ref());
        let schema = schema.map_err(|cause| error(ScanError::Arrow(cause)))?;
        PyCapsule::new_with_value(py, schema, SCHEMA)
    }

    /// An Arrow stream in a capsule: the scan from its beginning, in the types of `requested_schema` where there is one.
    #[pyo3(signature = (requested_schema, views))]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyCapsule>>,
        views: bool,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let scan = self.laid_out(views)?;
        let reader = match requested_schema {
            None => scan.reader(),
            Some(capsule) => scan.reader_in(&imported(capsule)?).map_err(error)?,
        };
        let reader: Box<dyn RecordBatchReader + Send> = Box::new(reader);
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), STREAM)
    }

    /// How many records there are, without decoding them.
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        let scan = self.scan.get()?.clone();
        runtime::join(py, &mut runtime::apart(move || scan.count())?)?.map_err(error)
    }

    /// The same with these columns, of those it has, in this order.
    fn select(&self, names: Vec<String>) -> PyResult<NativeScan> {
        let scan = self.scan.get()?;
        let own = &scan.shape().columns;
        let found = names.iter().map(|name| {
            let column = own.iter().find(|(known, _)| known == name);
            column.cloned().ok_or_else(|| {
                let known: Vec<_> = own.iter().map(|(known, _)| known.as_str()).collect();
                PyValueError::new_err(format!("there is no column {name:?}: this scan has {}", known.join(", ")))
            })
        });
        let shape = Shape { columns: found.collect::<PyResult<_>>()?, ..scan.shape().clone() };
        Ok(self.with(scan.with_shape(shape).map_err(error)?))
    }

    /// The same, up to this many rows.
    fn limit(&self, rows: u64) -> PyResult<NativeScan> {
        Ok(self.with(self.scan.get()?.with_limit(rows)))
    }

    /// The same, but only these offsets: partition, first offset, and the offset behind the last.
    fn within(&self, ranges: Vec<(i32, Offset, Offset)>) -> PyResult<NativeScan> {
        let range = |(partition, start, end)| crate::arrow::PartitionRange { partition, start, end };
        Ok(self.with(self.scan.get()?.within(&ranges.into_iter().map(range).collect::<Vec<_>>())))
    }

    /// The same without what comes before the first record that is not older than this (milliseconds since 1970).
    fn since(&self, py: Python<'_>, timestamp: Timestamp) -> PyResult<NativeScan> {
        let scan = self.scan.get()?.clone();
        let since = runtime::join(py, &mut runtime::apart(move || scan.since(timestamp))?)?;
        Ok(self.with(since.map_err(error)?))
    }

    /// Its batches, one by one, for whoever wants no more than one of them in memory; with `views`, bytes are views
    /// unless the scan was told otherwise.
    fn batches(&self, views: bool) -> PyResult<NativeBatches> {
        let reader = self.laid_out(views)?.reader();
        let progress = reader.progress();
        Ok(NativeBatches { inner: Home::new("scan", Batches::new(reader)), progress })
    }

    /// Up to `count` scans of about as many offsets each that together have its rows.
    fn splits(&self, count: usize) -> PyResult<Vec<NativeScan>> {
        let parts = self.scan.get()?.splits(count).map_err(error)?;
        Ok(parts.into_iter().map(|scan| self.with(scan)).collect())
    }

    /// All that another process needs to read the same, as plain values.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        travel::write(py, &self.place, self.scan.get()?, self.auto)
    }

    /// The scan of which `state` told.
    #[staticmethod]
    fn restore(py: Python<'_>, state: &Bound<'_, PyDict>) -> PyResult<NativeScan> {
        let (scan, place, auto) = travel::read(py, state)?;
        Ok(NativeScan { scan: Home::new("scan", scan), auto, place })
    }
}

/// Hands out the batches of a scan.
#[pyclass(frozen, module = "strandline._strandline")]
pub(crate) struct NativeBatches {
    inner: Home<Batches>,
    progress: Arc<Progress>,
}

type Next = Result<Option<RecordBatch>, ScanError>;

struct Batches {
    reader: Arc<Mutex<ScanReader>>,
    /// The batch that somebody was waiting for when Ctrl-C ended the wait: it is the next one.
    coming: Mutex<Option<Apart<Next>>>,
}

impl Batches {
    fn new(reader: ScanReader) -> Batches {
        Batches { reader: Arc::new(Mutex::new(reader)), coming: Mutex::new(None) }
    }

    fn next(&self, py: Python<'_>) -> PyResult<Next> {
        let coming = self.coming.lock().take();
        let mut coming = match coming {
            Some(coming) => coming,
            None => {
                let reader = self.reader.clone();
                runtime::apart(move || reader.lock().next_batch())?
            }
        };
        let next = runtime::join(py, &mut coming);
        if next.is_err() {
            *self.coming.lock() = Some(coming);
        }
        next
    }
}

#[pymethods]
impl NativeBatches {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<NativeBatch>> {
        let next = self.inner.get()?.next(py)?.map_err(error)?;
        Ok(next.map(NativeBatch::new))
    }

    /// How many offsets were read, and of how many.
    #[getter]
    fn progress(&self) -> (u64, u64) {
        (self.progress.done(), self.progress.total())
    }
}

/// One batch of rows, for whoever knows Arrow's PyCapsule interface.
#[pyclass(frozen, module = "strandline._strandline")]
pub(crate) struct NativeBatch {
    batch: RecordBatch,
}

impl NativeBatch {
    pub(super) fn new(batch: RecordBatch) -> NativeBatch {
        NativeBatch { batch }
    }
}

#[pymethods]
impl NativeBatch {
    /// The batch, as a pair of capsules: an Arrow schema and an array of structs.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyCapsule>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // What may be asked for is optional to give, and who takes one batch takes it as it is.
        let _ = requested_schema;
        let data = StructArray::from(self.batch.clone()).into_data();
        let (array, schema) = to_ffi(&data).map_err(|cause| error(ScanError::Arrow(cause)))?;
        Ok((PyCapsule::new_with_value(py, schema, SCHEMA)?, PyCapsule::new_with_value(py, array, ARRAY)?))
    }
}

/// The schema in a capsule, which stays whose it is.
fn imported(capsule: &Bound<'_, PyCapsule>) -> PyResult<Schema> {
    let pointer = capsule.pointer_checked(Some(SCHEMA))?;
    // SAFETY: a capsule of this name holds an ArrowSchema (Arrow's PyCapsule interface), which lives as long as the
    // capsule does; it is read here and nothing of it is kept.
    #[allow(unsafe_code)]
    let schema = unsafe { pointer.cast::<FFI_ArrowSchema>().as_ref() };
    Schema::try_from(schema).map_err(|cause| error(ScanError::Arrow(cause)))
}
