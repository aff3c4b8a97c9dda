// Links to gatelet's page: raw and damaged ones, scripts that do not load, several gateways below
// one origin, and the links that it offers to other devices.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromiumNow, enter, gatewayFor, keptBy, pictures, readPicture, signIn, TOKEN, visit } from './dash.mjs';
import { freePort, load, sleep, tempDir, until } from './lib.mjs';

const { default: WebSocket } = await load('ws');

/** Error of a page that is closed after its gateway, which it cannot suppress. */
const allow = /ERR_CONNECTION_REFUSED/;

test('a token opens the page however its link was written, in the address and in the form', async (t) => {
  const token = 'ab+cd/ef==01234567890123';
  const gateway = await gatewayFor(t, { auth: { mode: 'token', token } });
  const encoded = encodeURIComponent(token);
  for (const link of [`#token=${token}`, `#token=${encoded}`, `?token=${token}`, `?token=${encoded}`, `?a=1&token=${token}&b=2#/logs`, `#/logs&token=${token}`, `#token=ab%2Bcd/ef==01234567890123&x=%`]) {
    const dash = await visit(t, `${gateway.http}/${link}`, { allow });
    await dash.state('connected');
    assert.doesNotMatch((await dash.now()).href, /token|cd/, link);
    assert.ok(!(await keptBy(dash.page)).includes(token), link);
    const typed = await visit(t, gateway.http, { allow });
    await typed.state('refused');
    await signIn(typed, `${gateway.http}/${link}`);
    await typed.state('connected');
  }
});

test('a stray % in a token is itself, and a damaged link is refused with a reason', async (t) => {
  const token = 'half%-and%zz-and%C3-0123456789';
  const gateway = await gatewayFor(t, { auth: { mode: 'token', token } });
  const dash = await visit(t, `${gateway.http}/#token=${token}`, { allow });
  await dash.state('connected');
  for (const damaged of ['#token=%', '#token=%C3%', '?token=%FF']) {
    const other = await visit(t, `${gateway.http}/${damaged}`, { allow });
    assert.equal((await other.state('refused')).code, 'AUTH_TOKEN_MISMATCH', damaged);
    assert.doesNotMatch((await other.now()).href, /token/);
    await signIn(other, `${gateway.http}/${damaged}`);
    await other.sees(/token is wrong|mismatch/i);
  }
});

for (const [what, pattern] of [['all scripts', /\/assets\/.*\.js$/], ['one imported script', /\/assets\/.*\/nodes\.js$/], ['everything but the page', /\/assets\//]]) {
  test(`blocked: ${what}; the page says what to do, and the token is not in the address`, async (t) => {
    const gateway = await gatewayFor(t);
    const context = await (await chromiumNow()).newContext({ viewport: { width: 390, height: 800 } });
    t.after(() => context.close());
    const page = await context.newPage();
    await page.route(pattern, (route) => route.fulfill({ status: 404, body: 'Not Found' }));
    await page.goto(gateway.link);
    await page.getByText(/has not started/).filter({ visible: true }).waitFor();
    await page.getByText(/proxy in front of the gateway/).filter({ visible: true }).waitFor();
    assert.equal(page.url(), `${gateway.http}/`);
    await page.evaluate((token) => (location.hash = `token=${token}`), TOKEN);
    await until('the address without the token', () => !page.url().includes(TOKEN));
    await page.screenshot({ path: join(tempDir('picture'), 'blocked.png') });
  });
}

test('without JavaScript the page says so', async (t) => {
  const gateway = await gatewayFor(t);
  const context = await (await chromiumNow()).newContext({ javaScriptEnabled: false });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(gateway.http);
  await page.getByText(/Allow JavaScript/).filter({ visible: true }).waitFor();
});

/** Starts nginx with a location for each gateway, whose path it does not forward. */
async function nginx(t, locations) {
  const dir = tempDir('nginx');
  const port = await freePort();
  const blocks = Object.entries(locations).map(([path, to]) => `location ${path} { proxy_pass ${to}; proxy_http_version 1.1;
    proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }`);
  writeFileSync(join(dir, 'nginx.conf'), `daemon off; worker_processes 1; pid ${dir}/pid; error_log ${dir}/error.log;
    events {} http { access_log off; client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u;
    scgi_temp_path ${dir}/s; server { listen 127.0.0.1:${port}; ${blocks.join('\n')} } }`);
  const child = spawn('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf')], { stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done));
  t.after(async () => { child.kill(); await ended; });
  const base = `http://127.0.0.1:${port}`;
  await until('nginx', () => fetch(`${base}/none`).then(() => true, () => false));
  return base;
}

const scopesOf = async (gateway) => (await gateway.json('devices', 'list')).paired.map((one) => one.scopes.length);

test('two gateways below one nginx: neither inherits what the page remembers of the other', async (t) => {
  const [a, b] = [await gatewayFor(t), await gatewayFor(t)];
  const base = await nginx(t, { '/a/': `${a.http}/`, '/b/': `${b.http}/` });
  const dash = await visit(t, `${base}/a/`, { allow: /502/ });
  await dash.state('refused');
  await signIn(dash, (await a.json('pair', '--scopes', 'read')).code);
  await dash.state('connected');
  await dash.page.goto(`${base}/b/#token=${TOKEN}`);
  await dash.state('connected');
  await dash.page.reload();
  await dash.state('connected');
  await dash.go('Connect a device');
  assert.ok(await dash.button('Create a code').isEnabled(), 'all rights at the second gateway');
  await dash.page.goto(`${base}/a/`);
  await dash.state('connected');
  await dash.go('Connect a device');
  assert.ok(await dash.button('Create a code').isDisabled(), 'only to read at the first one');
  for (const gateway of [a, b]) assert.deepEqual((await gateway.json('devices', 'list')).pending, []);
  assert.deepEqual(await scopesOf(a), [1]);
  assert.ok((await scopesOf(b))[0] > 1);
});

