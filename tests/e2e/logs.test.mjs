// `openclaw logs` of both versions prints the log of a gateway with time, level and message.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { kind, openclawCli, startGateway } from './lib.mjs';

const TOKEN = 'e2e-token-0123456789abcdef';
const skip = kind !== 'gatelet';

let gateway;
before(async () => {
  gateway = await startGateway({ config: { gateway: { auth: { mode: 'token', token: TOKEN } } } });
});
after(() => gateway?.stop());

for (const which of ['a', 'b']) {
  test(`openclaw logs (${which})`, { skip }, async () => {
    const cli = openclawCli(which, { port: gateway.port, token: TOKEN });
    const plain = await cli('logs', '--plain', '--limit', '50');
    assert.equal(plain.code, 0, `${plain.stdout}\n${plain.stderr}\n--- gateway\n${gateway.log()}`);
    assert.match(plain.stdout, /^Log file: the gateway's memory$/m);
    assert.match(plain.stdout, /^\d{4}-\d{2}-\d{2}T\S+ info gateway gatelet \S+ listening on 127\.0\.0\.1:\d+/m);
    const lines = (await cli('logs', '--json')).stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(lines[0].type, 'meta');
    const line = lines.find(({ message }) => message?.includes(' listening on '));
    assert.equal(line.type, 'log');
    assert.equal(line.level, 'info');
    assert.equal(line.subsystem, 'gateway');
    assert.match(line.time, /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/);
  });
}
