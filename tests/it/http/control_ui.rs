//! `gateway.controlUi.root`: a third-party page served from a directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use support::client::{Device, Dial, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::{self, at_most};
use support::temp_dir::TempDir;

const OUTSIDE: &str = "a file outside of the directory";
const INLINE: &str = "\n  self.inline = \"/\";\n";
const V4: &str =
    "<!doctype html>\n<html data-openclaw-control-ui-build-id=\"b1\" lang=\"en\"><head>\n\
    <link rel=\"icon\" href=\"./favicon.svg\" /><script data-x=\"y\">INLINE</script>\n\
    <script type=\"module\" src=\"./assets/app-AbCd1234.js\"></script></head><body></body></html>";
const V3: &str =
    "<!doctype html><html><head><script type=\"module\" src=\"./assets/app-AbCd1234.js\"></script></head></html>";
const HTML: (&str, &str) = ("Accept", "text/html,*/*;q=0.8");

/// Directory with a page, and files beside it that must not be served.
struct Site {
    dir: TempDir,
    gateway: Gateway,
}

struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

fn ask(dial: &Dial, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer =
        dial.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", dial.host));
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head") + 4;
    Got { head: String::from_utf8_lossy(&answer[..end]).into_owned(), body: answer[end..].to_vec() }
}

impl Site {
    fn new(index: &str, more: Value) -> Site {
        // on a disk: some files are larger than a memory file system may hold
        let dir = TempDir::on_disk();
        let root = dir.0.join("site");
        for folder in ["assets", "fonts", ".git"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let files: [(&str, &[u8]); 14] = [
            ("index.html", index.as_bytes()),
            ("favicon.svg", b"<svg/>"),
            ("sw.js", b"theirs"),
            ("assets/app-AbCd1234.js", b"plain"),
            ("assets/app-AbCd1234.js.br", b"as br"),
            ("assets/app-AbCd1234.js.gz", b"as gz"),
            ("assets/style.css", b"css"),
            ("assets/my-settings.js", b"no hash"),
            ("fonts/a.woff2", b"font"),
            ("manifest.webmanifest", b"{}"),
            ("LICENSE", b"mit"),
            ("empty.txt", b""),
            (".git/config", OUTSIDE.as_bytes()),
            ("../secret.txt", OUTSIDE.as_bytes()),
        ];
        for (name, content) in files {
            fs::write(root.join(name), content).unwrap();
        }
        let mut ui = json!({ "root": runner::path(&root).to_str().unwrap() });
        more.as_object().into_iter().flatten().for_each(|(key, value)| ui[key] = value.clone());
        let auth = ui
            .as_object_mut()
            .unwrap()
            .remove("auth")
            .unwrap_or(json!({ "mode": "token", "token": TOKEN }));
        let gateway = Plan::with(json!({ "controlUi": ui, "auth": auth })).start();
        Site { dir, gateway }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        ask(&self.gateway.dial(), "GET", path, headers)
    }
}

#[test]
fn files_are_served_with_content_type_and_cache_control() {
    let site = Site::new(V4, json!({}));
    let (kept, asked) = ("public, max-age=31536000, immutable", "no-cache");
    for (path, kind, cache, body) in [
        ("/assets/app-AbCd1234.js", "text/javascript; charset=utf-8", kept, "plain"),
        ("/assets/app-AbCd1234.js?v=1", "text/javascript; charset=utf-8", kept, "plain"),
        ("/assets/style.css", "text/css; charset=utf-8", asked, "css"),
        ("/assets/my-settings.js", "text/javascript; charset=utf-8", asked, "no hash"),
        ("/sw.js", "text/javascript; charset=utf-8", asked, "theirs"),
        ("/favicon.svg", "image/svg+xml", asked, "<svg/>"),
        ("/fonts/a.woff2", "font/woff2", asked, "font"),
        ("/manifest.webmanifest", "application/manifest+json; charset=utf-8", asked, "{}"),
        ("/LICENSE", "application/octet-stream", asked, "mit"),
        ("/empty.txt", "text/plain; charset=utf-8", asked, ""),
    ] {
        let got = site.get(path, &[]);
        assert_eq!((got.status(), got.text().as_str()), ("200", body), "{path}");
        assert_eq!(
            (got.header("Content-Type"), got.header("Cache-Control")),
            (Some(kind), Some(cache)),
            "{path}"
        );
        assert_eq!(got.header("Content-Length"), Some(body.len().to_string().as_str()), "{path}");
        assert_eq!(
            (got.header("Vary"), got.header("Content-Encoding")),
            (Some("Accept-Encoding"), None),
            "{path}"
        );
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
            ("Permissions-Policy", "camera=(self), microphone=(self), geolocation=()"),
        ] {
            assert_eq!(got.header(name), Some(value), "{path}");
        }
        let policy = got.header("Content-Security-Policy").unwrap();
        assert!(
            policy.ends_with("script-src 'self'") && policy.contains("object-src 'none'"),
            "{policy}"
        );
        let tag = got.header("ETag").unwrap();
        let again = site.get(path, &[("If-None-Match", &format!("\"x\", W/{tag}"))]);
        assert_eq!(
            (again.status(), again.body.len(), again.header("ETag")),
            ("304", 0, Some(tag)),
            "{path}"
        );
        let head = ask(&site.gateway.dial(), "HEAD", path, &[]);
        assert_eq!((head.status(), head.body.len()), ("200", 0), "{path}");
        assert_eq!(head.header("Content-Length"), got.header("Content-Length"), "{path}");
    }
    let refused = ask(&site.gateway.dial(), "POST", "/", &[]);
    assert_eq!((refused.status(), refused.header("Allow")), ("405", Some("GET, HEAD")));
}

