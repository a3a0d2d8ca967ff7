//! Each broker, topic and client key, said once.
