//! The admin client: each call once, for [`Admin`] and [`AsyncAdmin`], and the named tuples of `types.py` that it tells.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::client;
use crate::client::admin::Each;
use crate::client::admin::configs::{Alteration, ConfigEntry, Resource};
use crate::client::admin::groups::GroupDescription;
use crate::client::admin::topics::NewTopic;
use crate::client::metadata::TopicView;
use crate::client::offsets::{EARLIEST, LATEST, ListedOffset};
use crate::common::ids::{NodeId, Offset, Timestamp, TopicPartition};

use super::call::{Call, faces, nothing};
use super::consumer::{found_offset, found_time, wanted_times};
use super::convert;
use super::coroutine::{Coroutine, Step};
use super::runtime::Home;
use super::source::Source;
use super::topic::Topic;
use super::types::{self, Commit, Named};

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
pub(crate) struct Admin(Asked);

/// An `Admin` for asyncio: the same calls, each to be awaited.
///
/// Made by `Cluster.async_admin` and `Client.async_admin`. A call whose wait is cancelled was done or was not, as with one
/// whose answer is lost. What a `Topic` tells of itself waits: ask here instead.
///
/// >>> import asyncio
/// >>> from strandline import Cluster
/// >>> async def main():
/// ...     async with Cluster() as cluster, cluster.async_admin() as admin:
/// ...         _ = await admin.create_topic("flights", partitions=4, retention_ms=60_000)
/// ...         configs = await admin.describe_configs(topic="flights")
/// ...         return configs["retention.ms"].value
/// >>> asyncio.run(main())
/// '60000'
#[pyclass(frozen, module = "strandline")]
pub(crate) struct AsyncAdmin(Asked);

/// Behind both.
struct Asked {
    source: Home<Arc<Source>>,
}

impl Asked {
    fn new(source: &Arc<Source>) -> Asked {
        Asked { source: Home::new("admin client", source.clone()) }
    }

    fn source(&self) -> PyResult<&Arc<Source>> {
        self.source.get()
    }

