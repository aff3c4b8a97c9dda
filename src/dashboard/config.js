// Configuration view: settings in force with their sources, problems of the file, and changes to
// safe settings. Never shows a secret, changes a key that could lock this page out, or overwrites a
// concurrent change.
import { busy, button, card, field, make, setText, showFailure } from "./dom.js";

/**
 * Keys that can be changed here. All others could lock this page out, weaken access control, or
 * require access to the machine.
 */
const SAFE = [
  "port", "publicOrigin", "trustedProxies", "allowRealIpFallback", "auth.strictClock", "auth.rateLimit.maxAttempts",
  "auth.rateLimit.windowMs", "auth.rateLimit.lockoutMs", "pairing.mode", "pairing.authorizedKeys",
  "controlUi.allowedOrigins", "nodes.pairing.autoApproveLocal", "nodes.pairing.autoApproveCidrs", "nodes.commands.allow",
  "nodes.commands.deny",
];
const AT_START = ["port"];
/** Keys that can contain this page's origin. A change must not remove it from the last of them. */
const NAMES = ["publicOrigin", "controlUi.allowedOrigins"];
const CONFLICT = "config changed since last load";

let app, home, place, problems, filter, groups, save, outcome;
let current = null;
let schema = null;
let shown = false;
/**
 * Fields of the form: {row, key, box, type, old}. `box` is null if the key cannot be changed here.
 */
let fields = [];

export const view = { id: "config", title: "Configuration", mount, show, hide, onEvent };

function mount(root, shared) {
  app = shared;
  place = make("p", { className: "quiet" });
  problems = make("ul", { className: "issues" });
  filter = make("input", { type: "search", id: "config-filter", placeholder: "Name, value or source", autocapitalize: "none", spellcheck: false });
  groups = make("div", { className: "stack" });
  save = make("button", { textContent: "Save" });
  const undo = button("Undo", load);
  outcome = make("p");
  const form = make(
    "form", { className: "stack" },
    field("Filter", filter, "grow"), groups, make("div", { className: "actions sticky" }, save, undo, outcome),
  );
  filter.addEventListener("input", applyFilter);
  form.addEventListener("input", drawDirty);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(save, write);
  });
  // Clear the filter, because the browser cannot show a validation message on a hidden row.
  form.addEventListener("invalid", () => applyFilter((filter.value = "")), true);
  home = [root, card("State", place, problems), card("Settings", form)];
}

function show() {
  shown = true;
  if (changed().length === 0) return load();
}

function hide() {
  shown = false;
}

function onEvent(name, payload) {
  if (name !== "config.changed" || !shown || payload.hash === current?.hash || save.hasAttribute("aria-busy")) return;
  if (changed().length === 0) load();
  else report("The file was changed elsewhere: Undo loads it again.", true);
}

async function load() {
  try {
    schema ??= (await app.call("config.schema")).schema.properties.gateway;
    current = await app.call("gatelet.config");
    draw();
  } catch (error) {
    showFailure(error);
  }
}

const at = (tree, path) => path.split(".").reduce((node, name) => node?.[name], tree);
const typeOf = (key) => at(schema, `properties.${key.replaceAll(".", ".properties.")}`) ?? {};

function draw() {
  drawState();
  const kept = new Map();
  fields = current.settings.map(({ key, value, source }) => {
    const field = drawField(key.replace("gateway.", ""), value, source);
    const name = field.key.includes(".") ? field.key.split(".")[0] : "";
    kept.set(name, [...(kept.get(name) ?? []), field.row]);
    return field;
  });
  groups.replaceChildren(...[...kept].map(([name, rows]) => make(
    "section", { "aria-label": `gateway ${name}` }, make("h3", {}, make("code", { textContent: name ? `gateway.${name}` : "gateway" })), make("ul", { className: "rows" }, ...rows),
  )));
  applyFilter();
  drawDirty();
  const [root, ...cards] = home;
  if (!cards[0].isConnected) root.append(...cards);
}

function drawState() {
  setText(place, `${current.path}${current.exists ? "" : ": does not exist yet; the first change that is saved creates it"}`);
  const list = [
    ...current.issues.map(({ message }) => ["Error", message]), ...current.warnings.map(({ message }) => ["Warning", message]),
    ...current.restartRequired.map((key) => ["Pending", `${key} takes effect at the next start`]),
  ];
  if (current.appliedConfigHash !== current.hash && !current.restartRequired.length) {
    list.push(["Pending", "the file was edited; this takes effect at the next start, or when something is saved here"]);
  }
  if (!list.length) list.push(["OK", "no problems; the whole file is in effect"]);
  if (current.acceptedNotUsed.length) list.push(["Not used", `in the file, but without effect: ${current.acceptedNotUsed.join(", ")}`]);
  problems.replaceChildren(...list.map(([word, text]) => make(
    "li", {}, make("span", { className: `tag ${{ OK: "good", Error: "bad" }[word] ?? "wait"}`, textContent: word }), ` ${text}`,
  )));
}

