// `gatelet node run` as a node of a gateway (E2E_GATEWAY=b: of the real 2026.9.6), called by the
// real `openclaw` commands.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { bin, cleanEnv, gatelet, kind, openclawCli, startGateway, tempDir, until } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const home = tempDir('node-host');
const state = { GATELET_STATE_DIR: `${home}/state`, HOME: home };
const clis = {};
let gateway, node, id, said = '';

before(async () => {
  gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } });
  for (const which of kind === 'gatelet' ? ['a', 'b'] : ['b']) clis[which] = openclawCli(which, { port: gateway.port, token: TOKEN });
  for (const line of [['/bin/echo'], ['/bin/sh', '-c', 'exit 4', '$']]) {
    const allowed = await gatelet(['node', 'allow', '--', ...line], state);
    assert.equal(allowed.code, 0, allowed.stderr);
  }
  const args = ['node', 'run', '--host', `127.0.0.1:${gateway.port}`, '--display-name', 'shed'];
  node = spawn(bin, args, { env: cleanEnv({ ...state, GATELET_TOKEN: TOKEN }), stdio: ['ignore', 'pipe', 'pipe'] });
  process.once('exit', () => node.kill('SIGKILL'));
  for (const stream of [node.stdout, node.stderr]) stream.on('data', (data) => (said += data));
  await until('the node to connect', () => said.includes('connected to '), 60_000).catch((error) => {
    throw new Error(`${error.message}\n${said}\n--- gateway\n${gateway.log()}`);
  });
  id = JSON.parse((await gatelet(['node', 'show', '--json'], state)).stdout).nodeId;
});
after(async () => {
  node?.kill();
  await gateway?.stop();
});

async function ok(which, ...words) {
  const { code, stdout, stderr } = await clis[which](...words);
  assert.equal(code, 0, `openclaw ${words.join(' ')}: ${code}\n${stdout}\n${stderr}\n--- node\n${said}\n--- gateway\n${gateway.log()}`);
  return stdout;
}
/**
 * Returns the arguments that invoke a command of the node. 2026.9.6 does not allow system.run in
 * `nodes invoke`, so `gateway call` is used.
 */
function words(which, command, params) {
  if (which === 'a' || command !== 'system.run') return ['nodes', 'invoke', '--node', id, '--command', command, '--params', JSON.stringify(params), '--json'];
  return ['gateway', 'call', 'node.invoke', '--json', '--params', JSON.stringify({ nodeId: id, command, params, idempotencyKey: randomUUID() })];
}
const invoke = async (which, command, params) => JSON.parse(await ok(which, ...words(which, command, params))).payload;

test('what it offers waits for the owner, and `openclaw nodes approve` lets it in', async () => {
  const told = JSON.parse(await ok('b', 'nodes', 'pending', '--json'));
  const waits = (told.pending ?? told).find((one) => one.nodeId === id);
  assert.ok(waits, said);
  assert.ok(waits.commands.includes('system.run') && waits.commands.includes('system.which'), JSON.stringify(waits));
  await ok('b', 'nodes', 'approve', waits.requestId);
  const listed = JSON.parse(await ok('b', 'nodes', 'status', '--json')).nodes.find((one) => one.nodeId === id);
  assert.equal(listed.displayName, 'shed');
  assert.equal(listed.connected, true);
});

for (const which of kind === 'gatelet' ? ['a', 'b'] : ['b']) {
  test(`the openclaw command of version ${which} finds a program and runs what is allowed, without a shell`, async () => {
    assert.match((await invoke(which, 'system.which', { bins: ['sh', 'no-such-program'] })).bins.sh, /^\/.*\/sh$/);
    const ran = await invoke(which, 'system.run', { command: ['echo', 'a  b', '$HOME', '*'] });
    assert.deepEqual(ran, { exitCode: 0, timedOut: false, success: true, stdout: 'a  b $HOME *\n', stderr: '', error: null });
    const failed = await invoke(which, 'system.run', { command: ['/bin/sh', '-c', 'exit 4'] });
    assert.deepEqual([failed.exitCode, failed.success], [4, false]);
  });

  test(`and is refused what is not (${which})`, async () => {
    for (const command of [['/bin/sh', '-c', 'exit 5'], ['/bin/cat', '/etc/passwd']]) {
      const refused = await clis[which](...words(which, 'system.run', { command }));
      assert.notEqual(refused.code, 0);
      assert.match(refused.stdout + refused.stderr, /SYSTEM_RUN_DENIED|allowlist/);
    }
  });

  test(`it says how this machine is (${which})`, { skip: kind !== 'gatelet' && 'not on the list of OpenClaw for Linux' }, async () => {
    assert.equal((await invoke(which, 'device.info', {})).systemName, 'Linux');
    const status = await invoke(which, 'device.status', {});
    assert.ok(status.uptimeSeconds > 0 && status.memory.totalBytes > status.memory.usedBytes, JSON.stringify(status));
  });
}
