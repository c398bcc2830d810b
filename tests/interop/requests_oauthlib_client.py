"""requests-oauthlib's client. It has no discovery, introspection or assertions: these requests use its parameters and its
session, and PyJWT signs."""
import os
import time
import uuid

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on the loopback address

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

issuer, audience = os.environ["M2M_ISSUER"], os.environ["M2M_AUDIENCE"]
parts = os.environ["M2M_PARTS"].split()
metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=5).json()
endpoint = metadata["token_endpoint"]


def content(variable):
    with open(os.environ[variable], encoding="ascii") as file:
        return file.read()


secret = content("M2M_SECRET_FILE")
basic = HTTPBasicAuth("legacy", secret)


def session(client_id="legacy", scope="devices:read"):
    return OAuth2Session(client=BackendApplicationClient(client_id, scope=scope))


def accept(token, client_id):
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token["access_token"])
    claims = jwt.decode(token["access_token"], key, algorithms=["ES256"], issuer=issuer, audience=audience)
    assert claims["client_id"] == client_id and token["scope"] == ["devices:read"], claims


def refused(error, ask):
    try:
        ask()
    except OAuth2Error as caught:
        assert caught.error == error, caught
    else:
        raise AssertionError(f"granted, not {error}")


accept(session().fetch_token(endpoint, auth=basic), "legacy")
accept(session().fetch_token(endpoint, client_secret=secret, include_client_id=True), "legacy")
refused("invalid_client", lambda: session().fetch_token(endpoint, auth=HTTPBasicAuth("unknown-of-requests", secret)))
refused("invalid_scope", lambda: session(scope="admin").fetch_token(endpoint, auth=basic))
refused("invalid_target", lambda: session().fetch_token(endpoint, auth=basic, audience="https://other.example"))

if "private_key_jwt" in parts:
    now = int(time.time())
    claims = {"iss": "signer", "sub": "signer", "aud": issuer, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
    assertion = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(claims, content("M2M_KEY_FILE"), algorithm="ES256"),
    }
    ask = lambda: session("signer").fetch_token(endpoint, include_client_id=True, **assertion)
    accept(ask(), "signer")
    refused("invalid_client", ask)  # the same assertion again

client = session()
token = client.fetch_token(endpoint, auth=basic)
if "introspection" in parts:
    introspect = lambda: requests.post(metadata["introspection_endpoint"], auth=basic, timeout=5,
                                       data={"token": token["access_token"]}).json()
    told = introspect()
    assert told["active"] and told["client_id"] == "legacy" and told["iss"] == issuer, told
url, headers, body = client._client.prepare_token_revocation_request(metadata["revocation_endpoint"],
                                                                      token["access_token"])
assert requests.post(url, headers=headers, data=body, auth=basic, timeout=5).status_code == 200
if "introspection" in parts:
    assert introspect() == {"active": False}

if "refresh" in parts:
    client = session()
    first = client.fetch_token(endpoint, auth=basic)
    second = client.refresh_token(endpoint, refresh_token=first["refresh_token"], auth=basic)
    accept(second, "legacy")
    assert second["refresh_token"] != first["refresh_token"]
    refused("invalid_grant", lambda: client.refresh_token(endpoint, refresh_token="nonsense", auth=basic))
print("requests-oauthlib: accepted")
