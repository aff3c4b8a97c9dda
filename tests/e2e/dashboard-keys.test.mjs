// gatelet's page by keyboard only, and its accessibility tree: everything is reachable, named and
// announced, and the focus is never lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, furnish, gatewayFor, ownNode, VIEWS, visit } from './dash.mjs';
import { until } from './lib.mjs';

/** Returns keyboard actions that check the focus after each step. */
function keyboard({ page }) {
  /** Returns the focused element: `button "Approve kitchen, 0a1b2c3d"`; empty if there is none. */
  const focused = async () => {
    const snapshot = await page.locator(':focus').ariaSnapshot({ timeout: 1000 }).catch(() => '');
    return snapshot.split('\n')[0].replace(/^- /, '').replace(/:$/, '');
  };
  /** Checks that the focus is visible: outline or ring, inside the window, not covered. */
  const visible = () => page.evaluate(() => {
    const element = document.activeElement;
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
    const ring = (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1) || boxShadow !== 'none';
    const { x, y, width, height } = element.getBoundingClientRect();
    const inside = x + width > 0 && y + height > 0 && x < innerWidth && y < innerHeight;
    const top = document.elementFromPoint(Math.min(Math.max(x + width / 2, 1), innerWidth - 1), Math.min(Math.max(y + Math.min(height / 2, 20), 1), innerHeight - 1));
    const free = element.contains(top) || Boolean(top?.contains(element));
    return { ring, inside, free };
  });
  const press = async (key) => {
    await page.keyboard.press(key);
    return focused();
  };
  return {
    focused, press,
    type: (text) => page.keyboard.type(text),
    /** Presses Tab (or another key) until the focused element matches. */
    async to(wanted, key = 'Tab') {
      const tried = [];
      for (let step = 0; step < 150; step++) {
        const now = await press(key);
        tried.push(now);
        if (!now) continue; // the browser's own controls follow the last element
        assert.deepEqual(await visible(), { ring: true, inside: true, free: true }, `the focus on ${now} cannot be seen`);
        if (now.includes(wanted)) return now;
      }
      throw new Error(`the keyboard never came to ${wanted}: ${[...new Set(tried)].join(' | ')}`);
    },
    /** Waits until the focus is on a visible element after an action. */
    async kept(what) {
      await until(`the focus is somewhere after ${what}`, async () => (await page.evaluate(() => document.activeElement !== document.body && document.activeElement.checkVisibility())), 2000);
    },
  };
}

test('by keyboard alone: sign in, every view, approve, revoke, invoke a node, make a code', async (t) => {
  const gateway = await gatewayFor(t, { pairing: { mode: 'strict' } });
  const node = await ownNode(t, gateway, { code: (await gateway.json('pair', '--role', 'node')).code });
  const laptop = await ask(t, gateway, { name: 'laptop', auth: { bootstrapToken: (await gateway.json('pair')).code } });
  const asker = await ask(t, gateway, { name: 'tablet' });
  const dash = await visit(t, gateway.http);
  const keys = keyboard(dash);
  await dash.state('refused');
  await keys.to('textbox');
  await keys.type((await gateway.json('pair')).code);
  await keys.press('Enter');
  await dash.state('connected');
  await keys.kept('signing in');

  for (const name of [...VIEWS.slice(1), VIEWS[0]]) {
    await keys.to(`link "${name}"`);
    await keys.press('Enter');
    await dash.view(name);
    await keys.kept(`going to ${name}`);
  }

  await keys.to(`button "Approve tablet, ${asker.short}"`);
  await keys.press('Enter');
  await until('approved', async () => !(await gateway.json('devices', 'list')).pending.length);
  await dash.sees('No device is waiting.');
  await keys.kept('approving');

  await keys.to(`button "Revoke laptop, ${laptop.short}"`);
  await ask(t, gateway, { name: 'watch' });
  await dash.row('watch').waitFor();
  assert.ok((await keys.focused()).startsWith(`button "Revoke laptop, ${laptop.short}"`), 'what comes meanwhile takes no focus');
  await keys.press('Space');
  await keys.kept('asking whether to revoke');
  await keys.press('Escape');
  assert.ok((await keys.focused()).startsWith(`button "Revoke laptop, ${laptop.short}"`), 'Escape goes back');
  await keys.press('Space');
  if (!(await keys.focused()).includes('"Yes, revoke"')) await keys.to('button "Yes, revoke"', (await keys.focused()).includes('"Cancel"') ? 'Shift+Tab' : 'Tab');
  await keys.press('Enter');
  await until('revoked', async () => (await gateway.json('devices', 'list')).paired.find((one) => one.deviceId === laptop.device.id).revokedRoles.length === 1);
  await keys.kept('revoking');

  await keys.to('link "Nodes"', 'Shift+Tab');
  await keys.press('Enter');
  await dash.view('Nodes');
  await dash.row(node.name).waitFor();
  await keys.to('combobox "Command"');
  await keys.type('system.which');
  await keys.to('textbox "Parameters');
  await keys.press('Control+A');
  await keys.type('{"bins":["sh"]}');
  await keys.to('button "Invoke');
  await keys.press('Enter');
  await dash.sees(/"sh": ?"\/.*\/sh"/);
  await keys.kept('invoking');

  await keys.to('link "Connect a device"', 'Shift+Tab');
  await keys.press('Enter');
  await dash.view('Connect a device');
  await keys.to('button "Create a code"');
  await keys.press('Enter');
  await dash.sees(/^[A-Z0-9]{4}[- ]?[A-Z0-9]{4}$/);
  await keys.kept('making a code');
});

test('as a screen reader has it: each view has its heading, all controls have names, changes are told', async (t) => {
  const { dash, asker, gateway, paired } = await furnish(t);
  const { page } = dash;
  const tree = await page.locator('body').ariaSnapshot();
  assert.match(tree, /- navigation "Views":/);
  assert.match(tree, /- main/);
  for (const name of VIEWS) {
    const section = await dash.go(name);
    assert.deepEqual(await section.getByRole('heading', { level: 1 }).allInnerTexts(), [name]);
    const inside = await page.locator('body').ariaSnapshot();
    assert.doesNotMatch(inside, /^ *- (button|textbox|combobox|checkbox|link|spinbutton|searchbox|img)( \[[^\]]*\])*:?$/m, `${name}: something has no name`);
  }
  await dash.go('Devices');
  const verbs = { 'New tablet': [asker, ['Approve', 'Reject']], 'Work laptop': [paired['Work laptop'], ['Rename', 'Rotate', 'Revoke', 'Remove']], 'Old phone': [paired['Old phone'], ['Approve', 'Remove']] };
  for (const [name, [{ short }, words]] of Object.entries(verbs)) for (const word of words) assert.equal(await dash.button(`${word} ${name}, ${short}`).count(), 1, `${word} ${name}`);
  assert.ok(await page.locator('[role=status], [aria-live=polite]').count() >= 1);
  assert.equal(await page.locator('[role=alert]').count(), 1);
  // Changes are announced: a new pending device, a successful action, a failed one.
  const said = () => page.evaluate(() => [...document.querySelectorAll('[role=status], [aria-live], [role=alert]')].map((one) => one.textContent).join(' | '));
  await ask(t, gateway, { name: 'watch' });
  await until('the new device is told', async () => /watch|waiting/i.test(await said()));
  await dash.click(`Approve New tablet, ${asker.short}`);
  await until('the approval is told', async () => /New tablet/.test(await said()));
});
