// The case of the report with OpenClaw's own pages: a gateway in a container serves the Control UI,
// and its port is published on 127.0.0.1. Runs itself again under nat.sh, which creates the
// network.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { openPage, rootOf, VERSIONS } from './control-ui.mjs';
import { natWays, runUnderNat, startGateway, tcpProxy } from './lib.mjs';

const netns = process.env.E2E_GW_NS;
if (!netns) {
  test('the Control UI behind NAT', () => {
    runUnderNat(import.meta.url);
  });
} else {
  const TOKEN = 'report-token-0123456789';
  const links = { '2026.1.29': `/nodes?token=${TOKEN}`, '2026.9.6': `/settings/devices#token=${TOKEN}` };

  for (const version of Object.keys(VERSIONS)) {
    describe(version, () => {
      let gateway, proxy;
      before(async () => {
        const config = { gateway: { mode: 'local', auth: { mode: 'token', token: TOKEN }, bind: 'lan', controlUi: { root: rootOf(version) } } };
        gateway = await startGateway({ config, netns, port: 18789, host: '172.18.0.2' });
        proxy = await tcpProxy({ listenPort: 8081, targetHost: '172.18.0.2', targetPort: 18789 });
      });
      after(async () => {
        await proxy?.close();
        await gateway?.stop();
      });

      for (const { name, port } of natWays()) {
        test(`${name}: the link with the token is connected at the first try`, async () => {
          const ui = await openPage();
          try {
            await ui.page.goto(`http://127.0.0.1:${port}${links[version]}`);
            const seen = await ui.settled(['Chrome on Linux', 'operator']);
            assert.deepEqual([seen.missing, seen.turning, seen.errors, ui.problems()], [[], [], [], []], `${seen.text}\n--- gateway\n${gateway.log()}`);
            assert.equal(ui.calls.filter((method) => method === 'connect').length, 1);
            assert.ok(!seen.href.includes(TOKEN), seen.href);
            assert.match(gateway.log(), new RegExp(`admit .*peer=172\\.18\\.0\\.1 .*origin="http://127\\.0\\.0\\.1:${port}" clientId=openclaw-control-ui`));
          } finally {
            await ui.close();
          }
        });
      }
    });
  }
}
