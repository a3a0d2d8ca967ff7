//! What thirty brokers and a hundred thousand partitions ask of a controller: one line of JSON for `make bench`.
//!
//! The memory is what the process has more of once the image is there and the records that made it are gone, as Linux tells it.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use strandline::metadata::plan;

#[path = "micro/thirty.rs"]
mod thirty;

/// How often each is done; the median counts.
const ROUNDS: usize = 21;

fn main() {
    let before = resident();
    let image = thirty::image();
    let partitions: usize = image.topics().map(|topic| topic.partitions.len()).sum();
    let bytes = resident().saturating_sub(before) / u64::try_from(partitions).unwrap();
    let planned = median(|| {
        let start = Instant::now();
        black_box(plan::fence_broker(black_box(&image), 7));
        start.elapsed().as_secs_f64()
    });
    let records = plan::fence_broker(&image, 7);
    let applied = median(|| {
        let mut image = image.clone();
        let start = Instant::now();
        records.iter().for_each(|record| image.apply(record).unwrap());
        start.elapsed().as_secs_f64()
    });
    println!(
        r#"{{"large plan": {:.3}, "large apply": {:.3}, "large memory": {bytes}, "large changes": {}}}"#,
        planned * 1e3,
        applied * 1e3,
        records.len(),
    );
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut found: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    found.sort_by(f64::total_cmp);
    found[ROUNDS / 2]
}

/// The bytes of this process that are in RAM.
fn resident() -> u64 {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
