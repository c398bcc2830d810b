# shellcheck shell=bash disable=SC2034,SC1091
# Envoy with jwt_authn's token cache on and large enough for every token of the benchmark.
ID=envoy-cache LABEL="Envoy 1.40, token cache 100,000" JWT_CACHE=100000
. "$(dirname "${BASH_SOURCE[0]}")/envoy.sh"
MODES="inbound inbound-h2"
