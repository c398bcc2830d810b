#!/usr/bin/env bash
# Calls the protected API with curl, with a token of get-token.sh, and prints the answer.
#
# Shows: the call with a bearer token that `ps` never shows (see get-token.sh), and an exit code above 0 on a refusal.
#
# Needs: curl. Environment: that of get-token.sh, and API_URL=http://127.0.0.1:8081/api/v1/devices
set -euo pipefail

api=${API_URL:-http://127.0.0.1:8081/api/v1/devices}
token=$("$(dirname "$0")/get-token.sh")
# --fail-with-body: exit code 22 when the API refuses; its answer with the reason is still printed.
curl -sS --fail-with-body --max-time 10 --config - "$api" <<<"header = \"Authorization: Bearer $token\""
