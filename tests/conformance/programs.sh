#!/usr/bin/env bash
# grpcurl with reflection and health, the interoperability tests of gRPC itself, and ghz under load: through an inbound listener
# in plain text and over TLS, and through an outbound and an inbound one. A call that fails ends the script.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
installed grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
installed ghz github.com/bojand/ghz/cmd/ghz@v0.93.0
installed client google.golang.org/grpc/interop/client@v1.84.0
(cd grpcserver && go build -o "$bin/m2m-grpcserver" .)

data=$(mktemp -d)
running=()
cleanup() {
  status=$?
  [ ${#running[@]} = 0 ] || { kill "${running[@]}" || true; wait || true; } 2>/dev/null
  [ $status = 0 ] || tail -n 20 "$data/log" >&2 || true
  rm -rf "$data"
}
trap cleanup EXIT
umask 077
certificate "$data"
head -c 32 /dev/urandom | base64 >"$data/secret"
"$bin/m2m-grpcserver" >"$data/port" &
running+=($!)
until [ -s "$data/port" ]; do sleep 0.1; done
read -r issuer probes plain tls outbound < <(python3 -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(s.getsockname()[1] for s in taken))')

# listener NAME PORT [KEY]: an inbound listener; reflection and tests need a token, health does not.
listener() {
  cat <<YAML
  - name: $1
    listen: 127.0.0.1:$2
    ${3-}
    upstream: h2c://127.0.0.1:$(cat "$data/port")
    authorities: [self]
    audiences: any
    rules:
      - { paths: ["/grpc.health.v1.Health/Check"], access: public }
      - { paths: ["/grpc.testing.TestService/HalfDuplexCall"], scopes: [half] }
      - { paths: ["/**"], scopes: [test] }
YAML
}
cat >"$data/sidecar.yaml" <<YAML
stateDir: $data/state
store: { url: "sqlite:$data/m2m.db" }
probes: { listen: 127.0.0.1:$probes }
readiness: [listeners, store, authorities, credentials]
issuer:
  url: http://127.0.0.1:$issuer
  listen: 127.0.0.1:$issuer
  clients: [{ id: caller, secretFile: $data/secret, allowedScopes: [test] }]
authorities: { self: { issuer: 'http://127.0.0.1:$issuer' } }
inbound:
$(listener plain "$plain")
$(listener tls "$tls" "tls: { certFile: $data/tls.crt, keyFile: $data/tls.key }")
credentials: { caller: { authority: 'http://127.0.0.1:$issuer', clientID: caller, clientSecretFile: $data/secret } }
outbound: [{ name: outside, listen: 127.0.0.1:$outbound, upstream: 'h2c://127.0.0.1:$plain', credential: caller }]
YAML
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/log" &
running+=($!)
"$sidecar" healthcheck --wait 10 --config "$data/sidecar.yaml"
token=$(curl -sf -u "caller:$(cat "$data/secret")" -d grant_type=client_credentials "http://127.0.0.1:$issuer/oauth/token" |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')

is() { [ "$2" = "$3" ] || { echo "$1: '$2', not '$3'" >&2; exit 1; }; }
# refused TEXT OPTION...: grpcurl fails and prints this text.
refused() {
  ! "$bin/grpcurl" "${@:2}" >"$data/refusal" 2>&1 && grep -q "$1" "$data/refusal" ||
    { echo "grpcurl ${*:2}: no '$1' in: $(cat "$data/refusal")" >&2; exit 1; }
}
tests="empty_unary large_unary client_streaming server_streaming ping_pong empty_stream cancel_after_begin
cancel_after_first_response timeout_on_sleeping_server status_code_and_message special_status_message custom_metadata
unimplemented_method unimplemented_service"

# calls NAME PORT TOKEN OPTION...: every program through one listener. The options are of grpcurl and of ghz.
calls() {
  local name=$1 address=localhost:$2 field=() metadata='' secure=() answer
  # A flow mapping of JSON for ghz.
  [ -z "$3" ] || { field=(-H "authorization: Bearer $3"); metadata="{\"authorization\": \"Bearer $3\"}"; }
  [ "$name" != TLS ] || secure=(--use_tls --use_test_ca --ca_file "$data/tls.crt")
  curl_options=("${@:4}")
  local ask=("$bin/grpcurl" "${curl_options[@]}" "${field[@]}" -max-time 20)
  answer=$("${ask[@]}" "$address" list | tr '\n' ' ')
  is "$name: services" "$answer" \
    "grpc.health.v1.Health grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection grpc.testing.TestService "
  answer=$("${ask[@]}" "$address" describe grpc.testing.TestService.UnaryCall)
  grep -q 'rpc UnaryCall ( .grpc.testing.SimpleRequest ) returns ( .grpc.testing.SimpleResponse );' <<<"$answer"
  answer=$("${ask[@]}" -d '{"service": "grpc.testing.TestService"}' "$address" grpc.health.v1.Health/Check | tr -d ' \n')
  is "$name: health" "$answer" '{"status":"SERVING"}'
  answer=$("${ask[@]}" -d '{"response_parameters": [{"size": 3}, {"size": 4}]}' "$address" \
    grpc.testing.TestService/StreamingOutputCall | tr -d ' \n')
  is "$name: stream" "$answer" '{"payload":{"body":"AAAA"}}{"payload":{"body":"AAAAAA=="}}'
  refused 'Code: PermissionDenied' "${curl_options[@]}" "${field[@]}" -d '' "$address" grpc.testing.TestService/HalfDuplexCall
  refused 'x-m2m-reason: scope' "${curl_options[@]}" "${field[@]}" -v -d '' "$address" grpc.testing.TestService/HalfDuplexCall
  echo "grpcurl: $name: ok"

  for test in $tests; do
    "$bin/client" --server_port "$2" --test_case "$test" "${secure[@]}" ${3:+--additional_metadata "authorization:Bearer $3"} \
      >"$data/test" 2>&1 || { cat "$data/test" >&2; echo "$name: $test failed" >&2; exit 1; }
  done
  echo "gRPC's interoperability tests: $name: $(wc -w <<<"$tests") ok"

  local ghz_options=(--insecure)
  [ "$name" != TLS ] || ghz_options=(--cacert "$data/tls.crt")
  "$bin/ghz" "${ghz_options[@]}" ${metadata:+-m "$metadata" --reflect-metadata "$metadata"} --duration 5s --duration-stop wait \
    --concurrency 40 --connections 4 --call grpc.testing.TestService.UnaryCall \
    -d '{"response_size": 1000, "payload": {"body": "AAAA"}}' --format json "$address" >"$data/ghz"
  python3 - "$name" "$data/ghz" <<'PY'
import json, sys

name, path = sys.argv[1:]
with open(path) as file:
    report = json.load(file)
statuses, count = report["statusCodeDistribution"], report["count"]
assert count > 100 and statuses == {"OK": count} and not report["errorDistribution"], (name, statuses, report["errorDistribution"])
print(f"ghz: {name}: {count} calls in 5 s, all OK, p99 {[it['latency'] for it in report['latencyDistribution'] if it['percentage'] == 99][0] / 1e6:.1f} ms")
PY
}
refused 'code = Unauthenticated' -plaintext "localhost:$plain" list
calls "plain text" "$plain" "$token" -plaintext
calls TLS "$tls" "$token" -cacert "$data/tls.crt"
calls "outbound and inbound" "$outbound" "" -plaintext
