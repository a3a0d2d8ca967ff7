//! A table as records: what `Producer.send_table` takes, and the import of what speaks Arrow's PyCapsule interface.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::ffi::{FFI_ArrowArray, from_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader, StructArray};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, Schema};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCapsule, PyDict, PyInt, PyList, PyString};

use crate::arrow::plan::{Made, Placed};
use crate::arrow::{SendError, TableOptions, TablePlan, TableSender};
use crate::client::producer::bulk::BulkReport;
use crate::client::producer::{Bulk, Producer};

use super::call::Call;
use super::producer::Inner;
use super::scan::{ARRAY, SCHEMA, STREAM};
use super::types::tuple;
use super::{errors, runtime};

type Batches = Box<dyn RecordBatchReader + Send>;

/// Which columns become what, as Python says it.
pub(super) fn options(
    key: Option<&Bound<'_, PyAny>>,
    value: Option<&Bound<'_, PyAny>>,
    partition: Option<&Bound<'_, PyAny>>,
    timestamp: Option<String>,
    headers: Option<String>,
) -> PyResult<TableOptions> {
    let partition = match partition {
        None => Placed::ByKey,
        Some(name) if name.is_instance_of::<PyString>() => Placed::Column(name.extract()?),
        Some(number) if number.is_instance_of::<PyInt>() && !number.is_instance_of::<PyBool>() => {
            let wrong = |_: PyErr| PyValueError::new_err(format!("partition is {number}: no topic has so many"));
            Placed::At(number.extract().map_err(wrong)?)
        }
        Some(other) => {
            let kind = other.get_type().name()?;
            return Err(PyTypeError::new_err(format!("partition is {kind}: it must be a number or a column's name")));
        }
    };
    Ok(TableOptions {
        key: made(key, "key", Made::Null)?,
        value: made(value, "value", Made::Rest)?,
        partition,
        timestamp,
        headers,
    })
}

fn made(given: Option<&Bound<'_, PyAny>>, what: &str, default: Made) -> PyResult<Made> {
    let Some(given) = given else { return Ok(default) };
    if given.is_instance_of::<PyString>() {
        return given.extract().map(Made::Column);
    }
    let kind = given.get_type().name()?;
    let wrong = |_: PyErr| {
        PyTypeError::new_err(format!("{what} is {kind}: it must be a column's name, a list of them, or None"))
    };
    given.extract().map(Made::Object).map_err(wrong)
}

/// How long a thread that sends a table goes on before it looks whether anyone still waits for it.
const STEP: Duration = Duration::from_millis(100);

/// What of a table is sent, and how.
fn read(data: &Bound<'_, PyAny>, options: &TableOptions) -> PyResult<(Batches, TablePlan)> {
    let batches = import(data)?;
    let plan = TablePlan::new(&batches.schema(), options).map_err(error)?;
    Ok((batches, plan))
}

/// Sends a table; Ctrl-C ends it, and what was taken by then is sent.
pub(super) fn send<'py>(
    py: Python<'py>,
    producer: &Producer,
    topic: &str,
    data: &Bound<'py, PyAny>,
    options: &TableOptions,
) -> PyResult<Bound<'py, PyAny>> {
    let (batches, plan) = read(data, options)?;
    let within = producer.config().max_block;
    let topic = runtime::wait(py, producer.partitions(topic, within))?.map_err(errors::client)?;
    let bulk = Bulk::new(producer, &topic.name).map_err(errors::client)?;
    let mut sender = TableSender::new(plan, batches, bulk).map_err(error)?;
    runtime::step_by_step(py, |within| match sender.advance(within) {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    })?
    .map_err(error)?;
    report(py, sender.into_report())
}

