#!/usr/bin/env bash
# Checks the parts of examples/ that cannot run here: the systemd unit, the Kubernetes manifest, and the scripts. It needs
# python3 with venv, and uses systemd-analyze and shellcheck if they are installed.
# (tests/it/examples.rs checks the configurations in them.)
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

if command -v systemd-analyze >/dev/null; then
  # verify needs an existing program; any program will do.
  unit=$dir/m2m-sidecar.service
  sed "s|/usr/local/bin/m2m-sidecar|$(command -v true)|" examples/systemd/m2m-sidecar.service >"$unit"
  said=$(systemd-analyze verify "$unit" 2>&1) || { echo "$said" >&2; exit 1; }
  # It also exits with 0 after an unknown key.
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
"$venv/bin/kubernetes-validate" --strict --quiet examples/kubernetes/*.yaml examples/transparent/kubernetes.yaml
echo "kubernetes: ok"

if command -v shellcheck >/dev/null; then
  shellcheck examples/*/*.sh tests/examples/*.sh
  echo "shellcheck: ok"
else
  echo "shellcheck: not checked, not here"
fi
