// The real `openclaw` command 2026.9.6 (protocol 4) against a gateway.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cliTable } from './cli-table.mjs';
import { openclawCli, startGateway } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
let gateway;
before(async () => { gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } }); });
after(() => gateway?.stop());

test('a wrong token is refused with a reason', async () => {
  const { code, stdout, stderr } = await openclawCli('b', { port: gateway.port, token: 'wrong' })('nodes', 'list');
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /token mismatch/i);
});

test('no secret is in `devices list --json`', async () => {
  const cli = openclawCli('b', { port: gateway.port, token: TOKEN });
  const { code, stdout } = await cli('devices', 'list', '--json');
  assert.equal(code, 0);
  const { pending, paired } = JSON.parse(stdout);
  assert.deepEqual([pending, paired], [[], []], 'it needs no device of its own');
});

cliTable('b', '2026.9.6');
