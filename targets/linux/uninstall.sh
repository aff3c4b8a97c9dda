#!/bin/sh
# Removes the gatelet service and its program. Needs root.
#   uninstall.sh                   keeps the state: paired devices, token, configuration
#   uninstall.sh --remove-state    removes the state too; each device must be paired again
set -eu

program=/usr/local/bin/gatelet
unit=/etc/systemd/system/gatelet.service
state=/var/lib/gatelet
private=/var/lib/private/gatelet

remove_state=no
case $# in
  0) ;;
  1) [ "$1" = --remove-state ] && remove_state=yes ;;
esac
if [ $# -gt 1 ] || { [ $# = 1 ] && [ $remove_state = no ]; }; then
  echo "uninstall.sh: usage: uninstall.sh [--remove-state]" >&2
  exit 2
fi
if [ "$(id -u)" != 0 ]; then
  echo "uninstall.sh: needs root; run: sudo $0 $*" >&2
  exit 1
fi

if [ -d /run/systemd/system ] && [ -e $unit ]; then
  systemctl disable --quiet --now gatelet.service
fi
rm -f $unit $unit.before $unit.new $program $program.before $program.new
# only the file of the installer; your own changes to the unit are kept
rm -f $unit.d/network.conf $unit.d/network.conf.before $unit.d/network.conf.new
rmdir $unit.d 2>/dev/null || true
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reset-failed gatelet.service 2>/dev/null || true
fi

if [ $remove_state = yes ]; then
  # with DynamicUser, the first is a link to the second
  rm -rf $state $private
  echo "gatelet and its state are removed"
elif [ -e $private ] || [ -e $state ]; then
  echo "gatelet is removed; its state is kept in $private (to remove it: $0 --remove-state)"
else
  echo "gatelet is removed"
fi
[ ! -d $unit.d ] || echo "your changes to the unit are kept in $unit.d"
