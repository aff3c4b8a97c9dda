// Helpers of the end-to-end tests: gateways, clients, devices, a TCP proxy.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

export { sleep };
export const here = dirname(fileURLToPath(import.meta.url));
export const e2eDir = resolve(process.env.GATELET_E2E_DIR ?? join(here, '../../target/e2e'));
export const bin = process.env.GATELET_BIN ? resolve(process.env.GATELET_BIN) : join(here, '../../target/release/gatelet');
/**
 * Gateway under test: 'gatelet', or 'a' / 'b' to run a protocol test against the real OpenClaw
 * gateway.
 */
export const kind = process.env.E2E_GATEWAY ?? 'gatelet';

const loader = join(e2eDir, 'tools/load.mjs');
if (!existsSync(loader)) throw new Error('run tests/e2e/install.sh first');
/** Imports a package from the directory where install.sh put it. */
export const load = (await import(pathToFileURL(loader))).load;
const { default: WebSocket } = await load('ws');

// On a signal, exit normally so that the 'exit' handlers end the gateways and remove the
// directories.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));

// ---- directories and ports

const made = [];
process.on('exit', () => {
  if (!process.env.E2E_KEEP) for (const dir of made) rmSync(dir, { recursive: true, force: true });
});
/** Creates an empty directory, which is removed at exit unless E2E_KEEP is set. */
export function tempDir(name) {
  mkdirSync(join(e2eDir, 'run'), { recursive: true });
  const dir = mkdtempSync(join(e2eDir, 'run', `${name}-`));
  made.push(dir);
  return dir;
}

export const portFree = (port, host = '127.0.0.1') =>
  new Promise((done) => {
    const server = net.createServer();
    server.once('error', () => done(false));
    server.listen(port, host, () => server.close(() => done(true)));
  });

export const freePort = () =>
  new Promise((done) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

// ---- processes

/** Returns the environment without variables that affect a gateway or a test runner. */
export function cleanEnv(extra = {}) {
  const env = { NO_COLOR: '1' };
  for (const [key, value] of Object.entries(process.env))
    if (!/^(GATELET|OPENCLAW|CLAWDBOT|NODE_TEST|NOTIFY_|HOME$|XDG_)/.test(key)) env[key] = value;
  return { ...env, ...extra };
}

/** Runs a command until it ends; returns {code, stdout, stderr}. */
export function run(command, args, { env = cleanEnv(), timeout = 60_000, input, ...options } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'], ...options });
    let stdout = '', stderr = '';
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    child.once('error', fail);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      done({ code: code ?? signal, stdout, stderr });
    });
  });
}

/** Polls until `probe` returns a truthy value. */
export async function until(what, probe, timeout = 10_000, step = 25) {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out after ${timeout} ms: ${what}`);
    await sleep(step);
  }
}

/**
 * Starts a gateway with its own state directory and waits until it is ready. `netns`: network
 * namespace to run it in; `host`: address by which this process reaches it.
 */
export async function startGateway({ config = {}, args = ['run'], env = {}, stateDir = tempDir('state'), port, host = '127.0.0.1', netns, timeout } = {}) {
  port ??= await freePort();
  // The tests may run in a container, where the default bind is every interface.
  const loopback = config.gateway?.bind ? {} : { GATELET_BIND: 'loopback' };
  const logFile = join(stateDir, `log-${Date.now()}.txt`);
  const config_file = join(stateDir, kind === 'gatelet' ? 'gatelet.json' : 'openclaw.json');
  let command, list, more;
  if (kind === 'gatelet') {
    writeFileSync(config_file, JSON.stringify(config));
    [command, list] = [bin, args];
    more = { GATELET_STATE_DIR: stateDir, OPENCLAW_GATEWAY_PORT: String(port), HOME: stateDir, ...loopback };
  } else {
    const gateway = { mode: 'local', port, bind: 'loopback', ...config.gateway };
    delete gateway.pairing;
    writeFileSync(config_file, JSON.stringify({ gateway, discovery: { mdns: { mode: 'off' } }, update: { checkOnStart: false } }));
    [command, list] = [process.execPath, [openclawScript(kind), 'gateway', 'run']];
    more = openclawEnv(stateDir, config_file);
  }
  if (netns) [command, list] = ['ip', ['netns', 'exec', netns, command, ...list]];
  const fd = openSync(logFile, 'a');
  const started = performance.now();
  const child = spawn(command, list, { env: cleanEnv({ ...more, ...env }), stdio: ['ignore', fd, fd], cwd: stateDir });
  closeSync(fd);
  let ended;
  const exited = new Promise((done) => {
    child.once('error', (error) => done((ended = { error })));
    child.once('exit', (code, signal) => done((ended = { code, signal })));
  });
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  exited.then(() => process.off('exit', onExit));

  const gateway = {
    port, stateDir, pid: child.pid, exited,
    http: `http://${host}:${port}`,
    url: `ws://${host}:${port}`,
    log: () => readFileSync(logFile, 'utf8'),
    /** Waits for a line in the log. */
    logged: (pattern, wait = 3000) =>
      until(`log line ${pattern}`, () => gateway.log().split('\n').find((line) => pattern.test(line)), wait)
        .catch((error) => { throw new Error(`${error.message}\n--- log\n${gateway.log()}`); }),
    async stop(signal = 'SIGTERM') {
      if (!ended) child.kill(signal);
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(late);
      return ended;
    },
    /** Runs a gatelet command on the same state directory and in the same network namespace. */
    cli: (...words) => gatelet(words, { GATELET_STATE_DIR: stateDir, OPENCLAW_GATEWAY_PORT: String(port), HOME: stateDir, ...loopback, ...env }, netns),
  };
  try {
    await until('the gateway to be ready', async () => {
      if (ended) throw new Error(`the gateway ended: ${JSON.stringify(ended)}`);
      if (kind === 'a') return /listening on ws/.test(gateway.log());
      return fetch(`${gateway.http}/readyz`).then((reply) => reply.status === 200, () => false);
    }, timeout ?? (kind === 'gatelet' ? 5_000 : 90_000), 5);
  } catch (error) {
    await gateway.stop('SIGKILL');
    throw new Error(`${error.message}\n--- log\n${gateway.log()}`);
  }
  gateway.readyMs = performance.now() - started;
  return gateway;
}

