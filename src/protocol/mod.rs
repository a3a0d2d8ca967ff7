//! The wire: primitive types, messages, the API table, error codes.
