//! Loading of the configuration: sample files, sources of secrets, paths, permissions, hostile
//! text.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gatelet::config::{
    in_container, load, AuthMode, Bind, Config, Env, Key, Kind, Loaded, Overrides, PairingMode,
    Published, Secret, Severity, Source, TailscaleMode, KEYS,
};
use gatelet::gate::limits;

pub const FILE: &str = "/config/gatelet.json";
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Environment and file system in maps.
#[derive(Default, Clone)]
pub struct World {
    vars: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    modes: BTreeMap<PathBuf, u32>,
    /// Files that exist and that only other users can read.
    locked: Vec<PathBuf>,
    windows: bool,
}

impl World {
    /// Returns an environment with a home directory and, unless `text` is empty, this configuration
    /// file.
    pub fn with(text: &str) -> World {
        let world = World::default().var("HOME", "/home/ann").var("GATELET_CONFIG", FILE);
        world.file(FILE, text)
    }

    pub fn bare() -> World {
        World::default().var("HOME", "/home/ann")
    }

    pub fn var(mut self, name: &str, value: &str) -> World {
        self.vars.insert(name.into(), value.into());
        self
    }

    pub fn file(mut self, path: &str, text: impl AsRef<[u8]>) -> World {
        self.files.insert(path.into(), text.as_ref().to_vec());
        self.modes.entry(path.into()).or_insert(0o600);
        self
    }

    fn mode(mut self, path: &str, mode: u32) -> World {
        self.modes.insert(path.into(), mode);
        self
    }

    /// Adds a file that this user cannot read.
    fn locked(mut self, path: &str) -> World {
        self.locked.push(path.into());
        self.file(path, "")
    }

    pub fn load(&self) -> Loaded {
        load(&Overrides::default(), self)
    }
}

impl Env for World {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let bytes = self
            .files
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        match bytes.len() as u64 > max {
            true => Err(io::Error::other("too large")),
            false => Ok(bytes),
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.modes.get(path).copied()
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    fn readable(&self, path: &Path) -> bool {
        self.exists(path) && !self.locked.iter().any(|locked| locked == path)
    }

    fn windows(&self) -> bool {
        self.windows
    }
}

fn messages(loaded: &Loaded) -> Vec<String> {
    let word = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    loaded.problems.iter().map(|problem| format!("{}: {problem}", word(problem.severity))).collect()
}

fn config(loaded: Loaded) -> Config {
    let shown = messages(&loaded);
    loaded.config.unwrap_or_else(|| panic!("{shown:?}"))
}

fn token(config: &Config) -> (&str, String) {
    let secret = config.auth.secret.as_ref().unwrap();
    (secret.value.expose(), secret.source.to_string())
}

// --- sample files --------------------------------------------------------------------------------

pub fn samples(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config/samples").join(folder);
    let mut samples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    samples.sort();
    samples
}

pub fn sample_world(text: &str) -> World {
    World::with(text)
        .var("SAMPLE_TOKEN", TOKEN)
        .var("SAMPLE_PASSWORD", "correct horse battery staple")
        .var("SAMPLE_EMPTY", "")
}

/// Loads a sample and checks that its problems are exactly those in its `// expect:` lines.
fn check(name: &str, text: &str) -> Loaded {
    let expected: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("// expect: "))
        .map(String::from)
        .collect();
    let loaded = sample_world(text).load();
    let mut found = messages(&loaded);
    let mut wanted = expected;
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "{name}");
    loaded
}

#[test]
fn valid_samples_load_without_errors() {
    let samples = samples("good");
    assert_eq!(samples.len(), 15);
    for (name, text) in &samples {
        assert!(check(name, text).config.is_some(), "{name}");
    }
}

#[test]
fn invalid_samples_yield_exactly_their_errors_and_no_config() {
    let samples = samples("bad");
    assert_eq!(samples.len(), 52);
    for (name, text) in &samples {
        assert!(text.contains("// expect: error: "), "{name} says no error");
        assert!(check(name, text).config.is_none(), "{name}");
    }
}

/// A command that evaluates with the settings of a running gateway decides as that gateway does.
#[test]
fn settings_in_force_give_the_configuration_back() {
    let comment = r#"{gateway: {pairing: {authorizedKeys: ["KEY laptop, old, ${x}"], mode: "strict"}, bind: "lan"}}"#;
    let comment = comment.replace("KEY", &"ab".repeat(32));
    let credentials =
        r#"{gateway: {upstream: {url: "ws://me:pass@host:1"}, auth: {mode: "none"}}}"#;
    let more = [("comment", comment), ("credentials", credentials.to_string())];
    for (name, text) in samples("good").into_iter().chain(more.map(|(n, t)| (n.to_string(), t))) {
        let loaded = sample_world(&text).load();
        let Some(mut expected) = loaded.config else { continue };
        let settings = loaded.settings.iter();
        let settings = settings.map(|one| (&*one.path, &*one.value, one.list.clone()));
        let mut found = gatelet::config::in_force(settings).unwrap_or_else(|| panic!("{name}"));
        for config in [&mut found, &mut expected] {
            (config.auth.secret, config.upstream, config.control_ui.root) = (None, None, None);
        }
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{name}");
    }
    for (path, value) in [("gateway.future", "x"), ("port", "1"), ("gateway.port", "x")] {
        let setting = std::iter::once((path, value, Vec::new()));
        assert!(gatelet::config::in_force(setting).is_none(), "{path}");
    }
}

