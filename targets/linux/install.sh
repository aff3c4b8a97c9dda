#!/bin/sh
# Installs gatelet as a systemd service, or upgrades an installed one. Needs root, and no network.
#   install.sh [--port PORT] [--bind loopback|lan|tailnet|auto] [BINARY]
# BINARY must have its .sha256 next to it. The default is "gatelet" in the directory of this script,
# then the file in the directory of this machine's target (../TRIPLE). Without --port and --bind the
# configuration does not change. If the new version does not become ready, the old one is restored.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
program=/usr/local/bin/gatelet
unit=/etc/systemd/system/gatelet.service
waits=/etc/systemd/system/gatelet.service.d/network.conf
state=/var/lib/gatelet
config=$state/gatelet.json
changed=
finished=no

main() {
  port='' bind='' binary=''
  while [ $# -gt 0 ]; do
    case $1 in
      --port | --bind)
        [ $# -ge 2 ] || usage "$1 needs a value"
        if [ "$1" = --port ]; then port=$2; else bind=$2; fi
        shift
        ;;
      --port=*) port=${1#*=} ;;
      --bind=*) bind=${1#*=} ;;
      -*) usage "unknown option $1" ;;
      *)
        [ -z "$binary" ] || usage "two files: $binary and $1"
        binary=$1
        ;;
    esac
    shift
  done
  [ "$(id -u)" = 0 ] || fail "needs root; run: sudo $0"
  choose_binary
  check_sum
  check_machine
  check_systemd

  umask 022
  scratch=$(mktemp -d)
  trap undo EXIT
  # not every shell runs the EXIT trap after a signal
  trap 'exit 1' HUP INT TERM
  mkdir -p /usr/local/bin
  put 755 "$binary" $program
  check_runs
  configure
  wait_for_network
  put 644 "$here/systemd/gatelet.service" $unit
  start
  report
}

usage() {
  echo "install.sh: $1; usage: install.sh [--port PORT] [--bind loopback|lan|tailnet|auto] [BINARY]" >&2
  exit 2
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

# runs gatelet without the environment of the caller
gatelet() { env -i PATH="$PATH" $program --state-dir $state "$@"; }

# --- the file to install --------------------------------------------------------------------------

choose_binary() {
  if [ -z "$binary" ]; then
    binary=$here/gatelet
    if [ ! -f "$binary" ]; then
      folder=$(folder_of "$(machine_of /bin/sh)")
      [ -n "$folder" ] || fail "no gatelet for this machine ($(uname -m)); if you have built one, name the file"
      binary=$here/../$folder/gatelet
    fi
  fi
  [ -f "$binary" ] || fail "there is no $binary; name the file to install: $0 FILE"
}

check_sum() {
  [ -f "$binary.sha256" ] || fail "there is no $binary.sha256 to check the file with; copy it too"
  want=$(cut -c 1-64 "$binary.sha256")
  have=$(sha256sum <"$binary" | cut -c 1-64)
  [ "$want" = "$have" ] || fail "$binary is damaged: its SHA-256 is not the one in $binary.sha256; copy it again"
}

# A 64-bit kernel starts 64-bit programs on a 32-bit system too, but the unit permits only system
# calls of the native architecture.
check_machine() {
  ours=$(machine_of /bin/sh)
  its=$(machine_of "$binary")
  [ -n "$its" ] || fail "$binary is not a Linux program"
  [ "$its" != "$ours" ] || return 0
  folder=$(folder_of "$ours")
  fail "$binary is for $(words_of "$its"), and this system is $(words_of "$ours"); take the file of targets/${folder:-?}"
}

# machine_of FILE: prints class and machine of an ELF header in hexadecimal; nothing for other files
machine_of() {
  od -A n -t x1 -N 20 "$1" | tr -d ' \n' | sed -n 's/^7f454c46\(..\).\{26\}\(....\)$/\1\2/p'
}

folder_of() {
  case $1 in
    02b700) echo aarch64-unknown-linux-musl ;;
    012800) echo armv7-unknown-linux-musleabihf ;;
    023e00) echo x86_64-unknown-linux-musl ;;
  esac
}

words_of() {
  case $1 in
    02b700) echo "64-bit ARM" ;;
    012800) echo "32-bit ARM" ;;
    023e00) echo "64-bit x86" ;;
    010300) echo "32-bit x86" ;;
    *) echo "another architecture ($1)" ;;
  esac
}

check_systemd() {
  [ ! -d /run/systemd/system ] || return 0
  cat >&2 <<END
install.sh: this system was not started by systemd, so no service can be installed. Instead:
  in a container   build an image: targets/container/NOTES.md
  OpenRC, runit..  cp "$binary" $program
                   and start this as a dedicated user that owns $state:
                   $program run --state-dir $state
END
  exit 1
}

