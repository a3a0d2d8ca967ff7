//! Page-aligned buffers that are used again.
//!
//! A request of a megabyte wants a megabyte of memory for a few hundred microseconds. Taken fresh from the allocator it
//! costs a page fault for each 4 KiB, and lies 16 bytes past a page, where copying out of the kernel is nearly three
//! times dearer. So large buffers are anonymous maps, aligned and kept in a [`BufferPool`]: a buffer that was filled
//! becomes [`Bytes`], and goes back to its pool when the last slice of it is dropped. Small ones come from the allocator.

use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use memmap2::MmapMut;
use parking_lot::Mutex;

/// From this size on a buffer is a map of its own, and pooled.
const POOLED_FROM: usize = 64 << 10;
/// The largest buffer that the pool keeps; a larger one is unmapped when it is done with.
const POOLED_UP_TO: usize = 8 << 20;

/// A buffer to be filled.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Small(Vec<u8>),
    Pooled(Pooled),
}

impl Buffer {
    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it takes none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of its bytes; what was not filled yet has any value.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(vec) => vec,
            Memory::Pooled(pooled) => pooled.map.as_mut().map_or(&mut [], |map| &mut map[..self.len]),
        }
    }

    /// The filled buffer, to be shared and sliced; its memory goes back to the pool with the last slice.
    pub fn freeze(self) -> Bytes {
        match self.memory {
            Memory::Small(vec) => Bytes::from(vec),
            Memory::Pooled(pooled) => Bytes::from_owner(pooled).slice(..self.len),
        }
    }
}

/// A map on loan from its pool.
#[derive(Debug)]
struct Pooled {
    map: Option<MmapMut>,
    home: Weak<Mutex<Shelf>>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let (Some(map), Some(home)) = (self.map.take(), self.home.upgrade()) {
            home.lock().put(map);
        }
    }
}

/// The maps that wait to be used again, by size: `classes[i]` holds maps of `POOLED_FROM << i` bytes.
#[derive(Debug)]
struct Shelf {
    classes: Vec<Vec<MmapMut>>,
    kept: usize,
    limit: usize,
}

impl Shelf {
    fn put(&mut self, map: MmapMut) {
        let fits = self.kept + map.len() <= self.limit;
        if let (true, Some(class)) = (fits, class_of(map.len())) {
            self.kept += map.len();
            self.classes[class].push(map);
        }
    }

    fn take(&mut self, class: usize) -> Option<MmapMut> {
        let map = self.classes[class].pop()?;
        self.kept -= map.len();
        Some(map)
    }
}

/// The class whose maps hold `len` bytes, or `None` where that is more than the pool keeps.
fn class_of(len: usize) -> Option<usize> {
    let class = len.div_ceil(POOLED_FROM).next_power_of_two().trailing_zeros() as usize;
    (POOLED_FROM << class <= POOLED_UP_TO).then_some(class)
}

/// Where large buffers come from and go back to. Clones share the pool.
#[derive(Debug, Clone)]
pub struct BufferPool {
    shelf: Arc<Mutex<Shelf>>,
}

impl BufferPool {
    /// A pool that keeps at most `limit` bytes that nobody uses.
    pub fn new(limit: usize) -> BufferPool {
        let classes = class_of(POOLED_UP_TO).map_or(0, |last| last + 1);
        let shelf = Shelf { classes: (0..classes).map(|_| Vec::new()).collect(), kept: 0, limit };
        BufferPool { shelf: Arc::new(Mutex::new(shelf)) }
    }

    /// A buffer for `len` bytes. Fails where the system has no memory for it.
    pub fn take(&self, len: usize) -> io::Result<Buffer> {
        if len < POOLED_FROM {
            return Ok(Buffer { memory: Memory::Small(vec![0; len]), len });
        }
        let map = match class_of(len) {
            Some(class) => match self.shelf.lock().take(class) {
                Some(map) => map,
                None => MmapMut::map_anon(POOLED_FROM << class)?,
            },
            None => MmapMut::map_anon(len)?,
        };
        let pooled = Pooled { map: Some(map), home: Arc::downgrade(&self.shelf) };
        Ok(Buffer { memory: Memory::Pooled(pooled), len })
    }

    /// How many bytes wait to be used again.
    pub fn kept(&self) -> usize {
        self.shelf.lock().kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_back_with_its_last_slice() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(100_000).unwrap();
        buffer.bytes_mut()[99_999] = 7;
        assert_eq!(buffer.bytes_mut().as_ptr() as usize % 4096, 0);
        let bytes = buffer.freeze();
        let slice = bytes.slice(99_999..);
        drop(bytes);
        assert_eq!((slice[0], pool.kept()), (7, 0));
        drop(slice);
        assert_eq!(pool.kept(), 128 << 10);
        drop(pool.take(70_000).unwrap());
        assert_eq!(pool.kept(), 128 << 10, "the same map served again");
    }

    #[test]
    fn what_is_over_the_limit_is_not_kept() {
        let pool = BufferPool::new(100 << 10);
        drop(pool.take(128 << 10).unwrap());
        drop(pool.take(64 << 20).unwrap());
        drop(pool.take(10).unwrap());
        assert_eq!(pool.kept(), 0);
        drop(pool.take(64 << 10).unwrap());
        assert_eq!(pool.kept(), 64 << 10);
    }

    #[test]
    fn bytes_outlive_their_pool() {
        let pool = BufferPool::new(1 << 20);
        let bytes = pool.take(1 << 17).unwrap().freeze();
        drop(pool);
        assert_eq!(bytes.len(), 1 << 17);
    }
}
