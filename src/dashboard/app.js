// The first page: takes the token out of the address bar, proves this browser's key, shows who is in or why it is not.
// Never: markup made from data, a token kept anywhere but in memory, a request to another origin.
import { Gateway } from "./gateway.js";
import { loadIdentity } from "./identity.js";

const ROWS_SHOWN = 200;
const REFRESH_AFTER_MS = 300;
const REDRAW_EVERY_MS = 10_000;

const secretOfAddress = takeToken();
const page = document.documentElement;
const part = (id) => document.getElementById(id);
let gateway;
let identity;
let hello = null;
let helloAt = 0;
let devices = { pending: [], paired: [] };
let presence = [];
let retryAt = null;
let refreshing = null;

start();

async function start() {
  part("host").textContent = location.host;
  part("clear").hidden = window.isSecureContext;
  identity = await loadIdentity();
  gateway = new Gateway({ identity, client: describeClient(), onState: showState, onEvent: takeEvent });
  listen();
  gateway.connect(secretOfAddress);
}

function takeToken() {
  const url = new URL(location.href);
  const hash = new URLSearchParams(url.hash.slice(1));
  const token = hash.get("token") ?? url.searchParams.get("token");
  if (token === null) return null;
  url.searchParams.delete("token");
  if (hash.has("token")) {
    hash.delete("token");
    url.hash = hash.toString();
  }
  history.replaceState(null, "", url);
  return token ? { token } : null;
}

function listen() {
  const wake = () => document.hidden || gateway.wake();
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  window.addEventListener("hashchange", () => {
    const secret = takeToken();
    if (secret) gateway.connect(secret);
  });
  part("again").addEventListener("click", () => gateway.connect());
  part("secret").addEventListener("input", ({ target }) => target.classList.toggle("veiled", target.value.length > 12));
  part("door").addEventListener("submit", (event) => {
    event.preventDefault();
    gateway.connect(readSecret(part("secret").value));
    part("secret").value = "";
  });
  setInterval(showCountdown, 500);
  setInterval(() => hello && drawAll(), REDRAW_EVERY_MS);
}

