#!/usr/bin/env bash
# plgd's recorded exchanges and the models of its programs, through an nginx in front of the issuer: TLS for clients and
# HTTP/1.0 towards the issuer, as in plgd's bundle. These are tests of `make test`; with M2M_PLGD_NGINX they start nginx.
set -euo pipefail
cd "$(dirname "$0")/../.."

nginx=${NGINX:-$(command -v nginx || true)}
if [ -z "$nginx" ]; then
  for nginx in /usr/sbin/nginx /usr/local/sbin/nginx; do
    [ ! -x "$nginx" ] || break
  done
fi
if [ ! -x "$nginx" ]; then
  echo "nginx is missing: install it (Debian: apt-get install nginx-light), or name it in NGINX" >&2
  exit 1
fi
"$nginx" -v
M2M_PLGD_NGINX=$nginx exec cargo test --test it -- plgd::replay plgd::consumers "$@"
