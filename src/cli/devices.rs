//! `gatelet devices ...`: lists pending requests and paired devices, and changes them.

use super::args::DevicesCommand;
use super::context::{Context, Way};
use super::format::{ago, items, number, or_dash, short, text, texts, Grid};
use super::select::{self, Listed};
use super::{CommandError, Done, Exit, Output};
use crate::client::GatewayClient;
use crate::gate::ids::Role;
use crate::gate::limits;
use crate::wire::json::{self, Value};

/// Operations on devices, through the running gateway or on the table file. Device ids and request
/// ids are complete, not abbreviated.
pub(super) trait Owner {
    /// Returns `{pending, paired}` as `device.pair.list` does.
    fn list(&mut self) -> Result<String, CommandError>;
    /// Like [`Owner::list`], including the approved commands of nodes.
    fn list_all(&mut self) -> Result<String, CommandError>;
    /// Approves a pending request, or restores a revoked device given by its id.
    fn approve(&mut self, request_or_device: &str) -> Result<(), CommandError>;
    fn reject(&mut self, request: &str) -> Result<(), CommandError>;
    fn remove(&mut self, device: &str) -> Result<(), CommandError>;
    fn rename(&mut self, device: &str, label: &str) -> Result<(), CommandError>;
    fn rotate(&mut self, device: &str, role: &str) -> Result<(), CommandError>;
    fn revoke(&mut self, device: &str, role: &str) -> Result<(), CommandError>;
    /// Returns the reason why no request can be found here; `None` if requests are available.
    fn no_request(&self) -> Option<CommandError>;
}

/// Executes a `devices` command.
pub fn run(context: &Context, what: DevicesCommand) -> Done {
    let mut way = context.way()?;
    let owner: &mut dyn Owner = match &mut way {
        Way::Gateway(client) => client.as_mut(),
        Way::File(opened) => opened.as_mut(),
    };
    let text = owner.list()?;
    let list = parse(&text)?;
    let devices = Known {
        pending: select::entries(&list, "pending"),
        paired: select::entries(&list, "paired"),
    };
    match what {
        DevicesCommand::List if context.json => Output::json(text.as_bytes()),
        DevicesCommand::List => Output::ok(table(context, &list)),
        DevicesCommand::Approve(typed) => approve(context, owner, &devices, typed.as_deref()),
        DevicesCommand::Reject(typed) => reject(context, owner, &devices, typed.as_deref()),
        DevicesCommand::Remove(typed) => {
            let entry = select::one(&devices.paired, &typed, "device")?;
            owner.remove(&entry.device)?;
            said(context, entry, &[], "removed", "; with the gateway's token it could pair again")
        }
        DevicesCommand::Rename { device, name } => {
            let entry = select::one(&devices.paired, &device, "device")?;
            owner.rename(&entry.device, &name)?;
            said(context, entry, &[], "renamed", "")
        }
        DevicesCommand::Rotate { device, role } => {
            let entry = select::one(&devices.paired, &device, "device")?;
            let has = |name: &&String| !entry.revoked.contains(name);
            let roles =
                roles(entry, role, &entry.roles.iter().filter(has).cloned().collect::<Vec<_>>())?;
            roles.iter().try_for_each(|role| owner.rotate(&entry.device, role))?;
            said(
                context,
                entry,
                &roles,
                "rotated the token of",
                "; it gets the new one when it next connects",
            )
        }
        DevicesCommand::Revoke { device, role } => {
            let entry = select::one(&devices.paired, &device, "device")?;
            let roles = roles(entry, role, &entry.roles)?;
            roles.iter().try_for_each(|role| owner.revoke(&entry.device, role))?;
            let back =
                format!("; `gatelet devices approve {}` takes that back", short(&entry.device));
            said(context, entry, &roles, "revoked", &back)
        }
    }
}

struct Known {
    pending: Vec<Listed>,
    paired: Vec<Listed>,
}

fn approve(context: &Context, owner: &mut dyn Owner, devices: &Known, typed: Option<&str>) -> Done {
    if let Some(entry) = waiting(owner, devices, typed)? {
        owner.approve(&entry.request)?;
        let then = match entry.roles.iter().any(|role| role == Role::Node.name()) {
            true => "; it connects by itself, and what it offers waits in `gatelet nodes list`",
            false => "; it connects by itself",
        };
        return said(context, entry, &entry.roles, "approved", then);
    }
    let typed = typed.unwrap_or_default();
    match select::find(&devices.paired, typed)? {
        Some(entry) if !entry.revoked.is_empty() => {
            owner.approve(&entry.device)?;
            said(context, entry, &entry.revoked, "approved", " again; it connects by itself")
        }
        Some(entry) => {
            Err(CommandError::failed(format!("{} is paired and asks for nothing", entry.shown())))
        }
        None => Err(owner
            .no_request()
            .unwrap_or_else(|| select::nothing(&devices.paired, typed, "device"))),
    }
}