#[test]
fn configuration_of_the_bug_report_loads_unchanged() {
    let text = r#"{"gateway":{"mode":"local","auth":{"mode":"token","token":"..."},"bind":"lan"}}"#;
    let config = config(World::with(text).load());
    assert_eq!((config.bind, config.auth.mode, config.port), (Bind::Lan, AuthMode::Token, 18789));
    assert_eq!(token(&config), ("...", "config line 1".to_string()));
    assert_eq!(config.pairing.mode, PairingMode::Token);
}

#[test]
fn misplaced_keys_are_reported_with_line_and_suggestion() {
    let text = "{\n \"gateway\": {\n  \"auth\": {\n   \"mode\": \"token\",\n   \"token\": \"0123456789abcdef\",\n   \"allowInsecureAuth\": true\n}}}";
    let loaded = World::with(text).load();
    let expected =
        "unknown key gateway.auth.allowInsecureAuth (line 6): did you mean gateway.controlUi.allowInsecureAuth?";
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].to_string(), expected);
    assert_eq!(
        (loaded.problems[0].line, loaded.problems[0].path.as_str()),
        (6, "gateway.auth.allowInsecureAuth")
    );
}

#[test]
fn every_supported_key_is_loaded() {
    let all = samples("good").into_iter().find(|(name, _)| name == "everything_used").unwrap().1;
    let loaded = sample_world(&all).load();
    assert_eq!(loaded.accepted_not_used, ["gateway.auth.rateLimit.exemptLoopback"]);
    let config = config(loaded);
    assert_eq!((config.port, config.bind), (8080, Bind::Custom("192.168.1.5".parse().unwrap())));
    assert_eq!(config.public_origin.as_deref(), Some("https://gate.example"));
    assert_eq!(config.trusted_proxies.len(), 2);
    assert!(
        config.allow_real_ip_fallback && config.auth.allow_tailscale && config.auth.strict_clock
    );
    assert_eq!(config.auth.mode, AuthMode::Password);
    assert_eq!(token(&config).0, "correct horse battery staple");
    assert_eq!(config.auth.trusted_proxy, None, "only in its own mode");
    let limit = config.auth.rate_limit;
    assert_eq!((limit.max_attempts, limit.window_ms, limit.lockout_ms), (5, 30_000, 60_000));
    assert_eq!((config.pairing.mode, config.pairing.capacity), (PairingMode::Strict, 16));
    assert_eq!(config.pairing.authorized[0].id, config.pairing.authorized[1].id);
    assert_eq!(config.pairing.authorized[0].comment, "the phone");
    let ui = config.control_ui;
    assert!(!ui.enabled && ui.allow_insecure_auth && ui.dangerously_disable_device_auth);
    assert!(ui.dangerously_allow_host_header_origin_fallback && ui.root.is_none());
    assert_eq!(
        (ui.base_path.as_str(), ui.allowed_origins),
        ("/gate", vec!["http://gate".to_string(), "*".to_string()])
    );
    assert!(config.nodes.auto_approve_local && config.nodes.auto_approve_cidrs.len() == 1);
    assert_eq!(config.nodes.allow_commands, ["camera.snap", "camera.clip"]);
    assert_eq!(config.nodes.deny_commands, ["system.run"]);
    assert_eq!((config.tailscale.mode, config.tailscale.reset_on_exit), (TailscaleMode::Off, true));
    let upstream = config.upstream.unwrap();
    assert_eq!(
        (upstream.url.as_str(), upstream.token.unwrap().expose()),
        ("ws://10.0.0.2:18789", TOKEN)
    );
}

#[test]
fn trusted_proxy_settings_are_loaded_in_trusted_proxy_mode() {
    let text = samples("good").into_iter().find(|(name, _)| name == "trusted_proxy").unwrap().1;
    let config = config(sample_world(&text).load());
    assert!(config.auth.secret.is_none());
    assert_eq!(config.auth.trusted_proxy.unwrap().user_header, "x-user");
}

#[test]
fn unused_openclaw_keys_are_accepted_and_listed_once() {
    let old = samples("good").into_iter().find(|(name, _)| name == "openclaw_2026_1_29").unwrap().1;
    let listed = sample_world(&old).load().accepted_not_used;
    let expected = [
        "remote",
        "reload",
        "tls.autoGenerate",
        "tls.certPath",
        "tls.keyPath",
        "tls.caPath",
        "http",
        "nodes.browser",
    ];
    assert_eq!(listed, expected.map(|key| format!("gateway.{key}")));
}

#[test]
fn empty_configuration_is_valid() {
    let loaded = World::bare().load();
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let paths = loaded.paths.clone().unwrap();
    assert_eq!(paths.token_file(), Path::new("/home/ann/.local/state/gatelet/token"));
    let config = config(loaded);
    assert_eq!(
        (config.port, config.bind, config.auth.mode),
        (18789, Bind::Loopback, AuthMode::Token)
    );
    assert!(
        config.auth.secret.is_none()
            && config.control_ui.enabled
            && !config.nodes.auto_approve_local
    );
    assert_eq!(
        (config.pairing.mode, config.pairing.capacity),
        (PairingMode::Token, limits::CAPACITY_DEFAULT)
    );
}

