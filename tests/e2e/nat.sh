#!/bin/sh
# nat.sh COMMAND...: runs COMMAND on the host side of a published container port.
#
#   host namespace 172.18.0.1  --veth--  172.18.0.2 gateway namespace
#
# 127.0.0.1:18789 and 127.0.0.1:8080 of the host side are DNATed to 172.18.0.2:18789 with
# masquerading, as Docker does; the gateway sees every client as 172.18.0.1. If the kernel does not
# support this, E2E_NAT is "proxy" and the test uses a user-space proxy, like Docker's.
# COMMAND gets E2E_GW_NS (run the gateway with `ip netns exec $E2E_GW_NS`) and E2E_NAT.
# Both namespaces are private to this run; all processes in them end with it.
set -eu
host=gatelet-host-$$
gw=gatelet-gw-$$

# shellcheck disable=SC2329  # called by the trap
cleanup() {
  trap - EXIT INT TERM
  for ns in "$host" "$gw"; do
    for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || :; done
    ip netns del "$ns" 2>/dev/null || :
  done
}
trap cleanup EXIT
trap 'cleanup; exit 130' INT TERM

ip netns add "$host"
ip netns add "$gw"
ip link add v0 netns "$host" type veth peer name v0 netns "$gw"
ip -n "$host" addr add 172.18.0.1/16 dev v0
ip -n "$gw" addr add 172.18.0.2/16 dev v0
for ns in "$host" "$gw"; do
  ip -n "$ns" link set lo up
  # an address that is added a second later is a network change, on which a browser aborts its
  # requests
  ip -n "$ns" link set v0 addrgenmode none
  ip -n "$ns" link set v0 up
done
ip -n "$gw" route add default via 172.18.0.1

E2E_NAT=kernel
if [ "${E2E_NAT_WANT:-kernel}" != kernel ] ||
  ! ip netns exec "$host" sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet' ||
  ! ip netns exec "$host" nft -f - <<'RULES'
table ip gatelet_e2e {
  chain output {
    type nat hook output priority -100;
    ip daddr 127.0.0.1 tcp dport { 18789, 8080 } dnat to 172.18.0.2:18789
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "v0" masquerade
  }
}
RULES
then
  E2E_NAT=proxy
fi
export E2E_NAT E2E_GW_NS="$gw"
status=0
ip netns exec "$host" "$@" || status=$?
exit $status
