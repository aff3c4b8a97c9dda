// View to connect a device: setup codes, each valid for one device for ten minutes. Never keeps a
// code after it was used, expired, or the page was closed.
import { button, card, commandNode, make, nameOf, setText, shortId } from "./dom.js";

const ASK_EVERY_MS = 3_000;
const LIVES_MS = 600_000;
const NEAR = /^(127\.|localhost$|\[::1\])/;
const IP = /^([\d.]+|\[.*\])$/;
const PROFILES = [
  ["full", "Full control", "An operator's browser, app or command line: all rights, including pairing other devices."],
  ["limited", "Use only", "Reads, invokes commands of nodes and answers their questions; cannot change settings or pair devices."],
  ["node", "Node", "A machine or phone that runs commands for operators."],
];

let app, choice, reach, state, clockFace, shownCode, picture, ways, result, problem;
let made = null;
let clock = null;
let asked = 0;

export const view = { id: "connect", title: "Connect a device", mount, show, hide, onEvent };

function mount(root, shared) {
  app = shared;
  choice = make("fieldset", {}, make("legend", { textContent: "What may the device do?" }));
  PROFILES.forEach(([value, title, words], at) => {
    const radio = make("input", { type: "radio", name: "profile", value, checked: !at });
    choice.append(make("label", { className: "choice" }, radio, make("span", {}, title, make("small", { textContent: words }))));
  });
  const go = button("Create a code", makeCode, { className: "" });
  problem = make("p", { className: "notice", textContent: "Creating a code requires the scope operator.admin." });
  choice.append(make("div", { className: "bar" }, go));
  reach = make("div", { className: "notice", id: "reach", hidden: true });
  state = make("span", { role: "status" });
  clockFace = make("span", { role: "timer" });
  shownCode = make("output", { id: "code", className: "code" });
  picture = make("img", { id: "qr", width: 220, height: 220 });
  ways = make("div", { className: "ways" });
  result = card("The code", make("div", { className: "invite" }, make("div", {}, shownCode, make("p", { id: "code-state" }, state, clockFace)), picture, ways));
  result.hidden = true;
  result.firstChild.tabIndex = -1;
  root.append(card("A new code", problem, reach, choice), result);
}

function show() {
  problem.hidden = app.may("admin");
  choice.disabled = !problem.hidden;
  warn();
  tick();
  if (made && !made.end) clock = setInterval(tick, 500);
}

function hide() {
  clearInterval(clock);
}

function onEvent(name) {
  if (name === "presence" || name.startsWith("device.pair.")) asked = 0;
}

/** Warns, before a code is made, that no other device can use it, and offers what can be changed. */
async function warn() {
  if (!app.may("read")) return;
  const { urls, listening } = await app.call("gatelet.status").catch(() => ({ urls: [""] }));
  reach.hidden = !NEAR.test(location.hostname) || urls.length > 0;
  if (reach.hidden) return;
  const near = listening.every((address) => NEAR.test(address));
  const change = near && app.may("admin") && button("Listen on the local network", listenOnLan);
  reach.replaceChildren(
    make("p", { textContent: near
      ? "Only this machine can use a code now: the gateway listens on its loopback address."
      : "No address for other devices is known: open this page by the machine's name or address in the network, or set gateway.publicOrigin under Configuration." }),
    ...(change ? [make("p", { textContent: "If it listens on the local network, every device there can try to connect, and is admitted only with the token, a code or a paired key." }), change] : []),
  );
}

async function listenOnLan() {
  let words;
  try {
    const { hash } = await app.call("config.get");
    const done = await app.call("config.patch", { raw: JSON.stringify({ gateway: { bind: "lan" } }), baseHash: hash });
    words = done.restartRequired.includes("gateway.bind")
      ? "Saved. Start the gateway again, and open this page by the machine's address in the network."
      : "Saved, but without effect: a variable or an option sets the address. See bind under Configuration.";
  } catch (error) {
    words = `Not saved: ${error.message}`;
  }
  reach.replaceChildren(make("p", { role: "status", textContent: words }));
}

