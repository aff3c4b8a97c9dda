// The case of the report on a real engine: Debian's docker.io, an image from scratch, a port
// published on 127.0.0.1. Runs itself again in separate namespaces (network, mounts, processes), so
// that nothing of the engine remains and nothing on the machine interferes: its networks are always
// 172.17 and 172.18, and port 18789 is free.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { newBrowser } from './browser.mjs';
import { readPicture } from './dash.mjs';
import { CLIENTS, cleanEnv, connectRaw, here, newDevice, run, tempDir, until } from './lib.mjs';

const TRIPLES = { amd64: 'x86_64-unknown-linux-musl', arm64: 'aarch64-unknown-linux-musl', arm: 'armv7-unknown-linux-musleabihf' };
const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch];
const targets = join(here, '../../targets');
const binaryOf = (name) => (name === arch && process.env.E2E_STATIC_BIN) || join(targets, TRIPLES[name], 'gatelet');
const binary = binaryOf(arch);

const dir = process.env.E2E_DOCKER_DIR;
if (!dir) {
  test('a real engine', () => {
    for (const name of Object.keys(TRIPLES)) assert.ok(existsSync(binaryOf(name)), `no static binary: targets/build.sh ${TRIPLES[name]}`);
    const { NODE_TEST_CONTEXT, ...env } = process.env;
    const cgroup = `gatelet-e2e-${process.pid}`;
    // If an address becomes valid a second after its interface appeared, Chromium aborts all
    // requests in progress.
    const quiet = 'for one in all default; do for key in accept_dad dad_transmits; do echo 0 >/proc/sys/net/ipv6/conf/$one/$key; done; done';
    const place = `mount -t tmpfs none /run && ip link set lo up && { ${quiet}; } && "$@"; exit $?`;
    const again = ['sh', '-c', place, 'sh', process.execPath, '--test', fileURLToPath(import.meta.url)];
    const { status } = spawnSync('unshare', ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', ...again], {
      stdio: 'inherit', env: { ...env, E2E_DOCKER_DIR: tempDir('docker'), E2E_CGROUP: cgroup },
    });
    spawnSync('find', ['/sys/fs/cgroup', '-depth', '-type', 'd', '-path', `*/${cgroup}*`, '-delete']);
    assert.equal(status, 0);
  });
} else {
  // Debian's client; another docker on the machine may lack the builder.
  const CLI = '/usr/bin/docker';
  const socket = `unix://${join(dir, 'docker.sock')}`;
  const env = cleanEnv({ HOME: dir, DOCKER_HOST: socket, DOCKER_CONFIG: join(dir, 'config'), DOCKER_BUILDKIT: '1', GATELET_PUBLISH: '8082' });
  const ask = (words, options) => run(CLI, words, { env, ...options });
  async function docker(...words) {
    const { code, stdout, stderr } = await ask(words);
    assert.equal(code, 0, `docker ${words.join(' ')}: ${code}\n${stdout}${stderr}`);
    return stdout.trim();
  }
  const logs = async (name) => {
    const { stdout, stderr } = await ask(['logs', name]);
    return stdout + stderr;
  };
  const logged = (name, pattern) =>
    until(`a line ${pattern}`, async () => (await logs(name)).split('\n').find((line) => pattern.test(line)), 5000, 100)
      .catch(async (error) => { throw new Error(`${error.message}\n${await logs(name)}`); });
  const ready = (port, host = '127.0.0.1') => until('/readyz', () => fetch(`http://${host}:${port}/readyz`).then((reply) => reply.status === 200, () => false), 10_000);
  const note = (text) => console.log(`# ${text}`);

  // Options recommended by NOTES.md for `docker run`.
  const HARD = ['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
  async function start(name, port, ...options) {
    await docker('run', '-d', '--name', name, '-p', `127.0.0.1:${port}:18789`, '--network', 'seen-as', ...HARD, '-v', `${name}:/data`, ...options, 'gatelet');
    await ready(port);
  }
  /** Returns the link that the gateway prints, with the published port. */
  const link = async (name, port) => {
    const [first] = (await docker('exec', name, '/gatelet', 'url')).split('\n');
    assert.match(first, /^http:\/\/127\.0\.0\.1:\d+\/#token=\S{43}$/);
    return first.replace(/:\d+\//, `:${port}/`);
  };
  const tokenOf = async (name) => (await link(name, 0)).split('#token=')[1];
  const devices = async (name) => JSON.parse(await docker('exec', name, '/gatelet', 'devices', 'list', '--json'));

  let engine;
  const ctx = join(dir, 'targets');
  before(async () => {
    mkdirSync(join(dir, 'config'));
    const out = openSync(join(dir, 'dockerd.log'), 'a');
    const roots = ['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')];
    engine = spawn('dockerd', ['-H', socket, ...roots, '--cgroup-parent', `/${process.env.E2E_CGROUP}`], {
      env: cleanEnv({ HOME: dir }), stdio: ['ignore', out, out],
    });
    engine.ended = new Promise((done) => engine.once('exit', done).once('error', done));
    let over = false;
    engine.ended.then(() => (over = true));
    await until('the engine', async () => {
      if (over) throw new Error(`dockerd ended:\n${readFileSync(join(dir, 'dockerd.log'), 'utf8').slice(-4000)}`);
      return (await ask(['version'])).code === 0;
    }, 60_000, 200);
    cpSync(join(targets, 'container'), join(ctx, 'container'), { recursive: true });
    cpSync(join(targets, '.dockerignore'), join(ctx, '.dockerignore'));
    for (const name of Object.keys(TRIPLES)) {
      mkdirSync(join(ctx, TRIPLES[name]));
      cpSync(binaryOf(name), join(ctx, TRIPLES[name], 'gatelet'));
    }
    const begun = Date.now();
    await docker('build', '-t', 'gatelet', '-f', join(ctx, 'container/Dockerfile'), ctx);
    note(`built in ${Date.now() - begun} ms by engine ${await docker('version', '-f', '{{.Server.Version}}')}`);
    await docker('network', 'create', '--subnet', '172.18.0.0/16', 'seen-as');
  });
  after(async () => {
    const { stdout } = await ask(['ps', '-aq']);
    if (stdout.trim()) await ask(['rm', '-f', ...stdout.trim().split('\n')]);
    engine.kill('SIGTERM');
    const late = setTimeout(() => engine.kill('SIGKILL'), 15_000);
    await engine.ended;
    clearTimeout(late);
  });

  test('the image holds the binary and an empty /data, and runs as nobody special', async () => {
    const [image] = JSON.parse(await docker('image', 'inspect', 'gatelet'));
    const bytes = statSync(binary).size;
    note(`image ${image.Size} bytes, ${image.Size - bytes} beside the binary`);
    assert.ok(image.Size - bytes < 4096, `${image.Size - bytes} bytes beside the binary`);
    assert.equal(image.Architecture, arch);
    assert.equal(image.Config.User, '1000:1000');
    assert.deepEqual(image.Config.Healthcheck.Test, ['CMD', '/gatelet', 'health']);
    assert.deepEqual(Object.keys(image.Config.Volumes), ['/data']);
  });

  for (const other of Object.keys(TRIPLES).filter((name) => name !== arch)) {
    test(`the image for ${other} is the same with that machine's binary`, async () => {
      await docker('build', '--platform', `linux/${other}`, '-t', `gatelet:${other}`, '-f', join(ctx, 'container/Dockerfile'), ctx);
      const [image] = JSON.parse(await docker('image', 'inspect', `gatelet:${other}`));
      const bytes = statSync(binaryOf(other)).size;
      note(`image for ${other}: ${image.Size} bytes`);
      assert.ok(image.Size >= bytes && image.Size - bytes < 4096, `${image.Size} bytes, the binary has ${bytes}`);
      assert.equal(image.Architecture, other);
      const [own] = JSON.parse(await docker('image', 'inspect', 'gatelet'));
      assert.deepEqual(image.Config.Healthcheck, own.Config.Healthcheck);
      assert.deepEqual([image.Config.User, image.Config.Env, image.Config.Volumes], [own.Config.User, own.Config.Env, own.Config.Volumes]);
    });
  }

  for (const { name, port, options } of [
    { name: 'same-port', port: 18789, options: ['--health-interval', '1s'] },
    { name: 'another-port', port: 8080, options: ['--hostname', 'mypc'] },
  ]) {
    describe(`published on 127.0.0.1:${port}`, () => {
      const url = `ws://127.0.0.1:${port}/`;
      const origin = `http://127.0.0.1:${port}`;
      let token;
      const device = newDevice();
      before(async () => {
        const begun = Date.now();
        await start(name, port, ...options);
        note(`${name}: from docker run to ready in ${Date.now() - begun} ms`);
        token = await tokenOf(name);
      });

      test('nothing is configured: it listens on all interfaces and says why', async () => {
        await logged(name, /listening on 0\.0\.0\.0:18789/);
        await logged(name, /in a container, so on all interfaces/);
        await logged(name, /in \/data$/);
      });

      for (const protocol of [3, 4]) {
        test(`protocol ${protocol}: the right token and a device get in at the first try, from 172.18.0.1`, async () => {
          const who = protocol === 4 ? device : newDevice();
          const first = await connectRaw({ url, origin, min: protocol, device: who, auth: { token } });
          assert.equal(first.hello?.protocol, protocol, JSON.stringify(first.error ?? first.failure ?? first.close));
          await first.end();
          const line = await logged(name, new RegExp(`\\badmit\\b.*device=${who.id.slice(0, 8)}`));
          assert.match(line, /peer=172\.18\.0\.1\b/);
          note(line.trim());
        });
      }

      test('a command-line client without an Origin, too', async () => {
        const result = await connectRaw({ url, min: 3, client: CLIENTS.cli, device: newDevice(), auth: { token } });
        assert.ok(result.hello, JSON.stringify(result.error));
        await result.end();
      });

      test('Chromium opens the line that the owner is given, and is connected', async () => {
        const browser = await newBrowser();
        try {
          await browser.page.goto(await link(name, port));
          const seen = await browser.state(['connected', 'refused']);
          assert.equal(seen.state, 'connected', JSON.stringify(seen));
          assert.equal(seen.href, `${origin}/`);
        } finally {
          await browser.close();
        }
      });

      test('a wrong token is refused, and a page of another site', async () => {
        const wrong = await connectRaw({ url, origin, device: newDevice(), auth: { token: 'wrong' } });
        assert.equal(wrong.error?.details.code, 'AUTH_TOKEN_MISMATCH');
        const foreign = await connectRaw({ url, origin: 'https://evil.example', device: newDevice(), auth: { token } });
        assert.equal(foreign.error?.details.code, 'CONTROL_UI_ORIGIN_NOT_ALLOWED');
      });

      test('docker exec lists the devices with no token, each with how it came in', async () => {
        const { paired } = await devices(name);
        assert.ok(paired.length >= 4, JSON.stringify(paired));
        for (const one of paired) assert.equal(one.provenance, 'token', JSON.stringify(one));
        assert.ok(paired.some((one) => one.deviceId === device.id));
      });

      test('the command that the log names works as it stands', async () => {
        const line = await logged(name, /docker exec \S+ \/gatelet url/);
        const [, ...words] = line.match(/docker (exec) (\S+) (\/gatelet) (url)/);
        assert.match(words[1], /^[0-9a-f]{12}$/);
        assert.equal((await docker(...words)).split('\n')[0], await link(name, 18789));
      });
    });
  }

  test('the health check finds it healthy', async () => {
    await until('healthy', async () => (await docker('inspect', '-f', '{{.State.Health.Status}}', 'same-port')) === 'healthy', 10_000, 200);
  });

  test('under a name of the LAN: --hostname makes it one that we serve, any other is refused', async () => {
    const token = await tokenOf('another-port');
    const open = (host) => connectRaw({
      url: 'ws://127.0.0.1:8080/', origin: `http://${host}:8080`, headers: { Host: `${host}:8080` }, device: newDevice(), auth: { token },
    });
    for (const host of ['mypc', 'mypc.local', '192.168.1.20']) {
      const result = await open(host);
      assert.ok(result.hello, `${host}: ${JSON.stringify(result.error)}`);
      await result.end();
    }
    assert.equal((await open('rebound.example')).error?.details.code, 'CONTROL_UI_ORIGIN_NOT_ALLOWED');
  });

  const keyOnly = async (port, device) => {
    const result = await connectRaw({ url: `ws://127.0.0.1:${port}/`, origin: `http://127.0.0.1:${port}`, device });
    assert.ok(result.hello, JSON.stringify(result.error ?? result.failure));
    await result.end();
  };

  test('docker stop ends it at once and well; started again, a device comes back by its key alone', async () => {
    await start('keeper', 8081);
    const device = newDevice();
    const token = await tokenOf('keeper');
    const open = await connectRaw({ url: 'ws://127.0.0.1:8081/', origin: 'http://127.0.0.1:8081', device, auth: { token } });
    assert.ok(open.hello, JSON.stringify(open.error));
    const begun = Date.now();
    await docker('stop', 'keeper');
    const took = Date.now() - begun;
    note(`docker stop, with a client connected, took ${took} ms`);
    assert.equal((await open.closed).code, 1012);
    assert.ok(took < 5000, `${took} ms`);
    assert.equal(await docker('inspect', '-f', '{{.State.ExitCode}}', 'keeper'), '0');
    await docker('start', 'keeper');
    await ready(8081);
    await keyOnly(8081, device);
    // Upgrade: another container from the image, with the same volume.
    await docker('rm', '-f', 'keeper');
    await start('keeper', 8081);
    await keyOnly(8081, device);
    assert.equal(await tokenOf('keeper'), token, 'and the token is the same');

    // Backup as described in NOTES.md, restored into a new volume.
    await docker('stop', 'keeper');
    const saved = join(dir, 'backup.tar');
    const shell = (text) => run('sh', ['-c', text], { env });
    assert.equal((await shell(`${CLI} cp keeper:/data - >${saved}`)).code, 0);
    await docker('create', '--name', 'carrier', '-v', 'restored:/data', 'gatelet');
    const back = await shell(`${CLI} cp - carrier:/ <${saved}`);
    assert.equal(back.code, 0, back.stderr);
    await docker('rm', 'carrier');
    await start('restored', 8083);
    await keyOnly(8083, device);
    assert.equal(await tokenOf('restored'), token);
  });

  test('the token comes from a variable or from a file, and the log says from where, not what', async () => {
    const token = 'a-token-from-the-outside-0123456789';
    const file = join(dir, 'token.txt');
    writeFileSync(file, `${token}\n`);
    for (const [name, options, source] of [
      ['by-variable', ['-e', `GATELET_TOKEN=${token}`], /token from GATELET_TOKEN \(fingerprint [0-9a-f]{8}\)/],
      ['by-file', ['-e', 'GATELET_TOKEN_FILE=/run/secrets/gatelet_token', '-v', `${file}:/run/secrets/gatelet_token:ro`], /token from GATELET_TOKEN_FILE \/run\/secrets\/gatelet_token \(/],
    ]) {
      await start(name, 8084, ...options);
      await logged(name, source);
      const result = await connectRaw({ url: 'ws://127.0.0.1:8084/', origin: 'http://127.0.0.1:8084', device: newDevice(), auth: { token } });
      assert.ok(result.hello, JSON.stringify(result.error));
      await result.end();
      assert.equal((await devices(name)).paired.length, 1);
      assert.ok(!(await logs(name)).includes(token));
      await docker('rm', '-f', name);
    }
  });

  /** Runs docker-compose with the file as it is, and these variables. */
  async function compose(words, variables = {}) {
    const options = { cwd: dir, env: { ...env, COMPOSE_DOCKER_CLI_BUILD: '1', PATH: `/usr/bin:${env.PATH}`, ...variables } };
    const { code, stdout, stderr } = await run('/usr/bin/docker-compose', ['-f', join(ctx, 'container/compose.yaml'), ...words], options);
    assert.equal(code, 0, stdout + stderr);
  }

  test('compose.yaml as it is', async () => {
    await compose(['up', '-d', '--build']);
    await ready(8082);
    const device = newDevice();
    const result = await connectRaw({ url: 'ws://127.0.0.1:8082/', origin: 'http://127.0.0.1:8082', device, auth: { token: await tokenOf('gatelet') } });
    assert.ok(result.hello, JSON.stringify(result.error));
    await result.end();
    note((await logged('gatelet', /\badmit\b.*peer=172\.\d+\.0\.1\b/)).trim());
    const [{ HostConfig: host }] = JSON.parse(await docker('inspect', 'gatelet'));
    assert.deepEqual([host.ReadonlyRootfs, host.CapDrop, host.RestartPolicy.Name], [true, ['ALL'], 'unless-stopped']);
    assert.deepEqual(host.PortBindings['18789/tcp'], [{ HostIp: '127.0.0.1', HostPort: '8082' }]);
    // The addresses are those of the host, never the container's own.
    for (const command of ['url', 'pair', 'status']) {
      const said = await docker('exec', 'gatelet', '/gatelet', command);
      assert.match(said, /127\.0\.0\.1:8082/, command);
      assert.doesNotMatch(said, /172\.\d+\./, command);
    }
    await compose(['down']);
    await compose(['up', '-d']);
    await ready(8082);
    await keyOnly(8082, device);
    await compose(['down', '--volumes']);
  });

  test('in the LAN: "Connect a device" offers an address that works on a phone', async (t) => {
    // The phone is a network namespace, with its own browser, on the other end of a cable.
    const shell = `ip netns add phone && ip link add lan type veth peer name eth0 netns phone && ip addr add 192.168.77.1/24 dev lan &&
      ip link set lan up && ip -n phone addr add 192.168.77.2/24 dev eth0 && ip -n phone link set eth0 up && ip -n phone link set lo up`;
    const made = await run('sh', ['-c', shell]);
    assert.equal(made.code, 0, made.stderr);
    const lan = { GATELET_PUBLISH_ADDRESS: '192.168.77.1' };
    await compose(['up', '-d', '--build'], lan);
    t.after(() => compose(['down', '--volumes'], lan));
    await ready(8082, '192.168.77.1');
    const link = (await docker('exec', 'gatelet', '/gatelet', 'url')).split('\n')[0];
    assert.ok(link.startsWith('http://192.168.77.1:8082/#token='), link);
    const owner = await newBrowser();
    t.after(() => owner.close());
    await owner.page.goto(link);
    await owner.state('connected');
    await owner.page.goto('http://192.168.77.1:8082/#/connect');
    await owner.page.getByRole('button', { name: 'Create a code' }).click();
    await owner.page.getByText(/^[A-Z0-9]{4}-[A-Z0-9]{4}$/).first().waitFor();
    const read = await readPicture(owner.page.locator('#qr'));
    assert.match(read, /^http:\/\/192\.168\.77\.1:8082\/#code=[A-Z0-9]{8}$/);
    assert.doesNotMatch(await owner.page.locator('body').innerText(), /172\.\d+\./);

    const chromium = join(dir, 'chromium-of-the-phone');
    writeFileSync(chromium, '#!/bin/sh\nexec ip netns exec phone /usr/bin/chromium "$@"\n', { mode: 0o755 });
    const phone = await newBrowser({ executablePath: chromium });
    t.after(() => phone.close());
    await phone.page.goto(read);
    assert.equal((await phone.state(['connected', 'refused'])).state, 'connected');
    await owner.page.getByText(/^Used by .*: it is paired\.$/).waitFor();
    const { paired } = await devices('gatelet');
    assert.deepEqual(paired.map(({ provenance }) => provenance).toSorted(), ['code', 'token']);
    note((await logged('gatelet', /\badmit\b.*peer=192\.168\.77\.2\b/)).trim());
  });
}
