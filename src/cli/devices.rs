//! `gatelet devices ...`: lists pending requests and paired devices, and changes them.

use super::args::{action, Command};
use super::context::Context;
use super::device_access::{DeviceAccess, DeviceOperations};
use super::format::{
    ago, items, name, number, or_dash, resembled, short, text, texts, truth, Grid,
};
use super::output::{parse_answer, CommandError, CommandResult, Output};
use super::select::{self, Listed};
use crate::gate::ids::Role;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "devices",
        usage: "[COMMAND]",
        summary: "list, approve, reject, remove and rename devices, rotate and revoke tokens",
        details: "
  gatelet devices                         list pending requests and paired devices
  gatelet devices approve --latest        approve the latest request
  gatelet devices revoke \"Old phone\"      reject the device until you approve it again

DEVICE is a device id, its first 6 or more digits, or the device's name. REQUEST is a request id or
its first 4 or more digits. Uses the running gateway, or the table file if none is running.
",
        parse: |_| action((), |context, ()| list(context)),
        ..Command::BASE
    },
    Command {
        name: "devices list",
        summary: "list pending requests and paired devices",
        details: "\n  gatelet devices list\n  gatelet devices list --json\n",
        parse: |_| action((), |context, ()| list(context)),
        ..Command::BASE
    },
    Command {
        name: "devices approve",
        usage: "REQUEST|DEVICE|--latest",
        max_arguments: 1,
        options: &["latest"],
        summary: "approve a pending request, or restore a revoked device",
        details: "
  gatelet devices approve 3f2a91c4        a request or device listed by `gatelet devices`
  gatelet devices approve --latest        the latest request
",
        parse: |args| action(args.one_or_latest()?, approve),
        ..Command::BASE
    },
    Command {
        name: "devices reject",
        usage: "REQUEST|DEVICE|--latest",
        max_arguments: 1,
        options: &["latest"],
        summary: "reject a pending request; the device can send a new one",
        details: "\n  gatelet devices reject 3f2a91c4\n",
        parse: |args| action(args.one_or_latest()?, reject),
        ..Command::BASE
    },
    Command {
        name: "devices remove",
        usage: "DEVICE",
        min_arguments: 1,
        max_arguments: 1,
        summary: "delete a device; with the gateway's token it can pair again",
        details: "
  gatelet devices remove 9b1c55e0d2aa

Its open connections are closed. A device that knows the gateway's token can pair again; to prevent
that, revoke it instead.
",
        parse: |args| action(args.argument(0), remove),
        ..Command::BASE
    },
    Command {
        name: "devices rename",
        usage: "DEVICE NAME",
        min_arguments: 2,
        max_arguments: 2,
        summary: "set the name of a device",
        details: "\n  gatelet devices rename 9b1c55e0d2aa \"Kitchen tablet\"\n",
        parse: |args| action((args.argument(0), args.argument(1)), rename),
        ..Command::BASE
    },
    Command {
        name: "devices rotate",
        usage: "DEVICE [--role ROLE]",
        min_arguments: 1,
        max_arguments: 1,
        options: &["role"],
        summary: "issue a new device token; the old one is valid until the new one is used",
        details: "
  gatelet devices rotate 9b1c55e0d2aa

The device receives the new token at its next connection. Without --role: for all its roles.
",
        parse: |args| action((args.argument(0), args.role()?), rotate),
    },
    Command {
        name: "devices revoke",
        usage: "DEVICE [--role ROLE]",
        min_arguments: 1,
        max_arguments: 1,
        options: &["role"],
        summary: "reject the device until you approve it again, even with the gateway's token",
        details: "
  gatelet devices revoke 9b1c55e0d2aa
  gatelet devices approve 9b1c55e0d2aa     undo it

Its open connections are closed at once. Without --role: for all its roles.
",
        parse: |args| action((args.argument(0), args.role()?), revoke),
    },
];

