"""Authlib's client, with its own reading of the metadata; PyJWT verifies the tokens."""
import base64
import json
import os

import jwt
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc.jwk import ECKey

issuer, audience = os.environ["M2M_ISSUER"], os.environ["M2M_AUDIENCE"]
parts = os.environ["M2M_PARTS"].split()


def content(variable):
    with open(os.environ[variable], encoding="ascii") as file:
        return file.read()


metadata = requests.get(get_well_known_url(issuer, external=True), timeout=5).json()
server = AuthorizationServerMetadata(metadata)
for check in AuthorizationServerMetadata.REGISTRY_KEYS:
    # RFC 8414 requires https; all its other rules must hold on loopback too.
    try:
        getattr(server, f"validate_{check}")()
    except ValueError as error:
        # The list of response types is empty, which Authlib reads as missing.
        is_about_logins = check in ("authorization_endpoint", "response_types_supported")
        assert "https" in str(error) or is_about_logins, (check, error)
endpoint = metadata["token_endpoint"]


def accept(token, client_id):
    assert token["token_type"] == "Bearer" and token["expires_in"] == 900, token.keys()
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token["access_token"])
    claims = jwt.decode(token["access_token"], key, algorithms=["ES256"], issuer=issuer, audience=audience,
                        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]})
    assert claims["client_id"] == claims["sub"] == client_id and claims["scope"] == "devices:read", claims
    assert jwt.get_unverified_header(token["access_token"])["typ"] == "at+jwt"
    return claims


def refused(error, session, **parameters):
    try:
        session.fetch_token(endpoint, grant_type="client_credentials", **parameters)
    except OAuthError as caught:
        assert caught.error == error, caught
    else:
        raise AssertionError(f"granted, not {error}")


def session(method, client_id="legacy", secret=None):
    return OAuth2Session(client_id, secret or content("M2M_SECRET_FILE"), token_endpoint_auth_method=method,
                         revocation_endpoint_auth_method=method, scope="devices:read")


for method in ("client_secret_basic", "client_secret_post"):
    client = session(method)
    accept(client.fetch_token(endpoint, grant_type="client_credentials"), "legacy")
    refused("invalid_scope", session(method), scope="admin")
    refused("invalid_target", session(method), audience="https://other.example")
refused("invalid_client", session("client_secret_basic", secret="wrong"))
refused("invalid_client", session("client_secret_post", client_id="unknown-of-authlib"))

if "private_key_jwt" in parts:
    key = ECKey.import_key(content("M2M_KEY_FILE"))
    signer = session("private_key_jwt", "signer", key)
    signer.register_client_auth_method(PrivateKeyJWT(endpoint, alg="ES256"))
    accept(signer.fetch_token(endpoint, grant_type="client_credentials"), "signer")

if "introspection" in parts:
    def active(token, who=client):
        answer = who.introspect_token(metadata["introspection_endpoint"], token=token)
        assert answer.status_code == 200, answer.status_code
        return answer.json()["active"]

    token = client.fetch_token(endpoint, grant_type="client_credentials")["access_token"]
    assert active(token) and not active("nonsense")
    if os.environ["M2M_READER_SECRET_FILE"]:
        assert active(token, session("client_secret_basic", "reader", content("M2M_READER_SECRET_FILE")))

token = client.fetch_token(endpoint, grant_type="client_credentials")
jti = accept(token, "legacy")["jti"]
assert client.revoke_token(metadata["revocation_endpoint"], token=token["access_token"],
                           token_type_hint="access_token").status_code == 200
listed = requests.get(metadata["revocation_list_uri"], timeout=5).text.split(".")[1]
assert jti in json.loads(base64.urlsafe_b64decode(listed + "=="))["revoked"]
if "introspection" in parts:
    assert not active(token["access_token"])

if "refresh" in parts:
    first = client.fetch_token(endpoint, grant_type="client_credentials")
    second = client.refresh_token(endpoint, refresh_token=first["refresh_token"])
    accept(second, "legacy")
    assert second["refresh_token"] != first["refresh_token"] and second["access_token"] != first["access_token"]
    client.revoke_token(metadata["revocation_endpoint"], token=second["refresh_token"], token_type_hint="refresh_token")
    try:
        client.refresh_token(endpoint, refresh_token=second["refresh_token"])
    except OAuthError as caught:
        assert caught.error == "invalid_grant", caught
    else:
        raise AssertionError("a revoked refresh token was accepted")
print("Authlib: accepted")
