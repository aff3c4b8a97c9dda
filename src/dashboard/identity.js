// This browser's device key: made once, kept in IndexedDB, never sent anywhere.
// WebCrypto keeps it where no script can read it; a page without crypto.subtle keeps a seed instead.
import { publicKey, sha256, sign } from "./ed25519.js";

const STORE = "identity";
const SLOT = "device";

/** {id, publicKey, kept, sign(text)}, as texts of the protocol; `kept` is false when storage is closed to us. */
export async function loadIdentity() {
  let key;
  let kept = true;
  try {
    key = await keepFirst(await newKey());
  } catch {
    // A browser that cannot store a CryptoKey may still store a seed.
    key = newSeed();
    try {
      key = await keepFirst(key);
    } catch {
      kept = false;
    }
  }
  return {
    id: Array.from(sha256(key.public), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    publicKey: base64url(key.public),
    kept,
    sign: async (text) => base64url(await signature(key, new TextEncoder().encode(text))),
  };
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

// One transaction reads and writes, so two tabs opened at once end up with the same key.
function keepFirst(fresh) {
  return new Promise((resolve, reject) => {
    const open = indexedDB.open("gatelet", 1);
    open.onupgradeneeded = () => open.result.createObjectStore(STORE);
    open.onerror = () => reject(open.error);
    open.onsuccess = () => {
      const change = open.result.transaction(STORE, "readwrite");
      const store = change.objectStore(STORE);
      let key = fresh;
      const read = store.get(SLOT);
      read.onsuccess = () => {
        if (read.result) key = read.result;
        else store.put(fresh, SLOT);
      };
      change.oncomplete = () => (open.result.close(), resolve(key));
      change.onabort = () => (open.result.close(), reject(change.error));
    };
  });
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
