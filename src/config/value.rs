//! Values: from text to a checked value, and from a value to the Rust type that its key names.
//!
//! A value is kept with its text as it was given, for DescribeConfigs shows that. Parsing follows Kafka: text is trimmed,
//! booleans are read in any case, lists are split at commas.

use std::collections::HashSet;

use super::key::{ConfigType, KeyDef, Range, Unit};

/// 1,024 bytes.
pub const KIB: i64 = 1 << 10;
/// 1,024 KiB.
pub const MIB: i64 = 1 << 20;
/// 1,024 MiB.
pub const GIB: i64 = 1 << 30;
/// A second, in milliseconds.
pub const SECOND: i64 = 1_000;
/// A minute, in milliseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// An hour, in milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// A day, in milliseconds.
pub const DAY: i64 = 24 * HOUR;

/// A default, as the table holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literal {
    /// Not set.
    Null,
    /// There is no default: it must be set.
    Required,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// A fraction.
    Double(f64),
    /// Text, a word, or a list separated by commas.
    Text(&'static str),
}

impl Literal {
    /// As text; `None` for null and for a key without default.
    pub fn text(&self) -> Option<String> {
        match self {
            Literal::Null | Literal::Required => None,
            Literal::Bool(value) => Some(value.to_string()),
            Literal::Long(value) => Some(value.to_string()),
            Literal::Double(value) => Some(java_double(*value)),
            Literal::Text(value) => Some((*value).to_owned()),
        }
    }

    fn value(&self) -> Value {
        match self {
            Literal::Null | Literal::Required => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Long(value) => Value::Long(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::Text(value) => Value::Text((*value).to_owned()),
        }
    }
}

/// A double as Java prints it: `1.0`, and `1.7976931348623157E308` where Rust would write 309 digits.
fn java_double(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e7).contains(&value.abs()) {
        let text = format!("{value:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        }
    } else {
        format!("{value:?}")
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Not set.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number of any width.
    Long(i64),
    /// A fraction.
    Double(f64),
    /// Text; a list keeps its text and is split when it is read.
    Text(String),
}

/// What a key's value is, in Kafka's table and in Rust.
pub trait Kind {
    /// Kafka's type.
    const TYPE: ConfigType;
    /// What a number counts.
    const UNIT: Unit;
    /// What a reader gets.
    type Output;
    /// The value in that type; `None` when the value is of another kind, which checked values never are.
    fn read(value: &Value) -> Option<Self::Output>;
}

macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident: $config_type:ident $unit:ident, $rust:ty, literal $literal:ty => $variant:ident, $read:expr;)+) => { $(
        $(#[$about])*
        #[derive(Debug, Clone, Copy)]
        pub struct $kind;

        impl $kind {
            /// A default of this kind.
            pub const fn literal(value: $literal) -> Literal {
                Literal::$variant(value)
            }
        }

        impl Kind for $kind {
            const TYPE: ConfigType = ConfigType::$config_type;
            const UNIT: Unit = Unit::$unit;
            type Output = $rust;

            fn read(value: &Value) -> Option<$rust> {
                match value {
                    Value::$variant(value) => $read(value),
                    _ => None,
                }
            }
        }
    )+ };
}

fn copied<T: Copy>(value: &T) -> Option<T> {
    Some(*value)
}

