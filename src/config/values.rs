//! A checked configuration: what was given, in layers, over the defaults; each value with its source.
//!
//! A broker's layers, the strongest first: dynamic for this broker, dynamic for all, static (its properties file). A
//! topic has one layer of its own over its broker's configuration: a topic key that is not set takes the value of its
//! synonyms there (`retention.ms`: `log.retention.ms`, `log.retention.minutes`, `log.retention.hours`). A [`Values`] does
//! not change; an update makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{ConfigError, Owner};
use super::key::{ConfigType, Key, KeyDef, Scope, Support, Update};
use super::value::{Kind, Value};
use super::{all, find, nearest, rules};

/// Where a value comes from, with the code that DescribeConfigs carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Set on the topic (DYNAMIC_TOPIC_CONFIG).
    DynamicTopic = 1,
    /// Set on this broker while it runs (DYNAMIC_BROKER_CONFIG).
    DynamicBroker = 2,
    /// Set on all brokers while they run (DYNAMIC_DEFAULT_BROKER_CONFIG).
    DynamicDefaultBroker = 3,
    /// Set in the broker's properties (STATIC_BROKER_CONFIG).
    StaticBroker = 4,
    /// The default (DEFAULT_CONFIG).
    Default = 5,
    /// Set by whoever made the client; never on the wire.
    Client = 0,
}

impl Source {
    /// The code in a DescribeConfigs reply.
    pub fn code(self) -> i8 {
        self as i8
    }
}

type Layer = BTreeMap<&'static str, Value>;

/// A checked configuration of one broker, topic or client.
#[derive(Debug, Clone)]
pub struct Values {
    owner: Owner,
    /// The strongest first.
    layers: Vec<(Source, Layer)>,
    /// A topic's broker.
    base: Option<Arc<Values>>,
}

/// One key as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The key.
    pub def: &'static KeyDef,
    /// Its value; `None` when it is null, or a password.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it cannot change while the broker runs.
    pub read_only: bool,
    /// All that was set or would count, the strongest first.
    pub synonyms: Vec<DescribedSynonym>,
}

/// One entry of the chain behind a value.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedSynonym {
    /// The key's name.
    pub name: &'static str,
    /// Its value there; `None` when it is null, or a password.
    pub value: Option<String>,
    /// Where it is set.
    pub source: Source,
}

/// Something that was accepted without effect: a sentence for whoever set it.
pub type Notice = String;

