#!/usr/bin/env python3
"""Side-by-side benchmark: rivals x cases, interleaved rounds, medians, one Markdown table per case.

usage: bench.py [--rounds 3] [--secs 5] [--rate 2000] [--cases a,b] [--rivals a,b] [--out DIR] [--smoke]
Everything it starts listens on loopback and is ended by pid. README.md says how to read the tables."""
import argparse
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import http2
from tables import tables

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("BENCH_CACHE", os.path.expanduser("~/.cache/m2m-bench"))
RUN = CACHE + "/run"
TCK = os.sysconf("SC_CLK_TCK")
BASE = int(os.environ.get("BENCH_PORT", "28710"))
PORTS = {"LISTEN": BASE, "ADMIN": BASE + 1, "UPSTREAM": BASE + 2, "JWKS": BASE + 3, "TOKEN": BASE + 4}
PROXY_CPU, LOAD_CPU = "0", "1"
BODY = "x" * 128

# name: (mode, token file, how many, warm-up s, what must come back, what it shows)
CASES = {
    "plain": ("plain", "", 0, 1.5, 200, "reverse proxy, no auth, small request"),
    "rs256-1": ("inbound", "rs256", 1, 1.5, 200, "inbound, one RS256 token repeated"),
    "rs256-1k": ("inbound", "rs256", 1000, 2, 200, "inbound, 1,000 RS256 tokens in a cycle"),
    "rs256-50k": ("inbound", "rs256", 50000, 9, 200, "inbound, 50,000 RS256 tokens in a cycle"),
    "es256-1": ("inbound", "es256", 1, 1.5, 200, "inbound, one ES256 token repeated"),
    "es256-1k": ("inbound", "es256", 1000, 2, 200, "inbound, 1,000 ES256 tokens in a cycle"),
    "bad": ("inbound", "bad", 50000, 1.5, 401, "flood: 50,000 distinct well-formed RS256 tokens, wrong signature"),
    "outbound": ("outbound", "", 0, 1.5, 200, "outbound, M2M token injected (upstream checks it)"),
    "token": ("token", "", 0, 1.5, 200, "issuing: POST /oauth/token, client_credentials"),
    "h2-plain": ("plain-h2", "", 0, 2, 200, "HTTP/2 with TLS, no auth, 8 connections of 8 streams"),
    "h2-es256-1": ("inbound-h2", "es256", 1, 2, 200, "HTTP/2 with TLS, one ES256 token repeated"),
}
RATE_CASES = ["plain", "rs256-1", "outbound"]
FOREIGN = 5  # % of a core that others may use during a run before it is repeated
UP = None  # the upstream's process
GOOD_RATE = 500  # flood runs: good requests a second beside the closed-loop flood of bad ones


class Rival:
    def __init__(self, path):
        self.path = path
        self.id, self.label, self.auth, modes, only = self.sh(
            'printf "%s\\n" "$ID" "$LABEL" "$AUTH" "$MODES" "${ONLY:-}"').split("\n")[:5]
        self.modes, self.only = modes.split(), only.split()
        p = subprocess.run(["bash", "-c", f". '{path}'; available"], env=env(), capture_output=True, text=True)
        self.version = (p.stdout.strip().split("\n") or [""])[-1] if p.returncode == 0 else None

    def sh(self, what):
        return subprocess.run(["bash", "-c", f". '{self.path}'; {what}"], env=env(), check=True,
                              capture_output=True, text=True).stdout

    def does(self, case):
        if case == "bad" and self.auth != "yes":
            return False
        return CASES[case][0] in self.modes and (not self.only or case in self.only)


def env(**more):
    e = dict(os.environ, B_CACHE=CACHE, B_RUN=RUN, **{"B_" + k: str(v) for k, v in PORTS.items()})
    e.update({k: str(v) for k, v in more.items()})
    return e


def tree(pid):
    """pid and its descendants (nginx and others fork workers)"""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                todo += map(int, open(f"/proc/{p}/task/{t}/children").read().split())
        except OSError:
            pass
    return out


def ticks(pids):
    n = 0
    for p in pids:
        f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        n += int(f[11]) + int(f[12])
    return n


def mem(pids):
    """(VmRSS, VmHWM) in MiB, summed"""
    r = [0, 0]
    for p in pids:
        s = open(f"/proc/{p}/status").read()
        for i, k in enumerate(("VmRSS", "VmHWM")):
            r[i] += int(re.search(k + r":\s+(\d+)", s).group(1))
    return r[0] / 1024, r[1] / 1024


