// What needs an agent runtime, which gatelet has not: the empty answers against the schemas of protocol 4, and the real commands of
// both versions (2026.9.6 only when it is installed) that ask for them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, e2eDir, kind, openclawCli, schemaCheck, startGateway } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const gatelet = { skip: kind !== 'gatelet' };
let gateway;
before(async () => { gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } }); });
after(() => gateway?.stop());

const OTHER_NAMES = { 'agent.identity.get': 'AgentIdentityResult', 'board.get': 'BoardSnapshot', 'exec.approvals.get': 'ExecApprovalsSnapshot' };
const UNNAMED = ['sessions.resolve']; // hello does not name it
const schemaOf = (method) =>
  OTHER_NAMES[method] ?? `${method.split(/[.-]/).map((word) => word[0].toUpperCase() + word.slice(1)).join('')}Result`;

test('every answer of protocol 4 fits its schema, for who has just its scope', gatelet, async () => {
  const { definitions, methods } = JSON.parse(readFileSync(join(e2eDir, 'tools/node_modules/@openclaw/gateway-protocol/protocol.schema.json')));
  const check = await schemaCheck();
  const open = (scopes) => connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, auth: { token: TOKEN }, scopes });
  const key = 'agent:main:main';
  const params = { sessionKey: key, key, keys: [key], startDate: '2026-09-01', endDate: '2026-09-30' };
  const admin = await open(['operator.admin']);
  const problems = [], checked = [];
  for (const method of [...admin.hello.features.methods, ...UNNAMED]) {
    const { scope } = methods[method] ?? {};
    if (!scope?.startsWith('operator.') || /^(device|health|status|system-presence|config|node)/.test(method)) continue;
    const client = await open([scope]);
    const answer = await client.request(method, params).catch((error) => { problems.push(`${method}: ${error.message}`); });
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

const COMMANDS = {
  a: [
    ['cron list', /No cron jobs/], ['cron list --json', /"jobs": \[\]/], ['cron status', /"enabled": false/], ['cron runs --id x', /"entries": \[\]/],
    ['gateway usage-cost', /Total: \$0\.00/], ['system heartbeat last', /null/], ['channels status', /Gateway reachable/],
    ['approvals get --gateway', /Exists\s+. no/], ['gateway call sessions.list', /"sessions": \[\]/],
  ],
  b: [
    ['cron list', /No automations/], ['cron status', /"enabled": false/], ['gateway usage-cost', /\$0\.00/], ['system heartbeat last', /null/],
    ['channels status', /Gateway reachable/], ['approvals get --gateway', /effective.*security=deny|security=deny/i], ['gateway call sessions.list', /"sessions": \[\]/],
  ],
};
const ACTION = ['cron', 'add', '--name', 'x', '--every', '1h', '--system-event', 'hi', '--session', 'main'];

for (const [which, commands] of Object.entries(COMMANDS)) {
  test(`the commands of openclaw ${which} show that there is nothing`, gatelet, async (t) => {
    const cli = openclawCli(which, { port: gateway.port, token: TOKEN });
    for (const [words, wanted] of commands)
      await t.test(words, async () => {
        const { code, stdout, stderr } = await cli(...words.split(' '));
        assert.equal(code, 0, `${stdout}\n${stderr}`);
        assert.match(stdout + stderr, wanted);
      });
    await t.test('an action says why it does not work', async () => {
      const { code, stdout, stderr } = await cli(...ACTION);
      assert.notEqual(code, 0);
      assert.match(stdout + stderr, /needs an agent runtime, and gatelet has none/);
    });
  });
}
