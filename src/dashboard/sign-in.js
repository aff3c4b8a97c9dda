// Sign-in page: the reason of the refusal, properties of the connection as seen by the gateway, a
// hint, and the sign-in form. Never keeps the input after it was sent.
import { card, facts, hintNodes, make, setText, spaced } from "./dom.js";

const WORDS = {
  AUTH_TOKEN_MISSING: "This browser is not paired with the gateway, and it sent neither a token nor a setup code.",
  AUTH_TOKEN_MISMATCH: "The token is wrong.",
  AUTH_PASSWORD_MISSING: "This browser is not paired with the gateway. Enter the gateway's password.",
  AUTH_PASSWORD_MISMATCH: "The password is wrong.",
  AUTH_RATE_LIMITED: "Too many failed attempts.",
  AUTH_DEVICE_TOKEN_MISMATCH: "This browser is not paired with the gateway any more.",
  AUTH_BOOTSTRAP_TOKEN_INVALID: "The setup code is wrong, already used, or expired. If you entered a token or a password, enter it again.",
  AUTH_SCOPE_MISMATCH: "The setup code is for a node, not for a browser.",
  CONTROL_UI_ORIGIN_NOT_ALLOWED: "The gateway does not accept the address of this page.",
  TABLE_FULL: "The gateway's table of paired devices is full.",
  TABLE_UNAVAILABLE: "The gateway could not save the pairing.",
  TOO_MANY_ATTEMPTS: "Other clients make many failed attempts, so this one was not checked.",
  TOO_MANY_PENDING_REQUESTS: "Too many devices wait for approval, so this one was not added.",
  TOO_MANY_CONNECTIONS: "The gateway has reached its limit of connections.",
  TOO_MANY_CONNECTIONS_OF_DEVICE: "This browser has all connections it may have: close some of its tabs.",
};
const RULES = {
  1: "frame", 2: "protocol", 3: "role", 4: "origin", 5: "device proof", 6: "credential", 7.1: "known device", 7.2: "known device, stale token",
  7.3: "new device, shared secret", 7.4: "setup code", 7.5: "authorized key", 7.6: "approved without a person", 7.7: "revoked device",
  7.8: "no device", 7.9: "vouched identity, or auth.mode none", 8: "capacity",
};
const VIA = { local: "on the gateway's machine", direct: "without a proxy", proxy: "through a trusted proxy", "untrusted-proxy": "through a proxy that is not trusted" };
const HOST = { absent: "none", loopback: "this machine", ours: "known", foreign: "not known to the gateway" };

let app, hint, seen, advice, label, secret, signIn;
let kind = "token";
let codeFailed = false;

/** Builds the page into `root`. `enter(secret)` is called with the parsed input. */
export function mountSignIn(root, shared, enter) {
  app = shared;
  hint = card("What to do");
  seen = make("dl", { className: "facts", id: "verdict" });
  advice = make("p", { className: "quiet" });
  hint.id = "hint";
  label = make("label", { htmlFor: "secret" });
  secret = make("input", { id: "secret", autocomplete: "off", autocapitalize: "none", spellcheck: false, "aria-describedby": "secret-help clear" });
  secret.addEventListener("input", () => secret.classList.toggle("veiled", !readCode(secret.value) && secret.value.length > 12));
  const help = make(
    "p", { className: "quiet", id: "secret-help" }, "A setup code has 8 characters. ", make("code", { textContent: "gatelet pair" }),
    " creates one, and so does Connect a device in a paired browser. Once paired, this browser signs in with its own key and needs neither.",
  );
  const clear = make("p", {
    className: "notice", id: "clear", hidden: window.isSecureContext,
    textContent: "This page was loaded over plain HTTP: others on the network can read a token that you enter here. Use a setup code instead: it works once, for ten minutes.",
  });
  const form = make("form", { id: "sign-in" }, label, make("div", { className: "line" }, secret, make("button", { textContent: "Connect" })), clear, help);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = readSecret(secret.value);
    secret.value = "";
    enter(typed);
  });
  signIn = card("Sign in", form);
  root.append(hint, signIn, card("What the gateway saw", seen, advice));
}

/**
 * Shows a refusal and returns {title, words} for the page's state. `error` comes from the gateway,
 * or describes a closed connection.
 */
