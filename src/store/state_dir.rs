//! The table, its key and its lock in a state directory: first start, later starts, and repair.
//!
//! The order of operations makes a power cut safe: the lock is taken first, the table is created
//! before the key, and each gets its name only when it is complete. A power cut during a first
//! start leaves nothing, or a complete empty table without a key. A key without a table, or a table
//! with devices but no key, is therefore never a first start, and neither file is created anew
//! while the other shows that something was lost.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{self, replace_private, write_private, DirLock, Disk, StdDisk};
use super::file::{Contents, LoadedTable, OpenError, PairingFile};
use super::record::{Shape, TableId};
use super::recovery::{self, CheckLine};
use super::tokens::{TableKey, FILE_LEN};
use crate::gate::ids::{Slot, TableAge};

/// The table of a state directory, opened for exclusive use by this process.
pub struct Opened {
    /// The table file, for commits. Holds the directory's lock until dropped.
    pub file: PairingFile<StdDisk>,
    /// Contents of the table and replicas that were not used.
    pub loaded: LoadedTable,
    /// Key from which device tokens are derived.
    pub key: TableKey,
    /// Whether this was the first start.
    pub created: bool,
}

/// Result of `gatelet table check`.
#[derive(Debug)]
pub struct Check {
    /// Result of opening the table as a gateway would.
    pub verdict: Result<LoadedTable, OpenError>,
    /// State of every place; empty if no header can be read.
    pub lines: Vec<CheckLine>,
    /// Whether the key file exists and is intact.
    pub key: bool,
}

/// Result of [`repair_at`].
#[derive(Debug, Default)]
pub struct Repaired {
    /// Path of the copy of the damaged table; `None` if the table needed no copy.
    pub table_copy: Option<PathBuf>,
    /// Number of devices in the table now.
    pub devices: usize,
    /// Records whose contents were lost.
    pub lost: Vec<Slot>,
    /// Whether nothing could be recovered, so that the table is new and empty.
    pub empty: bool,
    /// Whether a new key was made. If so, every device gets a new token the next time it proves its
    /// device key.
    pub new_key: bool,
}

