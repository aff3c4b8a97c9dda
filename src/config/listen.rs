//! Reads the listen address: `gateway.port`, `gateway.bind`, `gateway.customBindHost`, and the
//! flags and variables that override them.

use std::net::IpAddr;

use super::build::Builder;
use super::parse::{quote, suggest};
use super::{schema, values, Bind, Source, Sourced};
use crate::gate::net;

impl Builder<'_> {
    /// Returns the port, or `None` after reporting an error if the given value is invalid.
    pub fn port(&mut self) -> Option<u16> {
        let flag = ("--port", self.args.port.as_ref());
        let has_flag = flag.1.is_some_and(|raw| !values::trimmed(raw).is_empty());
        let variables: Vec<_> = ["GATELET_PORT", "OPENCLAW_GATEWAY_PORT"]
            .into_iter()
            .filter(|name| has_flag || !self.is_service_link(name))
            .collect();
        let Some(Sourced { value: text, source }) = self.problems.first(self.env, flag, variables)
        else {
            return u16::try_from(self.file_values.number("port")).ok();
        };
        let name = source.to_string();
        let port = match values::port_with_host(&text) {
            _ if text == "0" && matches!(source, Source::Flag(_)) => 0,
            Some((host, port)) => {
                if host.is_some() {
                    let message = format!("{name} is {}", quote(&text));
                    let hint = "only the port is used; gateway.bind sets the addresses";
                    self.problems.warning(0, &name, message, hint);
                }
                port
            }
            None => {
                let message = format!("{name} cannot be {}", quote(&text));
                self.problems.error(0, &name, message, "use a port from 1 to 65535");
                return None;
            }
        };
        self.in_force.push(("port", port.to_string(), source));
        Some(port)
    }

    /// Returns whether the variable holds a URL, and warns about it: Kubernetes sets `NAME_PORT` to
    /// `tcp://address:port` in every pod for a service `NAME`.
    fn is_service_link(&mut self, name: &'static str) -> bool {
        let Some(text) = values::variable(self.env, name).filter(|text| text.contains("://"))
        else {
            return false;
        };
        let message =
            format!("{name} is {}, which Kubernetes sets for a service of that name", quote(&text));
        let hint = "the value is ignored; set enableServiceLinks: false";
        self.problems.warning(0, name, message, hint);
        true
    }

    /// Returns the bind mode, or `None` after reporting an error if it is invalid.
    pub fn bind(&mut self) -> Option<Bind> {
        let flag = ("--bind", self.args.bind.as_ref());
        let (text, source) = match (
            self.problems.first(self.env, flag, ["GATELET_BIND"]),
            self.file_values.text("bind"),
        ) {
            (Some(given), _) => (given.value, given.source),
            (None, Some((text, line))) => (text.to_string(), Source::Config(line)),
            (None, None) if self.file_values.is_invalid("bind") => return None,
            (None, None) => (self.default_bind().to_string(), Source::Default),
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
        let address = self.parsed(key, hint, values::address)?;
        if !is_used {
            let hint = "it has an effect only with gateway.bind \"custom\"";
            self.warning(key, "gateway.customBindHost is not used", hint);
        }
        Some(address)
    }
}

fn bind_hint(given: &str) -> String {
    let bare = given.trim_matches(['[', ']']).to_ascii_lowercase();
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
