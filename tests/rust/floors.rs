//! The house rules, read from the sources.
//!
//! The table in `src/lib.rs` is the law: a room imports only rooms of lower floors. Beside it stand the rules on length,
//! on the opening words of a file, on the doors to the outside, and on `unsafe`. A breach is told as
//! `file:line: what is wrong: what would be right`. The sources are read by a small lexer, so that comments and strings
//! do not count, and `use` trees, `super::` chains and inline modules do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::sources::{Source, UsedPath};

/// How long a file may be, tests included.
const MAX_LINES: usize = 700;

/// What only a door may use, and where the doors are: a file whose path starts so.
struct Door {
    uses: &'static [&'static [&'static str]],
    doors: &'static [&'static str],
    instead: &'static str,
    /// Whether test code may use it too.
    open_to_tests: bool,
}

const DOORS: &[Door] = &[
    Door {
        uses: &[
            &["SystemTime"],
            &["UNIX_EPOCH"],
            &["Instant", "now"],
            &["thread", "sleep"],
            &["thread", "sleep_ms"],
            &["tokio", "time"],
        ],
        // The bindings wait for a person's Ctrl-C in the real world's time, and the real file system reads files' times.
        doors: &["src/common/clock.rs", "src/log/fs/real.rs", "src/python/"],
        instead: "take `now` as an argument, or wait on a common::clock::Clock",
        open_to_tests: false,
    },
    Door {
        uses: &[
            &["tokio", "net"],
            &["net", "TcpListener"],
            &["net", "TcpStream"],
            &["net", "UdpSocket"],
            &["unix", "net"],
            &["net", "ToSocketAddrs"],
        ],
        doors: &["src/common/transport.rs"],
        instead: "use the common::transport::Transport that you are given",
        open_to_tests: false,
    },
    Door {
        uses: &[&["std", "fs"], &["tokio", "fs"], &["File", "open"], &["File", "create"]],
        // The command line reads the user's own files.
        doors: &["src/log/fs", "src/cli/"],
        instead: "use the log's FileSystem",
        open_to_tests: true,
    },
];

/// Where `unsafe` may stand, each with its SAFETY line.
const UNSAFE: &[&str] = &["src/log/fs", "src/common/buffer.rs", "src/protocol/primitives/string.rs", "src/python/"];

/// The rooms and their floors, from the table in `src/lib.rs`.
fn floors(lib: &str) -> BTreeMap<String, u32> {
    let mut rooms = BTreeMap::new();
    for line in lib.lines() {
        let Some(row) = line.strip_prefix("//! |") else { continue };
        let mut cells = row.split('|').map(str::trim);
        let (Some(floor), Some(names)) = (cells.next(), cells.next()) else { continue };
        let Ok(floor) = floor.parse() else { continue };
        for name in names.split(',') {
            let name = name.trim().trim_start_matches('[').trim_end_matches(']').trim_matches('`');
            assert!(
                rooms.insert(name.to_owned(), floor).is_none(),
                "src/lib.rs: room {name} stands in the table twice"
            );
        }
    }
    rooms
}

/// The room that a path of `source` leads to, or what is wrong with the path; `None` where it stays outside the crate.
fn room_of(source: &Source, path: &UsedPath) -> Option<Result<String, String>> {
    let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
    let (mut module, rest) = match *parts.first()? {
        "crate" => (Vec::new(), &parts[1..]),
        "super" | "self" => {
            let mut module: Vec<&str> = source.module.iter().chain(&path.inside).map(String::as_str).collect();
            let mut rest = &parts[..];
            while let Some(&step @ ("super" | "self")) = rest.first() {
                if step == "super" && module.pop().is_none() {
                    return Some(Err("leads out of the crate".to_owned()));
                }
                rest = &rest[1..];
            }
            (module, rest)
        }
        _ => return None,
    };
    module.extend(rest);
    match (module.first(), module.len()) {
        (None, _) if parts == ["crate"] => None,
        (None, _) | (Some(&"*"), _) => Some(Err("takes the whole house: name the room".to_owned())),
        (Some(_), 1) if path.is_macro => None,
        (Some(room), _) => Some(Ok((*room).to_owned())),
    }
}

