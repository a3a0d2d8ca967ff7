//! Open files and maps, kept within a bound.
//!
//! A broker has more segments than a process may have open files. So a segment holds a [`Handle`]: a path that opens its
//! file, and maps it, when it is used, and may be closed behind its back when too many are open. Closing loses nothing:
//! slices of a map keep it alive, written bytes are the kernel's, and the next use opens again. No lock is shared on
//! the way of a use that finds its file open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{File, Kept, Map, OpenMode, SharedFs};

/// How many files a pool keeps open where nothing else is said: a notebook may be allowed 1,024 in all.
pub const DEFAULT_LIMIT: usize = 512;

/// The files that are open, least recently used first to go. Clones share the bound.
#[derive(Debug, Clone)]
pub struct Handles {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    fs: SharedFs,
    limit: usize,
    open: AtomicUsize,
    tick: AtomicU64,
    known: Mutex<Vec<Weak<Handle>>>,
    removed: Mutex<Vec<Removed>>,
}

/// A file that was unlinked while slices of its maps were held.
#[derive(Debug)]
struct Removed {
    maps: Vec<Kept>,
    len: u64,
}

impl Removed {
    fn is_held(&self) -> bool {
        self.maps.iter().any(|map| map.strong_count() > 0)
    }
}

impl Handles {
    /// A pool over `fs` that keeps about `limit` files open.
    pub fn new(fs: SharedFs, limit: usize) -> Handles {
        let known = Mutex::new(Vec::new());
        let removed = Mutex::new(Vec::new());
        let (open, tick) = (AtomicUsize::new(0), AtomicU64::new(0));
        Handles { pool: Arc::new(Pool { fs, limit, open, tick, known, removed }) }
    }

    /// The file system behind the files.
    pub fn fs(&self) -> &SharedFs {
        &self.pool.fs
    }

    /// How many files are open.
    pub fn open_count(&self) -> usize {
        self.pool.open.load(Ordering::Relaxed)
    }

    /// How many bytes the files have that were unlinked (see [`Handle::close_removed`]) and are still held, because
    /// someone keeps a slice of them: the disk has them back when the last slice is dropped.
    pub fn held_bytes(&self) -> u64 {
        let mut removed = self.pool.removed.lock();
        removed.retain(Removed::is_held);
        removed.iter().map(|file| file.len).sum()
    }

    /// A handle on the file at `path`, which is not touched yet.
    pub fn handle(&self, path: PathBuf) -> Arc<Handle> {
        let state = Mutex::new(State { path, open: None, maps: Vec::new() });
        Arc::new(Handle { pool: Arc::clone(&self.pool), used: AtomicU64::new(0), state })
    }
}

impl Pool {
    /// Notes that `handle` is open, and closes the least recently used quarter if there are too many.
    fn opened(&self, handle: &Arc<Handle>) {
        let mut known = self.known.lock();
        known.push(Arc::downgrade(handle));
        if self.open.fetch_add(1, Ordering::Relaxed) < self.limit {
            // Handles that are gone pile up only as fast as files are opened.
            if known.len() > 2 * self.limit {
                known.retain(|handle| handle.strong_count() > 0);
            }
            return;
        }
        let mut alive: Vec<Arc<Handle>> = known.drain(..).filter_map(|handle| handle.upgrade()).collect();
        alive.sort_unstable_by_key(|handle| handle.used.load(Ordering::Relaxed));
        let mut excess = (alive.len() + self.limit / 4).saturating_sub(self.limit).max(1);
        for other in alive {
            // One that is in use just now, the new one among them, stays.
            let closed = excess > 0 && other.state.try_lock().is_some_and(|mut state| other.close_locked(&mut state));
            if closed {
                excess -= 1;
            } else {
                known.push(Arc::downgrade(&other));
            }
        }
    }
}

/// A file that is opened and mapped when it is used.
#[derive(Debug)]
pub struct Handle {
    pool: Arc<Pool>,
    used: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    open: Option<Open>,
    /// Maps that were made of the file, for as long as they or slices of them are there.
    maps: Vec<Kept>,
}

#[derive(Debug)]
struct Open {
    file: Arc<dyn File>,
    writable: bool,
    map: Option<Arc<dyn Map>>,
}

impl Handle {
    /// The file, open to be written; made, empty, where it is not there.
    pub fn file(self: &Arc<Self>) -> io::Result<Arc<dyn File>> {
        self.with_open(true, |open, _| Ok(Arc::clone(&open.file)))
    }

    /// The file, open to be read at least; it must be there.
    pub fn reader(self: &Arc<Self>) -> io::Result<Arc<dyn File>> {
        self.with_open(false, |open, _| Ok(Arc::clone(&open.file)))
    }

