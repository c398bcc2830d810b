# shellcheck shell=bash disable=SC2034
# nginx from Debian as a plain reverse proxy: a floor without auth. Outbound: a static header.
ID=nginx LABEL="nginx 1.22, no auth" AUTH=no MODES="plain outbound plain-h2 inbound-h2"
BIN=${NGINX_BIN:-$(command -v nginx || echo /usr/sbin/nginx)}

# The inbound mode over HTTP/2 checks no token: the floor of those that do.
listen() {
  case $1 in
    *-h2) echo "listen 127.0.0.1:$B_LISTEN ssl http2; ssl_certificate $B_CACHE/keys/tls.crt;
      ssl_certificate_key $B_CACHE/keys/tls.key; http2_max_requests 1000000000; ssl_session_tickets off;" ;;
    *) echo "listen 127.0.0.1:$B_LISTEN;" ;;
  esac
}

available() { [ -x "$BIN" ] && "$BIN" -v 2>&1 | grep -o 'nginx/.*'; }

prepare() { cat >"$B_RUN/nginx.conf" <<C
daemon off; worker_processes 1; pid $B_RUN/ngx.pid; error_log $B_RUN/ngx.err crit;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on;
  client_body_temp_path $B_RUN/n.body; proxy_temp_path $B_RUN/n.p; fastcgi_temp_path $B_RUN/n.f;
  uwsgi_temp_path $B_RUN/n.u; scgi_temp_path $B_RUN/n.s; large_client_header_buffers 4 16k;
  upstream u { server 127.0.0.1:$B_UPSTREAM; keepalive 128; keepalive_requests 1000000000; }
  server { $(listen "$1") location / {
    proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
    $([ "$1" = outbound ] && echo "proxy_set_header Authorization 'Bearer $(cat "$B_CACHE/tokens/m2m.txt")';")
  } }
}
C
}

start() { exec "$BIN" -e "$B_RUN/ngx.err" -c "$B_RUN/nginx.conf"; }