#[test]
fn compressed_files_are_sent_if_accepted() {
    let site = Site::new(V4, json!({}));
    for (accepted, coding, body) in [
        ("gzip, deflate, br, zstd", Some("br"), "as br"),
        ("gzip;q=1.0, br;q=0", Some("gzip"), "as gz"),
        ("GZIP", Some("gzip"), "as gz"),
        ("brotli, gzipped;q=1", None, "plain"),
        ("br;q=0.0, gzip; q=0", None, "plain"),
        ("", None, "plain"),
    ] {
        let got = site.get("/assets/app-AbCd1234.js", &[("Accept-Encoding", accepted)]);
        assert_eq!(
            (got.header("Content-Encoding"), got.text().as_str()),
            (coding, body),
            "{accepted}"
        );
        let kind = got.header("Content-Type").unwrap();
        assert!(kind.starts_with("text/javascript"), "{accepted}: {kind}");
    }
    let css = site.get("/assets/style.css", &[("Accept-Encoding", "br")]);
    assert_eq!((css.header("Content-Encoding"), css.text().as_str()), (None, "css"));
}

#[test]
fn page_routes_return_the_index_and_other_paths_do_not() {
    let site = Site::new(V4, json!({}));
    let page = site.get("/", &[]);
    assert_eq!((page.status(), page.header("Cache-Control")), ("200", Some("no-cache")));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    for path in [
        "/index.html",
        "/chat",
        "/settings/devices",
        "/chat/agent%3Amain%2Fx",
        "/fonts",
        "/fonts/",
        "/plugins/x",
    ] {
        let got = site.get(path, &[HTML]);
        assert_eq!((got.status(), got.text()), ("200", page.text()), "{path}");
    }
    for path in ["/chat", "/fonts", "/favicon.svg/x"] {
        assert_eq!(site.get(path, &[("Accept", "*/*")]).status(), "404", "{path}");
    }
    for path in ["/assets/gone-AbCd1234.js", "/gone.png", "/chat/x.css"] {
        assert_eq!(site.get(path, &[HTML]).status(), "404", "{path}");
    }
    for path in [
        "/api/users/gateway-owner/avatar",
        "/v1/models",
        "/j/x",
        "/ui",
        "/hooks/x",
        "/__openclaw__/workspace-icon/x",
    ] {
        let got = site.get(path, &[HTML]);
        assert_eq!((got.status(), got.text().as_str()), ("404", "Not Found"), "{path}");
    }
    for (path, part) in [("/healthz", "live"), ("/readyz", "ready"), ("/whoami", "advice")] {
        assert!(site.get(path, &[HTML]).text().contains(part), "{path}");
        assert_eq!(site.get(&format!("{path}/x"), &[HTML]).status(), "404", "{path}/x");
    }
    assert_eq!(site.get("/avatar/main?meta=1", &[]).json(), json!({ "avatarUrl": null }));
    assert_eq!(site.get("/avatar/main", &[HTML]).status(), "404");
    site.gateway.admin();
}