impl Values {
    /// A broker's static configuration, and what to tell whoever wrote it.
    pub fn broker<P, K, V>(pairs: P) -> Result<(Values, Vec<Notice>), ConfigError>
    where
        P: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        Values::alone(Scope::Broker, Source::StaticBroker, pairs)
    }

    /// The configuration of a client of this scope ([`Scope::Producer`], [`Scope::Consumer`], [`Scope::Admin`]).
    pub fn client<P, K, V>(scope: Scope, pairs: P) -> Result<(Values, Vec<Notice>), ConfigError>
    where
        P: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        Values::alone(scope, Source::Client, pairs)
    }

    /// A topic's configuration over its broker's.
    pub fn topic<P, K, V>(name: &str, broker: Arc<Values>, pairs: P) -> Result<Values, ConfigError>
    where
        P: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let owner = Owner::topic(name);
        let (layer, _) = check_layer(&owner, pairs)?;
        let values = Values { owner, layers: vec![(Source::DynamicTopic, layer)], base: Some(broker) };
        rules::check(&values)?;
        Ok(values)
    }

    fn alone<P, K, V>(scope: Scope, source: Source, pairs: P) -> Result<(Values, Vec<Notice>), ConfigError>
    where
        P: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let owner = Owner::new(scope, "");
        let (layer, notices) = check_layer(&owner, pairs)?;
        let values = Values { owner, layers: vec![(source, layer)], base: None };
        rules::check(&values)?;
        Ok((values, notices))
    }

    /// The same with what is set while it runs replaced: of this broker ([`Source::DynamicBroker`]) or of all
    /// ([`Source::DynamicDefaultBroker`]). Refused for a key that needs a restart.
    pub fn with_dynamic<P, K, V>(&self, source: Source, pairs: P) -> Result<Values, ConfigError>
    where
        P: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let (layer, _) = check_layer(&self.owner, pairs)?;
        for name in layer.keys() {
            let def = find(self.owner.scope, name);
            let fits = |def: &KeyDef| match source {
                Source::DynamicBroker => def.update != Update::ReadOnly,
                _ => matches!(def.update, Update::ClusterWide | Update::OnlyWhileRunning),
            };
            if let Some(def) = def.filter(|def| !fits(def)) {
                return Err(ConfigError::ReadOnly { owner: self.owner.clone(), key: def.name });
            }
        }
        let mut values = self.clone();
        values.layers.retain(|(known, _)| *known != source);
        values.layers.push((source, layer));
        values.layers.sort_by_key(|(source, _)| *source);
        rules::check(&values)?;
        Ok(values)
    }

    /// The value of a key of this scope.
    pub fn get<K: Kind>(&self, key: Key<K>) -> K::Output {
        let def = key.def();
        debug_assert!(
            def.scope == self.owner.scope || def.scope == Scope::Client,
            "{} is not of {}",
            def.name,
            self.owner
        );
        let counts = |source: &Source| def.update != Update::OnlyWhileRunning || *source != Source::StaticBroker;
        let read = match self.set(def.name).filter(|(_, source)| counts(source)) {
            Some((value, _)) => K::read(value),
            None => K::read(&self.inherited(def).unwrap_or_else(|| def.default_value())),
        };
        // Every value was checked against the key's type, and `Missing` was refused.
        read.unwrap_or_else(|| unreachable!("{} holds a value of another type", def.name))
    }

    /// Whether a key was given a value, rather than having its default.
    pub fn is_set<K: Kind>(&self, key: Key<K>) -> bool {
        self.set(key.name()).is_some()
    }

    /// Whose configuration it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What was given in a layer, as normal text.
    pub fn given(&self, source: Source) -> impl Iterator<Item = (&'static str, String)> {
        let layer = self.layers.iter().find(|(known, _)| *known == source);
        layer.into_iter().flat_map(|(_, layer)| layer).filter_map(|(name, value)| Some((*name, value.text()?)))
    }

    /// One key, with its source and what stands behind it; `None` also for one that is only told of where it is set.
    pub fn describe(&self, name: &str) -> Option<Described> {
        let def = find(self.owner.scope, name)?;
        let synonyms = self.chain(def);
        if def.update == Update::OnlyWhileRunning && synonyms.is_empty() {
            return None;
        }
        let source = synonyms.first().map_or(Source::Default, |synonym| synonym.source);
        let value = match self.set(def.name) {
            Some((value, _)) => value.text(),
            None => self.inherited(def).unwrap_or_else(|| def.default_value()).text(),
        };
        let value = value.filter(|_| !def.is_sensitive());
        Some(Described { def, value, source, read_only: def.is_read_only(), synonyms })
    }

    /// Every key that DescribeConfigs lists, in the order of their names: all of the scope but passwords' values.
    pub fn describe_all(&self) -> Vec<Described> {
        let mut names: Vec<_> = all(self.owner.scope).map(|def| def.name).collect();
        names.sort_unstable();
        names.into_iter().filter_map(|name| self.describe(name)).collect()
    }

    /// The strongest value that was given for a name.
    fn set(&self, name: &str) -> Option<(&Value, Source)> {
        self.layers.iter().find_map(|(source, layer)| layer.get(name).map(|value| (value, *source)))
    }

    /// What a topic's key gets from its broker: the first synonym that is set, or the first whose default is not null.
    fn inherited(&self, def: &KeyDef) -> Option<Value> {
        let broker = self.base.as_ref()?;
        let given = def
            .synonyms
            .iter()
            .find_map(|synonym| broker.set(synonym.name).map(|(value, _)| (value.clone(), synonym.factor)));
        let (value, factor) = given.or_else(|| {
            def.synonyms.iter().find_map(|synonym| {
                let value = find(Scope::Broker, synonym.name)?.default_value();
                (value != Value::Null).then_some((value, synonym.factor))
            })
        })?;
        Some(match value {
            // -1 hours is no limit, not an hour less than none.
            Value::Long(number) if number > 0 => Value::Long(number.saturating_mul(factor)),
            value => value,
        })
    }

    /// What was given for a key and its synonyms, then their defaults, the strongest first.
    ///
    /// As in Kafka, which is odder than one would think: the chain begins with the key itself (of a topic's key: with its
    /// first synonym), so that what is set on a weaker synonym alone counts, but does not show.
    fn chain(&self, def: &'static KeyDef) -> Vec<DescribedSynonym> {
        let show = |value: &Value| value.text().filter(|_| !def.is_sensitive());
        let broker = self.base.as_deref().unwrap_or(self);
        let names = if self.base.is_some() { synonym_names(def) } else { broker_synonyms(def) };
        let first = if self.base.is_some() { names.first().copied() } else { Some(def.name) };
        let mut chain = Vec::new();
        for (source, layer) in &broker.layers {
            for name in &names {
                if let Some(value) = layer.get(name) {
                    chain.push(DescribedSynonym { name, value: show(value), source: *source });
                }
            }
        }
        for name in &names {
            let default = find(broker.owner.scope, name).filter(|def| def.update != Update::OnlyWhileRunning);
            if let Some(value) = default.map(KeyDef::default_value).filter(|value| *value != Value::Null) {
                chain.push(DescribedSynonym { name, value: show(&value), source: Source::Default });
            }
        }
        let weaker = chain.iter().take_while(|synonym| Some(synonym.name) != first).count();
        chain.drain(..weaker);
        if self.base.is_some()
            && let Some((value, source)) = self.set(def.name)
        {
            chain.insert(0, DescribedSynonym { name: def.name, value: show(value), source });
        }
        chain
    }
}