/** Runs `gatelet <words>` until it ends. */
export const gatelet = (words, env = {}, netns) => {
  const [command, list] = netns ? ['ip', ['netns', 'exec', netns, bin, ...words]] : [bin, words];
  return run(command, list, { env: cleanEnv(env), timeout: 20_000 });
};

// ---- the real openclaw program

export const openclawScript = (which) => {
  const root = join(e2eDir, which, 'node_modules/openclaw');
  const { bin: entry } = JSON.parse(readFileSync(join(root, 'package.json')));
  return join(root, typeof entry === 'string' ? entry : entry.openclaw);
};

export const openclawEnv = (home, config) => ({
  HOME: home, OPENCLAW_STATE_DIR: join(home, '.openclaw'), OPENCLAW_CONFIG_PATH: config,
  OPENCLAW_NO_RESPAWN: '1', OPENCLAW_DISABLE_BONJOUR: '1', OPENCLAW_SKIP_CHANNELS: '1',
});

/**
 * Returns a function that runs a user's `openclaw` command with its own home: `await cli('devices',
 * 'list')`.
 */
export function openclawCli(which, { port, token, home = tempDir(`cli-${which}`) }) {
  const file = join(home, 'openclaw.json');
  writeFileSync(file, JSON.stringify({
    gateway: { mode: 'local', port, bind: 'loopback', auth: { mode: 'token', token } },
    discovery: { mdns: { mode: 'off' } }, update: { checkOnStart: false },
  }));
  const cli = (...words) => run(process.execPath, [openclawScript(which), ...words], { env: cleanEnv(openclawEnv(home, file)), timeout: 180_000 });
  return Object.assign(cli, { home });
}

/**
 * Starts a real `openclaw node run` with its own home, which runs only commands on its allowlist
 * and never asks. `allow`: initial allowlist of 2026.1.29; 2026.9.6 has none until it receives one
 * over the wire.
 */