#[test]
fn own_page_stays_available_and_unregisters_the_other_service_worker() {
    let site = Site::new(V4, json!({}));
    let moved = site.get("/gatelet?a=b", &[HTML]);
    assert_eq!((moved.status(), moved.header("Location")), ("302", Some("/gatelet/?a=b")));
    let own = site.get("/gatelet/", &[HTML]);
    assert!(
        own.header("Content-Security-Policy").unwrap().starts_with("default-src 'none'"),
        "{}",
        own.head
    );
    assert_eq!(
        site.get("/gatelet/sw.js", &[]).status(),
        "404",
        "only at the path of the other page's service worker"
    );
    let alone = Plan::new().start();
    let worker = ask(&alone.dial(), "GET", "/sw.js?v=1", &[]);
    assert_eq!((worker.status(), worker.header("Content-Type")), ("200", Some("text/javascript")));
    assert!(worker.text().contains("registration.unregister()"), "{}", worker.text());
}

#[test]
fn index_gets_the_base_path_and_a_policy_that_allows_its_inline_scripts() {
    let hash = |script: &str| format!("'sha256-{}'", base64(&Sha256::digest(script)));
    // CRLF line ends: browsers hash scripts with line feeds only
    let site = Site::new(
        &V4.replace("INLINE", &INLINE.replace('\n', "\r\n")),
        json!({ "basePath": "/a/b" }),
    );
    let page = site.get("/a/b/", &[]);
    for part in [
        "<html data-openclaw-control-ui-base-path=\"/a/b\" data-openclaw-terminal-enabled=\"false\" data-openclaw-control-ui-build-id=\"b1\"",
        "href=\"/a/b/favicon.svg\"",
        "src=\"/a/b/assets/app-AbCd1234.js\"",
        INLINE,
    ] {
        assert!(page.text().contains(part), "{part}: {}", page.text());
    }
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.ends_with(&format!("; script-src 'self' {}", hash(INLINE))), "{policy}");
    assert!(!policy.contains("unsafe-eval"), "{policy}");

    let site = Site::new(V3, json!({ "basePath": "/a" }));
    let page = site.get("/a/", &[]);
    let text = page.text();
    let script = text
        .split("<script>")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next())
        .expect("one of ours");
    assert!(script.starts_with("window.__OPENCLAW_CONTROL_UI_BASE_PATH__=\"/a\";"), "{script}");
    assert!(
        page.header("Content-Security-Policy").unwrap().ends_with(&hash(script)),
        "{}",
        page.head
    );
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |three: &[u8], at: usize| {
        let bits =
            (0..3).fold(0, |bits, byte| bits << 8 | u32::from(*three.get(byte).unwrap_or(&0)));
        if at > three.len() {
            '='
        } else {
            DIGITS[(bits >> (18 - 6 * at) & 63) as usize].into()
        }
    };
    bytes.chunks(3).flat_map(|three| (0..4).map(move |at| digit(three, at))).collect()
}

#[test]
fn base_path_applies_to_the_whole_page() {
    let site = Site::new(V4, json!({ "basePath": "/x" }));
    for (path, to) in
        [("/x", "/x/"), ("/", "/x/"), ("/x?token=t", "/x/?token=t"), ("/x/gatelet", "/x/gatelet/")]
    {
        let got = site.get(path, &[HTML]);
        assert_eq!((got.status(), got.header("Location")), ("302", Some(to)), "{path}");
    }
    assert_eq!(site.get("/x/assets/style.css", &[]).text(), "css");
    assert_eq!(site.get("/x/chat/main", &[HTML]).status(), "200");
    assert!(site.get("/x/gatelet/", &[HTML]).head.contains("default-src 'none'"));
    for path in [
        "/assets/style.css",
        "/chat",
        "/xy",
        "/gatelet/",
        "/control-ui-config.json",
        "/x/healthz",
        "/x/api/y",
    ] {
        assert_eq!(site.get(path, &[HTML]).status(), "404", "{path}");
    }
    assert!(site.get("/healthz", &[HTML]).text().contains("live"));
    let bearer = format!("Bearer {TOKEN}");
    let config = site.get("/x/control-ui-config.json", &[("Authorization", &bearer)]);
    assert_eq!(config.json()["basePath"], "/x");
    let off = Site::new(V4, json!({ "enabled": false }));
    for path in ["/", "/assets/style.css", "/control-ui-config.json", "/gatelet/"] {
        assert_eq!(off.get(path, &[HTML, ("Authorization", &bearer)]).status(), "404", "{path}");
    }
}

