// Activity view: connected clients, live events and the last refusals.
import { bits, buildHead, button, card, drawHead, listCard, make, refusalNodes, setText, since, timeOfDay } from "./dom.js";

const EVENTS_KEPT = 200;
const TEXT_SHOWN = 60;
const REFUSALS_SHOWN = 50;

let app, here, refusals, lines, pause, count, empty;
let shown = false;
let events = [];
let paused = null;
let number = 0;

export const view = { id: "activity", title: "Activity", mount, show, hide, tick, onEvent };

function mount(root, shared) {
  app = shared;
  here = listCard("Connected clients", "No client is connected.");
  here.list.id = "presence";
  pause = button("Pause", () => {
    paused = paused ? null : [...events];
    setText(pause, paused ? "Resume" : "Pause");
    drawEvents();
  });
  const clear = button("Clear", () => {
    events = [];
    paused &&= [];
    drawEvents();
  });
  count = make("span", { className: "quiet" });
  empty = make("p", { className: "quiet", textContent: "Events from now on are listed here, the latest first." });
  lines = make("ol", { className: "lines", id: "events", tabIndex: 0, "aria-label": "Events, the latest first" });
  refusals = listCard("Refusals", "No connection was refused since the gateway started.");
  refusals.list.id = "refusals";
  // The events card comes first: its height is fixed, so a change of presence does not move it.
  root.append(card("Events", make("div", { className: "bar" }, pause, clear, count), make("div", { className: "stage" }, empty, lines)), here.node, refusals.node);
}

function show() {
  shown = true;
  tick();
  drawEvents();
}

function hide() {
  shown = false;
}

function tick() {
  drawPresence();
  readRefusals();
}

function onEvent(name, payload) {
  events = [{ name, at: new Date(), number: ++number, text: brief(payload) }, ...events.slice(0, EVENTS_KEPT - 1)];
  if (!shown) return;
  if (name === "presence") drawPresence();
  drawEvents();
}

/** Returns the beginning of a payload as text, at a cost independent of the payload's size. */
function brief(payload) {
  const word = (value) => {
    if (Array.isArray(value)) return `[${value.length}]`;
    if (value && typeof value === "object") return "{...}";
    // The beginning identifies an id or a key.
    return String(value).slice(0, /^[\w-]{30,}$/.test(value) ? 8 : TEXT_SHOWN);
  };
  return Object.entries(payload).slice(0, 6).map(([key, value]) => `${key}: ${word(value)}`).join("  ");
}

function drawPresence() {
  here.draw(app.presence, (one, at) => `${one.deviceId ?? one.instanceId ?? one.host} ${at}`, drawHere);
}

function drawHere(row, one) {
  if (!row.firstChild) row.append(buildHead(1, 1));
  const line = new Set([one.mode, one.platform, one.version, one.ip && `from ${one.ip}`, one.ts && since(one.ts)]);
  drawHead(row, one, one.deviceId, [[one.deviceId === app.identity.id && "this browser"]], [[...line]]);
}

function drawEvents() {
  const list = paused ?? events;
  // Rows are identified by number, so only new events change the page.
  const missing = list.findIndex((one) => String(one.number) === lines.firstChild?.dataset.number);
  const fresh = (missing < 0 ? list : list.slice(0, missing)).map((one) => {
    const row = make("li", {}, make("time", { textContent: timeOfDay(one.at), dateTime: one.at.toISOString() }), make("strong", { textContent: one.name }), make("span", { textContent: one.text }));
    row.dataset.number = one.number;
    return row;
  });
  if (missing < 0) lines.replaceChildren(...fresh);
  else lines.prepend(...fresh);
  while (lines.children.length > list.length) lines.lastChild.remove();
  empty.hidden = list.length > 0;
  lines.hidden = !list.length;
  const waiting = paused ? events.filter((one) => one.number > (paused[0]?.number ?? 0)).length : 0;
  setText(count, paused ? `Paused, ${waiting} new` : "");
}

async function readRefusals() {
  refusals.node.hidden = !app.may("pairing");
  if (refusals.node.hidden) return;
  try {
    const { refusals: list } = await app.call("gatelet.refusals", { limit: REFUSALS_SHOWN });
    refusals.draw(list, (one) => `${one.conn} ${one.ts}`, drawRefusal);
  } catch {
    // The next tick (10 s) or the next connection tries again.
  }
}

/** Draws a refusal as one line that expands to the text of `gatelet explain --last`. */
function drawRefusal(row, one) {
  if (!row.firstChild) {
    const line = make("span", { className: "bits" });
    const explained = make("div", { className: "explained" }, ...refusalNodes(one));
    row.append(make("details", {}, make("summary", {}, make("strong", { textContent: one.message }), line), explained));
  }
  bits(row.querySelector(".bits"), [one.code, one.clientId, `from ${one.client}`, since(one.ts)]);
}
