"""Puts the sidecar between the two ends of connectrpc.com/conformance.

Usage: between.py server|client inbound|both|translated SIDECAR PROGRAM. The runner starts this program instead of PROGRAM, a
server or a client. `inbound` is one listener, `both` an outbound one before it, which attaches the token. `translated` is one
before a server of the other version of HTTP. A client with `inbound` sends the
token itself, in its metadata; a server with `inbound` has public methods only. A refused call is not sent again: the suites count. With M2M_LOGS, a directory gets the sidecars' logs."""

import atexit
import base64
import contextlib
import glob
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

ROLE, WAY, SIDECAR, PROGRAM = sys.argv[1:]
DATA = tempfile.mkdtemp(prefix="m2m-conformance-")
HTTP_1, HTTP_2 = 1, 2
running = []


# The few fields of the suite's messages that matter here. Of a field that is there twice, the last one counts.
def varint(number):
    text = b""
    while number > 127:
        text += bytes([number & 127 | 128])
        number >>= 7
    return text + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """The last value of each field."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        elif key & 7 == 2:
            size = number()
            found[key >> 3] = message[at : at + size]
            at += size
        else:
            raise ValueError(f"unexpected type of field {key >> 3}")
    return found


def read(stream):
    size = stream.read(4)
    return stream.read(int.from_bytes(size, "big")) if size else None


def write(stream, message):
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


# Below the ports that the system gives to connections. The runner starts several of these programs at once, each with 256 ports.
candidates = iter(range(15_000 + os.getpid() % 64 * 256, 15_000 + (os.getpid() % 64 + 1) * 256))


def free_port():
    for port in candidates:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    sys.exit("between.py has no port left")


class Between:
    """A sidecar in front of the server at `port`: with TLS if `pair`, a certificate and its key, is given."""

    def __init__(self, number, version, port, pair=(), trusted=b"", client_certificate=b"", client_key=b""):
        self.number = number
        issuer, inner, outer, probes = (free_port() for _ in range(4))
        self.issuer = f"http://127.0.0.1:{issuer}"
        self.port = outer if WAY == "both" else inner
        self.scheme = "https" if pair else "http" if version == HTTP_1 else "h2c"
        self.certificate, self.key = [self.keep(*it) for it in zip(("listener.crt", "listener.key"), pair)] or ("", "")
        self.client_certificate = client_certificate and self.keep("client.crt", client_certificate)
        self.secret = self.keep("secret", secrets.token_urlsafe(24).encode())
        service = f"caFile: {pair and self.keep('service.crt', trusted)}"
        if client_key:
            service += f", certFile: {self.client_certificate}, keyFile: {self.keep('client.key', client_key)}"
        access = "access: public" if ROLE == "server" and WAY != "both" else "scopes: [conformance]"
        outbound = f"""
outbound:
  - name: outside
    retryUnauthorized: false
    credential: caller{self.listener(outer, inner, f"caFile: {self.certificate}", True)}"""
        self.start(f"""
stateDir: {DATA}/{number}-state
store: {{ url: "sqlite:{DATA}/{number}.db" }}
shutdown: {{ gracePeriod: 1s }}
readiness: [listeners, store, authorities, credentials]
probes: {{ listen: 127.0.0.1:{probes} }}
issuer:
  url: {self.issuer}
  listen: 127.0.0.1:{issuer}
  clients: [{{ id: caller, secretFile: {self.secret}, allowedScopes: [conformance] }}]
authorities: {{ self: {{ issuer: {self.issuer} }} }}
inbound:
  - name: inside
    authorities: [self]
    audiences: [{self.issuer}]
    rules: [{{ paths: ["/**"], {access} }}]{self.listener(
        inner, port, service, WAY != "both")}
