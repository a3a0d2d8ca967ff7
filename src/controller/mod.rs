//! The cluster image made durable.