// --- secrets -------------------------------------------------------------------------------------

/// Returns an environment with the token file and `count` further sources of the token, each with
/// higher precedence than the one before.
fn strongest(count: usize) -> (World, Overrides) {
    let mut world = World::with("{ gateway: {} }")
        .file("/home/ann/.local/state/gatelet/token", "state-file-token-0");
    let mut args = Overrides::default();
    if count >= 1 {
        world = world.file(FILE, "{ gateway: { auth: { token: \"config-token-000000\" } } }");
    }
    if count >= 2 {
        world = world.var("OPENCLAW_GATEWAY_TOKEN", "openclaw-token-0000");
    }
    if count >= 3 {
        world =
            world.var("GATELET_TOKEN_FILE", "/secret").file("/secret", "gatelet-file-token-0\r\n");
    }
    if count >= 4 {
        args.token = Some(Secret::new("flag-token-00000000"));
    }
    (world, args)
}

#[test]
fn token_source_precedence_and_reported_source() {
    let expected = [
        ("state-file-token-0", "state file /home/ann/.local/state/gatelet/token"),
        ("config-token-000000", "config line 1"),
        ("openclaw-token-0000", "OPENCLAW_GATEWAY_TOKEN"),
        ("gatelet-file-token-0", "GATELET_TOKEN_FILE /secret"),
        ("flag-token-00000000", "--token"),
    ];
    for (count, (secret, source)) in expected.into_iter().enumerate() {
        let (world, args) = strongest(count);
        let config = config(load(&args, &world));
        assert_eq!(token(&config), (secret, source.to_string()));
    }
}

#[test]
fn password_source_precedence() {
    let world = World::with("{ gateway: { auth: { mode: 'password', password: 'from-config' } } }");
    assert_eq!(token(&config(world.load())).0, "from-config");
    let world = world
        .var("OPENCLAW_GATEWAY_PASSWORD_FILE", "/run/secrets/p")
        .file("/run/secrets/p", "from-file\n");
    assert_eq!(
        token(&config(world.load())),
        ("from-file", "OPENCLAW_GATEWAY_PASSWORD_FILE /run/secrets/p".to_string())
    );
    let world = world.var("GATELET_PASSWORD", "from-var");
    assert_eq!(token(&config(world.load())).0, "from-var");
    let args = Overrides { password: Some(Secret::new("from-flag")), ..Overrides::default() };
    assert_eq!(token(&config(load(&args, &world))).0, "from-flag");
}

#[test]
fn unreadable_secret_file_is_an_error_without_fallback() {
    for (bytes, text) in [
        (None, "cannot read GATELET_TOKEN_FILE /run/secrets/t: entity not found"),
        (Some(vec![b'a'; 5000]), "cannot read GATELET_TOKEN_FILE /run/secrets/t: too large"),
        (
            Some(b"two\nlines".to_vec()),
            "GATELET_TOKEN_FILE /run/secrets/t contains characters that no client can send",
        ),
        (Some(vec![b'a', 0xff]), "GATELET_TOKEN_FILE /run/secrets/t is not UTF-8"),
        (Some(vec![0xff, 0xfe, b'a', 0]), "GATELET_TOKEN_FILE /run/secrets/t is UTF-16"),
    ] {
        let mut world = World::bare()
            .var("GATELET_TOKEN_FILE", "/run/secrets/t")
            .var("OPENCLAW_GATEWAY_TOKEN", TOKEN);
        if let Some(bytes) = bytes {
            world = world.file("/run/secrets/t", bytes);
        }
        let loaded = world.load();
        assert!(loaded.config.is_none());
        assert_eq!(loaded.problems.len(), 1, "{text}");
        assert_eq!(loaded.problems[0].message, text);
    }
}

#[test]
fn secret_variable_and_its_file_variable_together_are_an_error() {
    let world =
        World::bare().var("GATELET_TOKEN", TOKEN).var("GATELET_TOKEN_FILE", "/t").file("/t", TOKEN);
    assert_eq!(
        messages(&world.load()),
        ["error: GATELET_TOKEN and GATELET_TOKEN_FILE are both set: unset one of them"]
    );
    let world = world.var("GATELET_TOKEN", "");
    assert_eq!(token(&config(world.load())).1, "GATELET_TOKEN_FILE /t");
}

#[test]
fn empty_secret_variable_warns_at_every_bind() {
    for bind in ["loopback", "lan"] {
        let loaded =
            World::bare().var("OPENCLAW_GATEWAY_TOKEN", "").var("GATELET_BIND", bind).load();
        let warning = "warning: OPENCLAW_GATEWAY_TOKEN is empty and treated as unset";
        assert_eq!(messages(&loaded), [warning]);
        assert!(loaded.config.is_some());
    }
}

#[test]
fn emptied_generated_token_file_is_an_error_and_not_regenerated() {
    let loaded = World::bare().file("/home/ann/.local/state/gatelet/token", "\n").load();
    assert!(loaded.config.is_none());
    assert!(messages(&loaded)[0]
        .contains("the token file /home/ann/.local/state/gatelet/token is empty"));
}

