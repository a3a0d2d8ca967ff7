//! Groups: pure state machines over their internal topic.