fn check_floors(source: &Source, rooms: &BTreeMap<String, u32>, wrong: &mut Vec<String>) {
    let file = &source.file;
    let Some(own) = source.module.first() else { return };
    let Some(own_floor) = rooms.get(own) else {
        wrong.push(format!("{file}:1: room `{own}` is not in the table of src/lib.rs: give it a floor there"));
        return;
    };
    for path in &source.paths {
        let (line, shown) = (path.line, path.parts.join("::"));
        match room_of(source, path) {
            None => {}
            Some(Err(why)) => wrong.push(format!("{file}:{line}: `{shown}` {why}")),
            Some(Ok(room)) if room == *own => {}
            Some(Ok(room)) => match rooms.get(&room) {
                None => wrong.push(format!("{file}:{line}: `{shown}`: `{room}` is not a room of src/lib.rs")),
                Some(floor) if floor < own_floor => {}
                Some(floor) => wrong.push(format!(
                    "{file}:{line}: `{shown}`: {own} (floor {own_floor}) may not know {room} (floor {floor}): \
                     a room imports only lower floors"
                )),
            },
        }
    }
}

fn check_house_rules(source: &Source, wrong: &mut Vec<String>) {
    let file = &source.file;
    if source.lines > MAX_LINES {
        wrong.push(format!(
            "{file}:{MAX_LINES}: {} lines, at most {MAX_LINES}: give an idea its own file",
            source.lines
        ));
    }
    if !source.text.trim_start().starts_with("//!") {
        wrong.push(format!("{file}:1: does not open with `//!`: say what the file is for"));
    }
    for door in DOORS {
        if door.doors.iter().any(|open| file.starts_with(open)) {
            continue;
        }
        for path in source.paths.iter().filter(|path| !(door.open_to_tests && path.in_tests)) {
            if door.uses.iter().any(|used| path.parts.windows(used.len()).any(|part| part == *used)) {
                let (line, shown) = (path.line, path.parts.join("::"));
                wrong.push(format!("{file}:{line}: `{shown}` goes outside past the door: {}", door.instead));
            }
        }
    }
    for line in &source.unsafes {
        if !UNSAFE.iter().any(|open| file.starts_with(open)) {
            wrong.push(format!("{file}:{line}: `unsafe` outside the files that tests/rust/floors.rs allows it"));
        } else if !source.text.lines().take(*line).skip(line.saturating_sub(6)).any(|text| text.contains("SAFETY")) {
            wrong.push(format!("{file}:{line}: `unsafe` without a SAFETY line above it"));
        }
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("fuzz/target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

fn read(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join(folder), &mut files);
    files.sort();
    let shown = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| Source::read(&shown(path), &fs::read_to_string(path).unwrap())).collect()
}

fn lib() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap()
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} breaches of the house rules:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_room_imports_only_lower_floors() {
    let rooms = floors(&lib());
    assert!(rooms.len() >= 10, "the table in src/lib.rs could not be read: {rooms:?}");
    let mut wrong = Vec::new();
    let sources = read("src");
    for source in &sources {
        check_floors(source, &rooms, &mut wrong);
    }
    for room in rooms.keys().filter(|room| !sources.iter().any(|source| source.module.first() == Some(room))) {
        wrong.push(format!("src/lib.rs:1: room `{room}` of the table has no files"));
    }
    none(wrong);
}

#[test]
fn every_source_keeps_the_house_rules() {
    let mut wrong = Vec::new();
    for source in read("src") {
        check_house_rules(&source, &mut wrong);
    }
    for source in read("tests").iter().filter(|source| source.lines > MAX_LINES || !source.text.starts_with("//!")) {
        wrong.push(format!("{}:1: over {MAX_LINES} lines, or does not open with `//!`", source.file));
    }
    none(wrong);
}