#[test]
fn world_readable_secret_file_warns_unless_mounted_by_a_container_engine() {
    let world = World::bare()
        .var("GATELET_TOKEN_FILE", "/etc/t")
        .file("/etc/t", TOKEN)
        .mode("/etc/t", 0o644);
    let text = "warning: any user of this machine can read GATELET_TOKEN_FILE /etc/t: run chmod 600 /etc/t";
    assert_eq!(messages(&world.load()), [text]);
    assert_eq!(messages(&world.mode("/etc/t", 0o640).load()), Vec::<String>::new());
    let mounted =
        World::bare().var("GATELET_TOKEN_FILE", "/run/secrets/t").file("/run/secrets/t", TOKEN);
    assert_eq!(messages(&mounted.mode("/run/secrets/t", 0o444).load()), Vec::<String>::new());
}

#[test]
fn world_accessible_configuration_warns() {
    let secret = format!("{{ gateway: {{ auth: {{ token: '{TOKEN}' }} }} }}");
    let readable = "warning: any user of this machine can read the secret in /config/gatelet.json: run chmod 600 /config/gatelet.json";
    let writable =
        "warning: any user of this machine can change the configuration /config/gatelet.json: run chmod o-w /config/gatelet.json";
    assert_eq!(messages(&World::with(&secret).mode(FILE, 0o644).load()), [readable]);
    assert_eq!(messages(&World::with("{}").mode(FILE, 0o644).load()), Vec::<String>::new());
    assert_eq!(messages(&World::with("{}").mode(FILE, 0o602).load()), [writable]);
    let by_variable =
        World::with("{ gateway: { auth: { token: '${T}' } } }").var("T", TOKEN).mode(FILE, 0o644);
    assert_eq!(messages(&by_variable.load()), Vec::<String>::new());
}

#[test]
fn auth_mode_defaults_to_the_kind_of_the_only_secret() {
    let with =
        |name: &str| config(World::bare().var(name, "correct horse battery").load()).auth.mode;
    assert_eq!(with("GATELET_TOKEN"), AuthMode::Token);
    assert_eq!(with("OPENCLAW_GATEWAY_PASSWORD"), AuthMode::Password);
    let both =
        World::bare().var("OPENCLAW_GATEWAY_TOKEN", TOKEN).var("GATELET_PASSWORD", "correct horse");
    assert!(messages(&both.load())[0]
        .contains("a token (OPENCLAW_GATEWAY_TOKEN) and a password (GATELET_PASSWORD)"));
    let args = Overrides { auth: Some("password".into()), ..Overrides::default() };
    assert_eq!(config(load(&args, &both)).auth.mode, AuthMode::Password);
    let args = Overrides { auth: Some("pasword".into()), ..Overrides::default() };
    assert_eq!(
        messages(&load(&args, &both)),
        ["error: --auth cannot be \"pasword\": did you mean \"password\"?"]
    );
}

#[test]
fn redaction_placeholder_is_not_accepted_as_a_secret() {
    let hidden = "__OPENCLAW_REDACTED__";
    for world in [
        World::with(&format!("{{ gateway: {{ auth: {{ token: '{hidden}' }} }} }}")),
        World::bare().var("OPENCLAW_GATEWAY_TOKEN", hidden),
        World::bare().var("GATELET_TOKEN_FILE", "/t").file("/t", hidden),
    ] {
        assert!(messages(&world.load())[0].contains("is a placeholder, not a secret"));
    }
}

#[test]
fn variable_substitution_of_secrets_is_limited_to_secret_keys() {
    let with = |key: &str| {
        let text = format!("{{ gateway: {{ {key} }} }}");
        World::with(&text).var("GATELET_TOKEN", TOKEN).var("MY_PASSWORD", "correct horse").load()
    };
    for key in [
        "trustedProxies: ['${GATELET_TOKEN}']",
        "auth: { mode: '${MY_PASSWORD}' }",
        "nodes: { commands: { allow: ['x${GATELET_TOKEN}'] } }",
        "controlUi: { basePath: '/${MY_PASSWORD}' }",
    ] {
        let loaded = with(key);
        assert!(
            messages(&loaded)[0].contains("named like a secret"),
            "{key}: {:?}",
            messages(&loaded)
        );
        let all = format!("{:?} {:?}", loaded.problems, loaded.settings);
        assert!(!all.contains(TOKEN) && !all.contains("correct horse"), "{key}: {all}");
    }
    assert_eq!(
        messages(&with("auth: { mode: 'token', token: '${MY_PASSWORD}' }")),
        Vec::<String>::new()
    );
}