async function makeCode() {
  const profile = choice.querySelector(":checked").value;
  const here = new URL(".", location.href).href.replace(/\/$/, "");
  // This page's own address is the best one for other devices, unless it is a loopback address.
  const publicUrl = NEAR.test(location.hostname) ? undefined : here;
  const known = app.devices.paired.map(stamp);
  const code = await app.call("device.pair.setupCode", { bootstrapProfile: profile, includeQr: true, publicUrl });
  hide();
  made = { ...code, profile, known, ends: Date.now() + LIVES_MS };
  asked = 0;
  delete state.dataset.end;
  draw();
  show();
  result.firstChild.focus();
}

function stamp({ deviceId, approvedAtMs }) {
  return `${deviceId} ${approvedAtMs}`;
}

function draw() {
  const { code, link, pageLink, gatewayUrl, gatewayUrls, profile, qrDataUrl, pageQrDataUrl } = made;
  result.hidden = false;
  setText(shownCode, `${code.slice(0, 4)}-${code.slice(4)}`);
  const shown = pageQrDataUrl ?? qrDataUrl;
  picture.hidden = !shown;
  if (shown) Object.assign(picture, { src: shown, alt: pageQrDataUrl ? "QR code of the link to this page" : "QR code of the pairing link for an app" });
  const urls = [...new Set([gatewayUrl, ...(gatewayUrls ?? [])])].map((url) => new URL(url.replace(/^ws/, "http")));
  const far = urls.filter((url) => !NEAR.test(url.hostname));
  // The gatelet node supports neither TLS nor host names.
  const plain = [...far, ...urls].find((url) => url.protocol === "http:" && IP.test(url.hostname));
  const way = (words, text) => [make("p", { className: "quiet", textContent: words }), commandNode(text)];
  const node = plain && `gatelet node run --host ${plain.hostname.replace(/[[\]]/g, "")} --port ${plain.port || 80} --code ${code}`;
  const here = `${new URL(".", location.href).href}#code=${code}`;
  const second = pageQrDataUrl && qrDataUrl && make(
    "details", {}, make("summary", { textContent: "QR code for an app" }),
    make("img", { id: "app-qr", width: 220, height: 220, src: qrDataUrl, alt: "QR code of the pairing link for an app" }),
  );
  ways.replaceChildren(
    ...(profile === "node" ? [] : way(pageLink ? "Scan the QR code with the phone's camera, or open this link in the other device's browser:" : "In another browser on this machine:", pageLink ?? here)),
    ...(profile === "node" && node ? way("On the other machine, with gatelet:", node) : []),
    ...way(shown === qrDataUrl ? "In an app, scan the QR code or paste this link:" : "In an app, this link:", link),
    second ?? "",
    far.length ? "" : make("p", { className: "notice", textContent: "No address for other devices is known: this code works on this machine only." }),
    make("p", { className: "quiet", textContent: `The gateway is at ${(far.length ? far : urls).map((url) => url.host).join(", ")}.` }),
  );
}

async function tick() {
  if (!made || made.end) return;
  const left = Math.ceil((made.ends - Date.now()) / 1000);
  if (left <= 0) return finish();
  setText(clockFace, `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
  setText(state, "Valid for one device. Time left: ");
  if (Date.now() - asked < ASK_EVERY_MS) return;
  asked = Date.now();
  const one = made;
  const { gone, remainingMs } = await app.call("device.pair.setupStatus", { setupId: one.setupId }).catch(() => ({}));
  if (one !== made) return;
  if (remainingMs) made.ends = Date.now() + remainingMs;
  if (gone) finish();
}

/** Removes a code that is no longer valid, and shows which device used it. */
async function finish() {
  if (made.end) return;
  made.end = true;
  hide();
  const one = made;
  await app.refreshDevices();
  if (one !== made) return;
  const device = app.devices.paired.find((each) => !one.known.includes(stamp(each)));
  const late = one.ends - Date.now() < 1000;
  state.dataset.end = device ? "used" : "ended";
  setText(clockFace, "");
  if (device) setText(state, `Used by ${nameOf(device)}, ${shortId(device.deviceId)}: it is paired.`);
  else setText(state, late ? "Expired: it was not used in time." : "No longer valid: it was used, or replaced by newer codes.");
  picture.hidden = true;
  picture.removeAttribute("src");
  ways.replaceChildren();
  setText(shownCode, "");
}
