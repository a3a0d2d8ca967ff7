//! The machine's own files.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Flock, FlockType};

use super::map::FileMap;
use super::{Entry, File, FileLock, FileSystem, Map, OpenMode, SharedFs, Stat, Volume, holder_text};

/// Most parts that one vectored write takes (Linux's `IOV_MAX`).
const MOST_PARTS: usize = 1024;

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealFs;

impl RealFs {
    /// The machine's file system, to be shared.
    pub fn shared() -> SharedFs {
        Arc::new(RealFs)
    }
}

impl FileSystem for RealFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Create => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::Fresh => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        Ok(entries)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(data) => {
                let modified = data.mtime().saturating_mul(1000).saturating_add(data.mtime_nsec() / 1_000_000);
                Ok(Some(Stat { len: data.len(), modified }))
            }
        }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        let volume = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
        Ok(Volume { total: bytes(volume.f_blocks), usable: bytes(volume.f_bavail) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // A JVM takes the kind of lock that belongs to a process, and the kernel tells which. Asking takes none.
        if let Some(lock) = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))? {
            return Ok(Some(lock.pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())));
        }
        // Ours can only be tried: a shared one, which goes with the file at once.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(Errno::WOULDBLOCK) => Ok(Some(holder_text(self, path))),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct RealLock(fs::File);

impl FileLock for RealLock {
    fn set_holder(&self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(text.as_bytes(), 0)
    }

    fn sync_volume(&self) -> io::Result<()> {
        // The kernel tells through a file what went wrong since it was opened: this one is open as long as the broker runs.
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_at(&self, mut position: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !parts.is_empty() {
            let most = parts.len().min(MOST_PARTS);
            match rustix::io::pwritev(&self.0, &parts[..most], position) {
                Ok(0) if parts.iter().all(|part| part.is_empty()) => break,
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], position + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        Ok(Arc::new(FileMap::new(&self.0, len)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fs::{Durability, read_file, replace_file};

    #[test]
    fn a_map_sees_what_is_written_after_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.open(&dir.path().join("a"), OpenMode::Create).unwrap();
        let map = file.map(1 << 30).unwrap();
        file.write_at(0, &mut [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")]).unwrap();
        let slice = map.slice(1, 4).unwrap();
        drop(map);
        RealFs.remove_file(&dir.path().join("a")).unwrap();
        assert_eq!(&slice[..], b"netw");
        assert!(file.map(10).unwrap().slice(5, 6).is_err());
    }

    #[test]
    fn more_parts_than_one_call_takes_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.open(&dir.path().join("a"), OpenMode::Create).unwrap();
        let mut parts: Vec<_> = (0..5000).map(|_| IoSlice::new(b"ab")).collect();
        file.write_at(3, &mut parts).unwrap();
        assert_eq!(file.len().unwrap(), 10_003);
        let mut bytes = [0; 8];
        assert_eq!(file.read_at(9_999, &mut bytes).unwrap(), 4);
        assert_eq!(&bytes[..4], b"abab");
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let first = RealFs.lock(&path).unwrap();
        first.set_holder("7").unwrap();
        assert_eq!(RealFs.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(read_file(&RealFs, &path, 100).unwrap().unwrap(), b"7");
        drop(first);
        RealFs.lock(&path).unwrap();
    }

    #[test]
    fn who_holds_a_lock_is_told_without_taking_it_or_making_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        assert_eq!(RealFs.lock_holder(&path).unwrap(), None);
        assert!(!path.exists());
        let lock = RealFs.lock(&path).unwrap();
        lock.set_holder("7").unwrap();
        assert_eq!(RealFs.lock_holder(&path).unwrap().as_deref(), Some("7"));
        drop(lock);
        assert_eq!(RealFs.lock_holder(&path).unwrap(), None);
        RealFs.lock(&path).unwrap();
    }

    #[test]
    fn a_volume_tells_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let volume = RealFs.volume(dir.path()).unwrap();
        assert!(volume.total > 0 && volume.usable <= volume.total, "{volume:?}");
        assert!(RealFs.volume(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        assert_eq!(read_file(&RealFs, &path, 10).unwrap(), None);
        replace_file(&RealFs, &path, b"old and long", Durability::Synced).unwrap();
        replace_file(&RealFs, &path, b"new", Durability::Lazy).unwrap();
        assert_eq!(read_file(&RealFs, &path, 10).unwrap().unwrap(), b"new");
        assert_eq!(RealFs.list(dir.path()).unwrap().len(), 1);
        assert!(read_file(&RealFs, &path, 2).unwrap_err().to_string().contains("3 bytes"));
    }
}
