// Activity, logs, codes and the configuration on gatelet's page, compared with the command line and
// the file.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, enter, gatewayFor, keptBy, readPicture, TOKEN, visit } from './dash.mjs';
import { until } from './lib.mjs';

/** Splits a hint into text and commands. */
const parts = (hint) => hint.split('`').map((part) => part.replace(/^[\s,.;:]+|[\s,.;:]+$/g, '')).filter(Boolean);

/** Asserts that `box` contains all that `gatelet explain --last` prints for a refusal. */
async function likeTheCommandLine(gateway, box) {
  const { refusals: [last] } = await gateway.json('explain', '--last');
  const shown = (await box.innerText()).toLowerCase();
  for (const words of [last.rule, last.code, last.message, last.peer, last.host, last.clientId, last.device, ...parts(last.hint)])
    assert.ok(words && shown.includes(words.toLowerCase()), `"${words}" is not in: ${shown}`);
  const plain = (await gateway.cli('explain', '--last')).stdout;
  for (const words of [last.rule, ...parts(last.hint)]) assert.ok(plain.includes(words), `"${words}" is not in: ${plain}`);
}

test('activity: who is here comes and goes, events arrive, a refusal explains itself', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  const section = await dash.go('Activity');
  await dash.sees('this browser', section);
  const app = await ask(t, gateway, { name: 'tablet' });
  await dash.sees('tablet', section);
  await dash.sees(app.short, section);
  await dash.sees(/^presence/, section.getByRole('listitem'));
  await app.end();
  await dash.row(app.short).waitFor({ state: 'detached' });
  // The token is wrong and the signature valid: only the device key of this client is proven.
  await ask(t, gateway, { name: 'stranger', auth: { token: 'wrong' } });
  await dash.go('Logs');
  await dash.go('Activity');
  const refusal = section.getByText(/token mismatch/).first();
  await refusal.click();
  await likeTheCommandLine(gateway, section.locator('details[open]'));
});

test('logs: lines arrive, level and text sift them, a refusal is explained with one click', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  const section = await dash.go('Logs');
  const lines = section.getByRole('list').getByRole('listitem').filter({ visible: true });
  await dash.sees(/listening on 127\.0\.0\.1/, lines);
  const app = await ask(t, gateway, { name: 'tablet' });
  await dash.sees(new RegExp(`admit .*device=${app.short}`), lines);
  const bad = await ask(t, gateway, { name: 'stranger', auth: { token: 'wrong' } });
  await dash.sees(new RegExp(`refuse .*device=${bad.short}`), lines);

  const count = await lines.count();
  await section.getByLabel('Filter').fill(app.short);
  await dash.misses(/listening on/, lines);
  assert.ok((await lines.allInnerTexts()).every((line) => line.includes(app.short)));
  await section.getByLabel('Filter').fill('');
  await section.getByLabel('Level').selectOption({ label: 'Warnings and errors' });
  await dash.misses(/listening on/, lines);
  const grave = await lines.allInnerTexts();
  assert.ok(grave.length > 0 && grave.length < count && grave.every((line) => /\b(warn|error)\b/.test(line)), String(grave));
  await section.getByLabel('Level').selectOption({ label: 'Everything' });
  assert.ok((await lines.count()) >= count);

  await section.getByRole('button', { name: /^Explain/ }).last().click();
  await likeTheCommandLine(gateway, lines.filter({ hasText: bad.short }).last().getByRole('status'));
  assert.ok(!(await section.innerText()).includes(TOKEN));
});