    fn listed(
        &self,
        wanted: HashMap<TopicPartition, Timestamp>,
        value: impl Fn(Python<'_>, &ListedOffset) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Call> {
        let admin = self.source()?.asker()?;
        Ok(Call::new(async move { admin.list_offsets(&wanted).await }, move |py, found| {
            let told = types::by_partition(py, &found, |listed| Ok(value(py, listed)?.into_bound(py)))?;
            Ok(told.into_any().unbind())
        }))
    }
}

impl Admin {
    pub(crate) fn new(source: &Arc<Source>) -> Admin {
        Admin(Asked::new(source))
    }
}

impl AsyncAdmin {
    pub(crate) fn new(source: &Arc<Source>) -> AsyncAdmin {
        AsyncAdmin(Asked::new(source))
    }
}

/// What became of each thing, or the first error.
fn all<K, T>(each: client::Result<Each<K, T>>) -> client::Result<Vec<(K, T)>> {
    each?.into_iter().map(|(name, result)| Ok((name, result?))).collect()
}

/// That all went well, or the first error.
fn done<K>(each: client::Result<Each<K, ()>>) -> client::Result<()> {
    all(each).map(drop)
}

/// Makes topics that are alike but for their names and numbers of partitions; gives Python the list of them, or the one
/// with `alone`.
pub(crate) fn create_topics(
    source: &Arc<Source>,
    topics: impl IntoIterator<Item = (String, i32)>,
    replication_factor: Option<i16>,
    configs: Vec<(String, String)>,
    alone: bool,
) -> PyResult<Call> {
    let configs: BTreeMap<_, _> = configs.into_iter().collect();
    let topics = topics.into_iter().map(|(name, partitions)| NewTopic {
        replication_factor,
        configs: configs.clone(),
        ..NewTopic::new(name, partitions)
    });
    let topics: Vec<_> = topics.collect();
    let (admin, source) = (source.asker()?, source.clone());
    let brokers = source.brokers().cloned();
    let making = async move {
        all(match brokers {
            Some(brokers) => brokers.local().create_topics(&admin, &topics).await,
            None => admin.create_topics(&topics, false).await,
        })
    };
    Ok(Call::new(making, move |py, made| {
        let mut made = made.into_iter().map(|(name, _)| Topic::new(&source, &name));
        match made.next() {
            Some(first) if alone => Ok(Py::new(py, first)?.into_any()),
            first => Ok(PyList::new(py, first.into_iter().chain(made).collect::<Vec<_>>())?.into_any().unbind()),
        }
    }))
}

/// A list of what `one` makes of each.
fn list<'py, T>(
    py: Python<'py>,
    items: &[T],
    one: impl FnMut(&T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Py<PyAny>> {
    Ok(PyList::new(py, items.iter().map(one).collect::<PyResult<Vec<_>>>()?)?.into_any().unbind())
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

faces! {
    Asked
    waits {
        /// Make a topic and return it; see `Cluster.create_topic`.
        #[pyo3(signature = (name, partitions=1, replication_factor=None, config=None, **configs))]
        fn create_topic(
            &self,
            py,
            name: String,
            partitions: i32,
            replication_factor: Option<i16>,
            config: Option<&Bound<'_, PyDict>>,
            **configs,
        ) -> Call {
            let configs = convert::configs(config, configs)?;
            create_topics(self.source()?, [(name, partitions)], replication_factor, configs, true)
        }

        /// Make topics, given by name with their numbers of partitions, and return them.
        #[pyo3(signature = (topics, replication_factor=None, config=None, **configs))]
        fn create_topics(
            &self,
            py,
            topics: BTreeMap<String, i32>,
            replication_factor: Option<i16>,
            config: Option<&Bound<'_, PyDict>>,
            **configs,
        ) -> Call {
            create_topics(self.source()?, topics, replication_factor, convert::configs(config, configs)?, false)
        }

        /// Delete a topic with all its records.
        fn delete_topic(&self, py, name: String) -> Call {
            self.delete_topics(py, vec![name])
        }

        /// Delete topics with all their records.
        fn delete_topics(&self, py, names: Vec<String>) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { done(admin.delete_topics(&names).await) }, nothing))
        }

        /// The names of all topics, in order; Kafka's own too with `internal=True`.
        #[pyo3(signature = (internal=false))]
        fn list_topics(&self, py, internal: bool) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { admin.list_topics(internal).await }, |py, found| {
                Ok(PyList::new(py, found.iter().map(|topic| &*topic.name))?.into_any().unbind())
            }))
        }

        /// Describe these topics (by default all but Kafka's own), as a list of `TopicDescription`.
        #[pyo3(signature = (names=None))]
        fn describe_topics(&self, py, names: Option<Vec<String>>) -> Call {
            let admin = self.source()?.asker()?;
            let asking = async move {
                match names {
                    None => admin.list_topics(false).await,
                    Some(names) => Ok(all(admin.describe_topics(&names).await)?.into_iter().map(|(_, topic)| topic).collect()),
                }
            };
            Ok(Call::new(asking, |py, found| list(py, &found, |topic| description(py, topic))))
        }

        /// Let a topic have `total` partitions, more than it has now. Keys may go to other partitions from then on.
        fn create_partitions(&self, py, topic: String, total: i32) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { done(admin.create_partitions(&[(topic, total)], false).await) }, nothing))
        }

        /// The configs of a topic, a broker, or the defaults of all brokers: a dict from Kafka's name to a `ConfigEntry`.
        ///
        /// `documentation=True` also brings the broker's words on each.
        #[pyo3(signature = (*, topic=None, broker=None, all_brokers=false, documentation=false))]
        fn describe_configs(
            &self,
            py,
            topic: Option<String>,
            broker: Option<NodeId>,
            all_brokers: bool,
            documentation: bool,
        ) -> Call {
            let resource = [resource(topic, broker, all_brokers)?];
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { all(admin.describe_configs(&resource, documentation).await) }, |py, found| {
                let entries: Vec<_> = found.into_iter().flat_map(|(_, entries)| entries).collect();
                Ok(configs(py, &entries)?.into_any().unbind())
            }))
        }

        /// Change configs of a topic, a broker, or of all brokers; those that are not named stay.
        ///
        /// `set` is a dict from Kafka's name to the value; `delete` names those that go back to their defaults; `append` and
        /// `subtract` change lists. With `validate_only=True` it is only checked.
        #[pyo3(signature = (
            *, topic=None, broker=None, all_brokers=false, set=None, delete=None, append=None, subtract=None,
            validate_only=false
        ))]
        fn alter_configs(
            &self,
            py,
            topic: Option<String>,
            broker: Option<NodeId>,
            all_brokers: bool,
            set: Option<&Bound<'_, PyDict>>,
            delete: Option<Vec<String>>,
            append: Option<&Bound<'_, PyDict>>,
            subtract: Option<&Bound<'_, PyDict>>,
            validate_only: bool,
        ) -> Call {
            let resource = resource(topic, broker, all_brokers)?;
            let with = |dict: Option<&Bound<'_, PyDict>>, change: fn(String, String) -> Alteration| -> PyResult<Vec<_>> {
                Ok(convert::configs(dict, None)?.into_iter().map(|(name, value)| change(name, value)).collect())
            };
            let mut changes = with(set, Alteration::Set)?;
            changes.extend(delete.unwrap_or_default().into_iter().map(Alteration::Delete));
            changes.extend(with(append, Alteration::Append)?);
            changes.extend(with(subtract, Alteration::Subtract)?);
            let admin = self.source()?.asker()?;
            let altering = async move { done(admin.alter_configs(&[(resource, changes)], validate_only).await) };
            Ok(Call::new(altering, nothing))
        }

        /// All groups, as a list of `GroupListing`.
        fn list_groups(&self, py) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { admin.list_groups().await }, |py, found| {
                list(py, &found, |group| {
                    let fields = (&group.id, &group.protocol_type, &group.state, &group.group_type);
                    types::tuple(py, "GroupListing", fields)
                })
            }))
        }

        /// Describe these groups, as a list of `GroupDescription`.
        fn describe_groups(&self, py, groups: Vec<String>) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { all(admin.describe_groups(&groups).await) }, |py, found| {
                list(py, &found, |(_, one)| group(py, one))
            }))
        }

        /// Delete groups with their offsets; `NonEmptyGroupError` for one that has members.
        fn delete_groups(&self, py, groups: Vec<String>) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { done(admin.delete_groups(&groups).await) }, nothing))
        }

        /// What a group has committed, in these partitions or in all: a dict from partition to `CommittedOffset`.
        #[pyo3(signature = (group, partitions=None))]
        fn list_offsets(&self, py, group: String, partitions: Option<Vec<Named>>) -> Call {
            let partitions = partitions.map(types::names);
            let admin = self.source()?.asker()?;
            let asking = async move { admin.group_offsets(&group, partitions.as_deref()).await };
            Ok(Call::new(asking, |py, found| {
                Ok(types::by_partition(py, &found, |committed| types::committed(py, committed))?.into_any().unbind())
            }))
        }

        /// Set a group's offsets, by partition: an `int` or a `CommittedOffset` each. The group must have no members.
        fn alter_offsets(&self, py, group: String, offsets: HashMap<Named, Commit>) -> Call {
            let offsets = offsets.into_iter().map(|(named, commit)| (named.0, commit.0)).collect();
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { admin.alter_group_offsets(&group, &offsets).await }, nothing))
        }

        /// Forget a group's offsets in these partitions. No member may be subscribed to their topics.
        fn delete_offsets(&self, py, group: String, partitions: Vec<Named>) -> Call {
            let partitions = types::names(partitions);
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { done(admin.delete_group_offsets(&group, &partitions).await) }, nothing))
        }

        /// The offset of the first record that is still there, by partition.
        fn earliest_offsets(&self, py, partitions: Vec<Named>) -> Call {
            self.listed(types::names(partitions).into_iter().map(|name| (name, EARLIEST)).collect(), found_offset)
        }

        /// The offset behind the last record, by partition.
        fn latest_offsets(&self, py, partitions: Vec<Named>) -> Call {
            self.listed(types::names(partitions).into_iter().map(|name| (name, LATEST)).collect(), found_offset)
        }

        /// The first record that is not older than a timestamp (milliseconds since 1970, a `datetime`, or ISO 8601), by
        /// partition, as an `OffsetAndTimestamp`; `None` where there is none.
        fn offsets_for_times(&self, py, timestamps: HashMap<Named, Bound<'_, PyAny>>) -> Call {
            self.listed(wanted_times(timestamps)?, found_time)
        }

        /// Delete the records before an offset, by partition (-1: all there are); returns where each partition begins then.
        fn delete_records(&self, py, before: HashMap<Named, Offset>) -> Call {
            let before: Vec<_> = before.into_iter().map(|(named, offset)| (named.0, offset)).collect();
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { all(admin.delete_records(&before).await) }, |py, done| {
                let done: HashMap<_, _> = done.into_iter().collect();
                let told = types::by_partition(py, &done, |offset| Ok(offset.into_pyobject(py)?.into_any()))?;
                Ok(told.into_any().unbind())
            }))
        }

        /// The cluster's id and its brokers, as a `ClusterDescription`.
        fn describe_cluster(&self, py) -> Call {
            let admin = self.source()?.asker()?;
            Ok(Call::new(async move { admin.describe_cluster().await }, |py, found| {
                let brokers =
                    list(py, &found.brokers, |b| types::tuple(py, "Broker", (b.id, &b.host, b.port, &b.rack)))?;
                Ok(types::tuple(py, "ClusterDescription", (found.id, found.controller, brokers))?.unbind())
            }))
        }

        /// The folders in which these brokers (by default all) keep their logs, as a list of `LogDir`.
        #[pyo3(signature = (brokers=None))]
        fn describe_log_dirs(&self, py, brokers: Option<Vec<NodeId>>) -> Call {
            let admin = self.source()?.asker()?;
            let asking = async move { all(admin.describe_log_dirs(&brokers.unwrap_or_default()).await) };
            Ok(Call::new(asking, |py, found| {
                let dirs: Vec<_> = found.iter().flat_map(|(broker, dirs)| dirs.iter().map(move |dir| (broker, dir))).collect();
                list(py, &dirs, |(broker, dir)| {
                    let replicas = list(py, &dir.replicas, |replica| {
                        let name = &replica.partition;
                        let fields = (&name.topic, name.partition, replica.size, replica.offset_lag, replica.is_future);
                        types::tuple(py, "ReplicaSize", fields)
                    })?;
                    types::tuple(py, "LogDir", (**broker, &dir.path, dir.total_bytes, dir.usable_bytes, replicas))
                })
            }))
        }
    }
    plain {}
    Admin {
        fn __repr__(&self) -> PyResult<String> {
            Ok(format!("<Admin of {}>", self.0.source()?.bootstrap()))
        }
    }
    AsyncAdmin {
        fn __aenter__(slf: &Bound<'_, Self>) -> Coroutine {
            Coroutine::enters("AsyncAdmin.__aenter__", slf)
        }

        #[pyo3(signature = (*_exception))]
        fn __aexit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> Coroutine {
            Coroutine::of("AsyncAdmin.__aexit__", slf, |py| Ok(Step::Done(py.None())))
        }

        fn __repr__(&self) -> PyResult<String> {
            Ok(format!("<AsyncAdmin of {}>", self.0.source()?.bootstrap()))
        }
    }
}
