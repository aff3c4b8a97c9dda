#!/bin/sh
# Installs gatelet as a systemd service, or brings an installed one up to date. Needs root, and nothing from the network.
#   install.sh [--port PORT] [--bind loopback|lan|tailnet|auto] [BINARY]
# BINARY (default: gatelet beside this script, else the one of this machine's folder beside this one) must have its .sha256
# beside it. Without --port and --bind what is configured stays. If the new one does not get ready, the old one is put back.
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
  # the undoing is in the EXIT trap, which a signal alone does not reach in every shell
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

# gatelet without the variables of who installs it
gatelet() { env -i PATH="$PATH" $program --state-dir $state "$@"; }

# --- what is installed, and whether it can be -------------------------------------------------------------------------

choose_binary() {
  if [ -z "$binary" ]; then
    binary=$here/gatelet
    if [ ! -f "$binary" ]; then
      folder=$(folder_of "$(machine_of /bin/sh)")
      [ -n "$folder" ] || fail "there is no gatelet for this machine ($(uname -m)); give the file, if you built one"
      binary=$here/../$folder/gatelet
    fi
  fi
  [ -f "$binary" ] || fail "there is no $binary; give the file to install: $0 FILE"
}

check_sum() {
  [ -f "$binary.sha256" ] || fail "there is no $binary.sha256 to check the file with; copy it from where the file came from"
  want=$(cut -c 1-64 "$binary.sha256")
  have=$(sha256sum <"$binary" | cut -c 1-64)
  [ "$want" = "$have" ] || fail "$binary is damaged: its SHA-256 is not the one in $binary.sha256; copy it again"
}

# A file of the kernel's kind starts even where the userland is of the other, but systemd would let it call nothing.
check_machine() {
  ours=$(machine_of /bin/sh)
  its=$(machine_of "$binary")
  [ -n "$its" ] || fail "$binary is no Linux program"
  [ "$its" != "$ours" ] || return 0
  folder=$(folder_of "$ours")
  fail "$binary is for $(words_of "$its"), and this system is $(words_of "$ours"); take the file of targets/${folder:-?}"
}

# class and machine in the head of a program, as bytes in hexadecimal; nothing for anything else
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
    *) echo "another machine ($1)" ;;
  esac
}

check_systemd() {
  [ ! -d /run/systemd/system ] || return 0
  cat >&2 <<END
install.sh: this system was not started by systemd, so there is no service to install. Instead:
  in a container   make an image: targets/container/NOTES.md
  OpenRC, runit..  cp "$binary" $program
                   and let your init run, as a user of its own who owns $state:
                   $program run --state-dir $state
END
  exit 1
}

check_runs() {
  version=$(gatelet --version 2>/dev/null) && return 0
  fail "$binary does not run on this processor ($(uname -m)); 32-bit ARM needs ARMv7, which a Pi 1 or Zero has not"
}

# --- all or nothing ---------------------------------------------------------------------------------------------------

# put MODE FROM TO: TO is the old file or the new one at any moment, and can be had back until the end
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
          if systemctl restart gatelet.service; then echo "install.sh: what was installed before is back, and runs" >&2; fi
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

# --- configuration ----------------------------------------------------------------------------------------------------

configure() {
  if [ -n "$port$bind" ]; then
    # systemd makes the directory, and this one its own, at the start
    [ -d $state ] || (umask 077 && mkdir -p $state)
    old_port='' old_bind=''
    if [ -e $config ]; then
      old_port=$(sed -n 's/^    "port": \([^,]*\),$/\1/p' $config)
      old_bind=$(sed -n 's/^    "bind": "\([^"]*\)"$/\1/p' $config)
      [ "$(cat $config)" = "$(settings "$old_port" "$old_bind")" ] ||
        fail "$config is your own: set gateway.port and gateway.bind there, and leave out --port and --bind"
    fi
    settings "${port:-${old_port:-18789}}" "${bind:-${old_bind:-loopback}}" >"$scratch/gatelet.json"
    gatelet --config "$scratch/gatelet.json" config check >"$scratch/check" 2>&1 || fail "$(cat "$scratch/check")"
    put 600 "$scratch/gatelet.json" $config
  fi
  gatelet config check >"$scratch/check" 2>&1 || fail "$(cat "$scratch/check")"
}

# settings PORT BIND: the file that this script writes, and changes as long as nobody else did
settings() {
  printf '{\n  "gateway": {\n    "port": %s,\n    "bind": "%s"\n  }\n}\n' "$1" "$2"
}

# Loopback is always there. Other addresses are looked for at the start, for binding or for the links that pairing shows.
wait_for_network() {
  in_force=$(gatelet config print | sed -n 's/^gateway\.bind  *\([a-z]*\) .*/\1/p')
  if [ "$in_force" = loopback ]; then
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

# --- start ------------------------------------------------------------------------------------------------------------

start() {
  systemctl daemon-reload
  systemctl enable --quiet gatelet.service
  systemctl reset-failed gatelet.service 2>/dev/null || true
  # returns when the gateway has said that it is ready
  if ! systemctl restart gatelet.service; then
    run=$(systemctl show --property=InvocationID --value gatelet.service)
    systemctl stop gatelet.service
    lines=$(journalctl --quiet --no-pager --output=cat --lines=20 "_SYSTEMD_INVOCATION_ID=$run")
    printf '%s\n' "$lines" >&2
    case $lines in *"port is in use"*) ss -Hltnp 2>/dev/null | grep ":$(port_in_force) " >&2 || true ;; esac
    fail "the service does not start; the lines above say why"
  fi
  gatelet health >/dev/null
}

port_in_force() { gatelet config print | sed -n 's/^gateway\.port  *\([0-9]*\) .*/\1/p'; }

report() {
  finished=yes
  echo "$version runs as gatelet.service, and starts with the machine; state and configuration: $state"
  echo "open:"
  gatelet url | sed 's/^/  /'
  echo "other devices: sudo gatelet pair        log: journalctl -u gatelet"
}

main "$@"
