//! A disk that fails on purpose: another file system, and what goes wrong with it.
//!
//! [`Faults`] says what; it is shared with whoever breaks the disk and heals it. While nothing is broken each call costs one
//! relaxed load.
//!
//! | | writes fail | reads fail | it is full |
//! |---|---|---|---|
//! | error | EIO | EIO | ENOSPC |
//! | writes to files | fail; of one that fails the first half is there | go on | as where writes fail |
//! | new files and folders | fail | go on | fail |
//! | syncs, renames, removals | fail | go on | go on |
//! | cutting a file | fails | goes on | goes on |
//! | opening to read, reads, slices of a map | go on | fail | go on |
//! | names, lengths, maps, and slices that were taken before | go on | go on | go on |
//!
//! A real disk that cannot read what is mapped ends whoever touches it, by SIGBUS: that is left to a process's own end. Here it is
//! the taking of a slice that fails, with the error that a read would have.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Entry, File, FileLock, FileSystem, Kept, Map, OpenMode, SharedFs, Stat, Volume};

/// In which way a disk is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breakage {
    /// What writes fails.
    Writes,
    /// What reads fails.
    Reads,
    /// Both do.
    All,
    /// It is full: what takes room fails.
    Full,
}

impl Breakage {
    fn concerns(self, act: Act) -> bool {
        match self {
            Breakage::Writes => act != Act::Reads,
            Breakage::Reads => act == Act::Reads,
            Breakage::All => true,
            Breakage::Full => act == Act::Grows,
        }
    }
}

/// What goes wrong with a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFault {
    /// In which way.
    pub breakage: Breakage,
    /// Which files: a pattern for their names, of which `*` stands for anything and `?` for one character. It is held against
    /// the end of a path from any of its folders on: `*.log`, `flights-0/*`. `None` stands for all.
    pub names: Option<String>,
    /// How many calls fail before all is well again; `None` for all of them.
    pub times: Option<u64>,
}

impl DiskFault {
    fn is_for(&self, path: &Path) -> bool {
        let Some(names) = &self.names else { return true };
        let path = path.to_string_lossy();
        let starts = path.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).any(|start| matches(names.as_bytes(), &path.as_bytes()[start..]))
    }

    fn error(&self) -> io::Error {
        match self.breakage {
            Breakage::Full => rustix::io::Errno::NOSPC.into(),
            Breakage::Writes | Breakage::Reads | Breakage::All => rustix::io::Errno::IO.into(),
        }
    }
}

/// Whether all of `name` is what `pattern` says.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        (Some((b'?', rest)), Some((_, behind))) => matches(rest, behind),
        (Some((wanted, rest)), Some((found, behind))) => wanted == found && matches(rest, behind),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// What is wrong with a disk now. Clones are of the same disk.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use strandline::log::fs::faulty::{Breakage, DiskFault, Faults};
/// use strandline::log::fs::{FileSystem, OpenMode, memory::MemoryFs};
/// let faults = Faults::default();
/// let disk = faults.of(Arc::new(MemoryFs::new()));
/// faults.set(vec![DiskFault { breakage: Breakage::Full, names: Some("*.log".to_owned()), times: Some(1) }]);
/// assert!(disk.open(Path::new("/a/b.log"), OpenMode::Create).is_err());
/// assert!(disk.open(Path::new("/a/b.log"), OpenMode::Create).is_ok());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    any: AtomicBool,
    faults: Mutex<Vec<DiskFault>>,
}

/// What a call does to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// It takes room.
    Grows,
    /// It changes something, and takes none.
    Keeps,
    /// It changes nothing.
    Reads,
}

impl Faults {
    /// A disk on which these go wrong.
    pub fn of(&self, under: SharedFs) -> SharedFs {
        Arc::new(FaultyFs { under, faults: self.clone() })
    }

    /// From now on this goes wrong, and nothing else does.
    pub fn set(&self, faults: Vec<DiskFault>) {
        let mut now = self.0.faults.lock();
        self.0.any.store(!faults.is_empty(), Ordering::Relaxed);
        *now = faults;
    }

    /// From now on this goes wrong besides.
    pub fn add(&self, fault: DiskFault) {
        let mut now = self.0.faults.lock();
        self.0.any.store(true, Ordering::Relaxed);
        now.push(fault);
    }

