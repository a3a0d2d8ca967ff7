//! What the commands write to stdout: buffered, and at peace with a reader who goes.

use std::fmt;
use std::io::{self, BufWriter, Write};

use super::Failure;

/// How many bytes are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// Stdout, buffered. `write!` into it gives a [`Failure`], which for a reader who has gone is [`Failure::Unread`].
pub(super) struct Output {
    writer: BufWriter<Box<dyn Write>>,
}

impl Output {
    /// The process's stdout.
    pub(super) fn stdout() -> Output {
        Output { writer: BufWriter::with_capacity(BUFFER, Box::new(io::stdout().lock())) }
    }

    /// Some other writer, for tests.
    #[cfg(test)]
    pub(super) fn to(writer: impl Write + 'static) -> Output {
        Output { writer: BufWriter::with_capacity(BUFFER, Box::new(writer)) }
    }

    /// Writes bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(unread)
    }

    /// What `write!` calls.
    pub(super) fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.writer.write_fmt(text).map_err(unread)
    }

    /// Brings what is buffered to the reader.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(unread)
    }
}

/// `1 entry`, `2 entries`.
pub(super) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn unread(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Sentence(format!("writing to stdout: {error}")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A writer whose bytes can be looked at.
    #[derive(Debug, Clone, Default)]
    pub(in crate::cli) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        /// What was written since it was asked last.
        pub(in crate::cli) fn taken(&self) -> Vec<u8> {
            std::mem::take(&mut self.0.lock())
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_has_gone_is_no_error() {
        let mut output = Output::to(Closed(io::ErrorKind::BrokenPipe));
        writeln!(output, "a line").unwrap();
        assert!(matches!(output.flush(), Err(Failure::Unread)));
        let mut full = Output::to(Closed(io::ErrorKind::StorageFull));
        full.bytes(b"a line").unwrap();
        assert!(matches!(full.flush(), Err(Failure::Sentence(text)) if text.starts_with("writing to stdout")));
    }
}
