//! Read-only access to environment variables and files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Source of environment variables and files. Tests implement it with maps.
pub trait Env {
    /// Returns the variable's value, with U+FFFD in place of what is not UTF-8.
    fn var(&self, name: &str) -> Option<String>;

    /// Reads the whole file. Error if it is larger than `max` bytes.
    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>>;

    /// Returns the Unix permission bits; `None` on other systems and if they cannot be read.
    fn mode(&self, path: &Path) -> Option<u32>;

    /// Returns whether the path exists.
    fn exists(&self, path: &Path) -> bool;

    /// Returns whether the file exists and this process can open it for reading.
    fn readable(&self, path: &Path) -> bool;

    /// Returns whether the Windows directory layout applies.
    fn windows(&self) -> bool {
        cfg!(windows)
    }
}

/// No variables and no files.
pub(super) struct Empty;

impl Env for Empty {
    fn var(&self, _name: &str) -> Option<String> {
        None
    }

    fn read(&self, _path: &Path, _max: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    fn exists(&self, _path: &Path) -> bool {
        false
    }

    fn readable(&self, _path: &Path) -> bool {
        false
    }
}

/// The environment and file system of this process.
pub struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {max} bytes"),
            ));
        }
        Ok(bytes)
    }

    #[cfg(unix)]
    fn mode(&self, path: &Path) -> Option<u32> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).ok().map(|file| file.permissions().mode() & 0o7777)
    }

    #[cfg(not(unix))]
    fn mode(&self, _path: &Path) -> Option<u32> {
        None
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn readable(&self, path: &Path) -> bool {
        File::open(path).is_ok()
    }
}
