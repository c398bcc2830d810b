# shellcheck shell=bash disable=SC2034,SC1091
# Envoy with jwt_authn's token cache on at its default size (100 entries).
ID=envoy-cache100 LABEL="Envoy 1.40, token cache 100 (its default size)" JWT_CACHE=100
. "$(dirname "${BASH_SOURCE[0]}")/envoy.sh"
MODES="inbound" ONLY="rs256-1k"
