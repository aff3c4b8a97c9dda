//! `gatelet nodes ...`: lists nodes, approves their commands, and invokes them.
//!
//! Uses the running gateway, or the table file if none is running, which supports only part of the
//! commands. After an approval, the meaning of each command is printed, because a single command
//! can permit running any program on the node.

use super::args::NodesCommand;
use super::call::refused;
use super::context::{Context, Way};
use super::devices::{name, needs_gateway, parse, Owner};
use super::format::{ago, clean, items, number, or_dash, short, text, texts, Grid};
use super::select::{self, Listed};
use super::{CommandError, Done, Exit, Output};
use crate::client::{in_ms, GatewayClient};
use crate::gate::commands_known;
use crate::gate::ids::Hex;
use crate::gate::limits;
use crate::server::os::clock::{Entropy, SystemEntropy};
use crate::store::Opened;
use crate::wire::json::{self, Value, Writer};

/// Executes a `nodes` command.
pub fn run(context: &Context, what: &NodesCommand) -> Done {
    match context.way()? {
        Way::Gateway(mut client) => running(context, &mut client, what),
        Way::File(mut opened) => stopped(context, &mut opened, what),
    }
}

fn running(context: &Context, client: &mut GatewayClient, what: &NodesCommand) -> Done {
    match what {
        NodesCommand::List => list(context, client),
        NodesCommand::Pending => pending(context, client),
        NodesCommand::Describe(typed) => {
            let node = known(client, typed)?;
            let answer = ask(client, "node.describe", &[("nodeId", &node.device)])?;
            let pairs = client.call("node.pair.list", "{}")?;
            let approved = select::entries(&parse(&pairs)?, "paired");
            let approved = approved
                .iter()
                .find(|one| one.device == node.device)
                .map_or(&[][..], |one| &one.commands);
            said(context, &answer, &[&described(context, &parse(&answer)?, approved)])
        }
        NodesCommand::Invoke { node, command, params, timeout } => {
            invoke(client, node, command, params, *timeout)
        }
        NodesCommand::Approve(typed) => approve(context, client, typed.as_deref()),
        NodesCommand::Reject(typed) => {
            let node = waiting(client, typed.as_deref())?;
            let answer = ask(client, "node.pair.reject", &[("requestId", &node.request)])?;
            said(context, &answer, &["rejected ", &node.shown(), "; it may ask again\n"])
        }
        NodesCommand::Remove(typed) => {
            let node = known(client, typed)?;
            let answer = ask(client, "node.pair.remove", &[("nodeId", &node.device)])?;
            said(context, &answer, &removed(&node.shown()))
        }
        NodesCommand::Rename { node, name } => {
            let node = known(client, node)?;
            let answer =
                ask(client, "node.rename", &[("nodeId", &node.device), ("displayName", name)])?;
            said(context, &answer, &["renamed ", &node.shown(), "\n"])
        }
    }
}

/// Executes a command on the table file, which holds paired nodes but no pending requests.
fn stopped(context: &Context, opened: &mut Opened, what: &NodesCommand) -> Done {
    let text = opened.list_all()?;
    let list = parse(&text)?;
    let is_node =
        |entry: &Listed| entry.roles.iter().chain(&entry.revoked).any(|role| role == "node");
    let mut nodes = select::entries(&list, "paired");
    nodes.retain(is_node);
    let node = |typed: &str| select::one(&nodes, typed, "node");
    let done = |node: &Listed, words: &[&str]| {
        let answer = json::object(|o| o.str("nodeId", &node.device));
        said(context, &String::from_utf8_lossy(&answer), words)
    };
    match what {
        NodesCommand::List => {
            let known = items(&list, "paired")
                .filter(|value| nodes.iter().any(|node| node.device == text_id(value)));
            table(context, known.collect(), Vec::new(), &list)
        }
        NodesCommand::Remove(typed) => {
            let node = node(typed)?;
            opened.remove_node(&node.device)?;
            done(node, &removed(&node.shown()))
        }
        NodesCommand::Rename { node: typed, name } => {
            let node = node(typed)?;
            opened.rename(&node.device, name)?;
            done(node, &["renamed ", &node.shown(), "\n"])
        }
        NodesCommand::Approve(_) | NodesCommand::Reject(_) | NodesCommand::Pending => {
            Err(needs_gateway())
        }
        NodesCommand::Describe(_) | NodesCommand::Invoke { .. } => Err(context.none_runs()),
    }
}

// --- lists ---

fn list(context: &Context, client: &mut GatewayClient) -> Done {
    let (nodes, pairs) = (client.call("node.list", "{}")?, client.call("node.pair.list", "{}")?);
    let (nodes, pairs) = (parse(&nodes)?, parse(&pairs)?);
    table(context, items(&nodes, "nodes").collect(), items(&pairs, "pending").collect(), &pairs)
}

