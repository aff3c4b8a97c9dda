//! `gatelet nodes ...`: lists nodes, approves their commands, and invokes them.
//!
//! Uses the running gateway, or the table file if none is running, which supports only part of the
//! commands. After an approval, the meaning of each command is printed, because a single command
//! can permit running any program on the node.

use super::args::{action, Command};
use super::context::Context;
use super::device_access::{call, remove_node, DeviceAccess, DeviceOperations};
use super::format::{
    ago, clean, items, name, number, or_dash, resembled, short, text, texts, truth, Grid,
};
use super::output::{parse_answer, parse_params, CommandError, CommandResult, Output};
use super::select::{self, Listed};
use crate::client::{in_ms, GatewayClient};
use crate::gate::commands_known;
use crate::gate::ids::{Hex, Role};
use crate::gate::limits;
use crate::server::os::clock::{Entropy, SystemEntropy};
use crate::store::Opened;
use crate::wire::json::{self, Value, Writer};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "nodes",
        usage: "[COMMAND]",
        summary: "list, describe, invoke, approve, reject, remove and rename nodes",
        details: "
  gatelet nodes                           list nodes, their commands and pending requests
  gatelet nodes approve --latest          approve the commands of the latest request
  gatelet nodes invoke kitchen system.which '{\"bins\": [\"git\"]}'

NODE is a node id, its first 6 or more digits, or the node's name. REQUEST is a request id or its
first 4 or more digits. A command of a node can be invoked only after you have approved it.
",
        parse: |_| action((), |context, ()| list(context)),
        ..Command::BASE
    },
    Command {
        name: "nodes list",
        summary: "list nodes, their commands and pending requests",
        details: "\n  gatelet nodes list\n  gatelet nodes list --json\n",
        parse: |_| action((), |context, ()| list(context)),
        ..Command::BASE
    },
    Command {
        name: "nodes describe",
        usage: "NODE",
        min_arguments: 1,
        max_arguments: 1,
        summary: "show the details of a node",
        details: "\n  gatelet nodes describe kitchen\n",
        parse: |args| action(args.argument(0), describe),
        ..Command::BASE
    },
    Command {
        name: "nodes invoke",
        usage: "NODE COMMAND [PARAMS-JSON] [--timeout SECONDS]",
        min_arguments: 2,
        max_arguments: 3,
        options: &["timeout"],
        summary: "invoke a command of a node and print the result",
        details: "
  gatelet nodes invoke kitchen location.get
  gatelet nodes invoke kitchen system.which '{\"bins\": [\"git\"]}' --timeout 5

The default timeout is 30 seconds.
",
        parse: |args| {
            let options = InvokeOptions {
                node: args.argument(0),
                command: args.argument(1),
                params: args.params(2),
                timeout_s: args.number("timeout")?,
            };
            action(options, invoke)
        },
    },
    Command {
        name: "nodes pending",
        summary: "list pending requests",
        details: "\n  gatelet nodes pending\n",
        parse: |_| action((), |context, ()| pending(context)),
        ..Command::BASE
    },
    Command {
        name: "nodes approve",
        usage: "REQUEST|NODE|--latest",
        max_arguments: 1,
        options: &["latest"],
        summary: "approve the requested commands; also pairs the node if it is not paired",
        details: "
  gatelet nodes approve 3f2a91c4          a request or node listed by `gatelet nodes`
  gatelet nodes approve --latest          the latest request

Prints the approved commands, with an explanation of those that grant far-reaching access.
",
        parse: |args| action(args.one_or_latest()?, approve),
        ..Command::BASE
    },
    Command {
        name: "nodes reject",
        usage: "REQUEST|NODE|--latest",
        max_arguments: 1,
        options: &["latest"],
        summary: "reject a request; commands approved earlier stay approved",
        details: "
  gatelet nodes reject 3f2a91c4

The node can send a new request.
",
        parse: |args| action(args.one_or_latest()?, reject),
        ..Command::BASE
    },
    Command {
        name: "nodes remove",
        usage: "NODE",
        min_arguments: 1,
        max_arguments: 1,
        summary: "remove the node role and the approved commands of a device",
        details: "
  gatelet nodes remove kitchen

Its connection is closed. A device that is also an operator stays paired as operator.
",
        parse: |args| action(args.argument(0), remove),
        ..Command::BASE
    },
    Command {
        name: "nodes rename",
        usage: "NODE NAME",
        min_arguments: 2,
        max_arguments: 2,
        summary: "set the name of a node",
        details: "\n  gatelet nodes rename 9b1c55e0d2aa kitchen\n",
        parse: |args| action((args.argument(0), args.argument(1)), rename),
        ..Command::BASE
    },
];

