"""The cases over HTTP/2 with TLS: the certificate, one request, and h2load as the load."""
import http.client
import os
import re
import ssl
import statistics
import subprocess

CONNECTIONS, STREAMS = 8, 8  # 64 requests at a time


def certificate(cache):
    """an ECDSA certificate for localhost, made once"""
    if not os.path.exists(cache + "/keys/tls.crt"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", cache + "/keys/tls.key", "-out", cache + "/keys/tls.crt"],
                       check=True, capture_output=True)
        with open(cache + "/keys/tls.pem", "w") as both:
            both.write(open(cache + "/keys/tls.crt").read() + open(cache + "/keys/tls.key").read())


def status(port, path, token):
    """status of one request over TLS, 0 if there's no answer. HTTP/1.1 is enough for it."""
    unverified = ssl._create_unverified_context()
    try:
        c = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=unverified)
        c.request("GET", path, headers={"Authorization": "Bearer " + token} if token else {})
        return c.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0


def load(cpu, port, path, token, secs, log):
    """the figures of one run of h2load"""
    if os.path.exists(log):
        os.remove(log)
    cmd = ["taskset", "-c", cpu, "h2load", "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", "-D", str(secs),
           "--log-file", log, f"https://127.0.0.1:{port}{path}"]
    if token:
        cmd += ["-H", "authorization: Bearer " + token]
    text = subprocess.run(cmd, check=True, capture_output=True, text=True).stdout
    if "Application protocol: h2" not in text:
        raise RuntimeError("h2load did not negotiate HTTP/2")
    done = {name: int(n) for n, name in re.findall(r"(\d+) (done|succeeded|failed|errored|timeout|2xx|4xx)", text)}
    took = sorted(int(line.split()[2]) for line in open(log))
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] if took else 0
    return {"requests": done["done"], "us": secs * 1e6, "status": done["done"] - done["2xx"], "read": 0, "write": 0,
            "timeout": done["timeout"], "p50": statistics.median(took) if took else 0, "p99": at(0.99), "p999": at(0.999)}
