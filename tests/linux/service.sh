#!/usr/bin/env bash
# Tests the Linux service as a user installs it: starts a Debian with systemd as its first process
# in separate namespaces, and installs gatelet there with targets/linux/install.sh, uses, kills,
# upgrades and removes it.
#   tests/linux/service.sh BINARY      (with BINARY.sha256 beside it; for this machine's processor)
# Needs root and apt. Prints one line "ok ..." per check. The Debian tree (220 MB) is kept below
# target/linux, or in GATELET_LINUX_DIR; everything else is removed. Not covered: udev, networks
# other than loopback, a separate kernel.
# shellcheck disable=SC2016  # single-quoted text is for the inner shell
set -euo pipefail
if [ $# != 1 ] || [ ! -f "$1" ]; then
  echo "usage: tests/linux/service.sh BINARY" >&2
  exit 2
fi
binary=$(realpath "$1")
cd "$(dirname "$0")/../.."

kept=${GATELET_LINUX_DIR:-target/linux}
packages=systemd,systemd-sysv,dbus,iproute2
program=/usr/local/bin/gatelet
port=18789
begun=$(date +%s)

main() {
  [ "$(id -u)" = 0 ] || { echo "tests/linux/service.sh: needs root, to make namespaces" >&2; exit 2; }
  make_tree
  work=$(mktemp -d)
  trap clean_up EXIT
  boot
  everything_there >"$work/before"

  for seen in install_rejects_what_cannot_work installs unit_is_sound root_needs_no_option other_users_have_their_own_state \
    devices_pair_and_come_back restart_keeps_table_and_token kill_is_followed_by_a_restart stop_is_clean hardening_holds \
    journal_has_no_times_and_no_secrets node_answers_as_a_service files_of_root_become_the_services upgrade_keeps_state settings_are_kept edited_configuration_is_kept \
    failed_upgrade_is_undone uninstall_keeps_the_state uninstall_can_remove_the_state failed_install_leaves_nothing; do
    "$seen"
  done
  echo "all checks passed, in $(($(date +%s) - begun)) s"
}

ok() { echo "ok      $*"; }

fail() {
  echo "FAILED  $*" >&2
  inside journalctl --no-pager --lines=30 --output=short-monotonic >&2 || true
  exit 1
}

# expect WHAT COMMAND...: asserts that the command succeeds; its output is in $out
expect() {
  local what=$1
  shift
  out=$("$@" 2>&1) || fail "$what: $* gave $?: $out"
}

# refused WORDS COMMAND...: asserts that the command fails with WORDS in its output
refused() {
  local words=$1
  shift
  if out=$("$@" 2>&1); then fail "$* should have failed: $out"; fi
  holds "$out" "$words"
}

holds() { [[ "$1" == *"$2"* ]] || fail "\"$2\" is not in: $1"; }
lacks() { [[ "$1" != *"$2"* ]] || fail "\"$2\" is in: $1"; }
same() { [ "$1" = "$2" ] || fail "\"$1\" is not \"$2\""; }

until_true() {
  for _ in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "not within 20 seconds: $*: $(cat "$work/boot.log")"
}

# --- the machine ----------------------------------------------------------------------------------

make_tree() {
  local missing=()
  for pair in mmdebstrap:mmdebstrap python3:python3-minimal unshare:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}") >&2
  fi
  if [ "$(cat "$kept/tree.is" 2>/dev/null)" != "bookworm $packages" ]; then
    rm -rf "$kept/tree" "$kept/tree.is"
    mkdir -p "$kept"
    mmdebstrap --quiet --variant=minbase --include=$packages bookworm "$kept/tree"
    # these would change kernel settings, which are those of the host
    ln -s /dev/null "$kept/tree/etc/systemd/system/systemd-sysctl.service"
    ln -s /dev/null "$kept/tree/etc/systemd/system/systemd-modules-load.service"
    echo "bookworm $packages" >"$kept/tree.is"
  fi
}

