//! Scans that travel: what pickle writes of one, and the scan that another process makes of it.
//!
//! A scan is written as a dict of plain values: where its cluster or data dir is, the options that its clients were
//! given, and its [`ScanParts`]. Nothing is connected when it is read back; that happens with the first row.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::arrow::schema::OnError;
use crate::arrow::source::SharedSource;
use crate::arrow::{Column, Decoding, FetchSource, LogSource, PartitionRange, Scan, ScanError, ScanParts, Shape};
use crate::common::ids::{Offset, Uuid};
use crate::log::ReadOnlyDir;
use crate::log::fs::RealFs;
use crate::protocol::ErrorCode;

use super::source::Source;
use super::{data_dir, errors, runtime, scan};

/// What the dict says it is: another version may write others.
const FORMAT: u32 = 1;

/// Where another process finds the topic.
#[derive(Clone)]
pub(crate) enum Place {
    /// Behind these servers, with these keys for its clients.
    Cluster {
        /// `host:port,...`
        bootstrap: Arc<str>,
        /// What `connect` was given besides.
        config: Arc<[(String, String)]>,
    },
    /// In this data dir.
    DataDir(PathBuf),
}

/// A scan as a dict.
pub(crate) fn write<'py>(py: Python<'py>, place: &Place, scan: &Scan, auto: bool) -> PyResult<Bound<'py, PyDict>> {
    let ScanParts { topic, topic_id, ranges, shape, batch_rows, limit, read_committed } = scan.parts();
    let dict = PyDict::new(py);
    dict.set_item("format", FORMAT)?;
    match place {
        Place::Cluster { bootstrap, config } => {
            dict.set_item("bootstrap_servers", &**bootstrap)?;
            dict.set_item("config", PyList::new(py, config.iter())?)?;
        }
        Place::DataDir(path) => dict.set_item("data_dir", path.as_os_str())?,
    }
    dict.set_item("topic", topic)?;
    dict.set_item("topic_id", topic_id.to_string())?;
    let ranges = ranges.iter().map(|range| (range.partition, range.start, range.end));
    dict.set_item("ranges", PyList::new(py, ranges.collect::<Vec<_>>())?)?;
    let columns = PyList::empty(py);
    for (name, column) in &shape.columns {
        match column {
            Column::Field(index) => columns.append((name, index))?,
            column => columns.append((name, column.name()))?,
        }
    }
    dict.set_item("columns", columns)?;
    dict.set_item("key", shape.key.name())?;
    dict.set_item("value", shape.value.name())?;
    let json = shape.json.as_deref().map(schema_bytes).transpose().map_err(arrow)?;
    dict.set_item("json", json.as_deref().map(|bytes| PyBytes::new(py, bytes)))?;
    dict.set_item("binary", if auto { "auto" } else { shape.binary.name() })?;
    dict.set_item("errors", shape.on_error.name())?;
    dict.set_item("batch_rows", batch_rows)?;
    dict.set_item("limit", limit)?;
    dict.set_item("read_committed", read_committed)?;
    Ok(dict)
}

