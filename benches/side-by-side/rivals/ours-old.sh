# shellcheck shell=bash disable=SC2034,SC1091
# A second build of our sidecar, to compare a change with what was before it. Left out while OURS_OLD_BIN is unset.
ID=ours-old LABEL="m2m-sidecar, before" BIN=${OURS_OLD_BIN:-}
. "$(dirname "${BASH_SOURCE[0]}")/ours.sh"
