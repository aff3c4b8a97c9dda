// gatelet's page on other machines: through NAT with the token in the link, and on plain HTTP in a
// LAN with a setup code. Runs itself again under nat.sh, which creates the network.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DOOR, gatewayFor, keptBy, signIn, TOKEN, visit } from './dash.mjs';
import { runUnderNat, tcpProxy } from './lib.mjs';

const netns = process.env.E2E_GW_NS;
const UNREACHED = /ERR_CONNECTION_REFUSED/;

if (!netns) {
  test('from other machines', () => {
    runUnderNat(import.meta.url);
  });
} else {
  const place = (t) => gatewayFor(t, { bind: 'lan' }, { netns, port: 18789, host: '172.18.0.2' });

  /** Returns the methods by which the page was admitted since the last start. */
  const methods = (gateway) => [...gateway.log().matchAll(/ admit .*clientId=openclaw-control-ui .*method=(\S+)/g)].map(([, method]) => method);

  test('through NAT the link connects at the first try, and from then on the key alone', async (t) => {
    const gateway = await place(t);
    let port = 8080;
    if (process.env.E2E_NAT !== 'kernel') {
      const proxy = await tcpProxy({ targetHost: '172.18.0.2', targetPort: 18789 });
      t.after(() => proxy.close());
      port = proxy.port;
    }
    const origin = `http://127.0.0.1:${port}`;
    const dash = await visit(t, `${origin}/#token=${TOKEN}`);
    assert.equal((await dash.state('connected', 'refused')).state, 'connected');
    assert.match(gateway.log(), /admit .*peer=172\.18\.0\.1\b/);
    assert.doesNotMatch(gateway.log(), /refuse /, 'at the first try');
    assert.equal(new URL(dash.page.url()).origin, origin);
    assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
    await dash.page.reload();
    assert.equal((await dash.state('connected', 'refused')).state, 'connected');
    assert.deepEqual(methods(gateway), ['token', 'device-token']);
    assert.ok(!(await keptBy(dash.page)).includes(TOKEN));
    const { paired } = await gateway.json('devices', 'list');
    assert.deepEqual(paired.map((one) => one.provenance), ['token']);
    const other = await visit(t, origin);
    await other.state('refused');
    assert.match(await other.fact('Address'), /^172\.18\.0\.1\b/);
  });

  test('on plain HTTP the page warns, pairs by a setup code, and its own key signs in from then on, also after a restart', async (t) => {
    const gateway = await place(t);
    const dash = await visit(t, gateway.http, { allow: UNREACHED });
    assert.deepEqual(await dash.page.evaluate(() => [window.isSecureContext, typeof crypto.subtle]), [false, 'undefined']);
    await dash.state('refused');
    await dash.sees(/plain HTTP/);
    await dash.sees(/others on the network can read/);
    const { code } = await gateway.json('pair');
    await signIn(dash, `${code.slice(0, 4)} ${code.slice(4)}`);
    await dash.state('connected');
    const nothing = async () => {
      const kept = await keptBy(dash.page);
      for (const secret of [TOKEN, code]) assert.ok(!kept.includes(secret), `${secret} is kept`);
      assert.match(kept, /identity/, 'the key is');
    };
    await nothing();
    await dash.page.reload();
    await dash.state('connected');
    await gateway.restart(() => dash.state('lost'));
    await dash.state('connected');
    await nothing();
    const { paired } = await gateway.json('devices', 'list');
    assert.deepEqual(paired.map((one) => one.provenance), ['code']);
    assert.deepEqual(methods(gateway), ['device-token'], 'after the restart');
  });

  test('a command can be copied without a secure context too', async (t) => {
    const gateway = await place(t);
    const dash = await visit(t, gateway.http);
    await dash.state('refused');
    await dash.page.getByRole('button', { name: /^Copy: .*gatelet (--state-dir \S+ )?url$/ }).click();
    await dash.sees('Copied');
    await dash.page.getByLabel(DOOR).focus();
    await dash.page.keyboard.press('Control+V');
    assert.match(await dash.page.getByLabel(DOOR).inputValue(), /gatelet (--state-dir \S+ )?url$/);
  });
}
