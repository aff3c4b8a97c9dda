// Helpers shared by the views: element creation without markup, keyed lists, buttons with a busy
// state, formatting of times. Never builds markup from data, or rebuilds a list that has the focus.

const ROWS_SHOWN = 200;

/**
 * Creates an element with properties, attributes (names with a dash) and children. Strings become
 * text nodes, empty children are omitted.
 */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child || child === 0));
  return node;
}

export function setText(node, text) {
  text = String(text ?? "");
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Fills a `dl` with pairs of label and value. Omits pairs without a value, and updates only values
 * that changed.
 */
export function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  const labels = shown.map(([label]) => label).join();
  if (list.dataset.labels !== labels) {
    list.dataset.labels = labels;
    list.replaceChildren(...shown.map(([label]) => make("div", {}, make("dt", { textContent: label }), make("dd"))));
  }
  shown.forEach(([, value], at) => setText(list.children[at].lastChild, value));
}

/** Creates a labelled input. The input must have an id. */
export function field(words, box, className = "") {
  return make("div", { className: `field ${className}` }, make("label", { htmlFor: box.id, textContent: words }), box);
}

/** Creates a card: a section with an `h2` heading and the given children. */
export function card(title, ...children) {
  const heading = make("h2", { textContent: title });
  return make("section", { className: "card", "aria-label": title }, heading, ...children);
}

/**
 * Creates a card with a list, its number of rows, and the text `empty` for an empty list.
 *
 * Returns {node, heading, list, draw(items, keyOf, drawRow, total)}; `total` is the number of all
 * items if `items` is filtered.
 */
export function listCard(title, empty) {
  const list = make("ul", { className: "rows" });
  const count = make("span", { className: "count" });
  const placeholder = make("p", { className: "quiet", textContent: empty });
  const node = card(title, placeholder, list);
  const heading = node.firstChild;
  heading.append(" ", count);
  heading.tabIndex = -1;
  const draw = (items, keyOf, drawRow, total = items.length) => {
    drawRows(list, items, keyOf, drawRow);
    setText(count, total === items.length ? total || "" : `${items.length} of ${total}`);
    setText(placeholder, total ? "Nothing matches the filter." : empty);
    placeholder.hidden = items.length > 0;
    list.hidden = !items.length;
  };
  return { node, heading, list, draw };
}

/**
 * Draws each item into a row that is reused for the same key. `draw(row, item)` fills an empty row
 * once, and afterwards only changes text. `list` is a `ul`, `ol` or `tbody`.
 */
export function drawRows(list, items, keyOf, draw) {
  const old = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const table = list.tagName === "TBODY";
  const rows = items.slice(0, ROWS_SHOWN).map((one, index) => {
    const key = String(keyOf(one, index));
    const row = old.get(key) ?? make(table ? "tr" : "li");
    row.dataset.key = key;
    draw(row, one, index);
    return row;
  });
  const more = items.length - rows.length;
  if (more > 0) rows.push(make(table ? "tr" : "li", { className: "quiet" }, make(table ? "td" : "span", { textContent: `and ${more} more` })));
  // Moving a row would remove the focus from its buttons, so reorder only if the order changed.
  const moved = rows.length !== list.children.length || rows.some((row, at) => row !== list.children[at]);
  if (moved) list.replaceChildren(...rows);
}

/** Creates a button that runs `act()`; `name` replaces the text for screen readers. */
export function button(word, act, { name, className = "plain" } = {}) {
  const node = make("button", { type: "button", textContent: word, className });
  if (name) node.setAttribute("aria-label", name);
  node.addEventListener("click", () => busy(node, act));
  return node;
}

/**
 * Runs `act()` unless it is still running for this button. Returns whether it succeeded; a failure
 * is shown in the alert line.
 */
export async function busy(node, act) {
  if (node.hasAttribute("aria-busy")) return false;
  node.setAttribute("aria-busy", "true");
  showProblem("");
  try {
    await act();
    return true;
  } catch (error) {
    showFailure(error);
    return false;
  } finally {
    node.removeAttribute("aria-busy");
  }
}

/** Sets the text of the page's alert line; "" hides it. */
export function showProblem(words) {
  setText(document.getElementById("problem"), words);
}

/**
 * Shows a failed call in the alert line, except a lost connection, which the page's state shows.
 */
export function showFailure({ code, message }) {
  if (code !== "LOST") showProblem(message);
}

/**
 * Replaces the `.actions` around `node` by a confirmation: `Yes, ...` runs `act()`, Cancel or
 * Escape restores them.
 */
export function ask(node, words, act) {
  const yes = button(`Yes, ${node.textContent.toLowerCase()}`, () => act().then(back), { className: "danger" });
  const cancel = button("Cancel", () => back());
  const box = make("div", { role: "group", "aria-label": words }, make("p", { textContent: words }), yes, cancel);
  const back = replace(node, box);
  cancel.focus();
}

/** Asks for a text of at most 64 characters in the same way. Save or Enter calls `act(text)`. */
export function askText(node, words, value, act) {
  const field = make("input", { value, maxLength: 64, required: true, "aria-label": words });
  const save = make("button", { textContent: "Save" });
  const box = make("form", { "aria-label": words }, field, save, button("Cancel", () => back()));
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(save, () => act(field.value.trim()).then(back));
  });
  const back = replace(node, box);
  field.select();
}

