#!/usr/bin/env bash
# A Python client of the OpenClaw gateway protocol cannot sign as it is installed, and the second
# library that it names is never tried.
#
# Behaviour (openclaw-sdk 2.1.0, Python 3.11): a device proof needs an Ed25519 signature. The
# package requires no library for it, neither always nor by an extra, so after a plain installation
# the first handshake with a device key fails. The description of the function says that it falls
# back to PyNaCl; with PyNaCl installed it fails in the same way. It signs with cryptography
# installed.
# Seen: alone: GatewayError. With PyNaCl 1.6.0: GatewayError. With cryptography 46.0.3: a signature.
# Needs openssl, for a new key.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
openssl genpkey -algorithm ED25519 -out "$dir/key.pem"
python3 -m venv "$dir/venv"
install() { "$dir/venv/bin/pip" install -q --disable-pip-version-check "$@"; }
cat >"$dir/finding.py" <<'END'
import sys
from importlib.metadata import distribution
from openclaw_sdk.gateway import protocol

needed = " ".join(distribution("openclaw-sdk").requires).lower()
if "cryptography" in needed or "nacl" in needed:
    sys.exit("the package requires a library for signatures now")
try:
    signature = protocol._sign_device_payload(open(sys.argv[1]).read(), "text")
    print("a signature" if len(signature) == 86 else "no signature")
except Exception as error:
    print(type(error).__name__)
END
try() { "$dir/venv/bin/python" "$dir/finding.py" "$dir/key.pem"; }
install openclaw-sdk==2.1.0
alone=$(try)
install PyNaCl==1.6.0
nacl=$(try)
install cryptography==46.0.3
cryptography=$(try)
echo "alone: $alone"
echo "with PyNaCl: $nacl"
echo "with cryptography: $cryptography"
[ "$alone $nacl $cryptography" = "GatewayError GatewayError a signature" ]
