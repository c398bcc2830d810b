#!/usr/bin/env python3
"""Calls a protected API from Python with requests-oauthlib, also after the token has expired.

Shows: discovery from the issuer's metadata, the client credentials grant with an audience, a new token when the old one
has expired.

Needs: requests-oauthlib (requirements.txt). Run it from the root of the clone, while the sidecar of
conf/quickstart.yaml runs:

    python3 -m venv target/examples/venv
    target/examples/venv/bin/python -m pip install --quiet -r examples/python/requirements.txt
    target/examples/venv/bin/python examples/python/call_api.py

Environment: the settings below; CALLS is the number of requests, PAUSE the seconds between them.
"""
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error, TokenExpiredError
from requests_oauthlib import OAuth2Session

ISSUER_URL = os.environ.get("ISSUER_URL", "http://127.0.0.1:8080")
API_URL = os.environ.get("API_URL", "http://127.0.0.1:8081/api/v1/devices")
CLIENT_ID = os.environ.get("CLIENT_ID", "legacy")
CLIENT_SECRET_FILE = os.environ.get("CLIENT_SECRET_FILE", "data/legacy-secret")
SCOPE = os.environ.get("SCOPE", "devices:read").split()
AUDIENCE = os.environ.get("AUDIENCE", "https://devices.example")
CALLS = int(os.environ.get("CALLS", "1"))
PAUSE = float(os.environ.get("PAUSE", "1"))
TIMEOUT = 10

# oauthlib refuses http://. It is safe on this machine; use https to any other machine.
if urlsplit(ISSUER_URL).hostname in ("127.0.0.1", "::1", "localhost"):
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"


class Api:
    """The API, called with a valid token."""

    def __init__(self):
        self.token_url = discover()
        self.session = OAuth2Session(client=BackendApplicationClient(CLIENT_ID, scope=SCOPE))

    def get(self, url):
        if not self.session.authorized:
            self.fetch_token()
        try:
            return self.session.get(url, timeout=TIMEOUT)
        except TokenExpiredError:
            # This grant has no refresh token: fetch a new token like the first one.
            self.fetch_token()
            return self.session.get(url, timeout=TIMEOUT)

    def fetch_token(self):
        secret = Path(CLIENT_SECRET_FILE).read_text(encoding="utf-8").strip()
        self.session.fetch_token(self.token_url, client_secret=secret, audience=AUDIENCE, timeout=TIMEOUT)


def discover():
    """The token endpoint, from the issuer's metadata."""
    answer = requests.get(f"{ISSUER_URL}/.well-known/openid-configuration", timeout=TIMEOUT)
    answer.raise_for_status()
    metadata = answer.json()
    # Otherwise another server's answer could send the secret elsewhere.
    if metadata["issuer"] != ISSUER_URL:
        raise ValueError(f"the metadata of {ISSUER_URL} is that of {metadata['issuer']}")
    return metadata["token_endpoint"]


def main():
    api = Api()
    for call in range(CALLS):
        if call:
            time.sleep(PAUSE)
        answer = api.get(API_URL)
        if not answer.ok:
            sys.exit(f"call_api: {API_URL} answered {answer.status_code}: {answer.text.strip()}")
        print(answer.text, end="")


if __name__ == "__main__":
    try:
        main()
    except (OAuth2Error, requests.RequestException, OSError, ValueError) as error:
        sys.exit(f"call_api: {error}")