fn owned(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn narrow<T: TryFrom<i64>>(value: &i64) -> Option<T> {
    T::try_from(*value).ok()
}

/// The words of a list: split at commas, trimmed; an empty text is an empty list.
pub fn split_list(text: &str) -> Vec<String> {
    if text.trim().is_empty() { Vec::new() } else { text.split(',').map(|word| word.trim().to_owned()).collect() }
}

kinds! {
    /// `true` or `false`.
    Bool: Boolean Count, bool, literal bool => Bool, copied;
    /// A 32-bit number.
    Int: Int Count, i32, literal i64 => Long, narrow;
    /// A 16-bit number.
    Short: Short Count, i16, literal i64 => Long, narrow;
    /// A 64-bit number.
    Long: Long Count, i64, literal i64 => Long, copied;
    /// A number of bytes that Kafka keeps in 32 bits.
    Bytes: Int Bytes, i64, literal i64 => Long, copied;
    /// A number of bytes that Kafka keeps in 64 bits.
    LongBytes: Long Bytes, i64, literal i64 => Long, copied;
    /// Milliseconds, 64 bits in Kafka.
    Ms: Long Millis, i64, literal i64 => Long, copied;
    /// Milliseconds that Kafka keeps in 32 bits.
    IntMs: Int Millis, i64, literal i64 => Long, copied;
    /// A fraction.
    Double: Double Count, f64, literal f64 => Double, copied;
    /// Text, or one word of several.
    Text: String Count, String, literal &'static str => Text, |text: &String| owned(text);
    /// Words separated by commas.
    List: List Count, Vec<String>, literal &'static str => Text, |text: &String| Some(split_list(text));
    /// A Java class: known by name, never loaded.
    Class: Class Count, String, literal &'static str => Text, |text: &String| owned(text);
    /// Text that is never shown.
    Password: Password Count, String, literal &'static str => Text, |text: &String| owned(text);
}

impl<K: Kind> Kind for Option<K> {
    const TYPE: ConfigType = K::TYPE;
    const UNIT: Unit = K::UNIT;
    type Output = Option<K::Output>;

    fn read(value: &Value) -> Option<Option<K::Output>> {
        match value {
            Value::Null => Some(None),
            value => K::read(value).map(Some),
        }
    }
}

impl KeyDef {
    /// The default as a value; null for a key without one.
    pub fn default_value(&self) -> Value {
        self.default.value()
    }

    /// Reads and checks a text; the error says what the value must be.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        // A password may begin or end with a space.
        let trimmed = if self.config_type == ConfigType::Password { text } else { text.trim() };
        let value = match self.config_type {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Bool(true),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Bool(false),
            ConfigType::Boolean => return Err("it must be true or false".to_owned()),
            ConfigType::Short => whole(trimmed, i64::from(i16::MIN), i64::from(i16::MAX), self)?,
            ConfigType::Int => whole(trimmed, i64::from(i32::MIN), i64::from(i32::MAX), self)?,
            ConfigType::Long => whole(trimmed, i64::MIN, i64::MAX, self)?,
            ConfigType::Double => match trimmed.parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Double(number),
                _ => return Err("it must be a number".to_owned()),
            },
            ConfigType::String | ConfigType::List | ConfigType::Class | ConfigType::Password => {
                Value::Text(trimmed.to_owned())
            }
        };
        if self.range.holds(&value, self.config_type) {
            Ok(value)
        } else {
            Err(format!("it must be {}", self.range.text(self.unit)))
        }
    }
}

fn whole(text: &str, least: i64, most: i64, def: &KeyDef) -> Result<Value, String> {
    match text.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(Value::Long(number)),
        _ => {
            let unit = match def.unit {
                Unit::Count => "",
                Unit::Bytes => " of bytes",
                Unit::Millis => " of milliseconds",
            };
            Err(match def.range {
                Range::Any => format!("it must be a whole number{unit}, from {least} to {most}"),
                range => format!("it must be a whole number{unit}: {}, and at most {most}", range.text(def.unit)),
            })
        }
    }
}

