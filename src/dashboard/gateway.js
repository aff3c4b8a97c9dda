// Connection to the gateway: challenge, device proof, calls, events, reconnection. Never stores a
// secret, retries by itself after a final refusal, or resends a setup code by itself unless the
// refusal was retryable.

const SCOPES = ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];
const ROLE = "operator";
const ANSWER_MS = 15_000;
const WAKE_MS = 3_000;
const PENDING_EVERY_MS = 5_000;
const BACKOFF = { first: 500, factor: 1.7, most: 15_000 };
const STABLE_MS = 10_000;
const FINAL_CLOSES = [1002, 1008, 1009, 4001];

export class Gateway {
  #identity;
  #client;
  #onState;
  #onEvent;
  #socket = null;
  #secret = {};
  #calls = new Map();
  #lastId = 0;
  #lastMessageAt = 0;
  #openedAt = 0;
  #tries = 0;
  #retry = null;
  #clocks = [];
  #requestId = null;
  #stopping = null;
  #hello = null;
  #state = "";

  /**
   * Calls `onState(state, facts)` with connecting {}, connected {hello}, refused {error, retryMs}
   * and lost {code, reason, retryMs, stopping, opened}, and `onEvent(name, payload)` for every event except
   * ticks.
   */
  constructor({ identity, client, onState, onEvent }) {
    this.#identity = identity;
    this.#client = client;
    this.#onState = onState;
    this.#onEvent = onEvent;
  }

  /** Returns the id of the gateway, which is the same at each start of it. */
  static idOf(hello) {
    return (hello.server?.bootId ?? "").split(".")[0];
  }

  /**
   * Connects anew with `{token}`, `{password}` or `{bootstrapToken}`; by default with the last
   * secret.
   */
  connect(secret) {
    if (secret) this.#secret = secret;
    this.#tries = 0;
    this.#show("connecting", {});
    this.#open();
  }

  /**
   * Call when the tab or the network wakes up: retries a pending connection at once, and checks an
   * open one.
   */
  wake() {
    const now = Date.now();
    if (this.#hello) {
      this.call("health").catch(() => {});
      this.#clocks.push(setTimeout(() => this.#lastMessageAt < now && this.#silent(), WAKE_MS));
    } else if (this.#retry || (this.#socket && now - this.#openedAt > WAKE_MS)) {
      this.#tries = 0;
      this.#open();
    }
  }

