// Ed25519 signing (RFC 8032) and SHA-2 (FIPS 180-4) for pages without crypto.subtle, that is, plain
// HTTP on a LAN. Signs only. Not constant-time: it signs one fresh challenge per connection, on its
// owner's machine.

const ones = (bits) => (1n << BigInt(bits)) - 1n;

const SHA256 = {
  bits: 32n, rounds: 64, schedule: [[7n, 18n, 3n], [17n, 19n, 10n]], state: [[2n, 13n, 22n], [6n, 11n, 25n]],
};
const SHA512 = {
  bits: 64n, rounds: 80, schedule: [[1n, 8n, 7n], [19n, 61n, 6n]], state: [[28n, 34n, 39n], [14n, 18n, 41n]],
};

// The constants are the first 64 fraction bits of the roots of primes; SHA-256 uses the upper half.
const PRIMES = [];
for (let n = 2; PRIMES.length < 80; n++) if (PRIMES.every((p) => n % p)) PRIMES.push(n);
const START = PRIMES.slice(0, 8).map((p) => fractionOfRoot(p, 2n));
const ROUND = PRIMES.map((p) => fractionOfRoot(p, 3n));

/** Returns the SHA-256 hash of bytes, 32 bytes. */
export const sha256 = (bytes) => sha2(bytes, SHA256);

/** Returns the SHA-512 hash of bytes, 64 bytes. */
export const sha512 = (bytes) => sha2(bytes, SHA512);

/** Returns the 32-byte public key of a 32-byte seed. */
export const publicKey = (seed) => encode(times(expand(seed).scalar, BASE));

/** Returns the 64-byte signature of a message with the key of a seed. */
export function sign(message, seed) {
  const { scalar, prefix } = expand(seed);
  const key = encode(times(scalar, BASE));
  const r = little(sha512(join(prefix, message))) % ORDER;
  const point = encode(times(r, BASE));
  const k = little(sha512(join(point, key, message))) % ORDER;
  return join(point, bytesOf((r + k * scalar) % ORDER, 32));
}

function fractionOfRoot(prime, degree) {
  const target = BigInt(prime) << (64n * degree);
  let low = 0n;
  let high = 1n << 70n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** degree <= target) low = middle;
    else high = middle;
  }
  return low & ones(64);
}

function sha2(bytes, { bits, rounds, schedule, state }) {
  const mask = ones(bits);
  const turn = (x, by) => (x >> by) | ((x << (bits - by)) & mask);
  const mix = (x, [a, b, c]) => turn(x, a) ^ turn(x, b) ^ turn(x, c);
  const stir = (x, [a, b, shift]) => turn(x, a) ^ turn(x, b) ^ (x >> shift);
  const word = Number(bits) / 8;
  const text = padded(bytes, word);
  let hash = START.map((h) => h >> (64n - bits));
  for (let at = 0; at < text.length; at += 16 * word) {
    const w = Array.from({ length: 16 }, (_, i) => big(text.subarray(at + i * word, at + (i + 1) * word)));
    for (let i = 16; i < rounds; i++) {
      w[i] = (w[i - 16] + stir(w[i - 15], schedule[0]) + w[i - 7] + stir(w[i - 2], schedule[1])) & mask;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < rounds; i++) {
      const one = h + mix(e, state[1]) + ((e & f) ^ (~e & mask & g)) + (ROUND[i] >> (64n - bits)) + w[i];
      const two = mix(a, state[0]) + ((a & b) ^ (a & c) ^ (b & c));
      [a, b, c, d, e, f, g, h] = [(one + two) & mask, a, b, c, (d + one) & mask, e, f, g];
    }
    hash = [a, b, c, d, e, f, g, h].map((x, i) => (x + hash[i]) & mask);
  }
  return join(...hash.map((x) => bytesOf(x, word).reverse()));
}

function padded(bytes, word) {
  const block = 16 * word;
  const length = Math.ceil((bytes.length + 1 + 2 * word) / block) * block;
  const text = new Uint8Array(length);
  text.set(bytes);
  text[bytes.length] = 0x80;
  new DataView(text.buffer).setUint32(length - 4, bytes.length * 8);
  return text;
}

const P = (1n << 255n) - 19n;
const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const D2 = mod(-2n * 121665n * inverse(121666n));
const BASE = point(
  0x216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51an,
  0x6666666666666666666666666666666666666666666666666666666666666658n,
);

function expand(seed) {
  const hash = sha512(seed);
  const scalar = (little(hash.subarray(0, 32)) & ones(254) & ~7n) | (1n << 254n);
  return { scalar, prefix: hash.subarray(32) };
}

function mod(x) {
  const rest = x % P;
  return rest < 0n ? rest + P : rest;
}

function inverse(x) {
  let result = 1n;
  for (let power = P - 2n, square = mod(x); power; power >>= 1n, square = mod(square * square)) {
    if (power & 1n) result = mod(result * square);
  }
  return result;
}

function point(x, y) {
  return { x, y, z: 1n, t: mod(x * y) };
}

function add(p, q) {
  const a = mod((p.y - p.x) * (q.y - q.x));
  const b = mod((p.y + p.x) * (q.y + q.x));
  const c = mod(p.t * D2 * q.t);
  const d = mod(2n * p.z * q.z);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return { x: mod(e * f), y: mod(g * h), z: mod(f * g), t: mod(e * h) };
}

function times(scalar, base) {
  let sum = point(0n, 1n);
  for (let rest = scalar, power = base; rest; rest >>= 1n, power = add(power, power)) {
    if (rest & 1n) sum = add(sum, power);
  }
  return sum;
}

function encode(p) {
  const over = inverse(p.z);
  return bytesOf(mod(p.y * over) | ((mod(p.x * over) & 1n) << 255n), 32);
}

function big(bytes) {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function little(bytes) {
  return big(Uint8Array.from(bytes).reverse());
}

function bytesOf(x, length) {
  return Uint8Array.from({ length }, (_, i) => Number((x >> BigInt(8 * i)) & 255n));
}

function join(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