export async function openclawNode(which, { port, token, name = `node-${which}`, allow = [], home = tempDir(`node-${which}`) }) {
  const file = join(home, 'openclaw.json'), state = join(home, '.openclaw');
  if (!existsSync(file)) {
    mkdirSync(state, { mode: 0o700 });
    writeFileSync(file, JSON.stringify({
      gateway: { mode: 'local', port, bind: 'loopback' }, tools: { exec: { security: 'allowlist', ask: 'off' } },
      browser: { enabled: false }, discovery: { mdns: { mode: 'off' } }, update: { checkOnStart: false },
    }));
    const main = { security: 'allowlist', ask: 'off', allowlist: allow.map((pattern) => ({ pattern })) };
    if (which === 'a') writeFileSync(join(state, 'exec-approvals.json'), JSON.stringify({ version: 1, agents: { main } }), { mode: 0o600 });
  }
  const logFile = join(home, 'node.log'), fd = openSync(logFile, 'a');
  const words = [openclawScript(which), 'node', 'run', '--host', '127.0.0.1', '--port', String(port), '--display-name', name];
  const child = spawn(process.execPath, words, { env: cleanEnv({ ...openclawEnv(home, file), OPENCLAW_GATEWAY_TOKEN: token }), stdio: ['ignore', fd, fd], cwd: home });
  closeSync(fd);
  const exited = new Promise((done) => child.once('exit', (code, signal) => done({ code, signal })));
  const onExit = () => child.kill('SIGKILL');
  process.once('exit', onExit);
  exited.then(() => process.off('exit', onExit));
  return {
    which, name, home, exited,
    log: () => readFileSync(logFile, 'utf8'),
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(late);
    },
  };
}

// ---- devices

/** Creates an Ed25519 device identity: {id, publicKey, publicKeyPem, privateKeyPem}. */
export function newDevice() {
  const { privateKey } = generateKeyPairSync('ed25519');
  const privateKeyPem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const publicKeyPem = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' });
  const publicKey = rawPublicKey(publicKeyPem);
  const id = createHash('sha256').update(Buffer.from(publicKey, 'base64url')).digest('hex');
  return { id, publicKey, publicKeyPem, privateKeyPem };
}
export const rawPublicKey = (pem) => createPublicKey(pem).export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64url');
export const signText = (privateKeyPem, text) => sign(null, Buffer.from(text), privateKeyPem).toString('base64url');

const lower = (text) => (text ?? '').trim().replace(/[A-Z]/g, (letter) => letter.toLowerCase());
/** Returns the text that a device signs; version 'v1', 'v2' or 'v3'. */
export function devicePayload(version, { id, client, role, scopes, signedAt, token, nonce }) {
  const parts = [version, id, client.id, client.mode, role, (scopes ?? []).join(','), signedAt, token ?? ''];
  if (version !== 'v1') parts.push(nonce);
  if (version === 'v3') parts.push(lower(client.platform), lower(client.deviceFamily));
  return parts.join('|');
}

// ---- a plain client

export const CLIENTS = {
  webchat: { id: 'openclaw-control-ui', mode: 'webchat', version: 'e2e', platform: 'Linux aarch64' },
  cli: { id: 'cli', mode: 'cli', version: 'e2e', platform: 'linux' },
  backend: { id: 'gateway-client', mode: 'backend', version: 'e2e', platform: 'linux' },
  node: { id: 'node-host', mode: 'node', version: 'e2e', platform: 'linux', displayName: 'e2e node' },
};

/**
 * Opens a WebSocket, answers the challenge and sends `connect`. Resolves to {hello} or {error,
 * close} or {close} or {http, body} or {failure}, and always {challenge, frames, events, ws,
 * request(method, params), event(name), end()}.
 */
