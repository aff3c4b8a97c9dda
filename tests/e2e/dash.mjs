// gatelet's own page in a browser: what it shows, what it does, and what it must never do.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after } from 'node:test';
import { bin, cleanEnv, connectRaw, e2eDir, gatelet, here, load, newDevice, startGateway, tempDir, until } from './lib.mjs';

const { chromium } = await load('playwright-core');
const { default: jsQR } = await load('jsqr').then(({ default: module }) => (module.default ? module : { default: module }));

export const TOKEN = 'dash-token-0123456789abcdef';
export const VIEWS = ['Devices', 'Nodes', 'Activity', 'Logs', 'Connect a device', 'Configuration'];
/** Screenshots of the page; kept by CI, never in git. */
export const pictures = join(e2eDir, 'screenshots');
export const e2eTools = join(e2eDir, 'tools/node_modules');
const WAIT = 10_000;
// Layout shift scores as defined by browsers: fraction of the window that moves times the distance.
// An element below a list may move by one row when the list grows.
const MOST_SHIFT = { load: 0.05, change: 0.15 };

// ---- gateways and their clients

/**
 * Starts a gateway for test `t`; `own`: keys of its section `gateway`. Stopped at the end of the
 * test.
 */
export async function gatewayFor(t, own = {}, more = {}) {
  const config = { gateway: { auth: { mode: 'token', token: TOKEN }, ...own } };
  const gateway = await startGateway({ config, ...more });
  const made = { ...gateway, config };
  /**
   * Stops the gateway and starts it again on the same port and state directory; awaits `pause`
   * between.
   */
  made.restart = async (pause = () => {}) => {
    await made.stop();
    await pause();
    Object.assign(made, await startGateway({ config, ...more, stateDir: gateway.stateDir, port: gateway.port }));
  };
  made.json = async (...words) => {
    const { code, stdout, stderr } = await made.cli(...words, '--json');
    assert.equal(code, 0, `gatelet ${words.join(' ')}: ${stderr}${stdout}`);
    return JSON.parse(stdout);
  };
  made.link = `${made.http}/#token=${TOKEN}`;
  t.after(() => made.stop());
  return made;
}

/** Connects an iOS app's device; returns the outcome and `device`. */
export async function ask(t, gateway, { name = 'asker', auth = { token: TOKEN }, device = newDevice(), ...more } = {}) {
  const client = { id: 'openclaw-ios', mode: 'ui', version: 'e2e', platform: 'iOS 26', displayName: name };
  const asked = await connectRaw({ url: gateway.url, client, device, auth, ...more });
  t.after(() => asked.end());
  return { ...asked, device, short: device.id.slice(0, 8) };
}

/**
 * Connects a node of protocol 4 that answers each command by `commands[name](params)`: a payload,
 * `{error}`, or undefined for no answer.
 */
export async function fakeNode(t, gateway, { name = 'phone', platform = 'android', auth = { token: TOKEN }, device = newDevice(), commands }) {
  const client = { id: 'node-host', mode: 'node', version: 'e2e', platform, displayName: name };
  const extra = { caps: ['device'], commands: Object.keys(commands) };
  const node = await connectRaw({ url: gateway.url, role: 'node', client, device, auth, extra });
  assert.ok(node.hello, JSON.stringify(node.error));
  node.ws.on('message', async (data) => {
    const { event, payload } = JSON.parse(data);
    if (event !== 'node.invoke.request') return;
    const answer = await commands[payload.command](JSON.parse(payload.paramsJSON ?? '{}'));
    const base = { id: payload.id, nodeId: device.id };
    if (answer?.error) node.request('node.invoke.result', { ...base, ok: false, error: answer.error });
    else if (answer) node.request('node.invoke.result', { ...base, ok: true, payloadJSON: JSON.stringify(answer) });
  });
  t.after(() => node.end());
  return { ...node, device, short: device.id.slice(0, 8) };
}

