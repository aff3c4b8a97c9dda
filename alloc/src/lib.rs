//! A global allocator for Linux that gives large blocks back to the system as soon as they are freed.
//!
//! A general allocator keeps the memory of a freed block for later: glibc raises its threshold for separate mappings to 32 MiB
//! after the first large block, and the `dlmalloc` package has no such mappings. A server that carries one message of many
//! megabytes would then keep that memory for as long as it runs.
//!
//! [`LargeApart`] maps each block of [`LARGE`] bytes or more from the system and unmaps it when it is freed. All other blocks are
//! those of another allocator. This is the only package of the program that has unsafe code of its own.

#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use rustix::mm::{self, MapFlags, MremapFlags, ProtFlags};

/// Blocks of this size in bytes, and larger ones, have a mapping of their own.
pub const LARGE: usize = 128 * 1024;

/// The smallest page size of the supported machines. Every mapping is aligned to it.
const PAGE: usize = 4096;

/// Takes large blocks from the system, and all others from the allocator `A`.
///
/// Every method decides by the layout alone. The layout of a block is the same when it is allocated and when it is freed, so each
/// block goes back to where it came from.
pub struct LargeApart<A>(pub A);

/// Whether a block of that layout has a mapping of its own.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// A new mapping of at least `size` bytes, all zero; null if the system has none.
fn map(size: usize) -> *mut u8 {
    // SAFETY: the system chooses the place, so no memory that is in use is replaced.
    let mapped =
        unsafe { mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
    mapped.map_or(ptr::null_mut(), |block| block.cast())
}

// SAFETY: a block is either one of `A`, for which `A` answers, or a private mapping of at least `layout.size()` bytes, aligned to a
// page and so to `layout.align()`. A mapping is never shared between two blocks. No method unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for LargeApart<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: what the caller promises is what `A` asks for.
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
            // SAFETY: a block of this layout is one of `A`.
            return unsafe { self.0.dealloc(block, layout) };
        }
        // SAFETY: a block of this layout is a mapping of that size, and the caller does not use it any more. The system rounds the
        // size up to whole pages, as it did in `map`.
        let unmapped = unsafe { mm::munmap(block.cast(), layout.size()) };
        debug_assert!(unmapped.is_ok());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not overflow `isize`.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_large(layout), is_large(new)) {
            // SAFETY: a block of this layout is one of `A`, and so is the new one.
            (false, false) => unsafe { self.0.realloc(block, layout, new_size) },
            (true, true) => {
                // SAFETY: the block is a mapping of that size, and the caller uses only the returned place afterwards. If there is
                // no room, the block stays as it is and the answer is null, as `GlobalAlloc` asks for.
                let moved = unsafe { mm::mremap(block.cast(), layout.size(), new_size, MremapFlags::MAYMOVE) };
                moved.map_or(ptr::null_mut(), |block| block.cast())
            }
            // SAFETY: both blocks have at least the bytes that are copied and do not overlap; the old one is freed only once
            // there is a new one.
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
