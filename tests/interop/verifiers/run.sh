#!/usr/bin/env bash
# Verifiers of other projects against the four forms of tokens. Prints the table of docs/verifiers.md, and fails if the page
# has another one. Needs: node, npm, go, java, mvn, python3 with venv, curl.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
sidecar=$root/target/debug/m2m-sidecar
tools=$root/target/interop/verifiers
mkdir -p "$tools"
data=$(mktemp -d)
running=()
trap '[ ${#running[@]} = 0 ] || { kill "${running[@]}"; wait; } 2>/dev/null; rm -rf "$data"' EXIT
umask 077

"$root/scripts/python-venv" "$tools/venv" -r requirements.txt
cp package.json package-lock.json verifiers.mjs "$tools/"
(cd "$tools" && npm ci --silent --no-audit --no-fund)
cp -R go "$tools/"
(cd "$tools/go" && go mod tidy 2>/dev/null && go build -o ../go-verifiers .)
mkdir -p "$tools/node-example"
cp "$root"/examples/verifiers/node/* "$tools/node-example/"
(cd "$tools/node-example" && npm install --silent --no-audit --no-fund)
cp -R "$root/examples/verifiers/go/." "$tools/go-example"
(cd "$tools/go-example" && go mod tidy 2>/dev/null && go build -o example .)
mvn -q -B dependency:copy -Dartifact=com.nimbusds:nimbus-jose-jwt:10.5 -DoutputDirectory="$tools/java"
for example in spring quarkus; do
  cp -R "$root/examples/verifiers/$example" "$tools/"
  (cd "$tools/$example" && mvn -q -B package -DskipTests)
done

read -r port admin probes server < <("$tools/venv/bin/python" -c 'import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in taken))')
export M2M_ISSUER=http://127.0.0.1:$port M2M_AUDIENCE=https://orders.example M2M_TOKENS=$data
export M2M_FORMS="at-es256 jwt-es256 at-rs256 jwt-rs256"
cat >"$data/sidecar.yaml" <<YAML
stateDir: $data/state
store: { url: "sqlite:$data/m2m.db" }
probes: { listen: 127.0.0.1:$probes }
admin: { listen: 127.0.0.1:$admin }
issuer: { url: $M2M_ISSUER, listen: 127.0.0.1:$port }
YAML
export M2M_SIDECAR_CONFIG=$data/sidecar.yaml
"$sidecar" run 2>"$data/log" &
running+=($!)
"$sidecar" healthcheck --wait 10 || { cat "$data/log" >&2; exit 1; }

# One client for each form: its settings hold for its own tokens.
for form in $M2M_FORMS; do
  type=JWT
  case $form in at-*) type=at+jwt ;; esac
  algorithm=$(tr a-z A-Z <<<"${form#*-}")
  secret=$("$sidecar" client create --id "$form" --audience "$M2M_AUDIENCE" --scope orders:read --token-type $type \
    --algorithm "$algorithm" --secret-only)
  curl -sf -u "$form:$secret" -d grant_type=client_credentials "$M2M_ISSUER/oauth/token" |
    "$tools/venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["access_token"])' >"$data/$form"
done

# served NAME COMMAND...: the row of a program that listens on $server.
served() {
  local name=$1 row='' form
  shift
  "$@" >"$data/server.log" 2>&1 &
  local server_pid=$!
  running+=($server_pid)
  curl -s -o /dev/null --retry 300 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$server/orders"
  for form in $M2M_FORMS; do
    case $(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(cat "$data/$form")" "http://127.0.0.1:$server/orders") in
      200) row+=" yes |" ;;
      401) row+=" no |" ;;
      *) cat "$data/server.log" >&2; exit 1 ;;
    esac
  done
  kill "$server_pid"
  wait "$server_pid" 2>/dev/null || true
  echo "| $name |$row"
}

table() {
  echo "| verifier | \`at+jwt\`, ES256 | \`JWT\`, ES256 | \`at+jwt\`, RS256 | \`JWT\`, RS256 |"
  echo "|---|---|---|---|---|"
  export PORT=$server ISSUER_URL=$M2M_ISSUER AUDIENCE=$M2M_AUDIENCE
  local spring=(java -jar "$tools/spring/target/orders.jar")
  served "Spring Boot 3.5 (\`issuer-uri\`)" "${spring[@]}"
  served "Spring Boot 3.5 (\`jwk-set-uri\`)" "${spring[@]}" --spring.config.location=optional:classpath:/none/ \
    --server.port="$server" --spring.security.oauth2.resourceserver.jwt.audiences="$M2M_AUDIENCE" \
    --spring.security.oauth2.resourceserver.jwt.jwk-set-uri="$M2M_ISSUER/.well-known/jwks.json"
  # Examples without a row: their libraries have one below.
  local program row
  for program in "node $tools/node-example/server.js" "$tools/venv/bin/python $root/examples/verifiers/python/server.py" \
    "$tools/go-example/example"; do
    row=$(served x $program)
    [ "$row" = "| x | yes | yes | yes | yes |" ] || { echo "$program: $row" >&2; exit 1; }
  done
  served "Quarkus 3.33 (\`quarkus-oidc\`)" java -jar "$tools/quarkus/target/quarkus-app/quarkus-run.jar"
  java -cp "$tools/java/*" Nimbus.java
  (cd "$tools" && node verifiers.mjs)
  "$tools/go-verifiers"
  "$tools/venv/bin/python" verifiers.py
}
table | tee "$data/table"
diff <(sed -n '/^| verifier /,/^$/p' "$root/docs/verifiers.md" | sed '/^$/d') "$data/table" || {
  echo "docs/verifiers.md has another table" >&2
  exit 1
}
