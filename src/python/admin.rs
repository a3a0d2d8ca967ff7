//! The admin client. Each call waits without the GIL, and turns what the client says into the named tuples of `types.py`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::client::admin::Each;
use crate::client::admin::configs::{Alteration, ConfigEntry, Resource};
use crate::client::admin::groups::GroupDescription;
use crate::client::admin::topics::NewTopic;
use crate::client::metadata::TopicView;
use crate::client::offsets::{EARLIEST, LATEST, ListedOffset};
use crate::common::ids::{NodeId, Offset, Timestamp, TopicPartition};

use super::consumer::{found_time, wanted_times};
use super::runtime::{self, Home};
use super::source::Source;
use super::topic::Topic;
use super::types::{self, Commit, Named};
use super::{convert, errors};

/// Manages a cluster: topics and partitions, configs, groups and their offsets.
///
/// Made by `Cluster.admin` and `Client.admin`. A call waits up to `default_api_timeout_ms` (a minute). One that is about
/// several things does them all, and then raises the first error.
///
/// >>> from strandline import Cluster
/// >>> with Cluster() as cluster:
/// ...     admin = cluster.admin()
/// ...     _ = admin.create_topic("flights", partitions=4, retention_ms=60_000)
/// ...     admin.describe_configs(topic="flights")["retention.ms"].value
/// '60000'
#[pyclass(frozen, module = "strandline")]
pub(crate) struct Admin {
    source: Home<Arc<Source>>,
}

impl Admin {
    pub(crate) fn new(source: &Arc<Source>) -> Admin {
        Admin { source: Home::new("admin client", source.clone()) }
    }

    fn source(&self) -> PyResult<&Arc<Source>> {
        self.source.get()
    }

    fn listed<'py>(
        &self,
        py: Python<'py>,
        wanted: HashMap<TopicPartition, Timestamp>,
        value: impl FnMut(&ListedOffset) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let admin = self.source()?.admin()?;
        let found = runtime::wait(py, admin.list_offsets(&wanted))?.map_err(errors::client)?;
        types::by_partition(py, &found, value)
    }
}

/// What became of each thing, or the first error.
pub(crate) fn all<K, T>(each: crate::client::Result<Each<K, T>>) -> PyResult<Vec<(K, T)>> {
    let each = each.map_err(errors::client)?;
    each.into_iter().map(|(name, result)| Ok((name, result.map_err(errors::client)?))).collect()
}

/// Makes topics that are alike but for their names and numbers of partitions.
pub(crate) fn create_topics(
    py: Python<'_>,
    source: &Arc<Source>,
    topics: impl IntoIterator<Item = (String, i32)>,
    replication_factor: Option<i16>,
    configs: Vec<(String, String)>,
) -> PyResult<Vec<Topic>> {
    let configs: BTreeMap<_, _> = configs.into_iter().collect();
    let topics = topics.into_iter().map(|(name, partitions)| NewTopic {
        replication_factor,
        configs: configs.clone(),
        ..NewTopic::new(name, partitions)
    });
    let topics: Vec<_> = topics.collect();
    let made = all(runtime::wait(py, source.admin()?.create_topics(&topics, false))?)?;
    Ok(made.into_iter().map(|(name, _)| Topic::new(source, &name)).collect())
}

/// A topic as the metadata has it.
pub(crate) fn description<'py>(py: Python<'py>, topic: &TopicView) -> PyResult<Bound<'py, PyAny>> {
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let epoch = types::epoch(partition.leader_epoch);
        let (replicas, isr, offline) = (&partition.replicas, &partition.isr, &partition.offline);
        types::tuple(py, "PartitionDescription", (index, partition.leader, epoch, replicas, isr, offline))
    });
    let partitions = PyList::new(py, partitions.collect::<PyResult<Vec<_>>>()?)?;
    let id = (!topic.id.is_zero()).then(|| topic.id.to_string());
    types::tuple(py, "TopicDescription", (&*topic.name, id, topic.internal, partitions))
}

/// Configs by their names.
pub(crate) fn configs<'py>(py: Python<'py>, entries: &[ConfigEntry]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for entry in entries {
        let ConfigEntry { name, value, read_only, sensitive, documentation, .. } = entry;
        let source = source_name(entry.source);
        let fields = (name, value, source, *read_only, *sensitive, documentation);
        dict.set_item(name, types::tuple(py, "ConfigEntry", fields)?)?;
    }
    Ok(dict)
}

