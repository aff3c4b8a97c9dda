//! The world as the configuration sees it: variables and files, read only.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Environment variables and files. Tests give maps.
pub trait Env {
    /// The variable's value; what is not UTF-8 in it comes as U+FFFD.
    fn var(&self, name: &str) -> Option<String>;

    /// The whole file, refused beyond `max` bytes.
    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>>;

    /// Permission bits on Unix, `None` elsewhere and if unknown.
    fn mode(&self, path: &Path) -> Option<u32>;

    /// Is there something at that path?
    fn exists(&self, path: &Path) -> bool;

    /// Is there a file at that path that this user may read?
    fn readable(&self, path: &Path) -> bool;

    /// Are directories where Windows has them?
    fn windows(&self) -> bool {
        cfg!(windows)
    }
}

/// This process and this machine.
pub struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {max} bytes")));
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