#[test]
fn secrets_are_never_printed() {
    let secret = "hunter2-hunter2-hunter2";
    let text = format!(
        "{{ gateway: {{ bind: 'nope', auth: {{ token: '{secret}', password: '{secret}' }}, upstream: {{ url: 'wss://{secret}@a', token: '{secret}' }} }} }}"
    );
    let args = Overrides {
        token: Some(Secret::new(secret)),
        password: Some(Secret::new(secret)),
        ..Overrides::default()
    };
    let loaded = load(&args, &World::with(&text).mode(FILE, 0o666));
    assert!(loaded.problems.len() > 2);
    let problems = format!("{:?} {:?} {args:?}", loaded.problems, messages(&loaded));
    assert!(!problems.contains("hunter2"), "{problems}");
    let secrets = loaded
        .settings
        .iter()
        .filter(|setting| setting.path.ends_with("token") || setting.path.ends_with("password"));
    for setting in secrets {
        assert_eq!(
            setting.value, "hidden",
            "{}: a printed digest would allow an offline attack on the secret",
            setting.path
        );
    }
    let long = "0123456789abcdef0123456789abcdef";
    for (token, shown) in [(long, "sha256:3eb1bd43..."), (&long[1..], "hidden")] {
        let loaded =
            World::with(&format!("{{ gateway: {{ auth: {{ token: '{token}' }} }} }}")).load();
        let setting =
            loaded.settings.iter().find(|setting| setting.path.ends_with("auth.token")).unwrap();
        assert_eq!(setting.value, shown, "{token}");
    }
    let fine = format!(
        "{:?}",
        World::with(&format!("{{ gateway: {{ auth: {{ token: '{secret}' }} }} }}")).load()
    );
    assert!(fine.contains("secret: Some") && !fine.contains("hunter2"), "{fine}");
}

// --- flags, variables, paths ---------------------------------------------------------------------

#[test]
fn port_source_precedence() {
    let world = World::with("{ gateway: { port: 1000 } }");
    assert_eq!(config(world.load()).port, 1000);
    for (text, port) in
        [("2000", 2000), ("127.0.0.1:2001", 2001), ("[::1]:2002", 2002), ("2003\n", 2003)]
    {
        assert_eq!(config(world.clone().var("OPENCLAW_GATEWAY_PORT", text).load()).port, port);
    }
    let world = world.var("OPENCLAW_GATEWAY_PORT", "nonsense").var("GATELET_PORT", "3000");
    assert_eq!(config(world.load()).port, 3000);
    let flag =
        |text: &str| load(&Overrides { port: Some(text.into()), ..Overrides::default() }, &world);
    assert_eq!(config(flag("4000")).port, 4000);
    assert_eq!(config(flag("0")).port, 0);
    assert_eq!(
        messages(&flag("70000")),
        ["error: --port cannot be \"70000\": use a port from 1 to 65535"]
    );
    let bad = world.var("GATELET_PORT", "0").load();
    assert_eq!(messages(&bad), ["error: GATELET_PORT cannot be \"0\": use a port from 1 to 65535"]);
}

#[test]
fn kubernetes_service_port_variable_is_ignored_as_a_port() {
    let loaded = World::bare().var("GATELET_PORT", "tcp://10.96.0.7:18789").load();
    assert!(messages(&loaded)[0]
        .starts_with("warning: GATELET_PORT is \"tcp://10.96.0.7:18789\", which Kubernetes sets"));
    assert_eq!(config(loaded).port, 18789);
}

#[test]
fn bind_source_precedence() {
    let world = World::with("{ gateway: { bind: 'tailnet' } }");
    assert_eq!(config(world.load()).bind, Bind::Tailnet);
    let world = world.var("GATELET_BIND", "lan");
    assert_eq!(config(world.load()).bind, Bind::Lan);
    let args = Overrides { bind: Some("loopback".into()), ..Overrides::default() };
    assert_eq!(config(load(&args, &world)).bind, Bind::Loopback);
    let bad = messages(&world.var("GATELET_BIND", "0.0.0.0").load());
    assert_eq!(bad, ["error: GATELET_BIND cannot be \"0.0.0.0\": did you mean \"lan\"?"]);
}

#[test]
fn state_directory_source_precedence() {
    let mut world = World::bare();
    let mut expected = vec![("/home/ann/.local/state/gatelet", Source::Default)];
    for (name, value, dir) in [
        ("XDG_STATE_HOME", "/xdg", "/xdg/gatelet"),
        ("STATE_DIRECTORY", "/var/lib/gatelet:/var/lib/more", "/var/lib/gatelet"),
        ("OPENCLAW_STATE_DIR", "~/.openclaw", "/home/ann/.openclaw/gatelet"),
        ("GATELET_STATE_DIR", "/state", "/state"),
    ] {
        let (last, source) = expected.last().unwrap();
        let found = world.load().paths.unwrap().state_dir;
        assert_eq!((found.value.as_path(), &found.source), (Path::new(last), source));
        world = world.var(name, value);
        expected.push((
            dir,
            if name == "XDG_STATE_HOME" { Source::Default } else { Source::Env(name) },
        ));
    }
    let found = world.load().paths.unwrap();
    assert_eq!(
        (found.state_dir.value, found.config.value),
        ("/state".into(), "/state/gatelet.json".into())
    );
    let args = Overrides { state_dir: Some("flag".into()), ..Overrides::default() };
    assert_eq!(load(&args, &world).paths.unwrap().state_dir.value, Path::new("flag"));
}

#[test]
fn state_directory_defaults_in_containers_and_on_windows_else_is_required() {
    let dir = |world: &World| world.load().paths.map(|paths| paths.state_dir.value);
    let container = World::default().var("HOME", "/").file("/.dockerenv", "");
    assert_eq!(dir(&container), Some("/var/lib/gatelet".into()));
    assert_eq!(dir(&container.file("/data", "")), Some("/data".into()));
    let windows = World { windows: true, ..World::default() }.var("LOCALAPPDATA", "C:\\Local");
    assert_eq!(dir(&windows), Some(Path::new("C:\\Local").join("gatelet")));
    let nowhere = World::default().load();
    assert!(nowhere.config.is_none() && nowhere.paths.is_none());
    let text = "error: no location for the state directory: there is no home directory: pass --state-dir DIR or set GATELET_STATE_DIR";
    assert_eq!(messages(&nowhere), [text]);
}

