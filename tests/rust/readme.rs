//! What README tells in tables comes from the code.

use std::fmt::Write;
use std::path::Path;

use strandline::broker::served_apis;

/// The table of APIs, in the order of their keys.
fn table() -> String {
    let mut apis = served_apis();
    apis.sort_unstable();
    let mut table = String::from("| key | API | versions |\n|---:|---|---|\n");
    for api in apis {
        let spec = api.spec();
        writeln!(table, "| {} | {} | {} |", spec.key, spec.name, versions(spec.served.min, spec.served.max)).unwrap();
    }
    table
}

fn versions(min: i16, max: i16) -> String {
    if min == max { min.to_string() } else { format!("{min}-{max}") }
}

#[test]
fn the_table_of_apis_is_that_of_the_broker() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- apis:begin -->\n", "<!-- apis:end -->");
    let (before, rest) = readme.split_once(begin).unwrap();
    let (told, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
    } else {
        assert!(told == table(), "README is behind: UPDATE_README=1 cargo test --test it readme");
    }
}