credentials: {{ caller: {{ authority: {self.issuer}, clientID: caller, clientSecretFile: {self.secret} }} }}
{outbound if WAY == "both" else ""}""")

    def keep(self, name, content):
        path = f"{DATA}/{self.number}-{name}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(content)
        return path

    def listener(self, port, upstream, upstream_tls, outermost):
        text = f"""
    listen: 127.0.0.1:{port}
    upstream: {self.scheme}://127.0.0.1:{upstream}"""
        if self.certificate:
            text += f"""
    upstreamTls: {{ {upstream_tls} }}
    tls:
      certFile: {self.certificate}
      keyFile: {self.key}"""
            if outermost and self.client_certificate:
                text += f"""
      clientCertificate: required
      clientCaFile: {self.client_certificate}"""
        return text

    def start(self, configuration):
        path = self.keep("sidecar.yaml", configuration.encode())
        with open(f"{DATA}/{self.number}-log", "wb") as log:
            running.append(subprocess.Popen([SIDECAR, "run", "--config", path], stderr=log))
        if subprocess.run([SIDECAR, "healthcheck", "--wait", "9", "--config", path], stdout=sys.stderr).returncode:
            with open(f"{DATA}/{self.number}-log") as log:
                sys.exit(log.read())

    def token(self):
        with open(self.secret) as file:
            proof = base64.b64encode(f"caller:{file.read()}".encode()).decode()
        request = urllib.request.Request(
            f"{self.issuer}/oauth/token", b"grant_type=client_credentials", {"Authorization": f"Basic {proof}"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["access_token"].encode()


def server():
    """Uses of ServerCompatRequest http_version 2, client_tls_cert 5 and server_creds 7 (cert 1, key 2), and of
    ServerCompatResponse port 2."""
    request = read(sys.stdin.buffer)
    asked = fields(request)
    program = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    running.append(program)
    # The listener requires the client's certificate. The server cannot: the sidecar has not got the key.
    version = asked[2]
    if WAY == "translated":
        version = HTTP_1 + HTTP_2 - version
    write(program.stdin, request + field(2, version) + field(5, b""))
    program.stdin.close()
    answer = read(program.stdout)
    credentials = fields(asked.get(7, b""))
    pair = [credentials[1], credentials[2]] if credentials else []
    between = Between(1, version, fields(answer)[2], pair, credentials.get(1, b""), asked.get(5, b""))
    write(sys.stdout.buffer, answer + field(2, between.port))
    sys.exit(program.wait())


def own_pair():
    """A certificate for listeners: the suite does not tell a client the server's key."""
    paths = f"{DATA}/own.crt", f"{DATA}/own.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", paths[1], "-out", paths[0]],
        check=True, stderr=subprocess.DEVNULL,
    )
    return [open(path, "rb").read() for path in paths]


def client():
    """Uses of ClientCompatRequest http_version 2, port 7, server_tls_cert 8, client_tls_creds 9 (cert 1, key 2), and
    request_headers 15 (name 1, value 2)."""
    pair = own_pair()
    program = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE)
    before = {}
    while request := read(sys.stdin.buffer):
        asked = fields(request)
        port, trusted, credentials = asked[7], asked.get(8, b""), asked.get(9, b"")
        server = asked[2], port, trusted, credentials
        if server not in before:
            own = fields(credentials)
            between = Between(
                len(before), asked[2], port, pair if trusted else [], trusted, own.get(1, b""), own.get(2, b"")
            )
            more = field(7, between.port)
            if trusted:
                more += field(8, pair[0])
            if WAY == "inbound":
                more += field(15, field(1, b"authorization") + field(2, b"Bearer " + between.token()))
            before[server] = more
        write(program.stdin, request + before[server])
    program.stdin.close()
    sys.exit(program.wait())


def end():
    for program in running:
        program.terminate()
    while running:
        running.pop().wait(20)
    if logs := os.environ.get("M2M_LOGS"):
        for log in glob.glob(f"{DATA}/*-log"):
            shutil.copy(log, f"{logs}/{ROLE}-{WAY}-{os.getpid()}-{os.path.basename(log)}")


atexit.register(shutil.rmtree, DATA, ignore_errors=True)
atexit.register(end)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
{"server": server, "client": client}[ROLE]()
