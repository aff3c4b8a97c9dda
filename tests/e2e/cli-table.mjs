// Runs the rows of CLI.md for one version of the real `openclaw` command and compares the results.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CLIENTS, connectRaw, here, kind, newDevice, openclawCli, sleep, startGateway, until } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const RESULTS = ['works', 'shows empty', 'refused', 'n.a.'];
const NONE = '00000000-0000-4000-8000-000000000000';

/** Required rows: commands, or prefixes of commands. */
const REQUIRED = [
  'status', 'status --all', 'status --deep', 'health', 'gateway status', 'gateway probe', 'gateway health', 'gateway call health', 'gateway call no.such.method',
  'gateway call node.list', 'gateway call node.pair.request', 'gateway stability', 'dashboard', 'logs', 'system presence', 'system event', 'system heartbeat last', 'system heartbeat enable',
  'nodes status', 'nodes list', 'nodes pending', 'nodes describe', 'nodes approve <none>', 'nodes approve <request>', 'nodes reject <other>', 'nodes rename',
  'nodes remove', 'nodes invoke', 'nodes run', 'nodes notify', 'approvals get --node', 'approvals allowlist add --node', 'devices list', 'devices list --json',
  'devices approve', 'devices approve <none>', 'devices approve <pairing>', 'devices reject', 'devices rename', 'devices rotate', 'devices revoke', 'devices remove',
];