def machine():
    """(busy, stolen) ticks of both cores since boot"""
    busy = stolen = 0
    for line in open("/proc/stat"):
        f = line.split()
        if f[0] in ("cpu" + PROXY_CPU, "cpu" + LOAD_CPU):
            v = list(map(int, f[1:9]))
            busy += v[0] + v[1] + v[2] + v[5] + v[6]
            stolen += v[7]
    return busy, stolen


def known(pids):
    """ticks of the proxy, the upstream, this script and its ended children (the load generators)"""
    n = ticks(pids + [UP.pid])
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        u = resource.getrusage(who)
        n += (u.ru_utime + u.ru_stime) * TCK
    return n


def calibrate():
    """ms of CPU for a fixed piece of work on the proxy's core: how fast the core is just now"""
    os.sched_setaffinity(0, {int(PROXY_CPU)})
    b, t = b"x" * 1_000_000, time.thread_time()
    for _ in range(20):
        hashlib.sha256(b).digest()
    ms_ = (time.thread_time() - t) * 1e3
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    return ms_


def status(port, path, token="", method="GET", body="", is_h2=False):
    """status of one request, 0 if there's no answer"""
    if is_h2:
        return http2.status(port, path, token)
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.settimeout(2)
            h = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            if token:
                h += f"Authorization: Bearer {token}\r\n"
            if body:
                h += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            s.sendall((h + "\r\n" + body).encode())
            b = s.recv(64)
            return int(b.split()[1]) if b.startswith(b"HTTP/1") else 0
    except (OSError, ValueError, IndexError):
        return 0


def end(p):
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(2)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def first_line(name):
    with open(f"{CACHE}/tokens/{name}.txt") as f:
        return f.readline().strip()


def request_of(case, rival):
    """(path, token file, limit, method, body) of a case for a rival"""
    mode, tok, n = CASES[case][:3]
    path, method, body = "/", "GET", ""
    if mode == "outbound":
        path = "/out" if rival and rival.id != "pingora-floor" else "/"
    if mode == "token":
        path, method = "/oauth/token", "POST"
        body = "grant_type=client_credentials&client_id=bench&client_secret=bench-secret-of-32-characters-00"
    return path, tok, n, method, body


class Proxy:
    """a started rival; .boot_ms is the time from exec to the first right answer"""

    def __init__(self, rival, case):
        mode, tok = CASES[case][:2]
        path, _, _, method, body = request_of(case, rival)
        is_h2 = mode.endswith("-h2")
        good = first_line("rs256" if tok == "bad" else tok) if tok else ""
        subprocess.run(["bash", "-c", f"set -e; . '{rival.path}'; prepare {mode}"], env=env(), check=True)
        self.log = open(f"{RUN}/{rival.id}.log", "w")
        t = time.monotonic()
        self.p = subprocess.Popen(["taskset", "-c", PROXY_CPU, "bash", "-c", f". '{rival.path}'; start {mode}"],
                                  env=env(), stdout=self.log, stderr=self.log, cwd=RUN)
        while True:
            st = status(PORTS["LISTEN"], path, good, method, body, is_h2)
            if st == 200:
                break
            if self.p.poll() is not None or time.monotonic() - t > 20:
                end(self.p)
                raise RuntimeError(f"{rival.id}/{case}: did not answer 200 (last {st}); see {RUN}/{rival.id}.log")
            time.sleep(0.001)
        self.boot_ms = (time.monotonic() - t) * 1e3
        time.sleep(0.4)
        self.idle = mem(tree(self.p.pid))[0]
        # the rival must do the work: refuse a wrong token, and a missing one
        if mode.startswith("inbound") and rival.auth == "yes":
            for what, tk in (("a wrong signature", first_line("bad")), ("no token", "")):
                st = status(PORTS["LISTEN"], path, tk, is_h2=is_h2)
                if st not in (401, 403):
                    end(self.p)
                    raise RuntimeError(f"{rival.id}: {what} was answered {st}")

    def stop(self):
        end(self.p)
        self.log.close()


def wrk_start(case, rival, secs, port):
    path, tok, n, method, body = request_of(case, rival)
    out = RUN + "/wrk.json"
    e = env(B_TOKENS=f"{CACHE}/tokens/{tok}.txt" if tok else "", B_LIMIT=n, B_PATH=path, B_METHOD=method,
            B_BODY=body, B_OUT=out)
    return subprocess.Popen(["taskset", "-c", LOAD_CPU, "wrk", "-t1", "-c32", f"-d{secs}s", "--timeout", "5s", "-s",
                             HERE + "/load.lua", f"http://127.0.0.1:{port}"], env=e, stdout=subprocess.DEVNULL)


