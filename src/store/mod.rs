//! The pairing table on disk: one flat file of a fixed size that survives power cuts.
//!
//! ```text
//! pairing.table = copy 0: header, record 0 .. n-1, zeros up to a multiple of 4 KiB
//!                 copy 1: the same again
//! slot          = 1 KiB: magic, format, capacity, table, number, copy, kind, generation, length, CRC32C, body, zeros
//! ```
//!
//! An update writes one copy of the record and syncs, then the other and syncs; it is acknowledged after the second.
//! From this follow the invariants that `tests/it/store_*.rs` hold:
//!
//! - Power may go at any byte: a record is its old or its new self, and what was acknowledged is there.
//! - No update writes a slot of another record. Where the disk loses a whole block of 4 KiB in a torn write, the neighbours
//!   still have their other copy, which lies in the other half.
//! - After an acknowledgement no older state of the record is left in the file, so damage to one copy brings back neither
//!   a revoked device nor a rotated token: it costs nothing.
//! - After a failed write or sync, the copy in question counts as unknown until it was written and synced again. That is written
//!   into it, because the next process would read from the cache what the disk never got.
//! - Unreadable is never empty. Free records are written out, so zeroed space is damage; a short or empty file is refused.
//!   Opening writes nothing; only [`PairingFile::mend`], a commit, and the explicit [`repair_at`] do.
//!
//! What is not here: JSON, sockets, time. Device tokens are derived ([`tokens`]), never stored. The file is never grown,
//! and renamed into place only when it is made or repaired.

mod copies;
mod disk;
mod file;
mod record;
mod salvage;
mod state_dir;
pub mod tokens;

pub use copies::Flaw;
pub use disk::{create_dir, lock, replace, replace_private, write_private, DirLock, Disk, StdDisk};
pub use file::{Contents, Damage, Loaded, Oddity, OpenError, PairingFile};
pub use record::{decode, encode, Decoded, Fault, Place, Shape, Stamp, TableId, Value};
pub use salvage::{check, salvage, CheckLine, CopyState, Salvage};
pub use state_dir::{check_at, in_use, key_at, open_at, repair_at, Check, Opened, Repaired, StoreError, ADDRESS_FILE};
