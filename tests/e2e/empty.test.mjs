// Methods that need an agent runtime, which gatelet does not have: validates the empty responses
// against the schemas of protocol 4. (CLI.md has the output of the real commands for them.)
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, e2eDir, kind, schemaCheck, startGateway } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const gatelet = { skip: kind !== 'gatelet' };
let gateway;
before(async () => { gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } }); });
after(() => gateway?.stop());

const OTHER_NAMES = { 'agent.identity.get': 'AgentIdentityResult', 'board.get': 'BoardSnapshot', 'exec.approvals.get': 'ExecApprovalsSnapshot', 'openclaw.chat': 'SystemAgentChatResult' };
// Methods that the gateway serves itself, tested in relay.test.mjs.
const OWN = /^(device|health|status|system-|set-heartbeats|config|node|logs|voicewake|exec\.approval\.(request|resolve|waitDecision|get|list)$|exec\.approvals\.node)/;
const BARE = ['system.info', 'gateway.identity.get']; // also served by the gateway; they take no parameters
const UNNAMED = ['sessions.resolve']; // not listed in hello
const schemaOf = (method) =>
  OTHER_NAMES[method] ?? `${method.split(/[.-]/).map((word) => word[0].toUpperCase() + word.slice(1)).join('')}Result`;

test('every answer of protocol 4 fits its schema, for who has just its scope', gatelet, async () => {
  const { definitions, methods } = JSON.parse(readFileSync(join(e2eDir, 'tools/node_modules/@openclaw/gateway-protocol/protocol.schema.json')));
  const check = await schemaCheck();
  const open = (scopes) => connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, auth: { token: TOKEN }, scopes });
  const key = 'agent:main:main';
  const params = { sessionKey: key, key, keys: [key], sessionId: 's', startDate: '2026-09-01', endDate: '2026-09-30' };
  const admin = await open(['operator.admin']);
  const problems = [], checked = [];
  for (const method of [...admin.hello.features.methods, ...UNNAMED]) {
    const { scope } = methods[method] ?? {};
    if (!scope?.startsWith('operator.') || OWN.test(method)) continue;
    const client = await open([scope]);
    const answer = await client.request(method, BARE.includes(method) ? {} : params).catch((error) => { problems.push(`${method}: ${error.message}`); });
    await client.end();
    if (!definitions[schemaOf(method)] || answer === undefined) continue;
    checked.push(method);
    problems.push(...check(schemaOf(method), answer));
  }
  await admin.end();
  console.log(`${checked.length} against schemas: ${checked.join(' ')}`);
  assert.deepEqual(problems, []);
  assert.ok(checked.length >= 30, `only ${checked.length}`);
});
