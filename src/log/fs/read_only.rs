//! Another file system that can be read and nothing else: whoever has only this cannot change a byte.
//!
//! Batches are mapped. Every other file is copied when it is mapped, for only of batches is it known that no broker cuts
//! off what was good once: Apache Kafka's indexes shrink when it closes them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, File, FileLock, FileSystem, Map, OpenMode, SharedFs, Stat, Volume};

/// See the module.
#[derive(Debug, Clone)]
pub struct ReadOnlyFs(SharedFs);

impl ReadOnlyFs {
    /// The files of `fs`, to be read.
    pub fn over(fs: SharedFs) -> SharedFs {
        Arc::new(ReadOnlyFs(fs))
    }
}

fn refused<T>(what: &str, path: &Path) -> io::Result<T> {
    let text = format!("{what} {} is refused: it is only read here", path.display());
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, text))
}

impl FileSystem for ReadOnlyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode != OpenMode::Read {
            return refused("writing to", path);
        }
        let name = path.as_os_str().as_encoded_bytes();
        let mapped = name.ends_with(b".log") || name.ends_with(b".log.swap");
        Ok(Arc::new(ReadOnlyFile { file: self.0.open(path, mode)?, path: path.to_owned(), mapped }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.0.stat(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        refused("making", dir)
    }

    fn rename(&self, from: &Path, _: &Path) -> io::Result<()> {
        refused("renaming", from)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        refused("removing", path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        refused("removing", dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        refused("syncing", dir)
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        self.0.volume(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        refused("locking", path)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        self.0.lock_holder(path)
    }
}

#[derive(Debug)]
struct ReadOnlyFile {
    file: Arc<dyn File>,
    path: PathBuf,
    mapped: bool,
}

impl File for ReadOnlyFile {
    fn write_at(&self, _: u64, _: &mut [io::IoSlice<'_>]) -> io::Result<()> {
        refused("writing to", &self.path)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused("cutting", &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        refused("syncing", &self.path)
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        if self.mapped {
            return self.file.map(len);
        }
        let len = usize::try_from(len.min(self.file.len()?)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; len];
        let read = self.file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Arc::new(Copied(bytes.into())))
    }
}

/// What a file held when it was asked for.
#[derive(Debug)]
struct Copied(Bytes);

impl Map for Copied {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        match start.checked_add(len).filter(|end| *end <= self.0.len()) {
            Some(end) => Ok(self.0.slice(start..end)),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a slice past the end of a file")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fs::RealFs;

    #[test]
    fn what_is_there_is_read_and_nothing_else_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let (log, index) = (dir.path().join("0.log"), dir.path().join("0.index"));
        for path in [&log, &index] {
            RealFs.open(path, OpenMode::Create).unwrap().write_at(0, &mut [io::IoSlice::new(b"batches")]).unwrap();
        }
        let fs = ReadOnlyFs::over(RealFs::shared());
        let kept = [&log, &index].map(|path| {
            let file = fs.open(path, OpenMode::Read).unwrap();
            assert!(file.write_at(0, &mut []).is_err() && file.set_len(0).is_err() && file.sync().is_err());
            file.map(7).unwrap().slice(2, 3).unwrap()
        });
        assert_eq!(kept, [&b"tch"[..]; 2]);
        // Whoever shrinks an index hurts nobody who read it.
        RealFs.open(&index, OpenMode::Create).unwrap().set_len(0).unwrap();
        assert_eq!(&kept[1][..], b"tch");
        let refused = [
            fs.open(&log, OpenMode::Create).map(|_| ()),
            fs.open(&dir.path().join("new"), OpenMode::Fresh).map(|_| ()),
            fs.create_dir_all(&dir.path().join("new")),
            fs.rename(&log, &index),
            fs.remove_file(&log),
            fs.remove_dir_all(dir.path()),
            fs.sync_dir(dir.path()),
            fs.lock(&dir.path().join(".lock")).map(|_| ()),
        ];
        for result in refused {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(fs.list(dir.path()).unwrap().len(), 2);
    }
}