    /// A map of at least the first `len` bytes, which the file must have; `whole` is how large it may grow, and so how
    /// much is mapped.
    pub fn map(self: &Arc<Self>, len: u64, whole: u64) -> io::Result<Arc<dyn Map>> {
        self.with_open(false, |open, maps| match &open.map {
            Some(map) if map.len() >= len => Ok(Arc::clone(map)),
            _ => {
                // The name may have come to mean another file since it was opened last: a truncation replaces it.
                if open.file.len()? < len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let map = open.file.map(whole.max(len))?;
                open.map = Some(Arc::clone(&map));
                maps.retain(|map| map.strong_count() > 0);
                maps.extend(map.kept());
                Ok(map)
            }
        })
    }

    fn with_open<T>(
        self: &Arc<Self>,
        write: bool,
        f: impl FnOnce(&mut Open, &mut Vec<Kept>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.used.store(self.pool.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut state = self.state.lock();
        let State { path, open, maps } = &mut *state;
        if let Some(open) = open
            && (open.writable || !write)
        {
            return f(open, maps);
        }
        // Only a writer makes a file: a reader that comes late must not bring a removed one back, nor need a disk that
        // can be written.
        let mode = if write { OpenMode::Create } else { OpenMode::Read };
        let file = self.pool.fs.open(path, mode)?;
        if let Some(open) = open {
            (open.file, open.writable) = (file, true);
            return f(open, maps);
        }
        let result = f(open.insert(Open { file, writable: write, map: None }), maps);
        // Still locked: whoever closes in `opened` passes this one by.
        self.pool.opened(self);
        result
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.state.lock().path.clone()
    }

    /// Renames the file; who reads it goes on.
    pub fn rename(&self, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.pool.fs.rename(&state.path, to)?;
        state.path = to.to_owned();
        Ok(())
    }

    /// Takes note that the file's folder was renamed.
    pub fn moved(&self, to: PathBuf) {
        self.state.lock().path = to;
    }

    /// Closes the file and lets go of the map; slices of it stay.
    pub fn close(&self) {
        let mut state = self.state.lock();
        self.close_locked(&mut state);
    }

    /// As [`Handle::close`], of a file of `len` bytes that is being unlinked: what is still held of it is counted.
    pub fn close_removed(&self, len: u64) {
        let mut state = self.state.lock();
        self.close_locked(&mut state);
        let removed = Removed { maps: std::mem::take(&mut state.maps), len };
        if removed.is_held() {
            let mut all = self.pool.removed.lock();
            all.retain(Removed::is_held);
            all.push(removed);
        }
    }

    fn close_locked(&self, state: &mut State) -> bool {
        let was_open = state.open.take().is_some();
        if was_open {
            self.pool.open.fetch_sub(1, Ordering::Relaxed);
        }
        was_open
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.state.get_mut().open.take().is_some() {
            self.pool.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::log::fs::RealFs;

    #[test]
    fn no_more_files_than_the_limit_stay_open_and_closed_ones_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let pool = Handles::new(RealFs::shared(), 8);
        let all: Vec<_> = (0..40).map(|n| pool.handle(dir.path().join(n.to_string()))).collect();
        let mut slices = Vec::new();
        for handle in &all {
            handle.file().unwrap().write_at(0, &mut [IoSlice::new(b"kept")]).unwrap();
            slices.push(handle.map(4, 100).unwrap().slice(0, 4).unwrap());
            assert!(pool.open_count() <= 8);
        }
        for (handle, slice) in all.iter().zip(&slices) {
            let mut bytes = [0; 4];
            handle.file().unwrap().read_at(0, &mut bytes).unwrap();
            assert_eq!((&bytes, &slice[..]), (b"kept", &b"kept"[..]));
        }
        drop(all);
        assert_eq!(pool.open_count(), 0);
    }

    #[test]
    fn bytes_of_an_unlinked_file_are_counted_for_as_long_as_a_slice_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let pool = Handles::new(RealFs::shared(), 8);
        let remove = |handle: &Handle| {
            handle.close_removed(100);
            pool.fs().remove_file(&handle.path()).unwrap();
        };
        let [held, twice, free] = ["held", "twice", "free"].map(|name| pool.handle(dir.path().join(name)));
        for handle in [&held, &twice, &free] {
            handle.file().unwrap().write_at(0, &mut [IoSlice::new(b"kept")]).unwrap();
        }
        let slice = |handle: &Arc<Handle>| handle.map(4, 100).unwrap().slice(0, 4).unwrap();
        let (one, two) = (slice(&held), slice(&twice));
        // Closed and mapped anew, as when too many files are open.
        twice.close();
        let three = slice(&twice);
        drop(slice(&free));
        assert_eq!(pool.held_bytes(), 0);
        [held, twice, free].iter().for_each(|handle| remove(handle));
        assert_eq!(pool.held_bytes(), 200);
        drop(three);
        assert_eq!(pool.held_bytes(), 200);
        drop((one, two));
        assert_eq!(pool.held_bytes(), 0);
    }
}
