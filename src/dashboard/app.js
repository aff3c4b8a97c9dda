// The page: takes the token out of the address bar, proves this browser's key, shows who is in or why it is not.
// Never: markup made from data, a token kept anywhere but in memory, a request to another origin.
import { view as activity } from "./activity.js";
import { view as config } from "./config.js";
import { view as devices } from "./devices.js";
import { make, nameOf, setText, showFailure, showProblem } from "./dom.js";
import { mountDoor, showRefusal } from "./door.js";
import { Gateway } from "./gateway.js";
import { loadIdentity } from "./identity.js";
import { view as invite } from "./invite.js";
import { view as logs } from "./logs.js";
import { view as nodes } from "./nodes.js";

const REFRESH_AFTER_MS = 300;
const REDRAW_EVERY_MS = 10_000;
const VIEWS = [devices, nodes, activity, logs, invite, config];

const secretOfAddress = takeSecret();
const page = document.documentElement;
const part = (id) => document.getElementById(id);
let gateway;
let shown = null;
let retryAt = null;
let refreshing = null;
const badge = make("span", { className: "badge", hidden: true, "aria-hidden": "true" });

/**
 * What a view is given. A view is `{id, title, mount(root, app)}` and, as it likes:
 * `show()` when it is chosen while connected, `onConnected(hello)` when the gateway is back while it is shown (else `show()`
 * again), `hide()`, `onEvent(name, payload)` for every event, shown or not, `onDevices()` when the list of devices was read
 * anew, and `tick()` every ten seconds while shown.
 */
const app = {
  hello: null,
  helloAt: 0,
  identity: null,
  devices: { pending: [], paired: [] },
  presence: [],
  call: (method, params, waitMs) => gateway.call(method, params, waitMs),
  may: (scope) => {
    const scopes = app.hello?.auth?.scopes ?? [];
    return scopes.includes(`operator.${scope}`) || scopes.includes("operator.admin");
  },
  go: (hash) => (location.hash = hash),
  say: (words) => setText(part("said"), words),
  refreshDevices,
};

start();

async function start() {
  setText(part("host"), location.host);
  app.identity = await loadIdentity();
  mountDoor(part("door"), app, (secret) => gateway.connect(secret));
  VIEWS.forEach(mount);
  devices.link.append(badge);
  gateway = new Gateway({ identity: app.identity, client: describeClient(), onState: showState, onEvent: takeEvent });
  listen();
  // The address may have changed since.
  gateway.connect(takeSecret() ?? secretOfAddress);
}

/** The token or setup code of the address, which is taken out of it and out of the history at once. */
function takeSecret() {
  const url = new URL(location.href);
  const hash = new URLSearchParams(url.hash.slice(1));
  const [token, code] = ["token", "code"].map((name) => {
    const value = hash.get(name) ?? url.searchParams.get(name);
    url.searchParams.delete(name);
    if (hash.has(name)) {
      hash.delete(name);
      url.hash = hash.toString();
    }
    return value;
  });
  if (token !== null || code !== null) history.replaceState(null, "", url);
  if (code) return { bootstrapToken: code };
  return token ? { token } : null;
}