fn synonym_names(def: &KeyDef) -> Vec<&'static str> {
    def.synonyms.iter().map(|synonym| synonym.name).collect()
}

/// A broker key with those that stand in for each other in the same topic key (`log.retention.ms`, `.minutes`, `.hours`),
/// from the strongest on.
fn broker_synonyms(def: &KeyDef) -> Vec<&'static str> {
    let shared = all(Scope::Topic).map(synonym_names).find(|names| names.len() > 1 && names.contains(&def.name));
    match shared {
        // This one has a meaning of its own besides.
        Some(names)
            if def.scope == Scope::Broker && def.name != super::broker::LOG_FLUSH_SCHEDULER_INTERVAL_MS.name() =>
        {
            names
        }
        _ => vec![def.name],
    }
}

impl Value {
    /// The value as text; `None` for null.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Bool(value) => Some(value.to_string()),
            Value::Long(value) => Some(value.to_string()),
            Value::Double(value) => super::value::Literal::Double(*value).text(),
            Value::Text(value) => Some(value.clone()),
        }
    }
}

/// Checks what was given, key by key.
fn check_layer<P, K, V>(owner: &Owner, pairs: P) -> Result<(Layer, Vec<Notice>), ConfigError>
where
    P: IntoIterator<Item = (K, V)>,
    K: AsRef<str>,
    V: AsRef<str>,
{
    let mut layer = Layer::new();
    let mut notices = Vec::new();
    for (name, text) in pairs {
        let (def, value) = check(owner, name.as_ref(), text.as_ref())?;
        if let Support::NoEffect(why) = def.support
            && value != def.default_value()
        {
            notices.push(format!("{} of {owner} has no effect: {why}", def.name));
        }
        if def.update == Update::OnlyWhileRunning {
            let why =
                "it only counts where it is set while the broker runs, as with strandline topics reassign --throttle";
            notices.push(format!("{} of {owner} has no effect in its properties: {why}", def.name));
        }
        layer.insert(def.name, value);
    }
    let missing =
        all(owner.scope).find(|def| def.default == super::value::Literal::Required && !layer.contains_key(def.name));
    if let Some(def) = missing.filter(|_| owner.scope != Scope::Topic) {
        return Err(ConfigError::Missing { owner: owner.clone(), key: def.name });
    }
    Ok((layer, notices))
}

/// Checks one value: the key is known, the value is one it may have, and we honour it.
pub fn check(owner: &Owner, name: &str, text: &str) -> Result<(&'static KeyDef, Value), ConfigError> {
    let Some(def) = find(owner.scope, name) else {
        if owner.scope == Scope::Broker && name.starts_with("listener.name.") {
            return Err(ConfigError::NotHonoured {
                owner: owner.clone(),
                key: name.to_owned(),
                value: "***".to_owned(),
                default: "not set".to_owned(),
            });
        }
        return Err(ConfigError::Unknown {
            owner: owner.clone(),
            name: name.to_owned(),
            nearest: nearest(owner.scope, name),
        });
    };
    let shown = || match (def.is_sensitive(), text.trim()) {
        (true, _) => "***".to_owned(),
        (false, "") => "empty".to_owned(),
        (false, text) => text.to_owned(),
    };
    let value = def.parse(text).map_err(|must| ConfigError::Invalid {
        owner: owner.clone(),
        key: def.name.to_owned(),
        value: shown(),
        must,
    })?;
    if def.support == Support::NotYet && !is_default(def, &value) {
        return Err(ConfigError::NotHonoured {
            owner: owner.clone(),
            key: def.name.to_owned(),
            value: shown(),
            default: match def.default_text() {
                None => "not set".to_owned(),
                Some(text) if text.is_empty() => "empty".to_owned(),
                Some(text) => text,
            },
        });
    }
    Ok((def, value))
}

fn is_default(def: &KeyDef, value: &Value) -> bool {
    let texts =
        matches!(def.config_type, ConfigType::String | ConfigType::List | ConfigType::Class | ConfigType::Password);
    match (value, def.default_value()) {
        (Value::Text(text), Value::Null) => text.is_empty(),
        (Value::Text(text), Value::Text(default)) if texts => text.eq_ignore_ascii_case(&default),
        (value, default) => *value == default,
    }
}
