//! The Python bindings: the extension module `strandline._strandline`.
//!
//! They convert, release the GIL and call; they hold no logic that a Rust user would miss. One file here binds one idea
//! (the producer, the consumer, the cluster ...), and everything Python sees is listed once, in the module below.
//! `python/strandline/_strandline.pyi` says the same in types, and a test holds the two together.
//!
//! | file | what is in it |
//! |---|---|
//! | `runtime` | the runtime behind all of it: waiting, Ctrl-C, fork, the interpreter's exit |
//! | `errors` | errors as exceptions |
//! | `convert` | bytes, configs, times |
//! | `source` | what the clients of one cluster share |
//! | `cluster`, `client`, `clock`, `producer`, `consumer`, `admin`, `topic` | the classes of these names |
//! | `broker`, `disk`, `request_fault` | the brokers of a cluster, the network between them, their disks, and what they refuse: to be hurt |
//! | `data_dir` | the data dir of a broker that has stopped: what `open_log` gives |
//! | `scan` | a topic as a table: what `strandline/scan.py` stands on |
//! | `stream` | a topic that is followed: what `strandline/stream.py` stands on |
//! | `travel` | a scan on its way to another process |
//! | `table` | a table as records: `Producer.send_table` |
//! | `delivery`, `async_delivery`, `message` | what a producer returns, what a consumer hands out |
//! | `awaitable`, `coroutine` | how an event loop awaits what runs on the runtime |
//! | `call` | a method said once, for the class whose methods wait and the one whose are awaited |
//! | `types` | the named tuples of `strandline/types.py` |

mod admin;
mod async_delivery;
mod awaitable;
mod broker;
mod call;
mod client;
mod clock;
mod cluster;
mod consumer;
mod convert;
mod coroutine;
mod data_dir;
mod delivery;
mod disk;
mod errors;
mod message;
mod producer;
mod request_fault;
mod runtime;
mod scan;
mod source;
mod stream;
mod table;
mod topic;
mod travel;
mod types;

use std::ffi::OsString;
use std::io::Write;

use pyo3::prelude::*;

/// What `import strandline._strandline` gives.
#[pymodule]
mod _strandline {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::admin::{Admin, AsyncAdmin};
    #[pymodule_export]
    use super::async_delivery::AsyncDelivery;
    #[pymodule_export]
    use super::broker::{Broker, Network};
    #[pymodule_export]
    use super::client::{Client, connect};
    #[pymodule_export]
    use super::clock::Clock;
    #[pymodule_export]
    use super::cluster::Cluster;
    #[pymodule_export]
    use super::consumer::{AsyncConsumer, Consumer};
    #[pymodule_export]
    use super::data_dir::{DataDir, DataDirTopic, open_log};
    #[pymodule_export]
    use super::delivery::{Delivery, RecordMetadata};
    #[pymodule_export]
    use super::disk::Disk;
    #[pymodule_export]
    use super::errors::_error_table;
    #[pymodule_export]
    use super::main;
    #[pymodule_export]
    use super::message::Message;
    #[pymodule_export]
    use super::producer::{AsyncProducer, Producer};
    #[pymodule_export]
    use super::request_fault::RequestFault;
    #[pymodule_export]
    use super::runtime::{_after_fork, _at_exit};
    #[pymodule_export]
    use super::scan::{NativeBatch, NativeBatches, NativeScan};
    #[pymodule_export]
    use super::stream::NativeStream;
    #[pymodule_export]
    use super::topic::Topic;

    #[pymodule_init]
    fn start(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::runtime::install(module.py(), module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Runs the command line `argv` (program name first) with the GIL released, and returns its exit code.
#[pyfunction]
pub fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    py.detach(|| {
        let code = crate::cli::run(argv);
        // Rust's own exit is not run in an interpreter, so what stands in the buffer would be lost. A closed pipe is
        // the reader's choice.
        let _ = std::io::stdout().flush();
        code
    })
}
