//! The Python bindings: the extension module `strandline._strandline`.
//!
//! They convert, release the GIL and call; they hold no logic that a Rust user would miss. One file here binds one idea
//! (the producer, the consumer, the cluster ...), and everything Python sees is listed once, in the module below.
//! `python/strandline/_strandline.pyi` says the same in types, and a test holds the two together.

use std::ffi::OsString;
use std::io::Write;

use pyo3::prelude::*;

/// What `import strandline._strandline` gives.
#[pymodule]
mod _strandline {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::main;

    #[pymodule_init]
    fn constants(module: &Bound<'_, PyModule>) -> PyResult<()> {
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
