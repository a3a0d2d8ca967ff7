//! What the targets share: memory that is counted, so that asking for too much of it is a finding.
//!
//! libFuzzer's own `-malloc_limit_mb` needs a sanitizer, which stable Rust does not have; this does the same and more:
//! one allocation over [`MOST_AT_ONCE`] is refused, and [`within`] holds a piece of work to what it may cost.

mod apis;
pub mod arrays;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The largest single allocation, in bytes; a larger one fails, and a failed one aborts.
pub const MOST_AT_ONCE: usize = 64 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

impl Counted {
    fn grow(&self, by: usize) {
        let live = LIVE.fetch_add(by, Relaxed) + by;
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; what is added is counting, and null for what is too
// large, which the trait allows.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_AT_ONCE {
            return std::ptr::null_mut();
        }
        self.grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST_AT_ONCE {
            return std::ptr::null_mut();
        }
        self.grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > MOST_AT_ONCE {
            return std::ptr::null_mut();
        }
        LIVE.fetch_sub(layout.size(), Relaxed);
        self.grow(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `work`, and panics if at any moment it held more than `bytes` beyond what was there before.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    let cost = PEAK.load(Relaxed).saturating_sub(before);
    assert!(cost <= bytes, "the work held {cost} bytes, it may hold {bytes}");
    result
}

/// A producer snapshot's bytes with the CRC that fits, at the place where it stands.
pub fn seal_snapshot(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some((head, body)) = bytes.split_at_mut_checked(6) {
        head[2..].copy_from_slice(&crc32c::crc32c(body).to_be_bytes());
    }
    bytes
}