// --- lists ---

fn list(context: &Context) -> CommandResult {
    match context.device_access()? {
        DeviceAccess::Gateway(mut client) => {
            let nodes = client.call("node.list", "{}")?;
            let pairs = client.call("node.pair.list", "{}")?;
            let (nodes, pairs) = (parse_answer(&nodes)?, parse_answer(&pairs)?);
            let pending = items(&pairs, "pending").collect();
            table(context, items(&nodes, "nodes").collect(), pending, &pairs)
        }
        DeviceAccess::File(mut opened) => {
            let text = opened.list_all()?;
            let list = parse_answer(&text)?;
            let nodes = paired_nodes(&list);
            let is_node =
                |value: &Value<'_>| nodes.iter().any(|node| node.device == text_id(value));
            let nodes = items(&list, "paired").filter(is_node).collect();
            table(context, nodes, Vec::new(), &list)
        }
    }
}

fn pending(context: &Context) -> CommandResult {
    let mut client = context.device_access()?.gateway_with_requests()?;
    let pairs = client.call("node.pair.list", "{}")?;
    let pairs = parse_answer(&pairs)?;
    let pending: Vec<_> = items(&pairs, "pending").collect();
    if pending.is_empty() && !context.json {
        return Output::ok(
            "no node is waiting for approval; `gatelet nodes list` lists the nodes\n",
        );
    }
    table(context, Vec::new(), pending, &pairs)
}

/// Prints nodes and pending requests. `pairs` holds the approved commands of nodes that are not
/// connected.
fn table(
    context: &Context,
    nodes: Vec<Value<'_>>,
    pending: Vec<Value<'_>>,
    pairs: &Value<'_>,
) -> CommandResult {
    if context.json {
        return Output::json(&json::object(|o| {
            raw(o, "nodes", &nodes);
            raw(o, "pending", &pending);
        }));
    }
    let pending_of = |id: &str| pending.iter().find(|request| text_id(request) == id);
    let mut grid = Grid::new(&["NODE", "NAME", "PLATFORM", "STATE", "APPROVED", "PENDING"]);
    for node in &nodes {
        let id = text_id(node);
        let approved = items(pairs, "paired").find(|one| text_id(one) == id);
        let approved = if is_connected(node) { Some(*node) } else { approved };
        let approved = approved.map_or(0, |node| items(&node, "commands").count());
        grid.row(row(
            node,
            state(context, node),
            commands(approved),
            pending_of(&id).map(|one| request(context, one)).unwrap_or_default(),
        ));
    }
    for one in pending.iter().filter(|one| !nodes.iter().any(|node| text_id(node) == text_id(one)))
    {
        grid.row(row(
            one,
            format!("requested {}", ago(number(one, "ts"), context.now)),
            String::new(),
            request(context, one),
        ));
    }
    if grid.is_empty() {
        return Output::ok(
            "there is no node; `gatelet pair --role node` prints a code to pair one\n",
        );
    }
    Output::ok(grid.text(context.style))
}

