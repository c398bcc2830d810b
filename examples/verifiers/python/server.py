"""An API that requires the scope `orders:read`, on http.server and PyJWT."""
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER = os.environ.get("ISSUER_URL", "http://127.0.0.1:8080")
AUDIENCE = os.environ.get("AUDIENCE", "https://orders.example")
KEYS = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json")


def claims(authorization):
    """The claims of a bearer token, or None if it is not valid."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        key = KEYS.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=["ES256", "RS256"], audience=AUDIENCE, issuer=ISSUER,
                          options={"require": ["exp", "iss", "aud"]})
    except jwt.PyJWTError:
        return None


class Orders(BaseHTTPRequestHandler):
    def do_GET(self):
        found = claims(self.headers.get("Authorization"))
        status = 401 if found is None else 200 if "orders:read" in found.get("scope", "").split() else 403
        body = json.dumps({"client_id": found["client_id"]} if status == 200 else {}).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: the example prints no access log."""


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8090"))), Orders).serve_forever()