export function connectRaw({
  url, origin, headers = {}, min = 4, max = min, auth, device, role = 'operator', client = CLIENTS.webchat,
  scopes = role === 'operator' ? ['operator.admin', 'operator.read', 'operator.write', 'operator.approvals', 'operator.pairing'] : [],
  signature = max >= 4 ? 'v3' : 'v2', signedAt, extra = {}, timeout = 10_000,
}) {
  return new Promise((done) => {
    const ws = new WebSocket(url, { headers: { ...headers, ...(origin ? { Origin: origin } : {}) } });
    const waiting = new Map(), frames = [], events = [];
    const connection = {
      ws, frames, events,
      request(method, params, wait = 10_000) {
        const id = randomUUID();
        return new Promise((good, bad) => {
          const timer = setTimeout(() => bad(new Error(`no answer to ${method}`)), wait);
          waiting.set(id, (frame) => {
            clearTimeout(timer);
            waiting.delete(id);
            if (frame.ok) good(frame.payload);
            else bad(Object.assign(new Error(`${method}: ${frame.error?.code} ${frame.error?.message}`), frame.error));
          });
          ws.send(JSON.stringify({ type: 'req', id, method, params }));
        });
      },
      /** Returns the first event of that name, waiting for it if necessary. */
      event: (name, wait = 5000) => until(`event ${name}`, () => events.find((event) => event.event === name), wait),
      closed: new Promise((end) => ws.once('close', (code, reason) => end({ code, reason: String(reason) }))),
      async end() {
        if (ws.readyState < WebSocket.CLOSING) ws.close(1000);
        const late = setTimeout(() => ws.terminate(), 1000);
        await connection.closed;
        clearTimeout(late);
      },
    };
    const timer = setTimeout(() => {
      ws.terminate();
      done(Object.assign(connection, { failure: `no hello within ${timeout} ms` }));
    }, timeout);
    const finish = (result) => {
      clearTimeout(timer);
      done(Object.assign(connection, result));
    };
    ws.on('unexpected-response', (request, response) => {
      let body = '';
      response.on('data', (data) => (body += data));
      response.on('end', () => { finish({ http: response.statusCode, body }); request.destroy(); });
    });
    ws.on('error', (error) => finish({ failure: error.message }));
    let refusal;
    connection.closed.then((close) => finish({ error: refusal, close }));
    const connectId = randomUUID();
    ws.on('message', (data) => {
      const frame = JSON.parse(data);
      frames.push(frame);
      if (frame.type === 'event' && frame.event === 'connect.challenge') {
        connection.challenge = frame.payload;
        const { nonce } = frame.payload;
        const at = signedAt ?? (max >= 4 ? frame.payload.ts : Date.now());
        const params = { minProtocol: min, maxProtocol: max, client, caps: [], role, scopes, auth, locale: 'en', userAgent: 'e2e', ...extra };
        if (device) {
          const token = auth?.token ?? auth?.deviceToken ?? auth?.bootstrapToken;
          const text = devicePayload(signature, { id: device.id, client, role, scopes, signedAt: at, token, nonce });
          params.device = { id: device.id, publicKey: device.publicKey, signature: signText(device.privateKeyPem, text), signedAt: at, nonce };
        }
        ws.send(JSON.stringify({ type: 'req', id: connectId, method: 'connect', params }));
      } else if (frame.type === 'event') {
        events.push(frame);
      } else if (frame.id === connectId) {
        if (frame.ok) finish({ hello: frame.payload });
        else refusal = frame.error; // the close frame follows
      } else waiting.get(frame.id)?.(frame);
    });
  });
}

// ---- a TCP proxy in user space, like docker-proxy

/**
 * Runs the test file again on the host side of a published port, which nat.sh creates; asserts
 * success.
 */
export function runUnderNat(file) {
  const { NODE_TEST_CONTEXT, ...env } = process.env;
  const { status } = spawnSync('sh', [join(here, 'nat.sh'), process.execPath, '--test', fileURLToPath(file)], { stdio: 'inherit', env });
  assert.equal(status, 0);
}

/**
 * Returns the ports by which the host side reaches the gateway; the test must open the proxy's
 * port.
 */
export function natWays() {
  const kernel = [{ name: 'kernel DNAT, same port', port: 18789 }, { name: 'kernel DNAT, another port', port: 8080 }];
  return [...(process.env.E2E_NAT === 'kernel' ? kernel : []), { name: 'user-space proxy', port: 8081 }];
}

export function tcpProxy({ listenHost = '127.0.0.1', listenPort = 0, targetHost = '127.0.0.1', targetPort }) {
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(targetPort, targetHost);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.once('close', () => { sockets.delete(socket); near.destroy(); far.destroy(); });
    }
    near.pipe(far);
    far.pipe(near);
  });
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(listenPort, listenHost, () => done({
      port: server.address().port,
      close: () => new Promise((end) => { for (const socket of sockets) socket.destroy(); server.close(end); }),
    }));
  });
}

// ---- schemas of @openclaw/gateway-protocol

/**
 * Returns a function that validates a value against a definition of protocol.schema.json (given by
 * name, or as a schema made from `definitions`) and returns a list of problems, empty if valid.
 */
export async function schemaCheck(own = () => ({})) {
  const { Compile } = await load('typebox/compile');
  const { definitions } = JSON.parse(readFileSync(join(e2eDir, 'tools/node_modules/@openclaw/gateway-protocol/protocol.schema.json')));
  Object.assign(definitions, own(definitions));
  const compiled = new Map();
  return (name, value) => {
    if (!definitions[name]) throw new Error(`no definition ${name}`);
    if (!compiled.has(name)) compiled.set(name, Compile(definitions[name]));
    const validator = compiled.get(name);
    if (validator.Check(value)) return [];
    return validator.Errors(value).map((e) => {
      const what = e.params?.additionalProperties ?? e.params?.requiredProperties;
      return `${name}${e.instancePath} ${e.message}${what ? `: ${what}` : ''}`;
    });
  };
}
