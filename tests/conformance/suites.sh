#!/usr/bin/env bash
# The gRPC and gRPC-Web suites of connectrpc.com/conformance: its clients and servers at the ends, and between them an inbound
# listener, then an outbound and an inbound one, then one that translates HTTP/1.1 and HTTP/2. Every case must pass. Arguments
# select suites by words of their titles.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
version=v1.0.7
for program in connectconformance referenceclient referenceserver grpcclient grpcserver; do
  installed $program connectrpc.com/conformance/cmd/$program@$version
done

report=$(mktemp)
trap 'rm -f "$report"' EXIT
wanted="$*"

# suite CONFIGURATION ROLE PROGRAM WAY [OPTION...]: PROGRAM of this role with the sidecar; the runner is the other end.
suite() {
  local title="$1, $3, $4" word
  for word in $wanted; do [[ $title == *"$word"* ]] || return 0; done
  if "$bin/connectconformance" --conf "$1.yaml" --mode "$2" "${@:5}" -- \
    python3 between.py "$2" "$4" "$sidecar" "$bin/$3" >"$report" 2>&1 && grep -q '^[1-9][0-9]* passed, 0 failed$' "$report"; then
    echo "conformance $version: $title: $(tail -n +2 "$report" | grep ' passed, 0 failed$')"
  else
    tail -n 60 "$report"
    echo "conformance $version: $title: not every case has passed" >&2
    exit 1
  fi
}
for way in inbound both; do
  for kind in grpc grpc-web; do
    suite $kind server referenceserver $way
    suite $kind client referenceclient $way
  done
  suite grpc-go server grpcserver $way --known-failing @grpcserver-known-failing.txt
  suite grpc-go client grpcclient $way --known-failing @grpcclient-known-failing.txt
done
suite grpc-web-translated server referenceserver translated