/// Reason why the table of a state directory cannot be used. Damaged files are kept.
#[derive(Debug)]
pub enum StoreError {
    /// System error, with the attempted operation and its path.
    Io { doing: &'static str, path: PathBuf, error: io::Error },
    /// Another process holds the lock.
    Busy { dir: PathBuf },
    /// There is no table, and no sign that there ever was one.
    Absent { path: PathBuf },
    /// There is no table although its key exists: the table was lost or moved.
    Lost { path: PathBuf },
    /// The table is not usable.
    Table { path: PathBuf, error: OpenError },
    /// There is no key.
    KeyMissing { path: PathBuf },
    /// The key is damaged.
    KeyDamaged { path: PathBuf },
}

/// Opens the table in `dir`.
///
/// On a first start creates the directory (0700), the key and an empty table of `capacity` records
/// (both 0600). Later `capacity` is ignored.
pub fn open_at(dir: &Path, capacity: u16) -> Result<Opened, StoreError> {
    disk::create_dir(dir).map_err(failed("create the directory", dir))?;
    let lock = lock_table(dir)?;
    let table = dir.join(TABLE);
    let created = !exists(&table)?;
    if created {
        no_key_left(dir)?;
        let contents = empty(capacity)?;
        create_table(&table, &contents)?;
    }
    let disk = StdDisk::open(&table).map_err(failed("open", &table))?.holding(lock);
    let (file, loaded) =
        PairingFile::open(disk).map_err(|error| StoreError::Table { path: table, error })?;
    let key = match read_key(dir) {
        Err(StoreError::KeyMissing { .. }) if loaded.contents.devices.is_empty() => {
            create_key(dir)?
        }
        key => key?,
    };
    Ok(Opened { file, loaded, key, created })
}

/// Checks the table in `dir` without changing table or key. Fails with [`StoreError::Busy`] while
/// another process uses it.
pub fn check_at(dir: &Path) -> Result<Check, StoreError> {
    let table = existing_table(dir)?;
    let _lock = lock_table(dir)?;
    let open = || StdDisk::open_read_only(&table).map_err(failed("open", &table));
    let lines = recovery::check(&open()?).unwrap_or_default();
    let verdict = PairingFile::open(open()?).map(|(_, loaded)| loaded);
    let key = match read_key(dir) {
        Ok(_) => true,
        Err(StoreError::KeyMissing { .. } | StoreError::KeyDamaged { .. }) => false,
        Err(error) => return Err(error),
    };
    Ok(Check { verdict, lines, key })
}

/// Repairs the table in `dir` at the request of the owner: keeps every intact device, frees the
/// records that are lost, and makes a key if it is missing or damaged.
///
/// A damaged file is first copied to `<name>.damaged-<n>`. `capacity` is used only if nothing can
/// be recovered.
pub fn repair_at(dir: &Path, capacity: u16) -> Result<Repaired, StoreError> {
    let table = existing_table(dir)?;
    let _lock = lock_table(dir)?;
    let mut repaired = repair_table(&table, capacity)?;
    repaired.new_key = match read_key(dir) {
        Ok(_) => false,
        Err(StoreError::KeyMissing { .. }) => create_key(dir).map(|_| true)?,
        Err(StoreError::KeyDamaged { path }) => {
            back_up(&path)?;
            let key = new_key()?;
            replace_private(&path, &key.to_file()).map_err(failed("write", &path))?;
            true
        }
        Err(error) => return Err(error),
    };
    Ok(repaired)
}

/// Reads the key of the table in `dir`, even while a gateway uses it. Fails with
/// [`StoreError::Absent`] if there is none.
pub fn key_at(dir: &Path) -> Result<TableKey, StoreError> {
    read_key(dir).map_err(|error| match error {
        StoreError::KeyMissing { path } => StoreError::Absent { path },
        error => error,
    })
}

/// Returns whether another process, such as a running gateway, uses the table in `dir`.
pub fn in_use(dir: &Path) -> Result<bool, StoreError> {
    if !exists(&dir.join(LOCK))? {
        return Ok(false);
    }
    match lock(dir) {
        Ok(_) => Ok(false),
        Err(StoreError::Busy { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// File names in a state directory.
const TABLE: &str = "pairing.table";
const KEY: &str = "table.key";
const LOCK: &str = "pairing.lock";
/// File with the address and port of a running gateway, on one line.
pub const ADDRESS_FILE: &str = "gateway.addr";

fn repair_table(table: &Path, capacity: u16) -> Result<Repaired, StoreError> {
    let disk = StdDisk::open(table).map_err(failed("open", table))?;
    let unusable = |error| StoreError::Table { path: table.to_owned(), error };
    let mut repaired = Repaired::default();
    match PairingFile::open(disk) {
        Ok((mut file, loaded)) => {
            file.repair_replicas().map_err(failed("repair", table))?;
            repaired.devices = loaded.contents.devices.len();
            return Ok(repaired);
        }
        Err(error @ (OpenError::Newer(_) | OpenError::Io(_))) => return Err(unusable(error)),
        Err(OpenError::Length { .. } | OpenError::Damaged(_)) => {}
    }
    let disk = StdDisk::open_read_only(table).map_err(failed("open", table))?;
    let contents = match recovery::recover(&disk).map_err(unusable)? {
        Some(recovered) => {
            repaired.lost = recovered.lost;
            recovered.contents
        }
        None => {
            repaired.empty = true;
            empty(capacity)?
        }
    };
    drop(disk);
    repaired.devices = contents.devices.len();
    repaired.table_copy = Some(back_up(table)?);
    create_table(table, &contents)?;
    Ok(repaired)
}

fn empty(capacity: u16) -> Result<Contents, StoreError> {
    let id = TableId(disk::random().map_err(failed("create an id for", Path::new(TABLE)))?);
    Ok(Contents { shape: Shape { id, capacity }, age: TableAge(0), devices: Vec::new() })
}

/// Writes a complete table and then renames it to its final name.
fn create_table(table: &Path, contents: &Contents) -> Result<(), StoreError> {
    let new = disk::temporary(table);
    let write = || {
        disk::remove_if_exists(&new)?;
        drop(PairingFile::create(StdDisk::create(&new)?, contents)?);
        disk::rename_durably(&new, table)
    };
    write().map_err(failed("create", table))
}

/// Copies a file durably to `<name>.damaged-<n>` with the first free `n`, and returns the path.
fn back_up(path: &Path) -> Result<PathBuf, StoreError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    let mut number = 1;
    loop {
        let copy = disk::suffixed(path, &format!(".damaged-{number}"));
        match write_private(&copy, &bytes) {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed("write", &copy)(error)),
        }
    }
}

/// Takes the lock and removes the address file.
///
/// The lock proves that no gateway runs, so the address was left behind by a killed gateway and may
/// belong to an unrelated process by now.
fn lock_table(dir: &Path) -> Result<DirLock, StoreError> {
    let lock = lock(dir)?;
    let _ = fs::remove_file(dir.join(ADDRESS_FILE));
    Ok(lock)
}

fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join(LOCK);
    let lock = disk::lock(&path).map_err(failed("lock", &path))?;
    lock.ok_or_else(|| StoreError::Busy { dir: dir.to_owned() })
}

fn existing_table(dir: &Path) -> Result<PathBuf, StoreError> {
    let path = dir.join(TABLE);
    if exists(&path)? {
        Ok(path)
    } else {
        no_key_left(dir)?;
        Err(StoreError::Absent { path })
    }
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    disk::exists(path).map_err(failed("look for", path))
}

/// Reads the key. Fails with [`StoreError::KeyMissing`] or [`StoreError::KeyDamaged`] if there is
/// no intact one.
fn read_key(dir: &Path) -> Result<TableKey, StoreError> {
    let path = dir.join(KEY);
    if !exists(&path)? {
        return Err(StoreError::KeyMissing { path });
    }
    let disk = StdDisk::open_read_only(&path).map_err(failed("open", &path))?;
    let mut bytes = [0; FILE_LEN];
    let is_whole = disk.len().map_err(failed("read", &path))? == FILE_LEN as u64;
    if is_whole {
        disk.read_at(0, &mut bytes).map_err(failed("read", &path))?;
    }
    TableKey::from_file(&bytes).filter(|_| is_whole).ok_or(StoreError::KeyDamaged { path })
}

/// Fails with [`StoreError::Lost`] if there is a key, since a key shows that there was a table.
fn no_key_left(dir: &Path) -> Result<(), StoreError> {
    if exists(&dir.join(KEY))? {
        return Err(StoreError::Lost { path: dir.join(TABLE) });
    }
    Ok(())
}

fn create_key(dir: &Path) -> Result<TableKey, StoreError> {
    let path = dir.join(KEY);
    let key = new_key()?;
    write_private(&path, &key.to_file()).map_err(failed("create", &path))?;
    Ok(key)
}

fn new_key() -> Result<TableKey, StoreError> {
    disk::random().map(TableKey::new).map_err(failed("create", Path::new(KEY)))
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |error| StoreError::Io { doing, path: path.to_owned(), error }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io { doing, path, error } => {
                write!(f, "cannot {doing} {}: {error}", path.display())
            }
            StoreError::Busy { dir } => write!(
                f,
                "another gatelet process uses {}; stop it, or use another state directory",
                dir.display()
            ),
            StoreError::Absent { path } => {
                write!(f, "{} does not exist; `gatelet run` creates it", path.display())
            }
            StoreError::Lost { path } => write!(
                f,
                "{} is missing although its key exists; restore the table or a backup of it, or \
                 remove {KEY} from the same directory to start with an empty table",
                path.display()
            ),
            StoreError::Table { path, error } => {
                let advice = match error {
                    OpenError::Newer(_) => "update gatelet",
                    OpenError::Io(_) => "check the disk; nothing was changed",
                    OpenError::Length { .. } | OpenError::Damaged(_) => {
                        "nothing was changed: see `gatelet table check`, then run `gatelet table \
                         repair` to keep every intact device, or restore a backup"
                    }
                };
                write!(f, "cannot use {}: {error}; {advice}", path.display())
            }
            StoreError::KeyMissing { path } => key_error(f, path, "missing"),
            StoreError::KeyDamaged { path } => key_error(f, path, "damaged"),
        }
    }
}

fn key_error(f: &mut fmt::Formatter<'_>, path: &Path, state: &str) -> fmt::Result {
    write!(
        f,
        "{} is {state}, and no device token can be checked without it; restore it, or run \
         `gatelet table repair` to create a new one (paired devices stay paired by their keys and \
         get new tokens)",
        path.display()
    )
}

impl std::error::Error for StoreError {}