test('another gateway on the same port: the page asks for its own rights there, and shows nothing of the one before', async (t) => {
  const a = await gatewayFor(t);
  const other = tempDir('state');
  const dash = await enter(t, a, { allow });
  await dash.go('Activity');
  const swap = async (stateDir) => {
    await a.stop();
    const next = await gatewayFor(t, {}, { port: a.port, stateDir });
    a.stop = next.stop;
    return next;
  };
  const b = await swap(other);
  await dash.state('refused');
  await signIn(dash, (await b.json('pair', '--scopes', 'read')).code);
  await dash.state('connected');
  await sleep(300);
  await dash.state('connected');
  await dash.go('Connect a device');
  assert.ok(await dash.button('Create a code').isDisabled());
  await swap(a.stateDir);
  await dash.state('lost', 'connecting', 'connected');
  await dash.page.reload();
  await dash.state('connected');
  await dash.go('Connect a device');
  await until('all rights again', () => dash.button('Create a code').isEnabled());
  assert.deepEqual((await a.json('devices', 'list')).pending, []);
});

test('on loopback the page warns before a code is made, and changes the bind at a click', async (t) => {
  const gateway = await gatewayFor(t, { bind: 'loopback' });
  const dash = await enter(t, gateway, { width: 390, height: 844, allow });
  const section = await dash.go('Connect a device');
  await dash.sees(/Only this machine can use a code/, section);
  await dash.sees(/every device there can try to connect/, section);
  await dash.click('Listen on the local network');
  await dash.sees(/Start the gateway again/, section);
  const changed = /takes effect at the next start/;
  assert.match((await gateway.cli('config', 'print')).stdout, changed);
  const made = await gateway.cli('pair');
  assert.match(made.stderr, /gatelet config set gateway\.bind lan/);
  const undo = await gateway.cli('config', 'set', 'gateway.bind', 'loopback');
  assert.equal(undo.code, 0, undo.stderr);
  const print = (await gateway.cli('config', 'print')).stdout;
  assert.match(print, /gateway\.bind\s+loopback/);
  assert.doesNotMatch(print, changed);
});

/** Sends a request for another name to the gateway, with the Host header that it had. */
async function forward(route, gateway) {
  const { pathname, search, host } = new URL(route.request().url());
  const headers = { ...(await route.request().allHeaders()), host };
  const reply = await route.fetch({ url: `${gateway.http}${pathname}${search}`, headers });
  await route.fulfill({ response: reply });
}

/** Connects a page's WebSocket to the gateway, with the Host and Origin headers of the page. */
function relay(socket, gateway, origin) {
  const far = new WebSocket(gateway.url, { headers: { Host: new URL(origin).host }, origin });
  const waiting = [];
  far.on('open', () => waiting.splice(0).forEach((data) => far.send(data)));
  far.on('message', (data) => socket.send(data.toString()));
  socket.onMessage((data) => (far.readyState === WebSocket.OPEN ? far.send(data) : waiting.push(data)));
}

const IMAGE = { GATELET_IMAGE: '1', GATELET_BIND: 'lan' };
for (const [what, env, host, expected] of [
  ['the Host by which the browser came', IMAGE, 'pi.local', (port) => `http://pi.local:${port}/#code=`],
  ['the published address', { ...IMAGE, GATELET_PUBLISH: '8080', GATELET_PUBLISH_ADDRESS: '192.168.1.20' }, '127.0.0.1', () => 'http://192.168.1.20:8080/#code='],
  ['no address', { ...IMAGE, GATELET_PUBLISH: '8080', GATELET_PUBLISH_ADDRESS: '0.0.0.0' }, '127.0.0.1', () => null],
]) {
  test(`behind Docker's port, on a phone's screen, the QR code holds ${what}`, async (t) => {
    const gateway = await gatewayFor(t, {}, { env });
    const context = await (await chromiumNow()).newContext({ viewport: { width: 390, height: 844 } });
    t.after(() => context.close());
    const page = await context.newPage();
    // The name resolves to this machine, as mDNS would make it on a phone.
    if (host !== '127.0.0.1') await page.route(`http://${host}:${gateway.port}/**`, (route) => forward(route, gateway));
    const at = host === '127.0.0.1' ? gateway.http : `http://${host}:${gateway.port}`;
    if (host !== '127.0.0.1') await page.routeWebSocket(/.*/, (socket) => relay(socket, gateway, at));
    await page.goto(`${at}/#token=${TOKEN}`);
    await page.waitForSelector('html[data-state=connected]');
    await page.goto(`${at}/#/connect`);
    await page.getByRole('button', { name: 'Create a code' }).click();
    const code = (await page.getByText(/^[A-Z0-9]{4}-[A-Z0-9]{4}$/).first().innerText()).replace('-', '');
    const read = await readPicture(page.locator('#qr'));
    const link = expected(gateway.port);
    if (link) assert.equal(read, `${link}${code}`);
    else await page.getByText(/No address for other devices is known: this/).waitFor();
    if (link) {
      await page.getByText('QR code for an app').click();
      assert.match(await readPicture(page.locator('#app-qr')), /^oc-pair:/);
    }
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} pixels wide`);
    assert.doesNotMatch(await page.locator('body').innerText(), /172\.\d+\.\d+\.\d+/);
    if (process.env.E2E_KEEP) await page.screenshot({ path: join(pictures, `connect-${what.replace(/\W+/g, '-')}.png`), fullPage: true });
  });
}
