// The door: why this browser is not in, what the gateway saw of it, what to do, and the form that lets it in.
import { facts, hintNodes, make } from "./dom.js";

let hint, verdict, why, form, secret;

/** Builds the door into `root`; `enter(secret)` is told what was typed. */
export function mountDoor(root, enter) {
  hint = make("div", { id: "hint" });
  verdict = make("dl", { className: "facts", id: "verdict" });
  why = make("div", { id: "why" }, hint, verdict);
  secret = make("input", { id: "secret", autocomplete: "off", autocapitalize: "none", spellcheck: false });
  secret.setAttribute("aria-describedby", "secret-help clear");
  secret.addEventListener("input", () => secret.classList.toggle("veiled", secret.value.length > 12));
  const help = make("p", {
    className: "quiet", id: "secret-help",
    textContent: "A setup code has 8 characters; `gatelet pair` prints one. Once this browser is paired, its own key signs it in and neither is needed again.",
  });
  const clear = make("p", {
    className: "notice", id: "clear", hidden: window.isSecureContext,
    textContent: "This page came over plain HTTP: a token typed here travels in the clear. A setup code is the better way: it works once, for ten minutes.",
  });
  form = make(
    "form", { id: "sign-in" },
    make("label", { htmlFor: "secret", textContent: "Gateway token or setup code" }),
    make("div", { className: "line" }, secret, make("button", { textContent: "Connect" })),
    help, clear,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    enter(readSecret(secret.value));
    secret.value = "";
  });
  root.append(why, form);
}

/** Says why: `error` is the gateway's, or made of its close. */
export function showRefusal(error) {
  const details = error.details ?? {};
  const pending = error.code === "NOT_PAIRED" && details.requestId;
  facts(verdict, [
    ["Answer", pending ? error.message : null],
    ["Code", details.code ?? error.code],
    ["Rule", details.rule],
    ["Request", details.requestId],
    ["Closed with", error.closed],
  ]);
  hint.replaceChildren(...hintNodes(details.hint ?? ""));
  if (!pending) return { title: "Refused", words: error.message };
  return { title: "Waiting for approval", words: "Once somebody approves this browser, this page goes on by itself." };
}

/** A token, a setup code as read aloud, the printed link, or the `oc-pair://` link. */
function readSecret(typed) {
  const text = typed.trim();
  const link = /[#?&](token=[^&\s]+)/.exec(text);
  if (link) return { token: new URLSearchParams(link[1]).get("token") };
  const code = text.replace(/[\s-]/g, "").toUpperCase();
  if (/^[A-Z0-9]{8}$/.test(code)) return { bootstrapToken: code };
  try {
    const sealed = /^oc-pair:\/\/([\w-]+)/.exec(text)[1].replaceAll("-", "+").replaceAll("_", "/");
    return { bootstrapToken: JSON.parse(atob(sealed)).bootstrapToken };
  } catch {
    return text ? { token: text } : null;
  }
}
