"""Medians of the rounds, as Markdown tables."""
import statistics

WIDE = ["rival", "req/s", "core busy %", "CPU µs/req", "(best round)", "× Envoy", "× floor", "p50 ms", "p99 ms",
        "RSS idle MiB", "RSS peak MiB", "first 200 ms", "wrong answers", "CPU spread %"]
RATE = ["rival", "req/s", "CPU µs/req", "× Envoy", "p50 ms", "p99 ms", "p99.9 ms", "added p50 µs", "added p99 µs",
        "wrong answers"]
FLOOD = ["rival", "good req/s", "good p50 ms", "good p99 ms", "good p99.9 ms", "bad req/s refused", "wrong answers"]


def quiet(rows):
    """without the rounds in which others took more than a fifth of a core, if any are left then"""
    return [r for r in rows if r["foreign"] <= 20] or rows


def values(rows, key):
    return [r[key] for r in quiet(rows) if key in r]


def med(rows, key):
    v = values(rows, key)
    return statistics.median(v) if v else None


def spread(rows, key):
    v = values(rows, key)
    return (max(v) - min(v)) / statistics.median(v) * 100 if len(v) > 1 and statistics.median(v) else 0


def number(v, digits=0):
    return "–" if v is None else f"{v:,.{digits}f}"


def ms(v):
    return "–" if v is None else f"{v / 1000:.2f}"


def ratio(x, y):
    return f"{x / y:.2f}" if x and y else "–"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def head(names):
    return [line(names), "|---" + "|---:" * (len(names) - 1) + "|"]


def closed_loop_row(label, rows, envoy, floor):
    m = lambda key: med(rows, key)
    best = min((r["cpu"] for r in rows if "cpu" in r), default=None)
    return [label, number(m("rps")), number(m("busy")), f"**{number(m('cpu'), 1)}**", number(best, 1),
            ratio(m("cpu"), envoy), ratio(m("cpu"), floor), ms(m("p50")), ms(m("p99")), number(m("idle"), 1),
            number(m("hwm"), 1), number(m("boot")), number(max(r["bad"] for r in rows)), f"{spread(rows, 'cpu'):.0f}"]


def rate_row(label, rows, envoy, direct):
    m = lambda key: med(rows, key)
    added = lambda key: number(m(key) - med(direct, key)) if direct and direct is not rows else "–"
    return [label, number(m("rps")), number(m("cpu"), 1), ratio(m("cpu"), envoy), ms(m("p50")), ms(m("p99")),
            ms(m("p999")), added("p50"), added("p99"), number(max(r["bad"] for r in rows))]


def flood_row(label, rows):
    m = lambda key: med(rows, key)
    return [label, number(m("rps")), ms(m("p50")), ms(m("p99")), ms(m("p999")), number(m("flood")),
            number(max(r["bad"] for r in rows))]


def steadiness(data):
    """how quiet the machine was"""
    runs = [r for rivals in data.values() for rows in rivals.values() for r in rows]
    if not runs:
        return ""
    steal, foreign, cal = ([r[k] for r in runs] for k in ("steal", "foreign", "cal"))
    return (f"\nStolen CPU time during the measured runs: median {statistics.median(steal):.1f} %, "
            f"worst {max(steal):.1f} % (of one core). Used by other processes: "
            f"median {statistics.median(foreign):.1f} %, worst {max(foreign):.1f} %. Fixed calibration work on the "
            f"proxy's core: {min(cal):.1f} to {max(cal):.1f} ms, median {statistics.median(cal):.1f}.")


def tables(data, labels, cases, rate, good_rate):
    """data: {"kind/case": {rival: [figures of a round]}}"""
    out = []
    for key, rivals in data.items():
        kind, case = key.split("/")
        envoy = med(rivals.get("envoy", []), "cpu")
        # The floor checks no token, so one case of it stands for the cases it is not run in.
        other = data.get("max/rs256-1", {}).get("pingora-floor", []) if kind == "max" else []
        floor = med(rivals.get("pingora-floor") or other, "cpu")
        if kind == "max":
            connections = "" if case.startswith("h2-") else ", 32 connections"
            out += [f"\n### {case}: {cases[case][5]}; closed loop{connections}\n", *head(WIDE)]
        elif kind == "flood":
            out += [f"\n### flood: good requests ({case}) at {good_rate} req/s beside a closed-loop flood of bad "
                    "tokens on 32 connections\n", *head(FLOOD)]
        else:
            out += [f"\n### {case} at a fixed {rate} req/s, 32 connections (latency corrected for coordinated "
                    "omission)\n", *head(RATE)]
        for rival, rows in rivals.items():
            label = labels.get(rival, "(straight to the upstream)")
            if kind == "max":
                cells = closed_loop_row(label, rows, envoy, floor)
            elif kind == "flood":
                cells = flood_row(label, rows)
            else:
                cells = rate_row(label, rows, envoy, rivals.get("direct"))
            out.append(line(cells))
    return "\n".join(out + [steadiness(data)]) + "\n"