/// The scan that a dict tells of, where its topic is found, and whether its layout was left to us.
pub(crate) fn read(py: Python<'_>, dict: &Bound<'_, PyDict>) -> PyResult<(Scan, Place, bool)> {
    let format: u32 = item(dict, "format")?;
    if format != FORMAT {
        return Err(PyValueError::new_err(format!(
            "this scan was pickled by another version of strandline (format {format}, this one reads {FORMAT}): both \
             processes must have the same"
        )));
    }
    let binary: String = item(dict, "binary")?;
    let errors: String = item(dict, "errors")?;
    let json: Option<Vec<u8>> = item(dict, "json")?;
    let shape = Shape {
        columns: columns(dict)?,
        key: decoding(dict, "key")?,
        value: decoding(dict, "value")?,
        json: json.map(|bytes| schema(&bytes)).transpose().map_err(arrow)?.map(Arc::new),
        binary: scan::layout(&binary)?,
        on_error: OnError::parse(&errors).map_err(scan::error)?,
    };
    let ranges: Vec<(i32, Offset, Offset)> = item(dict, "ranges")?;
    let topic_id: String = item(dict, "topic_id")?;
    let topic_id: Uuid = topic_id.parse().map_err(|error| PyValueError::new_err(format!("topic_id: {error}")))?;
    let parts = ScanParts {
        topic: item(dict, "topic")?,
        topic_id,
        ranges: ranges.into_iter().map(|(partition, start, end)| PartitionRange { partition, start, end }).collect(),
        shape,
        batch_rows: item(dict, "batch_rows")?,
        limit: item(dict, "limit")?,
        read_committed: item(dict, "read_committed")?,
    };
    let (place, source) = open(py, dict, &parts)?;
    let scan = Scan::of_parts(source, parts).map_err(scan::error)?;
    Ok((scan, place, binary == "auto"))
}

/// The topic, opened as this process can: over the cluster's address, or in the data dir.
fn open(py: Python<'_>, dict: &Bound<'_, PyDict>, parts: &ScanParts) -> PyResult<(Place, SharedSource)> {
    if let Some(path) = dict.get_item("data_dir")? {
        let path: PathBuf = path.extract()?;
        let opened = runtime::outside(py, || {
            let dir = ReadOnlyDir::open(RealFs::shared(), &path)?;
            LogSource::in_dir(&dir, &parts.topic)
        });
        let Some((source, _)) = opened.map_err(data_dir::error)? else {
            let sentence = format!("topic {}: {} has it no more", parts.topic, path.display());
            return Err(errors::coded(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, sentence));
        };
        return Ok((Place::DataDir(path), Arc::new(source)));
    }
    let bootstrap: String = item(dict, "bootstrap_servers")?;
    let config: Vec<(String, String)> = item(dict, "config")?;
    let source = Source::new(py, bootstrap.clone(), config.clone(), None)?;
    let admin = source.admin()?;
    let fetched = FetchSource::new(admin.network().clone(), &parts.topic, admin.timeout()).with_id(parts.topic_id);
    Ok((Place::Cluster { bootstrap: bootstrap.into(), config: config.into() }, Arc::new(fetched)))
}

fn arrow(error: ArrowError) -> PyErr {
    scan::error(ScanError::Arrow(error))
}

fn item<T: for<'a, 'py> FromPyObject<'a, 'py>>(dict: &Bound<'_, PyDict>, name: &str) -> PyResult<T> {
    let missing = || PyValueError::new_err(format!("this is no pickled scan: it has no {name}"));
    let value = dict.get_item(name)?.ok_or_else(missing)?;
    value.extract().map_err(Into::into)
}

fn decoding(dict: &Bound<'_, PyDict>, name: &str) -> PyResult<Decoding> {
    Decoding::parse(name, &item::<String>(dict, name)?).map_err(scan::error)
}

fn columns(dict: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Column)>> {
    let read = |(name, shown): (String, Shown)| match shown {
        Shown::Field(index) => Ok((name, Column::Field(index))),
        Shown::Name(shown) => {
            let found = Column::ALL.into_iter().chain([Column::Error]).find(|column| column.name() == shown);
            let column = found.ok_or_else(|| PyValueError::new_err(format!("there is no column {shown:?}")))?;
            Ok((name, column))
        }
    };
    item::<Vec<(String, Shown)>>(dict, "columns")?.into_iter().map(read).collect()
}

/// What a column shows: a field of the value by its index, or anything else by its name.
#[derive(FromPyObject)]
enum Shown {
    Field(usize),
    Name(String),
}

/// A schema as Arrow's stream format writes it.
fn schema_bytes(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    writer.into_inner()
}

fn schema(bytes: &[u8]) -> Result<Schema, ArrowError> {
    Ok(StreamReader::try_new(bytes, None)?.schema().as_ref().clone())
}
