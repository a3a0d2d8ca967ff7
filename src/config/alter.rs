//! What AlterConfigs and IncrementalAlterConfigs ask for: set, delete, append, subtract.

use std::collections::BTreeMap;

use super::error::{ConfigError, Owner};
use super::find;
use super::key::ConfigType;
use super::nearest;
use super::value::split_list;
use super::values::Values;

/// One change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// Gives it a value.
    Set(String),
    /// Takes its value away, so that it has its default.
    Delete,
    /// Adds words to a list that lacks them.
    Append(String),
    /// Takes words from a list.
    Subtract(String),
}

/// The given values after a change: `given` is the layer that changes (a topic's overrides, say), `current` the
/// configuration that holds, whose value a list begins from when it has none in the layer.
///
/// The result is not checked yet: make a [`Values`] of it.
pub fn apply(
    owner: &Owner,
    given: &mut BTreeMap<String, String>,
    current: &Values,
    name: &str,
    change: Alteration,
) -> Result<(), ConfigError> {
    // Also of a key that nobody knows, as in Apache Kafka: its tools take away all that they may have set.
    if change == Alteration::Delete {
        given.remove(name);
        return Ok(());
    }
    let def = find(owner.scope, name).ok_or_else(|| ConfigError::Unknown {
        owner: owner.clone(),
        name: name.to_owned(),
        nearest: nearest(owner.scope, name),
    })?;
    let words = |given: &BTreeMap<String, String>| {
        let text = given.get(name).cloned().or_else(|| current.describe(name).and_then(|described| described.value));
        split_list(&text.unwrap_or_default())
    };
    let not_a_list = def.config_type != ConfigType::List;
    match change {
        Alteration::Set(value) => {
            given.insert(name.to_owned(), value);
        }
        Alteration::Delete => {}
        Alteration::Append(_) | Alteration::Subtract(_) if not_a_list => {
            return Err(ConfigError::NotAList { owner: owner.clone(), key: def.name });
        }
        Alteration::Append(value) => {
            let mut words = words(given);
            for word in split_list(&value) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            given.insert(name.to_owned(), words.join(","));
        }
        Alteration::Subtract(value) => {
            let taken = split_list(&value);
            let mut words = words(given);
            words.retain(|word| !taken.contains(word));
            given.insert(name.to_owned(), words.join(","));
        }
    }
    Ok(())
}
