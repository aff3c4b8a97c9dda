// Devices view: pending requests, paired devices, and details of this browser and the gateway.
// Never identifies a device by its name alone: the key's fingerprint is shown beside it.
import { ask, askText, buildHead, button, decisions, drawHead, facts, listCard, make, nameOf, resembled, shortId, shortScopes, since, spaced, span } from "./dom.js";

const FILTER_FROM = 8;

let app, pending, paired, filter, about, closed, full;
let table = null;

export const view = { id: "devices", title: "Devices", mount, show, onDevices: draw, tick: () => app.refreshDevices() };

function mount(root, shared) {
  app = shared;
  pending = listCard("Waiting for approval", "No device is waiting.");
  paired = listCard("Paired devices", "No device is paired.");
  filter = make("input", { type: "search", placeholder: "Filter by name, key, platform", "aria-label": "Filter the paired devices", hidden: true });
  filter.addEventListener("input", draw);
  about = make("dl", { className: "facts" });
  for (const [node, id] of [[pending.list, "pending"], [paired.list, "paired"], [about, "about"]]) node.id = id;
  paired.list.before(filter);
  closed = make("p", { className: "notice", textContent: "This browser cannot list the paired devices: that requires the scope operator.pairing." });
  full = make("p", {
    className: "notice", hidden: true,
    textContent: "The table of devices is full: a new device can connect only with the gateway's token, and is not paired. Remove a device that is not needed, or see gateway.pairing.capacity.",
  });
  // Closed by default on a phone, where it would move whenever the lists grow.
  const open = matchMedia("(min-width: 52rem)").matches;
  const self = make("details", { className: "card", open }, make("summary", {}, make("h2", { textContent: "This browser and the gateway" })), about);
  root.append(closed, full, pending.node, paired.node, self);
}

async function show() {
  closed.hidden = app.may("pairing");
  pending.node.hidden = paired.node.hidden = !closed.hidden;
  draw();
  if (app.may("read")) ({ table } = await app.call("gatelet.status"));
  drawAbout();
}

function draw() {
  drawAbout();
  pending.draw(app.devices.pending, (one) => one.requestId, drawPending);
  const own = (one) => one.deviceId === app.identity.id;
  const all = app.devices.paired.toSorted((a, b) => own(b) - own(a));
  filter.hidden = all.length < FILTER_FROM;
  const wanted = filter.hidden ? "" : filter.value.toLowerCase();
  const fits = (one) => [nameOf(one), one.deviceId, one.platform, one.clientId, one.provenance, ...(one.roles ?? [])].join(" ").toLowerCase().includes(wanted);
  paired.draw(wanted ? all.filter(fits) : all, (one) => one.deviceId, drawPaired, all.length);
}

function drawAbout() {
  const { hello, identity } = app;
  const auth = hello?.auth ?? {};
  const own = app.devices.paired.find((one) => one.deviceId === identity?.id) ?? {};
  facts(about, [
    ["Browser's key", spaced(identity?.id)],
    ["Role", auth.role ?? own.role],
    ["Scopes", shortScopes(auth.scopes ?? own.scopes)],
    ["Paired by", own.provenance],
    ["Signed in by", auth.method],
    ["Remembered", auth.deviceToken && !identity?.kept && "no: this browser does not store data of this page"],
    ["Transport", window.isSecureContext ? null : "plain HTTP"],
    ["Gateway", hello && `gatelet ${hello.server?.version ?? ""}, up for ${span((hello.snapshot?.uptimeMs ?? 0) + Date.now() - app.helloAt)}`],
    ["Protocol", hello?.protocol],
    ["Places", table && `${table.used} of ${table.capacity} taken`],
  ]);
  full.hidden = !(table?.used >= table?.capacity);
}

// --- pending requests

