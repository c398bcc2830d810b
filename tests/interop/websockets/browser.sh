#!/usr/bin/env bash
# A page in Chromium opens a WebSocket with its cookie, over the HTTP/2 connection that it has (RFC 8441). Its messages
# come back, and close code 4401 when the token is revoked. Needs: chromium, node, npm, openssl, curl.
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

cp package.json package-lock.json ./*.mjs "$tools/"
(cd "$tools" && npm ci --silent --no-audit --no-fund)
read -r issuer probes api service listener < <(node -e '
  const { createServer } = require("node:net");
  const taken = Array.from({ length: 5 }, () => createServer().listen(0, "127.0.0.1"));
  setTimeout(() => { console.log(...taken.map((it) => it.address().port)); process.exit(); }, 100);')
head -c 32 /dev/urandom | base64 >"$data/secret"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout "$data/tls.key" -out "$data/tls.crt" 2>/dev/null
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
inbound:
  - name: page
    listen: 127.0.0.1:$listener
    tls: { certFile: $data/tls.crt, keyFile: $data/tls.key }
    upstream: http://127.0.0.1:$service
    authorities: [self]
    audiences: any
    tokenLocations: [websocketCookie]
    allowedOrigins: ['https://localhost:$listener']
    rules:
      - { paths: [/events], methods: [GET] }
      - { paths: ["/**"], methods: [GET], access: public }
credentials:
  hub: { authority: 'http://127.0.0.1:$issuer', clientID: legacy, clientSecretFile: $data/secret, localApi: true }
YAML
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/sidecar-log" & running+=($!)
"$sidecar" healthcheck --wait 10 --config "$data/sidecar.yaml"
curl -sf -H 'X-M2M-Sidecar: 1' "http://127.0.0.1:$api/token/hub" |
  node -e 'console.log(JSON.parse(require("node:fs").readFileSync(0)).access_token)' >"$data/token"
node "$tools/page.mjs" "$service" "$data/token" >"$data/page-log" 2>&1 & running+=($!)
until curl -s -o /dev/null "http://127.0.0.1:$service"; do sleep 0.1; done

chromium --headless --no-sandbox --disable-gpu --ignore-certificate-errors --user-data-dir="$data/chromium" \
  --remote-debugging-port=0 "https://localhost:$listener/" >"$data/chromium-log" 2>&1 & running+=($!)
# await TEXT: waits until the page reports it.
await() {
  for _ in $(seq 300); do
    ! grep -qsFx "$1" "$data/page-log" || return 0
    sleep 0.1
  done
  echo "the page does not report '$1'" >&2
  exit 1
}
await ready
curl -sf -o "$data/revoked" -u "legacy:$(cat "$data/secret")" -d "token=$(cat "$data/token")" \
  "http://127.0.0.1:$issuer/oauth/revoke"
await '4401 revoked'
# In HTTP/1.1 the status would be 101.
grep -q 'path="/events" status=200' "$data/sidecar-log"
echo "a page in Chromium passed its WebSocket over HTTP/2, which ended with its token"
