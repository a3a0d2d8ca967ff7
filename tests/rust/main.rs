//! Whole behaviours, through the public face of the crate: one binary, one module a subject.
