# Sourced by run.sh and outbound.sh: their programs, and free ports.
root=$(cd ../.. && pwd)
sidecar=$root/target/debug/m2m-sidecar
tools=$root/target/interop
python=$tools/venv/bin/python
# run.sh calls outbound.sh; install once.
if [ -z "${M2M_INSTALLED-}" ]; then
  mkdir -p "$tools"
  "$root/scripts/python-venv" "$tools/venv" -r requirements.txt
  # Node looks for packages in the directory of the script.
  cp package.json package-lock.json ./*.mjs "$tools/"
  (cd "$tools" && npm ci --silent --no-audit --no-fund)
  export M2M_INSTALLED=1
fi
# free_ports COUNT: prints free ports on one line. All are bound before the first is released, so they differ.
free_ports() {
  "$python" -c 'import socket, sys
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in taken))' "$1"
}