/** Reads the table: [{title, rows: [{command, cells: {version: {result, texts}}}]}]. */
export function readTable(text = readFileSync(join(here, 'CLI.md'), 'utf8')) {
  const sections = [];
  let versions;
  for (const line of text.split('\n')) {
    const title = line.match(/^## (.+)$/);
    if (title) sections.push({ title: title[1], rows: [] });
    const columns = line.match(/^\| (.+) \|$/)?.[1].split(' | ');
    if (!columns) continue;
    if (columns[0] === 'command') versions = columns.slice(1);
    else {
      const command = columns[0].match(/^`(.+)`$/)[1];
      const cells = {};
      versions.forEach((version, at) => {
        const [, result, texts] = columns[at + 1].match(/^([a-z. ]+)(?:: (.*))?$/);
        assert.ok(RESULTS.includes(result), `${command}: "${result}" is no result`);
        cells[version] = { result, texts: [...(texts ?? '').matchAll(/`([^`]+)`/g)].map((found) => found[1]) };
      });
      sections.at(-1).rows.push({ command, cells });
    }
  }
  return sections;
}

/** Removes the frames of tables and collapses white space in printed output. */
const plain = (text) => text.replace(/[│┌┐└┘├┤┬┴┼─]/g, ' ').replace(/\s+/g, ' ');
/** Splits a command line at spaces, except inside a JSON text. */
const wordsOf = (line) => line.match(/\{.*\}|\S+/g);

/** Connects a node that runs only uname and stores its allowlist. */
export async function fakeNode({ url, protocol, device = newDevice(), name }) {
  const commands = ['system.run', 'system.which', 'system.execApprovals.get', 'system.execApprovals.set'];
  const node = await connectRaw({
    url, min: protocol, device, auth: { token: TOKEN }, role: 'node', client: { ...CLIENTS.node, deviceFamily: 'Linux', displayName: name },
    extra: { caps: ['system'], commands },
  });
  assert.ok(node.hello, JSON.stringify(node.error ?? node.close));
  let file = { version: 1, socket: { path: '/run/x.sock' }, defaults: {}, agents: { main: { allowlist: [{ pattern: '/usr/bin/uname' }] } } };
  let version = 1;
  const run = ({ command }) => {
    if (command[0] !== '/usr/bin/uname') throw Object.assign(new Error('SYSTEM_RUN_DENIED: allowlist miss'), { code: 'UNAVAILABLE' });
    return { exitCode: 0, timedOut: false, success: true, stdout: 'Linux\n', stderr: '', error: null };
  };
  const answers = {
    'system.which': ({ bins }) => ({ bins: Object.fromEntries(bins.filter((bin) => bin === 'uname').map((bin) => [bin, '/usr/bin/uname'])) }),
    'system.run': run,
    'system.execApprovals.get': () => ({ path: '/etc/x.json', exists: true, hash: `h${version}`, file }),
    'system.execApprovals.set': (params) => {
      if (params.baseHash !== `h${version}`) throw new Error('INVALID_REQUEST: exec approvals changed; reload and retry');
      file = params.file;
      version++;
      return answers['system.execApprovals.get']();
    },
  };
  node.ws.on('message', (data) => {
    const frame = JSON.parse(data);
    if (frame.event !== 'node.invoke.request') return;
    const { id, nodeId, command, paramsJSON } = frame.payload;
    let result;
    try {
      result = { ok: true, payloadJSON: JSON.stringify(answers[command](JSON.parse(paramsJSON ?? '{}'))) };
    } catch (error) {
      result = { ok: false, error: { code: error.code ?? 'INVALID_REQUEST', message: error.message } };
    }
    node.request('node.invoke.result', { id, nodeId, ...result });
  });
  return Object.assign(node, { device });
}

/** Declares the tests of one version: `which` is 'a' or 'b'. */
export function cliTable(which, version) {
  const sections = readTable();
  const skip = kind !== 'gatelet';
  const rowsOf = ({ rows }) => rows.filter(({ cells }) => cells[version].result !== 'n.a.');
  const config = (mode) => ({ gateway: { auth: { mode: 'token', token: TOKEN }, pairing: { mode } } });
  const names = { none: NONE }, open = [];
  let gateway, cli, operator, ran = 0;

  const connectNode = async (name) => {
    const node = await fakeNode({ url: gateway.url, protocol: which === 'a' ? 4 : 3, name });
    open.push(node);
    const request = await until(`${name} to wait`, async () => {
      const { pending } = await operator.request('node.pair.list', {});
      return pending.find((entry) => entry.nodeId === node.device.id)?.requestId;
    });
    return { node, request };
  };
  const connectDevice = async () => {
    const device = newDevice();
    const { error } = await connectRaw({ url: gateway.url, min: 4, client: CLIENTS.webchat, device, auth: { token: TOKEN } });
    return { device: device.id, request: error.details.requestId };
  };
  /** Decides approval requests: allows uname, denies everything else. */
  const decide = (data) => {
    const { event, payload } = JSON.parse(data);
    if (event === 'exec.approval.requested')
      operator.request('exec.approval.resolve', { id: payload.id, decision: payload.request.command.includes('uname') ? 'allow-once' : 'deny' });
  };

  /**
   * Preparation of each section. Returns 'in order' if its rows change state and must run one after
   * the other.
   */
  let shelf, stranger;
  const SETUP = {
    'Nothing is connected': () => {},
    'A node waits for approval': async () => {
      operator = await connectRaw({ url: gateway.url, min: 4, client: CLIENTS.cli, device: newDevice(), auth: { token: TOKEN } });
      open.push(operator);
      operator.ws.on('message', decide);
      shelf = await connectNode('shelf');
      [names.node, names.request] = [shelf.node.device.id, shelf.request];
    },
    'The owner decides': async () => {
      stranger = await connectNode('stranger');
      names.other = stranger.request;
      return 'in order';
    },
    'The node is approved': async () => {
      await stranger.node.end();
      await operator.request('device.pair.remove', { deviceId: stranger.node.device.id });
    },
    'The node is changed': () => 'in order',
    'The node is gone': async () => {
      await shelf.node.end();
      await until('the node to be gone', async () => !(await operator.request('node.list', {})).nodes.some((entry) => entry.connected));
      return 'in order';
    },
    'Devices wait, in strict mode': async () => {
      await operator.end();
      await gateway.stop();
      gateway = await startGateway({ config: config('strict'), stateDir: gateway.stateDir, port: gateway.port });
      const first = await connectDevice();
      await sleep(5); // `devices approve` proposes the most recent request
      [names.device, names.pairing, names.other] = [first.device, first.request, (await connectDevice()).request];
      return 'in order';
    },
  };

  before(async () => {
    if (skip) return;
    gateway = await startGateway({ config: config('token') });
    cli = openclawCli(which, { port: gateway.port, token: TOKEN });
    await cli('devices', 'list'); // 2026.1.29 pairs itself here; the first start of either version is the slowest
  });
  after(async () => {
    for (const connection of open) await connection.end();
    await gateway?.stop();
  });

  const fill = (text) => text.replace(/<(none|node|request|other|device|pairing)>/g, (_, name) => names[name] ?? assert.fail(`no <${name}> yet`));
  async function run({ command, cells }) {
    const { result, texts } = cells[version];
    const words = wordsOf(fill(command));
    const { code, stdout, stderr } = await cli(...words);
    ran++;
    const shown = plain(`${stdout}\n${stderr}`);
    const seen = `openclaw ${words.join(' ')}: ${code}\n${stdout}\n${stderr}\n--- gateway\n${gateway.log().split('\n').slice(-12).join('\n')}`;
    assert.equal(code !== 0, result === 'refused', `"${result}" is expected\n${seen}`);
    assert.ok(result !== 'refused' || /\w+ \w+/.test(shown), `no words\n${seen}`);
    for (const text of texts) assert.ok(shown.includes(plain(fill(text))), `"${fill(text)}" is expected\n${seen}`);
  }

  for (const section of sections) {
    const rows = rowsOf(section);
    test(`${section.title}: ${rows.length} commands`, { skip, concurrency: 3 }, async (t) => {
      const inOrder = await SETUP[section.title]() === 'in order';
      const running = [];
      for (const row of rows) {
        running.push(t.test(row.command, () => run(row)));
        if (inOrder) await running.at(-1);
      }
      await Promise.all(running);
    });
  }

  test('every command that must be in the table is there, and every row of this version ran', { skip }, () => {
    const commands = sections.flatMap(({ rows }) => rows.map(({ command }) => command));
    for (const start of REQUIRED) assert.ok(commands.some((command) => command === start || command.startsWith(`${start} `)), `no row for "${start}"`);
    assert.deepEqual(Object.keys(SETUP), sections.map(({ title }) => title));
    assert.equal(ran, sections.flatMap(rowsOf).length);
    console.log(`${ran} commands of openclaw ${version} ran`);
  });
}
