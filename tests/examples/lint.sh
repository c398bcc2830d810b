#!/usr/bin/env bash
# Checks what of examples/ cannot be run here: the systemd unit and the Kubernetes manifest; and the scripts. Needs
# python3 with venv; systemd-analyze and shellcheck are used where they are there.
# (The configurations in them are checked by the tests: tests/it/examples.rs.)
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

if command -v systemd-analyze >/dev/null; then
  # verify wants to see the program: any will do, in the place of ours.
  unit=$dir/m2m-sidecar.service
  sed "s|/usr/local/bin/m2m-sidecar|$(command -v true)|" examples/systemd/m2m-sidecar.service >"$unit"
  said=$(systemd-analyze verify "$unit" 2>&1) || { echo "$said" >&2; exit 1; }
  # It exits with 0 after an unknown key, too.
  if grep -F "$unit" <<<"$said" >&2; then exit 1; fi
  # 0.0 to 10.0, in tenths; a unit without any hardening has 9.6.
  systemd-analyze security --offline=yes --threshold=15 --no-pager "$unit" >"$dir/security" || {
    cat "$dir/security" >&2
    exit 1
  }
  echo "systemd: ok, $(tail -n 1 "$dir/security" | grep -o 'Overall.*')"
else
  echo "systemd: not checked, no systemd-analyze here"
fi

venv=target/examples/lint-venv
scripts/python-venv "$venv" -r tests/examples/requirements.txt
"$venv/bin/kubernetes-validate" --strict --quiet examples/kubernetes/*.yaml
echo "kubernetes: ok"

if command -v shellcheck >/dev/null; then
  shellcheck examples/*/*.sh tests/examples/*.sh
  echo "shellcheck: ok"
else
  echo "shellcheck: not checked, not here"
fi
