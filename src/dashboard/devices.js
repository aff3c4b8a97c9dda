// Devices: who waits to be let in, who is paired, and this browser among them.
import { button, card, facts, listCard, make, nameOf, setTag, setText, shortId, shortScopes, since, span } from "./dom.js";

let app, pending, paired, about;

export const view = { id: "devices", title: "Devices", mount, show: draw, onDevices: draw, tick: draw };

function mount(root, shared) {
  app = shared;
  pending = listCard("Waiting for approval", "Nobody is waiting.");
  paired = listCard("Paired devices", "No device is paired.");
  about = make("dl", { className: "facts", id: "about" });
  pending.list.id = "pending";
  paired.list.id = "paired";
  root.append(pending.node, paired.node, card("This browser and the gateway", about));
}

function draw() {
  drawAbout();
  pending.draw(app.devices.pending, (one) => one.requestId, drawPending);
  paired.draw(app.devices.paired, (one) => one.deviceId, drawPaired);
}

function drawAbout() {
  const { hello, identity } = app;
  const auth = hello?.auth ?? {};
  const own = app.devices.paired.find((one) => one.deviceId === identity.id) ?? {};
  facts(about, [
    ["Device", shortId(identity.id)],
    ["Role", auth.role ?? own.role],
    ["Scopes", shortScopes(auth.scopes ?? own.scopes)],
    ["Paired by", own.provenance ?? own.approvedVia],
    ["Signed in by", auth.method],
    ["Gateway", hello?.server?.version],
    ["Up for", hello && span((hello.snapshot?.uptimeMs ?? 0) + Date.now() - app.helloAt)],
    ["Protocol", hello?.protocol],
    ["Transport", window.isSecureContext ? null : "plain HTTP"],
  ]);
}

function drawPending(row, one) {
  drawRow(row, one, [one.clientId, ...asks(one), one.remoteIp && `from ${one.remoteIp}`, since(one.ts)]);
  if (row.querySelector("button")) return;
  const decide = (word, method, className) =>
    button(word, async () => {
      await app.call(method, { requestId: one.requestId });
      pending.node.firstChild.focus();
    }, { name: `${word} ${nameOf(one)}, ${shortId(one.deviceId)}`, className });
  row.append(make("div", { className: "actions" }, decide("Approve", "device.pair.approve", ""), decide("Reject", "device.pair.reject")));
}

function drawPaired(row, one) {
  const via = one.provenance ?? one.approvedVia;
  const seen = one.connected ? null : one.lastSeenAtMs && `seen ${since(one.lastSeenAtMs)}`;
  drawRow(row, one, [one.platform, ...asks(one), via && `paired by ${via}`, seen], one.connected && "connected");
}

function drawRow(row, one, details, tag) {
  if (!row.firstChild) {
    const head = make("div", { className: "head" }, make("strong"), make("code"), make("span"), make("span"));
    row.append(make("div", {}, head, make("p", { className: "quiet" })));
  }
  const [name, id, self, state] = row.querySelectorAll(".head > *");
  setText(name, nameOf(one));
  setText(id, shortId(one.deviceId));
  setTag(self, one.deviceId === app.identity.id && "this browser");
  setTag(state, tag);
  setText(row.querySelector("p"), details.filter(Boolean).join(" \u00b7 "));
}

function asks({ role, roles, scopes }) {
  return [(roles ?? [role]).filter(Boolean).join(", "), shortScopes(scopes)];
}
