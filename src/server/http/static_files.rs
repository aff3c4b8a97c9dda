//! Files of `gateway.controlUi.root`. A request gets one file below that directory, in pieces that
//! are read on another thread ([`crate::server::runtime::Offload`]).
//!
//! Paths are not decoded and only plain names are looked up, so there is no other way to write
//! `..`, a drive or a device. Symbolic links below the directory are not followed; the directory
//! itself may be one. Only regular files are read, and only below a directory with an index page,
//! so a client that may change the configuration cannot use it to read the disk.
//!
//! The index page gets the markup that the pages of both protocols look for, and its inline scripts
//! are allowed by their hashes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::gate::limits;
use crate::server::runtime::Offload;
use crate::wire::base64;
use crate::wire::http::{Head, ResponseHead, POLICY_CONTROL_UI};

/// Content types by file extension. A path with another extension, or none, may be a route of the
/// page.
const TYPES: [(&str, &str); 17] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json; charset=utf-8"),
    ("map", "application/json; charset=utf-8"),
    ("webmanifest", "application/manifest+json; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("woff2", "font/woff2"),
    ("woff", "font/woff"),
];

/// Content codings with their file extensions: `x.br` and `x.gz` may exist beside `x`, with the
/// same content.
const PACKED: [(&str, &str); 3] = [("br", ".br"), ("gzip", ".gz"), ("", "")];

/// Device names that Windows reserves in every directory, with any extension.
const DEVICES: &str = "con prn aux nul com0 com1 com2 com3 com4 com5 com6 com7 com8 com9 \
    lpt0 lpt1 lpt2 lpt3 lpt4 lpt5 lpt6 lpt7 lpt8 lpt9";

const PERMISSIONS: (&str, &str) =
    ("Permissions-Policy", "camera=(self), microphone=(self), geolocation=()");
const VARY: (&str, &str) = ("Vary", "Accept-Encoding");

/// A response in progress. It starts with the response head.
pub struct FileResponse {
    root: PathBuf,
    /// Empty, or of the form `/like/this`.
    base: String,
    /// Path below the base, without a leading slash.
    path: String,
    /// Whether the client accepts the index page if there is no such file.
    accepts_html: bool,
    accepted_codings: [bool; PACKED.len()],
    if_none_match: String,
    wants_body: bool,
    is_started: bool,
    rest: Option<(File, u64)>,
}

impl FileResponse {
    /// Creates the response to a request for `path` below `root`.
    pub fn new(head: &Head<'_>, root: &Path, base: &str, path: &str) -> FileResponse {
        FileResponse {
            root: root.to_path_buf(),
            base: base.to_string(),
            path: path.to_string(),
            accepts_html: head.header("Accept").is_some_and(|types| types.contains("html")),
            accepted_codings: PACKED.map(|(coding, _)| coding.is_empty() || head.accepts(coding)),
            if_none_match: head.header("If-None-Match").unwrap_or("").to_string(),
            wants_body: head.method != "HEAD",
            is_started: false,
            rest: None,
        }
    }

    /// Reads the next bytes of the response on another thread, so that a slow disk delays only
    /// files. Returns `None` at the end, or if too many other reads wait.
    pub async fn read(
        mut self: Box<Self>,
        offload: &Offload,
    ) -> Option<(Box<FileResponse>, Vec<u8>)> {
        let read = offload.run(move || (self.next(), self)).await;
        read.filter(|(piece, _)| !piece.is_empty()).map(|(piece, rest)| (rest, piece))
    }

    /// Returns the next bytes of the response, with at most [`limits::FILE_PIECE`] bytes of a file.
    /// Empty at the end.
    fn next(&mut self) -> Vec<u8> {
        let mut piece = if self.is_started { Vec::new() } else { self.begin() };
        self.is_started = true;
        if let Some((file, left)) = &mut self.rest {
            let (start, max) = (piece.len(), limits::FILE_PIECE.min(*left));
            piece.resize(start + max as usize, 0);
            let read = file.read(&mut piece[start..]).unwrap_or(0);
            piece.truncate(start + read);
            *left -= read as u64;
            // a file that became shorter ends early
            if *left == 0 || read == 0 {
                self.rest = None;
            }
        }
        piece
    }

    fn begin(&mut self) -> Vec<u8> {
        let Ok((index, len, _)) = open(&self.root, "index.html") else { return self.no_page() };
        let wanted = matches!(self.path.as_str(), "" | "index.html");
        if !wanted && is_plain(&self.path) {
            let forms =
                PACKED.into_iter().zip(self.accepted_codings).filter(|(_, accepted)| *accepted);
            for ((coding, end), _) in forms {
                if let Ok((file, len, changed)) = open(&self.root, &format!("{}{end}", self.path)) {
                    return self.file(file, len, changed, coding);
                }
            }
        }
        let known = self
            .path
            .rsplit_once('.')
            .is_some_and(|(_, end)| end != "html" && content_type(end).is_some());
        if wanted || self.accepts_html && !known && !is_hostile(&self.path) {
            self.index(index, len)
        } else {
            self.whole(&ResponseHead::TEXT.status(404), b"Not Found")
        }
    }

