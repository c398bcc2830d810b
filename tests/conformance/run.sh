#!/usr/bin/env bash
# h2spec against an inbound listener with HTTP/2 by prior knowledge. Every case must pass.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
sidecar=${M2M_SIDECAR:-$root/target/debug/m2m-sidecar}
cases=145
h2spec=${H2SPEC-}
if [ -z "$h2spec" ]; then
  export GOBIN=$root/target/conformance
  [ -x "$GOBIN/h2spec" ] || go install github.com/summerwind/h2spec/cmd/h2spec@v2.6.0
  h2spec=$GOBIN/h2spec
fi

data=$(mktemp -d)
running=()
trap '[ ${#running[@]} = 0 ] || { kill "${running[@]}"; wait "${running[@]}" || true; } 2>/dev/null; rm -rf "$data"' EXIT

python3 upstream.py >"$data/upstream-port" &
running+=($!)
until [ -s "$data/upstream-port" ]; do sleep 0.1; done

cat >"$data/sidecar.yaml" <<YAML
stateDir: $data/state
authorities: { unused: { issuer: "http://127.0.0.1:1" } }
inbound:
  - name: conformance
    listen: 127.0.0.1:0
    upstream: http://127.0.0.1:$(cat "$data/upstream-port")
    authorities: [unused]
    audiences: any
    rules: [{ paths: ["/**"], access: public }]
YAML
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/log" &
running+=($!)
port=
until [ -n "$port" ]; do
  kill -0 "${running[1]}" || { cat "$data/log" >&2; exit 1; }
  port=$(sed -n 's/.*conformance.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$data/log" | head -1)
  sleep 0.1
done

"$h2spec" --port "$port" --host 127.0.0.1 --timeout 4 | tee "$data/report"
grep -q "^$cases tests, $cases passed, 0 skipped, 0 failed" "$data/report" || {
  echo "h2spec: not all of $cases cases have passed" >&2
  exit 1
}
