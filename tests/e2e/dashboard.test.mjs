// Connection of gatelet's page: sign-in, every refusal with its explanation, reconnect.
import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { ask, enter, gatewayFor, keptBy, signIn, TOKEN, VIEWS, visit } from './dash.mjs';
import { gatelet, until } from './lib.mjs';

/** Error of the browser if nothing listens, which a page cannot suppress. */
const UNREACHED = /ERR_CONNECTION_REFUSED/;

test('the link signs in at the first try; a reload and another tab need the key alone; the token is nowhere', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  assert.equal((await dash.words())[0], 'Connected');
  assert.equal((await dash.now()).href.replace(/#.*/, ''), `${gateway.http}/`);
  assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
  await dash.page.reload();
  await dash.state('connected');
  const tab = await dash.context.newPage();
  await tab.goto(gateway.http);
  await tab.waitForSelector('html[data-state=connected]');
  const { paired } = await gateway.json('devices', 'list');
  assert.deepEqual(paired.map((one) => one.provenance), ['token'], 'one device');
  assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
  assert.equal(await dash.page.evaluate(() => window.isSecureContext), true);
});

test('a link opened in a tab that is open already, and a token typed, are taken as well', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await visit(t, gateway.http);
  await dash.state('refused');
  await dash.page.evaluate((token) => (location.hash = `token=${token}`), TOKEN);
  await dash.state('connected');
  assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
  const other = await visit(t, gateway.http);
  await signIn(other, `  ${gateway.link} `);
  await other.state('connected');
  const third = await visit(t, gateway.http);
  await signIn(third, TOKEN);
  await third.state('connected');
  assert.ok(!(await keptBy(third.page)).includes(TOKEN));
});

/**
 * Asserts what a refused page shows besides the message: rule, the values that the gateway saw, and
 * a command that can be copied.
 */
async function explained(dash, gateway, { code, rule, words, command }) {
  await dash.sees(words);
  assert.equal((await dash.state('refused')).code, code);
  const seen = [await dash.fact('Rule'), await dash.fact('Address'), await dash.fact('Host'), await dash.fact('Origin')];
  const { host, origin } = new URL(gateway.http);
  for (const [at, part] of [rule, /127\.0\.0\.1/, host, origin].entries()) assert.match(seen[at], new RegExp(part.source ?? part), String(seen));
  const copied = await dash.copied(command);
  assert.match(copied, command);
  return copied.slice(copied.lastIndexOf('gatelet ')).split(' ').slice(1);
}

test('no token, a wrong one, a used code: the page says what was seen, by which rule, and what to do', async (t) => {
  const gateway = await gatewayFor(t);
  const first = await visit(t, gateway.http);
  await explained(first, gateway, { code: 'AUTH_TOKEN_MISSING', rule: /^6\b/, words: /token missing/, command: /gatelet (--state-dir \S+ )?url$/ });
  const wrong = await visit(t, `${gateway.http}/#token=not-the-token`);
  await explained(wrong, gateway, { code: 'AUTH_TOKEN_MISMATCH', rule: /^6\b/, words: /token mismatch/, command: /gatelet (--state-dir \S+ )?url$/ });
  assert.ok(!(await keptBy(wrong.page)).includes('not-the-token'));
  const { code } = await gateway.json('pair');
  await signIn(first, code);
  await first.state('connected');
  await signIn(wrong, code);
  await explained(wrong, gateway, { code: 'AUTH_BOOTSTRAP_TOKEN_INVALID', rule: /^(6|7\.4)\b/, words: /already used/, command: /gatelet (--state-dir \S+ )?pair$/ });
  // The same texts as on the command line.
  const last = (await gateway.cli('explain', '--last')).stdout.toLowerCase();
  for (const text of await wrong.page.locator('#hint p').allInnerTexts())
    assert.ok(last.includes(text.toLowerCase().replace(/\W+$/, '')), `"${text}" is not in: ${last}`);
});

test('a token or a password that looks like a code lets in when it is entered once more', async (t) => {
  for (const [mode, secret] of [['token', 'mysecret'], ['password', 'HUNTER22']]) {
    const gateway = await gatewayFor(t, { auth: { mode, [mode]: secret } });
    const dash = await visit(t, gateway.http);
    await dash.state('refused');
    await signIn(dash, secret);
    await dash.sees(/enter it again/);
    await signIn(dash, secret);
    await dash.state('connected');
  }
});

test('a code as it is read aloud, the printed link, and the QR code\'s link let in too; the code is spent', async (t) => {
  const gateway = await gatewayFor(t);
  for (const form of [({ code }) => `${code.slice(0, 4).toLowerCase()} - ${code.slice(4)}`, ({ link, setupCode }) => link ?? `oc-pair://${setupCode}`]) {
    const made = await gateway.json('pair');
    const dash = await visit(t, gateway.http);
    await signIn(dash, form(made));
    await dash.state('connected');
    assert.ok(!(await keptBy(dash.page)).includes(made.code));
    await dash.page.reload();
    await dash.state('connected');
  }
  const { paired } = await gateway.json('devices', 'list');
  assert.deepEqual(paired.map((one) => one.provenance), ['code', 'code']);
});

test('a revoked device is told so while it looks, and is back when approved', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  const { paired: [{ deviceId }] } = await gateway.json('devices', 'list');
  await gateway.json('devices', 'revoke', deviceId);
  const words = await explained(dash, gateway, { code: 'PAIRING_REQUIRED', rule: /^7\.7\b/, words: /revoked by the owner/, command: /gatelet (--state-dir \S+ )?devices approve [0-9a-f]{8,}$/ });
  assert.equal((await gateway.cli(...words)).code, 0, 'as it was copied, it works');
  await dash.click('Try again');
  await dash.state('connected');
});

