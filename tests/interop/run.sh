#!/usr/bin/env bash
# A token of /oauth/token, accepted by libraries nobody here wrote, by discovery alone: Authlib (Python) and
# openid-client with jose (Node).
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
tools=$root/target/interop
mkdir -p "$tools"
"$root/scripts/python-venv" "$tools/venv" -r requirements.txt
# Node resolves packages from beside the script.
cp package.json package-lock.json accept.mjs "$tools/"
(cd "$tools" && npm ci --silent --no-audit --no-fund)

DATA_DIR=$(mktemp -d)
export DATA_DIR
head -c 24 /dev/urandom | base64 | tr -d '\n' >"$DATA_DIR/legacy-secret"
"$root/target/debug/m2m-sidecar" run --config "$root/conf/quickstart.yaml" 2>"$DATA_DIR/log" &
sidecar=$!
trap 'kill $sidecar 2>/dev/null || true; wait $sidecar 2>/dev/null || true; rm -rf "$DATA_DIR"' EXIT
for _ in $(seq 100); do
  "$root/target/debug/m2m-sidecar" healthcheck 2>/dev/null && break
  kill -0 $sidecar 2>/dev/null || { cat "$DATA_DIR/log" >&2; exit 1; }
  sleep 0.1
done

M2M_SECRET=$(cat "$DATA_DIR/legacy-secret")
export M2M_SECRET M2M_ISSUER=http://127.0.0.1:8080 M2M_AUDIENCE=https://devices.example
"$tools/venv/bin/python" accept.py
node "$tools/accept.mjs"