function drawPending(row, one) {
  const known = app.devices.paired.find(({ deviceId }) => deviceId === one.deviceId);
  // The owner's label comes before the name that the device gives itself.
  const shown = known?.label ? { ...one, label: known.label } : one;
  if (!row.firstChild) {
    row.append(buildHead(3, 2), decisions(app, "device.pair", one.requestId, called(shown), pending.heading, app.refreshDevices));
    row.firstChild.append(make("p", { className: "quiet mono", textContent: `key ${spaced(one.deviceId)}` }));
  }
  const asked = known && `already paired, has ${rights(known)}, asks for ${rights(one)}`;
  const own = nameOf(shown) !== nameOf(one) && `calls itself \u201c${nameOf(one)}\u201d`;
  drawRow(row, shown, [[asked, "wait"], [resembled(one), "bad"]], [own, one.platform, one.clientId, one.remoteIp && `from ${one.remoteIp}`, `requested ${since(one.ts)}`]);
}

// --- paired devices

function drawPaired(row, one) {
  if (!row.firstChild) buildPaired(row, one);
  const revoked = one.revokedRoles ?? [];
  const live = liveRoles(one);
  const own = one.deviceId === app.identity.id;
  const lost = live.length ? revoked.length && `${revoked.join(", ")} revoked` : "revoked";
  const tags = [[own && "this browser"], [one.connected && "connected", "good"], [lost, "bad"]];
  const seen = one.connected ? null : one.lastSeenAtMs ? `seen ${since(one.lastSeenAtMs)}` : "not seen yet";
  drawRow(row, one, tags, [one.platform, one.clientId, one.remoteIp, seen, `paired by ${one.provenance ?? one.approvedVia} ${since(one.approvedAtMs)}`]);
  const [restore, , rotate, revoke] = row.querySelectorAll(".actions > button");
  restore.hidden = !revoked.length;
  rotate.hidden = revoke.hidden = !live.length;
}

/** Builds the buttons of a paired device. They look up its current state when pressed. */
function buildPaired(row, { deviceId }) {
  const now = () => app.devices.paired.find((one) => one.deviceId === deviceId) ?? { deviceId };
  const own = deviceId === app.identity.id;
  const done = async (words) => {
    app.announce(`${words}: ${nameOf(now())}`);
    await app.refreshDevices();
  };
  const each = async (method) => {
    for (const role of liveRoles(now())) await app.call(method, { deviceId, role });
  };
  const restore = button("Approve", async () => {
    await app.call("device.pair.approve", { requestId: deviceId });
    await done("Approved");
    row.querySelector("button:not([hidden])").focus();
  }, { className: "" });
  const rename = button("Rename", () => askText(rename, "New name", nameOf(now()), async (label) => {
    await app.call("device.pair.rename", { deviceId, label });
    await done("Renamed");
  }));
  const rotate = button("Rotate", async () => {
    await each("device.token.rotate");
    await done("New token created; the old one works until the new one is used");
  });
  const self = "This is the browser that you are using: it is signed out at once";
  const revoke = button("Revoke", () => ask(revoke, own ? `${self}, and only the gateway's command line can approve it again.` : `Revoke ${nameOf(now())}? It cannot connect, even with the gateway's token, until it is approved again.`, async () => {
    await each("device.token.revoke");
    await done("Revoked");
  }));
  const remove = button("Remove", () => ask(remove, own ? `${self} and must be paired again.` : `Remove ${nameOf(now())}? It must then be paired again.`, async () => {
    await app.call("device.pair.remove", { deviceId });
    await done("Removed");
  }));
  row.append(buildHead(3, 2), make("div", { className: "actions" }, restore, rename, rotate, revoke, remove));
}

function liveRoles({ roles = [], revokedRoles = [] }) {
  return roles.filter((role) => !revokedRoles.includes(role));
}

// --- rows

const called = (one) => `${nameOf(one)}, ${shortId(one.deviceId)}`;

/** Returns roles and scopes in words. */
function rights(one) {
  return [...(one.roles ?? [one.role]), shortScopes(one.scopes)].filter(Boolean).join(", ");
}

function drawRow(row, one, tags, details) {
  const rotated = Math.max(...(one.tokens ?? []).map((token) => token.generation));
  const may = [(one.roles ?? [one.role]).filter(Boolean).join(" and "), shortScopes(one.scopes), rotated > 1 && `token ${rotated}`];
  drawHead(row, one, one.deviceId, tags, [details, may]);
  row.querySelector(".head code").title = spaced(one.deviceId);
  for (const node of row.querySelectorAll(".actions > button")) node.setAttribute("aria-label", `${node.textContent} ${called(one)}`);
}
