//! The dashboard served at `/`: handwritten files, compressed by `build.rs` and embedded into the
//! binary.
//!
//! Reads no files, allocates nothing, and loads nothing from other origins. The path of every asset
//! except the index contains a digest of all assets, so browsers may cache them indefinitely and
//! load new ones after an update.

#[cfg(test)]
mod strip;

const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
const DIGEST: &str = env!("GATELET_PAGE_DIGEST");

/// Includes a file compressed by `build.rs`.
macro_rules! packed {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

/// Value of `Content-Security-Policy` for every asset. `'self'` in `connect-src` covers a WebSocket
/// of the same origin (Chromium 71, Firefox 50, Safari 16, and newer). The hash is that of the
/// script in the index, which removes a token from the address bar even if no other script loads.
pub const CSP: &str =
    "default-src 'none'; script-src 'self' 'sha256-ElqFr/e/fAFAwTEQFAKwiv5YZz3DMGKWDjGG5VoxXeM='; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Value of `Content-Encoding` of [`Asset::body`], which all browsers support.
pub const ENCODING: &str = "gzip";

/// Service worker that replaces the one of OpenClaw's page in browsers that still have it: deletes
/// its caches and unregisters itself. This page uses no service worker.
pub const NO_WORKER: &[u8] = b"addEventListener('install',()=>skipWaiting());\
addEventListener('activate',e=>e.waitUntil(caches.keys().then(k=>Promise.all(k.filter(n=>n.startsWith('openclaw-')).map(\
n=>caches.delete(n)))).then(()=>registration.unregister())));\n";

/// Length of the header of a gzip file without a name, which `build.rs` writes.
const GZIP_HEADER: usize = 10;

impl Asset {
    /// Returns the compressed data of the body, without the header of gzip.
    pub fn deflated(self) -> &'static [u8] {
        &self.body[GZIP_HEADER..]
    }
}

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Complete response body in the encoding [`ENCODING`].
    pub body: &'static [u8],
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Value of `Cache-Control`: `public, max-age=31536000, immutable` if true, `no-store` if
    /// false.
    pub immutable: bool,
}

