// Appearance of gatelet's page: screenshots of every view at three widths, light and dark; no
// overflow, no layout shifts, sufficient contrast, and accessible names.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, e2eTools, fakeNode, furnish, gatewayFor, pictures, signIn, VIEWS, visit } from './dash.mjs';
import { until } from './lib.mjs';

const WIDTHS = [[390, 844], [820, 1180], [1440, 900]];
const ENDS = [WIDTHS[0], WIDTHS[2]];
const SCHEMES = ['light', 'dark'];
const axe = readFileSync(join(e2eTools, 'axe-core/axe.min.js'), 'utf8');
/** Text that is visible in a view once it is rendered. */
const PROOF = { Devices: 'New tablet', Nodes: 'Pixel', Activity: 'shed', Logs: /listening/, 'Connect a device': /code/i, Configuration: /pairing/i };
/** Views that list a connected node. */
const LISTS = ['Devices', 'Nodes', 'Activity'];
const QUIET = { ...PROOF, Devices: 'this browser', Nodes: 'There are no nodes yet.', Activity: 'this browser' };
mkdirSync(pictures, { recursive: true });

/**
 * Returns the elements that overflow the window on the right, except inside scrolling containers.
 */
const sticksOut = () => {
  const scrolls = (element) => element && (/auto|scroll|hidden/.test(getComputedStyle(element).overflowX) ? element !== document.body && element !== document.documentElement : scrolls(element.parentElement));
  const out = [...document.body.querySelectorAll('*')].filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5 && !scrolls(element.parentElement));
  const page = document.scrollingElement;
  return [...(page.scrollWidth > page.clientWidth ? [`the page is ${page.scrollWidth} wide`] : []), ...out.map((element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`)];
};

/**
 * Returns the violations found by axe-core: contrast, names, roles, order of headings, live
 * regions.
 */
async function inaccessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 4).map(({ html, any, all }) => `${html.slice(0, 160)} (${[...any, ...all].map(({ message }) => message).join('; ')})`).join('\n  ')}`);
}

/** Takes a screenshot for each width and color scheme; returns all problems found. */
async function picture(dash, name, { sizes = WIDTHS, checked = true } = {}) {
  const { page } = dash;
  const wrong = [];
  for (const [width, height] of sizes) for (const scheme of SCHEMES) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme });
    await page.evaluate(() => scrollTo(0, 0));
    const what = `${name}-${width}-${scheme}`;
    await page.screenshot({ path: join(pictures, `${what}.png`), fullPage: true, animations: 'disabled' });
    const found = await page.evaluate(sticksOut);
    if (checked && (width === 390 || (sizes === WIDTHS && width === 1440 && scheme === 'light'))) found.push(...(await inaccessible(page)));
    wrong.push(...found.map((one) => `${what}: ${one}`));
  }
  await page.setViewportSize({ width: 1024, height: 860 });
  return wrong;
}

test('every view, at every width, light and dark', async (t) => {
  const { dash, gateway } = await furnish(t, { allow: /ERR_CONNECTION_REFUSED/ });
  const wrong = [];
  for (const name of VIEWS) {
    const section = await dash.go(name);
    if (name === 'Connect a device') await dash.click('Create a code');
    await dash.sees(PROOF[name], section);
    wrong.push(...(await picture(dash, name.toLowerCase().replaceAll(' ', '-'))));
  }
  await dash.go('Devices');
  await dash.page.getByRole('button', { name: /^Revoke Work laptop/ }).click();
  wrong.push(...(await picture(dash, 'devices-asked', { sizes: ENDS })));
  await dash.go('Nodes');
  await dash.page.getByLabel('Parameters, as JSON').fill('{"bins": ["sh", "git"]}');
  await dash.page.getByLabel('Command', { exact: true }).selectOption('system.which');
  await dash.click('Invoke');
  await dash.sees(/^Answered/);
  await dash.page.getByRole('button', { name: /^Device status of shed/ }).click();
  await dash.sees('As of');
  wrong.push(...(await picture(dash, 'nodes-answered', { sizes: ENDS })));
  await dash.go('Logs');
  await dash.page.getByRole('button', { name: /^Explain/ }).last().click();
  await dash.sees('Answer');
  wrong.push(...(await picture(dash, 'logs-explained', { sizes: ENDS })));
  const activity = await dash.go('Activity');
  await activity.locator('summary').filter({ hasText: /token mismatch/ }).first().click();
  wrong.push(...(await picture(dash, 'activity-explained', { sizes: ENDS })));
  await gateway.stop();
  await dash.state('lost');
  wrong.push(...(await picture(dash, 'lost', { sizes: ENDS, checked: false })));
  assert.deepEqual(wrong, []);
});