fn row(node: &Value<'_>, state: String, approved: String, pending: String) -> Vec<String> {
    let id = text_id(node);
    vec![
        short(&id).to_string(),
        or_dash(name(node)),
        or_dash(text(node, "platform")),
        state,
        or_dash(approved),
        or_dash(pending),
    ]
}

fn raw(o: &mut Writer<'_>, key: &str, values: &[Value<'_>]) {
    o.arr(key, |list| values.iter().for_each(|value| list.item_raw(value.raw().as_bytes())));
}

fn text_id(value: &Value<'_>) -> String {
    let id = text(value, "nodeId");
    if id.is_empty() {
        text(value, "deviceId")
    } else {
        id
    }
}

fn is_connected(node: &Value<'_>) -> bool {
    truth(node, "connected")
}

fn state(context: &Context, node: &Value<'_>) -> String {
    match (is_connected(node), number(node, "lastSeenAtMs")) {
        (true, _) => "connected".to_string(),
        (false, 0) => "never connected".to_string(),
        (false, seen) => format!("seen {}", ago(seen, context.now)),
    }
}

/// Formats a number of commands: `2 commands`.
fn commands(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "1 command".to_string(),
        _ => format!("{count} commands"),
    }
}

/// Formats a pending request: `2 commands: gatelet nodes approve 3f2a91c4`.
fn request(context: &Context, request: &Value<'_>) -> String {
    let what = commands(items(request, "commands").count());
    let what = if what.is_empty() { "pairing" } else { &what };
    let id = text(request, "requestId");
    let approve = format!("{} nodes approve {}", context.command(), first_digits(&id));
    format!("{what}: {approve}{}", resembled(request))
}

fn first_digits(request: &str) -> &str {
    request.split('-').next().unwrap_or_default()
}

// --- details ---

fn describe(context: &Context, typed: String) -> CommandResult {
    let mut client = invokable(context)?;
    let node = known(&mut client, &typed)?;
    let answer = call(&mut client, "node.describe", &[("nodeId", &node.device)])?;
    let pairs = client.call("node.pair.list", "{}")?;
    let approved = select::entries(&parse_answer(&pairs)?, "paired");
    let approved = approved.iter().find(|one| one.device == node.device);
    let approved = approved.map_or(&[][..], |one| &one.commands);
    report(context, &answer, described(context, &parse_answer(&answer)?, approved))
}

/// Describes a node. If it is not connected, `approved` is listed as its commands.
fn described(context: &Context, node: &Value<'_>, approved: &[String]) -> String {
    let platform =
        [text(node, "platform"), text(node, "deviceFamily"), text(node, "modelIdentifier")];
    let approved = if is_connected(node) { texts(node, "commands") } else { approved.to_vec() };
    let pending = texts(node, "pendingDeclaredCommands").join(", ");
    let id = text(node, "pendingRequestId");
    let mut approve = String::new();
    if !id.is_empty() {
        approve = format!("{} nodes approve {}", context.command(), first_digits(&id));
    }
    let lines = [
        ("node", text_id(node)),
        ("name", text(node, "displayName")),
        (
            "platform",
            platform.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(", "),
        ),
        ("client", [text(node, "clientId"), text(node, "version")].join(" ")),
        ("address", text(node, "remoteIp")),
        ("state", state(context, node)),
        ("approved", approved.join(", ")),
        ("caps", texts(node, "caps").join(", ")),
        ("granted", granted(node)),
        ("pending", pending),
        ("approve", approve),
    ];
    let mut out = String::new();
    for (name, text) in lines.iter().filter(|(_, text)| !text.trim().is_empty()) {
        out.push_str(&format!("{name:<10}{}\n", clean(text)));
    }
    out
}

/// Formats the permissions of a node: `camera: yes, location: no`.
fn granted(node: &Value<'_>) -> String {
    let permissions = node.get("permissions").unwrap_or(Value::EMPTY);
    let shown = |granted: Value<'_>| if granted.as_bool() == Some(true) { "yes" } else { "no" };
    permissions
        .fields()
        .map(|(name, granted)| format!("{name}: {}", shown(granted)))
        .collect::<Vec<_>>()
        .join(", ")
}

