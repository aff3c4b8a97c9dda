// The real `openclaw` command 2026.1.29 (protocol 3) against a gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cliTable } from './cli-table.mjs';
import { kind, openclawCli, startGateway } from './lib.mjs';

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

test('a wrong token is refused with a reason', async () => {
  const other = openclawCli('a', { port: gateway.port, token: 'wrong' });
  const result = await other('devices', 'list', '--json');
  assert.equal(result.code, 1);
  assert.match(result.stderr, /1008.*token mismatch/);
});

test('strict mode: a command that is new here is let in by `gatelet devices approve`', gatelet, async () => {
  await gateway.stop();
  gateway = await startGateway({ config: config('strict'), stateDir: gateway.stateDir, port: gateway.port });
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

cliTable('a', '2026.1.29');
