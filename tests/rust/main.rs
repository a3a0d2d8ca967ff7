//! Whole behaviours, through the public face of the crate: one binary, one module a subject.
#![allow(clippy::unwrap_used)]

mod broker;
mod cli;
mod floors;
mod fuzz_corpus;
mod protocol_second_opinion;
mod readme;
mod sources;