// --- approval ---

fn approve(context: &Context, typed: Option<String>) -> CommandResult {
    let mut client = context.device_access()?.gateway_with_requests()?;
    let node = pending_request(&mut client, typed.as_deref())?;
    let answer = call(&mut client, "node.pair.approve", &[("requestId", &node.request)])?;
    let then = match node.commands.is_empty() {
        true => "it offers no commands",
        false => "these commands can now be invoked",
    };
    let mut out = format!("approved {}; {then}\n", node.shown());
    let width = node.commands.iter().map(String::len).max().unwrap_or(0);
    for command in &node.commands {
        let line = match meaning(command) {
            "" => clean(command),
            meaning => {
                let name = format!("{:<width$}", clean(command));
                format!("{}  {meaning}", context.style.warn(&name))
            }
        };
        out.push_str(&format!("  {line}\n"));
    }
    report(context, &answer, out)
}

fn reject(context: &Context, typed: Option<String>) -> CommandResult {
    let mut client = context.device_access()?.gateway_with_requests()?;
    let node = pending_request(&mut client, typed.as_deref())?;
    let answer = call(&mut client, "node.pair.reject", &[("requestId", &node.request)])?;
    report(context, &answer, format!("rejected {}; it can send a new request\n", node.shown()))
}

/// Returns the effect of approving the command; empty if it is not far-reaching.
fn meaning(command: &str) -> &'static str {
    let admin = commands_known::find(command).is_some_and(|(_, known)| known.is_admin_approved());
    let found = MEANINGS.iter().find(|(beginning, _)| command.starts_with(beginning));
    found.map_or(
        if admin { "gives far-reaching access to that machine" } else { "" },
        |(_, meaning)| meaning,
    )
}

const MEANINGS: [(&str, &str); 12] = [
    ("system.run", "runs the programs that the node's own list allows"),
    ("system.which", "shows which programs that machine has"),
    ("system.execApprovals", "reads and changes the node's list of allowed programs"),
    ("browser.", "uses the browser of that machine, with the accounts of its user"),
    ("fs.", "lists names of files on that machine"),
    ("terminal.", "writes files on that machine"),
    ("mcp.", "uses the MCP tools of that machine"),
    ("computer.", "controls the pointer and the keyboard of that machine"),
    ("desktop.", "shows the screen of that machine"),
    ("screen.", "shows the screen of that machine"),
    ("camera.", "uses the camera of that machine"),
    ("location.", "reads the location of that machine"),
];

// --- changes of a paired node ---

fn remove(context: &Context, typed: String) -> CommandResult {
    let (node, answer) = match context.device_access()? {
        DeviceAccess::Gateway(mut client) => {
            let node = known(&mut client, &typed)?;
            let answer = call(&mut client, "node.pair.remove", &[("nodeId", &node.device)])?;
            (node, answer)
        }
        DeviceAccess::File(mut opened) => {
            let node = known_in_file(&mut opened, &typed)?;
            remove_node(&mut opened, &node.device)?;
            let answer = node_id(&node);
            (node, answer)
        }
    };
    let shown = node.shown();
    let text = format!("removed {shown} as a node; with the gateway's token it can pair again\n");
    report(context, &answer, text)
}

fn rename(context: &Context, (typed, name): (String, String)) -> CommandResult {
    let (node, answer) = match context.device_access()? {
        DeviceAccess::Gateway(mut client) => {
            let node = known(&mut client, &typed)?;
            let params = [("nodeId", node.device.as_str()), ("displayName", &name)];
            let answer = call(&mut client, "node.rename", &params)?;
            (node, answer)
        }
        DeviceAccess::File(mut opened) => {
            let node = known_in_file(&mut opened, &typed)?;
            opened.rename(&node.device, &name)?;
            let answer = node_id(&node);
            (node, answer)
        }
    };
    report(context, &answer, format!("renamed {}\n", node.shown()))
}

