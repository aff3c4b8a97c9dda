// The reference client of protocol 4, @openclaw/gateway-client; every frame that it receives is
// validated against the schemas of @openclaw/gateway-protocol.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { e2eDir, load, newDevice, rawPublicKey, schemaCheck, signText, until } from './lib.mjs';

const { GatewayClient } = await load('@openclaw/gateway-client');
const { definitions } = JSON.parse(readFileSync(join(e2eDir, 'tools/node_modules/@openclaw/gateway-protocol/protocol.schema.json')));
export const ADMIN = ['operator.admin', 'operator.read', 'operator.write', 'operator.approvals', 'operator.pairing'];

// ---- schemas, by the name of a method or an event

const check = await schemaCheck((d) => ({
  Challenge: { type: 'object', required: ['nonce', 'ts'], properties: { nonce: { type: 'string', minLength: 1 }, ts: { type: 'integer', minimum: 0 } } },
  PresenceEvent: { type: 'object', required: ['presence'], properties: { presence: { type: 'array', items: d.PresenceEntry } } },
  PresenceList: { type: 'array', items: d.PresenceEntry },
  Health: d.HelloOk.properties.snapshot.properties.health,
}));
const EVENTS = { 'connect.challenge': 'Challenge', tick: 'TickEvent', shutdown: 'ShutdownEvent', presence: 'PresenceEvent', health: 'Health' };
const RESULTS = {
  connect: 'HelloOk', health: 'Health', 'system-presence': 'PresenceList', 'exec.approvals.get': 'ExecApprovalsSnapshot',
  'exec.approvals.node.get': 'ExecApprovalsNodeSnapshot', 'agent.identity.get': 'AgentIdentityResult', 'board.get': 'BoardSnapshot',
};
const named = (name, end) => {
  const schema = `${name.split(/[.-]/).map((word) => word[0].toUpperCase() + word.slice(1)).join('')}${end}`;
  return definitions[schema] && schema;
};
// Fields that a gateway of 2026.9.6 sends and the schemas of 2026.9.1 do not contain.
const NEWER = [/^HelloOk\/auth must not have additional properties: method$/, /must not have additional properties: clientId$/,
  /^(EventFrame) must not have additional properties: recipientProfileId$/];

/** Schema violations so far, and counts of frames: {'res health': {frames, schema}}. */
export const problems = new Set();
export const counts = {};
function look(frame, method) {
  const kind = frame.type === 'event' ? `event ${frame.event}` : `res ${method}${frame.ok ? '' : ' refused'}`;
  const schema = frame.type === 'event' ? EVENTS[frame.event] ?? named(frame.event, 'Event') : frame.ok && (RESULTS[method] ?? named(method ?? '', 'Result'));
  const found = check(frame.type === 'res' ? 'ResponseFrame' : 'EventFrame', frame);
  if (schema) found.push(...check(schema, frame.payload));
  for (const problem of found) if (!NEWER.some((known) => known.test(problem))) problems.add(`${kind}: ${problem}`);
  counts[kind] ??= { frames: 0, schema: schema || undefined };
  counts[kind].frames++;
}
export const total = () => Object.values(counts).reduce((sum, { frames }) => sum + frames, 0);

/**
 * Validates all frames that a client receives; appends each gap in the sequence numbers to `jumps`.
 */
function watch(client, jumps) {
  const methods = new Map();
  const original = client.createSocket.bind(client);
  client.createSocket = (handlers) => {
    let last;
    const socket = original({
      ...handlers,
      message(text) {
        const frame = JSON.parse(text);
        look(frame, methods.get(frame.id));
        if (frame.seq !== undefined) {
          if (last !== undefined && frame.seq !== last + 1) jumps.push(`${last} to ${frame.seq} (${frame.event})`);
          last = frame.seq;
        }
        handlers.message(text);
      },
    });
    const send = socket.send;
    socket.send = (text) => {
      const frame = JSON.parse(text);
      methods.set(frame.id, frame.method);
      send(text);
    };
    return socket;
  };
}

// ---- a host: identity, signing and token storage, and a log of the client's callbacks

export function newHost(device = newDevice()) {
  return { device, tokens: new Map(), stored: [], cleared: 0 };
}

const clients = [];
export const stopAll = () => { for (const client of clients) client.stop(); };

export function startClient(host, { url, onEvent, ...options }) {
  const seen = { hellos: [], closes: [], errors: [], paused: [], events: [], gaps: [], jumps: [] };
  const client = new GatewayClient({
    url, role: 'operator', scopes: ADMIN, mode: 'cli', clientName: 'cli', clientVersion: 'e2e', platform: 'linux', minProtocol: 4, maxProtocol: 4,
    deviceIdentity: { deviceId: host.device.id, publicKeyPem: host.device.publicKeyPem, privateKeyPem: host.device.privateKeyPem },
    hostDeps: {
      signDevicePayload: signText,
      publicKeyRawBase64UrlFromPem: rawPublicKey,
      loadDeviceAuthToken: ({ role }) => host.tokens.get(role) ?? null,
      storeDeviceAuthToken: ({ role, token, scopes }) => { host.stored.push({ role, token, scopes }); host.tokens.set(role, { token, scopes }); },
      clearDeviceAuthToken: ({ role }) => { host.cleared++; host.tokens.delete(role); },
    },
    onHelloOk: (hello) => seen.hellos.push(hello),
    onClose: (code, reason) => seen.closes.push({ code, reason }),
    onConnectError: (error) => seen.errors.push(error),
    onReconnectPaused: (info) => seen.paused.push(info),
    onEvent: (event) => { seen.events.push(event); onEvent?.(event); },
    onGap: (gap) => seen.gaps.push(gap),
    ...options,
  });
  watch(client, seen.jumps);
  clients.push(client);
  client.start();
  const hello = (count = 1, wait = 10_000) =>
    until(`hello ${count}`, () => seen.hellos[count - 1], wait)
      .catch((error) => { throw new Error(`${error.message}; errors: ${seen.errors.map((e) => `${e.message} ${JSON.stringify(e.details)}`)} closes: ${JSON.stringify(seen.closes)}`); });
  return { client, seen, hello, request: (...call) => client.request(...call), stop: () => client.stopAndWait() };
}
