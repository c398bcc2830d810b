# shellcheck shell=bash disable=SC2034
# Our own sidecar: OURS_BIN is the release binary; the configuration is ours.MODE.yaml with its @WORDS@ filled in.
# Left out of the run when OURS_BIN is no program. OURS_CONF_DIR names another folder of templates.
ID=${ID:-ours} LABEL=${LABEL:-m2m-sidecar} AUTH=yes MODES=${OURS_MODES:-"plain inbound outbound token plain-h2 inbound-h2"}
BIN=${BIN-$OURS_BIN}
DIR=${OURS_CONF_DIR:-$(dirname "${BASH_SOURCE[0]}")}

available() { [ -n "$BIN" ] && [ -x "$BIN" ] && "$BIN" --version; }

prepare() {
  rm -rf "$B_RUN"/ours.db* "$B_RUN/ours.state"; printf %s bench-secret-of-32-characters-00 >"$B_RUN/ours.secret"
  sed -e "s|@LISTEN@|127.0.0.1:$B_LISTEN|g" -e "s|@ADMIN@|127.0.0.1:$B_ADMIN|g" \
    -e "s|@UPSTREAM@|127.0.0.1:$B_UPSTREAM|g" -e "s|@JWKS_URL@|http://127.0.0.1:$B_JWKS/jwks.json|g" \
    -e "s|@TOKEN_URL@|http://127.0.0.1:$B_TOKEN/oauth/token|g" -e "s|@ISSUER@|http://issuer.test|g" \
    -e "s|@AUDIENCE@|bench|g" -e "s|@RUN@|$B_RUN|g" "$DIR/ours.${1%-h2}.yaml" >"$B_RUN/ours.yaml"
  if [[ $1 = *-h2 ]]; then
    sed -i "s|name: bench, listen|name: bench, tls: { certFile: $B_CACHE/keys/tls.crt, keyFile: $B_CACHE/keys/tls.key }, listen|" \
      "$B_RUN/ours.yaml"
  fi
}

start() { exec "$BIN" run --config "$B_RUN/ours.yaml"; }
