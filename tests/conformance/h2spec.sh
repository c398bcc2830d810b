#!/usr/bin/env bash
# h2spec against inbound listeners: HTTP/2 by prior knowledge, and over TLS by ALPN. Every case must pass.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
cases=145
h2spec=${H2SPEC-}
if [ -z "$h2spec" ]; then
  installed h2spec github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
  h2spec=$bin/h2spec
fi

data=$(mktemp -d)
running=()
trap '[ ${#running[@]} = 0 ] || { kill "${running[@]}"; wait "${running[@]}" || true; } 2>/dev/null; rm -rf "$data"' EXIT

python3 upstream.py >"$data/upstream-port" &
running+=($!)
until [ -s "$data/upstream-port" ]; do sleep 0.1; done

certificate "$data"

# listener NAME [KEY]: an inbound listener that lets every request pass.
listener() {
  cat <<YAML
  - name: $1
    listen: 127.0.0.1:0
    ${2-}
    upstream: http://127.0.0.1:$(cat "$data/upstream-port")
    authorities: [unused]
    audiences: any
    rules: [{ paths: ["/**"], access: public }]
YAML
}
{
  echo "stateDir: $data/state"
  echo 'authorities: { unused: { issuer: "http://127.0.0.1:1" } }'
  echo "inbound:"
  listener conformance-plain
  listener conformance-tls "tls: { certFile: $data/tls.crt, keyFile: $data/tls.key }"
} >"$data/sidecar.yaml"
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/log" &
running+=($!)

# port_of LISTENER: waits until it listens, and prints its port.
port_of() {
  local port=
  until [ -n "$port" ]; do
    kill -0 "${running[1]}" || { cat "$data/log" >&2; exit 1; }
    port=$(sed -n "s/.*$1.*127\.0\.0\.1:\([0-9]*\).*/\1/p" "$data/log" | head -1)
    sleep 0.1
  done
  echo "$port"
}

# specify LISTENER OPTION...: all cases must pass.
specify() {
  local port
  port=$(port_of "$1")
  "$h2spec" --port "$port" --host 127.0.0.1 --timeout 4 "${@:2}" | tee "$data/report"
  grep -q "^$cases tests, $cases passed, 0 skipped, 0 failed" "$data/report" || {
    echo "h2spec: not all of $cases cases have passed on $1" >&2
    exit 1
  }
}
specify conformance-plain
specify conformance-tls --tls --insecure
