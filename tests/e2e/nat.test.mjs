// The case of the report: a gateway in a container, its port published on 127.0.0.1. The gateway
// sees every client as 172.18.0.1. Runs itself again under nat.sh, which creates the network.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { newBrowser } from './browser.mjs';
import { CLIENTS, connectRaw, e2eDir, natWays, newDevice, openclawCli, runUnderNat, startGateway, tcpProxy } from './lib.mjs';

const netns = process.env.E2E_GW_NS;
if (!netns) {
  test('behind NAT', () => {
    runUnderNat(import.meta.url);
  });
} else {
  const TOKEN = 'report-token-0123456789';
  // Copied from the report without changes.
  const config = { gateway: { mode: 'local', auth: { mode: 'token', token: TOKEN }, bind: 'lan' } };

  let gateway, proxy;
  before(async () => {
    gateway = await startGateway({ config, netns, port: 18789, host: '172.18.0.2' });
    proxy = await tcpProxy({ listenPort: 8081, targetHost: '172.18.0.2', targetPort: 18789 });
  });
  after(async () => {
    await proxy?.close();
    await gateway?.stop();
  });

  for (const { name, port } of natWays()) {
    const url = `ws://127.0.0.1:${port}/`;
    const origin = `http://127.0.0.1:${port}`;
    const refused = async (options, pattern, code) => {
      const mark = gateway.log().length;
      const result = await connectRaw({ url, origin, min: 4, device: newDevice(), auth: { token: TOKEN }, ...options });
      assert.equal(result.hello, undefined, 'must not be admitted');
      assert.equal(result.close?.code, 1008, JSON.stringify({ ...result.error, failure: result.failure, http: result.http }));
      assert.match(`${result.error.message} ${result.close.reason}`, pattern);
      assert.equal(result.error.details.code, code);
      assert.ok(result.error.details.hint, 'a refusal says what to do');
      assert.ok(gateway.log().slice(mark).includes(code), 'and the log says it too');
    };

    describe(name, () => {
      for (const protocol of [3, 4]) {
        test(`protocol ${protocol}: the right token and a device get in at the first try`, async () => {
          const mark = gateway.log().length;
          const device = newDevice();
          const first = await connectRaw({ url, origin, min: protocol, device, auth: { token: TOKEN } });
          assert.equal(first.hello?.protocol, protocol, JSON.stringify(first.error ?? first.failure ?? first.close));
          const { deviceToken } = first.hello.auth;
          assert.ok(deviceToken);
          await first.end();
          assert.match(gateway.log().slice(mark), /peer=172\.18\.0\.1\b/);
          const again = await connectRaw({ url, origin, min: protocol, device, auth: { token: deviceToken } });
          assert.ok(again.hello, `with the device token alone: ${JSON.stringify(again.error)}`);
          await again.end();
        });
      }

      test('a command-line client: no Origin', async () => {
        const result = await connectRaw({ url, min: 3, client: CLIENTS.cli, device: newDevice(), auth: { token: TOKEN } });
        assert.ok(result.hello, JSON.stringify(result.error));
        await result.end();
      });
      test('localhost instead of 127.0.0.1', async () => {
        const result = await connectRaw({ url, origin: `http://localhost:${port}`, headers: { Host: `localhost:${port}` }, min: 4, device: newDevice(), auth: { token: TOKEN } });
        assert.ok(result.hello, JSON.stringify(result.error));
        await result.end();
      });

      test('a wrong token is refused and told so', () => refused({ auth: { token: 'wrong' } }, /token/, 'AUTH_TOKEN_MISMATCH'));
      test('no token is refused and told so', () => refused({ auth: undefined }, /token missing/, 'AUTH_TOKEN_MISSING'));
      test('a page of another site is refused, though it has the token', () =>
        refused({ origin: 'https://evil.example' }, /origin not allowed/, 'CONTROL_UI_ORIGIN_NOT_ALLOWED'));
      test('a page that rebound its own name to this address is refused', () =>
        refused({ origin: `http://rebound.example:${port}`, headers: { Host: `rebound.example:${port}` } }, /origin not allowed/, 'CONTROL_UI_ORIGIN_NOT_ALLOWED'));

      test('Chromium opens the link and is connected, the token gone from the address bar', async () => {
        const browser = await newBrowser();
        try {
          await browser.page.goto(`http://127.0.0.1:${port}/#token=${TOKEN}`);
          const seen = await browser.state(['connected', 'refused']);
          assert.equal(seen.state, 'connected', JSON.stringify(seen));
          assert.equal(seen.href, `http://127.0.0.1:${port}/`);
          assert.ok(!seen.text.includes(TOKEN));
          await browser.page.reload();
          assert.equal((await browser.state(['connected', 'refused'])).state, 'connected', 'also after a reload');
        } finally {
          await browser.close();
        }
      });

      test('Chromium with a wrong token is told what is wrong', async () => {
        const browser = await newBrowser();
        try {
          await browser.page.goto(`http://127.0.0.1:${port}/#token=wrong`);
          const seen = await browser.state(['connected', 'refused']);
          assert.equal(seen.state, 'refused');
          assert.equal(seen.code, 'AUTH_TOKEN_MISMATCH');
          assert.match(seen.text, /token/i);
          assert.ok(!seen.href.includes('wrong'), seen.href);
        } finally {
          await browser.close();
        }
      });

      test('the real openclaw 2026.1.29', { skip: !existsSync(join(e2eDir, 'a/node_modules/openclaw')) }, async () => {
        const result = await openclawCli('a', { port, token: TOKEN })('devices', 'list', '--json');
        assert.equal(result.code, 0, result.stderr);
        assert.ok(JSON.parse(result.stdout).paired.length > 0);
      });
    });
  }
}