    #[inline]
    fn check(&self, path: &Path, act: Act) -> io::Result<()> {
        if self.0.any.load(Ordering::Relaxed) { self.fail(path, act) } else { Ok(()) }
    }

    #[cold]
    fn fail(&self, path: &Path, act: Act) -> io::Result<()> {
        let mut faults = self.0.faults.lock();
        let found = faults.iter().position(|fault| fault.breakage.concerns(act) && fault.is_for(path));
        let Some(place) = found else { return Ok(()) };
        let error = faults[place].error();
        if let Some(times) = &mut faults[place].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                faults.remove(place);
                self.0.any.store(!faults.is_empty(), Ordering::Relaxed);
            }
        }
        Err(error)
    }
}

#[derive(Debug)]
struct FaultyFs {
    under: SharedFs,
    faults: Faults,
}

impl FileSystem for FaultyFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        match mode {
            OpenMode::Read => self.faults.check(path, Act::Reads)?,
            // Opening a file that is there takes no room.
            OpenMode::Create if self.faults.0.any.load(Ordering::Relaxed) && self.under.stat(path)?.is_some() => {
                self.faults.check(path, Act::Keeps)?;
            }
            OpenMode::Create | OpenMode::Fresh => self.faults.check(path, Act::Grows)?,
        }
        let under = self.under.open(path, mode)?;
        Ok(Arc::new(FaultyFile { under, path: path.into(), faults: self.faults.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.under.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.under.stat(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(dir, Act::Grows)?;
        self.under.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(from, Act::Keeps)?;
        self.under.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.check(path, Act::Keeps)?;
        self.under.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(dir, Act::Keeps)?;
        self.under.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check(dir, Act::Keeps)?;
        self.under.sync_dir(dir)
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        self.under.volume(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let under = self.under.lock(path)?;
        Ok(Box::new(FaultyLock { under, path: path.into(), faults: self.faults.clone() }))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        self.under.lock_holder(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    under: Arc<dyn File>,
    path: Arc<Path>,
    faults: Faults,
}

impl FaultyFile {
    /// Writes the first half.
    fn tear(&self, position: u64, parts: &[IoSlice<'_>]) {
        let mut left = parts.iter().map(|part| part.len()).sum::<usize>() / 2;
        let mut torn = Vec::new();
        for part in parts {
            let taken = part.len().min(left);
            torn.push(IoSlice::new(&part[..taken]));
            left -= taken;
        }
        // The write fails anyway.
        let _ = self.under.write_at(position, &mut torn);
    }
}

impl File for FaultyFile {
    fn write_at(&self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        if let Err(error) = self.faults.check(&self.path, Act::Grows) {
            self.tear(position, parts);
            return Err(error);
        }
        self.under.write_at(position, parts)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.faults.check(&self.path, Act::Reads)?;
        self.under.read_at(position, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.under.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.faults.0.any.load(Ordering::Relaxed) {
            let act = if len > self.under.len()? { Act::Grows } else { Act::Keeps };
            self.faults.check(&self.path, act)?;
        }
        self.under.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.check(&self.path, Act::Keeps)?;
        self.under.sync()
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        let under = self.under.map(len)?;
        Ok(Arc::new(FaultyMap { under, path: self.path.clone(), faults: self.faults.clone() }))
    }
}

#[derive(Debug)]
struct FaultyMap {
    under: Arc<dyn Map>,
    path: Arc<Path>,
    faults: Faults,
}

impl Map for FaultyMap {
    fn len(&self) -> u64 {
        self.under.len()
    }

    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes> {
        self.faults.check(&self.path, Act::Reads)?;
        self.under.slice(start, len)
    }

    fn kept(&self) -> Option<Kept> {
        self.under.kept()
    }
}

#[derive(Debug)]
struct FaultyLock {
    under: Box<dyn FileLock>,
    path: Box<Path>,
    faults: Faults,
}

impl FileLock for FaultyLock {
    fn set_holder(&self, text: &str) -> io::Result<()> {
        self.faults.check(&self.path, Act::Grows)?;
        self.under.set_holder(text)
    }

    fn sync_volume(&self) -> io::Result<()> {
        self.faults.check(&self.path, Act::Keeps)?;
        self.under.sync_volume()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFs;
    use super::*;

    const PATH: &str = "/data/flights-0/0.log";

    fn disk() -> (Faults, SharedFs, Arc<dyn File>) {
        let faults = Faults::default();
        let disk = faults.of(Arc::new(MemoryFs::new()));
        disk.create_dir_all(Path::new("/data/flights-0")).unwrap();
        let file = disk.open(Path::new(PATH), OpenMode::Create).unwrap();
        file.write_at(0, &mut [IoSlice::new(b"good")]).unwrap();
        (faults, disk, file)
    }

    fn fault(breakage: Breakage, names: Option<&str>, times: Option<u64>) -> DiskFault {
        DiskFault { breakage, names: names.map(str::to_owned), times }
    }

    #[test]
    fn a_disk_that_fails_tears_writes_and_goes_on_reading() {
        let (faults, disk, file) = disk();
        faults.set(vec![fault(Breakage::Writes, None, None)]);
        let error = file.write_at(4, &mut [IoSlice::new(b"ab"), IoSlice::new(b"cdef")]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        let mut bytes = [0; 16];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 7);
        assert_eq!(&bytes[..7], b"goodabc");
        assert!(file.sync().is_err() && file.set_len(4).is_err());
        assert!(disk.rename(Path::new(PATH), Path::new("/data/flights-0/1.log")).is_err());
        assert!(disk.open(Path::new("/data/new"), OpenMode::Fresh).is_err());
        faults.set(Vec::new());
        file.set_len(4).unwrap();
        file.sync().unwrap();
    }

    #[test]
    fn a_full_disk_takes_nothing_more_and_lets_go() {
        let (faults, disk, file) = disk();
        faults.set(vec![fault(Breakage::Full, None, None)]);
        assert_eq!(file.write_at(4, &mut [IoSlice::new(b"ab")]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(file.set_len(100).is_err());
        file.set_len(4).unwrap();
        file.sync().unwrap();
        assert!(disk.open(Path::new(PATH), OpenMode::Create).is_ok(), "it is there already");
        assert!(disk.open(Path::new("/data/new"), OpenMode::Create).is_err());
        disk.remove_file(Path::new(PATH)).unwrap();
    }

    #[test]
    fn a_disk_that_fails_reads_goes_on_writing_and_leaves_what_was_read() {
        let (faults, disk, file) = disk();
        let map = file.map(8).unwrap();
        let taken = map.slice(0, 4).unwrap();
        faults.set(vec![fault(Breakage::Reads, None, None)]);
        assert!(disk.open(Path::new(PATH), OpenMode::Read).is_err());
        assert!(file.read_at(0, &mut [0; 4]).is_err());
        assert_eq!(map.slice(0, 4).unwrap_err().raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        assert_eq!(&taken[..], b"good");
        file.write_at(4, &mut [IoSlice::new(b"ab")]).unwrap();
        file.sync().unwrap();
        assert_eq!((file.len().unwrap(), disk.list(Path::new("/data/flights-0")).unwrap().len()), (6, 1));
        faults.set(vec![fault(Breakage::All, Some("*.log"), Some(2))]);
        assert!(file.sync().is_err() && file.read_at(0, &mut [0; 4]).is_err());
        assert_eq!(&map.slice(4, 2).unwrap()[..], b"ab");
    }

    #[test]
    fn only_what_was_named_fails_and_only_so_often() {
        let (faults, disk, file) = disk();
        faults.set(vec![
            fault(Breakage::Writes, Some("*.index"), None),
            fault(Breakage::Writes, Some("flights-?/*"), Some(2)),
        ]);
        assert!(file.sync().is_err() && file.sync().is_err());
        file.sync().unwrap();
        assert!(disk.open(Path::new("/data/flights-0/0.index"), OpenMode::Create).is_err());
        assert!(disk.open(Path::new("/data/flights-0/0.timeindex"), OpenMode::Create).is_ok());
    }

    #[test]
    fn a_pattern_is_held_against_whole_names() {
        for (pattern, path, is_for) in [
            ("*.log", "/data/a-0/0.log", true),
            ("a-0/*", "/data/a-0/0.log", true),
            ("0.log", "/data/a-0/0.log", true),
            ("0.log", "/data/a-0/00.log", false),
            ("a-?/*.log", "/data/a-1/0.log", true),
            ("-0/*", "/data/a-0/0.log", false),
            ("*", "/data", true),
        ] {
            assert_eq!(
                fault(Breakage::Writes, Some(pattern), None).is_for(Path::new(path)),
                is_for,
                "{pattern} {path}"
            );
        }
    }
}
