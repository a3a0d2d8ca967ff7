//! What a config key is: its name, type, default, range, whether it may change, and whether it is honoured.
//!
//! The tables ([`super::topic`], [`super::broker`], [`super::client`]) are written with the `keys!` macro, one entry a
//! key. An entry makes a typed constant ([`Key`]), so that a reader never repeats a name, a type or a default, and a row
//! of the table, from which validation, DescribeConfigs and the docs are derived.

use std::fmt;
use std::marker::PhantomData;

use super::value::{Kind, Literal};

/// Whose key it is. One name may live in several scopes (`compression.type`: broker, topic, producer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A broker's own (server.properties, and dynamic broker configs).
    Broker,
    /// A topic's.
    Topic,
    /// Every client's.
    Client,
    /// A producer's.
    Producer,
    /// A consumer's.
    Consumer,
    /// An admin client's.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Broker => "broker",
            Scope::Topic => "topic",
            Scope::Client => "client",
            Scope::Producer => "producer",
            Scope::Consumer => "consumer",
            Scope::Admin => "admin client",
        })
    }
}

/// Kafka's type of a key, with the code that DescribeConfigs carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 16-bit number.
    Short = 4,
    /// A 64-bit number.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Words separated by commas.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

impl ConfigType {
    /// The code in a DescribeConfigs reply.
    pub fn code(self) -> i8 {
        self as i8
    }

    /// The word for the docs.
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Boolean => "boolean",
            ConfigType::String => "string",
            ConfigType::Int => "int",
            ConfigType::Short => "short",
            ConfigType::Long => "long",
            ConfigType::Double => "double",
            ConfigType::List => "list",
            ConfigType::Class => "class",
            ConfigType::Password => "password",
        }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
}

/// The values a key may have, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Any of its type.
    Any,
    /// At least this.
    AtLeast(i64),
    /// From the first to the second, both included.
    Between(i64, i64),
    /// The first, which means what the text says, or at least the second.
    SpecialOrAtLeast(i64, &'static str, i64),
    /// The first, which means what the text says, or between the other two.
    SpecialOrBetween(i64, &'static str, i64, i64),
    /// A fraction from the first to the second, both included.
    Fraction(f64, f64),
    /// One of these words; of a list, each.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// Text that is not empty.
    NonEmpty,
    /// `*`, or pairs `partition:broker`.
    ThrottledReplicas,
    /// A word of the first list, or this prefix followed by anything.
    OneOfOrPrefix(&'static [&'static str], &'static str),
}

/// How much a key matters; DescribeConfigs does not carry it, the docs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Look at it before going live.
    High,
    /// Look at it when there is a reason.
    Medium,
    /// Rarely touched.
    Low,
}

/// What this system does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Does what it says.
    Honoured,
    /// Accepted, has no effect here; whoever sets it is told why.
    NoEffect(&'static str),
    /// Known, not done yet: any value but the default is refused.
    NotYet,
}

/// Whether a key may change while the broker runs. A topic's keys always may, a client's never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker or for all.
    ClusterWide,
    /// For one broker or for all, and in no other way: in a broker's properties it says nothing, and where it is not set
    /// nobody is told of it.
    OnlyWhileRunning,
}

/// A broker key that stands in for another key when that one is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker key's name.
    pub name: &'static str,
    /// Its value times this is the value (hours or minutes to milliseconds).
    pub factor: i64,
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyDef {
    /// Kafka's name.
    pub name: &'static str,
    /// Whose key it is.
    pub scope: Scope,
    /// Kafka's type.
    pub config_type: ConfigType,
    /// What a number counts.
    pub unit: Unit,
    /// The default; [`Literal::Required`] when there is none.
    pub default: Literal,
    /// The values it may have.
    pub range: Range,
    /// How much it matters.
    pub importance: Importance,
    /// What we do with it.
    pub support: Support,
    /// Whether it may change while running.
    pub update: Update,
    /// The broker keys that stand in for it, the strongest first.
    pub synonyms: &'static [Synonym],
    /// What it does, in a sentence or two.
    pub text: &'static str,
}

