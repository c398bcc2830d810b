#!/usr/bin/env bash
# Runs the commands of examples/README.md against the sidecar of conf/quickstart.yaml, and compares their output. It uses
# the documented ports, so do not run it beside other tests. It needs bash, python3, curl and cargo. The README's table has
# the other tools; an example without its tools is skipped.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
sidecar=$root/target/debug/m2m-sidecar

dir=$(mktemp -d)
pids=()
end() {
  if [ ${#pids[@]} -gt 0 ]; then
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  rm -rf "$dir"
}
trap end EXIT

# A copy, so that nothing is written beside the sources. Downloads and build results are kept in target/.
mkdir -p "$root/target/examples" "$dir/target" "$dir/data"
"$root/scripts/python-venv" "$root/target/examples/venv" -r "$root/examples/python/requirements.txt"
cp -R "$root/examples" "$root/conf" "$dir/"
ln -s "$root/target/examples" "$dir/target/examples"
cd "$dir"
export CARGO_TARGET_DIR=$root/target/examples/cargo CARGO_PROFILE_DEV_DEBUG=false
# All requests stay on this machine, and the examples run with their defaults.
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY
unset ISSUER_URL API_URL CLIENT_ID CLIENT_SECRET_FILE SCOPE AUDIENCE COUNT PAUSE CALLS M2M_SIDECAR_CONFIG
if [ -d /usr/share/gocode/src/golang.org/x/oauth2 ]; then
  export GO111MODULE=off GOPATH=/usr/share/gocode
elif command -v go >/dev/null; then
  (cd examples/go && go mod tidy)
fi

head -c 24 /dev/urandom | base64 >data/legacy-secret
for port in 8080 8081 9000 9090 9900; do
  if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "run.sh: port $port is in use" >&2
    exit 1
  fi
done
python3 examples/echo.py 9090 &
pids+=($!)
DATA_DIR=data "$sidecar" run --config conf/quickstart.yaml 2>data/log &
pids+=($!)
ready() { curl -s -o /dev/null http://127.0.0.1:9090/ && "$sidecar" healthcheck 2>/dev/null; }
for _ in $(seq 100); do
  ready && break
  sleep 0.1
done
ready || { echo "run.sh: the sidecar is not ready" >&2; cat data/log >&2; exit 1; }

python3 "$root/tests/examples/run.py" examples/README.md

# The proxies of examples/decisions use other listeners of the same ports.
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || true
pids=()
python3 "$root/tests/examples/decisions.py" "$sidecar" data
