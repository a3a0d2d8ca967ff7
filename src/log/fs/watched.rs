//! A disk that is watched: whoever does is told of every write and every read that fails.
//!
//! What goes wrong with one file is answered where it is written; that the disk is broken concerns the whole broker, wherever it
//! was noticed: a partition's log, the metadata's, a checkpoint. So it is noticed here, in one place. What says
//! nothing of the disk is not told: a name that is not there, too many open files.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, File, FileLock, FileSystem, Kept, Map, OpenMode, SharedFs, Stat, Volume};

/// Told of what failed.
type Told = dyn Fn(&Path, &io::Error) + Send + Sync;

/// A file system whose failures are told.
pub struct WatchedFs {
    under: SharedFs,
    told: Arc<Told>,
}

impl WatchedFs {
    /// Tells `told` of each read and each write of `under` that fails.
    pub fn of(under: SharedFs, told: impl Fn(&Path, &io::Error) + Send + Sync + 'static) -> SharedFs {
        Arc::new(WatchedFs { under, told: Arc::new(told) })
    }

    fn watch<T>(&self, path: &Path, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| tell(&*self.told, path, error))
    }
}

impl fmt::Debug for WatchedFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFs").field(&self.under).finish()
    }
}

fn tell(told: &Told, path: &Path, error: &io::Error) {
    let broken = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::WriteZero
    );
    if broken || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
        told(path, error);
    }
}

impl FileSystem for WatchedFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let under = self.watch(path, self.under.open(path, mode))?;
        Ok(Arc::new(WatchedFile { under, path: path.into(), told: self.told.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.watch(dir, self.under.list(dir))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.watch(path, self.under.stat(path))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.watch(dir, self.under.create_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.watch(from, self.under.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.watch(path, self.under.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.watch(dir, self.under.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.watch(dir, self.under.sync_dir(dir))
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        self.under.volume(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let under = self.watch(path, self.under.lock(path))?;
        Ok(Box::new(WatchedLock { under, path: path.into(), told: self.told.clone() }))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        self.under.lock_holder(path)
    }
}

struct WatchedFile {
    under: Arc<dyn File>,
    path: Arc<Path>,
    told: Arc<Told>,
}

impl WatchedFile {
    #[inline]
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| tell(&*self.told, &self.path, error))
    }
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFile").field(&self.under).finish()
    }
}

impl File for WatchedFile {
    fn write_at(&self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.watch(self.under.write_at(position, parts))
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch(self.under.read_at(position, buffer))
    }

    fn len(&self) -> io::Result<u64> {
        self.watch(self.under.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch(self.under.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.watch(self.under.sync())
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        let under = self.watch(self.under.map(len))?;
        Ok(Arc::new(WatchedMap { under, path: self.path.clone(), told: self.told.clone() }))
    }
}

struct WatchedMap {
    under: Arc<dyn Map>,
    path: Arc<Path>,
    told: Arc<Told>,
}

impl fmt::Debug for WatchedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedMap").field(&self.under).finish()
    }
}

impl Map for WatchedMap {
    fn len(&self) -> u64 {
        self.under.len()
    }

    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes> {
        self.under.slice(start, len).inspect_err(|error| tell(&*self.told, &self.path, error))
    }

    fn kept(&self) -> Option<Kept> {
        self.under.kept()
    }
}

struct WatchedLock {
    under: Box<dyn FileLock>,
    path: Box<Path>,
    told: Arc<Told>,
}

impl fmt::Debug for WatchedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedLock").field(&self.under).finish()
    }
}

impl FileLock for WatchedLock {
    fn set_holder(&self, text: &str) -> io::Result<()> {
        self.under.set_holder(text)
    }

    fn sync_volume(&self) -> io::Result<()> {
        self.under.sync_volume().inspect_err(|error| tell(&*self.told, &self.path, error))
    }
}