boot() {
  mkdir "$work/space" "$work/root"
  # a separate control group, in which systemd creates those of its services
  groups=$work/groups
  mkdir "$groups"
  mount -t cgroup2 cgroup2 "$groups"
  group=$groups/gatelet-linux-$$
  mkdir "$group"
  (
    echo $BASHPID >"$group/cgroup.procs"
    exec unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child --propagation private \
      bash -c "$(declare -f first_process); first_process \"\$@\"" bash "$work" "$(realpath "$kept/tree")" </dev/null >"$work/boot.log" 2>&1
  ) &
  machine=$!
  until_true first_process_is_known
  until_true booted
  # copies the folders as a user copies them to a machine
  file=/opt/$(uname -m)-unknown-linux-musl/gatelet
  inside mkdir "$(dirname "$file")"
  tar -C targets -c linux | into_machine tar -x --no-same-owner -C /opt
  into_machine sh -c "cat >$file && chmod 755 $file" <"$binary"
  into_machine sh -c "cat >$file.sha256" <"$binary.sha256"
  expect "the version" inside "$file" --version
  ok "systemd $(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p') is the first process of a Debian; $out"
}

# first_process WORK TREE: runs in the new namespaces and becomes systemd
first_process() {
  set -eu
  root=$1/root
  mount -t tmpfs -o mode=755 tmpfs "$1/space"
  mkdir "$1/space/upper" "$1/space/work"
  mount -t overlay -o "lowerdir=$2,upperdir=$1/space/upper,workdir=$1/space/work" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$root/proc/sys" "$root/proc/sys"
  mount -o remount,bind,ro "$root/proc/sys"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t tmpfs tmpfs "$root/sys/fs"
  mkdir "$root/sys/fs/cgroup"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/old"
  mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  cd "$root"
  echo pi >etc/hostname
  pivot_root . run/old
  cd /
  umount -l run/old
  rmdir run/old
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=gatelet-test /sbin/init --show-status=false
}

first_process_is_known() {
  first=$(cat "/proc/$machine/task/$machine/children" 2>/dev/null)
  first=${first% }
  # until systemd is started, this is the shell that prepares the file system
  [ "$(cat "/proc/$first/comm")" = systemd ]
}

booted() { [[ "$(inside systemctl is-system-running)" =~ ^(running|degraded)$ ]]; }

# inside COMMAND...: runs a command as root in the Debian
inside() { inside_as HOME=/root "$@"; }

inside_as() {
  nsenter --target "$first" --mount --uts --ipc --net --pid --cgroup --root --wd \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 NO_COLOR=1 "$@" </dev/null
}

into_machine() { nsenter --target "$first" --mount --root "$@"; }

clean_up() {
  [ -z "${machine:-}" ] || kill -9 "$machine" 2>/dev/null || true
  [ -z "${machine:-}" ] || wait "$machine" 2>/dev/null || true
  for _ in $(seq 50); do
    if find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; then break; fi
    sleep 0.1
  done
  umount "$groups"
  rm -rf "$work"
}

# --- helpers for the checks -----------------------------------------------------------------------

gatelet() { inside $program "$@"; }
install() { inside /opt/linux/install.sh "$@"; }
active() { [ "$(inside systemctl is-active gatelet)" = active ]; }
property() { inside systemctl show --property="$1" --value gatelet; }
client() { nsenter --target "$first" --net python3 tests/linux/client.py "$@"; }
everything_there() {
  inside find /etc /home /opt /root /srv /usr /var/lib -xdev -not -path '/var/lib/systemd*' -not -path /var/lib/private | sort
}

# lists the files that did not exist before the first installation
left() { everything_there | comm -13 "$work/before" - | tr '\n' ' '; }

# --- checks ---------------------------------------------------------------------------------------