/** Starts a real `gatelet node run`, with the token or with a code. */
export async function ownNode(t, gateway, { name = 'shed', code } = {}) {
  const home = tempDir('node');
  const env = { GATELET_STATE_DIR: join(home, 'state'), HOME: home };
  const args = ['node', 'run', '--host', `127.0.0.1:${gateway.port}`, '--display-name', name, ...(code ? ['--code', code] : [])];
  const child = spawn(bin, args, { env: cleanEnv(code ? env : { ...env, GATELET_TOKEN: TOKEN }), stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((done) => child.once('exit', done));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data));
  const stop = async () => { child.kill(); await ended; };
  t.after(stop);
  await until('the node to connect', () => said.includes('connected to ')).catch((error) => { throw new Error(`${error.message}\n${said}`); });
  const { nodeId: id } = JSON.parse((await gatelet(['node', 'show', '--json'], env)).stdout);
  return { id, short: id.slice(0, 8), name, stop, said: () => said };
}

// ---- the browser

let browser;
after(() => browser?.close());
export async function chromiumNow() {
  browser ??= await chromium.launch({
    executablePath: process.env.E2E_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    env: cleanEnv({ HOME: tempDir('chromium') }),
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      // A page served by the driver has no address, so it may not connect to a local one.
      ...(process.env.E2E_PAGE ? ['--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets'] : [])],
  });
  return browser;
}

/** Records layout shifts without user input, and the time of admission; runs in the page. */
function watchShifts() {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.hadRecentInput) continue;
      const what = entry.sources.map(({ node, previousRect: from, currentRect: to }) => {
        const element = node?.nodeType === 3 ? node.parentElement : node;
        return `${element?.tagName} ${element?.id || element?.className} y ${from.y}-${to.y} h ${from.height}-${to.height} x ${from.x}-${to.x}`;
      });
      window.shifts.push({ value: entry.value, what });
    }
  }).observe({ type: 'layout-shift', buffered: true });
  new MutationObserver(() => {
    if (document.documentElement.dataset.state === 'connected') window.connectedAt ??= performance.now();
  }).observe(document, { attributes: true, subtree: true, attributeFilter: ['data-state'] });
}

/**
 * Opens `address` in a new browser context. At the end of the test the page must have sent no
 * request to another host, and written no error or warning to the console except those matched by
 * `allow`. `init`: a function to run in the page before its scripts, and its argument.
 */
