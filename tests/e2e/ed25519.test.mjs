// The dashboard's own Ed25519 and SHA-2, tested against RFC 8032, FIPS 180-4 and node:crypto.
// Run: node --test tests/e2e/ed25519.test.mjs
import assert from "node:assert/strict";
import * as crypto from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

// Imported as a data: URL, so that src/ needs no package.json that declares it a module tree.
const source = readFileSync(new URL("../../src/dashboard/ed25519.js", import.meta.url), "utf8");
const { publicKey, sha256, sha512, sign } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const PKCS8_HEAD = "302e020100300506032b657004220420";
const SPKI_HEAD = "302a300506032b6570032100";

function nodeKey(seed) {
  return crypto.createPrivateKey({ key: Buffer.from(PKCS8_HEAD + hex(seed), "hex"), format: "der", type: "pkcs8" });
}

function nodeVerifies(message, signature, key) {
  const der = Buffer.from(SPKI_HEAD + hex(key), "hex");
  return crypto.verify(null, message, crypto.createPublicKey({ key: der, format: "der", type: "spki" }), signature);
}

// RFC 8032, 7.1: seed, public key, message, signature.
const VECTORS = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
  [
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
  ],
];

test("keys and signatures are those of RFC 8032", () => {
  for (const [seed, key, message, signature] of VECTORS) {
    assert.equal(hex(publicKey(bytes(seed))), key);
    assert.equal(hex(sign(bytes(message), bytes(seed))), signature);
  }
});

test("SHA-2 gives the digests of FIPS 180-4", () => {
  const abc = new TextEncoder().encode("abc");
  assert.equal(hex(sha256(abc)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(
    hex(sha512(abc)),
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
  );
});

test("SHA-2 agrees with node:crypto at every length around its block ends", () => {
  for (let length = 0; length <= 260; length++) {
    const data = crypto.randomBytes(length);
    assert.equal(hex(sha256(data)), hex(crypto.createHash("sha256").update(data).digest()), `sha256 of ${length}`);
    assert.equal(hex(sha512(data)), hex(crypto.createHash("sha512").update(data).digest()), `sha512 of ${length}`);
  }
});

test("random seeds sign as node:crypto does, and node:crypto verifies them", () => {
  for (let round = 0; round < 25; round++) {
    const seed = crypto.randomBytes(32);
    const message = crypto.randomBytes(round * 17);
    const signature = sign(message, seed);
    assert.equal(hex(signature), hex(crypto.sign(null, message, nodeKey(seed))));
    assert.ok(nodeVerifies(message, signature, publicKey(seed)));
  }
});

test("a changed message no longer verifies", () => {
  const seed = crypto.randomBytes(32);
  const message = Buffer.from("v3|device|openclaw-control-ui|webchat|operator");
  const signature = sign(message, seed);
  message[0] ^= 1;
  assert.ok(!nodeVerifies(message, signature, publicKey(seed)));
});
