//! Tests that measure the process: each runs in a process of its own, for the others would disturb it.

use std::fs;
use std::process::Command;

const ALONE: &str = "STRANDLINE_ALONE";

/// Runs `work`, the body of the test `name` (`module::function`), in a process that runs nothing else.
pub(crate) fn alone(name: &str, work: impl FnOnce()) {
    if std::env::var(ALONE).is_ok_and(|word| word == name) {
        return work();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    print!("{said}");
}

/// What this process has of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) threads: usize,
    pub(crate) files: usize,
    pub(crate) maps: usize,
    pub(crate) resident_kib: usize,
}

impl Held {
    /// What it has now.
    pub(crate) fn now() -> Held {
        let count = |dir: &str| fs::read_dir(dir).unwrap().count();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Held {
            threads: count("/proc/self/task"),
            files: count("/proc/self/fd"),
            maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            resident_kib: resident.trim_end_matches("kB").trim().parse().unwrap(),
        }
    }
}
