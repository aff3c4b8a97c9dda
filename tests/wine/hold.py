"""A client without a device that stays: says hello with the token, then tells what the gateway sends until it closes.

hold.py PORT TOKEN_FILE. Writes one line for each: `hello PROTOCOL`, `event NAME` (not of tick, health, presence), `closed CODE`.
"""
import base64, json, os, socket, struct, sys

port, token = int(sys.argv[1]), open(sys.argv[2]).read().strip()
stream = socket.create_connection(('127.0.0.1', port), 20)
stream.settimeout(60)
head = f'GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
stream.sendall(f'{head}Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n'.encode())
source = stream.makefile('rb')
status = source.readline()
assert b' 101 ' in status, status
while source.readline().strip():
    pass


def frames():
    while True:
        first, length = source.read(2)
        if length == 126:
            length = struct.unpack('>H', source.read(2))[0]
        elif length == 127:
            length = struct.unpack('>Q', source.read(8))[0]
        yield first & 15, source.read(length)


def send(opcode, payload):
    mask = os.urandom(4)
    length = bytes([128 | len(payload)]) if len(payload) < 126 else struct.pack('>BH', 254, len(payload))
    stream.sendall(bytes([128 | opcode]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)))


client = {'id': 'cli', 'mode': 'cli', 'version': 'test', 'platform': 'linux'}
connect = {'minProtocol': 4, 'maxProtocol': 4, 'client': client, 'role': 'operator', 'scopes': ['operator.read'], 'auth': {'token': token}}
for opcode, payload in frames():
    if opcode == 8:
        print('closed', struct.unpack('>H', payload[:2])[0] if payload else 'without a code', flush=True)
        send(8, payload)
        break
    if opcode == 9:
        send(10, payload)
    if opcode != 1:
        continue
    frame = json.loads(payload)
    if frame.get('event') == 'connect.challenge':
        send(1, json.dumps({'type': 'req', 'id': '1', 'method': 'connect', 'params': connect}).encode())
    elif frame.get('type') == 'res':
        print(f"hello {frame['payload']['protocol']}" if frame['ok'] else f"refused {frame['error']}", flush=True)
    elif frame.get('event') not in ('tick', 'health', 'presence'):
        print('event', frame.get('event'), flush=True)