#[test]
fn paths_cannot_escape_the_directory() {
    let site = Site::new(V4, json!({}));
    let root = site.dir.0.join("site");
    let (secret, folder) = (site.dir.0.join("secret.txt"), site.dir.0.clone());
    // wine shows symbolic links of the host as their targets
    if !runner::windows() {
        symlink(&secret, root.join("link.txt")).unwrap();
        symlink("../secret.txt", root.join("assets/up.txt")).unwrap();
        symlink(&folder, root.join("out")).unwrap();
        symlink("assets", root.join("inner")).unwrap();
        symlink(&secret, root.join("LICENSE.br")).unwrap();
    }
    // a Windows device name is never opened, even where it is a regular file
    fs::write(root.join("aux.js"), OUTSIDE).unwrap();
    let absolute = secret.to_str().unwrap();
    let mut paths: Vec<String> = vec![
        format!("/{absolute}"),
        absolute.into(),
        format!("/Z:{absolute}"),
        format!("/file:{absolute}"),
    ];
    let up = [
        "..",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%2e.",
        "..%2f..",
        "%252e%252e",
        "..%00",
        "..;",
        "%c0%ae%c0%ae",
        "%u002e%u002e",
        "assets/..",
        "assets/../..",
        "./..",
        "/..",
        "..%5c",
        "..\\",
        "....//",
        "out",
        "\u{ff0e}\u{ff0e}",
    ];
    paths.extend(up.iter().map(|up| format!("/{up}/secret.txt")));
    paths.extend(up.iter().map(|up| format!("/assets/{up}/{up}/secret.txt")));
    for path in [
        "/..\\secret.txt",
        "/%2e%2e%5csecret.txt",
        "/link.txt",
        "/assets/up.txt",
        "/inner/style.css",
        "/.git/config",
        "/%2egit/config",
        "/assets/../.git/config",
        "/..%2fsecret.txt",
        "/secret.txt%00.js",
        "/../secret.txt#x",
        "/index.html/../../secret.txt",
        "//../secret.txt",
        "/C:/x.txt",
        "/c:x.txt",
        "/LICENSE:stream",
        "/LICENSE::$DATA",
        "/LICENSE.",
        "/LICENSE ",
        "/CON",
        "/nul",
        "/aux.js",
        "/com1.css",
        "/assets/lpt9.txt",
        "/assets/..",
        "/\\\\host\\share\\x",
    ] {
        paths.push(path.into());
    }
    paths.push(format!("/{}", "a".repeat(5000)));
    paths.push(format!("/{}x", "a/".repeat(5000)));
    for path in &paths {
        for headers in [vec![], vec![HTML], vec![("Accept-Encoding", "br, gzip")]] {
            let got = site.get(path, &headers);
            assert!(!got.text().contains(OUTSIDE), "{path}: {}", got.text());
            let page =
                got.header("Content-Type") == Some("text/html; charset=utf-8") && headers == [HTML];
            assert!(
                page || matches!(got.status(), "400" | "404"),
                "{path} {headers:?}: {}",
                got.head
            );
        }
    }
    for path in [
        "/../secret.txt",
        "/%2e%2e/x",
        "/chat/..%2f",
        "/a\\b",
        "/a%00",
        "/.well-known/x",
        "/chat/.hidden",
    ] {
        assert!(
            matches!(site.get(path, &[HTML]).status(), "400" | "404"),
            "not even the page at {path}"
        );
    }
    let packed = site.get("/LICENSE", &[("Accept-Encoding", "br")]);
    assert_eq!(
        (packed.header("Content-Encoding"), packed.text().as_str()),
        (None, "mit"),
        "the packed form was a link"
    );
    site.gateway.admin();
}

