#!/bin/sh
# The rules of redirect.nft for iptables and ip6tables. Needs root (CAP_NET_ADMIN). A second call replaces the rules.
#
#   SIDECAR_USER=65532 SIDECAR_PORT=15001 examples/transparent/redirect.sh
#   REMOVE=yes examples/transparent/redirect.sh
set -eu

user=${SIDECAR_USER:-65532} port=${SIDECAR_PORT:-15001} chain=M2M_SIDECAR

redirect() { # COMMAND NETWORK...: networks that are left alone
  command=$1
  shift
  "$command" -w -t nat -D OUTPUT -p tcp -j $chain 2>/dev/null || true
  "$command" -w -t nat -F $chain 2>/dev/null || true
  "$command" -w -t nat -X $chain 2>/dev/null || true
  [ -z "${REMOVE:-}" ] || return 0
  "$command" -w -t nat -N $chain
  "$command" -w -t nat -A $chain -m owner --uid-owner "$user" -j RETURN
  for network; do
    "$command" -w -t nat -A $chain -d "$network" -j RETURN
  done
  "$command" -w -t nat -A $chain -p tcp --dport 80 -j REDIRECT --to-ports "$port"
  "$command" -w -t nat -A OUTPUT -p tcp -j $chain
}

redirect "${IPTABLES:-iptables}" 127.0.0.0/8 169.254.0.0/16
redirect "${IP6TABLES:-ip6tables}" ::1/128 fe80::/10
