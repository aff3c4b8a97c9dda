// The reference client of protocol 4, @openclaw/gateway-client, against a gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, kind, newDevice, startGateway, until } from './lib.mjs';
import { ADMIN, newHost, problems, startClient, stopAll, total } from './reference.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';

let gateway;
const config = { gateway: { auth: { mode: 'token', token: TOKEN } } };
before(async () => { gateway = await startGateway({ config }); });
after(async () => {
  stopAll();
  await gateway?.stop();
});
const restart = async (signal) => {
  await gateway.stop(signal);
  gateway = await startGateway({ config, stateDir: gateway.stateDir, port: gateway.port });
};

const host = newHost();

test('pairs with the gateway token at the first try', async () => {
  const one = startClient(host, { url: gateway.url, token: TOKEN });
  const hello = await one.hello();
  assert.equal(hello.protocol, 4);
  assert.equal(one.seen.errors.length, 0);
  assert.equal(hello.auth.role, 'operator');
  assert.ok(hello.auth.scopes.includes('operator.admin'), `scopes ${hello.auth.scopes}`);
  assert.equal(host.stored.length, 1, 'one device token stored');
  assert.equal(host.stored[0].token, hello.auth.deviceToken);
  assert.ok(hello.features.methods.includes('device.pair.list'));
  assert.equal(hello.policy.tickIntervalMs, 30_000);
  assert.ok((await one.client.request('health', {})).ok);
  assert.ok(Array.isArray(await one.client.request('system-presence', {})));
  await one.stop();
});

test('comes back with its device token alone', async () => {
  const one = startClient(host, { url: gateway.url });
  const hello = await one.hello();
  assert.ok(hello.auth.scopes.includes('operator.admin'));
  await one.stop();
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`an open client with a device token survives ${signal} and a restart`, async () => {
    const one = startClient(host, { url: gateway.url });
    await one.hello();
    await restart(signal);
    await one.hello(2, 15_000);
    const close = one.seen.closes[0];
    if (signal === 'SIGTERM') {
      assert.deepEqual([close.code, close.reason], [1012, 'service restart']);
      assert.ok(one.seen.events.some((event) => event.event === 'shutdown'), 'a shutdown event came first');
    } else assert.equal(close.code, 1006);
    assert.equal(one.seen.paused.length, 0);
    assert.equal(host.cleared, 0, 'the client did not drop its device token');
    await one.stop();
  });
}

test('a pairing acknowledged just before kill -9 is there afterwards', async () => {
  const late = newHost();
  const one = startClient(late, { url: gateway.url, token: TOKEN });
  await one.hello();
  await gateway.stop('SIGKILL');
  await one.stop();
  gateway = await startGateway({ config, stateDir: gateway.stateDir, port: gateway.port });
  const two = startClient(late, { url: gateway.url });
  await two.hello();
  await two.stop();
});

test('rotates its own token, and comes back with the new one', async () => {
  const one = startClient(host, { url: gateway.url });
  await one.hello();
  const old = host.tokens.get('operator').token;
  const result = await one.client.request('device.token.rotate', { deviceId: host.device.id, role: 'operator' });
  assert.ok(result.token, 'the new token is delivered to its own device');
  assert.notEqual(result.token, old);
  await one.stop();
  host.tokens.set('operator', { token: result.token, scopes: result.scopes });
  const two = startClient(host, { url: gateway.url });
  await two.hello();
  await two.stop();
});

test('a token rotated by somebody else does not lock the device out', async () => {
  const before = host.tokens.get('operator').token;
  const admin = await connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, device: newDevice(), auth: { token: TOKEN } });
  assert.ok(admin.hello, JSON.stringify(admin.error));
  const result = await admin.request('device.token.rotate', { deviceId: host.device.id, role: 'operator' });
  assert.equal(result.deviceId, host.device.id);
  for (const turn of [1, 2]) {
    const one = startClient(host, { url: gateway.url });
    await one.hello();
    await one.stop();
    assert.ok(turn === 1 || host.tokens.get('operator').token !== before, 'it holds the new token now');
  }
  // An even older token: the key is sufficient proof, and the client gets a new token.
  host.tokens.set('operator', { token: before, scopes: ADMIN });
  const one = startClient(host, { url: gateway.url });
  await one.hello();
  assert.notEqual(host.tokens.get('operator').token, before);
  await one.stop();
  await admin.end();
});

test('a wrong gateway token from an unknown device pauses the client and says why', async () => {
  const one = startClient(newHost(), { url: gateway.url, token: 'wrong' });
  const pause = await until('a pause', () => one.seen.paused[0]);
  assert.equal(pause.detailCode, 'AUTH_TOKEN_MISMATCH');
  assert.equal(pause.code, 1008);
  assert.match(one.seen.errors[0].message, /token/i);
  await one.stop();
});

test('connects as a node and is listed', async () => {
  const node = newHost();
  const one = startClient(node, {
    url: gateway.url, token: TOKEN, role: 'node', scopes: [], mode: 'node', clientName: 'node-host', clientDisplayName: 'e2e node',
    caps: ['system'], commands: ['system.which'], minProtocol: undefined, maxProtocol: undefined,
  });
  const hello = await one.hello();
  assert.equal(hello.protocol, 4);
  assert.equal(hello.auth.role, 'node');
  const operator = startClient(newHost(), { url: gateway.url, token: TOKEN });
  await operator.hello();
  const { paired } = await operator.client.request('device.pair.list', {});
  const listed = paired.find((entry) => entry.deviceId === node.device.id);
  assert.deepEqual([listed?.role, listed?.connected], ['node', true], JSON.stringify(paired));
  const presence = await operator.client.request('system-presence', {});
  assert.ok(presence.some((entry) => entry.deviceId === node.device.id), JSON.stringify(presence));
  await operator.stop();
  await one.stop();
});

test('a client without a device gets in with the token', async () => {
  const one = startClient(newHost(), { url: gateway.url, token: TOKEN, deviceIdentity: null, clientName: 'gateway-client', mode: 'backend' });
  const hello = await one.hello();
  assert.equal(hello.auth.deviceToken, undefined, 'nothing to store');
  await one.stop();
});

test('strict mode: an unknown device waits, and connects by itself once it is approved', { skip: kind !== 'gatelet' }, async () => {
  const strict = await startGateway({ config: { gateway: { ...config.gateway, pairing: { mode: 'strict' } } } });
  try {
    const one = startClient(newHost(), { url: strict.url, token: TOKEN });
    const error = await until('a refusal', () => one.seen.errors[0]);
    assert.equal(error.details.code, 'PAIRING_REQUIRED');
    assert.match(error.details.hint, /gatelet (--state-dir \S+ )?devices approve/);
    const approved = await strict.cli('devices', 'approve', error.details.requestId);
    assert.equal(approved.code, 0, approved.stderr);
    await one.hello(1, 15_000); // back-off of the client: 1, 2, 4, ... s
    assert.equal(one.seen.paused.length, 0, 'it never gave up');
    await one.stop();
  } finally {
    await strict.stop();
  }
});

test('every frame the gateway sent fits the schemas', () => {
  assert.ok(total() > 20, `${total()} frames seen`);
  assert.deepEqual([...problems], []);
});
