"""Prints the JWKS (RFC 7517) of a private key in PEM: only its public half."""
import json
import sys

from joserfc.jwk import ECKey

with open(sys.argv[1], encoding="ascii") as pem:
    key = ECKey.import_key(pem.read(), {"alg": "ES256", "use": "sig"})
print(json.dumps({"keys": [key.as_dict(private=False, kid=key.thumbprint())]}))