/// Kafka's names of where a value was set.
fn source_name(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

fn resource(topic: Option<String>, broker: Option<NodeId>, all_brokers: bool) -> PyResult<Resource> {
    match (topic, broker, all_brokers) {
        (Some(topic), None, false) => Ok(Resource::Topic(topic)),
        (None, Some(broker), false) => Ok(Resource::Broker(Some(broker))),
        (None, None, true) => Ok(Resource::Broker(None)),
        _ => Err(PyTypeError::new_err("name whose configs: topic=NAME, broker=ID or all_brokers=True, one of them")),
    }
}

fn group<'py>(py: Python<'py>, group: &GroupDescription) -> PyResult<Bound<'py, PyAny>> {
    let members = group.members.iter().map(|member| {
        let assignment = types::partitions(py, &member.assignment)?;
        let fields = (&member.id, &member.instance_id, &member.client_id, &member.host, assignment);
        types::tuple(py, "GroupMember", fields)
    });
    let members = PyList::new(py, members.collect::<PyResult<Vec<_>>>()?)?;
    types::tuple(py, "GroupDescription", (&group.id, &group.state, &group.protocol_type, &group.protocol, members))
}

#[pymethods]
impl Admin {
    /// Make a topic and return it; see `Cluster.create_topic`.
    #[pyo3(signature = (name, partitions=1, replication_factor=None, config=None, **configs))]
    fn create_topic(
        &self,
        py: Python<'_>,
        name: &str,
        partitions: i32,
        replication_factor: Option<i16>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Topic> {
        let configs = convert::configs(config, configs)?;
        super::topic::create(py, self.source()?, name, partitions, replication_factor, configs)
    }

    /// Make topics, given by name with their numbers of partitions, and return them.
    #[pyo3(signature = (topics, replication_factor=None, config=None, **configs))]
    fn create_topics(
        &self,
        py: Python<'_>,
        topics: BTreeMap<String, i32>,
        replication_factor: Option<i16>,
        config: Option<&Bound<'_, PyDict>>,
        configs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Topic>> {
        create_topics(py, self.source()?, topics, replication_factor, convert::configs(config, configs)?)
    }

    /// Delete a topic with all its records.
    fn delete_topic(&self, py: Python<'_>, name: String) -> PyResult<()> {
        self.delete_topics(py, vec![name])
    }

    /// Delete topics with all their records.
    fn delete_topics(&self, py: Python<'_>, names: Vec<String>) -> PyResult<()> {
        all(runtime::wait(py, self.source()?.admin()?.delete_topics(&names))?).map(drop)
    }

    /// The names of all topics, in order; Kafka's own too with `internal=True`.
    #[pyo3(signature = (internal=false))]
    fn list_topics(&self, py: Python<'_>, internal: bool) -> PyResult<Vec<String>> {
        let found = runtime::wait(py, self.source()?.admin()?.list_topics(internal))?.map_err(errors::client)?;
        Ok(found.iter().map(|topic| topic.name.to_string()).collect())
    }

    /// Describe these topics (by default all but Kafka's own), as a list of `TopicDescription`.
    #[pyo3(signature = (names=None))]
    fn describe_topics<'py>(&self, py: Python<'py>, names: Option<Vec<String>>) -> PyResult<Bound<'py, PyList>> {
        let admin = self.source()?.admin()?;
        let found = match names {
            None => runtime::wait(py, admin.list_topics(false))?.map_err(errors::client)?,
            Some(names) => {
                let each = all(runtime::wait(py, admin.describe_topics(&names))?)?;
                each.into_iter().map(|(_, topic)| topic).collect()
            }
        };
        PyList::new(py, found.iter().map(|topic| description(py, topic)).collect::<PyResult<Vec<_>>>()?)
    }

    /// Let a topic have `total` partitions, more than it has now. Keys may go to other partitions from then on.
    fn create_partitions(&self, py: Python<'_>, topic: String, total: i32) -> PyResult<()> {
        all(runtime::wait(py, self.source()?.admin()?.create_partitions(&[(topic, total)], false))?).map(drop)
    }