  /**
   * Calls a method. Rejects with the gateway's error, or with code LOST, or NO_ANSWER after
   * `waitMs`.
   */
  call(method, params = {}, waitMs = ANSWER_MS) {
    const id = String(++this.#lastId);
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) return reject(lost("not connected"));
      const late = { code: "NO_ANSWER", message: `${method}: no answer` };
      const clock = setTimeout(() => this.#settle(id, { error: late }), waitMs);
      this.#calls.set(id, { resolve, reject, clock });
      this.#socket.send(JSON.stringify({ type: "req", id, method, params }));
    });
  }

  #open() {
    this.#drop();
    const url = new URL(".", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#openedAt = Date.now();
    socket.onmessage = (message) => this.#frame(message.data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#clocks = [setTimeout(() => this.#closed(4000, "the gateway did not answer"), ANSWER_MS)];
  }

  #drop() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#clocks.forEach(clearInterval);
    this.#clocks = [];
    this.#hello = null;
    if (this.#socket) {
      const socket = this.#socket;
      socket.onmessage = socket.onclose = null;
      // Browsers log an error if a socket is closed while it is connecting.
      if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
      else socket.close();
      this.#socket = null;
    }
    for (const id of [...this.#calls.keys()]) this.#settle(id, { error: lost("connection lost") });
  }

  #frame(text) {
    this.#lastMessageAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "res") this.#settle(frame.id, frame);
    else if (frame.event === "connect.challenge") this.#prove(frame.payload);
    else if (frame.event === "shutdown") this.#stopping = frame.payload ?? {};
    else if (frame.type === "event" && frame.event !== "tick") this.#onEvent(frame.event, frame.payload ?? {});
  }

  async #prove({ nonce, ts }) {
    const { socket, auth } = { socket: this.#socket, auth: this.#secret };
    // With the key alone, request only the approved scopes: more would create a pending request at
    // every connection.
    const scopes = hasSecret(auth) ? SCOPES : (this.#identity.scopes ?? SCOPES);
    const device = await this.#device(auth, scopes, nonce, ts);
    if (socket !== this.#socket) return;
    // A setup code can be used once. The next attempt uses the key, or the secret sent beside the
    // code.
    const { bootstrapToken, ...rest } = auth;
    if (bootstrapToken) this.#secret = rest;
    try {
      const hello = await this.call("connect", {
        minProtocol: 3,
        maxProtocol: 4,
        client: this.#client,
        role: ROLE,
        scopes,
        caps: [],
        device,
        auth,
        locale: navigator.language,
        userAgent: navigator.userAgent,
      });
      await this.#admitted(hello, auth);
    } catch (error) {
      if (error.code !== "LOST") this.#refused(error, auth);
    }
  }

  async #device(auth, scopes, nonce, signedAt) {
    const { id, mode, platform } = this.#client;
    const secret = auth.token ?? auth.bootstrapToken ?? "";
    const own = this.#identity;
    const proof = ["v3", own.id, id, mode, ROLE, scopes.join(","), signedAt, secret, nonce, lower(platform), ""];
    return { id: own.id, publicKey: own.publicKey, signature: await own.sign(proof.join("|")), signedAt, nonce };
  }

  async #admitted(hello, auth) {
    const id = Gateway.idOf(hello);
    const asked = hasSecret(auth) ? null : this.#identity.scopes;
    // The scopes that another gateway at this address had granted were requested: those of this one
    // may differ.
    if (asked && id !== this.#identity.gateway) {
      const socket = this.#socket;
      await this.#identity.meet(id);
      if (socket !== this.#socket) return;
      if (String(asked) !== String(this.#identity.scopes)) return this.#open();
    }
    this.#hello = hello;
    this.#requestId = this.#stopping = null;
    // A device token in hello means that the key is paired, so the secret is no longer needed.
    if (hello.auth?.deviceToken) {
      this.#secret = {};
      this.#identity.granted(id, hello.auth.scopes);
    }
    this.#clocks.forEach(clearInterval);
    this.#clocks = [setTimeout(() => (this.#tries = 0), STABLE_MS), setInterval(() => this.#watch(), 5_000)];
    this.#show("connected", { hello });
  }

  #refused(error, auth) {
    this.#drop();
    const requestId = error.code === "NOT_PAIRED" ? error.details?.requestId : null;
    // A new request id means that the last request was rejected or expired: the user must retry.
    const asked = requestId && this.#requestId && requestId !== this.#requestId;
    this.#requestId = requestId ?? null;
    let retryMs = null;
    if (requestId) retryMs = asked ? null : PENDING_EVERY_MS;
    else if (error.retryable || error.retryAfterMs) {
      retryMs = error.retryAfterMs ?? this.#backoff();
      if (auth.bootstrapToken) this.#secret = auth;
    }
    this.#schedule(retryMs);
    this.#show("refused", { error, retryMs });
  }

  #closed(code, reason) {
    const hello = this.#hello;
    const stopping = this.#stopping;
    const opened = this.#lastMessageAt >= this.#openedAt;
    this.#drop();
    // A suspended tab misses the handshake timeout; retry in that case.
    if (!hello && FINAL_CLOSES.includes(code) && !reason.startsWith("handshake timeout")) {
      this.#show("refused", { error: { message: reason || "closed without a reason", closed: code }, retryMs: null });
      return;
    }
    // 4001: the owner changed this device. Reconnect at once to learn the reason.
    const announced = hello ? (stopping?.restartExpectedMs ?? 0) : 0;
    const retryMs = code === 4001 ? 0 : Math.max(this.#backoff(), announced);
    this.#schedule(retryMs);
    this.#show("lost", { code, reason, retryMs, stopping, opened });
  }

  #watch() {
    const silence = 2 * (this.#hello.policy?.tickIntervalMs ?? 30_000);
    if (Date.now() - this.#lastMessageAt > silence) this.#silent();
  }

  #silent() {
    this.#closed(4000, "no message for too long");
    this.#tries = 0;
    this.#open();
  }

  #schedule(ms) {
    if (ms === null) return;
    this.#retry = setTimeout(() => {
      // Only a visible tab renews a pending request; a hidden one retries when it becomes visible.
      if (this.#state === "refused" && document.hidden) this.#schedule(ms);
      else this.#open();
    }, ms);
  }

  #backoff() {
    const { first, factor, most } = BACKOFF;
    return Math.min(first * factor ** this.#tries++, most) * (0.75 + Math.random() / 2);
  }

  #settle(id, { ok, payload, error }) {
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    clearTimeout(call.clock);
    if (ok) call.resolve(payload);
    else call.reject(error ?? { code: "UNAVAILABLE", message: "refused without a reason" });
  }

  #show(state, facts) {
    this.#state = state;
    this.#onState(state, facts);
  }
}

function hasSecret({ token, password, bootstrapToken }) {
  return Boolean(token || password || bootstrapToken);
}

function lost(message) {
  return { code: "LOST", message };
}

function lower(text) {
  return text.trim().replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
