#!/usr/bin/env bash
# Conformance with programs of others, through listeners: h2spec, the gRPC and gRPC-Web suites of connectrpc.com/conformance,
# gRPC's own interoperability tests, grpcurl and ghz. Needs: go, python3, openssl, curl.
set -euo pipefail
cd "$(dirname "$0")"
./h2spec.sh
./suites.sh
./programs.sh
