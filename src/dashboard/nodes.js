// Nodes view: nodes with their commands, pending requests, and invocation of commands. Never shows
// an answer as markup, or at unlimited length.
import { ask, askText, buildHead, busy, button, card, commandNode, decisions, drawHead, facts, field, hintNodes, listCard, make, nameOf, resembled, setText, shortId, showFailure, since, span, timeOfDay } from "./dom.js";

const REFRESH_AFTER_MS = 300;
/** Time that the gateway may need in addition to the node's timeout. */
const LATE_MS = 5_000;
const FACTS_SHOWN = 40;
const ANSWER_SHOWN = 200_000;

/** Effects of approving a command, by prefix. */
const MEANINGS = [
  ["system.run", "runs programs that its own list allows"],
  ["system.which", "tells which programs are installed"],
  ["system.exec", "reads and changes its list of allowed programs"],
  ["browser.", "uses its browser, with the accounts of its user"],
  ["fs.", "lists its files"],
  ["terminal.", "writes files on it"],
  ["mcp.", "uses the tools of its programs"],
  ["computer.", "controls its pointer and keyboard"],
  ["desktop.", "shows its screen"],
  ["screen.", "shows its screen"],
  ["camera.", "takes pictures with its camera"],
  ["location.", "tells its location"],
];
const EXAMPLES = { "system.run": '{"command": ["uptime"]}', "system.which": '{"bins": ["git"]}' };
const WAITS = "waits for approval";
const STATES = { unapproved: "nothing approved", "pending-approval": WAITS, "pending-reapproval": WAITS };
const STATUS = ["device.status", "device.info"];

let app, place, asking, pending, list, first, form, nodeBox, commandBox, paramsBox, limitBox, jsonError, outcome, answers;
let nodes = [];
let pairs = { pending: [], paired: [] };
let shown = false;
let due = null;

export const view = { id: "nodes", title: "Nodes", mount, show, hide, onEvent, tick: draw };

