//! A global allocator for Linux that gives large blocks back to the system as soon as they are
//! freed.
//!
//! A general allocator keeps the memory of a freed block for later: glibc raises its threshold for
//! separate mappings to 32 MiB after the first large block, and the `dlmalloc` package has no such
//! mappings. A server that carries one message of many megabytes would then keep that memory for as
//! long as it runs.
//!
//! [`LargeApart`] maps each block of [`LARGE`] bytes or more from the system and unmaps it when it
//! is freed. All other blocks come from another allocator. This is the only package of the program
//! that has unsafe code of its own.

#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use rustix::mm::{self, MapFlags, MremapFlags, ProtFlags};

/// Size in bytes from which a block has a mapping of its own.
pub const LARGE: usize = 32 * 1024;

/// Smallest page size of the supported machines. Every mapping is aligned to it.
const PAGE: usize = 4096;

/// Allocator that takes large blocks from the system, and all others from the allocator `A`.
///
/// Every method decides by the layout alone. A block has the same layout when it is allocated and
/// when it is freed, so it always returns to the allocator that it came from.
pub struct LargeApart<A>(pub A);

/// Returns whether a block of this layout has a mapping of its own.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// Creates a mapping of at least `size` bytes, all zero. Returns null if the system has no memory.
fn map(size: usize) -> *mut u8 {
    // SAFETY: the system chooses the address, so no memory in use is replaced.
    let mapped = unsafe {
        mm::mmap_anonymous(
            ptr::null_mut(),
            size,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    mapped.map_or(ptr::null_mut(), |block| block.cast())
}

// SAFETY: a block either comes from `A`, which upholds the contract itself, or is a private mapping
// of at least `layout.size()` bytes, aligned to a page and so to `layout.align()`. A mapping is
// never shared between two blocks. No method unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for LargeApart<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is also what `A`
        // requires.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: as in `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_large(layout) {
            // SAFETY: a block of this layout comes from `A`.
            return unsafe { self.0.dealloc(block, layout) };
        }
        // SAFETY: a block of this layout is a mapping of that size, and the caller no longer uses
        // it. The system rounds the size up to whole pages, as it did in `map`.
        let unmapped = unsafe { mm::munmap(block.cast(), layout.size()) };
        debug_assert!(unmapped.is_ok());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not
        // overflow `isize`.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_large(layout), is_large(new)) {
            // SAFETY: a block of this layout comes from `A`, and so does the new one.
            (false, false) => unsafe { self.0.realloc(block, layout, new_size) },
            (true, true) => {
                // SAFETY: the block is a mapping of that size, and afterwards the caller uses only
                // the returned address. If there is no memory, the block stays unchanged and null
                // is returned, as `GlobalAlloc` requires.
                let moved = unsafe {
                    mm::mremap(block.cast(), layout.size(), new_size, MremapFlags::MAYMOVE)
                };
                moved.map_or(ptr::null_mut(), |block| block.cast())
            }
            // SAFETY: both blocks have at least the bytes that are copied and do not overlap; the
            // old one is freed only once there is a new one.
            _ => unsafe {
                let to = self.alloc(new);
                if !to.is_null() {
                    ptr::copy_nonoverlapping(block, to, layout.size().min(new_size));
                    self.dealloc(block, layout);
                }
                to
            },
        }
    }
}