test('sign-in page: no token, a pending request, plain HTTP', async (t) => {
  const gateway = await gatewayFor(t, { pairing: { mode: 'strict' } });
  const dash = await visit(t, gateway.http);
  await dash.fact('Address');
  const wrong = await picture(dash, 'sign-in-refused');
  const waits = await visit(t, gateway.link);
  await waits.fact('Request');
  await waits.fact('Address');
  wrong.push(...(await picture(waits, 'sign-in-waits')));
  assert.deepEqual(wrong, []);
});

/** Returns the elements that are too small for touch input. */
const small = () => [...document.querySelectorAll('a, button, input, select, textarea, summary')]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.unseen, .skip'))
  .map((element) => [element, (element.closest('label') ?? element).getBoundingClientRect()])
  .filter(([{ type }, { width, height }]) => Math.min(width, height) < (type === 'checkbox' ? 24 : 44))
  .map(([element, { width, height }]) => `${element.getAttribute('aria-label') ?? (element.textContent.slice(0, 40) || element.id)}: ${width} x ${height}`);

test('on a phone everything is large enough for a finger, and a tap approves', async (t) => {
  const { dash, gateway, asker } = await furnish(t, { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  const wrong = [];
  for (const name of VIEWS) {
    const section = await dash.go(name);
    if (name === 'Connect a device') await dash.click('Create a code');
    await dash.sees(PROOF[name], section);
    wrong.push(...(await dash.page.evaluate(small)).map((one) => `${name}: ${one}`), ...(await dash.page.evaluate(sticksOut)));
  }
  await dash.go('Devices');
  await dash.button(`Approve New tablet, ${asker.short}`).tap();
  await until('approved', async () => !(await gateway.json('devices', 'list')).pending.length);
  assert.deepEqual(wrong, []);
});

for (const [width, height] of WIDTHS)
  test(`nothing jumps at ${width} px: on load, on a reload, when devices and nodes come and go`, async (t) => {
    const gateway = await gatewayFor(t, { pairing: { mode: 'strict' } });
    const dash = await visit(t, gateway.http, { width, height });
    await signIn(dash, (await gateway.json('pair')).code);
    await dash.state('connected');
    await dash.moved('signing in is no jump');
    const moved = [];
    for (const name of VIEWS) {
      await dash.go(name);
      moved.push(...(await dash.moved(`going to ${name}`)));
      const quick = await dash.reload();
      await dash.sees(QUIET[name]);
      const loaded = await dash.moved(`${name} on a reload`, { load: true });
      if (quick) moved.push(...loaded);
      else t.diagnostic(`${name} is not judged on a reload: this machine is too busy`);
      const asker = await ask(t, gateway, { name: 'kitchen' });
      const { pending } = await gateway.json('devices', 'list');
      await gateway.json('devices', 'approve', pending[0].requestId);
      const again = await ask(t, gateway, { name: 'kitchen', device: asker.device });
      const node = await fakeNode(t, gateway, { auth: { bootstrapToken: (await gateway.json('pair', '--role', 'node')).code }, commands: { 'device.info': () => ({}) } });
      if (LISTS.includes(name)) await dash.row('phone').waitFor();
      moved.push(...(await dash.moved(`${name} while devices come`)));
      await again.end();
      await node.end();
      for (const { id } of [asker.device, node.device]) await gateway.json('devices', 'remove', id);
      if (LISTS.includes(name)) await dash.row('phone').waitFor({ state: 'detached' });
      moved.push(...(await dash.moved(`${name} while devices go`)));
    }
    assert.deepEqual(moved, []);
  });
