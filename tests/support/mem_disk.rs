//! Disk in memory with stricter failures than a real one.
//!
//! Keeps the contents that the process sees (`live`), the contents that are safe from a power cut
//! (`durable`), and for every unsynced sector all contents it has had since: a power cut may leave
//! any of them. Power can end after a chosen byte, in the middle of a write. A failed sync drops
//! what was unsynced, as Linux does: a later sync succeeds without writing it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use gatelet::store::Disk;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// Handle of a disk; the disk outlives the file that uses it.
#[derive(Clone)]
pub struct MemDisk(Arc<Mutex<State>>);

/// State after a failed sync of the sectors that it should have made durable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lands {
    Nothing,
    Everything,
    /// The first 41 bytes of each sector: the generation of a slot without its checksum.
    Beginnings,
}

/// Effect of a power cut on unsynced data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each sector holds one of the contents it has had.
    Sectors,
    /// Additionally, each block of 4 KiB with an unsynced sector may become garbage, including its
    /// other sectors.
    Blocks,
}

#[derive(Default)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    power: Option<u64>,
    sync_failure: Option<(u64, Lands)>,
    write_failure: Option<(u64, usize)>,
    read_only: bool,
    bytes: u64,
    writes: Vec<(u64, usize)>,
    syncs: u64,
}

impl MemDisk {
    /// Returns a disk with these bytes, durable.
    pub fn new(bytes: &[u8]) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(State {
            live: bytes.to_vec(),
            durable: bytes.to_vec(),
            ..State::default()
        })))
    }

    /// Ends power after this many more bytes were written.
    pub fn cut_after(&self, bytes: u64) {
        self.state().power = Some(bytes);
    }

    /// Makes the sync after `good` more successful ones fail, once.
    pub fn fail_sync_after(&self, good: u64, lands: Lands) {
        self.state().sync_failure = Some((good, lands));
    }

    /// Makes the write after `good` more successful ones fail after `part` bytes, once: the disk is
    /// full.
    pub fn fail_write_after(&self, good: u64, part: usize) {
        self.state().write_failure = Some((good, part));
    }

    /// Makes every write fail.
    pub fn read_only(&self) {
        self.state().read_only = true;
    }

    /// Cancels all planned failures.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.power, state.sync_failure, state.write_failure) = (None, None, None);
    }

    /// Returns the contents that a process reads.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().live.clone()
    }

    /// Returns the number of bytes written and of syncs so far.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.bytes, state.syncs)
    }

    /// Returns offset and length of each write so far.
    pub fn writes(&self) -> Vec<(u64, usize)> {
        self.state().writes.clone()
    }

    /// Returns possible contents after a power cut now: all if there are at most `most`, else
    /// `most` at random including the extremes. With [`Loss::Blocks`] also garbage.
    pub fn after_power_cut(&self, loss: Loss, most: usize, random: &mut Rng) -> Vec<Vec<u8>> {
        let state = self.state();
        let choices: Vec<usize> =
            state.unsynced.values().map(|versions| versions.len() + 1).collect();
        let all =
            choices.iter().try_fold(1usize, |all, one| all.checked_mul(*one)).unwrap_or(usize::MAX);
        let lens = if state.live.len() == state.durable.len() { 1 } else { 2 };
        let mut images = Vec::new();
        for len in [state.live.len(), state.durable.len()].into_iter().take(lens) {
            for at in 0..all.min(most) {
                let mut number = if all <= most { at } else { 0 };
                let mut pick = |ways: usize| match at {
                    _ if all <= most => {
                        let one = number % ways;
                        number /= ways;
                        one
                    }
                    0 => 0,
                    1 => ways - 1,
                    _ => random.usize(..ways),
                };
                let picked: Vec<usize> = choices.iter().map(|ways| pick(*ways)).collect();
                images.push(state.image(len, &picked));
            }
            if loss == Loss::Blocks && !state.unsynced.is_empty() {
                images.push(state.garbage(len));
            }
        }
        images
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn image(&self, len: usize, picked: &[usize]) -> Vec<u8> {
        let mut image = self.durable.clone();
        image.resize(len, 0);
        for ((sector, versions), pick) in self.unsynced.iter().zip(picked) {
            if let Some(version) = pick.checked_sub(1).map(|at| &versions[at]) {
                lay(&mut image, *sector, version);
            }
        }
        image
    }

    fn garbage(&self, len: usize) -> Vec<u8> {
        let mut image = self.image(len, &vec![0; self.unsynced.len()]);
        for sector in self.unsynced.keys() {
            let block = sector * SECTOR / BLOCK * BLOCK;
            let end = (block + BLOCK).min(image.len());
            image[block.min(end)..end].fill(0xa5);
        }
        image
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if bytes.is_empty() {
            return;
        }
        for sector in offset / SECTOR..=(end - 1) / SECTOR {
            let content =
                self.live[sector * SECTOR..self.live.len().min((sector + 1) * SECTOR)].to_vec();
            self.unsynced.entry(sector).or_default().push(content);
        }
    }

    fn land(&mut self, lands: Lands) {
        self.durable.resize(self.live.len(), 0);
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let content = versions.last().unwrap();
            let landed = match lands {
                Lands::Nothing => 0,
                Lands::Everything => content.len(),
                Lands::Beginnings => content.len().min(41),
            };
            lay(&mut self.durable, sector, &content[..landed]);
        }
    }

    fn powered(&self) -> io::Result<()> {
        match self.power {
            Some(0) => Err(io::Error::other("no power")),
            _ => Ok(()),
        }
    }
}

fn lay(image: &mut [u8], sector: usize, content: &[u8]) {
    let start = (sector * SECTOR).min(image.len());
    let end = (start + content.len()).min(image.len());
    image[start..end].copy_from_slice(&content[..end - start]);
}

fn due(countdown: &mut u64) -> bool {
    let now = *countdown == 0;
    *countdown = countdown.saturating_sub(1);
    now
}

impl Disk for MemDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (state, start) = (self.state(), offset as usize);
        let found = state.live.get(start..start + bytes.len()).ok_or(ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.powered()?;
        if state.read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        state.writes.push((offset, bytes.len()));
        if let Some((countdown, part)) = &mut state.write_failure {
            let part = *part;
            if due(countdown) {
                state.write_failure = None;
                state.put(offset as usize, &bytes[..part.min(bytes.len())]);
                return Err(ErrorKind::StorageFull.into());
            }
        }
        let left = state.power.unwrap_or(u64::MAX);
        let written = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        state.put(offset as usize, &bytes[..written]);
        if let Some(power) = &mut state.power {
            *power -= written as u64;
        }
        match written == bytes.len() {
            true => Ok(()),
            false => Err(io::Error::other("no power")),
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.powered()?;
        state.live.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.powered()?;
        if let Some((countdown, lands)) = &mut state.sync_failure {
            let lands = *lands;
            if due(countdown) {
                state.sync_failure = None;
                state.land(lands);
                return Err(io::Error::other("input/output error"));
            }
        }
        state.syncs += 1;
        state.land(Lands::Everything);
        Ok(())
    }
}
