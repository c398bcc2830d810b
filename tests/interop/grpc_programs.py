"""gRPC programs of grpcio on both sides of the sidecar: each kind of call, directly at an inbound listener and through an
outbound one, in plain text and over TLS. Arguments: the sidecar's binary and an empty directory."""

import contextlib
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc

SIDECAR, DATA = sys.argv[1:]
LARGE = 16 * 1024 * 1024
SIZES = [("grpc.max_receive_message_length", LARGE + 1024), ("grpc.max_send_message_length", LARGE + 1024)]
cancelled = threading.Event()
abandoned = threading.Event()


def watch(_, context):
    """Sends a message, then waits until the client cancels."""
    context.add_callback(cancelled.set)
    yield b"begun"
    cancelled.wait(30)


def hang(_, context):
    """Never answers."""
    context.add_callback(abandoned.set)
    abandoned.wait(30)
    return b""


def fail(_, context):
    context.set_trailing_metadata((("x-detail", "of the service"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: 100 % \u00e9")


def meet(messages, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    for message in messages:
        yield message[::-1]
    context.set_trailing_metadata((("x-end", "yes"),))


def subject(_, context):
    return dict(context.invocation_metadata()).get("x-m2m-subject", "").encode()


METHODS = {
    "Echo": grpc.unary_unary_rpc_method_handler(lambda message, _: message),
    "Secret": grpc.unary_unary_rpc_method_handler(subject),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Count": grpc.unary_stream_rpc_method_handler(lambda message, _: (bytes([n]) for n in range(message[0]))),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
    "Sum": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"".join(messages)),
    "Meet": grpc.stream_stream_rpc_method_handler(meet),
}


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(16), options=SIZES)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", METHODS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def free_ports(count):
    import socket

    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [it.getsockname()[1] for it in taken]
    for it in taken:
        it.close()
    return ports


@contextlib.contextmanager
def sidecar(upstream):
    issuer, plain, tls, outbound = free_ports(4)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", f"{DATA}/tls.key", "-out", f"{DATA}/tls.crt"],
        check=True, stderr=subprocess.DEVNULL,
    )
    for name in ("tls.key", "secret"):
        if name == "secret":
            with open(f"{DATA}/secret", "w") as file:
                file.write(secrets.token_urlsafe(24))
        os.chmod(f"{DATA}/{name}", 0o600)
    url = f"http://127.0.0.1:{issuer}"
    rules = """
      - { paths: ["/test.Service/Secret"], scopes: [read] }
      - { paths: ["/test.Service/Closed"], scopes: [closed] }
      - { paths: ["/test.Service/*"], access: public }"""

    def inbound(name, port, more=""):
        return f"""
  - name: {name}
    listen: 127.0.0.1:{port}{more}
    upstream: h2c://127.0.0.1:{upstream}
    authorities: [self]
    audiences: [{url}]
    rules:{rules}"""

    with open(f"{DATA}/sidecar.yaml", "w") as file:
        file.write(f"""
stateDir: {DATA}/state
store: {{ url: "sqlite:{DATA}/m2m.db" }}
issuer:
  url: {url}
  listen: 127.0.0.1:{issuer}
  clients: [{{ id: caller, secretFile: {DATA}/secret, allowedScopes: [read] }}]
authorities: {{ self: {{ issuer: {url} }} }}
inbound:{inbound("plain", plain)}{inbound("tls", tls, f'''
    tls: {{ certFile: {DATA}/tls.crt, keyFile: {DATA}/tls.key }}''')}
credentials: {{ caller: {{ authority: {url}, clientID: caller, clientSecretFile: {DATA}/secret }} }}
outbound:
  - {{ name: outbound, listen: 127.0.0.1:{outbound}, upstream: "h2c://127.0.0.1:{plain}", credential: caller }}
""")
    with open(f"{DATA}/log", "w") as log:
        program = subprocess.Popen([SIDECAR, "run", "--config", f"{DATA}/sidecar.yaml"], stderr=log)
    try:
        for _ in range(200):
            with open(f"{DATA}/log") as log:
                if re.search(r"\bstarted\b", log.read()):
                    break
            assert program.poll() is None, open(f"{DATA}/log").read()
            time.sleep(0.05)
        yield plain, tls, outbound
    finally:
        program.terminate()
        program.wait(30)


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call has passed")


def calls(channel, has_token):
    def unary(name):
        return channel.unary_unary(f"/test.Service/{name}")

    assert unary("Echo")(b"a message", timeout=20) == b"a message"
    large = secrets.token_bytes(LARGE)
    assert unary("Echo")(large, timeout=60) == large
    squeezed = unary("Echo")(b"z" * 100_000, timeout=20, compression=grpc.Compression.Gzip)
    assert squeezed == b"z" * 100_000
    counted = channel.unary_stream("/test.Service/Count")(b"\xc8", timeout=20)
    assert [message[0] for message in counted] == list(range(200))
    parts = [bytes([n]) * 1000 for n in range(200)]
    assert channel.stream_unary("/test.Service/Sum")(iter(parts), timeout=20) == b"".join(parts)

    # Each message waits for the reply to the one before, so both directions are open at once.
    replied = threading.Semaphore(1)

    def messages():
        for number in range(50):
            assert replied.acquire(timeout=20)
            yield b"%03d" % number

    meeting = channel.stream_stream("/test.Service/Meet")(messages(), timeout=20)
    assert dict(meeting.initial_metadata())["x-begun"] == "yes"
    for number, reply in enumerate(meeting):
        assert reply == (b"%03d" % number)[::-1]
        replied.release()
    assert dict(meeting.trailing_metadata())["x-end"] == "yes"

    error = refused(lambda: unary("Fail")(b"", timeout=20))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "no: 100 % \u00e9", error.details()
    assert dict(error.trailing_metadata())["x-detail"] == "of the service"
    error = refused(lambda: unary("Missing")(b"", timeout=20))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error

    # Cancellation by the client, and by its deadline.
    cancelled.clear()
    watched = channel.unary_stream("/test.Service/Watch")(b"")
    assert next(watched) == b"begun"
    watched.cancel()
    assert cancelled.wait(10), "the service was not told"
    abandoned.clear()
    error = refused(lambda: unary("Hang")(b"", timeout=0.5))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert abandoned.wait(10), "the service was not told"

    if has_token:
        assert unary("Secret")(b"", timeout=20) == b"caller"
        error = refused(lambda: unary("Closed")(b"", timeout=20))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED, error
        assert dict(error.trailing_metadata())["x-m2m-reason"] == "scope"
        return
    error = refused(lambda: unary("Secret")(b"", timeout=20))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED, error
    metadata = dict(error.trailing_metadata())
    assert metadata["x-m2m-reason"] == "no_token" and metadata["www-authenticate"].startswith("Bearer ")
    forged = (("authorization", "Bearer forged"), ("x-m2m-subject", "forged"))
    error = refused(lambda: unary("Secret")(b"", timeout=20, metadata=forged))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED, error


service, upstream = serve()
with sidecar(upstream) as (plain, tls, outbound):
    with open(f"{DATA}/tls.crt", "rb") as file:
        trusted = grpc.ssl_channel_credentials(file.read())
    for way, channel, has_token in (
        ("inbound", grpc.insecure_channel(f"127.0.0.1:{plain}", SIZES), False),
        ("inbound over TLS", grpc.secure_channel(f"localhost:{tls}", trusted, SIZES), False),
        ("outbound and inbound", grpc.insecure_channel(f"127.0.0.1:{outbound}", SIZES), True),
    ):
        with channel:
            calls(channel, has_token)
        print(f"grpcio {grpc.__version__}: {way}: ok")
    # Without the service, a call is unavailable.
    service.stop(0).wait()
    with grpc.insecure_channel(f"127.0.0.1:{plain}") as channel:
        error = refused(lambda: channel.unary_unary("/test.Service/Echo")(b"", timeout=20))
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        assert dict(error.trailing_metadata())["x-m2m-reason"] == "upstream_unreachable", error
    print(f"grpcio {grpc.__version__}: without the service: ok")
