#!/usr/bin/env bash
# curl and Java through an egress proxy: tinyproxy of Debian, which demands a password. They call an outbound listener
# whose token request, keys and upstream requests pass the proxy, and the token endpoint through the proxy by themselves.
# Needs: tinyproxy, openssl, curl, java.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
sidecar=$root/target/debug/m2m-sidecar
for tool in tinyproxy openssl curl java python3; do
  command -v $tool >/dev/null || { echo "egress.sh: $tool is missing (apt-get install $tool)" >&2; exit 1; }
done
data=$(mktemp -d)
running=
cleanup() {
  status=$?
  [ -z "$running" ] || { kill $running; wait $running || true; } 2>/dev/null
  [ $status = 0 ] || tail -n 30 "$data"/*-log >&2 || true
  rm -rf "$data"
}
trap cleanup EXIT
fail() {
  echo "egress.sh: $*" >&2
  exit 1
}
umask 077
free_ports() {
  python3 -c 'import socket, sys
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in taken))' "$1"
}
# Loopback never uses a proxy, so the servers are at the machine's own address.
machine=$(hostname -I | tr ' ' '\n' | grep -m 1 -E '^[0-9.]+$') || fail "the machine has only loopback addresses"
read -r proxy issuer service outbound plain < <(free_ports 5)
issuer_url=https://$machine:$issuer service_url=https://$machine:$service
head -c 24 /dev/urandom | base64 | tr -d '\n' >"$data/secret"
head -c 18 /dev/urandom | base64 | tr -d '+/=\n' >"$data/proxy-password"
password=$(<"$data/proxy-password")

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$data/ca-key.pem" -out "$data/ca.pem" \
  -days 2 -subj /CN=egress-ca 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$data/key.pem" -out "$data/request.pem" \
  -subj /CN=egress 2>/dev/null
openssl x509 -req -in "$data/request.pem" -CA "$data/ca.pem" -CAkey "$data/ca-key.pem" -CAcreateserial -days 2 \
  -extfile <(echo "subjectAltName=IP:$machine") -out "$data/cert.pem" 2>/dev/null

cat >"$data/tinyproxy.conf" <<CONF
Port $proxy
Listen 127.0.0.1
LogFile "$data/tinyproxy-log"
LogLevel Connect
BasicAuth ann $password
ConnectPort $issuer
ConnectPort $service
CONF
tinyproxy -d -c "$data/tinyproxy.conf" >"$data/tinyproxy-out" 2>&1 &
running+=" $!"

cat >"$data/servers.yaml" <<YAML
stateDir: $data/servers
store: { url: "sqlite::memory:" }
issuer:
  url: $issuer_url
  listen: 0.0.0.0:$issuer
  tls: { certFile: $data/cert.pem, keyFile: $data/key.pem }
  clients: [{ id: legacy, secretFile: $data/secret, allowedAudiences: [https://devices.example] }]
authorities: { self: { issuer: $issuer_url } }
inbound:
  - name: devices
    listen: 0.0.0.0:$service
    tls: { certFile: $data/cert.pem, keyFile: $data/key.pem }
    upstream: http://127.0.0.1:$plain
    authorities: [self]
    audiences: [https://devices.example]
    rules: [{ paths: ["/**"] }]
YAML
cat >"$data/client.yaml" <<YAML
stateDir: $data/client
egressProxy: { url: "http://ann@127.0.0.1:$proxy", passwordFile: $data/proxy-password }
credentials:
  devices: { authority: $issuer_url, clientID: legacy, clientSecretFile: $data/secret, caFile: $data/ca.pem }
outbound:
  - name: devices
    listen: 127.0.0.1:$outbound
    upstream: $service_url
    upstreamTls: { caFile: $data/ca.pem }
    credential: devices
    egressProxy: shared
YAML
mkdir "$data/files" && echo 'through the proxy' >"$data/files/devices"
python3 -m http.server --bind 127.0.0.1 --directory "$data/files" "$plain" >"$data/service-log" 2>&1 &
running+=" $!"
# Neither sidecar uses a proxy of the environment.
for variable in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do unset $variable; done
for name in servers client; do
  "$sidecar" run --config "$data/$name.yaml" >"$data/$name-log" 2>&1 &
  running+=" $!"
done
for port in "$proxy" "$issuer" "$service" "$outbound" "$plain"; do
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
    sleep 0.1
  done
  fail "nothing listens on port $port"
done

# connects COUNT URL: how often the proxy has opened a tunnel to the server of a URL.
connects() { grep -c "CONNECT ${1#https://}" "$data/tinyproxy-log" || true; }

echo "== curl and Java call the outbound listener"
said=$(curl -sS --fail "http://127.0.0.1:$outbound/devices")
[ "$said" = 'through the proxy' ] || fail "curl got: $said"
[ "$(connects "$issuer_url")" -ge 1 ] || fail "the token request has not passed the proxy"
[ "$(connects "$service_url")" -ge 1 ] || fail "the upstream request has not passed the proxy"
said=$(java Egress.java get "http://127.0.0.1:$outbound/devices")
[ "$said" = 'through the proxy' ] || fail "Java got: $said"

echo "== curl and Java ask the token endpoint through the proxy"
before=$(connects "$issuer_url")
curl -sS --fail --proxy "http://127.0.0.1:$proxy" --proxy-user "ann:$password" --cacert "$data/ca.pem" \
  --user "legacy:$(<"$data/secret")" --data grant_type=client_credentials "$issuer_url/oauth/token" |
  grep -q '"access_token"' || fail "curl got no token through the proxy"
java -Djdk.http.auth.tunneling.disabledSchemes= Egress.java token "$issuer_url/oauth/token" "$data/ca.pem" \
  "127.0.0.1:$proxy" ann "$data/proxy-password" legacy "$data/secret" |
  grep -q '"access_token"' || fail "Java got no token through the proxy"
[ "$(connects "$issuer_url")" -ge $((before + 2)) ] || fail "the clients have not used the proxy"

echo "== a wrong password of the proxy is named, and the right one ends the outage"
kill "${running##* }" && wait "${running##* }" || true
echo wrong >"$data/proxy-password"
"$sidecar" run --config "$data/client.yaml" >"$data/client-log" 2>&1 &
running="${running% *} $!"
for _ in $(seq 100); do
  status=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$outbound/devices") && [ "$status" != 000 ] && break
  sleep 0.1
done
[ "$status" = 503 ] || fail "with a wrong password of the proxy the answer is $status"
grep -q "it refuses the user or the password" "$data/client-log" || fail "the log does not name the cause"
! grep -q "$password" "$data"/*-log || fail "a log has the password"
printf %s "$password" >"$data/proxy-password"
for _ in $(seq 100); do
  said=$(curl -sS "http://127.0.0.1:$outbound/devices") && [ "$said" = 'through the proxy' ] && break
  sleep 0.5
done
[ "$said" = 'through the proxy' ] || fail "after the correction: $said"
echo "egress.sh: everything passed through $(tinyproxy -v)"
