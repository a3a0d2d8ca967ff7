//! One line of a dump: named values, as Kafka's tool writes them or as JSON.

use super::super::Failure;
use super::super::output::Output;

/// A named value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A word.
    Word(&'a str),
    /// Bytes that are mostly a text; what is not UTF-8 is shown as U+FFFD.
    Bytes(&'a [u8]),
    /// Several of those.
    List(&'a [&'a [u8]]),
    /// A number that need not be there, as Java shows it.
    Optional(Option<i64>),
}

/// Writes lines of named values; nothing at all where it is silent.
pub(super) struct Fields<'o> {
    output: &'o mut Output,
    json: bool,
    silent: bool,
    /// Whether the line has something on it.
    begun: bool,
}

impl<'o> Fields<'o> {
    /// Lines for `output`, in text or JSON, or none where `silent`.
    pub(super) fn new(output: &'o mut Output, json: bool, silent: bool) -> Fields<'o> {
        Fields { output, json, silent, begun: false }
    }

    /// Whether the lines are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Begins a line; `kind` is told in JSON, `mark` in text.
    pub(super) fn begin(&mut self, kind: &str, mark: &str) -> Result<(), Failure> {
        self.begun = false;
        match (self.silent, self.json) {
            (true, _) => Ok(()),
            (false, true) => {
                self.begun = true;
                write!(self.output, "{{\"kind\":\"{kind}\"")
            }
            (false, false) => self.output.bytes(mark.as_bytes()),
        }
    }

    /// Adds a value.
    pub(super) fn add(&mut self, name: &str, value: Value<'_>) -> Result<(), Failure> {
        match (self.silent, self.json) {
            (true, _) => Ok(()),
            (false, true) => self.add_json(name, value),
            (false, false) => self.add_text(name, value),
        }
    }

    /// Ends the line.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        match (self.silent, self.json) {
            (true, _) => Ok(()),
            (false, true) => self.output.bytes(b"}\n"),
            (false, false) => self.output.bytes(b"\n"),
        }
    }

    fn add_text(&mut self, name: &str, value: Value<'_>) -> Result<(), Failure> {
        let gap = if std::mem::replace(&mut self.begun, true) { " " } else { "" };
        write!(self.output, "{gap}{name}: ")?;
        match value {
            Value::Int(number) => write!(self.output, "{number}"),
            Value::Bool(flag) => write!(self.output, "{flag}"),
            Value::Word(word) => write!(self.output, "{word}"),
            Value::Bytes(bytes) => self.output.bytes(String::from_utf8_lossy(bytes).as_bytes()),
            Value::List(items) => {
                let texts: Vec<_> = items.iter().map(|item| String::from_utf8_lossy(item)).collect();
                write!(self.output, "[{}]", texts.join(","))
            }
            Value::Optional(None) => write!(self.output, "OptionalLong.empty"),
            Value::Optional(Some(number)) => write!(self.output, "OptionalLong[{number}]"),
        }
    }

    fn add_json(&mut self, name: &str, value: Value<'_>) -> Result<(), Failure> {
        let value = match value {
            Value::Int(number) => number.into(),
            Value::Bool(flag) => flag.into(),
            Value::Word(word) => word.into(),
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
            Value::List(items) => items.iter().map(|item| String::from_utf8_lossy(item)).collect(),
            Value::Optional(number) => serde_json::Value::from(number),
        };
        let comma = if std::mem::replace(&mut self.begun, true) { "," } else { "" };
        write!(self.output, "{comma}\"{name}\":{value}")
    }
}
