#!/usr/bin/env bash
# A Node client of the OpenClaw gateway protocol never connects again after AUTH_RATE_LIMITED, even
# when the error says that a retry is allowed and when.
#
# Behaviour (@openclaw/gateway-client 2026.9.1 on ws 8.21.3, Node 20.20): after a rejected
# connect the client connects again with a growing delay. For some error codes it stops instead,
# because only a person can help. AUTH_RATE_LIMITED is among these codes, although its cause ends by
# itself: a client behind another client's failed attempts stays offline until its process restarts.
# `retryable: true` and `retryAfterMs: 500` in the same error change nothing. With a code that the
# client does not know, and the same two members, it connects again.
# Seen: AUTH_RATE_LIMITED: 1 connection in 9 s. AUTH_BUSY_EXAMPLE: 3 or more connections in 9 s.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
printf '{"private":true,"type":"module"}\n' >package.json
npm install --silent --no-audit --no-fund @openclaw/gateway-client@2026.9.1 ws@8.21.3 >/dev/null
cat >finding.mjs <<'END'
import { GatewayClient } from '@openclaw/gateway-client';
import { WebSocketServer } from 'ws';

/** Rejects each connect request with this code, and returns the number of connections in 9 s. */
async function connections(code) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  let count = 0;
  server.on('connection', (socket) => {
    count += 1;
    socket.send(JSON.stringify({ type: 'event', event: 'connect.challenge', payload: { nonce: 'n', ts: Date.now() } }));
    socket.on('message', (bytes) => {
      const request = JSON.parse(bytes);
      const error = {
        code: 'INVALID_REQUEST', message: 'try again later', retryable: true, retryAfterMs: 500,
        details: { code },
      };
      socket.send(JSON.stringify({ type: 'res', id: request.id, ok: false, error }));
      setTimeout(() => socket.close(1008, 'try again later'), 50);
    });
  });
  await new Promise((resolve) => server.on('listening', resolve));
  const client = new GatewayClient({
    url: `ws://127.0.0.1:${server.address().port}`, token: 'example', clientName: 'cli', mode: 'cli',
    deviceIdentity: null,
  });
  client.start();
  await new Promise((resolve) => setTimeout(resolve, 9000));
  client.stop();
  server.close();
  return count;
}

const limited = await connections('AUTH_RATE_LIMITED');
const unknown = await connections('AUTH_BUSY_EXAMPLE');
console.log(`AUTH_RATE_LIMITED: ${limited} connection in 9 s`);
console.log(`AUTH_BUSY_EXAMPLE: ${unknown} connections in 9 s`);
process.exit(limited === 1 && unknown >= 3 ? 0 : 1);
END
node finding.mjs
