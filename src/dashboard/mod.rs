//! The page served at `/`: hand-written files inside the binary, addressed by a digest of their content.
//!
//! Never reads a file, never allocates, never asks anything of another origin. Every asset but the index stands under
//! a path that names its content, so a browser may keep it for good and a new binary is seen at once.

const VERSION: &[u8] = env!("CARGO_PKG_VERSION").as_bytes();
const DIGEST_MARK: &[u8] = b"{digest}";
const VERSION_MARK: &[u8] = b"{version}";

const PAGE: &[u8] = include_bytes!("index.html");
const STYLE: &[u8] = include_bytes!("style.css");
const APP: &[u8] = include_bytes!("app.js");
const GATEWAY: &[u8] = include_bytes!("gateway.js");
const IDENTITY: &[u8] = include_bytes!("identity.js");
const ED25519: &[u8] = include_bytes!("ed25519.js");

const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
const DIGEST: [u8; 8] = digest(&[STYLE, APP, GATEWAY, IDENTITY, ED25519]);
const DATED_LEN: usize = replaced_len(PAGE, VERSION_MARK, VERSION);
const DATED: [u8; DATED_LEN] = replaced(PAGE, VERSION_MARK, VERSION);
const INDEX_LEN: usize = replaced_len(&DATED, DIGEST_MARK, &DIGEST);
static INDEX: [u8; INDEX_LEN] = replaced(&DATED, DIGEST_MARK, &DIGEST);

/// Value of `Content-Security-Policy` for every asset. `'self'` in `connect-src` covers a WebSocket of the same
/// origin (Chromium 71, Firefox 50, Safari 16, and newer).
pub const CSP: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The whole response body.
    pub body: &'static [u8],
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// True: `Cache-Control: public, max-age=31536000, immutable`. False: `no-store`.
    pub immutable: bool,
}

/// The asset at a path below the page's base, without the query; `""`, `"/"` and `"index.html"` are the page itself.
///
/// Assets of another binary's page are not found: their digest differs.
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if matches!(path, "" | "index.html") {
        return Some(Asset { body: &INDEX, content_type: "text/html; charset=utf-8", immutable: false });
    }
    let (version, name) = path.strip_prefix("assets/")?.split_once('/')?;
    if version.as_bytes() != DIGEST {
        return None;
    }
    let (body, content_type) = match name {
        "style.css" => (STYLE, "text/css; charset=utf-8"),
        "app.js" => (APP, SCRIPT_TYPE),
        "gateway.js" => (GATEWAY, SCRIPT_TYPE),
        "identity.js" => (IDENTITY, SCRIPT_TYPE),
        "ed25519.js" => (ED25519, SCRIPT_TYPE),
        _ => return None,
    };
    Some(Asset { body, content_type, immutable: true })
}

