// The real `openclaw` command 2026.1.29 (protocol 3) against a gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, kind, newDevice, openclawCli, startGateway } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const config = (mode) => ({ gateway: { auth: { mode: 'token', token: TOKEN }, pairing: { mode } } });
const gatelet = { skip: kind !== 'gatelet' };

let gateway, cli;
before(async () => {
  gateway = await startGateway({ config: config('token') });
  cli = openclawCli('a', { port: gateway.port, token: TOKEN });
});
after(() => gateway?.stop());

async function ok(...words) {
  const result = await cli(...words);
  assert.equal(result.code, 0, `openclaw ${words.join(' ')}: ${result.code}\n${result.stdout}\n${result.stderr}\n--- gateway\n${gateway.log()}`);
  return result.stdout;
}
// The real 2026.1.29 has no strict mode, but makes a pending request of a proxied stranger.
const stranger = (device) => connectRaw({
  url: gateway.url, min: 3, client: CLIENTS.webchat, device, auth: { token: TOKEN },
  headers: kind === 'gatelet' ? {} : { Host: 'stranger.test', 'X-Forwarded-For': '10.0.0.9' },
});
const list = async () => JSON.parse(await ok('devices', 'list', '--json'));

test('devices list --json: the command itself was paired by the token', async () => {
  const { pending, paired } = await list();
  assert.deepEqual(pending, []);
  assert.equal(paired.length, 1);
  const [self] = paired;
  assert.match(self.deviceId, /^[0-9a-f]{64}$/);
  assert.equal(self.clientId, 'cli');
  assert.equal(self.clientMode, 'cli');
  assert.equal(self.role, 'operator');
  for (const scope of ['operator.admin', 'operator.approvals', 'operator.pairing']) assert.ok(self.scopes.includes(scope));
  assert.equal(self.tokens[0].role, 'operator');
  assert.equal(self.tokens[0].token, undefined, 'no secret in the list');
});

test('gateway health', async () => {
  assert.match(await ok('gateway', 'health'), /^Gateway Health\nOK \(\d+ms\)/);
});

test('gateway call health', async () => {
  const health = JSON.parse(await ok('gateway', 'call', 'health', '--json'));
  assert.equal(health.ok, true);
  assert.equal(typeof health.ts, 'number');
  assert.match(await ok('gateway', 'call', 'health'), /^Gateway call: health\n\{\n {2}"ok": true/);
});

test('health', async () => {
  await ok('health');
});

test('gateway call of an unknown method fails with its name', async () => {
  const result = await cli('gateway', 'call', 'no.such.method');
  assert.notEqual(result.code, 0);
  assert.match(result.stderr, /unknown method: no\.such\.method/);
});

test('status', async () => {
  const text = await ok('status');
  assert.match(text, /OpenClaw status/);
  assert.match(text, /local loopback\) · reachable \d+ms · auth token/);
  assert.doesNotMatch(text, /unreachable|NOT_PAIRED|pairing required/);
});

test('gateway probe', async () => {
  const text = await ok('gateway', 'probe');
  assert.match(text, /Reachable: yes/);
  assert.match(text, /Connect: ok \(\d+ms\) · RPC: ok/);
});

test('a wrong token is refused with a reason', async () => {
  const other = openclawCli('a', { port: gateway.port, token: 'wrong' });
  const result = await other('devices', 'list', '--json');
  assert.equal(result.code, 1);
  assert.match(result.stderr, /1008.*token mismatch/);
});

test('strict mode: the known command approves a stranger', async () => {
  if (kind === 'gatelet') {
    await gateway.stop();
    gateway = await startGateway({ config: config('strict'), stateDir: gateway.stateDir, port: gateway.port });
  }
  const device = newDevice();
  const first = await stranger(device);
  assert.equal(first.error?.code, 'NOT_PAIRED', JSON.stringify(first.error));
  assert.equal(first.error.message, 'pairing required');
  assert.deepEqual(first.close, { code: 1008, reason: 'pairing required' });
  const { requestId } = first.error.details;

  const { pending, paired } = await list();
  assert.deepEqual(pending.map((entry) => [entry.requestId, entry.deviceId, entry.role]), [[requestId, device.id, 'operator']]);
  assert.equal(paired.length, 1);
  const table = await ok('devices', 'list');
  assert.match(table, /Pending \(1\)/);
  assert.match(table, /Paired \(1\)/);

  const unknown = await cli('devices', 'approve', '00000000-0000-4000-8000-000000000000');
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /unknown requestId/);

  assert.equal(await ok('devices', 'approve', requestId), `Approved ${device.id}\n`);
  const second = await stranger(device);
  assert.equal(second.hello?.protocol, 3, JSON.stringify(second.error));
  assert.ok(second.hello.auth.deviceToken);
  await second.end();
  assert.equal((await list()).paired.length, 2);
});

test('strict mode: rotate and revoke', async () => {
  const device = newDevice();
  const { error } = await stranger(device);
  await ok('devices', 'approve', error.details.requestId);
  const rotated = JSON.parse(await ok('devices', 'rotate', '--device', device.id, '--role', 'operator'));
  assert.equal(rotated.deviceId, device.id);
  const revoked = JSON.parse(await ok('devices', 'revoke', '--device', device.id, '--role', 'operator'));
  assert.equal(revoked.deviceId, device.id);
  assert.equal(typeof revoked.revokedAtMs, 'number');
});

test('strict mode: reject', async () => {
  const { error } = await stranger(newDevice());
  assert.match(await ok('devices', 'reject', error.details.requestId), /^Rejected /);
  assert.deepEqual((await list()).pending, []);
});

test('strict mode: a command that is new here is let in by `gatelet devices approve`', gatelet, async () => {
  const other = openclawCli('a', { port: gateway.port, token: TOKEN });
  const refused = await other('devices', 'list', '--json');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /pairing required/);
  const listed = JSON.parse((await gateway.cli('devices', 'list', '--json')).stdout);
  const request = listed.pending.find((entry) => entry.clientId === 'cli');
  assert.ok(request, JSON.stringify(listed));
  const approved = await gateway.cli('devices', 'approve', request.requestId);
  assert.equal(approved.code, 0, approved.stderr);
  const admitted = await other('devices', 'list', '--json');
  assert.equal(admitted.code, 0, admitted.stderr);
});