/** A token, a setup code as read aloud, the printed link, or the `oc-pair://` link. */
function readSecret(typed) {
  const text = typed.trim();
  const link = /[#?&](token=[^&\s]+)/.exec(text);
  if (link) return { token: new URLSearchParams(link[1]).get("token") };
  const code = text.replace(/[\s-]/g, "").toUpperCase();
  if (/^[A-Z0-9]{8}$/.test(code)) return { bootstrapToken: code };
  try {
    const sealed = /^oc-pair:\/\/([\w-]+)/.exec(text)[1].replaceAll("-", "+").replaceAll("_", "/");
    return { bootstrapToken: JSON.parse(atob(sealed)).bootstrapToken };
  } catch {
    return text ? { token: text } : null;
  }
}

function describeClient() {
  const first = (names) => names.find(([, mark]) => navigator.userAgent.includes(mark))?.[0];
  const browser = first([
    ["Edge", "Edg"], ["Opera", "OPR/"], ["Firefox", "Firefox/"], ["Firefox", "FxiOS"],
    ["Chrome", "Chrome/"], ["Chrome", "CriOS"], ["Safari", "Safari/"],
  ]) ?? "Browser";
  const platform = first([
    ["Windows", "Windows"], ["Android", "Android"], ["iOS", "iPhone"], ["iOS", "iPad"],
    ["macOS", "Macintosh"], ["ChromeOS", "CrOS"], ["Linux", "Linux"],
  ]) ?? "web";
  const version = document.querySelector("meta[name=gatelet-version]").content;
  const displayName = `${browser} on ${platform}`;
  return { id: "openclaw-control-ui", mode: "webchat", displayName, version, platform };
}

// --- the state of the connection

function showState(state, facts) {
  hello = facts.hello ?? null;
  helloAt = Date.now();
  retryAt = facts.retryMs ? Date.now() + facts.retryMs : null;
  const { title, words } = { connecting, connected, refused, lost }[state](facts);
  page.dataset.state = state;
  setOrDrop("code", state === "refused" ? codeOf(facts.error) : null);
  setOrDrop("protocol", hello?.protocol);
  setText(part("state"), title);
  setText(part("words"), words);
  document.title = `${title} - gatelet`;
  showCountdown();
  if (state !== "connecting") showParts(state);
}

function connecting() {
  return { title: "Connecting", words: "Waiting for the gateway." };
}

function connected({ hello }) {
  presence = hello.snapshot?.presence ?? [];
  part("problem").textContent = "";
  refreshDevices();
  const remembered = hello.auth?.deviceToken && identity.kept;
  const title = "Connected";
  if (remembered) return { title, words: "This browser is paired: its key alone signs in from now on." };
  return { title, words: "Let in for this connection only: this browser is not remembered." };
}

function refused({ error }) {
  const details = error.details ?? {};
  const pending = error.code === "NOT_PAIRED" && details.requestId;
  facts(part("verdict"), [
    ["Answer", pending ? error.message : null],
    ["Code", details.code ?? error.code],
    ["Rule", details.rule],
    ["Request", details.requestId],
    ["Closed with", error.closed],
  ]);
  part("hint").replaceChildren(...hintNodes(details.hint ?? ""));
  if (!pending) return { title: "Refused", words: error.message };
  return { title: "Waiting for approval", words: "Once somebody approves this browser, this page goes on by itself." };
}

function lost({ code, reason, stopping }) {
  if (stopping) {
    const title = stopping.restartExpectedMs ? "Gateway is restarting" : "Gateway has stopped";
    return { title, words: "This page comes back by itself when the gateway does." };
  }
  const because = reason ? `: ${reason}` : "";
  const words = `The connection closed (${code})${because}. This page comes back by itself.`;
  return { title: "Connection lost", words };
}

function codeOf(error) {
  return error.details?.code ?? error.code ?? error.closed;
}

function setOrDrop(name, value) {
  if (value) page.dataset[name] = value;
  else delete page.dataset[name];
}

function showParts(state) {
  const answered = document.activeElement.closest("section") === part("title").closest("section");
  const known = state === "connected" || (state === "lost" && !part("inside").hidden);
  part("again").hidden = state === "connected";
  part("again").textContent = state === "lost" ? "Try now" : "Try again";
  part("why").hidden = part("door").hidden = state !== "refused";
  part("inside").hidden = !known;
  part("inside").inert = state !== "connected";
  if (state === "connected") drawAll();
  if (state === "refused") devices = { pending: [], paired: [] };
  if (answered && state === "connected") part("title").focus();
}

function showCountdown() {
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  const text = retryAt === null ? "" : seconds > 0 ? `Next try in ${seconds} s` : "Trying ...";
  setText(part("countdown"), text);
}

/** Words and commands of a hint: what stands in backticks, or a command that ends the hint. */
function hintNodes(hint) {
  const command = /(^|: )((?:(?:sudo|docker|podman|kubectl) .*?)?\bgatelet [a-z].*)$/;
  const marked = hint.includes("`") ? hint : hint.replace(command, "$1`$2`");
  return marked.split("`").map((text, index) => {
    if (index % 2) return commandNode(text);
    // A command stands on a line of its own, so the words after it lose their comma.
    const words = text.replace(/^[\s,.;]+/, "").trim();
    return words ? make("p", { textContent: words }) : "";
  });
}

function commandNode(text) {
  const code = make("code", { textContent: text });
  const button = make("button", { type: "button", className: "plain", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy: ${text}`);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text, code)) ? "Copied" : "Select it";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return make("div", { className: "command" }, code, button);
}

async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand("copy");
  }
}

// --- what the gateway tells

function takeEvent(name, payload) {
  if (name === "presence") {
    presence = payload.presence ?? [];
    drawAll();
  }
  if (name === "presence" || name.startsWith("device.pair.")) refreshSoon();
}

function refreshSoon() {
  refreshing ??= setTimeout(refreshDevices, REFRESH_AFTER_MS);
}

async function refreshDevices() {
  clearTimeout(refreshing);
  refreshing = null;
  try {
    devices = await gateway.call("device.pair.list");
    drawAll();
  } catch (error) {
    showProblem(error);
  }
}

async function decide(method, requestId, row) {
  const buttons = row.querySelectorAll("button");
  buttons.forEach((button) => (button.disabled = true));
  part("problem").textContent = "";
  try {
    await gateway.call(method, { requestId });
    part("pending-title").focus();
  } catch (error) {
    showProblem(error);
    buttons.forEach((button) => (button.disabled = false));
  }
  refreshSoon();
}

function showProblem(error) {
  if (error.code !== "LOST") part("problem").textContent = error.message;
}

// --- the lists

function drawAll() {
  drawAbout();
  drawRows("pending", devices.pending, (one) => one.requestId, drawPending);
  drawRows("paired", devices.paired, (one) => one.deviceId, drawPaired);
  drawRows("presence", presence, (one, at) => `${one.deviceId ?? one.instanceId ?? one.host} ${at}`, drawPresence);
}

function drawAbout() {
  const auth = hello?.auth ?? {};
  const own = devices.paired.find((one) => one.deviceId === identity.id) ?? {};
  facts(part("about"), [
    ["Device", shortId(identity.id)],
    ["Role", auth.role ?? own.role],
    ["Scopes", shortScopes(auth.scopes ?? own.scopes)],
    ["Paired by", own.provenance ?? own.approvedVia],
    ["Signed in by", auth.method],
    ["Gateway", hello?.server?.version],
    ["Up for", hello && span((hello.snapshot?.uptimeMs ?? 0) + Date.now() - helloAt)],
    ["Protocol", hello?.protocol],
    ["Transport", window.isSecureContext ? null : "plain HTTP"],
  ]);
}

function drawPending(row, one) {
  drawRow(row, one, [one.clientId, ...asks(one), one.remoteIp && `from ${one.remoteIp}`, since(one.ts)]);
  if (row.querySelector("button")) return;
  const button = (word, method, className) => {
    const node = make("button", { type: "button", textContent: word, className });
    node.setAttribute("aria-label", `${word} ${nameOf(one)}, ${shortId(one.deviceId)}`);
    node.addEventListener("click", () => decide(method, one.requestId, row));
    return node;
  };
  const approve = button("Approve", "device.pair.approve", "");
  row.append(make("div", { className: "actions" }, approve, button("Reject", "device.pair.reject", "plain")));
}

function drawPaired(row, one) {
  const via = one.provenance ?? one.approvedVia;
  const seen = one.connected ? null : one.lastSeenAtMs && `seen ${since(one.lastSeenAtMs)}`;
  drawRow(row, one, [one.platform, ...asks(one), via && `paired by ${via}`, seen], one.connected && "connected");
}

function drawPresence(row, one) {
  drawRow(row, one, [one.platform, one.mode, one.version, one.ip, one.ts && since(one.ts)]);
}

function drawRow(row, one, details, tag) {
  if (!row.firstChild) {
    const head = make("div", { className: "head" }, make("strong"), make("code"), make("span"), make("span"));
    row.append(make("div", {}, head, make("p", { className: "quiet" })));
  }
  const [name, id, self, state] = row.querySelectorAll(".head > *");
  setText(name, nameOf(one));
  setText(id, shortId(one.deviceId));
  setTag(self, one.deviceId === identity.id && "this browser");
  setTag(state, tag);
  setText(row.querySelector("p"), details.filter(Boolean).join(" \u00b7 "));
}

function drawRows(list, items, keyOf, draw) {
  const box = part(list);
  const old = new Map([...box.children].map((row) => [row.dataset.key, row]));
  const rows = items.slice(0, ROWS_SHOWN).map((one, index) => {
    const key = String(keyOf(one, index));
    const row = old.get(key) ?? make("li");
    row.dataset.key = key;
    draw(row, one);
    return row;
  });
  const more = items.length - rows.length;
  if (more > 0) rows.push(make("li", { className: "quiet", textContent: `and ${more} more` }));
  // Moving a row would take the focus from its buttons, so only a change of order touches the tree.
  const moved = rows.length !== box.children.length || rows.some((row, at) => row !== box.children[at]);
  if (moved) box.replaceChildren(...rows);
  setText(part(`${list}-count`), items.length ? String(items.length) : "");
  part(`${list}-empty`).hidden = items.length > 0;
}

function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const labels = shown.map(([label]) => label).join();
  if (list.dataset.labels !== labels) {
    list.dataset.labels = labels;
    list.replaceChildren(...shown.map(([label]) => make("div", {}, make("dt", { textContent: label }), make("dd"))));
  }
  shown.forEach(([, value], at) => setText(list.children[at].lastChild, String(value)));
}

function nameOf(one) {
  return one.label ?? one.operatorLabel ?? one.displayName ?? one.host ?? one.clientId ?? "unnamed";
}

function asks({ role, roles, scopes }) {
  return [(roles ?? [role]).filter(Boolean).join(", "), shortScopes(scopes)];
}

function shortScopes(scopes) {
  return (scopes ?? []).map((scope) => scope.replace("operator.", "")).join(", ");
}

function shortId(id) {
  return id ? id.slice(0, 8) : "";
}

function since(ms) {
  const age = Date.now() - ms;
  return age < 60_000 ? "just now" : `${span(age)} ago`;
}

function span(ms) {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 360 && minutes % 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / 1440)} days`;
}

function setTag(node, text) {
  node.className = text ? "tag" : "";
  setText(node, text || "");
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
