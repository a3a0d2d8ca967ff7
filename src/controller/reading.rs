//! Nobody reads the image within a read: in between somebody may want to write to it, for whom the inner read waits, and who
//! waits for the outer one. That is seldom seen, so a debug build looks at each read.

use std::cell::Cell;

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// A read of this thread, until it is dropped.
pub(super) struct Reading(());

impl Reading {
    /// Begins one; panics within another.
    pub(super) fn begin() -> Reading {
        assert!(
            !READS.replace(true),
            "the image is read within a read of it, which waits for itself when it is written"
        );
        Reading(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READS.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_after_the_other_is_well() {
        drop(Reading::begin());
        drop(Reading::begin());
    }

    #[test]
    #[should_panic(expected = "within a read")]
    fn a_read_within_a_read_is_not() {
        let _outer = Reading::begin();
        let _inner = Reading::begin();
    }
}
