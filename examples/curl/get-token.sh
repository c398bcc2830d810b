#!/usr/bin/env bash
# Gets an access token with curl and prints it, and nothing else: TOKEN=$(examples/curl/get-token.sh)
#
# Shows: discovery from the issuer's metadata, the client credentials grant with an audience, a secret that `ps` never
# shows. Every user of the machine can read a command line such as `curl -u id:secret`, but not the standard input of
# curl (`--config -`).
#
# Needs: curl. Environment, with these defaults:
#   ISSUER_URL=http://127.0.0.1:8080  CLIENT_ID=legacy  CLIENT_SECRET_FILE=data/legacy-secret
#   SCOPE=devices:read                AUDIENCE=https://devices.example
set -euo pipefail

issuer=${ISSUER_URL:-http://127.0.0.1:8080}
client=${CLIENT_ID:-legacy}
secret_file=${CLIENT_SECRET_FILE:-data/legacy-secret}
scope=${SCOPE:-devices:read}
audience=${AUDIENCE:-https://devices.example}

die() { printf 'get-token: %s\n' "$1" >&2; exit 1; }
# The text member of a JSON object. Enough for these answers; with jq it would be `jq -r .NAME`.
member() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }

[ -r "$secret_file" ] || die "cannot read the client secret in $secret_file"
metadata=$(curl -sS --fail --max-time 10 "$issuer/.well-known/openid-configuration") || die "no metadata at $issuer"
token_endpoint=$(member token_endpoint <<<"$metadata")
[ -n "$token_endpoint" ] || die "the metadata of $issuer names no token endpoint"

# In a quoted value of curl's configuration, \ and " are written \\ and \".
secret=$(sed 's/[\\"]/\\&/g' "$secret_file")
answer=$(curl -sS --max-time 10 --config - \
  --data grant_type=client_credentials --data-urlencode "scope=$scope" --data-urlencode "audience=$audience" \
  "$token_endpoint" <<<"user = \"$client:$secret\"") || die "no answer from $token_endpoint"
token=$(member access_token <<<"$answer")
# An answer without a token is an error with its reason, and contains no secret.
[ -n "$token" ] || die "no token: $answer"
printf '%s\n' "$token"