/// Returns the asset at a path below the page's base path, without a query; `""`, `"/"` and
/// `"index.html"` are the page itself.
///
/// Returns `None` for assets of another version, whose digest differs.
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if matches!(path, "" | "index.html") {
        let body = packed!("index.html");
        return Some(Asset { body, content_type: "text/html; charset=utf-8", immutable: false });
    }
    let (version, name) = path.strip_prefix("assets/")?.split_once('/')?;
    if version != DIGEST {
        return None;
    }
    let (body, content_type): (&[u8], _) = match name {
        "style.css" => (packed!("style.css"), "text/css; charset=utf-8"),
        "app.js" => (packed!("app.js"), SCRIPT_TYPE),
        "dom.js" => (packed!("dom.js"), SCRIPT_TYPE),
        "gateway.js" => (packed!("gateway.js"), SCRIPT_TYPE),
        "identity.js" => (packed!("identity.js"), SCRIPT_TYPE),
        "ed25519.js" => (packed!("ed25519.js"), SCRIPT_TYPE),
        "sign-in.js" => (packed!("sign-in.js"), SCRIPT_TYPE),
        "devices.js" => (packed!("devices.js"), SCRIPT_TYPE),
        "nodes.js" => (packed!("nodes.js"), SCRIPT_TYPE),
        "activity.js" => (packed!("activity.js"), SCRIPT_TYPE),
        "logs.js" => (packed!("logs.js"), SCRIPT_TYPE),
        "invite.js" => (packed!("invite.js"), SCRIPT_TYPE),
        "config.js" => (packed!("config.js"), SCRIPT_TYPE),
        _ => return None,
    };
    Some(Asset { body, content_type, immutable: true })
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::strip::strip;
    use super::*;

    const FILES: [(&str, &str); 14] = [
        ("index.html", include_str!("index.html")),
        ("style.css", include_str!("style.css")),
        ("app.js", include_str!("app.js")),
        ("dom.js", include_str!("dom.js")),
        ("gateway.js", include_str!("gateway.js")),
        ("identity.js", include_str!("identity.js")),
        ("ed25519.js", include_str!("ed25519.js")),
        ("sign-in.js", include_str!("sign-in.js")),
        ("devices.js", include_str!("devices.js")),
        ("nodes.js", include_str!("nodes.js")),
        ("activity.js", include_str!("activity.js")),
        ("logs.js", include_str!("logs.js")),
        ("invite.js", include_str!("invite.js")),
        ("config.js", include_str!("config.js")),
    ];

    /// Decompresses an asset.
    fn unpacked(path: &str) -> String {
        let body = asset(path).unwrap_or_else(|| panic!("no asset {path}")).body;
        assert_eq!(&body[..4], [0x1f, 0x8b, 8, 0], "gzip without a name");
        std::io::read_to_string(GzDecoder::new(body)).unwrap()
    }

    fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn what_is_sent_unpacks_to_the_files() {
        for (name, file) in &FILES[1..] {
            assert_eq!(unpacked(&format!("assets/{DIGEST}/{name}")), strip(file), "{name}");
        }
        let page = strip(FILES[0].1)
            .replace("{digest}", DIGEST)
            .replace("{version}", env!("CARGO_PKG_VERSION"));
        assert_eq!(unpacked("/"), page);
    }

    #[test]
    fn only_what_people_read_is_left_out() {
        let file =
            "// head\n\n/** a\n * b\n */\nexport const a = 1; // stays\n  /* x */\n  * { b: c }\n";
        assert_eq!(strip(file), "export const a = 1; // stays\n* { b: c }\n");
    }

    #[test]
    fn every_address_in_the_page_is_an_asset_or_inline_data() {
        let index = unpacked("/");
        let addresses =
            [between(&index, "href=\"", "\""), between(&index, "src=\"", "\"")].concat();
        assert!(addresses.len() >= 6, "{addresses:?}");
        let asked = |one: &&&str| !one.starts_with("data:image/svg+xml,") && **one != "#main";
        for address in addresses.iter().filter(asked) {
            assert!(asset(address).is_some_and(|one| one.immutable), "{address}");
        }
    }

    #[test]
    fn every_import_of_a_script_is_found_beside_it() {
        for (name, file) in FILES.iter().filter(|(name, _)| name.ends_with(".js")) {
            for import in between(file, "from \"./", "\"") {
                assert!(
                    asset(&format!("assets/{DIGEST}/{import}")).is_some(),
                    "{name} imports {import}"
                );
            }
        }
    }

    #[test]
    fn the_index_is_never_kept_and_carries_the_version() {
        for path in ["", "/", "index.html", "/index.html"] {
            assert!(!asset(path).unwrap().immutable, "{path}");
        }
        let index = unpacked("");
        assert!(index.contains(&format!("content=\"{}\"", env!("CARGO_PKG_VERSION"))));
        assert!(!index.contains("{digest}") && !index.contains("{version}"));
        assert!(index.ends_with("</html>\n"));
    }

    #[test]
    fn a_path_of_another_digest_or_outside_the_table_is_not_found() {
        for path in [
            "assets/00000000/app.js",
            "app.js",
            "assets/app.js",
            "../mod.rs",
            "assets//app.js",
            "assets/x",
            "mod.rs",
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
        for name in ["", "mod.rs", "index.html", "../app.js", "app.js/"] {
            assert!(asset(&format!("assets/{DIGEST}/{name}")).is_none(), "{name}");
        }
    }

    #[test]
    fn the_digest_is_fnv_1a_of_every_file() {
        let bytes: String = FILES[1..].iter().map(|(_, file)| strip(file)).collect();
        let hash = bytes
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        assert_eq!(DIGEST, format!("{hash:08x}"));
    }

    #[test]
    fn the_page_keeps_to_its_own_content_security_policy() {
        use sha2::{Digest, Sha256};

        let page = &strip(FILES[0].1);
        let script = between(page, "<script>", "</script>");
        assert_eq!(script.len(), 1, "one inline script, allowed by its hash");
        let hash = crate::wire::base64::encode(&Sha256::digest(script[0]));
        assert!(CSP.contains(&format!("'sha256-{hash}'")), "the hash is {hash}");
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=").count() + 1
        );
        for inline in ["<style", " style=", " onclick=", " onload=", " action=", "<base"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for (name, file) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "https://",
                "localStorage",
            ] {
                assert!(!file.contains(word), "{name}: {word}");
            }
            assert!(!file.replace("http://www.w3.org/2000/svg", "").contains("http://"), "{name}");
        }
    }

    #[test]
    fn the_files_are_ascii_and_small() {
        for (name, file) in FILES {
            assert!(file.is_ascii(), "{name}");
        }
        let paths = FILES[1..]
            .iter()
            .map(|(name, _)| format!("assets/{DIGEST}/{name}"))
            .chain([String::new()]);
        let total: usize = paths.map(|path| asset(&path).unwrap().body.len()).sum();
        assert!(total <= 40 * 1024, "{total} bytes as they are sent");
    }
}
