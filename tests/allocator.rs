//! Allocator of the Linux files: contents, alignment, threads, and the return of large blocks to
//! the system.
#![cfg(target_os = "linux")]

use std::alloc::System;
use std::fs;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard};
use std::thread;

use gatelet_alloc::{LargeApart, LARGE};

#[global_allocator]
static ALLOCATOR: LargeApart<System> = LargeApart(System);

/// Serializes the tests, because some of them read the memory of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Returns the resident memory of this process, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Grows the block to `size` bytes. The bytes cycle through 0 to 250, so that a shifted copy is
/// detected.
fn fill(block: &mut Vec<u8>, size: usize) {
    block.extend((block.len()..size).map(|at| (at % 251) as u8));
}

fn is_filled(block: &[u8]) -> bool {
    block.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251)
}

#[test]
fn blocks_keep_their_bytes_when_they_grow_and_shrink() {
    let _alone = alone();
    let mut block = Vec::new();
    for size in [1, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 77, 20_000_000] {
        block.reserve_exact(size - block.len());
        fill(&mut block, size);
        assert!(is_filled(&block), "{size} bytes after growing");
    }
    for size in [3_000_000, LARGE + 1, LARGE, LARGE - 1, 5000, 1] {
        block.truncate(size);
        block.shrink_to_fit();
        assert!(block.capacity() < size + 64, "{} bytes are kept for {size}", block.capacity());
        assert!(is_filled(&block), "{size} bytes after shrinking");
    }
}

#[test]
fn zeroed_blocks_are_zero_after_reuse() {
    let _alone = alone();
    for size in [LARGE - 1, LARGE, 5 * LARGE + 3] {
        drop(std::hint::black_box(vec![0xff_u8; size]));
        assert!(
            std::hint::black_box(vec![0_u8; size]).iter().all(|byte| *byte == 0),
            "{size} bytes"
        );
    }
}

#[test]
fn blocks_have_the_requested_alignment() {
    #[repr(align(64))]
    struct Line([u8; 64]);
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    #[repr(align(65536))]
    struct Huge([u8; 65536]);

    fn is_aligned<T>(new: fn() -> T) {
        for count in
            [1, LARGE / size_of::<T>(), LARGE / size_of::<T>() + 1, 64 * LARGE / size_of::<T>()]
        {
            let block: Vec<T> = (0..count.max(1)).map(|_| new()).collect();
            assert_eq!(
                block.as_ptr().addr() % align_of::<T>(),
                0,
                "{count} of {} bytes",
                size_of::<T>()
            );
        }
    }
    let _alone = alone();
    is_aligned(|| Line([1; 64]));
    is_aligned(|| Page([1; 4096]));
    is_aligned(|| Huge([1; 65536]));
    assert_eq!(
        (Line([1; 64]).0[63], Page([1; 4096]).0[4095], Huge([1; 65536]).0[65535]),
        (1, 1, 1)
    );
}

#[test]
fn blocks_of_all_sizes_pass_between_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 400;
    let _alone = alone();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::channel::<Vec<u8>>()).unzip();
    thread::scope(|scope| {
        for (own, receiver) in receivers.into_iter().enumerate() {
            let senders = senders.clone();
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(own as u64);
                for _ in 0..ROUNDS {
                    let mut block = Vec::new();
                    for _ in 0..3 {
                        let more = if random.bool() { 3000 } else { 3 * LARGE };
                        let size = block.len() + 1 + random.usize(..more);
                        fill(&mut block, size);
                    }
                    senders[random.usize(..THREADS)].send(block).unwrap();
                    while let Ok(mut block) = receiver.try_recv() {
                        assert!(is_filled(&block));
                        block.truncate(1 + random.usize(..block.len()));
                        block.shrink_to_fit();
                        assert!(is_filled(&block));
                    }
                }
                drop(senders);
                receiver.iter().for_each(|block| assert!(is_filled(&block)));
            });
        }
        drop(senders);
    });
}

/// Ten blocks of 20 MB, grown by doubling, with small blocks in between that stay allocated; freed
/// by this thread and by another one.
#[test]
fn large_blocks_are_returned_to_the_system_at_once() {
    let _alone = alone();
    let mut small: Vec<Vec<u8>> = (0..1000).map(|number| vec![1; 200 + number % 4000]).collect();
    let before = resident();
    let mut large = Vec::new();
    for _ in 0..10 {
        let mut block = Vec::new();
        while block.len() < 20_000_000 {
            block.extend_from_slice(&[7; 4096]);
            if block.len() % (1 << 20) == 0 {
                small.push(vec![2; 500]);
            }
        }
        large.push(block);
    }
    let peak = resident();
    assert!(peak > before + 190_000, "{peak} KiB after {before}");
    let others = large.split_off(5);
    thread::spawn(move || drop(others)).join().unwrap();
    drop(large);
    let after = resident();
    assert!(
        after <= before + 1024,
        "{after} KiB after {before}, with {} small blocks",
        small.len()
    );
}

#[test]
fn block_that_crosses_the_threshold_leaks_nothing() {
    let _alone = alone();
    let before = resident();
    for _ in 0..200 {
        let mut block = vec![1_u8; LARGE - 1];
        block.reserve_exact(2);
        block.resize(LARGE + 1, 1);
        block.truncate(LARGE / 2);
        block.shrink_to_fit();
        std::hint::black_box(&block);
    }
    let after = resident();
    assert!(after <= before + 2048, "{after} KiB after {before}");
}
