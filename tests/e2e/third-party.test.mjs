// Clients that third parties publish, as installed: openclaw-node (npm), bamboo-claw and
// openclaw-sdk (PyPI). Each is paired by the token, calls, and comes back after a restart.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, beforeEach, test } from 'node:test';
import { cleanEnv, e2eDir, here, load, openclawCli, startGateway, tempDir, until } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const { OpenClawClient } = await load('openclaw-node');
const config = (mode = 'token') => ({ gateway: { auth: { mode: 'token', token: TOKEN }, pairing: { mode } } });

let gateway;
const open = [];
before(async () => { gateway = await startGateway({ config: config() }); });
after(async () => {
  for (const client of open) await client.end();
  await gateway?.stop();
});
const restart = async (mode) => {
  await gateway.stop();
  gateway = await startGateway({ config: config(mode), stateDir: gateway.stateDir, port: gateway.port });
};
const devices = async () => JSON.parse((await gateway.cli('devices', 'list', '--json')).stdout);
const paired = async (id) => (await devices()).paired.find(({ deviceId }) => deviceId === id);
const approve = async (id) => {
  const request = (await devices()).pending.find(({ deviceId }) => deviceId === id);
  assert.ok(request, JSON.stringify(await devices()));
  assert.equal((await gateway.cli('devices', 'approve', request.requestId)).code, 0);
};

/** Starts third-party.py; each method of its client is a method of the result. */
function python(which, args, env = {}) {
  const child = spawn(join(e2eDir, 'python/bin/python'), [join(here, 'third-party.py'), which, ...args], { env: cleanEnv(env), stdio: ['pipe', 'pipe', 'pipe'] });
  const waiting = [];
  let said = '';
  child.stderr.on('data', (data) => (said += data));
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()(JSON.parse(line)));
  const exited = new Promise((done) => child.once('exit', () => {
    done();
    for (const answer of waiting) answer({ error: `the client ended\n${said}` });
  }));
  const client = {
    end() { child.kill('SIGKILL'); return exited; },
    /** Calls a method of the client; rejects with its error. */
    async ask(...call) {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const { ok, error } = await new Promise((answer) => waiting.push(answer));
      if (error) throw new Error(error);
      return ok;
    },
  };
  open.push(client);
  return client;
}

/** Returns a client of openclaw-node that stores its identity in `home`. */
function nodeClient(home, options = {}) {
  const path = join(home, 'identity.json');
  const client = new OpenClawClient({ url: gateway.url, token: TOKEN, deviceIdentityPath: path, reconnectIntervalMs: 100, ...options });
  const seen = { errors: [], pairing: [], events: [] };
  client.on('error', (error) => seen.errors.push(error.message));
  client.on('pairingRequired', (pairing) => seen.pairing.push(pairing));
  client.on('event', (event) => seen.events.push(event.event));
  const identity = () => JSON.parse(readFileSync(path, 'utf8'));
  open.push({ end: () => client.disconnect() });
  return { client, seen, identity };
}

test('openclaw-node is paired by the token, calls, and comes back after a restart', async () => {
  const home = tempDir('openclaw-node');
  const { client, seen, identity } = nodeClient(home);
  const hello = await client.connect();
  assert.equal(hello.protocol, 4);
  assert.deepEqual(hello.auth.scopes.toSorted(), ['operator.read', 'operator.write']);
  assert.equal(identity().deviceToken, hello.auth.deviceToken, 'the device token is stored');
  assert.equal((await paired(identity().deviceId)).clientId, 'gateway-client');
  assert.equal((await client.health()).ok, true);
  assert.deepEqual((await client.sessions.list()).sessions, []);
  assert.ok(Array.isArray((await client.agents.list()).agents));
  assert.deepEqual((await client.request('node.list')).payload.nodes, []);
  await assert.rejects(client.request('device.pair.list'), /missing scope: operator\.pairing/);
  const chunks = [];
  for await (const chunk of client.chat('hello')) chunks.push(chunk);
  assert.deepEqual(chunks.map(({ type }) => type), ['error', 'done'], 'a chat ends with the reason');
  assert.match(chunks[0].text, /needs an agent runtime/);
  await restart();
  await until('the client to be connected again', () => client.isConnected);
  assert.equal((await client.health()).ok, true);
  assert.ok(identity().deviceToken, 'the device token is kept');
  await client.disconnect();
  const again = nodeClient(home, { token: undefined });
  await again.client.connect();
  assert.equal((await again.client.health()).ok, true, 'the device token is enough');
  await again.client.disconnect();
  assert.deepEqual(again.seen, { errors: [], pairing: [], events: again.seen.events });
  assert.deepEqual(seen.pairing, []);
});