export function showRefusal({ error, retryMs }) {
  const details = error.details ?? {};
  const code = details.code ?? error.code;
  const pending = error.code === "NOT_PAIRED" && details.requestId;
  const asked = /^AUTH_(PASSWORD|TOKEN)_/.exec(code);
  if (asked) kind = asked[1].toLowerCase();
  codeFailed = code === "AUTH_BOOTSTRAP_TOKEN_INVALID";
  setText(label, kind === "password" ? "Gateway password or setup code" : "Setup code or gateway token");
  hint.replaceChildren(hint.firstChild, ...hintNodes(details.hint ?? ""));
  hint.hidden = !details.hint;
  // No secret helps in these cases.
  const revoked = details.reason === "device-revoked";
  signIn.hidden = revoked || code === "CONTROL_UI_ORIGIN_NOT_ALLOWED";
  const rule = details.rule && [details.rule, RULES[details.rule]].filter(Boolean).join(", ");
  const answer = [
    ["Rule", rule],
    ["Code", code],
    ["Answer", error.message],
    ["Closed with", error.closed],
    ["Request", details.requestId],
    ["Origin", location.origin],
    ["Browser's key", spaced(app.identity.id)],
  ];
  facts(seen, answer);
  setText(advice, "");
  askWhoami(answer, /^(AUTH|CONTROL)_/.test(code));
  if (revoked) return { title: "Refused", words: "The owner revoked this browser." };
  if (!pending) return { title: "Refused", words: WORDS[code] ?? sentence(error.message) };
  const waits = "This browser must be approved: on the gateway, or under Devices in a connected browser. This page then connects by itself.";
  const again = "The last request was rejected, or it expired. A new request is pending: try again when it is approved.";
  return { title: "Waiting for approval", words: retryMs === null ? again : waits };
}

/**
 * Requests what the gateway sees of this connection. The path is public; the page works without the
 * answer.
 */
async function askWhoami(answer, advised) {
  try {
    const reply = await fetch("whoami", { cache: "no-store" });
    const { client, peer, via, host, hostIs, advice: words } = await reply.json();
    const [rule, code, said, closed, request, ...rest] = answer;
    const address = `${client}, ${VIA[via] ?? via}`;
    facts(seen, [rule, code, said, closed, request, ["Address", address], ["Proxy", peer !== client && peer], ["Host", `${host || "none"} (${HOST[hostIs] ?? hostIs})`], ...rest]);
    setText(advice, advised ? sentence(words ?? "") : "");
  } catch {
    // The gateway stopped, or a proxy does not forward this path.
  }
}

function sentence(text) {
  return text && `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

function readCode(text) {
  const code = text.replace(/[\s-]/g, "");
  // A password in lower case may look like a code.
  const found = kind === "password" ? code : code.toUpperCase();
  return /^[2-9A-HJ-NP-Z]{8}$/.test(found) ? found : null;
}

/** Decodes percent-encoded bytes; a stray `%` and `+` stay as they are. */
function decode(text) {
  return text.replace(/(?:%[\da-f]{2})+/gi, (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

/** Returns the setup code or token in the fragment or the query of a URL; null without one. */
export function readLink(text) {
  const at = text.indexOf("#");
  const parts = at < 0 ? [text] : [text.slice(at), text.slice(0, at)];
  for (const [name, kind] of [["code", "bootstrapToken"], ["token", "token"]]) {
    const found = parts.map((part) => new RegExp(`[#?&]${name}=([^&\\s]+)`).exec(part)).find(Boolean);
    if (found) return { [kind]: decode(found[1]) };
  }
  return null;
}

/**
 * Parses the input: a token or password, a setup code, a URL with either, or an `oc-pair://` link.
 */
function readSecret(typed) {
  const text = typed.trim();
  const link = readLink(text);
  if (link) return link;
  const code = readCode(text);
  // If the last code was rejected, also try the text as a token or password.
  if (code) return { bootstrapToken: code, ...(codeFailed && { [kind]: text }) };
  try {
    const sealed = /^oc-pair:\/\/([\w-]+)/.exec(text)[1].replaceAll("-", "+").replaceAll("_", "/");
    return { bootstrapToken: JSON.parse(atob(sealed)).bootstrapToken };
  } catch {
    return text ? { [kind]: text } : null;
  }
}
