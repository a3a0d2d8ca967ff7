//! Whole behaviours, through the public face of the crate: one binary, one module a subject.
#![allow(clippy::unwrap_used)]

mod alone;
mod broker;
mod cleaner;
mod cli;
mod cluster;
mod configs;
mod features;
mod floors;
mod fuzz_corpus;
mod hostile_frames;
mod leaks;
mod limits;
mod listeners;
mod nodes;
mod protocol_second_opinion;
mod quorum;
mod readme;
mod reassign;
mod slow_readers;
mod sources;
mod storage_failures;
mod throttle;
mod wire;
