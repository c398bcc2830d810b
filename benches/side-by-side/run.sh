#!/usr/bin/env bash
# The side-by-side benchmark: installs what is missing, then runs. Arguments go to bench.py; see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin BENCH_CACHE=${BENCH_CACHE:-$HOME/.cache/m2m-bench}
export OURS_BIN=${OURS_BIN:-$root/target/release/m2m-sidecar}
[ -x "$OURS_BIN" ] || { echo "run.sh: $OURS_BIN is missing: run \`make release\` first" >&2; exit 1; }
"$here/setup.sh"
exec python3 "$here/bench.py" "$@"
