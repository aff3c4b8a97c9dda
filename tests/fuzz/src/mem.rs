//! A disk in memory, and a minimal environment.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::rc::Rc;

use gatelet::config::Env;
use gatelet::store::Disk;

/// Disk whose handles share the contents. Writes fail while it is `broken`.
#[derive(Clone, Default)]
pub struct MemDisk {
    pub bytes: Rc<RefCell<Vec<u8>>>,
    pub broken: Rc<RefCell<bool>>,
}

impl MemDisk {
    pub fn of(bytes: &[u8]) -> MemDisk {
        MemDisk { bytes: Rc::new(RefCell::new(bytes.to_vec())), ..MemDisk::default() }
    }

    fn sound(&self) -> io::Result<()> {
        if *self.broken.borrow() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for MemDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        let found = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)?.get(..into.len()));
        into.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.sound()?;
        let (mut bytes, at) = (self.bytes.borrow_mut(), offset as usize);
        let place = bytes
            .get_mut(at..at + from.len())
            .expect("nothing is written behind the end of a table");
        place.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.sound()?;
        self.bytes.borrow_mut().resize(len as usize, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sound()
    }
}

/// Environment with a home, one variable for `${...}`, one file with a secret, and no
/// configuration.
pub struct Home;

impl Env for Home {
    fn var(&self, name: &str) -> Option<String> {
        let value = match name {
            "HOME" => "/home/ann",
            "SAMPLE_PASSWORD" => "a-password-of-the-environment",
            "SAMPLE_TOKEN" => "a-token-of-the-environment-0123456789",
            _ => return None,
        };
        Some(value.to_string())
    }

    fn read(&self, path: &Path, _max: u64) -> io::Result<Vec<u8>> {
        if path == Path::new("/secret") {
            Ok(b"a-secret-of-a-file-0123456789\n".to_vec())
        } else {
            Err(ErrorKind::NotFound.into())
        }
    }

    fn mode(&self, _path: &Path) -> Option<u32> {
        Some(0o600)
    }

    fn exists(&self, path: &Path) -> bool {
        path == Path::new("/secret")
    }

    fn readable(&self, path: &Path) -> bool {
        self.exists(path)
    }
}