function drawField(key, value, source) {
  const type = typeOf(key);
  const written = at(current.config.gateway, key);
  const id = `config-${key}`;
  const fromFile = source === "default" || source.startsWith("config ");
  const readable = !/number|integer/.test(type.type) || typeof (written ?? 0) === "number";
  const box = SAFE.includes(key) && fromFile && readable && app.may("admin") ? makeBox(id, type, written, value) : null;
  const note = [source, SAFE.includes(key) && !fromFile && "overrides the file", box && AT_START.includes(key) && "a change takes effect at the next start"];
  const row = make(
    "li", { className: "set" },
    make("div", {}, make(box ? "label" : "span", { htmlFor: id, className: "key", textContent: key }), make("p", { className: "quiet", textContent: note.filter(Boolean).join(" \u00b7 ") })),
    make("div", { className: "value" }, box ?? make("span", { className: value ? "mono" : "quiet", textContent: value || "none" })),
  );
  return { row, key, box, type: type.type, old: box && read(box, type.type), text: `${key} ${value} ${source}`.toLowerCase() };
}

/** Returns the input element for a key, by its type in the schema. */
function makeBox(id, { type, enum: words, minimum, maximum }, written, value) {
  if (words) {
    const box = make("select", { id }, ...words.map((word) => make("option", { value: word, textContent: word })));
    box.value = value;
    return box;
  }
  if (type === "boolean") return make("input", { id, type: "checkbox", checked: value === "true" });
  if (type === "integer") return make("input", { id, type: "number", min: minimum, max: maximum, value });
  if (type === "array") {
    const list = Array.isArray(written) ? written : value ? value.split(", ") : [];
    return make("textarea", { id, rows: Math.min(8, list.length + 1), value: list.join("\n"), placeholder: "one on each line", spellcheck: false, autocapitalize: "none" });
  }
  return make("input", { id, value: written ?? value, spellcheck: false, autocapitalize: "none" });
}

/** Returns the value of an input as written to the file; null removes the key. */
function read(box, type) {
  const text = box.value.trim();
  if (type === "boolean") return box.checked;
  if (type === "array") return text ? text.split("\n").map((line) => line.trim()).filter(Boolean) : null;
  if (text === "") return null;
  return type === "integer" ? Number(text) : text;
}

function changed() {
  return fields.filter(({ box, type, old }) => box && JSON.stringify(read(box, type)) !== JSON.stringify(old));
}

function drawDirty() {
  const dirty = changed();
  fields.forEach((field) => field.row.classList.toggle("dirty", dirty.includes(field)));
  report(dirty.length ? `${dirty.length} to save` : "");
}

function report(words, bad) {
  outcome.role = bad ? "alert" : "status";
  outcome.className = bad ? "error" : "";
  setText(outcome, words);
}

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  fields.forEach(({ row, text }) => (row.hidden = !text.includes(wanted)));
  for (const group of groups.children) group.hidden = !group.querySelector("li:not([hidden])");
}

function originOf(name) {
  try {
    return new URL(name).origin;
  } catch {
    return "";
  }
}

async function write() {
  const dirty = changed();
  if (!dirty.length) return report("Nothing was changed.");
  const keys = dirty.map(({ key }) => key).join(", ");
  const names = fields.filter(({ key, box }) => box && NAMES.includes(key));
  const named = (of) => names.some((one) => [of(one)].flat().some((name) => name === "*" || originOf(name) === location.origin));
  if (named(({ old }) => old) && !named(({ box, type }) => read(box, type)))
    return report(`Not saved: without ${location.origin} in ${NAMES.join(" or ")} this page would be locked out.`, true);
  const patch = {};
  for (const { key, box, type } of dirty) {
    const names = key.split(".");
    const last = names.pop();
    names.reduce((node, name) => (node[name] ??= {}), patch)[last] = read(box, type);
  }
  const replacePaths = dirty.filter(({ type }) => type === "array").map(({ key }) => `gateway.${key}`);
  try {
    const done = await app.call("config.patch", { raw: JSON.stringify({ gateway: patch }), baseHash: current.hash, replacePaths });
    fields = [];
    await load();
    const later = done.restartRequired.join(", ");
    report(later ? `Saved. In effect from the next start: ${later}` : `Saved and in effect: ${keys}`);
  } catch (error) {
    if (!error.message.startsWith(CONFLICT)) {
      const issues = error.details?.issues?.map(({ message }) => message).join("; ");
      return report(`Not saved: ${issues || error.message}`, true);
    }
    fields = [];
    await load();
    report(`Not saved: the file was changed in the meantime and was loaded again. Repeat the change of ${keys}.`, true);
  }
}