fn pending(context: &Context, client: &mut GatewayClient) -> Done {
    let pairs = client.call("node.pair.list", "{}")?;
    let pairs = parse(&pairs)?;
    let waiting: Vec<_> = items(&pairs, "pending").collect();
    if waiting.is_empty() && !context.json {
        return Output::ok("nothing waits for approval; `gatelet nodes list` shows the nodes\n");
    }
    table(context, Vec::new(), waiting, &pairs)
}

/// Prints nodes and pending requests. `pairs` holds the approved commands of nodes that are not
/// connected.
fn table(
    context: &Context,
    nodes: Vec<Value<'_>>,
    pending: Vec<Value<'_>>,
    pairs: &Value<'_>,
) -> Done {
    if context.json {
        return Output::json(&json::object(|o| {
            raw(o, "nodes", &nodes);
            raw(o, "pending", &pending);
        }));
    }
    let waits = |id: &str| pending.iter().find(|request| text_id(request) == id);
    let mut grid = Grid::new(&["NODE", "NAME", "PLATFORM", "STATE", "MAY", "WAITS"]);
    for node in &nodes {
        let id = text_id(node);
        let approved = items(pairs, "paired").find(|one| text_id(one) == id);
        let may = if is_connected(node) { Some(*node) } else { approved };
        let may = may.map_or(0, |node| items(&node, "commands").count());
        grid.row(row(
            node,
            state(context, node),
            commands(may),
            waits(&id).map(request).unwrap_or_default(),
        ));
    }
    for one in pending.iter().filter(|one| !nodes.iter().any(|node| text_id(node) == text_id(one)))
    {
        grid.row(row(
            one,
            ["asked ", &ago(number(one, "ts"), context.now)].concat(),
            String::new(),
            request(one),
        ));
    }
    if grid.is_empty() {
        return Output::ok(
            "no node is here; `gatelet pair --role node` gives a code that lets one in\n",
        );
    }
    Output::ok(grid.text(context.style))
}

fn row(node: &Value<'_>, state: String, may: String, waits: String) -> Vec<String> {
    let id = text_id(node);
    vec![
        short(&id).to_string(),
        or_dash(name(node)),
        or_dash(text(node, "platform")),
        state,
        or_dash(may),
        or_dash(waits),
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
    node.get("connected").and_then(|truth| truth.as_bool()) == Some(true)
}

fn state(context: &Context, node: &Value<'_>) -> String {
    match (is_connected(node), number(node, "lastSeenAtMs")) {
        (true, _) => "connected".to_string(),
        (false, 0) => "not seen yet".to_string(),
        (false, seen) => ["seen ", &ago(seen, context.now)].concat(),
    }
}

/// Formats a number of commands: `2 commands`.
fn commands(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "1 command".to_string(),
        _ => [&count.to_string(), " commands"].concat(),
    }
}

/// Formats a pending request: `2 commands: gatelet nodes approve 3f2a91c4`.
fn request(request: &Value<'_>) -> String {
    let what = commands(items(request, "commands").count());
    let what = if what.is_empty() { "to be let in" } else { &what };
    [what, ": gatelet nodes approve ", first_digits(&text(request, "requestId"))].concat()
}

fn first_digits(request: &str) -> &str {
    request.split('-').next().unwrap_or_default()
}

/// Describes a node. If it is not connected, `approved` is listed as its commands.
fn described(context: &Context, node: &Value<'_>, approved: &[String]) -> String {
    let platform =
        [text(node, "platform"), text(node, "deviceFamily"), text(node, "modelIdentifier")];
    let may = if is_connected(node) { texts(node, "commands") } else { approved.to_vec() };
    let waits = texts(node, "pendingDeclaredCommands").join(", ");
    let id = text(node, "pendingRequestId");
    let mut approve = String::new();
    if !id.is_empty() {
        approve = ["gatelet nodes approve ", first_digits(&id)].concat();
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
        ("may", may.join(", ")),
        ("with", texts(node, "caps").join(", ")),
        ("granted", granted(node)),
        ("waits", waits),
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
    let word = |granted: Value<'_>| if granted.as_bool() == Some(true) { ": yes" } else { ": no" };
    permissions
        .fields()
        .map(|(name, granted)| [&*name, word(granted)].concat())
        .collect::<Vec<_>>()
        .join(", ")
}

// --- approval ---

fn approve(context: &Context, client: &mut GatewayClient, typed: Option<&str>) -> Done {
    let node = waiting(client, typed)?;
    let answer = ask(client, "node.pair.approve", &[("requestId", &node.request)])?;
    let mut out = ["approved ", &node.shown()].concat();
    out.push_str(if node.commands.is_empty() {
        "; it offers no commands\n"
    } else {
        "; it may now be asked for\n"
    });
    let width = node.commands.iter().map(String::len).max().unwrap_or(0);
    for command in &node.commands {
        let meaning = meaning(command);
        let name = format!("{:<width$}", clean(command));
        let line = if meaning.is_empty() {
            clean(command)
        } else {
            [&context.style.warn(&name), "  ", meaning].concat()
        };
        out.push_str(&["  ", &line, "\n"].concat());
    }
    said(context, &answer, &[&out])
}

/// Returns the effect of approving the command; empty if it is not far-reaching.
fn meaning(command: &str) -> &'static str {
    let admin = commands_known::find(command).is_some_and(|(_, known)| known.is_admin_approved());
    let found = MEANINGS.iter().find(|(beginning, _)| command.starts_with(beginning));
    found.map_or(if admin { "reaches into that machine" } else { "" }, |(_, meaning)| meaning)
}