test('a code: its picture and its words let one device in; used, it is shown as used', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await enter(t, gateway);
  const section = await dash.go('Connect a device');
  await dash.click('Create a code');
  const shown = section.getByText(/^[A-Z0-9]{4}-[A-Z0-9]{4}$/).first();
  await shown.waitFor();
  await dash.sees(/\b(9:5\d|10:00)\b/, section);
  const link = await dash.copied(/oc-pair:\/\/[\w-]+$/);
  const picture = section.getByRole('img', { name: /QR/ });
  assert.equal(await readPicture(picture), link);
  const { bootstrapToken } = JSON.parse(Buffer.from(link.slice('oc-pair://'.length), 'base64url'));
  assert.equal(await shown.innerText(), `${bootstrapToken.slice(0, 4)}-${bootstrapToken.slice(4)}`);
  const other = await visit(t, gateway.http);
  await other.state('refused');
  await other.page.goto((await dash.copied(/http:\/\/.*#code=/)));
  await other.state('connected');
  assert.ok(!(await keptBy(other.page)).includes(bootstrapToken), 'the code is out of the address');
  await dash.sees(/^Used by .*paired/, section);
  assert.ok(!(await section.innerText()).includes(bootstrapToken), 'and it is off the page');
  assert.equal(await picture.count(), 0);
  const { paired } = await gateway.json('devices', 'list');
  assert.deepEqual(paired.map((one) => one.provenance).sort(), ['code', 'token']);
});

test('a code nobody used is shown as expired; a code for a node gives the command to type there', async (t) => {
  const gateway = await gatewayFor(t);
  const dash = await visit(t, gateway.http);
  await dash.page.clock.install();
  await dash.page.goto(gateway.link);
  await dash.state('connected');
  const section = await dash.go('Connect a device');
  await section.getByRole('radio', { name: /^Node/ }).check();
  await dash.click('Create a code');
  const command = await dash.copied(/gatelet node run --host .* --code [A-Z0-9]{8}$/);
  assert.match(command, new RegExp(`127\\.0\\.0\\.1.*${gateway.port}`));
  await dash.page.clock.fastForward(601_000);
  await dash.sees(/^Expired/, section);
  assert.ok(!(await section.innerText()).includes(command.slice(-8)));
});

test('configuration: values and where they are from, a change in the file and in force, never over what others wrote', async (t) => {
  const gateway = await gatewayFor(t, { pairing: { mode: 'token' }, customBindHost: '192.0.2.1' });
  const file = join(gateway.stateDir, 'gatelet.json');
  const dash = await enter(t, gateway);
  const section = await dash.go('Configuration');
  const row = (key) => section.getByRole('listitem').filter({ has: dash.page.getByText(key, { exact: true }) }).first();
  await dash.sees('default', row('trustedProxies'));
  await dash.sees(/^config line 1/, row('pairing.mode'));
  await dash.sees('GATELET_BIND', row('bind'));
  await dash.sees(/chmod 600/, section);
  assert.ok(!(await section.innerText()).includes(TOKEN));

  await section.getByLabel('pairing.mode').selectOption('strict');
  await dash.click('Save');
  await dash.sees(/in effect.*pairing\.mode/, section);
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).gateway.pairing.mode, 'strict');
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).gateway.auth.token, TOKEN, 'and nothing else is touched');
  const asker = await ask(t, gateway, { name: 'tablet' });
  assert.equal(asker.error?.code, 'NOT_PAIRED', 'and it is in force');

  await section.getByLabel('auth.rateLimit.maxAttempts').fill('512');
  await dash.click('Save');
  await dash.sees(/in effect.*auth\.rateLimit\.maxAttempts/, section);

  await section.getByLabel('pairing.mode').selectOption('token');
  const theirs = readFileSync(file, 'utf8').replace('512', '300');
  writeFileSync(file, theirs);
  await dash.click('Save');
  await dash.sees(/Not saved.*the file was changed/i, section);
  assert.equal(readFileSync(file, 'utf8'), theirs);
  await until('what they wrote', async () => (await section.getByLabel('auth.rateLimit.maxAttempts').inputValue()) === '300');

  await section.getByLabel('controlUi.allowedOrigins').fill('not an origin');
  await dash.click('Save');
  await dash.sees(/Not saved/, section);
  await dash.sees(/allowedOrigins/, dash.page.getByRole('alert'));
  assert.equal(readFileSync(file, 'utf8'), theirs);

  await section.getByLabel('controlUi.allowedOrigins').fill(`${gateway.http}\nhttps://other.example`);
  await dash.click('Save');
  await dash.sees(/in effect.*allowedOrigins/, section);
  await section.getByLabel('controlUi.allowedOrigins').fill('https://other.example');
  await dash.click('Save');
  await dash.sees(/Not saved.*this page would be locked out/, dash.page.getByRole('alert'));
  assert.ok(readFileSync(file, 'utf8').includes(gateway.http));
});
