#!/usr/bin/env bash
# 10,000 event streams over HTTP/2 and 2,000 WebSockets, then event streams over HTTP/1.1, as many as the descriptors permit.
# Arguments go to the program of both runs, such as -sidecar FILE. Needs: go.
set -euo pipefail
cd "$(dirname "$0")"
ulimit -n "$(ulimit -Hn)"
go build -o ../../target/bench-streams .
program=../../target/bench-streams
"$program" -protocol h2 "$@"
# A connection in HTTP/1.1 takes three descriptors of the sidecar, which keeps some for itself.
most=10000
descriptors=$(ulimit -n)
if [ "$descriptors" != unlimited ] && [ $((descriptors / 3 - 2400)) -lt $most ]; then
  most=$((descriptors / 3 - 2400))
fi
"$program" -protocol h1 -events "$most" "$@"
