#!/bin/sh
# A program that knows no OAuth: asks a URL again and again and prints what it says.
#
# Nothing in it was changed for the sidecar. It is given the outbound listener's URL in place of the API's, or the
# listener as its HTTP proxy; the sidecar attaches the token either way. Only http:// URLs can be helped so: inside
# https:// a proxy can attach nothing.
#
#   poll.sh http://127.0.0.1:9000/api/v1/devices
#   http_proxy=http://127.0.0.1:9000 poll.sh http://127.0.0.1:8081/api/v1/devices
#
# Needs: curl. Environment: COUNT=2 (0: for ever), PAUSE=1 (seconds)
set -eu

url=${1:?usage: poll.sh URL}
count=${COUNT:-2}
asked=0
while :; do
  curl -sS --fail-with-body --max-time 10 "$url"
  asked=$((asked + 1))
  [ "$asked" = "$count" ] && break
  sleep "${PAUSE:-1}"
done
