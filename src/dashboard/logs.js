// Logs view: the gateway's last lines, updated while the view is visible, with explanations of
// refusals. Never keeps unlimited lines, polls while hidden, or shows a line as markup.
import { field, make, refusalNodes, setText, showProblem, timeOfDay } from "./dom.js";

const POLL_MS = 1_500;
const LINES_KEPT = 1_000;
/**
 * Maximum difference between the times of a log line and its refusal. Connection numbers repeat
 * after a restart of the gateway.
 */
const SAME_MOMENT_MS = 3_000;
const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

let app, box, level, filter, follow, count;
let cursor;
let shown = false;
let paused = false;
let timer = null;
let asking = false;

export const view = { id: "logs", title: "Logs", mount, show, hide };

function mount(root, shared) {
  app = shared;
  const options = [["Errors", 0], ["Warnings and errors", 1], ["Info and above", 2], ["Everything", 4]];
  level = make("select", { id: "log-level" }, ...options.map(([textContent, value]) => make("option", { textContent, value })));
  level.value = 4;
  filter = make("input", { id: "log-filter", type: "search", placeholder: "Text in the line", autocapitalize: "none", spellcheck: false });
  follow = make("button", { type: "button", className: "plain", textContent: "Pause" });
  count = make("p", { className: "quiet" });
  box = make("ul", { className: "lines log", tabIndex: 0, "aria-label": "Lines of the log" });
  root.append(make(
    "section", { className: "card", "aria-label": "Log" },
    make("div", { className: "bar" }, field("Level", level), follow, field("Filter", filter, "grow")), box, count,
  ));
  level.addEventListener("change", applyFilter);
  filter.addEventListener("input", applyFilter);
  follow.addEventListener("click", () => {
    paused = !paused;
    setText(follow, paused ? "Follow" : "Pause");
    drawCount();
    poll();
  });
  document.addEventListener("visibilitychange", poll);
}

function show() {
  shown = true;
  poll();
}

function hide() {
  shown = false;
}

async function poll() {
  clearTimeout(timer);
  if (!shown || paused || document.hidden || asking) return;
  asking = true;
  try {
    take(await app.call("logs.tail", cursor === undefined ? {} : { cursor }));
  } catch ({ code, message }) {
    // The view is shown again after the reconnection.
    if (code === "LOST") return;
    showProblem(message);
  } finally {
    asking = false;
  }
  timer = setTimeout(poll, POLL_MS);
}

function take(tail) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const known = cursor !== undefined;
  const mark = (words) => make("li", { className: "quiet", textContent: words });
  const added = tail.lines.map(drawLine);
  if (known && tail.reset) added.unshift(mark("The gateway was restarted."));
  else if (known && tail.truncated) added.unshift(mark("Lines are missing here: the gateway keeps only the latest ones."));
  cursor = tail.cursor;
  box.append(...added);
  while (box.children.length > LINES_KEPT) box.firstChild.remove();
  const from = box.scrollTop;
  if (added.length || !known) applyFilter();
  if (!atEnd && known) box.scrollTop = from;
}

function drawLine(text) {
  const { time = "", 1: words = text, _meta: meta } = readLine(text);
  const name = meta?.logLevelName ?? "INFO";
  const local = new Date(time);
  const row = make(
    "li", { "data-level": name },
    make("time", { dateTime: time, textContent: isNaN(local) ? time : timeOfDay(local) }),
    make("span", { className: "level", textContent: name.toLowerCase() }),
  );
  row.dataset.text = `${time} ${name} ${words}`.toLowerCase();
  const conn = /^refuse conn=(\d+)/.exec(words)?.[1];
  if (conn) row.append(explainButton(row, Number(conn), local.getTime()));
  row.append(make("span", { className: "said", textContent: words }));
  return row;
}

function readLine(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  for (const row of box.children) {
    const fits = !row.dataset.level || LEVELS.indexOf(row.dataset.level) <= level.value;
    row.hidden = !fits || !(row.dataset.text ?? "").includes(wanted);
  }
  drawCount();
  box.scrollTop = box.scrollHeight;
}

function drawCount() {
  const all = box.children.length;
  const seen = box.querySelectorAll(":scope > :not([hidden])").length;
  setText(count, `${seen === all ? all : `${seen} of ${all}`} lines${paused ? ", paused" : ""}`);
}

// --- refusals

function explainButton(row, conn, at) {
  const node = make("button", { type: "button", className: "plain small", textContent: "Explain", "aria-label": `Explain the refusal of connection ${conn}`, "aria-expanded": "false" });
  node.addEventListener("click", async () => {
    const open = row.querySelector(".why");
    if (open) open.hidden = !open.hidden;
    else row.append(await explain(conn, at));
    const why = row.querySelector(".why");
    why.scrollIntoView({ block: "nearest" });
    node.setAttribute("aria-expanded", String(!why.hidden));
  });
  return node;
}

/** Returns the explanation of the connection's refusal, as in `gatelet explain --last`. */
async function explain(conn, at) {
  const why = make("div", { className: "why stack", role: "status" });
  try {
    const { refusals } = await app.call("gatelet.refusals");
    const one = refusals.find((refusal) => refusal.conn === conn && Math.abs(refusal.ts - at) < SAME_MOMENT_MS);
    if (!one) {
      why.append("The gateway keeps only the latest refusals, and this one is no longer among them.");
      return why;
    }
    why.append(...refusalNodes(one));
  } catch ({ message }) {
    why.append(message);
  }
  return why;
}
