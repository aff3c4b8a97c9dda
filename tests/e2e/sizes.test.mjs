// Results and parameters of 12 to 26 MiB between two @openclaw/gateway-client, one as operator and
// one as node. The client sets maxPayload of the `ws` library to 25 MiB, so a larger frame would
// end its connection with 1009.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kind, startGateway, until } from './lib.mjs';
import { newHost, problems, startClient, stopAll } from './reference.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const MIB = 1024 * 1024, MOST = 25 * MIB;
// Name so long that the operator's frame with a result is larger than the node's.
const LONG = `shelf.${'long'.repeat(25)}`;
const gatelet = { skip: kind !== 'gatelet', timeout: 120_000 };

let gateway, operator, node, nodeId;
const nodeHost = newHost();
/** Result that the node returns for a call with `params.large`. */
let large;

/** Starts a node that answers small calls with their parameters, and large ones with `large`. */
function startNode() {
  const one = startClient(nodeHost, {
    url: gateway.url, token: TOKEN, role: 'node', scopes: [], mode: 'node', clientName: 'node-host', deviceFamily: 'Linux', caps: ['system'],
    commands: ['system.which', LONG], minProtocol: undefined, maxProtocol: undefined,
    onEvent: ({ event, payload }) => {
      if (event !== 'node.invoke.request') return;
      const params = JSON.parse(payload.paramsJSON);
      const answer = params.large ? large : { payloadJSON: JSON.stringify({ bytes: payload.paramsJSON.length, at: params.at }) };
      one.request('node.invoke.result', { id: payload.id, nodeId: payload.nodeId, ok: true, ...answer }, { timeoutMs: 60_000 }).catch(() => {});
    },
  });
  return one;
}
const invoke = (params, command = 'system.which') =>
  operator.request('node.invoke', { nodeId, command, params, idempotencyKey: `key-${Math.random()}`, timeoutMs: 60_000 }, { timeoutMs: 60_000 });

/** Asserts that neither connection was closed and neither client reconnected. */
function open() {
  for (const [name, one] of [['operator', operator], ['node', node]]) {
    assert.deepEqual(one.seen.closes, [], `the ${name}'s connection is open`);
    assert.equal(one.seen.hellos.length, 1, `the ${name} connected once`);
  }
}

/**
 * Makes a large call with other calls before, during and after it on the same two connections;
 * returns the outcome of the large call.
 */
async function among(answer, command) {
  large = answer;
  const beside = Array.from({ length: 5 }, (_, at) => invoke({ at }));
  const outcome = invoke({ large: true }, command).then((value) => ({ value }), (error) => ({ error }));
  beside.push(...Array.from({ length: 5 }, (_, at) => invoke({ at: at + 5 })), operator.request('health', {}));
  const answers = await Promise.all(beside);
  answers.slice(0, 10).forEach((got, at) => assert.equal(got.payload.at, at));
  const got = await outcome;
  assert.equal((await invoke({ at: 99 })).payload.at, 99);
  open();
  return got;
}

before(async () => {
  if (kind !== 'gatelet') return;
  gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN }, nodes: { commands: { allow: [LONG] } } } } });
  operator = startClient(newHost(), { url: gateway.url, token: TOKEN });
  await operator.hello();
  node = startNode();
  await node.hello();
  nodeId = nodeHost.device.id;
  const waits = await until('the request of the node', () => operator.seen.events.find(({ event }) => event === 'node.pair.requested'));
  await operator.request('node.pair.approve', { requestId: waits.payload.requestId });
});
after(async () => {
  stopAll();
  await gateway?.stop();
});

for (const mib of [12, 14, 20, 24]) {
  test(`${mib} MiB as payload`, gatelet, async () => {
    const { value, error } = await among({ payload: { image: 'x'.repeat(mib * MIB) } });
    assert.ifError(error);
    assert.equal(value.payload.image.length, mib * MIB);
    assert.equal(value.payloadJSON, null);
  });

  test(`${mib} MiB as payloadJSON`, gatelet, async () => {
    const { value, error } = await among({ payloadJSON: JSON.stringify({ image: 'x'.repeat(mib * MIB) }) });
    assert.ifError(error);
    assert.equal(value.payload.image.length, mib * MIB, 'what the operator reads is whole');
    assert.equal(value.payloadJSON === null, mib > 12, 'the second form goes along where both fit');
  });
}

test('both forms from the node, 24 MiB together', gatelet, async () => {
  const { value, error } = await among({ payload: 'y'.repeat(10 * MIB), payloadJSON: JSON.stringify('x'.repeat(14 * MIB)) });
  assert.ifError(error);
  assert.equal(value.payload.length, 14 * MIB);
});

test('an answer that the node can send, and that is too large with the words around it for the operator', gatelet, async () => {
  const request = { type: 'req', id: nodeId.slice(0, 36), method: 'node.invoke.result', params: { id: nodeId.slice(0, 36), nodeId, ok: true, payload: '' } };
  // The client adds a prefix of a few characters to its ids.
  const { value, error } = await among({ payload: 'x'.repeat(MOST - JSON.stringify(request).length - 20) }, LONG);
  assert.equal(value, undefined);
  assert.equal(error.gatewayCode, 'UNAVAILABLE');
  assert.match(error.message, /^FRAME_TOO_LARGE: the node's answer would be a frame of 262144\d\d bytes; a client takes at most 26214400 bytes$/);
  assert.deepEqual([error.details.nodeError.code, error.details.nodeCommandDispatched], ['FRAME_TOO_LARGE', true]);
});

for (const [name, unit] of [['quotes', '"'], ['backslashes', '\\'], ['lines', '\n'], ['control characters', '\u0001'], ['form feeds', '\f']]) {
  test(`parameters of ${name} reach the node while they fit, and are refused with both sizes when they do not`, gatelet, async () => {
    // Bytes of one unit in the frame for the node, where the parameters are JSON inside a string.
    const twice = (text) => JSON.stringify(JSON.stringify(text)).length;
    const grown = twice(unit + unit) - twice(unit);
    const fits = Math.floor((MOST - 1000) / grown);
    const got = await invoke({ text: unit.repeat(fits) });
    assert.equal(got.payload.bytes, JSON.stringify({ text: unit.repeat(fits) }).length);
    const others = [0, 1, 2].map((at) => invoke({ at }));
    await assert.rejects(invoke({ text: unit.repeat(fits + 1000) }), (error) => {
      assert.equal(error.gatewayCode, 'INVALID_REQUEST');
      assert.match(error.message, /^the call to the node would be a frame of 262\d{5} bytes; a client takes at most 26214400 bytes$/);
      assert.deepEqual([error.details.code, error.details.maxBytes, error.details.nodeCommandDispatched], ['FRAME_TOO_LARGE', MOST, false]);
      return true;
    });
    (await Promise.all(others)).forEach((other, at) => assert.equal(other.payload.at, at));
    open();
  });
}

test('a node that itself sends more than 25 MiB is closed, and the operator is not', gatelet, async () => {
  large = { payload: 'x'.repeat(26 * MIB) };
  await assert.rejects(invoke({ large: true }), { gatewayCode: 'UNAVAILABLE', message: 'DISCONNECTED: node disconnected (system.which)' });
  await until('the close of the node', () => node.seen.closes[0]);
  assert.deepEqual(operator.seen.closes, []);
  await node.hello(2, 20_000);
  assert.equal((await invoke({ at: 1 })).payload.at, 1, 'the node connected again and answers');
});

test('every frame fits the schemas', gatelet, () => assert.deepEqual([...problems], []));
