//! A disk in memory that loses what was not synced, tears writes, and fails on purpose: for tests.
//!
//! Every change is an operation in a journal. [`MemoryFs::crash`] replays the first `at` of them onto a new disk, as a
//! machine that lost power there might find it: of each file the operations up to its last sync, and any prefix of the
//! later ones, the last one torn at any byte or turned to zeros; of each folder's names the same. So one run of a test
//! gives a crash at each of its writes. [`MemoryFs::fail_at`] makes a later operation fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Entry, File, FileLock, FileSystem, Map, OpenMode, Stat, Volume, holder_text};
use crate::common::ids::Timestamp;

/// The size that a disk in memory gives itself.
const TOTAL: u64 = 1 << 30;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryFs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    locks: BTreeSet<PathBuf>,
    journal: Vec<Op>,
    fault: Option<Fault>,
    now: Timestamp,
}

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    modified: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug, Clone)]
enum Op {
    Write {
        inode: usize,
        position: u64,
        data: Vec<u8>,
    },
    SetLen {
        inode: usize,
        len: u64,
    },
    Sync {
        inode: usize,
    },
    Create {
        path: PathBuf,
        inode: usize,
    },
    CreateDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDir {
        dir: PathBuf,
    },
    SyncAll,
    /// What failed, and changed nothing.
    Failed,
}

/// How operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The first operation that fails, counted as [`MemoryFs::operations`] counts.
    pub at: usize,
    /// What the caller is told.
    pub kind: io::ErrorKind,
    /// Whether all later ones fail too (a disk that stays full, or is read-only) or only this one.
    pub stays: bool,
    /// Of a write that fails, how many bytes are written all the same.
    pub written: usize,
}

impl MemoryFs {
    /// An empty disk.
    pub fn new() -> MemoryFs {
        MemoryFs::default()
    }

    /// How many changes were asked for so far.
    pub fn operations(&self) -> usize {
        self.state.lock().journal.len()
    }

