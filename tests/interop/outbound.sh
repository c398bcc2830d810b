#!/usr/bin/env bash
# The sidecar as a client of an independent authority: oidc-provider issues, the sidecar authenticates and attaches the
# token, and jose verifies it at the upstream. Node's HTTP libraries call it through a tunnel too.
# Usage: outbound.sh [basic] [post] [key]; without arguments all of them.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
[ $# -gt 0 ] || set -- basic post key

data=$(mktemp -d)
running=
cleanup() {
  status=$?
  [ -z "$running" ] || { kill $running; wait $running || true; } 2>/dev/null
  [ $status = 0 ] || tail -n 50 "$data"/*-log >&2 || true
  rm -rf "$data"
}
trap cleanup EXIT
fail() {
  echo "outbound.sh: $*" >&2
  exit 1
}
umask 077
for proof in right wrong; do
  mkdir "$data/$proof"
  # Contains every character that a header or a form must escape.
  for client in basic post; do
    printf '%s+/ %%:&=' "$(head -c 24 /dev/urandom | base64)" >"$data/$proof/$client-secret"
  done
  "$sidecar" keygen >"$data/$proof/signer.pem"
done
"$python" public_jwk.py "$data/right/signer.pem" >"$data/right/signer-jwks.json"
key_id=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["keys"][0]["kid"])' <"$data/right/signer-jwks.json")
read -r authority upstream probes proxy ports < <(free_ports $((4 + 2 * $#)))
export M2M_AUTHORITY=http://127.0.0.1:$authority M2M_UPSTREAM=http://127.0.0.1:$upstream
export M2M_AUDIENCE=https://devices.example M2M_CLIENTS=$data/right

# serve NAME URL: runs NAME.mjs and waits for its first answer of any status.
serve() {
  node "$tools/$1.mjs" >"$data/$1-log" 2>&1 &
  running+=" $!"
  for _ in $(seq 100); do
    if curl -s -o /dev/null --max-time 1 "$2"; then return; fi
    kill -0 $! 2>/dev/null || fail "$1.mjs has ended"
    sleep 0.1
  done
  fail "$1.mjs does not answer"
}
serve oidc_provider "$M2M_AUTHORITY/.well-known/openid-configuration"
serve resource_server "$M2M_UPSTREAM"

# describe NAME PROOF: a credential with the right or a wrong proof of its client.
describe() {
  case $1 in
    basic)
      client=basic method=client_secret_basic scopes="devices:read"
      keys="clientSecretFile: $data/$2/basic-secret"
      ;;
    post)
      client=post method=client_secret_post scopes="devices:read devices:write"
      keys="authMethod: $method, clientSecretFile: $data/$2/post-secret"
      ;;
    key)
      client=signer method=private_key_jwt scopes="devices:write"
      keys="authMethod: $method, privateKeyFile: $data/$2/signer.pem, keyID: '$key_id'"
      ;;
    *) fail "no such credential: $1" ;;
  esac
}

credentials='' outbound=''
for name in "$@"; do
  for proof in right wrong; do
    describe "$name" $proof
    read -r port ports <<<"$ports"
    echo "http://127.0.0.1:$port/devices" >"$data/$proof/$name-url"
    credentials+="
  $proof-$name:
    { authority: '$M2M_AUTHORITY', clientID: $client, $keys, scopes: [${scopes// /, }], resource: ['$M2M_AUDIENCE'] }"
    outbound+="
  - { name: $proof-$name, listen: 127.0.0.1:$port, upstream: '$M2M_UPSTREAM', credential: $proof-$name }"
  done
done
# For libraries that open a tunnel through their proxy for every URL.
outbound+="
  - name: proxy
    listen: 127.0.0.1:$proxy
    forwardProxy: { targets: [{ host: devices.example, upstream: '$M2M_UPSTREAM', credential: 'right-$1' }] }"
config=$data/sidecar.yaml
cat >"$config" <<YAML
stateDir: $data
probes: { listen: 127.0.0.1:$probes }
credentials:$credentials
outbound:$outbound
YAML
"$sidecar" check --config "$config" >"$data/check-log" 2>&1 || fail "the configuration is refused"
"$sidecar" run --config "$config" 2>"$data/sidecar-log" &
running+=" $!"
"$sidecar" healthcheck --wait 10 --config "$config" || fail "the sidecar is not ready"

is() { [ "$2" = "$3" ] || fail "$1: '$2', not '$3'"; }
ask() { curl -s --max-time 30 "$@"; }
is "the upstream without a token" "$(ask -o /dev/null -w '%{http_code}' "$M2M_UPSTREAM")" 401
for name in "$@"; do
  describe "$name" right
  url=$(cat "$data/right/$name-url")
  for _ in 1 2; do
    is "$name" "$(ask -w ' %{http_code}' "$url")" "{\"client_id\":\"$client\",\"scope\":\"$scopes\"} 200"
  done
  claims=$("$sidecar" token --config "$config" --credential "right-$name" --decode)
  grep -qF "\"$M2M_AUTHORITY\"" <<<"$claims" || fail "$name: the decoded token does not name the issuer: $claims"
  # One token for both requests, and one for the command.
  is "$name: granted" "$(grep -cx "granted $client $method" "$data/oidc_provider-log")" 2

  url=$(cat "$data/wrong/$name-url")
  is "$name, wrong" "$(ask -o /dev/null -w '%{http_code} %header{x-m2m-reason}' "$url")" "503 token_unavailable"
  grep -q "^refused $client $method invalid_client:" "$data/oidc_provider-log" ||
    fail "$name, wrong: the authority refused no request"
  echo "oidc-provider: accepted $method"
done

describe "$1" right
expected="{\"client_id\":\"$client\",\"scope\":\"$scopes\"}"
said=$(node "$tools/tunnels.mjs" "http://127.0.0.1:$proxy" http://devices.example/devices) || fail "tunnels.mjs: $said"
for library in undici https-proxy-agent hpagent; do
  grep -qxF "$library 200 $expected" <<<"$said" || fail "no token in the tunnel of $library: $said"
done
grep -qx 'https refused' <<<"$said" || fail "https in a tunnel: $said"
echo "tunnels: undici, https-proxy-agent and hpagent get a token"