#[test]
fn special_files_are_not_opened_and_do_not_block() {
    if runner::windows() {
        return; // Windows has no such files
    }
    let site = Site::new(V4, json!({}));
    let pipe = site.dir.0.join("site/pipe.txt");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo of coreutils");
    assert!(made.success());
    let begun = Instant::now();
    assert_eq!(site.get("/pipe.txt", &[HTML]).status(), "404");
    assert!(begun.elapsed() < at_most(Duration::from_secs(5)), "the pipe has no writer");
    assert_eq!(site.get("/favicon.svg", &[]).status(), "200");
}

#[test]
fn large_files_are_streamed_and_slow_readers_block_no_other_client() {
    let site = Site::new(V4, json!({}));
    let content: Vec<u8> =
        (0..20_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(site.dir.0.join("site/large.wasm"), &content).unwrap();
    let dial = site.gateway.dial();
    let mut slow = dial.tcp();
    slow.write_all(format!("GET /large.wasm HTTP/1.1\r\nHost: {}\r\n\r\n", dial.host).as_bytes())
        .unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert!(
        site.get("/large.wasm", &[]).body == content,
        "another reader receives the whole file meanwhile"
    );
    site.gateway.admin();
    // a file truncated while it is sent ends the response early; the rest is not padded
    fs::write(site.dir.0.join("site/large.wasm"), b"").unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < content.len(), "{}", rest.len());
}

#[test]
fn large_files_over_a_slow_network_have_no_total_time_limit() {
    let site = Site::new(V4, json!({}));
    let content = vec![b'x'; 40_000_000];
    fs::write(site.dir.0.join("site/large.wasm"), &content).unwrap();
    let dial = site.gateway.dial();
    let mut slow = dial.tcp();
    slow.write_all(format!("GET /large.wasm HTTP/1.1\r\nHost: {}\r\n\r\n", dial.host).as_bytes())
        .unwrap();
    let (begun, mut got, mut piece) = (Instant::now(), 0, vec![0; 1 << 20]);
    loop {
        // longer in total than the handshake timeout
        if begun.elapsed() < Duration::from_secs(17) {
            std::thread::sleep(Duration::from_millis(500));
        }
        match slow.read(&mut piece).unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert!(
        got > content.len() && begun.elapsed() > Duration::from_secs(15),
        "{got} in {:?}",
        begun.elapsed()
    );
}

#[test]
fn bootstrap_document_requires_authentication() {
    let site = Site::new(V4, json!({}));
    let paths = [
        "/control-ui-config.json",
        "/__openclaw/control-ui-config.json",
        "/__openclaw__/control-ui-config.json",
    ];
    let device = Device::new();
    let session = site.gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap();
    let token = session.token();
    let get = |path: &str, bearer: &str| {
        site.get(path, &[("Authorization", &format!("Bearer {bearer}"))])
    };
    for path in paths {
        let refused = site.get(path, &[]);
        assert_eq!(
            (refused.status(), refused.header("WWW-Authenticate")),
            ("401", Some("Bearer")),
            "{path}"
        );
        assert_eq!(
            refused.json(),
            json!({ "error": { "message": "Unauthorized", "type": "unauthorized" } })
        );
        for bearer in ["", "x", &TOKEN[1..], &token[1..]] {
            assert_eq!(get(path, bearer).status(), "401", "{path} {bearer}");
        }
        for bearer in [TOKEN, &token] {
            let config = get(path, bearer);
            assert_eq!(
                (config.status(), config.header("Cache-Control")),
                ("200", Some("no-store")),
                "{path}"
            );
            let config = config.json();
            assert_eq!(
                (&config["basePath"], &config["assistantName"]),
                (&json!(""), &json!("gatelet"))
            );
            assert_eq!(config["serverVersion"], env!("CARGO_PKG_VERSION"));
        }
    }
    site.gateway
        .admin()
        .call("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" }))
        .unwrap();
    assert_eq!(get(paths[0], &token).status(), "401", "a revoked device");
}

