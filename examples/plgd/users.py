#!/usr/bin/env python3
"""A user IdP as in plgd's bundle, for trials of docs/plgd.md without a hub. It needs Python 3 and openssl.

users.py serve PORT URL KEY     answers URL/.well-known/openid-configuration and its keys, over plain HTTP on loopback
users.py token URL KEY OWNER    prints an access token of the user OWNER
users.py claims TOKEN           prints the claims of a token, one per line

As with the bundle's own server, the metadata have `issuer: URL`, the tokens `iss: URL/`, and tokens never expire.
"""
import base64
import json
import subprocess
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY_ID = "users"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, text=b""):
    return subprocess.run(["openssl", *arguments], input=text, stdout=subprocess.PIPE, check=True).stdout


def keys(key_file):
    """The public half of an RSA key as a key set. openssl uses the exponent 65537 for every key."""
    modulus = openssl("rsa", "-in", key_file, "-noout", "-modulus").decode().strip().removeprefix("Modulus=")
    key = {"kty": "RSA", "kid": KEY_ID, "alg": "RS256", "n": encoded(bytes.fromhex(modulus)), "e": "AQAB"}
    return {"keys": [key]}


def token(url, key_file, owner):
    header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    claims = {
        "iss": url + "/",
        "sub": owner,
        "aud": [url + "/"],
        "client_id": "test",
        "email": owner + "@example.com",
        "jti": str(uuid.uuid4()),
        "iat": int(time.time()),
        "scope": "openid profile email r:* w:*",
    }
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return signed + "." + encoded(openssl("dgst", "-sha256", "-sign", key_file, text=signed.encode()))


def claims(jwt):
    text = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def serve(port, url, key_file):
    documents = {
        "/.well-known/openid-configuration": {
            "issuer": url,
            "token_endpoint": url + "/oauth/token",
            "jwks_uri": url + "/.well-known/jwks.json",
        },
        "/.well-known/jwks.json": keys(key_file),
    }

    class Users(BaseHTTPRequestHandler):
        def do_GET(self):
            document = documents.get(self.path)
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", int(port)), Users).serve_forever()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port, url, key_file]:
            serve(port, url, key_file)
        case ["token", url, key_file, owner]:
            print(token(url, key_file, owner))
        case ["claims", jwt]:
            for name, value in sorted(claims(jwt).items()):
                print(name, json.dumps(value))
        case _:
            sys.exit(__doc__)
