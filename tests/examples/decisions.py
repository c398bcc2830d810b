"""Sends requests through the proxies of examples/decisions, each of which asks the sidecar. Usage: decisions.py SIDECAR DATA

Run it from a directory with examples/; DATA has the secret of the client `legacy`. It starts the sidecar and the service of
examples/echo.py on their documented ports, and every proxy that it finds in PATH or in the variables NGINX, TRAEFIK, CADDY and
ENVOY. A proxy that is not here is named and left out. Prints one line per proxy; the exit code is 1 if one failed.
"""
import base64
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, "examples")
import echo

HERE = "examples/decisions"
PROXIES = {
    "nginx": (8091, ["-p", os.getcwd(), "-e", "stderr", "-c", f"{os.getcwd()}/{HERE}/nginx.conf", "-g",
                     "daemon off; master_process off;"]),
    "traefik": (8092, ["--entrypoints.web.address=127.0.0.1:8092", f"--providers.file.filename={HERE}/traefik.yaml"]),
    "caddy": (8093, ["run", "--config", f"{HERE}/Caddyfile"]),
    "envoy": (8094, ["-c", f"{HERE}/envoy.yaml", "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]),
}
# Headers of a client that must reach neither the decision nor the service.
FORGED = {
    "X-M2M-Subject": "admin",
    "x-m2m-scope": "admin",
    "X-M2M-Client-Id": "admin",
    "X-M2M-Issuer": "admin",
    "X-Forwarded-Uri": "/healthz",
    "X-Forwarded-Method": "GET",
    "X-Original-URL": "http://127.0.0.1/healthz",
    "X-Original-URI": "/healthz",
    "X-Original-Method": "GET",
    "X-Rewrite-URL": "/healthz",
    "User-Agent": "GoogleHC/1.0",
}
DEVICES = "/api/v1/devices/7"


class Service(echo.Echo):
    """The service behind the proxies. It keeps the headers of the last request."""
    last = {}

    def answer(self):
        named = ((name.lower(), value) for name, value in self.headers.items())
        Service.last = {name: value for name, value in named if name != "authorization"}
        super().answer()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer


def program(name):
    """The path of a proxy; None if it is not here."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return os.environ.get(name.upper()) or shutil.which(name, path=places)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port, process):
    for _ in range(300):
        if process.poll() is not None:
            sys.exit(f"decisions.py: {process.args[0]} ended with {process.returncode}")
        if listens(port):
            return
        time.sleep(0.1)
    sys.exit(f"decisions.py: nothing listens on port {port}")


def token(secret, scope):
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": scope}).encode()
    basic = base64.b64encode(f"legacy:{urllib.parse.quote(secret, safe='')}".encode()).decode()
    request = urllib.request.Request("http://127.0.0.1:8080/oauth/token", form, {"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["access_token"]


def send(port, method, target, bearer=None, headers=None):
    """The answer to a request whose target is sent as it is written: status, headers, body."""
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | (headers or {})
    if bearer:
        fields["Authorization"] = f"Bearer {bearer}"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if named.get("transfer-encoding") == "chunked":
        _, _, body = body.partition(b"\r\n")
        body = body[:body.find(b"\r\n")]
    return int(status.split(" ")[1]), named, body


def seen(body):
    """The identity that the service saw, without empty headers."""
    return {name: value for name, value in json.loads(body)["identity"].items() if value}


def check(port, read, write):
    """Everything that a proxy must do."""
    status, _, body = send(port, "GET", DEVICES + "?x=1", read)
    expected = {"x-m2m-subject": "legacy", "x-m2m-client-id": "legacy", "x-m2m-scope": "devices:read"}
    assert status == 200 and seen(body) == expected, (status, body)
    assert json.loads(body)["path"] == DEVICES + "?x=1", body
    status, headers, _ = send(port, "GET", DEVICES)
    assert status == 401 and headers["www-authenticate"].startswith("Bearer realm="), (status, headers)
    assert headers["x-m2m-reason"] == "no_token", headers
    # The challenge of a 403 tells the client which scope it lacks (RFC 6750).
    status, headers, _ = send(port, "PUT", DEVICES, read)
    assert status == 403 and 'scope="devices:write"' in headers.get("www-authenticate", ""), (status, headers)
    for method, target, bearer, expected in [
        ("DELETE", DEVICES, read, 403),
        ("OPTIONS", DEVICES, None, 401),
        ("PUT", DEVICES, write, 200),
        ("HEAD", DEVICES, read, 200),
        ("GET", "/elsewhere", read, 403),
        ("GET", "/healthz", None, 200),
        ("GET", "/API/v1/devices/7", read, 403),
    ]:
        status, headers, _ = send(port, method, target, bearer)
        assert status == expected, (method, target, status, headers)

    # Headers of the client choose no other request, and are no identity.
    status, headers, _ = send(port, "GET", DEVICES, None, FORGED)
    assert status in (400, 401), (status, headers)
    status, _, body = send(port, "GET", "/healthz", None, {name: FORGED[name] for name in FORGED if "M2M" in name.upper()})
    assert status == 200 and seen(body).items() <= {"x-m2m-issuer": "admin"}.items(), (status, body)
    # Some services read other spellings as the same name, and grpc-gateway makes metadata of some headers.
    for name in ["X-M2M-Subject", "X_M2M_Subject", "X.M2M.Subject", "X!M2M-Subject", "Grpc-Metadata-X-M2M-Subject",
                 "Grpc-Metadata-Authorization", "X_HTTP_Method_Override", "X.Original.URL"]:
        status, _, body = send(port, "GET", DEVICES, read, {name: "admin"})
        assert status == 400 or "admin" not in Service.last.values(), (name, status, Service.last)

    # A proxy removes the headers that the client's Connection names, but not those of the answer.
    names = "X-M2M-Subject, X-M2M-Client-Id, X-M2M-Scope"
    for fields in [{"Connection": f"close, {names}"},
                   {"Connection": f"Upgrade, {names}", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}]:
        Service.last = {}
        status, _, _ = send(port, "GET", DEVICES, read, fields)
        assert not Service.last or Service.last.get("x-m2m-subject") == "legacy", (fields, status, Service.last)

    # Through an upgrade to HTTP/2 a service gets further requests, which are not checked.
    fields = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    for fields in [fields, fields | {"Connection": "Upgrade"}, fields | {"Upgrade": "h2c, websocket"}]:
        Service.last = {}
        status, _, _ = send(port, "GET", "/healthz", None, fields)
        assert "h2c" not in Service.last.get("upgrade", ""), (fields, status, Service.last)

    # A path that servers read differently reaches the service only as the one that was checked.
    for target in ["/healthz/..%2fapi/v1/devices/7", "/healthz#/../api/v1/devices/7", "/healthz/%2e%2e/api/v1/devices/7",
                   "/healthz/../api/v1/devices/7", "//api/v1/devices/7", "/healthz/..;/api/v1/devices/7",
                   "/api/v1/devices/7#/../../../healthz", "/healthz\\..\\api"]:
        status, headers, body = send(port, "GET", target)
        assert status in (400, 401, 403, 404) or json.loads(body)["path"] == "/healthz", (target, status, body)


def check_without_sidecar(port):
    """No request passes without a decision."""
    for target in ["/healthz", DEVICES]:
        status, headers, _ = send(port, "GET", target)
        assert status >= 500, (target, status, headers)


def main():
    sidecar, data = sys.argv[1:]
    with open(f"{data}/legacy-secret", encoding="ascii") as file:
        secret = file.read().strip()
    ports = [8080, 9090, 9191, 9192, 9193, 9900] + [port for port, _ in PROXIES.values()]
    if taken := [port for port in ports if listens(port)]:
        sys.exit(f"decisions.py: in use: port {taken[0]}")
    processes, failed = [], False

    def start(command, port):
        log = open(f"{data}/decisions.log", "ab")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"DATA_DIR": data}))
        wait_for(port, processes[-1])

    def report(name, port, checked):
        try:
            checked(port)
            return True
        except (AssertionError, OSError) as error:
            print(f"{name}: FAILED\n{error!r}", flush=True)
            return False

    try:
        service = http.server.ThreadingHTTPServer(("127.0.0.1", 9090), Service)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        start([sidecar, "run", "--config", f"{HERE}/m2m-sidecar.yaml"], 9193)
        deciding = processes[-1]
        wait_for(8080, deciding)
        running = {}
        read, write = token(secret, "devices:read"), token(secret, "devices:write")
        for name, (port, arguments) in PROXIES.items():
            path = program(name)
            if not path:
                print(f"{name}: not run, not here", flush=True)
                continue
            start([path, *arguments], port)
            running[name] = port
            # A proxy may listen before it has read its routes.
            for _ in range(50):
                if send(port, "GET", "/healthz")[0] == 200:
                    break
                time.sleep(0.1)
            failed |= not report(name, port, lambda port: check(port, read, write))
        deciding.terminate()
        deciding.wait()
        for name, port in running.items():
            failed |= not report(name, port, check_without_sidecar)
        if not failed:
            print("".join(f"{name}: ok\n" for name in running), end="", flush=True)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
    sys.exit(1 if failed else 0)


main()