#[test]
fn http_password_attempts_are_rate_limited_without_locking_websocket_clients() {
    let password = "correct horse battery staple";
    let site = Site::new(V4, json!({ "auth": { "mode": "password", "password": password } }));
    let get = |bearer: &str| {
        let bearer = format!("Bearer {bearer}");
        site.get("/control-ui-config.json", &[("Authorization", &bearer)]).status().to_string()
    };
    assert_eq!(get(password), "200");
    for _ in 0..10 {
        assert_eq!(get("wrong"), "401");
    }
    assert_eq!(get(password), "401", "even the right password is not checked");
    site.gateway.connect(&Who::v4().password(password)).expect("a client from the same address");
    let none = Site::new(V4, json!({ "auth": { "mode": "none" } }));
    assert_eq!(none.get("/control-ui-config.json", &[]).status(), "200");
    let proxied = none.get("/control-ui-config.json", &[("X-Forwarded-For", "203.0.113.9")]);
    assert_eq!(proxied.status(), "401", "not this machine");
}

#[test]
fn missing_index_is_reported_without_stopping_the_gateway() {
    let site = Site::new(V4, json!({}));
    fs::remove_file(site.dir.0.join("site/index.html")).unwrap();
    // without an index no file is served: a client that may change the configuration must not read
    // arbitrary directories through it
    for path in ["/", "/chat", "/index.html", "/favicon.svg", "/LICENSE"] {
        let got = site.get(path, &[HTML]);
        assert_eq!(got.status(), "503", "{path}");
        for part in
            ["gateway.controlUi.root", "no index.html", "openclaw/dist/control-ui", "/gatelet/"]
        {
            assert!(got.text().contains(part), "{part}: {}", got.text());
        }
        assert!(
            !got.text().contains(site.dir.0.to_str().unwrap()),
            "the path is not shown to unauthenticated clients: {}",
            got.text()
        );
    }
    fs::write(site.dir.0.join("site/index.html"), vec![b'x'; 256 * 1024 + 1]).unwrap();
    assert_eq!(site.get("/", &[]).status(), "503", "no index is that large");
    fs::remove_dir_all(site.dir.0.join("site")).unwrap();
    assert_eq!(site.get("/", &[HTML]).status(), "503");
    assert_eq!(site.get("/gatelet/", &[HTML]).status(), "200");
    site.gateway.admin();
    let again = site.gateway.stop().start();
    again.logged(&[
        "warn",
        "gateway.controlUi.root",
        "contains no index.html",
        "set it to the directory of a built Control UI",
    ]);
    again.admin();
}

#[test]
fn system_info_and_gateway_identity_are_reported() {
    let plan = Plan::new();
    let mut identities = Vec::new();
    let mut plan = Some(plan);
    for _ in 0..2 {
        let gateway = plan.take().unwrap().start();
        let mut admin = gateway.admin();
        let info = admin.call("system.info", json!({})).unwrap();
        for name in
            ["machineName", "hostname", "platform", "release", "arch", "osLabel", "nodeVersion"]
        {
            assert!(info[name].is_string(), "{name}: {info}");
        }
        for name in ["pid", "uptimeMs", "memoryTotalBytes", "memoryFreeBytes"] {
            assert!(info[name].is_u64(), "{name}: {info}");
        }
        assert!(info["cpuCount"].as_u64() >= Some(1), "{info}");
        if runner::native() {
            let file = |path| fs::read_to_string(path).unwrap();
            assert_eq!(info["hostname"], file("/proc/sys/kernel/hostname").trim());
            assert_eq!((&info["pid"], &info["platform"]), (&json!(gateway.pid()), &json!("linux")));
            let total = format!("{} kB", info["memoryTotalBytes"].as_u64().unwrap() / 1024);
            assert!(file("/proc/meminfo").lines().next().unwrap().ends_with(&total), "{total}");
            assert!(
                info["memoryFreeBytes"].as_u64() <= info["memoryTotalBytes"].as_u64(),
                "{info}"
            );
            assert_eq!(info["loadAverage"].as_array().map(Vec::len), Some(3), "{info}");
        }
        identities.push(admin.call("gateway.identity.get", json!({})).unwrap());
        plan = Some(gateway.stop());
    }
    assert_eq!(identities[0], identities[1], "the key outlives a restart");
    let key =
        gatelet::wire::base64::public_key(identities[0]["publicKey"].as_str().unwrap()).unwrap();
    let id: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(identities[0]["deviceId"], id);
    let other = Plan::new().start().admin().call("gateway.identity.get", json!({})).unwrap();
    assert_ne!(identities[0], other, "another table, another key");
}