const MEANINGS: [(&str, &str); 12] = [
    ("system.run", "runs programs on that machine, as far as its own list of them allows"),
    ("system.which", "tells which programs that machine has"),
    ("system.execApprovals", "reads and changes that machine's own list of programs"),
    ("browser.", "uses the browser of that machine, where its user is signed in"),
    ("fs.", "tells the names of files on that machine"),
    ("terminal.", "writes files on that machine"),
    ("mcp.", "uses the tools of programs on that machine"),
    ("computer.", "moves the pointer of that machine, and types"),
    ("desktop.", "shows the screen of that machine"),
    ("screen.", "shows the screen of that machine"),
    ("camera.", "sees through its camera"),
    ("location.", "tells where it is"),
];

/// Returns the pending request that `typed` selects, or the latest one if it is `None`.
fn waiting(client: &mut GatewayClient, typed: Option<&str>) -> Result<Listed, CommandError> {
    let pairs = client.call("node.pair.list", "{}")?;
    let list = select::entries(&parse(&pairs)?, "pending");
    let Some(typed) = typed else {
        return list
            .into_iter()
            .next()
            .ok_or_else(|| CommandError::failed("no node waits for approval"));
    };
    if let Some(entry) = select::find(&list, typed)? {
        return Ok(entry.clone());
    }
    let node = known(client, typed)?;
    Err(CommandError::failed(format!(
        "{} asks for nothing; what it offers, it says when it connects",
        node.shown()
    )))
}

/// Returns the node that `typed` selects.
fn known(client: &mut GatewayClient, typed: &str) -> Result<Listed, CommandError> {
    let nodes = client.call("node.list", "{}")?;
    let nodes = select::entries(&parse(&nodes)?, "nodes");
    select::one(&nodes, typed, "node").cloned()
}

fn removed(node: &str) -> [&str; 3] {
    ["removed ", node, " as a node; with the gateway's token it could pair again\n"]
}

fn said(context: &Context, answer: &str, words: &[&str]) -> Done {
    if context.json {
        return Output::json(answer.as_bytes());
    }
    Output::ok(words.concat())
}

fn ask(
    client: &mut GatewayClient,
    method: &str,
    params: &[(&str, &str)],
) -> Result<String, CommandError> {
    let params = json::object(|o| params.iter().for_each(|(key, value)| o.str(key, value)));
    Ok(client.call(method, &String::from_utf8_lossy(&params))?)
}

// --- invocation ---

fn invoke(
    client: &mut GatewayClient,
    typed: &str,
    command: &str,
    params: &str,
    timeout: Option<u64>,
) -> Done {
    let value = json::parse(params.as_bytes(), limits::JSON_DEPTH).map_err(|bad| {
        CommandError::new(Exit::Usage, format!("the parameters are not JSON: {bad}"))
    })?;
    let node = known(client, typed)?;
    let wait = timeout
        .map_or(limits::INVOKE_MS, |seconds| seconds.saturating_mul(1000))
        .min(limits::INVOKE_MS_MAX);
    let request = json::object(|o| {
        o.str("nodeId", &node.device);
        o.str("command", command);
        o.raw("params", value.raw().as_bytes());
        o.u64("timeoutMs", wait);
        o.shown("idempotencyKey", &Hex(&(&mut SystemEntropy as &mut dyn Entropy).bytes::<16>()));
    });
    let id = client.send("node.invoke", &String::from_utf8_lossy(&request))?;
    let answer =
        client.answer(&id, in_ms(wait.saturating_add(limits::CLI_CALL_MS))).map_err(refused)?;
    let answer = parse(&answer)?;
    Output::json(answer.get("payload").map_or("null", |payload| payload.raw()).as_bytes())
}