/// FNV-1a over all files, as eight hex digits. A changed file only has to change it, so no stronger hash is needed.
const fn digest(files: &[&[u8]]) -> [u8; 8] {
    let mut hash: u32 = 0x811c_9dc5;
    let mut file = 0;
    while file < files.len() {
        let mut at = 0;
        while at < files[file].len() {
            hash = (hash ^ files[file][at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        file += 1;
    }
    let mut hex = [0; 8];
    let mut at = 0;
    while at < 8 {
        hex[at] = b"0123456789abcdef"[(hash >> (28 - 4 * at)) as usize & 15];
        at += 1;
    }
    hex
}

const fn replaced_len(text: &[u8], mark: &[u8], with: &[u8]) -> usize {
    let mut len = 0;
    let mut at = 0;
    while at < text.len() {
        let found = stands_at(text, at, mark);
        len += if found { with.len() } else { 1 };
        at += if found { mark.len() } else { 1 };
    }
    len
}

const fn replaced<const N: usize>(text: &[u8], mark: &[u8], with: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (mut from, mut to) = (0, 0);
    while to < N {
        if stands_at(text, from, mark) {
            let mut at = 0;
            while at < with.len() {
                out[to + at] = with[at];
                at += 1;
            }
            from += mark.len();
            to += with.len();
        } else {
            out[to] = text[from];
            from += 1;
            to += 1;
        }
    }
    out
}

const fn stands_at(text: &[u8], at: usize, mark: &[u8]) -> bool {
    let mut offset = 0;
    while offset < mark.len() {
        if at + offset >= text.len() || text[at + offset] != mark[offset] {
            return false;
        }
        offset += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &[u8]); 6] = [
        ("index.html", PAGE),
        ("style.css", STYLE),
        ("app.js", APP),
        ("gateway.js", GATEWAY),
        ("identity.js", IDENTITY),
        ("ed25519.js", ED25519),
    ];

    fn text(bytes: &'static [u8]) -> &'static str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn every_address_in_the_page_is_an_asset_or_inline_data() {
        let index = text(asset("/").unwrap().body);
        let addresses = [between(index, "href=\"", "\""), between(index, "src=\"", "\"")].concat();
        assert!(addresses.len() >= 6, "{addresses:?}");
        for address in addresses.iter().filter(|one| !one.starts_with("data:image/svg+xml,")) {
            assert!(asset(address).is_some_and(|one| one.immutable), "{address}");
        }
    }

    #[test]
    fn every_import_of_a_script_is_found_beside_it() {
        let root = format!("assets/{}/", std::str::from_utf8(&DIGEST).unwrap());
        for (name, file) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            for import in between(text(file), "from \"./", "\"") {
                assert!(asset(&format!("{root}{import}")).is_some(), "{name} imports {import}");
            }
        }
    }

    #[test]
    fn the_index_is_never_kept_and_carries_the_version() {
        for path in ["", "/", "index.html", "/index.html"] {
            assert!(!asset(path).unwrap().immutable, "{path}");
        }
        let index = text(asset("").unwrap().body);
        assert!(index.contains(&format!("content=\"{}\"", env!("CARGO_PKG_VERSION"))));
        assert!(!index.contains("{digest}") && !index.contains("{version}"));
        assert!(index.ends_with("</html>\n"));
    }

    #[test]
    fn a_path_of_another_digest_or_outside_the_table_is_not_found() {
        for path in
            ["assets/00000000/app.js", "app.js", "assets/app.js", "../mod.rs", "assets//app.js", "assets/x", "mod.rs"]
        {
            assert!(asset(path).is_none(), "{path}");
        }
        let root = format!("assets/{}/", std::str::from_utf8(&DIGEST).unwrap());
        for name in ["", "mod.rs", "index.html", "../app.js", "app.js/"] {
            assert!(asset(&format!("{root}{name}")).is_none(), "{name}");
        }
    }

    #[test]
    fn the_digest_is_fnv_1a_and_moves_with_every_file() {
        assert_eq!(&digest(&[b"a"]), b"e40c292c");
        assert_eq!(&digest(&[b"foo", b"bar"]), b"bf9cf968");
        assert_ne!(DIGEST, digest(&[STYLE, APP, GATEWAY, IDENTITY, b"other"]));
    }

    #[test]
    fn the_page_keeps_to_its_own_content_security_policy() {
        let page = text(PAGE);
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=").count());
        for inline in ["<style", " style=", " onclick=", " onload=", " action=", "<base"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for (name, file) in FILES {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://", "localStorage"]
            {
                assert!(!text(file).contains(word), "{name}: {word}");
            }
            assert!(!text(file).replace("http://www.w3.org/2000/svg", "").contains("http://"), "{name}");
        }
    }

    #[test]
    fn the_files_are_ascii_and_small() {
        for (name, file) in FILES {
            assert!(file.is_ascii(), "{name}");
        }
        let total: usize = FILES.iter().map(|(_, file)| file.len()).sum();
        assert!(total <= 40 * 1024, "{total} bytes");
    }
}
