//! Allowlist of `system.run`: file `node/allow` in the state directory, one command per line.
//!
//! ```text
//! # absolute path of a program, optionally with its first arguments; more arguments may follow
//! /usr/bin/uptime
//! /usr/bin/git status
//! "/opt/my tools/backup" --dry-run
//! # $ at the end: no arguments may follow
//! /usr/bin/systemctl restart printer $
//! ```
//!
//! An argument with spaces is enclosed in double quotes; there is no escaping and no expansion. The
//! file is rejected if other users can write to it, or if one line is invalid: a partly read
//! allowlist is not applied. Without a file, or with only comments in it, no program may run. The
//! program that is started is the path in the line, never the name in the request.

use std::path::{Path, PathBuf};

use super::NodeError;
use crate::config::{Env, SystemEnv};
use crate::gate::limits;
use crate::store;

/// Entry of the allowlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowedCommand {
    /// Absolute path of the program.
    pub program: String,
    /// Arguments with which the command must begin.
    arguments: Vec<String>,
    /// Whether no further arguments may follow.
    exact: bool,
}

impl AllowedCommand {
    /// Builds an entry from the tokens of a line; the error says what is invalid.
    fn new(mut arguments: Vec<String>) -> Result<AllowedCommand, &'static str> {
        let exact = arguments.last().is_some_and(|last| last == END);
        arguments.truncate(arguments.len() - usize::from(exact));
        if arguments.is_empty() {
            return Err("no program");
        }
        let program = arguments.remove(0);
        if !Path::new(&program).is_absolute() {
            return Err("a program must be given by its absolute path");
        }
        Ok(AllowedCommand { program, arguments, exact })
    }

    /// Returns the entry as it is written in the file.
    pub fn line(&self) -> String {
        let quoted = |text: &String| {
            if text.is_empty() || text.starts_with('#') || text.contains([' ', '\t']) {
                format!("\"{text}\"")
            } else {
                text.clone()
            }
        };
        let argv = std::iter::once(&self.program).chain(&self.arguments).map(quoted);
        let end = self.exact.then(|| END.to_string());
        argv.chain(end).collect::<Vec<_>>().join(" ")
    }

    fn permits(&self, program: &Path, arguments: &[String]) -> bool {
        let has_more = arguments.len() > self.arguments.len();
        arguments.starts_with(&self.arguments)
            && !(self.exact && has_more)
            && is_same_program(Path::new(&self.program), program)
    }
}

/// Returns the path to start for this command, if an entry allows it.
pub fn allowed<'e>(entries: &'e [AllowedCommand], argv: &[String]) -> Option<&'e Path> {
    let (name, arguments) = argv.split_first()?;
    let program = find(name)?;
    entries
        .iter()
        .find(|entry| entry.permits(&program, arguments))
        .map(|entry| Path::new(&entry.program))
}

/// Returns the path of a program: an absolute path unchanged, a bare name searched in PATH, `None`
/// for anything else.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.is_absolute() {
        return Some(path.to_path_buf());
    }
    if name.is_empty() || path.components().count() != 1 || path.file_name() != Some(name.as_ref())
    {
        return None;
    }
    let dirs = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let dirs = std::env::split_paths(&dirs).filter(|dir| dir.is_absolute());
    let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat", ""] } else { &[""] };
    let names =
        dirs.flat_map(|dir| endings.iter().map(move |end| dir.join(format!("{name}{end}"))));
    names.into_iter().find(|path| is_program(path))
}

/// Returns whether the path is a file that can be executed.
pub fn is_program(path: &Path) -> bool {
    let Ok(file) = path.metadata() else { return false };
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = true;
    file.is_file() && executable
}

/// Returns whether two paths have the same file name in the same directory, with symbolic links of
/// the directory resolved: /bin is /usr/bin on many systems. Links of the file itself are not
/// resolved, because one file can be several programs (busybox).
fn is_same_program(one: &Path, other: &Path) -> bool {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if cfg!(windows) {
            name.to_lowercase()
        } else {
            name
        }
    };
    let dir = |path: &Path| path.parent().and_then(|dir| dir.canonicalize().ok());
    let linked = || dir(one).is_some_and(|dir_of| dir(other) == Some(dir_of));
    one == other || !is_remote(other) && name(one) == name(other) && linked()
}

