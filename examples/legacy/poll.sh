#!/bin/sh
# A program without OAuth support: calls a URL repeatedly and prints the answers.
#
# The program is not changed for the sidecar. Its URL is the outbound listener's instead of the API's, or the listener is
# its HTTP proxy; the sidecar attaches the token in both cases. Only http:// URLs work: a proxy cannot attach a token
# inside https://.
#
#   poll.sh http://127.0.0.1:9000/api/v1/devices
#   http_proxy=http://127.0.0.1:9000 poll.sh http://127.0.0.1:8081/api/v1/devices
#
# Needs: curl. Environment: COUNT=2 (0: no limit), PAUSE=1 (seconds)
set -eu

url=${1:?usage: poll.sh URL}
count=${COUNT:-2}
calls=0
while :; do
  curl -sS --fail-with-body --max-time 10 "$url"
  calls=$((calls + 1))
  [ "$calls" = "$count" ] && break
  sleep "${PAUSE:-1}"
done
