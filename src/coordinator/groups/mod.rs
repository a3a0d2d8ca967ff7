//! Groups: [`classic`] ones (KIP-848's consumer groups and KIP-932's share groups will stand beside them), the
//! [`offsets`] that all kinds commit, and what an [`admin`]istrator asks.

pub mod admin;
pub mod classic;
pub mod offsets;
