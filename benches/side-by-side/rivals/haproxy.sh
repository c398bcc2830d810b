# shellcheck shell=bash disable=SC2034
# HAProxy from Debian. Inbound: jwt_verify with the public keys from files (HAProxy has no JWKS).
# Outbound: a static Authorization header (HAProxy has no OAuth2 client): a floor, not the same work.
ID=haproxy LABEL="HAProxy 2.6 (Debian)" AUTH=yes MODES="plain inbound outbound plain-h2 inbound-h2"
BIN=${HAPROXY_BIN:-$(command -v haproxy || echo /usr/sbin/haproxy)}

available() { [ -x "$BIN" ] && "$BIN" -v | grep -o 'version [^ ]*'; }

prepare() { {
  cat <<C
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:$B_LISTEN $([[ $1 = *-h2 ]] && echo "ssl crt $B_CACHE/keys/tls.pem alpn h2,http/1.1")
C
  case $1 in
    inbound*) cat <<C
  http-request set-var(txn.t) http_auth_bearer
  http-request return status 401 unless { var(txn.t) -m found }
  http-request set-var(txn.alg) var(txn.t),jwt_header_query('\$.alg')
  http-request set-var(txn.iss) var(txn.t),jwt_payload_query('\$.iss')
  http-request set-var(txn.aud) var(txn.t),jwt_payload_query('\$.aud')
  http-request set-var(txn.exp) var(txn.t),jwt_payload_query('\$.exp','int')
  http-request set-var(txn.now) date()
  acl rs var(txn.alg) -m str RS256
  acl es var(txn.alg) -m str ES256
  http-request return status 401 unless rs or es
  http-request return status 401 unless { var(txn.iss) -m str http://issuer.test }
  http-request return status 401 unless { var(txn.aud) -m str bench }
  http-request return status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request return status 401 if rs !{ var(txn.t),jwt_verify("RS256","$B_CACHE/keys/rsa.pub.pem") -m int 1 }
  http-request return status 401 if es !{ var(txn.t),jwt_verify("ES256","$B_CACHE/keys/ec.pub.pem") -m int 1 }
C
    ;;
    outbound) echo "  http-request set-header Authorization \"Bearer $(cat "$B_CACHE/tokens/m2m.txt")\"" ;;
  esac
  cat <<C
  default_backend b
backend b
  server s 127.0.0.1:$B_UPSTREAM
C
} >"$B_RUN/haproxy.cfg"; }

start() { exec "$BIN" -db -f "$B_RUN/haproxy.cfg"; }
