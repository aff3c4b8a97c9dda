#!/usr/bin/env bash
# A Node client of the OpenClaw gateway protocol follows retryAfterMs only for one undocumented
# reason.
#
# Behaviour (@openclaw/gateway-client 2026.9.1 on ws 8.21.3, Node 20.20): a rejected connect may
# carry `retryable: true` and `retryAfterMs`. The client reads retryAfterMs only if details.reason
# is "startup-sidecars", and then limits it to 2,000 ms. For each other reason it uses its own
# delay, which starts at 1,000 ms and doubles. So a gateway that asks for 3 s is called again after
# 1 s, and one that asks for 300 ms also after 1 s, unless it gives that reason.
# Seen: reason "starting", 300 ms: again after 1.0 s.
# Reason "startup-sidecars", 300 ms: again after 0.3 s.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
printf '{"private":true,"type":"module"}\n' >package.json
npm install --silent --no-audit --no-fund @openclaw/gateway-client@2026.9.1 ws@8.21.3 >/dev/null
cat >finding.mjs <<'END'
import { GatewayClient } from '@openclaw/gateway-client';
import { WebSocketServer } from 'ws';

/** Rejects connect requests with this reason and delay, and returns the delay in ms until the next connection. */
async function delay(reason, retryAfterMs) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  let rejected = 0;
  const next = new Promise((resolve) => server.on('connection', (socket) => {
    if (rejected > 0) resolve(Date.now() - rejected);
    socket.send(JSON.stringify({ type: 'event', event: 'connect.challenge', payload: { nonce: 'n', ts: Date.now() } }));
    socket.on('message', (bytes) => {
      const { id } = JSON.parse(bytes);
      const error = { code: 'UNAVAILABLE', message: 'starting', retryable: true, retryAfterMs, details: { reason } };
      socket.send(JSON.stringify({ type: 'res', id, ok: false, error }));
      rejected ||= Date.now();
      socket.close(1013, 'starting');
    });
  }));
  await new Promise((resolve) => server.on('listening', resolve));
  const client = new GatewayClient({
    url: `ws://127.0.0.1:${server.address().port}`, token: 'example', clientName: 'cli', mode: 'cli',
    deviceIdentity: null,
  });
  client.start();
  const result = await next;
  client.stop();
  server.close();
  return result;
}

const other = await delay('starting', 300);
const sidecars = await delay('startup-sidecars', 300);
const late = await delay('starting', 3000);
console.log(`reason "starting", retryAfterMs 300: connects again after ${other} ms`);
console.log(`reason "startup-sidecars", retryAfterMs 300: connects again after ${sidecars} ms`);
console.log(`reason "starting", retryAfterMs 3000: connects again after ${late} ms`);
process.exit(other > 800 && sidecars < 700 && late < 2500 ? 0 : 1);
END
node finding.mjs