/// Devices at the time of the command, and the means to change them.
struct Devices {
    access: DeviceAccess,
    pending: Vec<Listed>,
    paired: Vec<Listed>,
}

impl Devices {
    fn load(context: &Context) -> Result<Devices, CommandError> {
        let mut access = context.device_access()?;
        let text = access.operations().list()?;
        let list = parse_answer(&text)?;
        let (mut pending, paired) =
            (select::entries(&list, "pending"), select::entries(&list, "paired"));
        for entry in &mut pending {
            // the owner's name for a device comes before the name that it gives itself
            let known = paired.iter().find(|known| known.device == entry.device);
            if let Some(known) = known.filter(|known| !known.name.is_empty()) {
                entry.name.clone_from(&known.name);
            }
        }
        Ok(Devices { access, pending, paired })
    }

    fn operations(&mut self) -> &mut dyn DeviceOperations {
        self.access.operations()
    }

    /// Returns the paired device that `typed` selects.
    fn paired(&self, typed: &str) -> Result<Listed, CommandError> {
        select::one(&self.paired, typed, "device").cloned()
    }

    /// Returns the pending request that `typed` selects, or the latest one if it is `None`.
    fn pending(&mut self, typed: Option<&str>) -> Result<Option<Listed>, CommandError> {
        let Some(typed) = typed else {
            let latest = self.pending.first().cloned();
            return latest
                .map(Some)
                .ok_or_else(|| self.no_request("no device is waiting for approval"));
        };
        Ok(select::find(&self.pending, typed)?.cloned())
    }

    /// Returns the error that there is no such request.
    fn no_request(&mut self, message: &str) -> CommandError {
        self.operations().no_requests().unwrap_or_else(|| CommandError::failed(message))
    }
}

fn list(context: &Context) -> CommandResult {
    let text = context.device_access()?.operations().list()?;
    let list = parse_answer(&text)?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    Output::ok(table(context, &list))
}

fn approve(context: &Context, typed: Option<String>) -> CommandResult {
    let mut devices = Devices::load(context)?;
    if let Some(entry) = devices.pending(typed.as_deref())? {
        devices.operations().approve(&entry.request)?;
        let then = match entry.roles.contains(&Role::Node) {
            true => {
                "; it connects by itself, and its commands then wait for approval in \
                 `gatelet nodes list`"
            }
            false => "; it connects by itself",
        };
        return report(context, &entry, &entry.roles, "approved", then);
    }
    let typed = typed.unwrap_or_default();
    match select::find(&devices.paired, &typed)?.cloned() {
        Some(entry) if !entry.revoked.is_empty() => {
            devices.operations().approve(&entry.device)?;
            report(context, &entry, &entry.revoked, "approved", " again; it connects by itself")
        }
        Some(entry) => Err(CommandError::failed(format!(
            "{} is paired and has no pending request",
            entry.shown()
        ))),
        None => {
            let message = select::not_found(&devices.paired, &typed, "device");
            Err(devices.no_request(&message))
        }
    }
}

fn reject(context: &Context, typed: Option<String>) -> CommandResult {
    let mut devices = Devices::load(context)?;
    let Some(entry) = devices.pending(typed.as_deref())? else {
        let message = select::not_found(&devices.pending, &typed.unwrap_or_default(), "device");
        return Err(devices.no_request(&message));
    };
    devices.operations().reject(&entry.request)?;
    report(context, &entry, &[], "rejected", "; the device can send a new request")
}

fn remove(context: &Context, typed: String) -> CommandResult {
    let mut devices = Devices::load(context)?;
    let entry = devices.paired(&typed)?;
    devices.operations().remove(&entry.device)?;
    report(context, &entry, &[], "removed", "; with the gateway's token it can pair again")
}

fn rename(context: &Context, (typed, name): (String, String)) -> CommandResult {
    let mut devices = Devices::load(context)?;
    let entry = devices.paired(&typed)?;
    devices.operations().rename(&entry.device, &name)?;
    report(context, &entry, &[], "renamed", "")
}

