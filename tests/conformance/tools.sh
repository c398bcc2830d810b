# Sourced by the scripts here: the sidecar, and programs that `go install` keeps in target/conformance.
root=$(cd ../.. && pwd)
sidecar=${M2M_SIDECAR:-$root/target/debug/m2m-sidecar}
bin=$root/target/conformance
export GOFLAGS=-buildvcs=false

# installed NAME PACKAGE@VERSION: installs a program, unless this version is there.
installed() {
  [ "$(cat "$bin/$1.version" 2>/dev/null)" = "$2" ] && return
  GOBIN=$bin go install "$2"
  [ -x "$bin/$1" ] || { echo "$2 has not installed $1" >&2; exit 1; }
  echo "$2" >"$bin/$1.version"
}

# certificate DIRECTORY: a key and a certificate for this machine.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$1/tls.key" -out "$1/tls.crt" 2>/dev/null
  chmod 600 "$1/tls.key"
}
