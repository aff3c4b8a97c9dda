//! Memory bound: an allocator that counts live bytes and aborts the process when a stated bound is
//! exceeded.
//!
//! libFuzzer's `-malloc_limit_mb` limits a single allocation, in mebibytes; gatelet's bounds are
//! kilobytes in total. Only Rust's allocations are counted, not libFuzzer's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a counter.
pub struct Counting;

impl Counting {
    fn more(&self, bytes: usize) {
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        if live > LIMIT.load(Relaxed) {
            // the message allocates too
            LIMIT.store(usize::MAX, Relaxed);
            eprintln!("ALLOCATED BEYOND THE BOUND: {live} bytes are alive, {bytes} of them new");
            std::process::abort();
        }
    }
}

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.more(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.more(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        System.dealloc(place, layout)
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() {
            self.more(size - layout.size());
        } else {
            LIVE.fetch_sub(layout.size() - size, Relaxed);
        }
        System.realloc(place, layout, size)
    }
}

/// Runs `work`, during which at most `bytes` may be alive beyond those already allocated. Nested,
/// the inner bound applies.
pub fn bounded<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = LIMIT.swap(LIVE.load(Relaxed).saturating_add(bytes), Relaxed);
    let done = work();
    LIMIT.store(before, Relaxed);
    done
}

/// Raises the bound of the running [`bounded`] work.
pub fn raise(bytes: usize) {
    LIMIT.fetch_add(bytes.min(usize::MAX - LIMIT.load(Relaxed)), Relaxed);
}

/// Lifts the bound during a panic, whose message allocates.
pub fn none_for_panics() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        LIMIT.store(usize::MAX, Relaxed);
        next(what);
    }));
}
