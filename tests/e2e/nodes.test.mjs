// Real `openclaw node run` of both versions against a gateway, called by the `openclaw` commands of
// the other version.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, kind, newDevice, openclawCli, openclawNode, startGateway, until } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const gatelet = { skip: kind !== 'gatelet' };
const UNAME = ['/usr/bin/uname'];
const other = { a: 'b', b: 'a' };

let gateway, owner;
const nodes = {}, cli = {}, ids = {};
before(async () => {
  if (kind !== 'gatelet') return;
  gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } });
  owner = await connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, device: newDevice(), auth: { token: TOKEN } });
  for (const which of ['a', 'b']) {
    nodes[which] = await openclawNode(which, { port: gateway.port, token: TOKEN, allow: UNAME });
    cli[which] = openclawCli(which, { port: gateway.port, token: TOKEN });
  }
});
after(async () => {
  for (const node of Object.values(nodes)) await node.stop();
  await owner?.end();
  await gateway?.stop();
});

const explain = ({ code, stdout, stderr }) =>
  `${code}\n${stdout}\n${stderr}\n--- gateway\n${gateway.log()}\n--- nodes\n${Object.values(nodes).map((node) => node.log()).join('\n--\n')}`;
async function ok(which, ...words) {
  const result = await cli[which](...words);
  assert.equal(result.code, 0, `openclaw ${which} ${words.join(' ')}: ${explain(result)}`);
  return result.stdout;
}
async function refused(which, wanted, ...words) {
  const result = await cli[which](...words);
  assert.notEqual(result.code, 0, `openclaw ${which} ${words.join(' ')}: ${explain(result)}`);
  assert.match(result.stdout + result.stderr, wanted);
}
/**
 * Runs both nodes in parallel, each with the command of the other version: `each(node, command)`.
 */