function listen() {
  const wake = () => document.hidden || gateway.wake();
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  window.addEventListener("hashchange", () => {
    const secret = takeSecret();
    if (secret) gateway.connect(secret);
    else if (app.hello) route();
  });
  part("again").addEventListener("click", () => (app.hello ? location.reload() : gateway.connect()));
  part("dismiss").addEventListener("click", () => showProblem(""));
  part("skip").addEventListener("click", (event) => {
    event.preventDefault();
    part("main").focus();
  });
  setInterval(showCountdown, 500);
  setInterval(() => app.hello && shown?.tick?.(), REDRAW_EVERY_MS);
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

// --- the views

function mount(view) {
  const heading = make("h1", { id: `title-${view.id}`, tabIndex: -1, textContent: view.title });
  view.root = make("section", { id: `view-${view.id}`, className: "view", hidden: true }, heading);
  view.root.setAttribute("aria-labelledby", heading.id);
  view.link = make("a", { href: `#/${view.id}` }, view.title);
  part("main").append(view.root);
  part("nav").append(view.link);
  view.mount(view.root, app);
}

/** Shows the view that the address names; `moved` is true when the user went there. */
function route(moved = true) {
  const wanted = VIEWS.find((view) => location.hash === `#/${view.id}`) ?? devices;
  if (wanted === shown) return;
  leave();
  shown = wanted;
  shown.root.hidden = false;
  shown.link.setAttribute("aria-current", "page");
  shown.link.scrollIntoView({ block: "nearest", inline: "center" });
  nameWindow();
  refresh(shown.show);
  if (moved) {
    scrollTo(0, 0);
    shown.root.firstChild.focus({ preventScroll: true });
  }
}

function leave() {
  if (!shown) return;
  shown.hide?.();
  shown.root.hidden = true;
  shown.link.removeAttribute("aria-current");
  shown = null;
}

/** Runs what a view does to be up to date; that it could not is said in the alert line. */
async function refresh(act) {
  try {
    await act?.call(shown, app.hello);
  } catch (error) {
    showFailure(error);
  }
}

function nameWindow() {
  const waiting = app.hello && app.devices.pending.length;
  document.title = `${waiting ? `(${waiting}) ` : ""}${app.hello && shown ? shown.title : part("state").textContent} - gatelet`;
}

// --- the state of the connection

function showState(state, facts) {
  app.hello = facts.hello ?? null;
  app.helloAt = Date.now();
  retryAt = facts.retryMs ? Date.now() + facts.retryMs : null;
  // A gateway that comes up or goes down refuses nobody: the views stay.
  const passing = { GATEWAY_STARTING: 1, GATEWAY_STOPPING: 0 }[state === "refused" && codeOf(facts.error)];
  if (passing !== undefined && shown) [state, facts] = ["lost", { stopping: { restartExpectedMs: passing } }];
  const { title, words } = { connecting, connected, refused, lost }[state](facts);
  page.dataset.state = state;
  setOrDrop("code", state === "refused" ? codeOf(facts.error) : null);
  setOrDrop("protocol", app.hello?.protocol);
  setText(part("state"), title);
  setText(part("words"), words);
  showCountdown();
  if (state !== "connecting") showParts(state);
  nameWindow();
}

function connecting() {
  return { title: "Connecting", words: "Waiting for the gateway." };
}

function connected({ hello }) {
  app.presence = hello.snapshot?.presence ?? [];
  const remembered = hello.auth?.deviceToken && app.identity.kept;
  const title = "Connected";
  if (isOther(hello)) return { title, words: "The gateway is another version than this page." };
  if (remembered) return { title, words: "This browser is paired: its key alone signs in from now on." };
  return { title, words: "Let in for this connection only: this browser is not remembered." };
}

function isOther(hello) {
  return hello.server?.version !== document.querySelector("meta[name=gatelet-version]").content;
}

function refused(facts) {
  app.devices = { pending: [], paired: [] };
  app.presence = [];
  return showRefusal(facts);
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

/** Behind the door or inside; a connection that was lost leaves the views where they are, but out of reach. */
function showParts(state) {
  const inside = state === "connected" || (state === "lost" && shown !== null);
  const atDoor = document.activeElement.closest("#door, .verdict") !== null;
  part("again").hidden = state === "connected" && !isOther(app.hello);
  setText(part("again"), { connected: "Load the new page", lost: "Try now", refused: "Try again" }[state]);
  part("door").hidden = state !== "refused";
  part("nav").hidden = !inside;
  page.classList.toggle("inside", inside);
  part("main").inert = inside && state !== "connected";
  if (!inside) leave();
  const drawn = () => page.classList.remove("fresh");
  if (state !== "connected") return drawn();
  refreshDevices().finally(drawn);
  if (shown) refresh(shown.onConnected ?? shown.show);
  else route(false);
  if (atDoor) shown.root.firstChild.focus();
}

function showCountdown() {
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  const text = retryAt === null ? "" : seconds > 0 ? `Next try in ${seconds} s` : "Trying ...";
  setText(part("countdown"), text);
}

// --- what the gateway tells

function takeEvent(name, payload) {
  if (name === "presence") app.presence = payload.presence ?? [];
  if (name === "presence" || name.startsWith("device.pair.")) refreshing ??= setTimeout(refreshDevices, REFRESH_AFTER_MS);
  if (name === "device.pair.requested") app.say(`${nameOf(payload)} waits for approval.`);
  VIEWS.forEach((view) => view.onEvent?.(name, payload));
}

/** How many wait, beside the link to them and in the name of the tab. */
function showWaiting() {
  const waiting = app.devices.pending.length;
  badge.hidden = !waiting;
  setText(badge, waiting);
  nameWindow();
}

async function refreshDevices() {
  clearTimeout(refreshing);
  refreshing = null;
  if (!app.may("pairing")) return;
  try {
    app.devices = await app.call("device.pair.list");
    showWaiting();
    VIEWS.forEach((view) => view.onDevices?.());
  } catch (error) {
    showFailure(error);
  }
}
