// The relay as seen by @openclaw/gateway-client (protocol 4), as operator and as node, with every
// frame validated against its schema.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kind, startGateway, until } from './lib.mjs';
import { counts, newHost, problems, startClient, stopAll, total } from './reference.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const gatelet = { skip: kind !== 'gatelet' };
const config = { gateway: { auth: { mode: 'token', token: TOKEN } } };
const COMMANDS = ['system.run', 'system.which', 'system.execApprovals.get', 'system.execApprovals.set'];
const APPROVALS = { path: '/etc/approvals.json', exists: true, hash: 'h1', file: { version: 1, socket: { path: '/run/x.sock' }, defaults: {}, agents: {} } };

let gateway, operator, node, nodeId;
const nodeHost = newHost(), operatorHost = newHost();

/**
 * Invokes that the node does not answer (`work` returns undefined for them, else {ok, payload...}).
 */
const slow = [];
function work({ id, command, paramsJSON }) {
  const params = paramsJSON === undefined ? {} : JSON.parse(paramsJSON);
  if (command === 'system.execApprovals.get') return { ok: true, payloadJSON: JSON.stringify(APPROVALS) };
  if (params.slow) { slow.push(id); return; }
  if (params.fail) return { ok: false, error: { code: 'SYSTEM_RUN_DENIED', message: 'not on the list' } };
  return { ok: true, payloadJSON: JSON.stringify({ echo: params }) };
}
function startNode() {
  const one = startClient(nodeHost, {
    url: gateway.url, token: TOKEN, role: 'node', scopes: [], mode: 'node', clientName: 'node-host', clientDisplayName: 'shelf', deviceFamily: 'Linux', caps: ['system'],
    commands: COMMANDS, pathEnv: '/usr/bin', minProtocol: undefined, maxProtocol: undefined,
    onEvent: ({ event, payload }) => {
      if (event !== 'node.invoke.request') return;
      const answer = work(payload);
      if (answer) one.request('node.invoke.result', { id: payload.id, nodeId: payload.nodeId, ...answer }).catch(() => {});
    },
  });
  return one;
}
const invoke = (params, more = {}) => operator.request('node.invoke', { nodeId, command: 'system.which', params, idempotencyKey: `key-${Math.random()}`, ...more });
const event = (one, name, fits = () => true) =>
  until(`event ${name}`, () => one.seen.events.find((entry) => entry.event === name && fits(entry.payload)), 10_000);
const describe = () => operator.request('node.describe', { nodeId });

before(async () => {
  if (kind !== 'gatelet') return;
  gateway = await startGateway({ config });
  operator = startClient(operatorHost, { url: gateway.url, token: TOKEN, caps: ['approvals', 'exec-approvals'] });
  await operator.hello();
  node = startNode();
  await node.hello();
  nodeId = nodeHost.device.id;
});
after(async () => {
  stopAll();
  await gateway?.stop();
});

test('a node of the reference client waits, is approved, and is called', gatelet, async () => {
  const waits = await event(operator, 'node.pair.requested', (payload) => payload.nodeId === nodeId);
  const { pending } = await operator.request('node.pair.list', {});
  assert.deepEqual(pending.map((entry) => [entry.requestId, entry.nodeId]), [[waits.payload.requestId, nodeId]]);
  assert.equal((await describe()).approvalState, 'pending-approval');
  await assert.rejects(invoke({}), { gatewayCode: 'INVALID_REQUEST', message: /pending approval|waits for approval/ });
  const approved = await operator.request('node.pair.approve', { requestId: waits.payload.requestId });
  assert.equal(approved.node.nodeId, nodeId);
  await event(operator, 'node.pair.resolved', (payload) => payload.decision === 'approved');
  await event(node, 'node.pair.resolved', (payload) => payload.nodeId === nodeId && payload.decision === 'approved');
  const shown = await describe();
  assert.deepEqual([shown.approvalState, shown.commands], ['approved', [...COMMANDS].sort()]);
  const answer = await invoke({ bins: ['sh'], text: 'a "b" \\ \n \u{1f600}' });
  assert.deepEqual(answer.payload, { echo: { bins: ['sh'], text: 'a "b" \\ \n \u{1f600}' } });
  assert.deepEqual([answer.ok, answer.nodeId, answer.command, JSON.parse(answer.payloadJSON)], [true, nodeId, 'system.which', answer.payload]);
});

