# shellcheck shell=bash disable=SC2034
# A minimal Pingora 0.9.1 proxy, one worker thread, no auth: the framework's own floor.
# It forwards whatever comes (inbound: the token unchecked; outbound: nothing injected).
ID=pingora-floor LABEL="Pingora 0.9.1 floor, no auth" AUTH=no MODES="plain inbound outbound"
BIN=${FLOOR_BIN:-$B_CACHE/target-floor/release/pingora-floor}

available() { [ -x "$BIN" ] && echo 0.9.1; }
prepare() { :; }
start() { exec "$BIN" "127.0.0.1:$B_LISTEN" "127.0.0.1:$B_UPSTREAM"; }
