"""A client of the gateway protocol with a device key, of Python's own library alone, for tests/linux/service.sh.

usage: client.py PORT NAME [TOKEN]        waits until the gateway closes
       client.py PORT NAME [TOKEN] --once leaves after hello
Prints a line for hello, for each shutdown event and for the close. The key is made of NAME: not for secrets.
"""
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import time

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def main():
    once = "--once" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--once"]
    port, name, token = int(words[0]), words[1], words[2] if len(words) > 2 else None
    wire = connect(port)
    challenge = json.loads(read(wire)[1])["payload"]
    send(wire, {"type": "req", "id": "1", "method": "connect", "params": params(name, token, challenge["nonce"])})
    while True:
        opcode, data = read(wire)
        if opcode == 8:
            print("close", struct.unpack(">H", data[:2])[0], data[2:].decode())
            sys.exit("closed before hello" if once else 0)
        if opcode != 1:
            continue
        frame = json.loads(data)
        if frame["type"] == "res":
            if not frame["ok"]:
                sys.exit(f"refused: {frame['error']['message']}")
            print("hello", frame["payload"]["server"]["connId"], flush=True)
            if once:
                return
        elif frame["event"] == "shutdown":
            print("shutdown", frame["payload"]["reason"], flush=True)


def params(name, token, nonce):
    seed = hashlib.sha256(name.encode()).digest()
    public = key_pair(seed)[2]
    device = hashlib.sha256(public).hexdigest()
    scopes, at = ["operator.read"], int(time.time() * 1000)
    text = "|".join(["v2", device, "cli", "cli", "operator", ",".join(scopes), str(at), token or "", nonce])
    return {
        "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": [],
        "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli", "displayName": name},
        "auth": {"token": token} if token else {},
        "device": {"id": device, "publicKey": url64(public), "signature": url64(sign(seed, text.encode())),
                   "signedAt": at, "nonce": nonce},
    }


# --- WebSocket ------------------------------------------------------------------------------------


def connect(port):
    wire = socket.create_connection(("127.0.0.1", port), timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    wire.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += exactly(wire, 1)
    if b" 101 " not in answer.split(b"\r\n")[0]:
        sys.exit(answer.decode())
    return wire


def send(wire, value):
    data, mask = json.dumps(value).encode(), os.urandom(4)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    wire.sendall(struct.pack(">BBH", 0x81, 0x80 | 126, len(data)) + mask + body)


def read(wire):
    first, length = exactly(wire, 2)
    if length == 126:
        length = struct.unpack(">H", exactly(wire, 2))[0]
    elif length == 127:
        length = struct.unpack(">Q", exactly(wire, 8))[0]
    return first & 15, exactly(wire, length)


def exactly(wire, count):
    data = b""
    while len(data) < count:
        more = wire.recv(count - len(data))
        if not more:
            sys.exit("the connection was cut")
        data += more
    return data


# --- Ed25519 (RFC 8032) ---------------------------------------------------------------------------


def sign(seed, message):
    secret, prefix, public = key_pair(seed)
    nonce = number(hashlib.sha512(prefix + message).digest()) % ORDER
    start = encode(times(nonce, base_point()))
    challenge = number(hashlib.sha512(start + public + message).digest()) % ORDER
    return start + ((nonce + challenge * secret) % ORDER).to_bytes(32, "little")


def key_pair(seed):
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    secret = number(digest[:32])
    return secret, bytes(digest[32:]), encode(times(secret, base_point()))


def base_point():
    y = 4 * pow(5, -1, P) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x if x % 2 == 0 else P - x, y)


def times(scalar, point):
    total = (0, 1)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    cross = D * x1 * x2 * y1 * y2
    return ((x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P)


def encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def number(data):
    return int.from_bytes(data, "little")


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


main()