test('300 calls, 20 at a time: each gets its own answer', gatelet, async () => {
  let next = 0;
  await Promise.all(Array.from({ length: 20 }, async () => {
    while (next < 300) {
      const at = next++;
      assert.deepEqual((await invoke({ at })).payload, { echo: { at } });
    }
  }));
});

test('a node that says no, is too slow, or is told to stop', gatelet, async () => {
  await assert.rejects(invoke({ fail: true }), (error) => {
    assert.equal(error.message, 'SYSTEM_RUN_DENIED: not on the list');
    assert.deepEqual([error.gatewayCode, error.details.nodeError.code, error.details.nodeCommandDispatched], ['UNAVAILABLE', 'SYSTEM_RUN_DENIED', true]);
    return true;
  });
  await assert.rejects(invoke({ slow: true }, { timeoutMs: 300 }), { gatewayCode: 'UNAVAILABLE', message: 'TIMEOUT: node invoke timed out' });
  const [id] = slow;
  await event(node, 'node.invoke.cancel', (payload) => payload.invokeId === id);
  assert.deepEqual(await node.request('node.invoke.result', { id, nodeId, ok: true, payloadJSON: '{}' }), { ok: true, ignored: true });
  assert.deepEqual(await node.request('node.invoke.progress', { invokeId: id, nodeId, seq: 0, chunk: 'late' }), { ok: true, ignored: true });
  await assert.rejects(node.request('node.invoke.progress', { invokeId: id, nodeId: 'f'.repeat(64), seq: 1, chunk: 'x' }), { message: 'nodeId mismatch' });
  await assert.rejects(operator.request('node.invoke', { nodeId, command: 'camera.snap', idempotencyKey: 'k' }), /node command not allowed/);
  await assert.rejects(operator.request('node.invoke', { nodeId: 'f'.repeat(64), command: 'system.which', idempotencyKey: 'k' }), { gatewayCode: 'UNAVAILABLE' });
});

test('an operator who leaves in the middle harms nobody', gatelet, async () => {
  const other = startClient(newHost(), { url: gateway.url, token: TOKEN });
  await other.hello();
  const earlier = slow.length;
  other.request('node.invoke', { nodeId, command: 'system.which', params: { slow: true }, idempotencyKey: 'gone' }).catch(() => {});
  await until('the call to arrive', () => slow.length > earlier);
  await other.stop();
  await event(node, 'node.invoke.cancel', (payload) => payload.invokeId === slow.at(-1));
  assert.equal((await node.request('node.invoke.result', { id: slow.at(-1), nodeId, ok: true })).ignored, true);
  assert.deepEqual((await invoke({ after: 1 })).payload, { echo: { after: 1 } });
});

test('what a node tells is taken, and shown to operators', gatelet, async () => {
  const stats = { cpuCount: 4, loadAverage: [0.5, 0.25, 0], memoryTotalBytes: 1 << 30, memoryFreeBytes: 1 << 29 };
  const told = await node.request('node.event', { event: 'node.host.stats', payloadJSON: JSON.stringify(stats) });
  assert.deepEqual([told.ok, told.handled], [true, true]);
  const { payload } = await event(operator, 'node.hostStats', (payload) => payload.nodeId === nodeId);
  assert.equal(payload.hostStats.cpuCount, 4);
  assert.equal((await describe()).hostStats.memoryFreeBytes, 1 << 29);
  assert.equal((await node.request('node.event', { event: 'what.is.this', payload: { a: 1 } })).handled, false);
  await node.request('node.event', { event: 'exec.finished', payloadJSON: JSON.stringify({ sessionKey: 'node', runId: 'r', exitCode: 0 }) });
  assert.deepEqual(await node.request('node.skills.update', { skills: [] }), { nodeId, skills: [] });
  assert.deepEqual(await node.request('node.pluginTools.update', { tools: [] }), { nodeId, tools: [] });
  assert.deepEqual(await node.request('node.runnerInventory.update', { protocolFeatures: ['node-worker-supervisor-v6'], workerHost: { enabled: false } }), { nodeId });
  assert.deepEqual(await node.request('skills.bins', {}), { bins: [] });
  await assert.rejects(node.request('node.pluginSurface.refresh', { surface: 'canvas' }), { gatewayCode: 'UNAVAILABLE' });
  await assert.rejects(operator.request('node.event', { event: 'x' }), /role/);
  await assert.rejects(node.request('node.list', {}), /role/);
});

