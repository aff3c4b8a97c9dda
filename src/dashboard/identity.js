// Device key of this browser: created once and stored in IndexedDB. The private key is never sent.
// WebCrypto keeps it inaccessible to scripts; a page without crypto.subtle stores a seed instead.
import { publicKey, sha256, sign } from "./ed25519.js";

const STORE = "identity";
const KEY = "device";

// Rights belong to a gateway, not to the origin: several gateways may be below one origin, under
// different paths or one after the other.
const PLACE = `gateway at ${new URL(".", location.href).pathname}`;
const grant = (gateway) => `scopes at ${gateway}`;

/**
 * Loads the device key, or creates it.
 *
 * Returns {id, publicKey, kept, gateway, scopes, sign(text), meet(gateway), granted(gateway,
 * scopes)}, with texts in the protocol's encoding. `kept` is false if storage is not available.
 * `gateway` is the id of the gateway last seen at this address, and `scopes` are those that it
 * granted; `meet` changes both to those of another gateway.
 */
export async function loadIdentity() {
  let key;
  let kept = true;
  try {
    key = await keepFirst(await newKey());
  } catch {
    // A browser that cannot store a CryptoKey may be able to store a seed.
    key = newSeed();
    try {
      key = await keepFirst(key);
    } catch {
      kept = false;
    }
  }
  const identity = {
    id: Array.from(sha256(key.public), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    publicKey: base64url(key.public),
    kept,
    gateway: await recall(PLACE),
    scopes: undefined,
    sign: async (text) => base64url(await signature(key, new TextEncoder().encode(text))),
    async meet(gateway) {
      Object.assign(identity, { gateway, scopes: await recall(grant(gateway)) });
    },
    granted(gateway, scopes) {
      Object.assign(identity, { gateway, scopes });
      stored((store) => (store.put(gateway, PLACE), store.put(scopes, grant(gateway)))).catch(() => {});
    },
  };
  await identity.meet(identity.gateway);
  return identity;
}

function recall(slot) {
  return stored((store, done) => read(store, slot, done)).catch(() => undefined);
}

async function newKey() {
  try {
    const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    return { private: pair.privateKey, public: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)) };
  } catch {
    return newSeed();
  }
}

function newSeed() {
  const seed = crypto.getRandomValues(new Uint8Array(32));
  return { seed, public: publicKey(seed) };
}

async function signature(key, bytes) {
  return key.seed ? sign(bytes, key.seed) : new Uint8Array(await crypto.subtle.sign("Ed25519", key.private, bytes));
}

// A single transaction reads and writes, so two tabs opened at once get the same key.
function keepFirst(fresh) {
  return stored((store, done) =>
    read(store, KEY, (key) => {
      if (!key) store.put(fresh, KEY);
      done(key ?? fresh);
    }),
  );
}

function read(store, slot, then) {
  const request = store.get(slot);
  request.onsuccess = () => then(request.result);
}

/** Runs `work` in one transaction and returns the value that it passes to its callback. */
function stored(work) {
  return new Promise((resolve, reject) => {
    const open = indexedDB.open("gatelet", 1);
    open.onupgradeneeded = () => open.result.createObjectStore(STORE);
    open.onerror = () => reject(open.error);
    open.onsuccess = () => {
      const change = open.result.transaction(STORE, "readwrite");
      let result;
      work(change.objectStore(STORE), (value) => (result = value));
      change.oncomplete = () => (open.result.close(), resolve(result));
      change.onabort = () => (open.result.close(), reject(change.error));
    };
  });
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
