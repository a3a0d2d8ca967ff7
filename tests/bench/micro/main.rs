//! Micro-benchmarks of the rooms that every record passes through: a regression in `make bench` has its address here.
//!
//! `make bench-micro` runs all of them, `make bench-micro ONLY=log` those whose path holds `log`. Each file measures one
//! room; the table names a benchmark by file and function, and gives its rate where bytes or records make one.

#![allow(clippy::unwrap_used)]

mod log;
mod metadata;
mod protocol;
mod record;
mod tables;
mod thirty;

fn main() {
    divan::main();
}

/// A batch of 1 MiB for what is fast, so that a clock's tick does not show.
const LARGE: usize = 1 << 20;
/// Kafka's default `batch.size`.
const SMALL: usize = 16 << 10;
