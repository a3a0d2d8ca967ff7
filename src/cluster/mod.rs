//! The brokers of one process.
