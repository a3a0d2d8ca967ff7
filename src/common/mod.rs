//! The ground floor: what every room may use and none may argue with.
//!
//! Ids and plain aliases ([`ids`]), page-aligned buffers ([`buffer`]), the [`clock`], the [`transport`] and the [`shutdown`] signal: two of the three
//! doors to the outside are traits that live here, so that a simulator or a test can stand behind them. Nothing here
//! knows what a broker, a log or a message is.

pub mod buffer;
pub mod clock;
pub mod ids;
pub mod shutdown;
pub mod transport;
