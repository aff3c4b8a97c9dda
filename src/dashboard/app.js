// Main module: connects with this browser's key, or with the link that the script in index.html
// removed from the address bar, and shows the views or the reason why the connection was refused.
// Never builds markup from data, keeps a token anywhere but in memory, or sends a request to
// another origin.
import { view as activity } from "./activity.js";
import { view as config } from "./config.js";
import { view as devices } from "./devices.js";
import { make, nameOf, setText, showFailure, showProblem } from "./dom.js";
import { mountSignIn, readLink, showRefusal } from "./sign-in.js";
import { Gateway } from "./gateway.js";
import { loadIdentity } from "./identity.js";
import { view as invite } from "./invite.js";
import { view as logs } from "./logs.js";
import { view as nodes } from "./nodes.js";

const REFRESH_AFTER_MS = 300;
const REDRAW_EVERY_MS = 10_000;
const VIEWS = [devices, nodes, activity, logs, invite, config];

const page = document.documentElement;
const part = (id) => document.getElementById(id);
part("unloaded").remove();
let gateway;
let gatewayId = null;
let shown = null;
let retryAt = null;
let unopened = "";
let refreshing = null;
const badge = make("span", { className: "badge", hidden: true, "aria-hidden": "true" });

/**
 * State and functions shared with the views.
 *
 * A view is `{id, title, mount(root, app)}` with any of these functions:
 *
 * - `show()`: the view was selected while connected
 * - `onConnected(hello)`: the gateway reconnected while the view is shown; without it, `show()` is
 *   called again
 * - `hide()`: another view was selected, or the connection was refused
 * - `onEvent(name, payload)`: any event, whether the view is shown or not
 * - `onDevices()`: the list of devices was read again
 * - `tick()`: every ten seconds while the view is shown and connected
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
  announce: (words) => setText(part("said"), words),
  refreshDevices,
};

start();

async function start() {
  setText(part("host"), location.host);
  app.identity = await loadIdentity();
  mountSignIn(part("sign-in-view"), app, (secret) => gateway.connect(secret));
  VIEWS.forEach(mount);
  devices.link.append(badge);
  gateway = new Gateway({ identity: app.identity, client: describeClient(), onState: showState, onEvent: takeEvent });
  listen();
  gateway.connect(takeSecret());
}

/** Returns the token or setup code of the link that was opened last, once. */
function takeSecret() {
  const link = window.secretLink ?? "";
  window.secretLink = "";
  return readLink(link);
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

// --- views

function mount(view) {
  const heading = make("h1", { id: `title-${view.id}`, tabIndex: -1, textContent: view.title });
  view.root = make("section", { id: `view-${view.id}`, className: "view", hidden: true }, heading);
  view.root.setAttribute("aria-labelledby", heading.id);
  view.link = make("a", { href: `#/${view.id}` }, view.title);
  part("main").append(view.root);
  part("nav").append(view.link);
  view.mount(view.root, app);
}

/** Shows the view named in the URL's fragment. `moved` means that the user navigated there. */
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

/** Runs a function of the current view that updates it. Shows a failure in the alert line. */
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

// --- connection state

function showState(state, facts) {
  app.hello = facts.hello ?? null;
  app.helloAt = Date.now();
  retryAt = facts.retryMs ? Date.now() + facts.retryMs : null;
  // Keep the views when the gateway rejects a connection only because it is stopping.
  if (shown && state === "refused" && codeOf(facts.error) === "GATEWAY_STOPPING") {
    [state, facts] = ["lost", { stopping: { restartExpectedMs: 0 } }];
  }
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
  // Another gateway at the same address: nothing of the one before may stay in the views.
  const id = Gateway.idOf(hello);
  if (gatewayId !== null && gatewayId !== id) location.reload();
  gatewayId = id;
  app.presence = hello.snapshot?.presence ?? [];
  unopened = "";
  const remembered = hello.auth?.deviceToken && app.identity.kept;
  const title = "Connected";
  if (isOther(hello)) return { title, words: "The gateway has another version than this page." };
  if (remembered) return { title, words: "This browser is paired: from now on it signs in with its own key." };
  return { title, words: "Admitted for this connection only: this browser is not paired." };
}

function isOther(hello) {
  return hello.server?.version !== document.querySelector("meta[name=gatelet-version]").content;
}

function refused(facts) {
  app.devices = { pending: [], paired: [] };
  app.presence = [];
  return showRefusal(facts);
}

function lost({ code, reason, stopping, opened }) {
  if (stopping) {
    const title = stopping.restartExpectedMs ? "Gateway is restarting" : "Gateway has stopped";
    return { title, words: "This page reconnects by itself when the gateway is back." };
  }
  const because = reason ? `: ${reason}` : "";
  const words = `The connection closed (${code})${because}. This page reconnects by itself.`;
  if (opened === false) explainUnopened(retryAt);
  else unopened = "";
  return { title: "Connection lost", words: unopened || words };
}

/**
 * Shows why no WebSocket opens, if the gateway answers other requests or the browser blocks the
 * local network. `attempt` is the value of `retryAt` for which the reason is shown.
 */
async function explainUnopened(attempt) {
  const [answers, permission] = await Promise.all([
    fetch("whoami", { cache: "no-store" }).then((reply) => reply.ok, () => false),
    localNetworkPermission(),
  ]);
  const blocked = "Allow the local network for this page in the browser's site settings, beside the address, and load the page again.";
  const proxy = "If a proxy is in between, it must pass WebSockets on: gatelet explain --last on the gateway shows whether it does, and what to add.";
  const reasons = [];
  if (permission === "denied") reasons.push(`This browser does not let this page reach the local network. ${blocked}`);
  if (answers) reasons.push(proxy);
  if (answers && permission === "prompt") reasons.push(`The browser may also be waiting for your permission to reach the local network. ${blocked}`);
  const intro = answers ? "The gateway answers this page, but no WebSocket opens." : "The gateway does not answer. If it runs:";
  unopened = reasons.length ? [intro, ...reasons].join(" ") : "";
  if (unopened && retryAt === attempt && page.dataset.state === "lost") setText(part("words"), unopened);
}

/**
 * Returns the state of Chromium's local network permission: "granted", "prompt" or "denied"; null
 * in other browsers, and on plain HTTP, where Chromium always says "denied".
 */
async function localNetworkPermission() {
  if (!isSecureContext) return null;
  const loopback = /^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
  for (const name of [loopback ? "loopback-network" : "local-network", "local-network-access"]) {
    try {
      return (await navigator.permissions.query({ name })).state;
    } catch {
      // This browser does not know the name.
    }
  }
  return null;
}

function codeOf(error) {
  return error.details?.code ?? error.code ?? error.closed;
}

function setOrDrop(name, value) {
  if (value) page.dataset[name] = value;
  else delete page.dataset[name];
}

/**
 * Shows the sign-in page or the views. After a lost connection the views stay visible but inert.
 */
function showParts(state) {
  const inside = state === "connected" || (state === "lost" && shown !== null);
  const focused = document.activeElement.closest("#sign-in-view, .verdict") !== null;
  part("again").hidden = state === "connected" && !isOther(app.hello);
  setText(part("again"), { connected: "Load the new page", lost: "Try now", refused: "Try again" }[state]);
  part("sign-in-view").hidden = state !== "refused";
  part("nav").hidden = !inside;
  page.classList.toggle("inside", inside);
  part("main").inert = inside && state !== "connected";
  if (!inside) leave();
  const drawn = () => page.classList.remove("fresh");
  if (state !== "connected") return drawn();
  refreshDevices().finally(drawn);
  if (shown) refresh(shown.onConnected ?? shown.show);
  else route(false);
  if (focused) shown.root.firstChild.focus();
}

function showCountdown() {
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  const text = retryAt === null ? "" : seconds > 0 ? `Next try in ${seconds} s` : "Trying ...";
  setText(part("countdown"), text);
}

// --- events of the gateway

function takeEvent(name, payload) {
  if (name === "presence") app.presence = payload.presence ?? [];
  if (name === "presence" || name.startsWith("device.pair.")) refreshing ??= setTimeout(refreshDevices, REFRESH_AFTER_MS);
  if (name === "device.pair.requested") app.announce(`${nameOf(payload)} is waiting for approval.`);
  VIEWS.forEach((view) => view.onEvent?.(name, payload));
}

/**
 * Shows the number of pending requests beside the link to the devices and in the window's title.
 */
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
