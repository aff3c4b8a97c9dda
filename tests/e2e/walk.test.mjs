// A new user's first steps: an empty home, `gatelet` without arguments, the link that it prints, a
// browser; then the owner revokes that browser, and command line and page report it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { newBrowser } from './browser.mjs';
import { bin, cleanEnv, freePort, gatelet, kind, portFree, run, tempDir, until } from './lib.mjs';

const ANSI = /\x1b\[[0-9;?]*[ -/]*[@-~]/g;
const alive = (pid) => { try { process.kill(pid, 0); return true; } catch { return false; } };

let env, terminal, pid, browser, url, deviceId, output = '';
before(async () => {
  const home = tempDir('home');
  env = { HOME: home, TERM: 'xterm' };
  if (!(await portFree(18789))) env.OPENCLAW_GATEWAY_PORT = String(await freePort());
  // script(1) provides a terminal: the link with the token is printed only to a terminal.
  terminal = spawn('script', ['-qefc', `exec "${bin}"`, '/dev/null'], { env: cleanEnv(env), cwd: home, stdio: ['pipe', 'pipe', 'inherit'] });
  terminal.stdout.on('data', (data) => (output += data));
  pid = await until('the child of script', () => Number(readFileSync(`/proc/${terminal.pid}/task/${terminal.pid}/children`, 'utf8').trim().split(' ')[0]));
});
after(async () => {
  await browser?.close();
  if (pid && alive(pid)) process.kill(pid, 'SIGTERM');
  terminal?.stdin.end();
  const late = setTimeout(() => terminal?.kill('SIGKILL'), 5000);
  if (terminal && terminal.exitCode === null) await new Promise((done) => terminal.once('exit', done));
  clearTimeout(late);
});
const cli = async (...words) => {
  const result = await gatelet(words, env);
  assert.equal(result.code, 0, `gatelet ${words.join(' ')}: ${result.code}\n${result.stdout}\n${result.stderr}\n--- gateway\n${output}`);
  return result.stdout;
};
const port = () => env.OPENCLAW_GATEWAY_PORT ?? '18789';

test('started with no arguments, it prints one link to the terminal', { skip: kind !== 'gatelet' }, async () => {
  const links = await until('a link', () => output.replace(ANSI, '').match(/http:\/\/\S+#token=[^\s"'<>]+/g), 5000)
    .catch((error) => { throw new Error(`${error.message}\n${output}`); });
  assert.equal(links.length, 1, String(links));
  [url] = links;
  assert.ok(url.startsWith(`http://127.0.0.1:${port()}/#token=`), url);
  await until('/readyz', () => fetch(`http://127.0.0.1:${port()}/readyz`).then((reply) => reply.status === 200, () => false), 5000);
});

test('`gatelet url` prints the same link, and nothing private is readable by others', async () => {
  assert.ok((await cli('url')).includes(url));
  const check = (dir) => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = `${dir}/${entry.name}`;
      if (entry.isDirectory()) check(path);
      else if (entry.isFile()) assert.equal(statSync(path).mode & 0o077, 0, `${path} is open to others`);
    }
  };
  check(env.HOME);
});

test('its output to anything but a terminal has no token', async () => {
  const home = tempDir('home');
  const result = await run(bin, [], { env: cleanEnv({ HOME: home, OPENCLAW_GATEWAY_PORT: String(await freePort()) }), timeout: 1500 });
  assert.equal(result.code, 'SIGKILL', `it should have kept running\n${result.stderr}`);
  assert.doesNotMatch(result.stdout + result.stderr, /#token=\S/);
});

test('the link opens in a browser, connected, with the token out of the address bar', async () => {
  browser = await newBrowser();
  await browser.page.goto(url);
  const seen = await browser.state(['connected', 'refused']);
  assert.equal(seen.state, 'connected', JSON.stringify(seen));
  assert.equal(seen.href, `http://127.0.0.1:${port()}/`);
});

test('`gatelet devices list --json` shows the browser, paired by the token', async () => {
  const { pending, paired } = JSON.parse(await cli('devices', 'list', '--json'));
  assert.deepEqual(pending, []);
  assert.equal(paired.length, 1, JSON.stringify(paired));
  assert.equal(paired[0].provenance, 'token');
  assert.ok((paired[0].roles ?? [paired[0].role]).includes('operator'));
  assert.match(paired[0].deviceId, /^[0-9a-f]{64}$/);
  deviceId = paired[0].deviceId;
});

test('`gatelet devices revoke` closes the page, which says it and what to do', async () => {
  await cli('devices', 'revoke', deviceId);
  const seen = await until('the page to say so', async () => {
    const now = await browser.state(['connected', 'refused', 'lost', 'connecting']);
    return now.code === 'PAIRING_REQUIRED' && now;
  }, 20_000, 200).catch(async (error) => { throw new Error(`${error.message}\n${JSON.stringify(await browser.state(['connected', 'refused', 'lost', 'connecting']))}`); });
  assert.match(seen.text, /revoked/i);
  assert.match(seen.text, /gatelet (--state-dir \S+ )?devices approve/, 'what to do');
});

test('`gatelet explain --last` says why', async () => {
  assert.match(await cli('explain', '--last'), /DEVICE_REVOKED|revoked/i);
});

test('approved again, the page comes back', async () => {
  await cli('devices', 'approve', deviceId);
  await browser.page.reload();
  assert.equal((await browser.state(['connected'], 20_000)).state, 'connected');
});

test('SIGTERM ends it with code 0', async () => {
  const ended = new Promise((done) => terminal.once('exit', done));
  process.kill(pid, 'SIGTERM');
  assert.equal(await ended, 0, output.replace(ANSI, ''));
});
