// Visits the rows of CONTROL-UI.md for one version of OpenClaw's Control UI and compares the
// results.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fakeNode } from './cli-table.mjs';
import { openPage, rootOf } from './control-ui.mjs';
import { CLIENTS, connectRaw, here, kind, newDevice, startGateway, until } from './lib.mjs';

export const TOKEN = 'e2e-token-0123456789abcdef';
const RESULTS = ['shows data', 'shows empty', 'says so'];
/** With E2E_SHOTS, screenshots of every tab are written to this directory. */
const shots = process.env.E2E_SHOTS;

/** Returns the rows of one version: [{tab, path, result, texts}]. */
export function readRows(version, text = readFileSync(join(here, 'CONTROL-UI.md'), 'utf8')) {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${version}\n`));
  return section.split('\n').filter((line) => /^\| .* \| `\//.test(line)).map((line) => {
    const [, tab, path, result, texts] = line.match(/^\| (.+?) \| `(\/.*?)` \| ([a-z ]+): (.+) \|$/) ?? assert.fail(line);
    assert.ok(RESULTS.includes(result), `${line}: "${result}" is no result`);
    return { tab, path, result, texts: [...texts.matchAll(/`([^`]+)`/g)].map((found) => found[1]) };
  });
}

/**
 * Declares the tests of one version. `link`: URL to open. `may`: {errors, turning, problems},
 * patterns of texts and requests that occur with any gateway, each with the reason in a comment.
 * `pending`: {path, title, approve} of the page that shows a pending device. `acts`: more tests.
 */
export function controlUi(version, { protocol, link, may, pending, acts }) {
  const skip = kind !== 'gatelet';
  const rows = readRows(version);
  const state = { TOKEN };
  const links = new Set(), used = new Set();
  const allowed = (list) => (text) => {
    const found = list.find((pattern) => pattern.test(text));
    if (found) used.add(found);
    return found !== undefined;
  };

  before(async () => {
    if (skip) return;
    const gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN }, controlUi: { root: rootOf(version) } } } });
    state.gateway = gateway;
    const operator = await connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, device: newDevice(), auth: { token: TOKEN } });
    assert.ok(operator.hello, JSON.stringify(operator.error));
    state.operator = operator;
    state.node = await fakeNode({ url: gateway.url, protocol, name: 'shelf' });
    const request = await until('the node to wait', async () =>
      (await operator.request('node.pair.list', {})).pending.find(({ nodeId }) => nodeId === state.node.device.id)?.requestId);
    await operator.request('node.pair.approve', { requestId: request });
    await operator.request('system-event', { text: 'Node: workshop', deviceId: 'workshop', host: 'workshop', mode: 'ui', reason: 'launch' });
    state.ui = await openPage();
  });
  after(async () => {
    await state.ui?.close();
    for (const one of [state.node, state.operator]) await one?.end();
    await state.gateway?.stop();
  });

  /** Asserts that the page shows what the table expects. */
  async function holds(name, texts) {
    const { ui, gateway } = state;
    const seen = await ui.settled(texts, allowed(may.turning));
    if (shots) {
      mkdirSync(shots, { recursive: true });
      await ui.page.screenshot({ path: join(shots, `${version} ${name.replace(/\W+/g, ' ').trim()}.png`) });
    }
    for (const path of seen.links) links.add(path);
    const problems = ui.problems().filter((problem) => !allowed(may.problems)(problem));
    const all = `\n${name}: ${seen.href}\n${seen.text}\n--- gateway\n${gateway.log().split('\n').slice(-5).join('\n')}`;
    assert.deepEqual(seen.missing, [], `is not there${all}`);
    assert.deepEqual(seen.turning, [], `still turns${all}`);
    assert.deepEqual(seen.errors.filter((error) => !allowed(may.errors)(error)), [], `looks like an error${all}`);
    assert.deepEqual(problems, [], `went wrong${all}`);
    assert.ok(!seen.words.includes(TOKEN), `the token is to be read${all}`);
    return seen;
  }
  state.holds = holds;

  test('opened by a link with the token it is connected at the first try', { skip }, async () => {
    const { ui, gateway } = state;
    await ui.page.goto(`${gateway.http}${link(TOKEN)}`);
    await holds('opened', [rows[0].texts[0]]);
    assert.equal(ui.calls.filter((method) => method === 'connect').length, 1, 'connect');
    assert.ok(!ui.page.url().includes(TOKEN), ui.page.url());
  });

  test('its tabs', { skip }, async (t) => {
    for (const { tab, path, texts } of rows) {
      await t.test(`${tab}: ${path}`, async () => {
        await state.ui.go(path);
        await holds(tab, texts);
      });
    }
  });

  test('a device that waits is let in by a click', { skip }, async () => {
    const { ui, operator, gateway } = state;
    const before = await operator.request('config.get', {});
    await operator.request('config.patch', { raw: '{"gateway":{"pairing":{"mode":"strict"}}}', baseHash: before.hash });
    await ui.go(pending.path);
    await holds('devices', []);
    const device = newDevice();
    const phone = { url: gateway.url, min: 4, client: { ...CLIENTS.webchat, displayName: 'Phone' }, device, auth: { token: TOKEN } };
    assert.equal((await connectRaw(phone)).error?.details.code, 'PAIRING_REQUIRED');
    const shown = await ui.settled([pending.title]);
    assert.deepEqual(shown.missing, [], shown.text);
    await pending.approve(ui.page, device);
    await until('the device to be paired', async () => {
      const { stdout } = await gateway.cli('devices', 'list', '--json');
      const { pending: waits, paired } = JSON.parse(stdout);
      return waits.length === 0 && paired.some(({ deviceId }) => deviceId === device.id);
    });
    const again = await connectRaw(phone);
    assert.ok(again.hello, JSON.stringify(again.error));
    await again.end();
    await holds('device let in', []);
  });

  for (const [name, act] of Object.entries(acts)) test(name, { skip }, () => act(state));

  test('every link of its menus is a row of the table, and every exception was met', { skip }, () => {
    const paths = rows.map(({ path }) => path);
    const known = (link) => paths.some((path) => link === path || link.startsWith(`${path}/`));
    assert.ok(links.size >= 10, [...links].join(' '));
    assert.deepEqual([...links].filter((link) => !known(link)), []);
    assert.deepEqual(Object.values(may).flat().filter((pattern) => !used.has(pattern)).map(String), []);
    console.log(`${rows.length} tabs of ${version}`);
  });
}
