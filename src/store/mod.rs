//! The pairing table on disk: one file of a fixed size that survives power cuts.
//!
//! ```text
//! pairing.table = replica 0: header, record 0 .. n-1, zeros up to a multiple of 4 KiB
//!                 replica 1: the same
//! slot          = 1 KiB: magic, format, capacity, table, number, copy, kind, generation, length,
//!                 CRC32C, body, zeros
//! ```
//!
//! A header or record is stored in two slots, one in each replica. An update writes and syncs one
//! replica of the record, then the other; it is acknowledged after the second sync.
//! `tests/it/store_*.rs` verify the invariants that follow:
//!
//! - Power may fail at any byte: a record has its old or its new value, and acknowledged updates
//!   are present.
//! - No update writes a slot of another record. If the disk loses a whole 4 KiB block in a torn
//!   write, the neighboring records still have their other replica in the other half.
//! - After an acknowledgement no older state of the record is left in the file. Damage to one
//!   replica therefore restores neither a revoked device nor a rotated token.
//! - After a failed write or sync, the replica counts as unknown until it is written and synced
//!   again. It is marked as damaged in the file, because the next process would otherwise read from
//!   the cache what never reached the disk.
//! - An unreadable table is never treated as empty. Free records are written out, so zeroed space
//!   is damage; a short or empty file is rejected. Opening writes nothing; only
//!   [`PairingFile::repair_replicas`], a commit, and the explicit [`repair_at`] write.
//!
//! Not part of this module: JSON, sockets, time. Device tokens are derived ([`tokens`]), never
//! stored. The file is never grown, and is renamed into place only when it is created or repaired.

mod disk;
mod file;
mod record;
mod recovery;
mod replicas;
mod state_dir;
pub mod tokens;

pub use disk::{create_dir, lock, replace, replace_private, write_private, DirLock, Disk, StdDisk};
pub use file::{Contents, Damage, LoadedTable, OpenError, PairingFile, UnusedReplica};
pub use record::{
    decode, encode, Decoded, Fault, Shape, SlotContents, SlotPosition, Stamp, TableId,
};
pub use recovery::{check, recover, CheckLine, Recovered, ReplicaState};
pub use replicas::Flaw;
pub use state_dir::{
    check_at, in_use, key_at, open_at, repair_at, Check, Opened, Repaired, StoreError, ADDRESS_FILE,
};
