//! What `consume` writes for a record: kcat's format strings, or its JSON.
//!
//! | | | | |
//! |---|---|---|---|
//! | `%v` `%s` | value | `%S` | its length, -1 for null |
//! | `%k` | key | `%K` | its length, -1 for null |
//! | `%t` | topic | `%p` | partition |
//! | `%o` | offset | `%T` | timestamp, in milliseconds |
//! | `%h` | headers, `name=value,..` | `%%` | a percent sign |
//!
//! Backslashes are those of [`super::escape`]. A null is nothing, or `NULL` where that is asked for.

use std::io::Write;

use super::escape::unescape;
use crate::record::{RecordView, TimestampType};

/// A record, and what its batch and partition say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// The topic.
    pub(super) topic: &'a str,
    /// The partition.
    pub(super) partition: i32,
    /// Who gave the timestamp.
    pub(super) timestamp_type: TimestampType,
    /// The record.
    pub(super) record: RecordView<'a>,
}

/// A way to write records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// These parts, one after the other.
    Parts { parts: Vec<Part>, null: &'static [u8] },
    /// An object a line, with kcat's keys.
    Json,
}

/// A piece of a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// These bytes.
    Text(Vec<u8>),
    /// The value.
    Value,
    /// Its length.
    ValueLen,
    /// The key.
    Key,
    /// Its length.
    KeyLen,
    /// The topic.
    Topic,
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// The timestamp.
    Timestamp,
    /// The headers.
    Headers,
}

impl Format {
    /// Reads a format string; `show_null` writes nulls as `NULL`.
    ///
    /// # Errors
    /// A sentence about what is not known in it.
    pub(super) fn parse(text: &str, show_null: bool) -> Result<Format, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find('%').unwrap_or(rest.len());
            if at > 0 {
                parts.push(Part::Text(unescape(&rest[..at])?));
                rest = &rest[at..];
                continue;
            }
            let letter = rest[1..].chars().next();
            parts.push(match letter {
                Some('v' | 's') => Part::Value,
                Some('S') => Part::ValueLen,
                Some('k') => Part::Key,
                Some('K') => Part::KeyLen,
                Some('t') => Part::Topic,
                Some('p') => Part::Partition,
                Some('o') => Part::Offset,
                Some('T') => Part::Timestamp,
                Some('h') => Part::Headers,
                Some('%') => Part::Text(b"%".to_vec()),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(format!("%{other} in {text:?}: known are %v %s %S %k %K %t %p %o %T %h and %%"));
                }
            });
            rest = &rest[1 + letter.map_or(0, char::len_utf8)..];
        }
        Ok(Format::Parts { parts, null: if show_null { b"NULL" } else { b"" } })
    }

    /// Puts the record behind what `out` holds.
    pub(super) fn put(&self, out: &mut Vec<u8>, message: &Message<'_>) {
        match self {
            Format::Parts { parts, null } => parts.iter().for_each(|part| put_part(out, part, null, message)),
            Format::Json => put_json(out, message),
        }
    }
}

/// Writing to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = write!($out, $($text)*); };
}

fn put_part(out: &mut Vec<u8>, part: &Part, null: &[u8], message: &Message<'_>) {
    let record = &message.record;
    let len = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    match part {
        Part::Text(text) => out.extend_from_slice(text),
        Part::Value => out.extend_from_slice(record.value.unwrap_or(null)),
        Part::Key => out.extend_from_slice(record.key.unwrap_or(null)),
        Part::Topic => out.extend_from_slice(message.topic.as_bytes()),
        Part::ValueLen => {
            put!(out, "{}", len(record.value));
        }
        Part::KeyLen => {
            put!(out, "{}", len(record.key));
        }
        Part::Partition => {
            put!(out, "{}", message.partition);
        }
        Part::Offset => {
            put!(out, "{}", record.offset);
        }
        Part::Timestamp => {
            put!(out, "{}", record.timestamp);
        }
        Part::Headers => {
            for (index, header) in record.headers.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(header.key);
                out.push(b'=');
                out.extend_from_slice(header.value.unwrap_or(b"NULL"));
            }
        }
    }
}

fn put_json(out: &mut Vec<u8>, message: &Message<'_>) {
    let record = &message.record;
    out.extend_from_slice(b"{\"topic\":");
    put_text(out, Some(message.topic.as_bytes()));
    let kind = match message.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "logappend",
    };
    let (partition, offset, timestamp) = (message.partition, record.offset, record.timestamp);
    put!(out, ",\"partition\":{partition},\"offset\":{offset},\"tstype\":\"{kind}\",\"ts\":{timestamp},\"headers\":[");
    for (index, header) in record.headers.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_text(out, Some(header.key));
        out.push(b',');
        put_text(out, header.value);
    }
    out.extend_from_slice(b"],\"key\":");
    put_text(out, record.key);
    out.extend_from_slice(b",\"payload\":");
    put_text(out, record.value);
    out.extend_from_slice(b"}\n");
}

/// A JSON string, or null; what is not UTF-8 becomes U+FFFD.
fn put_text(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let text = bytes.map(String::from_utf8_lossy);
    // Neither a text nor a null can fail to be JSON.
    let _ = serde_json::to_writer(out, &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, BatchBuilder, BatchOptions, Header};

    fn put(format: &Format, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let headers = [Header { key: b"a", value: Some(b"1") }, Header { key: b"a", value: None }];
        let mut builder = BatchBuilder::new(BatchOptions { base_offset: 42, ..BatchOptions::default() });
        builder.append(1_000, key, value, headers.into_iter());
        let built = builder.build().unwrap();
        let batch = Batch::parse(&built).unwrap();
        let body = batch.body(1 << 20).unwrap();
        let record = body.iter().next().unwrap().unwrap();
        let message = Message { topic: "t", partition: 3, timestamp_type: TimestampType::CreateTime, record };
        let mut out = Vec::new();
        format.put(&mut out, &message);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_letter_stands_for_its_part() {
        let format = Format::parse(r"%t[%p]@%o %T %k(%K)=%v/%s(%S) %h 100%%é\n", false).unwrap();
        assert_eq!(put(&format, Some(b"k"), Some(b"va")), "t[3]@42 1000 k(1)=va/va(2) a=1,a=NULL 100%é\n");
    }

    #[test]
    fn a_null_is_nothing_or_said() {
        let format = |show| Format::parse("%k|%v|%K|%S", show).unwrap();
        assert_eq!(put(&format(false), None, None), "||-1|-1");
        assert_eq!(put(&format(true), None, None), "NULL|NULL|-1|-1");
    }

    #[test]
    fn json_is_kcats() {
        let line = put(&Format::Json, None, Some("a\"\u{e9}\n".as_bytes()));
        assert!(line.ends_with("}\n") && line.starts_with("{\"topic\":\"t\",\"partition\":3,\"offset\":42,"), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["key"], &value["payload"]), (&serde_json::Value::Null, &"a\"\u{e9}\n".into()));
        assert_eq!((&value["tstype"], &value["ts"]), (&"create".into(), &1_000.into()));
        assert_eq!(value["headers"], serde_json::json!(["a", "1", "a", null]));
    }

    #[test]
    fn an_unknown_letter_is_refused() {
        assert!(Format::parse("%q", false).unwrap_err().contains("%q"));
        assert!(Format::parse("100%", false).is_err() && Format::parse(r"\q", false).is_err());
    }
}
