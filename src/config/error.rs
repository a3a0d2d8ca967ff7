//! Why a configuration is refused: each a sentence that says what was given, where, and what would be right.

use std::fmt;

use super::key::Scope;

/// Whose configuration it is: the scope, and the topic's name or the broker's id where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The scope.
    pub scope: Scope,
    /// The topic's name, the broker's id, the client's id; empty when there is none.
    pub name: String,
}

impl Owner {
    /// The owner of this scope and name.
    pub fn new(scope: Scope, name: impl Into<String>) -> Owner {
        Owner { scope, name: name.into() }
    }

    /// A topic.
    pub fn topic(name: impl Into<String>) -> Owner {
        Owner::new(Scope::Topic, name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scope, self.name.as_str()) {
            (scope, "") => write!(f, "the {scope}"),
            (Scope::Broker, id) => write!(f, "broker {id}"),
            (scope, name) => write!(f, "{scope} {name:?}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("{name} is not a key of {owner}{}", nearest.map(|key| format!(": did you mean {key}?")).unwrap_or_default())]
    Unknown {
        /// Whose configuration.
        owner: Owner,
        /// The name that was given.
        name: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// The value is not one that the key may have.
    #[error("{key} of {owner} is {value}: {must}")]
    Invalid {
        /// Whose configuration.
        owner: Owner,
        /// The key.
        key: String,
        /// The value that was given; `***` when it must not be shown.
        value: String,
        /// What it must be.
        must: String,
    },
    /// The key is Kafka's, and we do not honour it yet.
    #[error(
        "{key} of {owner} is {value}: this broker does not honour it yet; leave it out, or at its default ({default})"
    )]
    NotHonoured {
        /// Whose configuration.
        owner: Owner,
        /// The key.
        key: String,
        /// The value that was given; `***` when it must not be shown.
        value: String,
        /// The default, the only value that is accepted.
        default: String,
    },
    /// The key has no default and no value.
    #[error("{key} of {owner} is not set, and it has no default")]
    Missing {
        /// Whose configuration.
        owner: Owner,
        /// The key.
        key: &'static str,
    },
    /// The key changes only by a restart.
    #[error("{key} of {owner} cannot change while the broker runs: set it in the properties file and restart")]
    ReadOnly {
        /// Whose configuration.
        owner: Owner,
        /// The key.
        key: &'static str,
    },
    /// Two values that do not go together.
    #[error("{owner}: {sentence}")]
    Conflict {
        /// Whose configuration.
        owner: Owner,
        /// Which, and what would be right.
        sentence: String,
    },
    /// Only a list can be appended to or subtracted from.
    #[error("{key} of {owner} is not a list: it can be set or deleted, not appended to or subtracted from")]
    NotAList {
        /// Whose configuration.
        owner: Owner,
        /// The key.
        key: &'static str,
    },
    /// A properties file has a line that cannot be read.
    #[error("line {line}: {sentence}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        sentence: String,
    },
}
