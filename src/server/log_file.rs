//! A log file of bounded size, for a process that has no standard error output, and for who asks for one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends lines to a file; when it is full, it becomes `<name>.1` in place of the one before.
///
/// On disk are at most twice the limit and one line.
pub struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    max: u64,
}

impl LogFile {
    /// Opens or makes the file at `path`; `max` bytes fill it.
    pub fn open(path: &Path, max: u64) -> io::Result<LogFile> {
        let file = append(path)?;
        let len = file.metadata()?.len();
        Ok(LogFile { path: path.to_path_buf(), file, len, max })
    }

    /// Appends a line, which ends in a line end.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        if self.len + line.len() as u64 > self.max {
            self.turn_over()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// A reader that follows the file can forbid its renaming on Windows. Then the old lines go, and the limit stays.
    fn turn_over(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        if fs::rename(&self.path, old).is_err() {
            File::create(&self.path)?;
        }
        // also where the same name is another file by now
        (self.file, self.len) = (append(&self.path)?, 0);
        Ok(())
    }
}

/// Opened for its owner alone: addresses and names of devices are in it.
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
    fn a_full_file_makes_room_and_the_last_lines_are_kept() {
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
    fn a_second_start_appends_and_counts_what_is_there() {
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
    fn where_the_old_file_cannot_move_the_limit_still_holds() {
        let dir = place("stuck");
        let path = dir.join("gatelet.log");
        // a directory in the way of the new name is the nearest thing Unix has to a reader that forbids renaming
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