// --- selection ---

/// Returns the pending request that `typed` selects, or the latest one if it is `None`.
fn pending_request(
    client: &mut GatewayClient,
    typed: Option<&str>,
) -> Result<Listed, CommandError> {
    let pairs = client.call("node.pair.list", "{}")?;
    let list = select::entries(&parse_answer(&pairs)?, "pending");
    let Some(typed) = typed else {
        let latest = list.into_iter().next();
        return latest.ok_or_else(|| CommandError::failed("no node is waiting for approval"));
    };
    if let Some(entry) = select::find(&list, typed)? {
        return Ok(entry.clone());
    }
    let node = known(client, typed)?;
    Err(CommandError::failed(format!(
        "{} has no pending request; a node declares its commands when it connects",
        node.shown()
    )))
}

/// Returns the node that `typed` selects.
fn known(client: &mut GatewayClient, typed: &str) -> Result<Listed, CommandError> {
    let nodes = client.call("node.list", "{}")?;
    let nodes = select::entries(&parse_answer(&nodes)?, "nodes");
    select::one(&nodes, typed, "node").cloned()
}

/// Returns the node of the table file that `typed` selects.
fn known_in_file(opened: &mut Opened, typed: &str) -> Result<Listed, CommandError> {
    let text = opened.list_all()?;
    let nodes = paired_nodes(&parse_answer(&text)?);
    select::one(&nodes, typed, "node").cloned()
}

/// Returns the paired devices that are nodes, including revoked ones.
fn paired_nodes(list: &Value<'_>) -> Vec<Listed> {
    let mut nodes = select::entries(list, "paired");
    nodes.retain(|entry| entry.roles.iter().chain(&entry.revoked).any(|role| *role == Role::Node));
    nodes
}

fn node_id(node: &Listed) -> String {
    String::from_utf8_lossy(&json::object(|o| o.str("nodeId", &node.device))).into_owned()
}

/// Connects to the running gateway, which is needed to reach a node.
fn invokable(context: &Context) -> Result<Box<GatewayClient>, CommandError> {
    match context.device_access()? {
        DeviceAccess::Gateway(client) => Ok(client),
        DeviceAccess::File(_) => Err(context.not_running()),
    }
}

/// Returns the answer of the gateway with `--json`, else the text.
fn report(context: &Context, answer: &str, text: String) -> CommandResult {
    match context.json {
        true => Output::json(answer.as_bytes()),
        false => Output::ok(text),
    }
}

// --- invocation ---

/// `nodes invoke ...`
#[derive(Debug)]
struct InvokeOptions {
    node: String,
    command: String,
    params: String,
    timeout_s: Option<u64>,
}

fn invoke(context: &Context, options: InvokeOptions) -> CommandResult {
    let mut client = invokable(context)?;
    let params = parse_params(&options.params)?;
    let node = known(&mut client, &options.node)?;
    let timeout_ms = options
        .timeout_s
        .map_or(limits::INVOKE_MS, |seconds| seconds.saturating_mul(1000))
        .min(limits::INVOKE_MS_MAX);
    let key = Hex(&(&mut SystemEntropy as &mut dyn Entropy).bytes::<16>()).to_string();
    let request = json::object(|o| {
        o.str("nodeId", &node.device);
        o.str("command", &options.command);
        o.raw("params", params.raw().as_bytes());
        o.u64("timeoutMs", timeout_ms);
        o.str("idempotencyKey", &key);
    });
    let id = client.send("node.invoke", &String::from_utf8_lossy(&request))?;
    let until = in_ms(timeout_ms.saturating_add(limits::CLI_CALL_MS));
    let answer = client.answer(&id, until).map_err(CommandError::of_call)?;
    let answer = parse_answer(&answer)?;
    Output::json(answer.get("payload").map_or("null", |payload| payload.raw()).as_bytes())
}