impl Range {
    /// Whether a value of this type is in the range.
    pub fn holds(&self, value: &Value, config_type: ConfigType) -> bool {
        match (self, value) {
            (Range::Any, _) | (_, Value::Null) => true,
            (Range::AtLeast(least), Value::Long(number)) => number >= least,
            (Range::Between(least, most), Value::Long(number)) => (least..=most).contains(&number),
            (Range::SpecialOrAtLeast(special, _, least), Value::Long(number)) => number == special || number >= least,
            (Range::SpecialOrBetween(special, _, least, most), Value::Long(number)) => {
                number == special || (least..=most).contains(&number)
            }
            (Range::Fraction(least, most), Value::Double(number)) => (least..=most).contains(&number),
            (Range::OneOf(words), Value::Text(text)) if config_type == ConfigType::List => {
                split_list(text).iter().all(|word| words.contains(&word.as_str()))
            }
            (Range::OneOf(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Range::OneOfIgnoringCase(words), Value::Text(text)) => {
                words.iter().any(|word| word.eq_ignore_ascii_case(text))
            }
            (Range::OneOfOrPrefix(words, prefix), Value::Text(text)) => {
                words.contains(&text.as_str()) || text.starts_with(prefix)
            }
            (Range::NonEmpty, Value::Text(text)) => !text.is_empty(),
            (Range::ThrottledReplicas, Value::Text(text)) => throttled_replicas(text),
            _ => false,
        }
    }

    /// What a value must be, to stand after "it must be".
    pub fn text(&self, unit: Unit) -> String {
        let words = |words: &[&str]| words.join(", ");
        let unit = match unit {
            Unit::Count => "",
            Unit::Bytes => " bytes",
            Unit::Millis => " ms",
        };
        match self {
            Range::Any => "anything".to_owned(),
            Range::AtLeast(least) => format!("at least {least}{unit}"),
            Range::Between(least, most) => format!("from {least} to {most}{unit}"),
            Range::SpecialOrAtLeast(special, meaning, least) => {
                format!("{special} ({meaning}) or at least {least}{unit}")
            }
            Range::SpecialOrBetween(special, meaning, least, most) => {
                format!("{special} ({meaning}) or from {least} to {most}{unit}")
            }
            Range::Fraction(least, most) => format!("from {least} to {most}"),
            Range::OneOf(list) => format!("one of {}", words(list)),
            Range::OneOfIgnoringCase(list) => format!("one of {} (in any case)", words(list)),
            Range::OneOfOrPrefix(list, prefix) => format!("one of {}, or {prefix}...", words(list)),
            Range::NonEmpty => "not empty".to_owned(),
            Range::ThrottledReplicas => "* or a list of partition:broker".to_owned(),
        }
    }
}

/// Whether a text is a list of throttled replicas. Words that are empty say nothing, as in Apache Kafka.
fn throttled_replicas(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pair = |word: &str| word.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker));
    let words = split_list(text);
    words.concat() == "*" || words.iter().all(|word| word.is_empty() || pair(word))
}

/// The replicas that a list names by `partition:broker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// `*`
    All,
    /// By the indexes of their partitions and the ids of their brokers.
    These(HashSet<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Those of a list that was checked.
    pub fn of(words: &[String]) -> ThrottledReplicas {
        if words.concat() == "*" {
            return ThrottledReplicas::All;
        }
        // A number too large for a partition or a broker is that of none.
        let pair = |word: &String| {
            let (partition, broker) = word.split_once(':')?;
            Some((partition.parse().ok()?, broker.parse().ok()?))
        };
        ThrottledReplicas::These(words.iter().filter_map(pair).collect())
    }

    /// Whether a replica is among them.
    pub fn holds(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::These(these) => these.contains(&(partition, broker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_printed_as_java_prints_it() {
        assert_eq!(java_double(0.5), "0.5");
        assert_eq!(java_double(1.0), "1.0");
        assert_eq!(java_double(f64::MAX), "1.7976931348623157E308");
        assert_eq!(java_double(1e8), "1.0E8");
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        assert_eq!(split_list(" a , b"), ["a", "b"]);
        assert!(split_list(" ").is_empty());
    }

    #[test]
    fn throttled_replicas_are_pairs_or_a_star() {
        assert!(throttled_replicas("*") && throttled_replicas("") && throttled_replicas("0:1, 2:3"));
        assert!(throttled_replicas("0:1,") && throttled_replicas("*,"));
        assert!(!throttled_replicas("0") && !throttled_replicas("0:x") && !throttled_replicas(":"));
        assert!(!throttled_replicas("*,0:1") && !throttled_replicas("*,*") && !throttled_replicas("-1:0"));
    }

    #[test]
    fn a_list_of_throttled_replicas_names_some_or_all() {
        let some = ThrottledReplicas::of(&split_list("0:1, 2:3,,4:99999999999"));
        assert!(some.holds(0, 1) && some.holds(2, 3));
        assert!(!some.holds(0, 3) && !some.holds(1, 0) && !some.holds(4, i32::MAX));
        assert!(ThrottledReplicas::of(&split_list("*")).holds(7, 7));
        assert!(!ThrottledReplicas::of(&[]).holds(0, 0));
    }
}
