#!/usr/bin/env bash
# Independent clients against the issuer, by discovery only: Authlib and requests-oauthlib (Python), openid-client and
# oauth4webapi with jose (Node), the `oauth2` crate (Rust). M2M_PARTS lists the parts that each tries: those that the
# configuration accepts and the metadata advertise. At the end outbound.sh tests the sidecar as a client, and
# grpc_programs.py and tonic/ as a proxy of gRPC, with grpcio (Python) and tonic (Rust).
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
for crate in rust tonic; do
  cargo build --quiet --locked --manifest-path $crate/Cargo.toml --target-dir "$tools/$crate"
done

data=$(mktemp -d)
running=
trap '[ -z "$running" ] || { kill $running; wait $running || true; } 2>/dev/null; rm -rf "$data"' EXIT
umask 077
for client in legacy reader; do
  head -c 24 /dev/urandom | base64 | tr -d '\n' >"$data/$client-secret"
done
"$sidecar" keygen >"$data/signer.pem"
"$python" public_jwk.py "$data/signer.pem" >"$data/signer-jwks.json"
read -r port probes < <(free_ports 2)
export M2M_ISSUER=http://127.0.0.1:$port/m2m M2M_AUDIENCE=https://devices.example

# configure PART...: a configuration with the keys that these parts need beside client secrets.
configure() {
  local grants=client_credentials signer='' reader=''
  for part in "$@"; do
    case $part in
      refresh) grants="client_credentials, refresh_token" ;;
      private_key_jwt) signer="
    - { id: signer, jwksFile: $data/signer-jwks.json, allowedAudiences: [$M2M_AUDIENCE], allowedScopes: [devices:read],
        assertionAudiences: legacy }" ;;
      introspection) reader="
    - { id: reader, secretFile: $data/reader-secret, allowIntrospection: true }" ;;
    esac
  done
  cat >"$data/sidecar.yaml" <<YAML
stateDir: $data
store: { url: "sqlite:$data/m2m.db" }
probes: { listen: 127.0.0.1:$probes }
issuer:
  url: $M2M_ISSUER
  listen: 127.0.0.1:$port
  accessTokenLifetime: 15m
  clients:
    - id: legacy
      secretFile: $data/legacy-secret
      allowedGrantTypes: [$grants]
      allowedAudiences: [$M2M_AUDIENCE]
      allowedScopes: [devices:read, devices:write]$signer$reader
YAML
}

configured=()
for part in private_key_jwt refresh introspection; do
  configure "$part"
  if said=$("$sidecar" check --config "$data/sidecar.yaml" 2>&1); then
    configured+=("$part")
  elif ! grep -q "not supported yet" <<<"$said"; then
    echo "$said" >&2
    exit 1
  fi
done
configure "${configured[@]+"${configured[@]}"}"
"$sidecar" run --config "$data/sidecar.yaml" 2>"$data/log" &
running=$!
for _ in $(seq 100); do
  "$sidecar" healthcheck --config "$data/sidecar.yaml" 2>/dev/null && break
  kill -0 $running 2>/dev/null || { cat "$data/log" >&2; exit 1; }
  sleep 0.1
done

has() { case " $1 " in *" $2 "*) true ;; *) false ;; esac; }
advertised=$("$python" advertised.py)
needed="client_secret_basic client_secret_post revocation ${configured[*]-}"
M2M_PARTS=
for part in client_secret_basic client_secret_post revocation introspection refresh private_key_jwt; do
  if has "$advertised" "$part"; then
    M2M_PARTS+="$part "
  elif has "$needed" "$part"; then
    echo "$part is served, but the metadata do not say so" >&2
    exit 1
  else
    echo "skipped: $part, which is not served yet"
  fi
done
export M2M_PARTS
export M2M_SECRET_FILE=$data/legacy-secret M2M_KEY_FILE=$data/signer.pem
# Introspection by a client that is neither the token's client nor in its audience.
export M2M_READER_SECRET_FILE=
if has "$needed" introspection; then M2M_READER_SECRET_FILE=$data/reader-secret; fi
echo "tried: $M2M_PARTS"
"$python" authlib_client.py
"$python" requests_oauthlib_client.py
node "$tools/openid_client.mjs"
node "$tools/oauth4webapi_client.mjs"
"$tools/rust/debug/m2m-sidecar-interop"
./outbound.sh
mkdir "$data/grpc"
"$python" grpc_programs.py "$sidecar" "$data/grpc"
mkdir "$data/tonic"
"$tools/tonic/debug/m2m-sidecar-interop-tonic" "$sidecar" "$data/tonic"