def wrk_end(p):
    if p.wait() != 0:
        raise RuntimeError("wrk failed")
    return json.load(open(RUN + "/wrk.json"))


def wrk(case, rival, secs, port):
    return wrk_end(wrk_start(case, rival, secs, port))


def oha(case, rival, secs, port, rate):
    path, tok, _, method, body = request_of(case, rival)
    cmd = ["taskset", "-c", LOAD_CPU, CACHE + "/oha/bin/oha", "--no-tui", "--output-format", "json", "-q", str(rate),
           "-c", "32", "-z", f"{secs}s", "--latency-correction", "--worker-threads", "1", "-m", method,
           f"http://127.0.0.1:{port}{path}"]
    if tok:
        cmd += ["-H", "Authorization: Bearer " + first_line(tok)]
    r = json.loads(subprocess.run(cmd, check=True, capture_output=True, text=True).stdout)
    n = sum(r["statusCodeDistribution"].values())
    pc = r["latencyPercentiles"]
    return {"requests": n, "bad": n - r["statusCodeDistribution"].get("200", 0),
            **{k: pc[p] * 1e6 for k, p in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))}}


def measure(rival, case, kind, a):
    """one run of one rival: {figures}; rival None = straight at the upstream, no proxy"""
    port = PORTS["LISTEN"] if rival else PORTS["UPSTREAM"]
    px = Proxy(rival, case) if rival else None
    try:
        pid = tree(px.p.pid) if px else []
        flood = {}

        def load(s):
            if CASES[case][0].endswith("-h2"):
                return http2.load(LOAD_CPU, port, "/", first_line(CASES[case][1]) if CASES[case][1] else "", s,
                                  RUN + "/h2load.log")
            if kind == "max":
                return wrk(case, rival, s, port)
            if kind == "rate":
                return oha(case, rival, s, port, a.rate)
            w = wrk_start("bad", rival, s + 2, port)  # the flood surrounds the good requests
            try:
                time.sleep(1)
                r = oha(case, rival, s, port, GOOD_RATE)
                flood.update(wrk_end(w))
            finally:
                end(w)
            return r
        warm = CASES[case][3] if kind == "max" else 1
        load(max(1, round(warm)) if not a.smoke else 1)
        pids = tree(px.p.pid) if px else []
        cal = calibrate()
        k0, (b0, s0), c0, t0 = known(pids), machine(), ticks(pids), time.monotonic()
        r = load(a.secs)
        c1, wall, (b1, s1), k1 = ticks(pids), time.monotonic() - t0, machine(), known(pids)
        cpu = (c1 - c0) / TCK
        cal = (cal + calibrate()) / 2
        f = {"cal": cal, "p50": r["p50"], "p99": r["p99"], "p999": r["p999"], "steal": (s1 - s0) / TCK / wall * 100,
             "foreign": max(0.0, ((b1 - b0) - (k1 - k0)) / TCK / wall * 100), "requests": r["requests"]}
        if kind == "max":
            secs = r["us"] / 1e6
            f["rps"] = r["requests"] / secs
            want_bad = CASES[case][4] != 200
            wrong = r["requests"] - r["status"] if want_bad else r["status"]
            f["bad"] = wrong + r["read"] + r["write"] + r["timeout"]
        else:
            secs = a.secs
            f["rps"], f["bad"] = r["requests"] / secs, r["bad"]
        if kind == "flood":
            f["flood"] = flood["requests"] / flood["us"] * 1e6
            f["bad"] += flood["requests"] - flood["status"]
        if px:
            if kind != "flood":
                f.update(cpu=cpu / r["requests"] * 1e6, busy=cpu / secs * 100)
            f.update(boot=px.boot_ms, idle=px.idle)
            f["rss"], f["hwm"] = mem(pids)
        return f
    finally:
        if px:
            px.stop()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=int, default=5)
    ap.add_argument("--rate", type=int, default=2000)
    ap.add_argument("--cases", default=",".join(CASES))
    ap.add_argument("--rate-cases", default=",".join(RATE_CASES))
    ap.add_argument("--flood-cases", default="rs256-1")
    ap.add_argument("--rivals", default="")
    ap.add_argument("--out", default=CACHE + "/results")
    ap.add_argument("--smoke", action="store_true", help="1 round, 1 s runs: does everything start and answer right?")
    a = ap.parse_args()
    if not {int(PROXY_CPU), int(LOAD_CPU)} <= os.sched_getaffinity(0):
        sys.exit("bench.py: needs two cores, 0 for the proxy and 1 for the load")
    if a.smoke:
        a.rounds, a.secs = 1, 1
    http2.certificate(CACHE)
    os.makedirs(RUN, exist_ok=True), os.makedirs(a.out, exist_ok=True)
    names = sorted(f for f in os.listdir(HERE + "/rivals") if f.endswith(".sh"))
    rivals = [Rival(f"{HERE}/rivals/{f}") for f in names]
    if a.rivals:
        rivals = [r for r in rivals if r.id in a.rivals.split(",")]
    for r in rivals:
        what = "left out: not available" if r.version is None else r.version + "  " + " ".join(r.modes)
        print(f"{r.id:16} {what}", flush=True)
    rivals = [r for r in rivals if r.version is not None]
    for p in PORTS.values():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", p))  # fails at once when something else holds the port
    t = open(HERE + "/upstream.conf.tmpl").read()
    m2m = open(CACHE + "/tokens/m2m.txt").read()
    for k, v in {**PORTS, "RUN": RUN, "CACHE": CACHE, "BODY": BODY, "M2M": m2m}.items():
        t = t.replace(f"@{k}@", str(v))
    open(RUN + "/up.conf", "w").write(t)
    global UP
    UP = up = subprocess.Popen(["taskset", "-c", LOAD_CPU, "nginx", "-e", RUN + "/up.err", "-c", RUN + "/up.conf"])
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    data, failed = {}, []
    try:
        for _ in range(200):
            if status(PORTS["UPSTREAM"], "/") == 200:
                break
            time.sleep(0.01)
        jobs = [("max", c) for c in a.cases.split(",") if c] + [("rate", c) for c in a.rate_cases.split(",") if c]
        jobs += [("flood", c) for c in a.flood_cases.split(",") if c]
        for rnd in range(a.rounds):
            for kind, case in jobs:
                todo = [r for r in rivals if r.does(case) and (kind != "flood" or r.auth == "yes")]
                if not todo:
                    continue
                # every second round runs the rivals the other way round
                order = todo if rnd % 2 == 0 else todo[::-1]
                for r in ([None] if kind == "rate" or case == "plain" else []) + order:
                    rid = r.id if r else "direct"
                    try:
                        f = measure(r, case, kind, a)
                        for _ in range(2):  # foreign work on these cores: once more
                            if f["foreign"] <= FOREIGN or a.smoke:
                                break
                            print(f"  again: {f['foreign']:.0f} % of a core went to others ({rid})", flush=True)
                            f = min(f, measure(r, case, kind, a), key=lambda x: x["foreign"])
                    except Exception as e:
                        failed.append(f"{kind}/{case}/{rid}: {e}")
                        print("FAILED", failed[-1], flush=True)
                        continue
                    data.setdefault(f"{kind}/{case}", {}).setdefault(rid, []).append(f)
                    print(f"{rnd + 1} {kind:4} {case:10} {rid:15} {f['rps']:8.0f}/s cpu {f.get('cpu', 0):6.1f} us  "
                          f"busy {f.get('busy', 0):4.0f}%  p50 {f['p50']:6.0f} p99 {f['p99']:6.0f} us  "
                          f"peak {f.get('hwm', 0):6.1f} MiB  boot {f.get('boot', 0):5.0f} ms  wrong {f['bad']}  "
                          f"others {f['foreign']:.0f}%", flush=True)
                    json.dump(data, open(a.out + "/raw.json", "w"))
    finally:
        end(up)
    ordered = {k: {i: data[k][i] for i in ["direct"] + [r.id for r in rivals] if i in data[k]}
               for k in [f"{x}/{c}" for x, c in jobs] if k in data}
    text = tables(ordered, {r.id: r.label for r in rivals}, CASES, a.rate, GOOD_RATE)
    if failed:
        text += "\nFailed runs:\n" + "\n".join("- " + f for f in failed) + "\n"
    open(a.out + "/table.md", "w").write(text)
    print(text)
    wrong = [f"{k}/{i}" for k, rr in data.items() for i, rows in rr.items()
             for r in rows if r["bad"] > r["requests"] / 1000]
    if wrong:
        print("more than 1 in 1,000 answers were wrong:", ", ".join(wrong))
    sys.exit(1 if failed or wrong else 0)


if __name__ == "__main__":
    main()
