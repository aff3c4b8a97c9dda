// The Control UI of OpenClaw 2026.1.29 (protocol 3), served by the gateway.
import assert from 'node:assert/strict';
import { controlUi } from './control-ui-table.mjs';

controlUi('2026.1.29', {
  protocol: 4,
  link: (token) => `/overview?token=${token}`,
  may: {
    errors: [
      /^label\.chip log-chip error: /, // level filter of the log
    ],
    turning: [],
    problems: [],
  },
  pending: {
    path: '/nodes',
    title: 'Pending',
    approve: (page, device) => page.locator('.list-item', { hasText: device.id }).getByRole('button', { name: 'Approve' }).click(),
  },
  acts: {
    'a method is called by hand': async ({ ui, holds }) => {
      await ui.go('/debug');
      await ui.page.getByLabel('Method').fill('voicewake.get');
      await ui.page.getByRole('button', { name: 'Call' }).click();
      await holds('called by hand', ['"triggers"']);
    },
    'what a node may run is asked of that node': async ({ ui, node, holds }) => {
      await ui.go('/nodes');
      await holds('nodes', ['Exec approvals']);
      await ui.page.getByLabel('Host').selectOption('node');
      await ui.page.locator('label.field', { hasText: /^\s*Node/ }).locator('select').first().selectOption(node.device.id);
      await ui.page.getByRole('button', { name: 'Load approvals' }).click();
      await ui.page.getByRole('button', { name: 'main', exact: true }).click();
      await holds('approvals of a node', ['/usr/bin/uname']);
    },
    'the configuration is changed, and the secret stays': async ({ ui, operator, holds, TOKEN }) => {
      await ui.go('/config');
      await ui.page.getByRole('button', { name: 'Raw' }).click();
      const field = ui.page.locator('main textarea');
      const raw = await field.inputValue();
      assert.ok(!raw.includes(TOKEN), raw);
      await field.fill(raw.replace('"auth":{', '"auth":{"strictClock":true,'));
      await ui.page.getByRole('button', { name: 'Save' }).click();
      await holds('configuration saved', ['No changes', 'strictClock']);
      const { config } = await operator.request('config.get', {});
      assert.equal(config.gateway.auth.strictClock, true);
      await ui.reload();
      await holds('reloaded', ['Health OK', 'No changes']);
    },
    'a message to the agent is refused in words': async ({ ui }) => {
      await ui.go('/chat');
      await ui.page.locator('textarea').fill('hello');
      await ui.page.keyboard.press('Enter');
      const { errors } = await ui.settled(['chat.send needs an agent runtime, and gatelet has none']);
      assert.ok(errors.some((error) => error.includes('chat.send needs an agent runtime')), JSON.stringify(errors));
    },
  },
});
