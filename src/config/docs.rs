//! The tables as Markdown, for the documentation.

use std::fmt::Write;

use super::all;
use super::key::{KeyDef, Scope, Support, Unit, Update};
use super::value::Literal;

/// The keys of a scope as a Markdown table: name, type, default, range, whether it is honoured, text.
pub fn markdown(scope: Scope) -> String {
    let mut keys: Vec<_> = all(scope).collect();
    keys.sort_by_key(|def| def.name);
    let mut page = String::from(
        "| key | type | default | may be | honoured | changes | what it does |\n|---|---|---|---|---|---|---|\n",
    );
    for def in keys {
        // Writing to a String does not fail.
        let _ = writeln!(page, "{}", row(def));
    }
    page
}

fn row(def: &KeyDef) -> String {
    let default = match (&def.default, def.default_text()) {
        (Literal::Required, _) => "none: must be set".to_owned(),
        (_, None) => "not set".to_owned(),
        (_, Some(text)) if text.is_empty() => "empty".to_owned(),
        (_, Some(text)) => format!("`{text}`"),
    };
    let unit = match def.unit {
        Unit::Count => "",
        Unit::Bytes => " (bytes)",
        Unit::Millis => " (ms)",
    };
    let honoured = match def.support {
        Support::Honoured => "yes".to_owned(),
        Support::NoEffect(why) => format!("no effect: {why}"),
        Support::NotYet => "not yet: only the default is accepted".to_owned(),
    };
    let changes = match (def.scope, def.update) {
        (Scope::Topic, _) => "while running",
        (Scope::Broker, Update::ReadOnly) => "by a restart",
        (Scope::Broker, Update::PerBroker) => "while running, per broker",
        (Scope::Broker, Update::ClusterWide) => "while running",
        (Scope::Broker, Update::OnlyWhileRunning) => "only while running",
        _ => "",
    };
    let (name, kind, range) = (def.name, def.config_type.name(), def.range.text(def.unit));
    let text = def.text.trim();
    format!("| `{name}` | {kind}{unit} | {default} | {range} | {honoured} | {changes} | {text} |")
}