/// Sends a table from a thread of the runtime: reading it may run Python, or take long. When nobody waits any more, what
/// was taken by then is sent.
pub(super) fn send_later(
    inner: Arc<Inner>,
    topic: String,
    data: &Bound<'_, PyAny>,
    options: &TableOptions,
) -> PyResult<Call> {
    let (batches, plan) = read(data, options)?;
    let waits = Arc::new(());
    let sending = async move {
        let producer = inner.sender();
        let topic = producer.partitions(&topic, producer.config().max_block).await?;
        let (waited, inner) = (Arc::downgrade(&waits), inner.clone());
        let thread = tokio::task::spawn_blocking(move || {
            let bulk = Bulk::new(inner.sender(), &topic.name)?;
            let mut sender = TableSender::new(plan, batches, bulk)?;
            while !sender.advance(STEP)? {
                if waited.strong_count() == 0 || runtime::running().is_none() {
                    break;
                }
            }
            Ok::<_, SendError>(sender.into_report())
        });
        let done = thread.await;
        drop(waits);
        done.unwrap_or_else(|_| Err(SendError::Invalid("the thread that sent the table failed".to_owned())))
    };
    Ok(Call::raw(sending, |py, done| Ok(report(py, done.map_err(error)?)?.unbind())))
}

fn report(py: Python<'_>, report: BulkReport) -> PyResult<Bound<'_, PyAny>> {
    let partitions = PyDict::new(py);
    for (partition, written) in &report.written {
        let fields = (written.count, written.first_offset, written.last_offset);
        partitions.set_item(partition, tuple(py, "SentPartition", fields)?)?;
    }
    let rows: u64 = report.written.values().map(|written| written.count).sum();
    let failed = report.failed.into_iter().map(|(row, error)| (row, errors::client(error).into_value(py)));
    tuple(py, "SentTable", (rows, partitions, PyList::new(py, failed.collect::<Vec<_>>())?))
}

fn error(error: SendError) -> PyErr {
    match error {
        SendError::Client(error) => errors::client(error),
        error @ (SendError::Invalid(_) | SendError::Data { .. }) => PyValueError::new_err(error.to_string()),
    }
}

/// The batches of what speaks Arrow.
fn import(data: &Bound<'_, PyAny>) -> PyResult<Batches> {
    let wrong = |cause: ArrowError| {
        let kind = data.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyValueError::new_err(format!("data is {kind}, which is no table: {cause}"))
    };
    if data.hasattr("__arrow_c_stream__")? {
        let capsule = data.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: a capsule of this name holds an ArrowArrayStream (Arrow's PyCapsule interface) that nobody else uses;
        // it is moved out, and what stays behind is marked as released, so that the capsule frees nothing.
        #[allow(unsafe_code)]
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
        return Ok(Box::new(RecordBatchStreamReader::try_new(stream).map_err(wrong)?));
    }
    if data.hasattr("__arrow_c_array__")? {
        let capsules = data.call_method0("__arrow_c_array__")?;
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = capsules.extract()?;
        return one_batch(&schema, &array)?.map_err(wrong);
    }
    let kind = data.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "data is {kind}: it must speak Arrow (__arrow_c_stream__ or __arrow_c_array__), as tables of pyarrow, frames of \
         polars and pandas, relations of DuckDB and scans do"
    )))
}

/// A batch in two capsules.
fn one_batch(schema: &Bound<'_, PyCapsule>, array: &Bound<'_, PyCapsule>) -> PyResult<Result<Batches, ArrowError>> {
    let pointer = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name holds an ArrowArray (Arrow's PyCapsule interface) that nobody else uses; it is moved
    // out, and what stays behind is marked as released, so that the capsule frees nothing.
    #[allow(unsafe_code)]
    let array = unsafe { FFI_ArrowArray::from_raw(pointer.as_ptr()) };
    let pointer = schema.pointer_checked(Some(SCHEMA))?;
    // SAFETY: a capsule of this name holds an ArrowSchema, which lives as long as the capsule does; it is only read.
    #[allow(unsafe_code)]
    let schema = unsafe { pointer.cast::<FFI_ArrowSchema>().as_ref() };
    if array.is_released() {
        return Ok(Err(ArrowError::CDataInterface("its array was released before".to_owned())));
    }
    // SAFETY: both come from one call of `__arrow_c_array__`, whose promise is that the array is laid out as the schema
    // says.
    #[allow(unsafe_code)]
    let data = unsafe { from_ffi(array, schema) };
    Ok(Schema::try_from(schema).and_then(|known| {
        let data = data?;
        let options = RecordBatchOptions::new().with_row_count(Some(data.len()));
        let (_, columns, _) = StructArray::from(data).into_parts();
        let batch = RecordBatch::try_new_with_options(Arc::new(known), columns, &options)?;
        let schema = batch.schema();
        Ok(Box::new(RecordBatchIterator::new([Ok(batch)], schema)) as Batches)
    }))
}