test('what waits for a node', gatelet, async () => {
  const queued = await operator.request('node.pending.enqueue', { nodeId, type: 'location.request', priority: 'high', expiresInMs: 60_000 });
  assert.equal(queued.queued.type, 'location.request');
  const drained = await node.request('node.pending.drain', {});
  assert.deepEqual(drained.items.map((item) => item.type), ['location.request', 'status.request']);
  assert.deepEqual((await node.request('node.pending.drain', { maxItems: 1 })).items.map((item) => item.id), ['baseline-status']);
  assert.deepEqual(await node.request('node.pending.pull', {}), { nodeId, actions: [] });
  assert.deepEqual(await node.request('node.pending.ack', { ids: ['nobody'] }), { nodeId, ackedIds: ['nobody'], remainingCount: 0 });
});

test('an approval: asked by one operator, decided by another, told to all', gatelet, async () => {
  const asker = startClient(newHost(), { url: gateway.url, token: TOKEN });
  await asker.hello();
  const decided = new Set(), plan = { argv: ['uname'], cwd: null, commandText: 'uname', agentId: null, sessionKey: null };
  for (const decision of ['allow-once', 'deny']) {
    let accepted;
    const final = asker.request('exec.approval.request', { host: 'node', nodeId, command: 'uname', commandArgv: ['uname'], systemRunPlan: plan, timeoutMs: 60_000, twoPhase: true },
      { expectFinal: true, onAccepted: (payload) => (accepted = payload) });
    const asked = await event(operator, 'exec.approval.requested', (payload) => !decided.has(payload.id));
    const { id } = asked.payload;
    decided.add(id);
    await until('the first answer', () => accepted);
    assert.deepEqual([accepted.status, accepted.id], ['accepted', id]);
    assert.ok((await operator.request('exec.approval.list', {})).some((entry) => entry.id === id));
    assert.equal((await operator.request('exec.approval.get', { id })).commandText, 'uname');
    const waiting = asker.request('exec.approval.waitDecision', { id });
    assert.deepEqual(await operator.request('exec.approval.resolve', { id, decision }), { ok: true });
    assert.equal((await waiting).decision, decision);
    assert.equal((await final).decision, decision);
    assert.equal((await event(asker, 'exec.approval.resolved', (payload) => payload.id === id)).payload.decision, decision);
  }
  await assert.rejects(operator.request('exec.approval.resolve', { id: 'nobody', decision: 'deny' }), /unknown or expired approval id/);
  assert.deepEqual(await operator.request('exec.approval.grants.list', {}), { grants: [] });
  assert.equal((await operator.request('exec.approvals.node.get', { nodeId })).hash, 'h1');
  await asker.stop();
});

