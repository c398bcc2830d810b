#!/usr/bin/env bash
# WebSockets of `ws` (Node) and `websockets` (Python) through a listener, in every place of a token, and through two
# listeners; and those of `ws` over the HTTP/2 of Node (RFC 8441). Each client gets its messages back, and close code
# 4401 when its token is revoked.
# Needs: node, npm, python3 with venv, curl.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
sidecar=${M2M_SIDECAR:-$root/target/debug/m2m-sidecar}
tools=$root/target/interop/websockets
mkdir -p "$tools"
data=$(mktemp -d)
running=()
cleanup() {
  status=$?
  [ ${#running[@]} = 0 ] || { kill "${running[@]}" || true; wait || true; } 2>/dev/null
  [ $status = 0 ] || tail -n 20 "$data"/*-log >&2 || true
  rm -rf "$data"
}
trap cleanup EXIT
umask 077

"$root/scripts/python-venv" "$tools/venv" -r requirements.txt
cp package.json package-lock.json ./*.mjs "$tools/"
(cd "$tools" && npm ci --silent --no-audit --no-fund)
python=$tools/venv/bin/python
read -r issuer probes api node_server python_server node_in python_in node_out python_out < <("$python" -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(9)]
print(*(s.getsockname()[1] for s in taken))')
head -c 32 /dev/urandom | base64 >"$data/secret"

listeners='' programs=''
for server in node python; do
  upstream=${server}_server in=${server}_in out=${server}_out
  listeners+="
  - name: $server
    listen: 127.0.0.1:${!in}
    upstream: http://127.0.0.1:${!upstream}
    authorities: [self]
    audiences: any
    tokenLocations: [authorization, websocketCookie, websocketSubprotocol]
    allowedOrigins: ['https://app.example']
    rules: [{ paths: ['/**'] }]"
  programs+="
  - { name: to-$server, listen: 127.0.0.1:${!out}, upstream: 'http://127.0.0.1:${!in}', credential: hub }"
done
cat >"$data/sidecar.yaml" <<YAML
stateDir: $data
store: { url: "sqlite:$data/m2m.db" }
probes: { listen: 127.0.0.1:$probes }
localApi: { listen: 127.0.0.1:$api }
issuer:
  url: http://127.0.0.1:$issuer
  listen: 127.0.0.1:$issuer
  clients: [{ id: legacy, secretFile: $data/secret }]
authorities: { self: { issuer: 'http://127.0.0.1:$issuer' } }
inbound:$listeners
credentials:
  hub: { authority: 'http://127.0.0.1:$issuer', clientID: legacy, clientSecretFile: $data/secret, localApi: true }
outbound:$programs
YAML
node "$tools/server.mjs" "$node_server" >"$data/node-server-log" 2>&1 & running+=($!)
"$python" server.py "$python_server" >"$data/python-server-log" 2>&1 & running+=($!)
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/sidecar-log" & running+=($!)
"$sidecar" healthcheck --wait 10 --config "$data/sidecar.yaml"
for server in "$node_server" "$python_server"; do
  until curl -s -o /dev/null "http://127.0.0.1:$server"; do sleep 0.1; done
done
token=$(curl -sf -H 'X-M2M-Sidecar: 1' "http://127.0.0.1:$api/token/hub" |
  "$python" -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')

clients=()
for server in node python; do
  for client in node python; do
    for place in header cookie subprotocol outbound http2; do
      [ "$client-$place" != python-http2 ] || continue
      port=${server}_in
      [ $place != outbound ] || port=${server}_out
      name=$client-$place-$server
      url=ws://127.0.0.1:${!port}/events
      case $client in
        node) node "$tools/client.mjs" "$url" $place "$token" ;;
        python) "$python" client.py "$url" $place "$token" ;;
      esac >"$data/$name-log" 2>&1 &
      clients+=("$name:$!")
    done
  done
done
for client in "${clients[@]}"; do
  for _ in $(seq 300); do
    ! grep -qs ready "$data/${client%:*}-log" || continue 2
    sleep 0.1
  done
  echo "${client%:*} is not ready" >&2
  exit 1
done
curl -sf -o "$data/revoked" -u "legacy:$(cat "$data/secret")" -d "token=$token" "http://127.0.0.1:$issuer/oauth/revoke"
for client in "${clients[@]}"; do
  wait "${client#*:}"
  last=$(tail -n 1 "$data/${client%:*}-log")
  [ "$last" = "4401 revoked" ] || { echo "${client%:*}: '$last', not '4401 revoked'" >&2; exit 1; }
done
echo "${#clients[@]} WebSockets of ws and websockets passed, and ended with their token"