fn reject(context: &Context, owner: &mut dyn Owner, devices: &Known, typed: Option<&str>) -> Done {
    let nobody = || select::nothing(&devices.pending, typed.unwrap_or_default(), "device");
    let entry = match waiting(owner, devices, typed)? {
        Some(entry) => entry,
        None => return Err(owner.no_request().unwrap_or_else(nobody)),
    };
    owner.reject(&entry.request)?;
    said(context, entry, &[], "rejected", "; it may ask again")
}

/// Returns the pending request that `typed` selects, or the latest one if it is `None`.
fn waiting<'a>(
    owner: &dyn Owner,
    devices: &'a Known,
    typed: Option<&str>,
) -> Result<Option<&'a Listed>, CommandError> {
    match typed {
        Some(typed) => select::find(&devices.pending, typed),
        None => match devices.pending.first() {
            Some(latest) => Ok(Some(latest)),
            None => Err(owner
                .no_request()
                .unwrap_or_else(|| CommandError::failed("nobody waits for approval"))),
        },
    }
}

fn roles(entry: &Listed, asked: Option<Role>, has: &[String]) -> Result<Vec<String>, CommandError> {
    let Some(role) = asked else {
        return match has {
            [] => Err(CommandError::failed(format!("{} has no role left", entry.shown()))),
            has => Ok(has.to_vec()),
        };
    };
    if has.iter().any(|name| name == role.name()) {
        return Ok(vec![role.name().to_string()]);
    }
    Err(CommandError::failed(format!(
        "{} is no {}; it has: {}",
        entry.shown(),
        role.name(),
        has.join(", ")
    )))
}

fn said(context: &Context, entry: &Listed, roles: &[String], done: &str, then: &str) -> Done {
    if context.json {
        return Output::json(&json::object(|o| {
            o.bool("ok", true);
            o.opt_str("requestId", Some(entry.request.as_str()).filter(|id| !id.is_empty()));
            o.str("deviceId", &entry.device);
            if !roles.is_empty() {
                o.strings("roles", roles);
            }
        }));
    }
    let roles =
        if roles.is_empty() { String::new() } else { format!(" as {}", roles.join(" and ")) };
    Output::ok(format!("{done} {}{roles}{then}\n", entry.shown()))
}

pub(super) fn parse(text: &str) -> Result<Value<'_>, CommandError> {
    json::parse(text.as_bytes(), limits::JSON_DEPTH)
        .map_err(|bad| CommandError::failed(format!("the gateway's answer is not JSON: {bad}")))
}

fn table(context: &Context, list: &Value<'_>) -> String {
    let style = context.style;
    let mut out = String::new();
    let pending: Vec<Value<'_>> = items(list, "pending").collect();
    let paired: Vec<Value<'_>> = items(list, "paired").collect();
    if !pending.is_empty() {
        let mut grid = Grid::new(&["REQUEST", "DEVICE", "NAME", "ASKS TO BE", "FROM", "ASKED"]);
        pending.iter().for_each(|value| grid.row(pending_row(context, value)));
        out.push_str(&style.bold("waiting for approval"));
        out.push('\n');
        out.push_str(&grid.text(style));
        out.push_str("let one in with `gatelet devices approve REQUEST`\n\n");
    }
    if paired.is_empty() {
        out.push_str(
            "no device is paired; open the link of `gatelet url`, or use `gatelet pair`\n",
        );
        return out;
    }
    let mut grid = Grid::new(&["DEVICE", "NAME", "MAY", "BY", "PAIRED", "SEEN"]);
    paired.iter().for_each(|value| grid.row(paired_row(context, value)));
    out.push_str(&style.bold("paired"));
    out.push('\n');
    out.push_str(&grid.text(style));
    out
}

fn pending_row(context: &Context, value: &Value<'_>) -> Vec<String> {
    let request = text(value, "requestId");
    let request = request.split('-').next().unwrap_or_default();
    vec![
        request.to_string(),
        short(&text(value, "deviceId")).to_string(),
        or_dash(name(value)),
        may(value),
        or_dash(text(value, "remoteIp")),
        ago(number(value, "ts"), context.now),
    ]
}

fn paired_row(context: &Context, value: &Value<'_>) -> Vec<String> {
    let connected = value.get("connected").and_then(|value| value.as_bool()) == Some(true);
    vec![
        short(&text(value, "deviceId")).to_string(),
        or_dash(name(value)),
        may(value),
        or_dash(text(value, "provenance")),
        ago(number(value, "approvedAtMs"), context.now),
        if connected {
            "connected".to_string()
        } else {
            ago(number(value, "lastSeenAtMs"), context.now)
        },
    ]
}

pub(super) fn name(value: &Value<'_>) -> String {
    let names = ["label", "displayName", "clientId"];
    let found =
        names.iter().find_map(|key| value.get(key)?.as_str().filter(|name| !name.is_empty()));
    found.unwrap_or_default().into_owned()
}