/// What the rules say of a file of the given name and text.
fn judge(file: &str, text: &str) -> String {
    let rooms = floors("//! | 1 | [`common`] |\n//! | 2 | [`record`], `wire` |\n//! | 3 | [`log`] |");
    let source = Source::read(file, &format!("//! For a test.\n{text}\n"));
    let mut wrong = Vec::new();
    check_floors(&source, &rooms, &mut wrong);
    check_house_rules(&source, &mut wrong);
    wrong.join("\n")
}

#[test]
fn a_breach_is_told_with_its_line_and_rule() {
    for (file, text, told) in [
        (
            "src/record/a.rs",
            "\nuse crate::log::Log;",
            "src/record/a.rs:3: `crate::log::Log`: record (floor 2) may not know",
        ),
        ("src/record/a.rs", "use crate::{common::ids, log};", "may not know log (floor 3)"),
        ("src/record/a.rs", "fn f() { crate::wire::g() }", "record (floor 2) may not know wire (floor 2)"),
        ("src/record/a.rs", "use super::super::log::Log;", "may not know log"),
        ("src/record/mod.rs", "mod tests { use super::super::log::Log; }", "may not know log"),
        ("src/record/mod.rs", "use super::*;", "takes the whole house"),
        ("src/record/mod.rs", "use crate::*;", "takes the whole house"),
        ("src/record/mod.rs", "use crate::thing;", "`thing` is not a room"),
        ("src/attic/mod.rs", "", "src/attic/mod.rs:1: room `attic` is not in the table"),
        ("src/log/a.rs", "use std::{fs, io};", "`std::fs` goes outside past the door: use the log's FileSystem"),
        ("src/log/a.rs", "fn f() { let t = std::time::Instant::now(); }", "past the door: take `now`"),
        ("src/log/a.rs", "use tokio::net::TcpStream;", "past the door: use the common::transport"),
        ("src/log/tests.rs", "fn f() { std::thread::sleep(D); }", "past the door"),
        ("src/log/a.rs", "fn f() { unsafe { g() } }", "src/log/a.rs:2: `unsafe` outside"),
        ("src/log/fs.rs", "fn f() { unsafe { g() } }", "without a SAFETY line"),
        ("src/log/a.rs", &"\n".repeat(800), "lines, at most 700"),
    ] {
        let found = judge(file, text);
        assert!(found.contains(told), "{file}: {text:.60}\n  told: {found:?}\n  not:  {told:?}");
    }
    let mut wrong = Vec::new();
    check_house_rules(&Source::read("src/log/a.rs", "use std::io;\n"), &mut wrong);
    assert!(wrong[0].contains("does not open with"), "{wrong:?}");
}

#[test]
fn what_keeps_the_rules_is_let_be() {
    for (file, text) in [
        ("src/record/a.rs", "use crate::common::ids; use super::b::C; // crate::log"),
        ("src/record/a.rs", "/* crate::log /* nested */ */ const S: &str = r#\"crate::log \"quoted\"\"#;"),
        ("src/record/a.rs", "pub(crate) fn f<'a>(c: &'a str) -> char { '\"' } mod tests { use super::*; }"),
        ("src/record/a.rs", "pub(in crate::record) fn f() { crate::message! {} self::g() }"),
        ("src/log/a.rs", "use std::time::{Duration, Instant}; use crate::{common, record::Batch};"),
        ("src/log/a.rs", "mod tests { use std::fs; }"),
        ("src/log/fs/real.rs", "use std::fs;\n// SAFETY: nobody writes.\nfn f() { unsafe { g() } }"),
        ("src/common/clock.rs", "use std::time::SystemTime;"),
    ] {
        assert_eq!(judge(file, text), "", "{file}: {text}");
    }
}
