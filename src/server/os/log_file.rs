//! Log file of bounded size, for a process without a standard error output and for users who
//! configure one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends lines to a file. When it is full, it is renamed to `<name>.1`, which replaces the
/// previous one.
///
/// Uses at most twice the limit plus one line on disk.
pub struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    max: u64,
}

impl LogFile {
    /// Opens or creates the file at `path`. `max` is its maximum size in bytes.
    pub fn open(path: &Path, max: u64) -> io::Result<LogFile> {
        let file = append(path)?;
        let len = file.metadata()?.len();
        Ok(LogFile { path: path.to_path_buf(), file, len, max })
    }

    /// Appends a line, which must end in a line feed.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        if self.len + line.len() as u64 > self.max {
            self.turn_over()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Starts a new file. On Windows, a reader that follows the file can prevent renaming. The old
    /// lines are then deleted, so that the limit holds.
    fn turn_over(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        if fs::rename(&self.path, old).is_err() {
            File::create(&self.path)?;
        }
        // opened anew in both cases: the name may refer to another file by now
        (self.file, self.len) = (append(&self.path)?, 0);
        Ok(())
    }
}

/// Opens a file for appending, accessible only by its owner (Unix): it has addresses and device
/// names.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("gatelet-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_full_file_is_rotated_and_the_last_lines_are_kept() {
        let dir = place("full");
        let path = dir.join("gatelet.log");
        let mut log = LogFile::open(&path, 12).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n"] {
            log.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "five\nsix\n");
        assert_eq!(fs::read_to_string(dir.join("gatelet.log.1")).unwrap(), "three\nfour\n");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        drop(log);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_second_start_appends_and_counts_existing_bytes() {
        let dir = place("again");
        let path = dir.join("gatelet.log");
        LogFile::open(&path, 10).unwrap().write("first\n").unwrap();
        LogFile::open(&path, 10).unwrap().write("two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\ntwo\n");
        LogFile::open(&path, 10).unwrap().write("3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(fs::read_to_string(dir.join("gatelet.log.1")).unwrap(), "first\ntwo\n");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_limit_holds_if_the_file_cannot_be_renamed() {
        let dir = place("stuck");
        let path = dir.join("gatelet.log");
        // on Unix, a directory at the new name prevents renaming, as such a reader does on Windows
        fs::create_dir(dir.join("gatelet.log.1")).unwrap();
        fs::write(dir.join("gatelet.log.1").join("x"), "").unwrap();
        let mut log = LogFile::open(&path, 8).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            log.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        drop(log);
        fs::remove_dir_all(dir).unwrap();
    }
}