test('the rest that an operator asks', gatelet, async () => {
  assert.deepEqual(await operator.request('node.rename', { nodeId, displayName: 'kitchen' }), { nodeId, displayName: 'kitchen' });
  assert.equal((await operator.request('node.list', {})).nodes[0].displayName, 'kitchen');
  assert.deepEqual(await operator.request('voicewake.set', { triggers: [' hey ', ''] }), { triggers: ['hey'] });
  for (const one of [operator, node]) await event(one, 'voicewake.changed', (payload) => payload.triggers[0] === 'hey');
  assert.deepEqual(await operator.request('voicewake.get', {}), { triggers: ['hey'] });
  const earlier = operator.seen.events.filter((entry) => entry.event === 'presence').length;
  assert.deepEqual(await operator.request('system-event', { text: 'Node: desk (10.0.0.2) · app 1 · last input 3s ago · mode ui · reason test', instanceId: 'desk' }), { ok: true });
  await until('a presence event', () => operator.seen.events.filter((entry) => entry.event === 'presence').length > earlier);
  assert.deepEqual(await operator.request('set-heartbeats', { enabled: false }), { ok: true, enabled: false });
  assert.equal((await operator.request('diagnostics.stability', {})).count, 0);
  assert.ok(Array.isArray((await operator.request('logs.tail', { limit: 5 })).lines));
  await operator.request('status', {});
  await operator.request('health', {});
  await operator.request('system-presence', {});
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`${signal} in the middle of a call: both come back by themselves, approved as before`, gatelet, async () => {
    const [operators, nodes] = [operator.seen.hellos.length, node.seen.hellos.length];
    const earlier = slow.length;
    const hanging = assert.rejects(invoke({ slow: true }));
    await until('the call to arrive', () => slow.length > earlier);
    await gateway.stop(signal);
    await hanging;
    gateway = await startGateway({ config, stateDir: gateway.stateDir, port: gateway.port });
    await Promise.all([operator.hello(operators + 1, 30_000), node.hello(nodes + 1, 30_000)]);
    assert.deepEqual([operator.seen.paused, node.seen.paused], [[], []], 'nobody gave up');
    assert.equal((await describe()).approvalState, 'approved');
    assert.deepEqual((await invoke({ again: signal })).payload, { echo: { again: signal } });
  });
}

test('a node that goes away in the middle of a call', gatelet, async () => {
  const earlier = slow.length;
  const hanging = assert.rejects(invoke({ slow: true }), { gatewayCode: 'UNAVAILABLE', message: 'DISCONNECTED: node disconnected (system.which)' });
  await until('the call to arrive', () => slow.length > earlier);
  await node.stop();
  await hanging;
  await assert.rejects(invoke({}), (error) => error.gatewayCode === 'UNAVAILABLE' && error.message === 'node not connected' && error.details.code === 'NOT_CONNECTED');
  assert.equal((await describe()).connected, false);
  assert.deepEqual(await operator.request('node.pair.remove', { nodeId }), { nodeId });
  await event(operator, 'node.pair.resolved', (payload) => payload.decision === 'removed');
});

test('no event was missing, and none came twice', gatelet, () => {
  for (const one of [operator, node]) assert.deepEqual([one.seen.gaps, one.seen.jumps], [[], []]);
});

test('every frame fits its schema', gatelet, () => {
  const lines = Object.entries(counts).sort().map(([name, { frames, schema }]) => `${String(frames).padStart(6)}  ${name}${schema ? ` (${schema})` : ''}`);
  console.log(`${total()} frames\n${lines.join('\n')}`);
  assert.deepEqual([...problems], []);
  const WITH_SCHEMA = ['res connect', 'res health', 'res system-presence', 'res node.event', 'res node.pending.drain', 'res node.pending.enqueue', 'res skills.bins',
    'res exec.approval.grants.list', 'res exec.approvals.node.get', 'res logs.tail', 'event connect.challenge', 'event shutdown', 'event presence',
    'event node.invoke.request'];
  for (const name of WITH_SCHEMA) assert.ok(counts[name]?.schema, `no frame "${name}" was checked`);
  for (const name of ['event node.invoke.cancel', 'event node.pair.requested', 'event node.pair.resolved', 'event exec.approval.requested', 'event exec.approval.resolved', 'event voicewake.changed', 'event node.hostStats'])
    assert.ok(counts[name], `no "${name}" came`);
  assert.ok(total() > 1000, `${total()} frames`);
});
