// gatelet behind a real nginx: without the lines that WebSockets need, with the lines that the
// gateway names, and with a page that Chromium does not let reach the local network.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { gatewayFor, TOKEN, visit } from './dash.mjs';
import { cleanEnv, freePort, tempDir, until } from './lib.mjs';

/** Starts nginx in front of a gateway, with `lines` in its location. */
async function nginx(t, gateway, lines = '') {
  const dir = tempDir('nginx');
  const port = await freePort();
  const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${dir}/${name};`).join(' ');
  writeFileSync(`${dir}/nginx.conf`, `daemon off; master_process off; pid ${dir}/pid; error_log stderr;
events {}
http {
  access_log off; ${kept}
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${gateway.port}; proxy_set_header Host $http_host; ${lines} } }
}
`);
  const child = spawn('nginx', ['-p', dir, '-c', `${dir}/nginx.conf`, '-e', 'stderr'], {
    env: cleanEnv({ PATH: `${process.env.PATH}:/usr/sbin` }), stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise((done) => child.once('exit', done));
  t.after(async () => {
    child.kill();
    await ended;
  });
  const http = `http://127.0.0.1:${port}`;
  await until('nginx to be ready', () => fetch(`${http}/readyz`).then((reply) => reply.ok, () => false));
  return { http, link: `${http}/#token=${TOKEN}` };
}

/** Errors of the browser about a WebSocket that did not open, which a page cannot suppress. */
const UNOPENED = /WebSocket connection to/;

test('without its lines nginx drops Upgrade: page, log, counter and explain name the lines, and with these it works', async (t) => {
  const gateway = await gatewayFor(t, { trustedProxies: ['127.0.0.1'] });
  const dash = await visit(t, (await nginx(t, gateway)).link, { allow: UNOPENED });
  await dash.sees(/answers this page, but no WebSocket opens.*gatelet explain --last/);
  const count = async () => Number(/gatelet_upgrades_rejected_total\{cause="upgrade"\} (\d+)/.exec(await (await fetch(`${gateway.http}/metrics`)).text())[1]);
  await until('a second attempt', async () => (await count()) >= 2);
  assert.equal(gateway.log().match(/cannot open a WebSocket/g).length, 1, gateway.log());
  const explained = await gateway.json('explain', '--last');
  assert.equal(explained.refusals.length, 1);
  assert.equal(explained.refusals[0].code, 'HTTP 426');
  const lines = explained.refusals[0].hint.match(/proxy_\w+ [^;]+;/g);
  assert.equal(lines.length, 3);
  const fixed = await visit(t, (await nginx(t, gateway, lines.join(' '))).link);
  await fixed.state('connected');
});

test('a page that may not reach the local network says so, and connects once it may', async (t) => {
  const gateway = await gatewayFor(t, { trustedProxies: ['127.0.0.1'] });
  const lines = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';
  // as if the page were loaded from the internet and the name now led to this network
  const outside = await nginx(t, gateway, `${lines} add_header Content-Security-Policy treat-as-public-address;`);
  const dash = await visit(t, outside.link, { allow: UNOPENED });
  await dash.sees(/does not let this page reach the local network.*site settings/);
  assert.ok(dash.notes.some((note) => note.includes('LOCAL_NETWORK_ACCESS')), dash.notes.join('\n'));
  await dash.context.grantPermissions(['local-network-access']);
  await dash.state('connected');
});

/** Replaces the states of permissions in the page; other names are unknown to the browser. */
function permit(states) {
  navigator.permissions.query = async ({ name }) => {
    if (!(name in states)) throw new TypeError(`no permission ${name}`);
    return { name, state: states[name] };
  };
}

const PROXY = /If a proxy is in between, it must pass WebSockets on/;
const DENIED = /This browser does not let this page reach the local network\. Allow .* in the browser's site settings/;
const PROMPT = /The browser may also be waiting for your permission to reach the local network\. Allow .* in the browser's site settings/;

// Newer versions of Chromium split `local-network-access` into `local-network` and
// `loopback-network`.
for (const { states, answers = true, says, not } of [
  { states: { 'loopback-network': 'prompt' }, says: [PROXY, PROMPT], not: [DENIED] },
  { states: { 'local-network-access': 'prompt' }, says: [PROXY, PROMPT], not: [DENIED] },
  { states: { 'loopback-network': 'denied', 'local-network-access': 'granted' }, says: [DENIED, PROXY], not: [PROMPT] },
  { states: { 'local-network-access': 'denied' }, says: [DENIED, PROXY], not: [PROMPT] },
  { states: { 'loopback-network': 'granted' }, says: [PROXY], not: [DENIED, PROMPT] },
  { states: {}, says: [PROXY], not: [DENIED, PROMPT] },
  { states: { 'loopback-network': 'denied' }, answers: false, says: [/The gateway does not answer\. If it runs:/, DENIED], not: [PROXY, PROMPT] },
  { states: { 'loopback-network': 'prompt' }, answers: false, says: [/This page reconnects by itself/], not: [DENIED, PROMPT, PROXY] },
]) {
  test(`no WebSocket opens, ${JSON.stringify(states)}, ${answers ? 'the gateway answers' : 'nothing answers'}: what the page says`, async (t) => {
    const gateway = await gatewayFor(t, { trustedProxies: ['127.0.0.1'] });
    const { link } = await nginx(t, gateway, answers ? '' : 'location /whoami { return 503; }');
    const dash = await visit(t, link, { allow: /WebSocket connection to|503/, init: [permit, states] });
    for (const text of says) await dash.sees(text);
    const { text } = await dash.now();
    for (const other of not) assert.doesNotMatch(text, other);
  });
}