/// Returns whether the path is on another machine (UNC path). On Windows such a path must not be
/// opened at all, because that would send credentials to the machine.
pub fn is_remote(path: &Path) -> bool {
    cfg!(windows) && path.to_string_lossy().replace('/', "\\").starts_with("\\\\")
}

/// Reads the entries of the file in the node's directory.
pub fn read(dir: &Path) -> Result<Vec<AllowedCommand>, NodeError> {
    let text = text(dir)?;
    let entries = (1..).zip(text.lines()).map(|(number, line)| {
        parse_line(line).map_err(|error| {
            let path = file(dir);
            NodeError::Failed(format!("{}, line {number}: {error}", path.display()))
        })
    });
    entries.filter_map(Result::transpose).collect()
}

/// Adds an entry to the file and returns its line.
pub fn allow(dir: &Path, argv: Vec<String>) -> Result<String, NodeError> {
    let entry = entry(argv)?;
    let line = entry.line();
    let listed = read(dir)?.contains(&entry);
    if !is_program(Path::new(&entry.program)) {
        let message = format!("{} is not a program that this user can run", entry.program);
        return Err(NodeError::Failed(message));
    }
    if !listed {
        let text = text(dir)?;
        let lines = text.lines().chain([line.as_str()]);
        write(dir, lines)?;
    }
    Ok(line)
}

/// Removes an entry from the file and returns its line.
pub fn disallow(dir: &Path, argv: Vec<String>) -> Result<String, NodeError> {
    let entry = entry(argv)?;
    let line = entry.line();
    if !read(dir)?.contains(&entry) {
        let message = format!("`{line}` is not allowed; see `gatelet node allowed`");
        return Err(NodeError::Failed(message));
    }
    let is_other = |line: &&str| !matches!(parse_line(line), Ok(Some(other)) if other == entry);
    write(dir, text(dir)?.lines().filter(is_other))?;
    Ok(line)
}

/// Builds an entry from a program and its arguments; a bare program name is searched in PATH.
fn entry(mut argv: Vec<String>) -> Result<AllowedCommand, NodeError> {
    if let Some(path) = argv.first().and_then(|name| find(name)) {
        argv[0] = path.to_string_lossy().into_owned();
    }
    if argv.iter().any(|text| text.contains(['"', '\n', '\r'])) {
        let message = "an argument with a quotation mark or a line end cannot be listed";
        return Err(NodeError::InvalidArgument(message.to_string()));
    }
    AllowedCommand::new(argv).map_err(|error| NodeError::InvalidArgument(error.to_string()))
}

fn write<'a>(dir: &Path, lines: impl Iterator<Item = &'a str>) -> Result<(), NodeError> {
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let path = file(dir);
    store::create_dir(dir)
        .and_then(|()| store::replace_private(&path, text.as_bytes()))
        .map_err(|error| NodeError::cannot_write(&path, &error))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("allow")
}

/// Returns the content of the file; an empty string if there is no file.
fn text(dir: &Path) -> Result<String, NodeError> {
    let path = file(dir);
    if !path.exists() {
        return Ok(String::new());
    }
    if SystemEnv.mode(&path).is_some_and(|mode| mode & 0o022 != 0) {
        let shown = path.display();
        return Err(NodeError::Failed(format!(
            "other users can write to the allowlist {shown}; check its content, then run chmod go-w \
             {shown}"
        )));
    }
    let bytes = SystemEnv
        .read(&path, limits::NODE_ALLOW_LEN)
        .map_err(|error| NodeError::cannot_read(&path, &error))?;
    String::from_utf8(bytes)
        .map_err(|_| NodeError::Failed(format!("{} is not UTF-8", path.display())))
}

/// Parses a line; `None` if it is blank or a comment.
fn parse_line(line: &str) -> Result<Option<AllowedCommand>, &'static str> {
    let mut rest = line.trim();
    let mut argv = Vec::new();
    if rest.starts_with('#') {
        return Ok(None);
    }
    while !rest.is_empty() {
        let (text, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').ok_or("a quotation mark is missing")?,
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        if !after.is_empty() && rest.starts_with('"') && !after.starts_with([' ', '\t'])
            || text.contains('"')
        {
            return Err("quotation marks must enclose a whole argument");
        }
        argv.push(text.to_string());
        rest = after.trim_start();
    }
    if argv.is_empty() {
        return Ok(None);
    }
    AllowedCommand::new(argv).map(Some)
}

/// Last token of a line whose command accepts no further arguments.
const END: &str = "$";

