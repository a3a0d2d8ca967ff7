//! The file system: the log's only way to a disk.
//!
//! [`FileSystem`] and [`File`] say what the log needs, one call a batch, so that what stands behind them may be the
//! machine ([`RealFs`]) or a disk that loses what was not synced, tears writes and fails on purpose
//! ([`memory::MemoryFs`]), or another one that is broken ([`faulty`]) or watched ([`watched`]). All calls block; who must not wait calls from a thread of its own.
//!
//! What a crash keeps, and so what callers may build on:
//!   * bytes of a file are safe once [`File::sync`] returned; until then any prefix of the writes may be there, the last
//!     one torn or zeroed;
//!   * names (a new file, a rename, a removal) are safe once [`FileSystem::sync_dir`] of their folder returned; until
//!     then they happen in their order, or the last ones not at all.
//!
//! It knows paths and bytes, and nothing of segments.

pub mod faulty;
pub mod handles;
mod map;
pub mod memory;
mod read_only;
mod real;
pub mod watched;

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::common::ids::Timestamp;

pub use read_only::ReadOnlyFs;
pub use real::RealFs;

/// How [`FileSystem::open`] opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read only; the file must be there.
    Read,
    /// To read and write; made, empty, where it is not there.
    Create,
    /// To read and write, emptied or made.
    Fresh,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name without its folder. Names that are not UTF-8 are nobody's here and left out.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

/// The room that there is where a folder lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// All of it.
    pub total: u64,
    /// What may still be written.
    pub usable: u64,
}

/// Files and folders. Paths are taken as they are.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// The names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// What is known of a file, `None` where there is none.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Makes a folder and those above it; well if it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file or a folder in one step, over a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file; who holds it open or mapped keeps it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder safe.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The room that there is where `dir` lies.
    fn volume(&self, dir: &Path) -> io::Result<Volume>;
    /// Takes a lock that lasts as long as the guard, and the process at most. `WouldBlock` where another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;
    /// Who has the lock at `path`, as far as it can be told; `None` where it is free. The file is neither made nor written,
    /// and the lock is not kept.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>>;
}

/// A file system that several rooms share.
pub type SharedFs = Arc<dyn FileSystem>;

/// Holds a lock until it is dropped.
pub trait FileLock: fmt::Debug + Send + Sync {
    /// Writes who holds it into the lock's file, for the one who is refused.
    fn set_holder(&self, text: &str) -> io::Result<()>;
    /// Makes safe whatever was written and named on the volume that the lock's file lies on: one call for thousands of
    /// files. Fails where any of it could not be written since the lock was taken.
    fn sync_volume(&self) -> io::Result<()>;
}

/// An open file. Positions are given with each call: a file has none of its own.
#[allow(clippy::len_without_is_empty)]
pub trait File: fmt::Debug + Send + Sync {
    /// Writes all of `parts`, one after the other, from `position` on. An error may leave any prefix of them written.
    fn write_at(&self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Reads into `buffer` from `position` on until it is full or the file ends; the number of bytes read.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or zero-fills to `len`. Never below what a reader of a map was given.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes and the length safe.
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `len` bytes to be read; `len` may be more than the file has now.
    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>>;
}

/// A mapped file. It outlives its file's handle and its name.
#[allow(clippy::len_without_is_empty)]
pub trait Map: fmt::Debug + Send + Sync {
    /// How many bytes are mapped, whether or not the file has them yet.
    fn len(&self) -> u64;
    /// The bytes of `start..start + len`, without a copy. The caller promises that they were written, and that the file
    /// will not shrink below them; a range outside of the map is an error.
    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes>;
    /// Lives as long as the map or a slice of it does; `None` where slices are copies.
    fn kept(&self) -> Option<Kept> {
        None
    }
}

/// Tells whether a map is still held by anyone, and holds it not.
pub type Kept = Weak<dyn Any + Send + Sync>;

/// The whole of a small file, `None` where there is none. More than `limit` bytes is an error.
pub fn read_file(fs: &dyn FileSystem, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let len = file.len()?;
    if len > limit as u64 {
        let text = format!("{} has {len} bytes: at most {limit} are expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// What the file of a lock says of its holder.
pub(super) fn holder_text(fs: &dyn FileSystem, path: &Path) -> String {
    let text = read_file(fs, path, 4096).ok().flatten().unwrap_or_default();
    match String::from_utf8_lossy(&text).trim() {
        "" => "(unknown)".to_owned(),
        holder => holder.to_owned(),
    }
}

/// Whether a small file is made safe before the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Bytes and name are synced.
    Synced,
    /// The file is whole or absent to whoever opens it, but a crash may lose it or leave it empty.
    Lazy,
}

/// Replaces a small file in one step: written beside it as `name.tmp`, renamed over it.
pub fn replace_file(fs: &dyn FileSystem, path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let beside = with_suffix(path, ".tmp");
    let file = fs.open(&beside, OpenMode::Fresh)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    if durability == Durability::Synced {
        file.sync()?;
    }
    drop(file);
    fs.rename(&beside, path)?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(dir)) => fs.sync_dir(dir),
        _ => Ok(()),
    }
}

/// The path with `suffix` behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes a file; well if there is none.
pub fn remove_if_there(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    match fs.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
