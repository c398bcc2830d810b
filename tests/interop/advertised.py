"""Prints the parts that the metadata of M2M_ISSUER advertise, by the names of run.sh. Both documents must agree."""
import os

import requests

issuer = os.environ["M2M_ISSUER"]
oidc, oauth = (
    requests.get(f"{issuer}/.well-known/{name}", timeout=5).json()
    for name in ("openid-configuration", "oauth-authorization-server")
)
assert oidc == oauth and oidc["issuer"] == issuer, (oidc, oauth)
parts = set(oidc["token_endpoint_auth_methods_supported"])
parts.update(name for name in ("revocation", "introspection") if f"{name}_endpoint" in oidc)
if "refresh_token" in oidc["grant_types_supported"]:
    parts.add("refresh")
print(" ".join(sorted(parts)))