/// Formats the rights of a device: `operator: admin`, `node`, `operator (revoked)`, or, after the
/// token was rotated, `node (token 2)`.
fn may(value: &Value<'_>) -> String {
    let (roles, revoked, scopes) =
        (texts(value, "roles"), texts(value, "revokedRoles"), texts(value, "scopes"));
    let short = |scope: &String| scope.strip_prefix("operator.").unwrap_or(scope).to_string();
    let scopes: Vec<String> = match scopes.iter().any(|scope| scope == "operator.admin") {
        true => vec!["admin".to_string()],
        false => scopes.iter().map(short).collect(),
    };
    let one = |role: &String| match (revoked.contains(role), role.as_str()) {
        (true, _) => format!("{role} (revoked)"),
        (false, "operator") if !scopes.is_empty() => {
            format!("operator: {}{}", scopes.join(","), rotated(value, role))
        }
        (false, _) => [role, rotated(value, role).as_str()].concat(),
    };
    let gone = revoked.iter().filter(|role| !roles.contains(role));
    or_dash(roles.iter().chain(gone).map(one).collect::<Vec<_>>().join(", "))
}

/// Returns the generation of the role's token in parentheses, empty for the first one.
fn rotated(value: &Value<'_>, role: &str) -> String {
    let token = items(value, "tokens").find(|token| text(token, "role") == role);
    match token.map_or(0, |token| number(&token, "generation")) {
        0 | 1 => String::new(),
        generation => format!(" (token {generation})"),
    }
}

impl Owner for GatewayClient {
    fn list(&mut self) -> Result<String, CommandError> {
        Ok(self.call("device.pair.list", "{}")?)
    }

    fn list_all(&mut self) -> Result<String, CommandError> {
        Ok(self.call("device.pair.list", r#"{"surfaces":true}"#)?)
    }

    fn approve(&mut self, request: &str) -> Result<(), CommandError> {
        self.act("device.pair.approve", &[("requestId", request)])
    }

    fn reject(&mut self, request: &str) -> Result<(), CommandError> {
        self.act("device.pair.reject", &[("requestId", request)])
    }

    fn remove(&mut self, device: &str) -> Result<(), CommandError> {
        self.act("device.pair.remove", &[("deviceId", device)])
    }

    fn rename(&mut self, device: &str, label: &str) -> Result<(), CommandError> {
        self.act("device.pair.rename", &[("deviceId", device), ("label", label)])
    }

    fn rotate(&mut self, device: &str, role: &str) -> Result<(), CommandError> {
        self.act("device.token.rotate", &[("deviceId", device), ("role", role)])
    }

    fn revoke(&mut self, device: &str, role: &str) -> Result<(), CommandError> {
        self.act("device.token.revoke", &[("deviceId", device), ("role", role)])
    }

    fn no_request(&self) -> Option<CommandError> {
        None
    }
}

impl GatewayClient {
    fn act(&mut self, method: &str, params: &[(&str, &str)]) -> Result<(), CommandError> {
        let params = json::object(|o| params.iter().for_each(|(key, value)| o.str(key, value)));
        self.call(method, &String::from_utf8_lossy(&params))?;
        Ok(())
    }
}

/// Returns the failure of an operation on pending requests while no gateway is running.
pub(super) fn needs_gateway() -> CommandError {
    let message = "requests wait in the running gateway only, and no gateway runs on this state directory; start it with `gatelet run`";
    CommandError::new(Exit::NotRunning, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_of(text: &str) -> String {
        may(&json::parse(text.as_bytes(), 8).unwrap())
    }

    #[test]
    fn device_rights_are_summarized() {
        for (text, shown) in [
            (
                r#"{"roles":["operator"],"scopes":["operator.read","operator.admin"]}"#,
                "operator: admin",
            ),
            (
                r#"{"roles":["operator","node"],"scopes":["operator.read","operator.pairing"]}"#,
                "operator: read,pairing, node",
            ),
            (
                r#"{"roles":["operator"],"revokedRoles":["operator"],"scopes":["operator.read"]}"#,
                "operator (revoked)",
            ),
            (
                r#"{"roles":["node"],"revokedRoles":["operator"],"scopes":["operator.read"]}"#,
                "node, operator (revoked)",
            ),
            (r#"{"roles":["node"],"tokens":[{"role":"node","generation":1}]}"#, "node"),
            (
                r#"{"roles":["node"],"tokens":[{"role":"operator","generation":2},{"role":"node","generation":3}]}"#,
                "node (token 3)",
            ),
            ("{}", "-"),
        ] {
            assert_eq!(may_of(text), shown);
        }
    }

    #[test]
    fn omitted_role_means_all_roles_of_the_device() {
        let entry = Listed { device: "aaaaaa".into(), ..Listed::default() };
        let has = ["operator".to_string()];
        assert_eq!(roles(&entry, None, &has).unwrap(), has);
        assert_eq!(roles(&entry, Some(Role::Operator), &has).unwrap(), has);
        assert!(roles(&entry, Some(Role::Node), &has)
            .unwrap_err()
            .message
            .contains("is no node; it has: operator"));
        assert!(roles(&entry, None, &[]).unwrap_err().message.contains("no role left"));
    }
}