function mount(root, shared) {
  app = shared;
  pending = listCard("Waiting for approval", "No node is waiting.");
  list = listCard("All nodes", "There are no nodes yet.");
  const address = /^(?!127|\[::1)([\d.]+$|\[)/.test(location.hostname) ? location.host : `ADDRESS:${location.port || 18789}`;
  first = make(
    "div", { className: "stack" },
    make("p", { textContent: "On the machine that is to become a node:" }),
    commandNode(`gatelet node run --host ${address} --code CODE`),
    make("p", {}, "The code comes from ", make("a", { href: "#/connect", textContent: "Connect a device" }), "."),
  );
  list.node.append(first);
  asking = card("Invoke a command", buildForm(), outcome, answers);
  place = root;
}

function show() {
  shown = true;
  return load();
}

function hide() {
  shown = false;
}

function onEvent(name, payload) {
  if (!shown) return;
  if (name === "node.hostStats") {
    const node = nodes.find((one) => one.nodeId === payload.nodeId);
    if (node) node.hostStats = payload.hostStats;
    draw();
  }
  if (name === "presence" || name.includes(".pair.")) due ??= setTimeout(load, REFRESH_AFTER_MS);
}

async function load() {
  clearTimeout(due);
  due = null;
  try {
    const lists = [app.call("node.list"), app.may("pairing") ? app.call("node.pair.list") : pairs];
    [{ nodes }, pairs] = await Promise.all(lists);
    draw();
  } catch (error) {
    showFailure(error);
  }
}

function draw() {
  pending.draw(pairs.pending, (one) => one.requestId, drawPending);
  list.draw(nodes, (one) => one.nodeId, drawNode);
  first.hidden = nodes.length > 0;
  drawForm();
  // Attach the cards after the first answer, so that the layout does not shift.
  if (!asking.isConnected) place.append(pending.node, list.node, asking);
}

const full = (one) => `${nameOf(one)}, ${shortId(one.nodeId)}`;

function build(row, ...parts) {
  const text = buildHead(2, 2);
  text.append(make("ul", { className: "chips" }));
  row.append(text, ...parts);
}

/** Draws the list of commands if it changed. */
function drawChips(row, key, commands, draw) {
  const box = row.querySelector(".chips");
  key += commands.join();
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.replaceChildren(...commands.map((command) => make("li", {}, ...[draw(command)].flat())));
}

// --- pending requests

function drawPending(row, one) {
  if (!row.firstChild) {
    build(row, decisions(app, "node.pair", one.requestId, full(one), pending.heading, load));
    row.querySelector(".chips").className = "chips told";
  }
  const what = one.commands.length ? "Approval permits these commands:" : "Requests approval and offers no commands.";
  drawHead(row, one, one.nodeId, [[resembled(one), "bad"]], [[one.platform, one.version, one.remoteIp && `from ${one.remoteIp}`, `requested ${since(one.ts)}`], [what]]);
  drawChips(row, "", one.commands, (command) => [make("code", { textContent: command }), ` ${meaning(command)}`]);
}

function meaning(command) {
  return MEANINGS.find(([beginning]) => command.startsWith(beginning))?.[1] ?? "";
}

// --- nodes

function drawNode(row, one) {
  if (!row.firstChild) buildNode(row, one);
  const { connected, caps = [], permissions = {}, pendingDeclaredCommands: waits = [] } = one;
  const approved = pairs.paired.find((pair) => pair.nodeId === one.nodeId)?.commands ?? [];
  const may = connected ? one.commands : approved;
  const seen = connected ? `connected ${since(one.connectedAtMs)}` : one.lastSeenAtMs ? `seen ${since(one.lastSeenAtMs)}` : "not seen yet";
  const granted = Object.entries(permissions).map(([name, yes]) => `${name}: ${yes ? "yes" : "no"}`);
  const idle = connected ? approved.filter((command) => !may.includes(command)) : [];
  const lines = [
    [one.modelIdentifier, one.platform, one.clientId && `${one.clientId} ${one.version ?? ""}`, one.remoteIp, seen],
    [
      caps.length && `with ${caps.join(", ")}`, granted.length && `granted ${granted.join(", ")}`,
      idle.length && `approved, but not available: ${idle.join(", ")}`, waits.length && `${WAITS}: ${waits.join(", ")}`,
    ],
  ];
  drawHead(row, one, one.nodeId, [[connected && "connected", "good"], [STATES[one.approvalState], "wait"]], lines);
  drawChips(row, connected, may, (command) => connected
    ? button(command, () => choose(one.nodeId, command), { name: `${command} of ${full(one)}` })
    : make("code", { textContent: command }));
  const buttons = row.querySelectorAll(".actions > button");
  const [status, , remove] = buttons;
  for (const node of buttons) node.setAttribute("aria-label", `${node.textContent} ${node === status ? "of " : ""}${full(one)}`);
  status.hidden = !STATUS.some((command) => connected && may.includes(command));
  remove.hidden = !one.paired;
  const [stats, dl] = row.querySelectorAll("dl");
  facts(stats, flat(one.hostStats ?? {}));
  if (!connected) facts(dl, []);
}

function buildNode(row, { nodeId }) {
  const now = () => nodes.find((one) => one.nodeId === nodeId) ?? { nodeId };
  const dl = make("dl", { className: "facts two" });
  const status = button("Device status", async () => {
    const values = [];
    for (const command of STATUS.filter((one) => now().commands.includes(one))) {
      const { payload } = await send(nodeId, command, {}, 10_000);
      values.push(...flat(payload ?? {}));
    }
    facts(dl, [...values, ["As of", timeOfDay(new Date())]]);
  });
  const rename = button("Rename", () => askText(rename, "New name", nameOf(now()), async (displayName) => {
    await app.call("node.rename", { nodeId, displayName });
    app.announce(`Renamed: ${displayName}`);
    await load();
  }));
  const remove = button("Remove", () => ask(remove, `Remove ${nameOf(now())} as a node? With the gateway's token it could pair again.`, async () => {
    await app.call("node.pair.remove", { nodeId });
    app.announce(`Removed: ${full(now())}`);
    await load();
  }));
  build(row, make("div", { className: "actions" }, status, rename, remove), make("dl", { className: "facts two" }), dl);
}

/** Flattens a value reported by a node into pairs of label and text. */
function flat(value, name = "") {
  if (value === null || typeof value !== "object" || (Array.isArray(value) && typeof value[0] !== "object")) return [[label(name), inWords(name, value)]];
  const { totalBytes, freeBytes } = value;
  if (totalBytes && freeBytes >= 0) return [[label(name), `${bytes(freeBytes)} free of ${bytes(totalBytes)}`]];
  const parts = Object.entries(value).filter(([key]) => key !== "name");
  return parts.flatMap(([key, part]) => flat(part, Array.isArray(value) ? (part?.name || name) : `${name} ${key}`)).slice(0, FACTS_SHOWN);
}

const UNIT = /(Bytes|Seconds|Celsius|Percent|Level)$/i;
const UNITS = {
  bytes,
  seconds: (count) => span(count * 1000),
  celsius: (count) => `${count} \u00b0C`,
  percent: (count) => `${count} %`,
  level: (part) => `${Math.round(part * 100)} %`,
};

function label(name) {
  const text = name.replace(UNIT, "").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function inWords(name, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  const unit = typeof value === "number" && UNITS[UNIT.exec(name)?.[1].toLowerCase()];
  return unit ? unit(value) : Array.isArray(value) ? value.join(", ") : value;
}

function bytes(count) {
  const power = count < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(count) / 3));
  return `${+(count / 1000 ** power).toPrecision(3)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

// --- invocation

function buildForm() {
  nodeBox = make("select", { id: "invoke-node" });
  commandBox = make("select", { id: "invoke-command" });
  limitBox = make("input", { id: "invoke-limit", type: "number", min: 1, max: 3600, value: 30, required: true });
  paramsBox = make("textarea", { id: "invoke-params", rows: 4, spellcheck: false, autocapitalize: "none", "aria-describedby": "invoke-mistake" });
  jsonError = make("p", { id: "invoke-mistake", className: "error" });
  outcome = make("p", { className: "quiet", role: "status" });
  answers = make("div", { className: "stack" });
  const invoke = make("button", { textContent: "Invoke" });
  form = make(
    "form", { className: "stack" },
    make("div", { className: "bar" }, field("Node", nodeBox), field("Command", commandBox), field("Time limit in seconds", limitBox)),
    field("Parameters, as JSON", paramsBox), jsonError, make("div", { className: "actions" }, invoke),
  );
  nodeBox.addEventListener("change", drawForm);
  commandBox.addEventListener("change", drawExample);
  paramsBox.addEventListener("input", check);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(invoke, run);
  });
  return form;
}

function drawForm() {
  const here = nodes.filter((one) => one.connected && one.commands.length);
  form.hidden = !here.length;
  asking.hidden = !here.length && !outcome.textContent;
  fill(nodeBox, here.map((one) => [one.nodeId, full(one)]));
  fill(commandBox, (here.find((one) => one.nodeId === nodeBox.value)?.commands ?? []).map((command) => [command, command]));
  drawExample();
}

/** Replaces the options if they changed, and keeps the selection. */
function fill(box, options) {
  const key = options.join();
  if (box.dataset.key === key) return;
  const chosen = box.value;
  box.dataset.key = key;
  box.replaceChildren(...options.map(([value, textContent]) => make("option", { value, textContent })));
  if (options.some(([value]) => value === chosen)) box.value = chosen;
}

function drawExample() {
  paramsBox.placeholder = EXAMPLES[commandBox.value] ?? "{}";
}

function choose(nodeId, command) {
  nodeBox.value = nodeId;
  drawForm();
  commandBox.value = command;
  drawExample();
  paramsBox.focus();
}

/** Marks the parameters as invalid unless they are JSON. */
function check() {
  try {
    read();
    paramsBox.setCustomValidity("");
  } catch ({ message }) {
    paramsBox.setCustomValidity(`This is not JSON: ${message}`);
  }
  setText(jsonError, paramsBox.validationMessage);
}

function read() {
  return paramsBox.value.trim() ? JSON.parse(paramsBox.value) : undefined;
}

function send(nodeId, command, params, timeoutMs) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  return app.call("node.invoke", { nodeId, command, params, timeoutMs, idempotencyKey: key.join("") }, timeoutMs + LATE_MS);
}

async function run() {
  const what = `${commandBox.value} of ${nodeBox.selectedOptions[0].textContent}`;
  const from = performance.now();
  const took = () => `${Math.round(performance.now() - from)} ms`;
  outcome.className = "quiet";
  setText(outcome, `Asking for ${what} ...`);
  try {
    const { payload } = await send(nodeBox.value, commandBox.value, read(), limitBox.value * 1000);
    setText(outcome, `Answered in ${took()}: ${what}`);
    const output = [payload?.stdout, payload?.stderr].filter(Boolean).join("\n");
    answers.replaceChildren(output ? bounded("Output", output) : "", bounded("Answer", JSON.stringify(payload ?? null, null, 2)));
  } catch ({ code, message, details }) {
    const why = [code, details?.nodeError?.code ?? details?.code, details?.reason].filter((one, at, all) => one && all.indexOf(one) === at);
    outcome.className = "error";
    setText(outcome, `Failed after ${took()}: ${what} (${why.join(", ")})`);
    answers.replaceChildren(...hintNodes(message));
  }
}

function bounded(name, text) {
  const more = text.length > ANSWER_SHOWN ? `\n... ${text.length - ANSWER_SHOWN} more characters` : "";
  return make("pre", { className: "bounded", tabIndex: 0, role: "region", "aria-label": name, textContent: text.slice(0, ANSWER_SHOWN) + more });
}