fn rotate(context: &Context, (typed, role): (String, Option<Role>)) -> CommandResult {
    let mut devices = Devices::load(context)?;
    let entry = devices.paired(&typed)?;
    let active: Vec<Role> =
        entry.roles.iter().copied().filter(|role| !entry.revoked.contains(role)).collect();
    let roles = roles(&entry, role, &active)?;
    for role in &roles {
        devices.operations().rotate(&entry.device, *role)?;
    }
    let then = "; the device receives the new one at its next connection";
    report(context, &entry, &roles, "rotated the token of", then)
}

fn revoke(context: &Context, (typed, role): (String, Option<Role>)) -> CommandResult {
    let mut devices = Devices::load(context)?;
    let entry = devices.paired(&typed)?;
    let roles = roles(&entry, role, &entry.roles)?;
    for role in &roles {
        devices.operations().revoke(&entry.device, *role)?;
    }
    let undo = format!("; `gatelet devices approve {}` undoes this", short(&entry.device));
    report(context, &entry, &roles, "revoked", &undo)
}

/// Returns the selected role, or all `available` roles if none is selected.
fn roles(
    entry: &Listed,
    selected: Option<Role>,
    available: &[Role],
) -> Result<Vec<Role>, CommandError> {
    match selected {
        None if available.is_empty() => {
            Err(CommandError::failed(format!("{} has no role left", entry.shown())))
        }
        None => Ok(available.to_vec()),
        Some(role) if available.contains(&role) => Ok(vec![role]),
        Some(role) => Err(CommandError::failed(format!(
            "{} does not have the role {}; it has: {}",
            entry.shown(),
            role.name(),
            names(available).join(", ")
        ))),
    }
}