function replace(node, box) {
  const row = node.closest(".actions");
  const place = row.closest(".card").querySelector("h2");
  const back = () => {
    box.remove();
    row.hidden = false;
    // The row may have been removed, or the button hidden.
    const next = row.isConnected ? (node.hidden ? row.querySelector("button:not([hidden])") : node) : place;
    next.focus();
  };
  box.className = "ask";
  box.addEventListener("keydown", ({ key }) => key === "Escape" && back());
  row.hidden = true;
  row.after(box);
  return back;
}

/**
 * Creates the buttons Approve and Reject for a request. They call `${prefix}.approve` or
 * `${prefix}.reject`, then move the focus to `heading`.
 */
export function decisions(app, prefix, requestId, name, heading, reload) {
  const decide = (word, said, className) => button(word, async () => {
    await app.call(`${prefix}.${word.toLowerCase()}`, { requestId });
    app.announce(`${said}: ${name}`);
    heading.focus();
    await reload();
  }, { name: `${word} ${name}`, className });
  return make("div", { className: "actions" }, decide("Approve", "Approved", ""), decide("Reject", "Rejected"));
}

/** Creates the head of a row for `drawHead`: a name, an id, `tags` tags and `lines` lines below. */
export function buildHead(tags, lines) {
  const each = (count, tag, className = "") => Array.from({ length: count }, () => make(tag, { className }));
  const head = make("div", { className: "head" }, make("strong"), make("code"), ...each(tags, "span"));
  return make("div", {}, head, ...each(lines, "p", "quiet bits"));
}

/** Fills the head of a row. `tags` are pairs of text and kind, `lines` are lists of texts. */
export function drawHead(row, one, id, tags, lines) {
  const [name, key, ...places] = row.querySelectorAll(".head > *");
  setText(name, nameOf(one));
  setText(key, shortId(id));
  places.forEach((place, at) => setTag(place, ...(tags[at] ?? [])));
  row.querySelectorAll("p.bits").forEach((line, at) => bits(line, lines[at] ?? []));
}

/** Creates a command with a button that copies it. */
export function commandNode(text) {
  const code = make("code", { textContent: text, className: text.length > 120 ? "long" : "" });
  const node = button("Copy", async () => {
    node.textContent = (await copy(text, code)) ? "Copied" : "Select it";
    setTimeout(() => (node.textContent = "Copy"), 2000);
  }, { name: `Copy: ${text}` });
  return make("div", { className: "command" }, code, node);
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

/**
 * Shows a refusal like `gatelet explain --last`: hint, answer and rule, properties of the client.
 */
export function refusalNodes(one) {
  const list = make("dl", { className: "facts" });
  facts(list, [
    ["Answer", one.message],
    ["Rule", one.rule],
    ["Code", one.code],
    ["From", `${one.client} (${one.via})`],
    ["Peer", one.peer !== one.client && one.peer],
    ["Host", one.host],
    ["Origin", one.origin],
    ["Client", one.clientId],
    ["Device", one.device],
    ["Request", one.requestId],
  ]);
  return [...hintNodes(one.hint), list];
}

/**
 * Splits a hint into text and commands: parts in backticks, a line of configuration, or a command
 * at the end.
 */
export function hintNodes(hint) {
  const command = /(^|: )((?:(?:sudo|docker|podman|kubectl) .*?)?\bgatelet [a-z].*)$/;
  const marked = hint.includes("`") ? hint : hint.replace(command, "$1`$2`").replace(/gateway\.[\w.]+: (".*?"|\[.*?\])/g, "`$&`");
  return marked.split("`").map((text, index) => {
    if (index % 2) return commandNode(text);
    // A command has a line of its own, so remove punctuation at the start of the text after it.
    const words = text.replace(/^[\s,.;]+/, "").trim();
    return words ? make("p", { textContent: words }) : "";
  });
}

/** Sets the text of a tag, or hides it if the text is empty. `kind` is good, wait or bad. */
export function setTag(node, text, kind = "") {
  node.className = text ? `tag ${kind}` : "";
  setText(node, text || "");
}

/**
 * Fills a line with separate elements, so that right-to-left text cannot reorder the others. Omits
 * empty texts.
 */
export function bits(line, words) {
  const shown = words.filter(Boolean);
  while (line.children.length > shown.length) line.lastChild.remove();
  shown.forEach((text, at) => setText(line.children[at] ?? line.appendChild(make("span")), text));
}

/** Returns the name of a device, client or presence entry, without invisible characters. */
export function nameOf(one) {
  const name = one.label ?? one.operatorLabel ?? one.displayName ?? one.host ?? one.clientId ?? "";
  return name.replace(/[\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, "").trim() || "unnamed";
}

/** Returns the warning that the name of a pending request looks like that of another device. */
export function resembled({ resembles }) {
  return resembles && `looks like the name of another device: ${nameOf({ displayName: resembles.name })}, ${shortId(resembles.deviceId)}`;
}

export function shortScopes(scopes) {
  if (scopes?.includes("operator.admin")) return "all rights (admin)";
  return (scopes ?? []).map((scope) => scope.replace("operator.", "")).join(", ");
}

export function shortId(id) {
  return id ? id.slice(0, 8) : "";
}

/** Splits a fingerprint into groups of eight digits for comparison. */
export function spaced(id) {
  return id ? id.match(/.{1,8}/g).join(" ") : "";
}

/** Formats the time of day with 24 hours. */
export function timeOfDay(date) {
  return date.toLocaleTimeString([], { hourCycle: "h23" });
}

/** Formats the age of a time in milliseconds since 1970. */
export function since(ms) {
  const age = Date.now() - ms;
  return age < 60_000 ? "just now" : `${span(age)} ago`;
}

export function span(ms) {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 360 && minutes % 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / 1440)} days`;
}
