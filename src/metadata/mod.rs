//! The cluster image and the records that change it.
