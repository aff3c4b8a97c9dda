//! Reads the listen address: `gateway.port`, `gateway.bind`, `gateway.customBindHost`, and the
//! flags and variables that override them.

use std::net::IpAddr;

use super::build::Builder;
use super::parse::{quote, suggest};
use super::{paths, schema, values, Bind, Source};
use crate::gate::net;

impl Builder<'_> {
    /// Returns the port, or `None` after reporting an error if the given value is invalid.
    pub fn port(&mut self) -> Option<u16> {
        if let Some(text) = &self.args.port {
            let port = if text == "0" { Some(0) } else { values::port(text) };
            return self.port_of(text, port, Source::Flag("--port"));
        }
        for name in ["GATELET_PORT", "OPENCLAW_GATEWAY_PORT"] {
            match paths::non_empty_var(self.env, name) {
                // Kubernetes sets <SERVICE>_PORT to tcp://address:port in every pod.
                Some(text) if text.contains("://") => {
                    let message = format!(
                        "{name} is {}, which Kubernetes sets for a service of that name",
                        quote(&text)
                    );
                    let hint = "the value is ignored; set enableServiceLinks: false";
                    self.problems.warning(0, name, message, hint);
                }
                Some(text) => {
                    let port = text.trim().rsplit(':').next().and_then(values::port);
                    return self.port_of(&text, port, Source::Env(name));
                }
                None => {}
            }
        }
        u16::try_from(self.file_values.number("port")).ok()
    }

    fn port_of(&mut self, text: &str, port: Option<u16>, source: Source) -> Option<u16> {
        match port {
            Some(port) => self.in_force.push(("port", port.to_string(), source)),
            None => {
                let message = format!("{source} cannot be {}", quote(text));
                self.problems.error(0, &source.to_string(), message, "use a port from 1 to 65535");
            }
        }
        port
    }

    /// Returns the bind mode, or `None` after reporting an error if it is invalid.
    pub fn bind(&mut self) -> Option<Bind> {
        let (text, source) = match (
            &self.args.bind,
            paths::non_empty_var(self.env, "GATELET_BIND"),
            self.file_values.text("bind"),
        ) {
            (Some(text), _, _) => (text.clone(), Source::Flag("--bind")),
            (None, Some(text), _) => (text, Source::Env("GATELET_BIND")),
            (None, None, Some((text, line))) => (text.to_string(), Source::Config(line)),
            (None, None, None) if self.file_values.is_invalid("bind") => return None,
            (None, None, None) => (self.default_bind().to_string(), Source::Default),
        };
        let custom = self.custom_bind_host(text == "custom");
        let bind = match text.as_str() {
            "loopback" => Bind::Loopback,
            "lan" => Bind::Lan,
            "tailnet" => Bind::Tailnet,
            "auto" => Bind::Auto,
            "custom" => Bind::Custom(custom?),
            other => {
                self.invalid_word("bind", other, &source, bind_hint(other));
                return None;
            }
        };
        self.in_force.push(("bind", text, source));
        Some(bind)
    }

    /// Returns the default bind mode. It is `lan` in gatelet's image: a published port does not
    /// reach the container's loopback interface. A container alone does not count: in a
    /// development container or a CI job, other machines must not reach the gateway by default.
    fn default_bind(&self) -> &'static str {
        match self.paths {
            Some(paths) if paths.in_image => "lan",
            _ => "loopback",
        }
    }

    fn custom_bind_host(&mut self, is_used: bool) -> Option<IpAddr> {
        let key = "customBindHost";
        if self.file_values.line(key).is_none() && is_used {
            let message = "bind \"custom\" requires gateway.customBindHost";
            let hint = "set it to an IP address of this machine";
            self.error_at(self.line("bind"), key, message, hint);
        }
        let hint = "use an IP address of this machine";
        let address = self.parsed(key, hint, |text| text.trim().parse().ok())?;
        if !is_used {
            let hint = "it has an effect only with gateway.bind \"custom\"";
            self.warning(key, "gateway.customBindHost is not used", hint);
        }
        Some(address)
    }
}

fn bind_hint(given: &str) -> String {
    let bare = given.trim().trim_matches(['[', ']']).to_ascii_lowercase();
    let meant = match bare.as_str() {
        "*" | "all" | "any" | "public" => Some("lan"),
        "localhost" | "local" => Some("loopback"),
        "tailscale" => Some("tailnet"),
        _ => None,
    };
    match (meant, bare.parse::<IpAddr>()) {
        (Some(word), _) => format!("did you mean \"{word}\"?"),
        (None, Ok(address)) if address.is_unspecified() => "did you mean \"lan\"?".to_string(),
        (None, Ok(address)) if net::is_loopback(address) => {
            "did you mean \"loopback\"?".to_string()
        }
        (None, Ok(address)) => {
            format!("did you mean \"custom\" with gateway.customBindHost \"{address}\"?")
        }
        (None, Err(_)) => suggest(given, schema::BINDS),
    }
}
