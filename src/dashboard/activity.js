// Activity: who is here now.
import { listCard, make, nameOf, setText, shortId, since } from "./dom.js";

let app, here;

export const view = { id: "activity", title: "Activity", mount, show: draw, tick: draw, onEvent };

function mount(root, shared) {
  app = shared;
  here = listCard("Here now", "Nobody is here.");
  here.list.id = "presence";
  root.append(here.node);
}

function onEvent(name) {
  if (name === "presence") draw();
}

function draw() {
  here.draw(app.presence, (one, at) => `${one.deviceId ?? one.instanceId ?? one.host} ${at}`, drawRow);
}

function drawRow(row, one) {
  if (!row.firstChild) {
    row.append(make("div", {}, make("div", { className: "head" }, make("strong"), make("code")), make("p", { className: "quiet" })));
  }
  setText(row.querySelector("strong"), nameOf(one));
  setText(row.querySelector("code"), shortId(one.deviceId));
  const details = [one.platform, one.mode, one.version, one.ip, one.ts && since(one.ts)];
  setText(row.querySelector("p"), details.filter(Boolean).join(" \u00b7 "));
}
