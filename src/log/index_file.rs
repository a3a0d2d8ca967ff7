//! The bytes of an index: in memory while its segment grows, mapped when it is closed and asked for.
//!
//! Entries are appended in memory and reach the file when it is flushed: an append to the log costs the index no call to
//! the disk. The file grows by its tail or is replaced by a new one; it never shrinks, for a reader may have it mapped.
//! What an entry means is not known here.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::fs::handles::{Handle, Handles};
use super::fs::{Durability, remove_if_there, replace_file};

/// An index's file and its entries.
#[derive(Debug)]
pub(crate) struct IndexFile {
    handles: Handles,
    file: Arc<Handle>,
    state: RwLock<State>,
    /// Whether the file holds what was never synced.
    unsynced: AtomicBool,
}

#[derive(Debug)]
enum State {
    /// Nobody asked yet.
    Unread,
    /// As the file has it.
    Closed(Bytes),
    /// Grows: the first `written` bytes are in the file, or none of the file holds.
    Open { entries: Vec<u8>, written: Option<usize> },
}

impl IndexFile {
    /// The index in the file of `handle`, to be read when it is used.
    pub(crate) fn closed(handles: &Handles, file: Arc<Handle>) -> IndexFile {
        IndexFile {
            handles: handles.clone(),
            file,
            state: RwLock::new(State::Unread),
            unsynced: AtomicBool::new(false),
        }
    }

    /// An index without entries, whatever its file holds.
    pub(crate) fn fresh(handles: &Handles, file: Arc<Handle>) -> IndexFile {
        let state = RwLock::new(State::Open { entries: Vec::new(), written: None });
        IndexFile { handles: handles.clone(), file, state, unsynced: AtomicBool::new(false) }
    }

    /// The file behind it.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.file
    }

    /// Runs `f` over the entries. `check` says whether a file that is read for the first time may be trusted; where it
    /// is missing or may not, `rebuild` gives its entries.
    pub(crate) fn with<T>(
        &self,
        check: impl FnOnce(&[u8]) -> bool,
        rebuild: impl FnOnce() -> io::Result<Vec<u8>>,
        f: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        match &*self.state.read() {
            State::Closed(bytes) => return Ok(f(bytes)),
            State::Open { entries, .. } => return Ok(f(entries)),
            State::Unread => {}
        }
        let mut state = self.state.write();
        if let State::Unread = &*state {
            let loaded = self.load()?.filter(|bytes| check(bytes));
            *state = match loaded {
                Some(bytes) => State::Closed(bytes),
                None => State::Open { entries: rebuild()?, written: None },
            };
        }
        Ok(match &*state {
            State::Closed(bytes) => f(bytes),
            State::Open { entries, .. } => f(entries),
            State::Unread => f(&[]),
        })
    }

    fn load(&self) -> io::Result<Option<Bytes>> {
        let len = match self.file.reader() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?.len()?,
        };
        match len {
            0 => Ok(Some(Bytes::new())),
            _ => Ok(Some(self.file.map(len, len)?.slice(0, len as usize)?)),
        }
    }

    /// Adds an entry. The index must have been used by [`IndexFile::with`], or made fresh.
    pub(crate) fn push(&self, entry: &[u8]) {
        let mut state = self.state.write();
        match &mut *state {
            State::Open { entries, .. } => entries.extend_from_slice(entry),
            State::Closed(bytes) => {
                let mut entries = bytes.to_vec();
                let written = Some(entries.len());
                entries.extend_from_slice(entry);
                *state = State::Open { entries, written };
            }
            State::Unread => debug_assert!(false, "an entry for an index that nobody read"),
        }
    }

    /// Gives it other entries, whatever it had.
    pub(crate) fn set(&self, entries: Vec<u8>) {
        *self.state.write() = State::Open { entries, written: None };
    }

    /// How many bytes its entries take, 0 while they are unread.
    pub(crate) fn len(&self) -> usize {
        match &*self.state.read() {
            State::Open { entries, .. } => entries.len(),
            State::Closed(bytes) => bytes.len(),
            State::Unread => 0,
        }
    }

    /// Brings the file up to the entries, and makes it safe if `durability` says so.
    pub(crate) fn flush(&self, durability: Durability) -> io::Result<()> {
        let mut state = self.state.write();
        if let State::Open { entries, written } = &mut *state
            && *written != Some(entries.len())
        {
            self.unsynced.store(true, Ordering::Release);
            match written {
                Some(written) => {
                    let file = self.file.file()?;
                    file.write_at(*written as u64, &mut [IoSlice::new(&entries[*written..])])?;
                }
                None => {
                    self.file.close();
                    replace_file(self.handles.fs().as_ref(), &self.file.path(), entries, Durability::Lazy)?;
                }
            }
            *written = Some(entries.len());
        }
        if durability == Durability::Synced && self.unsynced.load(Ordering::Acquire) {
            self.file.file()?.sync()?;
            self.unsynced.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Lets go of entries that the file has: they are mapped when somebody asks.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        if !matches!(&*state, State::Open { entries, written } if *written != Some(entries.len())) {
            *state = State::Unread;
            self.file.close();
        }
    }

    /// Lets go of entries that the file has not: it will not get them.
    pub(crate) fn retire(&self) {
        let mut state = self.state.write();
        if let State::Open { entries, written } = &mut *state {
            *written = Some(entries.len());
        }
        self.unsynced.store(false, Ordering::Release);
    }

    /// Removes the file.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.file.close();
        remove_if_there(self.handles.fs().as_ref(), &self.file.path())
    }
}
