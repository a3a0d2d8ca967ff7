//! One partition on disk.