install_rejects_what_cannot_work() {
  refused "needs root; run: sudo" inside setpriv --reuid=65534 --clear-groups /opt/linux/install.sh
  expect "a copy" inside sh -c 'mkdir -m 755 /tmp/bad && cp $1* /tmp/bad && echo >>/tmp/bad/gatelet' sh "$file"
  refused "is damaged: its SHA-256 is not the one in /tmp/bad/gatelet.sha256" install /tmp/bad/gatelet
  expect "no sum" inside rm /tmp/bad/gatelet.sha256
  refused "there is no /tmp/bad/gatelet.sha256" install /tmp/bad/gatelet
  # class and machine in the ELF header: 32-bit ARM
  expect "a file for another machine" inside bash -c "cd /tmp/bad; f() { printf \$1 | dd of=gatelet bs=1 seek=\$2 conv=notrunc status=none; }
    f '\\x01' 4; f '\\x28' 18; sha256sum gatelet >gatelet.sha256"
  refused "is for 32-bit ARM, and this system is 64-bit" install /tmp/bad/gatelet
  holds "$out" "take the file of targets/$(uname -m)-unknown-linux-musl"
  expect "a file that does not run" inside bash -c 'cd /tmp/bad; head -c 4096 "$1" >gatelet; sha256sum gatelet >gatelet.sha256' bash "$file"
  refused "does not run on this processor" install /tmp/bad/gatelet
  refused "was not started by systemd" inside unshare --mount sh -c 'mount -t tmpfs none /run; exec /opt/linux/install.sh'
  refused "--port needs a value" install --port
  refused "port" install --port 70000
  same "$(left)" ""
  ok "install.sh stops with a message, and changes nothing: no root, a damaged file, no checksum, a file for another machine, one that
        does not start, no systemd, an invalid port"
}

installs() {
  expect "install.sh" install
  holds "$out" "http://127.0.0.1:$port/#token="
  same "$(property Type) $(property ActiveState) $(property SubState) $(property NRestarts)" "notify active running 0"
  expect "health" gatelet health
  same "$(inside systemctl is-enabled gatelet)" enabled
  same "$(inside stat -c %a /var/lib/private/gatelet/ /var/lib/private/gatelet/pairing.table | tr '\n' ' ')" "700 600 "
  ok "install.sh: the service is enabled, sends READY=1, responds, and the link is printed"
}

unit_is_sound() {
  expect "systemd-analyze verify" inside systemd-analyze verify gatelet.service
  same "$out" ""
  # 15 means 1.5, on a scale from 0 (most restricted) to 10
  expect "systemd-analyze security" inside systemd-analyze security --no-pager --offline=true --threshold=15 /etc/systemd/system/gatelet.service
  ok "systemd-analyze: verify prints nothing; $(sed -n 's/.*Overall exposure level[^:]*: *\([0-9.]* [A-Z]*\).*/exposure \1/p' <<<"$out")"
}

