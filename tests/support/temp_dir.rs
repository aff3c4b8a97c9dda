//! Directories of tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// New directory, removed when dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    /// Creates a directory, in memory where the system has a place for that.
    pub fn new() -> TempDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            TempDir::below(memory)
        } else {
            TempDir::on_disk()
        }
    }

    /// Creates a directory on this machine's disk, where a sync takes time.
    pub fn on_disk() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    fn below(base: &Path) -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("gatelet-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
