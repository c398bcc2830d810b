#!/bin/sh
# Plays a program that is not changed, in network and mount namespaces: redirects its calls by the rules of
# examples/transparent and prints the outcome of each call.
# Usage: transparent.sh nft|iptables BINARY DIRECTORY
set -eu
PATH=$PATH:/usr/sbin:/sbin
rules=$1 binary=$2 dir=$3

skip() {
  echo "skipped: $*"
  exit 77
}
[ "$(id -u)" = 0 ] || skip "the sidecar needs a user of its own, and this test root"
command -v setpriv >/dev/null || skip "setpriv is not installed (util-linux)"

ip link set lo up
# The addresses of hub.example, and one that it does not have.
ip addr add 192.0.2.80/32 dev lo
ip addr add 192.0.2.81/32 dev lo
v6=yes
ip addr add 2001:db8::80/128 dev lo nodad 2>/dev/null || v6=
mount --bind "$dir/hosts" /etc/hosts || skip "this machine allows no mount namespace"

redirect() {
  case $rules in
    nft) nft -f examples/transparent/redirect.nft ;;
    iptables) examples/transparent/redirect.sh ;;
  esac
}
command -v "$rules" >/dev/null || skip "$rules is not installed"
redirect || skip "the kernel has no NAT of $rules"
# A second call replaces the rules.
redirect

chown -R 65532:65532 "$dir"
as_sidecar="setpriv --reuid 65532 --regid 65532 --clear-groups"
python3 examples/echo.py 9090 &
echo=$!
# setpriv becomes the sidecar, so $! is its number.
$as_sidecar "$binary" run --config "$dir/sidecar.yaml" 2>"$dir/log" &
sidecar=$!
trap 'kill $echo $sidecar 2>/dev/null || true; wait || true' EXIT
"$binary" healthcheck --config "$dir/sidecar.yaml" --wait 60
curl -s --noproxy '*' --retry 100 --retry-delay 1 --retry-connrefused --max-time 60 -o "$dir/echo" http://127.0.0.1:9090/

call() { # NAME CURL-ARGUMENT...
  name=$1
  shift
  printf '%s: %s\n' "$name" "$(curl -s --noproxy '*' --max-time 30 -w '%{http_code} %header{x-m2m-reason}' "$@" || true)"
}
call "by name" -4 http://hub.example/api/v1/devices
[ -z "$v6" ] || call "by name over IPv6" -6 http://hub.example/api/v1/devices
call "over HTTP/2" -4 --http2-prior-knowledge http://hub.example/api/v1/devices
call "by address" http://192.0.2.80/api/v1/devices
call "another path" -4 http://hub.example/admin
call "another address" --resolve hub.example:80:192.0.2.81 http://hub.example/api/v1/devices
call "another host" --resolve evil.example:80:192.0.2.80 http://evil.example/api/v1/devices
call "another port" -4 -H 'Host: hub.example:8080' http://hub.example/api/v1/devices
call "to this machine" --resolve evil.example:80:192.0.2.81 http://evil.example/api/v1/devices
call "not redirected" -H 'Host: hub.example' http://127.0.0.1:15001/api/v1/devices
call "a tunnel" -4 --noproxy '' -x http://hub.example:80 --proxytunnel http://hub.example/api/v1/devices
call "tls" -4 -k https://hub.example:80/
# Its own calls are not redirected: nothing listens there.
$as_sidecar curl -s --noproxy '*' -o "$dir/own" -4 http://hub.example/ && echo "the sidecar's own call was redirected"
kill $sidecar
wait $sidecar || true
grep -c '"reason":"encrypted"' "$dir/log" >/dev/null || echo "no line about TLS"
grep '"reason":"encrypted"' "$dir/log" | grep -o 'let it call http:// instead of https://' || true
grep '"listener":"redirected"' "$dir/log" | grep -o '"to":"192.0.2.80:80"' | sort -u
