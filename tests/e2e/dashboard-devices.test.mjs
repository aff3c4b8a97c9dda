// Devices and nodes on gatelet's page: after each action `gatelet devices list` and `gatelet nodes
// list` show the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, enter, fakeNode, gatewayFor, ownNode, signIn, visit } from './dash.mjs';
import { until } from './lib.mjs';

/** Opens the owner's page of a gateway in strict mode. */
async function strictPage(t, more) {
  const gateway = await gatewayFor(t, { pairing: { mode: 'strict' }, ...more });
  const dash = await visit(t, gateway.http);
  await signIn(dash, (await gateway.json('pair')).code);
  await dash.state('connected');
  return { gateway, dash };
}
/** Waits until `probe` accepts the entries of a device in `gatelet devices list`. */
const listed = (gateway, id, what, probe) =>
  until(what, async () => {
    const { pending, paired } = await gateway.json('devices', 'list');
    return probe({ pending: pending.find((one) => one.deviceId === id), paired: paired.find((one) => one.deviceId === id) });
  });

test('a device that asks while the page is open appears with all that is known of it, and is let in by a click', async (t) => {
  const { gateway, dash } = await strictPage(t, { trustedProxies: ['127.0.0.1'] });
  await dash.view('Devices');
  await dash.sees('No device is waiting.');
  const scopes = ['operator.read', 'operator.write'];
  const asker = await ask(t, gateway, { name: 'kitchen', scopes, headers: { 'X-Forwarded-For': '203.0.113.7' } });
  assert.equal(asker.error.code, 'NOT_PAIRED');
  const row = dash.row('kitchen');
  for (const text of [asker.short, /iOS 26/, /203\.0\.113\.7/, /read/, /write/, /just now|ago/]) await dash.sees(text, row);
  await dash.click(`Approve kitchen, ${asker.short}`);
  await listed(gateway, asker.device.id, 'approved', ({ pending, paired }) => !pending && paired?.scopes?.length === 2);
  await dash.sees('No device is waiting.');
  const again = await ask(t, gateway, { device: asker.device, name: 'kitchen', scopes, auth: undefined });
  assert.ok(again.hello, 'and is in');
  await dash.sees('connected', dash.row('kitchen'));
  await again.end();
  await dash.misses('connected', dash.row('kitchen'));
});

test('a device is turned down by a click', async (t) => {
  const { gateway, dash } = await strictPage(t);
  const asker = await ask(t, gateway, { name: 'stranger' });
  await dash.click(`Reject stranger, ${asker.short}`);
  await listed(gateway, asker.device.id, 'rejected', ({ pending, paired }) => !pending && !paired);
  await dash.row('stranger').waitFor({ state: 'detached' });
  await dash.sees('No device is waiting.');
});

test('this browser is marked, and every paired device has how it came in and when it was seen', async (t) => {
  const gateway = await gatewayFor(t);
  const other = await ask(t, gateway, { name: 'laptop' });
  await other.end();
  const dash = await enter(t, gateway);
  const { paired } = await gateway.json('devices', 'list');
  const own = paired.find((one) => one.clientId === 'openclaw-control-ui');
  await dash.sees('this browser', dash.row(own.deviceId.slice(0, 8)));
  assert.equal(await dash.page.getByText('this browser', { exact: true }).filter({ visible: true }).count(), 1);
  const row = dash.row('laptop');
  for (const text of [other.short, /token/, /seen .*(just now|ago)/]) await dash.sees(text, row);
});

