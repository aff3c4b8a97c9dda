// The Control UI of OpenClaw 2026.9.6 (protocol 4), served by the gateway.
import assert from 'node:assert/strict';
import { until } from './lib.mjs';
import { controlUi } from './control-ui-table.mjs';

controlUi('2026.9.6', {
  protocol: 3,
  link: (token) => `/settings/devices#token=${token}`,
  may: {
    errors: [
      /^label\.chip log-chip error: /, // level filter of the log
      /^div\.cron-error-banner: Scheduler disabled/, // expected: there is no scheduler
      /^span\.settings-row__desc provider-usage-error: No agents$/, // expected: there are no agents
    ],
    turning: [
      /lob-skeleton|palette-loading/, // decorative placeholders that stay
      /chat-controls__model-trigger/, // /new: the model of an agent; without an agent the page has no other state
    ],
    problems: [
      /^config\.schema\.lookup .*plugins\.entries\.memory-core\.config/, // plugin settings: there is no plugin, and the page shows no error
    ],
  },
  pending: {
    path: '/settings/devices',
    title: 'Phone',
    approve: (page) => page.getByRole('button', { name: /Approve/ }).first().click(),
  },
  acts: {
    'a method is called by hand': async ({ ui, holds }) => {
      await ui.go('/debug');
      await ui.page.getByLabel('Method').selectOption('voicewake.get');
      await ui.page.getByRole('button', { name: 'Call' }).click();
      await holds('called by hand', ['"triggers"']);
    },
    'a setup code comes with its picture': async ({ ui, holds }) => {
      await ui.go('/settings/devices');
      await ui.page.getByRole('button', { name: 'Pair device' }).click();
      await ui.page.getByRole('button', { name: 'Create setup code' }).click();
      const picture = ui.page.getByRole('img', { name: /QR/ });
      await picture.waitFor();
      assert.ok(await picture.evaluate((image) => image.decode().then(() => image.naturalWidth > 100)));
      await holds('setup code', ['Copy setup code']);
      await ui.page.keyboard.press('Escape');
    },
    'what a node may run is asked of that node': async ({ ui, node, holds }) => {
      await ui.go('/settings/devices');
      await holds('devices', ['EXEC APPROVALS']);
      await ui.page.getByLabel('Host').selectOption('node');
      await ui.page.getByLabel('Node').first().selectOption(node.device.id);
      await ui.page.getByRole('button', { name: 'Load approvals' }).click();
      await ui.page.getByRole('button', { name: 'Scope: Defaults' }).click();
      await ui.page.getByRole('option', { name: 'main' }).or(ui.page.getByRole('menuitemradio', { name: 'main' })).click();
      await holds('approvals of a node', ['/usr/bin/uname']);
    },
    'the configuration is changed, and the secret stays': async ({ ui, operator, gateway, holds }) => {
      await ui.go('/settings/infrastructure');
      await holds('infrastructure', ['Public Origin']);
      await ui.page.getByLabel('Public Origin').fill(gateway.http);
      await ui.page.keyboard.press('Tab');
      await until('the change', async () => (await operator.request('config.get', {})).config.gateway.publicOrigin === gateway.http);
      await holds('configuration saved', [gateway.http]);
      await ui.reload();
      await holds('reloaded', [gateway.http]);
    },
    'a message to the agent is not sent, and that is said': async ({ ui }) => {
      await ui.go('/chat');
      await ui.page.getByLabel('Chat composer').fill('hello');
      await ui.page.keyboard.press('Enter');
      const { missing, text } = await ui.settled(['Not sent', 'Retry']);
      assert.deepEqual(missing, [], text);
      assert.ok(ui.problems().some((problem) => problem.includes('chat.send needs an agent runtime')));
    },
  },
});
