//! A config key that is called honoured is read by somebody.
//!
//! Each entry of the tables in `src/config` makes a constant. One that no other file names has no reader, so its key does
//! nothing: then the table must say so (`NoEffect`, with the reason, or `NotYet`).

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The Rust files below a folder, with their texts.
fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.clone(), fs::read_to_string(path).unwrap()));
        }
    }
}

/// The constants of a table whose keys are honoured.
fn honoured(table: &str) -> Vec<String> {
    let entry = Regex::new(r#"(?ms)^\s+([A-Z][A-Z0-9_]+): [^="]+= "[^"]+"(.*?);\n"#).unwrap();
    let entries = entry.captures_iter(table).filter(|entry| entry[2].contains("Honoured"));
    entries.map(|entry| entry[1].to_owned()).collect()
}

#[test]
fn every_key_that_is_honoured_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut unread = Vec::new();
    for table in ["broker", "topic", "client"] {
        let own = root.join(format!("config/{table}.rs"));
        let text = fs::read_to_string(&own).unwrap();
        let names = honoured(&text);
        assert!(names.len() > 15, "{table}: {names:?}");
        for name in names {
            let word = Regex::new(&format!(r"\b{name}\b")).unwrap();
            // A broker's key may stand only for the default of a topic's, which `topic.rs` says.
            if !files.iter().any(|(path, text)| *path != own && word.is_match(text)) {
                unread.push(format!("src/config/{table}.rs: {name}"));
            }
        }
    }
    assert!(unread.is_empty(), "honoured, and read by nobody:\n{}", unread.join("\n"));
}
