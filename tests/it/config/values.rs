//! Values of one kind are read the same way from every source: a table of values and sources.

use std::path::{Path, PathBuf};

use gatelet::config::{load, Loaded, Overrides, Secret, Severity};

use super::load::{World, FILE, TOKEN};

const NEXT: &str = "next-source-0123456789abcdef0123456789";

/// Outcome of a value, as far as the table describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Same,
    /// Set after something was removed from its ends.
    Trimmed,
    /// The next source is used.
    NotSet,
}
use Outcome::{NotSet, Same, Trimmed};

/// Forms in which a value `x` is written, and what each gives.
fn forms(x: &str) -> Vec<(String, Outcome)> {
    vec![
        (x.to_string(), Same),
        (format!(" {x}"), Trimmed),
        (format!("{x}\t "), Trimmed),
        (format!("{x}\n"), Trimmed),
        (format!("{x}\r\n"), Trimmed),
        (format!("\u{feff}{x}"), Trimmed),
        (format!("\u{feff} {x}\r\n"), Trimmed),
        (String::new(), NotSet),
        ("   ".to_string(), NotSet),
        ("\r\n".to_string(), NotSet),
        ("\u{feff}\n".to_string(), NotSet),
    ]
}

/// Source of one value. `place` puts the value there.
struct Place {
    name: &'static str,
    place: fn(&mut World, &mut Overrides, &str),
}

macro_rules! place {
    ($name:literal, $place:expr) => {
        Place { name: $name, place: $place }
    };
}

fn set(world: &mut World, name: &str, value: &str) {
    *world = std::mem::take(world).var(name, value);
}

fn write(world: &mut World, path: &str, text: &str) {
    *world = std::mem::take(world).file(path, text);
}

/// Writes a configuration file whose `gateway` section has this member.
fn configure(world: &mut World, before: &str, value: &str, after: &str) {
    let value = serde_json::to_string(value).unwrap();
    write(world, FILE, &format!("{{ gateway: {{ {before}{value}{after} }} }}"));
}

fn warnings(loaded: &Loaded) -> usize {
    loaded.problems.iter().filter(|problem| problem.severity == Severity::Warning).count()
}

/// Loads each form of `x` from each place and compares what `read` finds; returns the rows that
/// differ and the number of rows.
fn walk(
    x: &str,
    places: &[Place],
    expected: &str,
    not_set: &str,
    read: fn(&Loaded) -> Option<String>,
) -> (Vec<String>, usize) {
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for Place { name, place } in places {
        for (form, outcome) in forms(x) {
            for bind in ["loopback", "lan"] {
                let (mut world, mut args) = (World::with("{}"), Overrides::default());
                if *name != "GATELET_BIND" && *name != "--bind" && *name != "bind" {
                    set(&mut world, "GATELET_BIND", bind);
                }
                write(&mut world, "/home/ann/.local/state/gatelet/token", NEXT);
                place(&mut world, &mut args, &form);
                let loaded = load(&args, &world);
                rows += 1;
                let found = read(&loaded);
                // The line end of a file is no mistake.
                let is_line_end = name.contains("file") && form.trim_end() == x;
                let wanted = if outcome == NotSet { not_set } else { expected };
                let trims = outcome == Trimmed && !is_line_end;
                if found.as_deref() != Some(wanted)
                    || trims && warnings(&loaded) != 1
                    || outcome == Same && warnings(&loaded) != 0
                {
                    let problems: Vec<_> =
                        loaded.problems.iter().map(|problem| problem.to_string()).collect();
                    wrong.push(format!("{name} {form:?} {bind}: {found:?} {problems:?}"));
                }
            }
        }
    }
    (wrong, rows)
}