test('openclaw-node reports a request that waits, and connects once it is approved', async () => {
  await restart('strict');
  const { client, seen, identity } = nodeClient(tempDir('openclaw-node'));
  await assert.rejects(client.connect());
  await until('the request', () => seen.pairing[0]);
  assert.ok(seen.pairing[0].raw.startsWith('pairing required'), JSON.stringify(seen));
  await approve(identity().deviceId);
  await until('the client to be connected', () => client.isConnected, 15_000);
  assert.equal((await client.health()).ok, true);
  await client.disconnect();
  await restart();
});

test('bamboo-claw is paired by the token, calls, and comes back after a restart', async () => {
  const home = tempDir('bamboo');
  const args = [gateway.url, TOKEN, home];
  const client = python('bamboo', args);
  const hello = await client.ask('connect');
  assert.equal(hello.protocol, 3);
  assert.ok(hello.auth.scopes.includes('operator.admin'));
  const device = await client.ask('device');
  assert.equal((await paired(device)).clientId, 'openclaw-control-ui');
  const stored = () => JSON.parse(readFileSync(join(home, 'device-tokens.json'), 'utf8'))[`${device}:operator`];
  assert.equal(stored(), hello.auth.deviceToken);
  assert.deepEqual((await client.ask('history', 'agent:main:main')).messages, []);
  await assert.rejects(client.ask('chat', 'hello'), /needs an agent runtime/);
  await restart();
  // It notices the end of its connection at the next call.
  await assert.rejects(client.ask('history', 'agent:main:main'), /ConnectionClosed/);
  assert.deepEqual(await client.ask('reconnected'), [false, true]);
  assert.deepEqual((await client.ask('history', 'agent:main:main')).messages, []);
  assert.equal(stored(), hello.auth.deviceToken, 'the device token is kept');
  await client.ask('close');
  const again = python('bamboo', [gateway.url, '', home]);
  assert.equal((await again.ask('connect')).auth.role, 'operator', 'the device token is enough');
  await again.ask('close');
});

test('bamboo-claw uses the token again when its device token is revoked', async () => {
  const home = tempDir('bamboo');
  const client = python('bamboo', [gateway.url, TOKEN, home]);
  await client.ask('connect');
  const device = await client.ask('device');
  await client.ask('close');
  assert.equal((await gateway.cli('devices', 'remove', device)).code, 0);
  const again = python('bamboo', [gateway.url, TOKEN, home]);
  assert.equal((await again.ask('connect')).auth.role, 'operator');
  assert.ok(await paired(device));
  await again.ask('close');
});

test('openclaw-sdk uses the identity of the openclaw command, calls, and connects after a restart', async () => {
  const cli = openclawCli('a', { port: gateway.port, token: TOKEN });
  assert.equal((await cli('devices', 'list')).code, 0);
  assert.ok(existsSync(join(cli.home, '.openclaw/identity/device-auth.json')), 'the command has stored its device token');
  const { deviceId } = JSON.parse(readFileSync(join(cli.home, '.openclaw/identity/device.json'), 'utf8'));
  const client = python('sdk', [`${gateway.url}/gateway`], { HOME: cli.home });
  for (const state of ['running', 'restarted']) {
    await client.ask('connect');
    const health = await client.ask('health');
    assert.equal(health.healthy, true, `${state}: ${JSON.stringify(health)}`);
    assert.ok((await client.ask('devices')).paired.some((entry) => entry.deviceId === deviceId), state);
    assert.deepEqual(await client.ask('nodes'), []);
    await assert.rejects(client.ask('call', 'no.such.method', {}), /unknown method/);
    if (state === 'running') await restart();
    await client.ask('close');
  }
});