fn names(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

/// Returns the output of a change: `done`, the device, its roles and `then`.
fn report(
    context: &Context,
    entry: &Listed,
    roles: &[Role],
    done: &str,
    then: &str,
) -> CommandResult {
    if context.json {
        return Output::json(&json::object(|o| {
            o.bool("ok", true);
            o.opt_str("requestId", Some(entry.request.as_str()).filter(|id| !id.is_empty()));
            o.str("deviceId", &entry.device);
            if !roles.is_empty() {
                o.strs("roles", names(roles));
            }
        }));
    }
    let roles = match roles {
        [] => String::new(),
        roles => format!(" as {}", names(roles).join(" and ")),
    };
    Output::ok(format!("{done} {}{roles}{then}\n", entry.shown()))
}

fn table(context: &Context, list: &Value<'_>) -> String {
    let style = context.style;
    let mut out = String::new();
    let pending: Vec<Value<'_>> = items(list, "pending").collect();
    let paired: Vec<Value<'_>> = items(list, "paired").collect();
    if !pending.is_empty() {
        let mut grid = Grid::new(&["REQUEST", "DEVICE", "NAME", "REQUESTS", "ADDRESS", "RECEIVED"]);
        for value in &pending {
            let is_same = |known: &&Value<'_>| text(known, "deviceId") == text(value, "deviceId");
            grid.row(pending_row(context, value, paired.iter().find(is_same)));
        }
        out.push_str(&style.bold("waiting for approval"));
        out.push('\n');
        out.push_str(&grid.text(style));
        out.push_str("approve one with `gatelet devices approve REQUEST`\n\n");
    }
    if paired.is_empty() {
        out.push_str(
            "no device is paired; open the link printed by `gatelet url`, or use `gatelet pair`\n",
        );
        return out;
    }
    let mut grid = Grid::new(&["DEVICE", "NAME", "ROLES", "PAIRED BY", "PAIRED", "LAST SEEN"]);
    paired.iter().for_each(|value| grid.row(paired_row(context, value)));
    out.push_str(&style.bold("paired"));
    out.push('\n');
    out.push_str(&grid.text(style));
    out
}

fn pending_row(context: &Context, value: &Value<'_>, known: Option<&Value<'_>>) -> Vec<String> {
    let request = text(value, "requestId");
    let request = request.split('-').next().unwrap_or_default();
    let asked = match known {
        Some(known) => {
            format!("already paired, has {}, asks for {}", rights(known), rights(value))
        }
        None => rights(value),
    };
    vec![
        request.to_string(),
        short(&text(value, "deviceId")).to_string(),
        pending_name(value, known),
        asked,
        or_dash(text(value, "remoteIp")),
        ago(number(value, "ts"), context.now),
    ]
}

/// Returns the name of a device that asks: the owner's label first, then the name that the device
/// gives itself, and whether that looks like the name of another device.
fn pending_name(value: &Value<'_>, known: Option<&Value<'_>>) -> String {
    let own = name(value);
    let label = known.map(|known| text(known, "label")).unwrap_or_default();
    let shown = match label.as_str() {
        "" => or_dash(own),
        label if label == own => own,
        label => format!("{label} (calls itself {own:?})"),
    };
    shown + &resembled(value)
}

fn paired_row(context: &Context, value: &Value<'_>) -> Vec<String> {
    vec![
        short(&text(value, "deviceId")).to_string(),
        or_dash(name(value)),
        rights(value),
        or_dash(text(value, "provenance")),
        ago(number(value, "approvedAtMs"), context.now),
        if truth(value, "connected") {
            "connected".to_string()
        } else {
            ago(number(value, "lastSeenAtMs"), context.now)
        },
    ]
}

/// Formats the rights of a device: `operator: admin`, `node`, `operator (revoked)`, or, after the
/// token was rotated, `node (token 2)`.
fn rights(value: &Value<'_>) -> String {
    let (roles, revoked, scopes) =
        (texts(value, "roles"), texts(value, "revokedRoles"), texts(value, "scopes"));
    let short = |scope: &String| scope.strip_prefix("operator.").unwrap_or(scope).to_string();
    let scopes: Vec<String> = match scopes.iter().any(|scope| scope == "operator.admin") {
        true => vec!["admin".to_string()],
        false => scopes.iter().map(short).collect(),
    };
    let shown = |role: &String| match (revoked.contains(role), role.as_str()) {
        (true, _) => format!("{role} (revoked)"),
        (false, "operator") if !scopes.is_empty() => {
            format!("operator: {}{}", scopes.join(","), rotated(value, role))
        }
        (false, _) => format!("{role}{}", rotated(value, role)),
    };
    let only_revoked = revoked.iter().filter(|role| !roles.contains(role));
    or_dash(roles.iter().chain(only_revoked).map(shown).collect::<Vec<_>>().join(", "))
}

/// Returns the generation of the role's token in parentheses, empty for the first one.
fn rotated(value: &Value<'_>, role: &str) -> String {
    let token = items(value, "tokens").find(|token| text(token, "role") == role);
    match token.map_or(0, |token| number(&token, "generation")) {
        0 | 1 => String::new(),
        generation => format!(" (token {generation})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights_of(text: &str) -> String {
        rights(&json::parse(text.as_bytes(), 8).unwrap())
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
            assert_eq!(rights_of(text), shown);
        }
    }

    #[test]
    fn omitted_role_means_all_roles_of_the_device() {
        let entry = Listed { device: "aaaaaa".into(), ..Listed::default() };
        let has = [Role::Operator];
        assert_eq!(roles(&entry, None, &has).unwrap(), has);
        assert_eq!(roles(&entry, Some(Role::Operator), &has).unwrap(), has);
        assert!(roles(&entry, Some(Role::Node), &has)
            .unwrap_err()
            .message
            .contains("does not have the role node; it has: operator"));
        assert!(roles(&entry, None, &[]).unwrap_err().message.contains("no role left"));
    }
}