check_runs() {
  version=$(gatelet --version 2>/dev/null) && return 0
  fail "$binary does not run on this processor ($(uname -m)); 32-bit ARM needs ARMv7, which a Pi 1 or Zero does not have"
}

# --- replacement of files -------------------------------------------------------------------------

# put MODE FROM TO: replaces TO atomically; the old file is kept until the end
put() {
  if [ -e "$3" ]; then cp -p "$3" "$3.before"; else rm -f "$3.before"; fi
  changed="$changed $3"
  install -m "$1" "$2" "$3.new"
  mv -f "$3.new" "$3"
}

undo() {
  if [ $finished = no ]; then
    for file in $changed; do
      rm -f "$file.new"
      if [ -e "$file.before" ]; then mv -f "$file.before" "$file"; else rm -f "$file"; fi
    done
    rmdir $state 2>/dev/null || true
    case "$changed " in
      *" $unit "*)
        systemctl daemon-reload
        if [ -e $unit ]; then
          systemctl reset-failed gatelet.service 2>/dev/null || true
          if systemctl restart gatelet.service; then echo "install.sh: the earlier version is restored and running" >&2; fi
        else
          systemctl disable --quiet gatelet.service 2>/dev/null || true
          systemctl stop gatelet.service 2>/dev/null || true
          echo "install.sh: nothing was installed" >&2
        fi
        ;;
    esac
  fi
  for file in $changed; do rm -f "$file.before"; done
  rmdir "$(dirname $waits)" 2>/dev/null || true
  rm -rf "$scratch"
}

# --- configuration --------------------------------------------------------------------------------

configure() {
  if [ -n "$port$bind" ]; then
    # systemd moves this directory and changes its owner when the service starts
    [ -d $state ] || (umask 077 && mkdir -p $state)
    old_port='' old_bind=''
    if [ -e $config ]; then
      old_port=$(sed -n 's/^    "port": \([^,]*\),$/\1/p' $config)
      old_bind=$(sed -n 's/^    "bind": "\([^"]*\)"$/\1/p' $config)
      [ "$(cat $config)" = "$(settings "$old_port" "$old_bind")" ] ||
        fail "$config was not written by install.sh: set gateway.port and gateway.bind in it, without --port and --bind"
    fi
    settings "${port:-${old_port:-18789}}" "${bind:-${old_bind:-loopback}}" >"$scratch/gatelet.json"
    gatelet --config "$scratch/gatelet.json" config check >"$scratch/check" 2>&1 || fail "$(cat "$scratch/check")"
    put 600 "$scratch/gatelet.json" $config
  fi
  gatelet config check >"$scratch/check" 2>&1 || fail "$(cat "$scratch/check")"
}

# settings PORT BIND: prints the configuration that this script writes; a different file is not
# overwritten
settings() {
  printf '{\n  "gateway": {\n    "port": %s,\n    "bind": "%s"\n  }\n}\n' "$1" "$2"
}

# Unless only loopback is used, the service starts after the network: it needs the addresses for
# binding and for the links that pairing shows.
wait_for_network() {
  if [ "$(setting bind)" = loopback ]; then
    if [ -e $waits ]; then
      changed="$changed $waits"
      mv -f $waits $waits.before
    fi
  else
    mkdir -p "$(dirname $waits)"
    printf '[Unit]\nWants=network-online.target\nAfter=network-online.target tailscaled.service\n' >"$scratch/network.conf"
    put 644 "$scratch/network.conf" $waits
  fi
}

# --- start ----------------------------------------------------------------------------------------

start() {
  systemctl daemon-reload
  systemctl enable --quiet gatelet.service
  systemctl reset-failed gatelet.service 2>/dev/null || true
  # returns when the gateway has reported that it is ready
  if ! systemctl restart gatelet.service; then
    run=$(systemctl show --property=InvocationID --value gatelet.service)
    systemctl stop gatelet.service
    lines=$(journalctl --quiet --no-pager --output=cat --lines=20 "_SYSTEMD_INVOCATION_ID=$run")
    printf '%s\n' "$lines" >&2
    case $lines in *"port is in use"*) ss -Hltnp 2>/dev/null | grep ":$(setting port) " >&2 || true ;; esac
    fail "the service does not start; see the lines above"
  fi
  gatelet health >/dev/null
}

# setting NAME: prints the value of gateway.NAME for the next start. Without the option, the gateway
# that still runs would give its values.
setting() {
  name=$1
  shift
  if [ -e $config ]; then set -- --config $config; fi
  gatelet config print "$@" | sed -n "s/^gateway\\.$name  *\\([a-z0-9]*\\) .*/\\1/p"
}

report() {
  finished=yes
  echo "$version runs as gatelet.service and is started at boot; state and configuration: $state"
  echo "open:"
  gatelet url | sed 's/^/  /'
  echo "other devices: sudo gatelet pair        log: journalctl -u gatelet"
}

main "$@"