root_needs_no_option() {
  expect "url" gatelet url
  link=${out%%$'\n'*}
  token=${link#*#token=}
  [[ "$link" =~ ^http://127\.0\.0\.1:18789/#token=[A-Za-z0-9_-]{43}$ ]] || fail "no link: $out"
  expect "devices list" gatelet devices list
  expect "config print" gatelet config print
  holds "$out" "state directory  /var/lib/gatelet"
  expect "status" gatelet status
  holds "$out" "127.0.0.1:$port"
  ok "root uses the state of the service without an option: url, devices list, config print, status"
}

other_users_have_their_own_state() {
  expect "another user's" inside_as HOME=/tmp/ann setpriv --reuid=65534 --clear-groups $program config print
  holds "$out" "/tmp/ann/.local/state/gatelet  (default)"
  refused "to manage it, use sudo" inside_as HOME=/tmp/ann setpriv --reuid=65534 --clear-groups $program devices list
  refused "to manage it, use sudo" inside_as HOME=/tmp/ann setpriv --reuid=65534 --clear-groups $program pair
  expect "root's own" inside mkdir -p /root/.local/state/gatelet
  expect "root with a separate state" gatelet config print
  holds "$out" "/root/.local/state/gatelet  (default)"
  expect "no root's own" inside rm -r /root/.local
  ok "other users, and a root with a separate state directory, use their own state; a hint names sudo"
}

devices_pair_and_come_back() {
  expect "a device with the token" client $port phone "$token" --once
  expect "the same by its key alone" client $port phone --once
  refused "refused" client $port unpaired --once
  expect "devices list" gatelet devices list
  holds "$out" phone
  lacks "$out" unpaired
  ok "a device pairs with the token and reconnects by its key; an unpaired device is rejected"
}

restart_keeps_table_and_token() {
  local before
  before=$(property MainPID)
  expect "restart" inside systemctl restart gatelet
  [ "$(property MainPID)" != "$before" ] || fail "the same process"
  expect "by the key" client $port phone --once
  expect "url" gatelet url
  same "$out" "$link"
  ok "a restart keeps the table and the token"
}

kill_is_followed_by_a_restart() {
  local before
  before=$(property MainPID)
  expect "SIGKILL" inside sh -c "kill -KILL $before"
  until_true restarted "$before"
  expect "by the key" client $port phone --once
  same "$(property NRestarts)" 1
  ok "after SIGKILL, systemd starts it again and the device reconnects"
}

restarted() { active && [ "$(property MainPID)" != "$1" ]; }

stop_is_clean() {
  watch_gateway
  expect "stop" inside systemctl stop gatelet
  client_was_notified
  same "$(property Result) $(property ExecMainStatus)" "success 0"
  expect "journal" inside journalctl --output=cat -u gatelet
  holds "$out" "info stopped"
  expect "on the file" gatelet devices list
  holds "$out" phone
  expect "start" inside systemctl start gatelet
  ok "stop: the client receives a shutdown event and close 1012, exit code 0; devices list then reads the file"
}

watch_gateway() {
  client $port phone >"$work/client.log" 2>&1 &
  watcher=$!
  until_true grep -q hello "$work/client.log"
}

client_was_notified() {
  wait "$watcher" || fail "the client: $(cat "$work/client.log")"
  holds "$(cat "$work/client.log")" "shutdown gateway stopping"
  holds "$(cat "$work/client.log")" "close 1012 service restart"
}

hardening_holds() {
  local pid status
  pid=$(property MainPID)
  status=$(inside cat "/proc/$pid/status")
  field() { sed -n "s/^$1:[[:space:]]*//p" <<<"$status"; }
  same "$(field CapEff) $(field CapPrm) $(field CapBnd) $(field CapAmb)" "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
  same "$(field NoNewPrivs) $(field Seccomp)" "1 2"
  [ "$(field Uid | cut -f 1)" -ge 61184 ] || fail "not a dynamic user: $(field Uid)"
  same "$(inside sed -n 's/^Max open files *\([0-9]*\) *\([0-9]*\).*/\1 \2/p' "/proc/$pid/limits")" "2688 2688"
  same "$(inside sed -n 's/^Max core file size *\([0-9]*\).*/\1/p' "/proc/$pid/limits")" 0
  # the mounts of the service, accessed as root: failures here are not caused by the user id
  local its=/proc/$pid/root
  for place in /etc /usr/local/bin /var/lib/private /var/log; do
    refused "Read-only file system" inside touch "$its$place/was-here"
  done
  refused "Permission denied" inside "$its/bin/true"
  same "$(inside ls -A "$its/home" "$its/root" | tr -d '\n')" "$its/home:$its/root:"
  expect "its own place" inside touch "$its/var/lib/private/gatelet/was-here"
  expect "its own place" inside rm "$its/var/lib/private/gatelet/was-here"
  ok "the process: dynamic user, no capability, no new privileges, seccomp, 2688 files, no core dump; it can start no program, and write
        only to its state directory"
}

journal_has_no_times_and_no_secrets() {
  local lines
  lines=$(inside journalctl --output=cat _SYSTEMD_UNIT=gatelet.service)
  holds "$lines" "info admit conn="
  holds "$lines" "info gatelet 0."
  lacks "$lines" "$token"
  ! grep -E '^[0-9]{4}-[0-9]{2}-[0-9]{2}T' <<<"$lines" || fail "a second time next to that of the journal"
  lacks "$lines" "in a container"
  refused_lines=$(inside journalctl --output=cat --priority=warning _SYSTEMD_UNIT=gatelet.service)
  holds "$refused_lines" "warn refuse conn="
  lacks "$refused_lines" "info "
  ok "the journal has the lines with their priorities, without a second time and without the token"
}

node_answers_as_a_service() {
  local place=/var/lib/gatelet-node code=
  expect "the unit" inside cp /opt/linux/systemd/gatelet-node.service /etc/systemd/system/
  expect "systemd-analyze verify" inside systemd-analyze verify gatelet-node.service
  same "$out" ""
  for words in id sleep "touch /etc/was-here"; do
    # shellcheck disable=SC2086  # several words
    expect "allow $words" gatelet --state-dir $place node allow $words
  done
  expect "a code" gatelet pair --role node --json
  code=$(sed -n 's/.*"code": "\([A-Z0-9]*\)".*/\1/p' <<<"$out")
  expect "the first pairing, and Ctrl-C" inside timeout --preserve-status --signal=INT 5 $program --state-dir $place node run \
    --host 127.0.0.1:$port --code "$code" --display-name shed
  holds "$out" "connected to 127.0.0.1:$port as shed"
  expect "enable" inside systemctl enable --quiet --now gatelet-node
  until_true node_answers system.which '{"bins": ["id"]}'
  until_true node_answers device.status
  holds "$out" uptimeSeconds
  node_answers system.run '{"command": ["id", "-u"]}' || fail "id: $out"
  [ "$(sed -n 's/.*"stdout": "\([0-9]*\)\\n".*/\1/p' <<<"$out")" -ge 61184 ] || fail "not a dynamic user: $out"
  node_answers system.run '{"command": ["touch", "/etc/was-here"]}' || fail "touch: $out"
  holds "$out" "Read-only file system"
  refused "SYSTEM_RUN_DENIED" gatelet nodes invoke shed system.run '{"command": ["cat", "/etc/passwd"]}'
  gatelet nodes invoke shed system.run '{"command": ["sleep", "1234"]}' --timeout 60 >/dev/null 2>&1 &
  until_true inside sh -c 'grep -ls "sleep" /proc/[0-9]*/comm'
  expect "stop" inside systemctl stop gatelet-node
  same "$(inside systemctl show --property=Result --value gatelet-node)" success
  refused "" inside sh -c 'grep -ls "sleep" /proc/[0-9]*/comm'
  expect "as a user of this machine" inside sh -c "mkdir /etc/systemd/system/gatelet-node.service.d && \
    printf '[Service]\nDynamicUser=no\nUser=daemon\n' >/etc/systemd/system/gatelet-node.service.d/user.conf && systemctl daemon-reload"
  expect "start as that user" inside systemctl start gatelet-node
  until_true node_answers system.run '{"command": ["id", "-u"]}'
  holds "$out" "\"stdout\": \"$(inside id -u daemon)\\n\""
  expect "stop it" inside systemctl stop gatelet-node
  expect "as its own user again" inside sh -c "rm -r /etc/systemd/system/gatelet-node.service.d && systemctl daemon-reload"
  expect "revoke" gatelet devices revoke shed
  refused "" inside systemctl start --wait gatelet-node
  same "$(inside systemctl show --property=ExecMainStatus --value gatelet-node) $(inside systemctl show --property=NRestarts --value gatelet-node)" "3 0"
  expect "clean up" inside sh -c "systemctl disable --quiet gatelet-node; rm -rf /etc/systemd/system/gatelet-node.service $place \
    /var/lib/private/gatelet-node; systemctl daemon-reload; systemctl reset-failed gatelet-node || true"
  expect "forget it" gatelet devices remove shed
  ok "gatelet-node.service: paired once by hand, it runs as a dynamic user, starts only allowed programs and can change nothing; its
        programs end with it, and a revoked node is not started again"
}

# sends a command to the node; the response is in $out
node_answers() { out=$(gatelet nodes invoke shed "$@" --json 2>&1); }

files_of_root_become_the_services() {
  expect "stop" inside systemctl stop gatelet
  expect "rotate" gatelet token rotate
  expect "a configuration" inside sh -c 'umask 077; echo "{gateway: {port: 18790}}" >/var/lib/gatelet/gatelet.json'
  expect "start" inside systemctl start gatelet
  expect "url" gatelet url
  holds "$out" "http://127.0.0.1:18790/#token="
  lacks "$out" "$token"
  expect "back" inside rm /var/lib/gatelet/gatelet.json
  expect "restart" inside systemctl restart gatelet
  expect "url" gatelet url
  link=${out%%$'\n'*}
  token=${link#*#token=}
  expect "a device with the new token" client $port tablet "$token" --once
  ok "a token and a configuration that only root can read belong to the service after a start"
}

upgrade_keeps_state() {
  local before inode
  before=$(property MainPID)
  inode=$(inside stat -c %i $program)
  watch_gateway
  expect "install.sh again" install
  client_was_notified
  [ "$(property MainPID)" != "$before" ] || fail "the same process"
  [ "$(inside stat -c %i $program)" != "$inode" ] || fail "the program was written over, not replaced"
  expect "url" gatelet url
  same "$out" "$link"
  expect "by the key" client $port phone --once
  same "$(left | tr ' ' '\n' | grep -E '\.(before|new)$')" ""
  ok "an upgrade notifies a connected client, replaces the program atomically, and keeps token and devices"
}

settings_are_kept() {
  expect "install.sh --port --bind" install --port 18791 --bind lan
  holds "$out" "http://127.0.0.1:18791/#token="
  expect "again" install
  expect "url" gatelet url
  holds "$out" "http://127.0.0.1:18791/#token="
  expect "sockets" inside ss -Hltn
  holds "$out" "0.0.0.0:18791"
  holds "$(property After)" network-online.target
  expect "explain" gatelet explain --peer 192.168.1.7 --host pi.local:18791 --origin http://pi.local:18791 --token right --client openclaw-control-ui
  expect "explain" gatelet explain --peer 192.168.1.7 --host pi:18791 --origin http://pi:18791 --token right --client openclaw-control-ui
  expect "the port alone" install --port=$port
  expect "config print" gatelet config print
  [[ "$out" =~ gateway\.bind\ +lan ]] || fail "the bind was not kept: $out"
  expect "loopback again" install --bind loopback
  lacks "$(property After)" network-online.target
  ok "an upgrade keeps --port and --bind; except with loopback it starts after the network, and http://pi.local and http://pi work"
}

edited_configuration_is_kept() {
  local text='{gateway: {port: 18789, bind: "loopback", /* mine */}}'
  expect "my own" inside sh -c 'echo "$1" >/var/lib/gatelet/gatelet.json' sh "$text"
  refused "was not written by install.sh: set gateway.port and gateway.bind in it" install --port 18792
  active || fail "not running any more"
  expect "install.sh" install
  same "$(inside cat /var/lib/gatelet/gatelet.json)" "$text"
  expect "a mistake" inside sh -c 'echo "{gateway: {prot: 1}}" >/var/lib/gatelet/gatelet.json'
  refused "unknown key gateway.prot" install
  active || fail "not running any more"
  expect "no more" inside rm /var/lib/gatelet/gatelet.json
  ok "an edited configuration is kept, and a mistake in it stops the upgrade before any change"
}

failed_upgrade_is_undone() {
  expect "install.sh" install
  nsenter --target "$first" --net python3 -m http.server --bind 127.0.0.1 18793 >/dev/null 2>&1 &
  local other=$!
  until_true nsenter --target "$first" --net python3 -c 'import socket; socket.create_connection(("127.0.0.1", 18793))'
  refused "the earlier version is restored and running" install --port 18793
  kill "$other"
  wait "$other" 2>/dev/null || true
  holds "$out" "the port is in use"
  refused "the earlier version is restored and running" install --port 80
  holds "$out" "choose a port above 1023"
  expect "url" gatelet url
  same "$out" "$link"
  expect "by the key" client $port phone --once
  same "$(left | tr ' ' '\n' | grep -E '\.(before|new)$')" ""
  ok "an upgrade that does not become ready (port in use, port not allowed) prints the reason, and the old version runs again"
}

uninstall_keeps_the_state() {
  expect "uninstall.sh" inside /opt/linux/uninstall.sh
  holds "$out" "its state is kept in /var/lib/private/gatelet"
  same "$(inside systemctl show --property=LoadState --value gatelet)" not-found
  same "$(left)" "/var/lib/gatelet /var/lib/private/gatelet /var/lib/private/gatelet/pairing.lock \
/var/lib/private/gatelet/pairing.table /var/lib/private/gatelet/table.key /var/lib/private/gatelet/token "
  expect "install.sh" install
  expect "by the key" client $port phone --once
  ok "uninstall.sh keeps only the state, and a new installation has the devices"
}

uninstall_can_remove_the_state() {
  refused "usage: uninstall.sh" inside /opt/linux/uninstall.sh --purge
  active || fail "stopped by a wrong option"
  expect "uninstall.sh --remove-state" inside /opt/linux/uninstall.sh --remove-state
  same "$(left)" ""
  expect "once more" inside /opt/linux/uninstall.sh --remove-state
  ok "uninstall.sh --remove-state removes everything"
}

failed_install_leaves_nothing() {
  refused "nothing was installed" install --port 80
  same "$(inside systemctl show --property=LoadState --value gatelet)" not-found
  expect "the state that it made" inside /opt/linux/uninstall.sh --remove-state
  same "$(left)" ""
  ok "a first installation that does not become ready is removed"
}

main