export async function visit(t, address, { width = 1024, height = 860, scheme = 'light', allow = /^$/, init, ...options } = {}) {
  const context = await (await chromiumNow()).newContext({
    viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'], ...options,
  });
  context.setDefaultTimeout(WAIT);
  const page = await context.newPage();
  const faults = [], notes = [];
  page.on('console', (message) => {
    notes.push(`${message.type()}: ${message.text()}`);
    if (['error', 'warning'].includes(message.type()) && !allow.test(message.text())) faults.push(`console ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`error ${error.message}`));
  const { host } = new URL(address);
  const own = (url) => (['http:', 'ws:'].includes(new URL(url).protocol) ? new URL(url).host === host : url.startsWith('data:'));
  page.on('request', (request) => own(request.url()) || faults.push(`asks another: ${request.url()}`));
  page.on('websocket', (socket) => own(socket.url()) || faults.push(`connects to another: ${socket.url()}`));
  await page.addInitScript(watchShifts);
  if (init) await page.addInitScript(...init);
  if (process.env.E2E_PAGE) await serveFiles(page, process.env.E2E_PAGE);
  const dash = helpers(page, { faults, notes });
  t.after(async () => {
    if (!t.passed) {
      mkdirSync(pictures, { recursive: true });
      await page.screenshot({ path: join(pictures, `failed-${t.name.replace(/\W+/g, '-').slice(0, 60)}.png`), fullPage: true }).catch(() => {});
    }
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.goto(address);
  return Object.assign(dash, { context });
}

const [, VERSION] = /^version = "(.*)"$/m.exec(readFileSync(join(here, '../../Cargo.toml'), 'utf8'));
/** Serves the page from a source directory instead of the binary: E2E_PAGE=src/dashboard. */
async function serveFiles(page, dir) {
  const types = { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8' };
  const policy = /CSP: &str =\s*"([^;]*;[^"]*)"/.exec(readFileSync(join(here, '../../src/dashboard/mod.rs'), 'utf8'))[1].replace(/\\\n\s*/g, '');
  const give = (route, name) => {
    const body = readFileSync(join(dir, name), 'utf8').replaceAll('{digest}', '0').replaceAll('{version}', VERSION);
    return route.fulfill({ body, contentType: types[name.split('.').pop()], headers: { 'Content-Security-Policy': policy } });
  };
  await page.route((url) => url.pathname === '/', (route) => give(route, 'index.html'));
  await page.route(/\/assets\/0\//, (route) => give(route, new URL(route.request().url()).pathname.split('/').pop()));
}

/** Opens the gateway's link and waits until the page is connected. */
export async function enter(t, gateway, options) {
  const dash = await visit(t, gateway.link, options);
  await dash.state('connected');
  return dash;
}

/** Label of the input of the sign-in form. */
export const DOOR = /setup code/i;
/** Enters a token, a code or a link in the sign-in form. */
export async function signIn(dash, secret) {
  await dash.page.getByLabel(DOOR).fill(secret);
  await dash.click('Connect');
}

function helpers(page, { faults, notes }) {
  const now = () => page.evaluate(() => ({ ...document.documentElement.dataset, text: document.body.innerText, href: location.href }));
  const explain = (what) => async (error) => {
    throw new Error(`${what}: ${error.message.split('\n')[0]}\n${JSON.stringify(await now(), null, 1)}\n${notes.join('\n')}\n${faults.join('\n')}`);
  };
  const button = (name) => page.getByRole('button', { name, exact: true });
  const dash = {
    page, faults, notes, now, button,
    /** Waits for <html data-state=...>; returns {state, code, text, href}. */
    async state(...states) {
      const selector = states.map((state) => `html[data-state="${state}"]`).join(', ');
      await page.waitForSelector(selector, { state: 'attached' }).catch(explain(`the page never said ${states}`));
      return now();
    },
    /** Waits until a text is visible. */
    sees: (text, within = page.locator('body'), timeout = WAIT) =>
      within.getByText(text).filter({ visible: true }).first().waitFor({ timeout }).catch(explain(`"${text}" is not to be seen`)),
    /** Waits until a text is not visible. */
    misses: (text, within = page.locator('body')) =>
      within.getByText(text).filter({ visible: true }).first().waitFor({ state: 'hidden' }).catch(explain(`"${text}" is still to be seen`)),
    click: (name, within = page) => within.getByRole('button', { name, exact: true }).click().catch(explain(`no button "${name}" to click`)),
    /**
     * Returns the state in words and its explanation when both are visible; a busy browser renders
     * them later than it sets the state.
     */
    async words() {
      await page.waitForFunction(() => document.getElementById('state').innerText !== '').catch(explain('the page never says its state'));
      return page.evaluate(() => ['state', 'words'].map((id) => document.getElementById(id).innerText));
    },
    /** Opens a view and returns its section. */
    async go(name) {
      const link = page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name, exact: true });
      await link.click().catch(explain(`no link "${name}"`));
      return dash.view(name);
    },
    async view(name) {
      const section = page.getByRole('region', { name, exact: true }).filter({ visible: true });
      await section.first().waitFor().catch(explain(`the view ${name} does not come`));
      // The number of pending requests may follow the name.
      const current = await page.getByRole('navigation', { name: 'Views' }).locator('[aria-current=page]').innerText();
      assert.equal(current.split('\n')[0], name);
      return section.first();
    },
    /** Returns the row of a list that contains this text. */
    row: (text) => page.getByRole('listitem').filter({ visible: true, hasText: text }).first(),
    /**
     * Reloads the page until it connects within 400 ms, as on an idle machine, because a slower
     * page may first show that it is connecting. Returns false after five attempts.
     */
    async reload() {
      for (let round = 0; round < 5; round++) {
        await page.reload();
        await dash.state('connected');
        if ((await page.evaluate(() => window.connectedAt)) < 400) return true;
      }
      return false;
    },
    /**
     * Returns the layout shifts since the last call or load: an empty list if below the limit, else
     * `what` with score and elements. For a load the limit applies to the sum, otherwise to each
     * shift.
     */
    async moved(what, { load = false } = {}) {
      const shifts = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(window.shifts.splice(0)), 50))));
      const values = shifts.map(({ value }) => value);
      const most = load ? values.reduce((sum, value) => sum + value, 0) : Math.max(0, ...values);
      return most < (load ? MOST_SHIFT.load : MOST_SHIFT.change) ? [] : [`${what}: ${shifts.map(({ value, what }) => `${value.toFixed(3)} ${what.join(', ')}`).join('; ')}`];
    },
    /** Waits for the value shown under a label in a list of facts. */
    fact: (label, within = page) =>
      within.locator('dl > div').filter({ has: page.getByText(label, { exact: true }), visible: true }).first().locator('dd').innerText().catch(explain(`no fact "${label}"`)),
    /**
     * Copies the command that matches, and returns the content of the clipboard. For a gateway in a
     * container the command is prefixed with that to run it there.
     */
    async copied(command) {
      const copy = page.getByRole('button', { name: new RegExp(`^Copy: .*${command.source}`) });
      await copy.click().catch(explain(`no command ${command} to copy`));
      await dash.sees('Copied');
      return page.evaluate(() => navigator.clipboard.readText());
    },
  };
  return dash;
}

/** Decodes the QR code in a picture. */
export async function readPicture(picture) {
  const { data, width, height } = await picture.evaluate((image) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    const context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return { data: [...context.getImageData(0, 0, canvas.width, canvas.height).data], width: canvas.width, height: canvas.height };
  });
  return jsQR(Uint8ClampedArray.from(data), width, height)?.data;
}

/** Returns everything that the page could have stored, as one text. */
export async function keptBy(page) {
  const session = await page.context().newCDPSession(page);
  const { entries } = await session.send('Page.getNavigationHistory');
  await session.detach();
  const inside = await page.evaluate(async () => {
    const show = (value) => JSON.stringify(value, (key, one) => (one instanceof Uint8Array ? [...one].map((byte) => String.fromCharCode(byte)).join('') : one));
    const all = (request) => new Promise((done, fail) => { request.onsuccess = () => done(request.result); request.onerror = fail; });
    const found = [location.href, document.cookie, show(history.state), show({ ...localStorage }), show({ ...sessionStorage }), document.documentElement.outerHTML];
    for (const { name } of await indexedDB.databases()) {
      const database = await all(indexedDB.open(name));
      for (const store of database.objectStoreNames) {
        const opened = database.transaction(store).objectStore(store);
        found.push(name, store, show(await all(opened.getAllKeys())), show(await all(opened.getAll())));
      }
      database.close();
    }
    found.push(show([...document.querySelectorAll('input, textarea')].map((input) => input.value)), ...((await window.caches?.keys()) ?? []));
    return found.join('\n');
  });
  // The browser itself keeps what the user typed, out of reach of any page; only the session
  // history counts.
  const reached = entries.map(({ url, title }) => `${url} ${title}`);
  return [inside, ...reached, JSON.stringify(await page.context().cookies()), page.url()].join('\n');
}

// ---- a gateway with an example of everything

/**
 * Creates pending, paired, disconnected and revoked devices, nodes and refusals; connects the
 * owner's page.
 */
export async function furnish(t, options) {
  const gateway = await gatewayFor(t, { pairing: { mode: 'strict' } });
  const code = async (...words) => ({ bootstrapToken: (await gateway.json('pair', ...words)).code });
  const paired = {};
  for (const name of ['Work laptop', 'Old phone', 'Kitchen display with a rather long name that somebody gave it']) paired[name] = await ask(t, gateway, { name, auth: await code() });
  await paired['Kitchen display with a rather long name that somebody gave it'].end();
  await gateway.json('devices', 'revoke', paired['Old phone'].device.id);
  const shed = await ownNode(t, gateway, { code: (await code('--role', 'node')).bootstrapToken });
  const phone = { device: newDevice(), name: 'Pixel', commands: { 'device.info': () => ({ model: 'Pixel' }), 'camera.list': () => ({ cameras: [] }), 'location.get': () => undefined } };
  const client = { id: 'node-host', mode: 'node', version: 'e2e', platform: 'android', displayName: phone.name };
  await connectRaw({ url: gateway.url, role: 'node', client, device: phone.device, auth: { token: TOKEN } });
  const [{ requestId }] = (await gateway.json('devices', 'list')).pending;
  await gateway.json('devices', 'approve', requestId);
  await fakeNode(t, gateway, phone);
  const asker = await ask(t, gateway, { name: 'New tablet', scopes: ['operator.read', 'operator.write'] });
  await ask(t, gateway, { name: 'stranger', auth: { token: 'wrong' } });
  const dash = await visit(t, gateway.http, options);
  await dash.state('refused');
  await signIn(dash, (await code()).bootstrapToken);
  await dash.state('connected');
  return { gateway, dash, shed, asker, paired };
}