    fn file(&mut self, file: File, len: u64, changed: u64, coding: &str) -> Vec<u8> {
        let end = self.path.rsplit_once('.').map_or("", |(_, end)| end);
        let tag = format!("\"{changed:x}-{len:x}{coding}\"");
        let extra = [VARY, PERMISSIONS, ("ETag", &tag), ("Content-Encoding", coding)];
        let fresh =
            self.if_none_match.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
        if self.wants_body && !fresh {
            self.rest = Some((file, len));
        }
        let answer = ResponseHead {
            status: if fresh { 304 } else { 200 },
            content_type: content_type(end).unwrap_or("application/octet-stream"),
            cache: if is_hashed(&self.path) {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
            policy: POLICY_CONTROL_UI,
            extra: if coding.is_empty() { &extra[..3] } else { &extra },
        };
        answer.head(len)
    }

    fn index(&self, file: File, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = len <= limits::INDEX_LEN
            && file.take(len).read_to_end(&mut bytes).is_ok()
            && !bytes.is_empty();
        let Some(text) = core::str::from_utf8(&bytes).ok().filter(|_| read) else {
            return self.no_page();
        };
        let (page, policy) = stamp(text, &self.base);
        let answer = ResponseHead {
            content_type: "text/html; charset=utf-8",
            cache: "no-cache",
            policy: &policy,
            extra: &[PERMISSIONS],
            ..ResponseHead::TEXT
        };
        self.whole(&answer, page.as_bytes())
    }

    fn no_page(&self) -> Vec<u8> {
        let text = format!(
            "There is no page: the directory of gateway.controlUi.root has no index.html that can be read.\n\
            Give the directory of a built Control UI (of OpenClaw: node_modules/openclaw/dist/control-ui), or leave the \
            key out.\ngatelet's own page is at {}/gatelet/\n",
            self.base
        );
        self.whole(&ResponseHead::TEXT.status(503), text.as_bytes())
    }

    fn whole(&self, answer: &ResponseHead<'_>, body: &[u8]) -> Vec<u8> {
        let mut out = answer.head(body.len() as u64);
        out.extend_from_slice(if self.wants_body { body } else { b"" });
        out
    }
}

/// Returns the index page as sent to browsers, and the policy that allows its inline scripts.
/// Relative addresses become absolute, because a route of the page may have any depth.
fn stamp(text: &str, base: &str) -> (String, String) {
    // browsers hash the text after they have converted every line end to a line feed
    let text = text.replace("\r\n", "\n").replace("=\"./", &format!("=\"{base}/"));
    let v4 = text.contains("data-openclaw-control-ui-build-id");
    let (mark, stamp) = if v4 {
        (
            "<html",
            format!(
                "<html data-openclaw-control-ui-base-path=\"{base}\" data-openclaw-terminal-enabled=\"false\""
            ),
        )
    } else {
        // the page of protocol 3 reads the token from the query only
        (
            "</head>",
            format!(
                "<script>window.__OPENCLAW_CONTROL_UI_BASE_PATH__=\"{base}\";\
                location.hash.startsWith(\"#token=\")&&history.replaceState(null,\"\",\"?\"+location.hash.slice(1))</script></head>"
            ),
        )
    };
    let page = text.replacen(mark, &stamp, 1);
    let mut policy = POLICY_CONTROL_UI.to_string();
    for script in page.split("<script").skip(1) {
        let Some((tag, rest)) = script.split_once('>') else { continue };
        let code = rest.split_once("</script>").map_or("", |(code, _)| code);
        if !tag.contains("src=") {
            let hash = base64::encode(&Sha256::digest(code));
            policy += &format!(" 'sha256-{hash}'");
        }
    }
    (page, policy)
}

fn content_type(end: &str) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == end).map(|(_, name)| *name)
}

/// Returns whether all names in the path mean the same on every system.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@+".contains(&byte);
        let stem = part.split('.').next().unwrap_or("");
        let device = DEVICES.split(' ').any(|name| stem.eq_ignore_ascii_case(name));
        !stem.is_empty() && !part.ends_with('.') && part.bytes().all(plain) && !device
    })
}

/// Returns whether the path has a form that no route of a page has, such as `..` or a backslash.
fn is_hostile(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.starts_with('.')
        || ["/.", "\\", "%2e%2e", "%00", "%5c"].iter().any(|part| path.contains(part))
}

/// Returns whether a name below `assets/` ends in eight characters of a content hash, as bundlers
/// write it.
fn is_hashed(path: &str) -> bool {
    let stem = path
        .strip_prefix("assets/")
        .and_then(|name| name.rsplit_once('.'))
        .map_or("", |(stem, _)| stem);
    let hash = stem
        .len()
        .checked_sub(9)
        .and_then(|at| stem.get(at..))
        .and_then(|end| end.strip_prefix('-'));
    hash.is_some_and(|hash| {
        hash.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}

/// Opens a regular file. Returns it with its length in bytes and the time of its last change in
/// seconds since 1970.
fn open(root: &Path, path: &str) -> io::Result<(File, u64, u64)> {
    let file = walk(root, path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((file, about.len(), changed.map_or(0, |time| time.as_secs())))
}

/// Opens each directory relative to the one before, so that none can be replaced in between.
#[cfg(unix)]
fn walk(root: &Path, path: &str) -> io::Result<File> {
    use rustix::fs::{openat, Mode, OFlags, CWD};

    // without NONBLOCK, opening a pipe waits for a writer
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut at = openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    for part in path.split('/') {
        at = openat(&at, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at.into())
}

/// Checks each component before it is opened. The last one is not followed even if it becomes a
/// link after its check.
#[cfg(not(unix))]
fn walk(root: &Path, path: &str) -> io::Result<File> {
    let mut at = root.to_path_buf();
    for part in path.split('/') {
        at.push(part);
        if std::fs::symlink_metadata(&at)?.file_type().is_symlink() {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    let mut options = File::options();
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, FILE_FLAG_OPEN_REPARSE_POINT);
    options.read(true).open(at)
}

#[cfg(windows)]
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