const each = (run) => Promise.all(['a', 'b'].map((which) => run(which, other[which])));
const listed = async (which) => (await owner.request('node.list', {})).nodes.find((entry) => entry.displayName === `node-${which}`);
const state = (which, wanted, wait = 60_000) => until(`node ${which} to be ${wanted}`, async () => {
  const entry = await listed(which);
  return entry?.connected && entry.approvalState === wanted && entry;
}, wait, 200).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify(await listed(which))}\n${nodes[which].log()}\n${gateway.log()}`); });
/** Returns the arguments of an invoke by `gateway call`, which both versions send unchanged. */
const call = (which, command, params) =>
  ['gateway', 'call', 'node.invoke', '--params', JSON.stringify({ nodeId: ids[which], command, params, idempotencyKey: `${which}-${Math.random()}` })];

test('both connect, and what they offer waits for the owner', gatelet, async () => {
  await each(async (which) => {
    const entry = await state(which, 'pending-approval', 120_000);
    ids[which] = entry.nodeId;
    assert.match(entry.nodeId, /^[0-9a-f]{64}$/);
    assert.deepEqual([entry.platform, entry.clientId, entry.paired], ['linux', 'node-host', true]);
    assert.equal(entry.version, { a: '2026.1.29', b: '2026.9.6' }[which]);
    assert.deepEqual(entry.commands, []);
    for (const command of ['system.run', 'system.which', 'system.execApprovals.get']) assert.ok(entry.pendingDeclaredCommands.includes(command), JSON.stringify(entry));
  });
  await assert.rejects(owner.request('node.invoke', { nodeId: ids.a, command: 'system.which', params: { bins: ['uname'] }, idempotencyKey: 'early' }), /approv/);
});

test('`gatelet nodes approve` lets the one do what it offers', gatelet, async () => {
  const { pendingRequestId } = await listed('b');
  const shown = await gateway.cli('nodes', 'pending', '--json');
  assert.equal(shown.code, 0, shown.stderr);
  assert.ok(shown.stdout.includes(pendingRequestId), shown.stdout);
  const result = await gateway.cli('nodes', 'approve', pendingRequestId);
  assert.equal(result.code, 0, result.stderr);
  await state('b', 'approved');
  const { payload } = await owner.request('node.invoke', { nodeId: ids.b, command: 'system.which', params: { bins: ['uname'] }, idempotencyKey: 'which' });
  assert.equal(payload.bins.uname, '/usr/bin/uname');
});

test('removed, it comes back by itself and waits again', gatelet, async () => {
  await owner.request('node.pair.remove', { nodeId: ids.b });
  await state('b', 'pending-approval', 90_000);
});

test('the `openclaw` command of the other version approves', gatelet, () =>
  each(async (which, command) => {
    const { pendingRequestId } = await listed(which);
    assert.ok((await ok(command, 'nodes', 'pending', '--json')).includes(pendingRequestId));
    const approved = JSON.parse(await ok(command, 'nodes', 'approve', pendingRequestId));
    assert.deepEqual([approved.requestId, approved.node.nodeId], [pendingRequestId, ids[which]]);
    await state(which, 'approved');
  }));

test('the other version asks it where a program is', gatelet, () =>
  each(async (which, command) => {
    const answer = JSON.parse(await ok(command, 'nodes', 'invoke', '--node', `node-${which}`, '--command', 'system.which', '--params', '{"bins":["uname","nosuch"]}'));
    assert.deepEqual(answer.payload, { bins: { uname: '/usr/bin/uname' } });
    assert.equal(answer.nodeId, ids[which]);
  }));

test('the other version reads and writes what it may run', gatelet, () =>
  each(async (which, command) => {
    assert.match(await ok(command, 'approvals', 'get', '--node', `node-${which}`), /Allowlist/);
    await ok(command, 'approvals', 'allowlist', 'add', '--node', `node-${which}`, '/usr/bin/uname');
    const { file } = await owner.request('exec.approvals.node.get', { nodeId: ids[which] });
    assert.ok(JSON.stringify(file.agents).includes('/usr/bin/uname'), JSON.stringify(file));
  }));

test('an allowed program runs, asked by the other version', gatelet, () =>
  each(async (which, command) => {
    const text = await ok(command, ...call(which, 'system.run', { command: ['/usr/bin/uname', '-s'], agentId: 'main' }));
    const { payload } = JSON.parse(text.slice(text.indexOf('{')));
    assert.deepEqual([payload.stdout, payload.exitCode, payload.success], ['Linux\n', 0, true], JSON.stringify(payload));
  }));

test('`nodes invoke` of 2026.1.29 runs it on a node of 2026.9.6; that of 2026.9.6 says that it will not', gatelet, async () => {
  const words = (which) => ['nodes', 'invoke', '--node', `node-${which}`, '--command', 'system.run', '--params', '{"command":["/usr/bin/uname"],"agentId":"main"}'];
  await Promise.all([
    ok('a', ...words('b')).then((text) => assert.equal(JSON.parse(text).payload.stdout, 'Linux\n')),
    refused('b', /reserved for shell execution/, ...words('a')),
  ]);
});

test('a program that is not allowed is refused with words', gatelet, () =>
  each((which, command) => refused(command, /SYSTEM_RUN_DENIED: allowlist miss/, ...call(which, 'system.run', { command: ['/usr/bin/id'], agentId: 'main' }))));

test('a command that the node has not is refused with words', gatelet, () =>
  each((which, command) => refused(command, /node command not allowed/, 'nodes', 'invoke', '--node', `node-${which}`, '--command', 'camera.snap')));

test('`nodes run` of 2026.1.29 waits for an operator of protocol 4 who decides', gatelet, async () => {
  const asked = [];
  owner.ws.on('message', (data) => {
    const { event, payload } = JSON.parse(data);
    if (event !== 'exec.approval.requested') return;
    asked.push(payload.request.command);
    owner.request('exec.approval.resolve', { id: payload.id, decision: payload.request.command.endsWith('id') ? 'deny' : 'allow-once' });
  });
  const [run] = await Promise.all([
    ok('a', 'nodes', 'run', '--node', 'node-a', '/usr/bin/uname'),
    refused('a', /exec denied: user denied/, 'nodes', 'run', '--node', 'node-a', '/usr/bin/id'),
  ]);
  assert.match(run, /^Linux$/m);
  assert.deepEqual(asked.sort(), ['/usr/bin/id', '/usr/bin/uname']);
});

test('once approved, a node of 2026.9.6 has nothing to repeat', gatelet, async () => {
  const complaints = () => nodes.b.log().split('\n').filter((line) => /publish failed/.test(line));
  const told = complaints().length;
  await new Promise((done) => setTimeout(done, 6000)); // it would retry at least every 5 s
  assert.deepEqual(complaints().slice(told), []);
});

test('a node that went away is said to be not connected', gatelet, () =>
  each(async (which, command) => {
    await nodes[which].stop();
    await until('the node to be gone', async () => !(await listed(which)).connected);
    await refused(command, /node not connected/, 'nodes', 'invoke', '--node', `node-${which}`, '--command', 'system.which', '--params', '{"bins":["uname"]}');
  }));
