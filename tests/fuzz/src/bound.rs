//! The bound on memory: an allocator that counts what is alive and ends the process where a stated bound is passed.
//!
//! libFuzzer's own `-malloc_limit_mb` looks at one allocation and at mebibytes; what is said of gatelet is kilobytes and all of them
//! together. Only Rust's allocations are counted, which libFuzzer's own are not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a count.
pub struct Counting;

impl Counting {
    fn more(&self, bytes: usize) {
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        if live > LIMIT.load(Relaxed) {
            // what follows allocates too
            LIMIT.store(usize::MAX, Relaxed);
            eprintln!("ALLOCATED BEYOND THE BOUND: {live} bytes are alive, {bytes} of them new");
            std::process::abort();
        }
    }
}

// SAFETY: every call goes to the system's allocator as it came.
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

/// Does `work`, in which at no moment more than `bytes` may be alive beyond what is already. Nested, the inner bound counts.
pub fn bounded<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = LIMIT.swap(LIVE.load(Relaxed).saturating_add(bytes), Relaxed);
    let done = work();
    LIMIT.store(before, Relaxed);
    done
}

/// Raises the bound of the [`bounded`] work under way.
pub fn raise(bytes: usize) {
    LIMIT.fetch_add(bytes.min(usize::MAX - LIMIT.load(Relaxed)), Relaxed);
}

/// What a panic has to say takes memory that no bound means.
pub fn none_for_panics() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        LIMIT.store(usize::MAX, Relaxed);
        next(what);
    }));
}