test('a full table: the token lets in for the time being, and says so; a code does not, and says the way out', async (t) => {
  const gateway = await gatewayFor(t, { pairing: { capacity: 1 } });
  const { device } = await ask(t, gateway, { name: 'the one' });
  const dash = await enter(t, gateway);
  assert.match((await dash.words())[1], /for this connection only/);
  const other = await visit(t, gateway.http);
  await signIn(other, (await gateway.json('pair')).code);
  await explained(other, gateway, { code: 'TABLE_FULL', rule: /^8\b/, words: /the pairing table is full/, command: /gatelet (--state-dir \S+ )?devices remove/ });
  await gateway.cli('devices', 'remove', device.id);
  await signIn(other, (await gateway.json('pair')).code);
  await other.state('connected');
});

test('strict mode: the page waits, shows the command, and goes on by itself when approved', async (t) => {
  const gateway = await gatewayFor(t, { pairing: { mode: 'strict' } });
  const dash = await visit(t, gateway.link);
  const words = await explained(dash, gateway, { code: 'PAIRING_REQUIRED', rule: /^7\.3\b/, words: /then connects by itself/, command: /gatelet (--state-dir \S+ )?devices approve [0-9a-f-]{36}$/ });
  assert.equal((await dash.words())[0], 'Waiting for approval');
  const { pending: [{ requestId }] } = await gateway.json('devices', 'list');
  assert.equal(words.at(-1), requestId);
  assert.equal((await gateway.cli(...words)).code, 0);
  await dash.state('connected');
  assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
});

test('a gateway that stops is told apart from one that vanishes; the page comes back when it does, and at once when it wakes', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway, { allow: UNREACHED });
  await gateway.restart(async () => {
    await dash.state('lost');
    assert.match((await dash.words())[0], /^Gateway (has stopped|is restarting)$/);
    assert.match((await dash.words())[1], /reconnects by itself/);
  });
  await dash.state('connected');
  await gateway.stop('SIGKILL');
  await dash.state('lost');
  assert.equal((await dash.words())[0], 'Connection lost');
  // After several attempts the page waits longer; a tab that becomes visible retries at once.
  const seconds = async () => Number(/Next try in (\d+) s/.exec((await dash.now()).text)?.[1]);
  await until('a longer wait', async () => (await seconds()) >= 4, 20_000);
  await gateway.restart();
  const left = await seconds();
  const begin = performance.now();
  await dash.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await dash.state('connected');
  const took = performance.now() - begin;
  assert.ok(took < (left - 1) * 1000, `${took} ms, and ${left} s were left`);
});

test('a browser that may only look is let in, sees what it may, and is told what it may not; no view complains', async (t) => {
  const gateway = await gatewayFor(t);
  const other = await ask(t, gateway, { name: 'laptop' });
  const dash = await visit(t, gateway.http);
  await dash.state('refused');
  await signIn(dash, (await gateway.json('pair', '--scopes', 'read')).code);
  await dash.state('connected');
  for (const name of [...VIEWS, 'Activity']) await dash.go(name);
  // The event is received after the responses to the earlier requests of the views.
  await ask(t, gateway, { name: 'tablet' });
  await dash.row('tablet').waitFor();
  assert.equal(await dash.page.locator('#problem').textContent(), '');
  await dash.go('Devices');
  assert.equal(await dash.page.getByRole('button', { name: new RegExp(`^(Revoke|Remove|Rotate) .*${other.short}`) }).count(), 0);
  await dash.go('Connect a device');
  await dash.sees(/operator\.admin/);
  await dash.page.reload();
  await dash.state('connected');
  const { pending } = await gateway.json('devices', 'list');
  assert.deepEqual(pending, [], 'neither the code nor the key asks for more than the owner gave');
});

test('the page works below a base path as well', async (t) => {
  const gateway = await gatewayFor(t, { controlUi: { basePath: '/ui' } });
  const dash = await visit(t, `${gateway.http}/ui/`);
  await explained(dash, gateway, { code: 'AUTH_TOKEN_MISSING', rule: /^6\b/, words: /neither a token nor|token missing/, command: /gatelet (--state-dir \S+ )?url$/ });
  await signIn(dash, TOKEN);
  await dash.state('connected');
  assert.equal(new URL(dash.page.url()).pathname, '/ui/');
  const { stdout } = await gateway.cli('url');
  assert.ok(stdout.includes(`${gateway.http}/ui/#token=`), stdout);
});

test('the first page comes within 30 ms', async (t) => {
  const gateway = await gatewayFor(t);
  const get = async (path) => {
    const reply = await fetch(new URL(path, gateway.http));
    assert.equal(reply.status, 200, path);
    return reply.text();
  };
  const times = [];
  let assets = 0;
  for (let round = 0; round < 20; round++) {
    const begin = performance.now();
    const page = await get('/');
    const paths = [...page.matchAll(/(?:href|src)="(assets\/[^"]+)"/g)];
    assets = (await Promise.all(paths.map(([, path]) => get(path)))).length;
    times.push(performance.now() - begin);
  }
  // Load of the machine affects the slower values; the fastest is the cost of the page.
  times.sort((one, other) => one - other);
  t.diagnostic(`page and ${assets} assets: ${times[0].toFixed(1)} ms, median ${times[10].toFixed(1)} ms`);
  assert.ok(assets >= 4, 'there are assets');
  assert.ok(times[0] < 30, `${times} ms`);
});