fn check((wrong, rows): (Vec<String>, usize)) {
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn token(loaded: &Loaded) -> Option<String> {
    Some(loaded.config.as_ref()?.auth.secret.as_ref()?.value.expose().to_string())
}

#[test]
fn a_token_is_read_alike_from_every_source_at_every_bind() {
    let places = [
        place!("--token", |_, args, text| args.token = Some(Secret::new(text))),
        place!("GATELET_TOKEN", |world, _, text| set(world, "GATELET_TOKEN", text)),
        place!("OPENCLAW_GATEWAY_TOKEN", |world, _, text| {
            set(world, "OPENCLAW_GATEWAY_TOKEN", text)
        }),
        place!("file of GATELET_TOKEN_FILE", |world, _, text| {
            set(world, "GATELET_TOKEN_FILE", "/t");
            write(world, "/t", text);
        }),
        place!("file of OPENCLAW_GATEWAY_TOKEN_FILE", |world, _, text| {
            set(world, "OPENCLAW_GATEWAY_TOKEN_FILE", "/t");
            write(world, "/t", text);
        }),
        place!("auth.token", |world, _, text| configure(world, "auth: { token: ", text, " }")),
        place!("auth.token by variable", |world, _, text| {
            set(world, "OPENCLAW_GATEWAY_TOKEN_X", text);
            configure(world, "auth: { token: ", "${OPENCLAW_GATEWAY_TOKEN_X}", " }");
        }),
        place!("auth.token by reference", |world, _, text| {
            set(world, "MY_TOKEN", text);
            configure(world, "auth: { token: { source: 'env', id: ", "MY_TOKEN", " } }");
        }),
    ];
    check(walk(TOKEN, &places, TOKEN, NEXT, token));
}

#[test]
fn a_password_is_read_alike_from_every_source_at_every_bind() {
    let places = [
        place!("--password", |_, args, text| args.password = Some(Secret::new(text))),
        place!("GATELET_PASSWORD", |world, _, text| set(world, "GATELET_PASSWORD", text)),
        place!("file of GATELET_PASSWORD_FILE", |world, _, text| {
            set(world, "GATELET_PASSWORD_FILE", "/p");
            write(world, "/p", text);
        }),
        place!("auth.password", |world, _, text| {
            configure(world, "auth: { password: ", text, " }");
        }),
    ];
    // Without a password the mode is token.
    check(walk(TOKEN, &places, TOKEN, NEXT, token));
}

#[test]
fn the_token_of_the_upstream_is_read_and_checked_like_every_secret() {
    let places = [
        place!("upstream.token", |world, _, text| {
            configure(world, "upstream: { url: 'ws://a', token: ", text, " }");
        }),
        place!("file of upstream.tokenFile", |world, _, text| {
            configure(world, "upstream: { url: 'ws://a', tokenFile: ", "/u", " }");
            write(world, "/u", text);
        }),
    ];
    let read = |loaded: &Loaded| {
        let upstream = loaded.config.as_ref()?.upstream.as_ref()?;
        Some(upstream.token.as_ref().map_or("none", |token| token.expose()).to_string())
    };
    check(walk(TOKEN, &places, TOKEN, "none", read));
    for bad in ["null", "undefined", "__OPENCLAW_REDACTED__", "two\nlines"] {
        for Place { name, place } in &places {
            let (mut world, mut args) = (World::with("{}"), Overrides::default());
            place(&mut world, &mut args, bad);
            assert!(load(&args, &world).config.is_none(), "{name} {bad:?}");
        }
    }
}

fn port(loaded: &Loaded) -> Option<String> {
    Some(loaded.config.as_ref()?.port.to_string())
}

#[test]
fn ports_binds_and_modes_are_read_alike_from_every_source() {
    let ports = [
        place!("--port", |_, args, text| args.port = Some(text.into())),
        place!("GATELET_PORT", |world, _, text| set(world, "GATELET_PORT", text)),
        place!("OPENCLAW_GATEWAY_PORT", |world, _, text| {
            set(world, "OPENCLAW_GATEWAY_PORT", text)
        }),
    ];
    let (mut wrong, mut rows) = walk("8080", &ports, "8080", "18789", port);
    for Place { name, place } in &ports {
        for (text, expected, warned) in [
            ("host:8080", Some("8080"), 1),
            ("127.0.0.1:8080", Some("8080"), 1),
            ("[::1]:8080", Some("8080"), 1),
            (":8080", None, 0),
            ("::1:8080", None, 0),
            ("a b:8080", None, 0),
            ("70000", None, 0),
            ("0x10", None, 0),
        ] {
            let (mut world, mut args) = (World::with("{}"), Overrides::default());
            place(&mut world, &mut args, text);
            let loaded = load(&args, &world);
            rows += 1;
            if port(&loaded).as_deref() != expected || warnings(&loaded) != warned {
                wrong.push(format!("{name} {text:?}: {:?}", port(&loaded)));
            }
        }
    }
    let binds = [
        place!("--bind", |_, args, text| args.bind = Some(text.into())),
        place!("GATELET_BIND", |world, _, text| set(world, "GATELET_BIND", text)),
        place!("bind", |world, _, text| configure(world, "bind: ", text, "")),
    ];
    let bind = |loaded: &Loaded| Some(loaded.config.as_ref()?.bind.name().to_string());
    let modes = [
        place!("--auth", |_, args, text| args.auth = Some(text.into())),
        place!("auth.mode", |world, _, text| configure(world, "auth: { mode: ", text, " }")),
    ];
    let mode = |loaded: &Loaded| {
        let mode = loaded.config.as_ref().map(|config| config.auth.mode.name());
        Some(mode.unwrap_or("no password is set").to_string())
    };
    for (more, count) in [
        walk("lan", &binds, "lan", "loopback", bind),
        walk("password", &modes, "no password is set", "token", mode),
    ] {
        wrong.extend(more);
        rows += count;
    }
    check((wrong, rows));
}

#[test]
fn paths_are_read_alike_from_every_source() {
    let (mut wrong, mut rows) = (Vec::new(), 0);
    let path = |loaded: &Loaded, kind: &str| -> Option<PathBuf> {
        let paths = loaded.paths.as_ref()?;
        match kind {
            "config" => Some(paths.config.value.clone()),
            "state" => Some(paths.state_dir.value.clone()),
            "log" => paths.log_file.clone(),
            "root" => loaded.config.as_ref()?.control_ui.root.clone(),
            _ => (token(loaded)? == TOKEN).then(|| "/home/ann/x".into()),
        }
    };
    type Put = fn(&mut World, &mut Overrides, &str);
    let sources: [(&str, &str, Put); 10] = [
        ("config", "--config", |_, args, text| args.config = Some(text.into())),
        ("config", "GATELET_CONFIG", |world, _, text| set(world, "GATELET_CONFIG", text)),
        ("config", "OPENCLAW_CONFIG_PATH", |world, _, text| {
            set(world, "OPENCLAW_CONFIG_PATH", text)
        }),
        ("state", "--state-dir", |_, args, text| args.state_dir = Some(text.into())),
        ("state", "GATELET_STATE_DIR", |world, _, text| set(world, "GATELET_STATE_DIR", text)),
        ("log", "--log-file", |_, args, text| args.log_file = Some(text.into())),
        ("log", "GATELET_LOG_FILE", |world, _, text| set(world, "GATELET_LOG_FILE", text)),
        ("secret", "GATELET_TOKEN_FILE", |world, _, text| set(world, "GATELET_TOKEN_FILE", text)),
        ("secret", "OPENCLAW_GATEWAY_PASSWORD_FILE", |world, _, text| {
            set(world, "OPENCLAW_GATEWAY_PASSWORD_FILE", text)
        }),
        ("root", "controlUi.root", |world, args, text| {
            args.config = Some(FILE.into());
            configure(world, "controlUi: { root: ", text, " }");
        }),
    ];
    for (kind, name, put) in sources {
        for text in ["/home/ann/x", "~/x", " ~/x\n", "\u{feff}~/x", "/home/ann/x\r\n", "", "  "] {
            let (mut world, mut args) = (World::bare(), Overrides::default());
            write(&mut world, "/home/ann/x", if kind == "config" { "{}" } else { TOKEN });
            put(&mut world, &mut args, text);
            let loaded = load(&args, &world);
            let found = path(&loaded, kind).filter(|path| path == Path::new("/home/ann/x"));
            let is_set = !text.trim().is_empty();
            rows += 1;
            if loaded.config.is_none() || found.is_some() != is_set {
                wrong.push(format!("{name} {text:?}: {:?} {:?}", found, loaded.problems));
            }
        }
    }
    check((wrong, rows));
}

#[test]
fn blank_keys_are_not_set_and_blank_entries_are_errors() {
    let keys = [
        "publicOrigin: ",
        "customBindHost: ",
        "mode: ",
        "auth: { password: ",
        "auth: { trustedProxy: { userHeader: ",
        "pairing: { mode: ",
        "controlUi: { basePath: ",
        "controlUi: { root: ",
        "tailscale: { mode: ",
        "upstream: { url: ",
        "upstream: { tokenFile: ",
    ];
    let lists =
        ["trustedProxies: [", "auth: { trustedProxy: { allowUsers: [", "nodes: { denyCommands: ["];
    let close = |key: &str| -> String {
        key.chars()
            .rev()
            .filter_map(|char| match char {
                '{' => Some('}'),
                '[' => Some(']'),
                _ => None,
            })
            .collect()
    };
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for value in ["", "  ", "\n", "\u{feff}", "${BLANK}"] {
        for (key, is_valid) in
            keys.map(|key| (key, true)).into_iter().chain(lists.map(|key| (key, false)))
        {
            let mut world = World::with("{}").var("BLANK", "");
            configure(&mut world, key, value, &close(key));
            let loaded = load(&Overrides::default(), &world);
            rows += 1;
            if loaded.config.is_some() != is_valid {
                wrong.push(format!("{key}{value:?}: {:?}", loaded.problems));
            }
        }
    }
    check((wrong, rows));
    let unset = World::with("{ gateway: { auth: { token: '${NOT_SET}' } } }");
    assert!(load(&Overrides::default(), &unset).config.is_none(), "probably a typing error");
    let inside = World::with("{ gateway: { auth: { token: 'a-${BLANK}' } } }").var("BLANK", "");
    assert!(load(&Overrides::default(), &inside).config.is_none(), "half a secret");
}
