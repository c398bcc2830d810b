#!/usr/bin/env python3
"""A program without OAuth support, with Python's standard library: calls a URL repeatedly and prints the answers.

The program is not changed for the sidecar. Its URL is the outbound listener's instead of the API's, or the listener is
its HTTP proxy, which urllib takes from the environment:

    poll.py http://127.0.0.1:9000/api/v1/devices
    http_proxy=http://127.0.0.1:9000 poll.py http://127.0.0.1:8081/api/v1/devices

Environment: COUNT=2 (0: no limit), PAUSE=1 (seconds)
"""
import itertools
import os
import sys
import time
import urllib.error
import urllib.request


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        sys.exit(f"poll: {url} answered {error.code}: {error.read().decode().strip()}")
    except OSError as error:
        sys.exit(f"poll: {url}: {error}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: poll.py URL")
    count = int(os.environ.get("COUNT", "2"))
    for calls in itertools.count(1):
        print(get(sys.argv[1]), end="", flush=True)
        if calls == count:
            break
        time.sleep(float(os.environ.get("PAUSE", "1")))


if __name__ == "__main__":
    main()