/// Search path if PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_string).collect()
    }

    fn entries(text: &str) -> Vec<AllowedCommand> {
        let parsed = text.lines().map(parse_line).collect::<Result<Vec<_>, _>>();
        let parsed = parsed.unwrap_or_else(|error| panic!("{text}: {error}"));
        parsed.into_iter().flatten().collect()
    }

    #[test]
    fn lines_round_trip() {
        // An absolute path on Windows has a drive.
        let drive = if cfg!(windows) { "C:" } else { "" };
        let text = "@/usr/bin/uptime\n@/usr/bin/git status\n\"@/opt/my tools/b\" --dry-run \"\" \"a b\" $\n@/x \"#\"\n";
        let text = text.replace('@', drive);
        let read = entries(&format!("# comment\n\n  \t\n{text}"));
        assert_eq!(
            read.iter().map(AllowedCommand::line).collect::<Vec<_>>().join("\n") + "\n",
            text
        );
        assert_eq!(read[2].program, format!("{drive}/opt/my tools/b"));
        assert_eq!(read[2].arguments, ["--dry-run", "", "a b"]);
        assert!(read[2].exact && !read[1].exact);
        assert!(entries("").is_empty() && entries("# nothing\n").is_empty());
    }

    #[test]
    fn invalid_line_is_rejected_with_its_number() {
        let dir = std::env::temp_dir().join(format!("gatelet-allow-line-{}", std::process::id()));
        store::create_dir(&dir).unwrap();
        for (line, what) in [
            ("uptime", "a program must be given by its absolute path"),
            ("./uptime", "a program must be given by its absolute path"),
            ("$", "no program"),
            ("\"/usr/bin/a", "a quotation mark is missing"),
            ("/usr/bin/a \"b\"c", "quotation marks must enclose a whole argument"),
            ("/usr/bin/a b\"c\"", "quotation marks must enclose a whole argument"),
        ] {
            store::replace_private(&file(&dir), format!("# first\n{line}").as_bytes()).unwrap();
            let error = read(&dir).unwrap_err();
            let expected = format!("{}, line 2: {what}", file(&dir).display());
            assert_eq!(error.message(), expected, "{line}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn command_is_allowed_by_program_and_first_arguments() {
        let list = entries("/bin/sh -c true\n/bin/ls\n/usr/bin/env A=1 $\n");
        for (line, allowed_path) in [
            ("/bin/ls", Some("/bin/ls")),
            ("ls -l /", Some("/bin/ls")),
            ("/bin/sh -c true", Some("/bin/sh")),
            ("/bin/sh -c true more", Some("/bin/sh")),
            ("sh -c true", Some("/bin/sh")),
            ("/bin/sh -c", None),
            ("/bin/sh -c false", None),
            ("/bin/sh", None),
            ("/usr/bin/env A=1", Some("/usr/bin/env")),
            ("/usr/bin/env A=1 sh", None),
            ("/tmp/ls", None),
            ("./ls", None),
            ("../bin/ls", None),
            ("/bin/../bin/../tmp/ls", None),
            ("no-such-program-anywhere", None),
            ("", None),
        ] {
            assert_eq!(allowed(&list, &words(line)), allowed_path.map(Path::new), "{line}");
        }
        assert_eq!(allowed(&list, &[]), None);
        assert_eq!(allowed(&[], &words("/bin/ls")), None, "nothing listed, nothing allowed");
    }

    #[cfg(unix)]
    #[test]
    fn file_writable_by_others_is_rejected_and_other_lines_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("gatelet-allow-{}", std::process::id()));
        assert!(read(&dir).unwrap().is_empty(), "no file, nothing allowed");
        allow(&dir, words("/bin/ls -l")).unwrap();
        allow(&dir, words("/bin/ls -l")).unwrap();
        let path = file(&dir);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "# mine").unwrap();
        allow(&dir, words("sh")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("/bin/ls -l\n# mine\n/") && text.ends_with("/sh\n"), "{text}");
        assert!(allow(&dir, words("/bin/no-such-program")).is_err());
        assert!(allow(&dir, words("a\"b")).is_err());
        assert!(disallow(&dir, words("/bin/ls")).is_err(), "another entry than the one with -l");
        disallow(&dir, words("/bin/ls -l")).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("# mine\n/"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o620, 0o602] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let Err(refused) = read(&dir) else { panic!("{mode:o} was read") };
            assert!(refused.message().contains("chmod go-w"), "{}", refused.message());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