impl KeyDef {
    /// Whether its value must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.config_type == ConfigType::Password
    }

    /// Whether it can only change by a restart.
    pub fn is_read_only(&self) -> bool {
        self.scope == Scope::Broker && self.update == Update::ReadOnly
    }

    /// The default as text; `None` when it is null or there is none.
    pub fn default_text(&self) -> Option<String> {
        self.default.text()
    }
}

/// A key with the Rust type of its value.
#[derive(Debug)]
pub struct Key<K: Kind> {
    def: &'static KeyDef,
    kind: PhantomData<K>,
}

impl<K: Kind> Clone for Key<K> {
    fn clone(&self) -> Key<K> {
        *self
    }
}

impl<K: Kind> Copy for Key<K> {}

impl<K: Kind> Key<K> {
    /// A key over its row; the macro `keys!` calls this.
    pub const fn new(def: &'static KeyDef) -> Key<K> {
        Key { def, kind: PhantomData }
    }

    /// Its row in the table.
    pub const fn def(&self) -> &'static KeyDef {
        self.def
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.def.name
    }
}

/// A table of keys. An entry reads
///
/// ```text
/// /// What it does.
/// CONSTANT: Kind = "its.name", default, range, Importance, Support[, Update][, synonyms [SYNONYM, ...]];
/// ```
///
/// where the default is `null`, `required` or a literal of the kind.
macro_rules! keys {
    ($(#[doc = $about:literal])* $scope:ident $table:ident; $(
        $(#[doc = $text:literal])+
        $constant:ident : $kind:ty = $name:literal, ($($default:tt)+), $range:expr, $importance:ident, $support:expr
        $(, $update:ident)? $(, synonyms [$($synonym:expr),+])? ;
    )+) => {
        $(
            $(#[doc = $text])+
            pub const $constant: $crate::config::key::Key<$kind> = $crate::config::key::Key::new(&$crate::config::key::KeyDef {
                name: $name,
                scope: $crate::config::key::Scope::$scope,
                config_type: <$kind as $crate::config::value::Kind>::TYPE,
                unit: <$kind as $crate::config::value::Kind>::UNIT,
                default: $crate::config::key::keys!(@default $kind, $($default)+),
                range: $range,
                importance: $crate::config::key::Importance::$importance,
                support: $support,
                update: $crate::config::key::keys!(@update $($update)?),
                synonyms: &[$($($synonym),+)?],
                text: concat!($($text),+),
            });
        )+
        $(#[doc = $about])*
        pub static $table: &[&$crate::config::key::KeyDef] = &[$($constant.def()),+];
    };
    (@default $kind:ty, null) => { $crate::config::value::Literal::Null };
    (@default $kind:ty, required) => { $crate::config::value::Literal::Required };
    (@default $kind:ty, $value:expr) => { <$kind>::literal($value) };
    (@update) => { $crate::config::key::Update::ReadOnly };
    (@update $update:ident) => { $crate::config::key::Update::$update };
}
pub(crate) use keys;

/// A table of keys that Kafka has and we do not honour yet, one line a key: name, kind, default, range.
macro_rules! not_yet {
    ($(#[doc = $about:literal])* $scope:ident $table:ident; $( $name:literal $kind:ident ($($default:tt)+) $($range:expr)?; )+) => {
        $(#[doc = $about])*
        pub static $table: &[&$crate::config::key::KeyDef] = &[$(
            &$crate::config::key::KeyDef {
                name: $name,
                scope: $crate::config::key::Scope::$scope,
                config_type: <$kind as $crate::config::value::Kind>::TYPE,
                unit: <$kind as $crate::config::value::Kind>::UNIT,
                default: $crate::config::key::keys!(@default $kind, $($default)+),
                range: $crate::config::key::not_yet!(@range $($range)?),
                importance: $crate::config::key::Importance::Low,
                support: $crate::config::key::Support::NotYet,
                update: $crate::config::key::Update::ReadOnly,
                synonyms: &[],
                text: "",
            }
        ),+];
    };
    (@range) => { $crate::config::key::Range::Any };
    (@range $range:expr) => { $range };
}
pub(crate) use not_yet;
