//! The [`Disk`] trait, its implementation for files, and the file system operations of the store.
//!
//! This module does not interpret the bytes. Private files have mode 0600 and appear under their
//! name complete or not at all. On Windows their access rights are those of the directory: that of
//! a user, or the one to which `install.ps1` assigned rights.

#![expect(clippy::disallowed_methods, reason = "files are made before a gateway runs")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::gate::limits;

/// A byte file that is read and written in place; all that the store requires of a disk.
#[allow(clippy::len_without_is_empty)]
pub trait Disk {
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset`. Fails if the file ends before.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Sets the length of the file; new bytes are zero.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Returns when everything written is durable.
    ///
    /// After an error nothing is known about the writes since the last success, and a later success
    /// says nothing about them either.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file of the operating system, with an optional lock that makes this process its only writer.
pub struct StdDisk {
    file: File,
    /// Path at which the file must still exist for writes to be durable.
    path: PathBuf,
    _lock: Option<DirLock>,
}

/// Lock of a state directory, held until dropped.
///
/// The lock is on a separate file: on Windows a locked file cannot be read through another handle,
/// so a lock on the table would prevent backups and the copy made before a repair.
#[derive(Debug)]
pub struct DirLock(#[allow(dead_code)] File);

impl StdDisk {
    /// Opens an existing file for reading and writing, without a lock.
    pub fn open(path: &Path) -> io::Result<StdDisk> {
        StdDisk::new(path, || OpenOptions::new().read(true).write(true).open(path))
    }

    /// Opens an existing file for reading only.
    pub fn open_read_only(path: &Path) -> io::Result<StdDisk> {
        StdDisk::new(path, || File::open(path))
    }

    /// Creates a private file for reading and writing. Fails if the name exists.
    pub(super) fn create(path: &Path) -> io::Result<StdDisk> {
        StdDisk::new(path, || private().read(true).open(path))
    }

    fn new(path: &Path, open: impl Fn() -> io::Result<File>) -> io::Result<StdDisk> {
        Ok(StdDisk { file: retry_while_locked(open)?, path: path.into(), _lock: None })
    }

    /// Fails if the file or its directory was removed, since writes to it are not durable then.
    fn check_exists(&self) -> io::Result<()> {
        #[cfg(unix)]
        let removed = std::os::unix::fs::MetadataExt::nlink(&self.file.metadata()?) == 0;
        #[cfg(not(unix))]
        let removed = false;
        if removed || !self.path.try_exists()? {
            let text = "the file was removed; restore the state directory and restart";
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// Holds `lock` for as long as this disk is open.
    pub(super) fn holding(self, lock: DirLock) -> StdDisk {
        StdDisk { _lock: Some(lock), ..self }
    }
}

impl Disk for StdDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).read_exact(bytes)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.check_exists()
    }
}

/// Creates a private file (0600) with these contents, durable on return. Fails with `AlreadyExists`
/// if the name exists.
///
/// A power cut leaves no file or the complete file. Callers must serialize writers of one
/// directory.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if exists(path)? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    replace_private(path, bytes)
}

/// Like [`write_private`], but replaces an existing file. A power cut leaves the old file or the
/// new one.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, None)
}

/// Like [`replace_private`], but keeps the permissions of an existing file and follows a symbolic
/// link. Fails with `PermissionDenied` if the file is read-only.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Ok(path) = fs::canonicalize(path) else { return write_private(path, bytes) };
    let permissions = fs::metadata(&path)?.permissions();
    if permissions.readonly() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    replace_with(&path, bytes, Some(permissions)).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::ResourceBusy => {
                "the file is a mount of its own, which cannot be replaced; mount its directory instead"
            }
            ErrorKind::ReadOnlyFilesystem => {
                "a new file in the same directory replaces it, which must be writable; mount a \
                 writable directory and move it there"
            }
            _ => return error,
        };
        io::Error::new(error.kind(), format!("{error}: {hint}"))
    })
}

/// Writes a temporary file and renames it; removes it if either fails.
fn replace_with(path: &Path, bytes: &[u8], permissions: Option<fs::Permissions>) -> io::Result<()> {
    let new = temporary(path);
    let written = write_new(&new, bytes, permissions).and_then(|()| rename_durably(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(new: &Path, bytes: &[u8], permissions: Option<fs::Permissions>) -> io::Result<()> {
    remove_if_exists(new)?;
    let mut file = retry_while_locked(|| private().open(new))?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.sync_all()
}

/// Returns whether the path exists, also as a dangling link. Only "not found" counts as absent: any
/// other error could hide an existing file.
pub(super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the name of the file until it is complete. A leftover file of this name can be removed.
pub(super) fn temporary(path: &Path) -> PathBuf {
    suffixed(path, ".new")
}

/// Appends `suffix` to the file name of the path.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames a complete, synced file to its final name, durably.
pub(super) fn rename_durably(new: &Path, path: &Path) -> io::Result<()> {
    retry_while_locked(|| fs::rename(new, path))?;
    sync_parent(path)
}

/// Removes a file. Succeeds if there is none.
pub(super) fn remove_if_exists(path: &Path) -> io::Result<()> {
    match retry_while_locked(|| fs::remove_file(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Creates a directory of mode 0700 and its parents, durable on return. Leaves an existing
/// directory unchanged.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    #[cfg(unix)]
    let created =
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(dir);
    #[cfg(not(unix))]
    let created = fs::create_dir(dir);
    if created.is_err() && !dir.is_dir() {
        return created;
    }
    sync_parent(dir)
}

/// Takes the lock at `path`. Returns `None` if another process holds it.
pub fn lock(path: &Path) -> io::Result<Option<DirLock>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = retry_while_locked(|| options.open(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirLock(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Returns bytes from the operating system's random source.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system returned no random bytes"))?;
    Ok(bytes)
}

/// Retries an operation that failed because another program has the file open.
///
/// Windows denies access to a file that is open elsewhere without sharing, and virus scanners and
/// backups open any file for a moment; only a lasting failure is returned. Other systems do not.
fn retry_while_locked<T>(act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    // ERROR_ACCESS_DENIED (also returned for a file that is being deleted),
    // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
    let is_locked =
        |error: &io::Error| cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32 | 33));
    for _ in 0..limits::FILE_TRIES {
        match act() {
            Err(error) if is_locked(&error) => {
                std::thread::sleep(Duration::from_millis(limits::FILE_RETRY_MS));
            }
            done => return done,
        }
    }
    act()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// Does nothing: Windows has no call to sync a directory and writes its entries with the file.
#[cfg(not(unix))]
fn sync_parent(_path: &Path) -> io::Result<()> {
    Ok(())
}