test('rename, rotate, revoke, approve again and remove by clicking', async (t) => {
  const gateway = await gatewayFor(t);
  const other = await ask(t, gateway, { name: 'laptop' });
  const { id } = other.device;
  const dash = await enter(t, gateway);
  await dash.click(`Rename laptop, ${other.short}`);
  const name = dash.page.getByRole('textbox', { name: /name/i });
  await name.fill('Desk <b>&amp;');
  await name.press('Enter');
  const called = 'Desk <b>&amp;';
  await listed(gateway, id, 'renamed', ({ paired }) => [paired.operatorLabel, paired.label, paired.displayName].includes(called));
  await dash.sees(called);

  const token = other.hello.auth.deviceToken;
  await dash.click(`Rotate ${called}, ${other.short}`);
  await dash.sees(/new token/i, dash.page.getByRole('status'));
  const inList = new RegExp(`${other.short}.*\\(token 2\\)`);
  assert.match((await gateway.cli('devices', 'list')).stdout, inList);
  const comes = (deviceToken) => ask(t, gateway, { device: other.device, auth: { deviceToken } });
  const rotated = await comes(token);
  assert.ok(rotated.hello.auth.deviceToken !== token, 'the old one still lets in, and brings a new one');
  assert.ok((await comes(rotated.hello.auth.deviceToken)).hello, 'which lets in');

  await dash.click(`Revoke ${called}, ${other.short}`);
  await dash.click('Cancel');
  assert.equal((await gateway.json('devices', 'list')).paired.find((one) => one.deviceId === id).revokedRoles.length, 0);
  await dash.click(`Revoke ${called}, ${other.short}`);
  await dash.click('Yes, revoke');
  await listed(gateway, id, 'revoked', ({ paired }) => paired.revokedRoles.length === 1);
  await other.closed;
  const again = await ask(t, gateway, { device: other.device });
  assert.equal(again.error.details.reason, 'device-revoked');
  await dash.sees(/revoked/, dash.row(called));

  await dash.click(`Approve ${called}, ${other.short}`);
  await listed(gateway, id, 'approved again', ({ paired }) => paired.revokedRoles.length === 0);

  await dash.click(`Remove ${called}, ${other.short}`);
  await dash.click('Yes, remove');
  await listed(gateway, id, 'removed', ({ paired }) => !paired);
  await dash.row(called).waitFor({ state: 'detached' });
});

test('a node appears by itself, its surface is approved and it is asked by clicking; it goes by itself', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  await dash.go('Nodes');
  const node = await ownNode(t, gateway);
  await dash.sees('shed');
  for (const command of ['device.info', 'device.status', 'system.which']) await dash.sees(command);
  await dash.click(`Approve shed, ${node.short}`);
  await until('the surface is approved', async () => (await gateway.json('nodes', 'list')).nodes[0].approvalState === 'approved');

  await invoke(dash, 'system.which', '{"bins": ["sh", "no-such-program"]}');
  await dash.sees(/"sh": ?"\/.*\/sh"/);
  await invoke(dash, 'system.which', '{"bins": "sh"}');
  await dash.sees(/Failed after .*system\.which of shed/);
  await dash.sees(/bins/, dash.page.locator('p'));
  await invoke(dash, 'system.which', '{"bins": [');
  await dash.sees(/This is not JSON/);

  await node.stop();
  await until('gone', async () => !(await gateway.json('nodes', 'list')).nodes[0].connected);
  await dash.misses('connected', dash.row('shed'));
});

async function invoke(dash, command, params) {
  await dash.page.getByLabel('Command', { exact: true }).selectOption(command);
  await dash.page.getByLabel('Parameters, as JSON').fill(params);
  await dash.click('Invoke');
}

test('a node that never answers is said after its time; one that says no is said with its words', async (t) => {
  const gateway = await gatewayFor(t);
  const commands = { 'device.info': () => undefined, 'device.status': () => ({ error: { code: 'BUSY', message: 'the battery is low' } }) };
  const node = await fakeNode(t, gateway, { name: 'phone', platform: 'android', commands });
  const { pending: [{ requestId }] } = await gateway.json('nodes', 'list');
  await gateway.json('nodes', 'approve', requestId);
  const dash = await enter(t, gateway);
  await dash.go('Nodes');
  await invoke(dash, 'device.status', '');
  await dash.sees(/the battery is low/);
  await dash.page.getByLabel('Time limit in seconds').fill('1');
  await invoke(dash, 'device.info', '{}');
  await dash.sees(/timed out|TIMEOUT/);
  assert.ok(node.hello);
});