const SERVICE: &str = "/var/lib/gatelet/pairing.table";

fn state_dir(world: &World) -> Option<PathBuf> {
    world.load().paths.map(|paths| paths.state_dir.value)
}

#[test]
fn service_state_is_used_if_readable_and_the_user_has_none() {
    let root = World::default().var("HOME", "/root").file(SERVICE, "");
    let found = root.load().paths.unwrap();
    assert_eq!(
        (found.state_dir.value, found.state_dir.source),
        ("/var/lib/gatelet".into(), Source::Default)
    );
    assert_eq!(found.config.value, Path::new("/var/lib/gatelet/gatelet.json"));
    assert_eq!(
        state_dir(&World::default().file(SERVICE, "")),
        Some("/var/lib/gatelet".into()),
        "no home, as in cron"
    );
    assert_eq!(
        state_dir(&root.file("/.dockerenv", "")),
        Some("/var/lib/gatelet".into()),
        "a system in a container"
    );
}

#[test]
fn own_or_configured_state_is_preferred_over_service_state() {
    let own = Some(PathBuf::from("/home/ann/.local/state/gatelet"));
    assert_eq!(state_dir(&World::bare().locked(SERVICE)), own, "another user");
    assert_eq!(
        state_dir(&World::bare().file("/var/lib/gatelet", "")),
        own,
        "a directory without a table"
    );
    let both = World::bare().file(SERVICE, "").file("/home/ann/.local/state/gatelet", "");
    assert_eq!(state_dir(&both), own);
    let xdg =
        World::bare().file(SERVICE, "").var("XDG_STATE_HOME", "/xdg").file("/xdg/gatelet", "");
    assert_eq!(state_dir(&xdg), Some("/xdg/gatelet".into()));
    let said = World::bare().file(SERVICE, "").var("GATELET_STATE_DIR", "/state");
    assert_eq!(state_dir(&said), Some("/state".into()));
    let args = Overrides { state_dir: Some("/flag".into()), ..Overrides::default() };
    assert_eq!(load(&args, &said).paths.unwrap().state_dir.value, Path::new("/flag"));
    let volume = World::default().file("/.dockerenv", "").file("/data", "").file(SERVICE, "");
    assert_eq!(state_dir(&volume), Some("/data".into()), "a container's volume");
}

#[test]
fn windows_service_state_is_in_program_data() {
    let data = Path::new("C:\\ProgramData").join("gatelet");
    let local = Path::new("C:\\Local").join("gatelet");
    let table = data.join("pairing.table");
    let (data, table) = (data.as_path(), table.to_str().unwrap());
    let plain = World { windows: true, ..World::default() }.var("LOCALAPPDATA", "C:\\Local");
    let world = plain.clone().var("ProgramData", "C:\\ProgramData");
    assert_eq!(state_dir(&world.clone().file(table, "")).as_deref(), Some(data));
    assert_eq!(state_dir(&world.clone().locked(table)), Some(local.clone()));
    assert_eq!(state_dir(&world.clone()), Some(local.clone()));
    assert_eq!(
        state_dir(&plain.file(table, "").file(SERVICE, "")),
        Some(local.clone()),
        "ProgramData is not set"
    );
    assert_eq!(state_dir(&world.file(table, "").file(local.to_str().unwrap(), "")), Some(local));
}

#[test]
fn tilde_expands_to_the_home_directory_per_platform() {
    let at = |world: World, path: &str| state_dir(&world.var("GATELET_STATE_DIR", path)).unwrap();
    assert_eq!(at(World::bare(), "~/gate"), Path::new("/home/ann/gate"));
    assert_eq!(
        at(World::bare(), "~\\gate"),
        Path::new("~\\gate"),
        "an ordinary name, except on Windows"
    );
    let windows = World { windows: true, ..World::default() }.var("USERPROFILE", "/Users/ann");
    assert_eq!(at(windows.clone(), "~\\gate"), Path::new("/Users/ann/gate"));
    assert_eq!(at(windows.clone(), "~/gate"), Path::new("/Users/ann/gate"));
    assert_eq!(at(windows, "~gate"), Path::new("~gate"));
}