    /// The configs of a topic, a broker, or the defaults of all brokers: a dict from Kafka's name to a `ConfigEntry`.
    ///
    /// `documentation=True` also brings the broker's words on each.
    #[pyo3(signature = (*, topic=None, broker=None, all_brokers=false, documentation=false))]
    fn describe_configs<'py>(
        &self,
        py: Python<'py>,
        topic: Option<String>,
        broker: Option<NodeId>,
        all_brokers: bool,
        documentation: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let resource = [resource(topic, broker, all_brokers)?];
        let admin = self.source()?.admin()?;
        let found = all(runtime::wait(py, admin.describe_configs(&resource, documentation))?)?;
        let entries: Vec<_> = found.into_iter().flat_map(|(_, entries)| entries).collect();
        configs(py, &entries)
    }

    /// Change configs of a topic, a broker, or of all brokers; those that are not named stay.
    ///
    /// `set` is a dict from Kafka's name to the value; `delete` names those that go back to their defaults; `append` and
    /// `subtract` change lists. With `validate_only=True` it is only checked.
    #[pyo3(signature = (
        *, topic=None, broker=None, all_brokers=false, set=None, delete=None, append=None, subtract=None,
        validate_only=false
    ))]
    #[allow(clippy::too_many_arguments)]
    fn alter_configs(
        &self,
        py: Python<'_>,
        topic: Option<String>,
        broker: Option<NodeId>,
        all_brokers: bool,
        set: Option<&Bound<'_, PyDict>>,
        delete: Option<Vec<String>>,
        append: Option<&Bound<'_, PyDict>>,
        subtract: Option<&Bound<'_, PyDict>>,
        validate_only: bool,
    ) -> PyResult<()> {
        let resource = resource(topic, broker, all_brokers)?;
        let with = |dict: Option<&Bound<'_, PyDict>>, change: fn(String, String) -> Alteration| -> PyResult<Vec<_>> {
            Ok(convert::configs(dict, None)?.into_iter().map(|(name, value)| change(name, value)).collect())
        };
        let mut changes = with(set, Alteration::Set)?;
        changes.extend(delete.unwrap_or_default().into_iter().map(Alteration::Delete));
        changes.extend(with(append, Alteration::Append)?);
        changes.extend(with(subtract, Alteration::Subtract)?);
        let admin = self.source()?.admin()?;
        all(runtime::wait(py, admin.alter_configs(&[(resource, changes)], validate_only))?).map(drop)
    }

    /// All groups, as a list of `GroupListing`.
    fn list_groups<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let found = runtime::wait(py, self.source()?.admin()?.list_groups())?.map_err(errors::client)?;
        let listed = found.iter().map(|group| {
            let fields = (&group.id, &group.protocol_type, &group.state, &group.group_type);
            types::tuple(py, "GroupListing", fields)
        });
        PyList::new(py, listed.collect::<PyResult<Vec<_>>>()?)
    }

    /// Describe these groups, as a list of `GroupDescription`.
    fn describe_groups<'py>(&self, py: Python<'py>, groups: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        let found = all(runtime::wait(py, self.source()?.admin()?.describe_groups(&groups))?)?;
        PyList::new(py, found.iter().map(|(_, one)| group(py, one)).collect::<PyResult<Vec<_>>>()?)
    }

    /// Delete groups with their offsets; `NonEmptyGroupError` for one that has members.
    fn delete_groups(&self, py: Python<'_>, groups: Vec<String>) -> PyResult<()> {
        all(runtime::wait(py, self.source()?.admin()?.delete_groups(&groups))?).map(drop)
    }

    /// What a group has committed, in these partitions or in all: a dict from partition to `CommittedOffset`.
    #[pyo3(signature = (group, partitions=None))]
    fn list_offsets<'py>(
        &self,
        py: Python<'py>,
        group: &str,
        partitions: Option<Vec<Named>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let partitions = partitions.map(types::names);
        let admin = self.source()?.admin()?;
        let found = runtime::wait(py, admin.group_offsets(group, partitions.as_deref()))?.map_err(errors::client)?;
        types::by_partition(py, &found, |committed| types::committed(py, committed))
    }

    /// Set a group's offsets, by partition: an `int` or a `CommittedOffset` each. The group must have no members.
    fn alter_offsets(&self, py: Python<'_>, group: &str, offsets: HashMap<Named, Commit>) -> PyResult<()> {
        let offsets = offsets.into_iter().map(|(named, commit)| (named.0, commit.0)).collect();
        runtime::wait(py, self.source()?.admin()?.alter_group_offsets(group, &offsets))?.map_err(errors::client)
    }

    /// Forget a group's offsets in these partitions. No member may be subscribed to their topics.
    fn delete_offsets(&self, py: Python<'_>, group: &str, partitions: Vec<Named>) -> PyResult<()> {
        let partitions = types::names(partitions);
        all(runtime::wait(py, self.source()?.admin()?.delete_group_offsets(group, &partitions))?).map(drop)
    }

    /// The offset of the first record that is still there, by partition.
    fn earliest_offsets<'py>(&self, py: Python<'py>, partitions: Vec<Named>) -> PyResult<Bound<'py, PyDict>> {
        let wanted = types::names(partitions).into_iter().map(|name| (name, EARLIEST)).collect();
        self.listed(py, wanted, |listed| Ok(listed.offset.into_pyobject(py)?.into_any()))
    }

    /// The offset behind the last record, by partition.
    fn latest_offsets<'py>(&self, py: Python<'py>, partitions: Vec<Named>) -> PyResult<Bound<'py, PyDict>> {
        let wanted = types::names(partitions).into_iter().map(|name| (name, LATEST)).collect();
        self.listed(py, wanted, |listed| Ok(listed.offset.into_pyobject(py)?.into_any()))
    }

    /// The first record that is not older than a timestamp (milliseconds since 1970, a `datetime`, or ISO 8601), by
    /// partition, as an `OffsetAndTimestamp`; `None` where there is none.
    fn offsets_for_times<'py>(
        &self,
        py: Python<'py>,
        timestamps: HashMap<Named, Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        self.listed(py, wanted_times(timestamps)?, |listed| found_time(py, listed))
    }

    /// Delete the records before an offset, by partition (-1: all there are); returns where each partition begins then.
    fn delete_records<'py>(&self, py: Python<'py>, before: HashMap<Named, Offset>) -> PyResult<Bound<'py, PyDict>> {
        let before: Vec<_> = before.into_iter().map(|(named, offset)| (named.0, offset)).collect();
        let done = all(runtime::wait(py, self.source()?.admin()?.delete_records(&before))?)?;
        let done: HashMap<_, _> = done.into_iter().collect();
        types::by_partition(py, &done, |offset| Ok(offset.into_pyobject(py)?.into_any()))
    }

    /// The cluster's id and its brokers, as a `ClusterDescription`.
    fn describe_cluster<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = runtime::wait(py, self.source()?.admin()?.describe_cluster())?.map_err(errors::client)?;
        let brokers = found.brokers.iter().map(|b| types::tuple(py, "Broker", (b.id, &b.host, b.port, &b.rack)));
        let brokers = PyList::new(py, brokers.collect::<PyResult<Vec<_>>>()?)?;
        types::tuple(py, "ClusterDescription", (found.id, found.controller, brokers))
    }

    /// The folders in which these brokers (by default all) keep their logs, as a list of `LogDir`.
    #[pyo3(signature = (brokers=None))]
    fn describe_log_dirs<'py>(&self, py: Python<'py>, brokers: Option<Vec<NodeId>>) -> PyResult<Bound<'py, PyList>> {
        let admin = self.source()?.admin()?;
        let found = all(runtime::wait(py, admin.describe_log_dirs(&brokers.unwrap_or_default()))?)?;
        let dirs = found.iter().flat_map(|(broker, dirs)| dirs.iter().map(move |dir| (broker, dir)));
        let dirs = dirs.map(|(broker, dir)| {
            let replicas = dir.replicas.iter().map(|replica| {
                let name = &replica.partition;
                let fields = (&name.topic, name.partition, replica.size, replica.offset_lag, replica.is_future);
                types::tuple(py, "ReplicaSize", fields)
            });
            let replicas = PyList::new(py, replicas.collect::<PyResult<Vec<_>>>()?)?;
            types::tuple(py, "LogDir", (*broker, &dir.path, dir.total_bytes, dir.usable_bytes, replicas))
        });
        PyList::new(py, dirs.collect::<PyResult<Vec<_>>>()?)
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<Admin of {}>", self.source()?.bootstrap()))
    }
}
