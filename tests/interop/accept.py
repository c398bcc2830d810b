"""A token is issued to Authlib's client and accepted by PyJWT and by Authlib's RFC 9068 validator, by discovery alone."""
import os

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

issuer, audience = os.environ["M2M_ISSUER"], os.environ["M2M_AUDIENCE"]

for well_known in ("openid-configuration", "oauth-authorization-server"):
    metadata = requests.get(f"{issuer}/.well-known/{well_known}", timeout=5).json()
    assert metadata["issuer"] == issuer, metadata
server = AuthorizationServerMetadata(metadata)
for check in ("issuer", "token_endpoint", "jwks_uri", "grant_types_supported", "token_endpoint_auth_methods_supported"):
    # RFC 8414 wants https; everything but that must hold on the loopback address too.
    try:
        getattr(server, f"validate_{check}")()
    except ValueError as error:
        assert "https" in str(error), error

for method in ("client_secret_basic", "client_secret_post"):
    client = OAuth2Session("legacy", os.environ["M2M_SECRET"], token_endpoint_auth_method=method, scope="devices:read")
    token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert token["token_type"] == "Bearer" and token["expires_in"] == 900, token.keys()

    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token["access_token"])
    claims = jwt.decode(token["access_token"], key, algorithms=["ES256"], issuer=issuer, audience=audience,
                        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]})
    assert claims["client_id"] == claims["sub"] == "legacy" and claims["scope"] == "devices:read", claims
    assert jwt.get_unverified_header(token["access_token"])["typ"] == "at+jwt"

bad = OAuth2Session("legacy", "wrong", scope="devices:read")
try:
    bad.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
except Exception as error:  # Authlib names its error after the RFC's code
    assert "invalid_client" in str(error), error
else:
    raise AssertionError("a wrong secret was accepted")
print("python: accepted")