#[test]
fn default_bind_is_lan_only_in_the_image() {
    let bind = |world: &World| config(world.load()).bind;
    let machine = World::bare().file("/proc/1/cgroup", "0::/init.scope\n");
    assert!(!in_container(&machine));
    assert_eq!(bind(&machine), Bind::Loopback);
    for world in [
        World::bare().file("/.dockerenv", ""),
        World::bare().file("/run/.containerenv", ""),
        World::bare().var("container", "podman"),
        World::bare().var("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        World::bare().file("/proc/1/cgroup", "12:memory:/docker/abc\n"),
    ] {
        assert!(in_container(&world));
        assert_eq!(messages(&world.load()), Vec::<String>::new());
        assert_eq!(bind(&world), Bind::Loopback, "a container, but not the image");
        let world = world.var("GATELET_IMAGE", "1");
        assert_eq!(messages(&world.load()), Vec::<String>::new());
        assert_eq!(bind(&world), Bind::Lan);
        assert_eq!(bind(&world.clone().var("GATELET_BIND", "loopback")), Bind::Loopback);
        let chosen =
            world.var("GATELET_CONFIG", FILE).file(FILE, "{ gateway: { bind: 'loopback' } }");
        assert_eq!(bind(&chosen), Bind::Loopback);
    }
}

#[test]
fn auth_none_in_the_image_requires_an_explicit_loopback_bind() {
    let world = World::with("{ gateway: { auth: { mode: 'none' } } }").var("GATELET_IMAGE", "1");
    let text = "error: gateway.auth.mode \"none\" requires a loopback bind, but the bind is \"lan\" (line 1): \
                set gateway.auth.mode to \"token\", or gateway.bind to \"loopback\"";
    assert_eq!(messages(&world.load()), [text]);
    assert_eq!(messages(&world.var("GATELET_BIND", "loopback").load()), Vec::<String>::new());
}

#[test]
fn published_address_is_read_in_a_container_and_a_wrong_one_is_a_warning() {
    let published = |world: &World| world.load().paths.unwrap().published;
    let world = World::bare().var("GATELET_PUBLISH", "8080");
    assert_eq!(published(&world), Published::default(), "not in a container");
    let world = world.var("GATELET_IMAGE", "1").var("GATELET_PUBLISH_ADDRESS", "192.168.1.20");
    let address = "192.168.1.20".parse().ok();
    assert_eq!(published(&world), Published { address, port: Some(8080) });
    assert_eq!(messages(&world.load()), Vec::<String>::new());
    let blank = world.clone().var("GATELET_PUBLISH", "").var("GATELET_PUBLISH_ADDRESS", "");
    assert_eq!(published(&blank), Published::default());
    assert_eq!(messages(&blank.load()), Vec::<String>::new());
    for (name, value) in [("GATELET_PUBLISH", "70000"), ("GATELET_PUBLISH_ADDRESS", "pi.local")] {
        let wrong = world.clone().var(name, value).load();
        assert!(wrong.config.is_some());
        assert!(messages(&wrong)[0].contains(&format!("{name} cannot be \"{value}\"")));
    }
}

#[test]
fn configuration_path_precedence_and_error_for_a_missing_named_file() {
    let at = |port: u16| format!("{{ gateway: {{ port: {port} }} }}");
    let world = World::bare().file("/home/ann/.local/state/gatelet/gatelet.json", at(1));
    assert_eq!(config(world.load()).port, 1);
    let world = world.file("/o.json", at(2)).var("OPENCLAW_CONFIG_PATH", "/o.json");
    assert_eq!(config(world.load()).port, 2);
    let world = world.file("/g.json", at(3)).var("GATELET_CONFIG", "/g.json");
    assert_eq!(config(world.load()).port, 3);
    let flag =
        |path: &str| load(&Overrides { config: Some(path.into()), ..Overrides::default() }, &world);
    assert_eq!(config(flag("/o.json")).port, 2);
    let missing = flag("/not-there.json");
    assert!(missing.config.is_none());
    assert_eq!(
        messages(&missing),
        ["error: cannot read the configuration /not-there.json (from --config): entity not found: specify a readable file"]
    );
}

#[test]
fn print_lists_every_setting_with_its_value_and_source() {
    let text = "{ gateway: {\n bind: 'lan', auth: {\n token: '0123456789abcdef0123456789abcdef', skipPairingForTokenAuth: false } } }";
    let loaded = World::with(text).var("GATELET_PORT", "99").load();
    let of = |path: &str| {
        let setting = loaded.settings.iter().find(|setting| setting.path == path).unwrap();
        format!("{} from {}", setting.value, setting.source)
    };
    assert_eq!(of("gateway.port"), "99 from GATELET_PORT");
    assert_eq!(of("gateway.bind"), "lan from config line 2");
    assert_eq!(of("gateway.auth.mode"), "token from default");
    assert_eq!(of("gateway.auth.token"), "sha256:3eb1bd43... from config line 3");
    assert_eq!(of("gateway.pairing.mode"), "strict from config line 3");
    assert_eq!(of("gateway.pairing.capacity"), "256 from default");
    assert_eq!(of("gateway.auth.allowTailscale"), "false from default");
}

// --- hostile text --------------------------------------------------------------------------------

#[test]
fn other_text_encodings_are_reported_by_name() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("{}".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let loaded = World::with("").file(FILE, utf16).load();
    assert_eq!(
        messages(&loaded),
        ["error: the configuration /config/gatelet.json is UTF-16: save it as UTF-8"]
    );
    let loaded = World::with("").file(FILE, b"{\n\"\xff\"}").load();
    assert_eq!(
        messages(&loaded),
        ["error: the configuration /config/gatelet.json is not UTF-8 (line 2): save it as UTF-8"]
    );
    assert!(World::with("\u{feff}{}").load().config.is_some());
}

#[test]
fn nesting_depth_is_limited_and_brackets_in_strings_do_not_count() {
    let deep = limits::JSON_DEPTH;
    for open in ["[", "{a:", "{'b':["] {
        let text = format!("{{ x:\n{}", open.repeat(200_000));
        let loaded = World::with(&text[..1_000_000.min(text.len())]).load();
        assert_eq!(
            messages(&loaded),
            [format!(
                "error: the configuration is not JSON5: nested deeper than {deep} levels (line 2)"
            )]
        );
    }
    let brackets = "[".repeat(5000);
    let text =
        format!("{{ a: \"\\\"{brackets}\", b: '\\'{brackets}\"', /* {brackets} ' */ c: 1, // {brackets} \"\n d: [] }}");
    assert_eq!(messages(&World::with(&text).load()), Vec::<String>::new());
    let fits = format!("{{ a: {}{} }}", "[".repeat(deep - 1), "]".repeat(deep - 1));
    assert!(World::with(&fits).load().config.is_some());
    let beyond = format!("{{ a: {}{} }}", "[".repeat(deep), "]".repeat(deep));
    assert!(World::with(&beyond).load().config.is_none());
}

#[test]
fn oversized_configuration_is_rejected() {
    let text = format!("{{}} //{}", "x".repeat(limits::CONFIG_LEN as usize));
    assert!(messages(&World::with(&text).load())[0].contains("too large"));
}

#[test]
fn long_problem_lists_are_truncated_with_a_total() {
    let keys: String = (0..20_000).map(|at| format!("k{at}: 1,\n")).collect();
    let loaded = World::with(&format!("{{ gateway: {{\n{keys}}} }}")).load();
    assert!(loaded.config.is_none());
    assert_eq!(loaded.problems.len(), limits::CONFIG_PROBLEMS + 1);
    assert_eq!(loaded.problems.last().unwrap().message, "19900 more problems are not listed");
}

#[test]
fn unknown_key_names_are_shortened_and_escaped() {
    let text = format!("{{ gateway: {{ \"a\\u001b[31m\\n{}\": 1 }} }}", "x".repeat(5000));
    let shown = messages(&World::with(&text).load());
    assert!(
        shown.len() == 1 && shown[0].len() < 300 && !shown[0].contains(char::is_control),
        "{shown:?}"
    );
}

#[test]
fn damaged_samples_do_not_panic_the_parser() {
    let mut tried = 0;
    let mut random = fastrand::Rng::with_seed(1);
    for (_, text) in samples("good").into_iter().chain(samples("bad")) {
        for _ in 0..60 {
            let mut bytes = text.clone().into_bytes();
            let at = random.usize(..bytes.len());
            match random.u8(..16) {
                0..=4 => bytes.truncate(at),
                5..=9 => bytes[at] = b"{}[]\",'\\:/*$u0x\xc3"[random.usize(..16)],
                _ => drop(bytes.remove(at)),
            }
            let loaded = sample_world("").file(FILE, &bytes).load();
            let errors = loaded.problems.iter().any(|problem| problem.severity == Severity::Error);
            assert_eq!(loaded.config.is_none(), errors);
            tried += 1;
        }
    }
    assert_eq!(tried, 60 * 67);
}

#[test]
fn variables_are_substituted_and_double_dollars_escaped() {
    let world = |text: &str| {
        World::with(&format!("{{ gateway: {{ auth: {{ token: '{text}' }} }} }}"))
            .var("A_1", "value")
    };
    for (given, meant) in [
        ("long-${A_1}-long-${A_1}", "long-value-long-value"),
        ("$${A_1}${A_1}", "${A_1}value"),
        ("${lower}${}${1A}${A_1", "${lower}${}${1A}${A_1"),
        ("cash$ {A_1} $A_1 $", "cash$ {A_1} $A_1 $"),
    ] {
        assert_eq!(token(&config(world(given).load())).0, meant);
    }
}

#[test]
fn oversized_secrets_are_rejected() {
    let loaded = World::bare().var("GATELET_TOKEN", &"x".repeat(limits::SECRET_LEN + 1)).load();
    assert_eq!(loaded.problems[0].message, "GATELET_TOKEN is longer than 4096 bytes");
    assert!(loaded.config.is_none());
}

#[test]
fn each_gateway_key_of_a_published_openclaw_is_known() {
    let table = include_str!("openclaw-keys.tsv");
    let known = |path: &str| {
        let section = |key: &Key| {
            matches!(key.kind, Kind::NotUsed) && path.starts_with(&format!("{}.", key.path))
        };
        KEYS.iter().any(|key| key.path == path || section(key))
    };
    let paths: Vec<_> =
        table.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();
    assert!(paths.len() > 100);
    let unknown: Vec<_> = paths.into_iter().filter(|path| !known(path)).collect();
    assert_eq!(unknown, [""; 0], "run tests/openclaw-keys.py, then add them to config/schema.rs");
}

#[test]
fn keys_as_messages_name_them_are_rejected_outside_of_gateway() {
    for (key, nested) in [
        ("gateway.port", "gateway: { port: ..."),
        ("gateway.controlUi.allowedOrigins", "gateway: { controlUi: { allowedOrigins: ..."),
    ] {
        let said = messages(&World::with(&format!("{{ '{key}': 1, gatewayport: 2 }}")).load());
        let [said] = said.as_slice() else { panic!("{said:?}") };
        assert!(said.starts_with("error: ") && said.contains(nested), "{said}");
    }
}