    /// Makes an operation fail from now on; `None`: all is well again.
    pub fn fail_at(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// The time that files written from now on carry.
    pub fn set_now(&self, now: Timestamp) {
        self.state.lock().now = now;
    }

    /// What the disk may hold after a loss of power behind the first `at` operations. `choose(n)` picks one of `0..n`.
    pub fn crash(&self, at: usize, choose: &mut dyn FnMut(usize) -> usize) -> MemoryFs {
        let state = self.state.lock();
        let journal = &state.journal[..at.min(state.journal.len())];
        // What is subject to losing together: the bytes of one file, the names of one folder.
        let mut groups: BTreeMap<Group, (Vec<usize>, usize)> = BTreeMap::new();
        let mut folders = Folders::default();
        for (index, op) in journal.iter().enumerate() {
            let group = match op {
                Op::Failed => continue,
                Op::SyncAll => {
                    groups.values_mut().for_each(|(ops, safe)| *safe = ops.len());
                    continue;
                }
                op => folders.group_of(op),
            };
            let (ops, safe) = groups.entry(group).or_default();
            folders.follow(index, op);
            match op {
                Op::Sync { .. } | Op::SyncDir { .. } => *safe = ops.len(),
                _ => ops.push(index),
            }
        }
        let (mut kept, mut inside) = (BTreeMap::new(), Vec::new());
        for (group, (ops, safe)) in &groups {
            let end = safe + choose(ops.len() - safe + 1);
            kept.extend(ops[..end].iter().map(|index| (*index, journal[*index].clone())));
            if let Group::Folder(Some(made)) = group {
                inside.push((*made, &ops[..end]));
            }
            if let Some(index) = ops.get(end)
                && let Some(torn) = journal[*index].torn(choose)
            {
                kept.insert(*index, torn);
            }
        }
        // Where a folder was not made, it took nothing in: what has its name may be another one.
        for (made, ops) in inside {
            if !kept.contains_key(&made) {
                ops.iter().for_each(|index| drop(kept.remove(index)));
            }
        }
        let mut image = State { now: state.now, ..State::default() };
        for op in kept.values() {
            image.apply(op);
        }
        // What lies in a folder whose name was lost is lost with it.
        let dirs: BTreeSet<PathBuf> = image.names.keys().cloned().collect();
        let there = |dir: &Path| dir == Path::new("/") || dir == Path::new("") || dirs.contains(dir);
        image.names.retain(|name, _| name.ancestors().skip(1).all(there));
        image.begin();
        MemoryFs { state: Arc::new(Mutex::new(image)) }
    }

    /// Flips every bit of one byte of a file, behind everyone's back.
    pub fn damage(&self, path: &Path, position: usize) {
        let mut state = self.state.lock();
        if let Some(Node::File(inode)) = state.names.get(path).copied()
            && let Some(byte) = state.inodes[inode].data.get_mut(position)
        {
            *byte = !*byte;
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    File(usize),
    /// By the operation that made it; `None` for those that were always there.
    Folder(Option<usize>),
}

/// Which folder has which name, while a journal is gone through: one may go, and another take its name.
#[derive(Debug, Default)]
struct Folders(BTreeMap<PathBuf, usize>);

impl Folders {
    fn group_of(&self, op: &Op) -> Group {
        let folder = |path: Option<&Path>| Group::Folder(path.and_then(|path| self.0.get(path)).copied());
        match op {
            Op::Write { inode, .. } | Op::SetLen { inode, .. } | Op::Sync { inode } => Group::File(*inode),
            Op::Create { path, .. } | Op::CreateDir { path } | Op::Remove { path } => folder(path.parent()),
            Op::Rename { to, .. } => folder(to.parent()),
            Op::SyncDir { dir } => folder(Some(dir)),
            // It is of all groups, or of none, which whoever asks must know.
            Op::SyncAll | Op::Failed => Group::Folder(None),
        }
    }

    fn follow(&mut self, index: usize, op: &Op) {
        match op {
            // The root was always there.
            Op::CreateDir { path } if path.parent().is_some() => _ = self.0.insert(path.clone(), index),
            Op::Remove { path } => self.0.retain(|name, _| !name.starts_with(path)),
            Op::Rename { from, to } => {
                let moved: Vec<_> = self.0.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    if let (Some(made), Ok(rest)) = (self.0.remove(&name), name.strip_prefix(from)) {
                        self.0.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, made);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Op {
    /// A part of a write: cut short, or with zeros for its end.
    fn torn(&self, choose: &mut dyn FnMut(usize) -> usize) -> Option<Op> {
        let Op::Write { inode, position, data } = self else { return None };
        let whole = choose(data.len().max(1));
        let mut data = data.clone();
        match choose(2) {
            0 => data.truncate(whole),
            _ => data[whole..].fill(0),
        }
        Some(Op::Write { inode: *inode, position: *position, data })
    }
}

impl State {
    /// Journals and applies `op`, unless it is its turn to fail.
    fn perform(&mut self, op: Op) -> io::Result<()> {
        let index = self.journal.len();
        let fault = self.fault.filter(|fault| index == fault.at || (fault.stays && index > fault.at));
        let op = match (fault, op) {
            (None, op) => op,
            (Some(fault), Op::Write { inode, position, mut data }) if fault.written > 0 => {
                data.truncate(fault.written);
                Op::Write { inode, position, data }
            }
            (Some(fault), _) => {
                // The count goes on, or a fault that does not stay would stay.
                self.journal.push(Op::Failed);
                return Err(fault.kind.into());
            }
        };
        self.apply(&op);
        self.journal.push(op);
        fault.map_or(Ok(()), |fault| Err(fault.kind.into()))
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now;
        if let Op::Write { inode, .. } | Op::SetLen { inode, .. } | Op::Create { inode, .. } = op {
            while self.inodes.len() <= *inode {
                self.inodes.push(Inode::default());
            }
            self.inodes[*inode].modified = now;
        }
        match op {
            Op::Write { inode, position, data } => {
                let file = &mut self.inodes[*inode].data;
                let end = *position as usize + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*position as usize..end].copy_from_slice(data);
            }
            Op::SetLen { inode, len } => self.inodes[*inode].data.resize(*len as usize, 0),
            Op::Create { path, inode } => {
                self.names.insert(path.clone(), Node::File(*inode));
            }
            Op::CreateDir { path } => {
                self.names.insert(path.clone(), Node::Dir);
            }
            Op::Rename { from, to } => {
                let moved: Vec<_> = self.names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    if let (Some(node), Ok(rest)) = (self.names.remove(&name), name.strip_prefix(from)) {
                        let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                        self.names.insert(name, node);
                    }
                }
            }
            Op::Remove { path } => self.names.retain(|name, _| !name.starts_with(path)),
            Op::Sync { .. } | Op::SyncDir { .. } | Op::SyncAll | Op::Failed => {}
        }
    }

    /// Journals what there is as written and safe, so that a later crash starts from it.
    fn begin(&mut self) {
        let mut journal = Vec::new();
        for (path, node) in &self.names {
            journal.push(match *node {
                Node::Dir => Op::CreateDir { path: path.clone() },
                Node::File(inode) => Op::Create { path: path.clone(), inode },
            });
        }
        let parents: BTreeSet<_> = self.names.keys().filter_map(|path| path.parent()).collect();
        journal.extend(parents.into_iter().map(|dir| Op::SyncDir { dir: dir.to_owned() }));
        for (inode, file) in self.inodes.iter().enumerate() {
            journal.push(Op::Write { inode, position: 0, data: file.data.clone() });
            journal.push(Op::Sync { inode });
        }
        self.journal = journal;
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl FileSystem for MemoryFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let inode = match (state.file(path), mode) {
            (Err(error), OpenMode::Create | OpenMode::Fresh) if error.kind() == io::ErrorKind::NotFound => {
                let inode = state.inodes.len();
                state.perform(Op::Create { path: path.to_owned(), inode })?;
                inode
            }
            (Ok(inode), OpenMode::Fresh) => {
                state.perform(Op::SetLen { inode, len: 0 })?;
                inode
            }
            (inode, _) => inode?,
        };
        Ok(Arc::new(MemoryFile { state: Arc::clone(&self.state), inode }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state.lock();
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.iter().filter(|(name, _)| name.parent() == Some(dir));
        let entry = |(name, node): (&PathBuf, &Node)| {
            let name = name.file_name()?.to_str()?.to_owned();
            Some(Entry { name, is_dir: *node == Node::Dir })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let state = self.state.lock();
        Ok(state.names.get(path).map(|node| match node {
            Node::Dir => Stat { len: 0, modified: 0 },
            Node::File(inode) => {
                let file = &state.inodes[*inode];
                Stat { len: file.data.len() as u64, modified: file.modified }
            }
        }))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut missing: Vec<_> = dir.ancestors().take_while(|dir| !state.names.contains_key(*dir)).collect();
        while let Some(path) = missing.pop() {
            state.perform(Op::CreateDir { path: path.to_owned() })?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.perform(Op::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.file(path)?;
        state.perform(Op::Remove { path: path.to_owned() })
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.perform(Op::Remove { path: dir.to_owned() })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.lock().perform(Op::SyncDir { dir: dir.to_owned() })
    }

    fn volume(&self, dir: &Path) -> io::Result<Volume> {
        let state = self.state.lock();
        if state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = state.names.values().filter_map(|node| match node {
            Node::File(inode) => Some(state.inodes[*inode].data.len() as u64),
            Node::Dir => None,
        });
        Ok(Volume { total: TOTAL, usable: TOTAL.saturating_sub(files.sum()) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.open(path, OpenMode::Create)?;
        if !self.state.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { fs: self.clone(), path: path.to_owned() }))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        let held = self.state.lock().locks.contains(path);
        Ok(held.then(|| holder_text(self, path)))
    }
}

#[derive(Debug)]
struct MemoryLock {
    fs: MemoryFs,
    path: PathBuf,
}

impl FileLock for MemoryLock {
    fn set_holder(&self, text: &str) -> io::Result<()> {
        self.fs.open(&self.path, OpenMode::Fresh)?.write_at(0, &mut [IoSlice::new(text.as_bytes())])
    }

    fn sync_volume(&self) -> io::Result<()> {
        self.fs.state.lock().perform(Op::SyncAll)
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.fs.state.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl File for MemoryFile {
    fn write_at(&self, position: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let data = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.state.lock().perform(Op::Write { inode: self.inode, position, data })
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock();
        let data = &state.inodes[self.inode].data;
        let start = data.len().min(position as usize);
        let len = buffer.len().min(data.len() - start);
        buffer[..len].copy_from_slice(&data[start..start + len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().inodes[self.inode].data.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().perform(Op::SetLen { inode: self.inode, len })
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().perform(Op::Sync { inode: self.inode })
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Map>> {
        Ok(Arc::new(MemoryMap { state: Arc::clone(&self.state), inode: self.inode, len }))
    }
}

#[derive(Debug)]
struct MemoryMap {
    state: Arc<Mutex<State>>,
    inode: usize,
    len: u64,
}

impl Map for MemoryMap {
    fn len(&self) -> u64 {
        self.len
    }

    fn slice(&self, start: u64, len: usize) -> io::Result<Bytes> {
        let state = self.state.lock();
        let file = &state.inodes[self.inode].data;
        let range = start as usize..start as usize + len;
        // On the machine this would be a SIGBUS: a test must not miss it.
        assert!(range.end <= file.len(), "a mapped read of {range:?} in a file of {} bytes", file.len());
        Ok(Bytes::copy_from_slice(&file[range]))
    }
}

/// A small, seeded source of choices for [`MemoryFs::crash`], the same on each run.
pub fn choices(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |n| {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fs::read_file;

    fn write(fs: &MemoryFs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
        let file = fs.open(Path::new(path), OpenMode::Create).unwrap();
        file.write_at(file.len().unwrap(), &mut [IoSlice::new(bytes)]).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_is_any_prefix() {
        let fs = MemoryFs::new();
        fs.create_dir_all(Path::new("/d")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        write(&fs, "/d/a", b"safe").sync().unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        write(&fs, "/d/a", b"maybe");
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let image = fs.crash(fs.operations(), &mut choices(seed));
            let bytes = read_file(&image, Path::new("/d/a"), 100).unwrap().unwrap();
            assert!(bytes.starts_with(b"safe"));
            seen.insert(bytes);
        }
        assert!(seen.contains(&b"safe"[..]) && seen.contains(&b"safemaybe"[..]) && seen.contains(&b"safema"[..]));
        assert!(seen.contains(&b"safe\0\0\0\0\0"[..]), "a length without its bytes");
    }

    #[test]
    fn a_sync_of_the_volume_is_one_of_all_files_and_names() {
        let fs = MemoryFs::new();
        let lock = fs.lock(Path::new("/lock")).unwrap();
        fs.create_dir_all(Path::new("/d")).unwrap();
        write(&fs, "/d/a", b"safe");
        write(&fs, "/d/b", b"safe too");
        lock.sync_volume().unwrap();
        write(&fs, "/d/a", b"lost");
        write(&fs, "/d/c", b"lost");
        let image = fs.crash(fs.operations(), &mut |_| 0);
        let read = |name| read_file(&image, Path::new(name), 100).unwrap();
        assert_eq!((read("/d/a").unwrap(), read("/d/b").unwrap()), (b"safe".to_vec(), b"safe too".to_vec()));
        assert_eq!(read("/d/c"), None);
    }

    #[test]
    fn what_was_made_in_a_folder_is_not_found_in_the_one_that_had_its_name_before() {
        let fs = MemoryFs::new();
        let (root, folder) = (Path::new("/"), Path::new("/d"));
        let make = |bytes| {
            fs.create_dir_all(folder).unwrap();
            write(&fs, "/d/a", bytes).sync().unwrap();
            fs.sync_dir(folder).unwrap();
        };
        let found = || read_file(&fs.crash(fs.operations(), &mut |_| 0), Path::new("/d/a"), 100).unwrap();
        make(b"old");
        fs.sync_dir(root).unwrap();
        fs.rename(folder, Path::new("/gone")).unwrap();
        make(b"new");
        assert_eq!(found().unwrap(), b"old");
        fs.sync_dir(root).unwrap();
        assert_eq!(found().unwrap(), b"new");
    }

    #[test]
    fn what_is_written_takes_room() {
        let fs = MemoryFs::new();
        fs.create_dir_all(Path::new("/d")).unwrap();
        write(&fs, "/d/a", b"1234");
        assert_eq!(fs.volume(Path::new("/d")).unwrap(), Volume { total: TOTAL, usable: TOTAL - 4 });
        assert!(fs.volume(Path::new("/e")).is_err());
    }

    #[test]
    fn an_operation_fails_when_told_to() {
        let fs = MemoryFs::new();
        let file = write(&fs, "/a", b"1");
        let kind = io::ErrorKind::StorageFull;
        fs.fail_at(Some(Fault { at: fs.operations(), kind, stays: false, written: 2 }));
        assert_eq!(file.write_at(1, &mut [IoSlice::new(b"2345")]).unwrap_err().kind(), kind);
        assert_eq!(read_file(&fs, Path::new("/a"), 9).unwrap().unwrap(), b"123");
        file.set_len(1).unwrap();
        fs.fail_at(Some(Fault { at: fs.operations(), kind, stays: true, written: 0 }));
        assert!(file.set_len(0).is_err() && file.set_len(0).is_err());
    }
}
